package git

import (
	"bytes"
	"iter"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/protocol"
)

// attributes answers whether git would store other bytes than a file has: by a
// filter, by line endings, by an encoding. This engine runs no filter and
// converts nothing, so such a file is refused. It is an own reader, since
// go-git's panics on a pattern with a slash at its end and does not follow git
// for "**". Attributes of the machine or the user (outside the repository) are
// not seen.
type attributes struct {
	repo    *repository
	files   *finder
	changed map[string][]byte // .gitattributes files of the new tree, nil if deleted
	dirs    map[string][]rule
	info    []rule // info/attributes
	macros  map[string][]setting
	loaded  bool
	lines   int
}

// rule is one line of a .gitattributes file.
type rule struct {
	dir     string // of the file, with a slash at the end, or empty
	base    bool   // the pattern is compared with the last element only
	pattern *regexp.Regexp
	set     []setting
}

// setting is one attribute: "set", "unset", "" for unspecified, or "=value".
type setting struct{ name, value string }

const (
	attrSet    = "set"
	attrUnset  = "unset"
	attrFile   = ".gitattributes"
	macroStart = "[attr]"
)

func newAttributes(repo *repository, files *finder, list []planned, contents [][]byte) *attributes {
	a := &attributes{
		repo: repo, files: files, changed: map[string][]byte{}, dirs: map[string][]rule{},
		macros: map[string][]setting{"binary": {{"diff", attrUnset}, {"merge", attrUnset}, {"text", attrUnset}}},
	}
	for i := range list {
		if path.Base(list[i].path) == attrFile {
			a.changed[list[i].path] = contents[i]
			if list[i].after.mode == patch.ModeLink {
				a.changed[list[i].path] = nil // git does not follow it
			}
		}
	}
	return a
}

// check refuses a file whose bytes git would change. old is what the parent has there.
func (a *attributes) check(p string, content, old []byte) error {
	attrs, err := a.of(p)
	if err != nil {
		return err
	}
	if f := attrs["filter"]; f != "" && f != attrUnset {
		what := "the filter " + strconv.Quote(strings.TrimPrefix(f, "="))
		if f == "=lfs" {
			what = "Git LFS"
		}
		return filtered(p, "%s applies to it", what)
	}
	if e := attrs["working-tree-encoding"]; e != "" && e != attrUnset && !strings.EqualFold(e, "=utf-8") {
		return filtered(p, "it is stored in another encoding than it has (working-tree-encoding)")
	}
	if attrs["ident"] == attrSet && bytes.Contains(content, []byte("$Id:")) {
		return filtered(p, "it has an expanded $Id$ (attribute ident)")
	}
	if bytes.Contains(content, []byte("\r\n")) && a.convertsLines(attrs, content, old) {
		return filtered(p, "its line endings (CRLF) would be converted to LF")
	}
	return nil
}

// convertsLines says whether git turns CRLF into LF for such a file.
func (a *attributes) convertsLines(attrs map[string]string, content, old []byte) bool {
	text := attrs["text"]
	if text == "" { // the old name
		switch attrs["crlf"] {
		case attrSet, "=input":
			text = attrSet
		case attrUnset:
			text = attrUnset
		}
	}
	eol := attrs["eol"] == "=lf" || attrs["eol"] == "=crlf"
	switch {
	case text == attrUnset:
		return false
	case text == attrSet, text == "" && eol:
		return true
	case text == "=auto":
	case a.repo.autocrlf != "" && a.repo.autocrlf != "false" && a.repo.autocrlf != "0" && a.repo.autocrlf != "no" && a.repo.autocrlf != "off":
	default:
		return false
	}
	// Chosen by content: binary files stay, and so do those that had CRLF before.
	return !looksBinary(content) && (!bytes.Contains(old, []byte("\r\n")) || looksBinary(old))
}

// looksBinary is git's rule.
func looksBinary(content []byte) bool {
	printable, other := 0, 0
	for i, c := range content {
		switch {
		case c == 0:
			return true
		case c == '\r':
			if i+1 >= len(content) || content[i+1] != '\n' {
				return true
			}
		case c == '\n':
		case c == 127:
			other++
		case c < 32 && c != '\b' && c != '\t' && c != 27 && c != '\f':
			other++
		default:
			printable++
		}
	}
	if n := len(content); n > 0 && content[n-1] == 26 { // the end mark of DOS
		other--
	}
	return printable>>7 < other
}

func filtered(p, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "git_filtered", "git would store other bytes than the file has: "+format, args...).
		At(p).WithHint("this engine commits bytes as they were reviewed; leave the file out, or change .gitattributes in a commit of its own")
}

// of gives the attributes of a path.
func (a *attributes) of(p string) (map[string]string, error) {
	if err := a.loadTop(); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for i := 0; ; {
		rules, err := a.rulesOf(p[:i])
		if err != nil {
			return nil, err
		}
		a.apply(out, rules, p)
		n := strings.IndexByte(p[i:], '/')
		if n < 0 {
			break
		}
		i += n + 1
	}
	a.apply(out, a.info, p)
	return out, nil
}

// apply lets later lines win over earlier ones.
func (a *attributes) apply(out map[string]string, rules []rule, p string) {
	for i := range rules {
		r := &rules[i]
		name := strings.TrimPrefix(p, r.dir)
		if r.base {
			name = path.Base(p)
		}
		if !r.pattern.MatchString(name) {
			continue
		}
		for _, s := range r.set {
			a.set(out, s, 0)
		}
	}
}

func (a *attributes) set(out map[string]string, s setting, depth int) {
	out[s.name] = s.value
	if s.value == attrSet && depth < 8 {
		for _, m := range a.macros[s.name] {
			a.set(out, m, depth+1)
		}
	}
}

// loadTop reads the files that may define macros.
func (a *attributes) loadTop() error {
	if a.loaded {
		return nil
	}
	a.loaded = true
	if _, err := a.rulesOf(""); err != nil {
		return err
	}
	text, err := a.repo.small(filepath.Join(a.repo.common, "info", "attributes"))
	if err != nil {
		return err
	}
	a.info, err = a.parse([]byte(text), "", true)
	return err
}

// rulesOf gives the rules of the file in a directory ("" or with a slash at the end).
func (a *attributes) rulesOf(dir string) ([]rule, error) {
	if rules, ok := a.dirs[dir]; ok {
		return rules, nil
	}
	name := dir + attrFile
	content, ok := a.changed[name]
	if !ok {
		e, err := a.files.find(name)
		if err != nil {
			return nil, err
		}
		if m := plainMode(e.mode); m == patch.ModeFile || m == patch.ModeExecutable {
			if content, err = a.repo.get(plumbing.BlobObject, e.id); err != nil {
				return nil, err
			}
		}
	}
	rules, err := a.parse(content, dir, dir == "")
	if err != nil {
		return nil, err
	}
	a.dirs[dir] = rules
	return rules, nil
}

func (a *attributes) parse(content []byte, dir string, macros bool) ([]rule, error) {
	if len(content) > limits.GitAttributesBytes {
		return nil, tooLarge("a file of attributes is larger than %d bytes", limits.GitAttributesBytes).At(dir + attrFile)
	}
	var out []rule
	for line := range strings.Lines(string(content)) {
		if a.lines++; a.lines > limits.GitAttributesLines {
			return nil, tooLarge("there are more than %d lines of attributes", limits.GitAttributesLines).At(dir + attrFile)
		}
		line = strings.Trim(line, " \t\r\n")
		if line == "" || line[0] == '#' || len(line) > 2048 { // git skips longer lines too
			continue
		}
		pattern, rest := cutPattern(line)
		set := parseSettings(rest)
		if name, ok := strings.CutPrefix(pattern, macroStart); ok {
			if macros {
				a.macros[strings.TrimSpace(name)] = set
			}
			continue
		}
		if pattern == "" || pattern[0] == '!' || strings.HasSuffix(pattern, "/") { // git knows none of these here
			continue
		}
		r := rule{dir: dir, base: !strings.Contains(pattern, "/"), set: set}
		r.pattern = compilePattern(strings.TrimPrefix(pattern, "/"), !r.base)
		out = append(out, r)
	}
	return out, nil
}

// cutPattern cuts the pattern from a line; it may be quoted.
func cutPattern(line string) (pattern, rest string) {
	if line[0] == '"' {
		for i := 1; i < len(line); i++ {
			switch line[i] {
			case '\\':
				i++
			case '"':
				if text, err := strconv.Unquote(line[:i+1]); err == nil {
					return text, line[i+1:]
				}
			}
		}
	}
	i := strings.IndexAny(line, " \t")
	if strings.HasPrefix(line, macroStart) {
		line = macroStart + strings.TrimLeft(line[len(macroStart):], " \t")
		i = strings.IndexAny(line, " \t")
	}
	if i < 0 {
		return line, ""
	}
	return line[:i], line[i:]
}

func parseSettings(text string) []setting {
	var out []setting
	for word := range strings.FieldsSeq(text) {
		name, value, valued := strings.Cut(word, "=")
		switch {
		case valued:
			out = append(out, setting{name, "=" + value})
		case word[0] == '-':
			out = append(out, setting{word[1:], attrUnset})
		case word[0] == '!':
			out = append(out, setting{word[1:], ""})
		default:
			out = append(out, setting{word, attrSet})
		}
	}
	return out
}

// compilePattern turns a pattern into an expression, which takes linear time. A
// pattern that cannot be read matches nothing in git; here it matches all, which
// refuses too much rather than too little.
func compilePattern(p string, inPath bool) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i := 0; i < len(p); {
		n := 1
		switch c := p[i]; c {
		case '*':
			for i+n < len(p) && p[i+n] == '*' {
				n++
			}
			n = writeStar(&b, p, i, n, inPath)
		case '?':
			b.WriteString(`[^/]`)
		case '[':
			end := strings.IndexByte(p[min(i+2, len(p)):], ']')
			if end < 0 {
				return matchAll()
			}
			n = end + 3
			b.WriteString(classOf(p[i+1 : i+n-1]))
		case '\\':
			if i+1 == len(p) {
				return matchAll()
			}
			b.WriteString(regexp.QuoteMeta(p[i+1 : i+2]))
			n = 2
		default:
			for i+n < len(p) && !strings.ContainsRune(`*?[\`, rune(p[i+n])) {
				n++
			}
			b.WriteString(regexp.QuoteMeta(p[i : i+n]))
		}
		i += n
	}
	b.WriteString(`\z`)
	re, err := regexp.Compile(b.String())
	if err != nil {
		return matchAll()
	}
	return re
}

func matchAll() *regexp.Regexp { return regexp.MustCompile("") }

// writeStar writes n stars at i and gives how many bytes were read.
func writeStar(b *strings.Builder, p string, i, n int, inPath bool) int {
	if n > 1 && inPath && (i == 0 || p[i-1] == '/') {
		switch {
		case i+n == len(p):
			b.WriteString(`.*`)
			return n
		case p[i+n] == '/':
			b.WriteString(`(?:.*/)?`)
			return n + 1
		}
	}
	b.WriteString(`[^/]*`)
	return n
}

// classOf writes a class; a plain one exactly, another one as any character.
func classOf(text string) string {
	not := ""
	if text[0] == '!' || text[0] == '^' {
		not, text = "^", text[1:]
	}
	if text == "" || strings.ContainsAny(text, `[\:&~`) {
		return `[^/]`
	}
	return "[" + not + strings.ReplaceAll(text, "^", `\^`) + "]"
}

// splitPath gives the elements of a path.
func splitPath(p string) iter.Seq[string] { return strings.SplitSeq(p, "/") }
