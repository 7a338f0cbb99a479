package onnx

import (
	"context"
	"errors"
	"github.com/cabincrew/action/policies/onnx/inside"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cabincrew/action/internal/onnxfile"
	"github.com/cabincrew/action/protocol"
)

func TestNoModelsNeedNothing(t *testing.T) {
	t.Parallel()
	e, err := New(t.Context(), nil, Options{Library: "/none"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.Evaluate(t.Context(), step(textOf("a", "b")), now)
	if err != nil || len(r.Findings) != 0 || len(e.Models()) != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestNewRefusesConfigurationBeforeTheLibrary(t *testing.T) {
	t.Parallel()
	_, err := New(t.Context(), []Model{{}}, Options{Library: "/none"})
	wantConfigError(t, err, "config.models..name")
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	graph := func(in, out onnxfile.Value) []byte {
		g := &onnxfile.Graph{}
		g.Input(in.Name, in.Elem, in.Shape...)
		g.Node("Neg", "", []string{in.Name}, []string{out.Name})
		g.Output(out.Name, out.Elem, out.Shape...)
		return modelFile(g)
	}
	n := onnxfile.Named("n")
	x := onnxfile.Value{Name: "x", Elem: onnxfile.Float, Shape: []onnxfile.Dim{n, onnxfile.Fixed(int64(len(features)))}}
	y := onnxfile.Value{Name: "y", Elem: onnxfile.Float, Shape: []onnxfile.Dim{n, onnxfile.Fixed(2)}}
	asFeatures := func(m *Model) { m.Input = InputFeatures }
	answers := 0.0
	for name, tc := range map[string]struct {
		file   []byte
		change func(*Model)
		f      *fake
		code   string
		want   string
	}{
		"digest":         {fileOf(t), func(m *Model) { m.SHA256 = strings.Repeat("1", 64) }, nil, "model_digest", "not the configured 1111"},
		"digest, warned": {fileOf(t), func(m *Model) { m.SHA256, m.OnError = strings.Repeat("1", 64), protocol.Warn }, nil, "model_digest", "not the configured"},
		"corrupt":        {fileOf(t)[:40], nil, nil, "model_invalid", "cut off"},
		"empty":          {nil, nil, nil, "model_invalid", "empty"},
		"cannot open": {nil, func(m *Model) {
			m.Open = func(context.Context) (io.ReadCloser, error) { return nil, errors.New("no route") }
		}, nil, "model_unreadable", "no route"},
		"cannot read": {nil, func(m *Model) {
			m.Open = func(context.Context) (io.ReadCloser, error) {
				return io.NopCloser(iotest.ErrReader(errors.New("bad disk"))), nil
			}
		}, nil, "model_unreadable", "bad disk"},
		"number for text":  {graph(x, y), nil, nil, "model_invalid", "its input is float"},
		"text for numbers": {fileOf(t), asFeatures, nil, "model_invalid", "cabincrew.features=features/v1"},
		"other columns":    {fileOf(t), func(m *Model) { m.Labels = []string{"injection", "a", "b"} }, nil, "model_invalid", "[n, 2]; for 3 labels"},
		"other output":     {fileOf(t), func(m *Model) { m.Output = "z" }, nil, "model_invalid", "no output with the configured name"},
		"NaN at once":      {fileOf(t), nil, &fake{score: func(context.Context, input) ([]float64, error) { return nil, errNumber }}, "model_output", "no finite number"},
		"two answers": {fileOf(t), nil, &fake{score: func(context.Context, input) ([]float64, error) {
			answers++
			return []float64{answers, 0}, nil
		}}, "model_output", "two answers"},
		"fails at once": {fileOf(t), nil, &fake{score: func(context.Context, input) ([]float64, error) { return nil, inside.ErrFailed }}, "model_failed", "trial run"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := model().with(tc.file)
			if tc.change != nil {
				tc.change(&m)
			}
			f := tc.f
			if f == nil {
				f = &fake{score: words}
			}
			_, err := load(t.Context(), []Model{m}, func() (engine, error) { return f, nil })
			wantDenied(t, err, tc.code, tc.want)
		})
	}
}

func TestPorts(t *testing.T) {
	t.Parallel()
	n, one, two := onnxfile.Named("n"), onnxfile.Fixed(1), onnxfile.Fixed(2)
	columns := onnxfile.Fixed(int64(len(features)))
	type v = onnxfile.Value
	shape := func(d ...onnxfile.Dim) []onnxfile.Dim { return d }
	for name, tc := range map[string]struct {
		kind    string
		in, out v
		labels  int
		want    string // "" for fits
	}{
		"list":              {InputString, v{Elem: onnxfile.String, Shape: shape(n)}, v{Elem: onnxfile.Float, Shape: shape(n, two)}, 2, ""},
		"one":               {InputString, v{Elem: onnxfile.String, Shape: shape(one)}, v{Elem: onnxfile.Float, Shape: shape(two)}, 2, ""},
		"column":            {InputString, v{Elem: onnxfile.String, Shape: shape(n, one)}, v{Elem: onnxfile.Double, Shape: shape(n, n)}, 2, ""},
		"one score":         {InputString, v{Elem: onnxfile.String, Shape: shape(n)}, v{Elem: onnxfile.Float, Shape: shape(n)}, 1, ""},
		"row":               {InputFeatures, v{Elem: onnxfile.Float, Shape: shape(n, columns)}, v{Elem: onnxfile.Float, Shape: shape(one, two)}, 2, ""},
		"two texts":         {InputString, v{Elem: onnxfile.String, Shape: shape(two)}, v{Elem: onnxfile.Float, Shape: shape(two)}, 2, "input's shape"},
		"no shape":          {InputString, v{Elem: onnxfile.String}, v{Elem: onnxfile.Float, Shape: shape(two)}, 2, "not declared"},
		"flat row":          {InputFeatures, v{Elem: onnxfile.Float, Shape: shape(columns)}, v{Elem: onnxfile.Float, Shape: shape(two)}, 2, "must have the shape"},
		"few columns":       {InputFeatures, v{Elem: onnxfile.Float, Shape: shape(n, two)}, v{Elem: onnxfile.Float, Shape: shape(two)}, 2, "must have the shape"},
		"double features":   {InputFeatures, v{Elem: onnxfile.Double, Shape: shape(n, columns)}, v{Elem: onnxfile.Float, Shape: shape(two)}, 2, "must be float"},
		"labels as output":  {InputString, v{Elem: onnxfile.String, Shape: shape(n)}, v{Elem: onnxfile.String, Shape: shape(n)}, 1, "must be float or double"},
		"dynamic flat":      {InputString, v{Elem: onnxfile.String, Shape: shape(n)}, v{Elem: onnxfile.Float, Shape: shape(n)}, 2, "output's shape"},
		"no shape of score": {InputString, v{Elem: onnxfile.String, Shape: shape(n)}, v{Elem: onnxfile.Float}, 2, "not declared"},
	} {
		m := model()
		m.Input, m.Labels = tc.kind, make([]string, tc.labels)
		_, why := portsOf(m, &onnxfile.Info{Inputs: []v{tc.in}, Outputs: []v{tc.out}})
		if (why == "") != (tc.want == "") || !strings.Contains(why, tc.want) {
			t.Errorf("%s: %q, want %q", name, why, tc.want)
		}
	}
	for _, info := range []*onnxfile.Info{{}, {Inputs: make([]v, 2)}} {
		if _, why := portsOf(model(), info); !strings.Contains(why, "exactly one") {
			t.Errorf("got %q", why)
		}
	}
	two2 := &onnxfile.Info{Inputs: []v{{Elem: onnxfile.String, Shape: shape(n)}}, Outputs: make([]v, 2)}
	if _, why := portsOf(model(), two2); !strings.Contains(why, "2 outputs") {
		t.Errorf("got %q", why)
	}
}

func TestWithoutARuntime(t *testing.T) {
	t.Parallel()
	_, err := load(t.Context(), []Model{model().with(fileOf(t))}, func() (engine, error) { return nil, inside.UnsupportedError{} })
	wantDenied(t, err, "model_unsupported", "without cgo")
}
