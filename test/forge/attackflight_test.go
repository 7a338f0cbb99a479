package forge

import (
	"archive/zip"
	"bytes"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/test/githubtest"
)

// judged is what a planning job handed over, as the artifact of its run.
func (p planned) judged(r *rig) []byte {
	r.t.Helper()
	return zipOf(r.t, filepath.Join(p.got.outputs["flight-path"], "judged"))
}

// approve has bob approve the change as it is.
func (r *rig) approve(p *githubtest.Pull) *githubtest.Review {
	v := p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	return v
}

// TestT02PlanOfAnotherChange gives the run of one change the signed and approved plan of
// another.
func TestT02PlanOfAnotherChange(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	a, b := r.open("feature", "two\n"), r.open("other", "two\n")
	first := r.plan(a, "opened", 0)
	second := r.plan(b, "opened", 0)
	r.approve(a)
	r.approve(b)
	second.run.UploadZip("cabincrew-judged", first.judged(r))
	r.landRefused(b, 5, "flight_foreign")
}

// TestT02PlanOfAnotherCommit gives the run of the newest commit the plan of an older
// one, which was approved, too.
func TestT02PlanOfAnotherCommit(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	first := r.plan(p, "opened", 0)
	r.approve(p)
	r.pushMore(p, "three\n")
	second := r.plan(p, "synchronize", 0)
	r.approve(p)
	r.hub.Advance(time.Second)
	second.run.UploadZip("cabincrew-judged", first.judged(r))
	r.landRefused(p, 5, "flight_foreign")
}

// TestT02PlanOfAnotherRepository gives it that of a repository which differs by its number
// only: files, commits, key, change and run are the same.
func TestT02PlanOfAnotherRepository(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	own := r.repo.ID
	r.repo.ID += 1_000_000
	r.plan(p, "opened", 0)
	r.repo.ID = own
	r.approve(p)
	r.landRefused(p, 5, "[flight_foreign]")
}

// TestT03OlderPlanOfTheSameCommit gives the newest run the plan of an older run of the
// same commit.
func TestT03OlderPlanOfTheSameCommit(t *testing.T) {
	t.Parallel()
	r := newRandomRig(t)
	p := r.open("feature", "two\n")
	first := r.plan(p, "opened", 0)
	second := r.plan(p, "reopened", 0)
	p.Review(r.bob, githubtest.Approved, "fine: "+r.code(first))
	r.hub.Advance(time.Second)
	second.run.UploadZip("cabincrew-judged", first.judged(r))
	r.landRefused(p, 5, "flight_foreign")
}

// TestT39NewestPlanIsWithheld deletes, or lets expire, what the newest run planned.
func TestT39NewestPlanIsWithheld(t *testing.T) {
	t.Parallel()
	for name, withhold := range map[string]func(*githubtest.Artifact){
		"deleted": (*githubtest.Artifact).Delete,
		"expired": (*githubtest.Artifact).Expire,
		"cut":     func(a *githubtest.Artifact) { a.Replace([]byte("PK")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byReview, nil)
			p := r.open("feature", "two\n")
			r.plan(p, "opened", 0)
			r.approve(p)
			second := r.plan(p, "reopened", 0)
			withhold(second.kept)
			r.landRefused(p, map[bool]int{true: 5, false: 7}[name == "cut"], "")
		})
	}
}

// TestT39NewestRunIsNotDone has a newer run that has not ended, or failed.
func TestT39NewestRunIsNotDone(t *testing.T) {
	t.Parallel()
	for _, conclusion := range []string{"", "failure", "cancelled"} {
		t.Run(conclusion, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byReview, nil)
			p := r.open("feature", "two\n")
			r.plan(p, "opened", 0)
			r.approve(p)
			run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "pull_request", Branch: "feature", SHA: p.Head(), Actor: r.author})
			if conclusion != "" {
				run.Finish(conclusion)
			}
			r.hub.Advance(time.Second)
			r.landRefused(p, 7, "flight_missing")
		})
	}
}

// TestT15RunsThatDoNotCount puts a genuine plan into runs of other workflows and events:
// they are not looked at, and nor does a run of reviews hide the plan.
func TestT15RunsThatDoNotCount(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	got := r.plan(p, "opened", 0)
	r.approve(p)
	for _, o := range []githubtest.Started{
		{Workflow: ".github/workflows/evil.yml", Event: "pull_request"},
		{Workflow: workflowFile, Event: "pull_request_review"},
		{Workflow: workflowFile, Event: "workflow_dispatch"},
		{Workflow: workflowFile, Event: "push"},
	} {
		o.Branch, o.SHA, o.Actor = "feature", p.Head(), r.author
		run := r.repo.Start(o)
		run.UploadZip("cabincrew-judged", []byte("PK"))
		run.Finish("success")
		r.hub.Advance(time.Second)
	}
	_ = got
	r.land(p, 0)
}

// TestT15WorkflowWasRenamed plans in a file that the take-off does not know.
func TestT15WorkflowWasRenamed(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	run := r.repo.Start(githubtest.Started{Workflow: ".github/workflows/renamed.yml", Event: "pull_request", Branch: "feature", SHA: p.Head(), Actor: r.author})
	j := r.pullRequest(p, "opened", strconv.FormatInt(run.ID, 10))
	j.env = map[string]string{"GITHUB_WORKFLOW_REF": r.repo.FullName() + "/.github/workflows/renamed.yml@" + j.ref}
	got := r.want(0, "auto", j)
	run.UploadZip("cabincrew-judged", zipOf(t, filepath.Join(got.outputs["flight-path"], "judged")))
	run.Finish("success")
	r.later()
	r.approve(p)
	r.repo.AddWorkflow(workflowFile)
	r.landRefused(p, 7, "flight_missing")
}

// TestT15RunOfAFork has a run of a fork's repository with the same commit: it neither
// counts nor holds the change back.
func TestT15RunOfAFork(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	got := r.plan(p, "opened", 0)
	r.approve(p)
	mallory := r.hub.User("mallory")
	fork := r.hub.Fork(r.repo, mallory)
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "pull_request", Branch: "feature", SHA: p.Head(), Actor: mallory, From: fork})
	run.UploadZip("cabincrew-judged", got.judged(r))
	run.Finish("success")
	r.later()
	r.land(p, 0) // it is none of the change's
}

// TestT16HostileArchives replaces the artifact by archives that are made to do harm.
func TestT16HostileArchives(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	got := r.plan(p, "opened", 0)
	r.approve(p)
	before := r.repo.Tip("refs/heads/main")
	commit := p.Merge(r.author, "merge")
	for name, files := range map[string][]string{
		"traversal": {"../flight.tar.zst"}, "absolute": {"/flight.tar.zst"}, "twice": {"flight.tar.zst", "flight.tar.zst"},
		"case": {"flight.tar.zst", "Flight.tar.zst"}, "empty": {}, "other": {"x"}, "garbage": {"flight.tar.zst"},
	} {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for _, f := range files {
			w, err := z.Create(f)
			must(t, err)
			_, err = w.Write([]byte("garbage"))
			must(t, err)
		}
		must(t, z.Close())
		got.kept.Delete()
		got.kept = got.run.UploadZip("cabincrew-judged", b.Bytes())
		run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "push", Branch: "main", SHA: commit, Actor: r.author})
		res := r.do("auto", r.push(commit, before, strconv.FormatInt(run.ID, 10)))
		if res.code != 5 {
			t.Errorf("%s: exit %d\n%s", name, res.code, res.stderr)
		}
		r.refused(res, "")
	}
}

// TestT17HandMadeMerge has the merge commit differ from what was planned.
func TestT17HandMadeMerge(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	r.approve(p)
	before := r.repo.Tip("refs/heads/main")
	evil := r.repo.Commit(githubtest.Commit{Author: r.author, Message: "merge", Parents: []string{before, p.Head()}, Files: map[string]string{"app.txt": "evil\n"}})
	p.MergedBy(r.author, evil)
	r.refused(r.takeOff(evil, before, 6), "workspace_changed")
}

// TestT17BaseMoved changes another file that the step reads, between plan and merge.
func TestT17BaseMoved(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	r.endorse(r.onMain(map[string]string{"lib.txt": "1\n", ".cabincrew.yaml": strings.Replace(r.configuration(byReview), "[app.txt]", "[app.txt, lib.txt]", 1)}))
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	r.approve(p)
	r.onMain(map[string]string{"lib.txt": "2\n"})
	r.landRefused(p, 6, "workspace_changed")
}

// onMain pushes files to the default branch, past all changes.
func (r *rig) onMain(files map[string]string) string {
	r.t.Helper()
	sha := r.repo.Commit(githubtest.Commit{Author: r.author, Message: "on main", Parents: []string{r.repo.Tip("refs/heads/main")}, Files: files})
	r.repo.Push("main", sha, r.author)
	return sha
}

// TestT17CheckoutIsNotTheMerge plans something else than the forge's merge.
func TestT17CheckoutIsNotTheMerge(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	evil := r.repo.Commit(githubtest.Commit{Author: r.author, Message: "evil", Parents: []string{r.repo.Tip("refs/heads/main")}, Files: map[string]string{"app.txt": "evil\n"}})
	for name, sha := range map[string]string{"head": p.Head(), "base": r.repo.Tip("refs/heads/main"), "another": evil} {
		r.repo.Tag("x-"+name, sha)
		j := r.pullRequest(p, "opened", "77")
		j.sha = sha
		r.refused(r.want(6, "auto", j), "[checkout_wrong]")
	}
}

// TestT17CheckoutIsAHandMadeMerge plans a merge with the parents of the forge's and a tree
// of its own, which the tree that is merged gives away.
func TestT17CheckoutIsAHandMadeMerge(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	merged := r.repo.Commit(githubtest.Commit{Author: r.author, Message: "merge", Parents: []string{r.repo.Tip("refs/heads/main"), p.Head()}, Files: map[string]string{"app.txt": "evil\n"}})
	r.repo.Tag("x", merged)
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "pull_request", Branch: "feature", SHA: p.Head(), Actor: r.author})
	j := r.pullRequest(p, "opened", strconv.FormatInt(run.ID, 10))
	j.sha = merged
	got := r.want(0, "auto", j)
	run.UploadZip("cabincrew-judged", zipOf(t, filepath.Join(got.outputs["flight-path"], "judged")))
	run.Finish("success")
	r.later()
	r.approve(p)
	r.landRefused(p, 6, "[workspace_changed]")
}

// TestT32BaseOfOnesOwn merges into a branch of one's own with a lax configuration.
func TestT32BaseOfOnesOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	lax := r.repo.Commit(githubtest.Commit{
		Author: r.author, Message: "lax", Parents: []string{r.repo.Tip("refs/heads/main")},
		Files: map[string]string{".cabincrew.yaml": r.configuration("") + "governance: {refs: [mine, main]}\n", "pol/rig.rego": "package cabincrew.rig\n\nwarn contains \"x\" if true\n"},
	})
	r.repo.Push("mine", lax, r.author)
	head := r.repo.Commit(githubtest.Commit{Author: r.author, Message: "feature", Parents: []string{lax}, Files: map[string]string{"app.txt": "two\n"}})
	r.repo.Push("feature", head, r.author)
	p := r.repo.Open(githubtest.Opened{Title: "x", Author: r.author, Head: "feature", Base: "mine"})
	j := r.pullRequest(p, "opened", "77")
	j.payload["pull_request"].(map[string]any)["base"] = map[string]any{"ref": "mine", "sha": lax, "repo": r.repository()}
	got := r.want(5, "auto", j)
	r.refused(got, "governance_branch")
	commit := p.Merge(r.author, "merge")
	push := r.push(commit, lax, "78")
	push.ref = "refs/heads/mine"
	push.payload["ref"] = push.ref
	r.refused(r.want(5, "auto", push), "governance_branch")
}

// TestT04RunAgainAfterACrash finds the mark of a take-off that began and has none that
// says done: that waits for a person, however often it is run again.
func TestT04RunAgainAfterACrash(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	got := r.plan(p, "opened", 0)
	r.approve(p)
	before := r.repo.Tip("refs/heads/main")
	commit := p.Merge(r.author, "merge")
	token := strings.TrimPrefix(got.got.outputs["plan-token"], "sha256:")
	r.mark("cabincrew/"+token+"/begun", commit, `{"content":"another runner","run":"https://example.com"}`)
	for range 2 {
		r.notApplied(r.takeOff(commit, before, 5), "token_")
	}
}

// mark makes an annotated tag past the program.
func (r *rig) mark(name, commit, message string) {
	r.t.Helper()
	r.git(r.origin, "-c", "user.name=x", "-c", "user.email=x@example.com", "tag", "-a", "-m", message, name, commit)
}

// TestT44CutReportNeedsTheCode plans more than a check can show.
func TestT44CutReportNeedsTheCode(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"many lines": strings.Repeat("another line of many\n", 4000),
		"long line":  strings.Repeat("x", 20_000) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byReview, nil)
			p := r.open("feature", content)
			got := r.plan(p, "opened", 0)
			r.approve(p)
			before := r.repo.Tip("refs/heads/main")
			commit := p.Merge(r.author, "merge")
			r.refused(r.takeOff(commit, before, 4), "did not name the flight's code")
			p.Review(r.bob, githubtest.Approved, "fine: "+r.code(got))
			r.hub.Advance(time.Second)
			r.takeOff(commit, before, 0)
		})
	}
}
