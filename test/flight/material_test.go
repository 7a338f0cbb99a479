package flight

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/orchestrator"
)

// mark is in everything that is planted: the prowler keeps only lines with it, so that
// nothing of the machine itself gets into a test's files.
const mark = "Qz7fJxPlanted"

// prowler is an engine that looks for what one can sign with, wherever it may lie, and
// says what it found: turned by thirteen letters, so that no redactor can be what keeps
// it back. DIRS are places of the host to look at, KEYS give a line of each key, turned.
const prowler = `turn() { tr 'A-Za-z' 'N-ZA-Mn-za-m'; }
look() {
  env
  cat "$CABINCREW_INPUT_FILE"
  for p in /proc/[0-9]*; do
    tr '\000' '\n' < "$p/environ"; tr '\000' '\n' < "$p/cmdline"
  done
  for fd in /proc/$PPID/fd/* /proc/self/fd/*; do [ -f "$fd" ] && head -c 65536 "$fd"; done
  find DIRS -type f -exec cat {} +
}
(set +e; echo 'MARK: what follows was found'; look | tr -d '\000' | grep -aF -f /dev/fd/3) 2>/dev/null 3<<PATTERNS | turn > "$CABINCREW_TEMP_DIR/found"
MARK
KEYS
PATTERNS
case "$CABINCREW_MODE" in
  flight-plan) art found x; cat "$CABINCREW_TEMP_DIR/found" > "$A/found/body.data"; receipt "$(decl found)" ;;
  *) cat "$CABINCREW_TEMP_DIR/found" > found.txt; receipt '' ;;
esac`

// turned gives text as prowler writes it.
func turned(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return 'a' + (r-'a'+13)%26
		case 'A' <= r && r <= 'Z':
			return 'A' + (r-'A'+13)%26
		}
		return r
	}, text)
}

// material is a workspace in which everything lies that one could sign with, and what
// must not be found of it, by where it lies.
func material(t *testing.T, hold string) (*ws, map[string]string) {
	t.Helper()
	w := newWS(t, map[string]string{"hello.txt": "hello\n", "pol/p.rego": quietPolicy})
	home, outside := "", t.TempDir()
	for _, v := range w.env {
		if dir, ok := strings.CutPrefix(v, "HOME="); ok {
			home = dir
		}
	}
	planted := map[string]string{}
	for _, name := range []string{
		"CABINCREW_KEY_PASSPHRASE", "CABINCREW_IDENTITY_TOKEN", "COSIGN_PASSWORD", "SIGSTORE_ID_TOKEN",
		"ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_RUNTIME_TOKEN",
		"VAULT_TOKEN", "AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS",
	} {
		planted[name] = mark + "-in-" + name
		w.env = append(w.env, name+"="+planted[name])
	}
	for _, name := range []string{
		"home/.config/sigstore/token", "home/.config/gcloud/credentials.json", "home/.sigstore/root/token", "home/.ssh/id_ed25519",
		"outside/cosign.key", "outside/token", "workspace/.cabincrew/token-of-another-program",
	} {
		planted[name] = mark + "-in-" + name
		root, rel, _ := strings.Cut(name, "/")
		at := filepath.Join(map[string]string{"home": home, "outside": outside, "workspace": w.dir}[root], rel)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.WriteFile(at, []byte(planted[name]+"\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	w.write(".cabincrew.yaml", config(quiet+"signing: {key: keys/plan}\naudit: {sign: each, key: keys/log}\n", "  - id: work\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n"+hold))
	if err := os.Mkdir(filepath.Join(w.dir, "keys"), 0o755); err != nil {
		t.Fatal(err)
	}
	turn := ""
	for name, what := range map[string]string{"plan": "the key itself", "log": "the key of the audit log"} {
		w.process(t, 0, "keys", "generate", "--out", filepath.Join(w.dir, "keys", name))
		key := strings.Split(w.read("keys/"+name), "\n")
		planted[what] = key[len(key)/2]
		turn += "$(echo '" + turned(planted[what]) + "' | turn)\n"
	}
	dirs := []string{w.dir, home, outside}
	if hold != bare { // there they are the sandbox's own
		dirs = append(dirs, `"$HOME"`, "/root", "/home", "/tmp", "/run", "/dev/shm")
	}
	w.write("engine.sh", shellEngine(strings.NewReplacer("DIRS", strings.Join(dirs, " "), "MARK", mark, "KEYS", strings.TrimSuffix(turn, "\n")).Replace(prowler)))
	return w, planted
}

// process runs the program as a process of its own, whose environment can be looked at.
func (w *ws) process(t *testing.T, code int, args ...string) {
	t.Helper()
	cmd := w.proc(args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || cmd.ProcessState.ExitCode() != code {
		t.Fatalf("cabincrew %v: exit %d, not %d, %v\n%s", args, cmd.ProcessState.ExitCode(), code, err, out)
	}
}

// found gives what of the planted things a prowler came upon.
func found(planted map[string]string, in []byte) map[string]bool {
	all := map[string]bool{}
	for where, text := range planted {
		if bytes.Contains(in, []byte(turned(text))) { // as it is, its own script has it
			all[where] = true
		}
	}
	return all
}

// prowls flies a workspace with a prowler and gives what it found, while planning and
// in the take-off.
func (w *ws) prowls(t *testing.T, planted map[string]string) (planning, takeOff map[string]bool) {
	t.Helper()
	w.process(t, 0, "flight-plan")
	s := orchestrator.Summary{FlightDir: filepath.Join(w.dir, ".cabincrew", "flights", w.flights()[0])}
	body := []byte(holds(t, s, "work", "found"))
	if !bytes.Contains(body, []byte(turned(mark+": what follows"))) {
		t.Fatalf("the engine looked at nothing: %q", body)
	}
	planning = found(planted, body)
	w.process(t, 0, "take-off")
	takeOff = found(planted, []byte(w.read("found.txt")))
	return planning, takeOff
}

// TestSigningMaterialIsOutOfReach lets an engine look for keys, passphrases and
// identity tokens wherever a job or a person has them: it finds none, neither while it
// plans nor when it takes off.
func TestSigningMaterialIsOutOfReach(t *testing.T) {
	t.Parallel()
	isolates(t)
	w, planted := material(t, "")
	planning, takeOff := w.prowls(t, planted)
	if len(planning) > 0 || len(takeOff) > 0 {
		t.Errorf("while planning the engine found %v, in the take-off %v", planning, takeOff)
	}
}

// TestProwlerFinds is what the test above rests on: where nothing holds the engine, it
// finds all of that.
func TestProwlerFinds(t *testing.T) {
	t.Parallel()
	w, planted := material(t, bare)
	planning, takeOff := w.prowls(t, planted)
	for where := range planted {
		if !planning[where] || !takeOff[where] {
			t.Errorf("not isolated, the engine does not find %s: planning %v, in the take-off %v", where, planning[where], takeOff[where])
		}
	}
}
