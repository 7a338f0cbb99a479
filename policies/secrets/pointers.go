package secrets

import (
	"maps"
	"slices"
	"strings"

	"github.com/cabincrew/action/policies"
)

// shownPointers gives pointers as they may be shown, each once.
func (m *Messages) shownPointers(all, secrets []string) (out []string) {
	for _, p := range all {
		if p = m.shownPointer(p, secrets); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// shownPointer gives a pointer without what must not be shown: a name that holds a
// secret is left out where it is the last, and else is "…".
func (m *Messages) shownPointer(at string, secrets []string) string {
	if at == "" {
		return at
	}
	steps := strings.Split(at, "/")
	for i, step := range steps {
		if name := unescaped(step); m.ev.values.String(name) == name && !slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(name, s) }) {
			continue
		}
		if steps[i] = "…"; i == len(steps)-1 {
			steps = steps[:i]
		}
	}
	return strings.Join(steps, "/")
}

// leastSecret is from how many bytes on a piece of a secret is looked for in names: a
// shorter one stands in ordinary names, too.
const leastSecret = 6

// secrets gives what was found as it stands in the texts, and whole names that hold some.
func (t *texting) secrets() (out []string) {
	for _, id := range t.order {
		for _, p := range t.found[id].places {
			text := &t.texts[p.text]
			if piece := text.Value[p.from:p.to]; len(piece) >= leastSecret {
				out = append(out, piece)
			}
			if nameOf(text.At) == text.Value && text.Value != "" {
				out = append(out, text.Value)
			}
		}
	}
	return out
}

// hidden gives what must not be shown by anybody who speaks of the message: secrets, the
// pieces that one is split into, and both as they stand in pointers.
func (t *texting) hidden(c *scan) policies.Hidden {
	for _, piece := range t.secrets() {
		c.hideText(piece, "[secret]")
	}
	for _, text := range slices.Sorted(maps.Keys(c.hidden.Marks)) {
		if strings.ContainsAny(text, "~/") {
			c.hideText(strings.ReplaceAll(strings.ReplaceAll(text, "~", "~0"), "/", "~1"), c.hidden.Marks[text])
		}
	}
	return c.hidden
}

// unescaped gives the name that a step of a pointer stands for.
func unescaped(step string) string {
	if strings.IndexByte(step, '~') < 0 {
		return step
	}
	return strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
}
