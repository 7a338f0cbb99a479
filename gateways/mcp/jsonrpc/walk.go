package jsonrpc

import (
	"github.com/cabincrew/action/internal/rawjson"
	"github.com/cabincrew/action/protocol"
)

// Edit replaces the bytes From to To of a document.
type Edit = rawjson.Edit

// Literal is one text of a document.
type Literal = rawjson.Literal

// Splice gives a copy of raw with the edits; nil where they overlap or lie outside.
func Splice(raw []byte, edits []Edit) []byte { return rawjson.Splice(raw, edits) }

// Offset says where part begins in raw; -1 if it is no part of it.
func Offset(raw, part []byte) int { return rawjson.Offset(raw, part) }

// Members visits the members of an object in order until visit says false.
func Members(obj []byte, visit func(key string, keyFrom int, value []byte) bool) error {
	return rawjson.Members(obj, visit)
}

// Elements visits the elements of a list in order until visit says false.
func Elements(list []byte, visit func(i int, value []byte) bool) error {
	return rawjson.Elements(list, visit)
}

// Lookup gives the text of the value that path leads to.
func Lookup(doc []byte, path ...string) (value []byte, ok bool) { return rawjson.Lookup(doc, path...) }

// Tree gives a document as map[string]any, []any, string, json.Number, bool or nil.
func Tree(doc []byte) (any, error) { return protocol.DecodeAny(doc) }

// Literals visits all texts of a document, keys and values, in order.
func Literals(doc []byte, visit func(Literal) bool) bool { return rawjson.Literals(doc, visit) }

// Strings visits the texts of a document that are values, in order.
func Strings(doc []byte, visit func(at string, from, to int, value string) bool) bool {
	return rawjson.Strings(doc, visit)
}

// Keys visits the names of members of a document, in order.
func Keys(doc []byte, visit func(at string, from, to int, key string) bool) bool {
	return rawjson.Keys(doc, visit)
}

// AppendString appends s as a JSON string. What is no UTF-8 in it becomes U+FFFD.
func AppendString(dst []byte, s string) []byte { return rawjson.AppendString(dst, s) }
