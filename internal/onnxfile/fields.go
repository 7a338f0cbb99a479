package onnxfile

import (
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

func wrong(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// kind is how a field may stand in a message.
type kind byte

const (
	one    kind = iota + 1 // at most once
	many                   // any number of times
	packed                 // a list of numbers, packed or not
	never                  // not at all
)

// rule is what a message may hold in one field.
type rule struct {
	name string
	kind kind
	wire protowire.Type
}

// message is the table of a message's fields. What is not in it is refused: a
// runtime that is newer than this table might read it.
type message struct {
	name   string
	fields map[protowire.Number]rule
}

const (
	wInt   = protowire.VarintType
	wBytes = protowire.BytesType
	wF32   = protowire.Fixed32Type
	wF64   = protowire.Fixed64Type
)

var (
	modelMessage = message{"the model", map[protowire.Number]rule{
		modelIR: {"ir_version", one, wInt}, modelProducer: {"producer_name", one, wBytes}, 3: {"producer_version", one, wBytes},
		4: {"domain", one, wBytes}, 5: {"model_version", one, wInt}, 6: {"doc_string", one, wBytes},
		modelGraph: {"graph", one, wBytes}, modelOpset: {"opset_import", many, wBytes}, modelMetadata: {"metadata_props", many, wBytes},
		20: {"training_info", never, wBytes}, modelFunctions: {"functions", never, wBytes}, 26: {"configuration", never, wBytes},
	}}
	graphMessage = message{"a graph", map[protowire.Number]rule{
		graphNode: {"node", many, wBytes}, graphName: {"name", one, wBytes}, graphInitializer: {"initializer", many, wBytes},
		10: {"doc_string", one, wBytes}, graphInput: {"input", many, wBytes}, graphOutput: {"output", many, wBytes},
		graphValueInfo: {"value_info", many, wBytes}, 14: {"quantization_annotation", never, wBytes},
		15: {"sparse_initializer", never, wBytes}, 16: {"metadata_props", many, wBytes},
	}}
	nodeMessage = message{"a node", map[protowire.Number]rule{
		nodeInput: {"input", many, wBytes}, nodeOutput: {"output", many, wBytes}, nodeName: {"name", one, wBytes},
		nodeOp: {"op_type", one, wBytes}, nodeAttribute: {"attribute", many, wBytes}, 6: {"doc_string", one, wBytes},
		nodeDomain: {"domain", one, wBytes}, 8: {"overload", never, wBytes}, 9: {"metadata_props", many, wBytes},
		10: {"device_configurations", never, wBytes},
	}}
	attrMessage = message{"an attribute", map[protowire.Number]rule{
		attrName: {"name", one, wBytes}, attrFloat: {"f", one, wF32}, attrInt: {"i", one, wInt}, attrString: {"s", one, wBytes},
		attrTensor: {"t", one, wBytes}, attrGraph: {"g", one, wBytes}, attrFloats: {"floats", packed, wF32},
		attrInts: {"ints", packed, wInt}, attrStrings: {"strings", many, wBytes}, attrTensors: {"tensors", never, wBytes},
		attrGraphs: {"graphs", never, wBytes}, 13: {"doc_string", one, wBytes}, 14: {"tp", never, wBytes},
		15: {"type_protos", never, wBytes}, attrType: {"type", one, wInt}, 21: {"ref_attr_name", never, wBytes},
		22: {"sparse_tensor", never, wBytes}, 23: {"sparse_tensors", never, wBytes},
	}}
	tensorMessage = message{"a constant", map[protowire.Number]rule{
		tensorDims: {"dims", packed, wInt}, tensorType: {"data_type", one, wInt}, 3: {"segment", never, wBytes},
		tensorFloats: {"float_data", packed, wF32}, tensorInt32s: {"int32_data", packed, wInt},
		tensorStrings: {"string_data", many, wBytes}, tensorInt64s: {"int64_data", packed, wInt},
		tensorName: {"name", one, wBytes}, tensorRaw: {"raw_data", one, wBytes}, tensorDoubles: {"double_data", packed, wF64},
		tensorUint64s: {"uint64_data", packed, wInt}, 12: {"doc_string", one, wBytes},
		tensorExternal: {"external_data", never, wBytes}, tensorLocation: {"data_location", one, wInt}, 16: {"metadata_props", many, wBytes},
	}}
	valueMessage = message{"a declared value", map[protowire.Number]rule{
		valueName: {"name", one, wBytes}, valueType: {"type", one, wBytes}, 3: {"doc_string", one, wBytes}, 4: {"metadata_props", many, wBytes},
	}}
	typeMessage = message{"a type", map[protowire.Number]rule{
		typeTensor: {"tensor_type", one, wBytes}, 4: {"sequence_type", never, wBytes}, 5: {"map_type", never, wBytes},
		6: {"denotation", one, wBytes}, 7: {"opaque_type", never, wBytes}, 8: {"sparse_tensor_type", never, wBytes}, 9: {"optional_type", never, wBytes},
	}}
	tensorTypeMessage = message{"a tensor's type", map[protowire.Number]rule{
		tensorTypeElem: {"elem_type", one, wInt}, tensorTypeShape: {"shape", one, wBytes},
	}}
	shapeMessage = message{"a shape", map[protowire.Number]rule{shapeDim: {"dim", many, wBytes}}}
	dimMessage   = message{"a dimension", map[protowire.Number]rule{
		dimValue: {"dim_value", one, wInt}, dimParam: {"dim_param", one, wBytes}, 3: {"denotation", one, wBytes},
	}}
	opsetMessage = message{"an operator set", map[protowire.Number]rule{opsetDomain: {"domain", one, wBytes}, opsetVersion: {"version", one, wInt}}}
	entryMessage = message{"a metadata entry", map[protowire.Number]rule{entryKey: {"key", one, wBytes}, entryValue: {"value", one, wBytes}}}
)

// field is one field of a message as it stands in the file. A packed list is one
// field with all its entries; there may be more.
type field struct {
	num  protowire.Number
	bits uint64   // varint or fixed
	data []byte   // bytes
	list []uint64 // of a packed field only
}

func (f field) int() int64 { return int64(f.bits) } //nolint:gosec // G115: two's complement is the wire form

// each calls do for every field of a message, in order. It refuses what the
// table does not know and what readers of protobuf would merge or drop.
func (m message) each(b []byte, numbers *int, do func(field) error) error {
	var seen uint64
	for len(b) > 0 {
		num, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return wrong("%s is cut off or corrupt", m.name)
		}
		b = b[n:]
		r, ok := m.fields[num]
		switch {
		case !ok:
			return wrong("%s has an unknown field %d", m.name, num)
		case r.kind == never:
			return wrong("%s has %s, which is not allowed", m.name, r.name)
		case r.kind == one && seen&(1<<num) != 0:
			return wrong("%s has %s twice", m.name, r.name)
		}
		seen |= 1 << num // every known number is below 64
		f, rest, err := r.read(m.name, b, num, wire, numbers)
		if err != nil {
			return err
		}
		if err := do(f); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

func (r rule) read(where string, b []byte, num protowire.Number, wire protowire.Type, numbers *int) (field, []byte, error) {
	f := field{num: num}
	if r.kind == packed && wire == wBytes {
		data, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return f, nil, wrong("%s of %s is cut off", r.name, where)
		}
		var err error
		f.list, err = r.unpack(where, data, numbers)
		return f, b[n:], err
	}
	if wire != r.wire {
		return f, nil, wrong("%s of %s has another wire type than it must", r.name, where)
	}
	if wire == wBytes {
		data, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return f, nil, wrong("%s of %s is cut off", r.name, where)
		}
		f.data = data
		return f, b[n:], nil
	}
	v, n := number(wire, b)
	if n < 0 {
		return f, nil, wrong("%s of %s is cut off or corrupt", r.name, where)
	}
	if r.kind == packed {
		if *numbers--; *numbers < 0 {
			return f, nil, wrong("its lists have too many entries")
		}
		f.list = []uint64{v}
	}
	f.bits = v
	return f, b[n:], nil
}

// unpack gives the entries of a packed list. Each costs eight bytes here and at
// most as much in a runtime, so that their number is bounded for the whole file.
func (r rule) unpack(where string, data []byte, numbers *int) ([]uint64, error) {
	var list []uint64
	for len(data) > 0 {
		v, n := number(r.wire, data)
		if n < 0 {
			return nil, wrong("%s of %s is cut off or corrupt", r.name, where)
		}
		if *numbers--; *numbers < 0 {
			return nil, wrong("its lists have too many entries")
		}
		list, data = append(list, v), data[n:]
	}
	return list, nil
}

func number(wire protowire.Type, b []byte) (uint64, int) {
	switch wire {
	case wF32:
		v, n := protowire.ConsumeFixed32(b)
		return uint64(v), n
	case wF64:
		return protowire.ConsumeFixed64(b)
	default:
		return protowire.ConsumeVarint(b)
	}
}

// text gives a field as a string that is safe to quote.
func text(what string, b []byte, limit int) (string, error) {
	if len(b) > limit {
		return "", wrong("%s has %d bytes, more than %d", what, len(b), limit)
	}
	if !utf8.Valid(b) {
		return "", wrong("%s is no UTF-8", what)
	}
	return string(b), nil
}
