package inside

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"sync"

	"github.com/cabincrew/action/internal/limits"
)

// Run runs one model for another process of this program, which it talks to by
// frames on the two streams. It trusts the judge, not the model: what the model may
// use is bounded before it is loaded, and whoever started it holds it, too. It says
// whether all went in good order.
func Run(ctx context.Context, in io.Reader, out io.Writer) bool {
	c := &program{in: bufio.NewReaderSize(in, WireBuffer), out: out, stops: map[uint32]context.CancelFunc{}}
	return c.serve(ctx) == nil
}

// program is the other side of a process.
type program struct {
	in      *bufio.Reader
	workers int
	queue   chan request // what is to be run

	write sync.Mutex
	out   io.Writer

	mu    sync.Mutex
	stops map[uint32]context.CancelFunc
}

func (c *program) say(kind byte, id uint32, body []byte) error {
	c.write.Lock()
	defer c.write.Unlock()
	_, err := c.out.Write(NewFrame(kind, id, body))
	return err
}

func (c *program) note(kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.say(kind, 0, b)
}

// hear reads a frame that must be of one kind.
func (c *program) hear(want byte) ([]byte, error) {
	kind, _, body, err := ReadFrame(c.in, FromJudge)
	if err == nil && kind != want {
		err = ErrNonsense
	}
	return body, err
}

func (c *program) serve(ctx context.Context) error {
	if err := c.say(KindAlive, 0, nil); err != nil {
		return err
	}
	s, p, err := c.prepare()
	if s == nil || err != nil {
		return err
	}
	var runs sync.WaitGroup
	defer func() {
		runs.Wait()
		_ = s.close() // the process ends
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for range c.workers {
		runs.Go(func() { c.work(s) })
	}
	defer close(c.queue)
	for {
		kind, id, body, err := ReadFrame(c.in, FromJudge)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case kind == KindStop:
			c.stop(id)
			continue
		case kind != KindRun:
			return ErrNonsense
		}
		in, err := ReadInput(p, body)
		if err != nil {
			return err
		}
		c.queue <- request{c.started(ctx, id), id, in}
	}
}

// request is one run of the model.
type request struct {
	ctx context.Context
	id  uint32
	in  Input
}

// work runs the model for one request after the other. There are as many workers as
// runs at a time; what the judge sends beside is there when one of them is done.
func (c *program) work(s session) {
	for r := range c.queue {
		var scores []float64
		err := ErrStopped
		if r.ctx.Err() == nil {
			scores, err = s.run(r.ctx, r.in)
		}
		c.stop(r.id)
		_ = c.say(KindScores, r.id, AnswerBytes(scores, err)) // without a judge nobody listens
	}
}

// prepare loads the library and the model. Without either there is no session.
func (c *program) prepare() (session, Ports, error) {
	b, err := c.hear(KindStart)
	if err != nil {
		return nil, Ports{}, err
	}
	var n StartNote
	if err := json.Unmarshal(b, &n); err != nil {
		return nil, Ports{}, err
	}
	c.workers, c.queue = n.Runs, make(chan request, n.Runs+limits.OnnxAhead)
	version, err := start(n.Library)
	if err != nil {
		return nil, Ports{}, c.note(KindReady, ReadyNote{Code: codeOf(err), Error: Short(err.Error())})
	}
	if err := c.note(KindReady, ReadyNote{Version: version}); err != nil {
		return nil, Ports{}, err
	}
	file, err := c.hear(KindModel)
	if err != nil {
		return nil, Ports{}, err
	}
	if err := hold(n.Room); err != nil {
		return nil, Ports{}, c.note(KindLoaded, LoadedNote{Error: "its memory cannot be bounded: " + Short(err.Error())})
	}
	s, err := open(file, n.Ports)
	if err != nil {
		why := runError(err)
		return nil, Ports{}, c.note(KindLoaded, LoadedNote{Memory: errors.Is(why, ErrMemory), Error: Short(err.Error())})
	}
	runtime.KeepAlive(file)
	if len(file) > smallFile {
		runtime.GC() // the model has its own copy
	}
	return s, n.Ports, c.note(KindLoaded, LoadedNote{})
}

// smallFile, in bytes, is a model's file for which it takes longer to collect garbage
// than to have it twice.
const smallFile = 8 << 20

// codeOf gives the code of an error of the library.
func codeOf(err error) string {
	var told libraryError
	if errors.As(err, &told) {
		return told.code
	}
	return CodeMissing
}

func (c *program) started(ctx context.Context, id uint32) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stops[id] = cancel
	return ctx
}

func (c *program) stop(id uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cancel, ok := c.stops[id]; ok {
		cancel()
		delete(c.stops, id)
	}
}
