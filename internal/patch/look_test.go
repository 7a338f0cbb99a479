package patch_test

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cabincrew/action/internal/patch"
)

func TestLook(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		content string
		want    patch.Text
	}{
		"nothing":           {"", patch.Text{UTF8: true}},
		"lines":             {"one\nthree\nx", patch.Text{UTF8: true, LongestLine: 5}},
		"last is longest":   {"one\nthree", patch.Text{UTF8: true, LongestLine: 5}},
		"letters":           {strings.Repeat("ä€😀", 40_000), patch.Text{UTF8: true, LongestLine: 9 * 40_000}},
		"cut letter":        {"a\xe2\x82", patch.Text{LongestLine: 3}},
		"cut letter inside": {"a\xe2\x82\nb", patch.Text{LongestLine: 3}},
		"no letters":        {strings.Repeat("\x80", 100_000), patch.Text{LongestLine: 100_000}},
		"early NUL":         {strings.Repeat("a", 7999) + "\x00", patch.Text{Binary: true, UTF8: true, LongestLine: 8000}},
		"late NUL":          {strings.Repeat("a", 8000) + "\x00", patch.Text{UTF8: true, LongestLine: 8001}},
		"across buffers":    {strings.Repeat("a", 65_535) + "\n" + strings.Repeat("b", 200_001) + "\n\n", patch.Text{UTF8: true, LongestLine: 200_001}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, r := range []string{"whole", "bytes"} {
				in := strings.NewReader(c.content)
				got, err := patch.Look(in)
				if r == "bytes" {
					got, err = patch.Look(iotest.OneByteReader(strings.NewReader(c.content)))
				}
				if err != nil || got != c.want {
					t.Errorf("%s: %+v %v, want %+v", r, got, err, c.want)
				}
			}
		})
	}
	broken := errors.New("broken")
	if _, err := patch.Look(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}
