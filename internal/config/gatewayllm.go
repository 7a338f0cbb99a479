package config

import (
	"net/url"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// LLMGateway is a valid configuration of the LLM gateway with its defaults filled in.
type LLMGateway struct {
	Gateway

	Providers []LLMProvider
	Strategy  string
	// Whole holds answers that stream until all of them was judged.
	Whole bool
	// Allow are the only providers that may be called; nil: all that are configured.
	Retries int64
}

// LLMProvider is one provider of models.
type LLMProvider struct {
	Where string
	Name  string
	Kind  string // openai, anthropic, azure, bedrock or vertex
	URL   string
	Key   *Secret // nil: none is sent
	// KeyOptional says that the key need not be there.
	KeyOptional bool
	Models      map[string]string // alias to the provider's name
	Private     bool
	CA          string
	Version     string
	Region      string // of bedrock and vertex
	Project     string // of vertex
	Weight      int64
	Concurrent  int64
}

// LocalLLM gives the configuration of a gateway for providers that the command line
// names, NAME=URL each, as a file without anything else would: with the bundled policies
// for calls of models, or with those of the directories.
func LocalLLM(providers, policies []string) (*LLMGateway, error) {
	text := "version: 1\nservers: {server: {command: [x]}}\nlisten: 127.0.0.1:9150\npolicies: {bundled: [llm]}\nsecrets: {requests: redact, results: deny}\n"
	g, err := ParseGateway("the command line", []byte(text))
	if err != nil {
		return nil, err
	}
	g.Servers = nil
	if len(policies) > 0 {
		g.Policies.Bundled, g.Policies.Rego = nil, policies
	}
	out := &LLMGateway{Gateway: *g, Strategy: "fallback", Retries: 2}
	if len(providers) == 0 || len(providers) > limits.LLMRouteProviders {
		return nil, protocol.Errorf(protocol.ExitUsage, "usage", "there is no provider, or there are too many").
			WithHint("--provider openai=http://127.0.0.1:11434/v1")
	}
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
	if complaint, _ := serverNameCheck(name); !ok || complaint != "" {
		return LLMProvider{}, wrong
	}
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return LLMProvider{}, wrong
	}
	p := LLMProvider{
		Where: "--provider " + name, Name: name, Kind: "openai", URL: at, KeyOptional: true, Models: map[string]string{"*": "*"}, Weight: 1,
		Key: &Secret{Env: strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "_API_KEY"},
	}
	switch {
	case strings.HasPrefix(name, "anthropic"):
		p.Kind = "anthropic"
	case strings.HasPrefix(name, "azure"):
		p.Kind = "azure"
	}
	return p, nil
}
