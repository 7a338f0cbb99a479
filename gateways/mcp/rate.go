package mcp

import (
	"context"
	"sync"
	"time"

	"github.com/cabincrew/action/internal/limits"
)

// rates counts what principals ask of one server.
type rates struct {
	rate Rate
	mu   sync.Mutex
	by   map[string]*bucket
}

// often is a denial by the guard itself that the sender can cause as often as it likes.
// why is one of few texts: it is what they are counted under.
func (s *session) often(m *matter, policy, why string, code int) ruling {
	r := s.ruled(m, policy, why, code)
	r.often = why
	return r
}

// judgeUnasked judges what a server sends that is no answer, unless it sends too much: that
// costs judging and a place in the record, too.
func (s *session) judgeUnasked(ctx context.Context, m *matter) ruling {
	if why := s.g.told.take(s.who.Principal, false, m.at); why != "" {
		return s.often(m, policyLimits, why, codeLimit)
	}
	return s.judge(ctx, m)
}

// bucket is what one principal may still ask.
type bucket struct {
	tokens float64
	at     time.Time
	open   int // requests that wait for their answers
}

// take takes one token, and with it one of the places for open requests if open. The
// answer is "" or why not.
func (r *rates) take(principal string, open bool, now time.Time) string {
	if r.rate == (Rate{}) {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.bucket(principal, now)
	if b == nil {
		return "too many clients ask at once"
	}
	r.fill(b, now)
	if r.rate.PerSecond > 0 && b.tokens < 1 {
		return "too many messages in a short time"
	}
	if open && r.rate.Concurrent > 0 && b.open >= r.rate.Concurrent {
		return "too many requests wait for their answers"
	}
	if r.rate.PerSecond > 0 {
		b.tokens--
	}
	if open {
		b.open++
	}
	return ""
}

// done gives the place of one open request back.
func (r *rates) done(principal string) {
	if r.rate == (Rate{}) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.by[principal]; b != nil && b.open > 0 {
		b.open--
	}
}

func (r *rates) burst() float64 { return float64(max(1, r.rate.Burst)) }

// fill adds the tokens of the time since the last call.
func (r *rates) fill(b *bucket, now time.Time) {
	if passed := now.Sub(b.at).Seconds(); passed > 0 {
		b.tokens = min(r.burst(), b.tokens+passed*r.rate.PerSecond)
		b.at = now
	}
}

// bucket gives the principal's bucket. Where there are too many, those that are full
// again and have nothing open are forgotten: they would be made anew just so.
func (r *rates) bucket(principal string, now time.Time) *bucket {
	if b := r.by[principal]; b != nil {
		return b
	}
	if len(r.by) >= limits.MCPGuardRates {
		for p, b := range r.by {
			if r.fill(b, now); b.open == 0 && b.tokens >= r.burst() {
				delete(r.by, p)
			}
		}
		if len(r.by) >= limits.MCPGuardRates {
			return nil
		}
	}
	if r.by == nil {
		r.by = map[string]*bucket{}
	}
	b := &bucket{tokens: r.burst(), at: now}
	r.by[principal] = b
	return b
}
