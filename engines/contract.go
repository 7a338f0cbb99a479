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
	Isolation  sandbox.Isolation
	Survivors  int
	StdoutOver bool // the receipt was larger than its limit
}

// Runner starts engines.
type Runner interface {
	Run(ctx context.Context, s Spec) (Result, error)
}

// Builtin describes an engine that the program holds itself. It is started by
// re-executing the program, so nothing treats it in a special way.
type Builtin struct {
	Name       string
	Version    string
	Summary    string
	Idempotent bool // a take-off that was interrupted may be run again
}
