package paths

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
)

// looseText is a text that may be a path and does not say where it begins.
type looseText struct {
	at, text string
	doubt    doubt
	found    int // its place in what was found, -1 if it is not there
}

// beginsSomewhere says whether the beginning of a path is left open.
func beginsSomewhere(s string) bool {
	return s != "" && len(s) <= limits.PathBytes && s[0] != '/' && s[0] != '~' && s != "." && !isFileURI(s)
}

// join reads relative paths also from the directories that other arguments name: as
// programs do that have a working directory and names in it.
func (w *walk) join(bases []string) {
	bases = w.within(bases)
	for _, l := range w.loose {
		r := readings{c: w.c}
		r.list = r.buf[:0]
		for _, base := range bases {
			r.below(base, l.text)
		}
		if len(r.list) == 0 {
			continue
		}
		f, missing := w.judge(&r)
		f.At, f.Value = l.at, shown(l.text)
		switch {
		case l.found >= 0:
			if badness(f) > badness(w.found[l.found]) {
				w.found[l.found] = f
			}
		case badness(f) == 0 && missing, len(w.found) >= limits.MCPPathFindings:
		case l.doubt == perhaps && !f.Protected && missing && !strings.ContainsAny(l.text, "/%"):
		default:
			w.found = append(w.found, f)
		}
	}
}

// within adds the directories that relative names of directories lead to from others.
func (w *walk) within(bases []string) []string {
	out := bases
	for _, l := range w.loose {
		if l.found < 0 {
			continue
		}
		for _, base := range bases {
			if len(out) == 2*limits.MCPPathBases {
				return out
			}
			p := filepath.Join(base, l.text)
			if at := w.look.follow(p); at.why == "" && at.info != nil && at.info.IsDir() && !slices.Contains(out, at.path) {
				out = append(out, at.path)
			}
		}
	}
	return out
}

// below adds the readings of a text from a directory.
func (r *readings) below(base, s string) {
	r.add(base + "/" + s)
	if decoded, ok := unescape(s); ok && decoded != s && strings.IndexByte(decoded, 0) < 0 {
		r.add(base + "/" + decoded)
	}
}
