package git

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
)

// TestAttributesAreGits compares every attribute of every path with git's answer.
func TestAttributesAreGits(t *testing.T) {
	t.Parallel()
	paths := []string{
		"a.txt", "b.bin", "dir/a.txt", "dir/sub/a.txt", "dir/sub/deep/x.bin", "other/a.txt", "x y.txt", "ünï.txt", "[a].txt", "q.q", "dir/q.q",
		"foo/bar", "x/foo/bar", "foo/x/bar", "foo/x/y/bar", "-x", "#x", "!x", "dir/", "A.TXT", "lib/z", "a^b", "a-b", "ab",
	}
	for i, text := range []string{
		"* text=auto\n*.bin binary\n*.txt text eol=crlf\n",
		"[attr]mine filter=lfs -text\n*.bin mine\nq.q filter=x\n/q.q !filter\n",
		"/a.txt filter=a\ndir/a.txt filter=b\n**/deep/** filter=c\nfoo/**/bar filter=d\n**/foo/bar filter=e\ndir/** ident\n",
		"\"x y.txt\" filter=s\n\\#x filter=h\n!x filter=n\n\\!x filter=m\n[[]a].txt filter=c\n?.txt filter=q\n[ab].txt -text\n[!a].txt text\na[^-]b filter=z\n",
		"dir/ filter=d\nfoo/ filter=d\n*/bar filter=1\nlib/* filter=l\n\t*.q  filter=t  \r\nd*r/*.txt crlf\n",
		"*.txt text\n*.txt -text\na.txt !text\n[attr]one two\n[attr]two filter=deep\nq.q one\n-x filter=x\n",
		"a**b filter=s\ndir/**a.txt filter=p\n**.bin filter=bb\n** ident\n*x working-tree-encoding=UTF-16\n",
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			repo := newRepository(t, files{
				".gitattributes": text, "dir/.gitattributes": "*.txt filter=dir\nsub/*.txt -filter\n[attr]no filter=never\n*.q no\n", "dir/sub/.gitattributes": "a.txt eol=lf\n",
			})
			files{"info/attributes": "lib/z filter=info\n"}.write(t, filepath.Join(repo, ".git"))
			r, err := openRepository(filepath.Join(repo, ".git"))
			must(t, err)
			root := plumbing.NewHash(git(t, repo, "rev-parse", "HEAD^{tree}"))
			a := newAttributes(r, &finder{repo: r, root: root, known: map[plumbing.Hash]map[string]entry{}}, nil, nil)
			for _, p := range paths {
				if strings.HasSuffix(p, "/") {
					continue
				}
				got, err := a.of(p)
				must(t, err)
				fields := strings.Split(strings.TrimSuffix(git(t, repo, "check-attr", "-z", "text", "eol", "filter", "ident", "crlf", "working-tree-encoding", "--", p), "\x00"), "\x00")
				for i := 0; i+2 < len(fields); i += 3 {
					want := fields[i+2]
					switch want {
					case "unspecified":
						want = ""
					case "set", "unset":
					default:
						want = "=" + want
					}
					if g := got[fields[i+1]]; g != want {
						t.Errorf("%s of %s is %q, git says %q", fields[i+1], p, g, want)
					}
				}
			}
		})
	}
}

// TestBytesAreGits commits each content under each attribute: either the commit
// has the blob that git would make, or the plan is refused.
func TestBytesAreGits(t *testing.T) {
	t.Parallel()
	lines, dos, binary := "one\ntwo\n", "one\r\ntwo\r\n", "\x89PNG\r\n\x1a\n\x00\x00"
	for name, tc := range map[string]struct {
		attributes string
		config     []string
		old, new   string
		want       string // of the refusal; empty if it is committed
	}{
		"nothing":                 {"", nil, "", dos, ""},
		"text, lines":             {"* text\n", nil, "", lines, ""},
		"text, dos":               {"* text\n", nil, "", dos, "line endings"},
		"auto, dos":               {"* text=auto\n", nil, "", dos, "line endings"},
		"auto, dos before":        {"* text=auto\n", nil, "was\r\n", dos, ""},
		"auto, lines before":      {"* text=auto\n", nil, "was\n", dos, "line endings"},
		"auto, binary":            {"* text=auto\n", nil, "", binary, ""},
		"auto, lone return":       {"* text=auto\n", nil, "", "a\rb\r\n", ""},
		"text, binary":            {"* text\n", nil, "", binary, "line endings"},
		"eol":                     {"* eol=crlf\n", nil, "", dos, "line endings"},
		"eol, not text":           {"* -text eol=crlf\n", nil, "", dos, ""},
		"crlf":                    {"* crlf\n", nil, "", dos, "line endings"},
		"binary":                  {"* binary\n", nil, "", dos, ""},
		"autocrlf":                {"", []string{"core.autocrlf", "true"}, "", dos, "line endings"},
		"autocrlf=input":          {"", []string{"core.autocrlf", "input"}, "", dos, "line endings"},
		"autocrlf, not text":      {"* -text\n", []string{"core.autocrlf", "true"}, "", dos, ""},
		"autocrlf off":            {"", []string{"core.autocrlf", "false"}, "", dos, ""},
		"lfs":                     {"* filter=lfs diff=lfs merge=lfs -text\n", nil, "", lines, "Git LFS"},
		"a filter":                {"* filter=secret\n", nil, "", lines, "filter \"secret\""},
		"a filter that is off":    {"* filter=secret\nf -filter\n", nil, "", lines, ""},
		"ident, expanded":         {"* ident\n", nil, "", "$Id: 123 $\n", "$Id$"},
		"ident, not expanded":     {"* ident\n", nil, "", "$Id$\n", ""},
		"encoding":                {"f working-tree-encoding=UTF-16LE\n", nil, "", "a\x00", "encoding"},
		"attributes in the patch": {"", nil, "", lines, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := files{"other": "o\n"}
			if tc.attributes != "" {
				before[".gitattributes"] = tc.attributes
			}
			repo := newRepository(t, before)
			if tc.old != "" { // as an older git may have left it
				files{"f": tc.old}.write(t, repo)
				git(t, repo, "update-index", "--add", "--cacheinfo", "100644,"+git(t, repo, "hash-object", "-w", "--no-filters", "f")+",f")
				git(t, repo, "commit", "-q", "-m", "old")
			}
			if tc.config != nil {
				git(t, repo, append([]string{"config"}, tc.config...)...)
			}
			f := newFlight(t, repo)
			f.step("edit", files{"f": tc.new})
			files{"f": tc.new}.write(t, repo)
			_, err := tryGit(t, repo, nil, "add", "f")
			blob := ""
			if err == nil {
				blob = git(t, repo, "rev-parse", ":f")
			}
			if tc.want != "" {
				f.refused(tc.want)
				return
			}
			e := f.plan()
			if got := e.Files[0].After; got != blob {
				t.Errorf("blob %s, git makes %s", got, blob)
			}
		})
	}
	t.Run("attributes of the same change", func(t *testing.T) {
		t.Parallel()
		f := newFlight(t, newRepository(t, files{"f": "1\n", ".gitattributes": "* filter=off\n"}))
		f.step("edit", files{"f": "2\n", ".gitattributes": "* -filter\n"})
		f.plan()
		f = newFlight(t, newRepository(t, files{"f": "1\n"}))
		f.step("edit", files{"f": "2\n", "d/.gitattributes": "g filter=lfs\n", "d/g": "x\n"})
		f.refused("d/g")
	})
}

func TestPatternsAreLinear(t *testing.T) {
	t.Parallel()
	re := compilePattern(strings.Repeat("*a", 500)+"b", false)
	if re.MatchString(strings.Repeat("a", 4000)) {
		t.Error("it matches")
	}
	for _, p := range []string{"[", "[a", "a\\", "[!", "[]", "[^]", "[!]", "[\xff]", "[z-a]", "\xff*", "[]a]"} {
		compilePattern(p, true).MatchString("abc")
	}
}
