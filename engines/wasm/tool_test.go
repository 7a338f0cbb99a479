package wasm

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// bin puts a module together.
type bin []byte

func uleb(n uint64) []byte { return binary.AppendUvarint(nil, n) }

func str(s string) []byte { return append(uleb(uint64(len(s))), s...) }

func vec(items ...[]byte) []byte { return append(uleb(uint64(len(items))), slices.Concat(items...)...) }

func core(sections ...[]byte) bin { return append(bin(header), slices.Concat(sections...)...) }

func sect(id byte, body []byte) []byte {
	return slices.Concat([]byte{id}, uleb(uint64(len(body))), body)
}

func function(code ...byte) []byte { // without locals
	body := slices.Concat([]byte{0}, code, []byte{0x0b})
	return append(uleb(uint64(len(body))), body...)
}

var (
	voidType   = []byte{0x60, 0, 0}
	types      = sect(sectionType, vec(voidType, []byte{0x60, 1, 0x7f, 0}, []byte{0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f}, []byte{0x60, 2, 0x7f, 0x7f, 1, 0x7f}))
	oneFunc    = sect(sectionFunction, vec([]byte{0}))
	onePage    = sect(5, vec([]byte{0, 1}))
	memoryOut  = slices.Concat(str("memory"), []byte{2, 0})
	exportZero = sect(sectionExport, vec(slices.Concat(str(entry), []byte{0, 0}), memoryOut))
	exportOne  = sect(sectionExport, vec(slices.Concat(str(entry), []byte{0, 1}), memoryOut))
)

func imported(name string, typ byte) []byte {
	return sect(sectionImport, vec(slices.Concat(str("wasi_snapshot_preview1"), str(name), []byte{0, typ})))
}

// program is a module whose _start is that code.
func program(code ...byte) bin {
	return core(types, oneFunc, onePage, exportZero, sect(sectionCode, vec(function(code...))))
}

// calls is a module whose _start may call the imported function 0.
func calls(name string, typ byte, code ...byte) bin {
	return core(types, imported(name, typ), oneFunc, onePage, exportOne, sect(sectionCode, vec(function(code...))))
}

// exits is a module that ends with what that call gives.
func exits(name string, typ byte, code ...byte) bin {
	imports := sect(sectionImport, vec(
		slices.Concat(str("wasi_snapshot_preview1"), str(name), []byte{0, typ}),
		slices.Concat(str("wasi_snapshot_preview1"), str("proc_exit"), []byte{0, 1})))
	exports := sect(sectionExport, vec(slices.Concat(str(entry), []byte{0, 2}), memoryOut))
	return core(types, imports, oneFunc, onePage, exports, sect(sectionCode, vec(function(append(code, 0x10, 1)...))))
}

func (b bin) file(tb testing.TB) string {
	tb.Helper()
	name := filepath.Join(tb.TempDir(), "m.wasm")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		tb.Fatal(err)
	}
	return name
}
