package onnxfile

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Elem is the element type of a tensor, as TensorProto.DataType numbers it.
type Elem int32

// The element types that this package has a name for.
const (
	Float    Elem = 1
	Uint8    Elem = 2
	Int8     Elem = 3
	Uint16   Elem = 4
	Int16    Elem = 5
	Int32    Elem = 6
	Int64    Elem = 7
	String   Elem = 8
	Bool     Elem = 9
	Float16  Elem = 10
	Double   Elem = 11
	Uint32   Elem = 12
	Uint64   Elem = 13
	BFloat16 Elem = 16
)

// elems are the known element types with the bytes that one element has in
// raw_data; strings have none there.
var elems = map[Elem]struct {
	name  string
	bytes int64
}{
	Float: {"float", 4}, Uint8: {"uint8", 1}, Int8: {"int8", 1}, Uint16: {"uint16", 2}, Int16: {"int16", 2},
	Int32: {"int32", 4}, Int64: {"int64", 8}, String: {"string", 0}, Bool: {"bool", 1}, Float16: {"float16", 2},
	Double: {"double", 8}, Uint32: {"uint32", 4}, Uint64: {"uint64", 8}, BFloat16: {"bfloat16", 2},
}

// String gives the name that ONNX has for the type.
func (e Elem) String() string {
	if k, ok := elems[e]; ok {
		return k.name
	}
	return fmt.Sprintf("type %d", int32(e))
}

// Dim is one dimension of a shape: a size, a name for a size that is known only
// when the model runs, or neither.
type Dim struct {
	Size int64 // meaningful if Name is empty; -1: any
	Name string
}

// Fixed is a dimension of n elements.
func Fixed(n int64) Dim { return Dim{Size: n} }

// Named is a dimension of any size; equal names mean equal sizes.
func Named(name string) Dim { return Dim{Size: -1, Name: name} }

// Field numbers of the messages in onnx.proto.
const (
	modelIR        = 1
	modelProducer  = 2
	modelGraph     = 7
	modelOpset     = 8
	modelMetadata  = 14
	modelFunctions = 25

	graphNode        = 1
	graphName        = 2
	graphInitializer = 5
	graphInput       = 11
	graphOutput      = 12
	graphValueInfo   = 13

	nodeInput     = 1
	nodeOutput    = 2
	nodeName      = 3
	nodeOp        = 4
	nodeAttribute = 5
	nodeDomain    = 7

	attrName    = 1
	attrFloat   = 2
	attrInt     = 3
	attrString  = 4
	attrTensor  = 5
	attrGraph   = 6
	attrFloats  = 7
	attrInts    = 8
	attrStrings = 9
	attrTensors = 10
	attrGraphs  = 11
	attrType    = 20

	tensorDims     = 1
	tensorType     = 2
	tensorFloats   = 4
	tensorInt32s   = 5
	tensorStrings  = 6
	tensorInt64s   = 7
	tensorName     = 8
	tensorRaw      = 9
	tensorDoubles  = 10
	tensorUint64s  = 11
	tensorExternal = 13
	tensorLocation = 14

	valueName = 1
	valueType = 2

	typeTensor = 1

	tensorTypeElem  = 1
	tensorTypeShape = 2

	shapeDim = 1

	dimValue = 1
	dimParam = 2

	opsetDomain  = 1
	opsetVersion = 2

	entryKey   = 1
	entryValue = 2
)

func putString(b []byte, f protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, f, protowire.BytesType), s)
}

func putBytes(b []byte, f protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, f, protowire.BytesType), m)
}

func putInt(b []byte, f protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, f, protowire.VarintType), uint64(v)) //nolint:gosec // G115: two's complement is the wire form
}
