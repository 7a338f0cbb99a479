package wasm

import (
	"bytes"
	"encoding/binary"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Sections of a module.
const (
	sectionCustom   = 0
	sectionType     = 1
	sectionImport   = 2
	sectionFunction = 3
	sectionTable    = 4
	sectionGlobal   = 6
	sectionExport   = 7
	sectionElement  = 9
	sectionCode     = 10
	sectionData     = 11
)

// header is the magic number and the version of a core module.
const header = "\x00asm\x01\x00\x00\x00"

// component is the same of the component model, version 13 and on.
const component = "\x00asm\x0d\x00\x01\x00"

func malformed(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitFailure, "wasm_module", format, args...)
}

// scan reads the outline of a module and gives the module to compile: without
// custom sections (names and debug data), and with tables that cannot grow beyond
// the limit. The compiler allocates what counts in the file claim before it reads
// on, so every count and length that it acts on is checked here first: a few
// hostile bytes must not ask for gigabytes.
func scan(module []byte) ([]byte, error) {
	switch {
	case len(module) >= 8 && string(module[:4]) == component[:4] && string(module[6:8]) == component[6:8]:
		return nil, malformed("this is a WebAssembly component; this needs a core WASI preview 1 module").
			WithHint("build for wasip1, for example GOOS=wasip1, --target wasm32-wasip1")
	case bytes.HasPrefix(bytes.TrimSpace(module[:min(len(module), 1024)]), []byte("(")):
		return nil, malformed("this is WebAssembly text; it must be assembled to a binary module first")
	case len(module) < 4 || string(module[:4]) != header[:4]:
		return nil, malformed("this is not a WebAssembly module: it does not begin with \\0asm")
	case len(module) < 8 || string(module[:8]) != header:
		return nil, malformed("this WebAssembly module has another version than 1")
	}
	out := make([]byte, 0, len(module)+64)
	out = append(out, header...)
	r := &reader{b: module[8:]}
	for r.more() {
		id := r.byte()
		body := r.bytes(r.u32())
		if r.err != nil {
			return nil, malformed("the module is cut off or malformed at byte %d: %w", 8+r.off, r.err)
		}
		if id == sectionCustom {
			continue
		}
		body, err := section(id, body)
		if err != nil {
			return nil, err
		}
		out = append(out, id)
		out = binary.AppendUvarint(out, uint64(len(body)))
		out = append(out, body...)
	}
	return out, nil
}

// section checks one section. Those that are not named hold no count that anything
// is allocated for; the compiler checks them.
func section(id byte, body []byte) ([]byte, error) {
	r := &reader{b: body}
	switch id {
	case sectionType:
		r.types()
	case sectionImport:
		r.imports()
	case sectionFunction:
		r.count("functions", limits.WasmFunctions)
		return body, r.problem()
	case sectionTable:
		return r.tables()
	case sectionGlobal:
		r.count("globals", limits.WasmGlobals)
		return body, r.problem()
	case sectionExport:
		r.exports()
	case sectionElement:
		r.elements()
	case sectionCode:
		r.code()
	case sectionData:
		r.data()
	default:
		return body, nil
	}
	if r.err == nil && r.more() {
		r.failf("section %d has bytes after its end", id)
	}
	return body, r.problem()
}

// reader reads a section. The first problem sticks.
type reader struct {
	b   []byte
	off int
	err error
}

func (r *reader) failf(format string, args ...any) {
	if r.err == nil {
		r.err = malformed(format, args...)
	}
}

func (r *reader) problem() error { return r.err }

func (r *reader) more() bool { return r.err == nil && r.off < len(r.b) }

func (r *reader) byte() byte {
	if r.err != nil || r.off >= len(r.b) {
		r.failf("unexpected end")
		return 0
	}
	r.off++
	return r.b[r.off-1]
}

func (r *reader) bytes(n uint32) []byte {
	if r.err != nil || int64(n) > int64(len(r.b)-r.off) {
		r.failf("unexpected end")
		return nil
	}
	r.off += int(n)
	return r.b[r.off-int(n) : r.off]
}

// u32 reads an unsigned LEB128 number of at most 32 bits.
func (r *reader) u32() uint32 {
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		if shift == 28 && b > 0x0f {
			break
		}
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
	r.failf("a number is too long")
	return 0
}

// leb skips a LEB128 number of a limited length.
func (r *reader) leb(length int) {
	for range length {
		if r.byte() < 0x80 {
			return
		}
	}
	r.failf("a number is too long")
}

// count reads the length of a vector, whose entries are a byte each or more.
func (r *reader) count(what string, most int) int {
	n := r.u32()
	switch {
	case int64(n) > int64(most):
		r.failf("the module has %d %s; %d are allowed", n, what, most)
	case int64(n) > int64(len(r.b)-r.off):
		r.failf("the module claims %d %s in %d bytes", n, what, len(r.b)-r.off)
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}
