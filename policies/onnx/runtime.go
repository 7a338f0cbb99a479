package onnx

import (
	"context"
	"errors"
	"github.com/cabincrew/action/policies/onnx/inside"
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/onnxfile"
)

type (
	ports = inside.Ports
	input = inside.Input
)

// engine makes sessions.
type engine interface {
	// load makes a session of a model's bytes, which again gives again. It ends soon
	// after ctx does.
	load(ctx context.Context, file []byte, again func(context.Context) ([]byte, error), p ports) (session, error)
	// version is that of the library, as soon as a model was loaded.
	version() string
}

// session runs one model; it is safe for concurrent use.
type session interface {
	// run gives the scores. It ends soon after ctx does.
	run(ctx context.Context, in input) ([]float64, error)
	close() error
}

// errLeft is why a process was ended.
var errLeft = errors.New("it did not stop when it was told to")

// portsOf finds the input and output of a model that its configuration names, and
// says what is wrong with them.
func portsOf(m Model, info *onnxfile.Info) (ports, string) {
	p := ports{Text: m.Input == InputString}
	if len(info.Inputs) != 1 {
		return p, "it has " + count(len(info.Inputs), "input") + "; it must have exactly one"
	}
	in := info.Inputs[0]
	p.Input = in.Name
	var why string
	if p.Text {
		if in.Elem != onnxfile.String {
			return p, "its input is " + in.Elem.String() + "; for input: string it must be string"
		}
		if p.InDims, why = dims(in.Shape, 1); why != "" {
			return p, "its input's shape is " + why + "; it must hold one text: [N], [1], [N, 1] or [1, 1]"
		}
	} else {
		if in.Elem != onnxfile.Float {
			return p, "its input is " + in.Elem.String() + "; for input: features it must be float"
		}
		if p.InDims, why = dims(in.Shape, int64(len(features))); why != "" || len(p.InDims) != 2 {
			return p, "its input must have the shape [N, " + itoa(len(features)) + "], one column for each number of " + FeaturesVersion
		}
	}
	out, why := output(m, info)
	if why != "" {
		return p, why
	}
	p.Output = out.Name
	switch out.Elem {
	case onnxfile.Float:
	case onnxfile.Double:
		p.Double = true
	default:
		return p, "its output is " + out.Elem.String() + "; it must be float or double"
	}
	if p.OutDims, why = dims(out.Shape, int64(len(m.Labels))); why != "" {
		return p, "its output's shape is " + why + "; for " + count(len(m.Labels), "label") + " it must be [N, " + itoa(len(m.Labels)) + "]"
	}
	return p, ""
}

func output(m Model, info *onnxfile.Info) (onnxfile.Value, string) {
	if m.Output == "" {
		if len(info.Outputs) != 1 {
			return onnxfile.Value{}, "it has " + count(len(info.Outputs), "output") + "; name the one with the scores with output:"
		}
		return info.Outputs[0], ""
	}
	for _, o := range info.Outputs {
		if o.Name == m.Output {
			return o, ""
		}
	}
	return onnxfile.Value{}, "it has no output with the configured name"
}

// dims gives the dimensions of one row of n columns for a declared shape, or says
// why they do not fit. A single column may be a shape of one dimension.
func dims(shape []onnxfile.Dim, n int64) ([]int64, string) {
	fits := func(d onnxfile.Dim, n int64) bool { return d.Size == n || d.Size < 0 }
	switch {
	case len(shape) == 1 && fits(shape[0], 1) && n == 1:
		return []int64{1}, ""
	case len(shape) == 1 && shape[0].Size == n:
		return []int64{n}, ""
	case len(shape) == 2 && fits(shape[0], 1) && fits(shape[1], n):
		return []int64{1, n}, ""
	case shape == nil:
		return nil, "not declared"
	}
	return nil, shapeText(shape)
}

func shapeText(shape []onnxfile.Dim) string {
	parts := make([]string, len(shape))
	for i, d := range shape {
		switch {
		case d.Name != "":
			parts[i] = inside.Short(d.Name)
		case d.Size < 0:
			parts[i] = "?"
		default:
			parts[i] = strconv.FormatInt(d.Size, 10)
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
