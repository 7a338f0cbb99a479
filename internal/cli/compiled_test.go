package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCompiledPlace: native code is kept only where nobody else can have put it.
func TestCompiledPlace(t *testing.T) {
	t.Parallel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		make func(home, ws string) map[string]string // gives the environment
		want string                                  // below home, or what the refusal says after a !
	}{
		"home": {func(home, _ string) map[string]string { return map[string]string{"HOME": home} }, ".cache/cabincrew/wasm/abc"},
		"XDG": {func(home, _ string) map[string]string {
			return map[string]string{"HOME": home, "XDG_CACHE_HOME": home + "/xdg"}
		}, "xdg/cabincrew/wasm/abc"},
		"relative XDG": {func(home, _ string) map[string]string {
			return map[string]string{"HOME": home, "XDG_CACHE_HOME": "xdg"}
		}, ".cache/cabincrew/wasm/abc"},
		"no home":      {func(string, string) map[string]string { return map[string]string{} }, "!neither"},
		"home is gone": {func(home, _ string) map[string]string { return map[string]string{"HOME": home + "/none"} }, "!no such file"},
		"CI": {func(home, _ string) map[string]string {
			return map[string]string{"HOME": home, "GITHUB_ACTIONS": "true"}
		}, "!CI platform"},
		"the workspace": {func(_, ws string) map[string]string { return map[string]string{"XDG_CACHE_HOME": ws} }, "!where a change could put files"},
		"inside of it":  {func(_, ws string) map[string]string { return map[string]string{"XDG_CACHE_HOME": ws + "/.cabincrew"} }, "!where a change could put files"},
		"by a link": {func(home, ws string) map[string]string {
			must(os.Symlink(ws, home+"/link"))
			return map[string]string{"XDG_CACHE_HOME": home + "/link"}
		}, "!where a change could put files"},
		"its repository": {func(home, ws string) map[string]string {
			must(os.Mkdir(filepath.Join(filepath.Dir(ws), ".git"), 0o700))
			return map[string]string{"XDG_CACHE_HOME": filepath.Join(filepath.Dir(ws), "cache")}
		}, "!where a change could put files"},
		"writable by others": {func(home, _ string) map[string]string {
			must(os.Chmod(home, 0o777)) //nolint:gosec // that is the test
			return map[string]string{"HOME": home}
		}, "!can be written by others (mode 0777)"},
		"cache writable by a group": {func(home, _ string) map[string]string {
			must(os.Mkdir(home+"/.cache", 0o700))
			must(os.Chmod(home+"/.cache", 0o770)) //nolint:gosec // as above
			return map[string]string{"HOME": home}
		}, "!can be written by others (mode 0770)"},
		"linked below": {func(home, _ string) map[string]string {
			must(os.MkdirAll(home+"/.cache/cabincrew", 0o700))
			must(os.Mkdir(home+"/elsewhere", 0o700))
			must(os.Symlink(home+"/elsewhere", home+"/.cache/cabincrew/wasm"))
			return map[string]string{"HOME": home}
		}, "!is not a directory"},
		"of somebody else": {func(home, _ string) map[string]string {
			if os.Getuid() != 0 {
				return map[string]string{"XDG_CACHE_HOME": "/"}
			}
			must(os.Chown(home, 4711, 4711))
			return map[string]string{"HOME": home}
		}, "!"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			home, ws := filepath.Join(top, "home"), filepath.Join(top, "work", "ws")
			for _, dir := range []string{home, ws} {
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(top, 0o700); err != nil { //nolint:gosec // a directory
				t.Fatal(err)
			}
			dir, err := compiled(c.make(home, ws), ws, "sha256:abc")
			if says, refused := strings.CutPrefix(c.want, "!"); refused {
				if err == nil || !strings.Contains(err.Error(), says) {
					t.Errorf("%q, %v; want %q", dir, err, says)
				}
				return
			}
			info, statErr := os.Stat(dir)
			if err != nil || dir != filepath.Join(home, c.want) || statErr != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("%q, %v, %v", dir, err, statErr)
			}
			if again, err := compiled(c.make(home, ws), ws, "sha256:abc"); err != nil || again != dir {
				t.Errorf("again %q, %v", again, err)
			}
		})
	}
}
