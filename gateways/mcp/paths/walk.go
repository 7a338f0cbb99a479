package paths

import (
	"cmp"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// walk goes through the arguments of one call.
type walk struct {
	c     *Checker
	tool  *Tool
	look  *resolver
	at    []byte // the pointer to what is looked at
	texts int    // that may still be looked at
	steps int    // through the schema
	full  bool   // a bound was reached and told
	found []Finding
	diffs []patchText // looked at last: they may lie in a directory that an argument names
	loose []looseText // relative ones, which may begin there too
}

type patchText struct{ at, text string }

// end gives what was found.
func (w *walk) end() []Finding {
	if bases := w.directories(); len(bases) > 0 {
		w.join(bases)
	}
	for _, d := range w.diffs {
		w.patch(d)
	}
	if len(w.found) > 1 {
		slices.SortStableFunc(w.found, func(a, b Finding) int { return cmp.Compare(a.At, b.At) })
	}
	return w.found
}

// value looks at a value of the arguments.
func (w *walk) value(v, schema any, h hint, depth int) {
	if depth > protocol.MaxDepth {
		w.stop("the arguments are nested too deep")
		return
	}
	switch v := v.(type) {
	case string:
		if w.counts() {
			w.text(v, h)
		}
	case []any:
		w.list(v, schema, h, depth)
	case map[string]any:
		w.object(v, schema, h, depth)
	}
}

// counts says whether one more text may be looked at.
func (w *walk) counts() bool {
	if w.texts--; w.texts < 0 {
		w.stop("the arguments have too many texts")
		return false
	}
	return true
}

// stop tells once that not all could be looked at.
func (w *walk) stop(why string) {
	if !w.full {
		w.full = true
		w.found = append(w.found, Finding{Inside: len(w.c.roots) == 0, Protected: true, Why: why})
	}
}

func (w *walk) list(list []any, schema any, h hint, depth int) {
	var elements any
	if schema != nil {
		elements = w.elements(schema, 0)
	}
	if elements != nil {
		h = w.hintOf(h, elements)
	}
	for i, e := range list {
		if w.full {
			return
		}
		mark := len(w.at)
		w.at = strconv.AppendInt(append(w.at, '/'), int64(i), 10)
		if own := w.configured(h); own != skip {
			w.value(e, elements, own, depth+1)
		}
		w.at = w.at[:mark]
	}
}

func (w *walk) object(m map[string]any, schema any, h hint, depth int) {
	for key, v := range m {
		if w.full {
			return
		}
		mark := len(w.at)
		w.at = appendPointer(w.at, key)
		w.named(key, v, schema, h, depth)
		w.at = w.at[:mark]
	}
}

// named looks at one member: its name, and its value by its name. What is below a name
// that says file is a file too unless its own name says otherwise.
func (w *walk) named(key string, v, schema any, h hint, depth int) {
	switch v.(type) {
	case string, []any, map[string]any:
	default:
		if looks(key) == plain { // a number or a boolean names nothing
			return
		}
	}
	var sub any
	if schema != nil {
		sub = w.member(schema, key, 0)
	}
	own := nameHint(key)
	switch {
	case own != none || h == none || h == content:
	case h == strong && w.pinned():
		own = strong
	default:
		own = weak
	}
	if own = w.configured(w.hintOf(own, sub)); own == skip {
		return
	}
	if w.counts() && looks(key) != plain && w.configured(none) != skip {
		w.text(key, none)
	}
	w.value(v, sub, own, depth+1)
}

// skip is the hint of what configuration says is no path.
const skip hint = 255

// configured puts what configuration says of the place in the stead of a hint.
func (w *walk) configured(h hint) hint {
	for _, p := range w.tool.Never {
		if pointerHas(p, w.at) {
			return skip
		}
	}
	if w.pinned() {
		return strong
	}
	return h
}

// pinned says whether configuration says that the place is a path.
func (w *walk) pinned() bool {
	for _, p := range w.tool.Pointers {
		if pointerHas(p, w.at) {
			return true
		}
	}
	return false
}

// pointerHas says whether at is the place that a pointer names, or below it.
func pointerHas(pointer string, at []byte) bool {
	if pointer != "" && pointer[0] != '/' {
		pointer = "/" + pointer
	}
	for pointer != "" {
		if len(at) == 0 {
			return false
		}
		want, end := next(pointer, 0), next(string(at), 0)
		if w := pointer[1:want]; w != "*" && w != string(at[1:end]) {
			return false
		}
		pointer, at = pointer[want:], at[end:]
	}
	return true
}

// appendPointer adds a name to a JSON pointer.
func appendPointer(at []byte, key string) []byte {
	at = append(at, '/')
	if !strings.ContainsAny(key, "~/") {
		return append(at, key...)
	}
	for i := range len(key) {
		switch key[i] {
		case '~':
			at = append(at, '~', '0')
		case '/':
			at = append(at, '~', '1')
		default:
			at = append(at, key[i])
		}
	}
	return at
}

// text looks at one text.
func (w *walk) text(s string, h hint) {
	switch h {
	case content:
		w.contained(s)
		return
	case strong:
		w.file(s, sure)
		w.parts(s, h)
		return
	}
	if inner := strings.Trim(s, blanks); strings.ContainsAny(inner, "\n\r") {
		w.lines(inner, h)
		return
	}
	switch like := looks(s); {
	case isWeb(s):
	case like == absolute && h == none:
		w.file(s, seen)
	case like != plain:
		w.file(s, sure)
	case h == weak || h == link || h == diff:
		if s != "" && len(s) <= limits.PathBytes && !hasScheme(s) {
			w.file(s, perhaps)
		}
	}
	w.parts(s, h)
}

// lines looks at a text of several lines: a patch, or a list of files if each line looks
// like one.
func (w *walk) lines(s string, h hint) {
	if h == diff || isPatch(s) {
		w.diffs = append(w.diffs, patchText{string(w.at), s})
		return
	}
	if isFileURI(s) { // readers of URLs pass over line breaks
		w.file(s, sure)
		return
	}
	n := 0
	for line := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if n++; looks(line) == plain || strings.HasPrefix(line, "/*") || strings.HasPrefix(line, "//") || n > limits.MCPPathLines {
			return
		}
	}
	for line := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '\n' || r == '\r' }) {
		w.file(line, sure)
	}
}

// doubt says how sure it is that a text is a path.
type doubt int

const (
	sure    doubt = iota
	seen          // it looks like one, and nothing else says so
	perhaps       // it does not look like one
	whole         // something else stands there, unless a file has just this name
)

// file follows a text that is a path, and tells where it leads.
func (w *walk) file(s string, d doubt) {
	if w.full {
		return
	}
	if len(w.found) >= limits.MCPPathFindings {
		w.stop("the arguments name too many files")
		return
	}
	r := readings{c: w.c}
	r.read(s, d != perhaps)
	f, missing := w.judge(&r)
	if beginsSomewhere(s) { // also where it is no path by itself: it may be one elsewhere
		w.loose = append(w.loose, looseText{at: string(w.at), text: s, doubt: d, found: -1})
	}
	switch {
	case d == whole && r.why == "" && !f.Protected && missing:
		return
	case d == seen && r.why == "" && !f.Protected && w.nowhere(r.list):
		return // /users/7 of an interface, say
	case d == perhaps && !f.Protected && missing && !strings.ContainsAny(s, "/%"):
		return // a word
	}
	f.At, f.Value = string(w.at), shown(s)
	w.found = append(w.found, f)
	if n := len(w.loose); n > 0 && w.loose[n-1].text == s && w.loose[n-1].found < 0 && w.loose[n-1].at == f.At {
		w.loose[n-1].found = len(w.found) - 1
	}
}

// nowhere says whether not even the first directory of any reading exists.
func (w *walk) nowhere(list []string) bool {
	for _, p := range list {
		for _, p := range [...]string{p, filepath.Clean(p)} {
			p = tidy(p)
			if len(p) < 2 || p == "/.." || strings.HasPrefix(p, "/../") {
				return false
			}
			if at := w.look.follow(p[:next(p, 0)]); at.why != "" || at.exists > 1 {
				return false
			}
		}
	}
	return true
}

// judge follows all readings: the first that is worst is told. missing says that nothing
// is there in any of them.
func (w *walk) judge(r *readings) (f Finding, missing bool) {
	if r.why != "" {
		return Finding{Inside: len(w.c.roots) == 0, Why: r.why}, false
	}
	missing = true
	worst := -1
	for _, p := range r.list {
		g, there := w.one(p)
		if there {
			missing = false
		}
		if bad := badness(g); bad > worst {
			f, worst = g, bad
		}
		if clean := filepath.Clean(p); hasParent(p, '/') && clean != p {
			g, there := w.one(clean)
			if there {
				missing = false
			}
			if bad := badness(g); bad > worst {
				f, worst = g, bad
			}
		}
	}
	return f, missing
}

func badness(f Finding) int {
	bad := 0
	if !f.Inside {
		bad += 2
	}
	if f.Protected {
		bad++
	}
	return bad
}

// one tells of one reading.
func (w *walk) one(p string) (f Finding, there bool) {
	at := w.look.follow(p)
	if at.why != "" {
		f = Finding{Inside: len(w.c.roots) == 0, Why: at.why}
		if why := w.c.guards(filepath.Clean(p), ""); why != "" {
			f.Protected, f.Why = true, why
		}
		return f, true
	}
	f.Path, f.Inside = at.path, true
	if len(w.c.roots) > 0 {
		f.Root, f.Why = w.look.inside(at)
		f.Inside = f.Root != ""
	}
	why := w.c.guards(at.path, f.Root)
	if given := filepath.Clean(p); why == "" && given != at.path { // a link may have a protected name too
		why = w.c.guards(given, f.Root)
	}
	if why == "" && w.c.sameAsGuarded(at) {
		why = "it is a protected file under another name"
	}
	if why != "" {
		f.Protected = true
		if f.Why != "" {
			why = f.Why + "; " + why
		}
		f.Why = why
	}
	return f, at.exists == len(at.path)
}

// shown cuts a text that is told.
func shown(s string) string {
	if len(s) <= limits.MCPPathShown {
		return s
	}
	s = s[:limits.MCPPathShown]
	for s != "" && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) && len(s) > limits.MCPPathShown-utf8.UTFMax {
		s = s[:len(s)-1]
	}
	return s + "…"
}
