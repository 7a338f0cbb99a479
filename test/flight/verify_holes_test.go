package flight

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cabincrew/action/internal/cli"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// signAnew signs the statement of a bundle, edited, with a key of the workspace.
func (w *ws) signAnew(key, from, to string, edit func(statement map[string]any)) {
	w.t.Helper()
	var doc struct {
		Envelope struct {
			Payload string `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	var statement map[string]any
	raw, err := os.ReadFile(from)
	if err == nil {
		err = json.Unmarshal(raw, &doc)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	payload, err := base64.StdEncoding.DecodeString(doc.Envelope.Payload)
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(payload))
		d.UseNumber()
		err = d.Decode(&statement)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if edit != nil {
		edit(statement)
	}
	if payload, err = protocol.Canonical(statement); err != nil {
		w.t.Fatal(err)
	}
	private, err := os.ReadFile(w.key(key))
	if err != nil {
		w.t.Fatal(err)
	}
	k, err := signing.LoadPrivate(private, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if raw, err = signing.Sign(w.t.Context(), k, payload); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(to, raw, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// approved is a signed flight that boss has approved, and the file of the approval.
func approved(t *testing.T) (w *ws, s orchestrator.Summary, approval string) {
	t.Helper()
	w = workflowChange(t, "signing: {key: keys/plan}\n")
	w.keys("plan")
	s = w.json(4, "flight-plan")
	w.json(0, "approve", s.WorkflowID, "--as", "boss", "--key", w.key("boss"))
	found := globbed(t, flightDir(s, "approvals", "*.response.json"))
	w.write("trust.yaml", "version: 1\nsigning: {trusted: {keys: [{key: keys/plan.pub}]}}\n"+approvers)
	return w, s, found[0]
}

func (w *ws) says(code int, want string, args ...string) {
	w.t.Helper()
	if r := w.want(code, args...); !strings.Contains(r.stdout+r.stderr, want) {
		w.t.Errorf("%v: %q is not there:\n%s%s", args, want, r.stdout, r.stderr)
	}
}

// TestVerifyApprovalAlone: an approval counts by the key of the approver that it names,
// about the signed plan that lies there, and plans never by an approver's key.
func TestVerifyApprovalAlone(t *testing.T) {
	t.Parallel()
	w, s, approval := approved(t)
	policy := filepath.Join(w.dir, "trust.yaml")
	plan, manifest := flightDir(s, "plan.sigstore.json"), flightDir(s, "plan-manifest.json")
	forged := func(name, key, from string, edit func(map[string]any)) string {
		to := filepath.Join(filepath.Dir(from), name+".json")
		w.signAnew(key, from, to, edit)
		return to
	}
	second := func(st map[string]any) []any { return st["subject"].([]any) }
	response := func(st map[string]any) map[string]any {
		return st["predicate"].(map[string]any)["response"].(map[string]any)
	}
	anotherPlan := func(st map[string]any) {
		second(st)[1].(map[string]any)["digest"] = map[string]any{"sha256": strings.Repeat("1", 64)}
	}
	alone := filepath.Join(t.TempDir(), "alone")
	if err := os.MkdirAll(alone, 0o700); err != nil {
		t.Fatal(err)
	}
	for from, name := range map[string]string{approval: "approval.json", manifest: "plan-manifest.json"} {
		raw, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(alone, name), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		statement string
		code      int
		want      string
	}{
		"genuine":                   {approval, 0, "boss approves as maintainer"},
		"by the plan's key":         {forged("a", "plan", approval, nil), 5, "signature_untrusted"},
		"by another approver":       {forged("b", "other", approval, nil), 5, "approval_key"},
		"in a name of nobody":       {forged("c", "boss", approval, func(st map[string]any) { response(st)["approver"] = "ghost" }), 5, "approval_not_approver"},
		"by a bot":                  {forged("d", "robot", approval, func(st map[string]any) { response(st)["approver"] = "robot" }), 5, "approval_not_human"},
		"without the role":          {forged("e", "other", approval, func(st map[string]any) { response(st)["approver"] = "other" }), 5, "approval_role"},
		"about another signed plan": {forged("f", "boss", approval, anotherPlan), 5, "approval_mismatch"},
		"about no signed plan":      {forged("g", "boss", approval, func(st map[string]any) { st["subject"] = second(st)[:1] }), 5, "approval_mismatch"},
		"a rejection":               {forged("h", "boss", approval, func(st map[string]any) { response(st)["approved"] = false }), 0, "boss rejects as maintainer"},
		"no signed plan there":      {filepath.Join(alone, "approval.json"), 2, "verify_plan"},
		"plan by an approver":       {forged("i", "boss", plan, nil), 5, "signature_untrusted"},
		"plan":                      {plan, 0, "the plan takes off"},
	} {
		t.Run(name, func(t *testing.T) {
			w.says(c.code, c.want, "verify", c.statement)
			w.says(c.code, c.want, "verify", c.statement, "--policy", policy)
		})
	}
	w.says(0, "nobody named who that is", "verify", approval, "--key", w.key("boss.pub"))
	w.says(5, "signature_untrusted", "verify", approval, "--key", w.key("plan.pub"))
	w.says(5, "approval_mismatch", "verify", filepath.Join(filepath.Dir(approval), "f.json"), "--key", w.key("boss.pub"), "--manifest", manifest)
	// A key of the command line has no name, where approvers are known by theirs.
	w.says(5, "signature_untrusted", "verify", filepath.Join(filepath.Dir(approval), "a.json"), "--policy", policy, "--key", w.key("plan.pub"))
	w.write("plans.yaml", "version: 1\nsigning: {trusted: {keys: [{key: keys/plan.pub}]}}\n")
	w.says(2, "nobody is named who may approve", "verify", approval, "--policy", filepath.Join(w.dir, "plans.yaml"))
	w.says(0, "nobody named who may approve", "verify", s.FlightDir, "--key", w.key("plan.pub"))
}

// TestVerifyTellsValidity: a plan whose time is past is as genuine as before.
func TestVerifyTellsValidity(t *testing.T) {
	t.Parallel()
	w := signedWS(t, "")
	plan := flightDir(w.json(0, "flight-plan"), "plan.sigstore.json")
	for when, want := range map[string]string{
		"1999-01-01T00:00:00Z": "past: the plan took off until 1999-01-01", "2999-01-01T00:00:00Z": "the plan takes off until 2999-01-01", "": "at any time",
	} {
		w.signAnew("plan", plan, plan, func(st map[string]any) { st["predicate"].(map[string]any)["not_after"] = when })
		w.says(0, want, "verify", plan)
	}
}

// TestVerifyStatementUnderARef: under a governance ref its keys count for a statement,
// whatever the workspace has in their place.
func TestVerifyStatementUnderARef(t *testing.T) {
	t.Parallel()
	w := signedWS(t, "")
	w.keys("mallory")
	w.write(".gitignore", "keys/plan\nkeys/mallory\n.cabincrew/\n")
	w.git("init", "-q", "-b", "main")
	w.git("add", "-A")
	w.git("commit", "-q", "-m", "start")
	s := w.json(0, "flight-plan", "--governance-ref", "main")
	plan := flightDir(s, "plan.sigstore.json")
	w.signAnew("mallory", plan, flightDir(s, "mallory.json"), nil)
	w.write("keys/plan.pub", w.read("keys/mallory.pub"))
	w.want(0, "verify", plan, "--governance-ref", "main")
	w.says(5, "signature_untrusted", "verify", flightDir(s, "mallory.json"), "--governance-ref", "main")
	w.want(0, "verify", s.WorkflowID, "--governance-ref", "main")
}

// TestVerifyTakesNoTrustFromVariables: whom to trust is said on the command line.
func TestVerifyTakesNoTrustFromVariables(t *testing.T) {
	t.Parallel()
	w, s, _ := approved(t)
	plan := flightDir(s, "plan.sigstore.json")
	w.keys("mallory")
	w.signAnew("mallory", plan, plan, nil)
	w.write("mallory.yaml", "version: 1\nsigning: {trusted: {keys: [{key: keys/mallory.pub}]}}\n")
	for _, variable := range []string{
		"CABINCREW_KEY=" + w.key("mallory.pub"), "CABINCREW_POLICY=" + filepath.Join(w.dir, "mallory.yaml"),
		"CABINCREW_INSECURE_IGNORE_SIGNATURES=true", "CABINCREW_TRUSTED_ROOT=nonesuch",
	} {
		c := *w
		c.env = append(slices.Clip(w.env), variable)
		for _, args := range [][]string{{s.WorkflowID}, {plan}, {s.FlightDir, "--policy", filepath.Join(w.dir, "trust.yaml")}} {
			c.says(5, "signature_untrusted", append([]string{"verify"}, args...)...)
		}
	}
	// Other flags still come from variables.
	c := *w
	c.env = append(slices.Clip(w.env), "CABINCREW_OUTPUT=json")
	if r := c.want(5, "verify", s.WorkflowID); !json.Valid([]byte(r.stdout)) {
		t.Error(r.stdout)
	}
}

// TestVerifyAsksNobody: verifying by a configuration fetches none of its sources, loads
// nothing that judges, and makes nothing.
func TestVerifyAsksNobody(t *testing.T) {
	t.Parallel()
	w, s, approval := approved(t)
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(server.Close)
	away := newWS(t, map[string]string{})
	for from, to := range map[string]string{s.FlightDir: "f", filepath.Join(w.dir, "keys"): "keys"} {
		if err := os.CopyFS(filepath.Join(away.dir, to), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	away.write("pol/broken.rego", "package x\n\nbroken if {")
	away.write(".cabincrew.yaml", strings.Replace(w.read(".cabincrew.yaml"), baseline,
		"policies: {rego: [pol/], sources: [{name: x, git: \""+server.URL+"/p.git\", ref: main}]}\n", 1))
	before, flight := away.snapshot(), filepath.Join(away.dir, "f")
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"directory":     {[]string{flight}, 0, "pass           approvals"},
		"offline":       {[]string{flight, "--offline"}, 0, "verifies"},
		"approval":      {[]string{filepath.Join(flight, "approvals", filepath.Base(approval))}, 0, "boss approves"},
		"unknown id":    {[]string{s.WorkflowID}, 2, "flight_unknown"},
		"the open one":  {nil, 2, "flight_unknown"},
		"hostile place": {[]string{flight, "--key", filepath.Join(away.dir, "keys", "plan.pub")}, 0, "verifies"},
	} {
		away.says(c.code, c.want, append([]string{"verify"}, c.args...)...)
		if away.exists(".cabincrew") {
			t.Fatalf("%s: a state directory was made", name)
		}
	}
	if now := away.snapshot(); now != before || asked.Load() != 0 {
		t.Errorf("%d requests; the workspace was\n%s\nis\n%s", asked.Load(), before, now)
	}
	// The server is one that would be asked.
	var out, errs bytes.Buffer
	if code := cli.Main(context.Background(), []string{"flight-plan", "--config", filepath.Join(away.dir, ".cabincrew.yaml")}, strings.NewReader(""), &out, &errs, away.env); code == 0 || asked.Load() == 0 {
		t.Errorf("exit %d, %d requests: %s", code, asked.Load(), errs.String())
	}
}

// TestVerifyFindsFlights: by id, by its beginning and the open one, without touching
// the state directory.
func TestVerifyFindsFlights(t *testing.T) {
	t.Parallel()
	w, s, _ := approved(t)
	state := &ws{t: t, dir: filepath.Join(w.dir, ".cabincrew")}
	before := state.snapshot()
	for _, args := range [][]string{nil, {s.WorkflowID}, {s.WorkflowID[:len(s.WorkflowID)-2]}, {s.FlightToken}} {
		w.says(0, "pass           approvals", append([]string{"verify"}, args...)...)
	}
	w.says(2, "flight_unknown", "verify", "nonesuch")
	if now := state.snapshot(); now != before {
		t.Errorf("verify wrote something:\n%s\nwas\n%s", now, before)
	}
}
