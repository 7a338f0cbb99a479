//go:build unix

package file

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRemoveWhatAnEngineLeft removes a tree that an engine could leave: deeper than
// any path may be long, with directories that cannot be read, and names of all kinds.
func TestRemoveWhatAnEngineLeft(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "left")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 5000 {
		if err := unix.Mkdirat(at, "d", 0o700); err != nil {
			t.Fatal(err)
		}
		below, err := unix.Openat(at, "d", unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Close(at); err != nil {
			t.Fatal(err)
		}
		at = below
	}
	if err := unix.Close(at); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"locked/a/b", "new\nline/c", ".removed-1-1/x"} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"file": outside, "dir": filepath.Dir(outside), "nowhere": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "locked/a"), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "locked"), 0); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := removeAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Error("it is still there", err)
	}
	if _, err := os.Lstat(outside); err != nil {
		t.Error("a link was followed:", err)
	}
	t.Logf("it took %s", time.Since(begin))
	if err := removeAll(dir); err != nil {
		t.Error("what is not there cannot be removed:", err)
	}
}
