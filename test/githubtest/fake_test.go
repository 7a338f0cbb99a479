package githubtest_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-github/v62/github"

	"github.com/cabincrew/action/test/githubtest"
)

// world is a repository with one pull request.
type world struct {
	s                 *githubtest.Server
	repo              *githubtest.Repo
	alice, bob, carol *githubtest.User
	team              *githubtest.Team
	root, change      string
	pull              *githubtest.Pull
	client            *github.Client
	ctx               context.Context
}

func client(t *testing.T, s *githubtest.Server, token string) *github.Client {
	t.Helper()
	c := github.NewClient(nil).WithAuthToken(token)
	var err error
	if c.BaseURL, err = url.Parse(s.URL() + "/"); err != nil {
		t.Fatal(err)
	}
	return c
}

func newWorld(t *testing.T, options ...githubtest.Option) *world {
	t.Helper()
	w := &world{s: githubtest.New(t, options...), ctx: t.Context()}
	w.alice, w.bob, w.carol = w.s.User("alice"), w.s.User("bob"), w.s.User("carol")
	w.repo = w.s.Repo("acme/infra", githubtest.Private())
	w.repo.Allow(w.alice, "write")
	w.repo.Allow(w.bob, "maintain")
	w.team = w.s.Team("acme/platform", w.bob, w.carol)
	w.root = w.repo.Commit(githubtest.Commit{Message: "root", Author: w.alice, Files: map[string]string{"README.md": "hello\n", "a/b.tf": "one\n"}})
	w.repo.Push("main", w.root, w.alice)
	w.change = w.repo.Commit(githubtest.Commit{Message: "change", Author: w.alice, Parents: []string{w.root}, Files: map[string]string{"a/b.tf": "two\n"}})
	w.repo.Push("feature/x", w.change, w.alice)
	w.pull = w.repo.Open(githubtest.Opened{Title: "Change b", Author: w.alice, Head: "feature/x", Labels: []string{"infra"}, Requested: []*githubtest.User{w.bob}, Teams: []*githubtest.Team{w.team}})
	permissions := githubtest.JobPermissions()
	permissions["members"], permissions["administration"] = "read", "read"
	w.client = client(t, w.s, w.s.Token(githubtest.Token{Repo: w.repo, Permissions: permissions}))
	return w
}

func must[T any](t *testing.T) func(T, *github.Response, error) T {
	return func(v T, _ *github.Response, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestReading asks with the client that the program uses; that each answer keeps
// GitHub's description is checked by the fake itself.
func TestReading(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]githubtest.Option{"github.com": nil, "enterprise": {githubtest.GHES()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options...)
			review := w.pull.Review(w.bob, githubtest.Approved, "fine")
			c, ctx := w.client, w.ctx

			p := must[*github.PullRequest](t)(c.PullRequests.Get(ctx, "acme", "infra", w.pull.Number))
			if p.GetHead().GetSHA() != w.change || p.GetBase().GetSHA() != w.root || p.GetUser().GetID() != w.alice.ID || !p.GetMergeable() || p.GetMergeCommitSHA() != w.pull.MergeCommit() || p.GetHead().GetRepo().GetID() != w.repo.ID || p.GetChangedFiles() != 1 || p.GetCommits() != 1 {
				t.Errorf("the pull request is %v", p)
			}
			rs := must[[]*github.PullRequestReview](t)(c.PullRequests.ListReviews(ctx, "acme", "infra", w.pull.Number, nil))
			if len(rs) != 1 || rs[0].GetID() != review.ID || rs[0].GetCommitID() != w.change || rs[0].GetState() != "APPROVED" || !rs[0].GetSubmittedAt().Equal(github.Timestamp{Time: w.s.Now()}) {
				t.Errorf("the reviews are %v", rs)
			}
			fs := must[[]*github.CommitFile](t)(c.PullRequests.ListFiles(ctx, "acme", "infra", w.pull.Number, nil))
			if len(fs) != 1 || fs[0].GetFilename() != "a/b.tf" || fs[0].GetStatus() != "modified" {
				t.Errorf("the files are %v", fs)
			}
			cs := must[[]*github.RepositoryCommit](t)(c.PullRequests.ListCommits(ctx, "acme", "infra", w.pull.Number, nil))
			if len(cs) != 1 || cs[0].GetSHA() != w.change || cs[0].GetAuthor().GetID() != w.alice.ID {
				t.Errorf("the commits are %v", cs)
			}
			ps := must[[]*github.PullRequest](t)(c.PullRequests.ListPullRequestsWithCommit(ctx, "acme", "infra", w.change, nil))
			if len(ps) != 1 || ps[0].GetNumber() != w.pull.Number {
				t.Errorf("the pulls of the commit are %v", ps)
			}
			must[*github.Repository](t)(c.Repositories.Get(ctx, "acme", "infra"))
			must[*github.RateLimits](t)(c.RateLimit.Get(ctx))
			must[*github.User](t)(c.Users.Get(ctx, "alice"))
			must[*github.Team](t)(c.Teams.GetTeamBySlug(ctx, "acme", "platform"))
			if all := must[[]*github.User](t)(c.Teams.ListTeamMembersBySlug(ctx, "acme", "platform", nil)); len(all) != 2 {
				t.Errorf("the members are %v", all)
			}
			must[*github.Membership](t)(c.Teams.GetTeamMembershipBySlug(ctx, "acme", "platform", "bob"))
			if level := must[*github.RepositoryPermissionLevel](t)(c.Repositories.GetPermissionLevel(ctx, "acme", "infra", "bob")); level.GetPermission() != "write" {
				t.Errorf("the permission is %v", level)
			}
			must[*github.Reference](t)(c.Git.GetRef(ctx, "acme", "infra", "refs/heads/feature/x"))
			must[[]*github.Reference](t)(c.Git.ListMatchingRefs(ctx, "acme", "infra", &github.ReferenceListOptions{Ref: "heads/feature/"}))
			must[*github.Commit](t)(c.Git.GetCommit(ctx, "acme", "infra", w.change))
			must[*github.RepositoryCommit](t)(c.Repositories.GetCommit(ctx, "acme", "infra", "feature/x", nil))
			must[[]*github.RepositoryCommit](t)(c.Repositories.ListCommits(ctx, "acme", "infra", nil))
			must[*github.Tree](t)(c.Git.GetTree(ctx, "acme", "infra", w.change, true))
			file, _, _, err := c.Repositories.GetContents(ctx, "acme", "infra", "a/b.tf", &github.RepositoryContentGetOptions{Ref: w.change})
			if text, err2 := file.GetContent(); err != nil || err2 != nil || text != "two\n" {
				t.Errorf("the file is %q, %v, %v", text, err, err2)
			}
			must[*github.Reviewers](t)(c.PullRequests.ListReviewers(ctx, "acme", "infra", w.pull.Number, nil))
			must[[]*github.PullRequest](t)(c.PullRequests.List(ctx, "acme", "infra", nil))
			must[*github.PullRequestReview](t)(c.PullRequests.GetReview(ctx, "acme", "infra", w.pull.Number, review.ID))
		})
	}
}

func TestWriting(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, ctx := w.client, w.ctx
	k := must[*github.CheckRun](t)(c.Checks.CreateCheckRun(ctx, "acme", "infra", github.CreateCheckRunOptions{
		Name: "cabincrew / flight-plan", HeadSHA: w.change, ExternalID: new("sha256:ab"), Status: new("in_progress"),
		Output: &github.CheckRunOutput{Title: new("t"), Summary: new("s"), Annotations: []*github.CheckRunAnnotation{{Path: new("a.tf"), StartLine: new(1), EndLine: new(1), AnnotationLevel: new("warning"), Message: new("m")}}},
	}))
	k = must[*github.CheckRun](t)(c.Checks.UpdateCheckRun(ctx, "acme", "infra", k.GetID(), github.UpdateCheckRunOptions{Name: "cabincrew / flight-plan", Conclusion: new("action_required")}))
	if k.GetStatus() != "completed" || k.GetConclusion() != "action_required" || k.GetOutput().GetAnnotationsCount() != 1 {
		t.Errorf("the check is %v", k)
	}
	all := must[*github.ListCheckRunsResults](t)(c.Checks.ListCheckRunsForRef(ctx, "acme", "infra", w.change, &github.ListCheckRunsOptions{CheckName: new("cabincrew / flight-plan"), AppID: new(int64(githubtest.ActionsApp))}))
	if all.GetTotal() != 1 {
		t.Errorf("the checks are %v", all)
	}
	must[[]*github.CheckRunAnnotation](t)(c.Checks.ListCheckRunAnnotations(ctx, "acme", "infra", k.GetID(), nil))
	must[*github.CheckRun](t)(c.Checks.GetCheckRun(ctx, "acme", "infra", k.GetID()))
	must[*github.RepoStatus](t)(c.Repositories.CreateStatus(ctx, "acme", "infra", w.change, &github.RepoStatus{State: new("success"), Context: new("x")}))
	must[*github.CombinedStatus](t)(c.Repositories.GetCombinedStatus(ctx, "acme", "infra", w.change, nil))
	must[[]*github.RepoStatus](t)(c.Repositories.ListStatuses(ctx, "acme", "infra", w.change, nil))

	m := must[*github.IssueComment](t)(c.Issues.CreateComment(ctx, "acme", "infra", w.pull.Number, &github.IssueComment{Body: new("x")}))
	must[*github.IssueComment](t)(c.Issues.EditComment(ctx, "acme", "infra", m.GetID(), &github.IssueComment{Body: new("y")}))
	must[*github.IssueComment](t)(c.Issues.GetComment(ctx, "acme", "infra", m.GetID()))
	must[[]*github.IssueComment](t)(c.Issues.ListComments(ctx, "acme", "infra", w.pull.Number, nil))
	i := must[*github.Issue](t)(c.Issues.Create(ctx, "acme", "infra", &github.IssueRequest{Title: new("drift"), Labels: &[]string{"cabincrew"}}))
	must[*github.Issue](t)(c.Issues.Edit(ctx, "acme", "infra", i.GetNumber(), &github.IssueRequest{State: new("closed")}))
	must[*github.Issue](t)(c.Issues.Get(ctx, "acme", "infra", w.pull.Number))
	if list := must[[]*github.Issue](t)(c.Issues.ListByRepo(ctx, "acme", "infra", &github.IssueListByRepoOptions{State: "all", Labels: []string{"cabincrew"}})); len(list) != 1 {
		t.Errorf("the issues are %v", list)
	}
	if _, err := c.Issues.DeleteComment(ctx, "acme", "infra", m.GetID()); err != nil {
		t.Error(err)
	}

	tag := must[*github.Tag](t)(c.Git.CreateTag(ctx, "acme", "infra", &github.Tag{Tag: new("begun"), Message: new("m"), Object: &github.GitObject{SHA: &w.root, Type: new("commit")}}))
	ref := &github.Reference{Ref: new("refs/tags/cabincrew/abc/begun"), Object: &github.GitObject{SHA: tag.SHA}}
	must[*github.Reference](t)(c.Git.CreateRef(ctx, "acme", "infra", ref))
	if _, r, err := c.Git.CreateRef(ctx, "acme", "infra", ref); err == nil || r.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a ref was made twice: %v", err)
	}
	if got := must[*github.Reference](t)(c.Git.GetRef(ctx, "acme", "infra", "tags/cabincrew/abc/begun")); got.GetObject().GetType() != "tag" {
		t.Errorf("the ref is %v", got)
	}
	must[*github.Tag](t)(c.Git.GetTag(ctx, "acme", "infra", tag.GetSHA()))
}
