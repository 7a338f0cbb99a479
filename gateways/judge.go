package gateways

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// TreeJudge judges a message as a tree of JSON. policies/rego has one.
type TreeJudge interface {
	Judge(ctx context.Context, message map[string]any) (policies.Opinion, error)
}

// TextJudge judges the texts of a message; toServer says which way it goes.
// policies/secrets and policies/onnx have one.
type TextJudge interface {
	JudgeTexts(ctx context.Context, texts []policies.Text, toServer bool) (policies.Opinion, error)
}

// PanelOptions say who judges, and how one decision is made of many.
type PanelOptions struct {
	// Rules are those of the configuration.
	Rules []protocol.MCPGatewayRule
	// Policies judge whole messages; nil for none.
	Policies TreeJudge
	// Secrets look for secrets in texts, and Models judge them; nil for none. Models are
	// asked while the others are, for they take a thousand times as long.
	Secrets TextJudge
	Models  TextJudge
	// Role approves where a rule names none; policies.DefaultRole if empty.
	Role string
	// Method is how decisions are aggregated; most_restrictive if empty.
	Method protocol.Aggregation
	// AllowWithoutPolicies lets through what nobody judged.
	AllowWithoutPolicies bool
	// Time bounds one judgement; limits.GatewayJudgeTime if 0.
	Time time.Duration
	// Source is who judges, in the record; protocol.SourceMCPGateway if empty.
	Source string
	// Reads says that what clients send is read by a model, too: suspicions of it count.
	Reads bool
}

// Panel asks all judges about a message and makes one decision of what they say. It
// implements Judge and is safe for concurrent use. What a judge could not judge is
// denied, whatever the others say.
// SPEC: docs/protocol.md 10
type Panel struct {
	o     PanelOptions
	rules []rule
}

var _ Judge = (*Panel)(nil)

// NewPanel checks the rules and puts judges together.
func NewPanel(o PanelOptions) (*Panel, error) {
	if o.Time <= 0 {
		o.Time = limits.GatewayJudgeTime
	}
	if o.Role == "" {
		o.Role = policies.DefaultRole
	}
	if o.Source == "" {
		o.Source = protocol.SourceMCPGateway
	}
	if o.Method == protocol.CustomRule {
		return nil, protocol.Errorf(protocol.ExitUsage, "aggregation_rule_missing", "a gateway has no aggregation method custom").
			WithHint("use most_restrictive, unanimous, majority, any_deny or all_allow")
	}
	if _, err := policies.Aggregate(o.Method, nil, true, nil); err != nil {
		return nil, err
	}
	rules, err := newRules(o.Rules, o.Role)
	if err != nil {
		return nil, err
	}
	return &Panel{o: o, rules: rules}, nil
}

// Judge judges one message. The error is the end of ctx; everything else is a verdict.
func (p *Panel) Judge(parent context.Context, d Document, at time.Time) (Verdict, error) {
	ctx, cancel := context.WithTimeout(parent, p.o.Time)
	defer cancel()
	m := newMatter(d)
	m.reads = p.o.Reads || !m.toServer
	var models answered
	var wait sync.WaitGroup
	if p.o.Models != nil {
		wait.Go(func() {
			models = p.ask("models", func() (policies.Opinion, error) { return p.o.Models.JudgeTexts(ctx, d.Texts, m.toServer) })
		})
	}
	all := []answered{{opinion: p.judgeRules(m)}}
	if p.o.Policies != nil {
		all = append(all, p.ask("policies", func() (policies.Opinion, error) { return p.o.Policies.Judge(ctx, m.enriched()) }))
	}
	if p.o.Secrets != nil {
		all = append(all, p.ask("secrets", func() (policies.Opinion, error) { return p.o.Secrets.JudgeTexts(ctx, d.Texts, m.toServer) }))
	}
	wait.Wait()
	if p.o.Models != nil {
		all = append(all, models)
	}
	if err := parent.Err(); err != nil {
		return Verdict{Decision: protocol.Deny}, context.Cause(parent)
	}
	var said policies.Opinion
	for _, a := range all {
		if a.err != nil {
			said.Findings = append(said.Findings, p.unjudged(a.who, a.err))
			if a.who == "secrets" { // what was not searched may hold some wherever others speak of it
				said.Hidden.More = true
			}
			continue
		}
		said.Findings = append(said.Findings, a.opinion.Findings...)
		said.Changes = append(said.Changes, a.opinion.Changes...)
		said.Hide = append(said.Hide, a.opinion.Hide...)
		said.Hidden.Join(a.opinion.Hidden)
	}
	if err := ctx.Err(); err != nil {
		said.Findings = append(said.Findings, p.unjudged("time", fmt.Errorf("judging took longer than %s", p.o.Time)))
	}
	m.hide(&said)
	v := p.verdict(said, at)
	v.Named = m.named
	return v, nil
}

// answered is what one judge said.
type answered struct {
	who     string
	opinion policies.Opinion
	err     error
}

// ask asks one judge; one that breaks has not judged.
func (p *Panel) ask(who string, judge func() (policies.Opinion, error)) (a answered) {
	a.who = who
	defer func() {
		if r := recover(); r != nil {
			a.err = fmt.Errorf("it broke: %v", r)
		}
	}()
	a.opinion, a.err = judge()
	return a
}

// unjudged is the finding for a judge that could not judge.
func (p *Panel) unjudged(who string, err error) policies.Finding {
	why := err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		why = "it took longer than " + p.o.Time.String()
	}
	f := finding("gateway/"+who, protocol.Deny, "the message could not be judged ("+who+"): "+why)
	f.Unjudged = true
	return f
}

func finding(id string, d protocol.Decision, reason string) policies.Finding {
	return policies.Finding{PolicyEvaluation: protocol.PolicyEvaluation{
		Source: protocol.SourceMCPGateway, PolicyID: id, Decision: d, Severity: d.Severity(), Reason: reason,
	}}
}

// verdict makes one decision of all findings.
func (p *Panel) verdict(said policies.Opinion, at time.Time) Verdict {
	var out Verdict
	changes, twice := settled(said.Changes)
	if twice != "" {
		f := finding("gateway/rewrite", protocol.Deny, "two judges want "+twice+" rewritten in different ways")
		f.Unjudged = true
		said.Findings = append(said.Findings, f)
	}
	stamp := at.UTC().Format(time.RFC3339Nano)
	for i := range said.Findings {
		said.Findings[i].EvaluatedAt = stamp
	}
	out.Hidden = said.Hidden
	d, err := policies.Decide(said.Findings, policies.AggregateOptions{Method: p.o.Method, AllowWithoutPolicies: p.o.AllowWithoutPolicies})
	out.Decision = d
	for i := range said.Findings {
		if said.Findings[i].Source == protocol.SourceMCPGateway {
			said.Findings[i].Source = p.o.Source
		}
	}
	r := discreet(said)
	out.Evaluations, out.Violations, out.Warnings = r.Evaluations(), r.Violations(), r.Warnings()
	switch {
	case err != nil:
		out.Violations = append(out.Violations, err.Error())
	case d == protocol.Deny && len(said.Findings) == 0:
		out.Violations = []string{"no policy judged this message; name a policy set or a rule in the gateway's configuration, or set allow_without_policies"}
	case d == protocol.RequireApproval:
		out.Requires = r.Requires()
	}
	if d != protocol.Deny {
		out.Changes = changes
	}
	return out
}

// discreet gives findings without the secrets that were found in the message: what
// judges say of a place of it names members, and those may be secrets. What the
// configuration says stays as it is.
func discreet(said policies.Opinion) policies.Result {
	r := policies.Result{Findings: said.Findings, Hidden: said.Hidden}.Discreet()
	for i := range r.Findings {
		f := &said.Findings[i]
		r.Findings[i].PolicyID, r.Findings[i].Rule, r.Findings[i].Role = f.PolicyID, f.Rule, f.Role
	}
	return r
}

// settled gives changes by place, each once; twice names a place that is to become two
// different things.
func settled(list []Change) (out []Change, twice string) {
	if len(list) == 0 {
		return nil, ""
	}
	out = slices.Clone(list)
	slices.SortStableFunc(out, func(a, b Change) int { return strings.Compare(a.At, b.At) })
	n := 0
	for _, c := range out[1:] {
		switch last := out[n]; {
		case last.At != c.At:
			n++
			out[n] = c
		case !equal(last.Value, c.Value):
			return nil, c.At
		}
	}
	return out[:n+1], ""
}

// matter is a message with what judges ask of it.
type matter struct {
	d        Document
	context  map[string]any
	params   map[string]any
	method   string
	tool     string // that is called
	named    bool   // a rule that fires names the method
	toServer bool
	reads    bool // a model reads it
}

func newMatter(d Document) *matter {
	m := &matter{d: d}
	m.context, _ = d.Input["context"].(map[string]any)
	m.params, _ = d.Input["params"].(map[string]any)
	m.method, _ = d.Input["method"].(string)
	if m.method == "tools/call" {
		m.tool, _ = m.params["name"].(string)
	}
	m.toServer = (m.text("direction") == "client_to_server") == (d.Phase != PhaseResponse)
	return m
}

func (m *matter) text(key string) string {
	s, _ := m.context[key].(string)
	return s
}

// enriched gives the document with what is read out of its texts. What whoever made the
// document said of it there does not count.
func (m *matter) enriched() map[string]any {
	size := 0
	suspicions := []any{}
	for i := range m.d.Texts {
		t := &m.d.Texts[i]
		size += len(t.Value)
		// What clients send to a tool is not read by a model; what servers say and give is.
		if !m.reads {
			continue
		}
		found := Suspicions(t.Value)
		for _, id := range found {
			suspicions = append(suspicions, map[string]any{"at": t.At, "kind": t.Kind, "id": id, "grave": Grave(found)})
		}
	}
	context := make(map[string]any, len(m.context)+3)
	maps.Copy(context, m.context)
	context["suspicions"], context["text_bytes"], context["named"] = suspicions, number(size), m.named
	input := maps.Clone(m.d.Input)
	if input == nil {
		input = map[string]any{}
	}
	input["context"] = context
	return input
}

// hide takes hidden tools out of a list of tools and denies calls of them.
func (m *matter) hide(said *policies.Opinion) {
	if len(said.Hide) == 0 {
		return
	}
	slices.Sort(said.Hide)
	hidden := func(name any) bool {
		s, ok := name.(string)
		_, found := slices.BinarySearch(said.Hide, s)
		return ok && found
	}
	switch {
	case m.tool != "" && m.d.Phase == PhaseRequest && hidden(m.tool):
		said.Findings = append(said.Findings, finding("gateway/hidden", protocol.Deny, fmt.Sprintf("the tool %q is hidden and cannot be called", m.tool)))
	case m.method == "tools/list" && m.d.Phase == PhaseResponse:
		for i, name := range m.listed() {
			if hidden(name) {
				said.Changes = append(said.Changes, Change{At: "/result/tools/" + itoa(i)})
			}
		}
	}
}

// listed gives the names of tools in an answer that lists them.
func (m *matter) listed() []any {
	result, _ := m.context["result"].(map[string]any)
	tools, _ := result["tools"].([]any)
	names := make([]any, len(tools))
	for i, t := range tools {
		tool, _ := t.(map[string]any)
		names[i] = tool["name"]
	}
	return names
}
