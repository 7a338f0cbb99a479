package wasm

import (
	"encoding/binary"

	"github.com/cabincrew/action/internal/limits"
)

func (r *reader) types() {
	for range r.count("types", limits.WasmTypes) {
		if form := r.byte(); form != 0x60 {
			r.failf("a type of form %#x is not supported", form)
			return
		}
		for range 2 { // parameters, results
			for _, kind := range r.bytes(uint32(r.count("parameters or results of one type", limits.WasmParams))) { //nolint:gosec // count is bounded
				if kind == 0x63 || kind == 0x64 {
					r.failf("typed references are not supported")
				}
			}
		}
	}
}

// imports are functions only; which ones are there is checked when all else is.
func (r *reader) imports() {
	for range r.count("imports", limits.WasmImports) {
		module, name := r.name(), r.name()
		switch kind := r.byte(); kind {
		case 0:
			r.u32()
		case 1, 2, 3:
			r.failf("the module imports a %s (%q from %q); only functions of WASI preview 1 are there",
				[]string{"table", "memory", "global"}[kind-1], name, module)
		default:
			r.failf("the module imports %q from %q, of unknown kind %d", name, module, kind)
		}
		if r.err != nil {
			return
		}
	}
}

func (r *reader) name() string {
	return string(r.bytes(uint32(r.count("bytes in one name", limits.WasmName)))) //nolint:gosec // count is bounded
}

// tables gives the section with every maximum lowered to the limit: a table grows
// outside the linear memory, and table.grow must fail before that hurts.
func (r *reader) tables() ([]byte, error) {
	n := r.count("tables", limits.WasmTables)
	out := binary.AppendUvarint(nil, uint64(n)) //nolint:gosec // not negative
	for range n {
		kind, flags := r.byte(), r.byte()
		if flags > 1 {
			r.failf("a table with limits of form %#x is not supported", flags)
		}
		least, most := r.u32(), uint32(limits.WasmTableEntries)
		if flags == 1 {
			most = min(most, r.u32())
		}
		if least > limits.WasmTableEntries {
			r.failf("a table has %d entries; %d are allowed", least, limits.WasmTableEntries)
		}
		if r.err != nil {
			return nil, r.err
		}
		out = append(out, kind, 1)
		out = binary.AppendUvarint(out, uint64(least))
		out = binary.AppendUvarint(out, uint64(most))
	}
	if r.err == nil && r.more() {
		r.failf("the table section has bytes after its end")
	}
	return out, r.err
}

func (r *reader) exports() {
	for range r.count("exports", limits.WasmExports) {
		r.name()
		r.byte()
		r.u32()
		if r.err != nil {
			return
		}
	}
}

// elements skips segments of the eight forms that bits of their first number give:
// 1 passive or declarative, 2 with a table index (or declarative), 4 expressions.
func (r *reader) elements() {
	total := 0
	for range r.count("element segments", limits.WasmSegments) {
		form := r.u32()
		if form > 7 {
			r.failf("an element segment of form %d is not supported", form)
		}
		if form&1 == 0 {
			if form&2 != 0 {
				r.u32()
			}
			r.constant()
		}
		if form&3 != 0 {
			if kind := r.byte(); kind == 0x63 || kind == 0x64 {
				r.failf("typed references are not supported")
			}
		}
		n := r.count("elements", limits.WasmElements)
		if total += n; total > limits.WasmElements {
			r.failf("the module has more than %d elements", limits.WasmElements)
		}
		for range n {
			if form&4 != 0 {
				r.constant()
			} else {
				r.u32()
			}
			if r.err != nil {
				return
			}
		}
		if r.err != nil {
			return
		}
	}
}

// constant skips a constant expression.
func (r *reader) constant() {
	for r.err == nil {
		switch op := r.byte(); op {
		case 0x0b: // end
			return
		case 0x41: // i32.const
			r.leb(5)
		case 0x42: // i64.const
			r.leb(10)
		case 0x43: // f32.const
			r.bytes(4)
		case 0x44: // f64.const
			r.bytes(8)
		case 0x23, 0xd2: // global.get, ref.func
			r.u32()
		case 0xd0: // ref.null
			if kind := r.byte(); kind != 0x70 && kind != 0x6f {
				r.failf("ref.null of type %#x is not supported", kind)
			}
		case 0xfd: // v128.const
			if r.byte() != 0x0c {
				r.failf("a constant expression has an unknown vector instruction")
			}
			r.bytes(16)
		case 0x6a, 0x6b, 0x6c, 0x7c, 0x7d, 0x7e: // add, sub, mul of i32 and i64
		default:
			r.failf("a constant expression has instruction %#x", op)
		}
	}
}

// code checks each function's size and how many local variables it declares; a
// declaration of 4 billion takes six bytes.
func (r *reader) code() {
	all := uint64(0)
	for range r.count("functions", limits.WasmFunctions) {
		size := r.u32()
		if size > limits.WasmBody {
			r.failf("a function has %d bytes; %d are allowed", size, limits.WasmBody)
		}
		f := &reader{b: r.bytes(size)}
		if r.err != nil {
			return
		}
		locals := uint64(0)
		for range f.count("groups of local variables", limits.WasmLocals) {
			locals += uint64(f.u32())
			if kind := f.byte(); kind == 0x63 || kind == 0x64 {
				f.failf("typed references are not supported")
			}
			if f.err != nil {
				break
			}
		}
		all += locals
		if locals > limits.WasmLocals || all > limits.WasmAllLocals {
			f.failf("a function has %d local variables, the module %d or more; %d and %d are allowed",
				locals, all, limits.WasmLocals, limits.WasmAllLocals)
		}
		if f.err != nil {
			r.err = f.err
			return
		}
	}
}

func (r *reader) data() {
	for range r.count("data segments", limits.WasmSegments) {
		switch form := r.u32(); form {
		case 0:
			r.constant()
		case 1:
		case 2:
			r.u32()
			r.constant()
		default:
			r.failf("a data segment of form %d is not supported", form)
		}
		r.bytes(r.u32())
		if r.err != nil {
			return
		}
	}
}
