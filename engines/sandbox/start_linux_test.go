package sandbox

import (
	"bytes"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/engines/sandbox/inside"
)

// TestTheHelperTakesOverEarly starts a helper that nobody tells anything, and lets
// Go say what was initialised before that: nothing that a helper has no use for,
// and not what this binary has beside it.
func TestTheHelperTakesOverEarly(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args, cmd.Env = []string{inside.Name}, []string{"GODEBUG=inittrace=1"}
	var log bytes.Buffer
	cmd.Stderr = &log
	err := cmd.Run()
	var failed *exec.ExitError
	if !errors.As(err, &failed) || failed.ExitCode() == 0 {
		t.Fatalf("a helper without a parent ended with %v", err)
	}
	var before []string
	for line := range strings.Lines(log.String()) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "init" {
			before = append(before, f[1])
		}
	}
	if !slices.Contains(before, "golang.org/x/sys/unix") {
		t.Fatalf("that is not what Go says of its start: %v", before)
	}
	for _, late := range []string{"net", "os/exec", "path/filepath", "testing", "github.com/cabincrew/action/engines/sandbox"} {
		if slices.Contains(before, late) {
			t.Errorf("the helper waits for %s: %v", late, before)
		}
	}
}
