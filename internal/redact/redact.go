package redact

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// MinSecret is the length in bytes that a value must have at the least: a
// shorter one occurs by chance and would hide ordinary text.
const MinSecret = 4

// minLine is the length in bytes from which a line of a longer secret is a
// secret of its own.
const minLine = 16

// Redactor finds secret values. The zero value and nil find nothing. A Redactor
// does not change after New and may be used by many goroutines at once.
type Redactor struct {
	auto     *Automaton
	patterns []pattern
	longest  int
}

// pattern is one spelling of one secret.
type pattern struct {
	name  string
	label string
	size  int
}

// New prepares a Redactor for secrets by name. Each value is also found in the
// spellings that forms lists, without the white space around it, which whoever reads
// a file or a variable may leave off, and a value of several lines line by line.
func New(secrets map[string]string) (*Redactor, error) {
	r := &Redactor{}
	var texts [][]byte
	add := func(text []byte, name, label string) {
		texts = append(texts, text)
		r.patterns = append(r.patterns, pattern{name: name, label: label, size: len(text)})
		r.longest = max(r.longest, len(text))
	}
	names := make([]string, 0, len(secrets))
	for name := range secrets {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		value := secrets[name]
		bare := trimmed(value)
		if len(bare) < MinSecret {
			return nil, fmt.Errorf("the value of secret %s is shorter than %d bytes without the white space around it, so it cannot be redacted reliably", name, MinSecret)
		}
		for _, f := range forms(value) {
			add(f, name, "[redacted:"+name+"]")
		}
		if bare != value {
			for _, f := range forms(bare) {
				add(f, name, "[redacted:"+name+"]")
			}
		}
		for _, l := range lines(value) {
			add(l.text, name, fmt.Sprintf("[redacted:%s line %d]", name, l.number))
		}
	}
	r.auto = NewAutomaton(texts, false)
	return r, nil
}

// NewMarked prepares a Redactor for texts, each with the mark that takes its place.
// They are found as they are and inside JSON strings, and those of several lines
// also line by line.
func NewMarked(marks map[string]string) *Redactor {
	r := &Redactor{}
	var texts [][]byte
	for _, text := range slices.Sorted(maps.Keys(marks)) {
		spellings := []string{text}
		for l := range strings.Lines(text) {
			if l = strings.TrimSpace(l); len(l) >= minLine && l != text {
				spellings = append(spellings, l)
			}
		}
		for _, s := range spellings {
			for _, form := range []string{s, jsonString(s, true), jsonString(s, false)} {
				if len(form) >= MinSecret {
					texts = append(texts, []byte(form))
					r.patterns = append(r.patterns, pattern{name: marks[text], label: marks[text], size: len(form)})
					r.longest = max(r.longest, len(form))
				}
			}
		}
	}
	r.auto = NewAutomaton(texts, false)
	return r
}

// Empty says whether there is nothing to find.
func (r *Redactor) Empty() bool { return r == nil || len(r.patterns) == 0 }

// Longest is the length in bytes of the longest spelling of a value.
func (r *Redactor) Longest() int {
	if r == nil {
		return 0
	}
	return r.longest
}

// Find calls visit for every place where a spelling of a secret ends, in order:
// the name of the secret and where the longest spelling that ends there stands.
func (r *Redactor) Find(text []byte, visit func(name string, from, to int)) {
	if r.Empty() {
		return
	}
	last := -1
	r.auto.Find(text, func(p, end int) {
		if end == last {
			return // a shorter one inside
		}
		last = end
		visit(r.patterns[p].name, end-r.patterns[p].size, end)
	})
}

// String gives s without secret values.
func (r *Redactor) String(s string) string {
	if r.Empty() {
		return s
	}
	var b strings.Builder
	w := r.Writer(&b)
	_, _ = w.Write([]byte(s)) // a strings.Builder never fails
	_ = w.Close()             // as above
	return b.String()
}

// Value gives v with every text in it redacted: strings, and the keys and
// members of the maps and lists that JSON knows.
func (r *Redactor) Value(v any) any {
	if r.Empty() {
		return v
	}
	switch x := v.(type) {
	case string:
		return r.String(x)
	case []any:
		out := make([]any, len(x))
		for i := range x {
			out[i] = r.Value(x[i])
		}
		return out
	case []string:
		out := make([]string, len(x))
		for i := range x {
			out[i] = r.String(x[i])
		}
		return out
	case []map[string]any:
		out := make([]map[string]any, len(x))
		for i := range x {
			out[i], _ = r.Value(x[i]).(map[string]any)
		}
		return out
	case map[string]string:
		out := make(map[string]string, len(x))
		for k, m := range x {
			out[r.String(k)] = r.String(m)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, m := range x {
			out[r.String(k)] = r.Value(m)
		}
		return out
	}
	return v
}
