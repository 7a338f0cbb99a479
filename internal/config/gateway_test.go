package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/cabincrew/action/protocol"
)

const gatewayMinimal = "version: 1\nservers: {files: {command: [server-filesystem, .]}}\n"

var gatewayFull = `version: 1
listen: 127.0.0.1:4000
roots: [., ../shared, /srv/data]
protected: ["*.secret"]
servers:
  files:
    command: [npx, server-filesystem, .]
    dir: work
    env: {DEBUG: "1", PATH: "env:PATH"}
    secrets: {TOKEN: env:FILES_TOKEN, OTHER: file:/run/secrets/other}
    sandbox: required
    write: false
    programs: [../tools]
    roots: [work]
    paths: {read_file: [/path, /options/file], "*": [/cwd]}
    no_paths: {search: [/pattern]}
    timeout: 30s
  api:
    url: https://tools.example/mcp
    ca: ca.pem
    private: true
    headers:
      Authorization: {prefix: "Bearer ", from: env:API_TOKEN}
      X-Key: file:keys/api
  local: {unix: /run/tools.sock, path: /tools}
policies: {bundled: [mcp], rego: [policies/mcp], secrets: {decision: require_approval, role: security}}
rules:
  - {match: {tool: delete_*}, action: require_approval, metadata: {id: no-deletes, role: security, reason: deletes are looked at}}
models: [{name: m, bundled: instruction-injection}]
approvals:
  expire: 5m
  default_role: security
  approvers: [{name: a, roles: [security], key: keys/a.pub}]
secrets: {requests: redact, results: warn}
tools: {lock: tools.lock, new: deny, changed: deny, unpinned: require_approval, role: security}
limits: {message: 1MiB, rate: 600, concurrent: 8, sessions: 10, idle: 5m}
clients:
  url: https://public.example/tools
  hosts: [gateway.example]
  origins: ["https://app.example"]
  tokens: [{name: bot, sha256: ` + hexOfA + `}]
  oidc: [{issuer: https://issuer.example, audience: gateway, jwks: keys.json, claim: email, scopes: [tools]}]
  ca: clients.pem
  cert: /etc/cert.pem
  key: /etc/key.pem
audit: {sign: checkpoint, key: audit.key, sync: each, checkpoints: /mnt/worm/checkpoints}
environment: ci
unknown_methods: deny
denials: result
traces: http://127.0.0.1:4318
metrics: false
`

var hexOfA = strings.Repeat("a", 64)

// TestGatewayReadsEveryKey reads a file with every key and looks at what came of each.
func TestGatewayReadsEveryKey(t *testing.T) {
	t.Parallel()
	g, err := ParseGateway("g.yaml", []byte(gatewayFull))
	if err != nil {
		t.Fatal(err)
	}
	files, api, local := g.Servers[0], g.Servers[1], g.Servers[2]
	for what, ok := range map[string]bool{
		"listen":     g.Listen == "127.0.0.1:4000",
		"roots":      len(g.Roots) == 3 && g.Roots[1] == "../shared",
		"order":      files.Name == "files" && api.Name == "api" && local.Name == "local",
		"child":      len(files.Command) == 3 && files.Dir == "work" && files.Sandbox == IsolationRequired && !files.Write && len(files.Programs) == 1,
		"env":        files.Env["PATH"].From == "PATH" && files.Env["DEBUG"].Literal == "1",
		"secrets":    files.Secrets["TOKEN"].Env == "FILES_TOKEN" && files.Secrets["OTHER"].File == "/run/secrets/other",
		"own roots":  len(files.Roots) == 1 && api.Roots == nil,
		"pointers":   len(files.Paths["read_file"]) == 2 && files.Paths["*"][0] == "/cwd" && files.NoPaths["search"][0] == "/pattern",
		"timeout":    files.Timeout.Duration == 30*time.Second && api.Timeout.Duration == 10*time.Minute,
		"header":     api.Headers["Authorization"].Prefix == "Bearer " && api.Headers["Authorization"].Value.Env == "API_TOKEN" && api.Headers["X-Key"].Value.File == "keys/api",
		"private":    api.Private && api.CA == "ca.pem" && !local.Private,
		"unix":       local.Unix == "/run/tools.sock" && local.Path == "/tools",
		"rules":      len(g.Rules) == 1 && g.Rules[0].Action == "require_approval" && g.Rules[0].Match["tool"] == "delete_*",
		"secretscan": g.Policies.Secrets.Decision == protocol.RequireApproval && g.Policies.Secrets.Role == "security",
		"approvals":  g.Approvals.Expire.Duration == 5*time.Minute && len(g.Approvals.Approvers) == 1,
		"tools":      g.Tools.Lock == "tools.lock" && g.Tools.New == protocol.Deny && g.Tools.Unpinned == protocol.RequireApproval,
		"found":      g.Secrets.Requests == SecretsRedact && g.Secrets.Results == "warn",
		"limits":     g.Limits.Message == 1<<20 && g.Limits.Concurrent == 8 && g.Limits.Idle.Duration == 5*time.Minute,
		"clients":    g.Clients.Tokens[0].Name == "bot" && g.Clients.OIDC[0].Claim == "email" && g.Clients.CA == "clients.pem" && g.Clients.URL == "https://public.example/tools",
		"audit":      g.Audit.Sign == AuditCheckpoint && g.Audit.Sync.Duration == 0 && g.Audit.Sync.Text == "each",
		"rest":       g.Environment == EnvironmentCI && g.UnknownMethods == protocol.Deny && g.Denials == DenialsResult && !g.Metrics,
	} {
		if !ok {
			t.Errorf("%s was not read as it stands: %+v", what, g)
		}
	}
}

// TestGatewayDefaults holds what a short file means.
func TestGatewayDefaults(t *testing.T) {
	t.Parallel()
	g, err := ParseGateway("g.yaml", []byte(gatewayMinimal))
	if err != nil {
		t.Fatal(err)
	}
	if g.Listen != "127.0.0.1:3940" || g.Tools.New != protocol.RequireApproval || g.Tools.Unpinned != protocol.Warn || g.Audit.Sync.Duration != 100*time.Millisecond ||
		g.Approvals.Expire.Duration != 10*time.Minute || g.Policies.AllowWithoutPolicies || !g.Policies.Secrets.Scan || !g.Metrics || g.Servers[0].Sandbox != IsolationNone {
		t.Errorf("%+v", g)
	}
}

// gatewayRefusals are files that are refused, with words of the message. semantic marks
// those that the schema cannot see.
var gatewayRefusals = []struct {
	name, file, want string
	semantic         bool
}{
	{"no servers", "version: 1\n", "servers is missing", false},
	{"empty servers", "version: 1\nservers: {}\n", "servers has no entry", false},
	{"version", "version: 2\nservers: {a: {url: 'http://x'}}\n", "version 2", false},
	{"unknown key", gatewayMinimal + "server: {}\n", "unknown key", false},
	{"two kinds", "version: 1\nservers: {a: {url: 'http://x', command: [x]}}\n", "has 2 of", false},
	{"no kind", "version: 1\nservers: {a: {timeout: 1s}}\n", "has 0 of", false},
	{"env of a URL", "version: 1\nservers: {a: {url: 'http://x', env: {A: b}}}\n", "belongs to command", false},
	{"header of a child", "version: 1\nservers: {a: {command: [x], headers: {A: env:B}}}\n", "is for a server with url or unix", true},
	{"own header", "version: 1\nservers: {a: {url: 'http://x', headers: {Mcp-Session-Id: env:B}}}\n", "the gateway itself decides", true},
	{"pasted secret", "version: 1\nservers: {a: {url: 'http://x', headers: {Authorization: 'Bearer abcdef'}}}\n", "is not a source", false},
	{"header lines", "version: 1\nservers: {a: {url: 'http://x', headers: {A: {from: env:B, prefix: \"x\\r\\ny\"}}}}\n", "no header holds", true},
	{"URL with credentials", "version: 1\nservers: {a: {url: 'http://u:p@x'}}\n", "holds credentials", false},
	{"server's name", "version: 1\nservers: {A B: {url: 'http://x'}}\n", "a server's name", false},
	{"two underscores", "version: 1\nservers: {a__b: {url: 'http://x'}}\n", "a server's name", false},
	{"own name", "version: 1\nservers: {gateway: {url: 'http://x'}}\n", "the gateway's own", false},
	{"long name", "version: 1\nservers: {" + strings.Repeat("a", 33) + ": {url: 'http://x'}}\n", "is too long", false},
	{"listen", gatewayMinimal + "listen: '3940'\n", "is no address", true},
	{"pointer", "version: 1\nservers: {a: {command: [x], paths: {t: [path]}}}\n", "a JSON pointer", false},
	{"origin", gatewayMinimal + "clients: {origins: ['https://x/y']}\n", "is no origin", true},
	{"public URL", gatewayMinimal + "clients: {url: 'https://x/\"a'}\n", "is not a plain URL", false},
	{"token in clear", gatewayMinimal + "clients: {tokens: [{name: a, sha256: abc}]}\n", "a SHA-256 in hex", false},
	{"two tokens of a name", gatewayMinimal + "clients: {tokens: [{name: a, sha256: " + hexOfA + "}, {name: a, sha256: " + hexOfA + "}]}\n", "repeats the name", true},
	{"cert without key", gatewayMinimal + "clients: {cert: c.pem}\n", "only one of cert and key", true},
	{"clients' CA without TLS", gatewayMinimal + "clients: {ca: c.pem}\n", "over TLS only", true},
	{"sign without key", gatewayMinimal + "audit: {sign: each}\n", "only one of sign and key", true},
	{"checkpoints unsigned", gatewayMinimal + "audit: {checkpoints: /x}\n", "needs a key", true},
	{"sync", gatewayMinimal + "audit: {sync: 1h}\n", "out of bounds", true},
	{"action", gatewayMinimal + "rules: [{match: {}, action: drop}]\n", "is unknown", false},
	{"changed tools pass", gatewayMinimal + "tools: {changed: warn}\n", "is unknown", false},
	{"flights' policies", gatewayMinimal + "policies: {explain: true}\n", "for flights only", true},
	{"forge's roles", gatewayMinimal + "approvals: {roles: {a: {}}}\n", "unknown key", false},
}

func TestGatewayRefusals(t *testing.T) {
	t.Parallel()
	schema := compileGatewaySchema(t)
	for _, c := range gatewayRefusals {
		_, err := ParseGateway("g.yaml", []byte(c.file))
		var e *protocol.Error
		if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &e) || e.ExitCode() != protocol.ExitUsage {
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
	for _, file := range []string{gatewayMinimal, gatewayFull} {
		if doc, ok := tree([]byte(file)); !ok || schema.Validate(doc) != nil {
			t.Errorf("the schema refuses %s: %v", file, schema.Validate(doc))
		}
	}
}

// TestGatewayGovernanceCoversEveryKey changes the full file key by key: each change is
// another governance.
func TestGatewayGovernanceCoversEveryKey(t *testing.T) {
	t.Parallel()
	digest := func(text string) string {
		g, err := ParseGateway("g.yaml", []byte(text))
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
	was := digest(gatewayFull)
	for _, change := range [][2]string{
		{":4000", ":4001"}, {"/srv/data", "/srv/date"}, {"*.secret", "*.secrets"}, {"server-filesystem", "server-everything"}, {"dir: work", "dir: w"},
		{`DEBUG: "1"`, `DEBUG: "2"`}, {"env:FILES_TOKEN", "env:F"}, {"sandbox: required", "sandbox: auto"}, {"write: false", "write: true"}, {"../tools", "../tool"}, {"roots: [work]", "roots: [w]"}, {"/options/file", "/options/fil"}, {"[/pattern]", "[/p]"}, {"30s", "31s"},
		{"tools.example/mcp", "tools.example/m"}, {"ca: ca.pem", "ca: c.pem"}, {"private: true", "private: false"}, {`prefix: "Bearer "`, `prefix: "Basic "`},
		{"env:API_TOKEN", "env:API"}, {"tools.sock", "t.sock"}, {"path: /tools", "path: /t"}, {"rego: [policies/mcp]", "rego: [policies]"},
		{"delete_*", "delete"}, {"action: require_approval", "action: deny"}, {"looked at", "looked into"}, {"name: m,", "name: n,"},
		{"expire: 5m", "expire: 6m"}, {"roles: [security]", "roles: [s]"}, {"new: deny", "new: warn"}, {"changed: deny", "changed: require_approval"},
		{"unpinned: require_approval", "unpinned: deny"}, {"1MiB", "2MiB"}, {"requests: redact", "requests: deny"}, {"results: warn", "results: deny"}, {"rate: 600", "rate: 601"}, {"concurrent: 8", "concurrent: 9"},
		{"sessions: 10", "sessions: 11"}, {"idle: 5m", "idle: 6m"}, {"public.example", "p.example"}, {"gateway.example", "g.example"}, {"app.example", "a.example"}, {"name: bot", "name: b"},
		{"issuer.example", "i.example"}, {"audience: gateway", "audience: g"}, {"claim: email", "claim: sub"}, {"clients.pem", "c.pem"},
		{"sign: checkpoint", "sign: each"}, {"sync: each", "sync: 1s"}, {"worm", "w"}, {"environment: ci", "environment: local"},
		{"unknown_methods: deny", "unknown_methods: warn"}, {"denials: result", "denials: error"}, {":4318", ":4319"}, {"metrics: false", "metrics: true"},
	} {
		text := strings.Replace(gatewayFull, change[0], change[1], 1)
		if text == gatewayFull {
			t.Errorf("%q is not in the file", change[0])
			continue
		}
		if digest(text) == was {
			t.Errorf("%q -> %q is the same governance", change[0], change[1])
		}
	}
}

// TestEmptyGatewayConfiguration names who writes one of a gateway, not of flights.
func TestEmptyGatewayConfiguration(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "g.yaml")
	if err := os.WriteFile(path, []byte("# nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := LoadGateway(path)
	var told *protocol.Error
	if !errors.As(err, &told) || told.Code != "config_empty" || !strings.Contains(told.Hint, "gateway mcp import") {
		t.Errorf("%v", err)
	}
}

func TestLoadGatewaySaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	if _, _, err := LoadGateway(filepath.Join(t.TempDir(), "none.yaml")); err == nil || !strings.Contains(err.Error(), "there is no gateway's configuration") {
		t.Error(err)
	}
}

func compileGatewaySchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	for _, name := range []string{"config", "gateway"} {
		f, err := os.Open("../../schemas/" + name + ".schema.json")
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(f)
		_ = f.Close() // only read from
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource("https://cabincrew.dev/schemas/"+name+".schema.json", doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile("https://cabincrew.dev/schemas/gateway.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}
