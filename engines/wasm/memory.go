package wasm

import "github.com/tetratelabs/wazero/experimental"

// pageSize is WebAssembly's, in bytes.
const pageSize = 64 << 10

// memory makes the module's linear memory, and notes whether the module asked for
// more than it may have: all that the module learns is that growing failed.
type memory struct {
	limit   uint64 // bytes
	refused bool
}

// Allocate implements experimental.MemoryAllocator. It does not allocate.
func (m *memory) Allocate(_, _ uint64) experimental.LinearMemory { return &linear{m: m} }

type linear struct {
	m   *memory
	buf []byte
}

// Reallocate gives the memory in a new size, or nil. What is new is zero.
func (l *linear) Reallocate(size uint64) []byte {
	if size > l.m.limit {
		l.m.refused = true
		return nil
	}
	if size > uint64(cap(l.buf)) {
		room := min(max(size, 2*uint64(cap(l.buf))), l.m.limit)
		grown := make([]byte, len(l.buf), room)
		copy(grown, l.buf)
		l.buf = grown
	}
	l.buf = l.buf[:size]
	return l.buf
}

func (l *linear) Free() { l.buf = nil }
