package upstream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cabincrew/action/internal/limits"
)

// shared is a value that is fetched from elsewhere, once for all who want it. Each leaves
// the fetching when it must.
type shared struct {
	life context.Context //nolint:containedctx // a fetch is shared, and ends with it
	now  func() time.Time
	// fetch gives the value, until when it is used before it is fetched again, and until
	// when it can be used where it cannot be fetched: where the error is an awayError.
	fetch func(ctx context.Context, from string) (value string, until, end time.Time, err error)

	mu   sync.Mutex
	last *fetched // nil: there is none yet
}

// fetched is one fetch.
type fetched struct {
	from  string
	done  chan struct{} // closed when what follows is known
	value string
	err   error
	until time.Time // when it is to be done again
	end   time.Time // when the value is good for nothing
}

// awayError says that nobody could be asked, which says nothing of the value.
type awayError struct{ error }

var errLate = errors.New("it did not come in time")

func (s *shared) get(ctx context.Context, from string) (string, error) {
	f := s.current(from)
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		return "", errLate
	}
}

// current gives the fetch whose result is to be used, and begins one if there is none.
func (s *shared) current(from string) *fetched {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.last; f != nil && f.from == from {
		select {
		case <-f.done:
			if s.now().Before(f.until) {
				return f
			}
		default:
			return f
		}
	}
	before := s.last
	if before != nil && before.from != from {
		before = nil
	}
	s.last = &fetched{from: from, done: make(chan struct{})}
	go s.run(s.last, before)
	return s.last
}

func (s *shared) run(f, before *fetched) {
	defer close(f.done)
	ctx, cancel := context.WithTimeout(s.life, limits.LLMUpstreamTokenTime)
	defer cancel()
	var until time.Time
	f.value, until, f.end, f.err = s.fetch(ctx, f.from)
	now := s.now()
	if errors.As(f.err, new(awayError)) && before != nil && before.err == nil && now.Before(before.end) {
		f.value, f.end, f.err = before.value, before.end, nil
	}
	// Also what failed, or ends at once, stands for a moment, or each call would fetch.
	if f.until = now.Add(limits.LLMUpstreamTokenPause); f.err == nil && until.After(f.until) {
		f.until = until
	}
}
