package engines

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cabincrew/action/protocol"
)

// TestCollectWhileItIsSwapped exchanges the directory of an artifact, and then its
// body, with a link to something outside all the time. What is collected is the
// artifact, or nothing.
func TestCollectWhileItIsSwapped(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]string{"directory": "a", "body": "a/body.data", "description": "a/" + DescriptionFile} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			b.add("a", bodied, []byte("inside"))
			outside := t.TempDir()
			b.must(os.Mkdir(filepath.Join(outside, "a"), 0o755))
			b.must(os.WriteFile(filepath.Join(outside, "a", DescriptionFile), []byte(bodied+" "), 0o644))
			b.must(os.WriteFile(filepath.Join(outside, "a", "body.data"), []byte("secret"), 0o644))
			link := filepath.Join(t.TempDir(), "link")
			b.must(os.Symlink(filepath.Join(outside, at), link))
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				for {
					select {
					case <-stop:
						return
					default:
						_ = unix.Renameat2(unix.AT_FDCWD, link, unix.AT_FDCWD, filepath.Join(b.dir, at), unix.RENAME_EXCHANGE)
					}
				}
			}()
			defer func() { close(stop); <-stopped }()
			// By the digest alone what is outside would be accepted half of the time.
			for i := range 100 {
				b.declared[0].Hash = protocol.Digest([]byte([]string{"inside", "secret"}[i%2]))
				dst, got, err := b.collect(t.Context())
				if err != nil {
					continue
				}
				data, err := os.ReadFile(filepath.Join(dst, "a", "body.data"))
				if err != nil || string(data) != "inside" || string(got[0].Raw) != bodied {
					t.Fatalf("it collected %q, %q from outside (%v)", data, got[0].Raw, err)
				}
			}
		})
	}
}
