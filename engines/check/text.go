package check

import (
	"fmt"
	"strings"
	"unicode"
)

// Text writes a report for people: one line a check, what to do below those that
// failed, and the sum.
func Text(r Report) string {
	var b strings.Builder
	for _, c := range r.Checks {
		lines := strings.Split(c.Detail, "\n")
		_, _ = fmt.Fprintf(&b, "%s  %-16s  %s\n", strings.ToUpper(string(c.Status)), c.ID, harmless(lines[0]))
		for _, line := range lines[1:] {
			_, _ = fmt.Fprintf(&b, "      %s\n", harmless(line))
		}
		if c.Remedy != "" {
			_, _ = fmt.Fprintf(&b, "      remedy: %s\n", c.Remedy)
		}
	}
	warned := ""
	if r.Warned > 0 {
		warned = fmt.Sprintf(", %d to look at", r.Warned)
	}
	_, _ = fmt.Fprintf(&b, "%d passed, %d failed, %d skipped%s (tier %s)\n", r.Passed, r.Failed, r.Skipped, warned, r.Tier)
	return b.String()
}

// harmless keeps what an engine wrote from moving a terminal.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
