package llm

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/gateways/llm/upstream"
	"github.com/cabincrew/action/gateways/llm/wire"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// headerRoute names the provider, the model or both that the client wants, where the
// strategy is header.
const headerRoute = "X-Cabincrew-Route"

// route finds the ways of the call and sets aside what it may use.
func (x *exchange) route() *refusal {
	if x.format == wire.Models {
		return x.routeModels()
	}
	q := x.request
	call := route.Call{
		Digest: protocol.Digest(q.Raw), Formats: []string{string(x.format)}, Model: q.Model, Tokens: tokensOf(len(q.Raw)), Output: q.MaxTokens,
		Flagged: len(x.verdict.Warnings) > 0, Scope: x.who.Scope,
	}
	if h := x.r.Header.Get(headerRoute); h != "" {
		call.Header = x.g.o.Router.Target(h)
	}
	var err error
	if x.plan, err = x.g.o.Router.Plan(call); err != nil {
		return &refusal{statusOf(err, http.StatusServiceUnavailable), codeOf(err, "no_route"), shown(err)}
	}
	x.choice = x.plan.Choices[0]
	return x.reserve()
}

// tokensIn gives the tokens of a call. What a provider claims beyond all measure is that
// much, and no less.
func tokensIn(u wire.Usage) int64 {
	return min(max(u.Input, 0), limits.LLMRouteTokens) + min(max(u.Output, 0), limits.LLMRouteTokens)
}

// tokensOf estimates the tokens of a body: nobody knows them before the provider counts.
func tokensOf(bytes int) int64 { return int64(bytes)/4 + 1 }

// routeModels sends what is about no model to the first provider that knows it.
func (x *exchange) routeModels() *refusal {
	if len(x.g.o.Order) == 0 {
		return &refusal{http.StatusNotFound, "no_route", "no provider lists models"}
	}
	i := 0
	if may := x.who.Scope.Providers; len(may) > 0 {
		if i = slices.IndexFunc(x.g.o.Order, func(name string) bool { return slices.Contains(may, name) }); i < 0 {
			return &refusal{http.StatusNotFound, "no_route", "no provider that this key may use lists models"}
		}
	}
	x.choice = route.Choice{Provider: x.g.o.Order[i], Format: string(x.format), Reason: "the first provider"}
	x.plan.Choices = []route.Choice{x.choice}
	return nil
}

func codeOf(err error, otherwise string) string {
	var e *protocol.Error
	if errors.As(err, &e) && e.Code != "" {
		return e.Code
	}
	return otherwise
}

// statusOf gives the HTTP status of a refusal to route.
func statusOf(err error, otherwise int) int {
	switch code := codeOf(err, ""); {
	case code == "llm_route_denied":
		return http.StatusNotFound
	case code == "llm_route_unfit", code == "llm_route_call":
		return http.StatusBadRequest
	case strings.HasPrefix(code, "llm_budget"):
		return http.StatusTooManyRequests
	}
	return otherwise
}

// reserve sets aside what the call may use in every budget.
func (x *exchange) reserve() *refusal {
	meters := x.g.o.Meters
	if x.who.Budget != nil {
		meters = append(slices.Clip(meters), x.who.Budget)
	}
	if len(meters) == 0 {
		return nil
	}
	var held []*route.Reservation
	for _, m := range meters {
		got, err := m.Reserve(route.Payer{Key: x.who.Key, Workflow: x.who.Workflow, Model: x.choice.Model}, route.Use{Tokens: x.choice.Tokens, Money: x.choice.Cost})
		if err != nil {
			for _, h := range held {
				h.Cancel()
			}
			return &refusal{http.StatusTooManyRequests, codeOf(err, "budget"), shown(err)}
		}
		held = append(held, got)
	}
	x.settle = func(u wire.Usage, whole bool) {
		x.settle = nil
		cost, _, err := x.g.o.Router.Cost(x.choice, u.Input, u.Output)
		for _, h := range held {
			switch {
			case x.digest == "": // never sent
				h.Cancel()
			case !u.Given || err != nil || !whole:
				h.Keep()
			default:
				if err := h.Settle(route.Use{Tokens: tokensIn(u), Money: cost}); err != nil {
					x.g.o.Log.Warn("the provider's usage cannot be true", "provider", x.choice.Provider, "error", err.Error())
				}
			}
		}
	}
	return nil
}

// send records the intent and tries the ways of the plan.
func (x *exchange) send() {
	defer func() {
		if x.settle != nil {
			x.settle(wire.Usage{}, false)
		}
	}()
	body, err := x.bodyFor(x.choice)
	if err != nil {
		x.refused(refusal{http.StatusBadRequest, codeOf(err, "llm_request"), shown(err)})
		return
	}
	x.digest = protocol.Digest(body)
	if err := x.recordRequest(); err != nil {
		x.digest = ""
		writeError(x.w, x.format, unrecorded.status, unrecorded)
		return
	}
	x.request.Texts, x.came = nil, nil // they were judged and digested; a stream may last long
	if x.fromCache(body) {
		return
	}
	ctx, cancel := context.WithTimeout(x.ctx, x.g.o.Total)
	defer cancel()
	x.outer, x.ctx = x.ctx, ctx
	x.attempts(body)
}

// bodyFor gives the body for a way: with the provider's name of the model.
func (x *exchange) bodyFor(c route.Choice) ([]byte, error) {
	if x.format == wire.Models || c.Upstream == x.request.Model || c.Upstream == "" {
		return x.request.Raw, nil
	}
	return wire.WithModel(x.request.Raw, x.format, c.Upstream)
}

// attempts tries until an answer came or nothing may be tried any more.
func (x *exchange) attempts(body []byte) {
	n, i := 1, 0
	for {
		x.sent = body
		status, done := x.attempt(body)
		if x.again {
			if body = x.anew(); body == nil {
				return
			}
			n, i = n+1, 0
			continue
		}
		if done {
			return
		}
		x.tries = append(x.tries, x.choice.Provider+": "+status.reason)
		step, err := x.g.o.Retry.Next(route.Attempt{N: n, Elapsed: x.g.o.Now().Sub(x.at), Seen: x.began, Idempotent: x.g.o.Idempotent, Failure: status.failure})
		next := i + 1
		switch {
		case err == nil && step.Fallback && next < len(x.plan.Choices):
			i = next
		case err == nil && step.Retry:
			if !wait(x.ctx, step.Wait) {
				x.fail(status)
				return
			}
			if err := x.recordRequest(); err != nil { // each attempt stands in the record before it goes
				writeError(x.w, x.format, unrecorded.status, unrecorded)
				return
			}
		default:
			x.fail(status)
			return
		}
		n++
		if c := x.plan.Choices[i]; c != x.choice {
			x.choice = c
			if body, err = x.bodyFor(c); err != nil {
				x.fail(status)
				return
			}
			x.digest = protocol.Digest(body)
			if err := x.recordRequest(); err != nil { // where it goes now stands in the record before it goes
				writeError(x.w, x.format, unrecorded.status, unrecorded)
				return
			}
		}
	}
}

// anew gets ready to ask the safer model; nil: the client was told that it cannot be.
func (x *exchange) anew() []byte {
	x.again = false
	no := x.reserve()
	var body []byte
	if no == nil {
		var err error
		if body, err = x.bodyFor(x.choice); err != nil {
			no = &refusal{http.StatusBadGateway, codeOf(err, "llm_request"), shown(err)}
		}
	}
	if no != nil {
		x.refused(*no)
		return nil
	}
	x.digest = protocol.Digest(body)
	if err := x.recordRequest(); err != nil {
		writeError(x.w, x.format, unrecorded.status, unrecorded)
		return nil
	}
	return body
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// failed is an attempt that gave no answer.
type failed struct {
	reason  string
	failure route.Failure
	status  int
	body    []byte // the provider's own words, where there are some that fit
	header  http.Header
}

// attempt makes one attempt. done says that the client has its answer, whatever it is.
func (x *exchange) attempt(body []byte) (failed, bool) {
	ticket := ticketOf(nil)
	if x.format != wire.Models {
		t, err := x.g.o.Router.Begin(x.choice)
		if err != nil {
			return failed{reason: shown(err), failure: route.Failure{Class: route.ClassConnect}, status: http.StatusServiceUnavailable}, false
		}
		ticket = t
	}
	answer, err := x.g.o.Providers[x.choice.Provider].Do(x.ctx, upstream.Call{
		Endpoint: string(x.format), Tenant: x.who.Name + " " + x.who.Key, Model: x.choice.Upstream, Method: x.r.Method, Path: x.r.URL.Path, Body: body, Stream: x.request.Stream, Header: x.r.Header, Query: x.r.URL.Query(),
	})
	if err != nil {
		f := failureOf(err)
		ticket.Done(route.Result{Outcome: outcomeFor(f.failure)})
		return f, false
	}
	if answer.Status >= http.StatusBadRequest {
		f := x.statusFailure(answer)
		res := route.Result{Outcome: route.Served, RetryAfter: f.failure.RetryAfter}
		switch {
		case answer.Status == http.StatusTooManyRequests:
			res.Outcome = route.Busy
		case answer.Status >= http.StatusInternalServerError:
			res.Outcome = route.Failed
		}
		ticket.Done(res)
		return f, false
	}
	ticket.Alive()
	res := x.answer(answer)
	ticket.Done(res)
	return failed{}, true
}

// ticketer is what a call tells of its provider's health.
type ticketer interface {
	Alive()
	Done(route.Result)
}

type noTicket struct{}

func (noTicket) Alive()            {}
func (noTicket) Done(route.Result) {}

func ticketOf(t *route.Ticket) ticketer {
	if t == nil {
		return noTicket{}
	}
	return t
}

// failureOf says what an error of the provider's client means for trying again.
func failureOf(err error) failed {
	f := failed{reason: "failed", failure: route.Failure{Class: route.ClassSent}, status: http.StatusBadGateway}
	var u *upstream.Failure
	if errors.As(err, &u) {
		f.reason = string(u.Reason)
		switch {
		case u.Reason == upstream.Cancelled:
			f.failure.Class = route.ClassCancelled
		case !u.Sent:
			f.failure.Class = route.ClassConnect
		}
		if u.Reason == upstream.FirstByte || u.Reason == upstream.Idle || u.Reason == upstream.Total {
			f.status = http.StatusGatewayTimeout
		}
	}
	return f
}

func outcomeFor(f route.Failure) route.Outcome {
	if f.Class == route.ClassCancelled {
		return route.Unknown
	}
	return route.Failed
}

// statusFailure reads the provider's refusal.
func (x *exchange) statusFailure(a *upstream.Answer) failed {
	f := failed{reason: "status " + strconv.Itoa(a.Status), status: a.Status, header: a.Header, failure: route.Failure{
		Class: route.ClassStatus, Status: a.Status, RetryAfter: route.RetryAfter(a.Header.Get("Retry-After"), x.g.o.Now()),
	}}
	body, err := x.readAll(a, x.g.o.Answer)
	if err == nil {
		f.body = body
	}
	return f
}

// gone says that the client went away. What ends a call otherwise, the client is told of.
func (x *exchange) gone() bool { return x.r.Context().Err() != nil }

// ended says why this side ended a call.
func (x *exchange) ended(f *failed) {
	switch {
	case f.failure.Class != route.ClassCancelled:
	case x.g.over.Err() != nil:
		f.reason, f.status = "the gateway stops", http.StatusServiceUnavailable
	default:
		f.reason, f.status = "it took longer than a call may", http.StatusGatewayTimeout
	}
}

// fail tells the client that there is no answer. The provider's own words are judged as
// all that comes from it is.
func (x *exchange) fail(f failed) {
	if x.gone() {
		_ = x.recordAnswer(outcome{what: outcomeGone, reason: f.reason}) // nobody waits for it
		return
	}
	x.ended(&f)
	no := refusal{f.status, "upstream_failed", "the provider " + x.choice.Provider + " gave no answer (" + f.reason + ")"}
	o := outcome{what: outcomeFailed, reason: f.reason, status: f.status}
	if f.failure.Class == route.ClassStatus {
		o.what = outcomeStatus
		no.code = "upstream_status"
		x.failStatus(f, o, no)
		return
	}
	if x.recordAnswer(o) != nil {
		no = unrecorded
	}
	writeError(x.w, x.format, no.status, no)
}

// failStatus gives on a provider's refusal if nothing speaks against it.
func (x *exchange) failStatus(f failed, o outcome, no refusal) {
	var out []byte
	if a, err := wire.ParseAnswer(x.format, f.body); err == nil {
		v, err := x.g.o.Judge.Judge(x.ctx, x.answerDocument(said{texts: a.Texts}), x.g.o.Now())
		o.verdict = v
		if err == nil && (v.Decision == protocol.Allow || v.Decision == protocol.Warn) && len(v.Changes) == 0 {
			out, o.digest = f.body, protocol.Digest(f.body)
		}
	}
	if x.recordAnswer(o) != nil {
		writeError(x.w, x.format, unrecorded.status, unrecorded)
		return
	}
	if out == nil {
		writeError(x.w, x.format, no.status, no)
		return
	}
	x.copyHeader(f.header)
	x.w.Header().Set("Content-Type", "application/json")
	x.w.WriteHeader(f.status)
	x.write(out)
}
