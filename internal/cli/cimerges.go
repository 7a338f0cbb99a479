package cli

import (
	"cmp"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/workspace/gittree"
	"github.com/cabincrew/action/protocol"
)

// takeOffJob flies the merges that a commit of the protected branch brought, each from
// its own commit, oldest first: a concurrency group keeps one waiting run only, so a run
// may have to fly for those before it. SPEC: docs/protocol.md 9.
func (r *ciRun) takeOffJob() error {
	if err := r.api(); err != nil {
		return err
	}
	if slices.Contains([]string{"workflow_run", "pull_request_target", "check_run"}, r.event.Name) {
		return usageError("ci_event", "nothing takes off under %s", r.event.Name).WithHint("take off on push to the protected branch, or on pull_request closed as merged")
	}
	commit := cmp.Or(r.event.MergeCommit, r.event.After, r.env["GITHUB_SHA"])
	earlier, err := r.pending(commit)
	if err != nil {
		return err
	}
	for _, before := range earlier {
		if err := r.flyEarlier(before); err != nil {
			return err
		}
	}
	return r.flyMerge(commit)
}

// flyMerge flies the merge that a commit is.
func (r *ciRun) flyMerge(commit string) error {
	found, err := r.mergedChange(commit)
	if err != nil || !found {
		return err
	}
	if want := "refs/heads/" + r.change.Base.Ref; r.event.Name == "push" && (r.event.Ref != want || r.env["GITHUB_REF"] != want) {
		// Anybody who may push makes a branch with a workflow that calls this one.
		return protocol.Errorf(protocol.ExitIntegrity, "governance_branch", "the run is of %s, and change %d went into %s", r.event.Ref, r.change.Number, want).
			WithHint("take off in the run that the push to %s starts", r.change.Base.Ref)
	}
	if err := r.begin(r.checkName(takeOffCheck), commit); err != nil {
		return err
	}
	return r.concluded(r.takeOff(commit))
}

// branch is what a branch was, merge by merge, and which of its commits took off.
type branch struct {
	line []string            // newest first
	open map[string][]string // tokens whose take-off began at a commit and has no end, by commit
	took map[string]bool     // commits at which a take-off of what is asked for began
	// steps of each take-off that began at a commit; nil: all of the workflow.
	steps map[string][][]string
}

// branchOf reads the branch that a commit is the tip of. What took off is read from the
// tags of the checkout: a job's is made when it starts, and the marks on the forge
// decide all the same.
func (r *ciRun) branchOf(tip string) (branch, error) {
	b := branch{open: map[string][]string{}, took: map[string]bool{}, steps: map[string][][]string{}}
	p, err := r.place()
	if err != nil {
		return b, err
	}
	tree, err := gittree.Open(p.workspace, tip)
	if err != nil {
		return b, err
	}
	if b.line, err = tree.FirstParents(limits.GitHubMerges); err != nil {
		return b, err
	}
	tags, err := tree.Tags(tagTop)
	if err != nil {
		return b, err
	}
	for name, at := range tags {
		token, begun := strings.CutSuffix(strings.TrimPrefix(name, tagTop), "/begun")
		if !begun || !tokenHex.MatchString(token) {
			continue // no mark of ours has such a name
		}
		m, err := stepsOfMark(tree, name, at)
		if err != nil {
			return b, err
		}
		b.steps[at] = append(b.steps[at], m.Steps)
		if m.Step == "" || m.Step == r.flags.step {
			b.took[at] = true
		}
		if _, done := tags[tagTop+token+"/done"]; !done {
			b.open[at] = append(b.open[at], token)
		}
	}
	return b, nil
}

// stepsOfMark tells which steps took off by a tag. What is no message of ours is taken for
// all, and so holds others back.
func stepsOfMark(tree *gittree.Tree, name, at string) (markMessage, error) {
	message, ok, err := tree.TagMessage(name, at)
	var m markMessage
	if err != nil || !ok || protocol.Decode([]byte(strings.TrimSpace(message)), &m) != nil || len(m.Steps) == 0 {
		return markMessage{}, err
	}
	return m, nil
}

// behind refuses the steps of a flight of which a later merge took one off already, also
// beside other steps.
func (r *ciRun) behind(commit string, steps []string) error {
	b, err := r.branchOf(r.flags.governanceRef)
	if err != nil {
		return err
	}
	if b.took[commit] {
		return nil // then the marks say so
	}
	for _, at := range b.line[:max(slices.Index(b.line, commit), 0)] {
		for _, flown := range b.steps[at] {
			if flown == nil || slices.ContainsFunc(flown, func(id string) bool { return slices.Contains(steps, id) }) {
				return olderMerge(at, commit)
			}
		}
	}
	return nil
}

func olderMerge(later, commit string) error {
	return protocol.Errorf(protocol.ExitStale, "merge_older", "the later merge %s took off already, so merge %s does not any more", later, commit).
		WithHint("what it brought is part of the branch: plan a new change that applies it")
}

// pending gives the commits before this one that no take-off began for, oldest first:
// those since the last for which one did. Where none did yet, these are the ones that
// the same push brought.
func (r *ciRun) pending(commit string) ([]string, error) {
	b, err := r.branchOf(commit)
	if err != nil {
		return nil, err
	}
	var out []string
	known := false
	for _, at := range b.line[1:] {
		if open := b.open[at]; len(open) > 0 {
			slices.Sort(open)
			return nil, protocol.Errorf(protocol.ExitIntegrity, "takeoff_open", "the take-off of the earlier merge %s began and has no end, so nothing after it takes off", at).
				WithHint("wait for its run if it is still at work; otherwise look at what it did, and say that it ended with the tag %s%s/done", tagTop, open[0])
		}
		if b.took[at] {
			known = true
			break
		}
		if len(b.took) == 0 && at == r.event.Before {
			known = true
			break
		}
		if len(out) == limits.GitHubPending {
			break
		}
		out = append(out, at)
	}
	if !known {
		return nil, nil // nothing ever took off that this could have been left behind by
	}
	slices.Reverse(out)
	return out, nil
}

// notOlder refuses a merge after which another one took off: what that one left would
// be undone. The commit itself may have taken off; then the marks say so.
// SPEC: docs/protocol.md 9, docs/threats.md T03.
func (r *ciRun) notOlder(commit string) error {
	b, err := r.branchOf(r.flags.governanceRef)
	if err != nil {
		return err
	}
	i := slices.Index(b.line, commit)
	if i < 0 {
		return protocol.Errorf(protocol.ExitStale, "merge_not_on_branch", "commit %s is none of the last %d of %s along first parents", commit, limits.GitHubMerges, r.change.Base.Ref).
			WithHint("only what was merged into the branch takes off, newest first; plan a new change")
	}
	if b.took[commit] {
		return nil
	}
	if later := slices.IndexFunc(b.line[:i], func(at string) bool { return b.took[at] }); later >= 0 {
		return olderMerge(b.line[later], commit)
	}
	return nil
}

// flyEarlier flies an earlier merge from a work tree of its own. That it is refused is
// told and holds nobody up; one that began and did not end does, and so does a forge
// that cannot be asked.
func (r *ciRun) flyEarlier(commit string) error {
	if _, err := r.handOver(); err != nil {
		return err
	}
	app := *r.app
	one := ciRun{app: &app, ctx: r.ctx, job: r.job, event: r.event, forge: r.forge, token: r.token, within: commit, out: r.out}
	one.event.Number, one.event.MergeCommit, one.event.After = 0, commit, commit
	at, remove, err := r.checkout(commit)
	if err != nil {
		return err
	}
	defer remove()
	rel, err := filepath.Rel(r.flags.workspace, r.flags.config)
	if err != nil {
		return err
	}
	app.flags.workspace, app.flags.config = at, filepath.Join(at, rel)
	err = one.flyMerge(commit)
	if err == nil {
		return nil
	}
	if one.holdsUp(err) {
		return err
	}
	told := "The earlier merge " + commit + " did not take off: " + err.Error()
	r.text(told + "\n")
	r.report.Notes = append(r.report.Notes, told)
	return nil
}

// holdsUp says whether what became of an earlier merge keeps later ones from taking off.
func (r *ciRun) holdsUp(err error) bool {
	if r.fence != nil && r.fence.began() || errors.Is(err, protocol.Code("token_consumed")) {
		return true
	}
	switch protocol.ExitCode(err) {
	case protocol.ExitUsage, protocol.ExitDenied, protocol.ExitWaiting, protocol.ExitIntegrity, protocol.ExitStale:
		return false
	}
	return !errors.Is(err, protocol.Code("flight_missing"))
}

// gitEnv is what git gets of the job's environment: no token and nothing that asks for
// one, since the tree that it writes is somebody else's.
func (r *ciRun) gitEnv() []string {
	out := []string{"GIT_TERMINAL_PROMPT=0", "GIT_LFS_SKIP_SMUDGE=1"}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "LANG"} {
		if v, ok := r.env[name]; ok {
			out = append(out, name+"="+v)
		}
	}
	return out
}

// checkout makes a work tree of a commit.
func (r *ciRun) checkout(commit string) (dir string, remove func(), err error) {
	top, err := os.MkdirTemp(r.env["RUNNER_TEMP"], "cabincrew-merge-")
	if err != nil {
		return "", nil, unwritable("RUNNER_TEMP", err)
	}
	dir = filepath.Join(top, "checkout")
	git := func(args ...string) error {
		tame := []string{"-C", r.flags.workspace, "-c", "core.hooksPath=/dev/null", "-c", "filter.lfs.smudge=", "-c", "filter.lfs.process=", "-c", "filter.lfs.required=false"}
		cmd := exec.CommandContext(r.ctx, "git", append(tame, args...)...) //nolint:gosec // a commit's id
		cmd.Env = r.gitEnv()
		out, err := cmd.CombinedOutput()
		if err != nil {
			return protocol.Errorf(protocol.ExitUnreachable, "git_checkout", "commit %s cannot be checked out: %w: %.200s", commit, err, out).
				WithHint("check the repository out with its whole history (fetch-depth: 0)")
		}
		return nil
	}
	remove = func() {
		_ = git("worktree", "remove", "--force", dir) // the job ends with its machine
		_ = os.RemoveAll(top)
	}
	if err := git("worktree", "add", "--detach", dir, commit); err != nil {
		remove()
		return "", nil, err
	}
	return dir, remove, nil
}
