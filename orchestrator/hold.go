package orchestrator

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// tier decides how a step's engine is held. Less than the step asks for is a
// refusal: nothing runs.
func (o *Orchestrator) tier(ctx context.Context, s *Setup, step *config.Step) (sandbox.Found, error) {
	if step.Isolation == config.IsolationNone {
		if step.Engine.OCI != "" {
			// Its programs have the paths of this machine's, which would run instead.
			return sandbox.Found{Isolation: sandbox.None()}, protocol.Errorf(protocol.ExitUnreachable, "isolation_unavailable", "step %s is an image, which runs in tier A only", step.ID).
				At(step.Where).WithHint("leave isolation: none out of the step")
		}
		return sandbox.Found{Isolation: sandbox.None()}, nil
	}
	found := o.Isolation(ctx)
	have := found.Isolation
	unavailable := func(format string, args ...any) error {
		return protocol.Errorf(protocol.ExitUnreachable, "isolation_unavailable", format, args...).At(step.Where).
			WithHint("cabincrew doctor tells what this machine can do and why not more; isolation: none runs the engine without any, where a policy allows that")
	}
	switch {
	case have.Tier == sandbox.TierC:
		return found, unavailable("step %s cannot be isolated on this machine (%s)", step.ID, reasons(found))
	case step.Isolation == config.IsolationRequired && have.Tier != sandbox.TierA:
		return found, unavailable("step %s requires isolation, and this machine has tier %s only (%s)", step.ID, have.Tier, reasons(found))
	case step.Engine.OCI != "" && have.Tier != sandbox.TierA:
		return found, unavailable("step %s is an image, which needs tier A, and this machine has tier %s only (%s)", step.ID, have.Tier, reasons(found))
	}
	for _, layer := range s.Config.Sandbox.Require {
		if have.Lacks(layer) {
			return found, unavailable("sandbox.require names %s, and this machine does not have it", layer)
		}
	}
	return found, nil
}

// mayRun asks the policies before an engine is started that nothing holds: what it
// does then is done. They see the step's configuration and the tier, and no
// artifacts. A denial is final; what they would have a person decide is asked later,
// with the plan at hand.
func (p *planner) mayRun(ctx context.Context, step *config.Step) error {
	in := policies.Input{
		Artifacts: []policies.Artifact{}, Config: p.s.Config.Resolved(step), Mode: protocol.FlightPlan,
		Isolation:  isolationInput(engines.Isolation{Tier: sandbox.TierC, Missing: sandbox.None().Missing}),
		Context:    map[string]string{"step_id": step.ID, "target": step.Target, "workflow": p.s.Config.Workflow},
		Governance: policies.Governance{Paths: p.s.Governance.Paths},
	}
	result, err := p.s.Governance.Judge.Evaluate(ctx, in, stamp(p.o.Now()))
	if err != nil {
		return denial(err, step.ID)
	}
	result = p.s.Shown(result)
	decision, err := policies.Decide(result.Findings, p.s.Governance.Decide)
	if err != nil {
		return denial(err, step.ID)
	}
	if violations := result.Violations(); decision == protocol.Deny && len(violations) > 0 {
		return protocol.Errorf(protocol.ExitDenied, "isolation_denied", "step %s says isolation: none, and the policies deny that: %s", step.ID, strings.Join(violations, "; ")).
			At(step.Where).WithHint("leave isolation: none out, and plan on a machine where cabincrew doctor shows tier A or B")
	}
	return nil
}

// reasons tells why better tiers cannot be had.
func reasons(f sandbox.Found) string {
	var list []string
	for _, tier := range sortedKeys(f.Refused) {
		list = append(list, "tier "+tier+": "+f.Refused[tier])
	}
	if len(list) == 0 {
		return "missing: " + strings.Join(f.Isolation.Missing, ", ")
	}
	return strings.Join(list, "; ")
}

// hold says how a run of a step's engine is held.
func (o *Orchestrator) hold(ctx context.Context, s *Setup, step *config.Step, mode protocol.Mode, e engine) (engines.Hold, error) {
	found, err := o.tier(ctx, s, step)
	if err != nil {
		return engines.Hold{}, err
	}
	h := engines.Hold{
		Tier: found.Isolation.Tier, Sudo: found.Sudo, Hosts: step.Hosts, Root: e.root,
		ReadOnly: map[string]string{}, Writable: map[string]string{},
	}
	if h.Tier != sandbox.TierC {
		h.Require = s.Config.Sandbox.Require
	}
	if h.Tools, err = o.tools(ctx, step); err != nil {
		return h, err
	}
	if step.Engine.OCI != "" {
		h.Tools = append(h.Tools, engines.Tool{Name: step.Engine.OCI, Digest: e.digest})
	}
	if e.outside != "" {
		h.Same = append(h.Same, e.outside)
	}
	if e.cache != "" && mode == protocol.FlightPlan {
		// What applies a plan is compiled anew: a cache is native code as it is found.
		h.Writable["CABINCREW_CACHE_DIR"] = e.cache
	}
	if e.builtin.Git {
		gitDir, common, err := workspace.GitDirs(s.Workspace)
		if err != nil {
			return h, err
		}
		if gitDir == "" {
			return h, protocol.Errorf(protocol.ExitUsage, "git_repository", "the workspace is not a git repository, and step %s needs one", step.ID).At(step.Where).
				WithHint("run git init, or check the repository out")
		}
		h.ReadOnly["CABINCREW_GIT_DIR"] = gitDir
		if common != gitDir {
			// The paths in a linked work tree's files hold only where they were written.
			h.Same = append(h.Same, gitDir, common)
		}
	}
	if err := s.sightless(step, e); err != nil || mode != protocol.TakeOff {
		return h, err
	}
	h.Tunnels = step.Tunnels
	if step.TakeOffWorkspace == config.WorkspaceNone {
		return h, nil
	}
	h.Covered = s.Exclude
	h.Kept = slices.DeleteFunc(append([]string{".git"}, s.governanceFiles()...), func(name string) bool {
		// What is not there cannot be kept, and what a link leads to elsewhere must not
		// be shown.
		to, err := filepath.EvalSymlinks(filepath.Join(s.Workspace, filepath.FromSlash(name)))
		return err != nil || !inside(s.Workspace, to)
	})
	return h, nil
}

// sightless refuses an engine that cannot do without the workspace at take-off in a
// step whose take-off sees nothing of it.
func (s *Setup) sightless(step *config.Step, e engine) error {
	if step.TakeOffWorkspace != config.WorkspaceNone {
		return nil
	}
	needs := len(e.files) > 0 || e.builtin.Git || step.Engine.Wasm != "" && !filepath.IsAbs(step.Engine.Wasm)
	for _, tool := range step.Tools {
		needs = needs || filepath.IsAbs(tool) && inside(s.Workspace, tool)
	}
	for _, secret := range step.Secrets {
		needs = needs || secret.File != "" && (!filepath.IsAbs(secret.File) || inside(s.Workspace, secret.File))
	}
	if !needs {
		return nil
	}
	return protocol.Errorf(protocol.ExitUsage, "take_off_workspace", "step %s takes off without the workspace, and its engine, a tool or a secret is a file of it", step.ID).At(step.Where).
		WithHint("leave take_off.workspace: none out, or name a program outside of the workspace")
}

// governanceFiles are the files and directories that decide over flights.
func (s *Setup) governanceFiles() []string {
	out := make([]string, 0, len(s.Governance.Paths))
	for _, p := range s.Governance.Paths {
		out = append(out, strings.TrimSuffix(p, "/"))
	}
	return out
}

// pinned is the digest that a step's image had while it was planned.
func (p *stepPlan) pinned(step *config.Step) string {
	for _, t := range p.isolation.Tools {
		if step.Engine.OCI != "" && t.Name == step.Engine.OCI {
			return t.Digest
		}
	}
	return ""
}

// tools finds the programs that a step declares, with their digests.
func (o *Orchestrator) tools(ctx context.Context, step *config.Step) ([]engines.Tool, error) {
	out := make([]engines.Tool, 0, len(step.Tools))
	for _, name := range step.Tools {
		refuse := func(err error) error {
			return protocol.Errorf(protocol.ExitUsage, "tool_not_found", "the tool %q of step %s cannot be had: %w", name, step.ID, err).
				At(step.Where).WithHint("install it, or name it by an absolute path")
		}
		at := name
		if !filepath.IsAbs(name) {
			var err error
			if at, err = o.Programs.Look(name); err != nil {
				return nil, refuse(err)
			}
		}
		digest, err := toolDigest(ctx, at)
		if err != nil {
			return nil, refuse(err)
		}
		out = append(out, engines.Tool{Name: name, Path: at, Digest: digest})
	}
	return out, nil
}

// toolDigest is the digest of a program, or of all files of a directory.
func toolDigest(ctx context.Context, at string) (string, error) {
	info, err := os.Stat(at)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return fileDigest(ctx, at)
	}
	files, err := workspace.Scan(ctx, at, workspace.Options{Inputs: []string{"**"}, NoIgnore: true})
	if err != nil {
		return "", err
	}
	return hashFiles(files)
}

// discreet removes secret values from what is kept of an engine's requests: it may
// put them anywhere into a URL, a method, or a host that is refused.
func (s *Setup) discreet(i engines.Isolation) engines.Isolation {
	i.Requests = slices.Clone(i.Requests)
	for n := range i.Requests {
		q := &i.Requests[n]
		q.Method, q.URL, q.Reason = s.Redactor.String(q.Method), s.Redactor.String(q.URL), s.Redactor.String(q.Reason)
	}
	return i
}

// held refuses a take-off as a whole where a step's engine could not be held as it
// was planned, or its tools are not there: no step before it shall have been applied.
func (o *Orchestrator) held(ctx context.Context, f *Flight, s *Setup) error {
	if err := s.untracked(); err != nil {
		return err
	}
	for _, id := range f.order() {
		if f.Status.TakenOff[id] {
			continue
		}
		step, _ := s.Config.Step(id) // sameSteps has looked
		if _, err := o.tier(ctx, s, step); err != nil {
			return err
		}
		if _, err := o.tools(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

// tried makes audit events of what the sandbox saw: forbidden calls, the limit
// that ended the engine, and each request to the network.
func (f *Flight) tried(id string, mode protocol.Mode, s *Setup, r engines.Result) []Record {
	var out []Record
	add := func(kind, severity, format string, args ...any) {
		e := f.event(kind, id, s.Redactor.String(fmt.Sprintf(format, args...)))
		e.Severity = severity
		e.Workflow.Mode = string(mode)
		out = append(out, Record{Event: e})
	}
	for _, a := range r.Isolation.Attempts {
		add(protocol.EventError, protocol.SeverityWarning, "the sandbox refused the engine %s, %d times", a.Call, a.Count)
	}
	if over := r.Isolation.Over; over != "" {
		add(protocol.EventError, protocol.SeverityWarning, "the engine was ended: it used more %s than it may", over)
	}
	for _, q := range r.Isolation.Requests {
		if q.Allowed {
			add(protocol.EventEngineComplete, protocol.SeverityInfo, "the engine asked the network: %s %s, status %d, %d bytes sent, %d received", q.Method, q.URL, q.Status, q.Sent, q.Received)
			continue
		}
		add(protocol.EventError, protocol.SeverityWarning, "the proxy refused the engine %s %s (%s)", q.Method, q.URL, q.Reason)
	}
	return out
}
