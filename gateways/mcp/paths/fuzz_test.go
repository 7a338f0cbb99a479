package paths

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// FuzzCheck holds what is told as inside against the kernel: what a name relative to the
// root leads to when it is opened lies in the root.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{
		"file", "../out/secret", "sub/up/../root/file", "outdir/../secret", "chain", "loop", "sub/toout/../../root/file", "./self/./file", "file/..",
		"link", "sub//up//file", "dangling", "danglein", "~/x", "file://x", "file:///etc", "%2e%2e/x", "sub/up/up/..", "self/outfile", "me/root/etc",
		"../root/sub", "../link/file", "file:/../../out/secret",
	} {
		f.Add(s)
	}
	dir, err := filepath.EvalSymlinks(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	root := dir + "/root"
	for _, name := range []string{"/root/sub", "/out/dir"} {
		if err := os.MkdirAll(dir+name, 0o755); err != nil {
			f.Fatal(err)
		}
	}
	for _, name := range []string{"/root/file", "/out/secret", "/root/sub/a"} {
		if err := os.WriteFile(dir+name, nil, 0o600); err != nil {
			f.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"root/in": "sub/a", "root/outfile": "../out/secret", "root/outdir": dir + "/out/dir", "root/chain": "outfile", "root/loop": "loop",
		"root/dangling": "../out/new", "root/danglein": "sub/new", "root/sub/up": "..", "link": "root", "root/sub/toout": "../../out/dir", "root/self": ".",
	} {
		if err := os.Symlink(target, dir+"/"+name); err != nil {
			f.Fatal(err)
		}
	}
	c, err := New(Options{Base: root, Roots: []string{root}, Home: root})
	if err != nil {
		f.Fatal(err)
	}
	opened, err := os.OpenRoot(root)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = opened.Close() }) //nolint:errcheck // it was only read
	f.Fuzz(func(t *testing.T, s string) {
		began := time.Now()
		defer func() {
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("%v for %d bytes", took, len(s))
			}
		}()
		for _, key := range []string{"path", "from", "uri", "x", "patch"} {
			found := c.Check(Tool{}, map[string]any{key: s})
			if key == "path" && len(found) == 0 {
				t.Fatalf("%q is not seen", s)
			}
			inside := true
			for _, f := range found {
				inside = inside && f.Inside
				if f.Inside && !below(f.Path, root) {
					t.Fatalf("%q: %+v", s, f)
				}
			}
			if key != "path" || !inside {
				continue
			}
			p := s
			if !filepath.IsAbs(p) {
				p = root + "/" + s
			}
			for _, p := range []string{p, filepath.Clean(p)} {
				led, err := filepath.EvalSymlinks(p)
				if err == nil && !below(led, root) {
					t.Fatalf("%q leads to %q", s, led)
				}
			}
			// What os.Root lets through is the same, and it refuses what leaves.
			if !filepath.IsAbs(s) && !strings.Contains(s, "..") && s != "" {
				if _, err := opened.Stat(s); err != nil && strings.Contains(err.Error(), "escapes") {
					t.Fatalf("%q: %v", s, err)
				}
			}
			if fd, err := syscall.Open(p, syscall.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil {
				led, err := os.Readlink("/proc/self/fd/" + itoa(fd))
				_ = syscall.Close(fd) //nolint:errcheck // it was only read
				if err == nil && !below(led, root) {
					t.Fatalf("%q opens %q", s, led)
				}
			}
		}
	})
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}
