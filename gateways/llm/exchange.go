package llm

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/gateways/llm/wire"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// exchange is one call and its answer.
type exchange struct {
	g      *Gateway
	w      http.ResponseWriter
	r      *http.Request
	ctx    context.Context
	cancel context.CancelFunc
	outer  context.Context // of the call with the time that it may be held; nil: ctx
	who    Caller
	format wire.Format
	at     time.Time
	id     string

	came    []byte         // the body that the client sent
	rooms   []func()       // give back what large bodies took
	facts   map[string]any // what the record says of it
	request *wire.Request
	input   map[string]any // LLMGatewayRequest, as policies read it
	changed bool
	verdict gateways.Verdict // of the request
	plan    route.Plan
	choice  route.Choice
	tries   []string // what became of attempts
	began   bool     // the client saw a byte of the answer
	first   time.Duration
	digest  string // of what was forwarded
	settle  func(wire.Usage, bool)
	sent    []byte // what was forwarded

	regenerated bool // a safer model was asked instead
	again       bool // it is to be asked now
}

// serve runs the pipeline: read, judge, hold, route, record, send, judge, record.
func (x *exchange) serve() {
	if no := x.read(); no != nil {
		x.g.door(x.w, x.r, x.format, x.who, no.status, no.code, no.message)
		return
	}
	if no := x.judgeRequest(); no != nil {
		x.refused(*no)
		return
	}
	if x.verdict.Decision == protocol.RequireApproval {
		if no := x.holdRequest(); no != nil {
			x.refused(*no)
			return
		}
	}
	if no := x.route(); no != nil {
		x.refused(*no)
		return
	}
	x.send()
}

// read reads and checks the body.
func (x *exchange) read() *refusal {
	if x.r.Method == http.MethodGet {
		if x.r.ContentLength != 0 {
			return &refusal{http.StatusBadRequest, "llm_request", "a request without a body was expected"}
		}
		x.request = &wire.Request{Format: x.format, Tree: map[string]any{}}
		return nil
	}
	if enc := x.r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return &refusal{http.StatusUnsupportedMediaType, "llm_request", "compressed requests are not read: send the body without Content-Encoding"}
	}
	rc := http.NewResponseController(x.w)
	_ = rc.SetReadDeadline(time.Now().Add(limits.LLMRead)) //nolint:forbidigo // the connection's clock
	var err error
	x.came, err = x.readBody(x.r.Body, x.r.ContentLength, x.g.o.Body, x.g.requests)
	_ = rc.SetReadDeadline(time.Time{}) // where deadlines are to be had
	switch {
	case errors.Is(err, errBusy):
		x.w.Header().Set("Retry-After", "1")
		return &refusal{http.StatusServiceUnavailable, "gateway_busy", "too many large calls are under way"}
	case errors.Is(err, errTooLarge):
		return &refusal{http.StatusRequestEntityTooLarge, "llm_request_size", "the body is larger than " + strconv.FormatInt(x.g.o.Body, 10) + " bytes"}
	case err != nil:
		return &refusal{http.StatusBadRequest, "llm_request", "the body did not come whole"}
	}
	if x.request, err = wire.ParseRequest(x.format, x.came); err != nil {
		return &refusal{http.StatusBadRequest, "llm_request", shown(err)}
	}
	return x.shape()
}

// shown gives an error's message without its code.
func shown(err error) string {
	var e *protocol.Error
	if errors.As(err, &e) && e.Message != "" {
		return e.Message
	}
	return err.Error()
}

// judgeRequest judges the request; if that changed it, the result is judged again.
func (x *exchange) judgeRequest() *refusal {
	for again := false; ; again = true {
		v, err := x.g.o.Judge.Judge(x.ctx, x.requestDocument(), x.g.o.Now())
		if err != nil {
			x.verdict = gateways.Verdict{Decision: protocol.Deny, Violations: []string{"the request could not be judged"}}
			return &refusal{http.StatusServiceUnavailable, "unjudged", "the request could not be judged"}
		}
		if again {
			// What was found at first stays on the record.
			v.Evaluations = append(x.verdict.Evaluations, v.Evaluations...)
			v.Warnings = append(x.verdict.Warnings, v.Warnings...)
			v.Hidden.Join(x.verdict.Hidden)
		}
		x.verdict = v
		switch {
		case v.Decision == protocol.Deny:
			return &refusal{http.StatusForbidden, "denied_by_policy", "the request was denied: " + why(v)}
		case len(v.Changes) == 0:
			return nil
		case again:
			return x.unchanged("the request is still to be changed after it was")
		}
		body, err := wire.Rewrite(x.request.Raw, v.Changes)
		if err == nil {
			var now *wire.Request
			if now, err = wire.ParseRequest(x.format, body); err == nil {
				x.request, x.changed = now, true
			}
		}
		if err != nil {
			return x.unchanged("the request cannot be changed as it was decided")
		}
	}
}

func (x *exchange) unchanged(message string) *refusal {
	x.verdict.Decision = protocol.Deny
	x.verdict.Violations = append(x.verdict.Violations, message)
	return &refusal{http.StatusForbidden, "denied_by_policy", message}
}

// requestDocument gives the request as judges read it.
func (x *exchange) requestDocument() gateways.Document {
	q := x.request
	tools := make([]any, len(q.Tools))
	for i, t := range q.Tools {
		tools[i] = map[string]any{"name": t.Name, "kind": t.Kind, "hosted": t.Hosted, "at": t.At}
	}
	x.input = map[string]any{
		"request_id": x.id, "timestamp": stamp(x.at), "source": x.who.Workflow, "model": q.Model, "provider": x.choice.Provider, "input": q.Tree,
		"context": map[string]any{
			"phase": string(gateways.PhaseRequest), "format": string(x.format), "environment": x.g.o.Environment, "principal": x.who.Name,
			"stream": q.Stream, "tools": tools, "unread": unreadOf(q.Unread), "direction": "client_to_server",
		},
	}
	return gateways.Document{Phase: gateways.PhaseRequest, Input: x.input, Texts: q.Texts}
}

func unreadOf(list []wire.Unread) []any {
	out := make([]any, len(list))
	for i, u := range list {
		out[i] = map[string]any{"at": u.At, "kind": u.Kind}
	}
	return out
}

// said is an answer as far as it came.
type said struct {
	texts  []gateways.Text // all that secrets may stand in
	spoken []string
	calls  []wire.Call
	unread []wire.Unread
}

// answerDocument gives an answer as judges read it.
func (x *exchange) answerDocument(s said) gateways.Document {
	calls := make([]any, len(s.calls))
	for i, c := range s.calls {
		calls[i] = map[string]any{"name": c.Name, "arguments": c.Arguments}
	}
	texts := make([]any, len(s.spoken))
	for i, t := range s.spoken {
		texts[i] = t
	}
	asked, _ := x.input["context"].(map[string]any)
	around := maps.Clone(asked)
	around["phase"] = string(gateways.PhaseResponse)
	around["answer"] = map[string]any{"texts": texts, "tool_calls": calls}
	around["unread"] = unreadOf(s.unread)
	input := maps.Clone(x.input)
	input["context"], input["provider"] = around, x.choice.Provider
	return gateways.Document{Phase: gateways.PhaseResponse, Input: input, Texts: s.texts}
}

// refused records a refusal and tells the client of it.
func (x *exchange) refused(no refusal) {
	x.verdict.Decision = protocol.Deny
	if err := x.recordRequest(); err != nil {
		no = unrecorded
	}
	x.observed(protocol.Deny, "refused", no.status, wire.Usage{})
	writeError(x.w, x.format, no.status, no)
}

var unrecorded = refusal{http.StatusServiceUnavailable, "unrecorded", "the audit trail cannot be written, so nothing goes on"}

func (x *exchange) observed(d protocol.Decision, outcome string, status int, u wire.Usage) {
	model := ""
	if x.request != nil {
		model = x.request.Model
	}
	cost := int64(0)
	if u.Given {
		cost, _, _ = x.g.o.Router.Cost(x.choice, u.Input, u.Output) // 0 where nobody knows it
	}
	x.g.observe(Observation{
		ID: x.id, Cost: cost, Format: string(x.format), Model: model, Routed: x.choice.Upstream, Provider: x.choice.Provider, Principal: x.who.Name, Decision: d,
		Outcome: outcome, Status: status, Stream: x.request != nil && x.request.Stream, Input: u.Input, Output: u.Output, Took: x.g.o.Now().Sub(x.at), FirstByte: x.first,
	})
}
