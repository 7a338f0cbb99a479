package mcp

import (
	"context"
	"slices"
	"strings"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/internal/harmless"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// toolset is what a person said of a set of items of a list: it holds for the session.
type toolset struct {
	question string // that was answered
	answer   gateways.Answered
}

// question is one that people are being asked.
type question struct {
	done   chan struct{} // closed when answered
	answer gateways.Answered
	err    error
}

// settleSet looks what a person said of the items that need one: what was rejected is cut
// out, what was approved goes on.
func (s *session) settleSet(l *listing) {
	if len(l.ask) == 0 {
		return
	}
	names := make([]string, 0, len(l.ask))
	for _, e := range l.ask {
		names = append(names, e.name+"\x00"+e.pin)
	}
	slices.Sort(names)
	l.set = protocol.Digest([]byte(l.kind + "\x00" + strings.Join(names, "\x00")))
	s.mu.Lock()
	set, answered := s.sets[l.set]
	s.mu.Unlock()
	switch {
	case !answered:
	case set.answer.Approved:
		for _, e := range l.ask {
			e.approved = true
		}
		l.ask = nil
	default:
		l.withoutAsked()
	}
}

// withoutAsked cuts out what nobody approved.
func (l *listing) withoutAsked() {
	for _, e := range l.ask {
		e.hidden = true
	}
	l.cut = append(l.cut, l.ask...)
	l.ask = nil
}

// questionOf names what a person is asked about a list: its very bytes, which may need
// an approval for more than the items of its set, whose they are, and who is to answer.
// The id of the request says nothing of it.
func (s *session) questionOf(m *matter, r ruling) string {
	parts := []string{m.list.set, m.e.method, string(m.from), string(m.phase), protocol.Digest(r.message.Result)}
	for _, need := range s.requires(r) {
		parts = append(parts, need.Role)
	}
	return protocol.Digest([]byte(strings.Join(parts, "\x00")))
}

// askOnce asks people about a list, or waits for the answer to the same question of
// another listing of this session.
func (s *session) askOnce(ctx context.Context, set, key string, ask func() (gateways.Answered, error)) (gateways.Answered, error) {
	for {
		q, mine, known := s.askedBefore(set, key)
		if known != nil {
			return *known, nil
		}
		if mine {
			q.answer, q.err = ask()
			s.settleQuestion(set, key, q)
			return q.answer, q.err
		}
		select {
		case <-q.done:
		case <-ctx.Done():
			return gateways.Answered{}, ctx.Err()
		}
		if q.err == nil {
			return q.answer, nil
		}
		if ctx.Err() != nil {
			return gateways.Answered{}, ctx.Err()
		}
	}
}

// askedBefore gives the question if it is being asked, and begins it if it is not; known
// is the answer where there is one.
func (s *session) askedBefore(set, key string) (q *question, mine bool, known *gateways.Answered) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, ok := s.sets[set]; ok && was.question == key {
		return nil, false, &was.answer
	}
	if other := s.asking[key]; other != nil {
		return other, false, nil
	}
	if _, ok := s.sets[set]; !ok && len(s.sets)+len(s.asking) >= limits.MCPGuardSets {
		return nil, false, &gateways.Answered{Reason: "the server changes its tools too often"}
	}
	if s.asking == nil {
		s.asking = map[string]*question{}
	}
	q = &question{done: make(chan struct{})}
	s.asking[key] = q
	return q, true, nil
}

// settleQuestion ends the asking. What was said of the items holds for the session; where
// two lists with the same items had different answers, no. Where nobody answered, the
// next one may ask again.
func (s *session) settleQuestion(set, key string, q *question) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(q.done)
	delete(s.asking, key)
	was, ok := s.sets[set]
	if q.err != nil || s.over.Err() != nil || ok && !was.answer.Approved {
		return
	}
	if s.sets == nil {
		s.sets = map[string]toolset{}
	}
	s.sets[set] = toolset{key, q.answer}
}

// difference gives the texts that a person reads to approve the items. It is longer than
// what is shown of it, so that no secret is cut before it is taken out.
func (l *listing) difference() string {
	var b strings.Builder
	for _, e := range l.ask {
		b.WriteString(e.kind + " " + harmless.OneLine(e.name) + " (" + e.known() + ", " + e.pin + ")\n")
		for _, why := range e.Suspicions {
			b.WriteString("  suspicious: " + harmless.OneLine(why) + "\n")
		}
		b.WriteString(e.Diff)
		if b.Len() > 2*limits.MCPGuardDiff {
			return b.String()[:2*limits.MCPGuardDiff]
		}
	}
	return b.String()
}

// withoutUnapproved gives a list without the items that nobody approved, judged anew.
func (s *session) withoutUnapproved(ctx context.Context, m *matter) outgoing {
	again := &matter{
		s: s, e: m.e, phase: m.phase, from: m.from, msg: m.list.original, at: s.g.o.Now(),
		came: m.came, client: m.client, cutAsked: true,
	}
	r := s.recorded(ctx, again, s.judgeResponse(ctx, again))
	if !r.passes() {
		return s.refusedAnswer(again, r)
	}
	s.learn(again, r)
	return outgoing{data: r.message.Raw}
}
