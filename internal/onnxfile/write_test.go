package onnxfile

import (
	"bytes"
	"testing"
)

// linear is a model of three features and two labels.
func linear() []byte {
	g := &Graph{}
	g.Input("x", Float, Named("n"), Fixed(3))
	g.Initializer(Floats("w", []int64{3, 2}, []float32{1, -1, 0.5, -0.5, 0, 0}))
	g.Initializer(Floats("b", []int64{2}, []float32{0, 0}))
	g.Node("Gemm", "", []string{"x", "w", "b"}, []string{"z"}, AttrFloat("alpha", 1))
	g.Node("Softmax", "", []string{"z"}, []string{"score"}, AttrInt("axis", 1))
	g.Output("score", Float, Named("n"), Fixed(2))
	return Model{
		Name: "linear", Producer: "test", IR: 9,
		Opsets:   []Opset{{"", 17}, {"ai.onnx.ml", 3}},
		Metadata: []Property{{"purpose", "a test"}},
	}.Bytes(g)
}

func TestSameCallsSameBytes(t *testing.T) {
	t.Parallel()
	if !bytes.Equal(linear(), linear()) {
		t.Error("two files of one model differ")
	}
}
