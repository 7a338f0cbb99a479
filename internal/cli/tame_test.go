package cli

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// isCommand finds ##[error], ##vso[task.setvariable …] and their like.
var isCommand = regexp.MustCompile(`##[A-Za-z]*\[`)

// obeyed gives the lines that a CI platform would take for commands.
func obeyed(printed string) []string {
	var out []string
	for line := range strings.Lines(printed) {
		if strings.HasPrefix(strings.TrimLeftFunc(line, unicode.IsSpace), "::") || isCommand.MatchString(line) {
			out = append(out, line)
		}
	}
	return out
}

// orders are texts that a CI platform obeys where they stand alone on a line, or
// anywhere.
var orders = []string{
	"::error::x", "  ::error file=a::x", "\u00a0\u3000::add-mask::x", "\t::stop-commands::x", "##[error]x", "a ##[set-output name=a]b", "##vso[task.setvariable variable=a]b", "###[error]x", "##[##[error]x",
}

func TestTame(t *testing.T) {
	t.Parallel()
	for _, order := range orders {
		for _, text := range []string{order, "a\n" + order + "\nb\n", order + "\n" + order} {
			if got := tame(text); len(obeyed(got)) != 0 {
				t.Errorf("%q gives %q", text, got)
			}
		}
		doc, err := json.MarshalIndent(map[string]any{order: []string{order}}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		var back map[string][]string
		if safe := tameJSON(doc); json.Unmarshal(safe, &back) != nil || len(back[order]) != 1 || back[order][0] != order || len(obeyed(string(safe))) != 0 {
			t.Errorf("%q gives %s", order, safe)
		}
		var text string
		x, err := xml.Marshal("a\n" + order)
		if err != nil {
			t.Fatal(err)
		}
		if safe := tameXML(x); xml.Unmarshal(safe, &text) != nil || text != "a\n"+order || len(obeyed(string(safe))) != 0 {
			t.Errorf("%q gives %s, which is %q", order, safe, text)
		}
	}
	for _, plain := range []string{"", "a::b", "std::vec\n", "## Title [link]\n", "#[x]", "text\n"} {
		if got := tame(plain); got != plain {
			t.Errorf("%q gives %q", plain, got)
		}
	}
}

// TestLined: lines that arrive in pieces are seen as lines.
func TestLined(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := lined(&out)
	for _, part := range []string{"one\n  :", ":error::x\na #", "#[err", "or]\nlast"} {
		if n, err := w.Write([]byte(part)); err != nil || n != len(part) {
			t.Fatal(n, err)
		}
	}
	if got, want := out.String(), "one\n|   ::error::x\na ##\\[error]\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestEverythingPrintedIsTamed prints foreign text by every way out.
func TestEverythingPrintedIsTamed(t *testing.T) {
	t.Parallel()
	for _, order := range orders {
		foreign := "a\n" + order + "\nb"
		body := artifactView{Problem: foreign, Lines: []shownLine{{lineContext, order}, {lineNote, order}, {lineHunk, order}, {lineFile, order}}}
		body.Name, body.Role, body.Type, body.Action, body.Target = order, order, order, order, order
		step := stepView{Views: []artifactView{body}}
		step.StepID, step.EngineID = order, order
		step.Artifacts = []orchestrator.SummaryArtifact{{Name: order, Role: order}}
		step.Evaluations = []protocol.PolicyEvaluation{{PolicyID: order, Decision: protocol.Deny, Reason: foreign}}
		v := flightView{ID: order, Failure: foreign, Steps: []stepView{step}, Timeline: []string{order}, Approvals: []approvalView{{Role: order, Reason: foreign, Status: "approved", Approver: order, Comment: foreign}}}
		v.Info.Workflow, v.Summary.WorkflowID, v.Summary.Steps = order, order, []orchestrator.SummaryStep{step.SummaryStep}
		d := flightDiff{A: order, B: order, Fields: []fieldChange{{order, order, foreign, order}}, Artifacts: []artifactChange{{order, order, order, order, order}}, Files: []fileChange{{order, order, order, order, order, order}}}
		err := protocol.Errorf(protocol.ExitFailure, "engine_failed", "%s", foreign).At(order).WithHint("%s", foreign)
		for name, show := range map[string]func(*app){
			"show":     func(a *app) { a.text(v.render(false)) },
			"diff":     func(a *app) { a.text(d.render(false)) },
			"error":    func(a *app) { a.complain(err) },
			"document": func(a *app) { a.report(err) },
			"progress": func(a *app) {
				a.notify(slog.New(slog.DiscardHandler))(orchestrator.Progress{Stage: "plan", Step: "s", Message: foreign})
			},
			"log":       func(a *app) { a.logger(nil).Error(foreign, "key", order) },
			"verdict":   func(a *app) { _ = a.verdict(order, []orchestrator.Check{{Name: "x", Detail: foreign}}, err) },
			"doctor":    func(a *app) { _ = (&doctor{app: a, list: []advice{{"x", doctorFail, foreign, foreign}}}).tell() },
			"audit":     func(a *app) { _, _ = fmt.Fprintln(lined(a.out), order) },
			"show line": func(a *app) { a.text("  " + order + "\n") },
		} {
			for _, form := range []string{outputText, outputJSON} {
				var out, errs bytes.Buffer
				a := &app{out: &out, err: &errs, env: map[string]string{}, flags: flags{output: form, logFormat: form, logLevel: "debug"}}
				if name == "log" {
					a.flags.output = outputText
				}
				show(a)
				if got := append(obeyed(out.String()), obeyed(errs.String())...); len(got) != 0 {
					t.Errorf("%s as %s obeys %q", name, form, got)
				}
				if form == outputJSON && out.Len() > 0 && name != "audit" && !json.Valid(out.Bytes()) {
					t.Errorf("%s: no JSON: %s", name, out.Bytes())
				}
				if name == "log" && form == outputJSON && !json.Valid(errs.Bytes()) {
					t.Errorf("no JSON: %s", errs.Bytes())
				}
			}
		}
	}
}

// TestShowHasAGutter: what is an engine's stands behind a mark in show.
func TestShowHasAGutter(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	(&artifactView{Lines: []shownLine{{lineContext, "::error::x"}, {lineContext, "plain"}}}).render(&b, false)
	if got := b.String(); !strings.Contains(got, "\n    | ::error::x\n    | plain\n") {
		t.Error(got)
	}
}
