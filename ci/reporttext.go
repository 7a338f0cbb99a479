package ci

import (
	"encoding/json"
	"html"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/harmless"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Foreign text stands in code only, in spans or fenced: there no forge finds mentions,
// references, addresses, images, HTML or emoji, and a reader sees that the words are
// not the report's own.

// escaped marks foreign text in which something was written as an escape.
const escaped = " **(hidden characters are shown as escapes)**"

// Log makes foreign text harmless for a CI platform's log: nothing in it is obeyed,
// moves the cursor or colours what follows. Line breaks and tabs stay.
func Log(s string) string { return harmless.Tame(harmless.Visible(s)) }

// shown writes what would be hidden as escapes and says whether there was anything.
// Where lines is false, line breaks and tabs are escaped too, since they would end the
// line, but they are nothing strange.
func shown(s string, lines bool) (text string, marked bool) {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(harmless.EscapeByte(s[i]))
			marked = true
		case r == '\n' || r == '\t':
			if lines {
				b.WriteRune(r)
			} else {
				b.WriteString(harmless.Escape(r))
			}
		case r == '`':
			n = run(s[i:])
			if n > limits.ReportTicks {
				b.WriteString(strings.Repeat(`\u0060`, n))
				marked = true
			} else {
				b.WriteString(s[i : i+n])
			}
		case harmless.Hidden(r):
			b.WriteString(harmless.Escape(r))
			marked = true
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String(), marked
}

// run counts the backticks that s begins with.
func run(s string) int { return len(s) - len(strings.TrimLeft(s, "`")) }

// longest gives the length of the longest run of backticks.
func longest(s string) int {
	most := 0
	for {
		i := strings.IndexByte(s, '`')
		if i < 0 {
			return most
		}
		n := run(s[i:])
		most = max(most, n)
		s = s[i+n:]
	}
}

// code writes foreign text as a code span.
func code(s string) string {
	text, marked := shown(s, false)
	out := span(text)
	if marked {
		out += escaped
	}
	return out
}

func span(text string) string {
	if text == "" {
		return "(empty)"
	}
	ticks := strings.Repeat("`", longest(text)+1)
	if strings.HasPrefix(text, "`") || strings.HasSuffix(text, "`") || strings.HasPrefix(text, " ") || strings.HasSuffix(text, " ") {
		text = " " + text + " " // one blank on either side is taken away again
	}
	return ticks + text + ticks
}

// htmlCode writes foreign text as code where Markdown is not read.
func htmlCode(s string) string {
	text, marked := shown(s, false)
	out := "<code>" + html.EscapeString(text) + "</code>"
	if marked {
		out += " (hidden characters are shown as escapes)"
	}
	return out
}

// fence writes foreign text of many lines as a block of code. Whoever opens it decides
// what it is, so that no text chooses a renderer.
func fence(kind, s string) string {
	text, marked := shown(s, true)
	ticks := strings.Repeat("`", max(3, longest(text)+1))
	out := ticks + kind + "\n" + text
	if !strings.HasSuffix(text, "\n") {
		out += "\n"
	}
	out += ticks + "\n"
	if marked {
		out = strings.TrimSpace(escaped) + "\n\n" + out
	}
	return out
}

// named writes foreign text where only a little fits: what is longer gives way to its
// digest and its size.
func named(s string) string {
	if len(s) <= limits.ReportName {
		if out := code(s); len(out) <= limits.ReportNamed {
			return out
		}
	}
	return digested(s)
}

func digested(s string) string {
	return "(" + many(len(s), "byte", "bytes") + ", " + span(protocol.Digest([]byte(s))) + ")"
}

// plainWord finds words that no forge makes anything of: letters, or a small number.
var plainWord = regexp.MustCompile(`^\(?(?:[A-Za-z]+(?:[-'][A-Za-z]+)*|[0-9]{1,5})\)?[.,;:!?]?$`)

// hexWord finds what could be the name of a commit.
var hexWord = regexp.MustCompile(`^\(?[0-9a-fA-F]{7,}`)

// prose writes sentences of this program in which foreign names may stand: plain words
// stay, all others are code.
func prose(s string) string {
	var out, strange []string
	flush := func() {
		if len(strange) > 0 {
			out = append(out, code(strings.Join(strange, " ")))
			strange = nil
		}
	}
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ' ' }) {
		number := strings.ContainsAny(word[:1], "(0123456789") // it would begin a list
		if plainWord.MatchString(word) && !hexWord.MatchString(word) && (len(out) > 0 || !number) {
			flush()
			out = append(out, word)
		} else {
			strange = append(strange, word)
		}
	}
	flush()
	return strings.Join(out, " ")
}

// address finds addresses that can stand in a link as they are.
var address = regexp.MustCompile(`^https?://[A-Za-z0-9][-A-Za-z0-9._~:/?#@!$&*+,;=%]*$`)

// link writes an address of the platform as a link, or nothing.
func link(label, to string) string {
	if len(to) > limits.ReportLink || !address.MatchString(to) {
		return ""
	}
	return "[" + label + "](<" + to + ">)"
}

// evidence writes what a policy adds to its words.
func evidence(e map[string]any) string {
	if len(e) == 0 {
		return ""
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // it is read by people
	if err := enc.Encode(e); err != nil {
		return "(evidence that is no JSON)"
	}
	return code(strings.TrimSpace(b.String()))
}

// many writes a number of things.
func many(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + more
}
