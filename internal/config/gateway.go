package config

import (
	"time"

	"github.com/cabincrew/action/protocol"
)

// GatewayFile is the name of a gateway's configuration that gateway mcp looks for.
const GatewayFile = ".cabincrew.gateway.yaml"

// Gateway is a valid configuration of the MCP gateway with its defaults filled in.
type Gateway struct {
	Name    string // the file's name as it was given, for messages
	Listen  string // HOST:PORT or unix:PATH
	Servers []GatewayServer
	// Roots are the directories that arguments may name files in; none: any.
	Roots []string
	// Protected are further globs of names that no argument may name.
	Protected []string
	Policies  Policies
	Rules     []protocol.MCPGatewayRule
	Models    []Model
	Secrets   GatewaySecrets
	Approvals Approvals
	Tools     GatewayTools
	Limits    GatewayLimits
	Clients   GatewayClients
	Audit     GatewayAudit
	// Environment is "" (as detected), EnvironmentLocal or EnvironmentCI.
	Environment string
	// UnknownMethods is what is decided of a method that no revision has; "": denied in
	// CI, judged elsewhere.
	UnknownMethods protocol.Decision
	// Denials is how a refused tool call looks to the client.
	Denials string
	// Traces is where OpenTelemetry traces go (OTLP over HTTP); "": nowhere.
	Traces string
	// Metrics says whether /metrics is served.
	Metrics bool
}

// Where a gateway works.
const (
	EnvironmentLocal = "local"
	EnvironmentCI    = "ci"
)

// How a refused tool call looks to the client.
const (
	DenialsError  = "error"  // a JSON-RPC error
	DenialsResult = "result" // a tool's result with isError
)

// GatewayServer is one server behind the gateway: exactly one of Command, URL and Unix
// is set.
type GatewayServer struct {
	Where string // file:line:column, for messages
	Name  string

	Command []string
	Dir     string // that the child starts in, relative to the configuration
	Env     map[string]EnvValue
	Sandbox string // IsolationNone, IsolationAuto or IsolationRequired
	// Programs are files and directories that a child in the sandbox may read and
	// execute beside its roots: where its own code is.
	Programs []string
	Write    bool // whether it may write in its roots, in the sandbox

	URL     string
	Unix    string // path of a socket
	Path    string // of the endpoint behind the socket
	CA      string // a file with certificates that it may show
	Private bool   // whether a public name may lead to a private address
	Headers map[string]GatewayHeader

	Secrets map[string]Secret // of a child's environment
	Roots   []string          // instead of those of the gateway; nil: those
	// Paths are JSON pointers into arguments that name files, by tool ("*": all tools).
	Paths map[string][]string
	// NoPaths are those that name none, whatever they look like.
	NoPaths map[string][]string
	Timeout Duration // of one call
}

// GatewayHeader is a header with a credential for one server.
type GatewayHeader struct {
	Prefix string // "Bearer ", for example
	Value  Secret
}

// GatewayTools says what is done about tools that are not as they were pinned.
type GatewayTools struct {
	Lock     string // path of the lock file, relative to the configuration
	New      protocol.Decision
	Changed  protocol.Decision
	Unpinned protocol.Decision // without a lock file
	Role     string            // that approves
}

// GatewaySecrets says what is done about a secret that is found in a message.
type GatewaySecrets struct {
	Requests string // on its way to a server: a decision, or SecretsRedact
	Results  string // on its way to a client
}

// SecretsRedact takes a secret out and lets the rest go on.
const SecretsRedact = "redact"

// GatewayLimits bound what clients and servers may do.
type GatewayLimits struct {
	Message    int64 // bytes
	Rate       int64 // messages a minute, of one client to one server
	Concurrent int64 // calls under way, of one client
	Sessions   int64
	Idle       Duration
}

// GatewayClients says who may come in.
type GatewayClients struct {
	URL     string   // that they reach the gateway by, without /mcp; "": where it listens
	Hosts   []string // that requests may be for, beside the listener's own
	Origins []string // that pages may come from
	Tokens  []GatewayToken
	OIDC    []GatewayOIDC
	// CA is the file of the authorities that client certificates must come from; "": none
	// are asked for.
	CA        string
	Cert, Key string // of the listener
}

// GatewayToken is a bearer token, known by its digest.
type GatewayToken struct {
	Name   string
	SHA256 string // of the token's bytes, in hex
}

// GatewayOIDC says whose tokens count.
type GatewayOIDC struct {
	Issuer   string
	Audience string
	JWKS     string // a file or URL; "": the issuer's metadata say
	Claim    string // that names the client
	Scopes   []string
}

// GatewayAudit says how the trail is kept.
type GatewayAudit struct {
	Audit

	// Sync is after how long at the most an event is on the disk; 0: before anything
	// else happens.
	Sync Duration
	// Checkpoints is a file, outside of what this host can rewrite, that gets them.
	Checkpoints string
	// Every is how often.
	Every time.Duration
}
