package main

import (
	"encoding/binary"
	"math"
)

// The few parts of protobuf and of onnx.proto that a model needs. A message is
// its bytes; the numbers are those of onnx.proto.

type message []byte

func (m message) number(field int, n int64) message {
	m = binary.AppendUvarint(m, uint64(field)<<3)
	return binary.AppendUvarint(m, uint64(n))
}

func (m message) bytes(field int, b []byte) message {
	m = binary.AppendUvarint(m, uint64(field)<<3|2)
	m = binary.AppendUvarint(m, uint64(len(b)))
	return append(m, b...)
}

func (m message) text(field int, s string) message { return m.bytes(field, []byte(s)) }

func number(name string, n int64) message {
	return message{}.text(1, name).number(3, n).number(20, 2)
}

func text(name, s string) message { return message{}.text(1, name).text(4, s).number(20, 3) }

func numbers(name string, list []int64) message {
	var packed []byte
	for _, n := range list {
		packed = binary.AppendUvarint(packed, uint64(n))
	}
	return message{}.text(1, name).bytes(8, packed).number(20, 7)
}

func texts(name string, list []string) message {
	m := message{}.text(1, name)
	for _, s := range list {
		m = m.text(9, s)
	}
	return m.number(20, 8)
}

// elements of tensors
const (
	float32s = 1
	int64s   = 7
	strings8 = 8
)

// graph is a GraphProto. Its parts stand in the order of the calls.
type graph struct{ m message }

// node adds an operator with one output, which is also its name.
func (g *graph) node(domain, op, output string, inputs []string, attributes ...message) string {
	m := message{}
	for _, s := range inputs {
		m = m.text(1, s)
	}
	m = m.text(2, output).text(3, output).text(4, op)
	for _, a := range attributes {
		m = m.bytes(5, a)
	}
	if domain != "" {
		m = m.text(7, domain)
	}
	g.m = g.m.bytes(1, m)
	return output
}

func (g *graph) constant(name string, element int64, dims []int64, raw []byte) string {
	m := message{}
	for _, d := range dims {
		m = m.number(1, d)
	}
	g.m = g.m.bytes(5, m.number(2, element).text(8, name).bytes(9, raw))
	return name
}

// ints adds a constant list of integers.
func (g *graph) ints(name string, list ...int64) string {
	var raw []byte
	for _, n := range list {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(n))
	}
	return g.constant(name, int64s, []int64{int64(len(list))}, raw)
}

// floats adds a constant column of numbers.
func (g *graph) floats(name string, list []float64) string {
	var raw []byte
	for _, x := range list {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(x)))
	}
	return g.constant(name, float32s, []int64{int64(len(list)), 1}, raw)
}

// port adds an input (field 11) or an output (field 12); a dimension is a name
// or, if columns is not 0, the second one a number.
func (g *graph) port(field int, name string, element int64, rows string, columns int64) {
	shape := message{}.bytes(1, message{}.text(2, rows))
	if columns != 0 {
		shape = shape.bytes(1, message{}.number(1, columns))
	}
	tensor := message{}.number(1, element).bytes(2, shape)
	g.m = g.m.bytes(field, message{}.text(1, name).bytes(2, message{}.bytes(1, tensor)))
}

type pair struct {
	name  string
	value string
}

// file gives the ModelProto.
func (g *graph) file(name string, metadata []pair) []byte {
	m := message{}.number(1, 8).text(2, "cabincrew tools/injection").bytes(7, g.m.text(2, name))
	for _, o := range []struct {
		domain  string
		version int64
	}{{"", 18}, {ml, 3}, {microsoft, 1}} {
		m = m.bytes(8, message{}.text(1, o.domain).number(2, o.version))
	}
	for _, p := range metadata {
		m = m.bytes(14, message{}.text(1, p.name).text(2, p.value))
	}
	return m
}
