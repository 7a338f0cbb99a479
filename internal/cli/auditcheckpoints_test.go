package cli

import (
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/limits"
)

// TestCheckpointsOfHostileFiles: what is in the file is not to be believed, and never
// makes the reader keep more than a block.
func TestCheckpointsOfHostileFiles(t *testing.T) {
	t.Parallel()
	const run = "gw-20261123t180000-01020304"
	note := func(id, size string) string {
		return "cabincrew.dev/local/" + id + "\n" + size + "\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— cabincrew.dev/local/" + id + " AAAAAAAA\n\n"
	}
	for name, c := range map[string]struct {
		text string
		size string // of the newest; "": none
		bad  bool
	}{
		"nothing":         {"", "", false},
		"empty lines":     {strings.Repeat("\n", 1<<17), "", false},
		"newest by size":  {note(run, "3") + note(run, "12") + note(run, "7"), "12", false},
		"others":          {note("gw-x", "3") + note(run, "2") + note("gw-y", "9"), "2", false},
		"half at the end": {note(run, "3") + note(run, "12")[:40], "3", false},
		"half in between": {note(run, "3")[:40] + "\n\n" + note(run, "2"), "2", false},
		"signature alone": {"— nobody AAAA\n\n" + note(run, "2"), "2", false},
		"no number":       {note(run, "many"), "", true},
		"endless block":   {strings.Repeat("x", limits.AuditCheckpoint+10), "", true},
	} {
		newest, err := newestCheckpoint(strings.NewReader(c.text), run)
		if (err != nil) != c.bad {
			t.Errorf("%s: %v", name, err)
		}
		if got := strings.Split(string(newest)+"\n\n", "\n")[1]; got != c.size {
			t.Errorf("%s: the newest is of %q, not of %q", name, got, c.size)
		}
	}
}
