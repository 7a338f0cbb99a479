package onnx

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"github.com/cabincrew/action/policies/onnx/inside"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/protocol"
)

// play is a process of a model that was taken over: it plays its part in good order
// until the text is not the one of the trial run.
func play(part string) {
	say := func(b []byte) { _, _ = os.Stdout.Write(b) }
	note := func(kind byte, v any) {
		b, _ := json.Marshal(v)
		say(inside.NewFrame(kind, 0, b))
	}
	if part == "mute" {
		time.Sleep(time.Hour)
	}
	hear := func() {
		if _, _, _, err := inside.ReadFrame(os.Stdin, inside.FromJudge); err != nil { //nolint:dogsled // only that it came
			os.Exit(1)
		}
	}
	say(inside.NewFrame(inside.KindAlive, 0, nil))
	if part == "alive twice" {
		say(inside.NewFrame(inside.KindAlive, 0, nil))
	}
	hear()
	switch part {
	case "bad version":
		note(inside.KindReady, inside.ReadyNote{Version: "1.24\x1b[2J"})
	case "loaded at once":
		note(inside.KindLoaded, inside.LoadedNote{})
	default:
		note(inside.KindReady, inside.ReadyNote{Version: "1.24.3"})
	}
	hear()
	note(inside.KindLoaded, inside.LoadedNote{})
	for {
		_, id, body, err := inside.ReadFrame(os.Stdin, inside.FromJudge)
		if err != nil {
			return
		}
		if string(body) == sampleText || part == "honest" {
			say(inside.NewFrame(inside.KindScores, id, inside.AnswerBytes([]float64{0.9, 0.1}, nil)))
			continue
		}
		misbehave(part, id, say)
	}
}

func misbehave(part string, id uint32, say func([]byte)) {
	switch part {
	case "NaN":
		say(inside.NewFrame(inside.KindScores, id, inside.AnswerBytes([]float64{math.NaN(), 0.1}, nil)))
	case "infinite beyond 32 bits":
		say(inside.NewFrame(inside.KindScores, id, inside.AnswerBytes([]float64{1e300, 0.1}, nil)))
	case "few scores":
		say(inside.NewFrame(inside.KindScores, id, inside.AnswerBytes([]float64{0.9}, nil)))
	case "many scores":
		say(inside.NewFrame(inside.KindScores, id, inside.AnswerBytes(make([]float64, 200), nil)))
	case "no status":
		say(inside.NewFrame(inside.KindScores, id, nil))
	case "odd status":
		say(inside.NewFrame(inside.KindScores, id, []byte{77}))
	case "status with scores":
		say(inside.NewFrame(inside.KindScores, id, []byte{inside.StatusFailed, 1, 2, 3}))
	case "stopped by nobody":
		say(inside.NewFrame(inside.KindScores, id, []byte{inside.StatusStopped}))
	case "another request":
		say(inside.NewFrame(inside.KindScores, id+1, inside.AnswerBytes([]float64{0.9, 0.1}, nil)))
	case "answer twice":
		both := inside.NewFrame(inside.KindScores, id, inside.AnswerBytes([]float64{0.9, math.NaN()}, nil))
		say(append(both, both...))
	case "note again":
		say(inside.NewFrame(inside.KindLoaded, 0, []byte("{}")))
	case "huge frame":
		b := inside.NewFrame(inside.KindScores, id, nil)
		binary.LittleEndian.PutUint32(b, math.MaxUint32)
		say(b)
	case "garbage":
		say(bytes.Repeat([]byte("garbage "), 1000))
	case "cut off":
		say(inside.NewFrame(inside.KindScores, id, make([]byte, 17))[:12])
		os.Exit(0)
	case "exit":
		os.Exit(3)
	case "closes its ends":
		_ = os.Stdout.Close()
		time.Sleep(time.Hour)
	case "stalls":
		time.Sleep(time.Hour)
	case "memory":
		var keep [][]byte
		for range 64 {
			b := make([]byte, 64<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			keep = append(keep, b)
			time.Sleep(10 * time.Millisecond) // the guard looks every now and then
		}
		time.Sleep(time.Hour)
		_ = keep
	}
}

// played is an evaluator whose model's process plays a part.
func played(t *testing.T, part string, change func(*Model)) (*Evaluator, error) {
	t.Helper()
	if !inside.HasRuntime {
		t.Skip("this program was built without cgo, so it starts no process")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m := model().with(fileOf(t))
	if change != nil {
		change(&m)
	}
	e, err := New(t.Context(), []Model{m}, Options{Library: put(t, realDir(t), 0o644), Run: []string{self, "engine", "run", "part:" + part}})
	if err == nil {
		t.Cleanup(func() { _ = e.Close() })
	}
	return e, err
}

func TestAProcessIsNotBelieved(t *testing.T) {
	t.Parallel()
	for part, code := range map[string]string{
		"NaN": "model_output", "infinite beyond 32 bits": "model_output",
		"few scores": "model_crashed", "many scores": "model_crashed", "no status": "model_crashed", "odd status": "model_crashed",
		"status with scores": "model_crashed", "stopped by nobody": "model_crashed", "another request": "model_crashed", "answer twice": "model_output",
		"note again": "model_crashed", "huge frame": "model_crashed", "garbage": "model_crashed", "cut off": "model_crashed", "exit": "model_crashed",
		"closes its ends": "model_timeout", "stalls": "model_timeout",
	} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			e, err := played(t, part, func(m *Model) { m.Timeout = 2 * time.Second })
			if err != nil {
				t.Fatal(err)
			}
			f := one(t, e, step(textOf("a", "some text")))
			if f.Decision != protocol.Deny || !f.Unjudged || f.Evidence["error"] != code {
				t.Errorf("got %+v, want %s", f, code)
			}
		})
	}
	for part, want := range map[string][2]string{
		"alive twice": {"model_crashed", "no sense"}, "loaded at once": {"model_crashed", "no sense"}, "bad version": {inside.CodeVersion, "no version"},
	} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			_, err := played(t, part, nil)
			wantDenied(t, err, want[0], want[1])
		})
	}
}

func TestAnHonestProcess(t *testing.T) {
	t.Parallel()
	e, err := played(t, "honest", nil)
	if err != nil {
		t.Fatal(err)
	}
	if f := one(t, e, step(textOf("a", "some text"))); f.Decision != protocol.Allow || f.Evidence["score"] != "0.1" || f.Evidence["runtime"] != "1.24.3" {
		t.Errorf("got %+v", f)
	}
}

// A process is held in the best tier that there is, and ended when it takes more
// memory than it may.
func TestAProcessIsHeld(t *testing.T) {
	t.Parallel()
	best := sandbox.Probe(t.Context(), false).Isolation.Tier
	e, err := played(t, "memory", nil)
	if err != nil {
		t.Fatal(err)
	}
	s, ok := e.models[0].session.(*remote)
	if !ok {
		t.Fatal("another kind of session")
	}
	s.process.mu.Lock()
	tier := s.process.tier
	s.process.mu.Unlock()
	if tier != best {
		t.Errorf("tier %s, the best is %s", tier, best)
	}
	if best == sandbox.TierC {
		t.Skip("nothing holds a process here")
	}
	// With the race detector, an allocation fails before the guard looks.
	if f := one(t, e, step(textOf("a", "some text"))); f.Evidence["error"] != "model_memory" && (f.Evidence["error"] != "model_crashed" || !strings.Contains(f.Reason, "code 66")) {
		t.Errorf("got %+v", f)
	}
}

func TestAProcessThatCannotBeStarted(t *testing.T) {
	t.Parallel()
	if !inside.HasRuntime {
		t.Skip("this program was built without cgo, so it starts no process")
	}
	for _, o := range map[string]Options{
		"no program":    {Run: []string{"/bin/false"}},
		"no such layer": {Run: []string{"/bin/false"}, Require: []string{"namespaces", "magic"}},
	} {
		o.Library = put(t, realDir(t), 0o644)
		_, err := New(t.Context(), []Model{model().with(fileOf(t))}, o)
		wantDenied(t, err, "model_isolation", `model "injection"`)
	}
}

func TestProgramRefusesArguments(t *testing.T) {
	t.Parallel()
	if code := Run(context.Background(), []string{"x"}, nil, nil, nil, nil); code != protocol.ExitUsage {
		t.Errorf("got %d", code)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add(inside.NewFrame(inside.KindScores, 1, inside.AnswerBytes([]float64{1, 2}, nil)))
	f.Add(inside.NewFrame(inside.KindReady, 0, []byte(`{"version":"1"}`)))
	f.Add([]byte{255, 255, 255, 255, 'o', 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, _, body, err := inside.ReadFrame(bytes.NewReader(b), inside.FromModel)
		if err != nil {
			return
		}
		if len(body) > inside.LongestReply {
			t.Errorf("%d bytes", len(body))
		}
		if scores, err := inside.ReadAnswer(body, 2, false); kind == inside.KindScores && err == nil && len(scores) != 2 {
			t.Errorf("got %v", scores)
		}
	})
}
