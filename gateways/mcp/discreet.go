package mcp

import (
	"maps"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/policies"
)

// nothingShown stands where a text of a message cannot be told from its secrets.
const nothingShown = "[hidden: it may hold secrets]"

// hide notes secrets that were found in what belongs to the exchange. Nothing that the
// guard says, records or logs of it shows them: they may stand in names of members, which
// pointers repeat, or in the name of what is called.
func (m *matter) hide(h policies.Hidden) {
	if len(h.Marks) == 0 && !h.More {
		return
	}
	one := concealed{more: h.More, marks: redact.NewMarked(h.Marks)}
	s, e := m.s, m.e
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(e.concealed) >= limits.MCPGuardHidden {
		e.concealed = []concealed{{more: true}}
		return
	}
	e.concealed = append(e.concealed, one)
}

// conceal takes over what was found in a part that was judged by itself.
func (m *matter) conceal(part *matter) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if m.e.concealed = append(m.e.concealed, part.e.concealed...); len(m.e.concealed) > limits.MCPGuardHidden {
		m.e.concealed = []concealed{{more: true}}
	}
}

// concealed are secrets that were found at once.
type concealed struct {
	marks *redact.Redactor
	more  bool // there are others
}

// shown gives a text that speaks of the message without its secrets.
func (m *matter) shown(text string) string {
	m.s.mu.Lock()
	all := m.e.concealed
	m.s.mu.Unlock()
	for i := range all {
		if all[i].more && text != "" {
			return nothingShown
		}
		text = all[i].marks.String(text)
	}
	return text
}

// shownEvidence does so with what is recorded beside a text.
func (m *matter) shownEvidence(evidence map[string]any) map[string]any {
	out := maps.Clone(evidence)
	for key, value := range evidence {
		out[key] = m.shownValue(value)
	}
	return out
}

func (m *matter) shownValue(value any) any {
	switch v := value.(type) {
	case string:
		return brief(m.shown(v))
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = m.shownValue(v[i])
		}
		return out
	case map[string]any:
		return m.shownEvidence(v)
	}
	return value
}
