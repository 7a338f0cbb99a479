package onnx

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/onnxfile"
)

// ports are the input and the output that are used of a model.
type ports struct {
	input  string
	inDims []int64 // of one run: one window, or one row of features
	text   bool

	output  string
	outDims []int64 // of one run: a score for each label
	double  bool    // the output's numbers have 64 bits
}

func (p ports) bits() int {
	if p.double {
		return 64
	}
	return 32
}

// input is what one run gets: a text, or a row of features.
type input struct {
	text     string
	features []float32
}

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

// Why a run failed, as far as the runtime's own words need not be shown: they can
// hold parts of the text.
var (
	errShape  = errors.New("its output has another shape or type than it declares")
	errMemory = errors.New("it asks for more memory than models may have")
	errLeft   = errors.New("it did not stop when it was told to")
	errFailed = errors.New("the runtime failed on this input")
)

// unsupported says that this program has no runtime.
type unsupported struct{}

func (unsupported) Error() string { return "this program was built without cgo, so it has no models" }

// portsOf finds the input and output of a model that its configuration names, and
// says what is wrong with them.
func portsOf(m Model, info *onnxfile.Info) (ports, string) {
	p := ports{text: m.Input == InputString}
	if len(info.Inputs) != 1 {
		return p, "it has " + count(len(info.Inputs), "input") + "; it must have exactly one"
	}
	in := info.Inputs[0]
	p.input = in.Name
	var why string
	if p.text {
		if in.Elem != onnxfile.String {
			return p, "its input is " + in.Elem.String() + "; for input: string it must be string"
		}
		if p.inDims, why = dims(in.Shape, 1); why != "" {
			return p, "its input's shape is " + why + "; it must hold one text: [N], [1], [N, 1] or [1, 1]"
		}
	} else {
		if in.Elem != onnxfile.Float {
			return p, "its input is " + in.Elem.String() + "; for input: features it must be float"
		}
		if p.inDims, why = dims(in.Shape, int64(len(features))); why != "" || len(p.inDims) != 2 {
			return p, "its input must have the shape [N, " + itoa(len(features)) + "], one column for each number of " + FeaturesVersion
		}
	}
	out, why := output(m, info)
	if why != "" {
		return p, why
	}
	p.output = out.Name
	switch out.Elem {
	case onnxfile.Float:
	case onnxfile.Double:
		p.double = true
	default:
		return p, "its output is " + out.Elem.String() + "; it must be float or double"
	}
	if p.outDims, why = dims(out.Shape, int64(len(m.Labels))); why != "" {
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
			parts[i] = short(d.Name)
		case d.Size < 0:
			parts[i] = "?"
		default:
			parts[i] = strconv.FormatInt(d.Size, 10)
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
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
		{"terminate flag", errStopped},
	} {
		if strings.Contains(text, is.part) {
			return is.err
		}
	}
	return errFailed
}
