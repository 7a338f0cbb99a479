package ci_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

var update = flag.Bool("update", false, "write the golden files anew")

const testCode = "ab12cd34ef56"

// sample is a flight of two steps as a platform would fill it in.
func sample() *ci.Report {
	token := "sha256:" + strings.Repeat("1f", 32)
	return &ci.Report{
		WorkflowID: "0199c2b4-7d1e-7a44-9f10-3f2b5d7c8e90", FlightToken: token, Workflow: "platform",
		State: string(protocol.StateAwaitingApproval), Change: "pull/7", Head: strings.Repeat("c0ffee42", 5),
		Decision: protocol.RequireApproval,
		Steps: []ci.ReportStep{
			{
				ID: "manifests", Target: "cluster/prod", Engine: "files", Token: "sha256:" + strings.Repeat("2a", 32), Decision: "allow", Isolation: "A",
				Evaluations: []protocol.PolicyEvaluation{
					{Source: "rego", PolicyID: "baseline/allow/paths", Decision: protocol.Allow, Reason: "all paths are allowed"},
				},
				Effects: []ci.Effect{
					{Action: "update", What: "deploy/web.yaml", Detail: "+1 -1", Diff: "@@ -3,3 +3,3 @@\n spec:\n-  replicas: 2\n+  replicas: 5\n", Path: "deploy/web.yaml", Line: 4},
					{Action: "create", What: "deploy/cache.yaml", Detail: "+2", Diff: "@@ -0,0 +1,2 @@\n+kind: Service\n+metadata: {name: cache}\n", Path: "deploy/cache.yaml", Line: 1},
				},
				Artifacts: []ci.ReportArtifact{{Name: "patch", Role: "evidence", Hash: "sha256:" + strings.Repeat("3b", 32), Size: 412}},
			},
			{
				ID: "infra", Target: "aws/prod", Engine: "terraform", Token: "sha256:" + strings.Repeat("4c", 32), Decision: "require_approval", Isolation: "A",
				Evaluations: []protocol.PolicyEvaluation{
					{
						Source: "rego", PolicyID: "infra/require_approval/deletes", Decision: protocol.RequireApproval, Severity: 7, Reason: "a database is replaced",
						Evidence: map[string]any{"role": "platform", "file": "infra/db.tf", "line": json.Number("12")},
					},
					{Source: "rules", PolicyID: "infra/warn/size", Decision: protocol.Warn, Severity: 3, Reason: "3 resources in one plan"},
					{Source: "rego", PolicyID: "infra/allow/region", Decision: protocol.Allow},
				},
				Effects: []ci.Effect{
					{Action: "replace", What: "aws_db_instance.main", Detail: "engine_version: 15 -> 16 (forces replacement)"},
					{Action: "create", What: `aws_s3_bucket.logs["eu"]`},
					{Action: "delete", What: "aws_iam_user.old"},
				},
				Artifacts: []ci.ReportArtifact{{Name: "plan.json", Role: "evidence", Hash: "sha256:" + strings.Repeat("5d", 32), Size: 90210}},
			},
		},
		Approvals: []ci.ReportApproval{
			{
				Step: "infra", Role: "platform", Status: ci.ApprovalOpen, Need: 2, By: []string{"alice"},
				How:     "approve this pull request in a review, as a member of acme/platform",
				Refused: []string{"bob: the review is about an older commit (approval_stale_commit)"},
			},
			{Step: "infra", Role: "security", Status: ci.ApprovalApproved, Need: 1, By: []string{"carol"}, How: "approve this pull request in a review, as a member of acme/security"},
		},
		Code: testCode, Bundle: []byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","dsseEnvelope":{}}`),
		BundleDigest: "sha256:" + strings.Repeat("6e", 32), BundleAt: "artifact cabincrew-signed",
		Links: ci.ReportLinks{
			Run: "https://github.com/acme/shop/actions/runs/42", Report: "https://github.com/acme/shop/actions/runs/42/artifacts/9",
			Replan: "https://github.com/acme/shop/actions/workflows/flight-plan.yml",
		},
		Notes: []string{"plan and judgement were made in one job, so a hostile engine would have run beside the judge"},
	}
}

func reports() map[string]*ci.Report {
	out := map[string]*ci.Report{"approval": sample()}

	allow := sample()
	allow.Decision, allow.State, allow.Approvals, allow.Notes = protocol.Allow, string(protocol.StateReadyForTakeoff), nil, nil
	allow.Steps = allow.Steps[:1]
	out["allow"] = allow

	warn := sample()
	warn.Decision, warn.State, warn.Approvals = protocol.Warn, string(protocol.StateReadyForTakeoff), nil
	warn.Steps = warn.Steps[1:]
	warn.Steps[0].Decision, warn.Steps[0].Opaque = "warn", true
	warn.Steps[0].Evaluations = warn.Steps[0].Evaluations[1:]
	out["warn"] = warn

	deny := sample()
	deny.Decision, deny.State, deny.Approvals = protocol.Deny, string(protocol.StateFailed), nil
	deny.Failure = &ci.ReportFailure{Code: "policy_denied", Message: "a policy denies this plan", Where: "step infra", Hint: "see what the policies say, and mend the change", Exit: protocol.ExitDenied}
	deny.Steps[1].Decision = "deny"
	deny.Steps[1].Evaluations[0].Decision = protocol.Deny
	out["deny"] = deny

	failed := sample()
	failed.Decision, failed.State, failed.Approvals, failed.Steps, failed.Bundle, failed.BundleDigest = "", string(protocol.StateFailed), nil, nil, nil, ""
	failed.Failure = &ci.ReportFailure{Code: "engine_failed", Message: "the engine ended with 1:\n\x1b[31mError:\x1b[0m no such bucket @team #12", Where: "step infra", Hint: "run terraform plan by hand", Exit: 1}
	out["error"] = failed

	code := sample()
	code.CodeNeeded, code.Redacted = true, true
	out["code"] = code
	return out
}

func TestReportsAsTheyAreRead(t *testing.T) {
	t.Parallel()
	for name, r := range reports() {
		s, text, job, comment := r.Summary(limits.CheckField), r.Text(limits.CheckField), r.JobSummary(limits.StepSummary), r.Comment("cabincrew flight-plan", limits.Comment)
		if s.Cut || text.Cut || job.Cut || comment.Cut {
			t.Errorf("%s: something was left out of a small report", name)
		}
		var b strings.Builder
		for _, part := range [][2]string{{"title", r.Title() + "\n"}, {"summary", s.Markdown}, {"text", text.Markdown}, {"comment", comment.Markdown}, {"full", string(r.Full())}} {
			b.WriteString("======== " + part[0] + "\n" + part[1])
			if !strings.HasSuffix(part[1], "\n") {
				b.WriteString("\n")
			}
		}
		golden := filepath.Join("testdata", "report-"+name+".md")
		if *update {
			if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.String(); got != string(want) {
			t.Errorf("%s: the report is not that of %s; run with -update and look at the difference. It is:\n%s", name, golden, got)
		}
	}
}

// TestT44TheCodeIsForThoseWhoSeeEverything: what was cut or redacted is approved with
// the code only, and what was cut does not show it.
func TestT44TheCodeIsForThoseWhoSeeEverything(t *testing.T) {
	t.Parallel()
	long := sample()
	long.Steps[0].Effects[0].Diff = strings.Repeat("+a line of a long file\n", 5_000)
	redacted := sample()
	redacted.Redacted = true
	needed := sample()
	needed.CodeNeeded = true
	for _, c := range []struct {
		name          string
		r             *ci.Report
		cut, mentions bool
		code          bool // is shown
	}{
		{"whole", sample(), false, false, false},
		{"whole, code needed", needed, false, true, true},
		{"redacted", redacted, false, true, true},
		{"long", long, true, true, false},
	} {
		summary, comment := c.r.Summary(limits.CheckField), c.r.Comment("m", limits.Comment)
		for part, got := range map[string]ci.Rendered{"summary": summary, "comment": comment} {
			if got.Cut != c.cut {
				t.Errorf("%s: the %s is cut: %v", c.name, part, got.Cut)
			}
			if strings.Contains(strings.ToLower(got.Markdown), "approval code") != c.mentions {
				t.Errorf("%s: the %s says of the code:\n%s", c.name, part, got.Markdown)
			}
			if strings.Contains(got.Markdown, testCode) != c.code {
				t.Errorf("%s: the %s shows the code: %v, want %v", c.name, part, !c.code, c.code)
			}
		}
		if strings.Contains(c.r.Text(limits.CheckField).Markdown, testCode) {
			t.Errorf("%s: the text shows the code", c.name)
		}
		if full := c.r.Full(); !bytes.Contains(full, []byte(testCode)) {
			t.Errorf("%s: the full report does not show the code", c.name)
		}
	}
	if !bytes.Contains(long.Full(), []byte(long.Steps[0].Effects[0].Diff)) {
		t.Error("the full report is not whole")
	}
}

// TestReportsAreCutInTheMiddle: by whole entries, the first and the last stay.
func TestReportsAreCutInTheMiddle(t *testing.T) {
	t.Parallel()
	r := sample()
	r.Steps[0].Effects = nil
	for i := range 3_000 {
		r.Steps[0].Effects = append(r.Steps[0].Effects, ci.Effect{Action: "update", What: "file-" + strings.Repeat("x", i%50) + "-end"})
	}
	r.Steps[0].Effects[0].What, r.Steps[0].Effects[2999].What = "the-first", "the-last"
	got := r.Summary(20_000)
	if !got.Cut || len(got.Markdown) > 20_000 || len(got.Markdown) < 17_000 {
		t.Errorf("cut %v, %d bytes", got.Cut, len(got.Markdown))
	}
	for _, want := range []string{"`the-first`", "`the-last`", "`aws_iam_user.old`", " left out; the full report: [open it](<https://github.com/acme/shop/actions/runs/42/artifacts/9>)", "Who must approve", "role `security`", "in one job"} {
		if !strings.Contains(got.Markdown, want) {
			t.Errorf("%q is not there", want)
		}
	}
	for line := range strings.Lines(got.Markdown) {
		if strings.HasPrefix(line, "- **update** `file-") && !strings.HasSuffix(line, "-end`\n") {
			t.Errorf("an entry was cut: %q", line)
		}
	}
	// one entry that is too long gives way to its digest, the others stay
	r = sample()
	body := strings.Repeat("+x\n", 100_000)
	r.Steps[0].Effects[0].Diff = body
	text := r.Text(limits.CheckField)
	if !text.Cut || !strings.Contains(text.Markdown, protocol.Digest([]byte(body))) || !strings.Contains(text.Markdown, "300000 bytes") || !strings.Contains(text.Markdown, "+kind: Service") {
		t.Errorf("cut %v:\n%s", text.Cut, text.Markdown)
	}
}

func TestTheBundleStandsWhereThereIsRoom(t *testing.T) {
	t.Parallel()
	r := sample()
	r.Bundle = []byte(`{"payload":"` + strings.Repeat("QUJD", 1_000) + `"}`)
	if got := r.Text(limits.CheckField); got.Cut || !strings.Contains(got.Markdown, "```json\n"+string(r.Bundle)+"\n```\n") {
		t.Errorf("the bundle is not in the text:\n%s", got.Markdown)
	}
	small := r.Text(4_500)
	if small.Cut || strings.Contains(small.Markdown, "payload") || !strings.Contains(small.Markdown, r.BundleDigest) || !strings.Contains(small.Markdown, "artifact cabincrew-signed") {
		t.Errorf("cut %v:\n%s", small.Cut, small.Markdown)
	}
	r.Bundle = []byte("{\"payload\":\"\u202e\"}") // its bytes could not be shown as they are
	if got := r.Text(limits.CheckField); strings.Contains(got.Markdown, "payload") {
		t.Errorf("a bundle with hidden characters is in the text")
	}
}

func TestAnnotations(t *testing.T) {
	t.Parallel()
	r := sample()
	r.Steps[0].Effects = append(r.Steps[0].Effects,
		ci.Effect{Action: "update", What: "x", Path: "../x", Line: 1}, ci.Effect{Action: "update", What: "x", Path: "/x", Line: 1},
		ci.Effect{Action: "update", What: "x", Path: "a\u202eb", Line: 1}, ci.Effect{Action: "update", What: "x", Path: "x"})
	r.Steps[1].Evaluations = append(r.Steps[1].Evaluations, protocol.PolicyEvaluation{
		PolicyID: strings.Repeat("é", 400), Decision: protocol.Deny, Reason: "::error::\x1b[1m\r" + strings.Repeat("é", 100_000),
		Evidence: map[string]any{"files": []any{"infra/main.tf", "b"}, "line": float64(3)},
	})
	got := r.Annotations()
	if len(got) != 4 {
		t.Fatalf("%d annotations: %v", len(got), got)
	}
	if a := got[0]; a.Path != "infra/main.tf" || a.StartLine != 3 || a.EndLine != 3 || a.Level != ci.LevelFailure || len(a.Title) > limits.CheckTitle || len(a.Message) > limits.AnnotationMessage ||
		!strings.HasPrefix(a.Message, `| ::error::\x1b[1m\r`) || strings.ToValidUTF8(a.Title+a.Message, "?") != a.Title+a.Message {
		t.Errorf("%.400q, %.400q at %v", a.Title, a.Message, a.Path)
	}
	if a := got[1]; a.Path != "infra/db.tf" || a.StartLine != 12 || a.Level != ci.LevelWarning || a.Message != "a database is replaced" {
		t.Errorf("%v", a)
	}
	if a := got[2]; a != (ci.Annotation{Path: "deploy/web.yaml", StartLine: 4, EndLine: 4, Level: ci.LevelNotice, Title: "planned: update deploy/web.yaml", Message: "+1 -1"}) {
		t.Errorf("%v", a)
	}
}

// TestT20NothingForeignIsObeyedInALog holds what an engine prints.
func TestT20NothingForeignIsObeyedInALog(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{
		{"a\nb\tc", "a\nb\tc"},
		{"::set-output name=a::b", "| ::set-output name=a::b"},
		{"x\n  ::add-mask::y\n", "x\n|   ::add-mask::y\n"},
		{"x\r::error::y", `x\r::error::y`},
		{"##[group]x", `##\[group]x`},
		{"\x1b[2Ka", `\x1b[2Ka`},
		{"\xff\u202e", "\ufffd" + `\u202e`},
	} {
		if got := ci.Log(c[0]); got != c[1] {
			t.Errorf("%q gives %q, want %q", c[0], got, c[1])
		}
	}
}
