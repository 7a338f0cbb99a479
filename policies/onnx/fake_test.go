package onnx

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cabincrew/action/internal/onnxfile"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

func asError(err error) *protocol.Error {
	var e *protocol.Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// fake is a runtime whose model is a function.
type fake struct {
	score func(ctx context.Context, in input) ([]float64, error)
	runs  atomic.Int64
}

func (f *fake) version() string { return "0.0.0-fake" }

func (f *fake) load(context.Context, []byte, func(context.Context) ([]byte, error), ports) (session, error) {
	return f, nil
}

func (f *fake) run(ctx context.Context, in input) ([]float64, error) {
	f.runs.Add(1)
	return f.score(ctx, in)
}

func (f *fake) close() error { return nil }

// words scores a text by whether it has the word "obey", and how often.
func words(_ context.Context, in input) ([]float64, error) {
	n := min(float64(strings.Count(in.Text, "obey")), 9) / 10
	return []float64{float64(float32(1 - n)), float64(float32(n))}, nil // of 32 bits, as the file says
}

// fileOf is a model that takes text and has two labels.
func fileOf(t testing.TB) []byte {
	t.Helper()
	g := &onnxfile.Graph{}
	g.Input("text", onnxfile.String, onnxfile.Named("n"))
	g.Node("TfIdfVectorizer", "", []string{"text"}, []string{"y"},
		onnxfile.AttrInt("max_gram_length", 1), onnxfile.AttrInt("min_gram_length", 1), onnxfile.AttrInt("max_skip_count", 0), onnxfile.AttrString("mode", "TF"),
		onnxfile.AttrInts("ngram_counts", []int64{0}), onnxfile.AttrInts("ngram_indexes", []int64{0, 1}), onnxfile.AttrStrings("pool_strings", []string{"a", "b"}))
	g.Output("y", onnxfile.Float, onnxfile.Named("n"), onnxfile.Fixed(2))
	return modelFile(g)
}

func modelFile(g *onnxfile.Graph, meta ...onnxfile.Property) []byte {
	return onnxfile.Model{
		Name: "g", Producer: "test", IR: 8, Opsets: []onnxfile.Opset{{Version: 17}, {Domain: "ai.onnx.ml", Version: 3}, {Domain: "com.microsoft", Version: 1}}, Metadata: meta,
	}.Bytes(g)
}

// with gives a model the bytes of a file and their digest.
func (m Model) with(file []byte) Model {
	sum := sha256.Sum256(file)
	m.SHA256 = hex.EncodeToString(sum[:])
	m.Open = func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(file)), nil }
	return m
}

// judged is an evaluator with one model on a fake runtime.
func judged(t testing.TB, f *fake, change func(*Model)) *Evaluator {
	t.Helper()
	m := model().with(fileOf(t))
	if change != nil {
		change(&m)
	}
	if err := Check([]Model{m}); err != nil {
		t.Fatal(err)
	}
	e, err := load(t.Context(), []Model{m}, func() (engine, error) { return f, nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	f.runs.Store(0)
	return e
}

const now = "2026-01-02T03:04:05Z"

// one gives the only finding.
func one(t testing.TB, e *Evaluator, in policies.Input) policies.Finding {
	t.Helper()
	r, err := e.Evaluate(t.Context(), in, now)
	if err != nil || len(r.Findings) != 1 {
		t.Fatalf("got %+v, %v; want one finding", r.Findings, err)
	}
	return r.Findings[0]
}

// patchOf is an artifact that adds lines to a file, from line 10 on.
func patchOf(path string, lines ...string) policies.Artifact {
	f := policies.PatchFile{Op: "modify", Path: path, Added: int64(len(lines)), AddedLines: lines}
	h := policies.Hunk{OldStart: 10, NewStart: 10}
	for i, l := range lines {
		h.Lines = append(h.Lines, policies.Line{Op: "+", Line: int64(10 + i), Text: l})
	}
	f.Hunks = []policies.Hunk{h}
	return policies.Artifact{Name: "changes", Role: "evidence", ArtifactType: "patch", Mime: "text/x-diff", Patch: &policies.Patch{Files: []policies.PatchFile{f}}}
}

func textOf(name, body string) policies.Artifact {
	return policies.Artifact{Name: name, Role: "evidence", ArtifactType: "report", Mime: "text/plain; charset=utf-8", Body: body, Size: int64(len(body))}
}

func step(a ...policies.Artifact) policies.Input { return policies.Input{Artifacts: a} }

// bodies are artifact bodies by name.
type bodies map[string]string

func (b bodies) Open(name string) (io.ReadCloser, error) {
	text, ok := b[name]
	if !ok {
		return nil, errors.New("no such artifact")
	}
	return io.NopCloser(strings.NewReader(text)), nil
}
