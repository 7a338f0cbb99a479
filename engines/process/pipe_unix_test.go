//go:build unix

package process

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestInterpreterOfPipe: what looks like an engine is not waited for.
func TestInterpreterOfPipe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe, script := filepath.Join(dir, "pipe"), filepath.Join(dir, "script")
	if err := syscall.Mkfifo(pipe, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(script, []byte("#!"+pipe+" -x\n"), 0o700); err != nil { //nolint:gosec // a script
		t.Fatal(err)
	}
	for at, want := range map[string]string{script: pipe, pipe: "", "/dev/zero": "", dir: ""} {
		got := make(chan string, 1)
		go func() { got <- interpreterOf(at) }()
		select {
		case is := <-got:
			if is != want {
				t.Errorf("%s: %q, want %q", at, is, want)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: it hangs", at)
		}
	}
}
