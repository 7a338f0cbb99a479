package cli

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/policies/rules"
	"github.com/cabincrew/action/policies/secrets"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// judges is everything that a configuration makes judge, ready to be asked.
type judges struct {
	sets   []policies.Set // what judges plans, and what judges take-offs, in this order
	rego   *rego.Evaluator
	plan   policies.Evaluator
	after  policies.Evaluator // nil: nobody
	decide policies.AggregateOptions
	digest string // policy_digest
	models []plantoken.GovernanceModel
	// baseline is the digest of the known secrets, "" if there are none.
	baseline string
	// plain denies names that hold a secret, before they are recorded; nil for none.
	plain   func(ctx context.Context, texts []string) error
	running *modelJudge // nil without models
}

// done gives back what the judges took.
func (j *judges) done() error {
	if j == nil {
		return nil
	}
	return j.running.close()
}

// judges loads the policy sets, rules and models of a configuration. Paths are
// relative to dir; values are those of secrets that no artifact may hold, by name.
func (a *app) judges(ctx context.Context, c *config.Config, dir string, values map[string]string) (_ *judges, err error) {
	sets, err := loadSets(ctx, c.Policies.Bundled, c.Policies.Rego, dir)
	if err != nil {
		return nil, err
	}
	if sets, err = a.sourced(ctx, c, dir, sets); err != nil {
		return nil, err
	}
	after, err := loadSets(ctx, c.After.Bundled, c.After.Rego, dir)
	if err != nil {
		return nil, err
	}
	options := rego.Options{Role: c.Approvals.DefaultRole, Time: c.Policies.Timeout.Duration, Data: c.Policies.Data, Explain: c.Policies.Explain || a.explain}
	j := &judges{decide: policies.AggregateOptions{Method: c.Policies.Aggregation, AllowWithoutPolicies: c.Policies.AllowWithoutPolicies}}
	if c.Policies.Aggregation == protocol.CustomRule {
		options.AggregationRule = c.Policies.CustomRule
	}
	if j.running, j.models, err = a.modelJudge(c, dir); err != nil {
		return nil, err
	}
	if a.judging {
		j.running.begin(ctx) // while policies are compiled
		defer func() {
			if err != nil {
				err = errors.Join(err, j.done())
			}
		}()
	}
	if j.rego, err = rego.New(ctx, sets, options); err != nil {
		return nil, err
	}
	if options.AggregationRule != "" {
		j.decide.Custom = func(evals []protocol.PolicyEvaluation) (protocol.Decision, error) { return j.rego.Custom(ctx, evals) }
	}
	panel := policies.Panel{j.rego}
	if c.Policies.Secrets.Scan {
		scan, baseline, err := secretJudge(c, dir, values)
		if err != nil {
			return nil, err
		}
		panel, j.baseline, j.plain = append(panel, scan), baseline, scan.plain
	}
	if j.running != nil {
		panel = append(panel, j.running)
	}
	j.plan = a.noted(rules.Exempt(append(panel, rules.Legible{}, rules.New(rulesOf(c))), exemptionsOf(c)), c, slices.Concat(sets, after))
	if len(after) > 0 {
		if j.after, err = rego.New(ctx, after, rego.Options{Role: options.Role, Time: options.Time}); err != nil {
			return nil, err
		}
		j.after = rules.Exempt(j.after, exemptionsOf(c))
	}
	j.sets = slices.Clone(sets)
	for _, s := range after {
		s.Name = "after/" + s.Name // the same set may judge plans too
		j.sets = append(j.sets, s)
	}
	j.digest, err = policies.Digest(j.sets)
	return j, err
}

func rulesOf(c *config.Config) []rules.Rule {
	out := make([]rules.Rule, 0, len(c.Rules))
	for _, r := range c.Rules {
		rule := rules.Rule{ID: r.ID, Match: matchOf(r.Match), Decision: r.Decision, Role: r.Role, Reason: r.Reason}
		if rule.Role == "" {
			rule.Role = c.Approvals.DefaultRole
		}
		if r.Except != nil {
			except := matchOf(*r.Except)
			rule.Except = &except
		}
		out = append(out, rule)
	}
	return out
}

func matchOf(m config.Match) rules.Match {
	return rules.Match{
		Steps: m.Steps, Branches: m.Branches, Labels: m.Labels, ArtifactTypes: m.ArtifactTypes, Actions: m.Actions, Targets: m.Targets,
		Paths: m.Paths, Operations: m.Operations, Files: rules.Range(m.Files), Lines: rules.Range(m.Lines), Bytes: rules.Range(m.Bytes),
		Artifacts: rules.Range(m.Artifacts),
	}
}

func exemptionsOf(c *config.Config) []rules.Exemption {
	out := make([]rules.Exemption, 0, len(c.Policies.Exemptions))
	for _, x := range c.Policies.Exemptions {
		out = append(out, rules.Exemption(x))
	}
	return out
}

// loadSets reads bundled sets and those of directories below dir.
func loadSets(ctx context.Context, bundled, dirs []string, dir string) ([]policies.Set, error) {
	var sets []policies.Set
	for _, name := range bundled {
		set, err := policies.Bundled(name)
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	for _, entry := range dirs {
		set, err := policies.Load(ctx, entry, filepath.Join(dir, filepath.FromSlash(entry)))
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// governance loads everything that judges and computes its hashes. dir is the place
// of the configuration in the workspace, where private keys are.
func (s *session) governance(ctx context.Context, o *origin, dir string) (orchestrator.Governance, *signatures, error) {
	var g orchestrator.Governance
	a, c := s.app, o.config
	var err error
	if s.judges, err = a.judges(ctx, c, o.dir, a.secretValues(c, dir)); err != nil {
		return g, nil, err
	}
	s.close = append(s.close, s.judges.done)
	people, keys, err := a.approvers(c, o.dir)
	if err != nil {
		return g, nil, err
	}
	trust, err := s.planTrust(o)
	if err != nil {
		return g, nil, err
	}
	resolved, err := c.Governance(config.KeyDigests(o.dir))
	if err != nil {
		return g, nil, err
	}
	fingerprints := []any{}
	for _, k := range trust.Keys {
		fingerprints = append(fingerprints, k.Key.Fingerprint())
	}
	resolved["plan_keys"] = fingerprints
	resolved["audit_key"] = ""
	if s.seal != nil {
		resolved["audit_key"] = s.seal.KeyRef()
	}
	resolved["trusted_root"] = ""
	if trust.Root != nil {
		resolved["trusted_root"] = trust.Root.Digest()
	}
	// What is known decides as much as where it stands.
	resolved["secret_scan"] = map[string]any{"rules": secrets.RulesDigest(), "known": s.judges.baseline}
	g = orchestrator.Governance{
		PolicyDigest: s.judges.digest, Approvers: people, Judge: s.guarded(o, rules.Governed{Commit: o.commit, Changed: o.changed}), After: s.judges.after, Paths: governancePaths(s.place, c), Decide: s.judges.decide,
		Plain: s.judges.plain,
	}
	g.Roles = governanceRoles(c.Approvals)
	g.Hash, err = plantoken.GovernanceHash(g.PolicyDigest, s.judges.models, resolved)
	return g, &signatures{approvers: keys, trust: trust, signer: s.signer(o, trust)}, err
}

// governancePaths names the files that decide over flights, for the policies.
func governancePaths(p place, c *config.Config) []string {
	dir := filepath.Dir(p.configPath)
	paths := []string{p.configPath}
	file := func(name string) {
		if name != "" {
			paths = append(paths, filepath.ToSlash(filepath.Join(dir, name)))
		}
	}
	for _, d := range slices.Concat(c.Policies.Rego, c.After.Rego) {
		paths = append(paths, filepath.ToSlash(filepath.Join(dir, d))+"/")
	}
	for _, src := range c.Policies.Sources {
		file(src.Bundle)
		file(src.Key)
		if src.Layout != "" {
			paths = append(paths, filepath.ToSlash(filepath.Join(dir, src.Layout))+"/")
		}
	}
	for _, m := range c.Models {
		file(m.Path)
		if m.Layout != "" {
			paths = append(paths, filepath.ToSlash(filepath.Join(dir, m.Layout))+"/")
		}
	}
	file(c.Policies.Secrets.Baseline)
	if key := c.Signing.Key; key != "" && !strings.Contains(key, "://") {
		if rel, err := filepath.Rel(p.workspace, p.file(key)); err == nil && filepath.IsLocal(rel) {
			paths = append(paths, filepath.ToSlash(rel)+".pub")
		}
	}
	if c.Audit.Key != "" {
		if rel, err := filepath.Rel(p.workspace, p.file(c.Audit.Key)); err == nil && filepath.IsLocal(rel) {
			paths = append(paths, filepath.ToSlash(rel)+".pub")
		}
	}
	for _, who := range c.Approvals.Approvers {
		file(who.Key)
	}
	for _, k := range c.Signing.Trusted.Keys {
		file(k.Key)
	}
	file(c.Signing.TrustedRoot)
	// What a link leads to decides as much as the link.
	for _, name := range paths {
		to, err := filepath.EvalSymlinks(filepath.Join(p.workspace, filepath.FromSlash(name)))
		if err != nil {
			continue // what is not there decides nothing
		}
		rel, err := filepath.Rel(p.workspace, to)
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		rel = filepath.ToSlash(rel)
		if strings.HasSuffix(name, "/") {
			rel += "/"
		}
		if !slices.Contains(paths, rel) {
			paths = append(paths, rel)
		}
	}
	return paths
}
