package onnxfile

import (
	"encoding/binary"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Attr is one attribute of a node.
type Attr struct{ b []byte }

// attribute kinds, as AttributeProto.AttributeType numbers them.
const (
	kindFloat   = 1
	kindInt     = 2
	kindString  = 3
	kindTensor  = 4
	kindGraph   = 5
	kindFloats  = 6
	kindInts    = 7
	kindStrings = 8
)

// AttrInt is an attribute with one integer.
func AttrInt(name string, v int64) Attr {
	return attr(putInt(putString(nil, attrName, name), attrInt, v), kindInt)
}

// AttrFloat is an attribute with one float.
func AttrFloat(name string, v float32) Attr {
	b := protowire.AppendTag(putString(nil, attrName, name), attrFloat, protowire.Fixed32Type)
	return attr(protowire.AppendFixed32(b, math.Float32bits(v)), kindFloat)
}

// AttrString is an attribute with one string.
func AttrString(name, v string) Attr {
	return attr(putString(putString(nil, attrName, name), attrString, v), kindString)
}

// AttrInts is an attribute with a list of integers.
func AttrInts(name string, v []int64) Attr {
	var p []byte
	for _, x := range v {
		p = protowire.AppendVarint(p, uint64(x)) //nolint:gosec // G115: two's complement is the wire form
	}
	return attr(putBytes(putString(nil, attrName, name), attrInts, p), kindInts)
}

// AttrFloats is an attribute with a list of floats.
func AttrFloats(name string, v []float32) Attr {
	return attr(putBytes(putString(nil, attrName, name), attrFloats, rawFloats(v)), kindFloats)
}

// AttrStrings is an attribute with a list of strings.
func AttrStrings(name string, v []string) Attr {
	b := putString(nil, attrName, name)
	for _, s := range v {
		b = putString(b, attrStrings, s)
	}
	return attr(b, kindStrings)
}

// AttrTensor is an attribute with one tensor, as Floats, Int64s, Strings or Raw
// would add it.
func AttrTensor(name string, t Tensor) Attr {
	return attr(putBytes(putString(nil, attrName, name), attrTensor, t.b), kindTensor)
}

// AttrGraph is an attribute with a graph of its own, for operators such as If.
func AttrGraph(name string, g *Graph) Attr {
	return attr(putBytes(putString(nil, attrName, name), attrGraph, g.named(name)), kindGraph)
}

func attr(b []byte, kind int64) Attr { return Attr{putInt(b, attrType, kind)} }

// Tensor is a constant.
type Tensor struct{ b []byte }

// Floats is a constant of floats.
func Floats(name string, dims []int64, v []float32) Tensor {
	return Raw(name, Float, dims, rawFloats(v))
}

// Int64s is a constant of integers.
func Int64s(name string, dims, v []int64) Tensor {
	raw := make([]byte, 0, 8*len(v))
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(x)) //nolint:gosec // G115: two's complement is the wire form
	}
	return Raw(name, Int64, dims, raw)
}

// Strings is a constant of strings.
func Strings(name string, dims []int64, v []string) Tensor {
	b := tensor(name, String, dims)
	for _, s := range v {
		b = putString(b, tensorStrings, s)
	}
	return Tensor{b}
}

// Raw is a constant of any fixed-size type from its little-endian bytes.
func Raw(name string, elem Elem, dims []int64, raw []byte) Tensor {
	return Tensor{putBytes(tensor(name, elem, dims), tensorRaw, raw)}
}

func tensor(name string, elem Elem, dims []int64) []byte {
	var b []byte
	for _, d := range dims {
		b = putInt(b, tensorDims, d)
	}
	return putString(putInt(b, tensorType, int64(elem)), tensorName, name)
}

func rawFloats(v []float32) []byte {
	raw := make([]byte, 0, 4*len(v))
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return raw
}

// Graph is a graph that is being built. Its parts stand in the file in the order
// of the calls. Whether they fit together is for a runtime to say.
type Graph struct{ b []byte }

// Node adds a node. The empty domain is that of ONNX itself. Its name is the
// operator and the first output, so nodes need an output each.
func (g *Graph) Node(op, domain string, inputs, outputs []string, attrs ...Attr) {
	var n []byte
	for _, s := range inputs {
		n = putString(n, nodeInput, s)
	}
	for _, s := range outputs {
		n = putString(n, nodeOutput, s)
	}
	name := op
	if len(outputs) > 0 {
		name += "_" + outputs[0]
	}
	n = putString(n, nodeName, name)
	n = putString(n, nodeOp, op)
	for _, a := range attrs {
		n = putBytes(n, nodeAttribute, a.b)
	}
	if domain != "" {
		n = putString(n, nodeDomain, domain)
	}
	g.b = putBytes(g.b, graphNode, n)
}

// Initializer adds a constant that nodes name as an input.
func (g *Graph) Initializer(t Tensor) { g.b = putBytes(g.b, graphInitializer, t.b) }

// Input adds an input.
func (g *Graph) Input(name string, elem Elem, dims ...Dim) { g.value(graphInput, name, elem, dims) }

// Output adds an output.
func (g *Graph) Output(name string, elem Elem, dims ...Dim) { g.value(graphOutput, name, elem, dims) }

func (g *Graph) value(f protowire.Number, name string, elem Elem, dims []Dim) {
	var shape []byte
	for _, d := range dims {
		var one []byte
		switch {
		case d.Name != "":
			one = putString(nil, dimParam, d.Name)
		case d.Size >= 0:
			one = putInt(nil, dimValue, d.Size)
		}
		shape = putBytes(shape, shapeDim, one)
	}
	t := putBytes(putInt(nil, tensorTypeElem, int64(elem)), tensorTypeShape, shape)
	g.b = putBytes(g.b, f, putBytes(putString(nil, valueName, name), valueType, putBytes(nil, typeTensor, t)))
}

// named gives the graph's message; what is added to g later is not in it.
func (g *Graph) named(name string) []byte {
	return putString(slices.Clip(g.b), graphName, name)
}

// Opset is a version of the operators of a domain.
type Opset struct {
	Domain  string
	Version int64
}

// Property is one entry of a model's metadata.
type Property struct{ Key, Value string }

// Model is what a file says beside its graph.
type Model struct {
	Name     string // of the graph
	Producer string
	IR       int64 // version of the file's form; runtimes of ONNX 1.16 read up to 10
	Opsets   []Opset
	Metadata []Property
}

// Bytes gives the file of a graph.
func (m Model) Bytes(g *Graph) []byte {
	b := putInt(nil, modelIR, m.IR)
	b = putString(b, modelProducer, m.Producer)
	b = putBytes(b, modelGraph, g.named(m.Name))
	for _, o := range m.Opsets {
		b = putBytes(b, modelOpset, putInt(putString(nil, opsetDomain, o.Domain), opsetVersion, o.Version))
	}
	for _, p := range m.Metadata {
		b = putBytes(b, modelMetadata, putString(putString(nil, entryKey, p.Key), entryValue, p.Value))
	}
	return b
}
