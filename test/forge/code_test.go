package forge

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/cabincrew/action/test/githubtest"
)

var codeText = regexp.MustCompile("Approval code:\\*\\* `([0-9a-f]+)`")

// codeIn finds the approval code in a text.
func codeIn(t *testing.T, text string) string {
	t.Helper()
	m := codeText.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no code is shown:\n%.2000s", text)
	}
	return m[1]
}

// shown is what a check shows.
func shown(k githubtest.CheckRun) string { return k.Summary + "\n" + k.Text }

const byCode = "approvals: {binding: code, roles: {platform: {users: [bob, carol]}}}\n"

// flip gives another code.
func flip(code string) string {
	return strings.Repeat(map[bool]string{true: "1", false: "0"}[code[0] == '0'], len(code))
}

// TestT44CodeIsNamed: where an approval must name the code, the right one approves and
// no other text does.
func TestT44CodeIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text func(code string) string
		exit int
		want string
	}{
		"right":     {func(code string) string { return "fine\r\n\r\ncode " + code + "." }, 0, ""},
		"capitals":  {func(code string) string { return strings.ToUpper(code) }, 0, ""},
		"none":      {func(string) string { return "fine" }, 4, "did not name the flight's code"},
		"wrong":     {flip, 4, "which is another flight's"},
		"a part":    {func(code string) string { return code[:len(code)-1] }, 4, "did not name the flight's code"},
		"in a link": {func(code string) string { return "https://example.com/" + code }, 4, "did not name the flight's code"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byCode, nil)
			p := r.open("feature", "two\n")
			r.plan(p, "opened", 0)
			p.Review(r.bob, githubtest.Approved, c.text(codeIn(t, shown(r.lastCheck(planCheck)))))
			r.hub.Advance(1e9)
			got := r.land(p, c.exit)
			if !strings.Contains(got.stderr, c.want) {
				t.Errorf("%q is not said:\n%s", c.want, got.stderr)
			}
		})
	}
}

// TestT35OneLiveCode: once a commit has two plans, an approval must name the code of the
// newest; that of the older one is dead.
func TestT35OneLiveCode(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text func(old, now string) string
		exit int
	}{
		"of now":  {func(_, now string) string { return now }, 0},
		"of then": {func(old, _ string) string { return old }, 4},
		"no code": {func(string, string) string { return "fine" }, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "approvals: {roles: {platform: {users: [bob, carol]}, policy-owner: {users: [carol]}}}\n", nil)
			p := r.open("feature", "two\n")
			first := r.plan(p, "opened", 0)
			r.repo.Push("main", r.repo.Commit(githubtest.Commit{
				Author: r.author, Message: "meanwhile", Parents: []string{r.repo.Tip("refs/heads/main")}, Files: map[string]string{"pol/rig.rego": policy + "# stricter\n"},
			}), r.author)
			second := r.plan(p, "reopened", 0)
			if first.got.outputs["plan-token"] == second.got.outputs["plan-token"] {
				t.Fatal("both plans have one token")
			}
			old, now := codeIn(t, read(t, first.got.outputs["report-path"])), codeIn(t, shown(r.lastCheck(planCheck)))
			for _, who := range []*githubtest.User{r.bob, r.carol} { // she answers for what was pushed to main
				p.Review(who, githubtest.Approved, c.text(old, now))
			}
			r.hub.Advance(1e9)
			r.land(p, c.exit)
		})
	}
}

// TestT44WhatACheckHasNoRoomFor: whoever was not shown everything approves with the
// code of the whole report only.
func TestT44WhatACheckHasNoRoomFor(t *testing.T) {
	t.Parallel()
	var big strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&big, "line %d of a long file, which no check has room for\n", i)
	}
	for name, named := range map[string]bool{"with the code": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byReview, nil)
			p := r.open("feature", big.String())
			got := r.plan(p, "opened", 0)
			k := r.lastCheck(planCheck)
			code := codeIn(t, read(t, got.got.outputs["report-path"]))
			if strings.Contains(shown(k), code) || !strings.Contains(k.Summary, "not everything is shown here") {
				t.Errorf("the check shows the code, or does not say that it is cut:\n%.1500s", k.Summary)
			}
			text, exit := "fine", 4
			if named {
				text, exit = code, 0
			}
			p.Review(r.bob, githubtest.Approved, text)
			r.hub.Advance(1e9)
			r.land(p, exit)
		})
	}
}
