package paths

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/limits"
)

// tree is what the tests look at: a root with files and links, and what lies beside it.
type tree struct {
	*Checker
	dir, root string
}

func newTree(t *testing.T, o Options) *tree {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"root/sub/deep", "rootx", "out/dir", "root/.ssh"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"root/file", "root/sub/a.go", "out/secret", "rootx/f", "root/.env", "root/key.json", "root/file:"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"root/in": "sub/a.go", "root/outfile": "../out/secret", "root/outdir": dir + "/out/dir", "root/chain": "chain2", "root/chain2": "outfile",
		"root/loop": "loop2", "root/loop2": "loop", "root/dangling": "../out/new", "root/danglein": "sub/new", "root/sub/up": "..",
		"root/notenv": ".env", "link": "root", "root/sub/toout": "../../out/dir", "root/me": "/proc/self", "root/self": "./.", "root/todeep": "sub/deep",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if o.Base == "" {
		o.Base = dir + "/root"
	}
	if o.Roots == nil {
		o.Roots = []string{dir + "/root"}
	}
	for i, p := range o.Protected {
		o.Protected[i] = strings.ReplaceAll(p, "DIR", dir)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &tree{c, dir, dir + "/root"}
}

// args reads arguments; DIR is the directory of the tree.
func (tr *tree) args(t *testing.T, doc string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(strings.ReplaceAll(doc, "DIR", tr.dir)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	return v
}

// verdict puts findings into few letters: + inside, - outside, ! protected; "" none.
func verdict(list []Finding) string {
	out := ""
	for _, f := range list {
		switch {
		case f.Inside && f.Protected:
			out += "!"
		case f.Inside:
			out += "+"
		case f.Protected:
			out += "x"
		default:
			out += "-"
		}
	}
	return out
}

func TestT30FilesThatArgumentsName(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("links and /proc of Linux")
	}
	tr := newTree(t, Options{Home: "/nowhere/home", Protected: []string{"*.secret", "vault/keys", "DIR/root/key.json"}})
	if err := os.Link(tr.root+"/key.json", tr.root+"/hard.txt"); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("a/", limits.PathBytes)
	for _, c := range []struct{ name, args, want string }{
		{"file", `{"path":"file"}`, "+"},
		{"absolute", `{"path":"DIR/root/file"}`, "+"},
		{"root itself", `{"path":"DIR/root"}`, "+"},
		{"slash after", `{"path":"DIR/root/"}`, "+"},
		{"empty is the base", `{"path":""}`, "+"},
		{"new file", `{"path":"new/dir/f"}`, "+"},
		{"outside", `{"path":"DIR/out/secret"}`, "-"},
		{"root of all", `{"path":"/"}`, "-"},
		{"prefix", `{"path":"DIR/rootx/f"}`, "-"},
		{"traversal", `{"path":"../out/secret"}`, "-"},
		{"traversal inside", `{"path":"sub/../file"}`, "+"},
		{"traversal by nothing", `{"path":"none/../../out/secret"}`, "-"},
		{"traversal and back", `{"path":"../root/file"}`, "+"},
		{"link in", `{"path":"in"}`, "+"},
		{"link to a file", `{"path":"outfile"}`, "-"},
		{"link to a directory", `{"path":"outdir/new"}`, "-"},
		{"chain", `{"path":"chain"}`, "-"},
		{"loop", `{"path":"loop"}`, "-"},
		{"dangling out", `{"path":"dangling"}`, "-"},
		{"dangling in", `{"path":"danglein"}`, "+"},
		{"dots after a link, physical", `{"path":"sub/toout/../secret"}`, "-"},
		{"dots after a link, letters", `{"path":"DIR/link/sub/toout/../../../out"}`, "-"},
		{"dots after a link, both in", `{"path":"sub/up/../root/file"}`, "+"},
		{"dots after a link, in", `{"path":"sub/up/sub/../file"}`, "+"},
		{"dots after a link down", `{"path":"todeep/../../out/secret"}`, "-"},
		{"link of dots", `{"path":"self/self/file"}`, "+"},
		{"by a link to the root", `{"path":"DIR/link/file"}`, "+"},
		{"file as a directory", `{"path":"file/x"}`, "+"},
		{"file as a directory and up", `{"path":"file/../../out/secret"}`, "-"},

		{"nested", `{"options":{"target":{"file_path":"../out/secret"}}}`, "-"},
		{"array", `{"paths":["file","../out/secret","sub/a.go"]}`, "+-+"},
		{"array of arrays", `{"paths":[["../out/secret"]]}`, "-"},
		{"array of objects", `{"edits":[{"filename":"file"},{"filename":"outfile"}]}`, "+-"},
		{"below a name", `{"file":{"value":"outdir/x"}}`, "-"},
		{"names of members", `{"files":{"../out/secret":"x","DIR/root/file":1}}`, "-+"},
		{"source and destination", `{"source":"outfile","destination":"../out/new"}`, "--"},
		{"by look", `{"x":"DIR/out/secret"}`, "-"},
		{"by look, relative", `{"x":"sub/../../out"}`, "-"},
		{"by look, blanks", `{"x":" DIR/out/secret\n"}`, "-"},
		{"by look, lines", `{"x":"DIR/root/file\nDIR/out/secret"}`, "+-"},
		{"camel", `{"repoPath":"../out","outputDir":"../out","oldFileName":"../out/x"}`, "---"},
		{"words", `{"to":"bob@example.com","from":"somebody","x":"a/b","url":"https://example.com/a/b","note":"a: b"}`, ""},
		{"words that exist", `{"from":"file","to":"sub"}`, "++"},
		{"interface", `{"endpoint":"/api/v1/users"}`, ""},
		{"interface with dots", `{"endpoint":"/api/../etc/passwd"}`, "-"},
		{"URL with dots", `{"url":"https://example.com/../../../../../../../../../../../etc/passwd"}`, ""},
		{"URL with dots as a path", `{"path":"https://example.com/../etc/passwd"}`, "-"},
		{"text", `{"content":"/* DIR/out/secret */ and more","new_string":"/etc/passwd","newText":"../x","old_string":"../x"}`, ""},
		{"code", `{"source":"// a\nimport x\n"}`, ""},

		{"URI", `{"uri":"file://DIR/root/file"}`, "+"},
		{"URI outside", `{"uri":"file://DIR/out/secret"}`, "-"},
		{"URI by look", `{"x":"file:///etc/passwd"}`, "-"},
		{"URI of localhost", `{"x":"FILE://LOCALHOST/etc/passwd"}`, "-"},
		{"URI without slashes", `{"x":"file:/etc/passwd"}`, "-"},
		{"URI of a host", `{"x":"file://host/DIR/root/file"}`, "-"},
		{"URI encoded", `{"uri":"file://DIR/root/%2e%2e/out/secret"}`, "-"},
		{"URI encoded inside", `{"uri":"file://DIR/root/s%75b/a.go"}`, "+"},
		{"URI encoded slash", `{"uri":"file://DIR/root/..%2Fout"}`, "-"},
		{"URI encoded twice", `{"uri":"file://DIR/root/%252e%252e/out"}`, "-"},
		{"URI encoded NUL", `{"uri":"file://DIR/root/file%00"}`, "-"},
		{"URI badly encoded", `{"uri":"file://DIR/root/%zz"}`, "-"},
		{"URI with a query", `{"uri":"file://DIR/root/outfile?x"}`, "-"},
		{"URI with a fragment", `{"uri":"file://DIR/root/outdir#/a"}`, "-"},
		{"URI with a tab", `{"x":"fi\tle:///etc/passwd"}`, "-"},
		{"URI with line breaks", `{"x":"fi\nle:///etc/passwd"}`, "-"},
		{"URI of another scheme", `{"x":"git+file:///etc"}`, "-"},
		{"URI with backslashes", `{"x":"file:\\\\\\etc\\passwd"}`, "-"},
		{"URI of a drive", `{"x":"file:///C:/Windows"}`, "-"},
		{"URI as a directory", `{"path":"file:///../../x"}`, "-"},
		{"URI that leaves as a directory only", `{"path":"file:///../../..DIR/root/file"}`, "-"},
		{"percent", `{"path":"%2e%2e/out/secret"}`, "-"},
		{"percent by look", `{"x":"..%2fout"}`, "-"},
		{"percent of a name", `{"path":"100%25"}`, "+"},

		{"NUL", `{"path":"file\u0000.txt"}`, "-"},
		{"line break", `{"path":"file\n"}`, "-"},
		{"separator", `{"path":"file\u2028"}`, "-"},
		{"C1", `{"path":"file\u0085"}`, "-"},
		{"backslash", `{"path":"sub\\..\\..\\out"}`, "-"},
		{"backslash by look", `{"x":"..\\out"}`, "-"},
		{"drive", `{"x":"C:\\Windows"}`, "-"},
		{"drive with a slash", `{"x":"c:/Windows"}`, "-"},
		{"UNC", `{"x":"\\\\host\\share"}`, "-"},
		{"two slashes", `{"path":"//host/share"}`, "-"},
		{"stream", `{"path":"file::$DATA"}`, "-"},
		{"dot at the end", `{"path":"file."}`, "-"},
		{"blank at the end", `{"path":"file "}`, "-"},
		{"short name", `{"path":"SECRET~1"}`, "-"},
		{"short name with an end", `{"path":"sub/SECRET~1.TXT"}`, "-"},
		{"backup", `{"path":"file~"}`, "+"},
		{"long", `{"path":"` + long + `"}`, "-"},
		{"long name", `{"path":"` + strings.Repeat("a", 256) + `"}`, "-"},
		{"no UTF-8 is told", `{"path":"a` + "\xff" + `"}`, "+"}, // the reader of JSON puts U+FFFD
		{"home", `{"path":"~/x"}`, "-"},
		{"home by look", `{"x":"~"}`, "-"},
		{"home of another", `{"path":"~root/x"}`, "-"},
		{"variable", `{"path":"${HOME}/x"}`, "-"},
		{"variable of Windows", `{"path":"%APPDATA%\\x"}`, "-"},

		{"proc", `{"path":"/proc/self/root/etc/passwd"}`, "x"},
		{"proc by a link", `{"path":"me/environ"}`, "x"},
		{"environ", `{"path":"/proc/1/environ"}`, "x"},
		{"dev", `{"path":"/dev/mem"}`, "x"},
		{"shadow", `{"path":"/etc/shadow"}`, "x"},
		{"env", `{"path":".env"}`, "!"},
		{"env by case", `{"path":".ENV.local"}`, "!"},
		{"env by a link", `{"path":"notenv"}`, "!"},
		{"env by a word", `{"from":".env"}`, "!"},
		{"ssh", `{"path":".ssh/known_hosts"}`, "!"},
		{"ssh by a long s", `{"path":".\u017f\u017fh/config"}`, "!"},
		{"git", `{"path":".git/hooks/pre-commit"}`, "!"},
		{"git by case", `{"path":"sub/.GiT/config"}`, "!"},
		{"git by what is ignored", `{"path":".g\u200cit/config"}`, "!"},
		{"key", `{"path":"a/server.PEM"}`, "!"},
		{"docker", `{"path":".docker/config.json"}`, "!"},
		{"docker beside", `{"path":".docker/other.json"}`, "+"},
		{"lock", `{"path":".cabincrew.lock"}`, "!"},
		{"state", `{"path":".cabincrew/x"}`, "!"},
		{"own pattern", `{"path":"a.SECRET"}`, "!"},
		{"own names", `{"path":"a/vault/keys/x"}`, "!"},
		{"own file", `{"path":"key.json"}`, "!"},
		{"hard link", `{"path":"hard.txt"}`, "!"},

		{"patch", `{"patch":"--- a/file\n+++ b/file\n@@ -1 +1 @@\n-x\n+y\n"}`, "++"},
		{"patch that leaves", `{"patch":"--- a/../../out/secret\n+++ b/file\n@@\n"}`, "-+"},
		{"patch that leaves in one", `{"patch":"--- a/file\n+++ b/../../out/secret\n"}`, "+-"},
		{"patch by a link", `{"patch":"--- /dev/null\n+++ b/outdir/x\n"}`, "-"},
		{"patch without a directory to take away", `{"patch":"--- outdir/x\n+++ outdir/x\n"}`, "-"},
		{"rename", `{"diff":"diff --git a/file b/file2\nrename from file\nrename to ../out/x\n"}`, "+++-"},
		{"only the first line", `{"diff":"diff --git a/file b/../../out/x\nold mode 100644\nnew mode 100755\n"}`, "+-"},
		{"quoted", `{"diff":"--- a/file\n+++ \"b/\\056\\056/../out/x\"\n"}`, "+-"},
		{"patch of another form", `{"input_patch":"*** Begin Patch\n*** Update File: /etc/passwd\n*** Move to: ../out/x\n*** End Patch"}`, "--"},
		{"patch by look", `{"x":"diff --git a/x b/x\n--- a/x\n+++ b/../../out/x\n"}`, "++-"},
		{"patch of a protected name", `{"patch":"--- a/.env\n+++ b/.env\n"}`, "!!"},
		{"joined", `{"cwd":"sub","file":"toout/f"}`, "+-"},
		{"joined absolute", `{"directory":"DIR/root/sub","filename":"toout"}`, "+-"},
		{"joined list", `{"repo_path":"DIR/root/sub","files":["a.go","toout/f","../../root/file"]}`, "+--+"},
		{"joined words", `{"dir":"sub","name":"a.go","from":"toout"}`, "+-"},
		{"joined inside", `{"dir":"sub","path":"deep/x","ref":"main"}`, "++"},
		{"joined twice", `{"root":"DIR/root","dir":"sub","path":"deep"}`, "+++"},
		{"joined encoded", `{"cwd":"sub","path":"tooout%2f..%2f..%2f..%2fout"}`, "+-"},

		{"patch as contents", `{"text":"--- a/../../out/secret\n+++ b/../../out/secret\n"}`, "--"},
		{"git patch as contents", `{"content":"diff --git a/../../out/x b/file\n"}`, "-+"},
		{"other patch as contents", `{"body":"*** Begin Patch\n*** Update File: ../out/x\n*** End Patch\n"}`, "-"},
		{"patch within contents", `{"content":"Like this:\n--- a/../../out/secret\n+++ b/x\n"}`, ""},
		{"URI as contents", `{"data":"file:///etc/passwd","content":" FILE:///etc/passwd\n"}`, "--"},
		{"path as contents", `{"text":"../out/secret","query":"DIR/out/secret","code":["/etc/passwd"],"message":"DIR/root/file"}`, "-+--"},
		{"prose", `{"text":"file: see below","message":"../x is gone","query":"/users/7","code":"../","content":"/etc/passwd and more","body":"file:///etc/passwd is a file"}`, "-"},
		{"comment", `{"code":"// x","content":"/** x */","body":"/"}`, ""},

		{"list with commas", `{"path":"DIR/root/file,DIR/out/secret"}`, "++-"},
		{"list with semicolons", `{"files":"file;DIR/out/secret"}`, "+-"},
		{"list with colons", `{"target":"DIR/root/file:DIR/out/secret"}`, "-+-"},
		{"list with blanks", `{"paths":"file ../out/secret"}`, "--"},
		{"option", `{"args":["--output=DIR/out/x","-f","@DIR/out/x","key=DIR/out/x","a=b","--n=1"]}`, "---"},
		{"option inside", `{"args":["--output=DIR/root/x"]}`, "+"},
		{"in quotation marks", `{"x":"\"DIR/out/x\"","y":"'../x'"}`, "--"},
		{"URI with controls before", `{"x":"\u0001file:///etc/passwd"}`, "-"},
		{"no list", `{"image":"registry/app:1.2","x":"a=b/c","repo":"git@example.com:a/b.git"}`, "++"},
		{"patch in another directory", `{"repo_path":"DIR/root/sub","patch":"--- a/x\n+++ b/toout/x\n"}`, "+-+"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := tr.Check(Tool{Name: "t"}, tr.args(t, c.args))
			if verdict(got) != c.want {
				t.Errorf("%s: %q, want %q\n%+v", c.args, verdict(got), c.want, got)
			}
			for _, f := range got {
				if (!f.Inside || f.Protected) == (f.Why == "") {
					t.Errorf("Why is %q: %+v", f.Why, f)
				}
				if f.Inside && (f.Root == "" || !below(f.Path, tr.root)) {
					t.Errorf("inside of what? %+v", f)
				}
				if len(f.Value) > limits.MCPPathShown+10 {
					t.Errorf("%d bytes are told", len(f.Value))
				}
			}
		})
	}
}

func TestURIsOfFiles(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]bool{
		"file:///x": true, "FILE:x": true, "fi\tle:///x": true, "fi\nle:///x": true, "\x01file:///x": true, " file:x": true, "git+file:///x": true, "jar:file:/x!/y": true,
		"fi" + strings.Repeat("\t", 100) + "le:///x": true,
		"": false, "https://file/x": false, "profile:x": false, "x": false, "res://file:1": false,
	} {
		if IsFileURI(uri) != want {
			t.Errorf("%q", uri)
		}
	}
	for uri, want := range map[string]bool{"https://x/../y": true, "HTTP://x": true, "https:///x": false, "https://../x": false, "https:/x": false, "file://x": false, "": false} {
		if IsWeb(uri) != want {
			t.Errorf("%q", uri)
		}
	}
}
