package config

import (
	"maps"
	"slices"

	"github.com/cabincrew/action/protocol"
)

// Governance gives the whole resolved configuration: `config` in the content of the
// gateway's governance_hash. keyDigest gives the digest of the bytes of an approver's
// key file (see KeyDigests). SPEC: docs/protocol.md 3
func (g *Gateway) Governance(keyDigest func(path string) (string, error)) (map[string]any, error) {
	approvers, err := resolvedApprovers(g.Approvals.Approvers, keyDigest)
	if err != nil {
		return nil, err
	}
	c := g.Clients
	return map[string]any{
		"version": int64(Version), "listen": g.Listen,
		"servers": each(g.Servers, resolvedServer),
		"roots":   texts(g.Roots), "protected": texts(g.Protected),
		"policies": map[string]any{
			"aggregation": string(g.Policies.Aggregation), "bundled": texts(g.Policies.Bundled), "rego": texts(g.Policies.Rego),
			"allow_without_policies": g.Policies.AllowWithoutPolicies, "data": g.Policies.Data, "timeout": g.Policies.Timeout.Text,
			"secrets": map[string]any{"scan": g.Policies.Secrets.Scan, "decision": string(g.Policies.Secrets.Decision), "role": g.Policies.Secrets.Role, "baseline": g.Policies.Secrets.Baseline},
		},
		"rules": each(g.Rules, func(r protocol.MCPGatewayRule) map[string]any {
			return map[string]any{"match": r.Match, "action": r.Action, "metadata": r.Metadata}
		}),
		"models":    each(g.Models, resolvedModel),
		"approvals": map[string]any{"expire": g.Approvals.Expire.Text, "default_role": g.Approvals.DefaultRole, "approvers": approvers},
		"tools":     map[string]any{"lock": g.Tools.Lock, "new": string(g.Tools.New), "changed": string(g.Tools.Changed), "unpinned": string(g.Tools.Unpinned), "role": g.Tools.Role},
		"secrets":   map[string]any{"requests": g.Secrets.Requests, "results": g.Secrets.Results},
		"limits": map[string]any{
			"message": g.Limits.Message, "rate": g.Limits.Rate, "concurrent": g.Limits.Concurrent, "sessions": g.Limits.Sessions, "idle": g.Limits.Idle.Text,
		},
		"clients": map[string]any{
			"url": c.URL, "hosts": texts(c.Hosts), "origins": texts(c.Origins), "ca": c.CA, "cert": c.Cert, "key": c.Key,
			"tokens": each(c.Tokens, func(t GatewayToken) map[string]any { return map[string]any{"name": t.Name, "sha256": t.SHA256} }),
			"oidc": each(c.OIDC, func(o GatewayOIDC) map[string]any {
				return map[string]any{"issuer": o.Issuer, "audience": o.Audience, "jwks": o.JWKS, "claim": o.Claim, "scopes": texts(o.Scopes)}
			}),
		},
		"audit":       map[string]any{"sign": g.Audit.Sign, "key": g.Audit.Key, "sync": g.Audit.Sync.Text, "checkpoints": g.Audit.Checkpoints},
		"environment": g.Environment, "unknown_methods": string(g.UnknownMethods), "denials": g.Denials, "traces": g.Traces, "metrics": g.Metrics,
	}, nil
}

func resolvedServer(s GatewayServer) map[string]any {
	env, secrets, headers := map[string]any{}, map[string]any{}, map[string]any{}
	for name, v := range s.Env {
		env[name] = v.Text()
	}
	for name, v := range s.Secrets {
		secrets[name] = v.Source()
	}
	for name, h := range s.Headers {
		headers[name] = map[string]any{"prefix": h.Prefix, "from": h.Value.Source()}
	}
	var roots any
	if s.Roots != nil {
		roots = texts(s.Roots)
	}
	return map[string]any{
		"name": s.Name, "command": texts(s.Command), "dir": s.Dir, "env": env, "sandbox": s.Sandbox, "write": s.Write, "programs": texts(s.Programs),
		"url": s.URL, "unix": s.Unix, "path": s.Path, "ca": s.CA, "private": s.Private, "headers": headers, "secrets": secrets,
		"roots": roots, "paths": resolvedPointers(s.Paths), "no_paths": resolvedPointers(s.NoPaths), "timeout": s.Timeout.Text,
	}
}

func resolvedPointers(m map[string][]string) map[string]any {
	out := map[string]any{}
	for _, tool := range slices.Sorted(maps.Keys(m)) {
		out[tool] = texts(m[tool])
	}
	return out
}
