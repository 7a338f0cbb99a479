package forge

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/test/githubtest"
)

// refused demands that a job says why it refused, applied nothing, and left no marks.
func (r *rig) refused(got result, code string) {
	r.t.Helper()
	r.notApplied(got, code)
	tags := slices.DeleteFunc(r.repo.Refs("refs/tags/cabincrew/"), func(at string) bool { return strings.HasPrefix(at, endorsed) })
	if len(tags) > 0 {
		r.t.Errorf("it left marks: %v", tags)
	}
}

func (r *rig) notApplied(got result, code string) {
	r.t.Helper()
	if !strings.Contains(got.stderr+got.stdout, code) {
		r.t.Errorf("it does not say %s:\n%s\n%s", code, got.stdout, got.stderr)
	}
	if _, err := os.Stat(filepath.Join(got.workspace, "out.txt")); err == nil {
		r.t.Error("it was applied all the same")
	}
}

// landRefused merges a change whose take-off must be refused.
func (r *rig) landRefused(p *githubtest.Pull, exit int, code string) {
	r.t.Helper()
	r.refused(r.land(p, exit), code)
	if k := r.lastCheck(takeOffCheck); k.Conclusion == "success" || k.Conclusion == "neutral" {
		r.t.Errorf("the check says %s", k.Conclusion)
	}
}

// attackOnApproval is something that people did to a change after it was planned.
type attackOnApproval struct {
	roles string // the configuration; byReview by default
	do    func(r *rig, p *githubtest.Pull)
	code  string // what the refusal says
}

func (a attackOnApproval) refused(t *testing.T) {
	t.Parallel()
	if a.roles == "" {
		a.roles = byReview
	}
	r := newRig(t, a.roles, nil)
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	a.do(r, p)
	r.hub.Advance(time.Second)
	r.landRefused(p, 4, a.code)
}

func TestT05ApprovedAnOldCommitThenPushed(t *testing.T) {
	attackOnApproval{do: func(r *rig, p *githubtest.Pull) {
		p.Review(r.bob, githubtest.Approved, "fine")
		r.pushMore(p, "three\n")
		r.plan(p, "synchronize", 0)
	}, code: "approved commit"}.refused(t)
}

// TestT05ApprovalOfAChosenCommit has the review name a commit that is not the head, as
// the API lets everybody do, also after the newer plan.
func TestT05ApprovalOfAChosenCommit(t *testing.T) {
	attackOnApproval{do: func(r *rig, p *githubtest.Pull) {
		old := p.Head()
		r.pushMore(p, "three\n")
		r.plan(p, "synchronize", 0)
		p.ReviewOf(r.bob, githubtest.Approved, "fine", old)
	}, code: "approved commit"}.refused(t)
}

// TestT05PushedAfterThePlan merges a head that nobody planned.
func TestT05PushedAfterThePlan(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	p.Review(r.bob, githubtest.Approved, "fine")
	r.pushMore(p, "three\n")
	r.landRefused(p, 7, "flight_missing")
}

// pushMore pushes another commit to the change's branch.
func (r *rig) pushMore(p *githubtest.Pull, content string) {
	r.t.Helper()
	p.Push(r.repo.Commit(githubtest.Commit{Author: r.author, Message: "more", Parents: []string{p.Head()}, Files: map[string]string{"app.txt": content}}), r.author)
}

func TestT06ApprovedBeforeThePlan(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	p.Review(r.bob, githubtest.Approved, "fine")
	r.plan(p, "opened", 0)
	r.landRefused(p, 4, "before the plan was made")
}

// TestT06SamePlanAgain keeps an approval that came after the first of two equal plans.
func TestT06SamePlanAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	first := r.plan(p, "opened", 0)
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(5 * time.Second)
	second := r.plan(p, "reopened", 0)
	if a, b := first.got.outputs["plan-token"], second.got.outputs["plan-token"]; a != b || a == "" {
		t.Fatalf("the tokens are %q and %q", a, b)
	}
	r.plan(p, "reopened", 0) // and once more
	r.land(p, 0)
}

// random is an engine whose plan is another one each time.
const random = `version: 1
workflow: deploy
steps:
  - id: edit
    engine: {use: command, with: {shell: "head -c 16 /dev/urandom | od -An -tx1 > out.txt"}}
    inputs: [app.txt]
`

func (r *rig) random(rest string) map[string]string {
	return map[string]string{".cabincrew.yaml": random + "policies: {rego: [pol/]}\nsigning: {key: " + filepath.Join(r.keys, "plan") + "}\n" + rest}
}

// newRandomRig is a rig whose engine never plans the same twice.
func newRandomRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, byReview, nil)
	tip := r.repo.Tip("refs/heads/main")
	r.repo.Push("main", r.repo.Commit(githubtest.Commit{Author: r.author, Message: "random", Parents: []string{tip}, Files: r.random(byReview)}), r.author)
	r.endorse(r.repo.Tip("refs/heads/main"))
	return r
}

// TestT06TwoTokensOfOneCommit demands the code where one commit had two plans; so does
// T35: another plan right before the click.
func TestT06TwoTokensOfOneCommit(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]func(first, second string) string{
		"no code":                    func(string, string) string { return "fine" },
		"the code of the other plan": func(first, _ string) string { return "fine " + first },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRandomRig(t)
			p := r.open("feature", "two\n")
			first := r.plan(p, "opened", 0)
			second := r.plan(p, "reopened", 0)
			if first.got.outputs["plan-token"] == second.got.outputs["plan-token"] {
				t.Fatal("the plans are the same")
			}
			p.Review(r.bob, githubtest.Approved, text(r.code(first), r.code(second)))
			r.hub.Advance(time.Second)
			r.landRefused(p, 4, "code")
		})
	}
}

// code finds the approval code in what a planning job printed.
func (r *rig) code(p planned) string {
	r.t.Helper()
	_, rest, ok := strings.Cut(p.got.stdout, "\ncode ")
	if !ok {
		r.t.Fatalf("it tells no code:\n%s\n%s", p.got.stdout, p.got.stderr)
	}
	return strings.Fields(rest)[0]
}

func TestT07ApprovedByTheAuthor(t *testing.T) {
	attackOnApproval{roles: "approvals: {roles: {platform: {users: [alice, bob]}}}\n", do: func(r *rig, p *githubtest.Pull) {
		p.Review(r.author, githubtest.Approved, "fine")
	}, code: "author of the change"}.refused(t)
}

func TestT07ApprovedByABot(t *testing.T) {
	attackOnApproval{roles: "approvals: {roles: {platform: {permission: write}}}\n", do: func(r *rig, p *githubtest.Pull) {
		robot := r.hub.Bot("robot[bot]")
		r.repo.Allow(robot, "write")
		p.Review(robot, githubtest.Approved, "fine")
	}, code: "no person's account"}.refused(t)
}

func TestT07ApprovedByAnOrganisation(t *testing.T) {
	attackOnApproval{roles: "approvals: {roles: {platform: {users: [company, bob]}}}\n", do: func(r *rig, p *githubtest.Pull) {
		p.Review(r.hub.Org("company"), githubtest.Approved, "fine")
	}, code: "no person's account"}.refused(t)
}

// TestT07ApprovedByThePusher has somebody else than the author push the head, whether
// the run or the repository's activity tells of it.
func TestT07ApprovedByThePusher(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	p.Push(r.repo.Commit(githubtest.Commit{Author: r.author, Message: "more", Parents: []string{p.Head()}, Files: map[string]string{"app.txt": "three\n"}}), r.bob)
	r.plan(p, "synchronize", 0)
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	r.landRefused(p, 4, "pushed the change")
}

func TestT07ApprovedWithoutTheRole(t *testing.T) {
	attackOnApproval{do: func(r *rig, p *githubtest.Pull) {
		stranger := r.hub.User("mallory")
		r.repo.Allow(stranger, "admin")
		p.Review(stranger, githubtest.Approved, "fine")
	}, code: "does not hold the role"}.refused(t)
}

func TestT07ApprovedTwiceByOne(t *testing.T) {
	attackOnApproval{roles: "approvals: {roles: {platform: {users: [bob, carol], count: 2}}}\n", do: func(r *rig, p *githubtest.Pull) {
		p.Review(r.bob, githubtest.Approved, "fine")
		r.hub.Advance(time.Second)
		p.Review(r.bob, githubtest.Approved, "very fine")
	}, code: "1 of 2 approved"}.refused(t)
}

// TestT07RoleLostBeforeTheMerge takes the team from whoever approved: roles are those
// of the moment of the take-off.
func TestT07RoleLostBeforeTheMerge(t *testing.T) {
	t.Parallel()
	r := newRig(t, "approvals: {roles: {platform: {teams: [acme/platform]}}}\n", nil)
	team := r.hub.Team("acme/platform", r.bob)
	r.teamToken()
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	team.Remove(r.bob)
	r.landRefused(p, 4, "does not hold the role")
}

// teamToken gives jobs a token that may read teams.
func (r *rig) teamToken() {
	permissions := githubtest.JobPermissions()
	permissions["members"] = "read"
	r.token = r.hub.Token(githubtest.Token{Repo: r.repo, Permissions: permissions})
}

// TestT07TeamThatTheTokenCannotRead refuses rather than guesses.
func TestT07TeamThatTheTokenCannotRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, "approvals: {roles: {platform: {teams: [acme/platform]}}}\n", nil)
	r.hub.Team("acme/platform", r.bob)
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	r.landRefused(p, 7, "approval_directory")
}

// TestT07PermissionThatCannotBeTold is the same for a role by permission.
func TestT07PermissionThatCannotBeTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, "approvals: {roles: {platform: {permission: write}}}\n", nil)
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	r.hub.Fail("repos/get-collaborator-permission-level", 9, githubtest.Fault{Status: 404})
	r.landRefused(p, 7, "approval_directory")
}

// TestT07LoginTakenOver renames whoever holds a role, and gives the name to somebody
// else: a role that is given by number stays where it was.
func TestT07LoginTakenOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, "", nil)
	tip := r.repo.Tip("refs/heads/main")
	config := r.configuration("approvals: {roles: {platform: {users: [\"id:" + strconv.FormatInt(r.bob.ID, 10) + "\"]}}}\n")
	r.repo.Push("main", r.repo.Commit(githubtest.Commit{Author: r.author, Message: "ids", Parents: []string{tip}, Files: map[string]string{".cabincrew.yaml": config}}), r.author)
	r.endorse(r.repo.Tip("refs/heads/main"))
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	r.hub.Rename(r.bob, "robert")
	mallory := r.hub.User("mallory")
	r.hub.Rename(mallory, "bob")
	r.repo.Allow(mallory, "write")
	p.Review(mallory, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	r.landRefused(p, 4, "does not hold the role")
}

// TestT07AuthorUnderANewName approves their own change after a change of name.
func TestT07AuthorUnderANewName(t *testing.T) {
	attackOnApproval{roles: "approvals: {roles: {platform: {users: [bob, alice2]}}}\n", do: func(r *rig, p *githubtest.Pull) {
		r.hub.Rename(r.author, "alice2")
		p.Review(r.author, githubtest.Approved, "fine")
	}, code: "author of the change"}.refused(t)
}

func TestT08ChangesRequestedAfterApproval(t *testing.T) {
	attackOnApproval{do: func(r *rig, p *githubtest.Pull) {
		p.Review(r.bob, githubtest.Approved, "fine")
		r.hub.Advance(time.Second)
		p.Review(r.bob, githubtest.ChangesRequested, "not so fine")
	}, code: "asked for changes"}.refused(t)
}

// TestT08ChangesRequestedByAnotherHolder blocks in spite of an approval.
func TestT08ChangesRequestedByAnotherHolder(t *testing.T) {
	attackOnApproval{do: func(r *rig, p *githubtest.Pull) {
		p.Review(r.carol, githubtest.ChangesRequested, "no")
		r.hub.Advance(time.Second)
		p.Review(r.bob, githubtest.Approved, "fine")
	}, code: "asked for changes"}.refused(t)
}

func TestT08DismissedApproval(t *testing.T) {
	attackOnApproval{do: func(r *rig, p *githubtest.Pull) {
		v := p.Review(r.bob, githubtest.Approved, "fine")
		r.hub.Advance(time.Second)
		p.Dismiss(v)
	}, code: "dismissed"}.refused(t)
}

// TestT08DismissedWhileTakingOff dismisses the approval after it was read for the first
// time, and before the engine starts.
func TestT08DismissedWhileTakingOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	v := p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	r.between("pulls/list-reviews", func() { p.Dismiss(v) })
	r.landRefused(p, 4, "approval_withdrawn")
}
