//go:build unix

package wasm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/limits"
)

func TestContractAsTheModuleSeesIt(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	f.env = []string{"TOKEN_FOR=x=y", "HTTPS_PROXY=http://127.0.0.1:1", "https_proxy=x", "SSL_CERT_FILE=/x", "CABINCREW_EXTRA=1"}
	r := f.run(guest(t), "env")
	r.is(t, 0, "")
	want := strings.Join([]string{
		"CABINCREW_ARTIFACTS_DIR=/artifacts", "CABINCREW_EXTRA=1", "CABINCREW_INPUT_FILE=/tmp/input.json", "CABINCREW_MODE=flight-plan",
		"CABINCREW_OUTPUT_FILE=/tmp/output.json", "CABINCREW_TEMP_DIR=/tmp", "CABINCREW_WORKSPACE=/workspace", "HOME=/tmp/home",
		"LANG=C.UTF-8", "PATH=/usr/bin", "PWD=/workspace", "TMPDIR=/tmp", "TOKEN_FOR=x=y", "TZ=UTC", "",
	}, "\n")
	if r.out != want {
		t.Errorf("environment:\n%s\nwant:\n%s", r.out, want)
	}
	if r := f.run(guest(t), "args", "a", "b c", "--timeout"); r.out != "guest.wasm\nargs\na\nb c\n--timeout\n--mode\nflight-plan\n" {
		t.Errorf("arguments: %q", r.out)
	}
	if r := f.run(guest(t), "pwd"); r.out != "/workspace\n" {
		t.Errorf("working directory: %q", r.out)
	}
	f.stdin = strings.NewReader(strings.Repeat("input", 100_000))
	if r := f.run(guest(t), "cat"); len(r.out) != 500_000+len("copy\n") {
		t.Errorf("%d bytes came through", len(r.out))
	}
}

func TestNothingDiffersBetweenRuns(t *testing.T) {
	t.Parallel()
	var seen [2][]string
	for i := range seen {
		f := newFlight(t)
		f.write(f.work+"/b/c.txt", "1")
		f.write(f.work+"/a", "22")
		if i == 1 {
			late := time.Now().Add(48 * time.Hour)
			if err := errors.Join(os.Chtimes(f.work+"/a", late, late), os.Chmod(f.work+"/a", 0o700)); err != nil {
				t.Fatal(err)
			}
		}
		for _, act := range [][]string{{"clock"}, {"timers"}, {"random"}, {"walk", "/workspace"}} {
			r := f.run(guest(t), act...)
			r.is(t, 0, "")
			seen[i] = append(seen[i], r.out)
		}
	}
	if !slices.Equal(seen[0], seen[1]) {
		t.Errorf("two runs differ:\n%q\n%q", seen[0], seen[1])
	}
	if seen[0][0] != "2022-01-01T00:00:00Z\ntrue\n" || seen[0][1] != "true\n" {
		t.Errorf("clock: %q", seen[0])
	}
	want := "/workspace d--------- 0 2022-01-01\n/workspace/a ---------- 2 2022-01-01\n/workspace/b d--------- 0 2022-01-01\n/workspace/b/c.txt ---------- 1 2022-01-01\nwalk\n"
	if seen[0][3] != want {
		t.Errorf("walk:\n%swant:\n%s", seen[0][3], want)
	}
	// Another mode has another stream.
	if r := newFlight(t).takeOff().run(guest(t), "random"); r.out == seen[0][2] {
		t.Errorf("both modes draw %s", r.out)
	}
}

func TestModuleThatExceedsALimit(t *testing.T) {
	t.Parallel()
	loop := program(0x03, 0x40, 0x0c, 0, 0x0b) // loop br 0
	startLoops := core(types, sect(sectionFunction, vec([]byte{0}, []byte{0})), onePage, exportZero, sect(8, []byte{1}),
		sect(sectionCode, vec(function(), function(0x03, 0x40, 0x0c, 0, 0x0b))))
	recursion := program(0x10, 0) // call self
	bigMemory := core(types, oneFunc, sect(5, vec(slices.Concat([]byte{0}, uleb(60_000)))), exportZero, sect(sectionCode, vec(function())))
	// Grows its table by a million entries until that fails, then traps.
	table := core(types, oneFunc, sect(sectionTable, vec([]byte{0x70, 0, 0})), onePage, exportZero, sect(sectionCode, vec(function(
		0x03, 0x40, 0xd0, 0x70, 0x41, 0x80, 0x80, 0x04, 0xfc, 0x0f, 0, // loop: ref.null func, i32.const 65536, table.grow 0
		0x41, 0x7f, 0x47, 0x0d, 0, 0x0b, 0x00)))) // -1 != br_if 0, end, unreachable
	for name, c := range map[string]struct {
		module  string
		args    []string
		flags   []string
		message string
	}{
		"alloc bomb":     {guest(t), []string{"alloc"}, []string{"--memory", "67108864"}, "wasm: the module used more than 64 MiB of memory"},
		"memory at once": {bigMemory.file(t), nil, []string{"--memory", "67108864"}, "wasm: the module used more than 64 MiB of memory"},
		"endless loop":   {guest(t), []string{"loop"}, []string{"--timeout", "300ms"}, "wasm: the module ran longer than 300ms"},
		"bare loop":      {loop.file(t), nil, []string{"--timeout", "300ms"}, "wasm: the module ran longer than 300ms"},
		"start loops":    {startLoops.file(t), nil, []string{"--timeout", "300ms"}, "wasm: the module ran longer than 300ms"},
		"sleeps":         {guest(t), []string{"sleep"}, []string{"--timeout", "300ms"}, "wasm: the module ran longer than 300ms"},
		"bare recursion": {recursion.file(t), nil, nil, "wasm: the module trapped: stack overflow"},
		"stdout":         {guest(t), []string{"out", "stdout"}, nil, "wasm: the module wrote more than 4 MiB to stdout"},
		"table":          {table.file(t), nil, nil, "wasm: the module trapped: unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlight(t)
			f.flags = c.flags
			start := time.Now()
			r := f.run(c.module, c.args...)
			r.is(t, 1, c.message)
			t.Logf("stopped after %s", time.Since(start))
		})
	}
}

func TestEndlessLogKeepsRoomForTheReason(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	var n, last = 0, ""
	exit := Run(t.Context(), []string{"--cache", f.cache, guest(t), "out", "stderr", "--mode", f.mode}, f.stdin, io.Discard,
		writer(func(p []byte) { n, last = n+len(p), string(p[max(0, len(p)-200):]) }), f.environ())
	if exit != 1 || n > limits.EngineLog || !strings.Contains(last, "wasm: the module wrote more than 63 MiB to stderr") {
		t.Errorf("exit %d after %d bytes: %s", exit, n, last)
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

func TestExitCodesAndTraps(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		module  string
		args    []string
		exit    int
		message string
	}{
		"0":           {guest(t), []string{"exit", "0"}, 0, ""},
		"1":           {guest(t), []string{"exit", "1"}, 1, ""},
		"2":           {guest(t), []string{"exit", "2"}, 2, ""},
		"125":         {guest(t), []string{"exit", "125"}, 125, ""},
		"256 is no 0": {guest(t), []string{"exit", "256"}, 1, "wasm: the module ended with exit code 256"},
		"canceled":    {guest(t), []string{"exit", "-1"}, 1, "wasm: the module ended with exit code 4294967295"},
		"Go panic":    {guest(t), []string{"panic"}, 2, "panic: on purpose"},
		"nil pointer": {guest(t), []string{"nil"}, 2, "nil pointer"},
		"returns":     {program().file(t), nil, 0, ""},
		"unreachable": {program(0x00).file(t), nil, 1, "wasm: the module trapped: unreachable"},
		"division":    {program(0x41, 1, 0x41, 0, 0x6d, 0x1a).file(t), nil, 1, "wasm: the module trapped: integer divide by zero"},
		"out of bounds": {program(0x41, 0x7f, 0x28, 0, 0, 0x1a).file(t), nil, 1, // i32.load at 4 GiB - 1
			"wasm: the module trapped: out of bounds memory access"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newFlight(t).run(c.module, c.args...).is(t, c.exit, c.message)
		})
	}
}

func TestModuleThatIsNone(t *testing.T) {
	t.Parallel()
	good := program()
	huge := filepath.Join(t.TempDir(), "huge.wasm")
	fifo := filepath.Join(t.TempDir(), "fifo.wasm")
	if err := errors.Join(os.WriteFile(huge, good, 0o600), os.Truncate(huge, limits.WasmModule+1), syscall.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	other := sect(sectionImport, vec(slices.Concat(str("env"), str("f\x1b[2J"), []byte{0, 0})))
	old := sect(sectionImport, vec(slices.Concat(str("wasi_unstable"), str("fd_write"), []byte{0, 0})))
	memory := sect(sectionImport, vec(slices.Concat(str("env"), str("memory"), []byte{2, 0, 1})))
	body := sect(sectionCode, vec(function()))
	for name, c := range map[string]struct{ module, message string }{
		"absent":        {"/absent/x.wasm", "no such file"},
		"directory":     {t.TempDir(), "not a regular file"},
		"FIFO":          {fifo, "not a regular file"},
		"huge":          {huge, "the module is larger than 64 MiB"},
		"empty":         {bin{}.file(t), "not a WebAssembly module"},
		"script":        {bin("#!/bin/sh\n").file(t), "not a WebAssembly module"},
		"text":          {bin("\n (module)").file(t), "this is WebAssembly text"},
		"component":     {bin("\x00asm\x0d\x00\x01\x00more").file(t), "this is a WebAssembly component; this needs a core WASI preview 1 module"},
		"version":       {bin("\x00asm\x02\x00\x00\x00").file(t), "another version"},
		"header only":   {bin(header).file(t), "has no _start function"},
		"cut off":       {good[:len(good)-3].file(t), "cut off or malformed at byte"},
		"bad code":      {program(0x6a).file(t), "the module does not compile"},
		"other import":  {core(types, other, oneFunc, onePage, exportOne, body).file(t), `imports "f?[2J" from "env"`},
		"preview 0":     {core(types, old, oneFunc, onePage, exportOne, body).file(t), "made for WASI preview 0"},
		"unknown call":  {calls("fd_teleport", 0).file(t), `imports "fd_teleport", which WASI preview 1 does not have`},
		"wrong type":    {calls("fd_write", 0).file(t), "fd_write"},
		"memory import": {core(types, memory).file(t), `imports a memory ("memory" from "env")`},
		"library": {core(types, oneFunc, onePage, sect(sectionExport, vec(slices.Concat(str("_initialize"), []byte{0, 0}))), body).file(t),
			"is a library"},
		"no memory":  {core(types, oneFunc, sect(sectionExport, vec(slices.Concat(str(entry), []byte{0, 0}))), body).file(t), "exports no memory"},
		"parameters": {core(types, sect(sectionFunction, vec([]byte{1})), onePage, exportZero, body).file(t), "_start takes parameters"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newFlight(t).run(c.module)
			r.is(t, 1, c.message)
			if strings.ContainsRune(r.err, 0x1b) {
				t.Error("an escape sequence came through")
			}
		})
	}
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	good := program().file(t)
	f := newFlight(t)
	for name, c := range map[string]struct {
		args []string
		env  []string
		exit int
		want string
	}{
		"nothing":         {nil, nil, 2, "no module"},
		"no mode":         {[]string{good}, nil, 2, "--mode MODE does not end"},
		"mode first":      {[]string{"--mode", "flight-plan", good}, nil, 2, "flag provided but not defined"},
		"unknown mode":    {[]string{good, "--mode", "fly"}, nil, 2, `unknown mode "fly"`},
		"other mode":      {[]string{good, "--mode", "take-off"}, f.environ(), 1, "CABINCREW_MODE is flight-plan"},
		"memory":          {[]string{"--memory", "5", good, "--mode", "take-off"}, nil, 2, "--memory 5"},
		"timeout":         {[]string{"--timeout", "-5s", good, "--mode", "take-off"}, nil, 2, "negative"},
		"NUL":             {[]string{good, "a\x00b", "--mode", "take-off"}, nil, 2, "NUL"},
		"no workspace":    {[]string{good, "--mode", "flight-plan"}, []string{"HOME=/"}, 1, "CABINCREW_WORKSPACE"},
		"nested":          {[]string{good, "--mode", "flight-plan"}, append(f.environ(), "CABINCREW_ARTIFACTS_DIR="+f.tmp+"/home"), 1, "lies in"},
		"same":            {[]string{good, "--mode", "flight-plan"}, append(f.environ(), "CABINCREW_ARTIFACTS_DIR="+f.work), 1, "lies in"},
		"output outside":  {[]string{good, "--mode", "flight-plan"}, append(f.environ(), "CABINCREW_OUTPUT_FILE=/etc/passwd"), 1, "CABINCREW_OUTPUT_FILE: /etc/passwd is in none"},
		"relative output": {[]string{good, "--mode", "flight-plan"}, append(f.environ(), "CABINCREW_OUTPUT_FILE=out"), 1, "not an absolute path"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			exit := Run(t.Context(), c.args, strings.NewReader(""), &out, &errs, c.env)
			result{exit, out.String(), errs.String()}.is(t, c.exit, c.want)
		})
	}
}

func TestStoppedWhileStdinBlocks(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	r, w := io.Pipe()
	defer func() { drop(w.Close()) }()
	f.stdin, f.flags = r, []string{"--timeout", "500ms"}
	start := time.Now()
	f.run(guest(t), "cat").is(t, 1, "wasm: the module ran longer than 500ms")
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestWithoutTimeLimit(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	f.flags = []string{"--timeout", "0"}
	module := program().file(t)
	f.run(module).is(t, 0, "")
	// Nobody watches such a module from inside, but the bounds on what it asks for hold.
	table := core(types, oneFunc, sect(5, vec(slices.Concat([]byte{0}, uleb(60_000)))), exportZero, sect(sectionCode, vec(function())))
	f.run(table.file(t)).is(t, 1, "wasm: the module used more than 512 MiB of memory")
}

func TestStoppedByTheCaller(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	ctx, cancel := context.WithCancel(t.Context())
	var errs bytes.Buffer
	exit := Run(ctx, []string{"--cache", f.cache, guest(t), "out", "stdout", "--mode", f.mode}, f.stdin, writer(func([]byte) { cancel() }), &errs, f.environ())
	result{exit, "", errs.String()}.is(t, 1, "wasm: the module was stopped: context canceled")
}

func TestCalls(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		module bin
		exit   int
	}{
		"no sockets: accept on a file": {exits("sock_shutdown", 3, 0x41, 1, 0x41, 1, 0x10, 0), 8}, // EBADF
		"renumber to a far number":     {exits("fd_renumber", 3, 0x41, 3, 0x41, 0xff, 0xff, 0xff, 0xff, 0x07, 0x10, 0), wasiNotSupported},
		"poll of nothing":              {exits("poll_oneoff", 2, 0x41, 0, 0x41, 0, 0x41, 0, 0x41, 0, 0x10, 0), wasiInvalid},
		"poll of too much":             {exits("poll_oneoff", 2, 0x41, 0, 0x41, 0, 0x41, 0x7f, 0x41, 0, 0x10, 0), wasiInvalid},
		"poll out of memory":           {exits("poll_oneoff", 2, 0x41, 0x70, 0x41, 0, 0x41, 1, 0x41, 0, 0x10, 0), wasiFault},
		"poll with result outside":     {exits("poll_oneoff", 2, 0x41, 0, 0x41, 0, 0x41, 1, 0x41, 0x7f, 0x10, 0), wasiFault},
		"poll of a clock":              {exits("poll_oneoff", 2, 0x41, 0, 0x41, 0, 0x41, 1, 0x41, 0x10, 0x10, 0), 0},
		"random bytes outside":         {exits("random_get", 3, 0x41, 0x7f, 0x41, 0x10, 0x10, 0), wasiFault},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newFlight(t).run(c.module.file(t)).is(t, c.exit, "")
		})
	}
}

func TestCache(t *testing.T) {
	t.Parallel()
	module := program().file(t)
	entries := func(dir string) []string {
		names, err := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	f := newFlight(t)
	f.cache = t.TempDir()
	var errs bytes.Buffer
	if exit := Run(t.Context(), []string{"--cache", f.cache, "--compile-only", module}, nil, io.Discard, &errs, nil); exit != 0 {
		t.Fatalf("exit %d: %s", exit, &errs)
	}
	if got := entries(f.cache); len(got) != 1 {
		t.Fatalf("cache holds %q", got)
	}
	f.run(module).is(t, 0, "")
	if got := entries(f.cache); len(got) != 1 {
		t.Fatalf("the same module made %q", got)
	}
	// What is damaged is not run: every byte that is not native code, and the checksum over that.
	whole, err := os.ReadFile(entries(f.cache)[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, damaged := range [][]byte{nil, whole[:10], whole[:len(whole)-20], append(slices.Clone(whole[:60]), make([]byte, len(whole)-60)...)} {
		if err := os.WriteFile(entries(f.cache)[0], damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		f.run(module).is(t, 0, "")
	}
	for name, dir := range map[string]string{"absent": "/absent", "a file": module, "no directory can be made": "/proc/self/task", "none": ""} {
		f.cache = dir
		f.run(module).is(t, 0, "")
		if name == "absent" {
			if _, err := os.Stat(dir); err == nil {
				t.Error("the directory was made")
			}
		}
	}
}

func TestReadOnlyCache(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("root writes where it may not")
	}
	f := newFlight(t)
	f.cache = t.TempDir()
	first, second := program().file(t), program(0x01).file(t)
	f.run(first).is(t, 0, "")
	dirs, _ := filepath.Glob(filepath.Join(f.cache, "wazero-*"))
	if err := os.Chmod(dirs[0], 0o500); err != nil {
		t.Fatal(err)
	}
	defer func() { drop(os.Chmod(dirs[0], 0o700)) }()
	f.run(first).is(t, 0, "")
	f.run(second).is(t, 0, "")
	if names, _ := os.ReadDir(dirs[0]); len(names) != 1 {
		t.Errorf("%d entries", len(names))
	}
}
