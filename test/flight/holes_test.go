package flight

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/protocol"
)

// stepOn is a workspace in a repository with a step whose engine knows, by $REAL,
// where the workspace is.
func stepOn(t *testing.T, script, more string) *ws {
	t.Helper()
	w := engineWS(t, script+"\nreceipt ''", "")
	w.write(".cabincrew.yaml", config(quiet, "  - id: work\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n    env: {REAL: 'env:REAL', PATH: 'env:PATH'}\n"+more))
	w.write(".gitignore", "ignored/\n")
	w.write("ignored/file", "x\n")
	w.git("init", "-q")
	w.git("add", ".")
	w.env = append(w.env, "REAL="+w.dir)
	return w
}

// TestRealWorkspaceWhilePlanning: what an engine that is not in tier A does to the
// workspace by paths of the machine fails the plan, and is named.
func TestRealWorkspaceWhilePlanning(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ act, want string }{
		"nothing":            {`:`, ""},
		"chmod an input":     {`chmod 600 hello.txt`, `"hello.txt" (mode)`},
		"chmod another":      {`chmod 600 sub/keep.txt`, `"sub/keep.txt" (mode)`},
		"chmod an ignored":   {`chmod 600 ignored/file`, `"ignored/file" (mode)`},
		"utimes":             {`touch -d 2020-01-01 hello.txt`, `"hello.txt" (touched)`},
		"write, as it was":   {`touch -r hello.txt "$CABINCREW_TEMP_DIR/ref"; printf 'HELLO\n' > hello.txt; touch -r "$CABINCREW_TEMP_DIR/ref" hello.txt`, `"hello.txt" (changed)`},
		"create":             {`: > new`, `"new" (added)`},
		"remove":             {`rm sub/keep.txt`, `"sub/keep.txt" (removed)`},
		"policies":           {`echo '# x' >> pol/p.rego`, `"pol/p.rego" (changed)`},
		"configuration":      {`chmod 600 .cabincrew.yaml`, `".cabincrew.yaml" (mode)`},
		"hook":               {`mkdir -p .git/hooks; : > .git/hooks/pre-push`, `".git/hooks/pre-push" (added)`},
		"git configuration":  {`git config core.pager evil`, `".git/config" (changed)`},
		"staged":             {`git rm -q --cached sub/keep.txt`, `".git/index" (changed)`},
		"looking with git":   {`git status >/dev/null`, ""},
		"state directory":    {`echo '!x' > .cabincrew/.gitignore`, `".cabincrew/.gitignore" (changed)`},
		"and fails then":     {`: > new; exit 1`, `"new" (added)`},
		"many":               {`for i in 1 2 3 4 5 6 7 8 9 10 11 12; do : > n$i; done`, `and 2 more`},
		"a secret file mode": {`chmod 644 ignored`, `"ignored" (mode)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := stepOn(t, `set +e; (cd "$REAL" && { `+c.act+`; }) || exit 1`, bare)
			r := w.run("flight-plan", "--output", "json")
			s := r.summary(t)
			if c.want == "" {
				if r.code != 0 {
					t.Errorf("exit %d: %+v", r.code, s.Error)
				}
				return
			}
			if r.code != protocol.ExitFailure || s.Error == nil || s.Error.Code != "workspace_mutated" || !strings.Contains(s.Error.Message, c.want) {
				t.Errorf("exit %d: %+v, want %s", r.code, s.Error, c.want)
			}
			if again := w.run("take-off", s.WorkflowID); again.code == 0 {
				t.Error("it took off")
			}
		})
	}
}

// inTierB runs one test again where user namespaces cannot be made, and says
// whether this is the run there.
func inTierB(t *testing.T) bool {
	t.Helper()
	const inside = "CABINCREW_TEST_TIER_B"
	if os.Getenv(inside) == t.Name() {
		if found := machine(); found.Isolation.Tier != sandbox.TierB {
			t.Skipf("this machine offers tier %s there: %v", found.Isolation.Tier, found.Refused)
		}
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--user", "--map-root-user", "--mount", "--propagation", "private", "--", "sh", "-c",
		`echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"`, "sh", self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if !strings.Contains(string(out), "=== RUN") || strings.Contains(string(out), "--- SKIP") {
		t.Skipf("tier B cannot be had here: %v\n%s", err, out)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in tier B: %v\n%s", err, out)
	}
	return false
}

// TestRealWorkspaceInTierB: Landlock does not guard modes and times of files; the
// comparison finds what was done to them.
func TestRealWorkspaceInTierB(t *testing.T) {
	t.Parallel()
	if !inTierB(t) {
		return
	}
	for name, c := range map[string]struct{ act, want string }{
		"nothing":          {`:`, ""},
		"chmod an input":   {`chmod 600 "$REAL/hello.txt"`, `"hello.txt" (mode)`},
		"chmod another":    {`chmod 600 "$REAL/sub/keep.txt"`, `"sub/keep.txt" (mode)`},
		"chmod an ignored": {`chmod 600 "$REAL/ignored/file"`, `"ignored/file" (mode)`},
		"chmod of git":     {`chmod 600 "$REAL/.git/HEAD"`, `".git/HEAD" (mode)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := stepOn(t, c.act, "")
			r := w.run("flight-plan", "--output", "json")
			s := r.summary(t)
			if c.want == "" && r.code != 0 || c.want != "" && (r.code != protocol.ExitFailure || s.Error == nil || s.Error.Code != "workspace_mutated" || !strings.Contains(s.Error.Message, c.want)) {
				t.Errorf("exit %d: %+v, want %s", r.code, s.Error, c.want)
			}
			if len(s.Steps) == 1 && s.Steps[0].Isolation != nil && s.Steps[0].Isolation.Tier != sandbox.TierB {
				t.Errorf("it planned in %+v", s.Steps[0].Isolation)
			}
		})
	}
}

// TestSealNamesWhatChanged: between planning and sealing somebody changes an input.
func TestSealNamesWhatChanged(t *testing.T) {
	t.Parallel()
	w := engineWS(t, `receipt ''`, bare)
	s := w.json(0, "flight-plan", "--unsealed")
	w.write("hello.txt", "bye\n")
	got := w.json(protocol.ExitStale, "seal", s.WorkflowID)
	if got.Error == nil || got.Error.Code != "workspace_changed" || !strings.Contains(got.Error.Message, `which are the inputs ["hello.txt"]`) {
		t.Errorf("%+v", got.Error)
	}
}

// TestTrackedStateDirectory: what a change brings along is no state of this program.
func TestTrackedStateDirectory(t *testing.T) {
	t.Parallel()
	w := engineWS(t, `receipt ''`, bare)
	w.git("init", "-q")
	w.write(".cabincrew/cache/wasm/x/y", "native code\n")
	w.git("add", "-f", ".cabincrew/cache/wasm")
	refused := func(args ...string) {
		t.Helper()
		got := w.json(protocol.ExitUsage, args...)
		if got.Error == nil || got.Error.Code != "state_dir_tracked" || !strings.Contains(got.Error.Message, ".cabincrew/cache/wasm/x/y") || got.Error.Hint != "git rm -r --cached .cabincrew, and commit that" {
			t.Errorf("%q: %+v", args, got.Error)
		}
	}
	refused("flight-plan")
	if r := w.run("doctor"); r.code == 0 || !strings.Contains(r.stdout, "git rm -r --cached .cabincrew") {
		t.Errorf("doctor: exit %d\n%s", r.code, r.stdout)
	}
	w.git("rm", "-q", "-r", "--cached", ".cabincrew")
	s := w.json(0, "flight-plan")
	w.git("add", "-f", ".cabincrew/cache/wasm")
	refused("take-off", s.WorkflowID)
	w.git("rm", "-q", "-r", "--cached", ".cabincrew")
	w.json(0, "take-off", s.WorkflowID)
}

// TestPlantedModuleCache: what lies where compiled modules once were kept is not
// run, and a cache is used only while planning on a person's machine.
func TestPlantedModuleCache(t *testing.T) {
	t.Parallel()
	module := string(tinyModule.tiny(t, "GOOS=wasip1", "GOARCH=wasm"))
	workspace := func() *ws {
		return newWS(t, map[string]string{
			"hello.txt": "hello\n", "tools/tiny.wasm": module, "pol/p.rego": quietPolicy,
			".cabincrew.yaml": config(quiet, "  - id: tiny\n    engine: {wasm: tools/tiny.wasm}\n    inputs: [hello.txt]\n"),
		})
	}
	home := func(w *ws) string {
		for _, v := range w.env {
			if dir, ok := strings.CutPrefix(v, "HOME="); ok {
				return dir
			}
		}
		return ""
	}
	files := func(dir string) (out []string) {
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error { // what is not there has none
			if err == nil && d.Type().IsRegular() {
				out = append(out, path)
			}
			return nil
		})
		return out
	}
	w := workspace()
	if err := os.Chmod(home(w), 0o700); err != nil { //nolint:gosec // a directory
		t.Fatal(err)
	}
	s := w.json(0, "flight-plan")
	cache := filepath.Join(home(w), ".cache", "cabincrew", "wasm", strings.TrimPrefix(protocol.Digest([]byte(module)), "sha256:"))
	kept := files(cache)
	if len(kept) == 0 {
		t.Errorf("planning kept nothing in %s", cache)
	}
	if in := files(filepath.Join(w.dir, ".cabincrew", "cache", "wasm")); len(in) > 0 {
		t.Errorf("the workspace has %q", in)
	}
	// Take-off neither reads nor writes there.
	if err := os.RemoveAll(cache); err != nil {
		t.Fatal(err)
	}
	w.json(0, "take-off", s.WorkflowID)
	if again := files(cache); len(again) > 0 {
		t.Errorf("take-off kept %q", again)
	}
	// On a CI platform nothing is kept.
	w = workspace()
	w.env = append(w.env, "GITHUB_ACTIONS=true")
	w.run("flight-plan")
	if in := files(filepath.Join(home(w), ".cache")); len(in) > 0 {
		t.Errorf("on a CI platform there is %q", in)
	}
}

// TestPipesAreNotWaitedFor: a pipe in the place of a program is refused at once.
func TestPipesAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o700); err != nil {
		t.Fatal(err)
	}
	soon := func(w *ws, code int, args ...string) result {
		t.Helper()
		done := make(chan result, 1)
		go func() { done <- w.run(args...) }()
		select {
		case r := <-done:
			if r.code != code {
				t.Errorf("%q: exit %d, want %d\n%s%s", args, r.code, code, r.stdout, r.stderr)
			}
			return r
		case <-time.After(30 * time.Second):
			t.Fatalf("%q hangs", args)
			return result{}
		}
	}
	step := func(engine string) *ws {
		return newWS(t, map[string]string{"hello.txt": "x\n", "pol/p.rego": quietPolicy, "engine.sh": shellEngine(`receipt ''`),
			".cabincrew.yaml": config(quiet, "  - id: work\n"+engine+"    inputs: [hello.txt]\n"+bare)})
	}
	for name, c := range map[string]struct{ engine, code string }{
		"run":       {"    engine: {run: ['PIPE']}\n", "engine_not_found"},
		"wasm":      {"    engine: {wasm: 'PIPE'}\n", "engine_not_found"},
		"tool":      {"    engine: {run: [./engine.sh]}\n    tools: ['PIPE']\n", "tool_not_found"},
		"endless":   {"    engine: {run: [./engine.sh]}\n    tools: [/dev/zero]\n", "tool_not_found"},
		"directory": {"    engine: {run: [/tmp]}\n", "engine_not_found"},
	} {
		w := step(strings.ReplaceAll(c.engine, "PIPE", pipe))
		r := soon(w, protocol.ExitUsage, "flight-plan", "--output", "json")
		if e := r.summary(t).Error; e == nil || e.Code != c.code {
			t.Errorf("%s: %+v", name, e)
		}
		if strings.Contains(c.engine, "tools") {
			if r := soon(w, protocol.ExitUnreachable, "doctor"); !strings.Contains(r.stdout, "cannot be had") {
				t.Errorf("%s: doctor says\n%s", name, r.stdout)
			}
		}
	}
	w := step("    engine: {run: [./engine.sh]}\n")
	for _, at := range []string{pipe, "/dev/zero"} {
		if r := soon(w, protocol.ExitUsage, "validate", "config", at); !strings.Contains(r.stderr, "input_unreadable") && !strings.Contains(r.stderr, "not a regular file") {
			t.Errorf("%s: %s", at, r.stderr)
		}
	}
}

// TestShowGivesNoCommands: what an engine planned and a policy said is shown, and is
// no command of the platform that shows it.
func TestShowGivesNoCommands(t *testing.T) {
	t.Parallel()
	w := engineWS(t, `art a "$(printf 'one\n::error::x\n  ::add-mask::x\n##[error]x\n')"; echo '::error::log' >&2; receipt "$(decl a)"`, bare)
	w.write("pol/p.rego", "package cabincrew.quiet\n\nwarn contains {\"id\": \"w\", \"msg\": \"a\\n::error::policy\\n##[error]policy\"} if input.mode == \"flight-plan\"\n")
	s := w.json(0, "flight-plan")
	for _, args := range [][]string{{"show"}, {"status"}, {"verify"}, {"audit", "show"}, {"show", "--output", "json"}, {"policy", "eval", "--flight"}} {
		r := w.run(append(args, s.WorkflowID)...)
		if args[0] == "show" && len(args) == 1 && !strings.Contains(r.stdout, "\n    | ::error::x\n") {
			t.Errorf("show:\n%s", r.stdout)
		}
		for line := range strings.Lines(r.stdout + r.stderr) {
			if strings.HasPrefix(strings.TrimSpace(line), "::") || strings.Contains(line, "##[") {
				t.Errorf("%q prints %q", args, line)
			}
		}
	}
}
