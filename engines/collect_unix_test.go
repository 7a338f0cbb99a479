//go:build unix

package engines

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

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

// TestCollectRawNames puts names that are not UTF-8, or equal but for case, beside
// what is declared.
func TestCollectRawNames(t *testing.T) {
	t.Parallel()
	const raw = "raw-\xff\xfe"
	for name, c := range map[string]struct {
		code string
		put  func(b *box)
	}{
		"undeclared artifact":     {"artifact_undeclared", func(b *box) { b.put(raw, bodyless, nil) }},
		"undeclared file":         {"artifact_undeclared", func(b *box) { b.must(os.WriteFile(filepath.Join(b.dir, raw), nil, 0o644)) }},
		"declared artifact":       {"artifact_name", func(b *box) { b.add(raw, bodyless, nil) }},
		"file of an artifact":     {"artifact_extra_file", func(b *box) { b.must(os.WriteFile(filepath.Join(b.dir, "a", raw), nil, 0o644)) }},
		"body file by case":       {"artifact_extra_file", func(b *box) { b.must(os.WriteFile(filepath.Join(b.dir, "a", "BODY.DATA"), nil, 0o644)) }},
		"description by case":     {"artifact_extra_file", func(b *box) { b.must(os.WriteFile(filepath.Join(b.dir, "a", "Artifact.json"), nil, 0o644)) }},
		"body file":               {"artifact_malformed", func(b *box) { b.describe(strings.Replace(bodied, "body.data", raw, 1)) }},
		"undeclared, composed":    {"artifact_undeclared", func(b *box) { b.put("\u00e9", bodyless, nil) }},
		"declared, two forms":     {"artifact_name", func(b *box) { b.add("e\u0301", bodyless, nil); b.add("\u00e9", bodyless, nil) }},
		"named pipe as artifact":  {"artifact_kind", func(b *box) { b.exchange("a", func(p string) error { return syscall.Mkfifo(p, 0o644) }) }},
		"link to itself":          {"artifact_kind", func(b *box) { b.exchange("a", func(p string) error { return os.Symlink("a", p) }) }},
		"absolute link into self": {"artifact_kind", func(b *box) { b.exchange("a", func(p string) error { return os.Symlink(b.dir, p) }) }},
		"link into another": {"artifact_kind", func(b *box) {
			b.add("b", bodyless, nil)
			b.exchange("b", func(p string) error { return os.Symlink("a", p) })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			b.add("a", bodied, []byte("body"))
			c.put(b)
			_, _, err := b.collect(t.Context())
			e := refusal(t, err, c.code)
			if !utf8.ValidString(err.Error() + e.Where + e.Hint) {
				t.Errorf("a raw name came into the message: %q", err)
			}
		})
	}
}

// TestCollectVeryManyFiles looks at no more names than it takes to refuse them.
func TestCollectVeryManyFiles(t *testing.T) { //nolint:paralleltest // it measures memory
	const many = 10_000
	for name, c := range map[string]struct{ code, dir string }{
		"artifacts": {"artifact_undeclared", ""}, "of one artifact": {"artifact_extra_file", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.c.Limits.Artifacts = 100
			b.add("a", bodied, []byte("body"))
			root, err := os.OpenRoot(filepath.Join(b.dir, c.dir))
			b.must(err)
			defer func() { _ = root.Close() }()
			for i := range many {
				f, err := root.Create("file-" + strconv.Itoa(i))
				b.must(err)
				b.must(f.Close())
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _, err = b.collect(t.Context())
			runtime.ReadMemStats(&after)
			_ = refusal(t, err, c.code) // it fails the test itself
			if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
				t.Errorf("%d KiB for %d names", used>>10, many)
			}
		})
	}
}
