package onnx

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"github.com/cabincrew/action/policies/onnx/inside"
	"io"
	"os"
	"regexp"
	"runtime"
	"sync"
	"time"

	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// process is a running process with one model, which may at any time crash, stall
// or say anything.
type process struct {
	in, theirIn   *os.File // the judge's end and the other's
	out, theirOut *os.File

	send  chan [][]byte // frames in pieces
	alive chan struct{} // closed when it has said that it runs
	ready chan []byte   // its notes, in order
	gone  chan struct{} // closed when it has ended, and nothing of it is left
	stop  context.CancelFunc

	mu      sync.Mutex
	why     error // why it ended, or is to end
	tier    string
	next    uint32
	waiting map[uint32]chan []byte
}

// crash is the end of a model's process that nobody asked for.
type crash struct{ how string }

func (c crash) Error() string { return "the process in which it runs " + c.how }

// where says how a model's process is started.
type where struct {
	argv    []string
	env     []string
	binds   []sandbox.Bind
	require []string // layers without which it does not run
	tiers   []tier   // the best first
	memory  int64
}

// tier is a way to hold a process. One in which it cannot be held, or does not come
// to life, is no danger: nothing of the model is loaded then.
type tier struct {
	name string
	sudo bool
}

// tiersOf gives the ways to hold a process that are to be tried.
func tiersOf(o Options) []tier {
	var out []tier
	if runtime.GOOS == "linux" {
		out = append(out, tier{name: sandbox.TierA})
		if o.Sudo && os.Getuid() != 0 {
			out = append(out, tier{name: sandbox.TierA, sudo: true})
		}
		out = append(out, tier{name: sandbox.TierB})
	}
	if len(o.Require) == 0 {
		out = append(out, tier{name: sandbox.TierC})
	}
	return out
}

// confine says how a process is held in a tier.
func (w where) confine(t tier) *sandbox.Confine {
	if t.name == sandbox.TierC {
		return nil
	}
	return &sandbox.Confine{
		Tier: t.name, Sudo: t.sudo, Binds: w.binds, Require: w.require,
		Limits: sandbox.Limits{Memory: w.memory, FileSize: limits.OnnxScratch, TempBytes: limits.OnnxScratch},
	}
}

// begin starts a process. It comes to life, or ends, later.
func begin(w where) (*process, error) {
	p := &process{
		send: make(chan [][]byte), alive: make(chan struct{}), ready: make(chan []byte, 2), gone: make(chan struct{}),
		waiting: map[uint32]chan []byte{},
	}
	var err error
	if p.theirIn, p.in, err = os.Pipe(); err != nil {
		return nil, err
	}
	if p.out, p.theirOut, err = os.Pipe(); err != nil {
		return nil, errors.Join(err, p.theirIn.Close(), p.in.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	go p.watch(ctx, w)
	go p.write()
	return p, nil
}

// watch runs the process to its end, and clears up after it.
func (p *process) watch(ctx context.Context, w where) {
	read := make(chan struct{})
	go func() {
		defer close(read)
		if err := p.read(); err != nil {
			p.fail(crash{"gave an answer that makes no sense"})
		}
	}()
	p.fail(p.run(ctx, w))
	p.stop()
	_ = p.theirIn.Close() // only ends of pipes
	_ = p.theirOut.Close()
	<-read // what it said before its end counts
	close(p.gone)
	_ = p.in.Close()
	_ = p.out.Close()
}

// run tries one way to hold the process after the other, and gives why it ended.
func (p *process) run(ctx context.Context, w where) error {
	var err error
	for _, t := range w.tiers {
		p.mu.Lock()
		p.tier = t.name
		p.mu.Unlock()
		mark := "CABINCREW_MODEL_PROCESS=" + rand.Text()
		said := &head{}
		var exit sandbox.Exit
		exit, err = sandbox.Run(ctx, sandbox.Command{
			Argv: w.argv, Dir: "/", Env: append([]string{mark}, w.env...), Mark: mark,
			Stdin: p.theirIn, Stdout: p.theirOut, Stderr: said, Confine: w.confine(t),
		})
		select {
		case <-p.alive:
			return ended(exit, err, said)
		default:
		}
		if ctx.Err() != nil {
			break
		}
		if err == nil {
			err = ended(exit, nil, said)
		}
	}
	return unstartable{err}
}

// unstartable says that no process for a model could be started.
type unstartable struct{ error }

func (u unstartable) Unwrap() error { return u.error }

// signals finds what ended a process in what Go writes of it.
var signals = regexp.MustCompile(`\bSIG(SEGV|FPE|ABRT|ILL|BUS|TRAP|SYS|KILL)\b`)

// outOfMemory finds what Go and C++ write if an allocation fails where nothing
// catches that.
var outOfMemory = regexp.MustCompile(`out of memory|std::bad_alloc`)

// ended says why a process ended.
func ended(exit sandbox.Exit, err error, said *head) error {
	name := exit.Signal
	if found := signals.Find(said.bytes()); name == "" && found != nil {
		name = string(found)
	}
	switch {
	case exit.Over == "memory", outOfMemory.Match(said.bytes()):
		return inside.ErrMemory
	case name != "":
		return crash{"crashed (" + name + ")"}
	case err != nil:
		return crash{"ended: " + inside.Short(err.Error())}
	}
	return crash{"ended with code " + itoa(exit.Code)}
}

// head keeps the beginning of what is written to it. It is only looked at for
// the name of a signal and the like: it can hold parts of the text.
type head struct {
	mu   sync.Mutex
	kept []byte
}

func (h *head) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = append(h.kept, b[:min(len(b), inside.LongestNote-len(h.kept))]...)
	return len(b), nil
}

func (h *head) bytes() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.kept
}

// fail ends the process. The first reason counts.
func (p *process) fail(why error) {
	p.mu.Lock()
	if p.why == nil {
		p.why = why
	}
	p.mu.Unlock()
	p.stop()
}

// reason says why the process ended; it must be gone.
func (p *process) reason() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.why
}

func (p *process) write() {
	out := bufio.NewWriterSize(p.in, inside.WireBuffer)
	for {
		select {
		case parts := <-p.send:
			if err := p.together(out, parts); err != nil {
				return // it has ended, or will when nothing more comes
			}
		case <-p.gone:
			return
		}
	}
}

// together writes frames with all others that wait, as each time that somebody has
// to be woken costs as much as scoring a short text.
func (p *process) together(out *bufio.Writer, parts [][]byte) error {
	for {
		for _, b := range parts {
			if _, err := out.Write(b); err != nil {
				return err
			}
		}
		select {
		case parts = <-p.send:
		default:
			return out.Flush()
		}
	}
}

// read passes on what the process says until its end.
func (p *process) read() error {
	notes := 0
	alive := false
	from := bufio.NewReaderSize(p.out, inside.WireBuffer)
	for {
		kind, id, body, err := inside.ReadFrame(from, inside.FromModel)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case kind == inside.KindAlive && !alive:
			alive = true
			close(p.alive)
		case kind == inside.KindReady && alive && notes == 0, kind == inside.KindLoaded && notes == 1:
			notes++
			p.ready <- body // there is room for both
		case kind == inside.KindScores && notes == 2:
			p.mu.Lock()
			answer, ok := p.waiting[id]
			delete(p.waiting, id)
			p.mu.Unlock()
			if !ok {
				return inside.ErrNonsense
			}
			answer <- body // there is room
		default:
			return inside.ErrNonsense
		}
	}
}

// note waits for the next note.
func (p *process) note(ctx context.Context, into any) error {
	var body []byte
	select {
	case body = <-p.ready:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-p.gone:
		select {
		case body = <-p.ready: // its last word
		default:
			return p.reason()
		}
	}
	if err := json.Unmarshal(body, into); err != nil {
		p.fail(crash{"gave an answer that makes no sense"})
		<-p.gone
		return p.reason()
	}
	return nil
}

// give sends a frame.
func (p *process) give(ctx context.Context, parts ...[]byte) error {
	select {
	case p.send <- parts:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-p.gone:
		return p.reason()
	}
}

// start tells a process its task and gives the version of its library.
func (p *process) start(ctx context.Context, n inside.StartNote, file []byte) (version string, err error) {
	b, err := json.Marshal(n)
	if err != nil {
		return "", err
	}
	if err := p.give(ctx, inside.NewFrame(inside.KindStart, 0, b)); err != nil {
		return "", err
	}
	var ready inside.ReadyNote
	if err := p.note(ctx, &ready); err != nil {
		return "", err
	}
	if err := checkReady(ready); err != nil {
		return "", err
	}
	head := make([]byte, inside.HeadBytes)
	inside.PutHead(head, inside.KindModel, 0, len(file))
	if err := p.give(ctx, head, file); err != nil {
		return "", err
	}
	var loaded inside.LoadedNote
	if err := p.note(ctx, &loaded); err != nil {
		return "", err
	}
	switch {
	case loaded.Memory:
		return "", inside.ErrMemory
	case loaded.Error != "":
		return "", refusal{inside.Short(loaded.Error)}
	}
	return ready.Version, nil
}

// refusal is why the runtime does not take a model, in its own words.
type refusal struct{ why string }

func (r refusal) Error() string { return r.why }

var versionText = regexp.MustCompile(`^[0-9A-Za-z.+_-]{1,64}$`)

// checkReady gives the error of a library that could not be loaded.
func checkReady(n inside.ReadyNote) error {
	switch n.Code {
	case "":
		if !versionText.MatchString(n.Version) {
			return protocol.Errorf(protocol.ExitDenied, inside.CodeVersion, "the ONNX Runtime library gives no version").WithHint(howToGet)
		}
		return nil
	case inside.CodeVersion:
		return protocol.Errorf(protocol.ExitDenied, inside.CodeVersion, "%s", inside.Short(n.Error)).WithHint(howToGet)
	}
	return missing("%s", inside.Short(n.Error))
}

// score runs the model once. It ends soon after ctx does, if need be with the process.
func (p *process) score(ctx context.Context, in input) ([]byte, error) {
	answer := make(chan []byte, 1)
	p.mu.Lock()
	p.next++
	id := p.next
	p.waiting[id] = answer
	p.mu.Unlock()
	if err := p.give(ctx, inside.NewFrame(inside.KindRun, id, in.Bytes())); err != nil {
		p.mu.Lock()
		delete(p.waiting, id) // it was not sent
		p.mu.Unlock()
		return nil, err
	}
	select {
	case body := <-answer:
		return body, nil
	case <-p.gone:
		return p.last(answer)
	case <-ctx.Done():
	}
	grace := time.NewTimer(limits.OnnxGrace)
	defer grace.Stop()
	stop := [][]byte{inside.NewFrame(inside.KindStop, id, nil)}
	send := p.send
	for {
		select {
		case send <- stop:
			send = nil
		case <-answer:
			return nil, context.Cause(ctx)
		case <-p.gone:
			return nil, p.reason()
		case <-grace.C:
			p.fail(errLeft)
			<-p.gone
			return nil, p.reason()
		}
	}
}

// last gives an answer that came just before the end.
func (p *process) last(answer <-chan []byte) ([]byte, error) {
	select {
	case body := <-answer:
		return body, nil
	default:
		return nil, p.reason()
	}
}

// end ends the process in good order, or at least soon.
func (p *process) end() {
	p.fail(inside.ErrFailed)
	<-p.gone
}
