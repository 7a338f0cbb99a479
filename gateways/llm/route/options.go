package route

import (
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Kind is which API a provider speaks, and how a call to it is signed.
type Kind string

// The kinds of providers.
const (
	OpenAI    Kind = "openai"
	Anthropic Kind = "anthropic"
	Azure     Kind = "azure"
	Bedrock   Kind = "bedrock"
	Vertex    Kind = "vertex"
)

// Strategy is how one of several providers is chosen.
type Strategy string

// The strategies.
const (
	Weighted    Strategy = "weighted"     // by weight, drawn from the request's digest
	RoundRobin  Strategy = "round_robin"  // each in its turn
	Fallback    Strategy = "fallback"     // the first that can be reached
	SafetyTier  Strategy = "safety_tier"  // a flagged request goes to the safe model only
	Cost        Strategy = "cost"         // the cheapest by declared prices
	ContextSize Strategy = "context_size" // the smallest that the request fits into
	Header      Strategy = "header"       // what the client's header names
	Policy      Strategy = "policy"       // what the judge's decision names
)

// AnyModel stands, as an alias of a provider's models, for every model that is not named,
// and, as its upstream name, for the name that the client gave.
const AnyModel = "*"

// Price is what a million tokens cost, in millionths of the currency.
type Price struct{ In, Out int64 }

// Rate is how much a provider takes in a minute. 0 is no limit.
type Rate struct{ Requests, Tokens int64 }

// Provider is one upstream.
type Provider struct {
	Name          string
	Kind          Kind
	Formats       []string          // the wire formats that it speaks
	Models        map[string]string // alias to the upstream's name
	Prices        map[string]Price  // by alias
	ContextTokens int64             // of prompt and answer; 0 is not known
	Weight        int               // 0 takes part in a weighted draw only as the last resort
	Rate          Rate
	MaxConcurrent int // 0 is no limit
}

// Scope is an allow-list. A nil list does not narrow; an empty one admits nothing.
type Scope struct {
	Providers []string
	Models    []string // aliases
}

// admits tells whether the provider and the model are within the scope.
func (s Scope) admits(provider, model string) bool {
	return (s.Providers == nil || slices.Contains(s.Providers, provider)) &&
		(s.Models == nil || slices.Contains(s.Models, model))
}

// Breaker says when a provider is left alone. Zeros are the defaults of limits.
type Breaker struct {
	Failures int           // after one another
	Open     time.Duration // until one call probes it
}

// Options configure a Router.
type Options struct {
	Providers []Provider
	Strategy  Strategy
	SafeModel string // the alias that flagged requests get with SafetyTier
	Allow     Scope  // a provider or a named model outside of it is refused by New
	Breaker   Breaker
	Now       func() time.Time
}

// check refuses what cannot be meant.
func (o *Options) check() error {
	known := []Strategy{Weighted, RoundRobin, Fallback, SafetyTier, Cost, ContextSize, Header, Policy}
	switch {
	case o.Now == nil:
		return wrong("routes have no clock")
	case len(o.Providers) == 0:
		return wrong("there is no provider")
	case len(o.Providers) > limits.LLMRouteProviders:
		return wrong("there are more than %d providers", limits.LLMRouteProviders)
	case !slices.Contains(known, o.Strategy):
		return wrong("%q is no strategy of routes", o.Strategy)
	case o.Strategy == SafetyTier && o.SafeModel == "":
		return wrong("the strategy safety_tier names no safe model")
	case o.Breaker.Failures < 0 || o.Breaker.Open < 0:
		return wrong("the thresholds of the circuit breaker are negative")
	}
	weight, safe := 0, o.SafeModel == ""
	names := map[string]bool{}
	for i := range o.Providers {
		p := &o.Providers[i]
		if names[p.Name] {
			return wrong("two providers have the name %q", p.Name)
		}
		names[p.Name] = true
		if err := o.checkProvider(p); err != nil {
			return err
		}
		weight += p.Weight
		if _, _, ok := p.resolve(o.SafeModel); ok {
			safe = true
		}
	}
	if o.Strategy == Weighted && weight == 0 {
		return wrong("no provider has a weight")
	}
	if !safe {
		return wrong("no provider has the safe model %q", o.SafeModel)
	}
	return nil
}

func (o *Options) checkProvider(p *Provider) error {
	switch {
	case !named(p.Name) || strings.Contains(p.Name, "/"):
		return wrong("%q is no name of a provider", cut(p.Name))
	case !slices.Contains([]Kind{OpenAI, Anthropic, Azure, Bedrock, Vertex}, p.Kind):
		return wrong("provider %s: %q is no kind of providers", p.Name, p.Kind)
	case o.Allow.Providers != nil && !slices.Contains(o.Allow.Providers, p.Name):
		return wrong("provider %s is outside of the allow-list", p.Name)
	case len(p.Formats) == 0 || len(p.Models) == 0:
		return wrong("provider %s has no formats or no models", p.Name)
	case len(p.Models) > limits.LLMRouteModels:
		return wrong("provider %s has more than %d models", p.Name, limits.LLMRouteModels)
	case p.Weight < 0 || p.Weight > limits.LLMRouteWeight:
		return wrong("provider %s: the weight is not between 0 and %d", p.Name, limits.LLMRouteWeight)
	case p.ContextTokens < 0 || p.MaxConcurrent < 0:
		return wrong("provider %s: a limit is negative", p.Name)
	case !within(p.Rate.Requests, limits.LLMRoutePerMinute) || !within(p.Rate.Tokens, limits.LLMRoutePerMinute):
		return wrong("provider %s: a rate is not between 0 and %d", p.Name, limits.LLMRoutePerMinute)
	}
	for alias, upstream := range p.Models {
		price, priced := p.Prices[alias]
		switch {
		case !named(alias) || !named(upstream) || upstream == AnyModel && alias != AnyModel:
			return wrong("provider %s: %q is no name of a model", p.Name, cut(alias))
		case alias != AnyModel && !o.Allow.admits(p.Name, alias):
			return wrong("provider %s: the model %s is outside of the allow-list", p.Name, alias)
		case !within(price.In, limits.LLMRoutePrice) || !within(price.Out, limits.LLMRoutePrice):
			return wrong("provider %s: the price of %s is not between 0 and %d", p.Name, alias, int64(limits.LLMRoutePrice))
		case o.Strategy == Cost && !priced:
			return wrong("provider %s: the strategy cost needs a price of %s", p.Name, alias)
		}
	}
	for alias := range p.Prices {
		if _, ok := p.Models[alias]; !ok {
			return wrong("provider %s: there is a price of %q, which is none of its models", p.Name, cut(alias))
		}
	}
	return nil
}

// resolve gives the alias under which the provider has the model, and its upstream name.
func (p *Provider) resolve(model string) (alias, upstream string, ok bool) {
	if !named(model) || model == AnyModel {
		return "", "", false
	}
	if up, ok := p.Models[model]; ok {
		return model, up, true
	}
	up, ok := p.Models[AnyModel]
	if up == AnyModel {
		up = model
	}
	return AnyModel, up, ok
}

func wrong(format string, args ...any) error {
	return protocol.Errorf(protocol.ExitUsage, "llm_route_config", format, args...).
		WithHint("correct the providers and routes of the gateway")
}

func named(s string) bool { return s != "" && len(s) <= limits.LLMRouteNameBytes }

// within tells whether n lies between 0 and most.
func within(n, most int64) bool { return n >= 0 && n <= most }

// cut shortens a name for a message: it may be a client's.
func cut(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
