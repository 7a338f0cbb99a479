package config

import (
	"maps"
	"slices"
)

// Governance gives the whole resolved configuration: `config` in the content of the
// gateway's governance_hash. SPEC: docs/protocol.md 3
func (g *LLMGateway) Governance(keyDigest func(path string) (string, error)) (map[string]any, error) {
	out, err := g.Gateway.Governance(keyDigest)
	if err != nil {
		return nil, err
	}
	for _, other := range []string{"servers", "roots", "protected", "rules", "tools", "unknown_methods", "denials"} {
		delete(out, other) // they are of the MCP gateway
	}
	l := g.Limits
	out["kind"] = "llm"
	out["providers"] = each(g.Providers, resolvedProvider)
	out["allow"] = map[string]any{"providers": narrowed(g.Allow.Providers), "models": narrowed(g.Allow.Models), "hosts": narrowed(g.Allow.Hosts)}
	out["routing"] = map[string]any{
		"strategy": g.Routing.Strategy, "safe_model": g.Routing.SafeModel, "safer_model": g.Routing.SaferModel, "retries": g.Routing.Retries, "idempotent": g.Routing.Idempotent,
		"breaker": map[string]any{"failures": g.Routing.Failures, "open": g.Routing.Open.Text},
	}
	out["whole"] = g.Whole
	out["shape"] = map[string]any{"system": g.Shape.System, "schema": g.Shape.Schema, "max_tokens": g.Shape.MaxTokens, "temperature": g.Shape.Temperature}
	out["cache"] = map[string]any{"size": g.Cache.Size, "keep": g.Cache.Keep.Text}
	out["limits"] = map[string]any{
		"body": l.Body, "answer": l.Answer, "concurrent": l.Concurrent, "total": l.Total.Text, "first_byte": l.FirstByte.Text, "idle": l.Idle.Text,
	}
	out["budgets"] = each(g.Budgets, resolvedBudget)
	out["keys"] = each(g.Keys, resolvedKey)
	out["canary"] = map[string]any{"off": g.Canary.Off, "prompt": g.Canary.Prompt, "answer": g.Canary.Answer}
	return out, nil
}

func narrowed(list []string) any {
	if list == nil {
		return nil
	}
	return texts(list)
}

func resolvedProvider(p LLMProvider) map[string]any {
	models, prices := map[string]any{}, map[string]any{}
	for _, alias := range slices.Sorted(maps.Keys(p.Models)) {
		models[alias] = p.Models[alias]
	}
	for alias, price := range p.Prices {
		prices[alias] = map[string]any{"in": price.In, "out": price.Out}
	}
	key := ""
	if p.Key != nil {
		key = p.Key.Source()
	}
	return map[string]any{
		"name": p.Name, "kind": p.Kind, "url": p.URL, "key": key, "key_optional": p.KeyOptional, "models": models, "prices": prices, "context": p.Context, "weight": p.Weight,
		"rate": map[string]any{"requests": p.Rate.Requests, "tokens": p.Rate.Tokens}, "concurrent": p.Concurrent, "private": p.Private, "ca": p.CA, "version": p.Version,
		"region": p.Region, "project": p.Project,
		"timeouts": map[string]any{"first_byte": p.FirstByte.Text, "idle": p.Idle.Text, "total": p.Total.Text},
	}
}

func resolvedBudget(b LLMBudget) map[string]any {
	return map[string]any{"by": b.By, "subject": b.Subject, "window": b.Window, "tokens": b.Tokens, "money": b.Money}
}

func resolvedKey(k LLMKey) map[string]any {
	var budget any
	if k.Budget != nil {
		budget = resolvedBudget(*k.Budget)
	}
	return map[string]any{
		"name": k.Name, "sha256": k.SHA256, "models": narrowed(k.Models), "providers": narrowed(k.Providers), "budget": budget, "rate": k.Rate,
		"expires": instant(k.Expires), "workflow": k.Workflow,
	}
}
