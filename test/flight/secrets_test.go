package flight

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

const secretValue = "tr0ub4dor&3-correct/horse"

// secretWS is a workspace with one step that has a secret T.
func secretWS(t *testing.T, secret, script string, more ...string) *ws {
	t.Helper()
	w := newWS(t, map[string]string{
		"hello.txt": "hello\n", "engine.sh": shellEngine(secretWords + script), "pol/p.rego": quietPolicy,
		".cabincrew.yaml": config(quiet, "  - id: work\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n    secrets: {T: "+secret+"}\n"+strings.Join(more, "")),
	})
	w.env = append(w.env, "TOKEN="+secretValue)
	return w
}

// secretWords gives engines the secret as V, if they have it, and `has`.
const secretWords = `V=$(sed -n 's/.*"secrets":{"T":"\([^"]*\)".*/\1/p' "$CABINCREW_INPUT_FILE" | sed 's/\\u0026/\&/g')
has() { [ -n "$V" ] && echo yes || echo no; }
B=$(printf '%s' "$V" | base64 | tr -d '\n')
H=$(printf '%s' "$V" | od -An -tx1 | tr -d ' \n')
`

// spellings gives a value as it may turn up.
func spellings() []string {
	return []string{
		secretValue, base64.StdEncoding.EncodeToString([]byte(secretValue))[:28], hex.EncodeToString([]byte(secretValue)),
		strings.ReplaceAll(secretValue, "&", `\u0026`),
	}
}

// silent demands that no file of the state directory and no output holds the secret.
func (w *ws) silent(outputs ...result) {
	w.t.Helper()
	look := func(where string, data []byte) {
		for _, s := range spellings() {
			if bytes.Contains(data, []byte(s)) {
				w.t.Errorf("%s holds the secret as %s", where, s)
			}
		}
	}
	for _, r := range outputs {
		look("stdout", []byte(r.stdout))
		look("stderr", []byte(r.stderr))
	}
	err := filepath.WalkDir(filepath.Join(w.dir, ".cabincrew"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		look("the name of "+path, []byte(path))
		data, err := os.ReadFile(path)
		look(path, data)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestSecretsReachOnlyTakeOff tells when an engine gets a secret.
func TestSecretsReachOnlyTakeOff(t *testing.T) {
	t.Parallel()
	script := `if [ "$CABINCREW_MODE" = flight-plan ]; then art a "$(has)"; receipt "$(decl a)"; exit 0; fi
has > took.txt; env | grep -c TOKEN= >> took.txt || true; receipt ''`
	for name, c := range map[string]struct {
		secret, plan string
		env          []string
	}{
		"take-off only":    {"env:TOKEN", "no", nil},
		"plan: true":       {"{from: env:TOKEN, plan: true}", "yes", nil},
		"plan: true in CI": {"{from: env:TOKEN, plan: true}", "no", []string{"CI=true", "GITHUB_ACTIONS=true"}},
		"plan: false":      {"{from: env:TOKEN, plan: false}", "no", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := secretWS(t, c.secret, script)
			base := w.env
			w.env = append(slices.Clip(base), c.env...)
			code := 0
			if c.env != nil {
				code = 4 // in CI the workspace's own governance asks for a policy owner
			}
			s := w.json(code, "flight-plan")
			if got := holds(t, s, "work", "a"); got != c.plan {
				t.Fatalf("in flight-plan the engine had the secret: %s, want %s", got, c.plan)
			}
			if code != 0 {
				return
			}
			w.env = base
			r := w.want(0, "take-off", s.WorkflowID)
			if got := w.read("took.txt"); got != "yes\n0\n" {
				t.Fatalf("in take-off: %q", got)
			}
			w.silent(r)
		})
	}
}

// TestSecretsAreRedacted lets an engine say its secret wherever it can.
func TestSecretsAreRedacted(t *testing.T) {
	t.Parallel()
	const say = `printf 'plain %s base64 %s hex %s\n' "$V" "$B" "$H" >&2; `
	for name, c := range map[string]struct {
		plan, takeOff string // scripts
		code          string // of the plan's error, or of the take-off's where the plan is fine
		exit          int
	}{
		"log of the plan":     {say + `receipt ''`, `receipt ''`, "", 0},
		"log of the take-off": {`receipt ''`, say + `receipt ''`, "", 0},
		"error of the plan":   {`printf '{"protocol_version":"draft","engine_id":"e","mode":"flight-plan","receipt_id":"r","status":"failure","error":"%s and %s and %s"}' "$V" "$B" "$H"`, "", "engine_failed", 1},
		"error of a take-off": {`receipt ''`, `printf '{"protocol_version":"draft","engine_id":"e","mode":"take-off","receipt_id":"r","status":"failure","error":"%s and %s"}' "$V" "$B"`, "engine_failed", 1},
		"unknown field":       {`printf '{"%s":1}' "$V"`, "", "receipt_malformed", 1},
		"receipt":             {`receipt '' | sed "s/shell/$H/"`, "", "receipt_secret", 3},
		"take-off receipt":    {`receipt ''`, `receipt '' | sed "s/shell/$H/"`, "receipt_secret", 3},
		"file name":           {`echo x > "$(printf '%s' "$H")"; receipt ''`, "", "workspace_mutated", 1},
		"refused file name":   {`echo x > "$(printf '%s' "$H")"; receipt ''`, "", "engine_failed", 1},
		"artifact name":       {`art "$H" x; receipt ''`, "", "artifact_undeclared", 1},
		"body":                {`art a "x $V y"; receipt "$(decl a)"`, "", "artifact_secret", 3},
		"body in base64":      {`art a "x $B y"; receipt "$(decl a)"`, "", "artifact_secret", 3},
		"body in hex":         {`art a "$H"; receipt "$(decl a)"`, "", "artifact_secret", 3},
		"description":         {`art a x; sed -i "s/tell/$H/" "$A/a/artifact.json"; receipt "$(decl a)"`, "", "artifact_secret", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tier := ""
			switch name {
			case "file name":
				tier = bare
			case "refused file name":
				isolates(t)
			}
			w := secretWS(t, "{from: env:TOKEN, plan: true}", "if [ \"$CABINCREW_MODE\" = flight-plan ]; then\n"+c.plan+"\nelse\n"+c.takeOff+"\ntrue\nfi", tier)
			r := w.run("flight-plan", "--output", "json")
			outputs := []result{r}
			if c.takeOff != "" {
				if r.code != 0 {
					t.Fatalf("exit %d\n%s", r.code, r.stderr)
				}
				r = w.run("take-off", "--output", "json")
				outputs = append(outputs, r)
			}
			s := r.summary(t)
			if r.code != c.exit || c.code != "" && (s.Error == nil || s.Error.Code != c.code || s.State != protocol.StateFailed) {
				t.Fatalf("exit %d: %+v, want %d %s", r.code, s.Error, c.exit, c.code)
			}
			for _, args := range [][]string{{"show", s.WorkflowID}, {"status", s.WorkflowID}, {"audit", "show", s.WorkflowID}, {"verify", s.WorkflowID}, {"verify", s.WorkflowID, "--output", "json"}} {
				outputs = append(outputs, w.run(args...))
			}
			w.silent(outputs...)
			if strings.HasPrefix(name, "log of the plan") {
				log, err := os.ReadFile(flightDir(s, "steps", "work", "engine.log"))
				if err != nil || strings.Count(string(log), "[redacted:") != 3 {
					t.Fatalf("the log says %q, %v", log, err)
				}
			}
		})
	}
}

// TestMissingSecret is wrong use, and leaves the flight as it is.
func TestMissingSecret(t *testing.T) {
	t.Parallel()
	w := secretWS(t, "env:TOKEN", `receipt ''`)
	with := w.env
	w.env = with[:len(with)-1]
	id := w.json(0, "flight-plan").WorkflowID
	s := w.json(2, "take-off", id)
	if s.Error == nil || s.Error.Code != "secret_missing" || s.State.Terminal() {
		t.Fatalf("%+v", s)
	}
	w.env = with
	if s := w.json(0, "take-off", id); s.State != protocol.StateCompleted {
		t.Fatalf("%+v", s)
	}
}

// TestSecretIsNotInTheToken: another value gives the same tokens.
func TestSecretIsNotInTheToken(t *testing.T) {
	t.Parallel()
	w := secretWS(t, "env:TOKEN", `receipt ''`)
	a := w.json(0, "flight-plan")
	w.env = append(w.env, "TOKEN=another-value")
	if b := w.json(0, "flight-plan"); a.FlightToken != b.FlightToken {
		t.Fatalf("%s and %s", a.FlightToken, b.FlightToken)
	}
}

// TestUnsignedPlanInCI is refused at take-off.
func TestUnsignedPlanInCI(t *testing.T) {
	t.Parallel()
	w := engineWS(t, `[ "$CABINCREW_MODE" = flight-plan ] || touch ran; receipt ''`, "")
	s := w.json(0, "flight-plan")
	local := w.env
	w.env = append(slices.Clip(local), "CI=true", "GITHUB_ACTIONS=true")
	if got := w.json(5, "take-off", s.WorkflowID); got.Error == nil || got.Error.Code != "plan_unsigned" || w.exists("ran") {
		t.Fatalf("%+v", got)
	}
	w.env = local
	w.want(0, "take-off", s.WorkflowID)
}
