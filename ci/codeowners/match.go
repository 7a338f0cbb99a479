package codeowners

import (
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// pattern is a compiled pattern: elements of a path in a row.
type pattern struct {
	parts  []part
	below  bool // it matches what is below a directory, not a file of that name
	direct bool // it matches files only, and not what is below
}

type part struct {
	kind kind
	text string // unescaped if literal
}

type kind uint8

const (
	literal kind = iota
	glob         // with * and ?
	anyName      // *
	deep         // ** between slashes: any number of directories
)

// compile reads a pattern whose escapes are whole. What could match nothing at all is
// refused: its author believes that something has an owner.
func compile(word string) (pattern, *protocol.Error) {
	switch {
	case word[0] == '!':
		return pattern{}, invalid("a later line without owners takes paths out", "the pattern %s is negated, which owners cannot be", quote(word))
	case strings.HasPrefix(word, `\#`):
		return pattern{}, invalid("write ?"+strings.TrimPrefix(word, `\#`)+" or **/"+strings.TrimPrefix(word, `\`), "the pattern %s begins with an escaped #, which GitHub does not read", quote(word))
	}
	body, anchored := strings.CutPrefix(word, "/")
	var p pattern
	body, p.below = strings.CutSuffix(body, "/")
	names := strings.Split(body, "/")
	if anchored = anchored || len(names) > 1; !anchored {
		p.parts = append(p.parts, part{kind: deep})
	}
	for i, name := range names {
		last := i == len(names)-1
		if name == "**" && last {
			if p.below {
				return pattern{}, invalid("write /** at its end", "the pattern %s ends with **/, which is read in several ways", quote(word))
			}
			p.parts = append(p.parts, part{kind: anyName})
			continue
		}
		el, err := element(name, word)
		if err != nil {
			return pattern{}, err
		}
		p.direct = last && anchored && !p.below && el.kind == anyName
		if n := len(p.parts); el.kind == deep && n > 0 && p.parts[n-1].kind == deep {
			continue
		}
		p.parts = append(p.parts, el)
	}
	return p, nil
}

// element reads what is between two slashes.
func element(name, word string) (part, *protocol.Error) {
	switch name {
	case "":
		return part{}, invalid("write /** for everything, /NAME for a file or directory at the top", "the pattern %s has an empty name", quote(word))
	case ".", "..":
		return part{}, invalid("write paths from the top of the repository, as /docs/", "the pattern %s has the name %s, which no path has", quote(word), name)
	case "*":
		return part{kind: anyName}, nil
	case "**":
		return part{kind: deep}, nil
	}
	el := part{kind: literal, text: name}
	var plain strings.Builder
	for i := 0; i < len(name); i++ {
		switch c := name[i]; c {
		case '\\':
			if i++; i == len(name) {
				return part{}, invalid("remove the backslash", "the pattern %s has a backslash before a slash", quote(word))
			}
			plain.WriteByte(name[i])
		case '[', ']':
			return part{}, invalid(`write * or ? in its place, or \`+string(c)+" for the character itself", "the pattern %s has a %c, and owners know no ranges", quote(word), c)
		case '*', '?':
			el.kind = glob
		default:
			plain.WriteByte(c)
		}
	}
	if strings.Contains(name, "***") {
		return part{}, invalid("write ** or *", "the pattern %s has three stars in a row", quote(word))
	}
	if el.kind == literal {
		el.text = plain.String()
	}
	return el, nil
}

// Owners gives the owners of a path and the line that says so; line 0 if none does. A
// nil File owns nothing.
func (f *File) Owners(path string) (owners []string, line int, err error) {
	m := matcher{steps: limits.OwnersSteps}
	r, err := f.find(&m, path)
	if r == nil || err != nil {
		return nil, 0, err
	}
	return slices.Clone(r.owners), r.line, nil
}

// Lists gives the owners of each of some paths: every list of owners once, in an order
// of its own, without those of paths that nobody owns. Both names of a renamed file are
// for the caller to give. A nil File owns nothing.
func (f *File) Lists(paths []string) ([][]string, error) {
	out := [][]string{}
	m := matcher{steps: limits.OwnersSteps}
	seen := map[int]bool{}
	for _, p := range paths {
		r, err := f.find(&m, p)
		if err != nil {
			return nil, err
		}
		if r != nil && len(r.owners) > 0 && !seen[r.line] {
			seen[r.line] = true
			out = append(out, slices.Sorted(slices.Values(r.owners)))
		}
	}
	slices.SortFunc(out, slices.Compare)
	return slices.CompactFunc(out, slices.Equal), nil
}

// find gives the last rule that matches, or nil.
func (f *File) find(m *matcher, path string) (*rule, error) {
	if path == "" || path == "." || len(path) > limits.PathBytes || !utf8.ValidString(path) || !fs.ValidPath(path) || strings.ContainsRune(path, 0) {
		return nil, protocol.Errorf(protocol.ExitIntegrity, "codeowners_path", "%s is no path of a repository", quote(path)).
			WithHint("look at the change: a path is relative, clean and UTF-8")
	}
	if f == nil {
		return nil, nil //nolint:nilnil // no rule and no error
	}
	names := strings.Split(path, "/")
	for i := len(f.rules) - 1; i >= 0; i-- {
		if m.matches(&f.rules[i].pattern, names) {
			return &f.rules[i], nil
		}
		if m.steps < 0 {
			return nil, tooLarge("looking the paths of the change up in the file takes too long").At(f.name)
		}
	}
	return nil, nil //nolint:nilnil // no rule and no error
}

// matcher matches paths, counting what it does.
type matcher struct {
	steps     int
	now, next []bool // which parts of the pattern may come next
}

// matches follows all ways through the pattern at the same time, so that none is gone
// twice.
func (m *matcher) matches(p *pattern, names []string) bool {
	n := len(p.parts)
	m.now = append(m.now[:0], make([]bool, n+1)...)
	m.next = append(m.next[:0], make([]bool, n+1)...)
	m.now[0] = true
	for k, name := range names {
		alive := false
		clear(m.next)
		for i := range n {
			if m.steps--; m.steps < 0 {
				return false
			}
			if !m.now[i] {
				continue
			}
			switch {
			case p.parts[i].kind == deep:
				m.next[i], m.now[i+1] = true, true // one more directory, or no more
				alive = true
			case m.name(&p.parts[i], name):
				m.next[i+1], alive = true, true
			}
		}
		if rest := len(names) - k - 1; m.next[n] && (rest == 0 && !p.below || rest > 0 && !p.direct) {
			return true
		}
		if !alive {
			return false
		}
		m.now, m.next = m.next, m.now
	}
	return false
}

// name compares one name of a path with a part of the pattern.
func (m *matcher) name(p *part, name string) bool {
	switch p.kind {
	case literal:
		return p.text == name
	case anyName:
		return true
	case glob:
		return m.glob(p.text, name)
	case deep:
	}
	return false
}

// glob matches a name by a text with * and ?. Only the last star is ever tried again:
// what an earlier one could take instead, that one can too.
func (m *matcher) glob(text, name string) bool {
	t, n := 0, 0
	star, from := -1, 0 // after the last star; what it takes ends here
	for n < len(name) {
		if m.steps--; m.steps < 0 {
			return false
		}
		_, size := utf8.DecodeRuneInString(name[n:])
		if t < len(text) && text[t] == '*' {
			t++
			star, from = t, n
			continue
		}
		if width, ok := one(text[t:], name[n:n+size]); ok {
			t, n = t+width, n+size
			continue
		}
		if star < 0 {
			return false
		}
		_, size = utf8.DecodeRuneInString(name[from:])
		from += size
		t, n = star, from
	}
	return strings.Trim(text[t:], "*") == ""
}

// one matches one character, and says how much of the text that took.
func one(text, char string) (int, bool) {
	switch {
	case text == "":
		return 0, false
	case text[0] == '?':
		return 1, true
	case text[0] == '\\':
		return 1 + len(char), strings.HasPrefix(text[1:], char)
	}
	return len(char), strings.HasPrefix(text, char)
}
