package mcp

import (
	"context"
	"slices"
	"strings"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// toolset is a set of items of a list that a person is asked about, once in a session.
type toolset struct {
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
	set := s.sets[l.set]
	s.mu.Unlock()
	if set == nil {
		return
	}
	select {
	case <-set.done:
	default:
		return // somebody is being asked
	}
	if set.err == nil && set.answer.Approved {
		for _, e := range l.ask {
			e.approved = true
		}
		l.ask = nil
		return
	}
	l.withoutAsked()
}

// withoutAsked cuts out what nobody approved.
func (l *listing) withoutAsked() {
	for _, e := range l.ask {
		e.hidden = true
	}
	l.cut = append(l.cut, l.ask...)
	l.ask = nil
}

// askOnce asks people about a set of items, or waits for the answer that another listing
// of this session asked for.
func (s *session) askOnce(ctx context.Context, key string, ask func() (gateways.Answered, error)) (gateways.Answered, error) {
	for {
		s.mu.Lock()
		set := s.sets[key]
		mine := set == nil
		if mine {
			if len(s.sets) >= limits.MCPGuardSets {
				s.mu.Unlock()
				return gateways.Answered{Reason: "the server changes its tools too often"}, nil
			}
			if s.sets == nil {
				s.sets = map[string]*toolset{}
			}
			set = &toolset{done: make(chan struct{})}
			s.sets[key] = set
		}
		s.mu.Unlock()
		if mine {
			set.answer, set.err = ask()
			if set.err != nil { // nobody answered: the next one may ask again
				s.mu.Lock()
				delete(s.sets, key)
				s.mu.Unlock()
			}
			close(set.done)
			return set.answer, set.err
		}
		select {
		case <-set.done:
		case <-ctx.Done():
			return gateways.Answered{}, ctx.Err()
		}
		if set.err == nil {
			return set.answer, nil
		}
		if ctx.Err() != nil {
			return gateways.Answered{}, ctx.Err()
		}
	}
}

// difference gives the texts that a person reads to approve the items.
func (l *listing) difference() string {
	var b strings.Builder
	for _, e := range l.ask {
		b.WriteString(e.kind + " " + brief(e.name) + " (" + e.known() + ", " + e.pin + ")\n")
		for _, why := range e.Suspicions {
			b.WriteString("  suspicious: " + brief(why) + "\n")
		}
		b.WriteString(e.Diff)
		if b.Len() > limits.MCPGuardDiff {
			return strings.ToValidUTF8(b.String()[:limits.MCPGuardDiff], "") + "\n(cut)"
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
