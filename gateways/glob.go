package gateways

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
)

// glob is a pattern: "*" stands for any characters but a slash, "**" for any, "?" for one
// that is no slash. There are no escapes and no classes. Matching takes time that is
// linear in the text.
type glob struct {
	text string
	re   *regexp.Regexp // nil where the text itself is meant, or everything
	all  bool
}

func newGlobs(v any, where string) ([]glob, error) {
	list, err := words(v, where)
	if err != nil {
		return nil, err
	}
	out := make([]glob, len(list))
	for i, s := range list {
		if s == "" || len(s) > limits.GatewayPattern || !utf8.ValidString(s) {
			return nil, ruleError(where, "a pattern has 1 to %d bytes of UTF-8", limits.GatewayPattern)
		}
		if out[i], err = newGlob(s); err != nil {
			return nil, ruleError(where, "the pattern %q cannot be used", s)
		}
	}
	return out, nil
}

func newGlob(s string) (glob, error) {
	g := glob{text: s, all: s == "**"}
	if g.all || !strings.ContainsAny(s, "*?") {
		return g, nil
	}
	var expr strings.Builder
	expr.WriteString(`^(?s:`)
	for i := 0; i < len(s); {
		switch rest := s[i:]; {
		case strings.HasPrefix(rest, "**"):
			expr.WriteString(`.*`)
			i += 2
		case rest[0] == '*':
			expr.WriteString(`[^/]*`)
			i++
		case rest[0] == '?':
			expr.WriteString(`[^/]`)
			i++
		default:
			n := strings.IndexAny(rest, "*?")
			if n < 0 {
				n = len(rest)
			}
			expr.WriteString(regexp.QuoteMeta(rest[:n]))
			i += n
		}
	}
	expr.WriteString(`)$`)
	var err error
	g.re, err = regexp.Compile(expr.String())
	return g, err
}

func (g glob) match(s string) bool {
	switch {
	case g.all:
		return true
	case g.re == nil:
		return g.text == s
	}
	return g.re.MatchString(s)
}

func matchAny(list []glob, s string) bool {
	return slices.ContainsFunc(list, func(g glob) bool { return g.match(s) })
}

// literals gives the patterns that stand for themselves only.
func literals(list []glob) (out []string) {
	for _, g := range list {
		if !g.all && g.re == nil {
			out = append(out, g.text)
		}
	}
	return out
}
