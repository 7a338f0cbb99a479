package sandbox

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestProgramsGoOn runs programs that use what is refused: extended attributes,
// watches, shared memory, priorities. They do without.
func TestProgramsGoOn(t *testing.T) {
	t.Parallel()
	held(t, "SAB", func(t *testing.T, name string, c *Confine, dir string) {
		for _, place := range []string{"/usr", "/bin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl"} {
			if _, err := os.Stat(place); err == nil {
				c.Binds = append(c.Binds, Bind{Source: place, Target: place})
			}
		}
		for _, x := range []struct{ program, script, want string }{
			{"cp", "mkdir a && echo x > a/f && ln -s f a/l && ln a/f a/h && chmod 750 a/f && cp -a a b && cat b/l && stat -c %a b/h", "x\n750\n"},
			{"cp", "echo y > g && cp --preserve=all g h 2>&1 && cat h", "y\n"},
			{"tar", "mkdir c && echo x > c/f && tar --xattrs --acls -cf c.tar c && rm -r c && tar --xattrs --acls -xpf c.tar 2>/dev/null && cat c/f", "x\n"},
			{"install", "echo x > i && install -m 700 i j && stat -c %a j", "700\n"},
			{"nice", "nice -n 5 nice", "5\n"},
			{"taskset", "taskset 1 echo pinned", "pinned\n"},
			{"ionice", "ionice -c 3 echo idle", "idle\n"},
			{"chrt", "chrt -b 0 echo batch", "batch\n"},
			{"tail", "echo z > z && (sleep 0.3; echo zz >> z) & sleep 0.1; timeout 3 tail -s 0.1 -n +1 -f z 2>/dev/null | head -n 2", "z\nzz\n"},
			{"git", "git init -q r && cd r && echo x > f && git add f && git -c user.name=n -c user.email=e -c gc.auto=0 commit -qm m && git status --short && git log --format=%s", "m\n"},
			{"go", "mkdir p && cd p && printf 'module p\\ngo 1.26\\n' > go.mod && printf 'package p\\nfunc F() int { return 1 }\\n' > p.go && go build . && echo built", "built\n"},
			{"node", "node -e 'console.log(1+1); try { require(\"fs\").watch(\".\", () => {}).close() } catch (e) { }'", "2\n"},
			{"perl", "perl -e 'print defined(shmget(1234, 64, 0600)) ? \"\" : \"none\\n\"'", "none\n"},
		} {
			program, err := exec.LookPath(x.program)
			if err != nil || !strings.HasPrefix(program, "/usr/") && !strings.HasPrefix(program, "/bin/") {
				t.Logf("skipped %s: it is not here (%s)", x.program, program)
				continue
			}
			var out bytes.Buffer
			exit, err := Run(t.Context(), Command{
				Argv: []string{"/bin/sh", "-c", x.script}, Dir: dir, Stdout: &out, Stderr: &out, Timeout: 30 * time.Second, Confine: c,
				Env: []string{"PATH=/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin", "HOME=" + dir, "TMPDIR=" + dir, "LANG=C.UTF-8", "GOTOOLCHAIN=local", "GIT_CONFIG_NOSYSTEM=1", "GOFLAGS=-mod=mod"},
			})
			if err != nil || exit.Code != 0 || out.String() != x.want {
				t.Errorf("tier %s, %s: %+v, %v\n%s", name, x.script, exit, err, out.String())
			}
		}
	})
}
