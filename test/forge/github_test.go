package forge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/test/githubtest"
)

// world is a repository with one pull request, and a client of it.
type world struct {
	s                 *githubtest.Server
	repo              *githubtest.Repo
	alice, bob, carol *githubtest.User
	root, change      string
	pull              *githubtest.Pull
	c                 *github.Client
}

func newWorld(t *testing.T, options ...githubtest.Option) *world {
	t.Helper()
	w := &world{s: githubtest.New(t, options...)}
	w.alice, w.bob, w.carol = w.s.User("alice"), w.s.User("bob"), w.s.User("carol")
	w.repo = w.s.Repo("acme/infra", githubtest.Private())
	w.repo.Allow(w.alice, "write")
	w.repo.Allow(w.bob, "maintain")
	w.s.Team("acme/platform", w.bob)
	w.root = w.repo.Commit(githubtest.Commit{Message: "root", Author: w.alice, Files: map[string]string{"README.md": "hello\n", ".github/CODEOWNERS": "* @acme/platform\n"}})
	w.repo.Push("main", w.root, w.alice)
	w.change = w.repo.Commit(githubtest.Commit{Message: "change", Author: w.alice, Parents: []string{w.root}, Files: map[string]string{"a/b.tf": "two\n"}})
	w.repo.Push("feature/x", w.change, w.alice)
	w.pull = w.repo.Open(githubtest.Opened{Title: "Change b", Author: w.alice, Head: "feature/x", Labels: []string{"infra"}})
	permissions := githubtest.JobPermissions()
	permissions["members"], permissions["administration"] = "read", "read"
	w.c = w.client(t, w.s.Token(githubtest.Token{Repo: w.repo, Permissions: permissions}))
	return w
}

func (w *world) client(t *testing.T, token string) *github.Client {
	t.Helper()
	c, err := github.New(github.Options{
		BaseURL: w.s.URL(), Token: token, Repository: "acme/infra", Now: w.s.Now, Rand: rand.Reader,
		Sleep: func(ctx context.Context, d time.Duration) error {
			w.s.Advance(d)
			return ctx.Err()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (w *world) person(u *githubtest.User) ci.Person {
	return ci.Person{ID: strconv.FormatInt(u.ID, 10), Login: u.Login}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t *testing.T, err error, code string, exit int) {
	t.Helper()
	var e *protocol.Error
	if !errors.As(err, &e) || e.Code != code || e.ExitCode() != exit {
		t.Fatalf("error %v, want %s with exit %d", err, code, exit)
	}
}

func TestGitHubIsRead(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]githubtest.Option{"github.com": nil, "enterprise": {githubtest.GHES()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options...)
			ctx := t.Context()
			review := w.pull.Review(w.bob, githubtest.Approved, "fine")
			repo, err := w.c.Repository(ctx)
			if must(t, err); repo.ID != strconv.FormatInt(w.repo.ID, 10) || repo.DefaultBranch != "main" || !repo.Private {
				t.Errorf("%+v", repo)
			}
			p, err := w.c.Change(ctx, w.pull.Number)
			if must(t, err); p.Head.SHA != w.change || p.Base.SHA != w.root || p.Author != w.person(w.alice) || !p.Open || p.MergeCommit != w.pull.MergeCommit() || p.Head.RepositoryID != repo.ID {
				t.Errorf("%+v", p)
			}
			of, err := w.c.ChangesOf(ctx, w.change)
			if must(t, err); len(of) != 1 || of[0].Number != w.pull.Number {
				t.Errorf("%+v", of)
			}
			files, err := w.c.Files(ctx, w.pull.Number, p.ChangedFiles)
			if must(t, err); !slices.Equal(files, []github.File{{Path: "a/b.tf", Status: "added"}}) {
				t.Errorf("%+v", files)
			}
			_, err = w.c.CommitAuthors(ctx, w.pull.Number, p.Commits)
			must(t, err)
			acts, err := w.c.Reviews(ctx, w.pull.Number)
			if must(t, err); len(acts) != 1 || acts[0].ID != strconv.FormatInt(review.ID, 10) || acts[0].Person != w.person(w.bob) || acts[0].State != ci.StateApproved || acts[0].Commit != w.change || !acts[0].At.Equal(w.s.Now()) {
				t.Errorf("%+v", acts)
			}
			for who, in := range map[*githubtest.User]bool{w.bob: true, w.carol: false} {
				if got, err := w.c.InTeam(ctx, "acme/platform", w.person(who)); err != nil || got != in {
					t.Errorf("%s: %t %v", who.Login, got, err)
				}
			}
			for who, want := range map[*githubtest.User]string{w.alice: "write", w.bob: "maintain", w.carol: "none"} {
				if got, err := w.c.Permission(ctx, w.person(who)); err != nil || got != want {
					t.Errorf("%s: %q %v", who.Login, got, err)
				}
			}
			data, found, err := w.c.Content(ctx, ".github/CODEOWNERS", w.root, 1<<20)
			if must(t, err); !found || string(data) != "* @acme/platform\n" {
				t.Errorf("%q %t", data, found)
			}
			if _, found, err = w.c.Content(ctx, "CODEOWNERS", w.root, 1<<20); err != nil || found {
				t.Errorf("%t %v", found, err)
			}
			branch, err := w.c.Branch(ctx, "feature/x")
			if must(t, err); branch.SHA != w.change {
				t.Errorf("%+v", branch)
			}
			if up, err := w.c.IsAncestor(ctx, w.root, w.change); err != nil || !up {
				t.Errorf("%t %v", up, err)
			}
			if up, err := w.c.IsAncestor(ctx, w.change, w.root); err != nil || up {
				t.Errorf("%t %v", up, err)
			}
			pushes, err := w.c.Activity(ctx, "refs/heads/feature/x")
			if must(t, err); len(pushes) != 1 || pushes[0].Actor != w.person(w.alice) || pushes[0].After != w.change {
				t.Errorf("%+v", pushes)
			}
		})
	}
}

func TestGitHubIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	k := github.Check{Name: "cabincrew / flight-plan", HeadSHA: w.change, ExternalID: "sha256:x", Status: "in_progress", Title: "t", Summary: "s"}
	made, err := w.c.StartCheck(ctx, k)
	must(t, err)
	k.ID, k.Status, k.Conclusion, k.Text = made.ID, "completed", "failure", "x"
	for i := range 120 {
		k.Annotations = append(k.Annotations, github.Annotation{Path: "a/b.tf", StartLine: i + 1, EndLine: i + 1, Level: "warning", Title: "T", Message: "m"})
	}
	_, err = w.c.UpdateCheck(ctx, k)
	must(t, err)
	have, err := w.c.Checks(ctx, w.change, k.Name)
	if must(t, err); len(have) != 1 || have[0].Conclusion != "failure" || have[0].ExternalID != "sha256:x" || have[0].Text != "x" || have[0].AppID != strconv.Itoa(githubtest.ActionsApp) {
		t.Errorf("%+v", have)
	}
	w.repo.Comment(w.pull.Number, w.carol, "<!-- cabincrew:plan -->\nforged")
	for _, text := range []string{"one", "two", "two"} {
		_, err := w.c.Comment(ctx, w.pull.Number, "cabincrew:plan", text)
		must(t, err)
	}
	if all := w.repo.Comments(w.pull.Number); len(all) != 2 || !strings.HasSuffix(all[1].Body, "two") || !strings.HasSuffix(all[0].Body, "forged") {
		t.Errorf("%+v", all)
	}
	for _, text := range []string{"one", "two"} {
		_, err := w.c.OpenIssue(ctx, "cabincrew:drift", "Drift", text, []string{"cabincrew"})
		must(t, err)
	}
	if all := w.repo.Issues(); len(all) != 1 || !strings.HasSuffix(all[0].Body, "two") {
		t.Errorf("%+v", all)
	}
}

const begun = "cabincrew/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/begun"

func TestGitHubMarks(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string][]githubtest.Fault{
		"well":           nil,
		"lost":           {{Lost: true}},
		"lost before":    {{Reset: true}},
		"both":           {{Reset: true}, {Lost: true}},
		"502":            {{Status: 502}},
		"limited":        {githubtest.SecondaryLimit(20 * time.Second)},
		"cut afterwards": {{Truncate: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for _, f := range faults {
				w.s.Fail("git/create-ref", 1, f)
			}
			made, err := w.c.Mark(t.Context(), begun, w.root, "run 5\n")
			if must(t, err); !made {
				t.Error("it was not made")
			}
			if made, err = w.c.Mark(t.Context(), begun, w.root, "run 5\n"); err != nil || made {
				t.Errorf("made twice: %v", err)
			}
			message, made, err := w.c.Marked(t.Context(), begun)
			if must(t, err); !made || strings.TrimSpace(message) != "run 5" {
				t.Errorf("%q %t", message, made)
			}
			all, err := w.c.Marks(t.Context(), "cabincrew/")
			must(t, err)
			if made, err := w.c.PointMark(t.Context(), "cabincrew/lines/a/b", all[begun]); err != nil || !made {
				t.Errorf("%t %v", made, err)
			}
			if all, err = w.c.Marks(t.Context(), "cabincrew/"); err != nil || len(all) != 2 {
				t.Errorf("%v %v", all, err)
			}
		})
	}
}

// TestT28GitHubFails has each kind of question meet each kind of failure: what passes
// does no harm, what stays is an error.
func TestT28GitHubFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 150 {
		w.pull.Review(w.bob, githubtest.Commented, fmt.Sprint(i))
	}
	questions := map[string]func(ctx context.Context, c *github.Client) (int, error){
		"pulls/get": func(ctx context.Context, c *github.Client) (int, error) {
			p, err := c.Change(ctx, w.pull.Number)
			return p.Commits, err
		},
		"pulls/list-reviews": func(ctx context.Context, c *github.Client) (int, error) {
			acts, err := c.Reviews(ctx, w.pull.Number)
			return len(acts), err
		},
		"teams/list-members-in-org": func(ctx context.Context, c *github.Client) (int, error) {
			in, err := c.InTeam(ctx, "acme/platform", w.person(w.bob))
			return map[bool]int{true: 1}[in], err
		},
		"git/get-ref": func(ctx context.Context, c *github.Client) (int, error) {
			_, made, err := c.Marked(ctx, begun)
			return map[bool]int{false: 1}[made], err
		},
	}
	permissions := githubtest.JobPermissions()
	permissions["members"] = "read"
	for op, ask := range questions {
		for name, f := range map[string]githubtest.Fault{
			"500": {Status: 500}, "502": {Status: 502}, "503": {Status: 503, RetryAfter: 5 * time.Second}, "reset": {Reset: true},
			"cut": {Truncate: true}, "secondary": githubtest.SecondaryLimit(30 * time.Second), "429": {Status: 429, RetryAfter: time.Second},
		} {
			client := w.client(t, w.s.Token(githubtest.Token{Repo: w.repo, Permissions: permissions}))
			w.s.Fail(op, 2, f)
			if n, err := ask(t.Context(), client); err != nil || n == 0 {
				t.Errorf("%s, %s twice: %d %v", op, name, n, err)
			}
			client = w.client(t, w.s.Token(githubtest.Token{Repo: w.repo, Permissions: permissions}))
			w.s.Fail(op, 5, f)
			_, err := ask(t.Context(), client)
			if protocol.ExitCode(err) != protocol.ExitUnreachable {
				t.Errorf("%s, %s for good: %v", op, name, err)
			}
		}
	}
	w.s.Fail("pulls/list-reviews", 5, githubtest.Fault{Status: 502, Page: 2})
	_, err := w.c.Reviews(t.Context(), w.pull.Number)
	wants(t, err, "forge_unreachable", 7)
}

func TestGitHubRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	poor := w.client(t, w.s.Token(githubtest.Token{Repo: w.repo, Permissions: map[string]string{"contents": "read"}}))
	_, err := poor.StartCheck(t.Context(), github.Check{Name: "n", HeadSHA: w.change, Status: "in_progress"})
	wants(t, err, "forge_refused", 7)
	var e *protocol.Error
	if !errors.As(err, &e) || !strings.Contains(e.Hint, "checks") {
		t.Errorf("%+v", e)
	}
	_, err = poor.Mark(t.Context(), begun, w.root, "x")
	wants(t, err, "forge_refused", 7)
	_, err = poor.InTeam(t.Context(), "acme/platform", w.person(w.bob))
	wants(t, err, "forge_refused", 7)
	if _, err = w.c.InTeam(t.Context(), "acme/nobody", w.person(w.bob)); err == nil {
		t.Error("a team that is not there has members")
	}
	wrong := w.client(t, "ghs_wrong")
	_, err = wrong.Repository(t.Context())
	wants(t, err, "forge_refused", 7)
	if strings.Contains(err.Error(), "ghs_wrong") {
		t.Error("the token is told")
	}
	_, err = w.c.Change(t.Context(), 999)
	wants(t, err, "forge_refused", 7)
}

// TestGitHubBudget uses up the calls of an hour: the client waits for the next one only
// if that is soon.
func TestGitHubBudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.s.Budget(2)
	for range 5 { // an answer that is still true is free
		_, err := w.c.Repository(t.Context())
		must(t, err)
	}
	_, err := w.c.Reviews(t.Context(), w.pull.Number)
	must(t, err)
	_, err = w.c.Change(t.Context(), w.pull.Number)
	wants(t, err, "forge_rate_limited", 7)
	asked := w.c.Calls()
	w.s.Advance(55 * time.Minute)
	if _, err = w.c.Change(t.Context(), w.pull.Number); err != nil {
		t.Error(err)
	}
	if n := w.c.Calls() - asked; n != 1 || w.c.Calls() != len(w.s.Requests()) {
		t.Errorf("%d requests after the hour, %d in all, %d seen", n, w.c.Calls(), len(w.s.Requests()))
	}
}
