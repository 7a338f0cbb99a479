package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/file"
)

// advice is the outcome of one check of doctor.
type advice struct {
	Name   string `json:"name"`
	Status string `json:"status"` // pass, warn, fail or skip
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

const (
	doctorPass = "pass"
	doctorWarn = "warn"
	doctorFail = "fail"
	doctorSkip = "skip"
)

// doctor gathers advice. Problems of the configuration and of the environment
// are told apart by their exit codes.
type doctor struct {
	app    *app
	place  place
	config *config.Config // nil where it is not valid
	list   []advice
	code   int
}

func (a *app) doctorCommand() *cobra.Command {
	var forge, format string
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check that everything that a flight needs is there, and say what to do", Args: cobra.NoArgs,
		Long: `Checks that this machine has everything that a flight needs. With --for github it
looks for holes in how the repository is set up there: rules, protection, environments,
rights of workflows, and what the checkout's workflows run. It exits with 3 if there is
one, and with 7 if GitHub cannot be asked. What the token (GITHUB_TOKEN) may not read is
unknown; for all of it, it must be able to write the administration.`,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			if err := a.doctorFormat(forge, &format); err != nil {
				return err
			}
			if forge == forgeGitHub {
				p, err := a.place()
				if err != nil {
					return err
				}
				h, err := a.onGitHub(p.workspace)
				if err != nil {
					return err
				}
				return a.examineGitHub(cmd.Context(), h, format)
			}
			d := &doctor{app: a}
			d.examine(cmd.Context())
			return d.tell()
		}),
	}
	doctorFlags(cmd, &forge, &format)
	return cmd
}

func (d *doctor) add(name, status, detail, hint string) {
	d.list = append(d.list, advice{name, status, detail, hint})
}

// fail records a failed check; what is wrong in the configuration weighs more
// than what the machine lacks, since it is mended first.
func (d *doctor) fail(code int, name, detail, hint string) {
	d.add(name, doctorFail, detail, hint)
	if d.code == 0 || code == protocol.ExitUsage {
		d.code = code
	}
}

// failed records an error with its own hint.
func (d *doctor) failed(code int, name string, err error) {
	hint := ""
	var e *protocol.Error
	if errors.As(err, &e) {
		hint = e.Hint
	}
	d.fail(code, name, err.Error(), hint)
}

func (d *doctor) examine(ctx context.Context) {
	var err error
	if d.place, err = d.app.place(); err != nil {
		d.failed(protocol.ExitUsage, "configuration", err)
		return
	}
	d.configuration()
	d.governance(ctx)
	d.repository()
	d.stateDir(ctx)
	d.privateKeys(ctx)
	d.isolation()
	d.disk()
	d.clock()
	d.engines()
}

func (d *doctor) configuration() {
	c, err := config.Load(d.place.config)
	if err == nil {
		err = resolve(c)
	}
	if err == nil {
		d.config = c
		d.add("configuration", doctorPass, fmt.Sprintf("workflow %s, %d steps", c.Workflow, len(c.Steps)), "")
		return
	}
	problems := config.Problems(err)
	if len(problems) == 0 {
		d.failed(protocol.ExitUsage, "configuration", err)
	}
	for _, p := range problems {
		d.fail(protocol.ExitUsage, "configuration", p.Error(), p.Hint)
	}
}

// governance checks policies, approvers and roles.
func (d *doctor) governance(ctx context.Context) {
	if d.config == nil {
		for _, name := range []string{"policies", "approvers", "roles"} {
			d.add(name, doctorSkip, "the configuration is not valid", "")
		}
		return
	}
	d.policies(ctx)
	people, _, err := d.app.approvers(d.config, d.place.dir())
	if err == nil {
		_, err = d.config.Governance(config.KeyDigests(d.place.dir()))
	}
	switch {
	case err != nil:
		d.failed(protocol.ExitUsage, "approvers", err)
		d.add("roles", doctorSkip, "the approvers cannot be read", "")
		return
	case len(people) == 0:
		d.add("approvers", doctorWarn, "nobody can approve: a flight that needs approval ends there",
			"cabincrew keys generate --out keys/YOUR-NAME, and name the .pub file under approvals.approvers")
		d.add("roles", doctorSkip, "there are no approvers", "")
		return
	}
	d.add("approvers", doctorPass, fmt.Sprintf("%d approvers, every key can be read", len(people)), "")
	d.roles(people)
}

func (d *doctor) policies(ctx context.Context) {
	j, err := d.app.judges(ctx, d.config, d.place.dir(), nil) // its canary fires, or this is an error
	var names []string
	if err == nil {
		for _, set := range j.sets {
			names = append(names, set.Name)
		}
		for _, r := range d.config.Rules {
			names = append(names, "rules/"+r.ID)
		}
		for _, m := range j.models {
			names = append(names, "models/"+m.Name)
		}
	}
	switch {
	case err != nil:
		d.failed(protocol.ExitUsage, "policies", err)
	case len(names) > 0:
		d.add("policies", doctorPass, "compile, and the canary fires: "+strings.Join(names, ", "), "")
	case d.config.Policies.AllowWithoutPolicies:
		d.add("policies", doctorWarn, "there are none, and allow_without_policies lets everything through", "name a set under policies.bundled or policies.rego")
	default:
		d.fail(protocol.ExitUsage, "policies", "there are none: every flight is denied", "policies: {bundled: [baseline]}")
	}
}

// roles checks that somebody holds each role that policies may ask for.
func (d *doctor) roles(people []orchestrator.Approver) {
	need := []string{d.config.Approvals.DefaultRole}
	if slices.Contains(d.config.Policies.Bundled, "baseline") {
		need = append(need, policies.DefaultRole, roleOwner)
	}
	slices.Sort(need)
	need = slices.Compact(need)
	var missing []string
	for _, role := range need {
		if !slices.ContainsFunc(people, func(p orchestrator.Approver) bool { return !p.Bot && slices.Contains(p.Roles, role) }) {
			missing = append(missing, role)
		}
	}
	if len(missing) > 0 {
		text, hint := "no person holds "+strings.Join(missing, ", ")+", which policies may ask for", "give the role to somebody under approvals.approvers"
		if slices.Contains(missing, d.config.Approvals.DefaultRole) {
			d.fail(protocol.ExitUsage, "roles", text, hint)
			return
		}
		// Only some flights ask for it; those cannot be approved.
		d.add("roles", doctorWarn, text, hint)
		return
	}
	d.add("roles", doctorPass, "somebody holds each of "+strings.Join(need, ", "), "")
}

// roleOwner is the role that changes of governance ask for. SPEC: docs/protocol.md 8.
const roleOwner = "policy-owner"

func (d *doctor) repository() {
	info, err := workspace.Git(d.place.workspace, d.app.env)
	switch {
	case err != nil:
		d.failed(protocol.ExitUnreachable, "git", err)
	case info.Head == "":
		d.add("git", doctorWarn, "there is no commit here: flights are bound to no commit", "git init, and commit what is there")
	case info.Email == "":
		d.add("git", doctorWarn, "user.email is not set: nobody can tell whether an approver is the author", "git config user.email YOU@EXAMPLE.COM")
	default:
		d.add("git", doctorPass, "HEAD "+info.Head+", user.email "+info.Email, "")
	}
}

// stateDir checks that flights can be written and that git leaves them out.
func (d *doctor) stateDir(ctx context.Context) {
	store, err := file.Open(d.place.stateDir)
	if err != nil {
		d.failed(protocol.ExitUnreachable, "state directory", err)
		return
	}
	_, remove, err := store.Temp("doctor-")
	if err == nil {
		err = remove()
	}
	if err = errors.Join(err, store.Close()); err != nil {
		d.failed(protocol.ExitUnreachable, "state directory", err)
		return
	}
	var dirs []string
	for _, dir := range []string{d.place.stateDir, d.place.home()} {
		if rel, err := filepath.Rel(d.place.workspace, dir); err == nil && filepath.IsLocal(rel) {
			dirs = append(dirs, filepath.ToSlash(rel))
		}
	}
	switch tracked, below, err := workspace.TrackedBelow(d.place.workspace, dirs); {
	case err != nil:
		d.failed(protocol.ExitUsage, "state directory", err)
		return
	case tracked != "":
		d.fail(protocol.ExitUsage, "state directory", fmt.Sprintf("git has %q: no flight is planned or taken off with that", tracked), "git rm -r --cached "+below+", and commit that")
		return
	}
	status, err := gitStatus(ctx, filepath.Join(d.place.stateDir, "flights", "any"))
	if probe := filepath.Join(d.place.stateDir, ".gitignore"); err == nil && status == gitIgnored {
		status, err = gitStatus(ctx, probe)
	}
	switch {
	case err != nil:
		d.failed(protocol.ExitUnreachable, "state directory", err)
	case status == gitTracked || status == gitUntracked:
		d.fail(protocol.ExitUsage, "state directory", d.place.stateDir+" is not left out of git: its .gitignore was changed, or files of it were added",
			"let its .gitignore hold the one line *, and git rm -r --cached "+filepath.Base(d.place.stateDir))
	default:
		d.add("state directory", doctorPass, d.place.stateDir+" is writable and out of git", "")
	}
}

// privateKeys looks at the private parts of the keys that the configuration names.
func (d *doctor) privateKeys(ctx context.Context) {
	if d.config == nil {
		d.add("private keys", doctorSkip, "the configuration is not valid", "")
		return
	}
	var names []string
	if key := d.config.Signing.Key; key != "" && !strings.Contains(key, "://") {
		names = append(names, key)
	}
	for _, p := range d.config.Approvals.Approvers {
		if private, ok := strings.CutSuffix(p.Key, ".pub"); ok {
			names = append(names, private)
		}
	}
	bad, seen := false, 0
	for _, name := range names {
		at := filepath.Join(d.place.dir(), filepath.FromSlash(name))
		info, err := os.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue // where it should be: elsewhere
		}
		seen++
		bad = d.privateKey(ctx, name, at, info, err) || bad
	}
	if !bad {
		d.add("private keys", doctorPass, fmt.Sprintf("%d beside the configuration, none of them open to others or in git", seen), "")
	}
}

func (d *doctor) privateKey(ctx context.Context, name, at string, info fs.FileInfo, err error) bool {
	if err != nil {
		d.failed(protocol.ExitUnreachable, "private keys", err)
		return true
	}
	if info.Mode().Perm()&0o077 != 0 {
		d.fail(protocol.ExitUsage, "private keys", fmt.Sprintf("%s can be read by others (mode %04o)", name, info.Mode().Perm()), "chmod 600 "+name)
		return true
	}
	switch status, err := gitStatus(ctx, at); {
	case err != nil:
		d.failed(protocol.ExitUnreachable, "private keys", err)
	case status == gitTracked, status == gitUntracked:
		d.fail(protocol.ExitUsage, "private keys", name+" is in git, or the next commit would take it",
			"add it to .gitignore; if it was ever committed, make a new key")
	default:
		return false
	}
	return true
}

// isolation says what holds engines on this machine, and why not more.
func (d *doctor) isolation() {
	found := d.app.isolation(d.config)(context.Background())
	have := found.Isolation
	detail := "tier " + have.Tier
	if have.LandlockABI > 0 {
		detail += fmt.Sprintf(", Landlock ABI %d", have.LandlockABI)
	}
	if found.Sudo {
		detail += ", by sudo"
	}
	if len(have.Missing) > 0 {
		detail += ", without " + strings.Join(have.Missing, ", ")
	}
	stopped := 0
	for _, a := range found.Acts {
		if !a.Passed {
			stopped++
		}
	}
	if len(found.Acts) > 0 {
		detail += fmt.Sprintf("; %d of %d forbidden acts were stopped", stopped, len(found.Acts))
	}
	var why strings.Builder
	for _, tier := range slices.Sorted(maps.Keys(found.Refused)) {
		_, _ = fmt.Fprintf(&why, "tier %s cannot be had: %s. ", tier, found.Refused[tier])
	}
	hint := why.String()
	if d.config != nil {
		for _, layer := range d.config.Sandbox.Require {
			if have.Lacks(layer) {
				d.fail(protocol.ExitUnreachable, "isolation", detail+"; sandbox.require names "+layer, hint+"See docs/isolation.md")
				return
			}
		}
		for _, step := range d.config.Steps {
			if step.Isolation == config.IsolationRequired && have.Tier != sandbox.TierA || step.Isolation == config.IsolationAuto && have.Tier == sandbox.TierC {
				d.fail(protocol.ExitUnreachable, "isolation", detail+"; step "+step.ID+" is refused", hint+"See docs/isolation.md")
				return
			}
		}
	}
	if have.Tier != sandbox.TierA {
		d.add("isolation", doctorWarn, detail, hint+"See docs/isolation.md")
		return
	}
	d.add("isolation", doctorPass, detail, "")
}

func (d *doctor) disk() {
	at := d.place.stateDir
	if _, err := os.Stat(at); err != nil {
		at = d.place.workspace
	}
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		d.failed(protocol.ExitUnreachable, "disk", fmt.Errorf("free space cannot be told: %w", err))
		return
	}
	free := int64(min(st.Bavail, 1<<40)) * int64(st.Bsize) //nolint:gosec,unconvert // bounded before; its type differs between systems
	detail := size(free) + " free"
	switch {
	case free < limits.DiskFail:
		d.fail(protocol.ExitUnreachable, "disk", detail, "free space, or name another place with --state-dir; cabincrew prune removes old flights")
	case free < limits.DiskWarn:
		d.add("disk", doctorWarn, detail, "cabincrew prune removes old flights")
	default:
		d.add("disk", doctorPass, detail, "")
	}
}

// clock refuses a time before the program was built: approvals would expire, or
// not, at random.
func (d *doctor) clock() {
	now, built := time.Now(), buildTime()
	if now.Before(built) {
		d.fail(protocol.ExitUnreachable, "clock", fmt.Sprintf("it is %s, before this program was built (%s)", now.UTC().Format(time.RFC3339), built.UTC().Format(time.RFC3339)),
			"set the clock")
		return
	}
	d.add("clock", doctorPass, now.UTC().Format(time.RFC3339), "")
}

// buildTime is when the source was committed, as far as the binary knows.
func buildTime() time.Time {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				if at, err := time.Parse(time.RFC3339, s.Value); err == nil {
					return at
				}
			}
		}
	}
	return time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC) // this program is not older
}

func (d *doctor) tell() error {
	if d.app.flags.output == outputJSON {
		d.app.printJSON(d.list)
	}
	colour := d.app.colours()
	failed := 0
	for _, c := range d.list {
		ink := paintGreen
		switch c.Status {
		case doctorFail:
			ink = paintRed
			failed++
		case doctorWarn:
			ink = paintCyan
		case doctorSkip:
			ink = paintDim
		}
		d.app.text(ink.on(colour, c.Status) + "  " + padded(c.Name, 17) + oneLine(c.Detail) + "\n")
		if c.Hint != "" {
			d.app.text("       hint: " + oneLine(c.Hint) + "\n")
		}
	}
	if d.code == 0 {
		return nil
	}
	d.app.text(fmt.Sprintf("%d checks failed\n", failed))
	return reportedError{exit(d.code)}
}
