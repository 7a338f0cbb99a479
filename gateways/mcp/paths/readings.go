package paths

import (
	"strings"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
)

// readings collects the paths that programs may take a text for.
type readings struct {
	c    *Checker
	list []string // absolute, neither clean nor followed
	why  string   // why it cannot be told; then list does not matter
	buf  [4]string
}

func (r *readings) fail(why string) {
	if r.why == "" {
		r.why = why
	}
}

// add adds a path as the kernel would be given it.
func (r *readings) add(p string) {
	if len(r.list) >= limits.MCPPathReadings {
		r.fail("it can be read in too many ways")
		return
	}
	if strings.HasPrefix(p, "/") {
		r.list = append(r.list, p)
		return
	}
	r.list = append(r.list, r.c.base+"/"+p)
	if r.c.given != "" && hasParent(p, '/') { // a shell knows the directory by its link
		r.list = append(r.list, r.c.given+"/"+p)
	}
}

// read finds the readings of a text. strict refuses what is odd; it is not set where the
// text may be no path at all.
func (r *readings) read(s string, strict bool) {
	r.list = r.buf[:0]
	if !utf8.ValidString(s) {
		r.fail("it is no UTF-8")
		return
	}
	if len(s) > limits.PathBytes {
		r.fail("it is too long")
		return
	}
	if rest, ok := cutFile(s); ok {
		r.uri(rest)
		if hasParent(s, '/') { // who does not know URIs sees a directory "file:"
			r.add(s)
		}
		return
	}
	if strict {
		if why := odd(s); why != "" {
			r.fail(why)
			return
		}
		if strings.HasPrefix(s, "//") {
			r.fail("it names a share of a network")
			return
		}
		if variable(s) {
			r.fail("it has a variable")
			return
		}
	} else if strings.IndexByte(s, 0) >= 0 {
		r.fail("it has a NUL byte")
		return
	}
	r.add(s)
	r.home(s)
	if decoded, ok := unescape(s); ok && decoded != s && (strict || looks(decoded) != plain) {
		r.decoded(decoded)
	}
}

// home expands "~".
func (r *readings) home(s string) {
	if s[:min(1, len(s))] != "~" {
		return
	}
	switch rest := s[1:]; {
	case rest != "" && rest[0] != '/':
		if isLetter(rest[0]) || rest[0] == '_' {
			r.fail("it names the home of another user")
		}
	case r.c.home == "":
		r.fail("it begins at a home that is not known")
	default:
		r.add(r.c.home + rest)
	}
}

// uri reads what follows "file:".
func (r *readings) uri(rest string) {
	if why := oddURI(rest); why != "" {
		r.fail(why)
		return
	}
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		i := strings.IndexByte(after, '/')
		if i < 0 {
			i = len(after)
		}
		host, path := after[:i], after[i:]
		if host != "" && !strings.EqualFold(host, "localhost") {
			r.fail("it names a file of another host")
			return
		}
		if rest = path; rest == "" {
			rest = "/"
		}
	}
	if strings.HasPrefix(rest, "//") {
		r.fail("it names a share of a network")
		return
	}
	r.percent(rest)
	// For readers of URLs a path ends here.
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		r.percent(rest[:i])
	}
}

// percent adds a path with its percent signs decoded, and as it stands.
func (r *readings) percent(p string) {
	decoded, ok := unescape(p)
	if !ok {
		r.fail("its percent signs cannot be decoded")
		return
	}
	r.decoded(p)
	if decoded != p {
		r.decoded(decoded)
		if again, ok := unescape(decoded); ok && again != decoded {
			r.decoded(again)
		}
	}
}

// decoded adds a path out of a URI.
func (r *readings) decoded(p string) {
	if why := odd(p); why != "" {
		r.fail(why)
		return
	}
	if !utf8.ValidString(p) {
		r.fail("it is no UTF-8")
		return
	}
	if strings.HasPrefix(p, "//") {
		r.fail("it names a share of a network")
		return
	}
	r.add(p)
	r.home(p)
}

func oddURI(s string) string {
	for i := range len(s) {
		switch ch := s[i]; {
		case ch == '\\':
			return "it has a backslash"
		case ch < 0x20 || ch == 0x7f:
			return "it has a control character"
		}
	}
	return ""
}

// variable says whether a shell would put something else in at the beginning.
func variable(s string) bool {
	if len(s) < 2 {
		return false
	}
	switch s[0] {
	case '$':
		return s[1] == '{' || s[1] == '(' || 'A' <= s[1] && s[1] <= 'Z' || strings.HasPrefix(s, "$env")
	case '%':
		name, _, ok := strings.Cut(s[1:], "%")
		return ok && name != "" && isLetter(name[0]) && !strings.ContainsAny(name, "/ .") && len(name) > 2
	case '`':
		return true
	}
	return false
}

// unescape decodes percent signs once. Not ok is a sign without two digits.
func unescape(s string) (string, bool) {
	i := strings.IndexByte(s, '%')
	if i < 0 {
		return s, true
	}
	out := make([]byte, i, len(s))
	copy(out, s)
	for ; i < len(s); i++ {
		if s[i] != '%' {
			out = append(out, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		high, low := digit(s[i+1]), digit(s[i+2])
		if high > 15 || low > 15 {
			return "", false
		}
		out = append(out, high<<4|low)
		i += 2
	}
	return string(out), true
}

func digit(ch byte) byte {
	switch {
	case '0' <= ch && ch <= '9':
		return ch - '0'
	case 'a' <= ch|0x20 && ch|0x20 <= 'f':
		return ch | 0x20 - 'a' + 10
	}
	return 255
}
