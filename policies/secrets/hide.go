package secrets

import (
	"context"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// markBegin begins what stands where a secret was.
const markBegin = "[secret "

// hide notes what must not be shown of a finding: the secret, and how it is encoded.
func (c *scan) hide(src *source, l *layer, f *finding, fingerprint string) {
	if c.baseline.knows(&Match{Rule: f.rule.ID, Fingerprint: fingerprint, File: src.file}) {
		return // an owner of the policies said that it is none
	}
	mark := markBegin + f.rule.ID + " " + fingerprint + "]"
	c.hideText(f.secret, mark)
	if l.encoding == "" {
		return
	}
	from, to := encoded(src, l.origin(f.at), l.origin(f.at+len(f.secret)))
	if from < to {
		c.hideText(string(src.text[from:to]), mark)
	}
}

// encoded widens the place of something encoded to the characters that may be part of it.
func encoded(src *source, from, to int) (int, int) {
	for n := 0; n < limits.SecretEncoded && from > 0 && sextet[src.text[from-1]] != 0xff; n++ {
		from--
	}
	for n := 0; n < limits.SecretEncoded && to < len(src.text) && sextet[src.text[to]] != 0xff; n++ {
		to++
	}
	return from, to
}

// spots tells of something that was found.
func (c *scan) spots(src *source, l *layer, s spotted, from, to int) {
	if c.spot == nil || s.rule != RuleValue && c.baseline.knows(&Match{Rule: s.rule, Fingerprint: s.fingerprint, File: src.file}) {
		return
	}
	s.from, s.to, s.encoding = l.origin(from), l.origin(to), l.encoding
	if l.encoding != "" {
		s.from, s.to = encoded(src, s.from, s.to)
	}
	c.spot(s)
}

func (c *scan) hideText(text, mark string) {
	if _, there := c.hidden.Marks[text]; there || len(text) < redact.MinSecret {
		return
	}
	if c.room -= len(text); c.room < 0 {
		c.hidden.More = true
		return
	}
	if c.hidden.Marks == nil {
		c.hidden.Marks = map[string]string{}
	}
	c.hidden.Marks[text] = mark
}

// discreet takes out of findings what must not be shown. Files stay as they are for
// those who still have to compare them, see policies.Result.Discreet.
func (c *scan) discreet(values *redact.Redactor, list []policies.Finding) {
	marks := redact.NewMarked(c.hidden.Marks)
	for i := range list {
		f := &list[i]
		// The parts are known to be these; only what tells of a place holds foreign text.
		f.Reason, f.Discreet = values.String(marks.String(f.Reason)), !c.hidden.More
		if file, ok := f.Evidence["file"].(string); ok {
			f.Evidence["file"] = values.String(marks.String(file))
		}
		if c.hidden.More {
			delete(f.Evidence, "file")
		}
	}
}

// Plain denies texts that hold a secret and are about to be recorded, before anybody
// was asked about them: names of artifacts, for example. Their words are not in the
// error. Where findings do not deny, these do not either.
func (ev *Evaluator) Plain(ctx context.Context, texts []string) error {
	for _, text := range texts {
		c, err := ev.search(ctx, func(ctx context.Context, c *scan) error {
			return c.short(ctx, source{file: text, part: PartMetadata}, []byte(text))
		})
		if err != nil {
			return ev.unjudged(err)
		}
		for _, m := range c.matches {
			if m.Rule == RuleValue || ev.o.Decision == protocol.Deny {
				return protocol.Errorf(protocol.ExitDenied, "recorded_secret",
					"a name that the engine chose holds a secret (%s %s%s); it is not recorded", m.Rule, m.Fingerprint, m.Secret).
					WithHint("let the engine name its artifacts, their types and its receipt otherwise, and revoke the secret")
			}
		}
	}
	return nil
}
