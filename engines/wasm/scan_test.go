package wasm

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/limits"
)

// A few bytes that claim gigabytes.
func TestClaimsAreCheckedBeforeTheyAreBelieved(t *testing.T) {
	t.Parallel()
	huge := uleb(0xffffffff)
	local := func(groups ...[]byte) []byte {
		body := slices.Concat(vec(groups...), []byte{0x0b})
		return append(uleb(uint64(len(body))), body...)
	}
	for name, c := range map[string]struct {
		section []byte
		want    string
	}{
		"types":               {sect(sectionType, huge), "4294967295 types; 100000 are allowed"},
		"types in few bytes":  {sect(sectionType, uleb(50_000)), "claims 50000 types in 0 bytes"},
		"parameters":          {sect(sectionType, slices.Concat(uleb(1), []byte{0x60}, huge)), "parameters or results"},
		"type form":           {sect(sectionType, []byte{1, 0x4e, 0}), "form 0x4e"},
		"typed parameter":     {sect(sectionType, []byte{1, 0x60, 1, 0x63, 0}), "typed references"},
		"imports":             {sect(sectionImport, huge), "imports"},
		"import name":         {sect(sectionImport, slices.Concat(uleb(1), huge)), "bytes in one name"},
		"imported table":      {sect(sectionImport, vec(slices.Concat(str("a"), str("b"), []byte{1, 0x70, 0, 0}))), "imports a table"},
		"imported tag":        {sect(sectionImport, vec(slices.Concat(str("a"), str("b"), []byte{4, 0}))), "unknown kind 4"},
		"functions":           {sect(sectionFunction, huge), "functions"},
		"tables":              {sect(sectionTable, huge), "tables"},
		"table size":          {sect(sectionTable, slices.Concat([]byte{1, 0x70, 0}, uleb(1<<27))), "134217728 entries"},
		"table form":          {sect(sectionTable, []byte{1, 0x40, 0, 0x70, 0, 0}), "after its end"},
		"table shared":        {sect(sectionTable, []byte{1, 0x70, 3, 0, 0}), "form 0x3"},
		"globals":             {sect(sectionGlobal, huge), "globals"},
		"exports":             {sect(sectionExport, huge), "exports"},
		"elements":            {sect(sectionElement, slices.Concat([]byte{1, 1, 0}, huge)), "elements"},
		"element expressions": {sect(sectionElement, slices.Concat([]byte{1, 5, 0x70}, huge)), "elements"},
		"element form":        {sect(sectionElement, []byte{1, 8}), "form 8"},
		"element constant":    {sect(sectionElement, []byte{1, 0, 0x20, 0}), "instruction 0x20"},
		"locals":              {sect(sectionCode, vec(local(append(uleb(0xffffffff), 0x7f)))), "4294967295 local variables"},
		"locals in all":       {sect(sectionCode, vec(slices.Repeat([][]byte{local(append(uleb(limits.WasmLocals), 0x7f))}, 101)...)), "the module 5050000"},
		"groups of locals":    {sect(sectionCode, slices.Concat(uleb(1), uleb(6), huge, []byte{0x0b})), "groups of local variables"},
		"function size":       {sect(sectionCode, slices.Concat(uleb(1), huge)), "4294967295 bytes"},
		"data size":           {sect(sectionData, slices.Concat([]byte{1, 1}, huge)), "unexpected end"},
		"data form":           {sect(sectionData, []byte{1, 3}), "form 3"},
		"long number":         {sect(sectionType, []byte{0x80, 0x80, 0x80, 0x80, 0x10}), "number is too long"},
		"section size":        {append([]byte{sectionType}, huge...), "cut off or malformed at byte"},
		"bytes after the end": {sect(sectionExport, []byte{0, 0}), "after its end"},
	} {
		_, err := scan(core(c.section))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestScanKeepsWhatCounts(t *testing.T) {
	t.Parallel()
	custom := sect(sectionCustom, slices.Concat(str("name"), []byte{1}, uleb(6), uleb(5), uleb(0xffffffff)))
	table := func(limit ...byte) []byte { return sect(sectionTable, vec(append([]byte{0x70}, limit...))) }
	rest := slices.Concat(types, oneFunc)
	element := sect(sectionElement, vec(
		[]byte{0, 0x41, 0, 0x0b, 1, 0}, []byte{1, 0, 1, 0}, []byte{2, 0, 0x41, 0, 0x0b, 0, 1, 0}, []byte{3, 0, 1, 0},
		[]byte{4, 0x41, 0, 0x0b, 1, 0xd2, 0, 0x0b}, []byte{5, 0x70, 1, 0xd0, 0x70, 0x0b}, []byte{6, 0, 0x41, 0, 0x0b, 0x70, 0}, []byte{7, 0x70, 0}))
	data := sect(sectionData, vec([]byte{0, 0x41, 1, 0x0b, 2, 'a', 'b'}, []byte{1, 0}, []byte{2, 0, 0x41, 1, 0x41, 1, 0x6a, 0x0b, 0}))
	tail := slices.Concat(onePage, exportZero, element, sect(12, []byte{3}), sect(sectionCode, vec(function())), data)
	got, err := scan(core(custom, rest, table(0, 8), custom, tail))
	want := core(rest, table(append([]byte{1, 8}, uleb(limits.WasmTableEntries)...)...), tail)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\n%x\nwant\n%x", err, got, want)
	}
	if got, err := scan(core(table(1, 8, 9))); err != nil || !bytes.Equal(got, core(table(1, 8, 9))) {
		t.Errorf("a small maximum: %v %x", err, got)
	}
	// And the compiler reads it as this package does.
	newFlight(t).run(core(custom, rest, table(0, 8), tail).file(t)).is(t, 0, "")
}
