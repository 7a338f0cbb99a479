package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// The patterns stand in schemas/llm.schema.json too; a test compares.
var (
	llmKeyName = lazily(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	amountText = lazily(`^(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,6})?$`)
	apiVersion = lazily(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	cloudLabel = lazily(`^[a-z0-9][a-z0-9.:-]{0,62}$`)
	degree     = lazily(`^(?:[01](?:\.[0-9]{1,6})?|2(?:\.0{1,6})?)$`)
)

// LoadLLM reads a configuration of the LLM gateway at a path. See Parse for the errors.
func LoadLLM(path string) (*LLMGateway, error) {
	data, err := readBounded(path, limits.ConfigBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, protocol.Errorf(protocol.ExitUsage, "config_not_found", "there is no configuration of an LLM gateway").At(path).
			WithHint("name a provider: cabincrew gateway llm --provider openai=http://127.0.0.1:11434/v1, or another file with --config; docs/gateway-llm.md shows one")
	}
	if err != nil {
		return nil, loadError(path, err)
	}
	return ParseLLM(path, data)
}

// ParseLLM reads a configuration of the LLM gateway; see Parse.
func ParseLLM(name string, data []byte) (*LLMGateway, error) {
	r := &reader{name: name, ofGate: true, places: map[string]*yaml.Node{}}
	root := r.parse(data)
	if root == nil || !r.structure(root, 0) || r.unfilled > 0 {
		return nil, r.err()
	}
	g := r.llm(root)
	r.checkLLM(root, g)
	if err := r.err(); err != nil {
		return nil, err
	}
	return g, nil
}

func (r *reader) llm(n *yaml.Node) *LLMGateway {
	o := r.object(n, "", "version", "listen", "providers", "allow", "routing", "buffer", "policies", "rules", "models", "secrets", "approvals", "limits",
		"shape", "cache", "budgets", "keys", "clients", "audit", "environment", "traces", "metrics", "canary")
	o.require("version", "providers")
	if v := o.int("version", Version, 0, maxSafe); v != Version {
		at, _ := o.at("version")
		r.failf(at, "config_version", fmt.Sprintf("this program reads version %d; use a program that knows version %d", Version, v),
			"version %d of the configuration is not known", v)
	}
	if at, where := o.at("rules"); at != nil {
		r.failf(at, "config_unknown_key", "write Rego and name its directory: policies: {rego: [DIRECTORY]}",
			"%s match messages of tools, and none would match a call of a model", where)
	}
	g := &LLMGateway{Gateway: Gateway{
		Name: r.name, Listen: o.text("listen", limits.LLMListen, listenAddress), Policies: r.policies(o), Rules: []protocol.MCPGatewayRule{}, Models: []Model{},
		Environment: o.text("environment", "", oneOf(EnvironmentLocal, EnvironmentCI)), Traces: o.text("traces", "", service), Metrics: true,
	}}
	if on, set := o.bool("metrics"); set {
		g.Metrics = on
	}
	o.entries("providers", llmProviderName, func(name, p string, n *yaml.Node) {
		g.Providers = append(g.Providers, r.llmProvider(name, n, p))
	})
	o.each("models", limits.OnnxModels, func(n *yaml.Node, p string) { g.Models = append(g.Models, r.model(n, p)) })
	g.Allow, g.Routing = r.llmAllow(o), r.llmRouting(o)
	g.Whole = o.text("buffer", "stream", oneOf("stream", "full")) == "full"
	g.Secrets, g.Shape, g.Cache = r.llmSecrets(o), r.llmShape(o), r.llmCache(o)
	g.Approvals = r.gatewayApprovals(o)
	g.Limits = r.llmLimits(o)
	o.each("budgets", limits.LLMRouteBudgets, func(n *yaml.Node, p string) { g.Budgets = append(g.Budgets, r.llmBudget(n, p, true)) })
	o.each("keys", limits.LLMKeys, func(n *yaml.Node, p string) { g.Keys = append(g.Keys, r.llmKey(n, p)) })
	g.Clients, g.Audit, g.Canary = r.gatewayClients(o), r.gatewayAudit(o), r.llmCanary(o)
	return g
}

// llmProviderName accepts names that can stand before those of models.
func llmProviderName(s string) (string, string) {
	if len(s) > limits.GatewayServerName {
		return fmt.Sprintf("is too long: %q", short(s)), fmt.Sprintf("at most %d bytes", limits.GatewayServerName)
	}
	return matching(gatewayServer, "a provider's name")(s)
}

// modelName accepts the name of a model, or * for any.
func modelName(s string) (string, string) {
	if len(s) > limits.LLMRouteNameBytes {
		return "is too long", fmt.Sprintf("at most %d bytes", limits.LLMRouteNameBytes)
	}
	return plain(s)
}

func (r *reader) llmProvider(name string, n *yaml.Node, p string) LLMProvider {
	o := r.object(n, p, "kind", "url", "key", "models", "prices", "context", "weight", "rate", "concurrent", "private", "ca", "version", "region", "project", "timeouts")
	out := LLMProvider{
		Where: r.where(n), Name: name, Kind: o.text("kind", LLMOpenAI, oneOf(LLMOpenAI, LLMAnthropic, LLMAzure, LLMBedrock, LLMVertex)), URL: o.text("url", "", service),
		Models: map[string]string{}, Prices: map[string]LLMPrice{}, Context: o.int("context", 0, 1, limits.LLMRouteTokens),
		Weight: o.int("weight", 1, 0, limits.LLMRouteWeight), Concurrent: o.int("concurrent", 0, 1, limits.LLMConcurrentMax),
		CA: o.text("ca", "", secretFile), Version: o.text("version", "", matching(apiVersion, "a version of an API")),
		Region: o.text("region", "", matching(cloudLabel, "the name of a region")), Project: o.text("project", "", matching(cloudLabel, "the name of a project")),
	}
	out.Private, _ = o.bool("private")
	if from, where := o.at("key"); from != nil {
		if text, ok := r.source(from, where); ok {
			out.Key = secretOf(text)
		}
	}
	r.llmCloud(o, &out)
	o.entries("models", modelName, func(alias, p string, n *yaml.Node) {
		if upstream, ok := r.text(n, p, modelName); ok {
			out.Models[alias] = upstream
			if upstream == "*" && alias != "*" {
				r.failf(n, "config_value", "name the provider's model", "%s: only the name * can stand for any model", p)
			}
		}
	})
	if at, _ := o.at("models"); at == nil {
		out.Models["*"] = "*"
	}
	o.entries("prices", modelName, func(alias, p string, n *yaml.Node) {
		if _, known := out.Models[alias]; !known {
			r.failf(n, "config_value", "name one of the provider's models", "%s is none of its models", p)
			return
		}
		price := r.object(n, p, "in", "out")
		price.require("in", "out")
		out.Prices[alias] = LLMPrice{In: price.amount("in", limits.LLMRoutePrice), Out: price.amount("out", limits.LLMRoutePrice)}
	})
	rate, where := o.at("rate")
	each := r.object(rate, where, "requests", "tokens")
	out.Rate = LLMRate{Requests: each.int("requests", 0, 1, limits.LLMRoutePerMinute), Tokens: each.int("tokens", 0, 1, limits.LLMRoutePerMinute)}
	timeouts, where := o.at("timeouts")
	t := r.object(timeouts, where, "first_byte", "idle", "total")
	out.FirstByte, out.Idle, out.Total = t.duration("first_byte", "", limits.LLMTimeMax), t.duration("idle", "", limits.LLMTimeMax), t.duration("total", "", limits.LLMTimeMax)
	return out
}

// llmCloud holds a provider to what its kind needs.
func (r *reader) llmCloud(o *object, p *LLMProvider) {
	cloud := []string{"region", "key"}
	switch p.Kind {
	case LLMVertex:
		cloud = append(cloud, "project")
	case LLMBedrock:
	default:
		o.require("url")
		cloud = nil
	}
	o.require(cloud...)
	for _, key := range []string{"region", "project"} {
		if at, where := o.at(key); at != nil && !slices.Contains(cloud, key) {
			r.failf(at, "config_value", "remove it", "%s is for another kind of provider", where)
		}
	}
}

// secretOf gives the source that source has read.
func secretOf(text string) *Secret {
	if file, isFile := strings.CutPrefix(text, sourceFile); isFile {
		return &Secret{File: path.Clean(file)}
	}
	return &Secret{Env: strings.TrimPrefix(text, sourceEnv)}
}

// amount reads an amount of money in millionths: a number with at most six places.
func (o *object) amount(key string, most int64) int64 {
	n, p := o.at(key)
	if n == nil || !o.r.is(n, p, yaml.ScalarNode) {
		return 0
	}
	const hint = "write a number with at most six places, such as 2.50"
	if !amountText().MatchString(n.Value) {
		o.r.failf(n, "config_value", hint, "%s is no amount: %s", p, clip(n.Value))
		return 0
	}
	whole, places, _ := strings.Cut(n.Value, ".")
	v, err := strconv.ParseInt(whole+(places + "000000")[:6], 10, 64)
	if err != nil || v > most {
		o.r.failf(n, "config_value", fmt.Sprintf("at most %d", most/1_000_000), "%s is out of bounds: %s", p, clip(n.Value))
		return 0
	}
	return v
}

// some reads a list that narrows; nil where it is not there.
func (o *object) some(key string, ok check) []string {
	if at, _ := o.at(key); at == nil {
		return nil
	}
	return o.texts(key, 1, true, ok)
}

func (r *reader) llmAllow(top *object) LLMAllow {
	n, p := top.at("allow")
	o := r.object(n, p, "providers", "models", "hosts")
	return LLMAllow{Providers: o.some("providers", llmProviderName), Models: o.some("models", modelName), Hosts: o.some("hosts", plain)}
}

func (r *reader) llmRouting(top *object) LLMRouting {
	n, p := top.at("routing")
	o := r.object(n, p, "strategy", "safe_model", "safer_model", "retries", "idempotent", "breaker")
	out := LLMRouting{
		Strategy:  o.text("strategy", LLMFallback, oneOf(LLMWeighted, LLMRoundRobin, LLMFallback, LLMSafetyTier, LLMCost, LLMContextSize, LLMHeader, LLMPolicy)),
		SafeModel: o.text("safe_model", "", modelName), SaferModel: o.text("safer_model", "", modelName), Retries: o.int("retries", limits.LLMRetries, 0, limits.LLMRouteAttempts-1),
	}
	out.Idempotent, _ = o.bool("idempotent")
	breaker, p := o.at("breaker")
	b := r.object(breaker, p, "failures", "open")
	out.Failures = b.int("failures", limits.LLMRouteFailures, 1, limits.LLMBreakerMax)
	out.Open = b.duration("open", limits.LLMRouteOpenText, limits.LLMTimeMax)
	if (out.Strategy == LLMSafetyTier) != (out.SafeModel != "") {
		r.failf(n, "config_missing", "routing: {strategy: safety_tier, safe_model: NAME}", "routing has only one of the strategy safety_tier and safe_model")
	}
	return out
}

func (r *reader) llmShape(top *object) LLMShape {
	n, p := top.at("shape")
	o := r.object(n, p, "system", "schema", "max_tokens", "temperature")
	out := LLMShape{System: o.text("system", "", systemText), Schema: o.free("schema"), MaxTokens: o.int("max_tokens", 0, 1, limits.LLMRouteTokens)}
	if at, where := o.at("temperature"); at != nil && r.is(at, where, yaml.ScalarNode) {
		if out.Temperature = at.Value; !degree().MatchString(at.Value) {
			r.failf(at, "config_value", "write a number from 0 to 2 with at most six places, such as 0.2", "%s is out of bounds: %s", where, clip(at.Value))
		}
	}
	return out
}

// systemText accepts what is told to a model.
func systemText(s string) (string, string) {
	if s == "" || len(s) > limits.LLMSystemText {
		return "is empty or too long", fmt.Sprintf("a text of at most %d bytes", limits.LLMSystemText)
	}
	return "", ""
}

func (r *reader) llmCache(top *object) LLMCache {
	n, p := top.at("cache")
	if n == nil {
		return LLMCache{}
	}
	o := r.object(n, p, "size", "keep")
	o.require("size")
	return LLMCache{Size: o.size("size", 0, limits.LLMCacheMax), Keep: o.duration("keep", limits.LLMCacheText, limits.LLMTimeMax)}
}

// llmSecrets says what is done about secrets: what a model is told goes on without them,
// and what it says does not go on with one.
func (r *reader) llmSecrets(top *object) GatewaySecrets {
	n, p := top.at("secrets")
	o := r.object(n, p, "requests", "results")
	return GatewaySecrets{
		Requests: o.text("requests", SecretsRedact, oneOf(append(slices.Clone(decisionWords[1:]), SecretsRedact)...)),
		Results:  o.text("results", string(protocol.Deny), oneOf(string(protocol.Warn), string(protocol.Deny), SecretsRedact)),
	}
}

func (r *reader) llmLimits(top *object) LLMLimits {
	n, p := top.at("limits")
	o := r.object(n, p, "body", "answer", "concurrent", "total", "first_byte", "idle")
	return LLMLimits{
		Body: o.size("body", limits.LLMBody, limits.LLMBodyMax), Answer: o.size("answer", limits.LLMAnswer, limits.LLMAnswerMax),
		Concurrent: o.int("concurrent", limits.LLMConcurrent, 1, limits.LLMConcurrentMax),
		Total:      o.duration("total", limits.LLMTotalText, limits.LLMTimeMax),
		FirstByte:  o.duration("first_byte", limits.LLMFirstByteText, limits.LLMTimeMax),
		Idle:       o.duration("idle", limits.LLMIdleText, limits.LLMTimeMax),
	}
}

// llmBudget reads a budget, or that of one key, which says for whom it is.
func (r *reader) llmBudget(n *yaml.Node, p string, general bool) LLMBudget {
	known := []string{"window", "tokens", "money"}
	if general {
		known = append([]string{"by", "subject"}, known...)
	}
	o := r.object(n, p, known...)
	o.require("window")
	out := LLMBudget{
		By: "key", Window: o.text("window", "", oneOf("minute", "hour", "day", "month", "total")),
		Tokens: o.int("tokens", 0, 1, maxSafe), Money: o.amount("money", maxSafe),
	}
	if general {
		o.require("by")
		out.By, out.Subject = o.text("by", "", oneOf("key", "workflow", "model")), o.text("subject", "", modelName)
	}
	if o != nil && out.Tokens == 0 && out.Money == 0 {
		r.failf(n, "config_missing", "give tokens or money, more than 0", "%s limits nothing", p)
	}
	return out
}

func (r *reader) llmKey(n *yaml.Node, p string) LLMKey {
	o := r.object(n, p, "name", "sha256", "models", "providers", "budget", "rate", "expires", "workflow")
	o.require("name", "sha256")
	out := LLMKey{
		Where: r.where(n), Name: o.text("name", "", matching(llmKeyName, "a key's name")), SHA256: o.text("sha256", "", matching(hexDigest, "a SHA-256 in hex")),
		Models: o.some("models", modelName), Providers: o.some("providers", llmProviderName), Rate: o.int("rate", 0, 1, limits.LLMKeyRate),
		Expires: o.time("expires"), Workflow: o.text("workflow", "", matching(workflowName, "a workflow's name")),
	}
	if at, where := o.at("budget"); at != nil {
		b := r.llmBudget(at, where, false)
		b.Subject = out.Name
		out.Budget = &b
	}
	return out
}

func (r *reader) llmCanary(top *object) LLMCanary {
	n, p := top.at("canary")
	if n != nil && n.Kind == yaml.ScalarNode {
		_, ok := r.text(n, p, oneOf("off"))
		return LLMCanary{Off: ok}
	}
	o := r.object(n, p, "prompt", "answer")
	return LLMCanary{Prompt: o.text("prompt", "", canaryText), Answer: o.text("answer", "", canaryText)}
}

func canaryText(s string) (string, string) {
	if s == "" || len(s) > limits.LLMCanaryText {
		return "is empty or too long", fmt.Sprintf("a text of at most %d bytes that must be stopped", limits.LLMCanaryText)
	}
	return "", ""
}

// checkLLM refuses what makes no sense as a whole.
func (r *reader) checkLLM(root *yaml.Node, g *LLMGateway) {
	switch {
	case len(g.Providers) == 0 && r.err() == nil:
		r.failf(root, "config_missing", "providers: {openai: {url: 'http://127.0.0.1:11434/v1'}}", "providers has no entry")
	case len(g.Providers) > limits.LLMRouteProviders:
		r.failf(root, "config_value", fmt.Sprintf("at most %d", limits.LLMRouteProviders), "providers has %d entries", len(g.Providers))
	}
	r.checkBoth(root, &g.Gateway)
	for i := range g.Providers {
		r.checkLLMProvider(root, g, &g.Providers[i])
	}
	if g.Routing.Strategy == LLMWeighted && !slices.ContainsFunc(g.Providers, func(p LLMProvider) bool { return p.Weight > 0 }) {
		r.failf(r.placeOr(root, "routing"), "config_value", "give one a weight", "no provider has a weight")
	}
	for key, name := range map[string]string{"safe_model": g.Routing.SafeModel, "safer_model": g.Routing.SaferModel} {
		if name != "" && !slices.ContainsFunc(g.Providers, func(p LLMProvider) bool { return p.Models[name]+p.Models["*"] != "" }) {
			r.failf(r.placeOr(root, "routing."+key), "config_value", "name it under models of a provider", "routing.%s: no provider has the model %s", key, short(name))
		}
	}
	r.checkLLMKeys(root, g)
}

// checkLLMProvider holds a provider to the lists and to the strategy.
func (r *reader) checkLLMProvider(root *yaml.Node, g *LLMGateway, p *LLMProvider) {
	at, where := r.placeOr(root, "providers"), "providers."+p.Name
	const hint = "add it to allow, or remove the provider"
	if g.Allow.Providers != nil && !slices.Contains(g.Allow.Providers, p.Name) {
		r.failf(at, "config_value", hint, "%s is not one of allow.providers", where)
	}
	u, err := url.Parse(p.URL)
	if err != nil || p.URL == "" {
		return // told of already
	}
	if g.Allow.Hosts != nil && !slices.ContainsFunc(g.Allow.Hosts, func(h string) bool { return strings.EqualFold(h, u.Hostname()) }) {
		r.failf(r.placeOr(root, where+".url"), "config_value", hint, "%s.url leads to %s, which is not one of allow.hosts", where, short(u.Hostname()))
	}
	for _, alias := range slices.Sorted(maps.Keys(p.Models)) {
		if g.Allow.Models != nil && alias != "*" && !slices.Contains(g.Allow.Models, alias) {
			r.failf(r.placeOr(root, where+".models"), "config_value", "add it to allow, or remove the model", "%s.models has %s, which is not one of allow.models", where, short(alias))
		}
		if _, priced := p.Prices[alias]; g.Routing.Strategy == LLMCost && !priced {
			r.failf(at, "config_missing", "prices: {NAME: {in: 2.50, out: 10}}", "%s.prices has no price of %s, and routing.strategy is cost", where, short(alias))
		}
	}
	if p.Kind == LLMAzure && p.Version == "" && !strings.HasSuffix(strings.TrimRight(u.Path, "/"), "/openai/v1") {
		r.failf(at, "config_missing", "version: is the api-version, or let url end with /openai/v1", "%s has no version", where)
	}
}

// checkLLMKeys refuses keys that cannot be told apart, or that are for nothing.
func (r *reader) checkLLMKeys(root *yaml.Node, g *LLMGateway) {
	names, digests := map[string]bool{}, map[string]bool{}
	for _, t := range g.Clients.Tokens {
		digests[t.SHA256] = true
	}
	for i := range g.Keys {
		k := &g.Keys[i]
		at := r.placeOr(root, "keys")
		if i < len(at.Content) {
			at = at.Content[i]
		}
		if names[k.Name] && k.Name != "" {
			r.failf(at, "config_value", "give each key a name of its own", "keys repeats the name %q", short(k.Name))
		}
		if digests[k.SHA256] && k.SHA256 != "" {
			r.failf(at, "config_value", "make a key of its own for each client", "keys[%d].sha256 is that of another key or token", i)
		}
		names[k.Name], digests[k.SHA256] = true, true
		for _, p := range k.Providers {
			if !slices.ContainsFunc(g.Providers, func(x LLMProvider) bool { return x.Name == p }) {
				r.failf(at, "config_value", "name providers of this file", "keys[%d].providers: there is no provider %s", i, short(p))
			}
		}
		for _, m := range k.Models {
			if m == "*" || !slices.ContainsFunc(g.Providers, func(x LLMProvider) bool { return x.Models[m]+x.Models["*"] != "" }) {
				r.failf(at, "config_value", "name models of the providers, or leave models out for all", "keys[%d].models: no provider has the model %s", i, short(m))
			}
		}
	}
	for i, b := range g.Budgets {
		if b.By == "key" && b.Subject != "" && !names[b.Subject] {
			r.failf(r.placeOr(root, "budgets"), "config_value", "name one of keys", "budgets[%d].subject: there is no key %s", i, short(b.Subject))
		}
	}
}

// Expired says whether a key counts no more.
func (k *LLMKey) Expired(now time.Time) bool { return !k.Expires.IsZero() && !now.Before(k.Expires) }
