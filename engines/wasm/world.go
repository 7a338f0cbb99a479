package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Epoch is when every module starts and what every file's times are,
// 2022-01-01T00:00:00Z in nanoseconds since 1970.
const Epoch int64 = 1_640_995_200_000_000_000

// tick is how far each reading of the clock advances it, in nanoseconds.
const tick = int64(time.Microsecond)

// Errors of WASI preview 1, where this package answers itself.
const (
	wasiFault        = 21
	wasiInvalid      = 28
	wasiNotSupported = 58
)

// clock is the module's time: since its start, in nanoseconds. Only the module's
// own thread uses it.
type clock struct{ now int64 }

func (c *clock) advance(by int64) int64 {
	if c.now > math.MaxInt64/4-by {
		by = 0 // 70 years after the start time stands still
	}
	c.now += by
	return c.now
}

func (c *clock) wall() (sec int64, nsec int32) {
	t := Epoch + c.advance(tick)
	return t / int64(time.Second), int32(t % int64(time.Second)) //nolint:gosec // below 10^9
}

func (c *clock) monotonic() int64 { return c.advance(tick) }

// sleep advances the clock instead of waiting: engines have nothing to wait for.
func (c *clock) sleep(ns int64) {
	if ns > 0 {
		c.advance(min(ns, math.MaxInt64/8))
	}
}

// random is the module's stream of random bytes: the same for the same module in
// the same mode. SPEC: docs/protocol.md 2
func random(digest string, mode protocol.Mode) io.Reader {
	seed := sha256.Sum256([]byte("cabincrew/wasm-random/v1\n" + digest + "\n" + string(mode)))
	return rand.NewChaCha8(seed)
}

// host makes the module wasi_snapshot_preview1: wazero's functions, but for two.
func host(ctx context.Context, rt wazero.Runtime, c *clock) (wazero.CompiledModule, error) {
	b := rt.NewHostModuleBuilder(wasi_snapshot_preview1.ModuleName)
	wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(b)
	i32 := api.ValueTypeI32
	// wazero's poll waits for the real stdin for a real time, and knows no absolute times.
	b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, m api.Module, stack []uint64) {
		stack[0] = c.poll(m.Memory(), uint32(stack[0]), uint32(stack[1]), uint32(stack[2]), uint32(stack[3])) //nolint:gosec // i32 parameters
	}), []api.ValueType{i32, i32, i32, i32}, []api.ValueType{i32}).Export("poll_oneoff")
	// wazero's fd_renumber to descriptor 2^31-1 makes a table of 17 GB.
	b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, _ api.Module, stack []uint64) {
		stack[0] = wasiNotSupported
	}), []api.ValueType{i32, i32}, []api.ValueType{i32}).Export("fd_renumber")
	return b.Compile(ctx)
}

// Sizes and kinds of poll's records.
const (
	subscriptionSize = 48
	eventSize        = 32
	eventClock       = 0
	eventRead        = 1
	eventWrite       = 2
)

// poll says that every file is ready, since none blocks but stdin, on which the
// next read waits as well. With clocks alone, the nearest time has come at once.
func (c *clock) poll(mem api.Memory, in, out, n, result uint32) uint64 {
	if n == 0 || n > limits.WasmPolls {
		return wasiInvalid
	}
	subs, ok := mem.Read(in, n*subscriptionSize)
	if !ok {
		return wasiFault
	}
	subs = append([]byte(nil), subs...) // the events may be written over them
	nearest, files := int64(math.MaxInt64), false
	for i := range int(n) {
		s := subs[i*subscriptionSize:]
		switch s[8] {
		case eventClock:
			at, ok := c.deadline(s)
			if !ok {
				return wasiInvalid
			}
			nearest = min(nearest, at)
		case eventRead, eventWrite:
			files = true
		default:
			return wasiInvalid
		}
	}
	if !files {
		c.sleep(nearest - c.now)
	}
	events := make([]byte, 0, int(n)*eventSize)
	for i := range int(n) {
		s := subs[i*subscriptionSize:]
		if s[8] == eventClock {
			if at, _ := c.deadline(s); files || at > nearest {
				continue
			}
		}
		event := make([]byte, eventSize)
		copy(event, s[:8])
		event[10] = s[8]
		event[16] = 1 // bytes to be had, or room for them
		events = append(events, event...)
	}
	if !mem.Write(out, events) || !mem.WriteUint32Le(result, uint32(len(events)/eventSize)) { //nolint:gosec // bounded by n
		return wasiFault
	}
	return 0
}

// deadline gives when a clock subscription is due, on the module's clock.
func (c *clock) deadline(s []byte) (at int64, ok bool) {
	id, flags := binary.LittleEndian.Uint32(s[16:]), binary.LittleEndian.Uint16(s[40:])
	t := int64(min(binary.LittleEndian.Uint64(s[24:]), math.MaxInt64/4)) //nolint:gosec // bounded by min
	switch {
	case flags > 1 || id > 3:
		return 0, false
	case flags == 0:
		return c.now + t, true
	case id == 0:
		return max(t-Epoch, 0), true
	}
	return t, true
}

// resolution of both clocks.
const resolution = sys.ClockResolution(tick)
