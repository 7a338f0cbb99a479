package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
)

// Plan runs the engines in flight-plan mode until the flight is PLAN_GENERATED.
// Steps whose engine ended well in an earlier, interrupted run are not run again.
// A failure of an engine ends the flight; an interruption leaves it resumable.
func (o *Orchestrator) Plan(ctx context.Context, f *Flight, s *Setup) error {
	if f.Status.State != protocol.StatePlanRunning {
		if f.Status.State == protocol.StateInit {
			if err := o.append(f, f.enter(protocol.StatePlanRunning, "planning begins")); err != nil {
				return err
			}
		} else {
			return nil
		}
	}
	if err := f.sameSteps(s.Config); err != nil {
		return err
	}
	if err := s.untracked(); err != nil {
		return err
	}
	found, err := s.checkout(ctx, s.Stats)
	if err != nil {
		return err
	}
	p := &planner{ctx: ctx, o: o, f: f, s: s, seen: found, base: newTree(found.files)}
	if step, err := p.run(ctx); err != nil {
		if ctx.Err() != nil {
			return interrupted(ctx)
		}
		if open(err) && protocol.ExitCode(err) != protocol.ExitUsage && !errors.Is(err, protocol.Code("isolation_unavailable")) {
			return err
		}
		// A step that cannot be started as it is configured would fail again, and
		// nothing is lost by ending a flight that has planned nothing.
		return o.Fail(f, step, s.redacted(err))
	}
	return o.append(f, f.enter(protocol.StatePlanGenerated, "all engines have planned"))
}

// open says whether an error leaves the flight as it is, to be tried again:
// wrong use, a stale workspace, something out of reach, an interruption.
func open(err error) bool {
	switch protocol.ExitCode(err) {
	case protocol.ExitUsage, protocol.ExitStale, protocol.ExitUnreachable, protocol.ExitInterrupted, protocol.ExitWaiting:
		return true
	}
	return errors.Is(err, context.Canceled)
}

func interrupted(ctx context.Context) error {
	return protocol.Errorf(protocol.ExitInterrupted, "interrupted", "interrupted: %w", context.Cause(ctx)).
		WithHint("cabincrew resume goes on where this stopped")
}

// planner runs the steps of one flight, independent ones at the same time.
type planner struct {
	ctx   context.Context //nolint:containedctx // lives as long as one call of Plan
	o     *Orchestrator
	f     *Flight
	s     *Setup
	seen  checkout    // before all steps
	base  tree        // its files by path
	ended atomic.Bool // whether a step has ended
	mu    sync.Mutex  // guards the journal and the flight's status
}

type outcome struct {
	step string
	err  error
}

// run gives the first step in plan order that failed, with its error.
func (p *planner) run(ctx context.Context) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	jobs := p.o.Jobs
	if jobs <= 0 {
		jobs = runtime.NumCPU()
	}
	done := map[string]bool{}
	waiting := []string{}
	for _, id := range p.f.order() {
		if p.f.Status.Planned[id] {
			done[id] = true
		} else {
			waiting = append(waiting, id)
		}
	}
	results := make(chan outcome)
	failures := map[string]error{}
	running := 0
	for len(waiting) > 0 || running > 0 {
		for i := 0; i < len(waiting) && running < jobs && len(failures) == 0; {
			id := waiting[i]
			if slices.ContainsFunc(p.f.needs(id), func(n string) bool { return !done[n] }) {
				i++
				continue
			}
			waiting = slices.Delete(waiting, i, i+1)
			running++
			go func() { results <- outcome{id, p.step(ctx, id)} }()
		}
		if running == 0 {
			break
		}
		r := <-results
		p.ended.Store(true)
		running--
		if r.err != nil {
			failures[r.step] = r.err
			cancel()
			continue
		}
		done[r.step] = true
	}
	return p.first(failures)
}

// first picks the error to report: of the earliest step in plan order that failed
// by itself, not because another's failure stopped it.
func (p *planner) first(failures map[string]error) (string, error) {
	var step string
	var err error
	for _, id := range p.f.order() {
		if e := failures[id]; e != nil && (err == nil || errors.Is(err, context.Canceled) && !errors.Is(e, context.Canceled)) {
			step, err = id, e
		}
	}
	return step, err
}

func (p *planner) record(f func() Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.o.append(p.f, f())
}

// step plans one step: compose what it may see, run the engine over a private
// copy, take its artifacts into the flight.
func (p *planner) step(ctx context.Context, id string) (err error) {
	step, _ := p.s.Config.Step(id)
	found, err := p.o.tier(ctx, p.s, step)
	if err != nil {
		return err
	}
	if found.Isolation.Tier == sandbox.TierC {
		if err := p.mayRun(ctx, step); err != nil {
			return err
		}
	}
	p.o.progress(Progress{Step: id, Stage: "plan", Message: "planning"})
	defer func() { p.o.progress(Progress{Step: id, Stage: "plan", Message: "planned", Done: true, Err: err}) }()
	tmp, remove, err := p.o.Temp("plan-" + id + "-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()

	room, err := p.prepare(ctx, step, tmp)
	if err != nil {
		return err
	}
	spec, err := p.spec(ctx, step, room, tmp)
	if err != nil {
		return err
	}
	err = p.record(func() Record {
		e := p.f.stepEnter(id, protocol.StatePlanRunning, protocol.EventEngineStart, "engine starts: "+p.s.Redactor.String(describe(step)))
		e.Event.Workflow.Mode = string(protocol.FlightPlan)
		return e
	})
	if err != nil {
		return err
	}
	before, err := p.s.stamps(ctx, found.Isolation.Tier)
	if err != nil {
		return err
	}
	result, err := p.execute(ctx, id, spec)
	if triedErr := p.tried(id, result); triedErr != nil {
		return errors.Join(err, triedErr)
	}
	if ctx.Err() == nil {
		// However it ended: what it did to the workspace is there.
		if changed := p.realUnchanged(ctx, id, found.Isolation.Tier, before); changed != nil {
			err = errors.Join(changed, err)
		}
	}
	if err != nil {
		return err
	}
	return p.take(ctx, id, spec, result, room)
}

// tried records what the engine tried of the forbidden, and what it asked of the
// network, however it ended.
func (p *planner) tried(id string, result engines.Result) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	records := p.f.tried(id, protocol.FlightPlan, p.s, result)
	if len(records) == 0 {
		return nil
	}
	return p.o.append(p.f, records...)
}

// room is the private copy that an engine plans in.
type room struct {
	dir      string
	composed composed
	engine   engine
	before   []workspace.File
	view     *sandbox.View    // instead of a copy
	keep     []workspace.File // what it shows
	context  map[string]any
}

func (p *planner) prepare(ctx context.Context, step *config.Step, tmp string) (*room, error) {
	earlier, err := p.patches(step.ID)
	if err != nil {
		return nil, err
	}
	shadowDir, dir := filepath.Join(tmp, "shadow"), filepath.Join(tmp, "workspace")
	for _, d := range []string{shadowDir, dir} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, fmt.Errorf("preparing the plan workspace: %w", err)
		}
	}
	if err := shadow(ctx, p.s.Workspace, p.base, earlier, shadowDir); err != nil {
		return nil, err
	}
	c, err := p.compose(step, earlier)
	if err != nil {
		return nil, err
	}
	e, err := p.o.findEngine(ctx, step, "", dir, shadowDir, p.s.Workspace)
	if err != nil {
		return nil, err
	}
	evidence, err := p.evidence(step.ID)
	if err != nil {
		return nil, err
	}
	r := &room{dir: dir, composed: c, engine: e, context: evidence}
	if r.view, err = p.view(ctx, step, r, touched(earlier), shadowDir, tmp); err != nil || r.view != nil {
		return r, err
	}
	if err := p.furnish(ctx, c, touched(earlier), shadowDir, dir); err != nil {
		return nil, err
	}
	if err := copyEngineFiles(e, []string{shadowDir, p.s.Workspace}, dir); err != nil {
		return nil, err
	}
	r.before, err = manifestOf(ctx, dir)
	return r, err
}

// compose gives what a step sees; without patches that is of the checkout as it is.
func (p *planner) compose(step *config.Step, earlier []patched) (composed, error) {
	if len(earlier) == 0 {
		return seen(p.seen.files, step.Inputs)
	}
	c, _, err := compose(p.base, step.Inputs, earlier)
	return c, err
}

// furnish copies what a step may see: files that earlier patches touch from the
// shadow, all others from the checkout.
func (p *planner) furnish(ctx context.Context, c composed, changed map[string]bool, shadowDir, dir string) error {
	made, err := manifestOf(ctx, shadowDir)
	if err != nil {
		return err
	}
	inShadow := newTree(made)
	var plain, fromPatch []workspace.File
	for _, f := range c.files {
		if !changed[f.Path] {
			plain = append(plain, f)
			continue
		}
		found, ok := inShadow[f.Path]
		if !ok || found.Digest != f.Digest || found.Letter != f.Letter {
			return integrity("patch_invalid", "the patches do not give file %q as they name it", f.Path)
		}
		fromPatch = append(fromPatch, found)
	}
	if err := workspace.Copy(ctx, p.s.Workspace, plain, dir); err != nil {
		return err
	}
	return workspace.Copy(ctx, shadowDir, fromPatch, dir)
}

// manifestOf lists everything in a private copy, ignored or not.
func manifestOf(ctx context.Context, dir string) ([]workspace.File, error) {
	return workspace.Scan(ctx, dir, workspace.Options{Inputs: []string{"**"}, NoIgnore: true})
}

// patches gives the patch artifacts of the steps that a step needs, in plan order.
func (p *planner) patches(id string) ([]patched, error) {
	var list []patched
	for _, n := range p.f.needs(id) {
		found, err := p.f.patchesOf(n)
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	return list, nil
}

func (p *planner) spec(ctx context.Context, step *config.Step, r *room, tmp string) (engines.Spec, error) {
	run, artifacts := filepath.Join(tmp, "run"), filepath.Join(tmp, "artifacts")
	for _, d := range []string{run, artifacts} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return engines.Spec{}, fmt.Errorf("preparing the engine's directories: %w", err)
		}
	}
	spec, err := p.o.specOf(ctx, p.s, step, protocol.FlightPlan, r.engine)
	if err != nil {
		return spec, err
	}
	spec.Workspace, spec.TempDir, spec.ArtifactsDir = r.dir, run, artifacts
	spec.Hold.View = r.view
	spec.Input.Meta = protocol.EngineMeta{WorkflowID: p.f.ID(), StepID: step.ID}
	spec.Input.Context = r.context
	spec.Input.Orchestrator = &protocol.EngineOrchestrator{WorkspaceHash: r.composed.hash}
	return spec, nil
}

// specOf fills what a run has in both modes.
func (o *Orchestrator) specOf(ctx context.Context, s *Setup, step *config.Step, mode protocol.Mode, e engine) (engines.Spec, error) {
	secrets, err := s.Secrets(step, mode)
	if err != nil {
		return engines.Spec{}, err
	}
	env, err := s.Env(step)
	if err != nil {
		return engines.Spec{}, err
	}
	hold, err := o.hold(ctx, s, step, mode, e)
	if err != nil {
		return engines.Spec{}, err
	}
	for name, value := range e.env {
		if _, mapped := env[name]; !mapped {
			env[name] = value
		}
	}
	given := map[string]any{}
	for name, value := range secrets {
		given[name] = value
	}
	return engines.Spec{
		Argv: e.argv, Env: env, Timeout: step.Timeout.Duration,
		Limits: limitsOf(step), Hold: hold,
		Input: protocol.EngineInput{
			ProtocolVersion: protocol.ProtocolVersion, Mode: mode, Config: step.EngineConfig(),
			Secrets: given, AllowedSecrets: sortedKeys(secrets),
		},
	}, nil
}

func limitsOf(step *config.Step) engines.Limits {
	return engines.Limits{
		Receipt: step.Limits.Receipt, Log: step.Limits.Log,
		Artifacts: int(step.Limits.Artifacts), ArtifactBytes: step.Limits.ArtifactBytes,
	}
}

// execute runs the engine with its log going, redacted, into the flight.
func (p *planner) execute(ctx context.Context, id string, spec engines.Spec) (engines.Result, error) {
	root := p.f.Root()
	if err := root.RemoveAll(stepPath(id)); err != nil { // what an interrupted run left
		return engines.Result{}, fmt.Errorf("preparing the step's directory: %w", err)
	}
	if err := root.MkdirAll(stepPath(id, artifactsDir), 0o755); err != nil {
		return engines.Result{}, fmt.Errorf("preparing the step's directory: %w", err)
	}
	return runLogged(ctx, p.o.Runner, p.f, p.s, stepPath(id, logFile), spec)
}

// runLogged runs an engine with its log going, redacted, into a file of the flight.
func runLogged(ctx context.Context, r engines.Runner, f *Flight, s *Setup, log string, spec engines.Spec) (_ engines.Result, err error) {
	file, err := f.Root().OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return engines.Result{}, fmt.Errorf("opening the engine's log: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := s.Redactor.Writer(file)
	spec.Log = w
	result, runErr := r.Run(ctx, spec)
	if result.LogCut > 0 {
		_, _ = fmt.Fprintf(w, "\n[%d further bytes of log were cut off]\n", result.LogCut) // Close tells of errors
	}
	return result, errors.Join(runErr, w.Close())
}

// take accepts or refuses what the engine gave and stores it.
func (p *planner) take(ctx context.Context, id string, spec engines.Spec, result engines.Result, r *room) error {
	receipt, err := engines.ReadReceipt(result, protocol.FlightPlan)
	if err != nil {
		return r.engine.failure(err, result)
	}
	detector := p.s.Redactor.Detector()
	_, _ = detector.Write(result.Receipt) // a detector never fails
	if found := detector.Found(); found != "" {
		return protocol.Errorf(protocol.ExitDenied, "receipt_secret", "the receipt holds the value of a secret (%s)", found).At("step " + id)
	}
	if err := p.unchanged(ctx, id, r); err != nil {
		return err
	}
	from, err := openArtifacts(id, spec.ArtifactsDir)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // only read
	to, err := p.f.Root().OpenRoot(stepPath(id, artifactsDir))
	if err != nil {
		return fmt.Errorf("opening the flight's artifacts: %w", err)
	}
	defer func() { _ = to.Close() }() // files are closed one by one
	c := engines.Collector{Limits: spec.Limits, Secrets: p.s.Redactor, Step: id}
	artifacts, err := c.Collect(ctx, from, to, receipt.Artifacts)
	if err == nil {
		err = p.plain(ctx, id, receipt, artifacts)
	}
	if err != nil {
		// What was refused is not kept: it may hold a secret.
		return errors.Join(err, p.f.Root().RemoveAll(stepPath(id, artifactsDir)))
	}
	return p.completed(id, r, result, receipt, artifacts)
}

// openArtifacts opens the directory that an engine wrote its artifacts into. The
// engine may have put something else in its place.
func openArtifacts(id, dir string) (*os.Root, error) {
	refuse := func(err error) error {
		return protocol.Errorf(protocol.ExitFailure, "artifact_unreadable", "the artifacts directory cannot be read: %w", err).
			At("step " + id).WithHint("an engine leaves CABINCREW_ARTIFACTS_DIR where it is")
	}
	before, err := os.Lstat(dir)
	if err != nil {
		return nil, refuse(errors.Unwrap(err))
	}
	if !before.IsDir() {
		return nil, refuse(errors.New("it is not a directory any more"))
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, refuse(errors.Unwrap(err))
	}
	if after, err := root.Stat("."); err != nil || !os.SameFile(before, after) {
		_ = root.Close() // only read
		return nil, refuse(errors.New("it was exchanged"))
	}
	return root, nil
}

func isolationOf(i engines.Isolation) engines.Isolation {
	if i.Missing == nil {
		i.Missing = []string{}
	}
	return i
}

// redacted removes secret values from an error's own texts, before it is
// recorded or shown: engines choose names and messages that errors repeat.
func (s *Setup) redacted(err error) error {
	if s.Redactor.Empty() || err == nil || s.Redactor.String(err.Error()) == err.Error() {
		return err
	}
	var e *protocol.Error
	if !errors.As(err, &e) {
		return errors.New(s.Redactor.String(err.Error()))
	}
	clean := *e
	clean.Message, clean.Where, clean.Hint = s.Redactor.String(e.Message), s.Redactor.String(e.Where), s.Redactor.String(e.Hint)
	if e.Err != nil {
		clean.Err = errors.New(s.Redactor.String(e.Err.Error()))
	}
	return &clean
}

func describe(step *config.Step) string {
	if step.Engine.Use != "" {
		return "built-in " + step.Engine.Use
	}
	return fmt.Sprintf("%q", step.Engine.Run)
}
