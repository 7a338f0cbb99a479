package cli

import (
	"slices"
	"strings"

	"github.com/cabincrew/action/protocol"
)

// comparison says how two judgements of one step differ. Texts may differ without
// being told: a finding is the same if policy, decision and files are.
type comparison struct {
	Added   []matched `json:"added"`   // found only now
	Gone    []matched `json:"gone"`    // found only then
	Altered []altered `json:"altered"` // found both times, with another decision
	same    []matched
}

func (c comparison) differs() bool { return len(c.Added)+len(c.Gone)+len(c.Altered) > 0 }

// matched is one finding that is compared.
type matched struct {
	PolicyID string            `json:"policy_id"`
	Decision protocol.Decision `json:"decision"`
	Reason   string            `json:"reason,omitempty"`
	Files    []string          `json:"files,omitempty"`
	Line     int               `json:"line,omitempty"`
	artifact string
}

type altered struct {
	matched
	Old protocol.Decision `json:"old"`
}

func matchedOf(e protocol.PolicyEvaluation) matched {
	c := matched{PolicyID: e.PolicyID, Decision: e.Decision, Reason: e.Reason}
	for i, s := range spotsOf(e) {
		c.Files = append(c.Files, s.File)
		if i == 0 {
			c.Line = s.Line
		}
	}
	c.artifact, _ = e.Evidence["artifact"].(string)
	return c
}

// about tells what a finding is about, whatever is decided.
func (c matched) about() string {
	files := slices.Sorted(slices.Values(c.Files))
	return c.PolicyID + "\x00" + c.artifact + "\x00" + strings.Join(files, "\x00")
}

func (c matched) spots() []spot {
	out := make([]spot, len(c.Files))
	for i, name := range c.Files {
		out[i].File = name
	}
	if len(out) > 0 {
		out[0].Line = c.Line
	}
	return out
}

// compared matches what was found then with what is found now.
func compared(then, now []protocol.PolicyEvaluation) comparison {
	out := comparison{Added: []matched{}, Gone: []matched{}, Altered: []altered{}}
	before := map[string][]matched{}
	for _, e := range then {
		c := matchedOf(e)
		before[c.about()] = append(before[c.about()], c)
	}
	take := func(about string, fits func(matched) bool) (matched, bool) {
		i := slices.IndexFunc(before[about], fits)
		if i < 0 {
			return matched{}, false
		}
		c := before[about][i]
		before[about] = slices.Delete(before[about], i, i+1)
		return c, true
	}
	var rest []matched
	for _, e := range now {
		c := matchedOf(e)
		if _, ok := take(c.about(), func(x matched) bool { return x.Decision == c.Decision }); !ok {
			rest = append(rest, c)
		} else if c.Decision != protocol.Allow {
			out.same = append(out.same, c)
		}
	}
	for _, c := range rest {
		old, ok := take(c.about(), func(matched) bool { return true })
		switch {
		case ok:
			out.Altered = append(out.Altered, altered{c, old.Decision})
		case c.Decision != protocol.Allow:
			out.Added = append(out.Added, c)
		}
	}
	for _, e := range then { // in their order
		c := matchedOf(e)
		if _, ok := take(c.about(), func(x matched) bool { return x.Decision == c.Decision }); ok && c.Decision != protocol.Allow {
			out.Gone = append(out.Gone, c)
		}
	}
	return out
}

// remarks gives findings in the words of a comparison.
func (c comparison) remarks(subject string) []remark {
	var out []remark
	add := func(f matched, change string) {
		out = append(out, remark{Rule: f.PolicyID, Decision: f.Decision, Message: f.Reason, Spots: f.spots(), Subject: subject, Change: change})
	}
	for _, f := range c.Added {
		add(f, sarifNew)
	}
	for _, f := range c.Altered {
		if f.Decision == protocol.Allow {
			gone := f.matched
			gone.Decision = f.Old
			add(gone, sarifAbsent)
			continue
		}
		add(f.matched, sarifUpdated)
	}
	for _, f := range c.Gone {
		add(f, sarifAbsent)
	}
	for _, f := range c.same {
		add(f, sarifUnchanged)
	}
	return out
}
