package terraform

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

//go:embed testdata/plan.json
var samplePlan []byte

func canonical(t testing.TB, v any) string {
	t.Helper()
	b, err := protocol.Canonical(v)
	must(t, err)
	return string(b)
}

func cleaned(t testing.TB, show []byte, secrets ...string) (map[string]any, []string) {
	t.Helper()
	root, left, err := cleanPlan(show, secrets)
	must(t, err)
	return root, left
}

// at goes to a place in a document.
func at(t testing.TB, v any, path ...any) any {
	t.Helper()
	for _, p := range path {
		switch p := p.(type) {
		case string:
			v = v.(map[string]any)[p]
		case int:
			v = v.([]any)[p]
		}
	}
	return v
}

func TestNothingSensitiveIsLeft(t *testing.T) {
	t.Parallel()
	root, left := cleaned(t, samplePlan, "key")
	all := canonical(t, root)
	for _, secret := range []string{"4711", "kkkk-eeee-yyyy", "t-one-one", "12345678901", "hush-hush", "wordofann", "wordofbob", "closed-tag", "s-value", "no-mask-at-all",
		"pem-text", "only-one-left", "bare-secret", "future-secret", "later-value", "before@x", "given-to-inner", "inner-default", "ephemeral-default",
		"never seen before", "new-field", "abc", "abd", "timestamp"} {
		if strings.Contains(all, secret) {
			t.Errorf("%q is left in %s", secret, all)
		}
	}
	for _, open := range []string{"north", "given-plain", `"open"`, "5432", `"0.25"`, "ann"} {
		if !strings.Contains(all, open) {
			t.Errorf("%q is gone", open)
		}
	}
	if d := cmp.Diff([]string{"change.secret_future", "future_section", "resource.surprise"}, left); d != "" {
		t.Error(d)
	}
}

func TestMasks(t *testing.T) {
	t.Parallel()
	root, _ := cleaned(t, samplePlan, "key")
	changes := map[string]any{}
	for _, c := range objectsOf(root["resource_changes"]) {
		changes[text(c["address"])] = c["change"]
	}
	tests := map[string]struct {
		got  any
		want string
	}{
		"nested list":   {at(t, root, "planned_values", "root_module", "resources", 0, "values", "users"), `[{"name":"ann","word":"(sensitive value)"},{"name":"bob","word":"(sensitive value)"}]`},
		"map":           {at(t, root, "planned_values", "root_module", "resources", 0, "values", "tags"), `{"a":"open","b":"(sensitive value)"}`},
		"set":           {at(t, root, "planned_values", "root_module", "resources", 0, "values", "set"), `"(sensitive value)"`},
		"no mask":       {at(t, root, "planned_values", "root_module", "child_modules", 0, "resources", 0, "values"), `"(sensitive value)"`},
		"object":        {at(t, changes["db.main"], "before"), `{"cert":"(sensitive value)","mixed":["a","b"]}`},
		"shorter list":  {at(t, changes["db.main"], "after"), `{"cert":{"n":8,"pem":"(sensitive value)"},"mixed":"(sensitive value)"}`},
		"unknown":       {at(t, changes["db.new[10]"], "after_unknown"), `{"id":true,"list":[false,true]}`},
		"null":          {at(t, changes["db.new[10]"], "before"), `null`},
		"elsewhere":     {at(t, changes["db.new[10]"], "after"), `{"big":"(sensitive value)","blob":{"deep":[["(sensitive value)"]]},"note":"uses (sensitive value) here","ratio":"0.25","short":"(sensitive value)"}`},
		"import":        {at(t, changes["db.imported"], "importing"), `{"id":"id-of-(sensitive value)"}`},
		"config text":   {at(t, changes["db.imported"], "generated_config"), `"word = \"(sensitive value)\""`},
		"odd masks":     {[]any{at(t, changes["db.odd"], "before"), at(t, changes["db.odd"], "after")}, `["(sensitive value)","(sensitive value)"]`},
		"copied output": {at(t, changes["terraform_data.t"], "after"), `{"input":"(sensitive value)","output":"(sensitive value)"}`},
		"in the state":  {at(t, root, "prior_state", "values", "root_module", "resources", 0, "values"), `{"input":"(sensitive value)","output":"(sensitive value)"}`},
		"output":        {at(t, root, "output_changes", "dsn", "after"), `"(sensitive value)"`},
		"variables":     {root["variables"], `{"key":{"value":"(sensitive value)"},"pin":{"value":"(sensitive value)"},"region":{"value":"north"},"table":{"value":"(sensitive value)"}}`},
		"defaults":      {at(t, root, "configuration", "root_module", "variables"), `{"key":{"default":"(sensitive value)"},"pin":{"default":"(sensitive value)","sensitive":true},"region":{"default":"north"},"table":{"sensitive":true}}`},
		"call":          {at(t, root, "configuration", "root_module", "module_calls", "m", "expressions"), `{"inner":{"constant_value":"(sensitive value)"},"plain":{"constant_value":"given-plain"}}`},
		"provider":      {at(t, root, "configuration", "provider_config", "db", "expressions"), `{"region":{"constant_value":"north"},"token":{"constant_value":"(sensitive value)"}}`},
		"constants":     {at(t, root, "configuration", "root_module", "resources", 0, "expressions"), `{"users":[{"word":{"constant_value":"(sensitive value)"}}]}`},
		"check":         {at(t, root, "checks", 1, "instances", 0, "problems"), `[{"message":"hush-hush? (sensitive value)!"}]`},
		"sorted":        {[]any{at(t, root, "resource_changes", 0, "address"), at(t, root, "checks", 0, "address", "to_display"), at(t, root, "relevant_attributes", 0, "resource")}, `["data.db.look","check.a","a.a"]`},
	}
	for name, tc := range tests {
		want := strings.ReplaceAll(tc.want, "hush-hush?", marker+"?")
		if got := canonical(t, tc.got); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	root, left := cleaned(t, samplePlan)
	got := canonical(t, summarise(root, left))
	want := `{"checks":[{"address":"check.z","status":"fail"}],` +
		`"counts":{"create":1,"defer":1,"delete":1,"forget":1,"import":1,"move":1,"no-op":2,"other":1,"read":1,"replace":1,"update":2},` +
		`"deferred":[{"action":"create","address":"db.later","reason":"provider_config_unknown","type":"db"}],` +
		`"drift":[{"action":"update","address":"db.main","type":"db"}],"incomplete":true,` +
		`"left_out":["change.secret_future","future_section","resource.surprise"],` +
		`"outputs":[{"action":"update","name":"dsn","sensitive":true},{"action":"create","name":"region"}],` +
		`"programs":[],"resources":[{"action":"read","address":"data.db.look","mode":"data","reason":"read_because_config_unknown","type":"db"},` +
		`{"action":"forget","address":"db.forgotten","type":"db"},` +
		`{"action":"delete","address":"db.gone","deposed":"00ff","reason":"delete_because_no_resource_config","type":"db"},` +
		`{"action":"update","address":"db.imported","import":true,"type":"db"},` +
		`{"action":"replace","address":"db.main","reason":"replace_because_cannot_update","type":"db"},` +
		`{"action":"no-op","address":"db.moved","previous_address":"db.old","type":"db"},` +
		`{"action":"create","address":"db.new[10]","type":"db"},{"action":"explode","address":"db.odd","type":"db"},` +
		`{"action":"update","address":"terraform_data.t","type":"terraform_data"}],"terraform_version":"1.11.4",` +
		`"title":"1 to create, 2 to update, 1 to replace, 1 to delete, 1 to forget, 1 to import, 1 to move, 1 to read, 1 to defer, 1 to other"}`
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// A sensitive value must not be able to change what a policy looks for.
func TestMeaningStays(t *testing.T) {
	t.Parallel()
	plan := `{"format_version":"1.0","variables":{"a":{"value":["delete","aws_iam_policy","aws_iam_policy.admin","managed","cidr_blocks"]}},
		"configuration":{"root_module":{"variables":{"a":{"sensitive":true}}}},
		"resource_changes":[{"address":"aws_iam_policy.admin","mode":"managed","type":"aws_iam_policy","change":{"actions":["delete"],"before":{"cidr_blocks":["delete"]},"after":null,"before_sensitive":{},"after_sensitive":false}}]}`
	root, _ := cleaned(t, []byte(plan))
	want := `[{"address":"aws_iam_policy.admin","change":{"actions":["delete"],"after":null,"after_sensitive":false,"before":{"cidr_blocks":["(sensitive value)"]},"before_sensitive":{}},"mode":"managed","type":"aws_iam_policy"}]`
	if got := canonical(t, root["resource_changes"]); got != want {
		t.Error(got)
	}
	if got := summarise(root, nil)["title"]; got != "1 to delete" {
		t.Error(got)
	}
}

func TestLongestFirst(t *testing.T) {
	t.Parallel()
	h := newHider()
	in := map[string]any{"a": "secret-one", "b": "secret-one-two", "c": "x secret-one-two y", "d": strings.Repeat("z", limits.TerraformHidePartMost+1), "e": ""}
	in["e"] = in["d"]
	for _, k := range []string{"a", "b", "d"} {
		h.value(in, k, true)
	}
	h.value(in, "c", nil)
	h.value(in, "e", nil)
	must(t, h.finish())
	if got := canonical(t, in); got != `{"a":"(sensitive value)","b":"(sensitive value)","c":"x (sensitive value) y","d":"(sensitive value)","e":"(sensitive value)"}` {
		t.Error(got)
	}
}

func TestBadPlans(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"a":`, deepest) + `1` + strings.Repeat("}", deepest)
	var many []any
	for i := range limits.TerraformHidden + 1 {
		many = append(many, fmt.Sprintf("value-%d", i))
	}
	crowd, err := json.Marshal(map[string]any{"format_version": "1.0", "resource_changes": []any{map[string]any{"change": map[string]any{"after": many, "after_sensitive": true}}}})
	must(t, err)
	tests := map[string]struct{ show, code, want string }{
		"nothing":            {"", "terraform_plan_format", "ends too early"},
		"a list":             {"[]", "terraform_plan_format", "not an object"},
		"no version":         {"{}", "terraform_plan_format", "format_version"},
		"another major":      {`{"format_version":"2.0"}`, "terraform_plan_format", `"2.0"`},
		"an older one":       {`{"format_version":"0.2"}`, "terraform_plan_format", `"0.2"`},
		"a number":           {`{"format_version":1.0}`, "terraform_plan_format", "format_version"},
		"failed":             {`{"format_version":"1.2","errored":true}`, "terraform_plan_format", "failed"},
		"duplicate":          {`{"format_version":"1.2","format_version":"1.2"}`, "terraform_plan_format", "duplicate"},
		"deep":               {`{"format_version":"1.2","x":` + deep + `}`, "terraform_plan_format", "nested deeper"},
		"deeper":             {strings.Repeat("[", 100_000), "terraform_plan_format", "nested deeper"},
		"changes no list":    {`{"format_version":"1.2","resource_changes":{}}`, "terraform_plan_format", "resource_changes is not a list"},
		"change no object":   {`{"format_version":"1.2","resource_changes":[1]}`, "terraform_plan_format", "not an object"},
		"no change":          {`{"format_version":"1.2","resource_changes":[{}]}`, "terraform_plan_format", "no change"},
		"outputs a text":     {`{"format_version":"1.2","output_changes":"x"}`, "terraform_plan_format", "output_changes is not an object"},
		"variable a text":    {`{"format_version":"1.2","variables":{"a":"x"}}`, "terraform_plan_format", "variables has a member"},
		"module no object":   {`{"format_version":"1.2","planned_values":{"root_module":[]}}`, "terraform_plan_format", "root_module is not an object"},
		"checks an object":   {`{"format_version":"1.2","checks":{}}`, "terraform_plan_format", "checks is not a list"},
		"too much is secret": {string(crowd), "terraform_plan_too_large", "sensitive values"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := cleanPlan([]byte(tc.show), nil)
			var e *protocol.Error
			if !asError(err, &e) || e.Code != tc.code || !strings.Contains(e.Error(), tc.want) || e.Hint == "" {
				t.Errorf("%v, want %s, %q", err, tc.code, tc.want)
			}
		})
	}
}

// FuzzPlan: whatever the plan, cleaning it neither panics nor leaves a value
// that a mask covers, and gives what can be an artifact.
func FuzzPlan(f *testing.F) {
	f.Add(samplePlan)
	f.Add([]byte(`{"format_version":"1.0","resource_changes":[{"change":{"before":["a"],"before_sensitive":[true]}}]}`))
	f.Add([]byte(`{"format_version":"1.0","output_changes":{"a":{"after":{"x":[{"y":"secret-secret"}]},"after_sensitive":{"x":[{"y":true}]}},"b":{"after":"a secret-secret b","after_sensitive":false}}}`))
	f.Fuzz(func(t *testing.T, show []byte) {
		var secrets []string
		if tree, err := protocol.DecodeAny(show); err == nil {
			secrets = masked(tree)
		}
		root, left, err := cleanPlan(show, nil)
		if err != nil {
			return
		}
		b, err := protocol.Canonical(map[string]any{"body": root})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := protocol.Canonical(map[string]any{"body": summarise(root, left)}); err != nil {
			t.Fatal(err)
		}
		var again map[string]any
		if err := protocol.Decode(b, &again); err != nil {
			t.Fatal(err)
		}
		for _, c := range allChanges(again) {
			for _, side := range []string{"before", "after"} {
				for _, s := range secrets {
					if holds(c[side], s) {
						t.Fatalf("%q is left in %s", s, b)
					}
				}
			}
		}
	})
}

// FuzzMask: no text under a true mask survives in any slot.
func FuzzMask(f *testing.F) {
	f.Add([]byte(`{"a":["secret-secret",{"b":"other-secret"}]}`), []byte(`{"a":[true,{"b":true}]}`), []byte(`["secret-secret","x other-secret x"]`))
	f.Add([]byte(`["aaaaaaaa","aaaaaaaaa"]`), []byte(`true`), []byte(`"aaaaaaaaaaaaaaaaaaaa"`))
	f.Add([]byte(`{"a":1}`), []byte(`[true]`), []byte(`null`))
	f.Fuzz(func(t *testing.T, value, mask, other []byte) {
		var all [3]any
		for i, raw := range [][]byte{value, mask, other} {
			v, err := protocol.DecodeAny(raw)
			if err != nil {
				return
			}
			all[i] = v
		}
		var secrets []string
		underMask(all[0], all[1], &secrets)
		in := map[string]any{"value": all[0], "other": all[2]}
		h := newHider()
		h.value(in, "value", all[1])
		h.value(in, "other", nil)
		if h.finish() != nil {
			return
		}
		for _, s := range secrets {
			if holds(in, s) {
				t.Fatalf("%q is left in %v", s, in)
			}
		}
	})
}

// underMask collects, independently of the code under test, texts that a mask
// covers and that are long enough to be hidden inside others.
func underMask(v, mask any, out *[]string) {
	switch m := mask.(type) {
	case bool:
		if m {
			texts(v, out)
		}
	case map[string]any:
		o, _ := v.(map[string]any)
		for k := range o {
			underMask(o[k], m[k], out)
		}
	case []any:
		l, _ := v.([]any)
		for i := range min(len(l), len(m)) {
			underMask(l[i], m[i], out)
		}
	}
}

func texts(v any, out *[]string) {
	switch x := v.(type) {
	case string:
		// The marker's own letters are of course left.
		if len(x) >= limits.TerraformHidePart && len(x) <= limits.TerraformHidePartMost && !overlaps(x) {
			*out = append(*out, x)
		}
	case []any:
		for i := range x {
			texts(x[i], out)
		}
	case map[string]any:
		for k := range x {
			texts(x[k], out)
		}
	}
}

// overlaps says whether a text could come about where the marker meets its surroundings.
func overlaps(s string) bool {
	if strings.Contains(marker, s) || strings.Contains(s, marker) {
		return true
	}
	for i := 1; i < len(s); i++ {
		if strings.HasPrefix(marker, s[i:]) || strings.HasSuffix(marker, s[:i]) {
			return true
		}
	}
	return false
}

func holds(v any, s string) bool {
	switch x := v.(type) {
	case string:
		return strings.Contains(x, s)
	case []any:
		return slices.ContainsFunc(x, func(v any) bool { return holds(v, s) })
	case map[string]any:
		for k := range x {
			if holds(x[k], s) {
				return true
			}
		}
	}
	return false
}

func allChanges(root map[string]any) []map[string]any {
	var out []map[string]any
	for _, r := range append(objectsOf(root["resource_changes"]), objectsOf(root["resource_drift"])...) {
		if c, ok := r["change"].(map[string]any); ok {
			out = append(out, c)
		}
	}
	m, _ := root["output_changes"].(map[string]any)
	for k := range m {
		if c, ok := m[k].(map[string]any); ok {
			out = append(out, c)
		}
	}
	return out
}

// masked collects the texts under the masks of all changes.
func masked(tree any) []string {
	root, _ := tree.(map[string]any)
	var out []string
	for _, c := range allChanges(root) {
		underMask(c["before"], c["before_sensitive"], &out)
		underMask(c["after"], c["after_sensitive"], &out)
	}
	return out
}

func TestCleanerBounds(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &cleaner{to: &out, left: 8}
	for range 3 {
		if n, err := c.Write([]byte("a\x1b[1m\tb")); n != 7 || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := out.String(); !strings.HasPrefix(got, "a?[1m\tba\nterraform: the log is cut off") {
		t.Errorf("%q", got)
	}
	said := &tail{}
	for range limits.TerraformErrors {
		_, _ = said.Write([]byte("xy"))
	}
	_, _ = said.Write([]byte("\nError: one\nError: one\n│ Error: two\x1b[0m\nError: three\nError: four\nError: " + strings.Repeat("long ", 100)))
	if len(said.buf) > limits.TerraformErrors || said.titles() != "one; two?[0m; three" {
		t.Errorf("%d, %q", len(said.buf), said.titles())
	}
}
