package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cabincrew/action/audit"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

func TestListShowDiff(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.must(0, []string{"no flights"}, "list")
	first := d.fly()

	out := d.must(0, []string{
		"verified  every check passed", "workflow  desk", "state     COMPLETED", "modify notes.txt (+3 -2)", "-line", `+line \x1b[31mred\u202e`,
		`add evil\x1b[2J\nname (+1 -0)`, `decision require_approval by cabincrew.desk`, `a person must\nlook`, "approved", "by boss", "signature verified: looks good", "timeline",
	}, "show", first)
	clean(t, out)
	out = d.must(0, []string{"lines are left out"}, "show", first, "--lines", "2")
	if strings.Contains(out, "x1b[31m") {
		t.Error("more lines than were asked for")
	}

	d.write("notes.txt", "old\nline\n")
	d.write("edit.sh", "echo other > notes.txt\n")
	second := d.plan(4)
	var list []listed
	d.json(0, &list, "list")
	if len(list) != 2 || list[0].WorkflowID != second || list[0].State != protocol.StateAwaitingApproval || list[1].State != protocol.StateCompleted ||
		list[0].Decision != protocol.RequireApproval || list[0].Workflow != "desk" {
		t.Errorf("the list is %+v", list)
	}
	d.must(0, []string{first, second, "AWAITING_APPROVAL"}, "list")

	var diff flightDiff
	d.json(0, &diff, "diff", first, second)
	if diff.Equal || diff.A != first || !hasField(diff, "workspace_hash") || hasField(diff, "policy_digest") || hasField(diff, "governance_hash") {
		t.Errorf("the difference is %+v", diff)
	}
	changes := map[string]string{}
	for _, f := range diff.Files {
		changes[f.Path] = f.Change
	}
	if changes["notes.txt"] != changeChanged || changes["evil\x1b[2J\nname"] != changeRemoved {
		t.Errorf("the files are %v", changes)
	}
	clean(t, d.must(0, []string{"step edit: token", `evil\x1b[2J\nname removed`}, "diff", first, second))
	d.json(0, &diff, "diff", first, first)
	if !diff.Equal || len(diff.Fields) != 0 {
		t.Errorf("a flight differs from itself: %+v", diff)
	}
	d.must(0, []string{"plan the same"}, "diff", first, first)
	d.must(2, []string{"flight_unknown"}, "diff", first, "nonesuch")
}

func hasField(d flightDiff, name string) bool {
	for _, f := range d.Fields {
		if f.Field == name {
			return true
		}
	}
	return false
}

func TestShowJSON(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	id := d.plan(4)
	var doc struct {
		orchestrator.Summary
		Verified bool                 `json:"verified"`
		Checks   []orchestrator.Check `json:"checks"`
		Patches  []viewPatch          `json:"patches"`
		Answers  []approvalView       `json:"approval_records"`
	}
	d.json(0, &doc, "show")
	if doc.WorkflowID != id || !doc.Verified || len(doc.Checks) < 5 || len(doc.Patches) != 1 || len(doc.Patches[0].Files) != 2 ||
		len(doc.Answers) != 1 || doc.Answers[0].Status != "open" {
		t.Errorf("the document is %+v", doc)
	}
}

func TestShowHTML(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	id := d.fly()
	page := filepath.Join(t.TempDir(), "f.html")
	d.must(0, []string{"wrote "}, "show", id, "--html", page)
	text := read(t, page)
	for _, want := range []string{
		"<!doctype html>", `content="default-src 'none'; style-src 'unsafe-inline'"`, "prefers-color-scheme: dark", "every check passed",
		`class="add"`, `<mark title="a character that is not visible">\u202e</mark>`, "&lt;script&gt;alert(1)&lt;/script&gt;",
		"require_approval", "boss", "looks good", "take-off",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, never := range []string{"<script", "http://", "https://", "src=", "href=", "url(", "\x1b", "\u202e"} {
		if strings.Contains(text, never) {
			t.Errorf("the page holds %q", never)
		}
	}
	d.must(2, []string{"output_unwritable", "hint:"}, "show", id, "--html", filepath.Join(t.TempDir(), "no", "f.html"))

	d.change(d.flightFile(id, "steps/edit/artifacts/changes/body.data"), "new", "old")
	d.must(5, []string{"artifact_hash"}, "show", id, "--html", page)
	if text = read(t, page); !strings.Contains(text, "DOES NOT VERIFY") || strings.Contains(text, "every check passed") {
		t.Error("the page of a changed flight does not say so")
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestShowBroken(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	whole := d.fly()
	for name, spoil := range map[string]func(id string){
		"artifact": func(id string) { d.change(d.flightFile(id, "steps/edit/artifacts/changes/body.data"), "new", "old") },
		"flight":   func(id string) { d.change(d.flightFile(id, "flight.json"), "desk", "disk") },
		"wal":      func(id string) { d.change(d.flightFile(id, "wal.jsonl"), "INIT", "INTI") },
		"audit":    func(id string) { d.change(d.flightFile(id, "audit.jsonl"), "planning", "panning") },
		"no audit": func(id string) { remove(t, d.flightFile(id, "audit.jsonl")) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), whole)
			if err := os.CopyFS(dir, os.DirFS(d.flightFile(whole, "."))); err != nil {
				t.Fatal(err)
			}
			keep := d.dir
			d.dir = t.TempDir() // spoil the copy
			d.write(".cabincrew/flights/none", "")
			if err := os.Rename(dir, d.flightFile(whole, ".")); err != nil {
				t.Fatal(err)
			}
			spoil(whole)
			copied := d.flightFile(whole, ".")
			d.dir = keep
			clean(t, d.must(5, []string{"NOT VERIFIED", "trust nothing"}, "show", copied))
			var doc struct {
				ID       string                     `json:"workflow_id"`
				Verified bool                       `json:"verified"`
				Error    *orchestrator.SummaryError `json:"error"`
			}
			d.json(5, &doc, "show", copied)
			if doc.ID != whole || doc.Verified || doc.Error == nil || doc.Error.Code == "" {
				t.Errorf("the document is %+v", doc)
			}
		})
	}
	d.change(d.flightFile(whole, "flight.json"), "desk", "disk")
	var list []listed
	d.json(0, &list, "list")
	if len(list) != 1 || list[0].State != stateUnreadable || list[0].Error == nil || list[0].Error.Code != "flight_changed" {
		t.Errorf("the list is %+v", list)
	}
	d.must(0, []string{"UNREADABLE", "flight_changed"}, "list")
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func TestApproveShowsThePlan(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	id := d.plan(4)
	out := d.must(0, []string{"modify notes.txt", `decision require_approval by cabincrew.desk`, "open      role maintainer"},
		"approve", id, "--as", "boss", "--key", d.path("../boss"))
	clean(t, out)
}

func TestAudit(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	id := d.fly()
	clean(t, d.must(0, []string{"engine_start", "approval_response", "workflow_complete"}, "audit", "show", id))
	var events []protocol.AuditEvent
	d.json(0, &events, "audit", "show", id)
	if len(events) < 20 || events[0].EventID == "" {
		t.Errorf("there are %d events", len(events))
	}
	d.must(0, []string{"each entry has its event", "verifies"}, "audit", "verify", id)
	var verdict struct {
		Verified bool         `json:"verified"`
		Report   audit.Report `json:"report"`
	}
	d.json(0, &verdict, "audit", "verify", id)
	if !verdict.Verified || verdict.Report.Events != len(events) {
		t.Errorf("the verdict is %+v", verdict)
	}

	if got := d.must(0, nil, "audit", "export", id, "--format", "jsonl"); got != read(t, d.flightFile(id, "audit.jsonl")) {
		t.Error("jsonl is not the log itself")
	}
	if got := d.must(0, nil, "audit", "export", id, "--format", "csv"); !strings.HasPrefix(got, "timestamp,event_type") {
		t.Errorf("csv begins %.60q", got)
	}
	file := filepath.Join(t.TempDir(), "a.cef")
	d.must(0, []string{"wrote "}, "audit", "export", id, "--format", "cef", "--out", file)
	if got := read(t, file); strings.Count(got, "CEF:0|") != len(events) {
		t.Errorf("cef has %d events of %d", strings.Count(got, "CEF:0|"), len(events))
	}
	d.must(2, []string{"audit_export_format"}, "audit", "export", id, "--format", "xml")
	d.must(2, []string{"--out"}, "audit", "export", id, "--output", "json")
	d.must(2, []string{"flight_unknown"}, "audit", "show", "nonesuch")

	d.change(d.flightFile(id, "audit.jsonl"), "planning begins", "planning starts")
	for _, command := range []string{"show", "verify", "export"} {
		d.must(5, []string{"audit_changed", "audit.jsonl:3", "line 3"}, "audit", command, id)
	}
	var broken struct {
		Events []protocol.AuditEvent      `json:"events"`
		Error  *orchestrator.SummaryError `json:"error"`
	}
	d.json(5, &broken, "audit", "show", id)
	if len(broken.Events) != 2 || broken.Error == nil || broken.Error.Code != "audit_changed" {
		t.Errorf("the document is %+v", broken)
	}
	d.json(5, &verdict, "audit", "verify", id)
	if verdict.Verified || verdict.Report.Problem == nil || verdict.Report.Problem.Line != 3 {
		t.Errorf("the verdict is %+v", verdict)
	}

	// The log is cut at a line: whole in itself, but not beside the WAL.
	lines := strings.SplitAfter(read(t, d.flightFile(d.fliesAgain(), "audit.jsonl")), "\n")
	last := d.fliesAgain()
	d.write(".cabincrew/flights/"+last+"/audit.jsonl", strings.Join(lines[:len(lines)-5], ""))
	d.must(5, nil, "audit", "verify", last)

	remove(t, d.flightFile(id, "audit.jsonl"))
	if err := syscall.Mkfifo(d.flightFile(id, "audit.jsonl"), 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan int, 1)
	go func() {
		code, _, _ := d.run("audit", "verify", id)
		done <- code
	}()
	select {
	case code := <-done:
		if code != 5 {
			t.Errorf("exit %d for a pipe in place of the log", code)
		}
	case <-time.After(time.Minute):
		t.Fatal("a pipe in place of the log makes it wait")
	}
}

// fliesAgain plans one more flight and ends it.
func (d *desk) fliesAgain() string {
	d.t.Helper()
	d.write("notes.txt", "old\nline\n")
	id := d.plan(4)
	d.must(0, nil, "cancel", id)
	return id
}

func TestPrune(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	var ids []string
	for range 3 {
		ids = append(ids, d.fliesAgain())
	}
	open := d.plan(4)
	broken := d.fliesAgain()
	d.change(d.flightFile(broken, "wal.jsonl"), "INIT", "INTI")

	d.must(2, []string{"--keep"}, "prune", "--keep", "many")
	d.must(2, []string{"--older-than"}, "prune", "--older-than", "-3h")
	var report pruneReport
	d.json(0, &report, "prune") // 30 days, 5 flights
	if len(report.Removed) != 0 || len(report.Skipped) != 1 || report.Kept != 4 {
		t.Errorf("the report is %+v", report)
	}
	d.json(0, &report, "prune", "--keep", "1", "--dry-run")
	if !report.DryRun || len(report.Removed) != 2 || report.Freed == 0 || report.Removed[0].WorkflowID != ids[1] {
		t.Errorf("the report is %+v", report)
	}
	d.must(0, []string{"removed " + ids[0], "left alone " + broken, "removed 2 flights"}, "prune", "--keep", "1")
	d.must(0, []string{"removed 0 flights"}, "prune", "--older-than", "1d")
	d.must(0, []string{"removed 1 flights"}, "prune", "--older-than", "0s")
	var list []listed
	d.json(0, &list, "list")
	left := map[string]protocol.State{}
	for _, l := range list {
		left[l.WorkflowID] = l.State
	}
	if len(left) != 2 || left[open] != protocol.StateAwaitingApproval || left[broken] != stateUnreadable {
		t.Errorf("what is left is %v", left)
	}
}

func TestPruneSparesWhatIsInUse(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	id := d.fliesAgain()
	a := &app{in: strings.NewReader(""), out: &strings.Builder{}, err: &strings.Builder{}, env: environ(d.env), flags: flags{output: outputText, config: d.path(".cabincrew.yaml")}}
	err := a.withStore(func(s *session) error {
		if err := s.lock(s.home, "flight-"+id); err != nil {
			return err
		}
		d.must(0, []string{"left alone " + id, "removed 0 flights"}, "prune", "--keep", "0")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	d.must(0, []string{"removed 1 flights"}, "prune", "--keep", "0")
}

func TestSegments(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain\ttext": "plain\ttext", "a\u202eb": `a\u202eb`, "a\u200bb": `a\u200bb`, "a\xffb": `a\xffb`, "a\nb": `a\nb`,
		"\ufeff": `\ufeff`, "\U000e0041": `\U000e0041`, "über 猫": "über 猫", "\u3164": `\u3164`, "\x1b]0;x\a": `\x1b]0;x\a`,
	} {
		if got := oneLine(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func FuzzSegments(f *testing.F) {
	f.Add("a\u202e\x1b[0m\n\xff\u200b")
	f.Fuzz(func(t *testing.T, s string) {
		clean(t, oneLine(s))
		if strings.Contains(oneLine(s), "\n") {
			t.Error("a line break")
		}
	})
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	if code, out, _ := d.run("completion", "bash"); code != 0 || !strings.Contains(out, "__complete") {
		t.Errorf("exit %d, %.80q", code, out)
	}
	id := d.fliesAgain()
	var out, errs strings.Builder
	code := Main(t.Context(), []string{"__complete", "--config", d.path(".cabincrew.yaml"), "show", id[:6]}, strings.NewReader(""), &out, &errs, d.env)
	if code != 0 || !strings.HasPrefix(out.String(), id+"\n") {
		t.Errorf("exit %d, %q", code, out.String())
	}
}

func TestUnsupportedOutputIsRefused(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.must(2, []string{"--output"}, "list", "--output", "xml")
	var doc struct {
		Error *orchestrator.SummaryError `json:"error"`
	}
	code, out, _ := (&desk{t: t, dir: t.TempDir(), env: d.env}).run("list", "--output", "json")
	if code != 2 || json.Unmarshal([]byte(out), &doc) != nil || doc.Error == nil || doc.Error.Code != "config_not_found" {
		t.Errorf("exit %d: %s", code, out)
	}
}
