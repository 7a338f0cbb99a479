package paths

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

func TestSchema(t *testing.T) {
	t.Parallel()
	tr := newTree(t, Options{})
	for _, c := range []struct{ name, schema, args, want string }{
		{"nothing known", `{}`, `{"x":"outfile"}`, ""},
		{"format path", `{"properties":{"x":{"type":"string","format":"path"}}}`, `{"x":"outfile"}`, "-"},
		{"format file-path", `{"properties":{"x":{"format":"File-Path"}}}`, `{"x":"outfile"}`, "-"},
		{"format uri", `{"properties":{"x":{"format":"uri"}}}`, `{"x":"outfile"}`, "-"},
		{"format email", `{"properties":{"to":{"format":"email"}}}`, `{"to":"file"}`, ""},
		{"format email of a path", `{"properties":{"path":{"format":"email"}}}`, `{"path":"outfile"}`, "-"},
		{"description", `{"properties":{"x":{"description":"The Path to be read"}}}`, `{"x":"outfile"}`, "-"},
		{"description of a directory", `{"properties":{"x":{"title":"Directories"}}}`, `{"x":"outdir/a"}`, "-"},
		{"description of a profile", `{"properties":{"x":{"description":"A profile, directly empathic"}}}`, `{"x":"outfile"}`, ""},
		{"description of contents", `{"properties":{"content":{"description":"what to write to the file"}}}`, `{"content":"outfile"}`, ""},
		{"format of contents", `{"properties":{"content":{"format":"path"}}}`, `{"content":"outfile"}`, "-"},
		{"elements", `{"properties":{"x":{"items":{"format":"path"}}}}`, `{"x":["file","outfile"]}`, "+-"},
		{"elements before", `{"properties":{"x":{"prefixItems":[{},{"format":"path"}]}}}`, `{"x":["file","outfile"]}`, "+-"},
		{"nested", `{"properties":{"x":{"properties":{"y":{"format":"path"}}}}}`, `{"x":{"y":"outfile"}}`, "-"},
		{"reference", `{"$defs":{"P":{"format":"path"}},"properties":{"x":{"$ref":"#/$defs/P"}}}`, `{"x":"outfile"}`, "-"},
		{"reference to itself", `{"$ref":"#"}`, `{"x":"outfile"}`, ""},
		{"references in a circle", `{"$defs":{"P":{"properties":{"x":{"$ref":"#/$defs/P","format":"path"}}}},"$ref":"#/$defs/P"}`, `{"x":{"x":{"x":"file"}}}`, ""},
		{"any of", `{"properties":{"x":{"anyOf":[{"type":"null"},{"format":"path"}]}}}`, `{"x":"outfile"}`, "-"},
		{"any of objects", `{"oneOf":[{"properties":{"x":{}}},{"properties":{"x":{"format":"path"}}}]}`, `{"x":"outfile"}`, "-"},
		{"other members", `{"additionalProperties":{"format":"path"}}`, `{"x":"outfile"}`, "-"},
		{"patterns of members", `{"patternProperties":{"^x":{"format":"path"}}}`, `{"x":"outfile"}`, "-"},
		{"no schema", `[true]`, `{"x":"outfile","path":"outfile"}`, "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := tr.Check(Tool{Schema: tr.args(t, c.schema)}, tr.args(t, c.args))
			if verdict(got) != c.want {
				t.Errorf("%q, want %q: %+v", verdict(got), c.want, got)
			}
		})
	}
}

func TestConfigured(t *testing.T) {
	t.Parallel()
	tr := newTree(t, Options{})
	for _, c := range []struct {
		name            string
		pointers, never []string
		args, want      string
	}{
		{"pointer", []string{"/x"}, nil, `{"x":"outfile","y":"outfile"}`, "-"},
		{"pointer without a slash", []string{"x"}, nil, `{"x":"outfile"}`, "-"},
		{"pointer to a list", []string{"/x"}, nil, `{"x":["outfile",{"y":"outfile"}]}`, "--"},
		{"pointer by star", []string{"/x/*/y"}, nil, `{"x":[{"y":"outfile","z":"outfile"}]}`, "-"},
		{"pointer to contents", []string{"/content"}, nil, `{"content":"outfile"}`, "-"},
		{"pointer to all", []string{""}, nil, `{"content":"outfile"}`, "-"},
		{"pointer with escapes", []string{"/a~1b"}, nil, `{"a/b":"outfile"}`, "-"},
		{"pointer to half a name", []string{"/x"}, nil, `{"xy":"outfile"}`, ""},
		{"pointer deeper than the value", []string{"/x/y"}, nil, `{"x":"outfile"}`, ""},
		{"never", nil, []string{"/path"}, `{"path":"/etc/passwd","file":"outfile"}`, "-"},
		{"never below", nil, []string{"/a/*/path"}, `{"a":[{"path":"/etc"},{"path":"/etc","file":"outfile"}]}`, "-"},
		{"never with all below", nil, []string{"/a"}, `{"a":[{"path":"/etc"}]}`, ""},
		{"never beats a pointer", []string{"/a"}, []string{"/a"}, `{"a":"/etc"}`, ""},
		{"never a name", nil, []string{"/~1etc~1passwd"}, `{"/etc/passwd":"/etc"}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := tr.Check(Tool{Pointers: c.pointers, Never: c.never}, tr.args(t, c.args))
			if verdict(got) != c.want {
				t.Errorf("%q, want %q: %+v", verdict(got), c.want, got)
			}
		})
	}
}

func TestAt(t *testing.T) {
	t.Parallel()
	tr := newTree(t, Options{})
	got := tr.Check(Tool{}, tr.args(t, `{"paths":["file"],"a/b~c":{"path":"../out/secret"}}`))
	if len(got) != 2 || got[0].At != "/a~1b~0c/path" || got[1].At != "/paths/0" {
		t.Fatalf("%+v", got)
	}
	if want := (Finding{At: "/a~1b~0c/path", Value: "../out/secret", Path: tr.dir + "/out/secret", Why: "it lies outside the roots"}); got[0] != want {
		t.Errorf("%+v", got[0])
	}
	if want := (Finding{At: "/paths/0", Value: "file", Path: tr.root + "/file", Root: tr.root, Inside: true}); got[1] != want {
		t.Errorf("%+v", got[1])
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]hint{
		"path": strong, "Path": strong, "FILE_PATH": strong, "filePath": strong, "file-path": strong, "file.path": strong, "path1": strong, "paths": strong,
		"repo_path": strong, "oldPath": strong, "fileName": strong, "file_name": strong, "outputDirectory": strong, "workingDirectory": strong, "XMLFile": strong,
		"target_dir": strong, "dst": strong, "cwd": strong, "a_very_long_name_" + strings.Repeat("x", 100) + "_path": strong,
		"from": weak, "source": weak, "fileId": weak, "pathPrefix": weak, "saveAs": weak, "path_string": weak, "filePathText": weak, "imageLocation": weak,
		"uri": link, "baseUrl": link, "patch": diff, "unified_diff": diff,
		"content": content, "fileContent": content, "newText": content, "file_text": content, "query": content,
		"x": none, "": none, "_": none, "count": none, "compath": none, "profile": none, "é": none,
	} {
		if got := nameHint(name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

func TestWithoutRoots(t *testing.T) {
	t.Parallel()
	tr := newTree(t, Options{Roots: []string{}})
	got := tr.Check(Tool{}, tr.args(t, `{"paths":["/etc/hosts","../out/secret",".env","loop","a\\b"]}`))
	if v := verdict(got); v != "++!++" || got[0].Root != "" {
		t.Errorf("%s: %+v", v, got)
	}
}

func TestRoots(t *testing.T) {
	t.Parallel()
	tr := newTree(t, Options{})
	if err := os.WriteFile(tr.dir+"/plain", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ base, root string }{{"rel", "."}, {tr.dir, ""}, {tr.dir, "gone"}, {tr.dir, "plain"}, {tr.dir, "root/loop"}} {
		_, err := New(Options{Base: c.base, Roots: []string{c.root}})
		if protocol.ExitCode(err) != protocol.ExitUsage {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := New(Options{Base: tr.dir, Protected: []string{"a["}}); protocol.ExitCode(err) != protocol.ExitUsage {
		t.Error(err)
	}
	c, err := New(Options{Base: tr.dir + "/link", Roots: []string{"../link/sub", tr.dir + "/link"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Roots(); len(got) != 2 || got[0] != tr.root+"/sub" || got[1] != tr.root {
		t.Errorf("%q", got)
	}
	// Whoever knows the working directory by its link means another place by "..".
	if v := verdict(c.Check(Tool{}, tr.args(t, `{"paths":["file","sub/../file","../link/file","../root/file"]}`))); v != "++++" {
		t.Error(v)
	}
}

func TestRootChanges(t *testing.T) {
	t.Parallel()
	tr := newTree(t, Options{})
	check := func(want string) {
		t.Helper()
		if got := tr.Check(Tool{}, tr.args(t, `{"path":"DIR/root/file","x":"DIR/root/a/../new"}`)); verdict(got) != want {
			t.Errorf("%q, want %q: %+v", verdict(got), want, got)
		}
	}
	check("++")
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(tr.dir+"/"+from, tr.dir+"/"+to); err != nil {
			t.Fatal(err)
		}
	}
	rename("root", "moved")
	check("--")
	if err := os.Symlink("out", tr.dir+"/root"); err != nil { // somebody puts a link in its place
		t.Fatal(err)
	}
	check("--")
	if err := os.Remove(tr.dir + "/root"); err != nil {
		t.Fatal(err)
	}
	rename("out", "root") // or another directory
	check("++")
}

func TestNotReadable(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("root may look at everything")
	}
	tr := newTree(t, Options{})
	if err := os.Chmod(tr.root+"/sub", 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(tr.root+"/sub", 0o700) }) //nolint:errcheck // so that it can be removed
	if got := tr.Check(Tool{}, tr.args(t, `{"path":"sub/a.go"}`)); verdict(got) != "-" || !strings.Contains(got[0].Why, "permission") {
		t.Errorf("%+v", got)
	}
}

func TestCaseInsensitive(t *testing.T) {
	t.Parallel()
	tr := newTree(t, Options{CaseInsensitive: true})
	upper := tr.dir + "/ROOT/new"
	// Here the letters differ and nothing is there: it is not the root that is compared.
	if got := tr.Check(Tool{}, map[string]any{"path": upper}); verdict(got) != "-" {
		t.Errorf("%+v", got)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	tr := newTree(t, Options{})
	list := func(n int, v string) map[string]any {
		out := make([]any, n)
		for i := range out {
			out[i] = v
		}
		return map[string]any{"x": out}
	}
	for name, args := range map[string]any{
		"texts":    list(limits.MCPPathTexts+1, "word"),
		"findings": list(limits.MCPPathFindings+1, "./file"),
		"lookups":  map[string]any{"paths": list(limits.MCPPathFindings-1, strings.Repeat("sub/up/", 100)+"file")["x"]},
		"patch":    map[string]any{"patch": manyNames(limits.MCPPathFindings + 1)},
		"lines":    map[string]any{"x": strings.Repeat("./file\n", limits.MCPPathFindings+1) + "./file"},
	} {
		got := tr.Check(Tool{}, args)
		bad := 0
		for _, f := range got {
			if !f.Inside {
				bad++
			}
		}
		if name != "lines" && bad == 0 || len(got) > limits.MCPPathFindings+1 {
			t.Errorf("%s: %d findings, %d outside", name, len(got), bad)
		}
	}
	var deep any = "../out/secret"
	for range protocol.MaxDepth + 2 {
		deep = []any{deep}
	}
	if got := tr.Check(Tool{}, map[string]any{"path": deep}); verdict(got) != "x" {
		t.Errorf("deep: %+v", got)
	}
}

func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "+++ b/%d\n", i)
	}
	return b.String()
}

func BenchmarkCheck(b *testing.B) {
	dir := b.TempDir()
	if err := os.MkdirAll(dir+"/a/b/c", 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(dir+"/a/b/c/file.go", nil, 0o600); err != nil {
		b.Fatal(err)
	}
	c, err := New(Options{Roots: []string{dir}, Base: dir, Protected: []string{dir + "/a/x", dir + "/a/y"}})
	if err != nil {
		b.Fatal(err)
	}
	schema := map[string]any{"type": "object", "properties": map[string]any{
		"message": map[string]any{"type": "string", "description": "Message to echo"},
		"path":    map[string]any{"type": "string"},
		"n":       map[string]any{"type": "number"},
	}}
	for name, args := range map[string]any{
		"none": map[string]any{"message": "hello world, this is a message", "n": 1, "flags": []any{"a", "b"}},
		"file": map[string]any{"path": "a/b/c/file.go"},
		"text": map[string]any{"content": strings.Repeat("a line of text\n", 1000)},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.Check(Tool{Schema: schema}, args)
			}
		})
	}
}
