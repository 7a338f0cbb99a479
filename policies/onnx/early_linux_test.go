package onnx

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/policies/onnx/inside"
)

// TestTheModelsProcessTakesOverEarly starts the program that runs a model, tells it
// nothing, and lets Go say what was initialised before that: nothing that it has no
// use for, and not what this binary has beside it.
func TestTheModelsProcessTakesOverEarly(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/proc/self/exe", "engine", "run", inside.Name)
	cmd.Env = []string{"GODEBUG=inittrace=1"}
	var said, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &log
	if err := cmd.Run(); err == nil { // nobody tells it what to do
		t.Error("a process without a task ended as if it had done it")
	}
	if want := inside.NewFrame(inside.KindAlive, 0, nil); !bytes.Equal(said.Bytes(), want) {
		t.Fatalf("it says %q", said.Bytes())
	}
	var before []string
	for line := range strings.Lines(log.String()) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "init" {
			before = append(before, f[1])
		}
	}
	if !slices.Contains(before, "encoding/json") {
		t.Fatalf("that is not what Go says of its start: %v", before)
	}
	for _, late := range []string{"net", "os/exec", "path/filepath", "regexp", "testing", "github.com/cabincrew/action/policies/onnx"} {
		if slices.Contains(before, late) {
			t.Errorf("the process waits for %s: %v", late, before)
		}
	}
}
