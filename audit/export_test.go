package audit

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

func hostileLog(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	l, _ := openLog(t, dir, Options{})
	e := sampleEvent(0)
	e.Message = "=HYPERLINK(\"x\")|a\\b=c\r\nnext \x1b[31mred\u202e\u009b" + WALRef(0, protocol.Digest(nil))
	e.Severity = protocol.SeverityCritical
	e.Approval = &protocol.AuditApproval{Approver: "@admin", Reason: "-1+1", Approved: true}
	plain := protocol.AuditEvent{Timestamp: "2026-11-22T19:30:00.5Z", EventType: "a|b\\c", WorkflowState: "INIT"}
	if err := l.Append(e, plain); err != nil {
		t.Fatal(err)
	}
	return readLog(t, dir)
}

func export(t *testing.T, data []byte, format string) string {
	t.Helper()
	var out bytes.Buffer
	if err := Export(bytes.NewReader(data), &out, format); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestExport(t *testing.T) {
	t.Parallel()
	data := hostileLog(t)
	if got := export(t, data, "jsonl"); got != string(data) {
		t.Errorf("jsonl is not verbatim: %s", got)
	}
	rows, err := csv.NewReader(strings.NewReader(export(t, data, "csv"))).ReadAll()
	if err != nil || len(rows) != 3 || len(rows[0]) != len(csvColumns()) {
		t.Fatalf("%v %v", rows, err)
	}
	row := map[string]string{}
	for i, name := range rows[0] {
		row[name] = rows[1][i]
		for _, r := range rows[1:] {
			if r[i] != "" && strings.ContainsAny(r[i][:1], "=+-@\t\r") {
				t.Errorf("%s begins like a formula: %q", name, r[i])
			}
		}
	}
	if row["approver"] != "'@admin" || row["approval_reason"] != "'-1+1" || row["approved"] != "true" || !strings.HasPrefix(row["message"], "'=HYPERLINK") {
		t.Errorf("%v", row)
	}
	cef := strings.Split(export(t, data, "cef"), "\n")
	if len(cef) != 3 || cef[2] != "" {
		t.Fatalf("%q", cef)
	}
	if !strings.HasPrefix(cef[0], "CEF:0|CabinCrew|cabincrew|draft|artifact_validated|artifact validated|10|rt=1795370400000 externalId=") ||
		!strings.Contains(cef[0], ` msg=\=HYPERLINK("x")|a\\b\=c\r\nnext `) {
		t.Errorf("%q", cef[0])
	}
	if !strings.HasPrefix(cef[1], `CEF:0|CabinCrew|cabincrew|draft|a\|b\\c|a\|b\\c|3|rt=`) {
		t.Errorf("%q", cef[1])
	}
	wantCode(t, Export(bytes.NewReader(data), &bytes.Buffer{}, "xml"), "audit_export_format")
	for _, format := range []string{"csv", "cef"} {
		wantCode(t, Export(strings.NewReader(string(data)+"{}\n"), &bytes.Buffer{}, format), "audit_changed")
	}
}

func TestTimeline(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := Timeline(bytes.NewReader(hostileLog(t)), &out, TimelineOptions{}); err != nil {
		t.Fatal(err)
	}
	want := `2026-11-22 18:00:00.000    +0.000s  critical  artifact_validated    greet             =HYPERLINK("x")|a\b=c\u000d\u000anext \u001b[31mred\u202e\u009b
2026-11-22 19:30:00.500   +1h30m0s            a|b\c                                   INIT
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	if err := Timeline(bytes.NewReader(hostileLog(t)), &out, TimelineOptions{Colour: true}); err != nil || !strings.HasPrefix(out.String(), "\x1b[31m2026") {
		t.Errorf("%q %v", out.String(), err)
	}
	wantCode(t, Timeline(strings.NewReader("x\n"), &out, TimelineOptions{}), "audit_changed")
}

// TestExportsAreQuiet keeps escape sequences out of what a person may print.
func TestExportsAreQuiet(t *testing.T) {
	t.Parallel()
	data := hostileLog(t)
	for _, format := range []string{"csv", "cef"} {
		out := export(t, data, format)
		if strings.ContainsAny(out, "\x1b\u009b\u202e") || !strings.Contains(out, `u001b[31mred`) {
			t.Errorf("%s: %q", format, out)
		}
	}
}
