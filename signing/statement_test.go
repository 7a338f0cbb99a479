package signing_test

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// A forger signs any payload with a trusted key, as a signer that is not this
// program may, in the very form that Sign writes.
type forger struct {
	key    crypto.Signer
	keys   []signing.TrustedKey
	sample []byte
}

func newForger(t testing.TB) *forger {
	t.Helper()
	private, public, err := signing.Generate(signing.Ed25519, nil, source(1))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := cryptoutils.UnmarshalPEMToPrivateKey(private, nil)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := signing.ParsePublic(public)
	if err != nil {
		t.Fatal(err)
	}
	return &forger{
		key:    parsed.(crypto.Signer),
		keys:   []signing.TrustedKey{{Key: pub}},
		sample: signedApproval(t, newKey(t, signing.Ed25519, 1)),
	}
}

func (f *forger) bundle(t testing.TB, payload string) []byte {
	t.Helper()
	sig, err := f.key.Sign(nil, dsse.PAE(signing.PayloadType, []byte(payload)), crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	bundle := rewrite(t, f.sample, textBetween(t, f.sample, `"payload":"`, `"`), b64([]byte(payload)))
	return rewrite(t, bundle, textBetween(t, bundle, `"sig":"`, `"`), b64(sig))
}

func forge(t testing.TB, payload string) ([]byte, []signing.TrustedKey) {
	t.Helper()
	f := newForger(t)
	return f.bundle(t, payload), f.keys
}

func TestForgeIsFair(t *testing.T) {
	t.Parallel()
	bundle, keys := forge(t, string(approvalStatement(t)))
	if _, _, err := signing.VerifyApproval(bundle, manifest, today, keys...); err != nil {
		t.Error(err)
	}
	// Another tool may write the same statement with white space in it.
	var spaced strings.Builder
	enc := json.NewEncoder(&spaced)
	enc.SetIndent("", "  ")
	if err := enc.Encode(json.RawMessage(approvalStatement(t))); err != nil {
		t.Fatal(err)
	}
	bundle, keys = forge(t, spaced.String())
	if _, _, err := signing.VerifyApproval(bundle, manifest, today, keys...); err != nil {
		t.Error(err)
	}
}

// Genuinely signed statements that must not be read.
func TestGenuineButMalformedStatements(t *testing.T) {
	t.Parallel()
	good := string(approvalStatement(t))
	swap := func(old, changed string) string {
		t.Helper()
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in %s", old, good)
		}
		return strings.Replace(good, old, changed, 1)
	}
	hex := strings.TrimPrefix(protocol.Digest(manifest), "sha256:")
	subject := `{"digest":{"sha256":"` + hex + `"},"name":"plan-manifest.json"}`
	const malformed, mismatch = signing.CodeStatementMalformed, signing.CodeStatementMismatch
	for name, c := range map[string]struct{ payload, code, part string }{
		"not JSON":              {"hello", malformed, "no statement"},
		"empty object":          {"{}", malformed, "_type"},
		"statement v0.1":        {swap("in-toto.io/Statement/v1", "in-toto.io/Statement/v0.1"), malformed, "v0.1"},
		"duplicate member":      {swap(`"_type":`, `"_type":"x","_type":`), malformed, "duplicate"},
		"duplicate, escaped":    {swap(`"_type":`, `"\u005ftype":"x","_type":`), malformed, "duplicate"},
		"duplicate inside":      {swap(`"approved":true`, `"approved":false,"approved":true`), malformed, "duplicate"},
		"unknown member":        {swap(`"_type":`, `"more":1,"_type":`), malformed, "more"},
		"trailing bytes":        {good + "{}", malformed, "after"},
		"no subject member":     {swap(`,"subject":[`+subject+`]`, ""), malformed, "missing"},
		"no subjects":           {swap(subject, ""), mismatch, "subject has 0"},
		"two subjects":          {swap(subject, subject+","+subject), mismatch, "subject has 2"},
		"another name":          {swap("plan-manifest.json", "other.json"), mismatch, "other.json"},
		"name of another case":  {swap("plan-manifest.json", "Plan-manifest.json"), mismatch, "Plan"},
		"another digest":        {swap(hex, strings.Repeat("0", 64)), mismatch, "0000"},
		"upper-case digest":     {swap(hex, strings.ToUpper(hex)), mismatch, "digest"},
		"digest not hex":        {swap(hex, "zz"), mismatch, "malformed"},
		"further digest":        {swap(`{"sha256":`, `{"sha1":"00","sha256":`), malformed, "sha1"},
		"no digest":             {swap(`{"sha256":"`+hex+`"}`, `{}`), malformed, "missing"},
		"another type":          {swap("/approval/v1", "/approval/v2"), mismatch, "approval/v2"},
		"predicate null":        {good[:strings.Index(good, `"predicate":`)] + `"predicate":null` + good[strings.Index(good, `,"predicateType"`):], malformed, ""},
		"unknown in predicate":  {swap(`"role":`, `"rank":"","role":`), malformed, "rank"},
		"another version":       {swap(`"version":"1"`, `"version":"2"`), malformed, "version"},
		"approved missing":      {swap(`"approved":true,`, ""), malformed, "missing"},
		"approved null":         {swap(`"approved":true`, `"approved":null`), malformed, "null"},
		"approved a string":     {swap(`"approved":true`, `"approved":"true"`), malformed, "approved"},
		"empty optional":        {swap(`"role":`, `"code":"","role":`), malformed, "empty"},
		"answer to another":     {swap(`"response":{"approval_id":"apr-1"`, `"response":{"approval_id":"apr-2"`), malformed, "apr-2"},
		"token of another kind": {swap(`"flight_token":"`+digestA, `"flight_token":"sha256:AA`), malformed, "flight_token"},
		"time of another kind":  {swap("2026-03-01T12:00:00Z", "yesterday"), malformed, "yesterday"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bundle, keys := forge(t, c.payload)
			_, _, err := signing.VerifyApproval(bundle, manifest, today, keys...)
			wantError(t, err, protocol.ExitIntegrity, c.code, c.part)
		})
	}
	t.Run("long text is clipped", func(t *testing.T) {
		t.Parallel()
		bundle, keys := forge(t, swap("in-toto.io/Statement/v1", strings.Repeat("x", 1<<20)))
		_, err := signing.Verify(bundle, today, keys...)
		if len(err.Error()) > 2000 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}

func TestPredicatesAreCheckedBeforeSigning(t *testing.T) {
	t.Parallel()
	for part, change := range map[string]func(*signing.ApprovalPredicate){
		"version":          func(p *signing.ApprovalPredicate) { p.Version = "" },
		"flight_token":     func(p *signing.ApprovalPredicate) { p.FlightToken = "" },
		"plan_token_hash":  func(p *signing.ApprovalPredicate) { p.Request.PlanTokenHash = "x" },
		"approval_id":      func(p *signing.ApprovalPredicate) { p.Request.ApprovalID, p.Response.ApprovalID = "", "" },
		"another-request":  func(p *signing.ApprovalPredicate) { p.Response.ApprovalID = "another-request" },
		"workflow_id":      func(p *signing.ApprovalPredicate) { p.Request.WorkflowID = "" },
		"approver":         func(p *signing.ApprovalPredicate) { p.Response.Approver = "" },
		"timestamp":        func(p *signing.ApprovalPredicate) { p.Response.Timestamp = "noon" },
		"role":             func(p *signing.ApprovalPredicate) { p.Role = "" },
		"UTF-8":            func(p *signing.ApprovalPredicate) { p.Response.Reason = "\xff" },
		"no canonical":     func(p *signing.ApprovalPredicate) { p.Request.EngineOutput = map[string]any{"x": 0.5} },
		"not an integer":   func(p *signing.ApprovalPredicate) { p.Request.EngineOutput = map[string]any{"x": json.Number("0.5")} },
		"9007199254740993": func(p *signing.ApprovalPredicate) { p.Request.EngineOutput = map[string]any{"x": 9007199254740993} },
	} {
		p := approval()
		change(&p)
		_, err := signing.NewApproval(manifest, p)
		wantError(t, err, protocol.ExitFailure, signing.CodeStatementMalformed, part)
	}
	for part, change := range map[string]func(*signing.FlightPlanPredicate){
		"version":               func(p *signing.FlightPlanPredicate) { p.Version = "2" },
		"workflow_id":           func(p *signing.FlightPlanPredicate) { p.WorkflowID = "" },
		"flight_token":          func(p *signing.FlightPlanPredicate) { p.FlightToken = "sha256:" },
		"decision":              func(p *signing.FlightPlanPredicate) { p.Decision = "maybe" },
		"approval_nonce":        func(p *signing.FlightPlanPredicate) { p.ApprovalNonce = "0123" },
		"audit_head.size":       func(p *signing.FlightPlanPredicate) { p.AuditHead.Size = "01" },
		"audit_head.root":       func(p *signing.FlightPlanPredicate) { p.AuditHead.Root = "" },
		"audit_head.last_hash":  func(p *signing.FlightPlanPredicate) { p.AuditHead.LastHash = "" },
		"issued_at":             func(p *signing.FlightPlanPredicate) { p.IssuedAt = "" },
		"not_after":             func(p *signing.FlightPlanPredicate) { p.NotAfter = "later" },
		"cabincrew":             func(p *signing.FlightPlanPredicate) { p.CabinCrew = "" },
		"steps is empty":        func(p *signing.FlightPlanPredicate) { p.Steps = nil },
		"steps[0].step_id":      func(p *signing.FlightPlanPredicate) { p.Steps[0].StepID = "workflow" },
		"steps[0].token":        func(p *signing.FlightPlanPredicate) { p.Steps[0].Token = "" },
		"steps[0].preimage":     func(p *signing.FlightPlanPredicate) { p.Steps[0].Preimage = nil },
		"preimage is not an ob": func(p *signing.FlightPlanPredicate) { p.Steps[0].Preimage = json.RawMessage("[]") },
		"steps[0].decision":     func(p *signing.FlightPlanPredicate) { p.Steps[0].Decision = "" },
	} {
		p := flightPlan()
		change(&p)
		_, err := signing.NewFlightPlan(manifest, p)
		wantError(t, err, protocol.ExitFailure, signing.CodeStatementMalformed, part)
	}
	for part, change := range map[string]func(*signing.TakeOffPredicate){
		"version":                func(p *signing.TakeOffPredicate) { p.Version = "" },
		"workflow_id":            func(p *signing.TakeOffPredicate) { p.WorkflowID = "" },
		"flight_token":           func(p *signing.TakeOffPredicate) { p.FlightToken = "" },
		"verdict":                func(p *signing.TakeOffPredicate) { p.Verdict = "fine" },
		"receipts[0].step_id":    func(p *signing.TakeOffPredicate) { p.Receipts[0].StepID = "" },
		"receipts[0].digest":     func(p *signing.TakeOffPredicate) { p.Receipts[0].Digest = "x" },
		"receipts[0].log_digest": func(p *signing.TakeOffPredicate) { p.Receipts[0].LogDigest = "x" },
		"plan_bundle":            func(p *signing.TakeOffPredicate) { p.PlanBundle = "x" },
		"audit_head.size":        func(p *signing.TakeOffPredicate) { p.AuditHead.Size = "" },
		"finished_at":            func(p *signing.TakeOffPredicate) { p.FinishedAt = "" },
		"cabincrew":              func(p *signing.TakeOffPredicate) { p.CabinCrew = "" },
	} {
		p := takeOff()
		change(&p)
		_, err := signing.NewTakeOff(manifest, p)
		wantError(t, err, protocol.ExitFailure, signing.CodeStatementMalformed, part)
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	key := newKey(t, signing.ECDSAP256, 1)
	good := approvalStatement(t)
	for name, statement := range map[string][]byte{
		"not JSON":      []byte("x"),
		"not canonical": append([]byte(" "), good...),
		"v0.1":          []byte(strings.Replace(string(good), "Statement/v1", "Statement/v0.1", 1)),
	} {
		_, err := signing.Sign(t.Context(), key, statement)
		if err == nil {
			t.Errorf("%s: signed", name)
			continue
		}
		wantError(t, err, protocol.ExitFailure, signing.CodeStatementMalformed)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := signing.Sign(gone, key, good); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

func TestStatementsAreDeterministic(t *testing.T) {
	t.Parallel()
	first, err := signing.NewFlightPlan(manifest, flightPlan())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		again, err := signing.NewFlightPlan(manifest, flightPlan())
		if err != nil || string(again) != string(first) {
			t.Fatalf("%v:\n%s\n%s", err, first, again)
		}
	}
	if err := protocol.CheckCanonical(first); err != nil {
		t.Error(err)
	}
	// ed25519 leaves nothing to chance, so the whole bundle repeats.
	key := newKey(t, signing.Ed25519, 1)
	if one, other := signed(t, key, first), signed(t, key, first); string(one) != string(other) {
		t.Error("two bundles of one statement and one ed25519 key differ")
	}
}
