package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Status is the outcome of a check.
type Status string

// Outcomes.
const (
	Pass Status = "pass"
	Fail Status = "fail"
	Warn Status = "warn" // a person should look, and the engine passes
	Skip Status = "skip"
)

// Result is the outcome of one check.
type Result struct {
	ID      string  `json:"id"`
	Status  Status  `json:"status"`
	Detail  string  `json:"detail"`
	Remedy  string  `json:"remedy,omitempty"`
	Seconds float64 `json:"seconds"` // from the end of the check before
}

// Report is the outcome of all checks, in the order of Catalogue.
type Report struct {
	Engine  string   `json:"engine"`
	Tier    string   `json:"tier"`
	Passed  int      `json:"passed"`
	Failed  int      `json:"failed"`
	Skipped int      `json:"skipped"`
	Warned  int      `json:"warned"`
	Checks  []Result `json:"checks"`
}

// File is a file of the engine that an argument names. Every workspace gets it, as
// a step's workspace does.
type File struct {
	Index  int    // of the argument
	Path   string // slash path in the workspace
	Source string // host path
}

// Options say what is checked and how.
type Options struct {
	Runner engines.Runner
	Name   string   // of the engine, for people
	Argv   []string // Argv[0] is an absolute path, unless Files names it
	Files  []File
	Hold   engines.Hold // how every run is held
	// Stage is the command line under which this program runs Stage.
	Stage     []string
	Workspace string // a sample; "" for a small generated one
	Config    map[string]any
	Secrets   []string // names of secrets that the engine gets, each with a made-up value
	Skip      []string // ids of checks that are left out
	Timeout   time.Duration
	Temp      string // an empty directory for everything that is made
	// Faketime is a library that gives a program another clock, "" where there is none.
	Faketime string
	// FixedClock says that the engine has a clock that does not go on, as modules have.
	FixedClock bool
	Now        func() time.Time
	Wait       func(ctx context.Context, d time.Duration) error
	// Progress is told of each check when its work begins; nil for nobody.
	Progress func(id string)
}

// Run checks an engine. The error tells of checks that could not be made; what the
// engine does wrong is in the Report.
func Run(ctx context.Context, o Options) (Report, error) {
	for _, id := range o.Skip {
		if !Known(id) {
			return Report{}, protocol.Errorf(protocol.ExitUsage, "check_unknown", "there is no check %q", id).
				WithHint("the checks are %s", strings.Join(ids(), ", "))
		}
	}
	if o.Timeout == 0 {
		o.Timeout = limits.CheckTimeout
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return Report{}, err
	}
	defer b.close()
	b.last = o.Now()
	for _, part := range []func(context.Context) error{b.plan, b.repeat, b.inputs, b.takeOffs} {
		if err := part(ctx); err != nil {
			return Report{}, err
		}
	}
	b.tell()
	return b.report(), nil
}

func ids() []string {
	var out []string
	for _, c := range Catalogue() {
		out = append(out, c.ID)
	}
	return out
}

// begin tells of a check and says whether it is wanted.
func (b *bench) begin(id string) bool {
	if slices.Contains(b.o.Skip, id) {
		b.addf(id, Skip, "left out as asked")
		return false
	}
	if b.o.Progress != nil {
		b.o.Progress(id)
	}
	return true
}

func (b *bench) addf(id string, status Status, format string, args ...any) {
	if _, there := b.results[id]; there {
		return
	}
	r := Result{ID: id, Status: status, Detail: fmt.Sprintf(format, args...)}
	if status == Fail || status == Warn {
		r.Remedy = remedyOf(id)
	}
	now := b.o.Now()
	r.Seconds = now.Sub(b.last).Seconds()
	b.last = now
	b.results[id] = r
}

// verdict adds a pass or, with a reason, a fail.
func (b *bench) verdict(id, wrong, right string) {
	if wrong != "" {
		b.addf(id, Fail, "%s", wrong)
		return
	}
	b.addf(id, Pass, "%s", right)
}

// skip marks checks that cannot be made.
func (b *bench) skip(why string, list ...string) {
	for _, id := range list {
		b.addf(id, Skip, "%s", why)
	}
}

func (b *bench) report() Report {
	r := Report{Engine: b.o.Name, Tier: b.o.Hold.Tier}
	for _, id := range ids() {
		result, there := b.results[id]
		if !there {
			continue // every part adds all of its checks
		}
		r.Checks = append(r.Checks, result)
		switch result.Status {
		case Pass:
			r.Passed++
		case Fail:
			r.Failed++
		case Skip:
			r.Skipped++
		case Warn:
			r.Warned++
		}
	}
	return r
}

// reason gives an error's text without the place, which is always this step.
func reason(err error) string {
	var e *protocol.Error
	if errors.As(err, &e) {
		return strings.TrimPrefix(e.Error(), "step "+stepID+": ")
	}
	return err.Error()
}
