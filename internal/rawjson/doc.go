// Package rawjson works on the bytes of JSON text: it finds values and texts in it, and
// puts others in their places, so that all other bytes stay as they are.
//
// It promises: it neither panics nor runs on whatever the bytes are; what it finds is
// right for text that protocol.DecodeAny, or the scanner of a gateway, took.
package rawjson
