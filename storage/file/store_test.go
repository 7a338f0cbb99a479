package file

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// The test binary is also the other process of the lock tests.
func TestMain(m *testing.M) {
	if dir := os.Getenv("CABINCREW_TEST_LOCK"); dir != "" {
		s, err := Open(dir)
		if err == nil {
			_, err = s.Lock("w1")
		}
		if err == nil {
			_, _, err = s.Temp("engine-*")
		}
		fmt.Println("held", err)
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent lets go or kills
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func newStore(tb testing.TB) *Store {
	tb.Helper()
	s, err := Open(filepath.Join(tb.TempDir(), "state"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

func TestLockAcrossProcesses(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	cmd := exec.Command(os.Args[0], "-test.run=^$") //nolint:gosec // this very binary
	cmd.Env = append(os.Environ(), "CABINCREW_TEST_LOCK="+s.Dir())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() }) // the process is killed below
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "held <nil>\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	_, err = s.Lock("w1")
	wantCode(t, err, "locked")
	if want := fmt.Sprintf("process %d holds", cmd.Process.Pid); !strings.Contains(err.Error(), want) || protocol.ExitCode(err) != protocol.ExitUnreachable {
		t.Errorf("%v does not say %q", err, want)
	}
	if err := s.SweepTemp(); err != nil || len(temps(t, s)) != 1 {
		t.Errorf("sweep of a directory in use: %v, %v", err, temps(t, s))
	}
	other, err := s.Lock("w2")
	if err != nil {
		t.Errorf("another lock: %v", err)
	} else if err := other.Release(); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	l, err := s.Lock("w1")
	if err != nil {
		t.Fatalf("the holder is dead: %v", err)
	}
	_, err = s.Lock("w1")
	wantCode(t, err, "locked")
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if err := s.SweepTemp(); err != nil || len(temps(t, s)) != 0 {
		t.Errorf("sweep after the holder's death: %v, %v", err, temps(t, s))
	}
	_, err = s.Lock("../w1")
	wantCode(t, err, "lock_name")
}

func temps(t *testing.T, s *Store) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.Dir(), tmpDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestStore(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, d := range []string{"", flightsDir, locksDir, tmpDir} {
		if info, err := os.Stat(filepath.Join(s.Dir(), d)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%q: %v %v", d, info, err)
		}
	}
	if data, err := os.ReadFile(filepath.Join(s.Dir(), ".gitignore")); err != nil || string(data) != "*\n" {
		t.Errorf(".gitignore: %q %v", data, err)
	}
	for _, id := range []string{"w2", "w10", "w1"} {
		if _, err := s.Create(id); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Create("w1")
	wantCode(t, err, "flight_exists")
	for _, id := range []string{"", ".", "..", "a/b", "-x", "é"} {
		_, err := s.Create(id)
		wantCode(t, err, "flight_id")
		_, err = s.Flight(id)
		wantCode(t, err, "flight_id")
		wantCode(t, s.Remove(id), "flight_id")
	}
	if ids, err := s.List(); err != nil || !slices.Equal(ids, []string{"w1", "w10", "w2"}) {
		t.Errorf("%v %v", ids, err)
	}
	if err := s.Remove("w10"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Flight("w10")
	wantCode(t, err, "flight_unknown")
	if left := temps(t, s); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	again, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := again.List(); err != nil || len(ids) != 2 {
		t.Errorf("%v %v", ids, err)
	}
}

func TestTempIsRemovedWhateverIsInIt(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	dir, cleanup, err := s.Temp("engine-*")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"a/b", "a"} {
		if err := os.Chmod(filepath.Join(dir, p), 0o500); err != nil { //nolint:gosec // as an engine may leave it
			t.Fatal(err)
		}
	}
	if err := cleanup(); err != nil {
		t.Fatal(err)
	}
	if left := temps(t, s); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestLinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	outside := filepath.Join(base, "outside")
	if err := os.Mkdir(outside, 0o700); err != nil {
		t.Fatal(err)
	}
	link := func(to, at string) {
		t.Helper()
		if err := os.Symlink(to, at); err != nil {
			t.Fatal(err)
		}
	}
	link(outside, filepath.Join(base, "state"))
	_, err := Open(filepath.Join(base, "state"))
	wantCode(t, err, "path_unsafe")
	inner := filepath.Join(base, "state2")
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	link(outside, filepath.Join(inner, flightsDir))
	_, err = Open(inner)
	wantCode(t, err, "path_unsafe")

	s := newStore(t)
	link(outside, filepath.Join(s.Dir(), flightsDir, "w9"))
	_, err = s.Flight("w9")
	wantCode(t, err, "path_unsafe")
	f, err := s.Create("w1")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.WriteFile("real.json", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	link("real.json", filepath.Join(f.Dir(), "link.json"))
	link(".", filepath.Join(f.Dir(), "steps"))
	if err := unix.Mkfifo(filepath.Join(f.Dir(), "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"link.json", "steps/real.json", "fifo", ".", "../outside", "/etc/passwd", "a//b", "a/../b", "", "a\x00b"} {
		if _, err := f.ReadFile(p, 10); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read %q: %v", p, err)
		}
		if err := f.WriteFile(p, nil); err == nil {
			t.Errorf("wrote %q", p)
		}
	}
	wantCode(t, f.MkdirAll("steps/a"), "path_unsafe")
	_, err = f.Files(".")
	wantCode(t, err, "path_unsafe")
	_, err = f.Files("steps")
	wantCode(t, err, "path_unsafe")
	link("real.json", filepath.Join(f.Dir(), WALName))
	_, _, err = OpenWAL(f)
	wantCode(t, err, "path_unsafe")
}

func TestFlightFiles(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	if files, err := f.Files("steps"); err != nil || len(files) != 0 {
		t.Errorf("%v %v", files, err)
	}
	for _, p := range []string{"steps/a/x.json", "steps/a-b/x.json", "steps/b", "flight.json"} {
		if dir := filepath.Dir(p); dir != "." {
			if err := f.MkdirAll(dir); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.WriteFile(p, []byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(f.Dir(), tempPrefix+"1-1"), nil, 0o600); err != nil { // of a process that died
		t.Fatal(err)
	}
	var got []string
	files, err := f.Files(".")
	for _, i := range files {
		got = append(got, fmt.Sprint(i.Path, " ", i.Size, " ", i.Mode))
	}
	want := []string{"flight.json 11 -rw-r--r--", "steps/a-b/x.json 16 -rw-r--r--", "steps/a/x.json 14 -rw-r--r--", "steps/b 7 -rw-r--r--"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q %v", got, err)
	}
	mustOpen(t, f)
	if left, err := filepath.Glob(filepath.Join(f.Dir(), tempPrefix+"*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if data, err := f.ReadFile("steps/b", 7); err != nil || string(data) != "steps/b" {
		t.Errorf("%q %v", data, err)
	}
	_, err = f.ReadFile("steps/b", 6)
	wantCode(t, err, "file_too_large")
	_, err = f.ReadFile("steps/none/x", 6)
	wantCode(t, err, "file_missing")
	if err := f.WriteFile("none/x", nil); err == nil {
		t.Error("wrote into a missing directory")
	}
	if err := os.WriteFile(filepath.Join(f.Dir(), "bad\xff"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = f.Files(".")
	wantCode(t, err, "path_unsafe")
	deep := strings.Repeat("d/", limits.FlightDepth+1) + "d"
	if err := f.MkdirAll(deep); err != nil {
		t.Fatal(err)
	}
	_, err = f.Files("d")
	wantCode(t, err, "flight_too_large")
}

func TestWriteFileReplacesWhole(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	for _, text := range []string{"old and long", "new", ""} {
		if err := f.WriteFile("x.json", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if data, err := f.ReadFile("x.json", 100); err != nil || string(data) != text {
			t.Errorf("%q %v", data, err)
		}
	}
	if os.Getuid() == 0 {
		t.Log("the rest is skipped: for root no directory is read-only")
		return
	}
	if err := os.Chmod(f.Dir(), 0o500); err != nil { //nolint:gosec // a full disk, as near as a test gets
		t.Fatal(err)
	}
	wantCode(t, f.WriteFile("x.json", []byte("lost")), "file_unwritable")
	if err := os.Chmod(f.Dir(), 0o700); err != nil { //nolint:gosec // as it was
		t.Fatal(err)
	}
	if data, err := f.ReadFile("x.json", 100); err != nil || len(data) != 0 {
		t.Errorf("%q %v", data, err)
	}
}

func TestOpenDir(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	data := sampleWAL(t, f)
	away := filepath.Join(t.TempDir(), "unpacked here")
	if err := os.Mkdir(away, 0o700); err != nil {
		t.Fatal(err)
	}
	g, err := OpenDir(away)
	if err != nil || g.ID() != "" {
		t.Fatalf("%v %v", g, err)
	}
	write(t, g, data)
	if entries, _, err := ReadWAL(g); err != nil || entries[0].WorkflowID != "w1" {
		t.Errorf("%v", err)
	}
	w, _ := mustOpen(t, g)
	if e := commit(t, w, protocol.WALStepStarted, protocol.StepStartedData{StepID: "a", StepType: "b"}); e.WorkflowID != "w1" {
		t.Errorf("continued as %q", e.WorkflowID)
	}
	if err := g.WriteFile("flight.json", []byte(`{"workflow_id":"w7"}`)); err != nil {
		t.Fatal(err)
	}
	if g, err = OpenDir(away); err != nil || g.ID() != "w7" {
		t.Fatalf("%v %v", g, err)
	}
	_, _, err = ReadWAL(g)
	wantCode(t, err, "wal_workflow")
	if !bytes.HasPrefix(read(t, g), data) {
		t.Error("the WAL was changed")
	}
	_, err = OpenDir(filepath.Join(away, "none"))
	wantCode(t, err, "flight_unknown")
}
