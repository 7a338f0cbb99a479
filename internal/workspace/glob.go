package workspace

import (
	"strings"

	"github.com/cabincrew/action/internal/limits"
)

// glob is a compiled pattern of a .gitignore file. go-git's matcher differs from
// git ([!a], ** with backtracking, escapes) and can take exponential time; this
// one follows git's wildmatch and takes pattern times text.
type glob struct {
	literal string // the whole pattern, if it has no special character
	suffix  string // what follows a single leading *, if nothing else is special
	tokens  []token
}

type tokenKind byte

const (
	tokByte  tokenKind = iota
	tokAny             // ?: one byte but the slash
	tokClass           // […]: one byte of a set, never the slash
	tokStar            // *: any bytes but slashes
	tokAll             // ** at the end: any bytes
	tokDirs            // **/: nothing, or any bytes up to a slash
)

type token struct {
	kind tokenKind
	b    byte
	set  *[256]bool
}

const globSpecial = `*?[\`

// compileGlob compiles a pattern; inPath says that it is compared with a path
// and not with one element. A pattern that git takes for broken gives false.
func compileGlob(p string, inPath bool) (glob, bool) {
	if !strings.ContainsAny(p, globSpecial) {
		return glob{literal: p}, true
	}
	if !inPath && p[0] == '*' && len(p) > 1 && !strings.ContainsAny(p[1:], globSpecial) {
		return glob{suffix: p[1:]}, true
	}
	var g glob
	for i := 0; i < len(p); {
		switch p[i] {
		case '\\':
			if i+1 == len(p) {
				return g, false
			}
			g.tokens = append(g.tokens, token{kind: tokByte, b: p[i+1]})
			i += 2
		case '?':
			g.tokens = append(g.tokens, token{kind: tokAny})
			i++
		case '[':
			set, n := parseClass(p[i:])
			if n == 0 {
				return g, false
			}
			g.tokens = append(g.tokens, token{kind: tokClass, set: set})
			i += n
		case '*':
			kind, n := parseStar(p, i, inPath)
			g.tokens = append(g.tokens, token{kind: kind})
			i += n
		default:
			g.tokens = append(g.tokens, token{kind: tokByte, b: p[i]})
			i++
		}
	}
	return g, true
}

// parseStar tells *, ** between slashes and ** elsewhere (which is like *) apart.
func parseStar(p string, i int, inPath bool) (tokenKind, int) {
	n := 1
	for i+n < len(p) && p[i+n] == '*' {
		n++
	}
	if n == 1 || !inPath || i > 0 && p[i-1] != '/' {
		return tokStar, n
	}
	switch {
	case i+n == len(p):
		return tokAll, n
	case p[i+n] == '/':
		return tokDirs, n + 1
	case strings.HasPrefix(p[i+n:], `\/`):
		return tokDirs, n + 2
	}
	return tokStar, n
}

// parseClass reads […]; 0 bytes read means that it is not closed.
func parseClass(p string) (*[256]bool, int) { //nolint:gocognit // one state machine, clearer in one piece
	var set [256]bool
	i := 1
	negated := i < len(p) && (p[i] == '!' || p[i] == '^')
	if negated {
		i++
	}
	prev := -1
	for first := true; ; first = false {
		if i >= len(p) {
			return nil, 0
		}
		c := p[i]
		switch {
		case c == ']' && !first:
			if negated {
				for j := range set {
					set[j] = !set[j]
				}
			}
			set['/'] = false
			return &set, i + 1
		case c == '-' && prev >= 0 && i+1 < len(p) && p[i+1] != ']':
			i++
			if p[i] == '\\' {
				if i++; i >= len(p) {
					return nil, 0
				}
			}
			for j := prev; j <= int(p[i]); j++ {
				set[j] = true
			}
			prev = -1
		case c == '[' && i+1 < len(p) && p[i+1] == ':':
			name, _, ok := strings.Cut(p[i+2:], ":]")
			if !ok || !addNamed(&set, name) {
				return nil, 0
			}
			i += len(name) + 3
			prev = -1
		default:
			if c == '\\' {
				if i++; i >= len(p) {
					return nil, 0
				}
			}
			set[p[i]] = true
			prev = int(p[i])
		}
		i++
	}
}

// addNamed adds a POSIX class such as alpha to a set.
func addNamed(set *[256]bool, name string) bool {
	in, ok := map[string]func(c byte) bool{
		"lower":  func(c byte) bool { return 'a' <= c && c <= 'z' },
		"upper":  func(c byte) bool { return 'A' <= c && c <= 'Z' },
		"alpha":  func(c byte) bool { c |= 0x20; return 'a' <= c && c <= 'z' },
		"digit":  func(c byte) bool { return '0' <= c && c <= '9' },
		"xdigit": func(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' },
		"alnum":  func(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' },
		"space":  func(c byte) bool { return c == ' ' || 9 <= c && c <= 13 },
		"blank":  func(c byte) bool { return c == ' ' || c == '\t' },
		"cntrl":  func(c byte) bool { return c < 0x20 || c == 0x7f },
		"graph":  func(c byte) bool { return 0x20 < c && c < 0x7f },
		"print":  func(c byte) bool { return 0x20 <= c && c < 0x7f },
		"punct": func(c byte) bool {
			return 0x20 < c && c < 0x7f && !('0' <= c && c <= '9') && !('a' <= c|0x20 && c|0x20 <= 'z')
		},
	}[name]
	if !ok {
		return false
	}
	for c := range 0x80 {
		set[c] = set[c] || in(byte(c))
	}
	return true
}

// matches follows all ways through the pattern at once, so that it takes pattern times text.
func (g *glob) matches(text string) bool {
	switch {
	case g.suffix != "":
		return strings.HasSuffix(text, g.suffix)
	case g.tokens == nil:
		return text == g.literal
	}
	var buf [2][128]bool
	now, next := buf[0][:], buf[1][:]
	if n := len(g.tokens) + 1; n > len(now) {
		now, next = make([]bool, limits.IgnorePatternBytes+1), make([]bool, limits.IgnorePatternBytes+1)
	}
	now, next = now[:len(g.tokens)+1], next[:len(g.tokens)+1]
	g.enter(now, 0)
	for i := range len(text) {
		clear(next)
		alive := false
		for s, on := range now[:len(g.tokens)] {
			if on && g.step(next, s, text[i]) {
				alive = true
			}
		}
		if !alive {
			return false
		}
		now, next = next, now
	}
	return now[len(g.tokens)]
}

// step moves from state s over one byte.
func (g *glob) step(next []bool, s int, c byte) bool {
	switch t := &g.tokens[s]; t.kind {
	case tokByte:
		if c != t.b {
			return false
		}
		g.enter(next, s+1)
	case tokAny:
		if c == '/' {
			return false
		}
		g.enter(next, s+1)
	case tokClass:
		if !t.set[c] {
			return false
		}
		g.enter(next, s+1)
	case tokStar:
		if c == '/' {
			return false
		}
		g.enter(next, s)
	case tokAll:
		g.enter(next, s)
	case tokDirs:
		next[s] = true
		if c == '/' {
			g.enter(next, s+1)
		}
	}
	return true
}

// enter sets state s and those that are reached from it without a byte. tokDirs
// stands for nothing only where it is entered, not where it goes on.
func (g *glob) enter(states []bool, s int) {
	for {
		states[s] = true
		if s == len(g.tokens) {
			return
		}
		if k := g.tokens[s].kind; k != tokStar && k != tokAll && k != tokDirs {
			return
		}
		s++
	}
}
