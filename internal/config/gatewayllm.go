package config

import (
	"net/url"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// LLMFile is the name of a configuration that gateway llm looks for.
const LLMFile = ".cabincrew.llm.yaml"

// LLMGateway is a valid configuration of the LLM gateway with its defaults filled in. Of
// the Gateway in it, only what the file of the LLM gateway can say is used.
type LLMGateway struct {
	Gateway

	Providers []LLMProvider
	Allow     LLMAllow
	Routing   LLMRouting
	// Whole holds answers that stream until all of them was judged.
	Whole   bool
	Limits  LLMLimits
	Shape   LLMShape
	Cache   LLMCache
	Budgets []LLMBudget
	Keys    []LLMKey
	Canary  LLMCanary
}

// LLMProvider is one provider of models.
type LLMProvider struct {
	Where string // file:line:column, for messages
	Name  string
	Kind  string
	URL   string
	Key   *Secret // nil: none is sent
	// KeyOptional says that the key need not be there.
	KeyOptional bool
	Models      map[string]string   // alias to the provider's name
	Prices      map[string]LLMPrice // by alias
	Context     int64               // tokens of prompt and answer; 0 is not known
	Weight      int64
	Rate        LLMRate
	Concurrent  int64 // 0: the default of the client
	Private     bool
	CA          string
	Version     string
	Region      string // of bedrock and vertex
	Project     string // of vertex
	// Timeouts without a text are those of the gateway's limits.
	FirstByte, Idle, Total Duration
}

// The kinds of providers.
const (
	LLMOpenAI    = "openai"
	LLMAnthropic = "anthropic"
	LLMAzure     = "azure"
	LLMBedrock   = "bedrock"
	LLMVertex    = "vertex"
)

// LLMPrice is what a million tokens cost, in millionths of the currency.
type LLMPrice struct{ In, Out int64 }

// LLMRate is how much a provider takes in a minute. 0 is no limit.
type LLMRate struct{ Requests, Tokens int64 }

// LLMAllow holds the configuration to a list. A nil list does not narrow.
type LLMAllow struct{ Providers, Models, Hosts []string }

// LLMRouting says which provider gets a call.
type LLMRouting struct {
	Strategy   string
	SafeModel  string // of the strategy safety_tier
	SaferModel string // that is asked again where an answer was denied; "": none is
	Retries    int64
	Idempotent bool
	Failures   int64 // of the circuit breaker
	Open       Duration
}

// The strategies of routing.
const (
	LLMWeighted    = "weighted"
	LLMRoundRobin  = "round_robin"
	LLMFallback    = "fallback"
	LLMSafetyTier  = "safety_tier"
	LLMCost        = "cost"
	LLMContextSize = "context_size"
	LLMHeader      = "header"
	LLMPolicy      = "policy"
)

// LLMLimits bound what clients and providers may do.
type LLMLimits struct {
	Body, Answer           int64 // bytes
	Concurrent             int64
	Total, FirstByte, Idle Duration
}

// LLMShape is what is changed of requests before they are judged.
type LLMShape struct {
	System      string         // goes before the client's instructions
	Schema      map[string]any // the JSON schema that answers must have; nil: none
	MaxTokens   int64          // 0: as it came
	Temperature string         // a number from 0 to 2 as the file writes it; "": as it came
}

// LLMCache keeps whole answers. Without a size nothing is kept.
type LLMCache struct {
	Size int64 // bytes
	Keep Duration
}

// LLMBudget is what may be used in a window. Money is in millionths of the currency.
type LLMBudget struct {
	By, Subject, Window string
	Tokens, Money       int64
}

// LLMKey is a virtual key: a client of the gateway, known by the digest of its key.
type LLMKey struct {
	Where     string
	Name      string
	SHA256    string   // of the key's bytes, in hex
	Models    []string // nil: all
	Providers []string // nil: all
	Budget    *LLMBudget
	Rate      int64     // requests a minute; 0: no limit
	Expires   time.Time // zero: never
	Workflow  string
}

// LLMCanary says what the judges must stop before the gateway starts. "" is a made-up
// secret.
type LLMCanary struct {
	Off            bool
	Prompt, Answer string
}

// LocalLLM gives the configuration of a gateway for providers that the command line
// names, NAME=URL each, as a file without anything else would: with the bundled policies
// for calls of models, or with those of the directories.
func LocalLLM(providers, policies []string) (*LLMGateway, error) {
	out, err := ParseLLM("the command line", []byte("version: 1\nproviders: {provider: {url: 'http://127.0.0.1:1'}}\npolicies: {bundled: [llm]}\n"))
	if err != nil {
		return nil, err
	}
	if len(policies) > 0 {
		out.Policies.Bundled, out.Policies.Rego = nil, policies
	}
	if len(providers) == 0 || len(providers) > limits.LLMRouteProviders {
		return nil, protocol.Errorf(protocol.ExitUsage, "usage", "there is no provider, or there are too many").
			WithHint("--provider openai=http://127.0.0.1:11434/v1")
	}
	out.Providers = nil
	seen := map[string]bool{}
	for _, one := range providers {
		p, err := providerOf(one)
		if err != nil {
			return nil, err
		}
		if seen[p.Name] {
			return nil, protocol.Errorf(protocol.ExitUsage, "usage", "two providers have the name %s", p.Name).WithHint("name them differently: NAME=URL")
		}
		seen[p.Name] = true
		out.Providers = append(out.Providers, p)
	}
	return out, nil
}

// providerOf reads NAME=URL. The name says which form the provider's API has, unless the
// URL does.
func providerOf(text string) (LLMProvider, error) {
	name, at, ok := strings.Cut(text, "=")
	wrong := protocol.Errorf(protocol.ExitUsage, "usage", "--provider %s is not NAME=URL", short(text)).
		WithHint("--provider openai=http://127.0.0.1:11434/v1, or anthropic=https://HOST")
	if complaint, _ := llmProviderName(name); !ok || complaint != "" {
		return LLMProvider{}, wrong
	}
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return LLMProvider{}, wrong
	}
	p := LLMProvider{
		Where: "--provider " + name, Name: name, Kind: LLMOpenAI, URL: at, KeyOptional: true, Models: map[string]string{"*": "*"}, Prices: map[string]LLMPrice{},
		Weight: 1, Key: &Secret{Env: strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "_API_KEY"},
	}
	switch {
	case strings.HasPrefix(name, LLMAnthropic):
		p.Kind = LLMAnthropic
	case strings.HasPrefix(name, LLMAzure):
		p.Kind = LLMAzure
	}
	return p, nil
}
