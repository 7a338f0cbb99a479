package rawjson

import (
	"cmp"
	"slices"
)

// Edit replaces the bytes From to To of a document.
type Edit struct {
	From, To int
	New      []byte
}

// Splice gives a copy of raw with the edits, in whatever order they come. Where two of
// them overlap, or one lies outside, there is no such document and it gives nil.
func Splice(raw []byte, edits []Edit) []byte {
	edits = slices.Clone(edits)
	slices.SortStableFunc(edits, func(a, b Edit) int { return cmp.Compare(a.From, b.From) })
	size, last := len(raw), 0
	for _, e := range edits {
		if e.From < last || e.To < e.From || e.To > len(raw) {
			return nil
		}
		size += len(e.New) - (e.To - e.From)
		last = e.To
	}
	out, last := make([]byte, 0, size), 0
	for _, e := range edits {
		out = append(append(out, raw[last:e.From]...), e.New...)
		last = e.To
	}
	return append(out, raw[last:]...)
}

// Offset says where part begins in raw, if it is a part of it; else it gives -1.
func Offset(raw, part []byte) int {
	at := cap(raw) - cap(part)
	if len(part) == 0 || at < 0 || at > len(raw)-len(part) || &raw[at] != &part[0] {
		return -1
	}
	return at
}
