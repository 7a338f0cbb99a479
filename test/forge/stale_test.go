package forge

import (
	"strings"
	"testing"

	"github.com/cabincrew/action/test/githubtest"
)

// beside lets the step of the rig see a second file, which its artifacts don't show.
func (r *rig) beside(rest string) {
	r.t.Helper()
	r.commit(map[string]string{".cabincrew.yaml": strings.Replace(r.configuration(rest), "[app.txt]", "[app.txt, beside.txt]", 1), "beside.txt": "one\n"})
}

// commit pushes files to the default branch.
func (r *rig) commit(files map[string]string) string {
	r.t.Helper()
	sha := r.repo.Commit(githubtest.Commit{Author: r.author, Message: "by hand", Parents: []string{r.repo.Tip("refs/heads/main")}, Files: files})
	r.repo.Push("main", sha, r.author)
	return sha
}

// TestT45OtherFilesBeside: the base moved, so that the plan's artifacts are the same and
// what a take-off could read beside them is not.
func TestT45OtherFilesBeside(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"merge", "squash", "rebase"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byReview, nil)
			r.beside(byReview)
			r.endorse(r.repo.Tip("refs/heads/main"))
			p := r.approved("feature", "two\n")
			before := r.commit(map[string]string{"beside.txt": "two\n"})
			got := r.takeOff(p.pull.Merge(r.author, how), before, 6)
			if !strings.Contains(got.stderr, "workspace_changed") {
				t.Errorf("it says %s", got.stderr)
			}
			r.wantTagged("", p)
		})
	}
}

// TestT17UnrelatedBase: a base that moved where the step sees nothing changes nothing.
func TestT17UnrelatedBase(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.approved("feature", "two\n")
	before := r.commit(map[string]string{"readme.txt": "two\n"})
	r.takeOff(p.pull.Merge(r.author, "squash"), before, 0)
	r.wantTagged("begun done", p)
}

// TestT17BranchMoved: the branch was wound back after the merge, so the commit is none
// of its any more.
func TestT17BranchMoved(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.approved("feature", "two\n")
	before := r.repo.Tip("refs/heads/main")
	commit := p.pull.Merge(r.author, "merge")
	r.repo.Push("kept", commit, r.author)
	r.repo.Push("main", before, r.author)
	got := r.takeOff(commit, before, 6)
	if !strings.Contains(got.stderr, "merge_not_on_branch") {
		t.Errorf("it says %s", got.stderr)
	}
	r.wantTagged("", p)
}
