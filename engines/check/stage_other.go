//go:build !unix

package check

import (
	"context"
	"fmt"
	"io"
)

// Stage needs a system on which a process can execute another program in its place.
func Stage(_ context.Context, _ []string, _ io.Reader, _, stderr io.Writer, _ []string) int {
	_, _ = fmt.Fprintln(stderr, stagePrefix+"this system cannot change the surroundings of an engine") // there is nobody else to tell
	return exitStage
}
