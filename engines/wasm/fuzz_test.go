package wasm

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero/experimental/sys"
)

func FuzzPaths(f *testing.F) {
	for _, p := range []string{"a", "../outside/secret", "/etc/hostname", "up/outside/secret", "link", "d/../../x", "d//./f", "", ".", "/", "link/", "a\x00", "\xff", "\\..\\x"} {
		f.Add(p, "b", uint8(0))
		f.Add("d/f", p, uint8(6))
	}
	f.Fuzz(func(t *testing.T, p, q string, act uint8) {
		base := t.TempDir()
		in, outside := filepath.Join(base, "in"), filepath.Join(base, "outside")
		for _, err := range []error{
			os.MkdirAll(in+"/d", 0o755), os.Mkdir(outside, 0o755), os.WriteFile(outside+"/secret", []byte(secret), 0o644),
			os.WriteFile(in+"/d/f", nil, 0o644), os.Symlink("..", in+"/up"), os.Symlink("../outside/secret", in+"/link"), os.Symlink("../outside", in+"/d/o"),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		m := openMount(t, in, true)
		switch act % 9 {
		case 0:
			if o, errno := m.OpenFile(p, sys.O_RDONLY, 0); errno == 0 {
				buf := make([]byte, 64)
				if n, _ := o.Read(buf); string(buf[:n]) == secret {
					t.Errorf("%q leads out", p)
				}
				o.Readdir(0)
				o.Close()
			}
		case 1:
			if o, errno := m.OpenFile(p, sys.O_RDWR|sys.O_CREAT|sys.O_TRUNC, 0); errno == 0 {
				o.Write([]byte("x"))
				o.Utimens(1, sys.UTIME_OMIT)
				o.Close()
			}
		case 2:
			m.Mkdir(p, 0)
		case 3:
			m.Unlink(p)
		case 4:
			m.Rmdir(p)
		case 5:
			m.Symlink(q, p)
			if o, errno := m.OpenFile(p, sys.O_RDWR|sys.O_CREAT|sys.O_TRUNC, 0); errno == 0 {
				o.Close()
			}
			// What was made does not lead the system out either.
			if made, err := os.Readlink(filepath.Join(in, p)); err == nil && made == q && m.inside(q, filepath.Clean(p)) != 0 && p != "up" && p != "link" && p != "d/o" {
				t.Errorf("%q to %q was made", p, q)
			}
		case 6:
			m.Rename(p, q)
		case 7:
			m.Utimens(p, 1, 2)
			m.Chmod(p, 0o600)
		case 8:
			m.Readlink(p)
			m.Lstat(p)
			m.Stat(p)
		}
		names, err := os.ReadDir(base)
		text, _ := os.ReadFile(outside + "/secret")
		left, _ := os.ReadDir(outside)
		if err != nil || len(names) != 2 || len(left) != 1 || string(text) != secret {
			t.Errorf("%d on %q, %q: outside became %v %v %q", act%9, p, q, names, left, text)
		}
	})
}
