package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/internal/redact"
)

// TestReportsAreRedacted: a secret of the run is in no report, and the report says that
// something was taken out.
func TestReportsAreRedacted(t *testing.T) {
	t.Parallel()
	by, err := redact.New(map[string]string{"deploy.TOKEN": "correct-horse-battery"})
	must(t, err)
	bundle := []byte("{}")
	rep := ci.Report{Bundle: bundle, Failure: &ci.ReportFailure{Message: "login with correct-horse-battery failed", Exit: 1}, Steps: []ci.ReportStep{{ID: "deploy", Effects: []ci.Effect{{Diff: "+correct-horse-battery\n"}}}}}
	must(t, conceal(&rep, by))
	if text := string(rep.Full()); !rep.Redacted || strings.Contains(text, "correct-horse") || !bytes.Equal(rep.Bundle, bundle) || rep.Failure.Exit != 1 {
		t.Errorf("%+v\n%s", rep, text)
	}
	plain := ci.Report{Steps: []ci.ReportStep{{ID: "deploy"}}}
	must(t, conceal(&plain, by))
	must(t, conceal(&plain, nil))
	if plain.Redacted {
		t.Error("nothing was taken out")
	}
}

// TestT44SignedText: the signing job shows the code in the check only where that shows
// everything.
func TestT44SignedText(t *testing.T) {
	t.Parallel()
	at := filepath.Join(t.TempDir(), "summary")
	must(t, os.WriteFile(at, nil, 0o600))
	r := ciRun{job: github.NewRunner(map[string]string{"GITHUB_STEP_SUMMARY": at}, &bytes.Buffer{}), code: "0123456789abcdef", codeAsked: true}
	got, err := r.signedText("signed", "all of it")
	if must(t, err); !strings.Contains(got, "`0123456789abcdef`") || !strings.HasSuffix(got, "signed") {
		t.Errorf("%q", got)
	}
	long := strings.Repeat("x\n", 1<<16)
	cut := ci.Report{Decision: "require_approval", Code: r.code, Approvals: []ci.ReportApproval{{Step: "a", Role: "b", Status: ci.ApprovalOpen}}, Steps: []ci.ReportStep{{ID: "a", Effects: []ci.Effect{{Action: "update", What: "x", Diff: long}}}}}
	got, err = r.signedText("signed", cut.Summary(4096).Markdown)
	if must(t, err); got != "signed" {
		t.Errorf("%q", got)
	}
	if raw, err := os.ReadFile(at); err != nil || !strings.Contains(string(raw), r.code) {
		t.Errorf("%q %v", raw, err)
	}
}
