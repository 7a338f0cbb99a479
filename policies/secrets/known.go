package secrets

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/cabincrew/action/policies"
)

// File looks through one file as Evaluate looks through artifacts. Its name is looked
// at too.
func (ev *Evaluator) File(ctx context.Context, name string, r io.Reader) (policies.Result, error) {
	var out []policies.Finding
	c, err := ev.search(ctx, func(ctx context.Context, c *scan) error {
		out = ev.collect(c, nil, "", func() error {
			if err := c.path(ctx, "", name); err != nil {
				return err
			}
			return c.reader(ctx, source{file: name, part: PartBody, guess: name}, r)
		})
		return nil
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return policies.Result{}, err
	}
	c.discreet(ev.values, out)
	return policies.Result{Findings: out, Hidden: c.hidden}, nil
}

// MatchOf gives the place that a finding of an Evaluator tells of.
func MatchOf(f policies.Finding) Match {
	text := func(key string) string { s, _ := f.Evidence[key].(string); return s }
	number := func(key string) int64 { n, _ := f.Evidence[key].(int64); return n }
	return Match{
		Rule: text("rule"), Secret: text("secret"), Fingerprint: text("fingerprint"), File: text("file"), Part: text("part"),
		Line: number("line"), Column: number("column"), Encoding: text("encoding"), Entropy: text("entropy"),
	}
}

// With gives a baseline that also knows findings, with one reason, and those of them
// that it cannot know: values of mapped secrets, what could not be searched, and what
// stands in a file whose name holds a secret, since a baseline names the file. What
// was known keeps its reason.
func (b *Baseline) With(findings []policies.Finding, reason string) (_ *Baseline, left []policies.Finding, _ error) {
	list := b.Known()
	for _, f := range findings {
		m := MatchOf(f)
		k := Known{Fingerprint: m.Fingerprint, Rule: m.Rule, File: m.File, Reason: reason}
		if k.wrong() != "" || strings.Contains(k.File, markBegin) || strings.Contains(k.File, "[redacted:") {
			left = append(left, f)
			continue
		}
		if !slices.ContainsFunc(list, func(have Known) bool {
			return have.File == k.File && have.Rule == k.Rule && have.Fingerprint == k.Fingerprint
		}) {
			list = append(list, k)
		}
	}
	out, err := newBaseline("the new baseline", list)
	return out, left, err
}
