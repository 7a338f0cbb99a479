package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/ci/codeowners"
	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/workspace/gittree"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// derive asks the forge what the run is about: the repository, the change that is open,
// and the tip of the protected branch, which governs. SPEC: docs/protocol.md 8.
func (r *ciRun) derive() error {
	if err := r.api(); err != nil {
		return err
	}
	found, err := r.theChange()
	if err != nil {
		return err
	}
	if !found {
		if err := r.repository(); err != nil {
			return err
		}
		if r.event.Name == "merge_group" {
			return r.ofGroup()
		}
		return r.protected(r.repo.DefaultBranch)
	}
	// The change tells of the repository that it goes into; asking for that too is a call
	// for nothing.
	r.repo = github.Repository{ID: r.change.Base.RepositoryID, FullName: r.change.Base.Repository, DefaultBranch: r.change.Base.DefaultBranch, Private: r.change.Base.Private}
	if r.repo.DefaultBranch == "" || r.repo.ID != r.env["GITHUB_REPOSITORY_ID"] {
		if err := r.repository(); err != nil {
			return err
		}
	}
	if err := r.belongs(); err != nil {
		return err
	}
	return r.protected(r.change.Base.Ref)
}

// theChange reads the change that the run is about: the event's, or, of a run that
// another one started, the one open change whose head that run was for. There is none
// for a branch as it is, and for a group of a merge queue.
func (r *ciRun) theChange() (found bool, err error) {
	number := r.event.Number
	switch r.event.Name {
	case "merge_group":
		return false, nil
	case "workflow_run":
		if r.change, err = r.changeOfRun(); err != nil {
			return false, err
		}
		if r.event.RunEvent == "pull_request" {
			return true, nil // who counts reviews must know how many commits it has
		}
		number = r.change.Number
	}
	if number == 0 {
		return false, nil
	}
	r.change, err = r.forge.Change(r.ctx, number)
	return true, err
}

// changeOfRun finds the one open change whose head the run was for that started this one.
func (r *ciRun) changeOfRun() (none github.Change, err error) {
	run, err := r.forge.Run(r.ctx, r.event.RunID)
	if err != nil {
		return none, err
	}
	here := r.env["GITHUB_REPOSITORY_ID"]
	if run.RepositoryID != here {
		return none, protocol.Errorf(protocol.ExitIntegrity, "run_foreign", "run %s is of repository %s", run.ID, run.RepositoryID)
	}
	r.from = run
	r.event.HeadSHA, r.event.HeadRepositoryID = run.HeadSHA, run.HeadRepositoryID
	changes, err := r.forge.OpenChanges(r.ctx, run.HeadOwner, run.HeadBranch)
	if err != nil {
		return none, err
	}
	changes = slices.DeleteFunc(changes, func(c github.Change) bool {
		return !c.Open || c.Head.SHA != run.HeadSHA || c.Head.RepositoryID != run.HeadRepositoryID || c.Base.RepositoryID != here
	})
	switch len(changes) {
	case 0:
		return none, protocol.Errorf(protocol.ExitStale, "head_moved", "no open change has commit %s of repository %s as its head any more", run.HeadSHA, run.HeadRepositoryID)
	case 1:
		return changes[0], nil
	}
	return none, protocol.Errorf(protocol.ExitIntegrity, "change_ambiguous", "changes %d and %d both have commit %s of repository %s as head", changes[0].Number, changes[1].Number, run.HeadSHA, run.HeadRepositoryID).
		WithHint("close one of them")
}

func (r *ciRun) repository() (err error) {
	if r.repo, err = r.forge.Repository(r.ctx); err != nil {
		return err
	}
	if id := r.env["GITHUB_REPOSITORY_ID"]; r.repo.ID != id {
		return protocol.Errorf(protocol.ExitIntegrity, "ci_repository", "the forge says that %s is repository %s, the run that it is %s", r.repo.FullName, r.repo.ID, id)
	}
	return nil
}

// belongs compares the change with what started the run.
func (r *ciRun) belongs() error {
	c, e := r.change, r.event
	switch {
	case c.Base.RepositoryID != r.repo.ID:
		return protocol.Errorf(protocol.ExitIntegrity, "ci_repository", "change %d goes into repository %s, not %s", c.Number, c.Base.RepositoryID, r.repo.ID)
	case e.HeadSHA != "" && c.Head.SHA != e.HeadSHA:
		return protocol.Errorf(protocol.ExitStale, "head_moved", "change %d is at commit %s now, the run is for %s", c.Number, c.Head.SHA, e.HeadSHA).
			WithHint("the run that the newer commit started plans it")
	case e.HeadRepositoryID != "" && c.Head.RepositoryID != e.HeadRepositoryID:
		return protocol.Errorf(protocol.ExitIntegrity, "ci_repository", "change %d comes from repository %s, the event says %s", c.Number, c.Head.RepositoryID, e.HeadRepositoryID)
	case !c.Open && !c.Merged:
		return usageError("change_closed", "change %d is closed", c.Number)
	}
	return nil
}

// protected takes governance from the tip of a protected branch, which is the default
// branch or one that the default branch's configuration names. SPEC: docs/protocol.md 8.
func (r *ciRun) protected(branch string) error {
	tip, err := r.forge.Branch(r.ctx, branch)
	if err != nil {
		return err
	}
	r.flags.governanceRef = tip.SHA
	if branch == r.repo.DefaultBranch {
		return r.placed()
	}
	allowed, err := r.allowedRefs()
	if err != nil {
		return err
	}
	if !slices.Contains(allowed, branch) {
		return protocol.Errorf(protocol.ExitIntegrity, "governance_branch", "the change goes into %q, which governs nothing: flights are for %q", branch, r.repo.DefaultBranch).
			WithHint("name the branch under governance.refs in the configuration of %s", r.repo.DefaultBranch)
	}
	return r.placed()
}

// allowedRefs reads which other branches the default branch lets govern.
func (r *ciRun) allowedRefs() ([]string, error) {
	tip, err := r.forge.Branch(r.ctx, r.repo.DefaultBranch)
	if err != nil {
		return nil, err
	}
	var refs []string
	err = r.withStore(func(s *session) error {
		o, err := s.originOf(tip.SHA)
		if err == nil {
			refs = o.config.GovernanceRefs
		}
		return err
	})
	return refs, err
}

// runIs gives the run as the forge derives it. It replaces what the job's variables
// say. SPEC: docs/protocol.md 3.
func (r *ciRun) runIs(s *session) error {
	src := &s.setup.Source
	if r.job.Input("signing") == inputRequired && !s.crew.Signatures.Signs() {
		return usageError("signing_off", "the workflow demands signed plans, and the configuration signs nothing").WithHint("set signing: {keyless: true} in the configuration")
	}
	src.Run.Forge, src.Run.RepositoryID, src.Run.Repository = string(ci.GitHub), r.repo.ID, r.repo.FullName
	if r.group.HeadSHA != "" {
		return r.groupIs(s)
	}
	if r.change.Number == 0 {
		return nil
	}
	c := r.change
	if r.judging && !c.Merged {
		if err := r.onMerge(s, src.HeadCommit); err != nil {
			return err
		}
	}
	src.Run.Change, src.HeadCommit, src.Branch = "pull/"+strconv.Itoa(c.Number), c.Head.SHA, c.Base.Ref
	s.crew.Before = r.sealedBefore(s)
	src.Labels, src.LabelsKnown = slices.Clone(c.Labels), true
	slices.Sort(src.Labels)
	src.AuthorEmail = "" // the forge knows people by their numbers
	return nil
}

// onMerge checks that the checkout is the change merged onto its base.
func (r *ciRun) onMerge(s *session, checkout string) error {
	tree, err := gittree.Open(s.place.workspace, checkout)
	if err != nil {
		return err
	}
	const merge = 2
	p := tree.Parents()
	if len(p) != merge || p[1] != r.change.Head.SHA {
		return protocol.Errorf(protocol.ExitStale, "checkout_wrong", "the checkout is commit %s, which is not commit %s merged onto its base", checkout, r.change.Head.SHA).
			WithHint("check out refs/pull/%d/merge with its whole history (fetch-depth: 0)", r.change.Number)
	}
	within, err := s.origin.tree.Contains(p[0])
	if err != nil {
		return err
	}
	if !within {
		return protocol.Errorf(protocol.ExitStale, "checkout_wrong", "the checkout is merged onto %s, which the history of %s does not have", p[0], r.change.Base.Ref).
			WithHint("run the workflow again: the base was rewritten, or the merge is not the forge's")
	}
	return nil
}

// people counts what people said of a change on the forge.
type people struct {
	r *ciRun
	s *session
	// touched are paths that the plan's artifacts change.
	touched []string
	// codeNeeded says that people were not shown all of the plan without its code.
	codeNeeded bool
	// counted is what the last question came to, for the report.
	counted []ci.RoleCount
}

var _ orchestrator.Forge = (*people)(nil)

// Answers reads the change and its reviews anew, and counts them under the governance
// of the plan and that of the tip.
func (p *people) Answers(ctx context.Context, ask orchestrator.Asked) ([]orchestrator.ForgeAnswer, error) {
	r := p.r
	r.forge.Forget() // roles are those of this moment
	acts, err := r.forge.Reviews(ctx, r.change.Number)
	if err != nil {
		return nil, err
	}
	more, err := p.environmentActs(ctx)
	if err != nil {
		return nil, err
	}
	acts = append(acts, more...)
	if err := p.history(ctx, ask, acts); err != nil {
		return nil, err
	}
	excluded, err := r.excluded(ctx)
	if err != nil {
		return nil, err
	}
	first, out, err := p.count(ctx, ask, acts, excluded, p.s.setup.Config.Approvals, p.s.planned)
	if err != nil {
		return nil, err
	}
	p.counted = first
	if p.s.setup.Tip != nil {
		_, second, err := p.count(ctx, ask, acts, excluded, p.s.setup.Tip.Approvals, p.s.origin)
		if err != nil {
			return nil, err
		}
		out = both(out, second, "under the protected branch's governance of now")
	}
	return out, p.ownersToo(ctx, ask, acts, excluded, out)
}

func (p *people) count(ctx context.Context, ask orchestrator.Asked, acts []ci.Act, excluded []ci.Excluded, c config.Approvals, o *origin) ([]ci.RoleCount, []orchestrator.ForgeAnswer, error) {
	q := ci.Question{
		Head: ask.Head, Sealed: ask.Sealed, Code: ask.Code, Coded: ask.Coded, CodeNeeded: ask.CodeNeeded || p.codeNeeded || c.Binding == config.BindingCode,
		Excluded: excluded, SelfApproval: c.SelfApproval, Distinct: c.Distinct, Now: time.Now(), Expire: c.Expire.Duration,
	}
	for _, role := range forgeRoles(c) {
		if slices.Contains(ask.Roles, role.Name) {
			q.Roles = append(q.Roles, role)
		}
	}
	if slices.ContainsFunc(q.Roles, func(x ci.Role) bool { return x.CodeOwners }) {
		owners, err := p.owners(ctx, o)
		if err != nil {
			return nil, nil, err
		}
		q.Owners = owners
	}
	counts, err := ci.Count(ctx, q, acts, p.r.forge)
	if err != nil {
		return nil, nil, err
	}
	answers := answersOf(counts, ask.Code)
	return counts, answers, p.glass(ctx, q, acts, c, answers, counts)
}

// forgeRoles gives the roles that people of the forge hold, by name.
func forgeRoles(c config.Approvals) []ci.Role {
	out := make([]ci.Role, 0, len(c.Roles))
	for _, role := range c.Roles {
		if len(role.Users)+len(role.Teams) == 0 && role.Permission == "" && !role.CodeOwners {
			continue // only approvers with keys hold it
		}
		out = append(out, ci.Role{
			Name: role.Name, Count: int(role.Count), Users: role.Users, Teams: role.Teams, Permission: role.Permission, CodeOwners: role.CodeOwners,
		})
	}
	return out
}

// governanceRoles gives them as the orchestrator counts them.
func governanceRoles(c config.Approvals) []orchestrator.Role {
	var out []orchestrator.Role
	for _, role := range forgeRoles(c) {
		out = append(out, orchestrator.Role{Name: role.Name, Count: role.Count})
	}
	return out
}

func answersOf(counts []ci.RoleCount, code string) []orchestrator.ForgeAnswer {
	var out []orchestrator.ForgeAnswer
	for _, c := range counts {
		a := orchestrator.ForgeAnswer{Role: c.Role, Approved: c.Approved(), Why: whyNot(c)}
		for _, act := range c.By {
			a.By = append(a.By, witnessOf(act, code))
		}
		out = append(out, a)
	}
	return out
}

func witnessOf(act ci.Act, code string) orchestrator.Witness {
	w := orchestrator.Witness{Kind: string(act.Kind), ID: act.ID, PersonID: act.Person.ID, Person: act.Person.Login, Commit: act.Commit, URL: act.URL}
	if !act.At.IsZero() {
		w.At = act.At.UTC().Format(time.RFC3339)
	}
	if code != "" && strings.Contains(strings.ToLower(act.Text), code) {
		w.Code = code
	}
	return w
}

// whyNot says what a role still lacks.
func whyNot(c ci.RoleCount) string {
	if c.Approved() {
		return ""
	}
	if c.Blocked != nil {
		why := c.Blocked.Person.Login + " asked for changes"
		if d := c.Blocked.Dismissal; d != nil {
			why += ", and " + d.By.Login + ", who cannot take that back, dismissed it"
		}
		return why
	}
	why := []string{strconv.Itoa(len(c.By)) + " of " + strconv.Itoa(c.Need) + " approved"}
	for _, x := range c.Refused {
		why = append(why, x.Why)
	}
	if len(c.Uncovered) > 0 {
		why = append(why, strconv.Itoa(len(c.Uncovered))+" paths lack an approval of their code owners, such as "+strings.Join(c.Uncovered[0], ", "))
	}
	return strings.Join(why, "; ")
}

// both gives the answers that hold under two governances.
func both(a, b []orchestrator.ForgeAnswer, where string) []orchestrator.ForgeAnswer {
	for i := range a {
		for _, other := range b {
			if other.Role == a[i].Role && a[i].Approved && other.Approved && other.Glass() {
				a[i].By = other.By // what is needed more is what the evidence names
			}
			if other.Role == a[i].Role && a[i].Approved && !other.Approved {
				a[i].Approved, a[i].Why = false, other.Why+" ("+where+")"
			}
		}
	}
	return a
}

// excluded names whose approval never counts. SPEC: docs/protocol.md 7.
func (r *ciRun) excluded(ctx context.Context) ([]ci.Excluded, error) {
	if r.shut != nil {
		return r.shut, nil // a commit's authors and pusher do not change
	}
	out := []ci.Excluded{{Person: r.change.Author, Why: ci.WhyAuthor}}
	authors, err := r.forge.CommitAuthors(ctx, r.change.Number, r.change.Commits)
	if err != nil {
		return nil, err
	}
	for _, p := range authors {
		out = append(out, ci.Excluded{Person: p, Why: ci.WhyCommitAuthor})
	}
	pushers, err := r.pushers(ctx)
	if err == nil {
		r.shut = slices.Concat(out, pushers)
	}
	return r.shut, err
}

// environmentActs gives what people said where the run waited for a protected
// environment, where the configuration lets that count.
func (p *people) environmentActs(ctx context.Context) ([]ci.Act, error) {
	if len(p.s.setup.Config.Approvals.Environments) == 0 {
		return nil, nil
	}
	return p.r.forge.RunApprovals(ctx, p.r.env["GITHUB_RUN_ID"])
}

// owners gives, per path that the change or its artifacts touch, who owns it by the
// CODEOWNERS of a governance: that of the plan, which a merged change did not write, and
// that of the protected branch now. SPEC: docs/protocol.md 7, 8.
func (p *people) owners(ctx context.Context, o *origin) ([][]string, error) {
	c, err := p.r.forge.Change(ctx, p.r.change.Number)
	if err != nil {
		return nil, err
	}
	files, err := p.r.forge.Files(ctx, c.Number, c.ChangedFiles)
	if err != nil {
		return nil, err
	}
	paths := slices.Clone(p.touched)
	for _, f := range files {
		paths = append(paths, f.Path)
		if f.Previous != "" {
			paths = append(paths, f.Previous)
		}
	}
	slices.Sort(paths)
	return codeOwnersOf(o.root, slices.Compact(paths))
}

// codeOwnersOf gives the owners of paths by the file of the governance. A line of it
// that does not parse denies.
func codeOwnersOf(dir string, paths []string) ([][]string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // only read
	file, err := codeowners.Find(func(name string) ([]byte, bool, error) {
		data, err := root.ReadFile(filepath.FromSlash(name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, false, nil
		}
		return data, err == nil, err
	})
	if err != nil || file == nil {
		return nil, err
	}
	return file.Lists(paths)
}
