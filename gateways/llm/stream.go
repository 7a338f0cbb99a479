package llm

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/llm/frames"
	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/gateways/llm/upstream"
	"github.com/cabincrew/action/gateways/llm/wire"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// stream is an answer on its way.
type stream struct {
	x       *exchange
	rc      *http.ResponseController
	dec     *frames.Decoder
	in      *frames.Reader
	lanes   []*lane
	others  map[frames.Lane]*lane // of the kind Other
	calls   *frames.Calls
	done    []wire.Call
	out     []byte // to be written
	tail    []byte // what the client takes for the end
	kept    []byte // what follows something that is held
	queue   bool   // all is kept until the end
	open    int    // lanes of the kind Other that are not decided
	ask     bool   // a person is to approve the whole
	bytes   int64
	finish  string
	news    bool // something was said since it was judged
	verdict gateways.Verdict
	began   bool
	hash    digester
}

// stop is why a stream ends before its end.
type stop struct {
	what    string // the outcome
	refusal refusal
	reason  string
}

func formatOf(f wire.Format) (frames.Format, bool) {
	switch f {
	case wire.Chat:
		return frames.Chat, true
	case wire.Responses:
		return frames.Responses, true
	case wire.Messages:
		return frames.Messages, true
	case wire.Embeddings, wire.Models, wire.CountTokens, wire.Rerank:
	}
	return 0, false
}

var chunks = sync.Pool{New: func() any { b := make([]byte, limits.LLMChunk); return &b }}

// stream judges and gives on an answer that comes in events.
func (x *exchange) stream(a *upstream.Answer) route.Result {
	format, ok := formatOf(x.format)
	if !ok {
		x.fail(failed{reason: "this format has no streams", status: http.StatusBadGateway, failure: route.Failure{Class: route.ClassSent}})
		return route.Result{Outcome: route.Failed}
	}
	s := &stream{
		x: x, rc: http.NewResponseController(x.w), dec: frames.NewDecoder(format), in: frames.NewReader(0),
		calls: frames.NewCalls(limits.LLMCalls), queue: x.g.o.Whole, verdict: gateways.Verdict{Decision: protocol.Allow},
	}
	copyHeader(x.w.Header(), a.Header)
	h := x.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	end := s.run(a.Body)
	defer func() { x.g.streamed.Add(-s.bytes) }()
	return s.close(end)
}

// run reads the stream to its end; nil is a clean one.
func (s *stream) run(body io.Reader) *stop {
	buf, _ := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	for {
		n, err := body.Read(*buf)
		if n > 0 {
			if s.x.first == 0 {
				s.x.first = s.x.g.o.Now().Sub(s.x.at)
			}
			if s.bytes += int64(n); s.bytes > s.x.g.o.Answer {
				s.bytes -= int64(n)
				return stopped(outcomeFailed, http.StatusBadGateway, "answer_size", "the answer is larger than the limit")
			}
			if s.x.g.streamed.Add(int64(n)) > limits.LLMStreams && s.bytes > 1<<20 {
				return stopped(outcomeFailed, http.StatusServiceUnavailable, "gateway_busy", "streams hold too much")
			}
			s.hash.write((*buf)[:n])
			s.in.Feed((*buf)[:n])
		}
		if err != nil {
			s.in.End()
		}
		if end := s.events(); end != nil {
			return end
		}
		if s.dec.Ended() == frames.Open {
			if end := s.flush(); end != nil {
				return end
			}
		}
		if err != nil {
			return s.over(err)
		}
	}
}

// over says how the provider's bytes ended; nil is a clean end.
func (s *stream) over(err error) *stop {
	whole := s.dec.Ended() != frames.Open
	if errors.Is(err, io.EOF) {
		if !whole || len(s.in.Rest()) > 0 {
			return stopped(outcomeFailed, http.StatusBadGateway, "upstream_cut", "the provider's answer broke off before its end")
		}
		return nil
	}
	f := failureOf(err)
	switch {
	case whole:
		return nil // all of it came
	case s.x.gone():
		return stopped(outcomeGone, http.StatusBadGateway, "cancelled", "the client went away")
	}
	s.x.ended(&f)
	return stopped(outcomeFailed, f.status, "upstream_failed", "the provider's answer broke off ("+f.reason+")")
}

func stopped(what string, status int, code, message string) *stop {
	return &stop{what: what, refusal: refusal{status, code, message}, reason: message}
}

// events takes all events that are whole.
func (s *stream) events() *stop {
	for {
		ev, err := s.in.Next()
		if err != nil {
			return stopped(outcomeFailed, http.StatusBadGateway, "upstream_event", "an event of the provider's answer is larger than the limit")
		}
		if ev == nil {
			return nil
		}
		if end := s.event(s.dec.Decode(ev)); end != nil {
			return end
		}
	}
}

// event judges one event and puts it among what is given on.
func (s *stream) event(f *frames.Frame) *stop {
	if f.Broken != "" {
		return stopped(outcomeFailed, http.StatusBadGateway, "upstream_event", "an event of the provider's answer cannot be read")
	}
	for i := range f.Pieces {
		if end := s.piece(f, i); end != nil {
			return end
		}
	}
	if end := s.endLanes(f); end != nil {
		return end
	}
	if f.Finish != "" {
		s.finish = f.Finish
	}
	if end := s.endCalls(f); end != nil {
		return end
	}
	if f.Terminal == frames.Done {
		if end := s.last(); end != nil {
			return end
		}
	}
	if f.Terminal == frames.Failed {
		s.finish = "error"
	}
	if f.Terminal != frames.Open {
		// What clients take for the end comes when all of the rest is judged and recorded.
		s.tail = f.Append(s.tail)
		return nil
	}
	if len(s.tail) > 0 {
		return stopped(outcomeFailed, http.StatusBadGateway, "upstream_event", "the provider's answer goes on where it had ended")
	}
	s.put(func(dst []byte) []byte { return f.Append(dst) })
	return s.room()
}

// put appends to what is given on, or to what waits behind something that is held.
func (s *stream) put(add func([]byte) []byte) {
	if s.held() {
		s.kept = add(s.kept)
		return
	}
	if len(s.kept) > 0 {
		s.out, s.kept = append(s.out, s.kept...), s.kept[:0]
	}
	s.out = add(s.out)
}

func (s *stream) held() bool { return s.queue || s.ask || s.open > 0 || s.calls.Open() > 0 }

func (s *stream) room() *stop {
	if len(s.kept) > limits.LLMHeld {
		return stopped(outcomeFailed, http.StatusBadGateway, "answer_size", "more of the answer would have to be held than the limit")
	}
	return nil
}

// piece judges one text of an event.
func (s *stream) piece(f *frames.Frame, i int) *stop {
	p := &f.Pieces[i]
	switch p.Lane.Kind {
	case frames.Other:
		return s.other(p)
	case frames.Arguments:
		s.news = true
		if err := s.calls.Add(p); err != nil {
			return stopped(outcomeFailed, http.StatusBadGateway, "answer_size", "the arguments of a tool call are larger than the limit")
		}
		return nil
	case frames.Text, frames.Reasoning, frames.Summary, frames.Refusal:
	}
	s.news = true
	l := s.lane(p.Lane)
	if p.Whole && len(l.raw) > 0 {
		return s.again(f, i, l)
	}
	if l.ended {
		return stopped(outcomeFailed, http.StatusBadGateway, "upstream_event", "the provider's answer goes on where it had ended")
	}
	before := l.given
	l.raw = append(l.raw, p.Text...)
	to := len(l.raw)
	if l.search != nil {
		n, found, err := l.search.Feed(s.x.ctx, p.Text)
		if end := s.foundIn(l, found, err); end != nil {
			return end
		}
		to = min(to, int(n))
	}
	ends := p.Whole || f.Ends(p.Lane)
	if end := s.window(l, ends); end != nil {
		return end
	}
	if ends {
		var err error
		if to, err = s.finishLane(l); err != nil {
			return s.unsearched(err)
		}
		if end := s.denied(l); end != nil {
			return end
		}
	}
	if s.x.g.o.Windows != nil {
		to = min(to, l.seen)
	}
	begin := len(l.raw) - len(p.Text)
	out := l.release(to)
	if before == begin && l.given == len(l.raw) && !l.other {
		return nil // as it came
	}
	f.Replace(i, out)
	return nil
}

// again takes a text that was given in parts before: it must be the same, and what was
// taken out of the parts is taken out of it.
func (s *stream) again(f *frames.Frame, i int, l *lane) *stop {
	if !bytes.Equal(l.raw, f.Pieces[i].Text) {
		return stopped(outcomeFailed, http.StatusBadGateway, "upstream_event", "the provider's answer repeats a text in other words")
	}
	if !l.ended {
		if end := s.endLane(l); end != nil {
			return end
		}
	}
	if l.other {
		f.Replace(i, l.said)
	}
	return nil
}

func (s *stream) lane(at frames.Lane) *lane {
	for _, l := range s.lanes {
		if l.at == at {
			return l
		}
	}
	l := &lane{at: at}
	if s.x.g.o.Search != nil {
		l.search = s.x.g.o.Search()
	}
	s.lanes = append(s.lanes, l)
	return l
}

// finishLane says that a lane's text is whole.
func (s *stream) finishLane(l *lane) (int, error) {
	l.ended = true
	if l.search == nil {
		return len(l.raw), nil
	}
	found, err := l.search.End(s.x.ctx)
	l.search = nil
	if s.x.g.o.Secrets != SecretsWarn {
		l.found = append(l.found, found...)
	}
	s.note(found)
	return len(l.raw), err
}

// foundIn says what becomes of a stream in which secrets were found.
func (s *stream) foundIn(l *lane, found []Found, err error) *stop {
	if err != nil {
		return s.unsearched(err)
	}
	s.note(found)
	if s.x.g.o.Secrets != SecretsWarn {
		l.found = append(l.found, found...)
	}
	return s.denied(l)
}

func (s *stream) denied(l *lane) *stop {
	if len(l.found) == 0 || s.x.g.o.Secrets == SecretsRedact {
		slices.SortFunc(l.found, func(a, b Found) int { return int(a.From - b.From) })
		return nil
	}
	return stopped(outcomeDenied, http.StatusForbidden, "answer_denied", "the answer was stopped: a secret may stand in it ("+l.found[0].Rule+")")
}

func (s *stream) unsearched(err error) *stop {
	if s.x.gone() {
		return stopped(outcomeGone, http.StatusBadGateway, "cancelled", "the client went away")
	}
	s.x.g.o.Log.Warn("an answer could not be searched for secrets", "request", s.x.id, "error", err.Error())
	return stopped(outcomeDenied, http.StatusForbidden, "answer_unjudged", "the answer was stopped: it could not be searched for secrets")
}

// note puts what was found on the record.
func (s *stream) note(found []Found) {
	for _, f := range found {
		if len(s.verdict.Evaluations) >= limits.SecretFindings {
			return
		}
		d := protocol.Deny
		if s.x.g.o.Secrets != SecretsDeny {
			d = protocol.Warn
		}
		why := "a secret may stand in the answer (" + f.Rule + ", fingerprint " + f.Fingerprint + ")"
		s.verdict.Evaluations = append(s.verdict.Evaluations, protocol.PolicyEvaluation{
			Source: protocol.SourceCustom, PolicyID: "secrets/" + f.Rule, Decision: d, Severity: d.Severity(), Reason: why,
			Evidence: map[string]any{"rule": f.Rule, "fingerprint": f.Fingerprint}, EvaluatedAt: stamp(s.x.g.o.Now()),
		})
		if d == protocol.Warn {
			s.verdict.Warnings = append(s.verdict.Warnings, why)
		}
		s.verdict.Decision = protocol.Warn
	}
}

// endLanes ends the lanes that have nothing after a frame.
func (s *stream) endLanes(f *frames.Frame) *stop {
	for _, l := range s.lanes {
		if !l.ended && (f.Terminal != frames.Open || f.Ends(l.at)) {
			if end := s.endLane(l); end != nil {
				return end
			}
		}
	}
	if f.Terminal == frames.Open {
		return nil
	}
	for _, at := range slices.SortedFunc(maps.Keys(s.others), func(a, b frames.Lane) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Index, b.Index), cmp.Compare(a.Part, b.Part))
	}) {
		if end := s.endOther(s.others[at]); end != nil {
			return end
		}
	}
	return nil
}

// endLane gives on what is held of a lane, in an event of its own.
func (s *stream) endLane(l *lane) *stop {
	if end := s.window(l, true); end != nil {
		return end
	}
	to, err := s.finishLane(l)
	if err != nil {
		return s.unsearched(err)
	}
	if end := s.denied(l); end != nil {
		return end
	}
	rest := l.release(to)
	if len(rest) == 0 {
		return nil
	}
	ok := true
	s.put(func(dst []byte) []byte {
		dst, ok = s.dec.Emit(dst, l.at, rest)
		return dst
	})
	if !ok {
		return stopped(outcomeFailed, http.StatusBadGateway, "upstream_event", "what was held of the answer cannot be given on")
	}
	return nil
}

// other judges what is no text of the model. Nothing of it can be given on later, so
// while it may be part of a secret all that follows waits.
func (s *stream) other(p *frames.Piece) *stop {
	if s.x.g.o.Search == nil || len(p.Text) == 0 {
		return nil
	}
	if !p.Same {
		if end := s.alone(p.Text); end != nil {
			return end
		}
	}
	if !joined(p) {
		return nil
	}
	l := s.others[p.Lane]
	if l == nil {
		if s.others == nil {
			s.others = map[frames.Lane]*lane{}
		}
		if len(s.others) >= limits.LLMLanes {
			return stopped(outcomeFailed, http.StatusBadGateway, "upstream_event", "the provider's answer has too many places with text")
		}
		l = &lane{at: p.Lane, search: s.x.g.o.Search()}
		s.others[p.Lane] = l
	}
	held := l.held()
	l.given += len(p.Text)
	n, found, err := l.search.Feed(s.x.ctx, p.Text)
	if err != nil {
		return s.unsearched(err)
	}
	l.skip = int(n)
	s.open += count(l.held()) - count(held)
	return s.inOther(found)
}

// alone judges a text by itself.
func (s *stream) alone(text []byte) *stop {
	if len(text) < shortest {
		return nil
	}
	search := s.x.g.o.Search()
	_, found, err := search.Feed(s.x.ctx, text)
	if err == nil {
		var more []Found
		more, err = search.End(s.x.ctx)
		found = append(found, more...)
	}
	if err != nil {
		return s.unsearched(err)
	}
	return s.inOther(found)
}

// shortest is the size below which no text is a secret by itself.
const shortest = 4

// joined says of a piece whether clients put it together with those that came before. Ids
// and words of the format have a value of their own in each event; the tokens of a text
// go where the text does.
func joined(p *frames.Piece) bool {
	if p.Key || p.Raw {
		return false
	}
	switch p.Field {
	case "id", "object", "model", "role", "type", "finish_reason", "system_fingerprint", "service_tier", "obfuscation", "item_id", "call_id",
		"request_id", "previous_response_id", "status", "event", "stop_reason", "token", "severity", "effort", "format", "truncation", "phase", "inference_geo":
		return false
	}
	return true
}

// held says that what came of an Other is not decided yet.
func (l *lane) held() bool { return !l.ended && l.skip < l.given }

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s *stream) inOther(found []Found) *stop {
	if len(found) == 0 {
		return nil
	}
	s.note(found)
	if s.x.g.o.Secrets == SecretsWarn {
		return nil
	}
	return stopped(outcomeDenied, http.StatusForbidden, "answer_denied", "the answer was stopped: a secret may stand in it ("+found[0].Rule+")")
}

func (s *stream) endOther(l *lane) *stop {
	if l.ended {
		return nil
	}
	held := l.held()
	l.ended = true
	found, err := l.search.End(s.x.ctx)
	if err != nil {
		return s.unsearched(err)
	}
	s.open -= count(held)
	return s.inOther(found)
}

// endCalls judges the calls of tools that end with a frame.
func (s *stream) endCalls(f *frames.Frame) *stop {
	if s.calls.Open() == 0 {
		return nil
	}
	ended := s.calls.Ended(f)
	if len(ended) == 0 {
		return nil
	}
	var texts []gateways.Text
	for _, c := range ended {
		at := "/answer/tool_calls/" + strconv.Itoa(len(s.done))
		call := wire.Call{Name: c.Tool, At: at, Raw: string(c.Text)}
		call.Arguments = argumentsOf(c.Text)
		texts = append(texts, gateways.Text{At: at + "/arguments", Value: call.Raw, Kind: "tool_arguments"})
		texts = appendTexts(texts, at+"/arguments", call.Arguments)
		s.done = append(s.done, call)
	}
	// The secrets in arguments are looked for with their names, in the whole of them.
	return s.judge(s.x.g.o.Judge, texts)
}

// argumentsOf reads the arguments of a call; what is no JSON is a text.
func argumentsOf(raw []byte) any {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil || d.More() {
		return string(raw)
	}
	return v
}

// appendTexts adds all texts within a value, with the names of members.
func appendTexts(list []gateways.Text, at string, v any) []gateways.Text {
	switch v := v.(type) {
	case string:
		list = append(list, gateways.Text{At: at, Value: v, Kind: "tool_arguments"})
	case []any:
		for i, e := range v {
			list = appendTexts(list, at+"/"+strconv.Itoa(i), e)
		}
	case map[string]any:
		for _, k := range sortedKeys(v) {
			list = append(list, gateways.Text{At: at + "/" + pointer(k), Value: k, Kind: "tool_arguments"})
			list = appendTexts(list, at+"/"+pointer(k), v[k])
		}
	}
	return list
}

// judge asks the judges about the answer as far as it came.
func (s *stream) judge(j gateways.Judge, texts []gateways.Text) *stop {
	s.news = false
	doc := said{calls: s.done, texts: texts}
	for _, l := range s.lanes {
		if t := l.spoken(); len(t) > 0 {
			doc.spoken = append(doc.spoken, string(t))
			if texts == nil {
				doc.texts = append(doc.texts, gateways.Text{At: "/answer/texts/" + strconv.Itoa(len(doc.spoken)-1), Value: doc.spoken[len(doc.spoken)-1], Kind: gateways.KindText})
			}
		}
	}
	v, err := j.Judge(s.x.ctx, s.x.answerDocument(doc), s.x.g.o.Now())
	if err != nil {
		if s.x.gone() {
			return stopped(outcomeGone, http.StatusBadGateway, "cancelled", "the client went away")
		}
		return stopped(outcomeDenied, http.StatusForbidden, "answer_unjudged", "the answer was stopped: it could not be judged")
	}
	s.verdict.Evaluations = append(s.verdict.Evaluations, v.Evaluations...)
	s.verdict.Warnings = append(s.verdict.Warnings, v.Warnings...)
	s.verdict.Hidden.Join(v.Hidden)
	switch {
	case v.Decision == protocol.Deny, len(v.Changes) > 0: // what streams cannot be changed by a pointer
		s.verdict.Violations = append(s.verdict.Violations, v.Violations...)
		return stopped(outcomeDenied, http.StatusForbidden, "answer_denied", "the answer was stopped: "+reasonOf(v))
	case v.Decision == protocol.RequireApproval:
		s.ask, s.verdict.Requires = true, append(s.verdict.Requires, v.Requires...)
	case v.Decision == protocol.Warn:
		s.verdict.Decision = protocol.Warn
	}
	return nil
}

func reasonOf(v gateways.Verdict) string {
	if w := why(v); w != "" {
		return w
	}
	return "it would have to be changed"
}

// last judges the whole answer before its end is given on.
func (s *stream) last() *stop {
	if s.news {
		if end := s.judge(s.x.g.o.Said, nil); end != nil {
			return end
		}
	}
	if s.ask {
		if end := s.approve(); end != nil {
			return end
		}
		s.ask = false
	}
	s.queue = false
	return nil
}

// approve holds the rest of the answer until a person has approved it. The client hears
// from time to time that somebody waits.
func (s *stream) approve() *stop {
	payload, err := json.Marshal(map[string]any{"texts": s.texts(), "tool_calls": s.done})
	if err != nil {
		return stopped(outcomeDenied, http.StatusForbidden, "answer_unjudged", "the answer cannot be held")
	}
	if end := s.flush(); end != nil {
		return end
	}
	ended := make(chan *refusal, 1)
	ctx, cancel := context.WithCancel(s.x.held())
	defer cancel()
	go func() { ended <- s.x.holdIn(ctx, s.verdict, payload, string(gateways.PhaseResponse)) }()
	tick := time.NewTicker(limits.LLMWord)
	defer tick.Stop()
	for {
		select {
		case no := <-ended:
			if no != nil {
				return &stop{outcomeRejected, *no, no.message}
			}
			return nil
		case <-tick.C:
			s.begin()
			if s.write([]byte(": waiting for a person to approve\n\n")) != nil {
				cancel()
				<-ended
				return stopped(outcomeGone, http.StatusBadGateway, "cancelled", "the client went away")
			}
		}
	}
}

func (s *stream) texts() []string {
	var out []string
	for _, l := range s.lanes {
		out = append(out, string(l.raw))
	}
	return out
}

func (s *stream) begin() {
	if !s.began {
		s.began, s.x.began = true, true
		s.x.w.WriteHeader(http.StatusOK)
	}
}

func (s *stream) write(b []byte) error {
	// A client that does not read must not keep the call for ever. Where deadlines are
	// not to be had the call's own time bounds it.
	_ = s.rc.SetWriteDeadline(time.Now().Add(limits.LLMWrite)) //nolint:forbidigo // the connection's clock
	if _, err := s.x.w.Write(b); err != nil {
		return err
	}
	return s.rc.Flush()
}

// flush gives on what may be.
func (s *stream) flush() *stop {
	if !s.held() && len(s.kept) > 0 {
		s.out, s.kept = append(s.out, s.kept...), s.kept[:0]
	}
	if len(s.out) == 0 {
		return nil
	}
	s.begin()
	err := s.write(s.out)
	if s.out = s.out[:0]; cap(s.out) > limits.LLMChunk {
		s.out = nil
	}
	if err != nil {
		return stopped(outcomeGone, http.StatusBadGateway, "cancelled", "the client went away")
	}
	return nil
}

// close records how the stream ended, and ends it for the client: what the client takes
// for the end comes after the record.
func (s *stream) close(end *stop) route.Result {
	u := s.dec.Usage()
	usage := wire.Usage{Input: u.Input, Output: u.Output, CacheRead: u.CacheRead, CacheWrite: u.CacheWrite, Reasoning: u.Reasoning, Given: u.Given}
	o := outcome{what: outcomeOK, status: http.StatusOK, verdict: s.verdict, usage: usage, finish: s.finish, digest: s.hash.sum()}
	res := route.Result{Outcome: route.Served, Tokens: tokensIn(usage)}
	if end != nil {
		o.what, o.reason, o.status = end.what, end.reason, end.refusal.status
		switch end.what {
		case outcomeDenied, outcomeRejected:
			o.verdict.Decision = protocol.Deny
			o.verdict.Violations = append(o.verdict.Violations, end.reason)
		case outcomeGone:
			res.Outcome = route.Unknown
		default:
			res.Outcome = route.Failed
		}
	} else if s.dec.Ended() == frames.Failed {
		o.what, o.reason = outcomeFailed, "the provider ended its answer with an error"
	}
	if end != nil && end.what == outcomeDenied && !s.began && s.x.saferPlan() {
		o.what = outcomeRegenerated
		s.x.again = true
	}
	if err := s.x.recordAnswer(o); err != nil {
		s.x.again = false
		end = &stop{outcomeUnrecorded, unrecorded, unrecorded.message}
	}
	switch {
	case s.x.again:
	case end == nil:
		s.queue, s.ask = false, false
		if !s.held() {
			s.out = append(append(s.out, s.kept...), s.tail...)
			s.kept = s.kept[:0]
		}
		_ = s.flush() // the client may be gone
	case end.what == outcomeGone:
	case !s.began && len(s.out) == 0:
		h := s.x.w.Header()
		h.Del("Cache-Control")
		writeError(s.x.w, s.x.format, end.refusal.status, end.refusal)
	default:
		s.begin()
		s.out = s.dec.AppendFailure(s.out, frames.Failure{Type: kindOf(end.refusal.status), Code: end.refusal.code, Message: "cabincrew: " + end.refusal.message})
		_ = s.write(s.out) // the client may be gone
	}
	return res
}
