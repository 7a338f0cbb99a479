package config

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Builtin is what the configuration needs to know of a built-in engine.
type Builtin struct {
	Idempotent bool // whether taking off twice does no more than once
}

// Builtins are the built-in engines by name.
type Builtins map[string]Builtin

// Resolve checks the names of built-in engines and fills in the settings that
// default to what the engine declares. Call it before Resolved.
func (c *Config) Resolve(known Builtins) error {
	names := make([]string, 0, len(known))
	for n := range known {
		names = append(names, n)
	}
	slices.Sort(names)
	r := &reader{name: c.Name}
	for i := range c.Steps {
		s := &c.Steps[i]
		if s.Engine.Use == "" {
			continue
		}
		b, ok := known[s.Engine.Use]
		if !ok {
			_, hint := oneOf(names...)(s.Engine.Use)
			r.add(i, 0, protocol.Errorf(protocol.ExitUsage, "config_engine", "there is no built-in engine %q", s.Engine.Use).
				At(s.engineAt).WithHint("%s", hint))
			continue
		}
		if !s.idempotentSet {
			s.Idempotent = b.Idempotent
		}
	}
	return r.err()
}

// Resolved gives a step's resolved configuration, whose canonical form is the
// content of config_digest: every key present, defaults filled in, environment
// and secrets by name, lengths of time as the file writes them. SPEC: docs/protocol.md 3
func (c *Config) Resolved(s *Step) map[string]any {
	engine := map[string]any{"run": texts(s.Engine.Run)}
	switch e := s.Engine; {
	case e.Use != "":
		engine = map[string]any{"use": e.Use, "with": e.With}
	case e.Wasm != "":
		engine = map[string]any{"wasm": e.Wasm, "args": texts(e.Args)}
	case e.OCI != "":
		engine = map[string]any{"oci": e.OCI, "args": texts(e.Args), "oci_layout": e.Layout, "resolve": e.Resolve}
	}
	env := make(map[string]any, len(s.Env))
	for name, v := range s.Env {
		env[name] = v.Text()
	}
	secrets := make(map[string]any, len(s.Secrets))
	for name, v := range s.Secrets {
		secrets[name] = map[string]any{"from": v.Source(), "plan": v.Plan}
	}
	return map[string]any{
		"id":         s.ID,
		"needs":      texts(s.Needs),
		"engine":     engine,
		"config":     s.Config,
		"inputs":     texts(s.Inputs),
		"env":        env,
		"secrets":    secrets,
		"timeout":    s.Timeout.Text,
		"target":     s.Target,
		"idempotent": s.Idempotent,
		"isolation":  s.Isolation,
		"limits": map[string]any{
			"receipt": s.Limits.Receipt, "log": s.Limits.Log,
			"artifacts": s.Limits.Artifacts, "artifact_bytes": s.Limits.ArtifactBytes,
		},
		"hosts":    texts(s.Hosts),
		"tunnels":  texts(s.Tunnels),
		"tools":    texts(s.Tools),
		"model":    s.Model,
		"take_off": map[string]any{"workspace": s.TakeOffWorkspace},
	}
}

// Governance gives the whole resolved configuration without the steps: `config`
// in the content of governance_hash. keyDigest gives the digest of the bytes of
// an approver's key file (see KeyDigests). SPEC: docs/protocol.md 3
func (c *Config) Governance(keyDigest func(path string) (string, error)) (map[string]any, error) {
	approvers, err := resolvedApprovers(c.Approvals.Approvers, keyDigest)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"version":  int64(Version),
		"workflow": c.Workflow,
		"policies": map[string]any{
			"aggregation": string(c.Policies.Aggregation), "bundled": texts(c.Policies.Bundled), "rego": texts(c.Policies.Rego),
			"custom_rule": c.Policies.CustomRule, "allow_without_policies": c.Policies.AllowWithoutPolicies,
			"sources": each(c.Policies.Sources, resolvedSource), "data": c.Policies.Data, "timeout": c.Policies.Timeout.Text, "explain": c.Policies.Explain,
			"secrets":    map[string]any{"scan": c.Policies.Secrets.Scan, "decision": string(c.Policies.Secrets.Decision), "role": c.Policies.Secrets.Role, "baseline": c.Policies.Secrets.Baseline},
			"exemptions": each(c.Policies.Exemptions, resolvedExemption),
		},
		"rules":       each(c.Rules, resolvedRule),
		"models":      each(c.Models, resolvedModel),
		"after":       map[string]any{"bundled": texts(c.After.Bundled), "rego": texts(c.After.Rego)},
		"approvals":   resolvedApprovals(c.Approvals, approvers),
		"take_off":    map[string]any{"on_stale": c.TakeOff.OnStale},
		"checks":      c.Checks,
		"comment":     c.Comment,
		"governance":  map[string]any{"refs": texts(c.GovernanceRefs)},
		"signing":     resolvedSigning(c.Signing),
		"audit":       map[string]any{"sign": c.Audit.Sign, "key": c.Audit.Key},
		"retention":   map[string]any{"days": c.Retention.Days, "flights": c.Retention.Flights},
		"min_version": c.MinVersion,
		"sandbox":     map[string]any{"require": texts(c.Sandbox.Require), "sudo": c.Sandbox.Sudo},
		"storage":     map[string]any{"flights": c.Storage.Flights, "encrypt_to": texts(c.Storage.EncryptTo)},
	}, nil
}

// resolvedApprovers names each approver by the digest of their key.
func resolvedApprovers(list []Approver, keyDigest func(path string) (string, error)) ([]any, error) {
	approvers := make([]any, 0, len(list))
	holder := map[string]string{}
	for _, a := range list {
		digest, err := keyDigest(a.Key)
		if err != nil {
			return nil, protocol.Errorf(protocol.ExitUsage, "config_approver_key", "the key of %q cannot be read: %w", a.Name, err).
				At(a.Where).WithHint("put the public key at %s (cabincrew keys generate writes one)", a.Key)
		}
		if other, twice := holder[digest]; twice {
			return nil, protocol.Errorf(protocol.ExitUsage, "config_approver", "%q and %q have the same key", other, a.Name).
				At(a.Where).WithHint("each approver needs a key of their own")
		}
		holder[digest] = a.Name
		approvers = append(approvers, map[string]any{
			"name": a.Name, "email": a.Email, "roles": texts(a.Roles), "key": digest, "bot": a.Bot,
			"not_before": instant(a.NotBefore), "not_after": instant(a.NotAfter),
		})
	}
	return approvers, nil
}

func each[T any](list []T, f func(T) map[string]any) []any {
	out := make([]any, 0, len(list))
	for _, v := range list {
		out = append(out, f(v))
	}
	return out
}

func resolvedSource(s Source) map[string]any {
	return map[string]any{
		"name": s.Name, "bundle": s.Bundle, "key": s.Key, "sha256": s.SHA256, "oci": s.OCI, "oci_layout": s.Layout, "git": s.Git, "ref": s.Ref, "path": s.Dir,
	}
}

func resolvedExemption(x Exemption) map[string]any {
	return map[string]any{"rule": x.Rule, "paths": texts(x.Paths), "until": instant(x.Until), "reason": x.Reason}
}

func resolvedRule(r Rule) map[string]any {
	out := map[string]any{
		"id": r.ID, "match": resolvedMatch(r.Match), "except": nil, "decision": string(r.Decision), "role": r.Role, "reason": r.Reason,
	}
	if r.Except != nil {
		out["except"] = resolvedMatch(*r.Except)
	}
	return out
}

func resolvedMatch(m Match) map[string]any {
	bounds := func(r Range) map[string]any {
		out := map[string]any{"at_least": nil, "at_most": nil}
		if r.AtLeast != nil {
			out["at_least"] = *r.AtLeast
		}
		if r.AtMost != nil {
			out["at_most"] = *r.AtMost
		}
		return out
	}
	return map[string]any{
		"steps": texts(m.Steps), "branches": texts(m.Branches), "labels": texts(m.Labels), "artifact_types": texts(m.ArtifactTypes),
		"actions": texts(m.Actions), "targets": texts(m.Targets), "paths": texts(m.Paths), "operations": texts(m.Operations),
		"files": bounds(m.Files), "lines": bounds(m.Lines), "bytes": bounds(m.Bytes), "artifacts": bounds(m.Artifacts),
	}
}

func resolvedModel(m Model) map[string]any {
	return map[string]any{
		"name": m.Name, "bundled": m.Bundled, "path": m.Path, "oci": m.OCI, "oci_layout": m.Layout, "file": m.File, "sha256": m.SHA256,
		"input": m.Input, "types": texts(m.Types), "roles": texts(m.Roles), "mime": texts(m.Mime), "parts": texts(m.Parts),
		"window": m.Window, "overlap": m.Overlap, "output": m.Output, "labels": texts(m.Labels),
		"decisions": each(m.Decisions, func(d ModelDecision) map[string]any {
			return map[string]any{"label": d.Label, "at_least": d.AtLeast, "decision": string(d.Decision), "role": d.Role}
		}),
		"timeout": m.Timeout.Text, "on_error": string(m.OnError),
	}
}

// KeyDigests gives a keyDigest for Governance that reads below a directory (that
// of the configuration) and never outside of it.
func KeyDigests(dir string) func(path string) (string, error) {
	return func(path string) (string, error) {
		data, err := ReadKey(dir, path)
		if err != nil {
			return "", err
		}
		return protocol.Digest(data), nil
	}
}

// ReadKey reads an approver's public key file below the configuration's directory.
func ReadKey(dir, path string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // only read from
	st, err := root.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := root.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	return readAll(f, limits.ConfigKeyFile)
}

// texts gives a list for the canonical form, never null.
func texts(list []string) []any {
	out := make([]any, 0, len(list))
	for _, s := range list {
		out = append(out, s)
	}
	return out
}

// instant gives a time for the canonical form, empty if there is none.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
