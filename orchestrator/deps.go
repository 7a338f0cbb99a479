package orchestrator

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Dir is the directory of one flight.
type Dir interface {
	ID() string
	Dir() string
	Root() *os.Root
	// WriteFile replaces a file durably and whole.
	WriteFile(path string, data []byte) error
	// ReadFile reads a regular file of no more than most bytes.
	ReadFile(path string, most int64) ([]byte, error)
}

// Record is one WAL entry with the audit event that tells of it, or, with an
// empty Type, an audit event alone.
type Record struct {
	Type  protocol.WALEntryType
	Data  any
	Event protocol.AuditEvent
}

// Journal is the WAL of a flight with its audit log. Append makes the records
// durable, the events before the entries, before it comes back.
type Journal interface {
	Entries() []protocol.WALEntry
	// AuditHead gives how many events there are.
	AuditHead() (events int64)
	Append(at time.Time, records ...Record) error
}

// Programs finds what engines are started with.
type Programs interface {
	// Builtin gives the command line and the digest of a built-in engine.
	Builtin(name string) (b engines.Builtin, argv []string, digest string, ok bool)
	// Module gives the command line that runs a WebAssembly module for at most timeout,
	// and the directory for what is compiled of the module with a digest.
	Module(path, digest string, timeout time.Duration) (argv []string, cache string, err error)
	// Derive makes the evidence of a built-in engine again from its state, and
	// compares. opaque: it cannot, so that the evidence is the engine's word only.
	Derive(ctx context.Context, step *config.Step, artifacts *os.Root) (opaque bool, err error)
	// Image gives the engine of an image or artifact: its root file system, command
	// line, environment and digest. pinned is the digest of an earlier answer, or "".
	Image(ctx context.Context, e config.Engine, pinned string) (Image, error)
	// Look gives the absolute path of a program by its bare name.
	Look(name string) (string, error)
}

// Image is an engine that was shipped as an image.
type Image struct {
	Root   string // directory
	Argv   []string
	Env    map[string]string
	Digest string
}

// ApprovalStatement is what a signed approval says, its signature verified.
type ApprovalStatement struct {
	Request     protocol.ApprovalRequest
	Response    protocol.ApprovalResponse
	FlightToken string
	Code        string
	Role        string
	Fingerprint string // of the key that signed
	PlanBundle  string // digest of the signed plan that it is about too; empty: none
	// Witnesses are what people did on a forge, where they did not sign themselves: then
	// who signs plans has signed.
	Witnesses []Witness
	// CarriedFrom is the plan that people approved, where it is an earlier one.
	CarriedFrom *CarriedFrom
}

// Signatures verifies and makes the signed statements of a flight.
type Signatures interface {
	Verifier
	Signer
}

// Verifier verifies signed statements: signature, signer and subject, not what they say.
type Verifier interface {
	// Approval verifies a response on disk against the manifest's bytes.
	Approval(bundle, manifest []byte) (*ApprovalStatement, error)
	// Plan verifies plan.sigstore.json.
	Plan(bundle, manifest []byte) (*PlanFacts, error)
	// TakeOff verifies take-off.sigstore.json.
	TakeOff(bundle, manifest []byte) (*TakeOffFacts, error)
	// Ended verifies take-off.sigstore.json of a flight whose manifest is not at hand.
	Ended(bundle []byte) (*TakeOffFacts, error)
	// Required says that a flight which is not signed does not verify, whatever its state.
	Required() bool
}

// Signer signs statements.
type Signer interface {
	// Signs says whether plans are signed at all.
	Signs() bool
	// Ready says whether something can be signed now, before what must be signed is done.
	Ready(ctx context.Context) error
	// SignPlan signs the manifest with the facts of the plan.
	SignPlan(ctx context.Context, manifest []byte, p PlanFacts) ([]byte, error)
	// SignApproval signs what people of a forge answered, as the forge told it.
	SignApproval(ctx context.Context, manifest []byte, st ApprovalStatement) ([]byte, error)
	// SignTakeOff signs how a flight ended.
	SignTakeOff(ctx context.Context, manifest []byte, t TakeOffFacts) ([]byte, error)
}

// AuditHead is how far a flight's audit log had come: its lines, their RFC 6962 root,
// and the hash of the last one.
type AuditHead struct {
	Size       uint64
	Root, Last string // digests; Last is empty where there is no line
	Checkpoint string // a signed note that says the same, "" where the log is not signed
}

// AuditSeal signs audit logs, and holds logs against what was signed of them.
type AuditSeal interface {
	// Checkpoint signs how far the log of a flight has come.
	Checkpoint(f Dir, size uint64, root string) (string, error)
	// Opened verifies a checkpoint of a flight's log.
	Opened(f Dir, checkpoint string) (size uint64, root string, err error)
	// Holds verifies the log as it lies on disk.
	Holds(f Dir) (detail string, err error)
}

// Approver is one person of the governance in force.
type Approver struct {
	Name, Email string
	Roles       []string
	Bot         bool
	Fingerprint string
	NotBefore   time.Time // zero: no bound
	NotAfter    time.Time
}

// Governance is everything that judges, as it is in force now.
type Governance struct {
	PolicyDigest string
	Hash         string
	Paths        []string // files that decide over flights, relative to the workspace
	Approvers    []Approver
	Roles        []Role // that people of the forge hold
	Judge        policies.Evaluator
	After        policies.Evaluator // over what take-offs did; nil: nobody
	Decide       policies.AggregateOptions
	// Plain denies names that an engine chose and that hold a secret: they are recorded
	// before anything is judged. nil lets all pass.
	Plain func(ctx context.Context, texts []string) error
}

// Source is what the repository says of the checkout, "" where there is none.
type Source struct {
	HeadCommit string
	Checkout   string // the commit that is checked out: of a change, that of its merge
	// Line is the change in whose line a take-off stands, where the plan is of something
	// else: of a merge queue's group, the change that it merges.
	Line        string
	AuthorEmail string
	// Branch is the branch that the change goes into, or that is checked out.
	Branch string
	// GovernanceCommit is the commit that governance was taken from, "" for the workspace.
	GovernanceCommit string
	// ConfigPath is that of the configuration from the top of the repository.
	ConfigPath string
	// Run is where this command runs; empty outside CI.
	Run Run
	// Labels are the labels of the change, if LabelsKnown.
	Labels      []string
	LabelsKnown bool
}

// Run is a run of a forge's CI, as the platform tells it. Ids are texts: some pass 2^53.
type Run struct {
	Forge        string // such as github
	RepositoryID string // the forge's number
	Repository   string // its name, for people
	Change       string // SPEC: docs/protocol.md 3
	Event        string
	RunID        string
	RunAttempt   string
	BaseCommit   string // the commit that the change goes onto
	MergeTree    string // the tree that was planned on: of the change merged onto its base
}

// Tip is a governance that judges beside that of the plan.
type Tip struct {
	Governance Governance
	Approvals  config.Approvals
	Role       string // the only role whose approvals are counted by it; "": all
}

// Setup is what one command works on.
type Setup struct {
	Config     *config.Config
	ConfigPath string   // slash path relative to the workspace
	Workspace  string   // absolute path
	Exclude    []string // slash paths that are never part of the workspace: the state directory
	Governance Governance
	Source     Source
	// Tip is the governance of the protected ref as it is now, where the flight was
	// planned under an earlier one; the stricter of both counts. nil: there is none.
	Tip *Tip
	// Owners are governances by which the approvals of one role must count too, where
	// nobody knows that what judges the flight was approved. SPEC: docs/protocol.md 8
	Owners []Tip
	// Secrets gives a step's secret values by name for a mode. Env gives its mapped variables.
	Secrets func(s *config.Step, mode protocol.Mode) (map[string]string, error)
	Env     func(s *config.Step) (map[string]string, error)
	// Stats saves hashing what has not changed while planning; nil: none.
	Stats *workspace.Cache
	// Redactor knows every secret value that can be had now.
	Redactor *redact.Redactor
}

// provided looks for every secret and variable that the steps are given, before
// the first step has begun.
func (s *Setup) provided(f *Flight) error {
	for _, id := range f.order() {
		step, _ := s.Config.Step(id) // sameSteps has looked
		if _, err := s.Secrets(step, protocol.TakeOff); err != nil {
			return err
		}
		if _, err := s.Env(step); err != nil {
			return err
		}
	}
	return nil
}

// Progress is one sign of life for a person.
type Progress struct {
	Step    string // "" for the whole flight
	Stage   string // "plan", "seal", "preflight", "take-off"
	Message string
	Done    bool
	Err     error
}

// Orchestrator flies flights. All fields are set once, before use.
type Orchestrator struct {
	Now      func() time.Time
	Rand     io.Reader
	Version  string // of the program
	Runner   engines.Runner
	Programs Programs
	Fence    Fence // nil: none
	// Earlier gives the signed take-offs of flights that are at hand here; nil: none.
	Earlier func(ctx context.Context) ([]TakeOffFacts, error)
	// Before tells of earlier plans of the same change and commit with regard to a flight
	// token; nil: there are none.
	Before func(ctx context.Context, token string) (Sealed, error)
	// AtLeast says whether a version is another one or a later one.
	AtLeast    func(version, least string) bool
	Signatures Signatures
	// AuditRoot gives the RFC 6962 root of the first lines of an audit log, and the hash
	// of the last of them ("" of none).
	AuditRoot func(log io.Reader, lines uint64) (root, last string, err error)
	// Audit signs audit logs; nil: they are not signed.
	Audit AuditSeal
	// Isolation tells the best isolation that this machine offers. It is asked often.
	Isolation func(ctx context.Context) sandbox.Found
	// Temp makes a private directory on the flight's file system.
	Temp   func(pattern string) (dir string, remove func() error, err error)
	Notify func(Progress)
	// Forge tells what people said of the change where it is reviewed; nil: nobody is asked.
	Forge Forge
	// Carry gives the plan of the same change that people approved, where the flight is
	// another plan of it; nil: there is none.
	Carry func(ctx context.Context) (*EarlierPlan, error)
	// InsteadOf is the flight token of a stale plan for which the flight that takes off was
	// planned: it is used up with the flight's own. "": of none.
	InsteadOf string
	// Gate says whether people opened the gates of environments for this take-off; nil:
	// nobody can be asked.
	Gate func(ctx context.Context, environments []string, ask Asked) error
	// Partly says that flights have some steps of the workflow only: then one is behind
	// another only where they share a step.
	Partly bool
	// NoSign leaves signing to a later Sign, perhaps in another process; until
	// then the flight does not take off.
	NoSign bool
	// Unsigned verifies flights without looking at who signed.
	Unsigned bool
	// Approving has Config.Approvals and Governance.Approvers, by which answers are
	// counted where there is no Setup; nil: nobody knows.
	Approving *Setup
	Jobs      int // independent steps at once; 0 means one a processor
}

func (o *Orchestrator) progress(p Progress) {
	if o.Notify != nil {
		o.Notify(p)
	}
}

// stamp gives a time as the protocol writes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
