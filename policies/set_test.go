package policies_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for p, data := range files {
		full := filepath.Join(dir, filepath.FromSlash(p))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"b.rego": "package main\n", "a_test.rego": "package main_test\n", "sub/data.yaml": "x: 1\n",
		"data.json": "{}", "README.md": "not read", "other.json": "{}", "a/z.rego": "package cabincrew.z\n",
	})
	set, err := policies.Load(t.Context(), "./policies//strict/", dir)
	if err != nil {
		t.Fatal(err)
	}
	if set.Name != "policies_strict" {
		t.Errorf("name %q", set.Name)
	}
	var paths []string
	for _, f := range set.Files {
		paths = append(paths, f.Path)
	}
	want := []string{"a/z.rego", "a_test.rego", "b.rego", "data.json", "sub/data.yaml"}
	if !slices.Equal(paths, want) {
		t.Errorf("files %v, want %v", paths, want)
	}
	if string(set.Files[0].Data) != "package cabincrew.z\n" || set.Files[0].Test() || !set.Files[1].Test() {
		t.Errorf("contents or kinds are wrong: %+v", set.Files[:2])
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	link := func(target, name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	one := map[string]string{"a.rego": "package main\n"}
	tests := []struct {
		name  string
		files map[string]string
		make  func(*testing.T, string)
		code  string
	}{
		{"empty directory", nil, nil, "policy_set_empty"},
		{"nothing that is a policy", map[string]string{"README.md": "x"}, nil, "policy_set_empty"},
		{"linked policy", one, link("a.rego", "b.rego"), "policy_file_kind"},
		{"linked directory", one, link(".", "more"), "policy_file_kind"},
		{"link out", one, link("/etc/passwd", "data.json"), "policy_file_kind"},
		{"fifo", one, func(t *testing.T, dir string) {
			t.Helper()
			if err := syscall.Mkfifo(filepath.Join(dir, "b.rego"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "policy_file_kind"},
		{"data.yml", map[string]string{"a.rego": "package main\n", "data.yml": "{}"}, nil, "policy_file_name"},
		{"upper case", map[string]string{"a.REGO": "package main\n"}, nil, "policy_file_name"},
		{"not UTF-8", map[string]string{"a\xff.rego": "package main\n"}, nil, "policy_file_name"},
		{"too large", map[string]string{"a.rego": strings.Repeat("#", limits.PolicyFile+1)}, nil, "policy_set_size"},
		{"too deep", map[string]string{strings.Repeat("d/", limits.PolicyDepth+1) + "a.rego": "package main\n"}, nil, "policy_set_size"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, tc.files)
			if tc.make != nil {
				tc.make(t, dir)
			}
			_, err := policies.Load(t.Context(), "policies", dir)
			if !errors.Is(err, protocol.Code(tc.code)) {
				t.Fatalf("%v, want code %s", err, tc.code)
			}
		})
	}
	if _, err := policies.Load(t.Context(), "policies", filepath.Join(t.TempDir(), "none")); !errors.Is(err, protocol.Code("policy_set_missing")) {
		t.Errorf("missing directory: %v", err)
	}
	dir := t.TempDir()
	write(t, dir, one)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := policies.Load(ctx, "policies", dir); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestCleanName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"policies/": "policies", "./a/b": "a_b", "a//b/../c": "a_c", "baseline": "baseline", `a\b`: `a\b`, "../shared": ".._shared",
	} {
		if got, err := policies.CleanName(in); got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "a\x00b", "a\xff"} {
		if _, err := policies.CleanName(in); !errors.Is(err, protocol.Code("policy_set_name")) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func file(p, data string) policies.SetFile { return policies.SetFile{Path: p, Data: []byte(data)} }

// TestDigest holds figures made by another implementation of docs/protocol.md 3.
func TestDigest(t *testing.T) {
	t.Parallel()
	const want = "sha256:02923ad0ec299d81a10755e9966773bb3ab6b5e80ee60067ebcd859c1b46bf41"
	greet, data := file("greet.rego", "package cabincrew.greet\n"), file("data.json", "{}")
	sets := []policies.Set{{Name: "policies", Files: []policies.SetFile{greet, data}}}
	if got := digest(t, sets); got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	same := [][]policies.Set{
		{{Name: "policies", Files: []policies.SetFile{data, greet}}},
		{{Name: "policies", Files: []policies.SetFile{data, greet, file("greet_test.rego", "package x\n")}}},
	}
	for i, s := range same {
		if got := digest(t, s); got != want {
			t.Errorf("same %d: %s", i, got)
		}
	}
	other := [][]policies.Set{
		nil,
		{{Name: "policy", Files: []policies.SetFile{greet, data}}},
		{{Name: "policies", Files: []policies.SetFile{greet}}},
		{{Name: "policies", Files: []policies.SetFile{greet, file("data.json", "{} ")}}},
		{{Name: "policies", Files: []policies.SetFile{file("Greet.rego", "package cabincrew.greet\n"), data}}},
		{{Name: "policies", Files: []policies.SetFile{greet, data, file("x.rego", "")}}},
	}
	seen := map[string]bool{want: true}
	for i, s := range other {
		got := digest(t, s)
		if seen[got] {
			t.Errorf("other %d: %s is there already", i, got)
		}
		seen[got] = true
	}
	two := []policies.Set{{Name: "b", Files: []policies.SetFile{greet}}, {Name: "a", Files: []policies.SetFile{data}}}
	if digest(t, two) != digest(t, []policies.Set{two[1], two[0]}) {
		t.Error("the order of sets matters")
	}
}

func TestBundledNames(t *testing.T) {
	t.Parallel()
	if got := policies.BundledNames(); !slices.Equal(got, []string{"agents", "baseline", "infrastructure", "supply-chain"}) {
		t.Fatalf("%v", got)
	}
	set, err := policies.Bundled("baseline")
	if err != nil {
		t.Fatal(err)
	}
	if set.Name != "baseline" || len(set.Files) < 3 {
		t.Errorf("%s with %d files", set.Name, len(set.Files))
	}
	// Sets for flights find nothing in messages, and those for messages nothing in flights.
	if _, err := policies.Bundled("mcp"); !errors.Is(err, protocol.Code("policy_set_kind")) {
		t.Errorf("mcp for flights: %v", err)
	}
	for _, name := range policies.BundledNames() {
		if _, err := policies.GatewayBundled(name); !errors.Is(err, protocol.Code("policy_set_kind")) {
			t.Errorf("%s for gateways: %v", name, err)
		}
	}
	for _, name := range policies.GatewayNames() {
		if set, err := policies.GatewayBundled(name); err != nil || set.Name != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "..", "baseline/..", "nothing"} {
		if _, err := policies.GatewayBundled(name); !errors.Is(err, protocol.Code("policy_set_unknown")) {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := policies.Bundled(name); !errors.Is(err, protocol.Code("policy_set_unknown")) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestDocument(t *testing.T) {
	t.Parallel()
	doc, err := policies.Input{Artifacts: []policies.Artifact{{
		Name: "a", Metadata: map[string]any{"id": json.Number("12345678901234567890")}, Body: "",
		Patch: &policies.Patch{Files: []policies.PatchFile{{Path: "x<y>&\xff"}}},
	}, {Name: "b"}}}.Document()
	if err != nil {
		t.Fatal(err)
	}
	top := doc.(map[string]any)
	for _, key := range []string{"artifacts", "context", "config", "mode", "isolation", "opaque", "governance"} {
		if _, ok := top[key]; !ok {
			t.Errorf("%s is missing", key)
		}
	}
	list := top["artifacts"].([]any)
	first, second := list[0].(map[string]any), list[1].(map[string]any)
	if got := first["metadata"].(map[string]any)["id"]; got != json.Number("12345678901234567890") {
		t.Errorf("a large number became %v", got)
	}
	if body, ok := first["body"]; !ok || body != "" {
		t.Errorf("an empty body is %v, %v", body, ok)
	}
	if _, ok := second["body"]; ok {
		t.Error("there is a body where there was none")
	}
	f := first["patch"].(map[string]any)["files"].([]any)[0].(map[string]any)
	if f["path"] != "x<y>&\ufffd" {
		t.Errorf("path %q", f["path"])
	}
	if !reflect.DeepEqual(f["added_lines"], []any{}) || !reflect.DeepEqual(second["metadata"], map[string]any{}) {
		t.Errorf("empty lists and objects are %v and %v", f["added_lines"], second["metadata"])
	}
}

func TestDocumentRefuses(t *testing.T) {
	t.Parallel()
	var deep any = "x"
	for range protocol.MaxDepth {
		deep = []any{deep}
	}
	for name, body := range map[string]any{
		"deep": deep, "no JSON": func() {}, "huge": strings.Repeat("x", limits.PolicyInput),
	} {
		_, err := policies.Input{Artifacts: []policies.Artifact{{Name: "a", Body: body}}}.Document()
		if !errors.Is(err, protocol.Code("policy_input")) || protocol.ExitCode(err) != protocol.ExitDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzCleanName proves that a set's name can be the first part of a record's path.
func FuzzCleanName(f *testing.F) {
	for _, s := range []string{"policies/", "a/../..", "/", ".", "a\\b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, entry string) {
		name, err := policies.CleanName(entry)
		if err == nil && (name == "" || strings.ContainsAny(name, "/\x00")) {
			t.Errorf("%q became %q", entry, name)
		}
	})
}

func digest(t *testing.T, sets []policies.Set) string {
	t.Helper()
	got, err := policies.Digest(sets)
	if err != nil {
		t.Fatal(err)
	}
	return got
}
