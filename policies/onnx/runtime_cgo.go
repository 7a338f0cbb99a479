//go:build cgo

package onnx

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// process is the one runtime that a process can have: a C library with state of
// its own, which is never unloaded, since a model that was left behind may run in it.
var process struct {
	sync.Mutex
	library string // that is loaded; empty: none yet
}

type library struct{}

// start loads the library, once for the process.
func start(o Options) (engine, error) {
	path, err := Library(o)
	if err != nil {
		return nil, err
	}
	process.Lock()
	defer process.Unlock()
	if process.library != "" {
		if process.library != path {
			return nil, unsafe("the ONNX Runtime library %q is loaded already, so that %q cannot be", process.library, path)
		}
		return library{}, nil
	}
	ort.SetSharedLibraryPath(path)
	if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
		return nil, startError(path, err)
	}
	if err := boundMemory(); err != nil {
		return nil, errors.Join(protocol.Errorf(protocol.ExitDenied, "model_library_version",
			"the memory of the ONNX Runtime library %q cannot be bounded: %w", path, err).WithHint(howToGet), ort.DestroyEnvironment())
	}
	process.library = path
	return library{}, nil
}

// boundMemory makes one arena with a bound for the tensors of all sessions.
func boundMemory() error {
	// 1: it grows by what is asked for, so that the bound is what is used; -1: defaults.
	cfg, err := ort.NewArenaCfg(limits.OnnxMemory, 1, -1, -1)
	if err != nil {
		return err
	}
	defer cfg.Destroy()
	info, err := ort.GetMemoryInfo()
	if err != nil {
		return err
	}
	return ort.CreateAndRegisterAllocator(info, cfg)
}

// startError tells a library that is not there from one that does not fit.
func startError(path string, err error) error {
	switch text := err.Error(); {
	case strings.Contains(text, "ORT API base") || strings.Contains(text, "OrtGetApiBase"):
		return protocol.Errorf(protocol.ExitDenied, "model_library_version",
			"%q is no ONNX Runtime library of version 1.24 or later", path).WithHint(howToGet)
	case strings.Contains(text, "cannot open shared object file") || strings.Contains(text, "no such file"):
		return missing("the ONNX Runtime library %q is not found", path)
	default:
		return missing("the ONNX Runtime library %q cannot be loaded: %w", path, err)
	}
}

func (library) version() string { return ort.GetVersion() }

func (library) load(ctx context.Context, file []byte, p ports) (session, error) {
	type result struct {
		s   *ort.DynamicAdvancedSession
		err error
	}
	done := make(chan result, 1)
	go func() {
		s, err := open(file, p)
		done <- result{s, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, r.err
		}
		return &ortSession{session: r.s, ports: p}, nil
	case <-ctx.Done():
		go func() { // loading cannot be stopped; what it gives is given back
			if r := <-done; r.s != nil {
				_ = r.s.Destroy()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

func open(file []byte, p ports) (*ort.DynamicAdvancedSession, error) {
	o, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	defer func() { _ = o.Destroy() }()
	entry := func(key, value string) error { return o.AddSessionConfigEntry(key, value) }
	err = errors.Join(
		o.SetIntraOpNumThreads(1), // windows are what runs in parallel
		o.SetInterOpNumThreads(1),
		entry("session.intra_op.allow_spinning", "0"),
		entry("session.inter_op.allow_spinning", "0"),
		entry("session.use_env_allocators", "1"), // the bounded arena
		entry("session.load_model_format", "ONNX"),
		o.SetMemPattern(false), // it would plan for the first text's size
		// Rewriting the graph computes constants in memory that no bound holds.
		o.SetGraphOptimizationLevel(ort.GraphOptimizationLevelDisableAll),
		o.SetLogSeverityLevel(ort.LoggingLevelFatal), // messages can hold parts of the text
	)
	if err != nil {
		return nil, err
	}
	return ort.NewDynamicAdvancedSessionWithONNXData(file, []string{p.input}, []string{p.output}, o)
}

// ortSession is a session of the runtime.
type ortSession struct {
	session *ort.DynamicAdvancedSession
	ports   ports

	mu     sync.RWMutex // held for reading by each run, left behind ones included
	closed bool
}

type ranResult struct {
	scores []float64
	err    error
}

func (s *ortSession) run(ctx context.Context, in input) ([]float64, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if !s.mu.TryRLock() { // somebody closes it
		return nil, errFailed
	}
	if s.closed {
		s.mu.RUnlock()
		return nil, errFailed
	}
	options, err := ort.NewRunOptions()
	if err != nil {
		s.mu.RUnlock()
		return nil, errFailed
	}
	done := make(chan ranResult, 1)
	go func() {
		defer s.mu.RUnlock()
		scores, err := s.once(in, options)
		done <- ranResult{scores, err}
	}()
	select {
	case r := <-done:
		_ = options.Destroy()
		return r.scores, r.err
	case <-ctx.Done():
	}
	_ = options.Terminate()
	grace := time.NewTimer(limits.OnnxGrace)
	defer grace.Stop()
	select {
	case <-done:
		_ = options.Destroy()
		return nil, context.Cause(ctx)
	case <-grace.C:
		go func() { <-done; _ = options.Destroy() }()
		return nil, errLeft
	}
}

// once is one call of the runtime. The output is made before, in the shape that it
// must have, so that no model can fill memory with another.
func (s *ortSession) once(in input, options *ort.RunOptions) ([]float64, error) {
	value, err := s.input(in)
	if err != nil {
		return nil, errFailed
	}
	defer func() { _ = value.Destroy() }()
	if s.ports.double {
		return runInto[float64](s, value, options)
	}
	return runInto[float32](s, value, options)
}

func (s *ortSession) input(in input) (ort.Value, error) {
	if !s.ports.text {
		return ort.NewTensor(ort.NewShape(s.ports.inDims...), in.features)
	}
	t, err := ort.NewStringTensor(ort.NewShape(s.ports.inDims...))
	if err != nil {
		return nil, err
	}
	if err := t.SetContents([]string{in.text}); err != nil {
		return nil, errors.Join(err, t.Destroy())
	}
	return t, nil
}

func runInto[T float32 | float64](s *ortSession, value ort.Value, options *ort.RunOptions) ([]float64, error) {
	out, err := ort.NewEmptyTensor[T](ort.NewShape(s.ports.outDims...))
	if err != nil {
		return nil, errFailed
	}
	defer func() { _ = out.Destroy() }()
	if err := s.session.RunWithOptions([]ort.Value{value}, []ort.Value{out}, options); err != nil {
		return nil, runError(err)
	}
	scores := make([]float64, len(out.GetData()))
	for i, x := range out.GetData() {
		scores[i] = float64(x)
	}
	return scores, nil
}

// runError gives the reason of a failed run without the runtime's words, which can
// hold parts of the text.
func runError(err error) error {
	text := err.Error()
	for _, is := range []struct {
		part string
		err  error
	}{
		{"Got invalid dimensions for output", errShape},
		{"shape verification failed", errShape},
		{"Unexpected output data type", errShape},
		{"Got invalid rank for output", errShape},
		{"Available memory of", errMemory},
		{"Failed to allocate", errMemory},
		{"bad_alloc", errMemory},
		{"bad allocation", errMemory},
		{"terminate flag", context.DeadlineExceeded},
	} {
		if strings.Contains(text, is.part) {
			return is.err
		}
	}
	return errFailed
}

// close frees the session as soon as nothing runs in it any more.
func (s *ortSession) close() error {
	if s.mu.TryLock() {
		return s.free()
	}
	go func() {
		s.mu.Lock()
		_ = s.free()
	}()
	return nil
}

func (s *ortSession) free() error {
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.session.Destroy()
}
