//go:build unix

package wasm

import (
	"os"
	"path/filepath"
	"strings"
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
				drop(o.Readdir(0))
				drop(o.Close())
			}
		case 1:
			if o, errno := m.OpenFile(p, sys.O_RDWR|sys.O_CREAT|sys.O_TRUNC, 0); errno == 0 {
				drop(o.Write([]byte("x")))
				drop(o.Utimens(1, sys.UTIME_OMIT))
				drop(o.Close())
			}
		case 2:
			drop(m.Mkdir(p, 0))
		case 3:
			drop(m.Unlink(p))
		case 4:
			drop(m.Rmdir(p))
		case 5:
			drop(m.Symlink(q, p))
			if o, errno := m.OpenFile(p, sys.O_RDWR|sys.O_CREAT|sys.O_TRUNC, 0); errno == 0 {
				drop(o.Close())
			}
			// What was made does not lead the system out either.
			if made, err := os.Readlink(filepath.Join(in, p)); err == nil && made == q && m.inside(q, filepath.Clean(p)) != 0 && p != "up" && p != "link" && p != "d/o" {
				t.Errorf("%q to %q was made", p, q)
			}
		case 6:
			drop(m.Rename(p, q))
		case 7:
			drop(m.Utimens(p, 1, 2))
			drop(m.Chmod(p, 0o600))
		case 8:
			drop(m.Readlink(p))
			drop(m.Lstat(p))
			drop(m.Stat(p))
		}
		names, err := os.ReadDir(base)
		text, _ := os.ReadFile(outside + "/secret")
		left, _ := os.ReadDir(outside)
		if err != nil || len(names) != 2 || len(left) != 1 || string(text) != secret {
			t.Errorf("%d on %q, %q: outside became %v %v %q", act%9, p, q, names, left, text)
		}
	})
}

func FuzzModule(f *testing.F) {
	f.Add([]byte(program(0x00)))
	f.Add([]byte(program(0x03, 0x40, 0x0c, 0, 0x0b)))
	f.Add([]byte(exits("poll_oneoff", 2, 0x41, 0, 0x41, 0, 0x41, 1, 0x41, 0x10, 0x10, 0)))
	f.Add([]byte(exits("random_get", 3, 0x41, 0x7f, 0x41, 0x10, 0x10, 0)))
	f.Add([]byte(core(types, oneFunc, sect(sectionTable, vec([]byte{0x70, 0, 0})), onePage, exportZero, sect(sectionCode, vec(function(0xd0, 0x70, 0x41, 1, 0xfc, 0x0f, 0, 0x1a))))))
	f.Add([]byte(component))
	f.Fuzz(func(t *testing.T, module []byte) {
		if len(module) > 1<<14 {
			return
		}
		fl := newFlight(t)
		fl.cache, fl.flags = "", []string{"--memory", "1048576", "--timeout", "200ms"}
		r := fl.run(bin(module).file(t))
		if r.exit < 0 || r.exit > greatestExit || strings.Contains(r.err, "the runtime failed") {
			t.Errorf("exit %d: %s", r.exit, r.err)
		}
		if names := listing(t, fl.work); strings.Count(names, "\n") != 1 {
			t.Errorf("the workspace became %s", names)
		}
	})
}
