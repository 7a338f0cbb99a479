package forge

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/test/githubtest"
)

// owned lets carol answer for governance.
const owned = "approvals: {roles: {platform: {users: [bob, carol]}, policy-owner: {users: [carol]}}}\n"

// asksOwner says whether a plan asks the owner of policies because nobody endorsed
// governance.
func (p planned) asksOwner() bool {
	return strings.Contains(p.got.stdout+p.got.summary, "A policy owner must approve every flight")
}

// TestT33GovernanceOfNoFlight: governance that was merged past its judges, as under a
// forged check, asks its owner for every flight; what flew does not, nor the very first.
func TestT33GovernanceOfNoFlight(t *testing.T) {
	t.Parallel()
	for name, flew := range map[string]bool{"flew": true, "forged": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, owned, nil)
			change := r.openFiles("governance", map[string]string{"pol/rig.rego": policy + "# changed\n"})
			got := r.plan(change, "opened", 0)
			if got.asksOwner() {
				t.Error("the first governance has none before it")
			}
			change.Review(r.carol, githubtest.Approved, "fine")
			change.Review(r.bob, githubtest.Approved, "fine")
			r.hub.Advance(time.Second)
			if flew {
				r.land(change, 0)
			} else {
				change.Merge(r.author, "merge") // and no job takes off
			}
			next := r.open("feature", "two\n")
			plan := r.plan(next, "opened", 0)
			if plan.asksOwner() == flew {
				t.Errorf("the owner is asked: %t\n%s", plan.asksOwner(), plan.got.stdout)
			}
			next.Review(r.bob, githubtest.Approved, "fine")
			r.hub.Advance(time.Second)
			code := 0
			if !flew {
				code = 4
			}
			r.land(next, code)
		})
	}
}

// TestT33GovernanceAgain: to remove governance and bring another one back is no first
// governance.
func TestT33GovernanceAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, owned, nil)
	without := r.repo.Commit(githubtest.Commit{Author: r.author, Message: "without", Parents: []string{r.repo.Tip("refs/heads/main")}, Remove: []string{".cabincrew.yaml"}})
	r.repo.Push("main", without, r.author)
	r.repo.Push("main", r.repo.Commit(githubtest.Commit{Author: r.author, Message: "again", Parents: []string{without}, Files: map[string]string{".cabincrew.yaml": r.configuration(owned)}}), r.author)
	if plan := r.plan(r.open("feature", "two\n"), "opened", 0); !plan.asksOwner() {
		t.Errorf("%s", plan.got.stdout)
	}
}

// endorsed begins the tags that endorse makes.
const endorsed = "refs/tags/cabincrew/eeeeeeeeeeeeeeeeeeeeeeee"

// endorse makes what a take-off of a commit leaves: then its governance was approved.
func (r *rig) endorse(sha string) {
	r.t.Helper()
	r.endorseBy(sha, "plan", nil)
}

// endorseBy makes the tags of a take-off of a commit, with a statement that some key signs
// and whose predicate is changed.
func (r *rig) endorseBy(sha, key string, change func(*signing.TakeOffPredicate)) {
	r.t.Helper()
	name := strings.TrimPrefix(endorsed, "refs/tags/") + sha
	r.mark(name+"/begun", sha, `{"content":"f1","run":"x"}`)
	r.mark(name+"/done", sha, r.doneMessage(name, sha, key, change))
}

// doneMessage is the message of the tag of the end of a take-off.
func (r *rig) doneMessage(name, sha, key string, change func(*signing.TakeOffPredicate)) string {
	r.t.Helper()
	zero := "sha256:" + strings.Repeat("0", 64)
	p := signing.TakeOffPredicate{
		Version: "1", WorkflowID: "f1", FlightToken: "sha256:" + strings.TrimPrefix(name, "cabincrew/"), Workflow: "deploy", Verdict: "completed", Receipts: []signing.TakeOffReceipt{},
		PlanBundle: zero, Derived: signing.Derived{Forge: "github", RepositoryID: strconv.FormatInt(r.repo.ID, 10)}, AuditHead: signing.AuditHead{Size: "0", Root: zero},
		PlannedAt: "2026-01-01T00:00:00.000Z", FinishedAt: "2026-01-01T00:00:01.000Z", CabinCrew: "1.0.0", Commit: sha, ConfigPath: ".cabincrew.yaml",
	}
	p.Derived.GovernanceCommit = r.git(r.origin, "rev-parse", sha+"^")
	if change != nil {
		change(&p)
	}
	statement, err := signing.NewTakeOff([]byte("manifest"), p)
	if err != nil {
		r.t.Fatal(err)
	}
	private, err := signing.LoadPrivate([]byte(read(r.t, filepath.Join(r.keys, key))), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	bundle, err := private.Sign(r.t.Context(), statement)
	if err != nil {
		r.t.Fatal(err)
	}
	content, err := json.Marshal(map[string]any{"flight": "f1", "statement": json.RawMessage(bundle)})
	if err != nil {
		r.t.Fatal(err)
	}
	message, err := json.Marshal(map[string]string{"content": string(content), "run": "x"})
	if err != nil {
		r.t.Fatal(err)
	}
	return string(message)
}

// TestT33TagsEndorseNothing: only the tag of the end of a take-off at the very commit,
// with a statement that the governance before it trusts, says that governance flew.
func TestT33TagsEndorseNothing(t *testing.T) {
	t.Parallel()
	name := "cabincrew/" + strings.Repeat("e", 64)
	annotated := func(name, key string, change func(*signing.TakeOffPredicate)) func(*rig, string) {
		return func(r *rig, sha string) {
			r.mark(name, sha, r.doneMessage(strings.TrimSuffix(name, "/done"), sha, key, change))
		}
	}
	for what, c := range map[string]struct {
		forge func(r *rig, sha string)
		asks  bool
	}{
		"genuine":               {annotated(name+"/done", "plan", nil), false},
		"begun only":            {annotated(name+"/begun", "plan", func(p *signing.TakeOffPredicate) { p.FlightToken = "sha256:" + strings.Repeat("e", 64) }), true},
		"a short name":          {annotated("cabincrew/x/done", "plan", func(p *signing.TakeOffPredicate) { p.FlightToken = "sha256:" + strings.Repeat("e", 64) }), true},
		"a deeper name":         {annotated("cabincrew/lines/"+strings.Repeat("e", 64)+"/done", "plan", func(p *signing.TakeOffPredicate) { p.FlightToken = "sha256:" + strings.Repeat("e", 64) }), true},
		"another token":         {annotated(name+"/done", "plan", func(p *signing.TakeOffPredicate) { p.FlightToken = "sha256:" + strings.Repeat("f", 64) }), true},
		"another commit":        {annotated(name+"/done", "plan", func(p *signing.TakeOffPredicate) { p.Commit = strings.Repeat("f", 40) }), true},
		"no commit":             {annotated(name+"/done", "plan", func(p *signing.TakeOffPredicate) { p.Commit = "" }), true},
		"another project":       {annotated(name+"/done", "plan", func(p *signing.TakeOffPredicate) { p.Derived.RepositoryID = "1" }), true},
		"a failure":             {annotated(name+"/done", "plan", func(p *signing.TakeOffPredicate) { p.Verdict = "failed" }), true},
		"another flight":        {annotated(name+"/done", "plan", func(p *signing.TakeOffPredicate) { p.WorkflowID = "f2" }), true},
		"another workflow":      {annotated(name+"/done", "plan", func(p *signing.TakeOffPredicate) { p.Workflow = "lax" }), true},
		"another configuration": {annotated(name+"/done", "plan", func(p *signing.TakeOffPredicate) { p.ConfigPath = "docs/.cabincrew.yaml" }), true},
		"no configuration":      {annotated(name+"/done", "plan", func(p *signing.TakeOffPredicate) { p.ConfigPath = "" }), true},
		"governed by itself":    {annotated(name+"/done", "plan", func(p *signing.TakeOffPredicate) { p.Derived.GovernanceCommit = p.Commit }), true},
		"governed by none":      {annotated(name+"/done", "plan", func(p *signing.TakeOffPredicate) { p.Derived.GovernanceCommit = "" }), true},
		"an unknown key":        {annotated(name+"/done", "other", nil), true},
		"no statement":          {func(r *rig, sha string) { r.mark(name+"/done", sha, `{"content":"f1","run":"x"}`) }, true},
		"free text":             {func(r *rig, sha string) { r.mark(name+"/done", sha, "done") }, true},
		"lightweight tags":      {func(r *rig, sha string) { r.repo.Tag(name+"/begun", sha); r.repo.Tag(name+"/done", sha) }, true},
		"a tag of a tag": {func(r *rig, sha string) {
			r.mark("other", sha, r.doneMessage(name, sha, "plan", nil))
			r.git(r.origin, "update-ref", "refs/tags/"+name+"/done", r.git(r.origin, "rev-parse", "refs/tags/other"))
		}, true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, owned, nil)
			r.key("other")
			sha := r.onMain(map[string]string{"pol/rig.rego": policy + "# changed\n"})
			c.forge(r, sha)
			if plan := r.plan(r.open("feature", "two\n"), "opened", 0); plan.asksOwner() != c.asks {
				t.Errorf("the owner is asked: %t\n%s", plan.asksOwner(), plan.got.stdout)
			}
		})
	}
}

// TestT33KeysOfTheGovernanceBefore: a governance that brings a key of its own is endorsed
// by the keys before it only.
func TestT33KeysOfTheGovernanceBefore(t *testing.T) {
	t.Parallel()
	for key, asks := range map[string]bool{"plan": false, "next": true} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, owned, nil)
			r.key("next")
			sha := r.onMain(map[string]string{".cabincrew.yaml": strings.Replace(r.configuration(owned), "/plan}", "/next}", 1)})
			r.endorseBy(sha, key, nil)
			if plan := r.plan(r.open("feature", "two\n"), "opened", 0); plan.asksOwner() != asks {
				t.Errorf("the owner is asked: %t\n%s", plan.asksOwner(), plan.got.stdout)
			}
		})
	}
}

// TestT33KeyRotatedByFlight: the flight of a change of keys is signed by the key before it,
// and what comes after by the new one.
func TestT33KeyRotatedByFlight(t *testing.T) {
	t.Parallel()
	r := newRig(t, owned, nil)
	r.key("next")
	next := strings.Replace(r.configuration(owned), "/plan}", "/next}", 1)
	for _, files := range []map[string]string{{".cabincrew.yaml": next}, {"pol/rig.rego": policy + "# changed\n"}} {
		change := r.openFiles("governance", files)
		if plan := r.plan(change, "opened", 0); plan.asksOwner() {
			t.Errorf("the owner is asked:\n%s", plan.got.stdout)
		}
		change.Review(r.carol, githubtest.Approved, "fine")
		change.Review(r.bob, githubtest.Approved, "fine")
		r.hub.Advance(time.Second)
		r.land(change, 0)
	}
	if plan := r.plan(r.open("feature", "two\n"), "opened", 0); plan.asksOwner() {
		t.Errorf("the owner is asked:\n%s", plan.got.stdout)
	}
}

// TestT38ForgedEnd: marks that say a plan took off to its end, which nobody signed, make
// nothing done.
func TestT38ForgedEnd(t *testing.T) {
	t.Parallel()
	for what, forged := range map[string]func(r *rig, name, commit string) string{
		"no statement": func(*rig, string, string) string { return `{"content":"f1","run":"x"}` },
		"another key":  func(r *rig, name, commit string) string { return r.doneMessage(name, commit, "other", nil) },
		"another flight": func(r *rig, name, commit string) string {
			return r.doneMessage(name, commit, "plan", func(p *signing.TakeOffPredicate) { p.Derived.HeadCommit = strings.Repeat("f", 40) })
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byReview, nil)
			r.key("other")
			p := r.approved("feature", "two\n")
			before := r.repo.Tip("refs/heads/main")
			commit := p.pull.Merge(r.author, "merge")
			name := "cabincrew/" + strings.TrimPrefix(p.got.outputs["plan-token"], "sha256:")
			r.mark(name+"/begun", commit, `{"content":"f1","run":"x"}`)
			r.mark(name+"/done", commit, forged(r, name, commit))
			got := r.takeOff(commit, before, 5)
			if !strings.Contains(got.stderr, "takeoff_unproven") {
				t.Errorf("%s", got.stderr)
			}
			if _, err := os.Stat(filepath.Join(got.workspace, "out.txt")); err == nil {
				t.Error("it was applied")
			}
		})
	}
}

// TestT04EndIsSignedBeforeItIsMarked: a take-off whose mark of its end cannot be made, as
// when its runner dies, has a signed statement, is not done, and waits for a person.
func TestT04EndIsSignedBeforeItIsMarked(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.approved("feature", "two\n")
	before := r.repo.Tip("refs/heads/main")
	commit := p.pull.Merge(r.author, "merge")
	set := r.repo.Ruleset(githubtest.Ruleset{Name: "no end", Target: "tag", Include: []string{"refs/tags/cabincrew/*/done"}, Rules: []githubtest.Rule{{Type: "creation"}}})
	run := r.repo.Start(githubtest.Started{Workflow: workflowFile, Event: "push", Branch: "main", SHA: commit, Actor: r.author})
	got := r.do("auto", r.push(commit, before, number(run)))
	if got.code == 0 || r.tagged(p) != "begun" {
		t.Errorf("exit %d, marks %q\n%s", got.code, r.tagged(p), got.stderr)
	}
	if unpacked(t, filepath.Join(got.outputs["flight-path"], "landed", "flight.tar.zst"))["take-off.sigstore.json"] == nil {
		t.Error("its end is not signed")
	}
	r.repo.DropRuleset(set)
	if again := r.takeOff(commit, before, 5); !strings.Contains(again.stderr, "token_consumed") {
		t.Errorf("%s", again.stderr)
	}
	if r.tagged(p) != "begun" {
		t.Errorf("its marks are %q", r.tagged(p))
	}
}
