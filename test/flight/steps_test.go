package flight

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// seeEngine plans one artifact whose body is what a script prints.
func seeEngine(script string) string {
	return shellEngine(`[ "$CABINCREW_MODE" = take-off ] && { receipt ''; exit 0; }
SEEN=$(` + script + `)
art seen "$SEEN"
receipt "$(decl seen)"`)
}

// TestStepsSeeWhatTheyNeed: a later step sees the patched files and the evidence
// of the steps that it needs; an independent step sees neither.
func TestStepsSeeWhatTheyNeed(t *testing.T) {
	t.Parallel()
	w := newWS(t, map[string]string{
		"f.txt": "one\n", "gone.txt": "gone\n", "see.sh": seeEngine(`ls; cat f.txt; grep -o '"body":"[^"]*two[^"]*"' "$CABINCREW_INPUT_FILE" || echo no evidence`),
		".cabincrew.yaml": config(baseline,
			"  - id: last\n    needs: [middle]\n    engine: {run: [./see.sh]}\n",
			"  - id: edit\n    engine: {use: command, with: {run: [sh, -c, 'echo two > f.txt; rm gone.txt; echo new > new.txt']}}\n    inputs: ['*.txt']\n",
			"  - id: middle\n    needs: [edit]\n    engine: {run: [./see.sh]}\n    inputs: [f.txt]\n",
			"  - id: apart\n    engine: {run: [./see.sh]}\n    inputs: ['*.txt']\n"),
	})
	s := w.json(0, "flight-plan")
	order := ""
	for _, step := range s.Steps {
		order += step.StepID + " "
	}
	if order != "edit middle last apart " && order != "edit middle apart last " && order != "edit apart middle last " {
		t.Errorf("plan order %s", order)
	}
	for step, want := range map[string][]string{
		"middle": {"f.txt\nsee.sh\ntwo\n", `+two`},
		"apart":  {"f.txt\ngone.txt\nsee.sh\none\n", "no evidence"},
		"last":   {"f.txt\nnew.txt\nsee.sh\ntwo\n", `+two`},
	} {
		body := holds(t, s, step, "seen")
		for _, part := range want {
			if !strings.Contains(body, part) {
				t.Errorf("step %s sees %q, want %q in it", step, body, part)
			}
		}
	}
	if body := holds(t, s, "middle", "seen"); strings.Contains(body, "new.txt\nsee") {
		t.Errorf("middle sees more than its inputs: %q", body)
	}
	w.json(0, "take-off")
	if w.read("f.txt") != "two\n" || w.exists("gone.txt") || w.read("new.txt") != "new\n" {
		t.Fatalf("the patch was not applied:\n%s", w.snapshot())
	}
	w.want(0, "verify", s.WorkflowID)
}

func commandLine(id, needs, script string) string {
	return "  - id: " + id + "\n" + needs + "    engine: {use: command, with: {run: [sh, -c, '" + script + "']}}\n"
}

func TestStepsThatCollide(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code  string
		steps []string
	}{
		"same file":            {"patch_conflict", []string{commandLine("a", "", "echo a > f.txt"), commandLine("b", "", "echo b > f.txt")}},
		"both add":             {"patch_conflict", []string{commandLine("a", "", "echo a > n"), commandLine("b", "", "echo a > n")}},
		"rename and edit":      {"patch_conflict", []string{commandLine("a", "", "mv f.txt g.txt"), commandLine("b", "", "echo b > f.txt")}},
		"file and directory":   {"", []string{commandLine("a", "", "echo a > d"), commandLine("b", "", "mkdir d; echo b > d/x")}},
		"ignore rules, needed": {"patch_gitignore", []string{commandLine("a", "", "echo x > .gitignore"), commandLine("b", "    needs: [a]\n", "echo b > y")}},
		"below, needed":        {"patch_gitignore", []string{commandLine("a", "", "mkdir d; echo x > d/.gitignore"), commandLine("b", "    needs: [a]\n", "echo b > y")}},
		"ignore rules, alone":  {"none", []string{commandLine("a", "", "echo x > .gitignore"), commandLine("b", "", "echo b > y")}},
		"one after another":    {"none", []string{commandLine("a", "", "echo a > f.txt"), commandLine("b", "    needs: [a]\n", "echo b >> f.txt")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWS(t, map[string]string{"f.txt": "one\n", ".cabincrew.yaml": config(lenient, c.steps...)})
			before := w.snapshot()
			r := w.run("flight-plan", "--output", "json")
			s := r.summary(t)
			switch c.code {
			case "none":
				if r.code != 0 {
					t.Fatalf("exit %d: %+v", r.code, s.Error)
				}
				w.want(0, "take-off", s.WorkflowID)
				return
			case "": // any refusal before take-off
				if r.code == 0 {
					t.Fatalf("planned: %+v", s)
				}
			default:
				if r.code != 1 || s.Error == nil || s.Error.Code != c.code || s.State != protocol.StateFailed {
					t.Fatalf("exit %d, %s: %+v, want %s", r.code, s.State, s.Error, c.code)
				}
			}
			if w.snapshot() != before {
				t.Fatal("the workspace changed")
			}
		})
	}
}

// proc runs the program as a process of its own.
func (w *ws) proc(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], append(args, "--config", filepath.Join(w.dir, ".cabincrew.yaml"))...)
	cmd.Env = append([]string{"CABINCREW_TEST_MAIN=1"}, w.env...)
	cmd.Dir = w.dir
	return cmd
}

// tokensOf gives what must be equal: the flight token and each step's.
func tokensOf(s orchestrator.Summary) string {
	out := s.FlightToken
	for _, step := range s.Steps {
		out += "\n" + step.StepID + " " + step.Token
		for _, a := range step.Artifacts {
			out += "\n  " + a.Name + " " + a.Hash
		}
	}
	return out
}

// severalSteps is a workspace in a repository, whose steps make every kind of
// change and depend upon each other.
func severalSteps(t *testing.T) *ws {
	t.Helper()
	w := newWS(t, map[string]string{
		"f.txt": "one\n", "ümlaut name.txt": "x\r\n", "tool.sh": "#!/bin/sh\n", "sub/gone": "gone\n", ".gitignore": "*.tmp\n",
		"see.sh": seeEngine("ls -A; cat f.txt; date -d @0 +%A%H; locale 2>/dev/null | head -1; umask >/dev/null"),
		".cabincrew.yaml": config(lenient+approvers,
			commandLine("edit", "", "echo two > f.txt; echo b > new.txt; rm sub/gone; chmod +x f.txt; ln -s f.txt link; printf \"\\000\\001\" > bin"),
			"  - id: a\n    needs: [edit]\n    engine: {run: [./see.sh]}\n", "  - id: b\n    engine: {run: [./see.sh]}\n    inputs: ['*.txt']\n",
			"  - id: c\n    needs: [a, b]\n    engine: {run: [./see.sh]}\n", commandLine("other", "", "echo other > other.txt")),
	})
	for _, name := range []string{"boss", "other", "robot", "author"} {
		w.keys(name)
	}
	w.git("init", "-q")
	w.git("add", "-A", ":!keys/boss", ":!keys/other", ":!keys/robot", ":!keys/author")
	w.git("commit", "-q", "-m", "start")
	return w
}

// clone gives another checkout of the same commit, somewhere else.
func (w *ws) clone() *ws {
	w.t.Helper()
	c := &ws{t: w.t, dir: filepath.Join(w.t.TempDir(), "another", "place"), env: w.env}
	if err := os.MkdirAll(filepath.Dir(c.dir), 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.git("clone", "-q", w.dir, c.dir)
	return c
}

// TestSameTokens plans the same thing in many ways.
func TestSameTokens(t *testing.T) {
	t.Parallel()
	w := severalSteps(t)
	first := w.json(0, "flight-plan", "--jobs", "1")
	want := tokensOf(first)
	run := func(t *testing.T, cmd *exec.Cmd) orchestrator.Summary {
		t.Helper()
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s", err, errs.String())
		}
		return result{0, out.String(), errs.String()}.summary(t)
	}
	plan := []string{"flight-plan", "--output", "json"}
	for name, f := range map[string]func(t *testing.T) orchestrator.Summary{
		"jobs": func(t *testing.T) orchestrator.Summary {
			return run(t, w.clone().proc(append(plan, "--jobs", "8")...))
		},
		"zone and language": func(t *testing.T) orchestrator.Summary {
			c := w.clone()
			c.env = append(slices.Clip(c.env), "TZ=Pacific/Kiritimati", "LANG=tr_TR.UTF-8", "LC_ALL=tr_TR.UTF-8", "LANGUAGE=tr")
			return run(t, c.proc(plan...))
		},
		"umask": func(t *testing.T) orchestrator.Summary {
			c := w.clone()
			cmd := c.proc(plan...)
			cmd.Args = append([]string{"sh", "-c", `umask 077; exec "$0" "$@"`}, append([]string{os.Args[0]}, cmd.Args[1:]...)...)
			cmd.Path = "/bin/sh"
			return run(t, cmd)
		},
		"checkout under another umask": func(t *testing.T) orchestrator.Summary {
			c := w.clone()
			err := filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.Type()&fs.ModeSymlink != 0 {
					return err
				}
				info, err := d.Info()
				if err != nil {
					return err
				}
				return os.Chmod(path, info.Mode().Perm()&0o700)
			})
			if err != nil {
				t.Fatal(err)
			}
			return run(t, c.proc(plan...))
		},
		"state directory": func(t *testing.T) orchestrator.Summary {
			return run(t, w.clone().proc(append(plan, "--state-dir", filepath.Join(t.TempDir(), "state"))...))
		},
		"through a link": func(t *testing.T) orchestrator.Summary {
			c := w.clone()
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(c.dir, link); err != nil {
				t.Fatal(err)
			}
			c.dir = link
			return run(t, c.proc(plan...))
		},
		"from another directory": func(t *testing.T) orchestrator.Summary {
			cmd := w.clone().proc(plan...)
			cmd.Dir = "/"
			return run(t, cmd)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := f(t)
			if got := tokensOf(s); got != want {
				t.Errorf("tokens\n%s\nwant\n%s", got, want)
			}
			if s.WorkflowID == first.WorkflowID || s.WorkflowID == "" {
				t.Errorf("workflow id %q twice", s.WorkflowID)
			}
		})
	}
}

// gated is a workspace whose second step waits until a file appears.
func gated(t *testing.T) (w *ws, gate string) {
	t.Helper()
	gate = filepath.Join(t.TempDir(), "gate")
	w = newWS(t, map[string]string{
		"hello.txt":  "hello\n",
		"first.sh":   shellEngine(`echo x >> "$GATE.first"; receipt ''`),
		"wait.sh":    shellEngine(`echo x >> "$GATE.started"; while [ ! -e "$GATE" ]; do sleep 0.02; done; receipt ''`),
		"pol/p.rego": quietPolicy,
		".cabincrew.yaml": config(quiet, "  - id: first\n    engine: {run: [./first.sh]}\n    env: {GATE: 'env:GATE'}\n"+bare,
			"  - id: wait\n    needs: [first]\n    engine: {run: [./wait.sh]}\n    env: {GATE: 'env:GATE'}\n"+bare),
	})
	w.env = append(w.env, "GATE="+gate)
	return w, gate
}

func await(t *testing.T, file string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		// A shell makes the file before it writes the line.
		if info, err := os.Stat(file); err == nil && info.Size() > 0 {
			return
		}
	}
	t.Fatalf("%s does not appear", file)
}

func touch(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestOneFlightAtATime refuses a second command in the workspace and names the first.
func TestOneFlightAtATime(t *testing.T) {
	t.Parallel()
	w, gate := gated(t)
	cmd := w.proc("flight-plan")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, gate+".started")
	s := w.json(7, "flight-plan")
	if s.Error == nil || s.Error.Code != "locked" || !strings.Contains(s.Error.Message, itoa(cmd.Process.Pid)) {
		t.Errorf("%+v, want the pid %d", s.Error, cmd.Process.Pid)
	}
	id := ""
	for _, f := range w.flights() {
		id = f
	}
	if s := w.json(7, "cancel", id); s.Error == nil || s.Error.Code != "locked" {
		t.Errorf("cancel: %+v", s.Error)
	}
	w.want(0, "list")
	touch(t, gate)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	w.want(0, "take-off", id)
}

func itoa(n int) string {
	if n == 0 {
		return ""
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

func (w *ws) flights() []string {
	entries, err := os.ReadDir(filepath.Join(w.dir, ".cabincrew", "flights"))
	if err != nil {
		w.t.Fatal(err)
	}
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids
}

// TestTwoTakeOffs starts several take-offs of one flight at once: the engine
// runs exactly once.
func TestTwoTakeOffs(t *testing.T) {
	t.Parallel()
	count := filepath.Join(t.TempDir(), "count")
	w := newWS(t, map[string]string{
		"hello.txt": "hello\n", "engine.sh": echoEngine, "pol/p.rego": quietPolicy,
		".cabincrew.yaml": config(quiet, "  - id: note\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n    env: {TAKEOFFS: 'env:TAKEOFFS'}\n"+bare),
	})
	w.env = append(w.env, "TAKEOFFS="+count)
	id := w.json(0, "flight-plan").WorkflowID
	var wg sync.WaitGroup
	codes := make([]int, 4)
	for i := range codes {
		cmd := w.proc("take-off", id)
		wg.Go(func() {
			err := cmd.Run()
			var failed *exec.ExitError
			if err != nil && !errors.As(err, &failed) {
				t.Error(err)
			}
			codes[i] = cmd.ProcessState.ExitCode()
		})
	}
	wg.Wait()
	won := 0
	for _, code := range codes {
		switch code {
		case 0: // it, or one that came later and saw that all was done
			won++
		case 7:
		default:
			t.Errorf("exit codes %v", codes)
		}
	}
	data, err := os.ReadFile(count)
	if err != nil || string(data) != "x\n" || won == 0 {
		t.Fatalf("take-offs %q, exit codes %v, %v", data, codes, err)
	}
	w.want(0, "verify", id)
}

// TestResumeAfterSignal stops planning and goes on; the step that had planned is
// not run again.
func TestResumeAfterSignal(t *testing.T) {
	t.Parallel()
	w, gate := gated(t)
	cmd := w.proc("flight-plan")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, gate+".started")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != protocol.ExitInterrupted {
		t.Fatalf("%v, exit %d", err, cmd.ProcessState.ExitCode())
	}
	touch(t, gate)
	id := w.flights()[0]
	w.want(2, "seal", id)
	w.want(2, "take-off", id)
	if s := w.json(0, "resume", id); s.State != protocol.StateReadyForTakeoff {
		t.Fatalf("%+v", s)
	}
	for file, want := range map[string]string{".first": "x\n", ".started": "x\nx\n"} {
		if data, err := os.ReadFile(gate + file); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v; want %q", file, data, err, want)
		}
	}
	if left, err := os.ReadDir(filepath.Join(w.dir, ".cabincrew", "tmp")); err == nil && len(left) != 0 {
		t.Errorf("temporary files are left: %v", left)
	}
	w.want(0, "take-off", id)
	w.want(0, "verify", id)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	w := engineWS(t, `receipt ''`, "")
	id := w.json(0, "flight-plan").WorkflowID
	if s := w.json(0, "cancel", id, "--reason", "not today"); s.State != protocol.StateFailed {
		t.Fatalf("%+v", s)
	}
	// What a cancelled flight stands for is the exit code of a denial.
	for command, code := range map[string]int{"take-off": 3, "resume": 3, "cancel": 2, "seal": 2} {
		if r := w.run(command, id); r.code != code {
			t.Errorf("%s: exit %d, want %d\n%s", command, r.code, code, r.stderr)
		}
	}
	w.want(0, "verify", id)
	if r := w.want(0, "audit", "show", id); !strings.Contains(r.stdout, "not today") {
		t.Errorf("the reason is not in the timeline:\n%s", r.stdout)
	}
}

// TestWorkspaceChangesWhilePlanning binds a plan to what its engine saw: a token
// over a workspace that is another at seal would let a plan of old files take off.
func TestWorkspaceChangesWhilePlanning(t *testing.T) {
	t.Parallel()
	w := engineWS(t, `art a "$(cat hello.txt)"; receipt "$(decl a)"`, bare)
	w.json(0, "flight-plan", "--unsealed")
	w.write("hello.txt", "changed\n")
	if s := w.json(protocol.ExitStale, "seal"); s.Error == nil || s.Error.Code != "workspace_changed" || s.FlightToken != "" {
		t.Fatalf("%+v, token %q", s.Error, s.FlightToken)
	}
	w.write("hello.txt", "hello\n")
	if s := w.json(0, "seal"); s.State != protocol.StateReadyForTakeoff {
		t.Fatalf("after undoing the change: %+v", s)
	}
	// While the engine runs, nobody can tell whether it was the engine.
	w = engineWS(t, `[ "$CABINCREW_MODE" = take-off ] || echo changed > "$REAL/hello.txt"; art a "$(cat hello.txt)"; receipt "$(decl a)"`, "    env: {REAL: 'env:REAL'}\n"+bare)
	w.env = append(w.env, "REAL="+w.dir)
	if s := w.json(protocol.ExitFailure, "flight-plan"); s.Error == nil || s.Error.Code != "workspace_mutated" || s.FlightToken != "" {
		t.Fatalf("%+v, token %q", s.Error, s.FlightToken)
	}
}

// copyFlight takes a flight to another workspace's state directory.
func copyFlight(t *testing.T, s orchestrator.Summary, to *ws) string {
	t.Helper()
	dir := filepath.Join(to.dir, ".cabincrew", "flights", s.WorkflowID)
	if err := os.CopyFS(dir, os.DirFS(s.FlightDir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSealElsewhere plans on one checkout and seals on another.
func TestSealElsewhere(t *testing.T) {
	t.Parallel()
	w := severalSteps(t)
	other := w.clone()
	want := tokensOf(w.clone().json(0, "flight-plan"))
	s := w.json(0, "flight-plan", "--unsealed")
	if s.State != protocol.StatePlanGenerated || s.FlightToken != "" {
		t.Fatalf("%+v", s)
	}
	w.want(2, "take-off", s.WorkflowID)
	copyFlight(t, s, other)
	sealed := other.json(0, "seal", s.WorkflowID)
	if got := tokensOf(sealed); got != want || sealed.State != protocol.StateReadyForTakeoff {
		t.Fatalf("%s, tokens\n%s\nwant\n%s", sealed.State, got, want)
	}
	other.want(0, "verify", s.WorkflowID)
	other.want(0, "take-off", s.WorkflowID)
	if other.read("f.txt") != "two\n" || other.read("other.txt") != "other\n" {
		t.Fatal("the patches are not applied")
	}
	other2 := w.clone()
	other2.write("f.txt", "changed\n")
	copyFlight(t, s, other2)
	if r := other2.json(6, "seal", s.WorkflowID); r.Error.Code != "patch_before_mismatch" {
		t.Fatalf("%+v", r.Error)
	}
	other3 := w.clone()
	other3.write("more.txt", "more\n")
	copyFlight(t, s, other3)
	if r := other3.json(6, "seal", s.WorkflowID); r.Error.Code != "workspace_changed" {
		t.Fatalf("%+v", r.Error)
	}
}

// TestSealRefusesTampering changes each file of an unsealed flight.
func TestSealRefusesTampering(t *testing.T) {
	t.Parallel()
	w := newWS(t, map[string]string{
		"hello.txt": "hello\n", "engine.sh": echoEngine, "f.txt": "one\n",
		".cabincrew.yaml": config(baseline, "  - id: note\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n", commandLine("edit", "", "echo two > f.txt")),
	})
	s := w.json(0, "flight-plan", "--unsealed")
	var files []string
	err := filepath.WalkDir(s.FlightDir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			rel, relErr := filepath.Rel(s.FlightDir, path)
			files, err = append(files, rel), relErr
		}
		return err
	})
	if err != nil || len(files) < 12 {
		t.Fatalf("%v, %v", files, err)
	}
	attempt := func(name string, tamper func(t *testing.T, dir string) error) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &ws{t: t, dir: t.TempDir(), env: w.env}
			for _, f := range []string{"hello.txt", "f.txt", "engine.sh", ".cabincrew.yaml"} {
				c.write(f, w.read(f))
			}
			dir := copyFlight(t, s, c)
			if err := tamper(t, dir); err != nil {
				t.Fatal(err)
			}
			r := c.run("seal", s.WorkflowID, "--output", "json")
			// A WAL that was cut at a line's end is one of a plan that was interrupted.
			if r.code != 5 && (name != "cut of wal.jsonl" || r.code != 2) {
				t.Fatalf("exit %d\n%s", r.code, r.stderr)
			}
			if r := c.run("take-off", s.WorkflowID); r.code == 0 || c.read("f.txt") != "one\n" {
				t.Fatalf("it took off: exit %d", r.code)
			}
		})
	}
	change := func(f string, edit func([]byte) []byte) func(*testing.T, string) error {
		return func(t *testing.T, dir string) error {
			data, err := os.ReadFile(filepath.Join(dir, f))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, f), edit(data), 0o644)
		}
	}
	for _, f := range files {
		if strings.HasSuffix(f, ".log") {
			continue // an engine's log may be empty; it is told below
		}
		attempt("flip in "+f, change(f, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }))
		attempt("space after "+f, change(f, func(b []byte) []byte { return append(b, ' ') }))
		attempt("cut of "+f, change(f, func(b []byte) []byte { return b[:len(b)/2] }))
		attempt("removal of "+f, func(_ *testing.T, dir string) error { return os.Remove(filepath.Join(dir, f)) })
		attempt("link for "+f, func(t *testing.T, dir string) error {
			outside := filepath.Join(t.TempDir(), "x")
			if err := os.Rename(filepath.Join(dir, f), outside); err != nil {
				return err
			}
			return os.Symlink(outside, filepath.Join(dir, f))
		})
	}
	attempt("log", change("steps/note/engine.log", func(b []byte) []byte { return append(b, "it was all right\n"...) }))
	attempt("further artifact", func(_ *testing.T, dir string) error {
		at := filepath.Join(dir, "steps/note/artifacts/more")
		return errors.Join(os.Mkdir(at, 0o755), os.WriteFile(at+"/artifact.json", []byte("{}"), 0o644))
	})
	attempt("further file", func(_ *testing.T, dir string) error {
		return os.WriteFile(filepath.Join(dir, "steps/note/artifacts/note/more"), nil, 0o644)
	})
	attempt("pipe in steps", func(_ *testing.T, dir string) error {
		return syscall.Mkfifo(filepath.Join(dir, "steps/note/pipe"), 0o644)
	})
}
