package pins

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/harmless"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// difference shows how an item changed, as a unified difference of its members, one line
// for each value, texts line by line. What is left out is said.
func difference(was, is []byte, name string) string {
	head := "--- pinned " + brief(name) + "\n+++ offered " + brief(name) + "\n"
	if was == nil {
		return head + "(what was pinned is too large to be recorded; only its digest is known)\n"
	}
	if len(is) > limits.MCPDiffText {
		return head + "(what is offered now is too large to be shown)\n"
	}
	a, b := lines(was), lines(is)
	if slices.Equal(a, b) { // an escape looks like what it stands for
		return head + "(they differ where it cannot be shown)\n"
	}
	return head + unified(a, b)
}

// lines shows a canonical form.
func lines(form []byte) []string {
	tree, err := protocol.DecodeAny(form)
	if err != nil {
		return []string{"(it cannot be shown)"}
	}
	l := liner{left: limits.MCPDiffText}
	l.value("", tree)
	return l.out
}

// liner makes lines until there is too much text.
type liner struct {
	out  []string
	left int
}

func (l *liner) line(at, text string) {
	switch {
	case l.left < 0:
	case l.left < len(at)+len(text):
		l.left = -1
		l.out = append(l.out, "(what follows is too much to be shown)")
	default:
		l.left -= len(at) + len(text)
		l.out = append(l.out, harmless.OneLine(at)+": "+text)
	}
}

func (l *liner) value(at string, v any) {
	if l.left < 0 {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			l.line(at, "{}")
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			l.value(at+"/"+strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1"), v[key])
		}
	case []any:
		if len(v) == 0 {
			l.line(at, "[]")
		}
		for i, e := range v {
			l.value(at+"/"+strconv.Itoa(i), e)
		}
	case string:
		for text := range strings.SplitSeq(v, "\n") {
			l.line(at, `"`+harmless.OneLine(text)+`"`)
		}
	case json.Number:
		l.line(at, v.String())
	case nil:
		l.line(at, "null")
	default:
		l.line(at, fmt.Sprint(v))
	}
}

// unified compares two lists of lines. Order is what matters in lists only, but a longest
// common part is what people expect to see.
func unified(a, b []string) string {
	head := 0
	for head < min(len(a), len(b)) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < min(len(a), len(b))-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	const context = 2
	var out shown
	out.add(" ", a[max(0, head-context):head])
	middle(&out, a[head:len(a)-tail], b[head:len(b)-tail])
	out.add(" ", a[len(a)-tail:min(len(a), len(a)-tail+context)])
	return out.String()
}

// middle writes what lies between the common beginning and end.
func middle(out *shown, a, b []string) {
	if len(a) > limits.MCPDiffLines || len(b) > limits.MCPDiffLines {
		out.add("-", a)
		out.add("+", b)
		return
	}
	// common[i][j] is the length of the longest common part of a[i:] and b[j:].
	width := len(b) + 1
	common := make([]uint16, (len(a)+1)*width)
	for i, was := range slices.Backward(a) {
		for j, is := range slices.Backward(b) {
			if was == is {
				common[i*width+j] = common[(i+1)*width+j+1] + 1
			} else {
				common[i*width+j] = max(common[(i+1)*width+j], common[i*width+j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out.add(" ", a[i:i+1])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[(i+1)*width+j] >= common[i*width+j+1]:
			out.add("-", a[i:i+1])
			i++
		default:
			out.add("+", b[j:j+1])
			j++
		}
	}
}

// shown is text of a bounded length that says how much of it is missing.
type shown struct {
	strings.Builder

	left int // lines that did not fit
}

func (s *shown) add(mark string, lines []string) {
	for _, line := range lines {
		if s.left > 0 || s.Len()+len(line)+2 > limits.MCPDiffBytes {
			s.left++
			continue
		}
		s.WriteString(mark + line + "\n")
	}
}

func (s *shown) String() string {
	if s.left == 0 {
		return s.Builder.String()
	}
	return s.Builder.String() + fmt.Sprintf("(%d more lines do not fit here: what they say is not shown)\n", s.left)
}
