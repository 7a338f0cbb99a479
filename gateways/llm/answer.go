package llm

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/gateways/llm/upstream"
	"github.com/cabincrew/action/gateways/llm/wire"
	"github.com/cabincrew/action/protocol"
)

// answer judges and gives on an answer of the provider.
func (x *exchange) answer(a *upstream.Answer) route.Result {
	defer func() { _ = a.Body.Close() }() // it was read as far as it was wanted
	kind, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";")
	if strings.EqualFold(strings.TrimSpace(kind), "text/event-stream") {
		if !x.request.Stream {
			x.fail(failed{reason: "it answered with a stream that nobody asked for", status: http.StatusBadGateway, failure: route.Failure{Class: route.ClassSent}})
			return route.Result{Outcome: route.Failed}
		}
		return x.stream(a)
	}
	return x.whole(a)
}

// readAll reads a whole answer.
func (x *exchange) readAll(a *upstream.Answer, most int64) ([]byte, error) {
	defer func() { _ = a.Body.Close() }() // it was read
	size, err := strconv.ParseInt(a.Header.Get("Content-Length"), 10, 64)
	if err != nil {
		size = 0
	}
	return x.readBody(a.Body, size, most, x.g.answers)
}

// whole judges an answer that comes in one piece.
func (x *exchange) whole(a *upstream.Answer) route.Result {
	raw, err := x.readAll(a, x.g.o.Answer)
	if err != nil {
		f := failureOf(err)
		if errors.Is(err, errTooLarge) {
			f.reason = "its answer is larger than the limit"
		} else if errors.Is(err, errBusy) {
			f.reason, f.status = "there is no room for its answer", http.StatusServiceUnavailable
		}
		x.fail(f)
		return route.Result{Outcome: outcomeFor(f.failure)}
	}
	x.first = x.g.o.Now().Sub(x.at)
	if x.request.Stream {
		x.fail(failed{reason: "a stream was asked for and it gave none", status: http.StatusBadGateway, failure: route.Failure{Class: route.ClassSent}})
		return route.Result{Outcome: route.Failed}
	}
	got, err := wire.ParseAnswer(x.format, raw)
	if err != nil {
		x.fail(failed{reason: "its answer cannot be read: " + shown(err), status: http.StatusBadGateway, failure: route.Failure{Class: route.ClassSent}})
		return route.Result{Outcome: route.Failed}
	}
	o := outcome{what: outcomeOK, status: a.Status, usage: got.Usage, finish: got.Finish, digest: protocol.Digest(raw)}
	out, v, no := x.judgeAnswer(got)
	o.verdict = v
	if no == nil && v.Decision == protocol.RequireApproval {
		if no = x.hold(v, out, string(gateways.PhaseResponse)); no != nil {
			o.what = outcomeRejected
		}
	} else if no != nil {
		o.what = outcomeDenied
	}
	if no == nil && len(out) > 0 && &out[0] != &raw[0] {
		o.given = protocol.Digest(out)
	}
	if o.what == outcomeDenied && x.saferPlan() {
		o.what, x.again = outcomeRegenerated, true
	}
	if x.recordAnswer(o) != nil {
		no, x.again = &unrecorded, false
	}
	res := route.Result{Outcome: route.Served, Tokens: tokensIn(got.Usage)}
	if x.again {
		return res
	}
	if no != nil {
		writeError(x.w, x.format, no.status, *no)
		return res
	}
	if v.Decision != protocol.RequireApproval {
		x.keep(x.sent, out, got, a.Status)
	}
	x.copyHeader(a.Header)
	h := x.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(out)))
	x.w.WriteHeader(a.Status)
	x.write(out)
	return res
}

// judgeAnswer judges a whole answer; if that changed it, the result is judged again.
func (x *exchange) judgeAnswer(a *wire.Answer) ([]byte, gateways.Verdict, *refusal) {
	no := &refusal{http.StatusForbidden, "answer_denied", "the answer was denied"}
	var before gateways.Verdict
	for again := false; ; again = true {
		v, err := x.g.o.Judge.Judge(x.ctx, x.answerDocument(said{texts: a.Texts, spoken: a.Said, calls: a.Calls, unread: a.Unread}), x.g.o.Now())
		if err != nil {
			return nil, gateways.Verdict{Decision: protocol.Deny, Violations: []string{"the answer could not be judged"}}, no
		}
		if again {
			v.Evaluations, v.Warnings = append(before.Evaluations, v.Evaluations...), append(before.Warnings, v.Warnings...)
			v.Hidden.Join(before.Hidden)
		}
		switch {
		case v.Decision == protocol.Deny:
			no.message += ": " + why(v)
			return nil, v, no
		case len(v.Changes) == 0:
			return a.Raw, v, nil
		case again:
			v.Decision, v.Violations = protocol.Deny, append(v.Violations, "the answer is still to be changed after it was")
			return nil, v, no
		}
		body, err := wire.Rewrite(a.Raw, v.Changes)
		var now *wire.Answer
		if err == nil {
			now, err = wire.ParseAnswer(x.format, body)
		}
		if err != nil {
			v.Decision, v.Violations = protocol.Deny, append(v.Violations, "the answer cannot be changed as it was decided")
			return nil, v, no
		}
		a, before = now, v
	}
}

// copyHeader gives on what the provider's client let through. A field in which a secret may
// stand is left out, whatever becomes of secrets in texts: nobody misses it.
func (x *exchange) copyHeader(from http.Header) {
	to := x.w.Header()
	for name, list := range from {
		switch name {
		case "Content-Length", "Content-Type", "Content-Encoding", "Connection", "Transfer-Encoding":
			continue
		}
		if x.clean(name) && !slices.ContainsFunc(list, func(v string) bool { return !x.clean(v) }) {
			to[name] = list
		}
	}
}

// clean says that no secret stands in a text.
func (x *exchange) clean(text string) bool {
	if x.g.o.Search == nil || len(text) < shortest {
		return true
	}
	search := x.g.o.Search()
	_, found, err := search.Feed(x.ctx, []byte(text))
	if err != nil || len(found) > 0 {
		return false
	}
	found, err = search.End(x.ctx)
	return err == nil && len(found) == 0
}
