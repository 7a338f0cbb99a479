package secrets

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Redact is what is done about a secret beside the decisions: it is taken out, and the
// rest goes on.
const Redact = "redact"

// Messages looks for secrets in the texts of messages of a gateway. It is safe for
// concurrent use.
type Messages struct {
	ev                 *Evaluator
	toServer, toClient string
}

// Messages gives a judge of messages. What is done about a secret that goes to a server,
// or comes from one, is deny (also where it is empty), require_approval, warn or Redact.
func (ev *Evaluator) Messages(toServer, toClient string) (*Messages, error) {
	m := &Messages{ev: ev, toServer: cmp.Or(toServer, string(protocol.Deny)), toClient: cmp.Or(toClient, string(protocol.Deny))}
	for _, what := range []string{m.toServer, m.toClient} {
		switch what {
		case string(protocol.Deny), string(protocol.RequireApproval), string(protocol.Warn), Redact:
		default:
			return nil, protocol.Errorf(protocol.ExitUsage, "secrets_options", "found secrets cannot lead to %q", what).
				WithHint("say deny, require_approval, warn or redact")
		}
	}
	return m, nil
}

// JudgeTexts looks through the texts of one message, each with the name that it stands
// under, and through the elements of lists put together: a secret may be split over two
// blocks of content. Where nothing is found there is no finding.
func (m *Messages) JudgeTexts(ctx context.Context, texts []policies.Text, toServer bool) (policies.Opinion, error) {
	if end, ok := ctx.Deadline(); !ok || time.Until(end) > limits.GatewaySecretTime {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limits.GatewaySecretTime)
		defer cancel()
	}
	w, _ := m.ev.workers.Get().(*worker)
	defer m.ev.workers.Put(w)
	t := &texting{texts: texts, found: map[string]*leak{}}
	c := &scan{
		w: w, values: m.ev.values, baseline: m.ev.o.Baseline, left: limits.GatewaySecretBytes, expand: limits.SecretExpansionFree,
		seen: map[Match]bool{}, spot: t.spot, room: limits.GatewaySecretHidden,
	}
	err := t.whole(ctx, c)
	if err == nil {
		err = t.joined(ctx, c)
	}
	if err != nil {
		if parent := context.Cause(ctx); parent != nil && ctx.Err() == context.Canceled { //nolint:errorlint // the context's own
			return policies.Opinion{}, parent
		}
		// What was not searched may hold secrets wherever others speak of it.
		return policies.Opinion{Findings: []policies.Finding{m.unjudged(err)}, Hidden: policies.Hidden{More: true}}, nil
	}
	what := m.toClient
	if toServer {
		what = m.toServer
	}
	out := m.opinion(t, what)
	out.Hidden = t.hidden(c)
	return out, nil
}

func (m *Messages) unjudged(err error) policies.Finding {
	why := m.ev.unjudged(err)
	f := policies.Finding{Unjudged: true, Discreet: true}
	f.Source, f.PolicyID = protocol.SourceCustom, "secrets/"+RuleUnjudged
	f.Decision, f.Severity = protocol.Deny, protocol.Deny.Severity()
	f.Reason = "the message could not be searched for secrets: " + why.Message
	f.Evidence = map[string]any{"rule": RuleUnjudged, "error": why.Code}
	return f
}

// leak is one secret with all its places.
type leak struct {
	spotted

	at     []string
	places []textPlace
	inKey  bool // a name cannot be rewritten
}

// textPlace is a part of one text.
type textPlace struct{ text, from, to int }

// texting is one search through the texts of a message.
type texting struct {
	texts  []policies.Text
	buffer []byte
	begins []textBegin // in the buffer, in order
	seams  bool        // only what reaches over the begin of a text counts
	found  map[string]*leak
	order  []string
}

// textBegin is where a text's value stands in the buffer.
type textBegin struct {
	text, at int
	key      bool
}

// whole looks through all texts, one to a line.
func (t *texting) whole(ctx context.Context, c *scan) error {
	for i := range t.texts {
		text := &t.texts[i]
		name := nameOf(text.At)
		key := name == text.Value
		if !key && name != "" && !paging(name) {
			t.buffer = append(append(t.buffer, name...), ": "...)
		}
		t.begins = append(t.begins, textBegin{i, len(t.buffer), key})
		t.buffer = append(append(t.buffer, text.Value...), '\n')
	}
	return t.search(ctx, c)
}

// joined looks through texts that stand at the same place of the elements of a list, put
// together without anything between them.
func (t *texting) joined(ctx context.Context, c *scan) error {
	var order []string
	groups := map[string][]int{}
	for i := range t.texts {
		shape, listed := shapeOf(t.texts[i].At)
		if !listed || nameOf(t.texts[i].At) == t.texts[i].Value || t.texts[i].Value == "" {
			continue
		}
		if groups[shape] == nil {
			order = append(order, shape)
		}
		groups[shape] = append(groups[shape], i)
	}
	t.seams = true
	for _, shape := range order {
		if len(groups[shape]) < 2 {
			continue
		}
		t.buffer, t.begins = t.buffer[:0], t.begins[:0]
		for _, i := range groups[shape] {
			t.begins = append(t.begins, textBegin{i, len(t.buffer), false})
			t.buffer = append(t.buffer, t.texts[i].Value...)
		}
		t.buffer = append(t.buffer, '\n')
		if err := t.search(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (t *texting) search(ctx context.Context, c *scan) error {
	if len(t.buffer) == 0 {
		return nil
	}
	src := source{file: "message", part: PartBody}
	if t.seams {
		src.keep = func(from, to int) bool {
			i := t.textAt(from)
			return i+1 < len(t.begins) && t.begins[i+1].at < to
		}
	}
	return c.text(ctx, &src, t.buffer)
}

// textAt gives the index in begins of the text that a place of the buffer lies in, or
// whose name it lies in.
func (t *texting) textAt(at int) int {
	i, exact := slices.BinarySearchFunc(t.begins, at, func(b textBegin, at int) int { return cmp.Compare(b.at, at) })
	if !exact {
		i--
	}
	return max(i, 0)
}

// spot notes something that was found, with its places in texts.
func (t *texting) spot(s spotted) {
	if t.seams && s.guessed {
		return // what guesses by names finds too much in texts put together
	}
	id := s.rule + " " + s.fingerprint + s.secret
	l := t.found[id]
	if l == nil {
		l = &leak{spotted: s}
		t.found[id] = l
		t.order = append(t.order, id)
	}
	for i := t.textAt(s.from); i < len(t.begins) && t.begins[i].at < s.to; i++ {
		b := t.begins[i]
		value := t.texts[b.text].Value
		from, to := max(s.from-b.at, 0), min(s.to-b.at, len(value))
		if from >= to {
			continue
		}
		l.inKey = l.inKey || b.key
		l.places = append(l.places, textPlace{b.text, from, to})
		if at := t.texts[b.text].At; !slices.Contains(l.at, at) {
			l.at = append(l.at, at)
		}
	}
}

// shownPlaces is how many places of one secret are told.
const shownPlaces = 10

// opinion says what is done about what was found.
func (m *Messages) opinion(t *texting, what string) (out policies.Opinion) {
	masks := map[int][]mask{}
	secrets := t.secrets()
	for _, id := range t.order {
		l := t.found[id]
		d := protocol.Decision(what)
		hint := "take it out and revoke it"
		if what == Redact {
			if d = protocol.Warn; l.inKey || len(l.places) == 0 {
				d, hint = protocol.Deny, "it stands in a name, which cannot be redacted"
			} else {
				hint = "it was taken out; revoke it"
			}
			for _, p := range l.places {
				masks[p.text] = append(masks[p.text], mask{p.from, p.to, l.rule})
			}
		}
		f := policies.Finding{Rule: l.rule, Discreet: true}
		if l.rule == RuleValue && what != Redact {
			d, f.Firm = protocol.Deny, true
		}
		f.Source, f.PolicyID, f.Decision, f.Severity = protocol.SourceCustom, "secrets/"+l.rule, d, d.Severity()
		at := m.shownPointers(l.at[:min(len(l.at), shownPlaces)], secrets)
		f.Evidence = map[string]any{"rule": l.rule, "at": at}
		where := strings.Join(at, ", ")
		for key, v := range map[string]string{"encoding": l.encoding, "fingerprint": l.fingerprint, "secret": l.secret} {
			if v != "" {
				f.Evidence[key] = v
			}
		}
		f.Reason = "a secret may stand in " + where + " (" + l.rule + ", fingerprint " + l.fingerprint + "): " + hint
		if l.rule == RuleValue {
			f.Reason = "the value of secret " + l.secret + " stands in " + where + ": " + hint
		}
		if d == protocol.RequireApproval {
			f.Role = m.ev.o.Role
			f.Evidence["role"] = f.Role
		}
		out.Findings = append(out.Findings, f)
	}
	for i := range t.texts {
		if len(masks[i]) > 0 {
			out.Changes = append(out.Changes, policies.Rewrite{At: t.texts[i].At, Value: masked(t.texts[i].Value, masks[i])})
		}
	}
	return out
}

// mask is a part of a text that is taken out.
type mask struct {
	from, to int
	rule     string
}

// masked gives a text with a mark in place of each part; parts that overlap become one.
func masked(text string, list []mask) string {
	slices.SortFunc(list, func(a, b mask) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to), strings.Compare(a.rule, b.rule))
	})
	var b strings.Builder
	done := 0
	for _, m := range list {
		if m.to <= done {
			continue
		}
		if m.from >= done {
			b.WriteString(text[done:m.from])
			b.WriteString("[REDACTED:" + m.rule + "]")
		}
		done = m.to
	}
	return b.String() + text[done:]
}

// nameOf gives the last name of a pointer that is no index.
func nameOf(at string) string {
	for at != "" {
		i := strings.LastIndexByte(at, '/')
		if i < 0 {
			return ""
		}
		if step := at[i+1:]; !index(step) {
			return unescaped(step)
		}
		at = at[:i]
	}
	return ""
}

func index(step string) bool {
	for i := range len(step) {
		if step[i] < '0' || step[i] > '9' {
			return false
		}
	}
	return step != ""
}

// shapeOf gives a pointer without its indices, and says whether it has any.
func shapeOf(at string) (string, bool) {
	listed := false
	for rest := at; rest != ""; {
		step, after, _ := strings.Cut(rest[1:], "/")
		listed = listed || index(step)
		if rest = ""; after != "" {
			rest = "/" + after
		}
	}
	if !listed {
		return "", false
	}
	var b strings.Builder
	for step := range strings.SplitSeq(at, "/") {
		if index(step) {
			step = "#"
		}
		b.WriteString(step + "/")
	}
	return b.String(), true
}

// paging says whether a name is one of places in lists: what stands there is random and
// no secret, and the rule that guesses by names would take it for one.
func paging(name string) bool {
	switch strings.ToLower(name) {
	case "cursor", "nextcursor", "progresstoken", "pagetoken", "nextpagetoken", "page_token", "next_page_token", "continuationtoken", "nexttoken", "synctoken":
		return true
	}
	return false
}
