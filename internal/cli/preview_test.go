package cli

import (
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPreviewEnds: steps of a configuration that nobody approved do not run for ever.
func TestPreviewEnds(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.write(".gitignore", ".cabincrew/\n")
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-q", "-m", "start"}} {
		d.git(args...)
	}
	d.change(d.path(".cabincrew.yaml"), "run: [sh, edit.sh]", "run: [sleep, \"60\"]")
	a := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard, env: environ(d.env)}
	a.flags.config, a.flags.governanceRef = d.path(".cabincrew.yaml"), "main"
	s, err := a.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	p := s.preview(t.Context(), 500*time.Millisecond)
	if p == nil || p.Error == nil || p.Error.Code != "preview_time" || time.Since(begun) > 30*time.Second {
		t.Errorf("%+v after %v", p, time.Since(begun))
	}
	if err := s.done(); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(d.path(".cabincrew/tmp/preview-*")); err != nil || len(left) > 0 {
		t.Errorf("left is %q, %v", left, err)
	}
}
