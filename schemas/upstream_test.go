package schemas

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const upstreamURL = "https://upstream.invalid/schema.json"

// upstream is the protocol draft's own schema. It is reference data beside the
// checkout and no part of this repository.
type upstream struct {
	defs     map[string]any
	compiler *jsonschema.Compiler
}

func openUpstream(t *testing.T) *upstream {
	t.Helper()
	path := filepath.Join("..", "..", "shared", "protocol", "upstream.schema.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("the protocol draft's schema is not at %s beside this checkout, so there is nothing to compare with: %v", path, err)
	}
	doc := parse(t, text)
	c := jsonschema.NewCompiler()
	c.UseLoader(nothing{})
	c.AssertFormat() // the library's own date-time, not ours
	if err := c.AddResource(upstreamURL, doc); err != nil {
		t.Fatal(err)
	}
	defs, ok := doc.(map[string]any)["definitions"].(map[string]any)
	if !ok || len(defs) < 50 {
		t.Fatal("the draft's schema has no definitions")
	}
	return &upstream{defs, c}
}

var words = regexp.MustCompile(`^(WAL|MCP|LLM)|[A-Z][a-z]+`)

// kindOf gives our kind of a name of the draft.
func kindOf(name string) string {
	if name == "RecordStringAny" {
		return "any-map" // the draft has two names for one form
	}
	return strings.ToLower(strings.Join(words.FindAllString(name, -1), "-"))
}

func TestKindsCoverTheDraft(t *testing.T) {
	t.Parallel()
	up := openUpstream(t)
	own := []string{
		"approval-predicate", "audit-head", "derived", "flight", "flight-plan-predicate", "plan-context", "plan-manifest", "preflight-report", "statement", "take-off-predicate",
	}
	want := slices.Clone(own)
	for name := range up.defs {
		want = append(want, kindOf(name))
	}
	slices.Sort(want)
	got := slices.DeleteFunc(Kinds(), func(kind string) bool { return slices.Contains(outside, kind) })
	if want = slices.Compact(want); !slices.Equal(got, want) {
		t.Errorf("kinds %v\nwant  %v", got, want)
	}
}

// TestSameJudgementAsTheDraft compares both schemas on many documents: valid
// ones, and those that one or more changes have probably made invalid.
func TestSameJudgementAsTheDraft(t *testing.T) {
	t.Parallel()
	up := openUpstream(t)
	var accepted, refused int
	for _, name := range slices.Sorted(maps.Keys(up.defs)) {
		theirs, err := up.compiler.Compile(upstreamURL + "#/definitions/" + name)
		if err != nil {
			t.Fatal(err)
		}
		kind := kindOf(name)
		compare := func(doc any, what string) bool {
			text, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			yes := theirs.Validate(parse(t, text)) == nil
			if err := Validate(kind, text); (err == nil) != yes {
				t.Errorf("%s, %s: the draft accepts: %v, we say: %v\n%s", name, what, yes, err, text)
			}
			if yes {
				accepted++
			} else {
				refused++
			}
			return yes
		}
		g := &generator{defs: up.defs, r: rand.New(rand.NewPCG(2026, uint64(len(name))))}
		for i := range 40 {
			g.full = i%4 == 0
			doc := g.value(up.defs[name], 0)
			if !compare(doc, "generated") {
				t.Errorf("%s: the generator makes what the draft refuses", name)
			}
			for range 6 {
				changed := clone(doc)
				for range 1 + g.r.IntN(2) {
					changed = g.mutate(changed)
				}
				compare(changed, "mutated")
			}
		}
		g.full = true
		for doc := range g.systematic(g.value(up.defs[name], 0)) {
			compare(doc, "changed at one place")
		}
	}
	t.Logf("%d documents accepted by both, %d refused by both", accepted, refused)
	if accepted < 4000 || refused < 4000 {
		t.Errorf("too few documents to say anything: %d accepted, %d refused", accepted, refused)
	}
}

// generator makes documents that a schema of the draft accepts.
type generator struct {
	defs map[string]any
	r    *rand.Rand
	full bool // with every optional member
}

func (g *generator) value(schema any, depth int) any {
	s, _ := schema.(map[string]any)
	if ref, ok := s["$ref"].(string); ok {
		return g.value(g.defs[strings.TrimPrefix(ref, "#/definitions/")], depth)
	}
	if forms, ok := s["anyOf"].([]any); ok {
		return g.value(forms[g.r.IntN(len(forms))], depth)
	}
	if enum, ok := s["enum"].([]any); ok {
		return enum[g.r.IntN(len(enum))]
	}
	kind, _ := s["type"].(string)
	if kinds, ok := s["type"].([]any); ok {
		kind, _ = kinds[g.r.IntN(len(kinds))].(string)
	}
	switch kind {
	case "object":
		return g.object(s, depth)
	case "array":
		list := []any{}
		for range 1 + g.r.IntN(2) {
			list = append(list, g.value(s["items"], depth+1))
		}
		return list
	case "string":
		if s["format"] == "date-time" {
			return pick(g, "2026-11-22T18:00:00Z", "2024-02-29T23:59:59.999-12:30", "1990-12-31T23:59:60z")
		}
		return pick(g, "", "x", "sha256:00", "ünïcode \u2028 \U0001f600", "a\x00b")
	case "integer":
		return pick(g, json.Number("0"), json.Number("7"), json.Number("1.0"), json.Number("9007199254740993"))
	case "number":
		return pick(g, json.Number("0"), json.Number("-1"), json.Number("2.5"), json.Number("1e9"))
	case "boolean":
		return g.r.IntN(2) == 0
	case "null":
		return nil
	}
	return g.anything(depth)
}

func (g *generator) object(s map[string]any, depth int) any {
	m := map[string]any{}
	required, _ := s["required"].([]any)
	members, _ := s["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if g.full || slices.Contains(required, any(name)) || g.r.IntN(2) == 0 {
			m[name] = g.value(members[name], depth+1)
		}
	}
	if s["additionalProperties"] != false {
		for range g.r.IntN(3) {
			m[pick(g, "a", "b c", "mode", "ü", "")] = g.anything(depth + 1)
		}
	}
	return m
}

// anything gives a value for a place that takes every value.
func (g *generator) anything(depth int) any {
	n := 8
	if depth > 4 {
		n = 6
	}
	switch g.r.IntN(n) {
	case 0:
		return nil
	case 1:
		return true
	case 2:
		return json.Number("-3")
	case 3:
		return json.Number("0.25")
	case 4:
		return "text"
	case 5:
		return "2026-11-22T18:00:00Z"
	case 6:
		return []any{g.anything(depth + 1)}
	default:
		return map[string]any{"k": g.anything(depth + 1)}
	}
}

func pick[T any](g *generator, of ...T) T { return of[g.r.IntN(len(of))] }

// odd are values that do not fit most places.
func odd() []any {
	return []any{
		nil, true, json.Number("-1"), json.Number("4"), json.Number("0.5"), "", "nonsense", "allow",
		"2026-11-22", "2026-13-01T00:00:00Z", "2026-11-22T18:00:00", "2026-11-22T25:00:00Z",
		[]any{}, []any{nil}, []any{"x", json.Number("1")}, map[string]any{}, map[string]any{"unknown": "x"},
	}
}

// mutate changes a document at one place, chosen by chance.
func (g *generator) mutate(doc any) any {
	switch v := doc.(type) {
	case map[string]any:
		names := slices.Sorted(maps.Keys(v))
		if len(names) == 0 || g.r.IntN(8) == 0 {
			v[pick(g, "unknown", "Mode", "decision", "$ref")] = pick(g, odd()...)
			return v
		}
		name := pick(g, names...)
		switch g.r.IntN(4) {
		case 0:
			delete(v, name)
		case 1:
			v[name] = pick(g, odd()...)
		case 2:
			v[strings.ToUpper(name)] = v[name]
			delete(v, name)
		default:
			v[name] = g.mutate(v[name])
		}
		return v
	case []any:
		if len(v) == 0 || g.r.IntN(3) == 0 {
			return append(v, pick(g, odd()...))
		}
		i := g.r.IntN(len(v))
		v[i] = g.mutate(v[i])
		return v
	}
	return pick(g, odd()...)
}

// systematic gives the document with each member, at any depth, left out, beside
// an unknown one, and put in place by each odd value.
func (g *generator) systematic(doc any) func(yield func(any) bool) {
	return func(yield func(any) bool) {
		variants(doc, yield)
	}
}

func variants(doc any, yield func(any) bool) bool {
	for _, o := range odd() {
		if !yield(o) {
			return false
		}
	}
	switch v := doc.(type) {
	case map[string]any:
		with := func(name string, member any) map[string]any {
			m := maps.Clone(v)
			m[name] = member
			return m
		}
		if !yield(with("unknown_member", "x")) {
			return false
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			without := maps.Clone(v)
			delete(without, name)
			if !yield(without) || !variants(v[name], func(member any) bool { return yield(with(name, member)) }) {
				return false
			}
		}
	case []any:
		if len(v) > 0 {
			return variants(v[0], func(member any) bool { return yield([]any{member}) })
		}
	}
	return true
}

func clone(doc any) any {
	switch v := doc.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for name, member := range v {
			m[name] = clone(member)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, member := range v {
			list[i] = clone(member)
		}
		return list
	}
	return doc
}
