package ci_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/protocol"
)

const (
	head  = "1111111111111111111111111111111111111111"
	old   = "2222222222222222222222222222222222222222"
	code  = "0a1b2c3d4e5f"
	other = "ffffffffffff"
)

func sealed() time.Time { return time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC) }

// at gives a time some minutes after sealing.
func at(minutes int) time.Time { return sealed().Add(time.Duration(minutes) * time.Minute) }

func person(id string) ci.Person {
	return ci.NewPerson(id, map[string]string{"1": "ada", "2": "ben", "3": "cleo", "4": "dan", "5": "eve", "9": "author"}[id], "User")
}

type change func(*ci.Act)

func review(id, who string, state ci.ActState, minutes int, changes ...change) ci.Act {
	a := ci.Act{Kind: ci.ActReview, ID: id, Person: person(who), State: state, Commit: head, At: at(minutes)}
	for _, f := range changes {
		f(&a)
	}
	return a
}

func env(id, who string, state ci.ActState, text string) ci.Act {
	return ci.Act{Kind: ci.ActEnvironment, ID: id, Person: person(who), State: state, Text: text, Environments: []string{"production"}}
}

func text(s string) change   { return func(a *ci.Act) { a.Text = s } }
func commit(s string) change { return func(a *ci.Act) { a.Commit = s } }

// was says what a dismissed review had said, and who dismissed it.
func was(s ci.ActState, by string) change {
	return func(a *ci.Act) { a.Dismissal = &ci.Dismissal{By: person(by), Was: s} }
}
func untimed(a *ci.Act) { a.At = time.Time{} }
func bot(a *ci.Act)     { a.Person = ci.NewPerson(a.Person.ID, "helper[bot]", "Bot") }
func nobody(a *ci.Act)  { a.Person = ci.Person{Login: "ghost"} }

// people is a directory in which 1 and 2 are in acme/ops, 3 maintains and 4 writes.
type people struct {
	fail  error
	asked []string
}

func (d *people) InTeam(_ context.Context, team string, p ci.Person) (bool, error) {
	d.asked = append(d.asked, team+" "+p.ID)
	return team == "acme/ops" && (p.ID == "1" || p.ID == "2"), d.fail
}

func (d *people) Permission(_ context.Context, p ci.Person) (string, error) {
	d.asked = append(d.asked, "permission "+p.ID)
	return map[string]string{"3": "maintain", "4": "write", "5": "triage", "7": "owner"}[p.ID], d.fail
}

func question(changes ...func(*ci.Question)) ci.Question {
	q := ci.Question{
		Roles: []ci.Role{{Name: "ops", Count: 1, Teams: []string{"acme/ops"}}}, Head: head, Sealed: sealed(), Code: code,
		Excluded: []ci.Excluded{{Person: person("9"), Why: ci.WhyAuthor}}, Now: at(60), Expire: 72 * time.Hour,
	}
	for _, f := range changes {
		f(&q)
	}
	return q
}

// codedAt says that the code was made some minutes after the token was sealed first.
func codedAt(minutes int) func(*ci.Question) { return func(q *ci.Question) { q.Coded = at(minutes) } }
func codeNeeded(q *ci.Question)              { q.CodeNeeded = true }
func roles(r ...ci.Role) func(*ci.Question) {
	return func(q *ci.Question) { q.Roles = r }
}

// told gives a count as "role who… !blocker -code…", for comparing.
func told(counts []ci.RoleCount) string {
	var out []string
	for _, r := range counts {
		s := r.Role
		for _, a := range r.By {
			s += " " + a.ID
		}
		if r.Blocked != nil {
			s += " !" + r.Blocked.ID
		}
		for _, x := range r.Refused {
			s += " " + x.Act.ID + ":" + strings.TrimPrefix(x.Code, "approval_")
		}
		if len(r.Uncovered) > 0 {
			s += fmt.Sprint(" ", r.Uncovered)
		}
		if r.Approved() {
			s += " yes"
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

// TestApprovals is threats T05 to T09 and T35, and what each refusal says.
func TestApprovals(t *testing.T) {
	t.Parallel()
	const yes, no, gone = ci.StateApproved, ci.StateChangesRequested, ci.StateDismissed
	for name, c := range map[string]struct {
		q    ci.Question
		acts []ci.Act
		want string
	}{
		"nobody":      {question(), nil, "ops"},
		"one of one":  {question(), []ci.Act{review("1", "1", yes, 1)}, "ops 1 yes"},
		"no question": {question(roles()), []ci.Act{review("1", "1", yes, 1)}, ""},

		// What the leading tool of today gets wrong.
		"T05 approved, then a push":            {question(), []ci.Act{review("1", "1", yes, 1, commit(old))}, "ops 1:stale_commit"},
		"T08 approved, then changes requested": {question(), []ci.Act{review("1", "1", yes, 1), review("2", "1", no, 2)}, "ops !2"},
		"T07 by the author":                    {question(), []ci.Act{review("1", "9", yes, 1)}, "ops 1:self"},
		"T07 by a bot":                         {question(), []ci.Act{review("1", "1", yes, 1, bot)}, "ops 1:not_human"},
		"T08 dismissed":                        {question(), []ci.Act{review("1", "1", gone, 1, was(yes, "2"))}, "ops 1:dismissed"},

		"T05 the code does not make a commit right":      {question(), []ci.Act{review("1", "1", yes, 1, commit(old), text(code))}, "ops 1:stale_commit"},
		"T05 a commit that is told in part":              {question(), []ci.Act{review("1", "1", yes, 1, commit(head[:12]))}, "ops 1:stale_commit"},
		"T06 before the token":                           {question(), []ci.Act{review("1", "1", yes, -1)}, "ops 1:too_early"},
		"T06 in the same second":                         {question(), []ci.Act{review("1", "1", yes, 0)}, "ops 1:too_early"},
		"T06 before the token, with its code":            {question(), []ci.Act{review("1", "1", yes, -1, text("yes: "+code))}, "ops 1:too_early"},
		"T06 between two seals, with the newer code":     {question(codedAt(5)), []ci.Act{review("1", "1", yes, 1, text(code))}, "ops 1 yes"},
		"T06 a code from after it, where one is needed":  {question(codedAt(5), codeNeeded), []ci.Act{review("1", "1", yes, 1, text(code))}, "ops 1:edited"},
		"T06 a code of the same second":                  {question(codedAt(1), codeNeeded), []ci.Act{review("1", "1", yes, 1, text(code))}, "ops 1:edited"},
		"T06 a code from before it":                      {question(codedAt(5), codeNeeded), []ci.Act{review("1", "1", yes, 6, text(code))}, "ops 1 yes"},
		"T06 no commit, a code from after it":            {question(codedAt(5)), []ci.Act{review("1", "1", yes, 1, commit(""), text(code))}, "ops 1:code"},
		"expired by now, with the code":                  {question(func(q *ci.Question) { q.Now = at(72*60 + 1) }), []ci.Act{review("1", "1", yes, 1, text(code))}, "ops 1:expired"},
		"no commit":                                      {question(), []ci.Act{review("1", "1", yes, 1, commit(""))}, "ops 1:code"},
		"no commit, with the code":                       {question(), []ci.Act{review("1", "1", yes, 1, commit(""), text(code))}, "ops 1 yes"},
		"no time":                                        {question(), []ci.Act{review("1", "1", yes, 1, untimed)}, "ops 1:code"},
		"no time, with the code":                         {question(), []ci.Act{review("1", "1", yes, 1, untimed, text(code))}, "ops 1 yes"},
		"not known when sealed":                          {question(func(q *ci.Question) { q.Sealed = time.Time{}; q.Expire = 0 }), []ci.Act{review("1", "1", yes, 1)}, "ops 1:code"},
		"no head, no commit":                             {question(func(q *ci.Question) { q.Head = "" }), []ci.Act{review("1", "1", yes, 1, commit(""))}, "ops 1:code"},
		"T35 code needed":                                {question(codeNeeded), []ci.Act{review("1", "1", yes, 1, text("fine"))}, "ops 1:code"},
		"T35 code needed and there":                      {question(codeNeeded), []ci.Act{review("1", "1", yes, 1, text("fine, `"+code+"`."))}, "ops 1 yes"},
		"T35 code in capitals":                           {question(codeNeeded), []ci.Act{review("1", "1", yes, 1, text(strings.ToUpper(code)))}, "ops 1 yes"},
		"T35 part of a word":                             {question(codeNeeded), []ci.Act{review("1", "1", yes, 1, text("x"+code))}, "ops 1:code"},
		"T35 the start of it":                            {question(codeNeeded), []ci.Act{review("1", "1", yes, 1, text(code[:8]))}, "ops 1:code"},
		"T35 another code":                               {question(), []ci.Act{review("1", "1", yes, 1, text(other))}, "ops 1:code"},
		"T35 both codes":                                 {question(codeNeeded), []ci.Act{review("1", "1", yes, 1, text(code+" not "+other))}, "ops 1:code"},
		"a UUID is no code":                              {question(), []ci.Act{review("1", "1", yes, 1, text("see 550e8400-e29b-41d4-a716-446655440000"))}, "ops 1 yes"},
		"a link is no code":                              {question(), []ci.Act{review("1", "1", yes, 1, text("https://example.com/commit/"+other))}, "ops 1 yes"},
		"code needed of an unsigned plan":                {question(codeNeeded, func(q *ci.Question) { q.Code = "" }), []ci.Act{review("1", "1", yes, 1, text(code))}, "ops 1:code"},
		"T07 no id":                                      {question(), []ci.Act{review("1", "1", yes, 1, nobody)}, "ops 1:not_human"},
		"T07 without the role":                           {question(), []ci.Act{review("1", "4", yes, 1)}, "ops 1:role"},
		"T07 twice":                                      {question(roles(ci.Role{Name: "ops", Count: 2, Teams: []string{"acme/ops"}})), []ci.Act{review("1", "1", yes, 1), review("2", "1", yes, 2)}, "ops 2 1:twice"},
		"two of two":                                     {question(roles(ci.Role{Name: "ops", Count: 2, Teams: []string{"acme/ops"}})), []ci.Act{review("2", "1", yes, 2), review("1", "2", yes, 1)}, "ops 1 2 yes"},
		"T08 changes requested, then approved":           {question(), []ci.Act{review("1", "1", no, 1), review("2", "1", yes, 2)}, "ops 2 yes"},
		"T08 in one second, by id":                       {question(), []ci.Act{review("10", "1", no, 1), review("9", "1", yes, 1)}, "ops !10"},
		"T08 one id in two states":                       {question(), []ci.Act{review("1", "1", gone, 1, was(yes, "2")), review("1", "1", yes, 1)}, "ops 1:dismissed"},
		"T08 approved, later review dismissed":           {question(), []ci.Act{review("1", "1", yes, 1), review("2", "1", gone, 2, was(yes, "2"))}, "ops 2:dismissed"},
		"T08 dismissed, then approved":                   {question(), []ci.Act{review("1", "1", gone, 1, was(yes, "2")), review("2", "1", yes, 2)}, "ops 2 yes"},
		"T08 changes requested at no known time":         {question(), []ci.Act{review("1", "1", no, 1, untimed), review("2", "1", yes, 2)}, "ops !1"},
		"T08 dismissed at no known time":                 {question(), []ci.Act{review("1", "1", gone, 1, untimed, was(yes, "2")), review("2", "1", yes, 2)}, "ops 1:dismissed"},
		"T08 objected, dismissed by another":             {question(), []ci.Act{review("1", "1", gone, 1, was(no, "4")), review("2", "2", yes, 2)}, "ops 2 !1"},
		"T08 objected, taken back":                       {question(), []ci.Act{review("1", "1", gone, 1, was(no, "1")), review("2", "2", yes, 2)}, "ops 2 1:dismissed yes"},
		"T08 objected, dismissed by a holder":            {question(), []ci.Act{review("1", "1", gone, 1, was(no, "2")), review("2", "2", yes, 2)}, "ops 2 1:dismissed yes"},
		"T08 objected, dismissed by the author":          {question(roles(ci.Role{Name: "r", Users: []string{"ada", "ben", "author"}})), []ci.Act{review("1", "1", gone, 1, was(no, "9")), review("2", "2", yes, 2)}, "r 2 !1"},
		"T08 objected, dismissed by the pusher":          {question(exclude("2", ci.WhyPusher)), []ci.Act{review("1", "1", gone, 1, was(no, "2"))}, "ops !1"},
		"T08 the author who may approve takes nothing":   {question(exclude("2", ci.WhyAuthor), func(q *ci.Question) { q.SelfApproval = true }), []ci.Act{review("1", "1", gone, 1, was(no, "2"))}, "ops !1"},
		"T08 objected, dismissed by an App":              {question(), []ci.Act{review("1", "1", gone, 1, was(no, "2"), func(a *ci.Act) { a.Dismissal.By.Bot = true })}, "ops !1"},
		"T08 objected, dismissed by nobody known":        {question(), []ci.Act{review("1", "1", gone, 1, was(no, ""))}, "ops !1"},
		"T08 dismissed, nobody knows by whom":            {question(), []ci.Act{review("1", "1", gone, 1), review("2", "2", yes, 2)}, "ops 2 !1"},
		"T08 objected, dismissed, at no known time":      {question(), []ci.Act{review("1", "1", gone, 1, untimed, was(no, "4")), review("2", "1", yes, 2)}, "ops !1"},
		"T08 objected, dismissed, then approved":         {question(), []ci.Act{review("1", "1", gone, 1, was(no, "4")), review("2", "1", yes, 2)}, "ops 2 yes"},
		"T08 objected, a later comment dismissed":        {question(), []ci.Act{review("1", "1", no, 1), review("2", "1", gone, 2, was(ci.StateCommented, "4"))}, "ops !1"},
		"T08 objected without the role, dismissed":       {question(), []ci.Act{review("1", "4", gone, 1, was(no, "9")), review("2", "2", yes, 2)}, "ops 2 yes"},
		"T08 each role by itself":                        {question(roles(ci.Role{Name: "a", Users: []string{"ada", "ben"}}, ci.Role{Name: "b", Users: []string{"ada"}})), []ci.Act{review("1", "1", gone, 1, was(no, "2"))}, "a 1:dismissed; b !1"},
		"T06 edited after it was submitted, with a code": {question(codeNeeded), []ci.Act{review("1", "1", yes, 1, text(code), func(a *ci.Act) { a.Edited = a.At.Add(11 * time.Second) })}, "ops 1:edited"},
		"T06 edited, and no code is needed":              {question(), []ci.Act{review("1", "1", yes, 1, func(a *ci.Act) { a.Edited = a.At.Add(time.Hour) })}, "ops 1 yes"},
		"T06 settled after it was submitted":             {question(codeNeeded), []ci.Act{review("1", "1", yes, 1, text(code), func(a *ci.Act) { a.Edited = a.At.Add(10 * time.Second) })}, "ops 1 yes"},
		"a comment is no opinion":                        {question(), []ci.Act{review("1", "1", yes, 1), review("2", "1", ci.StateCommented, 2)}, "ops 1 yes"},
		"a comment takes nothing back":                   {question(), []ci.Act{review("1", "1", no, 1), review("2", "1", ci.StateCommented, 2)}, "ops !1"},
		"a review that is not submitted":                 {question(), []ci.Act{review("1", "1", ci.StatePending, 1)}, "ops"},
		"a state of tomorrow":                            {question(), []ci.Act{review("1", "1", "endorsed", 1)}, "ops"},
		"a kind of tomorrow":                             {question(), []ci.Act{review("1", "1", yes, 1, func(a *ci.Act) { a.Kind = "reaction" })}, "ops"},
		"blocked by another":                             {question(), []ci.Act{review("1", "1", yes, 1), review("2", "2", no, 2)}, "ops 1 !2"},
		"blocked on an old commit":                       {question(), []ci.Act{review("1", "1", yes, 1), review("2", "2", no, -9, commit(old))}, "ops 1 !2"},
		"not blocked by whom nobody asks":                {question(), []ci.Act{review("1", "1", yes, 1), review("2", "4", no, 2)}, "ops 1 yes"},
		"the newest approval fails, an older counts":     {question(), []ci.Act{review("1", "1", yes, 1), review("2", "1", yes, 2, commit(old))}, "ops 1 yes"},
		"expired by now":                                 {question(func(q *ci.Question) { q.Now = at(72*60 + 1) }), []ci.Act{review("1", "1", yes, 1)}, "ops 1:expired"},
		"given too late":                                 {question(), []ci.Act{review("1", "1", yes, 72*60+1)}, "ops 1:expired"},
		"an old one with the code":                       {question(), []ci.Act{review("1", "1", yes, -72*60, text(code))}, "ops 1:too_early"},
		"T09 environment":                                {question(), []ci.Act{env("1", "1", yes, "go")}, "ops 1:code"},
		"T09 environment that tells a time and a commit": {question(), []ci.Act{review("1", "1", yes, 1, func(a *ci.Act) { a.Kind = ci.ActEnvironment })}, "ops 1:code"},
		"T09 environment with the code":                  {question(), []ci.Act{env("1", "1", yes, "go "+code)}, "ops 1 yes"},
		"T09 environment with another code":              {question(), []ci.Act{env("1", "1", yes, "go "+other)}, "ops 1:code"},
		"T09 environment by the author":                  {question(), []ci.Act{env("1", "9", yes, code)}, "ops 1:self"},
		"T09 environment rejected":                       {question(), []ci.Act{env("1", "1", yes, code), env("2", "1", ci.StateRejected, "")}, "ops !2"},
		"T09 environment rejected, reviewed":             {question(), []ci.Act{env("1", "1", ci.StateRejected, ""), review("2", "1", yes, 1)}, "ops !1"},
		"one person by both ways":                        {question(), []ci.Act{env("1", "1", yes, code), review("2", "1", yes, 1)}, "ops 2 1:twice yes"},
		"dismissed, then the environment":                {question(), []ci.Act{env("1", "1", yes, code), review("2", "1", gone, 1, was(yes, "2"))}, "ops 1 2:dismissed yes"},
		"T07 by the pusher":                              {question(exclude("1", ci.WhyPusher)), []ci.Act{review("1", "1", yes, 1)}, "ops 1:pusher"},
		"T07 by who triggered":                           {question(exclude("1", ci.WhyTriggered)), []ci.Act{review("1", "1", yes, 1)}, "ops 1:triggered"},
		"T07 by a commit's author":                       {question(exclude("1", ci.WhyCommitAuthor)), []ci.Act{review("1", "1", yes, 1)}, "ops 1:commit_author"},
		"T07 excluded for a reason of tomorrow":          {question(exclude("1", "cousin")), []ci.Act{review("1", "1", yes, 1)}, "ops 1:self"},
		"T07 known by login only":                        {question(func(q *ci.Question) { q.Excluded[0].Person = ci.Person{Login: "ADA"} }), []ci.Act{review("1", "1", yes, 1)}, "ops 1:self"},
		"somebody took the author's login over":          {question(func(q *ci.Question) { q.Excluded[0].Person = ci.Person{ID: "99", Login: "ada"} }), []ci.Act{review("1", "1", yes, 1)}, "ops 1 yes"},
		"self approval":                                  {question(exclude("1", ci.WhyAuthor), func(q *ci.Question) { q.SelfApproval = true }), []ci.Act{review("1", "1", yes, 1)}, "ops 1 yes"},
		"self approval is not for bots":                  {question(func(q *ci.Question) { q.SelfApproval = true }), []ci.Act{review("1", "1", yes, 1, bot)}, "ops 1:not_human"},
		"an author blocks":                               {question(exclude("2", ci.WhyPusher)), []ci.Act{review("1", "1", yes, 1), review("2", "2", no, 1)}, "ops 1 !2"},
		"by login":                                       {question(roles(ci.Role{Name: "r", Users: []string{"ADA"}})), []ci.Act{review("1", "1", yes, 1)}, "r 1 yes"},
		"by id":                                          {question(roles(ci.Role{Name: "r", Users: []string{"id:1"}})), []ci.Act{review("1", "1", yes, 1), review("2", "2", yes, 1)}, "r 1 2:role yes"},
		"no login matches no user":                       {question(roles(ci.Role{Name: "r", Users: []string{"", "id:"}})), []ci.Act{review("1", "1", yes, 1, func(a *ci.Act) { a.Person.Login = "" })}, "r 1:role"},
		"by permission":                                  {question(roles(ci.Role{Name: "r", Permission: "write"})), []ci.Act{review("1", "3", yes, 1), review("2", "4", yes, 2), review("3", "5", yes, 3)}, "r 1 2 3:role yes"},
		"more permission":                                {question(roles(ci.Role{Name: "r", Permission: "maintain"})), []ci.Act{review("1", "3", yes, 1), review("2", "4", yes, 2)}, "r 1 2:role yes"},
		"a permission of tomorrow":                       {question(roles(ci.Role{Name: "r", Permission: "write"})), []ci.Act{review("1", "7", yes, 1)}, "r 1:role"},
		"a role of a permission of tomorrow":             {question(roles(ci.Role{Name: "r", Permission: "owner"})), []ci.Act{review("1", "7", yes, 1)}, "r 1:role"},
		"a role that nobody holds":                       {question(roles(ci.Role{Name: "r"})), []ci.Act{review("1", "1", yes, 1)}, "r 1:role"},
		"one person for two roles":                       {question(roles(ci.Role{Name: "a", Users: []string{"ada"}}, ci.Role{Name: "b", Users: []string{"ada"}})), []ci.Act{review("1", "1", yes, 1)}, "a 1 yes; b 1 yes"},
		"one role is not the other":                      {question(roles(ci.Role{Name: "a", Users: []string{"ada"}}, ci.Role{Name: "b", Users: []string{"ben"}})), []ci.Act{review("1", "1", yes, 1), review("2", "2", no, 1)}, "a 1 yes; b !2 1:role"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slices.Reverse(c.acts)
			got, err := ci.Count(context.Background(), c.q, c.acts, &people{})
			if err != nil || told(got) != c.want {
				t.Errorf("have %q, want %q (%v)", told(got), c.want, err)
			}
			if all := strings.Split(c.want, "; "); ci.Approved(got) == slices.ContainsFunc(all, func(r string) bool { return !strings.HasSuffix(r, " yes") }) {
				t.Errorf("%q: approved is %v", c.want, ci.Approved(got))
			}
			for _, r := range got {
				for _, x := range r.Refused {
					if x.Role != r.Role || x.Why == "" || len(x.Why) > 200 {
						t.Errorf("%+v", x)
					}
				}
			}
		})
	}
}

func exclude(id, why string) func(*ci.Question) {
	return func(q *ci.Question) { q.Excluded = append(q.Excluded, ci.Excluded{Person: person(id), Why: why}) }
}

// TestDistinctPeople: with distinct, one person speaks for one role.
func TestDistinctPeople(t *testing.T) {
	t.Parallel()
	both := []string{"ada", "ben"}
	yes := func(ids ...string) []ci.Act {
		var out []ci.Act
		for _, id := range ids {
			out = append(out, review(id, id, ci.StateApproved, 1))
		}
		return out
	}
	for name, c := range map[string]struct {
		roles  []ci.Role
		owners [][]string
		acts   []ci.Act
		want   string
	}{
		"T07 one for both":       {[]ci.Role{{Name: "a", Users: both}, {Name: "b", Users: both}}, nil, yes("1"), "a 1 yes; b 1:distinct"},
		"one each":               {[]ci.Role{{Name: "a", Users: both}, {Name: "b", Users: both}}, nil, yes("1", "2"), "a 2 yes; b 1 yes"},
		"only one way":           {[]ci.Role{{Name: "a", Users: both}, {Name: "b", Users: []string{"ada"}}}, nil, yes("1", "2"), "a 2 yes; b 1 yes"},
		"a chain of moves":       {[]ci.Role{{Name: "a", Users: []string{"ada", "ben"}}, {Name: "b", Users: []string{"ben", "cleo"}}, {Name: "c", Users: []string{"ada"}}}, nil, yes("1", "2", "3"), "a 2 yes; b 3 yes; c 1 yes"},
		"two and one":            {[]ci.Role{{Name: "a", Count: 2, Users: []string{"ada", "ben", "cleo"}}, {Name: "b", Users: []string{"ada", "ben"}}}, nil, yes("1", "2", "3"), "a 2 3 yes; b 1 yes"},
		"no way":                 {[]ci.Role{{Name: "a", Count: 2, Users: []string{"ada", "ben"}}, {Name: "b", Users: both}}, nil, yes("1", "2"), "a 1 2 yes; b 1:distinct 2:distinct"},
		"a spare one":            {[]ci.Role{{Name: "a", Users: []string{"ada", "ben", "cleo"}}, {Name: "b", Users: []string{"ada"}}}, nil, yes("1", "2", "3"), "a 2 3 yes; b 1 yes"},
		"an owner is kept":       {[]ci.Role{{Name: "a", Users: both}, {Name: "b", CodeOwners: true, Users: both}}, [][]string{{"@ada"}}, yes("1", "2"), "a 2 yes; b 1 yes"},
		"two owners are kept":    {[]ci.Role{{Name: "a", Users: []string{"ada", "ben", "cleo"}}, {Name: "b", CodeOwners: true}}, [][]string{{"@ada", "@cleo"}, {"@ben"}}, yes("1", "2", "3"), "a 3 yes; b 1 2 yes"},
		"an owner, but too few":  {[]ci.Role{{Name: "a", Users: both}, {Name: "b", CodeOwners: true}}, [][]string{{"@ada"}, {"@ben"}}, yes("1", "2"), "a 2 yes; b 1 2:distinct [[@ben]]"},
		"the choice has to back": {[]ci.Role{{Name: "a", Users: []string{"ada"}}, {Name: "b", CodeOwners: true}}, [][]string{{"@ada", "@ben"}}, yes("1", "2"), "a 1 yes; b 2 yes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := question(roles(c.roles...), func(q *ci.Question) { q.Distinct, q.Owners = true, c.owners })
			got, err := ci.Count(context.Background(), q, c.acts, &people{})
			have := strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(told(got), " 1:role", ""), " 2:role", ""), " 3:role", "")
			if err != nil || have != c.want {
				t.Errorf("have %q, want %q (%v)", have, c.want, err)
			}
		})
	}
}

// TestDistinctGivesUp: what would take too long to find is not approved.
func TestDistinctGivesUp(t *testing.T) {
	t.Parallel()
	q := question(func(q *ci.Question) { q.Distinct, q.Roles = true, []ci.Role{{Name: "r", Count: 40, CodeOwners: true}} })
	var acts []ci.Act
	for i := range 30 {
		id := fmt.Sprint(100 + i)
		acts = append(acts, ci.Act{Kind: ci.ActReview, ID: id, Person: ci.NewPerson(id, "p"+id, "User"), State: ci.StateApproved, Commit: head, At: at(1)})
		q.Owners = append(q.Owners, []string{"@p" + id, fmt.Sprint("@p", 100+(i+7)%30), fmt.Sprint("@p", 100+(i+11)%30)})
	}
	start := time.Now()
	got, err := ci.Count(context.Background(), q, acts, nil)
	if err != nil || ci.Approved(got) || time.Since(start) > 5*time.Second {
		t.Errorf("%v, %v after %v", told(got), err, time.Since(start))
	}
}

func TestCodeOwners(t *testing.T) {
	t.Parallel()
	const yes = ci.StateApproved
	owners := ci.Role{Name: "owners", CodeOwners: true}
	for name, c := range map[string]struct {
		role   ci.Role
		owners [][]string
		acts   []ci.Act
		want   string
	}{
		"by login":                    {owners, [][]string{{"@ADA"}}, []ci.Act{review("1", "1", yes, 1)}, "owners 1 yes"},
		"by team":                     {owners, [][]string{{"@acme/ops"}}, []ci.Act{review("1", "2", yes, 1)}, "owners 1 yes"},
		"not in the team":             {owners, [][]string{{"@acme/ops"}}, []ci.Act{review("1", "3", yes, 1)}, "owners 1:role [[@acme/ops]]"},
		"one of several":              {owners, [][]string{{"@ben", "@ada"}}, []ci.Act{review("1", "1", yes, 1)}, "owners 1 yes"},
		"a path is open":              {owners, [][]string{{"@ben"}, {"@ada"}}, []ci.Act{review("1", "1", yes, 1)}, "owners 1 [[@ben]]"},
		"both paths":                  {owners, [][]string{{"@ben"}, {"@ada"}}, []ci.Act{review("1", "1", yes, 1), review("2", "2", yes, 1)}, "owners 1 2 yes"},
		"a path is told twice":        {owners, [][]string{{"@ben"}, {"@ben", "@ben"}}, []ci.Act{review("1", "1", yes, 1)}, "owners 1:role [[@ben]]"},
		"nobody's path":               {owners, [][]string{{}, {"@ada"}, nil}, []ci.Act{review("1", "1", yes, 1)}, "owners 1 yes"},
		"nobody's paths only":         {owners, [][]string{{}}, []ci.Act{review("1", "1", yes, 1)}, "owners 1:role"},
		"nobody's paths, other ways":  {ci.Role{Name: "owners", CodeOwners: true, Users: []string{"ada"}}, [][]string{{}}, []ci.Act{review("1", "1", yes, 1)}, "owners 1 yes"},
		"other ways cover no path":    {ci.Role{Name: "owners", CodeOwners: true, Users: []string{"ada"}}, [][]string{{"@ben"}}, []ci.Act{review("1", "1", yes, 1)}, "owners 1 [[@ben]]"},
		"an address is nobody":        {owners, [][]string{{"ada@example.com"}}, []ci.Act{review("1", "1", yes, 1)}, "owners 1:role [[ada@example.com]]"},
		"an owner who does not count": {owners, [][]string{{"@author"}, {"@ada"}}, []ci.Act{review("1", "1", yes, 1), review("2", "9", yes, 1)}, "owners 1 2:self [[@author]]"},
		"an owner blocks":             {owners, [][]string{{"@ben"}, {"@ada"}}, []ci.Act{review("1", "1", ci.StateChangesRequested, 1), review("2", "2", yes, 1)}, "owners 2 !1 [[@ada]]"},
		"roles of others ask no path": {ci.Role{Name: "r", Users: []string{"ada"}}, [][]string{{"@ben"}}, []ci.Act{review("1", "1", yes, 1)}, "r 1 yes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := question(roles(c.role), func(q *ci.Question) { q.Owners = c.owners })
			got, err := ci.Count(context.Background(), q, c.acts, &people{})
			if err != nil || told(got) != c.want {
				t.Errorf("have %q, want %q (%v)", told(got), c.want, err)
			}
		})
	}
}

// TestUnansweredQuestions: T28, what the forge does not tell is no "no".
func TestUnansweredQuestions(t *testing.T) {
	t.Parallel()
	approve := []ci.Act{review("1", "1", ci.StateApproved, 1)}
	block := []ci.Act{review("1", "1", ci.StateChangesRequested, 1)}
	for name, c := range map[string]struct {
		q    ci.Question
		acts []ci.Act
	}{
		"team":                {question(), approve},
		"permission":          {question(roles(ci.Role{Name: "r", Permission: "write"})), approve},
		"team of code owners": {question(roles(ci.Role{Name: "r", CodeOwners: true}), func(q *ci.Question) { q.Owners = [][]string{{"@acme/ops"}} }), approve},
		"coverage":            {question(roles(ci.Role{Name: "r", CodeOwners: true, Users: []string{"ada"}}), func(q *ci.Question) { q.Owners = [][]string{{"@acme/ops"}} }), approve},
		"coverage, distinct": {question(roles(ci.Role{Name: "r", CodeOwners: true, Users: []string{"ada"}}), func(q *ci.Question) {
			q.Owners, q.Distinct = [][]string{{"@acme/ops"}}, true
		}), approve},
		"who blocks": {question(), block},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, d := range []ci.Directory{&people{fail: io.ErrUnexpectedEOF}, nil} {
				got, err := ci.Count(context.Background(), c.q, c.acts, d)
				if got != nil || protocol.ExitCode(err) != protocol.ExitUnreachable || !errors.Is(err, protocol.Code("approval_directory")) {
					t.Errorf("%v, %v", told(got), err)
				}
				if d != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("the cause is lost: %v", err)
				}
			}
		})
	}
}

// TestDirectoryIsAskedLittle: each question costs a call of the forge's API.
func TestDirectoryIsAskedLittle(t *testing.T) {
	t.Parallel()
	d := &people{}
	q := question(roles(ci.Role{Name: "a", Teams: []string{"acme/ops"}}, ci.Role{Name: "b", Teams: []string{"acme/ops"}, Permission: "write"}, ci.Role{Name: "c", Users: []string{"ada"}, Teams: []string{"acme/x"}}))
	acts := []ci.Act{
		review("1", "1", ci.StateApproved, 1), review("2", "1", ci.StateApproved, 2), review("3", "4", ci.StateCommented, 1), review("4", "5", ci.StateApproved, 1, commit(old)),
		review("5", "9", ci.StateApproved, 1), review("6", "2", ci.StateApproved, 1, bot), review("7", "3", ci.StateDismissed, 1, was(ci.StateApproved, "3")),
	}
	got, err := ci.Count(context.Background(), q, acts, d)
	if err != nil || !ci.Approved(got) {
		t.Fatalf("%v %v", told(got), err)
	}
	if want := []string{"acme/ops 1"}; !slices.Equal(d.asked, want) {
		t.Errorf("asked %q, want %q", d.asked, want)
	}
}

// TestLessIsNeverMore: taking an act away, other than what speaks against, approves
// nothing; and the order in which acts are told does not matter.
func TestLessIsNeverMore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := question(exclude("3", ci.WhyPusher), func(q *ci.Question) {
			q.CodeNeeded, q.Distinct = rapid.Bool().Draw(t, "code"), rapid.Bool().Draw(t, "distinct")
			q.SelfApproval = rapid.Bool().Draw(t, "self")
			q.Owners = rapid.SliceOfN(rapid.SliceOfN(rapid.SampledFrom([]string{"@ada", "@ben", "@cleo", "@acme/ops"}), 0, 2), 0, 3).Draw(t, "owners")
			q.Roles = nil
			for i := range rapid.IntRange(1, 3).Draw(t, "roles") {
				q.Roles = append(q.Roles, ci.Role{
					Name: fmt.Sprint("r", i), Count: rapid.IntRange(0, 2).Draw(t, "count"), CodeOwners: rapid.Bool().Draw(t, "codeowners"),
					Users:      rapid.SliceOfN(rapid.SampledFrom([]string{"ada", "ben", "cleo", "dan", "author"}), 0, 4).Draw(t, "users"),
					Teams:      rapid.SampledFrom([][]string{nil, {"acme/ops"}}).Draw(t, "teams"),
					Permission: rapid.SampledFrom([]string{"", "write"}).Draw(t, "permission"),
				})
			}
		})
		acts := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) ci.Act {
			a := review(fmt.Sprint(rapid.IntRange(1, 12).Draw(t, "id")), fmt.Sprint(rapid.SampledFrom([]int{1, 2, 3, 4, 9}).Draw(t, "who")),
				rapid.SampledFrom([]ci.ActState{ci.StateApproved, ci.StateApproved, ci.StateApproved, ci.StateChangesRequested, ci.StateDismissed, ci.StateCommented, ci.StatePending, ci.StateRejected}).Draw(t, "state"),
				rapid.IntRange(-1, 4).Draw(t, "minutes"), commit(rapid.SampledFrom([]string{head, head, head, old, ""}).Draw(t, "commit")),
				text(rapid.SampledFrom([]string{code, code, "", other}).Draw(t, "text")))
			if rapid.IntRange(0, 5).Draw(t, "environment") == 0 {
				a.Kind, a.At, a.Commit = ci.ActEnvironment, time.Time{}, ""
			}
			return a
		}), 0, 9).Draw(t, "acts")

		whole, err := ci.Count(context.Background(), q, acts, &people{})
		if err != nil {
			t.Fatal(err)
		}
		shuffled, err := ci.Count(context.Background(), q, rapid.Permutation(acts).Draw(t, "order"), &people{})
		if err != nil || told(shuffled) != told(whole) {
			t.Fatalf("in another order %q, %v; before %q", told(shuffled), err, told(whole))
		}
		for _, r := range whole {
			spoke := map[string]bool{}
			for _, a := range r.By {
				if spoke[a.Person.ID] || a.State != ci.StateApproved || a.Commit == old || a.Text == other {
					t.Fatalf("%q counts %+v", told(whole), a)
				}
				spoke[a.Person.ID] = true
			}
		}
		if ci.Approved(whole) {
			return
		}
		for i, a := range acts {
			if a.State == ci.StateChangesRequested || a.State == ci.StateDismissed || a.State == ci.StateRejected {
				continue
			}
			less, err := ci.Count(context.Background(), q, slices.Delete(slices.Clone(acts), i, i+1), &people{})
			if err != nil || ci.Approved(less) {
				t.Fatalf("without %+v it is %q, %v; with it %q", a, told(less), err, told(whole))
			}
		}
	})
}

// TestUnsettled: who dismissed a review is asked only where it is somebody's last word.
func TestUnsettled(t *testing.T) {
	t.Parallel()
	const yes, no, gone = ci.StateApproved, ci.StateChangesRequested, ci.StateDismissed
	for name, c := range map[string]struct {
		acts []ci.Act
		want bool
	}{
		"nothing":                  {nil, false},
		"approved":                 {[]ci.Act{review("1", "1", yes, 1)}, false},
		"changes requested":        {[]ci.Act{review("1", "1", no, 1)}, false},
		"dismissed":                {[]ci.Act{review("1", "1", gone, 1)}, true},
		"dismissed, commented":     {[]ci.Act{review("1", "1", gone, 1), review("2", "1", ci.StateCommented, 2)}, true},
		"dismissed, approved":      {[]ci.Act{review("1", "1", gone, 1), review("2", "1", yes, 2)}, false},
		"of another":               {[]ci.Act{review("1", "1", gone, 1), review("2", "2", yes, 2)}, true},
		"dismissed at no time":     {[]ci.Act{review("1", "1", gone, 1, untimed), review("2", "1", yes, 2)}, true},
		"it is known by whom":      {[]ci.Act{review("1", "1", gone, 1, was(no, "2"))}, false},
		"dismissed, but not first": {[]ci.Act{review("1", "1", gone, 1), review("2", "1", no, 2)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := ci.Unsettled(c.acts); got != c.want {
				t.Errorf("%v", got)
			}
		})
	}
}
