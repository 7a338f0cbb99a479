package bundle

import (
	"context"
	"fmt"
	"time"

	"github.com/cabincrew/action/internal/limits"
)

// budget bounds one transfer, whatever the registry makes of it: its time and its
// requests grow with its size only, and going back and forth is no progress.
type budget struct {
	s        *ociStore
	requests int64
	farthest int64
	failures int
}

// transfer gives the budget for so many bytes, and a context that ends with it.
func (s *ociStore) transfer(ctx context.Context, size int64) (*budget, context.Context, context.CancelFunc) {
	most := s.o.least + time.Duration(float64(size)/float64(s.o.rate)*float64(time.Second))
	ctx, cancel := context.WithTimeoutCause(ctx, most, fmt.Errorf("%d bytes took longer than %s", size, most.Round(time.Second)))
	return &budget{s: s, requests: limits.StorageRequests + 2*(size/int64(s.o.chunk))}, ctx, cancel
}

// spend counts one request.
func (b *budget) spend() error {
	if b.requests--; b.requests < 0 {
		return unreachable(b.s.ref.String(), "the transfer takes more requests than it may")
	}
	return nil
}

// reached takes how far the transfer is after a request, and gives how many requests
// there have been that brought it no farther than ever before.
func (b *budget) reached(have int64) int {
	if b.failures++; have > b.farthest {
		b.farthest, b.failures = have, 0
	}
	return b.failures
}
