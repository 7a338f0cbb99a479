package githubtest

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// mostBlob is what of a file is read.
const mostBlob = 8 << 20

func copyText(to *strings.Builder, from io.Reader) (int64, error) {
	return io.Copy(to, io.LimitReader(from, mostBlob))
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// mostPatch is about where GitHub leaves a patch out.
const mostPatch = 20_000

// whole is a patch of one hunk that takes all lines away and adds all: it says which
// lines are new, if less finely than git. Binary and long files have none.
func whole(old, next []string) string {
	b := new(strings.Builder)
	fmt.Fprintf(b, "@@ -%s +%s @@", span(old), span(next))
	for _, line := range old {
		b.WriteString("\n-" + line)
	}
	for _, line := range next {
		b.WriteString("\n+" + line)
	}
	if text := b.String(); len(text) <= mostPatch && utf8.ValidString(text) && !strings.ContainsRune(text, 0) {
		return text
	}
	return ""
}

func span(of []string) string {
	if len(of) == 0 {
		return "0,0"
	}
	return fmt.Sprintf("1,%d", len(of))
}

// splitComma gives the parts of a list in a query.
func splitComma(text string) map[string]bool {
	out := map[string]bool{}
	for part := range strings.SplitSeq(text, ",") {
		if part != "" {
			out[part] = true
		}
	}
	return out
}
