package audit

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync"

	"github.com/cabincrew/action/internal/limits"
)

const (
	chunkSize  = 256 << 10 // bytes of whole lines that one worker takes at a time
	firstChunk = 16 << 10  // most logs are small
	maxWorkers = 8         // beyond these, reading is what takes the time
)

// A chunk is a run of whole lines and, once ready is closed, what they say.
type chunk struct {
	data   []byte
	first  int   // number of its first line
	offset int64 // of its first byte
	last   bool  // nothing follows, so its last line may lack a newline
	lines  []lineInfo
	ready  chan struct{}
}

// A pipeline reads a log in chunks, has them checked by several goroutines and
// gives the lines in their order.
type pipeline struct {
	order   chan *chunk
	stop    chan struct{}
	done    sync.WaitGroup
	err     error // of reading; set before order is closed
	current []lineInfo
}

func startPipeline(r io.Reader, refs bool) *pipeline {
	n := min(runtime.GOMAXPROCS(0), maxWorkers)
	p := &pipeline{order: make(chan *chunk, 2*n), stop: make(chan struct{})}
	work := make(chan *chunk, 2*n)
	p.done.Go(func() {
		defer close(p.order)
		defer close(work)
		p.err = p.read(r, work)
	})
	for range n {
		p.done.Go(func() {
			c := newChecker(refs)
			for k := range work {
				k.check(c)
				close(k.ready)
			}
		})
	}
	return p
}

// close ends all goroutines and waits for them.
func (p *pipeline) close() {
	close(p.stop)
	for range p.order { //nolint:revive // what is left is not wanted
	}
	p.done.Wait()
}

// next gives the next line, or nil at the end.
func (p *pipeline) next() *lineInfo {
	for len(p.current) == 0 {
		k, ok := <-p.order
		if !ok {
			return nil
		}
		<-k.ready
		p.current = k.lines
	}
	in := &p.current[0]
	p.current = p.current[1:]
	return in
}

// read parts r into chunks that end with a newline, but for the last.
func (p *pipeline) read(r io.Reader, work chan<- *chunk) error {
	var carry []byte
	line, offset := 1, int64(0)
	for size := firstChunk; ; size = chunkSize {
		buf := make([]byte, len(carry), max(size, 2*len(carry)))
		copy(buf, carry)
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !ended {
			return err
		}
		cut := bytes.LastIndexByte(buf, '\n') + 1
		over := len(buf)-cut > limits.AuditLine // checking it will say so
		if ended || over {
			cut = len(buf)
		}
		carry = buf[cut:]
		if cut > 0 {
			k := &chunk{data: buf[:cut:cut], first: line, offset: offset, last: ended || over, ready: make(chan struct{})}
			line += bytes.Count(k.data, []byte{'\n'})
			offset += int64(cut)
			select {
			case <-p.stop:
				return nil
			case p.order <- k:
				work <- k
			}
		}
		if ended || over {
			return nil
		}
	}
}

func (k *chunk) check(c *checker) {
	k.lines = make([]lineInfo, 0, bytes.Count(k.data, []byte{'\n'})+1)
	offset := k.offset
	for number, rest := k.first, k.data; len(rest) > 0; number++ {
		line, after, found := bytes.Cut(rest, []byte{'\n'})
		k.lines = append(k.lines, lineInfo{number: number, start: offset, open: !found})
		in := &k.lines[len(k.lines)-1]
		offset += int64(len(rest) - len(after))
		in.end = offset
		c.check(line, in)
		if in.ref != nil {
			in.ref.Line = number
		}
		rest = after
	}
	k.data = nil
}
