package onnx

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"github.com/cabincrew/action/policies/onnx/inside"
	"io"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/onnxfile"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Evaluator judges with loaded models. It implements policies.Evaluator.
type Evaluator struct {
	models  []*loaded
	slots   chan struct{} // one for each inference at a time, and for each that waits
	runtime string
}

var _ policies.Evaluator = (*Evaluator)(nil)

// loaded is a model that is ready.
type loaded struct {
	Model

	digest  string
	bits    int // of a score
	session session

	mu     sync.Mutex
	cache  map[[32]byte][]float64     // scores of texts by their digest
	flying map[[32]byte]chan struct{} // those that are being judged; closed at the end
}

// New loads models and tries each. What is wrong with the configuration has exit
// 2; a model or library that cannot be had, is not the one that was named or does
// not work denies, with exit 3. Without models there is nothing that can be wrong.
func New(ctx context.Context, models []Model, o Options) (*Evaluator, error) {
	if err := Check(models); err != nil {
		return nil, err
	}
	return load(ctx, models, func() (engine, error) { return remoteEngine(o) })
}

// load is New with any engine.
func load(ctx context.Context, models []Model, start func() (engine, error)) (*Evaluator, error) {
	e := &Evaluator{slots: make(chan struct{}, runtime.GOMAXPROCS(0)+limits.OnnxAhead)}
	if len(models) == 0 {
		return e, nil
	}
	engine, err := start()
	if errors.As(err, &inside.UnsupportedError{}) {
		return nil, protocol.Errorf(protocol.ExitDenied, "model_unsupported", "%d models are configured, but %w", len(models), err).
			At("config.models").WithHint("take a release for this system, build with CGO_ENABLED=1 and a C compiler, or take the models out of the configuration")
	}
	if err != nil {
		return nil, err
	}
	for _, m := range models {
		l, err := prepare(ctx, m.withDefaults(), engine)
		if err != nil {
			return nil, errors.Join(err, e.Close())
		}
		e.models = append(e.models, l)
	}
	e.runtime = engine.version()
	return e, nil
}

// Close gives the models' memory back. Nothing may be evaluated afterwards.
func (e *Evaluator) Close() error {
	var errs []error
	for _, m := range e.models {
		errs = append(errs, m.session.close())
	}
	return errors.Join(errs...)
}

// Loaded says which models judge.
type Loaded struct {
	Name    string
	Digest  string // sha256:...
	Runtime string // version of the library
}

// Models gives the loaded models in the order of the configuration.
func (e *Evaluator) Models() []Loaded {
	out := make([]Loaded, len(e.models))
	for i, m := range e.models {
		out[i] = Loaded{m.Name, m.digest, e.runtime}
	}
	return out
}

func prepare(ctx context.Context, m Model, engine engine) (*loaded, error) {
	file, err := read(ctx, m)
	if err != nil {
		return nil, err
	}
	info, err := onnxfile.Parse(file, fileLimits())
	if err != nil {
		return nil, invalid(m, err.Error())
	}
	if m.Input == InputFeatures && !slices.Contains(info.Metadata, onnxfile.Property{Key: FeaturesKey, Value: FeaturesVersion}) {
		return nil, invalid(m, "its metadata does not say "+FeaturesKey+"="+FeaturesVersion+", so that it may be made for other numbers")
	}
	p, why := portsOf(m, info)
	if why != "" {
		return nil, invalid(m, why)
	}
	ctx, cancel := context.WithTimeout(ctx, limits.OnnxLoad)
	defer cancel()
	l := &loaded{Model: m, digest: "sha256:" + m.SHA256, bits: p.Bits(), cache: map[[32]byte][]float64{}, flying: map[[32]byte]chan struct{}{}}
	again := func(ctx context.Context) ([]byte, error) { return read(ctx, m) }
	if l.session, err = engine.load(ctx, file, again, p); err != nil {
		return nil, l.unloaded(ctx, err)
	}
	if err := l.try(ctx); err != nil {
		return nil, errors.Join(err, l.session.close())
	}
	return l, nil
}

// unloaded tells the reasons apart for which a model could not be loaded.
func (m *loaded) unloaded(ctx context.Context, err error) error {
	var told *protocol.Error
	var refused refusal
	var not unstartable
	switch {
	case ctx.Err() != nil:
		return denied(m.Model, "model_timeout", "loading it took more than %s", limits.OnnxLoad)
	case errors.As(err, &told): // of the library
		return told
	case errors.As(err, &refused):
		return invalid(m.Model, "the runtime refuses it: "+refused.why)
	case errors.As(err, &not):
		return started(m.Model, err)
	}
	return m.failure(err, "when it was loaded")
}

// read reads a model's bytes, once, and compares them with their SHA-256.
func read(ctx context.Context, m Model) ([]byte, error) {
	if m.Open == nil {
		return nil, configError(m.At, "model %q has no file", m.Name)
	}
	r, err := m.Open(ctx)
	if err != nil {
		return nil, denied(m, "model_unreadable", "it cannot be opened: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(r, limits.OnnxFile+1))
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, denied(m, "model_unreadable", "it cannot be read: %w", err)
	}
	if len(b) > limits.OnnxFile {
		return nil, denied(m, "model_unreadable", "it has more than %d bytes", limits.OnnxFile)
	}
	sum := sha256.Sum256(b)
	if got := hex.EncodeToString(sum[:]); got != m.SHA256 {
		return nil, protocol.Errorf(protocol.ExitDenied, "model_digest",
			"model %q (%s) has SHA-256 %s, not the configured %s", m.Name, m.Source, got, m.SHA256).At(m.At + ".sha256").
			WithHint("the file is another than the one that was configured; bring the right one back, or review the new one and configure its SHA-256")
	}
	return b, nil
}

func fileLimits() onnxfile.Limits {
	return onnxfile.Limits{
		Bytes: limits.OnnxFile, Nodes: limits.OnnxNodes, Tensors: limits.OnnxTensors, Elements: limits.OnnxElements,
		Numbers: limits.OnnxNumbers, Depth: limits.OnnxDepth, Name: limits.OnnxName, Text: limits.OnnxText,
		Rank: limits.OnnxRank, Ports: limits.OnnxPorts, Inputs: limits.OnnxNodePorts, Property: limits.OnnxProperty,
	}
}

// sampleText is what a model is tried with; it has what text in changes has.
const sampleText = "// Add returns the sum; ignore nothing, trust no comment.\nfunc Add(a, b int) int { return a + b }\n\nÜber “naïve” text: 数, \U0001f642.\n"

// try proves that a model works before it judges anything: it must answer, twice
// and the same, as many finite numbers as it has labels.
func (m *loaded) try(ctx context.Context) error {
	in := input{Text: sampleText}
	if m.Input == InputFeatures {
		in = input{Features: sampleFeatures()}
	}
	var first []float64
	for range 2 {
		scores, err := m.score(ctx, in)
		if errors.Is(err, context.DeadlineExceeded) {
			return denied(m.Model, "model_timeout", "loading and trying it took more than %s", limits.OnnxLoad).WithHint("take a smaller model")
		}
		if err != nil {
			return m.failure(err, "on its trial run")
		}
		if first != nil && !slices.Equal(first, scores) {
			return denied(m.Model, "model_output", "it gives two answers for one input, so that nobody could check what it says")
		}
		first = scores
	}
	return nil
}

// score runs the model once and checks what it says.
func (m *loaded) score(ctx context.Context, in input) ([]float64, error) {
	scores, err := m.session.run(ctx, in)
	if err != nil {
		return nil, err
	}
	if len(scores) != len(m.Labels) {
		return nil, inside.ErrShape
	}
	for _, s := range scores {
		if math.IsNaN(s) || math.IsInf(s, 0) {
			return nil, errNumber
		}
	}
	return scores, nil
}

var errNumber = errors.New("it gives a score that is no finite number")

// cached is score for an input that may have been judged before, or is just now.
func (m *loaded) cached(ctx context.Context, in input) ([]float64, error) {
	digest := sha256.Sum256(in.Bytes())
	for {
		scores, wait := m.known(digest)
		if scores != nil {
			return scores, nil
		}
		if wait == nil {
			return m.fresh(ctx, in, digest)
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// known gives the scores of an input, or a channel that is closed when somebody
// else has judged it, or neither: then the caller must judge it, with fresh.
func (m *loaded) known(digest [32]byte) ([]float64, chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if scores, ok := m.cache[digest]; ok {
		return scores, nil
	}
	if wait, ok := m.flying[digest]; ok {
		return nil, wait
	}
	m.flying[digest] = make(chan struct{})
	return nil, nil
}

func (m *loaded) fresh(ctx context.Context, in input, digest [32]byte) ([]float64, error) {
	scores, err := m.score(ctx, in)
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.flying[digest])
	delete(m.flying, digest)
	if err == nil && len(m.cache) < limits.OnnxCache {
		m.cache[digest] = scores
	}
	return scores, err
}

// failure tells the reasons apart for which a model could not judge. when says at
// what it failed; the cause of the error is the reason alone.
func (m *loaded) failure(err error, when string) *protocol.Error {
	var crashed crash
	switch {
	case errors.As(err, &crashed):
		return denied(m.Model, "model_crashed", "%w %s", err, when).
			WithHint("take the model out, or have its author look at what the runtime does with it; nothing else was harmed")
	case errors.Is(err, inside.ErrShape), errors.Is(err, errNumber):
		return denied(m.Model, "model_output", "%w %s", err, when).
			WithHint("it must give a finite number for each of the %d labels; compare labels and output with what its author says", len(m.Labels))
	case errors.Is(err, inside.ErrMemory):
		return denied(m.Model, "model_memory", "%w %s", err, when).
			WithHint("it may hold %d bytes of tensors and %d beside them; take a smaller model or a smaller window", limits.OnnxMemory, limits.OnnxProcess)
	case errors.Is(err, errLeft):
		return denied(m.Model, "model_timeout", "%w %s", err, when).WithHint("its single steps take too long; take a smaller model")
	case errors.Is(err, context.DeadlineExceeded):
		return denied(m.Model, "model_timeout", "it took more than %s %s", m.Timeout, when).
			WithHint("let it read less (reads), give it more time (timeout) or take a smaller model")
	default:
		return denied(m.Model, "model_failed", "%w %s", err, when).
			WithHint("try it on a machine of your own; docs/models.md says what a model must be like")
	}
}

func denied(m Model, code, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, code, "model %q (%s) cannot judge: %w", m.Name, m.Source, fmt.Errorf(format, args...)).At(m.At).
		WithHint("mend the model or take it out of the configuration; until then everything is denied")
}

func invalid(m Model, why string) *protocol.Error {
	return denied(m, "model_invalid", "%s", why).WithHint("docs/models.md says what a model must be like; mend it or take it out of the configuration")
}
