package mcp

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/internal/harmless"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// The built-in judges of the guard.
const (
	policyPaths   = "gateway/paths"
	policyPins    = "gateway/pins"
	policyLimits  = "gateway/limits"
	policyUnknown = "gateway/unknown-method"
	policySession = "gateway/session"
	policyMessage = "gateway/message" // not a judge: what the record says of a message
)

// ruling is what came of judging one message.
type ruling struct {
	gateways.Verdict

	code    int             // of the refusal
	message jsonrpc.Message // what goes on
	changed bool            // it is not what came
	twice   bool            // the request has the id of another
	often   string          // the sender can cause this refusal at will: it is counted under this reason
}

// passes says whether the message goes on at once.
func (r ruling) passes() bool {
	return r.Decision == protocol.Allow || r.Decision == protocol.Warn
}

// judge says what becomes of a message. It never fails: what cannot be judged is denied.
func (s *session) judge(ctx context.Context, m *matter) ruling {
	if why := jsonrpc.Misplaced(m.msg.Kind, m.e.method); why != "" {
		return s.ruled(m, policyMessage, why, jsonrpc.CodeInvalidRequest)
	}
	ctx, cancel := context.WithTimeout(ctx, limits.MCPGuardJudge)
	defer cancel()
	r := s.judgeOnce(ctx, m)
	if len(r.Changes) == 0 || r.Decision == protocol.Deny {
		return r
	}
	for _, c := range r.Changes {
		if c.Value != nil && slices.Contains(m.sealed, c.At) {
			return s.ruled(m, policyMessage, "a text in base64 holds what is to be redacted: it cannot be rewritten in place", codeDenied)
		}
	}
	changed, err := rewritten(m, r.Changes, s.scanOptions())
	if err != nil {
		return s.unjudged(m, fmt.Errorf("what a policy wants rewritten: %w", err))
	}
	// SPEC: docs/protocol.md 10: what was rewritten is judged as it will go on.
	m.msg, m.part, m.tree, m.texts, m.sealed = changed, nil, nil, nil, nil
	again := s.judgeOnce(ctx, m)
	if len(again.Changes) > 0 && again.Decision != protocol.Deny {
		return s.unjudged(m, errors.New("policies want rewritten what was rewritten for them"))
	}
	again.changed = true
	again.Decision = protocol.MostSevere(r.Decision, again.Decision)
	again.Evaluations = append(r.Evaluations, again.Evaluations...)
	again.Violations = append(r.Violations, again.Violations...)
	again.Warnings = append(r.Warnings, again.Warnings...)
	again.Requires = append(r.Requires, again.Requires...)
	return again
}

// judgeOnce judges the message as it is, after redaction.
func (s *session) judgeOnce(ctx context.Context, m *matter) (r ruling) {
	defer func() {
		if p := recover(); p != nil {
			r = s.broke(m, p)
		}
	}()
	redacted := false
	if m.tree == nil || m.texts == nil {
		if err := m.read(); err != nil {
			return s.unjudged(m, err)
		}
	}
	if m.leaks {
		return s.ruled(m, policyMessage, "a text in base64 holds a secret: it cannot be redacted in place", codeDenied)
	}
	if len(m.edits) > 0 {
		changed, err := spliced(m.msg, m.edits, s.scanOptions())
		if err != nil {
			return s.unjudged(m, fmt.Errorf("redaction: %w", err))
		}
		m.msg, m.part, m.edits, m.texts, redacted = changed, nil, nil, nil, true
		m.sealed = nil
		if err := m.read(); err != nil {
			return s.unjudged(m, err)
		}
		m.edits = nil // a mark that holds a secret again is not redacted for ever
	}
	r = s.verdict(ctx, m)
	r.message, r.changed = m.msg, r.changed || redacted
	return r
}

// verdict puts the words of the guard itself and of all judges together.
func (s *session) verdict(ctx context.Context, m *matter) ruling {
	o := &s.g.o
	var own []protocol.PolicyEvaluation
	if m.check != nil {
		own = m.check(m)
	}
	v, err := o.Judge.Judge(ctx, m.document(), m.at)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return s.unjudged(m, err)
	}
	if e := s.unknown(m); e != nil && !v.Named {
		own = append(own, *e)
	}
	m.hide(v.Hidden)
	for i := range own {
		own[i].Reason, own[i].Evidence = brief(m.shown(own[i].Reason)), m.shownEvidence(own[i].Evidence)
	}
	worst := protocol.Allow
	for i := range own {
		worst = protocol.MostSevere(worst, own[i].Decision)
	}
	if v.Decision == "" && len(v.Evaluations) == 0 {
		v.Decision = protocol.Allow
	}
	if len(v.Evaluations) == 0 && !o.AllowWithoutPolicies {
		v.Decision = protocol.Deny
		if len(v.Violations) == 0 {
			v.Violations = []string{"no policy says anything of this message"}
		}
	}
	v.Decision = protocol.MostSevere(v.Decision, worst)
	for i := range own {
		switch own[i].Decision {
		case protocol.Allow:
		case protocol.Warn:
			v.Warnings = append(v.Warnings, own[i].Reason)
		case protocol.RequireApproval:
			role := o.Role
			if own[i].PolicyID == policyPins {
				role = o.PinRole
			}
			v.Requires = append(v.Requires, protocol.PreflightRequires{Role: role, Reason: own[i].Reason})
		default:
			v.Violations = append(v.Violations, own[i].Reason)
		}
	}
	if len(own) > 0 {
		v.Evaluations = append(append(make([]protocol.PolicyEvaluation, 0, len(own)+len(v.Evaluations)), own...), v.Evaluations...)
	}
	return ruling{Verdict: v}
}

// unknown is the word on methods that the protocol does not have.
func (s *session) unknown(m *matter) *protocol.PolicyEvaluation {
	if m.phase == gateways.PhaseResponse || m.e.own || known(m.e.method, m.e.from, m.phase, m.e.revision) {
		return nil
	}
	d := s.g.o.UnknownMethods
	if d == protocol.Allow {
		return nil
	}
	e := evaluation(m, policyUnknown, d, "no revision in use has the method "+brief(m.e.method))
	return &e
}

// broke is the ruling on what nobody could judge because judging panicked.
func (s *session) broke(m *matter, p any) ruling {
	s.g.o.Log.Error("judging panicked", "panic", p, "stack", string(debug.Stack()))
	return s.unjudged(m, errors.New("judging broke down"))
}

// unjudged is the ruling on what cannot be judged: it goes no further.
func (s *session) unjudged(m *matter, err error) ruling {
	s.g.o.Log.Error("a message cannot be judged", "method", brief(m.e.method), "request", m.e.request, "error", m.shown(err.Error()))
	if errors.Is(err, errTarget) {
		return s.ruled(m, policyMessage, "what a request calls cannot be rewritten or redacted: the request is refused", codeDenied)
	}
	why := "the message cannot be judged"
	if errors.Is(err, context.DeadlineExceeded) {
		why = "judging the message took too long"
	}
	r := s.ruled(m, policyMessage, why, codeUnjudged)
	r.Evaluations[0].Evidence = map[string]any{"error": brief(m.shown(err.Error()))}
	return r
}

// ruled is a denial by the guard itself.
func (s *session) ruled(m *matter, policy, why string, code int) ruling {
	return ruling{
		Verdict: gateways.Verdict{
			Decision:    protocol.Deny,
			Evaluations: []protocol.PolicyEvaluation{evaluation(m, policy, protocol.Deny, why)},
			Violations:  []string{why},
		},
		code: code, message: m.msg,
	}
}

func evaluation(m *matter, policy string, d protocol.Decision, why string) protocol.PolicyEvaluation {
	return protocol.PolicyEvaluation{
		Source: protocol.SourceMCPGateway, PolicyID: policy, Decision: d, Severity: d.Severity(),
		Reason: why, EvaluatedAt: m.time(),
	}
}

// brief makes foreign text one short harmless line.
func brief(text string) string {
	if len(text) <= limits.MCPGuardReason && isPlain(text) {
		return text
	}
	if len(text) > 4*limits.MCPGuardReason {
		text = strings.ToValidUTF8(text[:4*limits.MCPGuardReason], "")
	}
	text = harmless.OneLine(text)
	if len(text) > limits.MCPGuardReason {
		text = strings.ToValidUTF8(text[:limits.MCPGuardReason], "") + "..."
	}
	return text
}

// isPlain says of most names and methods that they are harmless as they are.
func isPlain(text string) bool {
	for i := range len(text) {
		c := text[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte(" /_-.", c) < 0 {
			return false
		}
	}
	return true
}

// reasons gives what policies said against or of a message, and which they are.
func (r ruling) reasons() (why, policies []string) {
	for i := range r.Evaluations {
		if e := &r.Evaluations[i]; e.Decision == r.Decision || e.Decision.Severity() >= r.Decision.Severity() {
			policies = append(policies, e.PolicyID)
			if e.Reason != "" {
				why = append(why, e.Reason)
			}
		}
	}
	if len(r.Violations) > 0 && r.Decision == protocol.Deny {
		why = slices.Clone(r.Violations)
	}
	return why, policies
}
