package orchestrator

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
)

// Names of the files of a flight. SPEC: docs/protocol.md 3 and 5.
const (
	FlightFile     = "flight.json"
	ManifestFile   = "plan-manifest.json"
	PlanBundle     = "plan.sigstore.json"
	receiptFile    = "receipt.json"
	tokenFile      = "plan-token.json"
	preflightFile  = "preflight.json"
	isolationFile  = "isolation.json"
	logFile        = "engine.log"
	artifactsDir   = "artifacts"
	takeoffReceipt = "takeoff-receipt.json"
	takeoffLog     = "takeoff.log"
)

// FlightFormat is the version of the flight directory that this program writes.
const FlightFormat = "1"

// Info is flight.json: what a flight is, fixed when it begins.
type Info struct {
	Format     string     `json:"format"`
	WorkflowID string     `json:"workflow_id"`
	Workflow   string     `json:"workflow"`
	ConfigPath string     `json:"config_path"`
	CabinCrew  string     `json:"cabincrew"`
	CreatedAt  string     `json:"created_at"`
	Steps      []InfoStep `json:"steps"`
}

// InfoStep is one step in plan order.
type InfoStep struct {
	StepID string   `json:"step_id"`
	Needs  []string `json:"needs"`
}

// Flight is a flight that is open for a command.
type Flight struct {
	Dir
	Journal Journal // nil where the flight is only read
	Info    Info
	Status  Status
	// Ahead holds the types of audit events whose WAL entries are missing: the
	// last write was interrupted, or the WAL was cut.
	Ahead []string
	// Recovered tells what was cut off when the flight was opened, "" for nothing.
	Recovered string

	// changed are the paths that take-offs of this process changed, by step.
	changed map[string][]string
	// saw are the files that steps saw whose engines this process ran.
	saw map[string][]workspace.File
}

// stepPath gives the path of a file of a step in the flight's directory.
func stepPath(step string, parts ...string) string {
	return path.Join(append([]string{"steps", step}, parts...)...)
}

// Load reads flight.json and replays the WAL.
func Load(dir Dir, journal Journal, entries []protocol.WALEntry) (*Flight, error) {
	f := &Flight{Dir: dir, Journal: journal}
	raw, err := dir.ReadFile(FlightFile, limits.FlightFile)
	if err != nil {
		return nil, integrity("flight_unreadable", "%w", err).At(FlightFile)
	}
	if err := readOwn(raw, &f.Info); err != nil {
		return nil, integrity("flight_malformed", "%w", err).At(FlightFile)
	}
	if f.Info.Format != FlightFormat {
		return nil, integrity("flight_format", "the flight has format %q, this program reads %q", f.Info.Format, FlightFormat).
			WithHint("use a version of cabincrew that knows this format")
	}
	if f.Info.WorkflowID != dir.ID() {
		return nil, integrity("flight_id", "flight.json names flight %q, its directory %q", f.Info.WorkflowID, dir.ID()).At(FlightFile)
	}
	if len(f.Info.Steps) == 0 {
		return nil, integrity("flight_malformed", "flight.json names no step").At(FlightFile)
	}
	for i, s := range f.Info.Steps {
		if !protocol.ValidStepID(s.StepID) || slices.ContainsFunc(f.Info.Steps[:i], func(x InfoStep) bool { return x.StepID == s.StepID }) {
			return nil, integrity("flight_malformed", "step id %q is not allowed or there twice", s.StepID).At(FlightFile)
		}
	}
	if f.Status, err = Replay(entries); err != nil {
		return nil, err
	}
	if got := protocol.Digest(raw); f.Status.Digests[FlightFile] != got {
		return nil, integrity("flight_changed", "flight.json has digest %s, the WAL says %s", got, f.Status.Digests[FlightFile]).At(FlightFile)
	}
	return f, nil
}

// readOwn reads one of our own documents: strict and in canonical form.
func readOwn(raw []byte, v any) error {
	exact, err := protocol.DecodeExact(raw, v)
	if err != nil || exact {
		return err
	}
	again, err := protocol.Canonical(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(raw, again) {
		return fmt.Errorf("not in canonical form, or with fields missing")
	}
	return nil
}

func integrity(code, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitIntegrity, code, format, args...)
}

// Begin writes flight.json and the first entries of a new flight.
func (o *Orchestrator) Begin(dir Dir, journal Journal, s *Setup) (*Flight, error) {
	now := o.Now()
	f := &Flight{Dir: dir, Journal: journal}
	f.Info = Info{
		Format: FlightFormat, WorkflowID: dir.ID(), Workflow: s.Config.Workflow, ConfigPath: s.ConfigPath,
		CabinCrew: o.Version, CreatedAt: stamp(now),
	}
	for _, id := range s.Config.PlanOrder() {
		step, _ := s.Config.Step(id) // PlanOrder names steps that are there
		needs := slices.Sorted(slices.Values(step.Needs))
		if needs == nil {
			needs = []string{}
		}
		f.Info.Steps = append(f.Info.Steps, InfoStep{StepID: id, Needs: needs})
	}
	raw, err := protocol.Canonical(f.Info)
	if err != nil {
		return nil, fmt.Errorf("writing flight.json: %w", err)
	}
	if err := dir.WriteFile(FlightFile, raw); err != nil {
		return nil, err
	}
	err = o.append(f,
		Record{protocol.WALWorkflowStarted, protocol.WorkflowStartedData{InitialState: protocol.StateInit},
			f.event(protocol.EventStateTransition, "", "flight begins: workflow "+s.Config.Workflow)},
		f.artifactRecord(FlightFile, protocol.Digest(raw), "flight", "", protocol.EventEnvironmentPrepared, "flight.json is fixed"),
		f.enter(protocol.StatePlanRunning, "planning begins"),
	)
	return f, err
}

// append makes records durable and replays them into the flight's status.
func (o *Orchestrator) append(f *Flight, records ...Record) error {
	if err := f.Status.allows(records); err != nil {
		return err
	}
	if err := f.Journal.Append(o.Now(), records...); err != nil {
		return err
	}
	status, err := Replay(f.Journal.Entries())
	if err != nil {
		return err
	}
	f.Status = status
	return nil
}

// event makes an audit event of this flight.
func (f *Flight) event(kind, step, message string) protocol.AuditEvent {
	return protocol.AuditEvent{
		EventType: kind, Severity: protocol.SeverityInfo, Message: message,
		Workflow:      &protocol.AuditWorkflow{WorkflowID: f.ID(), StepID: step},
		WorkflowState: string(f.Status.State),
	}
}

// enter makes the record of the whole flight entering a state.
func (f *Flight) enter(state protocol.State, message string) Record {
	e := f.event(protocol.EventStateTransition, "", message)
	e.WorkflowState = string(state)
	switch state {
	case protocol.StateTakeoffRunning:
		e.EventType = protocol.EventTakeoffStart
	case protocol.StateExecutionComplete:
		e.EventType = protocol.EventTakeoffComplete
	}
	return Record{protocol.WALStepStarted, protocol.StepStartedData{StepID: protocol.WorkflowStep, StepType: string(state)}, e}
}

// stepEnter makes the record of one step entering a state.
func (f *Flight) stepEnter(step string, state protocol.State, kind, message string) Record {
	e := f.event(kind, step, message)
	e.WorkflowState = string(state)
	return Record{protocol.WALStepStarted, protocol.StepStartedData{StepID: step, StepType: string(state)}, e}
}

func (f *Flight) artifactRecord(id, digest, kind, step, event, message string) Record {
	e := f.event(event, step, message)
	e.Artifacts = []protocol.AuditArtifact{{Name: id, Hash: digest}}
	return Record{protocol.WALArtifactCreated, protocol.ArtifactCreatedData{ArtifactID: id, ArtifactHash: digest, ArtifactType: kind}, e}
}

// Fail ends a flight. The cause becomes part of the record; it is given back
// joined with what went wrong in recording it.
func (o *Orchestrator) Fail(f *Flight, step string, cause error) error {
	if f.Status.State.Terminal() {
		return cause
	}
	e := f.event(protocol.EventWorkflowFailure, step, cause.Error())
	e.WorkflowState, e.Severity = string(protocol.StateFailed), protocol.SeverityError
	if protocol.ExitCode(cause) == protocol.ExitIntegrity {
		e.Severity = protocol.SeverityCritical
	}
	err := o.append(f, f.enter(protocol.StateFailed, "the flight failed"),
		Record{protocol.WALWorkflowFailed, protocol.WorkflowFailedData{Error: failure(cause), FailedStep: step}, e})
	if err == nil && protocol.ExitCode(cause) != protocol.ExitIntegrity {
		// A directory that does not verify says nothing of the flight itself: a
		// tampered copy must not end the true one.
		err = o.end(f)
	}
	if err != nil {
		return fmt.Errorf("%w (and the failure could not be recorded: %w)", cause, err)
	}
	return cause
}

// failure gives the text by which the WAL remembers a failure: with its code and
// exit code, so that a later command ends as the one that failed did.
func failure(cause error) string {
	return fmt.Sprintf("%s [exit %d]", cause.Error(), protocol.ExitCode(cause))
}

// failureExit reads the exit code of a failure that the WAL remembers.
func failureExit(text string) int {
	at := strings.LastIndex(text, " [exit ")
	if at < 0 {
		return protocol.ExitFailure
	}
	var code int
	if _, err := fmt.Sscanf(text[at:], " [exit %d]", &code); err != nil || code <= 0 || code > protocol.ExitInterrupted {
		return protocol.ExitFailure
	}
	return code
}

// order gives the step ids in plan order.
func (f *Flight) order() []string {
	ids := make([]string, len(f.Info.Steps))
	for i, s := range f.Info.Steps {
		ids[i] = s.StepID
	}
	return ids
}

// needs gives the steps that a step needs, also through others, in plan order.
func (f *Flight) needs(step string) []string {
	direct := map[string][]string{}
	for _, s := range f.Info.Steps {
		direct[s.StepID] = s.Needs
	}
	seen := map[string]bool{}
	for queue := slices.Clone(direct[step]); len(queue) > 0; queue = queue[1:] {
		if !seen[queue[0]] {
			seen[queue[0]] = true
			queue = append(queue, direct[queue[0]]...)
		}
	}
	return slices.DeleteFunc(f.order(), func(id string) bool { return !seen[id] })
}

// needed says whether another step needs this one.
func (f *Flight) needed(step string) bool {
	return slices.ContainsFunc(f.Info.Steps, func(s InfoStep) bool { return slices.Contains(s.Needs, step) })
}

// sameSteps refuses a configuration whose steps are not those of the flight.
func (f *Flight) sameSteps(c *config.Config) error {
	if !slices.Equal(c.PlanOrder(), f.order()) || c.Workflow != f.Info.Workflow {
		return protocol.Errorf(protocol.ExitStale, "config_changed",
			"the configuration now has workflow %s with steps [%s]; the flight has workflow %s with steps [%s]",
			c.Workflow, strings.Join(c.PlanOrder(), ", "), f.Info.Workflow, strings.Join(f.order(), ", ")).
			WithHint("plan again with cabincrew flight-plan")
	}
	return nil
}

// Expired says whether an approval request made at this time is past its time.
func expired(requested, expire string, length time.Duration, now time.Time) (bool, time.Time, error) {
	at, err := time.Parse(time.RFC3339, requested)
	if err != nil {
		return true, time.Time{}, fmt.Errorf("time %q (expiry %s): %w", requested, expire, err)
	}
	end := at.Add(length)
	return now.After(end), end, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// GovernanceCommit gives the commit that the governance of a sealed flight came
// from, "" for the workspace. It is what the flight says, not yet verified.
func (f *Flight) GovernanceCommit() (commit string, sealed bool, err error) {
	d, sealed, err := f.Derived()
	return d.GovernanceCommit, sealed, err
}

// Derived gives what the sealing side found out of the change. It is what the flight
// says, not yet verified.
func (f *Flight) Derived() (d Derived, sealed bool, err error) {
	if f.Status.Digests[ManifestFile] == "" || len(f.order()) == 0 {
		return Derived{}, false, nil
	}
	r, err := f.readReport(f.order()[0])
	return r.Derived, err == nil, err
}
