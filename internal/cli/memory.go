package cli

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// headroom is how much garbage may gather before it is collected.
	headroom = 64 << 20
	// A short run holds little: with Go's 100 a fifth of it would be collecting.
	mostGarbage, leastGarbage = 800, 50
	memoryLimit               = 1 << 30
)

// TuneMemory lets a run that holds little gather garbage, and one that holds much, such as
// a gateway with a thousand streams, gather no more for it. What the environment says of
// it stands.
func TuneMemory() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetGCPercent(mostGarbage)
	debug.SetMemoryLimit(memoryLimit)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	is := mostGarbage
	var collected func(*[16]byte)
	collected = func(*[16]byte) {
		metrics.Read(live)
		if want := garbageFor(live[0].Value.Uint64()); want != is {
			is = want
			debug.SetGCPercent(is)
		}
		runtime.SetFinalizer(new([16]byte), collected)
	}
	runtime.SetFinalizer(new([16]byte), collected) // it is called after each collection
}

// garbageFor gives how many percent of what is live may be garbage, in steps, so that it
// rarely changes.
func garbageFor(live uint64) int {
	percent := mostGarbage
	if live > 0 {
		percent = int(min(headroom*100/live, mostGarbage)) //nolint:gosec // bounded
	}
	return max(percent/25*25, leastGarbage)
}
