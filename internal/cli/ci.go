package cli

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/bundle"
)

// ciCommand is what the action runs: everything that a step of a CI job does, with its
// inputs from variables, so that none of them ever passes through a shell.
func (a *app) ciCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ci", Short: "Fly in a job of a forge's CI: what the GitHub Action runs",
		Long: `Does in a job of a forge's CI what the name of the command says, with the inputs of
the action in variables INPUT_NAME and what the forge says of the run. auto chooses by
the event: a change is planned, judged and signed, a merged one takes off.`,
	}
	for _, c := range []struct {
		name, short string
		do          func(*ciRun) error
	}{
		{"auto", "Do what the event asks for", (*ciRun).auto},
		{"plan", "Run the engines without side effects, and hand on what they planned", (*ciRun).planJob},
		{"judge", "Seal what another job planned, ask the policies, and tell the forge", (*ciRun).judgeJob},
		{"sign", "Sign what another job judged, seeing nothing but manifest and decisions", (*ciRun).signJob},
		{"seal", "Judge and sign in one job what another job planned", (*ciRun).sealJob},
		{"verify", "Verify the newest flight of the change or merge, or the one in flight-path", (*ciRun).verifyJob},
		{"flight-plan", "Plan, judge and sign in one job", (*ciRun).oneJob},
		{"review", "Count the approvals of a change again, and tell the forge", (*ciRun).reviewJob},
		{"alerts", "Open an issue about take-offs that began and have no end", (*ciRun).alertsJob},
		{"take-off", "Find the flight of a merged change, verify everything again, and apply it once", (*ciRun).takeOffJob},
		{"doctor", "Look for holes in how the repository is set up", (*ciRun).doctorJob},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: c.name, Short: c.short, Args: cobra.NoArgs,
			RunE: a.run(func(cmd *cobra.Command, _ []string) error {
				r, err := a.newCIRun(cmd.Context())
				if err != nil {
					return err
				}
				return r.done(c.do(r))
			}),
		})
	}
	return cmd
}

// ciRun is one step of a CI job on GitHub.
type ciRun struct {
	*app
	ctx      context.Context
	job      *github.Runner
	event    github.Event
	forge    *github.Client // nil where there is no token
	token    string
	signs    bool // the job that judges signs too
	unsigned bool // another job signs what this one judged
	repo     github.Repository
	change   github.Change
	group    github.MergeGroup // of a merge queue, whose commit is planned or takes off
	check    github.Check
	report   ci.Report
	from     github.Run        // the run that started this one
	runs     []github.Run      // that the change's head started, newest first
	seal     github.Run        // that the flight was fetched from
	others   map[string]string // tokens that runs for the head signed for other changes, by run
	shut     []ci.Excluded     // whose approval never counts, once it was asked
	note     string            // said at the end

	redactor   *redact.Redactor // of the flight's secrets
	code       string           // of the plan that this job signed
	codeAsked  bool             // approvals must name it
	wants      config.Config    // what governs, as far as it says what is published
	fence      *forgeFence      // of the take-off
	deployment string           // that says how the take-off goes, once it began
	within     string           // the directory of what is handed over, below that of its part
	out        string           // the directory of what is handed over
	kept       bundle.Ref       // where in a registry flights are kept,
	keptBy     string           // by the governance of this commit
}

// newCIRun reads what the platform says of the run. Nothing of it is believed that the
// forge's API can tell.
func (a *app) newCIRun(ctx context.Context) (*ciRun, error) {
	if p := ci.Detect(a.env); p != ci.GitHub {
		return nil, usageError("ci_platform", "this is no job of GitHub Actions (platform %q)", p).
			WithHint("cabincrew ci runs in CI jobs; at a terminal use flight-plan, approve and take-off")
	}
	a.endorsing = true
	r := &ciRun{app: a, ctx: ctx, job: github.NewRunner(a.env, a.err)}
	if err := r.settings(); err != nil {
		return nil, err
	}
	raw, err := readBounded(a.env["GITHUB_EVENT_PATH"], limits.GitHubEvent)
	if err != nil {
		return nil, usageError("ci_event", "the event's payload cannot be read: %w", err).WithHint("GITHUB_EVENT_PATH names it")
	}
	if r.event, err = github.ParseEvent(a.env["GITHUB_EVENT_NAME"], raw); err != nil {
		return nil, err
	}
	if id := a.env["GITHUB_REPOSITORY_ID"]; r.event.RepositoryID != "" && r.event.RepositoryID != id {
		return nil, protocol.Errorf(protocol.ExitIntegrity, "ci_event", "the event is of repository %s, the run of %s", r.event.RepositoryID, id)
	}
	token := cmp.Or(r.job.Input("token"), a.env["GITHUB_TOKEN"])
	if token == "" {
		return r, nil
	}
	r.job.Mask(token)
	r.token = token
	r.forge, err = github.New(github.Options{
		BaseURL: a.env["GITHUB_API_URL"], Token: token, Repository: a.env["GITHUB_REPOSITORY"], Now: time.Now, UserAgent: "cabincrew/" + Version(),
	})
	return r, err
}

// settings takes over the inputs of the action that are flags elsewhere.
func (r *ciRun) settings() error {
	top := cmp.Or(r.env["GITHUB_WORKSPACE"], ".")
	dir, name := cmp.Or(r.job.Input("working-directory"), "."), cmp.Or(r.job.Input("config"), config.FileName)
	if !filepath.IsLocal(dir) || !filepath.IsLocal(name) {
		return usageError("ci_input", "working-directory %q with config %q leads out of the checkout", dir, name)
	}
	r.flags.workspace, r.flags.config = filepath.Join(top, dir), filepath.Join(top, dir, name)
	for _, input := range []string{"signing", "approvals"} {
		if v := r.job.Input(input); v != "" && v != inputRequired {
			return usageError("ci_input", "%s is %q", input, v).WithHint("it is %s or nothing: inputs only ever demand more than the configuration", inputRequired)
		}
	}
	if keys := r.job.Input("age-identity"); keys != "" {
		for line := range strings.Lines(keys) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				r.job.Mask(line)
			}
		}
		if len(keys) > limits.StorageKeys {
			return usageError("ci_input", "age-identity has more than %d bytes", limits.StorageKeys).WithHint("it is what age-keygen wrote")
		}
		r.ageIdentities = []byte(keys)
	}
	r.demandApproval = r.job.Input("approvals") == inputRequired
	if r.flags.step = r.job.Input("step"); r.flags.step != "" && !protocol.ValidStepID(r.flags.step) {
		return usageError("ci_input", "step is %q, which no step can be named", r.flags.step).WithHint("name a step of the configuration, or leave step out")
	}
	if err := r.storing(); err != nil {
		return err
	}
	switch level := cmp.Or(r.job.Input("fail-on"), failOnDeny); level {
	case failOnDeny, failOnApproval, failOnWarn:
	default:
		return usageError("ci_input", "fail-on is %q", level).WithHint("it is %s, %s or %s", failOnDeny, failOnApproval, failOnWarn)
	}
	return nil
}

// inputRequired is what the inputs signing and approvals may be.
const inputRequired = "required"

// What the input fail-on may be: from which decision on a planning job fails.
const (
	failOnDeny     = "deny"
	failOnApproval = "require_approval"
	failOnWarn     = "warn"
)

// api says that the command needs the forge's API.
func (r *ciRun) api() error {
	if r.forge != nil {
		return nil
	}
	return usageError("ci_token", "there is no token for the forge's API").WithHint("give the action its token: with: token: ${{ github.token }}")
}

// auto chooses by the event.
func (r *ciRun) auto() error {
	switch e := r.event; e.Name {
	case "pull_request":
		if e.Action == "closed" {
			if !e.Merged {
				r.note = "the change was closed without a merge: nothing to do"
				return nil
			}
			return r.takeOffJob()
		}
		return r.oneJob()
	case "merge_group", "workflow_dispatch", "schedule":
		return r.oneJob()
	case "pull_request_review":
		return r.reviewJob()
	case "push":
		return r.takeOffJob()
	case "workflow_run":
		return r.afterRun()
	case "check_run":
		return r.replanJob()
	default:
		return usageError("ci_event", "the event %s is none that flights are for", e.Name).
			WithHint("use pull_request, pull_request_review, merge_group, push, workflow_dispatch, schedule or check_run")
	}
}

// mayPlan refuses to run engines under events that give the rights of the base
// repository to what a fork may have written. SPEC: docs/threats.md T14.
func (r *ciRun) mayPlan() error {
	switch r.event.Name {
	case "pull_request", "merge_group", "schedule", "push":
		return nil
	case "workflow_dispatch":
		return r.ofBranch(r.event.DefaultBranch) // the forge is asked later, by who has its token
	}
	return usageError("ci_event", "%s runs with the rights of the base repository: no engine is run there", r.event.Name).
		WithHint("plan under pull_request; seal what a fork's change planned under workflow_run")
}

// done tells the job how it ended, and gives the error that ends it.
func (r *ciRun) done(err error) error {
	code := r.exitCode(r.ctx, err)
	if err == nil {
		code = protocol.ExitOK
	}
	err = errors.Join(err, r.job.Output("exit-code", strconv.Itoa(code)))
	if r.note != "" {
		r.text(r.note + "\n")
	}
	if err == nil || r.tolerated(code) {
		if err != nil {
			var said reportedError
			if !errors.As(err, &said) {
				r.complain(err)
			}
		}
		return nil
	}
	return err
}

// tolerated says whether a planning job that ended so is no failure: that a flight
// waits for approval is what the check tells.
func (r *ciRun) tolerated(code int) bool {
	return code == protocol.ExitWaiting && r.report.FlightToken != "" && r.job.Input("fail-on") != failOnApproval && r.job.Input("fail-on") != failOnWarn && !r.takesOff()
}

func (r *ciRun) takesOff() bool {
	return r.event.Name == "push" || r.event.Merged
}

// handOver gives the directory for what the next job needs: a new one, in which there is
// nothing that another job gave.
func (r *ciRun) handOver(parts ...string) (string, error) {
	if r.out == "" {
		top, err := os.MkdirTemp(cmp.Or(r.env["RUNNER_TEMP"], os.TempDir()), "cabincrew-flight-")
		if err != nil {
			return "", unwritable("RUNNER_TEMP", err)
		}
		r.out = top
	}
	dir := filepath.Join(append(append([]string{r.out}, parts...), r.within)...)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", unwritable(dir, err)
	}
	return dir, r.job.Output("flight-path", r.out)
}

// tell fills in the outputs of a flight.
func (r *ciRun) tell(f *orchestrator.Flight) error {
	sum := orchestrator.Summarize(f)
	return errors.Join(r.job.Output("flight-id", f.ID()), r.job.Output("state", string(sum.State)),
		r.job.Output("decision", string(sum.Decision)), r.job.Output("plan-token", sum.FlightToken))
}

// changeName is what the protocol calls the change. SPEC: docs/protocol.md 3.
func (r *ciRun) changeName() string {
	if r.group.HeadSHA != "" {
		return groupName(r.group)
	}
	if r.change.Number == 0 {
		return ""
	}
	return "pull/" + strconv.Itoa(r.change.Number)
}
