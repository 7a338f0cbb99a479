package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

const llmMinimal = "version: 1\nproviders: {local: {url: 'http://127.0.0.1:11434/v1'}}\n"

var llmFull = `version: 1
listen: 127.0.0.1:9200
providers:
  local:
    url: http://127.0.0.1:11434/v1
    models: {small: llama-3, "*": "*"}
    context: 8192
    private: true
  cloud:
    kind: azure
    url: https://models.example
    key: env:CLOUD_KEY
    models: {large: deployment-1}
    prices: {large: {in: 2.50, out: "10"}}
    weight: 3
    rate: {requests: 60, tokens: 100000}
    concurrent: 8
    ca: ca.pem
    version: 2024-06-01
    timeouts: {first_byte: 20s, idle: 10s, total: 5m}
  aws: {kind: bedrock, region: eu-central-1, key: file:aws.json, models: {small: anthropic.small}}
  google: {kind: vertex, region: global, project: our-project, key: env:GOOGLE, models: {small: publisher/small}}
  claude: {kind: anthropic, url: 'https://other.example', key: file:/run/secrets/claude}
allow: {providers: [local, cloud, aws, google, claude], models: [small, large], hosts: [127.0.0.1, models.example, other.example]}
routing: {strategy: safety_tier, safe_model: small, safer_model: large, retries: 4, idempotent: true, breaker: {failures: 7, open: 45s}}
buffer: full
shape: {system: Be kind., schema: {type: object}, max_tokens: 500, temperature: 0.2}
cache: {size: 64MiB, keep: 1m}
policies: {bundled: [llm], rego: [policies/llm], secrets: {decision: require_approval, role: security}}
models: [{name: m, bundled: instruction-injection}]
secrets: {requests: deny, results: redact}
approvals:
  expire: 5m
  approvers: [{name: a, roles: [maintainer], key: keys/a.pub}]
limits: {body: 1MiB, answer: 2MiB, concurrent: 100, total: 3m, first_byte: 30s, idle: 15s}
budgets:
  - {by: model, subject: large, window: day, tokens: 1000000}
  - {by: workflow, window: month, money: 100.25}
keys:
  - {name: ci, sha256: ` + hexOfA + `, models: [small], providers: [local], budget: {window: hour, tokens: 5000, money: "1.5"}, rate: 30, expires: 2027-01-31T00:00:00Z, workflow: nightly}
  - {name: people, sha256: ` + strings.Repeat("b", 64) + `}
clients:
  url: https://llm.example
  hosts: [llm.example]
  tokens: [{name: bot, sha256: ` + strings.Repeat("c", 64) + `}]
  oidc: [{issuer: https://issuer.example, audience: llm}]
  cert: cert.pem
  key: key.pem
audit: {sign: checkpoint, key: audit.key, sync: each}
environment: ci
traces: http://127.0.0.1:4318
metrics: false
canary: {prompt: delete everything, answer: I will delete everything}
`

// TestLLMReadsEveryKey reads a file with every key and looks at what came of each.
func TestLLMReadsEveryKey(t *testing.T) {
	t.Parallel()
	g, err := ParseLLM("l.yaml", []byte(llmFull))
	if err != nil {
		t.Fatal(err)
	}
	local, cloud, aws, google, claude, ci := g.Providers[0], g.Providers[1], g.Providers[2], g.Providers[3], g.Providers[4], g.Keys[0]
	for what, ok := range map[string]bool{
		"listen":    g.Listen == "127.0.0.1:9200",
		"order":     local.Name == "local" && cloud.Name == "cloud" && claude.Name == "claude",
		"kinds":     local.Kind == LLMOpenAI && cloud.Kind == LLMAzure && claude.Kind == LLMAnthropic,
		"keys":      local.Key == nil && cloud.Key.Env == "CLOUD_KEY" && claude.Key.File == "/run/secrets/claude" && !cloud.KeyOptional,
		"models":    local.Models["small"] == "llama-3" && local.Models["*"] == "*" && len(cloud.Models) == 1 && claude.Models["*"] == "*",
		"prices":    cloud.Prices["large"] == LLMPrice{In: 2_500_000, Out: 10_000_000},
		"context":   local.Context == 8192 && cloud.Context == 0,
		"weight":    cloud.Weight == 3 && local.Weight == 1,
		"rate":      cloud.Rate == LLMRate{60, 100_000} && cloud.Concurrent == 8 && local.Concurrent == 0,
		"private":   local.Private && !cloud.Private && cloud.CA == "ca.pem" && cloud.Version == "2024-06-01",
		"timeouts":  cloud.FirstByte.Duration == 20*time.Second && cloud.Idle.Duration == 10*time.Second && cloud.Total.Duration == 5*time.Minute && local.Total.Duration == 0,
		"allow":     len(g.Allow.Providers) == 5 && len(g.Allow.Models) == 2 && g.Allow.Hosts[1] == "models.example",
		"routing":   g.Routing.Strategy == LLMSafetyTier && g.Routing.SafeModel == "small" && g.Routing.Retries == 4 && g.Routing.Idempotent && g.Routing.Failures == 7 && g.Routing.Open.Duration == 45*time.Second,
		"buffer":    g.Whole,
		"clouds":    aws.Kind == LLMBedrock && aws.Region == "eu-central-1" && aws.URL == "" && google.Kind == LLMVertex && google.Project == "our-project",
		"shape":     g.Shape.System == "Be kind." && g.Shape.Schema["type"] == "object" && g.Shape.MaxTokens == 500 && g.Shape.Temperature == "0.2" && g.Cache.Size == 64<<20 && g.Cache.Keep.Duration == time.Minute && g.Routing.SaferModel == "large",
		"policies":  g.Policies.Bundled[0] == "llm" && g.Policies.Rego[0] == "policies/llm" && len(g.Models) == 1,
		"secrets":   g.Secrets.Requests == "deny" && g.Secrets.Results == SecretsRedact,
		"approvals": g.Approvals.Expire.Duration == 5*time.Minute && len(g.Approvals.Approvers) == 1,
		"limits":    g.Limits.Body == 1<<20 && g.Limits.Answer == 2<<20 && g.Limits.Concurrent == 100 && g.Limits.Total.Duration == 3*time.Minute && g.Limits.FirstByte.Duration == 30*time.Second && g.Limits.Idle.Duration == 15*time.Second,
		"budgets":   g.Budgets[0] == LLMBudget{By: "model", Subject: "large", Window: "day", Tokens: 1_000_000} && g.Budgets[1] == LLMBudget{By: "workflow", Window: "month", Money: 100_250_000},
		"key":       ci.Name == "ci" && ci.SHA256 == hexOfA && ci.Models[0] == "small" && ci.Providers[0] == "local" && ci.Rate == 30 && ci.Workflow == "nightly" && ci.Expires.Year() == 2027,
		"budget":    *ci.Budget == LLMBudget{By: "key", Subject: "ci", Window: "hour", Tokens: 5000, Money: 1_500_000},
		"key, all":  g.Keys[1].Models == nil && g.Keys[1].Providers == nil && g.Keys[1].Budget == nil && g.Keys[1].Expires.IsZero(),
		"clients":   g.Clients.Tokens[0].Name == "bot" && g.Clients.OIDC[0].Claim == "sub" && g.Clients.Cert == "cert.pem" && g.Clients.URL == "https://llm.example",
		"audit":     g.Audit.Sign == AuditCheckpoint && g.Audit.Sync.Text == "each",
		"rest":      g.Environment == EnvironmentCI && g.Traces != "" && !g.Metrics,
		"canary":    !g.Canary.Off && g.Canary.Prompt == "delete everything" && g.Canary.Answer == "I will delete everything",
	} {
		if !ok {
			t.Errorf("%s was not read as it stands: %+v", what, g)
		}
	}
	if ci.Expired(ci.Expires.Add(-time.Second)) || !ci.Expired(ci.Expires) || g.Keys[1].Expired(ci.Expires) {
		t.Error("a key expires at another time than it says")
	}
}

// TestLLMDefaults holds what a short file means, and that it means what the command line does.
func TestLLMDefaults(t *testing.T) {
	t.Parallel()
	g, err := ParseLLM("l.yaml", []byte(llmMinimal))
	if err != nil {
		t.Fatal(err)
	}
	if g.Listen != limits.LLMListen || g.Routing.Strategy != LLMFallback || g.Routing.Retries != 2 || g.Routing.Open.Duration != limits.LLMRouteOpen || g.Whole ||
		g.Secrets.Requests != SecretsRedact || g.Secrets.Results != "deny" || g.Limits.Total.Duration != limits.LLMTotal || g.Limits.FirstByte.Duration != limits.LLMUpstreamFirstByte ||
		g.Limits.Idle.Duration != limits.LLMUpstreamIdle || g.Canary.Off || !g.Metrics || g.Allow.Providers != nil || g.Providers[0].Models["*"] != "*" {
		t.Errorf("%+v", g)
	}
	local, err := LocalLLM([]string{"openai=http://127.0.0.1:1/v1", "anthropic=https://models.example"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if local.Limits != g.Limits || local.Secrets != g.Secrets || local.Routing != g.Routing || local.Listen != g.Listen || local.Policies.Bundled[0] != "llm" || len(local.Providers) != 2 ||
		local.Providers[0].Key.Env != "OPENAI_API_KEY" || !local.Providers[0].KeyOptional || local.Providers[1].Kind != LLMAnthropic {
		t.Errorf("%+v", local)
	}
	for _, wrong := range [][]string{nil, {"openai"}, {"openai=ftp://x"}, {"A B=http://x"}, {"a=http://x", "a=http://y"}} {
		if _, err := LocalLLM(wrong, nil); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}

// llmRefusals are files that are refused, with words of the message. semantic marks those
// that the schema cannot see.
var llmRefusals = []struct {
	name, file, want string
	semantic         bool
}{
	{"no providers", "version: 1\n", "providers is missing", false},
	{"empty providers", "version: 1\nproviders: {}\n", "providers has no entry", false},
	{"version", "version: 2\nproviders: {a: {url: 'http://x'}}\n", "version 2", false},
	{"unknown key", llmMinimal + "provider: {}\n", "unknown key", false},
	{"rules", llmMinimal + "rules: []\n", "none would match a call of a model", false},
	{"unknown key of a provider", "version: 1\nproviders: {a: {url: 'http://x', token: b}}\n", "unknown key", false},
	{"provider's name", "version: 1\nproviders: {A B: {url: 'http://x'}}\n", "a provider's name", false},
	{"long name", "version: 1\nproviders: {" + strings.Repeat("a", 33) + ": {url: 'http://x'}}\n", "is too long", false},
	{"no URL", "version: 1\nproviders: {a: {kind: openai}}\n", "url is missing", false},
	{"URL without a host", "version: 1\nproviders: {a: {url: 'http:///v1'}}\n", "is not the URL of a service", true},
	{"URL with credentials", "version: 1\nproviders: {a: {url: 'http://u:p@x'}}\n", "holds credentials", false},
	{"kind", "version: 1\nproviders: {a: {url: 'http://x', kind: gpt}}\n", "is unknown", false},
	{"bedrock without a region", "version: 1\nproviders: {a: {kind: bedrock, key: env:K}}\n", "region is missing", false},
	{"vertex without a project", "version: 1\nproviders: {a: {kind: vertex, key: env:K, region: global}}\n", "project is missing", false},
	{"vertex without a key", "version: 1\nproviders: {a: {kind: vertex, project: p, region: global}}\n", "key is missing", false},
	{"region of nobody", "version: 1\nproviders: {a: {url: 'http://x', region: global}}\n", "for another kind", false},
	{"project of bedrock", "version: 1\nproviders: {a: {kind: bedrock, key: env:K, region: r, project: p}}\n", "for another kind", false},
	{"safer model that nobody has", "version: 1\nproviders: {a: {url: 'http://x', models: {m: m}}}\nrouting: {safer_model: n}\n", "no provider has the model n", true},
	{"cache without a size", llmMinimal + "cache: {keep: 1m}\n", "size is missing", false},
	{"temperature", llmMinimal + "shape: {temperature: 2.1}\n", "out of bounds", false},
	{"no tokens", llmMinimal + "shape: {max_tokens: 0}\n", "out of bounds", false},
	{"pasted key", "version: 1\nproviders: {a: {url: 'http://x', key: abcdef}}\n", "is not a source", false},
	{"price of nothing", "version: 1\nproviders: {a: {url: 'http://x', models: {m: m}, prices: {n: {in: 1, out: 1}}}}\n", "is none of its models", true},
	{"half a price", "version: 1\nproviders: {a: {url: 'http://x', models: {m: m}, prices: {m: {in: 1}}}}\n", "out is missing", false},
	{"price with seven places", "version: 1\nproviders: {a: {url: 'http://x', models: {m: m}, prices: {m: {in: 0.0000001, out: 1}}}}\n", "is no amount", false},
	{"negative price", "version: 1\nproviders: {a: {url: 'http://x', models: {m: m}, prices: {m: {in: -1, out: 1}}}}\n", "is no amount", false},
	{"price too high", "version: 1\nproviders: {a: {url: 'http://x', models: {m: m}, prices: {m: {in: 10001, out: 1}}}}\n", "out of bounds", true},
	{"any as one", "version: 1\nproviders: {a: {url: 'http://x', models: {m: '*'}}}\n", "only the name *", true},
	{"azure without a version", "version: 1\nproviders: {a: {url: 'http://x', kind: azure}}\n", "has no version", true},
	{"outside of the names", llmMinimal + "allow: {providers: [other]}\n", "is not one of allow.providers", true},
	{"outside of the hosts", llmMinimal + "allow: {hosts: [localhost]}\n", "leads to 127.0.0.1, which is not one of allow.hosts", true},
	{"outside of the models", "version: 1\nproviders: {a: {url: 'http://x', models: {m: m}}}\nallow: {models: [n]}\n", "is not one of allow.models", true},
	{"empty allow-list", llmMinimal + "allow: {providers: []}\n", "is empty", false},
	{"strategy", llmMinimal + "routing: {strategy: random}\n", "is unknown", false},
	{"safety tier without a model", llmMinimal + "routing: {strategy: safety_tier}\n", "only one of", true},
	{"safe model without safety tier", llmMinimal + "routing: {safe_model: m}\n", "only one of", true},
	{"safe model that nobody has", "version: 1\nproviders: {a: {url: 'http://x', models: {m: m}}}\nrouting: {strategy: safety_tier, safe_model: n}\n", "no provider has the model n", true},
	{"no weight", "version: 1\nproviders: {a: {url: 'http://x', weight: 0}}\nrouting: {strategy: weighted}\n", "no provider has a weight", true},
	{"cost without prices", "version: 1\nproviders: {a: {url: 'http://x', models: {m: m}}}\nrouting: {strategy: cost}\n", "has no price of m", true},
	{"retries", llmMinimal + "routing: {retries: 10}\n", "out of bounds", false},
	{"buffer", llmMinimal + "buffer: none\n", "is unknown", false},
	{"answers that wait", llmMinimal + "secrets: {results: require_approval}\n", "is unknown", false},
	{"body", llmMinimal + "limits: {body: 65MiB}\n", "out of bounds", true},
	{"time", llmMinimal + "limits: {total: 25h}\n", "out of bounds", true},
	{"budget of nothing", llmMinimal + "budgets: [{by: key, window: day}]\n", "limits nothing", false},
	{"budget of 0", llmMinimal + "budgets: [{by: key, window: day, money: 0}]\n", "limits nothing", true},
	{"budget without a window", llmMinimal + "budgets: [{by: key, tokens: 1}]\n", "window is missing", false},
	{"budget of a stranger", llmMinimal + "budgets: [{by: key, subject: a, window: day, tokens: 1}]\n", "there is no key a", true},
	{"key in clear", llmMinimal + "keys: [{name: a, sha256: abc}]\n", "a SHA-256 in hex", false},
	{"key without a name", llmMinimal + "keys: [{sha256: " + hexOfA + "}]\n", "name is missing", false},
	{"two keys of a name", llmMinimal + "keys: [{name: a, sha256: " + hexOfA + "}, {name: a, sha256: " + strings.Repeat("b", 64) + "}]\n", "repeats the name", true},
	{"two keys alike", llmMinimal + "keys: [{name: a, sha256: " + hexOfA + "}, {name: b, sha256: " + hexOfA + "}]\n", "that of another key", true},
	{"key and token alike", llmMinimal + "keys: [{name: a, sha256: " + hexOfA + "}]\nclients: {tokens: [{name: b, sha256: " + hexOfA + "}]}\n", "that of another key", true},
	{"key of no provider", llmMinimal + "keys: [{name: a, sha256: " + hexOfA + ", providers: [b]}]\n", "there is no provider b", true},
	{"key of no model", "version: 1\nproviders: {a: {url: 'http://x', models: {m: m}}}\nkeys: [{name: a, sha256: " + hexOfA + ", models: [n]}]\n", "no provider has the model n", true},
	{"key of any model", llmMinimal + "keys: [{name: a, sha256: " + hexOfA + ", models: ['*']}]\n", "no provider has the model *", true},
	{"key of no models", llmMinimal + "keys: [{name: a, sha256: " + hexOfA + ", models: []}]\n", "is empty", false},
	{"expiry", llmMinimal + "keys: [{name: a, sha256: " + hexOfA + ", expires: tomorrow}]\n", "is not a time", false},
	{"subject of a key's budget", llmMinimal + "keys: [{name: a, sha256: " + hexOfA + ", budget: {subject: b, window: day, tokens: 1}}]\n", "unknown key", false},
	{"two tokens of a name", llmMinimal + "clients: {tokens: [{name: a, sha256: " + hexOfA + "}, {name: a, sha256: " + hexOfA + "}]}\n", "repeats the name", true},
	{"flights' policies", llmMinimal + "policies: {explain: true}\n", "for flights only", true},
	{"canary on", llmMinimal + "canary: on\n", "is unknown", false},
	{"empty canary", llmMinimal + "canary: {prompt: ''}\n", "is empty or too long", false},
}

func TestLLMRefusals(t *testing.T) {
	t.Parallel()
	schema := compileLLMSchema(t)
	for _, c := range llmRefusals {
		_, err := ParseLLM("l.yaml", []byte(c.file))
		var e *protocol.Error
		if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &e) || e.ExitCode() != protocol.ExitUsage || !regexp.MustCompile(`^l\.yaml:[0-9]+:[0-9]+$`).MatchString(e.Where) || e.Hint == "" {
			t.Errorf("%s: %v", c.name, err)
		}
		doc, ok := tree([]byte(c.file))
		if !ok {
			t.Errorf("%s: not YAML", c.name)
			continue
		}
		if err := schema.Validate(doc); (err == nil) != c.semantic {
			t.Errorf("%s: the schema says %v", c.name, err)
		}
	}
	for _, file := range []string{llmMinimal, llmFull, llmMinimal + "canary: off\n", llmMinimal + "allow: {}\nrouting: {}\nlimits: {}\nkeys: []\nbudgets: []\ncanary: {}\n"} {
		if _, err := ParseLLM("l.yaml", []byte(file)); err != nil {
			t.Errorf("refused: %v", err)
		}
		if doc, ok := tree([]byte(file)); !ok || schema.Validate(doc) != nil {
			t.Errorf("the schema refuses %s: %v", file, schema.Validate(doc))
		}
	}
}

// TestLLMGovernanceCoversEveryKey changes the full file key by key: each change is another
// governance.
func TestLLMGovernanceCoversEveryKey(t *testing.T) {
	t.Parallel()
	digest := func(text string) string {
		g, err := ParseLLM("l.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		v, err := g.Governance(func(string) (string, error) { return "sha256:" + hexOfA, nil })
		if err != nil {
			t.Fatal(err)
		}
		h, err := protocol.HCanonical("governance", v)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	was := digest(llmFull)
	for _, change := range [][2]string{
		{":9200", ":9201"}, {":11434/v1", ":11435/v1"}, {"small: llama-3", "small: llama-4"}, {"context: 8192", "context: 8191"}, {"private: true", "private: false"},
		{"kind: anthropic", "kind: openai"}, {"env:CLOUD_KEY", "env:C"}, {"file:/run/secrets/claude", "file:/run/secrets/c"}, {"in: 2.50", "in: 2.51"}, {`out: "10"`, "out: 11"}, {"weight: 3", "weight: 4"},
		{"requests: 60", "requests: 61"}, {"tokens: 100000}", "tokens: 100001}"}, {"concurrent: 8", "concurrent: 9"}, {"ca: ca.pem", "ca: c.pem"}, {"2024-06-01", "2024-06-02"},
		{"first_byte: 20s", "first_byte: 21s"}, {"idle: 10s", "idle: 11s"}, {"total: 5m", "total: 6m"}, {"google, claude]", "google, claude, x]"}, {"[small, large]", "[small, large, x]"},
		{"[127.0.0.1, ", "[x, 127.0.0.1, "}, {"strategy: safety_tier, safe_model: small, ", ""}, {"safe_model: small", "safe_model: large"}, {"safer_model: large", "safer_model: small"}, {"region: eu-", "region: us-"}, {"our-project", "project"}, {"max_tokens: 500", "max_tokens: 501"}, {"temperature: 0.2", "temperature: 0.3"}, {"size: 64MiB", "size: 65MiB"}, {"keep: 1m", "keep: 2m"}, {"retries: 4", "retries: 5"}, {"idempotent: true", "idempotent: false"},
		{"failures: 7", "failures: 8"}, {"open: 45s", "open: 46s"}, {"buffer: full", "buffer: stream"}, {"rego: [policies/llm]", "rego: [policies]"}, {"name: m,", "name: n,"},
		{"requests: deny", "requests: redact"}, {"results: redact", "results: deny"}, {"expire: 5m", "expire: 6m"}, {"body: 1MiB", "body: 2MiB"}, {"answer: 2MiB", "answer: 3MiB"}, {"concurrent: 100", "concurrent: 101"},
		{"total: 3m", "total: 4m"}, {"first_byte: 30s", "first_byte: 31s"}, {"idle: 15s", "idle: 16s"}, {"by: model", "by: workflow"}, {"subject: large", "subject: small"}, {"window: day", "window: hour"},
		{"tokens: 1000000", "tokens: 1000001"}, {"money: 100.25", "money: 100.26"}, {"name: ci", "name: c"}, {hexOfA, strings.Repeat("d", 64)}, {"models: [small], ", ""}, {"providers: [local], ", ""},
		{"window: hour, tokens", "window: day, tokens"}, {"tokens: 5000", "tokens: 5001"}, {`money: "1.5"`, `money: "1.6"`}, {"rate: 30", "rate: 31"}, {"2027-01-31", "2027-02-01"}, {"workflow: nightly", "workflow: daily"},
		{"https://llm.example", "https://l.example"}, {"hosts: [llm.example]", "hosts: [l.example]"}, {"name: bot", "name: b"}, {"audience: llm", "audience: l"}, {"cert: cert.pem", "cert: c.pem"},
		{"sign: checkpoint", "sign: each"}, {"environment: ci", "environment: local"}, {":4318", ":4319"}, {"metrics: false", "metrics: true"}, {"prompt: delete", "prompt: remove"}, {"answer: I will", "answer: I shall"},
	} {
		text := strings.Replace(llmFull, change[0], change[1], 1)
		if text == llmFull {
			t.Errorf("%q is not in the file", change[0])
			continue
		}
		if digest(text) == was {
			t.Errorf("%q -> %q is the same governance", change[0], change[1])
		}
	}
	g, err := ParseLLM("l.yaml", []byte(llmMinimal))
	if err != nil {
		t.Fatal(err)
	}
	v, err := g.Governance(func(string) (string, error) { return "", nil })
	if err != nil || v["servers"] != nil || v["kind"] != "llm" {
		t.Errorf("%v, %v", v, err)
	}
}

func TestLoadLLMSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	if _, err := LoadLLM(filepath.Join(t.TempDir(), "none.yaml")); err == nil || !strings.Contains(err.Error(), "there is no configuration of an LLM gateway") {
		t.Error(err)
	}
	path := filepath.Join(t.TempDir(), "any.yaml")
	if err := os.WriteFile(path, []byte(llmMinimal), 0o600); err != nil {
		t.Fatal(err)
	}
	if g, err := LoadLLM(path); err != nil || len(g.Providers) != 1 || !IsGateway(path) {
		t.Errorf("%v, a gateway's: %v", err, IsGateway(path))
	}
}

func TestLLMSchemaPatterns(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../schemas/llm.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, re := range []func() *regexp.Regexp{llmKeyName, amountText, apiVersion, cloudLabel, degree, gatewayServer, workflowName, claimName} {
		quoted, err := json.Marshal(re().String())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(data, quoted) {
			t.Errorf("%s is not in the schema", quoted)
		}
	}
}

func compileLLMSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	for _, name := range []string{"config", "llm"} {
		f, err := os.Open("../../schemas/" + name + ".schema.json")
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(f)
		_ = f.Close() // only read from
		if err == nil {
			err = c.AddResource("https://cabincrew.dev/schemas/"+name+".schema.json", doc)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile("https://cabincrew.dev/schemas/llm.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestLLMMessagesKeepSecrets: a key that was pasted is repeated by no message.
func TestLLMMessagesKeepSecrets(t *testing.T) {
	t.Parallel()
	_, err := ParseLLM("l.yaml", []byte("version: 1\nproviders: {a: {url: 'http://x', key: tellnobody}}\nkeys: [{name: a, sha256: "+hexOfA+"}]\n"))
	if err == nil || strings.Contains(err.Error(), "tellnobody") {
		t.Error(err)
	}
	var e *protocol.Error
	if !errors.As(err, &e) || slices.Contains([]string{"", "tellnobody"}, e.Hint) {
		t.Error(err)
	}
}

// TestLLMExampleOfThePage reads the configuration that docs/gateway-llm.md shows.
func TestLLMExampleOfThePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/gateway-llm.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(page), "```yaml\n")
	text, _, end := strings.Cut(text, "```")
	if !ok || !end {
		t.Fatal("the page shows none")
	}
	if _, err := ParseLLM("docs/gateway-llm.md", []byte(text)); err != nil {
		t.Error(err)
	}
}
