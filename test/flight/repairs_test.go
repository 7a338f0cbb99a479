package flight

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// withIDs lists what is setuid or setgid below a directory. Directories do not
// count: some systems hand that bit down.
func withIDs(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && !d.IsDir() && info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			out = append(out, path+" "+info.Mode().String())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSetuidFiles lets an engine try to leave files that give their owner's rights
// to whoever starts them: the owner is the user who flies.
func TestSetuidFiles(t *testing.T) {
	t.Parallel()
	isolates(t)
	const perl = "/usr/bin/perl"
	if _, err := os.Stat(perl); err != nil {
		t.Skip("the engine of this test makes files with perl, which is not here:", err)
	}
	w := engineWS(t, `set +e
try() { for d in $DIRS; do cp /bin/true "$d/$1" 2>/dev/null; chmod 755 "$d/$1"; ( cd "$d" && shift && "$@" ); done; }
opened='use Fcntl; sysopen(F, "opened", O_CREAT|O_WRONLY|O_EXCL, 04755) and chmod(0755, "opened"); mkdir("dir", 0755); umask 0; sysopen(F, "opened6", O_CREAT|O_RDWR, 06777)'
DIRS="$CABINCREW_TEMP_DIR $CABINCREW_ARTIFACTS_DIR"
[ "$CABINCREW_MODE" = flight-plan ] || DIRS="$CABINCREW_TEMP_DIR $CABINCREW_WORKSPACE"
try user chmod 4755 user
try group chmod 2755 group
try both chmod u+s,g+s both
try none `+perl+` -e "$opened"
try installed install -m 4755 /bin/true installed
# What the engine can see of it, from inside.
find $DIRS -perm /6000 -type f > "$CABINCREW_TEMP_DIR/seen"
[ "$CABINCREW_MODE" = flight-plan ] || { cp "$CABINCREW_TEMP_DIR/seen" "$CABINCREW_WORKSPACE/seen"; receipt ''; exit 0; }
cd "$A" && for f in *; do rm -rf "$f"; done
art seen "$(cat "$CABINCREW_TEMP_DIR/seen")"
set -e
receipt "$(decl seen)"`, "")
	s := w.json(0, "flight-plan")
	if got := holds(t, s, "work", "seen"); got != "" {
		t.Errorf("while planning the engine made\n%s", got)
	}
	asked := map[string]bool{}
	for _, a := range held(t, s, "work").Attempts {
		asked[a.Call] = true
	}
	told := func(call string) bool { return asked[call+" setuid"] }
	if !told("fchmodat") && !told("chmod") && !told("fchmodat2") || !told("openat") && !told("open") {
		t.Errorf("the flight keeps the attempts %v", asked)
	}
	w.json(0, "take-off", s.WorkflowID)
	if got := w.read("seen"); got != "" || !w.exists("user") || !w.exists("dir") {
		t.Errorf("in take-off the engine made\n%s", got)
	}
	if got := withIDs(t, w.dir); len(got) > 0 {
		t.Errorf("the machine has %q", got)
	}
	log := w.want(0, "audit", "show", s.WorkflowID, "--output", "json").stdout
	if n := strings.Count(log, " setuid, "); n < 4 || !strings.Contains(log, "the sandbox refused the engine") {
		t.Errorf("the audit log tells of %d refusals:\n%s", n, log)
	}
}

// paused waits until the engine of a running plan says that it waits, and gives the
// directory in which it waits for the file go.
func (w *ws) paused(step string) string {
	w.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		found, err := filepath.Glob(filepath.Join(w.dir, ".cabincrew", "*", "*-"+step+"-*", "run", "ready"))
		if err != nil {
			w.t.Fatal(err)
		}
		if len(found) > 0 {
			return filepath.Dir(found[0])
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.t.Error("the engine never waited")
	return ""
}

// pause lets an engine wait for the test.
const pause = `[ "$CABINCREW_MODE" = flight-plan ] || { receipt ''; exit 0; }
: > "$CABINCREW_TEMP_DIR/ready"; n=0
while [ ! -e "$CABINCREW_TEMP_DIR/go" ] && [ $n -lt 600 ]; do n=$((n + 1)); sleep 0.05; done
`

// TestChangesBehindAView changes the workspace below an engine's view while it
// plans: such a plan is not kept.
func TestChangesBehindAView(t *testing.T) {
	t.Parallel()
	isolates(t)
	if !machine().Overlay {
		t.Skip("this machine composes no views of the workspace")
	}
	// Renamed into place: whoever has the old file open keeps it.
	exchange := func(w *ws, name, content string) error {
		at := filepath.Join(w.dir, "sub", "new")
		if err := os.WriteFile(at, []byte(content), 0o755); err != nil { //nolint:gosec // an engine
			return err
		}
		return os.Rename(at, filepath.Join(w.dir, name))
	}
	for name, c := range map[string]struct {
		change func(w *ws) error
		code   string
		want   string
	}{
		"nothing":             {func(*ws) error { return nil }, "", ""},
		"the engine":          {func(w *ws) error { return exchange(w, "engine.sh", shellEngine("receipt ''")) }, "engine_changed", "engine's program changed"},
		"the engine's mode":   {func(w *ws) error { return exchange(w, "engine.sh", w.read("engine.sh")+"\n") }, "engine_changed", "engine's program changed"},
		"an input":            {func(w *ws) error { return exchange(w, "hello.txt", "bye\n") }, "workspace_changed", "hello.txt"},
		"a file appears":      {func(w *ws) error { return exchange(w, "appeared", "x\n") }, "workspace_changed", `"appeared" appeared`},
		"a directory appears": {func(w *ws) error { return os.Mkdir(filepath.Join(w.dir, "made"), 0o755) }, "workspace_changed", `"made" appeared`},
		"a hidden one":        {func(w *ws) error { return exchange(w, "sub/keep.txt", "other\n") }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := engineWS(t, pause+`art a x; receipt "$(decl a)"`, "")
			changed := make(chan error, 1)
			go func() {
				dir := w.paused("work")
				err := c.change(w)
				if dir != "" && err == nil {
					err = os.WriteFile(filepath.Join(dir, "go"), nil, 0o600)
				}
				changed <- err
			}()
			r := w.run("flight-plan", "--output", "json")
			s := r.summary(t)
			if err := <-changed; err != nil {
				t.Fatal(err)
			}
			switch {
			case c.code == "" && r.code != 0:
				t.Errorf("exit %d: %+v", r.code, s.Error)
			case c.code != "" && (r.code != protocol.ExitStale || s.Error == nil || s.Error.Code != c.code || !strings.Contains(s.Error.Message, c.want)):
				t.Errorf("exit %d: %+v, want %s %q", r.code, s.Error, c.code, c.want)
			}
			if c.code != "" {
				if again := w.run("take-off", s.WorkflowID); again.code == 0 {
					t.Error("it took off")
				}
			}
		})
	}
}

// TestEngineExchangedByAnother: the take-off of one step writes another step's
// engine. That one was not planned, and is not started.
func TestEngineExchangedByAnother(t *testing.T) {
	t.Parallel()
	const evil = `sed 's/^set -eu$/set -u; touch "$CABINCREW_WORKSPACE\/evil" 2>\/dev\/null/' second.sh > new && chmod 755 new && mv new second.sh`
	for name, c := range map[string]struct{ more string }{"tier A": {""}, "tier C": {bare}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.more == "" {
				isolates(t)
			}
			w := newWS(t, map[string]string{
				"hello.txt": "hello\n", "pol/p.rego": quietPolicy,
				"engine.sh": shellEngine(`[ "$CABINCREW_MODE" = flight-plan ] || { ` + evil + `; }; receipt ''`), "second.sh": shellEngine(`receipt ''`),
				".cabincrew.yaml": config(quiet, "  - id: work\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n"+c.more,
					"  - id: second\n    needs: [work]\n    engine: {run: [./second.sh]}\n    inputs: [hello.txt]\n"+c.more),
			})
			s := w.json(0, "flight-plan")
			got := w.json(protocol.ExitStale, "take-off", s.WorkflowID)
			if got.Error == nil || got.Error.Code != "engine_changed" || !strings.Contains(got.Error.Message, "second") || w.exists("evil") {
				t.Errorf("%+v, started: %t", got.Error, w.exists("evil"))
			}
		})
	}
	// While planning, an engine that nothing holds can reach the workspace too. That
	// is found before the next one starts.
	t.Run("while planning", func(t *testing.T) {
		t.Parallel()
		w := newWS(t, map[string]string{
			"hello.txt": "hello\n", "pol/p.rego": quietPolicy, "engine.sh": shellEngine(`[ "$CABINCREW_MODE" = take-off ] || { cd "$REAL"; ` + evil + `; }; receipt ''`),
			"second.sh": shellEngine(`receipt ''`),
			".cabincrew.yaml": config(quiet, "  - id: work\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n    env: {REAL: 'env:REAL'}\n"+bare,
				"  - id: second\n    needs: [work]\n    engine: {run: [./second.sh]}\n    inputs: [hello.txt, second.sh]\n"),
		})
		w.env = append(w.env, "REAL="+w.dir)
		if got := w.json(protocol.ExitFailure, "flight-plan"); got.Error == nil || got.Error.Code != "workspace_mutated" || !strings.Contains(got.Error.Message, `"second.sh"`) {
			t.Errorf("%+v", got.Error)
		}
		if w.exists("evil") {
			t.Error("the exchanged engine wrote into the workspace")
		}
	})
}

// privately runs one test again where mounts are its own, and says whether this is
// the run there.
func privately(t *testing.T) bool {
	t.Helper()
	const private = "CABINCREW_TEST_PRIVATE"
	if os.Getenv(private) == t.Name() {
		return true
	}
	args := []string{"--mount", "--propagation", "private"}
	if os.Getuid() != 0 {
		args = append(args, "--map-root-user")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "unshare", append(slices.Clone(args), "--", "mount", "-t", "tmpfs", "tmpfs", t.TempDir())...).CombinedOutput(); err != nil {
		t.Skipf("nothing can be mounted privately here: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", append(args, "--", self, "-test.run=^"+t.Name()+"$", "-test.v")...)
	cmd.Env = append(os.Environ(), private+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("in its own namespace:\n%s", out)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in its own namespace: %v\n%s", err, out)
	}
	return false
}

// TestMountBelowTheWorkspace: an overlay does not show what is mounted below its
// layers, so a step over such a workspace gets a copy, and plans the same.
func TestMountBelowTheWorkspace(t *testing.T) {
	t.Parallel()
	isolates(t)
	if !privately(t) {
		return
	}
	const engine = `[ "$CABINCREW_MODE" = flight-plan ] || { receipt ''; exit 0; }
art seen "$(find . -type f | LC_ALL=C sort | xargs sha256sum)"; receipt "$(decl seen)"`
	plan := func(mounted bool) (seen string, step orchestrator.SummaryStep) {
		w := engineWS(t, engine, "")
		w.write(".cabincrew.yaml", config(quiet, "  - id: work\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt, 'sub/**']\n"))
		if mounted {
			at := filepath.Join(w.dir, "sub")
			if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "tmpfs", at).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			defer func() {
				if out, err := exec.Command("umount", "--lazy", at).CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			}()
			w.write("sub/keep.txt", "keep\n")
		}
		s := w.json(0, "flight-plan")
		w.json(0, "take-off", s.WorkflowID)
		return holds(t, s, "work", "seen"), s.Steps[0]
	}
	want, plain := plan(false)
	got, mounted := plan(true)
	if got != want || strings.Count(got, "\n") != 2 || !strings.Contains(got, "./sub/keep.txt") {
		t.Errorf("with a mount the engine sees\n%s\nwithout\n%s", got, want)
	}
	if plain.Token != mounted.Token || plain.Token == "" {
		t.Errorf("plan-token %s, and with a mount %s", plain.Token, mounted.Token)
	}
}

// TestInterpreterElsewhere: a script's first line is no way to programs that the
// step does not list.
func TestInterpreterElsewhere(t *testing.T) {
	t.Parallel()
	isolates(t)
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Skip("there is no shell to copy:", err)
	}
	at := filepath.Join(t.TempDir(), "house-shell")
	if err := os.WriteFile(at, shell, 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	engine := strings.Replace(shellEngine(`[ "$CABINCREW_MODE" = flight-plan ] || { receipt ''; exit 0; }
art a "$(readlink /proc/$$/exe)"; receipt "$(decl a)"`), "/bin/sh", at, 1)
	workspace := func(more string) *ws {
		return newWS(t, map[string]string{
			"hello.txt": "hello\n", "pol/p.rego": quietPolicy, "engine.sh": engine,
			".cabincrew.yaml": config(quiet, "  - id: work\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n"+more),
		})
	}
	for name, more := range map[string]string{"no tools": "", "other tools": "    tools: [mkdir, sha256sum, cut, readlink]\n"} {
		got := workspace(more).json(protocol.ExitFailure, "flight-plan")
		if got.Error == nil || got.Error.Code != "engine_start" || !strings.Contains(got.Error.Message, at) || !strings.Contains(got.Error.Hint, "tools") || !strings.Contains(got.Error.Hint, at) {
			t.Errorf("%s: %+v", name, got.Error)
		}
	}
	w := workspace("    tools: [" + at + ", mkdir, sha256sum, cut, readlink]\n")
	s := w.json(0, "flight-plan")
	if got := holds(t, s, "work", "a"); got != at {
		t.Errorf("it runs in %q", got)
	}
	want := engines.Tool{Name: at, Path: at, Digest: protocol.Digest(shell)}
	if !slices.Contains(held(t, s, "work").Tools, want) {
		t.Errorf("the flight keeps %+v, want %+v", held(t, s, "work").Tools, want)
	}
	w.json(0, "take-off", s.WorkflowID)
	// Another interpreter in its place is not what was planned.
	if err := os.WriteFile(at, append(shell, 0), 0o755); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	if again := held(t, w.json(0, "flight-plan"), "work").Tools; slices.Contains(again, want) {
		t.Errorf("the flight keeps the digest of what was there before: %+v", again)
	}
}
