package paths

import (
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
)

// patchMarks are beginnings of lines of patches that name a file.
var patchMarks = [...]string{
	"--- ", "+++ ", "rename from ", "rename to ", "copy from ", "copy to ", "Index: ",
	"*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: ", "*** ",
}

// isPatch says whether a text of several lines is a patch.
func isPatch(s string) bool {
	at := func(mark string) bool {
		return strings.HasPrefix(s, mark) || strings.Contains(s, "\n"+mark)
	}
	return at("diff --git ") || at("--- ") && at("+++ ") || at("*** Begin Patch") || at("rename from ")
}

// patch looks at the files that a patch names. Whether a program takes the first element
// of a name away ("a/", "b/") is not known, nor where it begins: at the working directory
// of the server or in a directory that another argument names.
func (w *walk) patch(d patchText) {
	w.at = append(w.at[:0], d.at...)
	bases := w.directories()
	seen := map[string]bool{}
	names := 0
	for line := range strings.Lines(d.text) {
		line = strings.TrimRight(line, "\r\n")
		var list []string
		if rest, ok := strings.CutPrefix(line, "diff --git "); ok {
			list = gitNames(rest)
		} else if name, ok := markedName(line); ok {
			list = []string{name}
		}
		for _, name := range list {
			if name == "" || name == "/dev/null" || seen[name] {
				continue
			}
			seen[name] = true
			if names++; names > limits.MCPPathFindings {
				w.stop("the arguments name too many files")
				return
			}
			w.patched(name, bases)
		}
	}
}

// patched looks at one name of a patch in all of its meanings.
func (w *walk) patched(name string, bases []string) {
	if len(w.found) >= limits.MCPPathFindings {
		w.stop("the arguments name too many files")
		return
	}
	r := readings{c: w.c}
	r.read(name, false)
	if why := oddURI(name); why != "" {
		r.fail(why)
	}
	meant := []string{name}
	if _, rest, ok := strings.Cut(name, "/"); ok && rest != "" && name[0] != '/' {
		r.more(rest)
		meant = append(meant, rest)
	}
	for _, base := range bases {
		for _, m := range meant {
			if !strings.HasPrefix(m, "/") {
				r.add(base + "/" + m)
			}
		}
	}
	f, _ := w.judge(&r)
	f.At, f.Value = string(w.at), shown(name)
	w.found = append(w.found, f)
}

// more adds a further meaning.
func (r *readings) more(s string) {
	if r.why == "" {
		r.add(s)
	}
}

// directories gives the directories that other arguments name.
func (w *walk) directories() []string {
	var out []string
	for i := range w.found {
		p := w.found[i].Path
		if p == "" || p == w.c.base || len(out) == limits.MCPPathBases || slices.Contains(out, p) {
			continue
		}
		if at := w.look.follow(p); at.why == "" && at.info != nil && at.info.IsDir() {
			out = append(out, p)
		}
	}
	return out
}

// markedName gives the name on a line that names one.
func markedName(line string) (string, bool) {
	switch line {
	case "*** Begin Patch", "*** End Patch", "*** End of File":
		return "", false
	}
	for _, mark := range patchMarks {
		rest, ok := strings.CutPrefix(line, mark)
		if !ok {
			continue
		}
		if strings.HasPrefix(rest, `"`) {
			if name, _, ok := unquote(rest); ok {
				return name, true
			}
		}
		rest, _, _ = strings.Cut(rest, "\t") // a time follows
		return strings.TrimRight(rest, " "), true
	}
	return "", false
}

// gitNames gives the names of a "diff --git" line: where blanks in names leave open where
// the first ends, every way to part them.
func gitNames(rest string) []string {
	if strings.HasPrefix(rest, `"`) {
		first, after, ok := unquote(rest)
		if !ok {
			return []string{rest}
		}
		after = strings.TrimLeft(after, " ")
		if second, _, ok := unquote(after); ok {
			return []string{first, second}
		}
		return []string{first, after}
	}
	var out []string
	for i := 0; i < len(rest) && len(out) < 8; i++ {
		if rest[i] == ' ' {
			second := rest[i+1:]
			if name, _, ok := unquote(second); ok {
				second = name
			}
			out = append(out, rest[:i], second)
		}
	}
	if len(out) == 0 {
		return []string{rest}
	}
	return out
}

// unquote reads a name between quotation marks, as git writes it.
func unquote(s string) (name, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		return "", s, false
	}
	const letters = "abtnvfr\"\\"
	const meant = "\a\b\t\n\v\f\r\"\\"
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch ch := s[i]; {
		case ch == '"':
			return b.String(), s[i+1:], true
		case ch != '\\':
			b.WriteByte(ch)
		case i+3 < len(s) && '0' <= s[i+1] && s[i+1] <= '3' && s[i+2]&^7 == '0' && s[i+3]&^7 == '0':
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
		case i+1 < len(s) && strings.IndexByte(letters, s[i+1]) >= 0:
			i++
			b.WriteByte(meant[strings.IndexByte(letters, s[i])])
		default:
			return "", s, false
		}
	}
	return "", s, false
}
