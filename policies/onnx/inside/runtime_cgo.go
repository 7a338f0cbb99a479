//go:build cgo

package inside

import (
	"context"
	"errors"
	"fmt"
	"strings"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/cabincrew/action/internal/limits"
)

// HasRuntime says that this program can run models.
const HasRuntime = true

// start loads the library, which a process has once and never unloads, and gives
// its version.
func start(path string) (string, error) {
	ort.SetSharedLibraryPath(path)
	if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
		return "", startError(path, err)
	}
	if err := boundMemory(); err != nil {
		return "", errors.Join(libraryError{CodeVersion,
			fmt.Sprintf("the memory of the ONNX Runtime library %q cannot be bounded: %v", path, err)}, ort.DestroyEnvironment())
	}
	return ort.GetVersion(), nil
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
		return libraryError{CodeVersion, fmt.Sprintf("%q is no ONNX Runtime library of version 1.24 or later", path)}
	case strings.Contains(text, "cannot open shared object file") || strings.Contains(text, "no such file"):
		return libraryError{CodeMissing, fmt.Sprintf("the ONNX Runtime library %q is not found", path)}
	default:
		return libraryError{CodeMissing, fmt.Sprintf("the ONNX Runtime library %q cannot be loaded: %v", path, err)}
	}
}

// open makes a session of a model's bytes.
func open(file []byte, p Ports) (session, error) {
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
	opened, err := ort.NewDynamicAdvancedSessionWithONNXData(file, []string{p.Input}, []string{p.Output}, o)
	if err != nil {
		return nil, err
	}
	return &ortSession{session: opened, ports: p}, nil
}

// ortSession is a session of the runtime.
type ortSession struct {
	session *ort.DynamicAdvancedSession
	ports   Ports
}

// run ends after ctx does as soon as the runtime looks, which is between two nodes.
func (s *ortSession) run(ctx context.Context, in Input) ([]float64, error) {
	options, err := ort.NewRunOptions()
	if err != nil {
		return nil, ErrFailed
	}
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		_ = options.Terminate() // what does not stop ends with the process
	})
	scores, err := s.once(in, options)
	if !stop() {
		<-told
	}
	_ = options.Destroy() // nothing depends on it any more
	return scores, err
}

// once is one call of the runtime. The output is made before, in the shape that it
// must have, so that no model can fill memory with another.
func (s *ortSession) once(in Input, options *ort.RunOptions) ([]float64, error) {
	value, err := s.input(in)
	if err != nil {
		return nil, ErrFailed
	}
	defer func() { _ = value.Destroy() }()
	if s.ports.Double {
		return runInto[float64](s, value, options)
	}
	return runInto[float32](s, value, options)
}

func (s *ortSession) input(in Input) (ort.Value, error) {
	if !s.ports.Text {
		return ort.NewTensor(ort.NewShape(s.ports.InDims...), in.Features)
	}
	t, err := ort.NewStringTensor(ort.NewShape(s.ports.InDims...))
	if err != nil {
		return nil, err
	}
	if err := t.SetContents([]string{in.Text}); err != nil {
		return nil, errors.Join(err, t.Destroy())
	}
	return t, nil
}

func runInto[T float32 | float64](s *ortSession, value ort.Value, options *ort.RunOptions) ([]float64, error) {
	out, err := ort.NewEmptyTensor[T](ort.NewShape(s.ports.OutDims...))
	if err != nil {
		return nil, ErrFailed
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

func (s *ortSession) close() error { return s.session.Destroy() }
