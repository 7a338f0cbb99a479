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
	buf    []byte // what data is a part of; used again by later chunks
	data   []byte
	first  int        // number of its first line
	offset int64      // of its first byte
	all    []lineInfo // what lines is a part of
	lines  []lineInfo
	ready  chan struct{}
}

// A pipeline reads a log in chunks, has them checked by several goroutines and
// gives the lines in their order.
type pipeline struct {
	order   chan *chunk
	free    chan *chunk // done with, to be used again
	stop    chan struct{}
	done    sync.WaitGroup
	err     error // of reading; set before order is closed
	current *chunk
}

func startPipeline(r io.Reader, o VerifyOptions) *pipeline {
	n := min(runtime.GOMAXPROCS(0), maxWorkers)
	p := &pipeline{order: make(chan *chunk, 2*n), free: make(chan *chunk, 4*n), stop: make(chan struct{})}
	work := make(chan *chunk, 2*n)
	p.done.Go(func() {
		defer close(p.order)
		defer close(work)
		p.err = p.read(r, work)
	})
	for range n {
		p.done.Go(func() {
			c := newChecker(o.Refs)
			c.signed = o.Signed
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

// next gives the next line, or nil at the end. It is valid until the next call.
func (p *pipeline) next() *lineInfo {
	for p.current == nil || len(p.current.lines) == 0 {
		if p.current != nil {
			select {
			case p.free <- p.current:
			default:
			}
		}
		k, ok := <-p.order
		if !ok {
			p.current = nil
			return nil
		}
		<-k.ready
		p.current = k
	}
	in := &p.current.lines[0]
	p.current.lines = p.current.lines[1:]
	return in
}

// take gives a chunk whose buffer has at least size bytes.
func (p *pipeline) take(size int) *chunk {
	k := &chunk{}
	select {
	case k = <-p.free:
	default:
	}
	if cap(k.buf) < size {
		k.buf = make([]byte, size)
	}
	k.ready = make(chan struct{})
	return k
}

// read parts r into chunks that end with a newline, but for the last.
func (p *pipeline) read(r io.Reader, work chan<- *chunk) error {
	var carry []byte
	line, offset := 1, int64(0)
	for size := firstChunk; ; size = chunkSize {
		k := p.take(max(size, 2*len(carry)))
		buf := k.buf[:cap(k.buf)]
		n, err := io.ReadFull(r, buf[copy(buf, carry):])
		buf = buf[:len(carry)+n]
		ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !ended {
			return err
		}
		cut := bytes.LastIndexByte(buf, '\n') + 1
		over := len(buf)-cut > limits.AuditLine // checking it will say so
		if ended || over {
			cut = len(buf)
		}
		carry = append(carry[:0], buf[cut:]...)
		if cut > 0 {
			k.data, k.first, k.offset = buf[:cut], line, offset
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
	if n := bytes.Count(k.data, []byte{'\n'}) + 1; cap(k.all) < n {
		k.all = make([]lineInfo, 0, n)
	}
	k.lines = k.all[:0]
	offset := k.offset
	for number, rest := k.first, k.data; len(rest) > 0; number++ {
		line, after, found := bytes.Cut(rest, []byte{'\n'})
		k.lines = append(k.lines, lineInfo{number: number, start: offset, open: !found})
		in := &k.lines[len(k.lines)-1]
		offset += int64(len(rest) - len(after))
		in.end = offset
		c.check(line, in)
		in.ref.Line = number
		rest = after
	}
	k.all = k.lines[:0]
}
