package config

import (
	"slices"
	"time"

	"github.com/cabincrew/action/protocol"
)

// FileName is the name of the configuration in a workspace.
const FileName = ".cabincrew.yaml"

// Version is the version of the format that this package reads.
const Version = 1

// Config is a valid configuration with its defaults filled in.
type Config struct {
	Name      string // the file's name as it was given to Parse or Load, for messages
	Workflow  string
	Steps     []Step // in the order of the file; see PlanOrder
	Policies  Policies
	Rules     []Rule
	Models    []Model
	After     After
	Approvals Approvals
	Signing   Signing
	Audit     Audit
	Retention Retention
	Sandbox   Sandbox
	Storage   Storage
	TakeOff   TakeOff
	Checks    string // how many checks a change gets: "single" or "per-step"
	Comment   bool   // whether the report is a comment of the change too
	// GovernanceRefs are the branches whose tips may govern; empty: the default branch.
	GovernanceRefs []string
	// MinVersion is the oldest version of the program whose plans take off; "": any.
	MinVersion string
}

// Sandbox says how engines must be held.
type Sandbox struct {
	Require []string // layers without which nothing runs
	Sudo    string   // "auto" or "never"
}

// Whether sudo may be asked to start the sandbox's helper.
const (
	SudoAuto  = "auto"  // on a hosted CI runner, where it needs no password
	SudoNever = "never" // not at all
)

// What a step's take-off sees of the workspace.
const (
	WorkspaceFull = "full" // all of it
	WorkspaceNone = "none" // nothing: what it does is decided by what was planned alone
)

// Step is one step of the workflow.
type Step struct {
	Where      string // file:line:column, for messages
	ID         string
	Needs      []string
	Engine     Engine
	Config     map[string]any // of an engine that is run; one that is used has Engine.With
	Inputs     []string       // globs; empty means everything that is not ignored
	Env        map[string]EnvValue
	Secrets    map[string]Secret
	Timeout    Duration
	Target     string
	Idempotent bool // the explicit setting, or after Resolve the built-in engine's
	Isolation  string
	Limits     Limits
	Hosts      []string // that the engine may reach through the proxy
	Tunnels    []string // host:port that it may reach unseen in take-off
	Tools      []string // programs that it may execute; none means the system's
	Model      string
	// TakeOffWorkspace is what take-off sees of the workspace.
	TakeOffWorkspace string

	engineAt      string // place of the engine's name
	idempotentSet bool
}

// Engine says what a step runs: exactly one of Use, Run, Wasm and OCI is set.
type Engine struct {
	Use  string         // the name of a built-in engine
	With map[string]any // its configuration
	Run  []string       // the command line of an engine of one's own

	Wasm    string   // the file of a WebAssembly module
	OCI     string   // the reference of an image or artifact
	Args    []string // of a module; of an image instead of its own
	Layout  string   // a directory to take the image from, instead of a registry
	Resolve bool     // whether a tag may be followed while planning
}

// EnvValue is one environment variable of a step: a literal, or the name of a
// variable of the program's own environment.
type EnvValue struct {
	Literal string
	From    string // the source variable, empty for a literal
}

// Text gives the value as the file has it.
func (v EnvValue) Text() string {
	if v.From != "" {
		return sourceEnv + v.From
	}
	return v.Literal
}

// Secret is one secret of a step. Its value is not here.
// SPEC: docs/protocol.md 2
type Secret struct {
	Env  string // the source variable, or
	File string // the source file: slash path relative to the configuration, or absolute
	Plan bool   // whether the engine gets it in flight-plan too
}

// Source gives the source as the file has it.
func (s Secret) Source() string {
	if s.File != "" {
		return sourceFile + s.File
	}
	return sourceEnv + s.Env
}

const (
	sourceEnv  = "env:"
	sourceFile = "file:"
)

// The isolation settings of a step.
const (
	IsolationAuto     = "auto"     // the best tier that this machine offers, A or B
	IsolationRequired = "required" // tier A or nothing
	IsolationNone     = "none"     // not isolated at all, tier C; policies judge that
)

// ModelNone is the model of a step that names none.
const ModelNone = "none"

// Limits are the caps of one step. Sizes are in bytes.
type Limits struct {
	Receipt       int64
	Log           int64
	Artifacts     int64 // a count
	ArtifactBytes int64
}

// Duration is a length of time together with how the file writes it.
type Duration struct {
	time.Duration
	Text string
}

// Policies says who judges a plan and how the judgements are put together.
// SPEC: docs/protocol.md 6
type Policies struct {
	Aggregation          protocol.Aggregation
	CustomRule           string   // for the aggregation "custom"
	Bundled              []string // names of bundled sets
	Rego                 []string // clean slash paths of directories, relative to the configuration
	AllowWithoutPolicies bool
	Sources              []Source
	Data                 map[string]any // instead of values of the sets' data files
	Timeout              Duration       // of one policy
	Explain              bool           // whether reports tell how each decision came about
	Secrets              SecretScan
	Exemptions           []Exemption
}

// How an approval must name what it approves. SPEC: docs/protocol.md 7
const (
	BindingAuto = "auto" // by the code where the protocol asks for it
	BindingCode = "code" // always by the code
)

// Approvals says who may approve. SPEC: docs/protocol.md 7
type Approvals struct {
	Expire       Duration
	DefaultRole  string
	SelfApproval bool
	Binding      string
	Approvers    []Approver
	Roles        []Role // held on a forge, in the order of the file
	Distinct     bool   // one person approves for one role only
	CarryOver    string
	Environments []string // of the forge, that must have been approved
	BreakGlass   BreakGlass
}

// Approver is a person (or a bot) with the roles that a key of theirs speaks for.
type Approver struct {
	Where     string // file:line:column, for messages
	Name      string
	Email     string
	Roles     []string
	Key       string // clean slash path of the public key, relative to the configuration
	Bot       bool
	NotBefore time.Time // zero if not given, as NotAfter
	NotAfter  time.Time
}

// HasRole says whether the approver holds a role.
func (a Approver) HasRole(role string) bool { return slices.Contains(a.Roles, role) }

// Retention says what prune keeps of closed flights; 0 means no bound.
type Retention struct {
	Days    int64
	Flights int64
}

// Step gives the step of an id.
func (c *Config) Step(id string) (*Step, bool) {
	for i := range c.Steps {
		if c.Steps[i].ID == id {
			return &c.Steps[i], true
		}
	}
	return nil, false
}

// EngineConfig is what EngineInput.config carries for this step.
func (s *Step) EngineConfig() map[string]any {
	if s.Engine.Use != "" {
		return s.Engine.With
	}
	return s.Config
}
