package audit

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cabincrew/action/protocol"
)

// Formats are the names that Export knows.
func Formats() []string { return []string{"jsonl", "csv", "cef"} }

// Export writes a log in another format: jsonl (the lines as they are), csv
// (the columns of csvColumns, safe to open in a spreadsheet) or cef (ArcSight
// CEF:0, one event a line). It does not verify: see Verify.
func Export(r io.Reader, w io.Writer, format string) error {
	out := bufio.NewWriterSize(w, 64<<10)
	var err error
	switch format {
	case "jsonl":
		for line, problem := range rawLines(r) {
			if problem != nil {
				return problem
			}
			if _, err = out.Write(append(line.text, '\n')); err != nil {
				break
			}
		}
	case "csv":
		err = exportCSV(r, out)
	case "cef":
		err = exportCEF(r, out)
	default:
		return protocol.Errorf(protocol.ExitUsage, "audit_export_format", "unknown export format %q", format).
			WithHint("use one of %s", strings.Join(Formats(), ", "))
	}
	if err != nil {
		return err
	}
	return out.Flush()
}

// csvColumns are stable: new ones come last.
func csvColumns() []string {
	return []string{
		"timestamp", "event_type", "severity", "workflow_id", "step_id", "mode", "workflow_state", "decision",
		"engine_id", "engine_status", "engine_error", "plan_token", "artifacts", "approval_id", "required_role",
		"approved", "approver", "approval_reason", "gateway_type", "request_id", "model", "tool",
		"message", "event_id", "chain_hash",
	}
}

func exportCSV(r io.Reader, w io.Writer) error {
	out := csv.NewWriter(w)
	if err := out.Write(csvColumns()); err != nil {
		return err
	}
	for e, err := range Events(r) {
		if err != nil {
			return err
		}
		row := csvRow(e)
		for i := range row {
			row[i] = cell(row[i])
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func csvRow(e protocol.AuditEvent) []string {
	f := flatten(e)
	names := make([]string, 0, len(e.Artifacts))
	for _, a := range e.Artifacts {
		names = append(names, a.Name+"="+a.Hash)
	}
	approved := ""
	if e.Approval != nil {
		approved = strconv.FormatBool(f.approval.Approved)
	}
	return []string{
		e.Timestamp, e.EventType, e.Severity, f.workflow.WorkflowID, f.workflow.StepID, f.workflow.Mode, e.WorkflowState, f.decision,
		f.engine.EngineID, f.engine.Status, f.engine.Error, f.token, strings.Join(names, ";"), f.approval.ApprovalID, f.approval.RequiredRole,
		approved, f.approval.Approver, f.approval.Reason, f.gateway.GatewayType, f.gateway.RequestID, f.gateway.Model, f.gateway.Tool,
		e.Message, e.EventID, e.ChainHash,
	}
}

// flat is an event with empty values in place of absent parts.
type flat struct {
	workflow protocol.AuditWorkflow
	engine   protocol.AuditEngine
	approval protocol.AuditApproval
	gateway  protocol.AuditGateway
	decision string
	token    string
}

func flatten(e protocol.AuditEvent) flat {
	var f flat
	if e.Workflow != nil {
		f.workflow = *e.Workflow
	}
	if e.Engine != nil {
		f.engine = *e.Engine
	}
	if e.Approval != nil {
		f.approval = *e.Approval
	}
	if e.Gateway != nil {
		f.gateway, f.decision = *e.Gateway, string(e.Gateway.PolicyDecision)
	}
	if e.Policy != nil {
		f.decision = string(e.Policy.Decision)
	}
	if e.PlanToken != nil {
		f.token = e.PlanToken.Token
	}
	return f
}

// quiet writes what could work on a terminal as escapes; white space stays.
func quiet(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '\n' || r == '\r' || r == '\t' {
			b.WriteRune(r)
		} else {
			b.WriteString(visible(string(r)))
		}
	}
	return b.String()
}

// cell keeps a spreadsheet from taking a text for a formula, and a terminal from
// obeying it.
func cell(s string) string {
	s = quiet(s)
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

func exportCEF(r io.Reader, w io.Writer) error {
	for e, err := range Events(r) {
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, cefLine(e)); err != nil {
			return err
		}
	}
	return nil
}

// cefLine gives an event as CEF:0|vendor|product|version|class|name|severity|extension.
func cefLine(e protocol.AuditEvent) string {
	f := flatten(e)
	var b strings.Builder
	fmt.Fprintf(&b, "CEF:0|CabinCrew|cabincrew|%s|%s|%s|%d|", cefHeader(protocol.ProtocolVersion), cefHeader(e.EventType),
		cefHeader(strings.ReplaceAll(e.EventType, "_", " ")), cefSeverity(e.Severity))
	var pairs []string
	add := func(key, value string) {
		if value != "" {
			pairs = append(pairs, key+"="+cefValue(value))
		}
	}
	if at, err := parseTime(e.Timestamp); err == nil {
		add("rt", strconv.FormatInt(at.UnixMilli(), 10))
	}
	add("externalId", e.EventID)
	add("outcome", f.decision)
	add("suser", f.approval.Approver)
	add("reason", strings.TrimSpace(f.approval.Reason+" "+f.engine.Error))
	for i, p := range [][2]string{
		{"workflowId", f.workflow.WorkflowID}, {"stepId", f.workflow.StepID}, {"workflowState", e.WorkflowState},
		{"engineId", f.engine.EngineID}, {"approvalId", f.approval.ApprovalID}, {"chainHash", e.ChainHash},
	} {
		if p[1] != "" {
			key := "cs" + strconv.Itoa(i+1)
			add(key+"Label", p[0])
			add(key, p[1])
		}
	}
	add("msg", e.Message)
	b.WriteString(strings.Join(pairs, " "))
	b.WriteByte('\n')
	return b.String()
}

// cefHeader escapes a header field; a line break cannot be written there.
func cefHeader(s string) string {
	return strings.NewReplacer(`\`, `\\`, `|`, `\|`, "\n", " ", "\r", " ").Replace(quiet(s))
}

// cefValue escapes a value of the extension.
func cefValue(s string) string {
	return strings.NewReplacer(`\`, `\\`, `=`, `\=`, "\n", `\n`, "\r", `\r`).Replace(quiet(s))
}

func cefSeverity(s string) int {
	switch s {
	case protocol.SeverityDebug:
		return 0
	case protocol.SeverityWarning:
		return 5
	case protocol.SeverityError:
		return 8
	case protocol.SeverityCritical:
		return 10
	}
	return 3
}
