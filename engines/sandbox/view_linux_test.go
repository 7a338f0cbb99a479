package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func mkfifo(t testing.TB, at string) {
	t.Helper()
	if err := syscall.Mkfifo(at, 0o644); err != nil {
		t.Fatal(err)
	}
}

// look runs simple acts over files in tier A and gives what each said.
func look(t *testing.T, c *Confine, acts ...string) []string {
	t.Helper()
	c.Tier = TierA
	_, out := within(t, c, append([]string{"do"}, acts...)...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != len(acts) {
		t.Fatalf("%d answers to %d acts:\n%s", len(lines), len(acts), out)
	}
	for i, l := range lines {
		lines[i] = strings.TrimPrefix(l, fmt.Sprintf("%q ", acts[i]))
	}
	return lines
}

// TestReadOnlyView hides files and directories of several layers.
func TestReadOnlyView(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T) {
		tier(t, TierA)
		dir := fill(t, shared(t), map[string]string{
			"top/patched": "patched", "low/patched": "old", "low/seen": "seen", "low/hidden": "secret", "low/gone/file": "secret", "low/gone/deep/file": "secret",
			"low/part/seen": "seen", "low/part/hidden": "secret", "low/part/deep/hidden": "secret", "low/both/a": "secret", "low/both/b": "secret", "low/link": "->hidden",
		})
		if err := os.Chmod(dir+"/low/part", 0o750); err != nil {
			t.Fatal(err)
		}
		before := listing(t, dir)
		got := look(t, &Confine{View: &View{
			Target: "/workspace", Lower: []string{dir + "/top", dir + "/low"},
			// A directory is hidden whether what it holds is listed before it, after it, or not.
			Hide: []string{"hidden", "gone", "gone/file", "part/hidden", "part/deep/hidden", "both/a", "both", "both/b", "not/there", "./part/../part/hidden"},
		}},
			"read|/workspace/patched", "list|/workspace", "read|/workspace/hidden", "list|/workspace/gone", "list|/workspace/part", "list|/workspace/part/deep",
			"list|/workspace/both", "read|/workspace/both/b", "read|/workspace/link", "write|/workspace/seen|x", "write|/workspace/hidden|x", "remove|/workspace/hidden",
			"remove|/workspace/seen", "mkdir|/workspace/gone", "rename|/workspace/seen|/workspace/hidden", "chmod|/workspace/seen", "list|/.parts", "list|/")
		for i, want := range []string{
			`"patched" <nil>`, `"link not part patched seen " <nil>`, "no such file", "no such file", `"deep seen " <nil>`, `"" <nil>`, "no such file", "no such file", "no such file",
			"read-only", "read-only", "no such file|read-only", "read-only", "read-only", "read-only", "read-only", "no such file", "<nil>",
		} {
			if ok := false; true {
				for alt := range strings.SplitSeq(want, "|") {
					ok = ok || strings.Contains(got[i], alt)
				}
				if !ok {
					t.Errorf("%d: %s, want %s", i, got[i], want)
				}
			}
		}
		if strings.Contains(strings.Join(got, " "), "secret") {
			t.Error(got)
		}
		if after := listing(t, dir); after != before {
			t.Errorf("what lies below changed:\n%s\n%s", before, after)
		}
		if last := got[len(got)-1]; strings.Contains(last, ".parts") || strings.Contains(last, ".old") {
			t.Error(last)
		}
	})
}

// TestWritableView takes changes apart from what lies below.
func TestWritableView(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T) {
		tier(t, TierA)
		dir := fill(t, shared(t), map[string]string{
			"low/file": "old", "low/remove": "x", "low/dir/inner": "x", "low/rename": "r", "low/hidden": "secret", "low/mode": "m", "up/": "",
		})
		before := listing(t, dir+"/low")
		got := look(t, &Confine{View: &View{Target: "/workspace", Lower: []string{dir + "/low"}, Hide: []string{"hidden"}, Upper: dir + "/up", Base: "/unchanged", Changes: "/changes"}},
			"write|/workspace/file|new", "remove|/workspace/remove", "write|/workspace/made|made", "rename|/workspace/rename|/workspace/renamed", "chmod|/workspace/mode",
			"read|/workspace/file", "read|/unchanged/file", "list|/workspace", "read|/changes/file", "list|/unchanged", "read|/unchanged/hidden",
			"remove|/workspace/hidden", "write|/workspace/hidden|mine", "read|/workspace/hidden",
			"write|/unchanged/file|x", "write|/changes/file|x", "remove|/changes/remove", "list|/changes")
		for i, want := range []string{
			"<nil>", "<nil>", "<nil>", "<nil>", "<nil>", `"new" <nil>`, `"old" <nil>`, `"dir file made mode renamed " <nil>`, `"new" <nil>`, `"dir file mode remove rename " <nil>`, "no such file",
			"no such file", "<nil>", `"mine" <nil>`, "read-only", "read-only", "read-only", `"file hidden made mode remove rename renamed " <nil>`,
		} {
			if !strings.Contains(got[i], want) {
				t.Errorf("%d: %s, want %s", i, got[i], want)
			}
		}
		if after := listing(t, dir+"/low"); after != before {
			t.Errorf("what lies below changed:\n%s\n%s", before, after)
		}
		up := listing(t, dir+"/up/u")
		for _, want := range []string{`"file" -rw-r--r-- "new"`, `"made" -rw-r--r-- "made"`, `"remove" Dc---------`, `"renamed" -rw-r--r-- "r"`, `"mode" -rwxr-xr-x "m"`} {
			if !strings.Contains(up, want) {
				t.Errorf("no %s in\n%s", want, up)
			}
		}
	})
}

// TestHideNames refuses names that lie outside of the view.
func TestHideNames(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T) {
		tier(t, TierA)
		dir := fill(t, shared(t), map[string]string{"low/file": "x"})
		for _, name := range []string{"", ".", "..", "../file", "/file", "a/../..", "file/../../x", strings.Repeat("x", 300)} {
			cmd, _ := hostile(t, &Confine{Tier: TierA, View: &View{Target: "/w", Lower: []string{dir + "/low"}, Hide: []string{name}}}, "true")
			if _, err := Run(t.Context(), cmd); !errors.Is(err, ErrIsolation) {
				t.Errorf("%q: %v", name, err)
			}
		}
	})
}

// TestHideMany hides very many files in bounded time.
func TestHideMany(t *testing.T) {
	t.Parallel()
	tier(t, TierA)
	const n = 20_000
	dir := fill(t, shared(t), map[string]string{"low/seen": "x"})
	hide := make([]string, 0, n)
	for i := range n {
		hide = append(hide, fmt.Sprintf("d%d/e%d/file-%d", i%100, i%7, i))
	}
	if err := os.MkdirAll(dir+"/low/d0/e0", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "low", hide[0]), []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	got := look(t, &Confine{View: &View{Target: "/w", Lower: []string{dir + "/low"}, Hide: hide}}, "read|/w/seen", "read|/w/"+hide[0], "list|/w/d0/e0")
	if !strings.Contains(got[0], `"x"`) || !strings.Contains(got[1], "no such file") || got[2] != `"" <nil>` {
		t.Error(got)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %s", took)
	} else {
		t.Logf("hiding %d files took %s", n, took)
	}
}

// TestCovers empties files and directories, and does not mind what is missing.
func TestCovers(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T) {
		tier(t, TierA)
		dir := fill(t, shared(t), map[string]string{"w/state/secret": "secret", "w/file": "secret", "w/link": "->state/secret", "w/seen": "x"})
		before := listing(t, dir)
		got := look(t, &Confine{
			Binds: []Bind{{Source: dir + "/w", Target: "/w", Write: true}}, Covers: []string{"/w/state", "/w/file", "/w/link", "/w/nowhere", "/w/nowhere/deep"},
		}, "list|/w/state", "read|/w/state/secret", "write|/w/state/x|x", "read|/w/file", "read|/w/link", "read|/w/seen", "rename|/w/state|/w/moved", "remove|/w/file")
		for i, want := range []string{`"" <nil>`, "no such file", "", `"" <nil>`, "no such file", `"x" <nil>`, "busy", "busy"} {
			if !strings.Contains(got[i], want) {
				t.Errorf("%d: %s, want %s", i, got[i], want)
			}
		}
		if after := listing(t, dir); after != before {
			t.Errorf("what lies below changed:\n%s\n%s", before, after)
		}
	})
}
