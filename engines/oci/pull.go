package oci

import (
	"context"
	"errors"
	"sync"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// layers brings all layers into the cache, some at the same time.
func (p *pull) layers(ctx context.Context, layers []Layer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var total int64
	once := map[string]Layer{} // a layer may be listed twice
	var order []string
	for _, l := range layers {
		if known, seen := once[l.Digest]; seen {
			if known.Size != l.Size {
				return malformed(p.ref.String(), "%s is listed with two sizes", l.Digest)
			}
			continue
		}
		once[l.Digest] = l
		order = append(order, l.Digest)
		total += l.Size
	}
	var (
		mu    sync.Mutex
		first error
		done  int64
		wait  sync.WaitGroup
		slots = make(chan struct{}, limits.OCIDownloads)
	)
	for _, digest := range order {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			l := once[digest]
			err := p.fetch(ctx, blob{digest: l.Digest, size: l.Size}, nil)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				if first == nil {
					first = err
				}
				cancel()
				return
			}
			done += l.Size
			if p.o.Progress != nil {
				p.o.Progress(done, total)
			}
		})
	}
	wait.Wait()
	return first
}

// download stores a blob of the source in the cache.
func (p *pull) download(ctx context.Context, b blob) error {
	where := p.ref.String()
	return attempts(ctx, p.o.retryDelay, func() error {
		body, err := p.from.Blob(ctx, b.digest, b.size)
		if err != nil {
			return err
		}
		defer func() { _ = body.Close() }() // only read
		err = p.cache.put(b, withContext{ctx, body}, where)
		var again passingError
		if errors.As(err, &again) && !errors.As(err, new(*protocol.Error)) {
			return passingError{unreachable(where, "%s did not arrive whole: %w", b.digest, again.error)}
		}
		return err
	})
}
