package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/file"
)

// replayFlags are those of policy replay.
type replayFlags struct {
	flights, against, format string
	exitCode, all            bool
}

func (a *app) policyReplayCommand() *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use: "replay --flights DIR --against NEW", Short: "Ask other policies about recorded flights, and tell which decisions would change", Args: cobra.NoArgs,
		Long: `Asks NEW about every step of the sealed flights in DIR and tells which decisions
would be others, and by which findings. Nothing is recorded.

DIR is a state directory, a directory of flight directories, or one flight's
directory. NEW is a configuration file, whose whole governance then judges, or a
directory of policies or the name of a bundled set, which then judges alone.

Flights are verified first; one that does not verify is told and left out, and the
exit code is 5 then. A flight's directory does not hold everything that policies
are told: of the workspace and the change nothing is known, and a step's
configuration only if the one of --config, or NEW, is still the recorded one.`,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			if f.flights == "" || f.against == "" {
				return usageError("usage", "policy replay needs --flights and --against").
					WithHint("cabincrew policy replay --flights .cabincrew --against policies-new/")
			}
			if err := a.policyFormat(&f.format); err != nil {
				return err
			}
			return a.policyReplay(cmd.Context(), f)
		}),
	}
	cmd.Flags().StringVar(&f.flights, "flights", "", "directory of recorded flights")
	cmd.Flags().StringVar(&f.against, "against", "", "configuration file, policy directory or bundled set to judge with")
	cmd.Flags().BoolVar(&f.exitCode, "exit-code", false, "exit 1 if a decision would change")
	cmd.Flags().BoolVar(&f.all, "all", false, "also tell steps whose decision stays, but for other findings")
	formatFlag(cmd, &f.format)
	return cmd
}

// replay is the report of policy replay.
type replay struct {
	Against   string           `json:"against"`
	Flights   []replayedFlight `json:"flights"`
	Steps     int              `json:"steps"`     // that were judged
	Changed   int              `json:"changed"`   // whose decision, or whose roles, would be others
	Unchanged int              `json:"unchanged"` // the others,
	Shifted   int              `json:"shifted"`   // and how many of those by other findings
	Skipped   int              `json:"skipped"`   // flights that were never sealed
	Failed    int              `json:"failed"`    // flights that do not verify
}

// What became of a flight.
const (
	replayDone    = "replayed"
	replaySkipped = "skipped"
	replayFailed  = "failed"
)

type replayedFlight struct {
	Flight   string                     `json:"flight"`
	Dir      string                     `json:"dir"`
	Workflow string                     `json:"workflow,omitempty"`
	Status   string                     `json:"status"`
	Error    *orchestrator.SummaryError `json:"error,omitempty"`
	Old      protocol.Decision          `json:"old,omitempty"`
	New      protocol.Decision          `json:"new,omitempty"`
	Steps    []replayedStep             `json:"steps,omitempty"`
}

type replayedStep struct {
	StepID   string            `json:"step_id"`
	Old      protocol.Decision `json:"old"`
	New      protocol.Decision `json:"new"`
	OldRoles []string          `json:"old_roles,omitempty"`
	NewRoles []string          `json:"new_roles,omitempty"`
	Changed  bool              `json:"changed"`
	comparison
	// Unknown are the members of the input that the policies were told nothing of.
	Unknown []string `json:"unknown,omitempty"`
}

func (a *app) policyReplay(ctx context.Context, f replayFlags) (err error) {
	by, book, done, err := a.replayJudges(ctx, f.against)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	dirs, err := flightDirs(f.flights)
	if err != nil {
		return err
	}
	crew := &orchestrator.Orchestrator{Now: time.Now, Rand: rand.Reader, Version: Version()}
	out := replay{Against: f.against, Flights: []replayedFlight{}}
	for _, dir := range dirs {
		r, err := replayFlight(ctx, crew, dir, by)
		if err != nil {
			return err
		}
		out.add(r)
	}
	return a.tellReplay(out, book, f)
}

func (r *replay) add(f replayedFlight) {
	r.Flights = append(r.Flights, f)
	switch f.Status {
	case replaySkipped:
		r.Skipped++
	case replayFailed:
		r.Failed++
	}
	for _, s := range f.Steps {
		r.Steps++
		if s.Changed {
			r.Changed++
			continue
		}
		r.Unchanged++
		if s.differs() {
			r.Shifted++
		}
	}
}

// replayJudges makes what judges now; done gives back what it took.
func (a *app) replayJudges(ctx context.Context, against string) (_ orchestrator.Judges, _ map[string]rego.Rule, done func() error, _ error) {
	var by orchestrator.Judges
	current, here := a.currentConfig()
	if current != nil {
		by.Configs = append(by.Configs, current)
	}
	info, err := os.Stat(against)
	var j *judges
	sets := policySets{dirs: map[string]string{}}
	if err == nil && info.Mode().IsRegular() {
		c, err := config.Load(against)
		if err == nil {
			err = resolve(c)
		}
		if err != nil {
			return by, nil, nil, err
		}
		by.Configs = append(by.Configs, c)
		at, err := filepath.Abs(against)
		if err != nil {
			return by, nil, nil, err
		}
		p := place{config: at, configPath: filepath.Base(at), workspace: filepath.Dir(at)}
		if current == nil {
			current, here = c, p
		}
		if j, err = a.judges(ctx, c, p.dir(), a.secretValues(c, p.dir())); err != nil {
			return by, nil, nil, err
		}
		by.Role, sets.sets, sets.dirs = c.Approvals.DefaultRole, j.sets, p.setDirs(c.Policies.Rego)
	} else {
		set, dir, err := namedSet(ctx, against)
		if err != nil {
			return by, nil, nil, err
		}
		if j, err = setJudges(ctx, set, a.explain); err != nil {
			return by, nil, nil, err
		}
		by.Role, sets.sets = policies.DefaultRole, j.sets
		if dir != "" {
			sets.dirs[set.Name] = dir
		}
	}
	by.Judge, by.Decide, by.PolicyDigest = j.plan, j.decide, j.digest
	if current != nil {
		by.Paths = governancePaths(here, current)
	}
	return by, ruleBook(sets), j.done, nil
}

// setJudges lets one set judge alone, with everything else as it is by default.
func setJudges(ctx context.Context, set policies.Set, explain bool) (*judges, error) {
	e, err := rego.New(ctx, []policies.Set{set}, rego.Options{Explain: explain})
	if err != nil {
		return nil, err
	}
	j := &judges{sets: []policies.Set{set}, rego: e, plan: e, decide: policies.AggregateOptions{Method: protocol.MostRestrictive}}
	j.digest, err = policies.Digest(j.sets)
	return j, err
}

// currentConfig reads the configuration of --config if it can be had: recorded
// flights are judged without it too.
func (a *app) currentConfig() (*config.Config, place) {
	p, err := a.place()
	if err != nil {
		return nil, place{}
	}
	c, err := config.Load(p.config)
	if err == nil {
		err = resolve(c)
	}
	if err != nil {
		if !errors.Is(err, protocol.Code("config_not_found")) {
			_, _ = fmt.Fprintf(a.err, "note: the configuration %s cannot be read, so no step's configuration is known\n", oneLine(a.flags.config)) // there is nowhere else to tell
		}
		return nil, place{}
	}
	return c, p
}

// flightDirs finds the directories of flights, by name.
func flightDirs(root string) ([]string, error) {
	refuse := func(err error) error {
		return usageError("usage", "--flights %s: %w", root, err).WithHint("name a state directory, or a directory of flights' directories")
	}
	isFlight := func(dir string) bool {
		info, err := os.Lstat(filepath.Join(dir, orchestrator.FlightFile))
		return err == nil && info.Mode().IsRegular()
	}
	if isFlight(root) {
		return []string{root}, nil
	}
	if info, err := os.Lstat(filepath.Join(root, "flights")); err == nil && info.IsDir() {
		root = filepath.Join(root, "flights")
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, refuse(err)
	}
	var dirs []string
	for _, e := range entries {
		dir := filepath.Join(root, e.Name())
		if !e.IsDir() || !isFlight(dir) {
			continue
		}
		if dirs = append(dirs, dir); len(dirs) > limits.ReplayFlights {
			return nil, refuse(fmt.Errorf("there are more than %d flights", limits.ReplayFlights))
		}
	}
	return dirs, nil
}

// replayFlight judges one flight again. An error is the end of ctx only.
func replayFlight(ctx context.Context, crew *orchestrator.Orchestrator, dir string, by orchestrator.Judges) (out replayedFlight, err error) {
	out = replayedFlight{Flight: filepath.Base(dir), Dir: dir, Status: replayFailed}
	fail := func(err error) (replayedFlight, error) {
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
		_, noManifest := os.Lstat(filepath.Join(dir, orchestrator.ManifestFile))
		if errors.Is(noManifest, fs.ErrNotExist) && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, protocol.Code("wal_empty"))) {
			out.Status = replaySkipped // interrupted before it began
		}
		out.Error = orchestrator.ErrorOf(err)
		return out, nil
	}
	d, err := file.OpenDir(dir)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = d.Close() }() // only read
	entries, _, err := file.ReadWAL(d)
	if err != nil {
		return fail(err)
	}
	f, err := orchestrator.Load(d, nil, entries)
	if err != nil {
		return fail(err)
	}
	out.Flight, out.Workflow = f.ID(), f.Info.Workflow
	if !f.Sealed() {
		out.Status = replaySkipped
		return out, nil
	}
	steps, err := crew.Rejudge(ctx, f, by)
	if err != nil {
		return fail(err)
	}
	out.Status, out.Old, out.New = replayDone, protocol.Allow, protocol.Allow
	for _, s := range steps {
		r := replayedStep{
			StepID: s.Old.StepID, Old: s.Old.Decision, New: s.New.Decision, OldRoles: rolesOf(s.Old), NewRoles: rolesOf(s.New.Report),
			comparison: compared(s.Old.Evaluations, s.New.Evaluations), Unknown: s.Unknown,
		}
		r.Changed = r.Old != r.New || strings.Join(r.OldRoles, " ") != strings.Join(r.NewRoles, " ")
		out.Old, out.New = protocol.MostSevere(out.Old, r.Old), protocol.MostSevere(out.New, r.New)
		out.Steps = append(out.Steps, r)
	}
	return out, nil
}

func rolesOf(r orchestrator.Report) []string {
	var out []string
	for _, q := range r.Requires { // by role
		out = append(out, q.Role)
	}
	return out
}
