package bundle

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
)

// checkPath refuses every path that a flight does not have. SPEC: docs/protocol.md 5
func checkPath(p string) error {
	switch {
	case !fs.ValidPath(p) || p == ".":
		return errors.New("is not a path inside a flight")
	case len(p) > limits.FlightPath:
		return fmt.Errorf("is longer than %d bytes", limits.FlightPath)
	case strings.Count(p, "/") >= limits.FlightDepth:
		return fmt.Errorf("is deeper than %d", limits.FlightDepth)
	case !utf8.ValidString(p) || strings.Contains(p, `\`) || strings.ContainsFunc(p, unicode.IsControl):
		return errors.New("holds what no path of a flight holds")
	case p[0] == '.':
		return errors.New("is hidden: such files stay where they are")
	}
	return nil
}

// before compares paths as a walk in the order of the names meets them.
func before(a, b string) int {
	return cmp.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
}

// folded gives one spelling for all that a file system without case could take for it.
func folded(p string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, p)
}

// order checks that entries come as an archive has them: sorted, each once, below
// a directory that came before.
type order struct {
	last string
	dirs map[string]bool
	seen map[string]bool // folded
}

func newOrder() *order {
	return &order{dirs: map[string]bool{".": true}, seen: map[string]bool{}}
}

func (o *order) add(p string, dir bool) error {
	if err := checkPath(p); err != nil {
		return err
	}
	key := folded(p)
	switch {
	case o.seen[key]:
		return errors.New("is there twice, or differs from another only by case")
	case len(o.seen) > 0 && before(o.last, p) >= 0:
		return errors.New("is not in order")
	case !o.dirs[path.Dir(p)]:
		return errors.New("lies in no directory of the archive")
	case len(o.seen) >= limits.StorageEntries:
		return fmt.Errorf("is one of more than %d", limits.StorageEntries)
	}
	o.last, o.seen[key] = p, true
	if dir {
		o.dirs[p] = true
	}
	return nil
}
