package githubtest_test

import (
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v62/github"

	"github.com/cabincrew/action/test/githubtest"
)

// status is what an error of the client was answered with.
func status(r *github.Response) int {
	if r == nil {
		return 0
	}
	return r.StatusCode
}

func TestTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	open := w.s.Repo("acme/open")
	other := w.s.Repo("other/secret", githubtest.Private())
	fork := githubtest.Token{Repo: w.repo, Permissions: githubtest.ForkPermissions()}
	gone := w.s.Token(fork)
	w.s.Revoke(gone)
	read := func(c *github.Client, r *githubtest.Repo) int {
		_, answer, _ := c.Repositories.Get(w.ctx, r.Owner.Login, r.Name)
		return status(answer)
	}
	check := func(c *github.Client, _ *githubtest.Repo) int {
		_, answer, _ := c.Checks.CreateCheckRun(w.ctx, "acme", "infra", github.CreateCheckRunOptions{Name: "n", HeadSHA: w.change})
		return status(answer)
	}
	members := func(c *github.Client, _ *githubtest.Repo) int {
		_, answer, _ := c.Teams.ListTeamMembersBySlug(w.ctx, "acme", "platform", nil)
		return status(answer)
	}
	self := func(c *github.Client, _ *githubtest.Repo) int {
		_, answer, _ := c.Users.Get(w.ctx, "")
		return status(answer)
	}
	for _, c := range []struct {
		name  string
		token string
		do    func(*github.Client, *githubtest.Repo) int
		repo  *githubtest.Repo
		want  int
	}{
		{"none", "x", read, w.repo, 401},
		{"one that was revoked", gone, read, w.repo, 401},
		{"of the repository", w.s.Token(fork), read, w.repo, 200},
		{"of another private repository", w.s.Token(fork), read, other, 404},
		{"of another public repository", w.s.Token(fork), read, open, 200},
		{"a fork's may not write", w.s.Token(fork), check, w.repo, 403},
		{"a job's sees no teams", w.s.Token(githubtest.Token{Repo: w.repo, Permissions: githubtest.JobPermissions()}), members, w.repo, 403},
		{"an App's sees teams", w.s.Token(githubtest.Token{App: 7, Permissions: map[string]string{"members": "read"}}), members, w.repo, 200},
		{"a person's makes no checks", w.s.Token(githubtest.Token{User: w.alice, Permissions: map[string]string{"checks": "write"}}), check, w.repo, 403},
		{"a stranger's does not see it", w.s.Token(githubtest.Token{User: w.s.User("mallory"), Permissions: map[string]string{"contents": "read"}}), read, w.repo, 404},
		{"a job's is nobody's", w.s.Token(fork), self, w.repo, 403},
		{"a person's is one's own", w.s.Token(githubtest.Token{User: w.alice}), self, w.repo, 200},
	} {
		if got := c.do(client(t, w.s, c.token), c.repo); got != c.want {
			t.Errorf("%s: %d, not %d", c.name, got, c.want)
		}
	}
}

func TestChecksBelongToApps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	theirs := w.repo.Check(githubtest.CheckRun{App: 99, Name: "cabincrew / flight-plan", SHA: w.change, Conclusion: "success"})
	if _, r, err := w.client.Checks.UpdateCheckRun(w.ctx, "acme", "infra", theirs, github.UpdateCheckRunOptions{Name: "n", Conclusion: new("failure")}); err == nil || status(r) != 403 {
		t.Errorf("another App's check was changed: %v", err)
	}
	mine := must[*github.CheckRun](t)(w.client.Checks.CreateCheckRun(w.ctx, "acme", "infra", github.CreateCheckRunOptions{Name: "cabincrew / flight-plan", HeadSHA: w.change, Conclusion: new("failure")}))
	for _, c := range []struct {
		options github.ListCheckRunsOptions
		want    []int64
	}{
		{github.ListCheckRunsOptions{}, []int64{mine.GetID(), theirs}},
		{github.ListCheckRunsOptions{AppID: new(int64(99))}, []int64{theirs}},
		{github.ListCheckRunsOptions{AppID: new(int64(githubtest.ActionsApp))}, []int64{mine.GetID()}},
		{github.ListCheckRunsOptions{CheckName: new("x")}, nil},
	} {
		all := must[*github.ListCheckRunsResults](t)(w.client.Checks.ListCheckRunsForRef(w.ctx, "acme", "infra", w.change, &c.options))
		var got []int64
		for _, k := range all.CheckRuns {
			got = append(got, k.GetID())
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%v: %v, not %v", c.options, got, c.want)
		}
	}
	again := must[*github.CheckRun](t)(w.client.Checks.CreateCheckRun(w.ctx, "acme", "infra", github.CreateCheckRunOptions{Name: "cabincrew / flight-plan", HeadSHA: w.change, Conclusion: new("success")}))
	ours := github.ListCheckRunsOptions{AppID: new(int64(githubtest.ActionsApp))}
	if all := must[*github.ListCheckRunsResults](t)(w.client.Checks.ListCheckRunsForRef(w.ctx, "acme", "infra", w.change, &ours)); all.GetTotal() != 1 || all.CheckRuns[0].GetID() != again.GetID() {
		t.Errorf("the latest is %v", all)
	}
	ours.Filter = new("all")
	if all := must[*github.ListCheckRunsResults](t)(w.client.Checks.ListCheckRunsForRef(w.ctx, "acme", "infra", w.change, &ours)); all.GetTotal() != 2 {
		t.Errorf("all are %v", all)
	}
}

// TestSizes: what GitHub's description refuses is a violation, which the test takes;
// what the server counts in bytes is only refused.
func TestSizes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	output := func(summary string, notes int) *github.CheckRunOutput {
		o := &github.CheckRunOutput{Title: new("t"), Summary: &summary}
		for range notes {
			o.Annotations = append(o.Annotations, &github.CheckRunAnnotation{Path: new("a"), StartLine: new(1), EndLine: new(1), AnnotationLevel: new("notice"), Message: new("m")})
		}
		return o
	}
	for _, c := range []struct {
		name       string
		options    github.CreateCheckRunOptions
		want       int
		violations int
	}{
		{"at the limit", github.CreateCheckRunOptions{Output: output(strings.Repeat("x", 65535), 50)}, 201, 0},
		{"too many characters", github.CreateCheckRunOptions{Output: output(strings.Repeat("x", 65536), 0)}, 422, 1},
		{"too many bytes", github.CreateCheckRunOptions{Output: output(strings.Repeat("é", 32768), 0)}, 422, 0},
		{"too many annotations", github.CreateCheckRunOptions{Output: output("s", 51)}, 422, 1},
		{"an unknown conclusion", github.CreateCheckRunOptions{Conclusion: new("denied")}, 422, 1},
		{"a commit that is not there", github.CreateCheckRunOptions{HeadSHA: strings.Repeat("0", 40)}, 422, 0},
	} {
		c.options.Name = "n"
		if c.options.HeadSHA == "" {
			c.options.HeadSHA = w.change
		}
		_, r, err := w.client.Checks.CreateCheckRun(w.ctx, "acme", "infra", c.options)
		if status(r) != c.want || len(w.s.Violations()) != c.violations {
			t.Errorf("%s: %d, %v", c.name, status(r), err)
		}
		if c.name == "too many bytes" && !strings.Contains(err.Error(), "exceeds a maximum bytesize of 65535") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	_, r, err := w.client.Issues.CreateComment(w.ctx, "acme", "infra", w.pull.Number, &github.IssueComment{Body: new(strings.Repeat("x", 65537))})
	if status(r) != 422 {
		t.Errorf("a long comment: %v", err)
	}
}

func TestRefs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	set := w.repo.Ruleset(githubtest.Ruleset{Name: "fences", Target: "tag", Include: []string{"refs/tags/cabincrew/**"}, Rules: []githubtest.Rule{{Type: "update"}, {Type: "deletion"}}})
	make1 := func(name, sha string) int {
		_, r, _ := w.client.Git.CreateRef(w.ctx, "acme", "infra", &github.Reference{Ref: &name, Object: &github.GitObject{SHA: &sha}})
		return status(r)
	}
	update := func(name, sha string, force bool) int {
		_, r, _ := w.client.Git.UpdateRef(w.ctx, "acme", "infra", &github.Reference{Ref: &name, Object: &github.GitObject{SHA: &sha}}, force)
		return status(r)
	}
	remove := func(name string) int {
		r, _ := w.client.Git.DeleteRef(w.ctx, "acme", "infra", name)
		return status(r)
	}
	for i, c := range []struct {
		got  func() int
		want int
	}{
		{func() int { return make1("refs/tags/cabincrew/a/begun", w.root) }, 201},
		{func() int { return make1("refs/tags/cabincrew/a/begun", w.root) }, 422},
		{func() int { return make1("refs/tags/cabincrew/a/begun", w.change) }, 422},
		{func() int { return make1("refs/tags/cabincrew/a", w.root) }, 422}, // a file where a directory is
		{func() int { return make1("refs/tags/cabincrew/b", strings.Repeat("1", 40)) }, 422},
		{func() int { return make1("refs/x", w.root) }, 422},
		{func() int { return update("refs/tags/cabincrew/a/begun", w.change, true) }, 422},
		{func() int { return remove("refs/tags/cabincrew/a/begun") }, 422},
		{func() int { return make1("refs/tags/v1", w.root) }, 201},
		{func() int { return update("refs/tags/v1", w.change, false) }, 200},
		{func() int { return update("refs/tags/v1", w.root, false) }, 422},
		{func() int { return update("refs/tags/v1", w.root, true) }, 200},
		{func() int { return remove("refs/tags/v1") }, 204},
		{func() int { w.repo.DropRuleset(set); return remove("refs/tags/cabincrew/a/begun") }, 204},
	} {
		if got := c.got(); got != c.want {
			t.Errorf("step %d: %d, not %d", i, got, c.want)
		}
	}
	if left := w.repo.Refs("refs/tags/"); len(left) != 0 {
		t.Errorf("the tags are %v", left)
	}
}

func TestReviewsKeepTheirCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.pull.Review(w.bob, githubtest.Approved, "")
	w.s.Advance(time.Minute)
	next := w.repo.Commit(githubtest.Commit{Message: "more", Author: w.alice, Parents: []string{w.change}, Files: map[string]string{"c": "3\n"}})
	before := w.pull.MergeCommit()
	w.pull.Push(next, w.alice)
	w.pull.Review(w.carol, githubtest.ChangesRequested, "no")
	w.pull.Dismiss(first)
	w.pull.Review(w.carol, githubtest.Pending, "draft")
	rs := must[[]*github.PullRequestReview](t)(w.client.PullRequests.ListReviews(w.ctx, "acme", "infra", w.pull.Number, nil))
	if len(rs) != 2 || rs[0].GetState() != "DISMISSED" || rs[0].GetCommitID() != w.change || rs[1].GetCommitID() != next || !rs[1].GetSubmittedAt().After(rs[0].GetSubmittedAt().Time) {
		t.Errorf("the reviews are %v", rs)
	}
	if p := must[*github.PullRequest](t)(w.client.PullRequests.Get(w.ctx, "acme", "infra", w.pull.Number)); p.GetHead().GetSHA() != next || p.GetMergeCommitSHA() == before {
		t.Errorf("the pull request is %v", p)
	}
}

func TestMerging(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"merge", "squash", "rebase"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			beside := w.repo.Commit(githubtest.Commit{Message: "beside", Author: w.bob, Parents: []string{w.root}, Files: map[string]string{"README.md": "other\n"}})
			w.repo.Push("main", beside, w.bob)
			tested := must[*github.Commit](t)(w.client.Git.GetCommit(w.ctx, "acme", "infra", w.pull.MergeCommit()))
			sha := w.pull.Merge(w.bob, how)
			p := must[*github.PullRequest](t)(w.client.PullRequests.Get(w.ctx, "acme", "infra", w.pull.Number))
			if !p.GetMerged() || p.GetMergeCommitSHA() != sha || p.GetState() != "closed" || p.GetMergedBy().GetLogin() != "bob" {
				t.Errorf("the pull request is %v", p)
			}
			made := must[*github.Commit](t)(w.client.Git.GetCommit(w.ctx, "acme", "infra", sha))
			if made.GetTree().GetSHA() != tested.GetTree().GetSHA() {
				t.Error("the merged tree is not the tested one")
			}
			if want := map[string]int{"merge": 2, "squash": 1, "rebase": 1}[how]; len(made.Parents) != want {
				t.Errorf("%d parents", len(made.Parents))
			}
			ps := must[[]*github.PullRequest](t)(w.client.PullRequests.ListPullRequestsWithCommit(w.ctx, "acme", "infra", sha, nil))
			if len(ps) != 1 || w.repo.Tip("refs/heads/main") != sha {
				t.Errorf("the pull requests of the merge are %v", ps)
			}
		})
	}
}

func TestConflictsDoNotMerge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.repo.Push("main", w.repo.Commit(githubtest.Commit{Message: "same file", Parents: []string{w.root}, Files: map[string]string{"a/b.tf": "three\n"}}), w.bob)
	p := must[*github.PullRequest](t)(w.client.PullRequests.Get(w.ctx, "acme", "infra", w.pull.Number))
	if p.GetMergeable() || p.GetMergeableState() != "dirty" || p.MergeCommitSHA != nil {
		t.Errorf("the pull request is %v", p)
	}
}

func TestForks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mallory := w.s.User("mallory")
	fork := w.s.Fork(w.repo, mallory)
	sha := fork.Commit(githubtest.Commit{Message: "theirs", Author: mallory, Parents: []string{w.root}, Files: map[string]string{"x": "1\n"}})
	fork.Push("patch", sha, mallory)
	pull := w.repo.Open(githubtest.Opened{Title: "t", Author: mallory, From: fork, Head: "patch"})
	run := w.repo.Start(githubtest.Started{Workflow: planFile, Event: "pull_request", Branch: "patch", SHA: sha, From: fork, Actor: mallory, Pulls: []*githubtest.Pull{pull}})
	if p := must[*github.PullRequest](t)(w.client.PullRequests.Get(w.ctx, "acme", "infra", pull.Number)); p.GetHead().GetRepo().GetID() != fork.ID || p.GetHead().GetLabel() != "mallory:patch" {
		t.Errorf("the pull request is %v", p)
	}
	if r := must[*github.WorkflowRun](t)(w.client.Actions.GetWorkflowRunByID(w.ctx, "acme", "infra", run.ID)); len(r.PullRequests) != 0 || r.GetHeadRepository().GetID() != fork.ID {
		t.Errorf("the run is %v", r)
	}
	pull.LoseHead()
	if p := must[*github.PullRequest](t)(w.client.PullRequests.Get(w.ctx, "acme", "infra", pull.Number)); p.GetHead().Repo != nil {
		t.Errorf("the pull request is %v", p)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 250 {
		w.pull.Review(w.bob, githubtest.Commented, strconv.Itoa(i))
	}
	o, seen, pages := &github.ListOptions{PerPage: 1000}, 0, 0
	for {
		rs, r, err := w.client.PullRequests.ListReviews(w.ctx, "acme", "infra", w.pull.Number, o)
		if err != nil {
			t.Fatal(err)
		}
		seen, pages = seen+len(rs), pages+1
		if r.NextPage == 0 {
			break
		}
		o.Page = r.NextPage
	}
	if seen != 250 || pages != 3 {
		t.Errorf("%d reviews on %d pages", seen, pages)
	}
	calls := w.s.Requests()
	if len(calls) != 3 || calls[0].Op != "pulls/list-reviews" || calls[0].Status != 200 {
		t.Errorf("the calls are %v", calls)
	}
}

func TestManyFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	files := map[string]string{}
	for i := range 3001 {
		files["many/"+strconv.Itoa(i)] = strconv.Itoa(i)
	}
	w.pull.Push(w.repo.Commit(githubtest.Commit{Message: "many", Parents: []string{w.change}, Files: files, Remove: []string{"README.md"}}), w.alice)
	_, r, err := w.client.PullRequests.ListFiles(w.ctx, "acme", "infra", w.pull.Number, &github.ListOptions{PerPage: 100})
	if err != nil || r.LastPage != 30 {
		t.Errorf("%d pages, %v", r.LastPage, err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.s.Budget(3)
	ask := func(tag string) *http.Response {
		r, err := w.client.NewRequest(http.MethodGet, "repos/acme/infra", nil)
		if err != nil {
			t.Fatal(err)
		}
		if tag != "" {
			r.Header.Set("If-None-Match", tag)
		}
		answer, err := w.client.BareDo(w.ctx, r)
		if answer == nil {
			t.Fatal(err)
		}
		return answer.Response
	}
	first := ask("")
	for range 5 { // what is known costs nothing
		if again := ask(first.Header.Get("ETag")); again.StatusCode != http.StatusNotModified || again.Header.Get("X-Ratelimit-Remaining") != "2" {
			t.Fatalf("%d, %s left", again.StatusCode, again.Header.Get("X-Ratelimit-Remaining"))
		}
	}
	ask("")
	ask("")
	_, _, err := w.client.Repositories.Get(w.ctx, "acme", "infra")
	if limit := new(github.RateLimitError); !errors.As(err, &limit) || limit.Rate.Remaining != 0 || !limit.Rate.Reset.Equal(github.Timestamp{Time: w.s.Now().Add(time.Hour)}) {
		t.Errorf("after the limit: %v", err)
	}
	w.s.Advance(time.Hour)
	if left := must[*github.RateLimits](t)(w.client.RateLimit.Get(w.ctx)); left.GetCore().Remaining != 3 {
		t.Errorf("an hour later: %v", left)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	never := make(chan struct{})
	close(never)
	for _, c := range []struct {
		name  string
		fault githubtest.Fault
		want  int
		done  bool
	}{
		{"a gateway", githubtest.Fault{Status: 502}, 502, false},
		{"a broken connection", githubtest.Fault{Reset: true}, 0, false},
		{"a lost answer", githubtest.Fault{Lost: true}, 0, true},
		{"half an answer", githubtest.Fault{Truncate: true}, 0, true},
		{"a late answer", githubtest.Fault{Slow: never}, 201, true},
		{"too fast", githubtest.SecondaryLimit(30 * time.Second), 403, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.s.Fail("issues/create-comment", 1, c.fault)
			_, r, err := w.client.Issues.CreateComment(w.ctx, "acme", "infra", w.pull.Number, &github.IssueComment{Body: new("x")})
			if c.want != 0 && status(r) != c.want || (err == nil) != (c.want == 201) {
				t.Errorf("%d, %v", status(r), err)
			}
			if done := len(w.repo.Comments(w.pull.Number)) == 1; done != c.done {
				t.Errorf("done is %v", done)
			}
			if limit := new(github.AbuseRateLimitError); c.want == 403 && (!errors.As(err, &limit) || limit.GetRetryAfter() != 30*time.Second) {
				t.Errorf("the limit is %v", err)
			}
			if c.want != 403 { // the client would not ask before it may
				must[[]*github.PullRequest](t)(w.client.PullRequests.List(w.ctx, "acme", "infra", nil))
			}
		})
	}
}

func TestFaultOfOnePage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.s.Fail("pulls/list-reviews", 1, githubtest.Fault{Page: 2, Status: 500})
	must[[]*github.PullRequestReview](t)(w.client.PullRequests.ListReviews(w.ctx, "acme", "infra", w.pull.Number, nil))
	if _, r, err := w.client.PullRequests.ListReviews(w.ctx, "acme", "infra", w.pull.Number, &github.ListOptions{Page: 2}); err == nil || status(r) != 500 {
		t.Errorf("the second page: %v", err)
	}
}

func TestUnknownIsAViolation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, path := range []string{"repos/acme/infra/nothing", "repos/acme/infra?with=this"} {
		r, err := w.client.NewRequest(http.MethodGet, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.client.Do(w.ctx, r, nil); err == nil {
			t.Errorf("%s was answered", path)
		}
		if got := w.s.Violations(); len(got) != 1 {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestRealRepository(t *testing.T) {
	t.Parallel()
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("git is not installed")
	}
	dir := filepath.Join(t.TempDir(), "r.git")
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), git, append([]string{"--git-dir", dir, "-c", "user.name=x", "-c", "user.email=x@example.com"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("init", "-q", "--bare", "-b", "main")
	tree := run("mktree", "--missing")
	root := run("commit-tree", "-m", "root", tree)
	run("update-ref", "refs/heads/main", root)
	next := run("commit-tree", "-m", "next", "-p", root, tree)
	run("update-ref", "refs/heads/x", next)

	s := githubtest.New(t)
	repo := s.Repo("acme/infra", githubtest.GitDir(dir))
	pull := repo.Open(githubtest.Opened{Title: "t", Author: s.User("alice"), Head: "x"})
	c := client(t, s, s.Token(githubtest.Token{Repo: repo, Permissions: githubtest.JobPermissions()}))
	if merge := run("rev-parse", "refs/pull/1/merge"); merge != pull.MergeCommit() || run("rev-parse", merge+"^2") != next {
		t.Errorf("git sees %s as the test merge", merge)
	}
	tag := must[*github.Tag](t)(c.Git.CreateTag(t.Context(), "acme", "infra", &github.Tag{Tag: new("b"), Message: new("m\n"), Object: &github.GitObject{SHA: &root, Type: new("commit")}}))
	must[*github.Reference](t)(c.Git.CreateRef(t.Context(), "acme", "infra", &github.Reference{Ref: new("refs/tags/b"), Object: &github.GitObject{SHA: tag.SHA}}))
	if got := run("cat-file", "-t", "refs/tags/b"); got != "tag" {
		t.Errorf("git sees a %s", got)
	}
	run("fsck", "--strict")
	more := run("commit-tree", "-m", "more", "-p", next, tree)
	run("update-ref", "refs/heads/x", more)
	if pull.Head() != more {
		t.Error("the pull request does not follow what git pushed")
	}
}
