package flight

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/signing"
)

// putInto writes a file into a flight's directory.
func putInto(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFrom(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestT10PlanSignedBySomebodyElse: a signature of anybody, over the true manifest and
// with everything else in order, is worth nothing: whose it is counts.
func TestT10PlanSignedBySomebodyElse(t *testing.T) {
	t.Parallel()
	w := signedWS(t, "")
	s := w.json(0, "flight-plan")
	private, _, err := signing.Generate(signing.ECDSAP256, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := signing.LoadPrivate(private, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b struct {
		Envelope struct {
			Payload []byte `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(readFrom(t, s.FlightDir, "plan.sigstore.json"), &b); err != nil {
		t.Fatal(err)
	}
	forged, err := signing.Sign(t.Context(), stranger, b.Envelope.Payload)
	if err != nil {
		t.Fatal(err)
	}
	putInto(t, s.FlightDir, "plan.sigstore.json", forged)
	if got := w.json(5, "take-off", s.WorkflowID); got.Error.Code != "signature_untrusted" || w.exists("out.txt") {
		t.Errorf("%+v", got.Error)
	}
}

// TestT35CodesOfOneToken: two plans of the same thing have the same token, and codes
// that nobody could choose: the nonce is drawn when everything is fixed.
func TestT35CodesOfOneToken(t *testing.T) {
	t.Parallel()
	w := workflowChange(t, "signing: {key: keys/plan}\n")
	w.keys("plan")
	codes := map[string]bool{}
	var token, first string
	for range 5 {
		s := w.json(4, "flight-plan")
		if token != "" && s.FlightToken != token {
			t.Fatalf("tokens %s and %s", token, s.FlightToken)
		}
		token = s.FlightToken
		codes[s.ApprovalCode] = true
		if first == "" {
			first = s.ApprovalCode
			continue
		}
		// What was read on one plan does not approve another one.
		if got := w.json(4, "approve", s.WorkflowID, "--as", "boss", "--key", w.key("boss"), "--code", first); got.Error.Code != "approval_code" {
			t.Errorf("%+v", got.Error)
		}
	}
	if len(codes) != 5 {
		t.Errorf("codes %v", codes)
	}
}

// TestT38MarksMadeBefore: marks that somebody made in advance stop a take-off; they
// never let one pass.
func TestT38MarksMadeBefore(t *testing.T) {
	t.Parallel()
	for name, mark := range map[string]string{"begun": `{"audit":{"root":"sha256:` + strings.Repeat("0", 64) + `","size":1},"dir":"/elsewhere"}`, "ended": "COMPLETED"} {
		w := signedWS(t, "")
		s := w.json(0, "flight-plan")
		putInto(t, filepath.Join(w.dir, ".cabincrew", "marks"), s.WorkflowID+"."+name, []byte(mark))
		if got := w.json(5, "take-off", s.WorkflowID); got.Error == nil || w.exists("out.txt") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestT40ApprovalOfAnotherTarget: an approval that was given for staging approves
// nothing of production, not even the same change.
func TestT40ApprovalOfAnotherTarget(t *testing.T) {
	t.Parallel()
	w := workflowChange(t, "signing: {key: keys/plan}\n")
	w.keys("plan")
	plain := w.read(".cabincrew.yaml")
	target := func(name string) string {
		w.write(".cabincrew.yaml", strings.Replace(plain, "  - id: edit\n", "  - id: edit\n    target: "+name+"\n", 1))
		return name
	}
	before := w.read(".github/workflows/ci.yml")
	target("staging")
	staging := w.json(4, "flight-plan")
	w.json(0, "approve", staging.WorkflowID, "--as", "boss", "--key", w.key("boss"))
	target("production")
	production := w.json(4, "flight-plan")
	if staging.FlightToken == production.FlightToken {
		t.Fatal("the target is not in the token")
	}
	given := globbed(t, filepath.Join(staging.FlightDir, "approvals", "*.response.json"))
	asked := globbed(t, filepath.Join(production.FlightDir, "approvals", "*.request.json"))
	putInto(t, production.FlightDir, "approvals/"+strings.Replace(filepath.Base(asked[0]), "request", "response", 1), readFrom(t, "", given[0]))
	for _, command := range []string{"take-off", "verify", "resume"} {
		if r := w.run(command, production.WorkflowID); r.code != 5 {
			t.Errorf("%s: exit %d\n%s", command, r.code, r.stderr)
		}
	}
	if now := w.read(".github/workflows/ci.yml"); now != before {
		t.Errorf("it took off: %s", now)
	}
}
