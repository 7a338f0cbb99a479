package engines

import (
	"context"
	"io"
	"time"

	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Spec is one run of an engine.
type Spec struct {
	Argv         []string // as resolved by the orchestrator: Argv[0] is an absolute path
	Workspace    string   // working directory
	ArtifactsDir string
	TempDir      string // private to this run; its path marks the run's processes
	Env          map[string]string
	Input        protocol.EngineInput
	Timeout      time.Duration
	Limits       Limits
	Log          io.Writer // gets stderr, already redacted and bounded by the caller's sink
	Hold         Hold
}

// Hold says how a run is held. The zero value is tier C: not at all.
type Hold struct {
	Tier    string   // of package sandbox
	Sudo    bool     // tier A is had by sudo here
	Require []string // layers without which the run is refused
	// Tools are what the engine may execute beside itself. Without any it has the
	// system's program directories.
	Tools []Tool
	// View composes the workspace without a copy, tier A only. Workspace is then not used.
	View *sandbox.View
	// ReadOnly and Writable are further directories that the engine sees, each as its
	// variable names it.
	ReadOnly, Writable map[string]string
	// Same are directories that the engine sees, read-only, at their own places.
	Same []string
	// Covered are paths below the workspace that the engine must not see, and Kept
	// those that it must not write, in a take-off; relative slash paths. Tier A only.
	Covered, Kept []string
	Hosts         []string // what it may reach through the proxy, tier A only
	Tunnels       []string // "host:port" that it may reach unseen, take-off only
	Root          string   // a directory that takes the place of the system's, of an image
}

// Tool is a program that an engine may execute.
type Tool struct {
	Name   string `json:"name"`   // as the step declares it
	Path   string `json:"path"`   // where it was found
	Digest string `json:"digest"` // of its bytes, or of the directory's files
}

// Isolation is what held an engine and what it tried, as the flight keeps it.
// SPEC: docs/protocol.md 2, isolation.
type Isolation struct {
	Tier        string            `json:"tier"`
	LandlockABI int               `json:"landlock_abi,omitempty"`
	NetNS       bool              `json:"netns,omitempty"`
	Seccomp     string            `json:"seccomp_sha256,omitempty"`
	Missing     []string          `json:"missing"`
	Attempts    []sandbox.Attempt `json:"attempts,omitempty"` // forbidden calls that a layer saw
	Over        string            `json:"over,omitempty"`     // the limit that ended the engine
	Requests    []Request         `json:"requests,omitempty"` // what it asked of the network
	Tools       []Tool            `json:"tools,omitempty"`
}

// Request is one request of an engine to the network.
type Request struct {
	Method   string `json:"method"`
	URL      string `json:"url"`
	Allowed  bool   `json:"allowed"`
	Reason   string `json:"reason,omitempty"` // why it was refused
	Status   int    `json:"status,omitempty"`
	Sent     int64  `json:"sent"`     // bytes
	Received int64  `json:"received"` // bytes
}

// Limits bound what an engine may produce; a zero field means the default of
// internal/limits.
type Limits struct {
	Receipt       int64 // bytes
	Log           int64 // bytes
	Artifacts     int   // count
	ArtifactBytes int64 // bytes of all artifacts of the step
}

// WithDefaults fills zero fields.
func (l Limits) WithDefaults() Limits {
	if l.Receipt == 0 {
		l.Receipt = limits.Receipt
	}
	if l.Log == 0 {
		l.Log = limits.EngineLog
	}
	if l.Artifacts == 0 {
		l.Artifacts = limits.Artifacts
	}
	if l.ArtifactBytes == 0 {
		l.ArtifactBytes = limits.ArtifactBytes
	}
	return l
}

// Result is how a run ended. Receipt holds the raw bytes that the engine gave.
type Result struct {
	Receipt    []byte
	ExitCode   int
	Signal     string
	TimedOut   bool
	LogCut     int64 // bytes of log beyond the limit
	Isolation  Isolation
	Survivors  int
	StdoutOver bool // the receipt was larger than its limit
}

// Runner starts engines.
type Runner interface {
	Run(ctx context.Context, s Spec) (Result, error)
}

// Diagnostic is what a built-in engine says in its receipt of an error.
type Diagnostic struct {
	Code string `json:"code"`
	Exit int    `json:"exit"` // as the exit codes of the program
	Hint string `json:"hint,omitempty"`
}

// Builtin describes an engine that the program holds itself. It is started by
// re-executing the program, so nothing treats it in a special way.
type Builtin struct {
	Name       string
	Version    string
	Summary    string
	Idempotent bool // a take-off that was interrupted may be run again
	Copy       bool // it wants the workspace as a writable copy while it plans
	Git        bool // it reads the repository's objects
}
