package forge

import (
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/test/githubtest"
)

const glass = "approvals: {break_glass: {expire: 2h}, roles: {platform: {users: [erin]}, break-glass: {users: [alice, bob, carol]}}}\n"

// fire breaks the glass for a reason.
func fire(code string) string {
	return "The site is down.\r\nbreak-glass: nobody of @platform answers\r\ncode " + code
}

// TestBreakGlass: two people of the role break-glass stand in for an approval that is
// missing, and for nothing else.
func TestBreakGlass(t *testing.T) {
	t.Parallel()
	with := func(change ...string) string { return strings.NewReplacer(change...).Replace(glass) }
	for name, c := range map[string]struct {
		exit   int
		rest   string
		review func(r *rig, p *githubtest.Pull, code string)
	}{
		"two": {0, glass, func(r *rig, p *githubtest.Pull, code string) {
			p.Review(r.bob, githubtest.Approved, fire(code))
			p.Review(r.carol, githubtest.Approved, fire(code))
		}},
		"one": {4, glass, func(r *rig, p *githubtest.Pull, code string) { p.Review(r.bob, githubtest.Approved, fire(code)) }},
		"one twice": {4, glass, func(r *rig, p *githubtest.Pull, code string) {
			p.Review(r.bob, githubtest.Approved, fire(code))
			p.Review(r.bob, githubtest.Approved, fire(code))
		}},
		"one with the author who may approve": {4, with("{break_glass", "{self_approval: true, break_glass"), func(r *rig, p *githubtest.Pull, code string) {
			p.Review(r.bob, githubtest.Approved, fire(code))
			p.Review(r.author, githubtest.Approved, fire(code))
		}},
		"no key in the configuration": {4, with("break_glass: {expire: 2h}, ", ""), func(r *rig, p *githubtest.Pull, code string) {
			p.Review(r.bob, githubtest.Approved, fire(code))
			p.Review(r.carol, githubtest.Approved, fire(code))
		}},
		"no reason": {4, glass, func(r *rig, p *githubtest.Pull, code string) {
			p.Review(r.bob, githubtest.Approved, fire(code))
			p.Review(r.carol, githubtest.Approved, "break-glass:\n"+code)
		}},
		"no code": {4, glass, func(r *rig, p *githubtest.Pull, code string) {
			p.Review(r.bob, githubtest.Approved, fire(code))
			p.Review(r.carol, githubtest.Approved, fire(""))
		}},
		"another role": {4, glass, func(r *rig, p *githubtest.Pull, code string) {
			p.Review(r.bob, githubtest.Approved, fire(code))
			p.Review(r.hub.User("dave"), githubtest.Approved, fire(code))
		}},
		"a comment": {4, glass, func(r *rig, p *githubtest.Pull, code string) {
			p.Review(r.bob, githubtest.Approved, fire(code))
			p.Review(r.carol, githubtest.Commented, fire(code))
		}},
		"dismissed": {4, glass, func(r *rig, p *githubtest.Pull, code string) {
			p.Review(r.bob, githubtest.Approved, fire(code))
			p.Dismiss(p.Review(r.carol, githubtest.Approved, fire(code)))
		}},
		"whoever is asked objects": {4, glass, func(r *rig, p *githubtest.Pull, code string) {
			p.Review(r.hub.User("erin"), githubtest.ChangesRequested, "no")
			p.Review(r.bob, githubtest.Approved, fire(code))
			p.Review(r.carol, githubtest.Approved, fire(code))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.rest, nil)
			p := r.open("feature", "two\n")
			got := r.plan(p, "opened", 0)
			c.review(r, p, codeIn(t, read(t, got.got.outputs["report-path"])))
			r.hub.Advance(1e9)
			done := r.land(p, c.exit)
			if c.exit != 0 {
				if r.began(got) || len(r.repo.Issues()) != 0 {
					t.Errorf("it took off, or an issue says so: %+v", r.repo.Issues())
				}
				return
			}
			r.evidence(p, done)
		})
	}
}

// evidence is what a broken glass leaves behind: signed approvals, a loud event, an
// issue and a note in the check.
func (r *rig) evidence(p *githubtest.Pull, done result) {
	t := r.t
	t.Helper()
	flight := filepath.Join(done.workspace, ".cabincrew", "flights", done.outputs["flight-id"])
	responses, err := filepath.Glob(filepath.Join(flight, "approvals", "*.response.json"))
	if err != nil || len(responses) != 1 {
		t.Fatalf("%v %v", responses, err)
	}
	var bundle struct {
		Envelope struct {
			Payload string `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal([]byte(read(t, responses[0])), &bundle); err != nil {
		t.Fatal(err)
	}
	payload, err := base64.StdEncoding.DecodeString(bundle.Envelope.Payload)
	if err != nil || strings.Count(string(payload), `"kind":"break-glass"`) != 2 || !strings.Contains(string(payload), `"reason":"nobody of @platform answers"`) {
		t.Errorf("%s %v", payload, err)
	}
	if log := read(t, filepath.Join(flight, "audit.jsonl")); !strings.Contains(log, "the glass was broken in place of role platform: bob: nobody of @platform answers; carol: ") || !strings.Contains(log, `"severity":"critical"`) {
		t.Errorf("%s", log)
	}
	issues := r.repo.Issues()
	if len(issues) != 1 || strings.Contains(issues[0].Body, "@") {
		t.Fatalf("%+v", issues)
	}
	for _, want := range []string{"bob", "carol", "nobody of (at)platform answers", p.Head(), "/actions/runs/", "exit 0"} {
		if !strings.Contains(issues[0].Body, want) {
			t.Errorf("the issue does not tell %q:\n%s", want, issues[0].Body)
		}
	}
	if k := r.lastCheck(takeOffCheck); !strings.Contains(shown(k), "glass was broken") {
		t.Errorf("%s", shown(k))
	}
}

// TestBreakGlassIsForApprovals: what policies deny stays denied.
func TestBreakGlassIsForApprovals(t *testing.T) {
	t.Parallel()
	r := newRig(t, glass, nil)
	p := r.open("feature", "forbidden\n")
	p.Review(r.bob, githubtest.Approved, fire("0123456789abcdef"))
	r.plan(p, "opened", 3)
}
