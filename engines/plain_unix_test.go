//go:build unix

package engines

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// soon fails a test whose act waits for what never comes.
func soon(t *testing.T, act func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		act()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("it hangs")
	}
}

func TestOpenPlain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(at("file"), []byte("hello"), 0o600))
	must(os.Symlink("file", at("link")))
	must(syscall.Mkfifo(at("fifo"), 0o600))
	must(os.Symlink("fifo", at("link-to-fifo")))
	must(os.WriteFile(at("giant"), nil, 0o600))
	must(os.Truncate(at("giant"), limits.ProgramBytes+1))
	root, err := os.OpenRoot(dir)
	must(err)
	t.Cleanup(func() { _ = root.Close() })
	for name, says := range map[string]string{
		"file": "", "link": "", "fifo": "named pipe", "link-to-fifo": "named pipe", "giant": "more than 4096 MiB", ".": "directory", "nothing": "no such file",
		"/dev/zero": "device", "/dev/null": "device",
	} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			soon(t, func() {
				path := name
				if !filepath.IsAbs(name) {
					path = at(name)
				}
				opens := []func() (*os.File, error){func() (*os.File, error) { return OpenPlain(path) }}
				if !filepath.IsAbs(name) {
					opens = append(opens, func() (*os.File, error) { return OpenPlainIn(root, name) })
				}
				for _, open := range opens {
					f, err := open()
					digest, err := DigestPlain(t.Context(), f, err)
					if says == "" && (err != nil || digest != protocol.Digest([]byte("hello"))) || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
						t.Errorf("%q, %v; want %q", digest, err, says)
					}
				}
			})
		})
	}
}

// TestDigestEnds: reading what is large ends with the command.
func TestDigestEnds(t *testing.T) {
	t.Parallel()
	at := filepath.Join(t.TempDir(), "large")
	f, err := os.Create(at)
	if err == nil {
		err = f.Truncate(limits.ProgramBytes)
	}
	if err != nil {
		t.Fatal(err)
	}
	stopped := errors.New("stopped by a signal")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(stopped) })
	begun := time.Now()
	if _, err := DigestPlain(ctx, f, nil); !errors.Is(err, stopped) || time.Since(begun) > 2*time.Second {
		t.Errorf("%v after %s", err, time.Since(begun))
	}
}
