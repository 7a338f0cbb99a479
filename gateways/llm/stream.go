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
	queue   queue
	spans   []span // of the event that is read
	tail    []byte // what the client takes for the end
	whole   bool   // all is kept until the end
	ask     bool   // a person is to approve the whole
	unread  []wire.Unread
	bytes   int64
	finish  string
	speaker *lane // whose text came last
	news    bool  // something was said since it was judged
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
		calls: frames.NewCalls(limits.LLMCalls), queue: newQueue(), whole: x.g.o.Whole, verdict: gateways.Verdict{Decision: protocol.Allow},
	}
	if s.whole {
		s.queue.gate = 0
	}
	x.copyHeader(a.Header)
	h := x.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	end := s.run(a.Body)
	defer func() { x.g.streamed.Add(-s.bytes) }()
	res := s.close(end)
	if end == nil {
		drain(a.Body)
	}
	return res
}

// drain reads what follows the end, mostly nothing, so that the connection can be used
// again. A provider that leaves it open is not waited for.
func drain(body io.ReadCloser) {
	late := time.AfterFunc(limits.LLMDrain, func() { _ = body.Close() }) // all of the answer came
	defer late.Stop()
	_, _ = io.CopyN(io.Discard, body, limits.LLMChunk) // whatever it is, nobody gets it
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
		if s.dec.Ended() != frames.Open && len(s.in.Rest()) == 0 {
			// Some providers leave the connection open behind the end.
			return nil
		}
		if end := s.flush(); end != nil {
			return end
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
		return stopped(outcomeFailed, http.StatusBadGateway, "upstream_event", "an event of the provider's answer cannot be read ("+f.Broken+")")
	}
	if len(s.tail) > 0 && f.Terminal == frames.Open {
		if silent(f) {
			return nil // and nobody waits for it
		}
		return stopped(outcomeFailed, http.StatusBadGateway, "upstream_event", goesOn)
	}
	s.spans = s.spans[:0]
	for _, e := range f.Echoes {
		s.spans = append(s.spans, span{from: e.From, to: e.To, empty: e.Empty, odd: e.Odd})
	}
	for i := range f.Pieces {
		if end := s.piece(&f.Pieces[i]); end != nil {
			return end
		}
	}
	if end := s.endLanes(f); end != nil {
		return end
	}
	if f.Finish != "" {
		s.finish = f.Finish
	}
	if end := s.call(f); end != nil {
		return end
	}
	switch f.Terminal {
	case frames.Done:
		if end := s.last(); end != nil {
			return end
		}
	case frames.Failed:
		s.finish = "error"
		if s.whole || s.ask { // nobody has judged the whole, and there is none
			s.queue.drop()
			s.whole, s.ask, s.queue.gate = false, false, -1
		}
	case frames.Open:
		s.queue.add(f.Raw, s.spans)
		s.out = s.queue.release(s.out, s.windows())
		if s.queue.size() > limits.LLMHeld {
			return stopped(outcomeFailed, http.StatusBadGateway, "answer_size", "more of the answer would have to be held than the limit")
		}
		return nil
	}
	// What clients take for the end comes when all of the rest is judged and recorded.
	s.tail = render(s.tail, f.Raw, s.spans)
	return nil
}

const goesOn = "the provider's answer goes on where it had ended"

// silent says that an event has nothing but comments.
func silent(f *frames.Frame) bool {
	return len(f.Parts) == 0 && !slices.ContainsFunc(f.Pieces, func(p frames.Piece) bool { return !p.Raw })
}

func (s *stream) windows() bool { return s.x.g.o.Windows != nil }

// piece judges one text of an event.
func (s *stream) piece(p *frames.Piece) *stop {
	switch p.Lane.Kind {
	case frames.Other:
		return s.other(p)
	case frames.Arguments:
		return nil // they are judged as a part of the call
	case frames.Text, frames.Reasoning, frames.Summary, frames.Refusal:
	}
	if len(p.Text) == 0 && !p.Whole {
		return nil
	}
	s.news = true
	l := s.lane(p.Lane)
	from := len(l.raw)
	switch {
	case p.Whole && (from > 0 || l.ended):
		// A text that was given in parts before.
		if !bytes.Equal(l.raw, p.Text) {
			return stopped(outcomeFailed, http.StatusBadGateway, "upstream_event", "the provider's answer repeats a text in other words")
		}
		s.spans = append(s.spans, span{from: p.From, to: p.To, lane: l, hi: from})
		return nil
	case l.ended:
		return stopped(outcomeFailed, http.StatusBadGateway, "upstream_event", goesOn)
	}
	s.speaks(l)
	l.raw = append(l.raw, p.Text...)
	l.came = len(l.raw)
	s.spans = append(s.spans, span{from: p.From, to: p.To, lane: l, lo: from, hi: l.came})
	if end := s.feed(l, p.Text); end != nil {
		return end
	}
	return s.window(l, false)
}

// speaks lets go the last words of those that spoke before a lane, or before data.
func (s *stream) speaks(l *lane) {
	if l != nil && s.speaker == l {
		return
	}
	s.speaker = l
	for _, o := range s.lanes {
		if o != l && l != nil && o.at.Index == l.at.Index {
			o.let()
		}
	}
	for _, o := range s.others {
		if o != l {
			o.let()
		}
	}
}

// feed looks for secrets in what came of a lane.
func (s *stream) feed(l *lane, text []byte) *stop {
	if l.search == nil {
		return nil
	}
	l.worded(text)
	n, found, err := l.search.Feed(s.x.ctx, text)
	l.decide = int(n)
	return s.foundIn(l, found, err)
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

// foundIn says what becomes of a stream in which secrets were found.
func (s *stream) foundIn(l *lane, found []Found, err error) *stop {
	if err != nil {
		return s.unsearched(err)
	}
	if len(found) == 0 {
		return nil
	}
	s.note(found)
	switch s.x.g.o.Secrets {
	case SecretsWarn:
		return nil
	case SecretsRedact:
		l.add(found)
		return nil
	}
	return stopped(outcomeDenied, http.StatusForbidden, "answer_denied", "the answer was stopped: a secret may stand in it ("+found[0].Rule+")")
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
		if end := s.endLane(s.others[at]); end != nil {
			return end
		}
	}
	return nil
}

// endLane says that a lane's text is whole.
func (s *stream) endLane(l *lane) *stop {
	if l.ended {
		return nil
	}
	if l.at.Kind != frames.Other {
		if end := s.window(l, true); end != nil {
			return end
		}
	}
	l.ended = true
	if l.search == nil {
		return nil
	}
	found, err := l.search.End(s.x.ctx)
	l.search = nil
	return s.foundIn(l, found, err)
}

// other judges what is no text of the model.
func (s *stream) other(p *frames.Piece) *stop {
	if s.x.g.o.Search == nil || len(p.Text) == 0 {
		return nil
	}
	if media(p) {
		return s.media(p)
	}
	if !p.Same {
		if end := s.alone(p); end != nil {
			return end
		}
	}
	if !p.Joined {
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
	if l.ended {
		return stopped(outcomeFailed, http.StatusBadGateway, "upstream_event", goesOn)
	}
	s.speaks(l)
	from := l.came
	l.came += len(p.Text)
	s.spans = append(s.spans, span{from: p.From, to: p.To, lane: l, lo: from, hi: l.came, raw: p.Raw})
	return s.feed(l, p.Text)
}

// media says that a piece is data and no text: an image, a sound, what only the provider
// can read. Whole answers have them as what nobody has read.
func media(p *frames.Piece) bool {
	if p.Key || p.Raw || len(p.Text) < limits.LLMMedia {
		return false
	}
	switch p.Field {
	case "data", "result", "partial_image_b64", "b64_json", "encrypted_content", "signature", "delta":
	default:
		return false
	}
	for _, c := range p.Text {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '+' && c != '/' && c != '=' && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// media tells the judges of data that nobody has read.
func (s *stream) media(p *frames.Piece) *stop {
	s.speaks(nil)
	at := "/answer/" + p.Field
	if slices.ContainsFunc(s.unread, func(u wire.Unread) bool { return u.At == at }) {
		return nil
	}
	s.unread = append(s.unread, wire.Unread{At: at, Kind: "file"})
	return s.judge(s.x.g.o.Said, nil)
}

// alone judges a text by itself.
func (s *stream) alone(p *frames.Piece) *stop {
	if len(p.Text) < shortest {
		return nil
	}
	l := &lane{at: p.Lane, search: s.x.g.o.Search(), came: len(p.Text)}
	if end := s.feed(l, p.Text); end != nil {
		return end
	}
	if end := s.endLane(l); end != nil {
		return end
	}
	if len(l.marks) > 0 {
		if p.Key || p.Raw {
			return stopped(outcomeDenied, http.StatusForbidden, "answer_denied", "the answer was stopped: a secret may stand in it ("+l.marks[0].rule+")")
		}
		s.spans = append(s.spans, span{from: p.From, to: p.To, lane: l, hi: l.came})
	}
	return nil
}

// shortest is the size below which no text is a secret by itself.
const shortest = 4

// call takes what an event says of calls, and judges those that end with it. From the
// first event of a call on nothing is given on before that.
func (s *stream) call(f *frames.Frame) *stop {
	open := s.calls.Open()
	for i := range f.Parts {
		s.news = true
		switch err := s.calls.Add(&f.Parts[i]); {
		case errors.Is(err, frames.ErrCallSize):
			return stopped(outcomeFailed, http.StatusBadGateway, "answer_size", "the calls of tools are larger than the limit")
		case err != nil:
			return stopped(outcomeFailed, http.StatusBadGateway, "upstream_event", "the provider's answer cannot be read: "+err.Error())
		}
	}
	if open == 0 && s.calls.Open() > 0 && s.queue.gate < 0 {
		s.queue.gate = s.queue.count
	}
	if s.calls.Open() > 0 {
		if end := s.endCalls(f); end != nil {
			return end
		}
	}
	if s.calls.Open() == 0 && !s.whole && !s.ask {
		s.queue.gate = -1
	}
	return nil
}

// endCalls judges the calls of tools that end with a frame.
func (s *stream) endCalls(f *frames.Frame) *stop {
	ended := s.calls.Ended(f)
	if len(ended) == 0 {
		return nil
	}
	var texts []gateways.Text
	add := func(tool, raw string, arguments any) {
		at := "/answer/tool_calls/" + strconv.Itoa(len(s.done))
		texts = append(texts, gateways.Text{At: at + "/name", Value: tool, Kind: "tool_arguments"})
		if raw != "" {
			texts = append(texts, gateways.Text{At: at + "/arguments", Value: raw, Kind: "tool_arguments"})
		}
		texts = appendTexts(texts, at+"/arguments", arguments)
		s.done = append(s.done, wire.Call{Name: tool, At: at, Arguments: arguments, Raw: raw})
	}
	for _, c := range ended {
		for _, tool := range c.Tools() {
			for _, v := range c.Values {
				add(tool, string(v), argumentsOf(v))
			}
			switch {
			case len(c.Text) > 0:
				add(tool, string(c.Text), argumentsOf(c.Text))
			case len(c.Values) == 0:
				add(tool, "", nil)
			}
		}
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
	doc := said{calls: s.done, texts: texts, unread: s.unread}
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
		s.hold(v)
	case v.Decision == protocol.Warn:
		s.verdict.Decision = protocol.Warn
	}
	return nil
}

// hold keeps what is not given on yet until a person has approved it.
func (s *stream) hold(v gateways.Verdict) {
	s.ask, s.verdict.Requires = true, append(s.verdict.Requires, v.Requires...)
	if s.queue.gate < 0 {
		s.queue.gate = s.queue.count
	}
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
	s.whole, s.queue.gate = false, -1
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
	s.out = s.queue.release(s.out, s.windows())
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
	if end == nil {
		if s.out = s.queue.release(s.out, s.windows()); !s.queue.empty() { // all of it was decided at the end
			end = stopped(outcomeDenied, http.StatusForbidden, "answer_unjudged", "the answer was stopped: it could not be judged")
		}
	}
	u := s.dec.Usage()
	usage := wire.Usage{Input: u.Input, Output: u.Output, CacheRead: u.CacheRead, CacheWrite: u.CacheWrite, Reasoning: u.Reasoning, Given: u.Given}.Of(s.x.format)
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
		s.out = append(s.out, s.tail...)
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
