package paths

import (
	"strings"

	"github.com/cabincrew/action/internal/limits"
)

// look is how a text looks.
type look uint8

const (
	plain    look = iota
	relative      // ./x, ../x, x/../y
	absolute      // /x
	home          // ~ or ~/x
	foreign       // C:\x, \\host\share, ..\x
	fileURI       // file:…
)

// looks tells what a text of one line looks like, blanks around it aside.
func looks(s string) look {
	s = strings.TrimLeft(s, blanks)
	if s == "" {
		return plain
	}
	switch s[0] {
	case '/':
		return absolute
	case '~':
		if len(s) == 1 || s[1] == '/' {
			return home
		}
	case '.':
		if s == "." || s == ".." || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") {
			return relative
		}
		if strings.HasPrefix(s, `.\`) || strings.HasPrefix(s, `..\`) {
			return foreign
		}
	case '\\':
		if len(s) > 2 && s[1] == '\\' && s[2] > ' ' {
			return foreign
		}
	}
	if len(s) > 2 && isLetter(s[0]) && s[1] == ':' && (s[2] == '\\' || s[2] == '/' && (len(s) == 3 || s[3] != '/')) {
		return foreign
	}
	if isFileURI(s) {
		return fileURI
	}
	if i := strings.Index(s, ".."); i >= 0 {
		switch {
		case hasParent(s, '/'):
			return relative
		case hasParent(s, '\\'):
			return foreign
		}
	}
	if decoded, ok := unescape(s); ok && len(decoded) < len(s) {
		if hasParent(decoded, '/') || hasParent(decoded, '\\') {
			return relative
		}
	}
	return plain
}

// blanks are what programs take away from both ends of a text.
const blanks = " \t\r\n\v\f"

// hasParent says whether ".." is an element of s.
func hasParent(s string, sep byte) bool {
	for i := 0; i+1 < len(s); i++ {
		if s[i] == '.' && s[i+1] == '.' && (i == 0 || s[i-1] == sep) && (i+2 == len(s) || s[i+2] == sep) {
			return s != ".." || sep == '/'
		}
	}
	return false
}

// IsFileURI says whether readers of URIs may take s for one of a file.
func IsFileURI(s string) bool { return isFileURI(s) }

// IsWeb says whether s is a URL of a host on the web.
func IsWeb(s string) bool { return isWeb(s) }

// isWeb says whether s is a URL of a host on the web, which no reader takes for a file.
func isWeb(s string) bool {
	for _, scheme := range [...]string{"https://", "http://", "wss://", "ws://"} {
		if len(s) > len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) && s[len(scheme)] != '/' && s[len(scheme)] != '.' {
			return true
		}
	}
	return false
}

// isFileURI says whether s is a URI of a file: also in capitals, with the line breaks and
// tabs that readers of URLs pass over, and behind another scheme (git+file:, jar:file:).
func isFileURI(s string) bool {
	_, ok := cutFile(s)
	return ok
}

// cutFile gives what stands after "file:".
func cutFile(s string) (string, bool) {
	s = strings.TrimLeftFunc(s, func(r rune) bool { return r <= ' ' }) // as readers of URLs do
	head := s[:min(len(s), limits.PathBytes)]
	if strings.IndexByte(head, ':') < 0 {
		return "", false
	}
	if strings.ContainsAny(head, "\t\r\n") {
		s = strings.Map(func(r rune) rune {
			if r == '\t' || r == '\r' || r == '\n' {
				return -1
			}
			return r
		}, s)
	}
	for at := 0; at < len(s) && at < 64; {
		i := strings.IndexByte(s[at:], ':')
		if i < 0 || !isScheme(s[at:at+i]) {
			return "", false
		}
		scheme := s[at : at+i]
		if len(scheme) >= 4 && strings.EqualFold(scheme[len(scheme)-4:], "file") && (len(scheme) == 4 || !isLetter(scheme[len(scheme)-5])) {
			return s[at+i+1:], true
		}
		at += i + 1
	}
	return "", false
}

// isScheme says whether s may be the scheme of a URI.
func isScheme(s string) bool {
	if s == "" || !isLetter(s[0]) {
		return false
	}
	for i := range len(s) {
		if ch := s[i]; !isLetter(ch) && (ch < '0' || ch > '9') && ch != '+' && ch != '-' && ch != '.' {
			return false
		}
	}
	return true
}

// hasScheme says whether s begins like a URI of any scheme.
func hasScheme(s string) bool {
	i := strings.IndexByte(s, ':')
	return i > 1 && isScheme(s[:i])
}

// odd says what in a path means different files on different systems, or none; "" if
// nothing does.
func odd(p string) string {
	for i := range len(p) {
		switch ch := p[i]; {
		case ch == 0:
			return "it has a NUL byte"
		case ch < 0x20 || ch == 0x7f:
			return "it has a control character"
		case ch == '\\':
			return "it has a backslash"
		case ch == ':':
			return "it has a colon, which names drives and streams"
		case ch == '~' && i > 0 && p[i-1] != '/' && i+1 < len(p) && '0' <= p[i+1] && p[i+1] <= '9' && endsName(strings.TrimLeft(p[i+1:], "0123456789")):
			return "it may be a short name of another file"
		case (ch == '.' || ch == ' ') && (i+1 == len(p) || p[i+1] == '/') && !isDots(p, i):
			return "a name in it ends with a dot or a blank"
		case ch == ' ' && (i == 0 || p[i-1] == '/'):
			return "a name in it begins with a blank"
		case ch == 0xc2 && i+1 < len(p) && p[i+1] < 0xa0, ch == 0xe2 && i+2 < len(p) && p[i+1] == 0x80 && (p[i+2] == 0xa8 || p[i+2] == 0xa9):
			return "it has a control character"
		}
	}
	return ""
}

func endsName(rest string) bool { return rest == "" || rest[0] == '.' || rest[0] == '/' }

// isDots says whether the name that ends with p[i] is "." or "..".
func isDots(p string, i int) bool {
	start := strings.LastIndexByte(p[:i], '/') + 1
	name := p[start : i+1]
	return name == "." || name == ".."
}
