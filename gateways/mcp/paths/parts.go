package paths

import (
	"strings"

	"github.com/cabincrew/action/internal/limits"
)

// contained looks at a text that is said to be no path: a patch is one whatever its place
// is called, and a text that is wholly a path can hardly be anything else.
func (w *walk) contained(s string) {
	s = strings.TrimLeft(s, blanks)
	switch {
	case s == "":
		return
	case beginsPatch(s):
		w.diffs = append(w.diffs, patchText{string(w.at), s})
		return
	case len(s) > limits.PathBytes:
		return
	}
	bare := strings.TrimRight(s, blanks)
	if strings.ContainsAny(bare, " \n\r") && !strings.HasPrefix(bare, "/") {
		return
	}
	if rest, ok := cutFile(bare); ok && rest != "" && (rest[0] == '/' || rest[0] == '\\') {
		w.file(bare, sure)
		return
	}
	if !saysWhole(w.at) || strings.ContainsAny(bare, "\n\r") {
		return
	}
	switch {
	case strings.HasPrefix(bare, "../"):
		w.file(bare, sure)
	case len(bare) > 1 && bare[0] == '/' && bare[1] != '/' && bare[1] != '*':
		w.file(bare, whole)
	}
}

// saysWhole says whether the parameter takes a text of its own: pieces of texts that are
// searched or replaced may be paths that nobody opens.
func saysWhole(at []byte) bool {
	name := string(at)
	for {
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return false
		}
		if last := name[i+1:]; strings.Trim(last, "0123456789") != "" {
			name = last
			break
		}
		name = name[:i]
	}
	words := strings.Split(string(lower(nil, name)), "_")
	for _, word := range words {
		switch word {
		case "old", "new", "find", "replace", "replacement", "search", "match":
			return false
		}
	}
	switch words[len(words)-1] {
	case "text", "content", "contents", "body", "code", "data", "query", "message":
		return true
	}
	return false
}

// beginsPatch says whether a text is a patch from its beginning on.
func beginsPatch(s string) bool {
	switch {
	case strings.HasPrefix(s, "diff --git "), strings.HasPrefix(s, "*** Begin Patch"):
		return true
	case strings.HasPrefix(s, "--- "), strings.HasPrefix(s, "Index: "), strings.HasPrefix(s, "rename from "):
		return isPatch(s)
	}
	return false
}

// parts looks at texts that hold several paths, or a path behind a word: lists with
// commas, semicolons or colons, "--output=/x", "@/x", names in quotation marks.
func (w *walk) parts(s string, h hint) {
	if w.full || len(s) > limits.MCPPathReadings*limits.PathBytes || !strings.Contains(s, "/") || isWeb(s) || isFileURI(s) || h != strong && hasScheme(s) {
		return
	}
	blank := strings.ContainsAny(s, blanks)
	if blank && h != strong || h == none && !optionLike(s) {
		return
	}
	if strings.IndexFunc(s, parting) < 0 {
		return
	}
	d := seen
	if h == strong {
		d = sure
	}
	n := 0
	for part := range strings.FieldsFuncSeq(s, parting) {
		if part == s || part == "/" && blank || !climbs(part) {
			continue
		}
		if n++; n > limits.MCPPathParts {
			w.stop("one text names too many files")
			return
		}
		w.file(part, d)
	}
}

func parting(r rune) bool {
	return strings.ContainsRune(",;:=@\"'`<> \t\r\n\v\f", r)
}

// climbs says whether a part of a text does not stay where the text begins.
func climbs(part string) bool {
	switch looks(part) {
	case absolute, home:
		return true
	case relative:
		return hasParent(part, '/')
	}
	return false
}

// optionLike says whether a word is an option with its value, or the name of a file as
// command lines have it.
func optionLike(s string) bool {
	switch s[0] {
	case '@', '-', '"', '\'':
		return true
	}
	key, value, ok := strings.Cut(s, "=")
	return ok && isScheme(strings.ReplaceAll(key, "_", "-")) && value != "" && climbs(strings.TrimLeft(value, "\"'@"))
}
