package secrets

import (
	"context"
	"errors"
	"io"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Options say what is done about secrets.
type Options struct {
	// Decision is what a finding of a rule means: deny (the default),
	// require_approval or warn. A mapped value is always denied.
	Decision protocol.Decision
	// Role must approve; policies.DefaultRole if empty.
	Role string
	// Values are the values of the secrets that the flight maps, by name.
	Values map[string]string
	// Baseline lists findings that are known; nil for none.
	Baseline *Baseline
	// Time and Bytes bound one search; limits.SecretTime and limits.SecretBytes if 0.
	Time  time.Duration
	Bytes int64
}

// Evaluator looks for secrets. It is safe for concurrent use.
type Evaluator struct {
	o       Options
	e       *engine
	values  *redact.Redactor
	workers sync.Pool
	streams func() (*streamRules, error)
}

// version is part of the digest; it changes with what the search finds.
const version = "2"

// New prepares an Evaluator and proves that it finds a secret.
func New(o Options) (*Evaluator, error) {
	switch o.Decision {
	case "":
		o.Decision = protocol.Deny
	case protocol.Deny, protocol.RequireApproval, protocol.Warn:
	default:
		return nil, protocol.Errorf(protocol.ExitUsage, "secrets_options", "found secrets cannot lead to %q", o.Decision).
			WithHint("say deny, require_approval or warn")
	}
	if o.Role == "" {
		o.Role = policies.DefaultRole
	}
	if o.Time <= 0 {
		o.Time = limits.SecretTime
	}
	if o.Bytes <= 0 {
		o.Bytes = limits.SecretBytes
	}
	values, err := redact.New(o.Values)
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitUsage, "secret_short", "%w", err).WithHint("use a longer secret")
	}
	f, err := loadRules(ruleText)
	if err != nil {
		return nil, err
	}
	ev := &Evaluator{o: o, e: newEngine(f), values: values}
	ev.streams = sync.OnceValues(func() (*streamRules, error) { return newStreamRules(ev.e) })
	ev.workers.New = func() any { return &worker{s: newScanner(ev.e)} }
	if err := ev.canary(); err != nil {
		return nil, err
	}
	return ev, nil
}

// RulesDigest covers the rules and how they are searched.
func RulesDigest() string { return protocol.Digest(append([]byte(version+"\n"), ruleText...)) }

// Digest covers everything that decides what is found and what that means, except
// for mapped values: the rules, how they are searched, the decision, the baseline.
func (ev *Evaluator) Digest() string {
	h := protocol.NewHash("secrets")
	for _, part := range []string{version, protocol.Digest(ruleText), string(ev.o.Decision), ev.o.Role, ev.o.Baseline.Digest()} {
		_, _ = io.WriteString(h, part+"\n") // a hash never fails
	}
	return protocol.FormatDigest(h.Sum(nil))
}

// search runs do with a scan of its own and a bound of time.
func (ev *Evaluator) search(ctx context.Context, do func(context.Context, *scan) error) (*scan, error) {
	ctx, cancel := context.WithTimeout(ctx, ev.o.Time)
	defer cancel()
	w, _ := ev.workers.Get().(*worker)
	defer ev.workers.Put(w)
	c := &scan{
		w: w, values: ev.values, baseline: ev.o.Baseline, left: ev.o.Bytes, expand: limits.SecretExpansionFree, seen: map[Match]bool{},
		room: limits.SecretHidden,
	}
	return c, do(ctx, c)
}

// Scan looks through a stream. It gives what is not in the baseline, by place; an
// error says that not everything was looked through, so that nothing is known.
func (ev *Evaluator) Scan(ctx context.Context, name string, r io.Reader) ([]Match, error) {
	c, err := ev.search(ctx, func(ctx context.Context, c *scan) error {
		return c.reader(ctx, source{file: name, part: PartBody, guess: name}, r)
	})
	switch {
	case err != nil && ctx.Err() == nil:
		return nil, ev.unjudged(err)
	case err != nil:
		return nil, err
	}
	return c.found(0), nil
}

// unjudged says in the words of this package why something was not looked through.
func (ev *Evaluator) unjudged(err error) *protocol.Error {
	if errors.Is(err, context.DeadlineExceeded) {
		return tooMuch("looking for secrets took longer than %s", ev.o.Time)
	}
	var known *protocol.Error
	if errors.As(err, &known) && known.Code == "secrets_unjudged" {
		return known
	}
	return tooMuch("%w", err)
}

// Evaluate implements policies.Evaluator. Where nothing is found there is no
// finding. SPEC: docs/protocol.md 6.
func (ev *Evaluator) Evaluate(ctx context.Context, in policies.Input, evaluatedAt string) (policies.Result, error) {
	var out []policies.Finding
	c, err := ev.search(ctx, func(ctx context.Context, c *scan) error {
		for i := range in.Artifacts {
			a := &in.Artifacts[i]
			out = ev.collect(c, out, a.Name, func() error { return c.artifact(ctx, &in, a) })
			if ctx.Err() != nil || c.left < 0 || c.full {
				return nil //nolint:nilerr // that is denied, and there is nothing left for the others
			}
		}
		out = ev.collect(c, out, "", func() error { return c.around(ctx, &in) })
		return nil
	})
	if err != nil {
		return policies.Result{}, err
	}
	if err := ctx.Err(); err != nil {
		return policies.Result{}, err // the caller's, not the bound of time
	}
	for i := range out {
		out[i].EvaluatedAt = evaluatedAt
		if c.known > 0 {
			out[i].Evidence["known"] = int64(c.known)
		}
	}
	c.discreet(ev.values, out)
	return policies.Result{Findings: out, Hidden: c.hidden}, nil
}

// collect adds what a search finds, or why it does not know.
func (ev *Evaluator) collect(c *scan, out []policies.Finding, artifact string, search func() error) []policies.Finding {
	before := len(c.matches)
	err := search()
	for _, m := range c.found(before) {
		out = append(out, ev.finding(&m, artifact))
	}
	if err != nil {
		out = append(out, ev.refusal(artifact, ev.unjudged(err)))
	}
	return out
}

// artifact looks through one artifact.
func (c *scan) artifact(ctx context.Context, in *policies.Input, a *policies.Artifact) error {
	if c.expand < limits.SecretExpansionFree {
		c.expand = limits.SecretExpansionFree // one artifact does not use up another's
	}
	metadata := map[string]any{
		"name": a.Name, "role": a.Role, "artifact_type": a.ArtifactType, "action": a.Action, "target": a.Target, "mime": a.Mime,
		"body_file": a.BodyFile, "metadata": a.Metadata,
	}
	if err := c.document(ctx, source{file: a.Name, part: PartMetadata}, metadata); err != nil {
		return err
	}
	if a.Patch != nil {
		return c.patch(ctx, in, a)
	}
	src := source{file: a.Name, part: PartBody, guess: guess(a)}
	switch body := a.Body.(type) {
	case string:
		return c.short(ctx, src, []byte(body))
	case nil:
		if a.Size == 0 && a.Digest == "" {
			return nil
		}
	default:
		if in.Bodies == nil {
			return c.document(ctx, src, body)
		}
	}
	if in.Bodies == nil {
		return tooMuch("the body is not here")
	}
	r, err := in.Bodies.Open(a.Name)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // it was read only
	return c.reader(ctx, src, r)
}

// guess gives a path for an artifact, for the rules that look at one.
func guess(a *policies.Artifact) string {
	kind, _, _ := strings.Cut(a.Mime, ";")
	if path.Ext(a.Name) != "" {
		return a.Name
	}
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case "application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml":
		return a.Name + ".yaml"
	}
	return a.Name
}

// finding puts a match into the form of judges.
func (ev *Evaluator) finding(m *Match, artifact string) policies.Finding {
	f := policies.Finding{Artifact: artifact, Rule: m.Rule}
	f.Source, f.PolicyID, f.Decision = protocol.SourceCustom, "secrets/"+m.Rule, ev.o.Decision
	f.Evidence = map[string]any{"rule": m.Rule, "part": m.Part, "file": m.File}
	if m.Line > 0 {
		f.Evidence["line"], f.Evidence["column"] = m.Line, m.Column
	}
	if m.Encoding != "" {
		f.Evidence["encoding"] = m.Encoding
	}
	switch m.Rule {
	case RuleValue:
		f.Decision, f.Rule, f.Firm = protocol.Deny, "", true // no exemption makes it right
		f.Evidence["secret"] = m.Secret
		f.Reason = "the value of secret " + m.Secret + " stands in " + m.place() + "; let the engine leave it out"
	case RuleDelta:
		f.Decision = protocol.RequireApproval
		f.Reason = "binary file " + m.File + " is given as a difference to another content, so not all of it could be searched for secrets: let the engine plan its whole content, or look at it"
	default:
		f.Evidence["fingerprint"], f.Evidence["entropy"] = m.Fingerprint, m.Entropy
		f.Reason = "a secret may stand in " + m.place() + " (" + m.Rule + ", fingerprint " + m.Fingerprint +
			"): take it out and revoke it, or let an owner of the policies add it to the baseline"
	}
	f.Severity = f.Decision.Severity()
	if f.Decision == protocol.RequireApproval {
		f.Role = ev.o.Role
	}
	if m.Part == PartAdded || m.Part == PartDeleted || m.Part == PartBinary || m.Part == PartPath {
		f.Files = []string{m.File}
	}
	return f
}

// refusal is the finding for what could not be looked through.
func (ev *Evaluator) refusal(artifact string, err *protocol.Error) policies.Finding {
	f := policies.Finding{Artifact: artifact, Unjudged: true}
	f.Source, f.PolicyID = protocol.SourceCustom, "secrets/"+RuleUnjudged
	f.Decision, f.Severity = protocol.Deny, protocol.Deny.Severity()
	where := "what the step says of itself"
	if artifact != "" {
		where = "artifact " + artifact
	}
	f.Reason = where + " could not be searched for secrets: " + err.Message + "; " + err.Hint
	f.Evidence = map[string]any{"rule": RuleUnjudged, "error": err.Code}
	return f
}
