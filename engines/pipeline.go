package engines

import (
	"context"
	"errors"
	"io"
	"sync"
)

// pipeline reads in chunks and gives each chunk to all sinks, each on its own
// goroutine and in order. Memory is a fixed ring of chunks, whatever the size.
func pipeline(ctx context.Context, in io.Reader, sinks []io.Writer) (int64, error) {
	const ring = 8
	type chunk struct {
		data []byte
		left sync.WaitGroup
	}
	free := make(chan *chunk, ring)
	for range ring {
		free <- &chunk{data: make([]byte, chunkSize)}
	}
	queues := make([]chan *chunk, len(sinks))
	errs := make([]error, len(sinks))
	var done sync.WaitGroup
	for i, sink := range sinks {
		queues[i] = make(chan *chunk, ring)
		done.Go(func() {
			for c := range queues[i] {
				if errs[i] == nil {
					_, errs[i] = sink.Write(c.data)
				}
				c.left.Done()
			}
		})
	}
	var total int64
	var readErr error
	for readErr == nil {
		if readErr = ctx.Err(); readErr != nil {
			break
		}
		c := <-free
		var n int
		c.data = c.data[:chunkSize]
		n, readErr = io.ReadFull(in, c.data)
		c.data = c.data[:n]
		total += int64(n)
		c.left.Add(len(sinks))
		for _, q := range queues {
			q <- c
		}
		go func() { c.left.Wait(); free <- c }()
	}
	for _, q := range queues {
		close(q)
	}
	done.Wait()
	if errors.Is(readErr, io.EOF) || errors.Is(readErr, io.ErrUnexpectedEOF) {
		readErr = nil
	}
	return total, errors.Join(errors.Join(errs...), readErr)
}
