package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cabincrew/action/engines/sandbox/inside"
)

// TestJudgeActs refuses a tier in which an act passed.
func TestJudgeActs(t *testing.T) {
	t.Parallel()
	stopped := inside.Act{Name: "write", Layer: LayerLandlock, Result: "no"}
	passed := func(layer string) inside.Act {
		return inside.Act{Name: "it", Layer: layer, Passed: true, Result: "succeeded"}
	}
	for _, c := range []struct {
		tier    string
		missing []string
		acts    []inside.Act
		ok      bool
	}{
		{TierA, nil, []inside.Act{stopped}, true}, {TierA, nil, nil, true}, {TierB, nil, []inside.Act{stopped, stopped}, true},
		{TierA, nil, []inside.Act{stopped, passed(LayerLandlock)}, false}, {TierA, nil, []inside.Act{passed(LayerSeccomp), stopped}, false}, {TierA, nil, []inside.Act{passed("")}, false},
		{TierA, nil, []inside.Act{passed(LayerAttributes)}, false}, {TierA, []string{LayerAttributes, LayerSignals}, []inside.Act{passed(LayerAttributes)}, false},
		{TierB, []string{LayerAttributes}, []inside.Act{passed(LayerAttributes)}, true}, {TierB, []string{LayerAttributes}, []inside.Act{passed(LayerSignals)}, false},
		{TierB, []string{LayerAttributes, LayerSignals}, []inside.Act{passed(LayerSignals), stopped}, true}, {TierB, []string{LayerNamespaces}, []inside.Act{passed(LayerNamespaces)}, false},
		{TierB, nil, []inside.Act{passed(LayerAttributes)}, false}, {TierB, []string{LayerAttributes}, []inside.Act{passed(LayerLandlock)}, false}, {TierC, []string{LayerSeccomp}, []inside.Act{passed(LayerSeccomp)}, false},
	} {
		i := Isolation{Tier: c.tier, Missing: c.missing}
		_, acts, err := judgeActs(inside.Report{Isolation: &i, Acts: c.acts})
		if (err == nil) != c.ok || len(acts) == 0 && len(c.acts) > 0 {
			t.Errorf("%+v: %v, %v", c, acts, err)
		}
	}
}

// TestProbe tries this machine.
func TestProbe(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T) {
		found := Probe(t.Context(), false)
		switch found.Isolation.Tier {
		case TierA:
			if len(found.Refused) != 0 || found.Sudo {
				t.Errorf("%+v", found)
			}
		case TierB:
			if found.Refused[TierA] == "" {
				t.Errorf("%+v", found)
			}
		case TierC:
			if found.Refused[TierA] == "" || found.Refused[TierB] == "" || len(found.Acts) != 0 {
				t.Errorf("%+v", found)
			}
		default:
			t.Errorf("%+v", found)
		}
		for _, a := range found.Acts {
			if a.Name == "" || a.Layer == "" || a.Passed != (a.Result == "succeeded") {
				t.Errorf("%+v", a)
			}
		}
		t.Logf("tier %s, Landlock %d, overlay %v, missing %v", found.Isolation.Tier, found.Isolation.LandlockABI, found.Overlay, found.Isolation.Missing)
	})
}

// TestProbeCancelled does not take a probe that was cut short for a result.
func TestProbeCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan Found, 1)
	go func() { done <- Probe(ctx, false) }()
	select {
	case <-done: // a helper may be faster than its end
	case <-time.After(3 * probeTime):
		t.Fatal("it does not end")
	}
}

// TestReceiveFD takes exactly one descriptor.
func TestReceiveFD(t *testing.T) {
	t.Parallel()
	pair := func() (*net.UnixConn, *os.File) {
		ours, theirs, err := socketpair()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
		return ours, theirs
	}
	for name, send := range map[string]func(to *os.File) error{
		"nothing but a byte": func(to *os.File) error { _, err := to.WriteString("f"); return err },
		"the end":            func(to *os.File) error { return to.Close() },
		"two": func(to *os.File) error {
			return unix.Sendmsg(int(to.Fd()), []byte("f"), unix.UnixRights(0, 1), nil, 0)
		},
	} {
		ours, theirs := pair()
		if err := send(theirs); err != nil {
			t.Fatal(name, err)
		}
		if f, err := receiveFD(ours); err == nil || strings.Contains(err.Error(), "%!") {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	ours, theirs := pair()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("passed"), 0o644); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	if err := inside.SendFD(int(theirs.Fd()), int(in.Fd())); err != nil {
		t.Fatal(err)
	}
	out, err := receiveFD(ours)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	if flags, err := unix.FcntlInt(out.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Error("a child would inherit it", err)
	}
	if data := make([]byte, 6); true {
		if _, err := out.Read(data); err != nil || string(data) != "passed" {
			t.Errorf("%q, %v", data, err)
		}
	}
}

// TestReports reads what a helper could say, and what only somebody else would.
func TestReports(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"a report": {`{"ended":true,"status":256,"survivors":2}` + "\n", true}, "an unknown field": {`{"new":1}` + "\n", true},
		"no report": {"", false}, "half a report": {`{"ended":true`, false}, "no JSON": {"hello\n", false}, "another type": {`{"ended":1}` + "\n", false}, "a list": {"[]\n", false},
		"a long one": {`{"error":"` + strings.Repeat("x", maxReport/2) + `"}` + "\n", true}, "too long": {`{"error":"` + strings.Repeat("x", 2*maxReport) + `"}` + "\n", false},
		"without end": {strings.Repeat("x", 4*maxReport), false},
	} {
		h := &helper{reports: bufio.NewReaderSize(strings.NewReader(c.text), 64<<10)}
		r, err := h.report()
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if name == "a report" && (!r.Ended || r.Status != 256 || r.Survivors != 2) {
			t.Errorf("%+v", r)
		}
		if name == "too long" && !strings.Contains(err.Error(), "too large") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReport(f *testing.F) {
	for _, seed := range []string{`{"ended":true,"status":9}`, `{"isolation":{"tier":"A","missing":[]},"acts":[{"name":"x"}]}`, "null", "{", "\n\n", `{"attempts":[{"call":"x","count":-1}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(_ *testing.T, data []byte) {
		h := &helper{reports: bufio.NewReaderSize(bytes.NewReader(append(data, '\n')), 64<<10)}
		for range 4 {
			if _, err := h.report(); err != nil {
				return
			}
		}
	})
}

// TestHelperCannotStart has no helper: its limits forbid it.
func TestHelperCannotStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Command{
		"no arguments":              {},
		"an argument with a NUL":    {Argv: []string{"/bin/true", "a\x00b"}, Dir: "/"},
		"a variable with a NUL":     {Argv: []string{"/bin/true"}, Env: []string{"A=\x00"}, Dir: "/"},
		"a directory that is not":   {Argv: []string{"/bin/true"}, Dir: "/nowhere/at/all"},
		"a relative program":        {Argv: []string{"nowhere-at-all"}, Dir: "/"},
		"an argument that is large": {Argv: []string{"/bin/true", strings.Repeat("x", 1<<20)}, Dir: "/"},
	} {
		exit, err := Run(t.Context(), c)
		if !errors.Is(err, ErrStart) || exit.Code != -1 {
			t.Errorf("%s: %+v, %v", name, exit, err)
		}
	}
	for _, name := range []string{TierA, TierB} {
		tier(t, name)
		cmd, _ := hostile(t, &Confine{Tier: name})
		cmd.Argv = []string{"/nowhere/at/all"}
		exit, err := Run(t.Context(), cmd)
		if !errors.Is(err, ErrStart) || exit.Isolation.Tier != name {
			t.Errorf("tier %s: %+v, %v", name, exit, err)
		}
	}
	if _, err := Run(t.Context(), Command{Argv: []string{"/bin/true"}, Dir: "/", Confine: &Confine{Tier: "D"}}); err == nil {
		t.Error("a tier that does not exist was had")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Command{Argv: []string{"/bin/true"}, Dir: "/"}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestManyArguments passes much to the helper.
func TestManyArguments(t *testing.T) {
	t.Parallel()
	held(t, "ABC", func(t *testing.T, _ string, c *Confine, _ string) {
		args := []string{"do"}
		for i := range 5000 {
			args = append(args, fmt.Sprintf("list|/nowhere/%d/%s", i, strings.Repeat("x", 50)))
		}
		exit, out := within(t, c, args...)
		if exit.Code != 0 || strings.Count(out, "\n") != 5000 {
			t.Errorf("%+v, %d lines", exit, strings.Count(out, "\n"))
		}
	})
}
