package telemetry_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/telemetry"
)

func hide(s string) string { return strings.ReplaceAll(s, "hunter2", "[redacted]") }

func TestNothingSecretLeaves(t *testing.T) {
	t.Parallel()
	for _, json := range []bool{false, true} {
		var b bytes.Buffer
		l := telemetry.New(&b, telemetry.Options{Level: "debug", JSON: json, Redact: hide})
		l.With("given", "hunter2").WithGroup("hunter2 group").Error("message hunter2",
			"text", "hunter2", "error", errors.New("hunter2"), "list", []string{"hunter2"}, "hunter2", 1,
			slog.Group("inner", "deep", "hunter2"))
		if got := b.String(); strings.Contains(got, "hunter2") || strings.Count(got, "[redacted]") < 7 {
			t.Errorf("json %v: %s", json, got)
		}
	}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	for level, want := range map[string]int{"debug": 4, "info": 3, "warn": 2, "error": 1, "nonsense": 2, "": 2} {
		var b bytes.Buffer
		l := telemetry.New(&b, telemetry.Options{Level: level})
		l.Debug("x")
		l.Info("x")
		l.Warn("x")
		l.Error("x")
		if got := strings.Count(b.String(), "\n"); got != want {
			t.Errorf("level %q: %d lines, want %d", level, got, want)
		}
	}
}
