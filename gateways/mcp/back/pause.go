package back

import (
	"sync"
	"time"

	"github.com/cabincrew/action/internal/limits"
)

// pauses keeps a child that ends as soon as it is started from being started all the
// time. It counts for each principal, so that nobody stops another's.
type pauses struct {
	now func() time.Time

	mu sync.Mutex
	of map[string]pause
}

type pause struct {
	failed int // starts in a row
	until  time.Time
}

// left says how long a principal's next start must wait.
func (p *pauses) left(principal string) (failed int, left time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.of[principal]
	return at.failed, at.until.Sub(p.now())
}

// ended takes note of the end of a child.
func (p *pauses) ended(principal string, lived time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if lived >= limits.MCPBackHealthy {
		delete(p.of, principal)
		return
	}
	now := p.now()
	if len(p.of) >= limits.MCPBackPauses {
		for who, at := range p.of {
			if at.until.Before(now) {
				delete(p.of, who)
			}
		}
	}
	at := p.of[principal]
	at.failed++
	if at.failed > 1 { // the first may be restarted at once
		at.until = now.Add(min(limits.MCPBackPauseMost, limits.MCPBackPauseFirst<<min(at.failed-2, 10)))
	}
	if p.of == nil {
		p.of = map[string]pause{}
	}
	p.of[principal] = at
}
