package onnx

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// model is a configuration that is right.
func model() Model {
	return Model{
		Name: "injection", At: "config.models[0]", Source: "models/injection.onnx", SHA256: strings.Repeat("0", 64), Input: InputString,
		Labels:    []string{"benign", "injection"},
		Decisions: []Row{{Label: "injection", AtLeast: "0.90", Decision: protocol.Warn}},
	}
}

func TestCheckTakesWhatIsRight(t *testing.T) {
	t.Parallel()
	if err := Check([]Model{model()}); err != nil {
		t.Error(err)
	}
	if err := Check(nil); err != nil {
		t.Error(err)
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*Model)
		at     string
	}{
		"name":            {func(m *Model) { m.Name = "In jection" }, "name"},
		"no digest":       {func(m *Model) { m.SHA256 = "" }, "sha256"},
		"upper digest":    {func(m *Model) { m.SHA256 = strings.Repeat("A", 64) }, "sha256"},
		"short digest":    {func(m *Model) { m.SHA256 = "00" }, "sha256"},
		"input":           {func(m *Model) { m.Input = "image" }, "input"},
		"part":            {func(m *Model) { m.Reads.Parts = []string{"deleted"} }, "reads.parts"},
		"small window":    {func(m *Model) { m.Window = 10 }, "window"},
		"large window":    {func(m *Model) { m.Window = 1 << 20 }, "window"},
		"overlap":         {func(m *Model) { m.Window, m.Overlap = 1024, 513 }, "overlap"},
		"negative":        {func(m *Model) { m.Overlap = -1 }, "overlap"},
		"time-out":        {func(m *Model) { m.Timeout = time.Hour }, "timeout"},
		"no time":         {func(m *Model) { m.Timeout = -1 }, "timeout"},
		"on_error":        {func(m *Model) { m.OnError = protocol.Allow }, "on_error"},
		"no labels":       {func(m *Model) { m.Labels = nil }, "labels"},
		"label twice":     {func(m *Model) { m.Labels = []string{"injection", "injection"} }, "labels"},
		"label text":      {func(m *Model) { m.Labels = []string{"injection", "a\nb"} }, "labels"},
		"no decisions":    {func(m *Model) { m.Decisions = nil }, "decisions"},
		"unknown label":   {func(m *Model) { m.Decisions[0].Label = "x" }, "decisions[0].label"},
		"threshold":       {func(m *Model) { m.Decisions[0].AtLeast = "NaN" }, "decisions[0].at_least"},
		"percent":         {func(m *Model) { m.Decisions[0].AtLeast = "90%" }, "decisions[0].at_least"},
		"allowing":        {func(m *Model) { m.Decisions[0].Decision = protocol.Allow }, "decisions[0].decision"},
		"no such verdict": {func(m *Model) { m.Decisions[0].Decision = "maybe" }, "decisions[0].decision"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := model()
			tc.change(&m)
			wantConfigError(t, Check([]Model{m}), "config.models[0]."+tc.at)
		})
	}
}

func TestCheckRefusesSets(t *testing.T) {
	t.Parallel()
	wantConfigError(t, Check([]Model{model(), model()}), "config.models[0].name")
	wantConfigError(t, Check(make([]Model, limits.OnnxModels+1)), "config.models")
}

func wantConfigError(t *testing.T, err error, at string) {
	t.Helper()
	var e *protocol.Error
	if !errors.As(err, &e) || e.Code != "model_config" || e.ExitCode() != protocol.ExitUsage || e.Where != at || e.Hint == "" {
		t.Errorf("got %+v, want model_config with exit 2 at %s", err, at)
	}
}

func TestThresholds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		atLeast string
		score   float64
		bits    int
		want    bool
	}{
		{"0.9", float64(float32(0.9)), 32, true}, // below 0.9 in 64 bits
		{"0.9", float64(float32(0.9)), 64, false},
		{"0.90", 0.9, 64, true},
		{"0.90", 0.8999, 64, false},
		{"0", 0, 32, true},
		{"-1.5", -1.5, 32, true},
		{"1", 0.99, 32, false},
		{"nonsense", -5, 32, true}, // never unchecked
	} {
		if got := (Row{AtLeast: tc.atLeast}).holds(tc.score, tc.bits); got != tc.want {
			t.Errorf("%g at least %s (%d bits): %v", tc.score, tc.atLeast, tc.bits, got)
		}
	}
}

func TestDecimal(t *testing.T) {
	t.Parallel()
	for want, x := range map[string]float64{"0.8999": 0.89999, "0.9": 0.9, "1": 1, "0": 0, "-2.25": -2.25, "0.0001": 0.00019, "12345.6789": 12345.67891} {
		if got := decimal(x, 64); got != want {
			t.Errorf("%g: %s, want %s", x, got, want)
		}
	}
	if got := decimal(float64(float32(0.9)), 32); got != "0.9" {
		t.Errorf("0.9 of 32 bits: %s", got)
	}
}
