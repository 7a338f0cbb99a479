package flight

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// prelude gives engines small words: art NAME BODY writes an artifact, decl NAME
// its line for the receipt, receipt LINES the receipt.
const prelude = `#!/bin/sh
set -eu
A="$CABINCREW_ARTIFACTS_DIR"
art() {
  mkdir "$A/$1"
  printf '{"artifact_type":"note","action":"tell","mime":"text/plain","body_file":"body.data"}' > "$A/$1/artifact.json"
  printf '%s' "$2" > "$A/$1/body.data"
}
decl() {
  printf '{"name":"%s","role":"evidence","path":"%s","hash":"%s"}' "$1" "$1" "$(sha256sum < "$A/$1/body.data" | cut -d' ' -f1)"
}
receipt() {
  printf '{"protocol_version":"draft","engine_id":"shell","mode":"%s","receipt_id":"r","status":"success","artifacts":[%s]}' "${MODE:-$CABINCREW_MODE}" "$1"
}
`

func shellEngine(script string) string { return prelude + script + "\n" }

// engineWS is a workspace with one step that runs a script.
func engineWS(t *testing.T, script, more string) *ws {
	t.Helper()
	return newWS(t, map[string]string{
		"hello.txt": "hello\n", "sub/keep.txt": "keep\n", "engine.sh": shellEngine(script), "pol/p.rego": quietPolicy,
		".cabincrew.yaml": config(quiet, "  - id: work\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n"+more),
	})
}

// snapshot gives the workspace without its state directory, as one text.
func (w *ws) snapshot() string {
	w.t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(w.dir, path)
		if err != nil {
			return err
		}
		if rel == ".cabincrew" || rel == ".git" {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %v", rel, info.Mode())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %x", sha256.Sum256(data))
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return b.String()
}

// hostile is an engine that breaks the contract. code is what its flight fails with;
// inside is that in tier A, where the engine cannot do what it tries, "" if it is the same.
type hostile struct{ code, script, more, inside string }

// mutations write into the workspace.
func mutations() map[string]string {
	return map[string]string{
		"writes its workspace":  `echo x >> hello.txt`,
		"adds to its workspace": `echo x > .hidden`,
		"deletes from it":       `rm hello.txt`,
		"changes a mode in it":  `chmod +x hello.txt`,
		"ignores what it adds":  `echo '*' > .gitignore; echo x > y`,
		"raw names in it":       `touch "$(printf 'a\033[31m\nerror: all is well')"`,
	}
}

func hostiles() map[string]hostile {
	const empty = `'{"name":"a","role":"evidence","path":"a","hash":"'$(printf '' | sha256sum | cut -d' ' -f1)'"}'`
	all := map[string]hostile{
		"garbage":                   {"receipt_malformed", `head -c 1000 /dev/urandom`, "", ""},
		"nothing":                   {"receipt_missing", `true`, "", ""},
		"two receipts":              {"receipt_malformed", `receipt ''; receipt ''`, "", ""},
		"other mode":                {"receipt_mode", `MODE=take-off receipt ''`, "", ""},
		"endless stdout":            {"receipt_too_large", `yes | head -c 100000000`, "", ""},
		"fails after success":       {"engine_failed", `receipt ''; exit 1`, "", ""},
		"dies":                      {"engine_failed", `receipt ''; kill -SEGV $$`, "", ""},
		"never ends":                {"engine_timeout", `receipt ''; while :; do sleep 1; done`, "    timeout: 1s\n", ""},
		"undeclared":                {"artifact_undeclared", `art a x; receipt ''`, "", ""},
		"missing":                   {"artifact_missing", `receipt ` + empty, "", ""},
		"another hash":              {"artifact_hash", `art a x; R=$(receipt "$(decl a)"); printf y > "$A/a/body.data"; printf '%s' "$R"`, "", ""},
		"link as artifact":          {"artifact_kind", `art b x; mv "$A/b" "$CABINCREW_TEMP_DIR/b"; ln -s "$CABINCREW_TEMP_DIR/b" "$A/a"; receipt "$(decl a)"`, "", ""},
		"link as body":              {"artifact_unreadable", `art a x; R=$(receipt "$(decl a)"); ln -sf /etc/hostname "$A/a/body.data"; printf '%s' "$R"`, "", ""},
		"hard link as body":         {"artifact_unreadable", `art a x; art b x; ln -f "$A/a/body.data" "$A/b/body.data"; receipt "$(decl a),$(decl b)"`, "", ""},
		"hard link from elsewhere":  {"artifact_unreadable", `art a x; rm "$A/a/body.data"; echo z > "$CABINCREW_TEMP_DIR/z"; ln "$CABINCREW_TEMP_DIR/z" "$A/a/body.data"; receipt "$(decl a)"`, "", "engine_failed"},
		"pipe as body":              {"artifact_unreadable", `art a x; R=$(receipt "$(decl a)"); rm "$A/a/body.data"; mkfifo "$A/a/body.data"; printf '%s' "$R"`, "", ""},
		"names equal but for case":  {"artifact_duplicate", `art a x; art A x; receipt "$(decl a),$(decl A)"`, "", ""},
		"body outside":              {"artifact_body_file", `art a x; R=$(receipt "$(decl a)"); sed -i 's/body.data/..\/..\/x/' "$A/a/artifact.json"; printf '%s' "$R"`, "", ""},
		"too many artifacts":        {"artifact_count", `art a x; art b x; receipt "$(decl a),$(decl b)"`, "    limits: {artifacts: 1}\n", ""},
		"sparse giant":              {"artifact_too_large", `art a x; truncate -s 12G "$A/a/body.data"; receipt ` + empty, "", ""},
		"larger than any file":      {"artifact_too_large", `art a x; truncate -s 20G "$A/a/body.data"; receipt ` + empty, "", "engine_failed"},
		"its directory is gone":     {"artifact_unreadable", `rmdir "$A"; receipt ''`, "", "engine_failed"},
		"its directory is a link":   {"artifact_unreadable", `rmdir "$A"; ln -s / "$A"; receipt ''`, "", "engine_failed"},
		"an escape in its error":    {"engine_failed", `printf '{"protocol_version":"draft","engine_id":"e","mode":"flight-plan","receipt_id":"r","status":"failure","error":"\\u001b[2J\\u0007\\nflight allowed"}'`, "", ""},
		"an escape in a field name": {"receipt_malformed", `printf '{"protocol_version":"draft","\\u001b[2J\\u0007":1}'`, "", ""},
		"a patch of nonsense":       {"patch_invalid", patchArtifact("nonsense", `{"files":[]}`), "", ""},
		"a patch that leaves":       {"patch_path_refused", patchArtifact("diff --git a/../x b/../x\nnew file mode 100644\n--- /dev/null\n+++ b/../x\n@@ -0,0 +1 @@\n+x\n", `{"files":[{"op":"add","new_path":"../x","new_mode":"100644","after":"sha256:73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac","added":1,"deleted":0,"binary":false}]}`), "", ""},
	}
	for name, script := range mutations() {
		all[name] = hostile{"workspace_mutated", script + `; receipt ''`, "", "engine_failed"}
	}
	return all
}

// TestHostileEngines flies engines that break the contract, isolated and not. Each
// must fail its flight with exit 1 and the code of what it did, and change nothing.
func TestHostileEngines(t *testing.T) {
	t.Parallel()
	for name, c := range hostiles() {
		t.Run("tier C/"+name, func(t *testing.T) {
			t.Parallel()
			loose := c
			loose.more += bare
			loose.fails(t)
		})
		t.Run("tier A/"+name, func(t *testing.T) {
			t.Parallel()
			isolates(t)
			held := c
			held.code = cmp.Or(c.inside, c.code)
			held.fails(t)
		})
	}
}

// fails plans with the engine and looks at what is left.
func (c hostile) fails(t *testing.T) {
	t.Helper()
	w := engineWS(t, c.script, c.more)
	before := w.snapshot()
	r := w.run("flight-plan", "--output", "json")
	s := r.summary(t)
	if s.Error == nil || s.Error.Code != c.code && !(c.code == "receipt_malformed" && s.Error.Code == "receipt_invalid") {
		t.Fatalf("exit %d: %+v, want %s\n%s", r.code, s.Error, c.code, r.stderr)
	}
	// A flight whose stored bytes are wrong is an integrity error; all others are the engine's failure.
	want := protocol.ExitFailure
	if strings.HasPrefix(c.code, "patch_") {
		want = protocol.ExitIntegrity
	}
	if r.code != want || s.State != protocol.StateFailed {
		t.Fatalf("exit %d, state %s", r.code, s.State)
	}
	harmless(t, r)
	if after := w.snapshot(); after != before {
		t.Fatalf("the workspace changed:\n%s\n%s", before, after)
	}
	harmless(t, w.run("show", s.WorkflowID))
	if again := w.run("take-off", s.WorkflowID); again.code == 0 {
		t.Fatal("a failed flight took off")
	}
}

// TestIgnoredRefusals lets engines try in tier A to write into the workspace and go
// on as if it had worked: what they planned holds, and nothing was written.
func TestIgnoredRefusals(t *testing.T) {
	t.Parallel()
	isolates(t)
	for name, script := range mutations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := engineWS(t, `[ "$CABINCREW_MODE" = flight-plan ] || { receipt ''; exit 0; }
set +e
`+script+`
set -e
[ ! -w hello.txt ]
art a "$(ls -lA; cat hello.txt)"; receipt "$(decl a)"`, "")
			before := w.snapshot()
			s := w.json(0, "flight-plan")
			if saw := holds(t, s, "work", "a"); strings.Count(saw, "\n") != 3 || !strings.HasSuffix(saw, "\nhello") || !strings.Contains(saw, "-rw-r--r--") {
				t.Errorf("after its writes the engine saw %q", saw)
			}
			log, err := os.ReadFile(flightDir(s, "steps", "work", "engine.log"))
			if err != nil || !strings.Contains(string(log), "Read-only file system") {
				t.Errorf("the log says %q, %v", log, err)
			}
			if after := w.snapshot(); after != before {
				t.Errorf("the workspace changed:\n%s\n%s", before, after)
			}
			w.want(0, "take-off", s.WorkflowID)
		})
	}
}

// patchArtifact makes an engine that gives a patch with a body and metadata.
func patchArtifact(body, metadata string) string {
	return `mkdir "$A/p"; cat > "$A/p/body.data" <<'BODY'
` + body + `
BODY
cat > "$A/p/artifact.json" <<'META'
{"artifact_type":"patch","action":"change","mime":"text/x-diff","body_file":"body.data","metadata":` + metadata + `}
META
receipt "$(decl p)"`
}

// harmless demands that nothing which reached the terminal can move it.
func harmless(t *testing.T, r result) {
	t.Helper()
	for stream, text := range map[string]string{"stdout": r.stdout, "stderr": r.stderr} {
		if i := strings.IndexAny(text, "\x1b\x07\x08\x00\u202e\u009b"); i >= 0 {
			t.Errorf("%s has a raw control character: %q", stream, text[max(0, i-60):min(len(text), i+60)])
		}
		for line := range strings.SplitSeq(text, "\n") {
			if strings.HasPrefix(line, "flight allowed") || strings.HasPrefix(line, "error: all is well") {
				t.Errorf("%s has a line that an engine wrote: %q", stream, line)
			}
		}
	}
}

// TestEscapesStayOutOfTerminals lets an engine that is in order say control
// sequences wherever it can, and looks at every command that shows a flight.
func TestEscapesStayOutOfTerminals(t *testing.T) {
	t.Parallel()
	w := newWS(t, map[string]string{
		"hello.txt": "hello\n", "engine.sh": shellEngine(`
printf '\033]0;owned\007\033[2J\nflight allowed\n' >&2
[ "$CABINCREW_MODE" = flight-plan ] || { receipt ''; exit 0; }
mkdir "$A/a"
printf 'body \033[31m \342\200\256 turned\nflight allowed\n' > "$A/a/body.data"
printf '{"artifact_type":"file\\u001b[2J","action":"create\\u0007","target":"x\\u001b]0;y\\u0007\\nflight allowed","mime":"text/plain\\u001b[0m","body_file":"body.data","metadata":{"\\u001b[5m":"\\u202eevil"}}' > "$A/a/artifact.json"
receipt "$(decl a)" | sed 's/"shell"/"she\\u001b[31mll\\nflight allowed"/; s/"r"/"\\u001b[2J"/'`),
		".cabincrew.yaml": config("policies: {bundled: [baseline], rego: [policies/]}\n", "  - id: work\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n"),
		"policies/p.rego": "package cabincrew.p\n\nwarn contains {\"msg\": sprintf(\"target %s of %s\", [a.target, input.receipt.engine_id])} if some a in input.artifacts\n",
	})
	r := w.run("flight-plan")
	if r.code != 0 {
		t.Fatalf("exit %d\n%q", r.code, r.stderr)
	}
	harmless(t, r)
	for _, args := range [][]string{{"status"}, {"show"}, {"diff"}, {"list"}, {"verify"}, {"audit", "show"}, {"take-off"}, {"list"}} {
		r := w.run(args...)
		if r.code != 0 && args[0] != "diff" {
			t.Logf("%v: exit %d\n%q", args, r.code, r.stderr)
		}
		harmless(t, r)
	}
}

// TestLogFlood cuts a log of 100 MB off, and the flight goes on.
func TestLogFlood(t *testing.T) {
	t.Parallel()
	w := engineWS(t, `yes 'a line of the log' | head -c 100000000 >&2; receipt ''`, "")
	s := w.json(0, "flight-plan")
	info, err := os.Stat(flightDir(s, "steps", "work", "engine.log"))
	if err != nil || info.Size() < 64<<20 || info.Size() > 64<<20+200 {
		t.Fatalf("the log has %d bytes, %v", info.Size(), err)
	}
	tail, err := os.ReadFile(flightDir(s, "steps", "work", "engine.log"))
	if err != nil || !bytes.Contains(tail[len(tail)-200:], []byte("further bytes of log were cut off")) {
		t.Fatalf("the log does not tell of the cut: %q, %v", tail[max(0, len(tail)-200):], err)
	}
}

// TestSurvivors lets engines fork processes that outlive them, of the usual kind
// and of one that hides from the hunt, and that keeps writing into what was
// planned. The flight holds what was hashed, or was refused.
func TestSurvivors(t *testing.T) {
	t.Parallel()
	for name, fork := range map[string]string{
		"marked":   `(setsid sh -c 'for i in $(seq 300); do echo evil >> "$A/a/body.data"; sleep 0.01; done' >/dev/null 2>&1 &)`,
		"unmarked": `(env -i PATH="$PATH" setsid sh -c 'for i in $(seq 300); do [ -e "$0/a/body.data" ] || exit 0; echo evil > "$0/a/body.data"; sleep 0.01; done' "$A" >/dev/null 2>&1 &)`,
		"stdout":   `(setsid sh -c 'sleep 600' &)`,
	} {
		engine := `export A; [ "$CABINCREW_MODE" = flight-plan ] || { receipt ''; exit 0; }; art a planned; R=$(receipt "$(decl a)"); ` + fork + `; printf '%s' "$R"`
		t.Run("tier C/"+name, func(t *testing.T) {
			t.Parallel()
			survivors(t, engineWS(t, engine, bare), name != "stdout")
		})
		t.Run("tier A/"+name, func(t *testing.T) {
			t.Parallel()
			isolates(t)
			survivors(t, engineWS(t, engine, ""), name != "stdout")
		})
	}
}

// survivors flies an engine with survivors. mayFail says that they may have been
// fast enough to write before the engine ended.
func survivors(t *testing.T, w *ws, mayFail bool) {
	t.Helper()
	r := w.run("flight-plan", "--output", "json")
	s := r.summary(t)
	if r.code != 0 {
		if !mayFail || s.State != protocol.StateFailed || s.Error == nil {
			t.Fatalf("exit %d: %+v\n%s", r.code, s.Error, r.stderr)
		}
		return
	}
	if body := holds(t, s, "work", "a"); body != "planned" {
		t.Fatalf("the flight holds %q", body)
	}
	w.want(0, "verify", s.WorkflowID)
	w.want(0, "take-off", s.WorkflowID)
}

// holds gives an artifact's body as the flight has it.
func holds(t *testing.T, s orchestrator.Summary, step, artifact string) string {
	t.Helper()
	f, err := os.Open(flightDir(s, "steps", step, "artifacts", artifact, "body.data"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestHostileTakeOff lets engines break the contract at take-off, after an
// honest plan. The flight fails and is never taken off again.
func TestHostileTakeOff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ code, script string }{
		"garbage":           {"receipt_malformed", `echo done`},
		"plans again":       {"receipt_mode", `MODE=flight-plan receipt ''`},
		"fails":             {"engine_failed", `exit 2`},
		"changes artifacts": {"engine_failed", `[ "$(id -u)" = 0 ] && exit 1; echo evil > "$A/a/body.data"; receipt ''`},
	} {
		engine := `[ "$CABINCREW_MODE" = take-off ] || { art a x; receipt "$(decl a)"; exit 0; }
echo once >> ran; ` + c.script
		t.Run("tier C/"+name, func(t *testing.T) {
			t.Parallel()
			failedOnce(t, engineWS(t, engine, bare), c.code)
		})
		t.Run("tier A/"+name, func(t *testing.T) {
			t.Parallel()
			isolates(t)
			failedOnce(t, engineWS(t, engine, ""), c.code)
		})
	}
}

func failedOnce(t *testing.T, w *ws, code string) {
	t.Helper()
	id := w.json(0, "flight-plan").WorkflowID
	s := w.json(1, "take-off", id)
	if s.State != protocol.StateFailed || s.Error == nil || s.Error.Code != code {
		t.Fatalf("%+v", s)
	}
	for _, args := range [][]string{{"take-off", id}, {"resume", id}, {"resume", id, "--retry-take-off"}} {
		if r := w.run(args...); r.code == 0 {
			t.Errorf("%v: exit 0", args)
		}
	}
	if w.read("ran") != "once\n" {
		t.Fatalf("it ran again: %q", w.read("ran"))
	}
	w.want(0, "verify", id)
}
