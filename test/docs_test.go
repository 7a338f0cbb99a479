package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/cli"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/schemas"
)

// documents lists every Markdown text of the repository.
func documents(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "examples/*.md", "examples/*/*.md"} {
		names, err := filepath.Glob(filepath.Join("..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			rel, err := filepath.Rel("..", name)
			if err != nil {
				t.Fatal(err)
			}
			out[filepath.ToSlash(rel)] = readDoc(t, rel)
		}
	}
	if len(out) < 10 {
		t.Fatalf("only %d documents: this test does not see the repository", len(out))
	}
	return out
}

// program runs the program in process.
func program(t *testing.T, stdin string, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := cli.Main(t.Context(), args, strings.NewReader(stdin), &out, &out, []string{"HOME=" + t.TempDir()})
	return code, out.String()
}

var (
	fence  = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	inline = regexp.MustCompile("`([^`\n]+)`")
	flag   = regexp.MustCompile(`^--[a-z][a-z-]*`)
	word   = regexp.MustCompile(`^[a-z][a-z-]*$`)
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

// commandLines gives each `cabincrew …` of a text: lines of code blocks, and code
// in running text.
func commandLines(text string) []string {
	var out []string
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(block[2]) {
			line = strings.TrimPrefix(strings.TrimSpace(line), "$ ")
			if strings.HasPrefix(line, "cabincrew ") || strings.HasPrefix(line, "bin/cabincrew ") {
				out = append(out, strings.TrimPrefix(line, "bin/"))
			}
		}
	}
	for _, code := range inline.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		if strings.HasPrefix(code[1], "cabincrew ") {
			out = append(out, code[1])
		}
	}
	return out
}

// usage finds the command that words name, and gives its help.
func usage(t *testing.T, words []string) (help string, rest []string, ok bool) {
	t.Helper()
	n := 0
	for n < len(words) && word.MatchString(words[n]) {
		n++
	}
	for ; n > 0; n-- {
		code, text := program(t, "", append(slices.Clone(words[:n]), "--help")...)
		if code == 0 && strings.Contains(text, "\n  cabincrew "+strings.Join(words[:n], " ")) {
			return text, words[n:], true
		}
	}
	return "", nil, false
}

// TestCommandsInDocumentsExist holds every command line of the documents against
// the program's help: commands, subcommands and flags.
func TestCommandsInDocumentsExist(t *testing.T) {
	t.Parallel()
	seen := 0
	for name, text := range documents(t) {
		for _, line := range commandLines(text) {
			seen++
			command, _, _ := strings.Cut(line, " #")
			words := strings.Fields(command)[1:]
			for strings.HasPrefix(words[0], "--") && len(words) > 1 {
				words = words[1:]
			}
			if words[0] == "COMMAND" || words[0] == "help" || strings.HasPrefix(words[0], "--") {
				continue
			}
			help, rest, ok := usage(t, words)
			if !ok {
				t.Errorf("%s: %q: there is no such command", name, line)
				continue
			}
			if len(rest) > 0 && word.MatchString(rest[0]) && strings.Contains(help, "Available Commands:") && !strings.Contains(help, "\n  "+rest[0]+" ") {
				t.Errorf("%s: %q: there is no such subcommand", name, line)
			}
			if strings.Contains(help, "\n  run ") && len(rest) > 0 && rest[0] == "run" {
				continue // engine run hands every flag to the engine
			}
			for _, w := range rest {
				if f := flag.FindString(strings.TrimLeft(w, "[")); f != "" && !strings.Contains(help, f+" ") {
					t.Errorf("%s: %q: there is no flag %s", name, line, f)
				}
			}
		}
	}
	if seen < 20 {
		t.Fatalf("only %d command lines: this test does not see them", seen)
	}
}

// TestConfigurationsInDocumentsAreValid checks every YAML block that is a whole
// configuration, and those of the examples.
func TestConfigurationsInDocumentsAreValid(t *testing.T) {
	t.Parallel()
	found := map[string]string{}
	gateways := 0
	for name, text := range documents(t) {
		for i, block := range fence.FindAllStringSubmatch(text, -1) {
			if block[1] == "yaml" && strings.Contains(block[2], "version: 1\n") && strings.Contains(block[2], "\nservers:") {
				gateways++
				if _, err := config.ParseGateway(name, []byte(block[2])); err != nil {
					t.Errorf("block %d: %v", i+1, err)
				}
			}
			if block[1] == "yaml" && strings.Contains(block[2], "steps:") {
				found[fmt.Sprintf("%s, block %d", name, i+1)] = block[2]
			}
		}
	}
	if gateways == 0 {
		t.Error("no configuration of a gateway: this test does not see it")
	}
	names, err := filepath.Glob("../examples/*/.cabincrew.yaml")
	if err != nil || len(names) == 0 {
		t.Fatal("there are no examples", err)
	}
	for _, name := range append(names, "../.cabincrew.yaml") {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		found[name] = string(b)
	}
	for name, text := range found {
		if code, out := program(t, text, "validate", "config", "-"); code != 0 {
			t.Errorf("%s: %s", name, out)
		}
	}
	if len(found) < 4 {
		t.Fatalf("only %d configurations", len(found))
	}
}

// TestGatewayExamplesAreValid reads the parts of a gateway's configuration that
// docs/gateway-mcp.md shows, each beside one server.
func TestGatewayExamplesAreValid(t *testing.T) {
	t.Parallel()
	const rest = "version: 1\nservers: {files: {command: [x]}}\n"
	n := 0
	for i, block := range fence.FindAllStringSubmatch(readDoc(t, "docs/gateway-mcp.md"), -1) {
		if block[1] != "yaml" {
			continue
		}
		n++
		text := block[2]
		if !strings.Contains(text, "version: 1\n") {
			text = rest + text
		}
		if _, err := config.ParseGateway("docs/gateway-mcp.md", []byte(text)); err != nil {
			t.Errorf("block %d: %v", i+1, err)
		}
	}
	if n < 3 {
		t.Errorf("only %d examples: this test does not see them", n)
	}
}

// TestPoliciesInDocumentsAreTrue compiles every policy that a document shows, and
// judges with that of docs/isolation.md.
func TestPoliciesInDocumentsAreTrue(t *testing.T) {
	t.Parallel()
	judge := func(name, text string, isolation policies.Isolation) []string {
		set := policies.Set{Name: "shown", Files: []policies.SetFile{{Path: "shown.rego", Data: []byte(text)}}}
		e, err := rego.New(t.Context(), []policies.Set{set}, rego.Options{Time: time.Minute})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r, err := e.Evaluate(t.Context(), policies.Input{Isolation: isolation}, "2026-01-02T03:04:05Z")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var ids []string
		for _, f := range r.Findings {
			if f.Decision != protocol.Allow {
				ids = append(ids, path.Base(f.PolicyID))
			}
		}
		slices.Sort(ids)
		return ids
	}
	good := policies.Isolation{Tier: "A", Missing: []string{"cgroup"}, Requests: []policies.Request{{Method: "GET", URL: "https://example.com/"}}}
	bad := policies.Isolation{
		Tier: "B", Missing: []string{"landlock"}, Attempts: []policies.Attempt{{Call: "mount", Count: 2}},
		Requests: []policies.Request{{Method: "GET", URL: "https://example.com/" + strings.Repeat("x", 600)}},
	}
	seen := 0
	for name, text := range documents(t) {
		for _, block := range fence.FindAllStringSubmatch(text, -1) {
			if block[1] != "rego" {
				continue
			}
			seen++
			ids := judge(name, block[2], good)
			if len(ids) > 0 && name == "docs/isolation.md" {
				t.Errorf("%s: a plan in tier A is judged %v", name, ids)
			}
			if ids := judge(name, block[2], bad); name == "docs/isolation.md" && !slices.Equal(ids, []string{"attempt", "isolation", "long-url", "no-landlock"}) {
				t.Errorf("%s: a plan with everything wrong is judged %v", name, ids)
			}
		}
	}
	if seen < 2 {
		t.Fatalf("only %d policies: this test does not see them", seen)
	}
}

// TestLinks holds every relative link against the files and headings there are.
func TestLinks(t *testing.T) {
	t.Parallel()
	all := documents(t)
	for name, text := range all {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target, anchor, _ := strings.Cut(m[1], "#")
			file := name
			if target != "" {
				file = filepath.ToSlash(filepath.Join(filepath.Dir(name), target))
				if _, err := os.Stat(filepath.Join("..", file)); err != nil {
					t.Errorf("%s: the link %s leads nowhere", name, m[1])
					continue
				}
			}
			if anchor != "" && !slices.Contains(anchors(all[file]), anchor) {
				t.Errorf("%s: the link %s names no heading", name, m[1])
			}
		}
	}
}

// anchors gives the headings of a document as forges make links of them.
func anchors(text string) []string {
	var out []string
	for line := range strings.Lines(fence.ReplaceAllString(text, "")) {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			drop := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
			out = append(out, strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-"))
		}
	}
	return out
}

// TestReadmeShowsTheDemo compares the demo's headings in the README with those
// that scripts/demo.sh prints, and the exit codes that it demands.
func TestReadmeShowsTheDemo(t *testing.T) {
	t.Parallel()
	readme := readDoc(t, "README.md")
	script := readDoc(t, "scripts/demo.sh")
	var stages, shown []string
	for _, m := range regexp.MustCompile(`(?m)^stage "(.*)"$`).FindAllStringSubmatch(script, -1) {
		stages = append(stages, m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)^=== (.*)$`).FindAllStringSubmatch(readme, -1) {
		shown = append(shown, m[1])
	}
	if len(stages) < 5 || !slices.Equal(stages, shown) {
		t.Errorf("the README shows the stages\n%s\nthe demo has\n%s", strings.Join(shown, "\n"), strings.Join(stages, "\n"))
	}
	var demanded, quoted []string
	for _, m := range regexp.MustCompile(`(?m)^demand ([0-9]+) `).FindAllStringSubmatch(script, -1) {
		demanded = append(demanded, m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)^--- exit ([0-9]+), as demanded ([0-9]+)$`).FindAllStringSubmatch(readme, -1) {
		quoted = append(quoted, m[1])
	}
	if !slices.Equal(demanded, quoted) {
		t.Errorf("the README quotes the exit codes %v, the demo demands %v", quoted, demanded)
	}
}

// TestRoomsAreInTheTable holds the table of docs/architecture.md against rooms().
func TestRoomsAreInTheTable(t *testing.T) {
	t.Parallel()
	table := map[string]string{} // room: layer
	planned := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| ([0-9]?) ?\\| (.*`.*) \\|.*\\|$").FindAllStringSubmatch(readDoc(t, "docs/architecture.md"), -1) {
		for _, name := range inline.FindAllStringSubmatch(row[2], -1) {
			table[name[1]] = row[1]
			planned[name[1]] = row[1] == ""
		}
	}
	for name, r := range rooms() {
		layer, ok := table[name]
		files, err := filepath.Glob(filepath.Join("..", name, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		there := len(files) > 0 // a directory alone may hold the rooms within it
		switch {
		case !ok:
			t.Errorf("docs/architecture.md: the room %s is missing", name)
		case planned[name] == there:
			t.Errorf("docs/architecture.md: whether the room %s is there yet is wrong", name)
		case there && layer != fmt.Sprint(r.layer):
			t.Errorf("docs/architecture.md: the room %s is in layer %d", name, r.layer)
		}
	}
}

// TestEveryKeyIsDescribed compares the keys and defaults of docs/configuration.md and
// docs/gateway-mcp.md with those of the schemas.
func TestEveryKeyIsDescribed(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"config", "gateway", "llm"} {
		everyKey(t, kind)
	}
}

func everyKey(t *testing.T, kind string) {
	t.Helper()
	page := map[string]string{"config": "docs/configuration.md", "gateway": "docs/gateway-mcp.md", "llm": "docs/gateway-llm.md"}[kind]
	rows := "(?m)^\\| `([^`]+)` \\|(.*)\\|(.*)\\|$"
	if kind == "config" { // which has a column more
		rows = "(?m)^\\| `([^`]+)` \\|(.*)\\|(.*)\\|(.*)\\|$"
	}
	raw, err := schemas.Schema(kind)
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(raw, &root); err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	schemaKeys(root, root, "", keys)
	described := map[string]bool{}
	elsewhere := map[string]bool{} // a row says that docs/configuration.md has what is below
	doc := readDoc(t, page)
	if _, keys, ok := strings.Cut(doc, "## Every key"); ok {
		doc = keys
	}
	for _, row := range regexp.MustCompile(rows).FindAllStringSubmatch(doc, -1) {
		described[row[1]] = true
		elsewhere[row[1]] = strings.Contains(row[2], "(configuration.md)")
		want, ok := keys[row[1]]
		if !ok {
			t.Errorf("%s: the schema has no key %s", page, row[1])
		}
		if want != "" && strings.TrimSpace(strings.ReplaceAll(row[3], "`", "")) != want {
			t.Errorf("%s: the default of %s is %s, not %q", page, row[1], want, row[3])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		top, _, _ := strings.Cut(strings.TrimSuffix(key, "[]"), ".")
		if top, _, _ = strings.Cut(top, "["); !described[key] && !elsewhere[top] {
			t.Errorf("%s: %s is not described", page, key)
		}
	}
}

// schemaKeys gives every key below a schema, with its default.
func schemaKeys(root, node map[string]any, at string, out map[string]string) {
	node = resolved(root, node)
	for name, v := range object(node["properties"]) {
		sub, ok := v.(map[string]any)
		if !ok {
			continue // false: the key is forbidden there
		}
		key := strings.TrimPrefix(at+"."+name, ".")
		out[key] = ""
		if d, ok := resolved(root, sub)["default"]; ok {
			out[key] = fmt.Sprint(d)
			if n, is := d.(float64); is {
				out[key] = strconv.FormatFloat(n, 'f', -1, 64)
			}
		}
		schemaKeys(root, sub, key, out)
	}
	if items, ok := node["items"].(map[string]any); ok {
		schemaKeys(root, items, at+"[]", out)
	}
	if more, ok := node["additionalProperties"].(map[string]any); ok {
		schemaKeys(root, more, at+".*", out)
	}
	if list, ok := node["oneOf"].([]any); ok {
		for _, v := range list {
			if o := object(v); o["type"] == "object" {
				schemaKeys(root, o, at, out)
			}
		}
	}
}

func object(v any) map[string]any {
	o, _ := v.(map[string]any)
	return o
}

func resolved(root, node map[string]any) map[string]any {
	ref, ok := node["$ref"].(string)
	if !ok {
		return node
	}
	out := maps.Clone(object(object(root["$defs"])[strings.TrimPrefix(ref, "#/$defs/")]))
	if out == nil {
		out = map[string]any{} // another schema has it
	}
	for k, v := range node {
		if k != "$ref" {
			out[k] = v
		}
	}
	return resolved(root, out)
}
