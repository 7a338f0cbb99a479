package onnx

import (
	"context"
	"errors"
	"github.com/cabincrew/action/policies/onnx/inside"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Program is the name of the internal program that runs one model for another
// process of the same program; see Run.
const Program = inside.Name

// Run is that program, where it did not take over before (see policies/onnx/inside).
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, _ io.Writer, _ []string) int {
	if len(args) != 0 {
		return protocol.ExitUsage
	}
	if !inside.Run(ctx, stdin, stdout) {
		return protocol.ExitFailure
	}
	return protocol.ExitOK
}

// remotes makes sessions in processes of their own, one for each model: a model
// that crashes or takes over its process falsifies no other's scores.
type remotes struct {
	library string
	where   where

	mu  sync.Mutex
	ver string
}

// remoteEngine finds the library and says how processes are started.
func remoteEngine(o Options) (engine, error) {
	if !inside.HasRuntime {
		return nil, inside.UnsupportedError{}
	}
	path, err := Library(o)
	if err != nil {
		return nil, err
	}
	if target, err := filepath.EvalSymlinks(path); err == nil && filepath.IsAbs(path) {
		path = target // its process sees no link
	}
	r := &remotes{library: path}
	r.where, err = place(o, path)
	return r, err
}

// place says where a model's process runs: with the library and what that needs of
// the system, and nothing else.
func place(o Options, library string) (where, error) {
	w := where{argv: slices.Clone(o.Run), require: o.Require, tiers: tiersOf(o)}
	if len(w.argv) == 0 {
		self, err := sandbox.Self()
		if err != nil {
			return w, err
		}
		w.argv = []string{self, "engine", "run", Program}
	}
	self, err := filepath.EvalSymlinks(w.argv[0])
	if err != nil {
		return w, err
	}
	w.argv[0] = self
	w.env = sandbox.Environ([2]string{"LANG", "C.UTF-8"}, [2]string{"TZ", "UTC"}, [2]string{"GOMAXPROCS", itoa(runtime.GOMAXPROCS(0))}, [2]string{"GOGC", "800"}, [2]string{"GORACE", "atexit_sleep_ms=0"})
	see := []string{self}
	if filepath.IsAbs(library) {
		see = append(see, library)
	} else if o.Getenv != nil { // the system's loader finds it
		for _, name := range loaderVariables() {
			if value := o.Getenv(name); value != "" {
				w.env = append(w.env, name+"="+value)
				see = append(see, filepath.SplitList(value)...)
			}
		}
	}
	for _, path := range append(see,
		"/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64", "/nix/store", "/gnu/store",
		"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/sys/devices/system/cpu") {
		if _, err := os.Lstat(path); err == nil {
			w.binds = append(w.binds, sandbox.Bind{Source: path, Target: path})
		}
	}
	return w, nil
}

func (r *remotes) version() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ver
}

func (r *remotes) load(ctx context.Context, file []byte, again func(context.Context) ([]byte, error), p ports) (session, error) {
	s := &remote{engine: r, ports: p, again: again, turn: make(chan struct{}, 1)}
	s.life, s.end = context.WithCancel(context.WithoutCancel(ctx))
	var err error
	if s.process, err = s.begin(ctx, file); err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// remote is a model in a process of its own.
type remote struct {
	engine *remotes
	ports  ports
	again  func(context.Context) ([]byte, error) // the model's bytes

	life context.Context // until it is closed
	end  context.CancelFunc

	turn    chan struct{} // held by who looks at what follows
	process *process
	begun   int   // processes after the first
	why     error // nothing is begun any more
}

// begin starts a process with the model.
func (s *remote) begin(ctx context.Context, file []byte) (*process, error) {
	w := s.engine.where
	room := int64(limits.OnnxMemory + limits.OnnxProcess + 2*len(file) + limits.OnnxThread*runtime.GOMAXPROCS(0))
	w.memory = room + limits.OnnxProgram
	p, err := begin(w)
	if err != nil {
		return nil, unstartable{err}
	}
	version, err := p.start(ctx, inside.StartNote{
		Ports: s.ports, Library: s.engine.library, Room: room, Runs: runtime.GOMAXPROCS(0),
	}, file)
	if err != nil {
		p.end()
		return nil, err
	}
	s.engine.mu.Lock()
	s.engine.ver = version
	s.engine.mu.Unlock()
	return p, nil
}

func (s *remote) run(ctx context.Context, in input) ([]float64, error) {
	p, err := s.living(ctx)
	if err != nil {
		return nil, err
	}
	body, err := p.score(ctx, in)
	if err != nil {
		return nil, err
	}
	n := int64(1)
	for _, d := range s.ports.OutDims {
		n *= d
	}
	scores, err := inside.ReadAnswer(body, int(n), s.ports.Double)
	switch {
	case errors.Is(err, inside.ErrNonsense), errors.Is(err, inside.ErrStopped): // nobody told it to
		p.fail(crash{"gave an answer that makes no sense"})
		return nil, crash{"gave an answer that makes no sense"}
	case err != nil:
		return nil, err
	}
	return scores, nil
}

// living gives the process, a new one if the last has ended.
func (s *remote) living(ctx context.Context) (*process, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if p, err := s.now(); p != nil || err != nil {
		<-s.turn
		return p, err
	}
	// A new one takes longer than this step may have: then it is for the next.
	type result struct {
		p   *process
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-s.turn }()
		p, err := s.renew()
		done <- result{p, err}
	}()
	select {
	case r := <-done:
		return r.p, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// now gives the process if it has not ended, or says why there will be none.
func (s *remote) now() (*process, error) {
	if s.why != nil {
		return nil, s.why
	}
	select {
	case <-s.process.gone:
	default:
		return s.process, nil
	}
	if s.begun == limits.OnnxRestarts {
		s.why = spent{s.process.reason()}
	}
	return nil, s.why
}

// renew begins a process in place of one that has ended.
func (s *remote) renew() (*process, error) {
	ctx, cancel := context.WithTimeout(s.life, limits.OnnxLoad)
	defer cancel()
	s.begun++
	file, err := s.again(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.begin(ctx, file)
	if err != nil {
		return nil, err
	}
	s.process = p
	return p, nil
}

// spent says that a model's process ended too often.
type spent struct{ last error }

func (s spent) Error() string {
	return "the process in which it runs ended " + itoa(limits.OnnxRestarts+1) + " times, so it is not started again; the last time: " + s.last.Error()
}

func (s spent) Unwrap() error { return s.last }

func (s *remote) close() error {
	s.end()
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.why = inside.ErrFailed
	s.process.end()
	return nil
}

// started gives the error of an engine that cannot start a process, in words for people.
func started(m Model, err error) *protocol.Error {
	return denied(m, "model_isolation", "no process can be started for it: %s", inside.Short(strings.TrimSpace(err.Error()))).
		WithHint("a model runs in a process of this program with the layers that sandbox.require names; see cabincrew doctor")
}
