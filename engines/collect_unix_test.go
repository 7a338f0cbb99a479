//go:build unix

package engines

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCollectKinds puts everything that is no plain file in the place of
// artifact.json and of the body. Nothing of it may be followed, opened for good or
// waited for.
func TestCollectKinds(t *testing.T) {
	t.Parallel()
	for kind, put := range map[string]func(b *box, at, old string) error{
		"symbolic link": func(b *box, at, old string) error {
			return os.Symlink(filepath.Join(b.outside(), filepath.Base(at)), at)
		},
		"symbolic link beside": func(_ *box, at, old string) error {
			if err := os.WriteFile(filepath.Join(filepath.Dir(at), "..", "beside"), []byte(old), 0o644); err != nil {
				return err
			}
			return os.Symlink("../beside", at)
		},
		"dangling link": func(_ *box, at, _ string) error { return os.Symlink("nowhere", at) },
		"named pipe":    func(_ *box, at, _ string) error { return syscall.Mkfifo(at, 0o644) },
		"directory":     func(_ *box, at, _ string) error { return os.Mkdir(at, 0o755) },
		"hard link": func(b *box, at, old string) error {
			other := filepath.Join(b.t.TempDir(), "other")
			if err := os.WriteFile(other, []byte(old), 0o644); err != nil {
				return err
			}
			return os.Link(other, at)
		},
		"socket": func(b *box, at, _ string) error {
			// A socket's path is short; bind in the directory itself.
			short, err := os.MkdirTemp("", "s") //nolint:usetesting // its path would be too long for a socket
			if err != nil {
				return err
			}
			b.t.Cleanup(func() { _ = os.RemoveAll(short) })
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short + "/s", Net: "unix"})
			if err != nil {
				return err
			}
			l.SetUnlinkOnClose(false)
			if err := l.Close(); err != nil {
				return err
			}
			return os.Rename(short+"/s", at)
		},
		"device": func(b *box, at, _ string) error {
			if os.Geteuid() != 0 {
				b.t.Skip("only root can make a device")
			}
			err := syscall.Mknod(at, syscall.S_IFCHR|0o644, int(unix.Mkdev(1, 5))) // /dev/zero: without end
			if err != nil {
				b.t.Skip("no device can be made here:", err)
			}
			return nil
		},
	} {
		for _, file := range []string{DescriptionFile, "body.data"} {
			t.Run(kind+" as "+file, func(t *testing.T) {
				t.Parallel()
				b := newBox(t)
				b.add("a", bodied, []byte("body"))
				at := filepath.Join(b.dir, "a", file)
				old, err := os.ReadFile(at)
				b.must(err)
				b.must(os.Remove(at))
				if err := put(b, at, string(old)); err != nil {
					if strings.Contains(err.Error(), "cross-device") {
						t.Skip("temporary files lie on several file systems:", err)
					}
					t.Fatal(err)
				}
				_, _, err = b.collect(t.Context())
				if strings.Contains(kind, "beside") && err != nil {
					// The file beside the artifacts is itself undeclared.
					_ = refusal(t, err, "artifact_undeclared") // it fails the test itself
					return
				}
				_ = refusal(t, err, "artifact_unreadable") // it fails the test itself
			})
		}
	}
}
