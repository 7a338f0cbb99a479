package onnx

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Run is the internal program that runs one model for another process of this
// program, which it talks to by frames on its standard streams. It trusts the
// judge, not the model: what the model may use is bounded before it is loaded, and
// whoever started it holds it, too.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, _ io.Writer, _ []string) int {
	if len(args) != 0 {
		return protocol.ExitUsage
	}
	c := &program{in: bufio.NewReaderSize(stdin, wireBuffer), out: stdout, stops: map[uint32]context.CancelFunc{}}
	if err := c.serve(ctx); err != nil {
		return protocol.ExitFailure
	}
	return protocol.ExitOK
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

// errStopped is the end of a run that the judge ended.
var errStopped = errors.New("it was told to stop")

func (c *program) say(kind byte, id uint32, body []byte) error {
	c.write.Lock()
	defer c.write.Unlock()
	_, err := c.out.Write(newFrame(kind, id, body))
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
	kind, _, body, err := readFrame(c.in, fromJudge)
	if err == nil && kind != want {
		err = errNonsense
	}
	return body, err
}

func (c *program) serve(ctx context.Context) error {
	if err := c.say(kindAlive, 0, nil); err != nil {
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
		kind, id, body, err := readFrame(c.in, fromJudge)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case kind == kindStop:
			c.stop(id)
			continue
		case kind != kindRun:
			return errNonsense
		}
		in, err := readInput(p, body)
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
	in  input
}

// work runs the model for one request after the other. There are as many workers as
// runs at a time; what the judge sends beside is there when one of them is done.
func (c *program) work(s session) {
	for r := range c.queue {
		scores, err := []float64(nil), error(errStopped)
		if r.ctx.Err() == nil {
			scores, err = s.run(r.ctx, r.in)
		}
		c.stop(r.id)
		_ = c.say(kindScores, r.id, answerBytes(scores, err)) // without a judge nobody listens
	}
}

// prepare loads the library and the model. Without either there is no session.
func (c *program) prepare() (session, ports, error) {
	b, err := c.hear(kindStart)
	if err != nil {
		return nil, ports{}, err
	}
	var n startNote
	if err := json.Unmarshal(b, &n); err != nil {
		return nil, ports{}, err
	}
	c.workers, c.queue = n.Runs, make(chan request, n.Runs+limits.OnnxAhead)
	version, err := start(n.Library)
	if err != nil {
		return nil, ports{}, c.note(kindReady, readyNote{Code: codeOf(err), Error: short(err.Error())})
	}
	if err := c.note(kindReady, readyNote{Version: version}); err != nil {
		return nil, ports{}, err
	}
	file, err := c.hear(kindModel)
	if err != nil {
		return nil, ports{}, err
	}
	if err := hold(n.Room); err != nil {
		return nil, ports{}, c.note(kindLoaded, loadedNote{Error: "its memory cannot be bounded: " + short(err.Error())})
	}
	s, err := open(file, n.ports())
	if err != nil {
		why := runError(err)
		return nil, ports{}, c.note(kindLoaded, loadedNote{Memory: errors.Is(why, errMemory), Error: short(err.Error())})
	}
	runtime.KeepAlive(file)
	if len(file) > smallFile {
		debug.FreeOSMemory() // the model has its own copy
	}
	return s, n.ports(), c.note(kindLoaded, loadedNote{})
}

// smallFile, in bytes, is a model's file for which it takes longer to collect garbage
// than to have it twice.
const smallFile = 8 << 20

// codeOf gives the code of an error of the library.
func codeOf(err error) string {
	var told *protocol.Error
	if errors.As(err, &told) {
		return told.Code
	}
	return codeMissing
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
