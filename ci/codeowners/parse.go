package codeowners

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Places are where a repository may have the file, in the order in which GitHub looks;
// only the first one that is there counts.
func Places() []string { return []string{".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"} }

// Find reads the file from its place. read gives the content of a file of the protected
// branch, and whether there is one. Without a file the result is nil, which owns nothing.
func Find(read func(path string) ([]byte, bool, error)) (*File, error) {
	for _, place := range Places() {
		data, ok, err := read(place)
		if err != nil {
			return nil, err
		}
		if ok {
			return Parse(place, data)
		}
	}
	return nil, nil //nolint:nilnil // a nil File is one without rules
}

// File is the rules of a file that names code owners.
type File struct {
	name  string
	rules []rule
}

type rule struct {
	line    int
	pattern pattern
	owners  []string
}

// Parse reads a file; name is for messages.
func Parse(name string, data []byte) (*File, error) {
	if len(data) > limits.OwnersBytes {
		return nil, tooLarge("the file has more than %d bytes", limits.OwnersBytes).At(name)
	}
	f := &File{name: name}
	n := 0
	for line := range bytes.Lines(data) {
		n++
		text := strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")
		r, err := parseLine(text)
		if err != nil {
			return nil, err.At(fmt.Sprintf("%s:%d", name, n))
		}
		if r == nil {
			continue
		}
		if r.line = n; len(f.rules) == limits.OwnersRules {
			return nil, tooLarge("the file has more than %d patterns", limits.OwnersRules).At(name)
		}
		f.rules = append(f.rules, *r)
	}
	return f, nil
}

// parseLine gives nil for a line without a pattern.
func parseLine(text string) (*rule, *protocol.Error) {
	if !utf8.ValidString(text) {
		return nil, invalid("save the file as UTF-8", "the line is not UTF-8")
	}
	text = strings.TrimLeft(text, " \t")
	if text == "" || text[0] == '#' {
		return nil, nil //nolint:nilnil // no rule and no error
	}
	word, rest, err := cutPattern(text)
	if err != nil {
		return nil, err
	}
	r := &rule{owners: []string{}}
	if r.pattern, err = compile(word); err != nil {
		return nil, err
	}
	for owner := range strings.FieldsFuncSeq(rest, isBlank) {
		if owner[0] == '#' {
			break
		}
		if !isOwner(owner) {
			return nil, invalid("write @USER, @ORGANISATION/TEAM or an e-mail address; a space in a pattern is written \\ and a space", "%s names no owner", quote(owner))
		}
		if len(r.owners) == limits.OwnersWords {
			return nil, invalid("make them a team", "the line has more than %d owners", limits.OwnersWords)
		}
		if !slices.Contains(r.owners, owner) {
			r.owners = append(r.owners, owner)
		}
	}
	return r, nil
}

func isBlank(r rune) bool { return r == ' ' || r == '\t' }

// cutPattern splits a line after its pattern, which ends at a space that no backslash
// takes.
func cutPattern(text string) (word, rest string, err *protocol.Error) {
	end := len(text)
	for i := 0; i < len(text); i++ {
		if isBlank(rune(text[i])) {
			end = i
			break
		}
		if text[i] == '\\' {
			if i++; i == len(text) {
				return "", "", invalid("remove it, or write \\\\", "the pattern ends with a backslash")
			}
		}
	}
	word, rest = text[:end], text[end:]
	switch {
	case len(word) > limits.OwnersPatternBytes:
		return "", "", invalid("shorten it", "the pattern has more than %d bytes", limits.OwnersPatternBytes)
	case strings.ContainsFunc(word, hidden):
		return "", "", invalid("use spaces and tabs only", "the pattern %s has a character that cannot be seen", quote(word))
	}
	return word, rest, nil
}

// hidden are characters that look like nothing, or like a space that separates.
func hidden(r rune) bool {
	return unicode.IsControl(r) && r != '\t' || unicode.Is(unicode.Cf, r) || unicode.IsSpace(r) && !isBlank(r)
}

// isOwner says whether a word has the form of an owner: @user, @org/team or an address.
func isOwner(word string) bool {
	if len(word) > limits.OwnersWordBytes {
		return false
	}
	handle, ok := strings.CutPrefix(word, "@")
	if !ok {
		user, host, at := strings.Cut(word, "@")
		return at && user != "" && host != "" && !strings.ContainsAny(host, "@/") && !strings.ContainsFunc(word, func(r rune) bool { return hidden(r) || r == '#' || r == ',' || r == ';' })
	}
	org, team, isTeam := strings.Cut(handle, "/")
	return isName(org) && (!isTeam || isName(team))
}

func isName(s string) bool {
	return strings.Trim(s, "-_.") != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	})
}

// invalid makes the error for a line; what owns a path must not depend on a guess.
func invalid(hint, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, "codeowners_invalid", format, args...).WithHint("%s", hint)
}

func tooLarge(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, "codeowners_too_large", format, args...).WithHint("let fewer patterns match more, such as /docs/")
}

// quote shows a word of the file in a message.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return fmt.Sprintf("%+q", s)
}
