package wasm

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// suite is what all tests share: the guest is built once, its native code cached.
type suite struct {
	dir   string
	once  sync.Once
	guest string
	err   error
}

var shared suite

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "wasm")
	if err != nil {
		panic(err)
	}
	shared.dir = dir
	if err := os.Mkdir(filepath.Join(dir, "cache"), 0o700); err != nil {
		panic(err)
	}
	exit := m.Run()
	drop(os.RemoveAll(dir))
	os.Exit(exit)
}

// guest gives the module made of testdata/guest.
func guest(tb testing.TB) string {
	tb.Helper()
	shared.once.Do(func() {
		shared.guest = filepath.Join(shared.dir, "guest.wasm")
		shared.err = buildGo(shared.guest, "testdata/guest/main.go")
		if shared.err == nil {
			// Compiled before the tests, so that their time limits are about running.
			var errs bytes.Buffer
			Run(context.Background(), []string{"--cache", filepath.Join(shared.dir, "cache"), "--compile-only", shared.guest}, nil, io.Discard, &errs, nil)
		}
	})
	if shared.err != nil {
		tb.Skipf("the Go tool chain did not build the guest: %v", shared.err)
	}
	return shared.guest
}

func buildGo(out, source string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, source)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	text, err := cmd.CombinedOutput()
	if err != nil {
		err = &os.PathError{Op: "go build", Path: string(text), Err: err}
	}
	return err
}

// flight is a workspace with what an engine is started with.
type flight struct {
	tb                   testing.TB
	work, artifacts, tmp string
	mode                 string
	flags                []string
	stdin                io.Reader
	env                  []string
	cache                string
}

func newFlight(tb testing.TB) *flight {
	tb.Helper()
	base := tb.TempDir()
	f := &flight{tb: tb, work: filepath.Join(base, "work"), artifacts: filepath.Join(base, "artifacts"), tmp: filepath.Join(base, "run"),
		mode: "flight-plan", stdin: strings.NewReader(""), cache: filepath.Join(shared.dir, "cache")}
	for _, d := range []string{f.work, f.artifacts, f.tmp, filepath.Join(f.tmp, "home")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	return f
}

func (f *flight) takeOff() *flight { f.mode = "take-off"; return f }

func (f *flight) environ() []string {
	return append([]string{
		"CABINCREW_WORKSPACE=" + f.work, "CABINCREW_ARTIFACTS_DIR=" + f.artifacts, "CABINCREW_TEMP_DIR=" + f.tmp,
		"CABINCREW_MODE=" + f.mode, "CABINCREW_INPUT_FILE=" + f.tmp + "/input.json", "CABINCREW_OUTPUT_FILE=" + f.tmp + "/output.json",
		"HOME=" + f.tmp + "/home", "TMPDIR=" + f.tmp, "LANG=C.UTF-8", "TZ=UTC", "PATH=/usr/bin",
	}, f.env...)
}

// result is how a run ended.
type result struct {
	exit     int
	out, err string
}

func (f *flight) run(module string, args ...string) result {
	f.tb.Helper()
	var out, errs bytes.Buffer
	all := append([]string{"--cache", f.cache}, f.flags...)
	all = append(append(all, module), args...)
	exit := Run(f.tb.Context(), append(all, "--mode", f.mode), f.stdin, &out, &errs, f.environ())
	return result{exit, out.String(), errs.String()}
}

// is demands an exit code and a part of stderr.
func (r result) is(tb testing.TB, exit int, message string) {
	tb.Helper()
	if r.exit != exit || !strings.Contains(r.err, message) || message == "" && r.err != "" {
		tb.Fatalf("exit %d, want %d; stderr, want %q:\n%.3000s\nstdout: %.300q", r.exit, exit, message, r.err, r.out)
	}
}

func (f *flight) write(name, text string) {
	f.tb.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		f.tb.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		f.tb.Fatal(err)
	}
}

// script runs file operations and gives one answer each.
func (f *flight) script(ops ...string) []string {
	f.tb.Helper()
	f.stdin = strings.NewReader(strings.Join(ops, "\n"))
	r := f.run(guest(f.tb), "fs")
	r.is(f.tb, 0, "")
	return strings.Split(strings.TrimSuffix(r.out, "\n"), "\n")
}

// answers demands how each of some file operations ends.
func (f *flight) answers(ops [][2]string) {
	f.tb.Helper()
	var lines []string
	for _, op := range ops {
		lines = append(lines, op[0])
	}
	got := f.script(lines...)
	if len(got) != len(ops) {
		f.tb.Fatalf("%d answers to %d operations: %q", len(got), len(ops), got)
	}
	for i, op := range ops {
		if got[i] != op[1] {
			f.tb.Errorf("%s: %q, want %q", op[0], got[i], op[1])
		}
	}
}

// drop takes results that do not matter: what counts is what is left on the disk.
func drop(...any) {}
