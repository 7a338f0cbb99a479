package ci

import (
	"context"
	"strings"
	"time"
)

// Person is somebody as a forge knows them. People are compared by ID alone: a
// login can be given up and taken over by somebody else.
type Person struct {
	ID    string
	Login string
	Bot   bool // no human: see NewPerson
}

// NewPerson makes a Person of what a forge tells. Only an account that the forge calls
// a user's is a human's: neither an app nor an organisation nor the stand-in for a
// deleted or imported account, and none without an id.
func NewPerson(id, login, kind string) Person {
	return Person{ID: id, Login: login, Bot: kind != "User" || id == "" || id == "0" || strings.HasSuffix(strings.ToLower(login), "[bot]")}
}

// ActKind says where somebody spoke.
type ActKind string

// The kinds of acts.
const (
	ActReview      ActKind = "review"      // of a change
	ActEnvironment ActKind = "environment" // of a run that waits for a protected environment
)

// ActState says what somebody said.
type ActState string

// The states of acts.
const (
	StateApproved         ActState = "approved"
	StateChangesRequested ActState = "changes_requested"
	StateDismissed        ActState = "dismissed" // a review that was taken back, by whomever
	StateCommented        ActState = "commented"
	StatePending          ActState = "pending" // not submitted yet
	StateRejected         ActState = "rejected"
)

// Act is something that a person did on a forge, which may count as an approval or
// block one.
type Act struct {
	Kind         ActKind
	ID           string
	Person       Person
	State        ActState
	Commit       string    // that the person looked at; "" where the forge does not tell
	At           time.Time // of submission; zero where the forge does not tell
	Text         string
	URL          string
	Environments []string
	Dismissal    *Dismissal // of a dismissed review; nil where that is not known
	Edited       time.Time  // the last change of a review; zero where that is not known
}

// Dismissal says who dismissed a review, and what it had said.
type Dismissal struct {
	By  Person
	Was ActState
}

// Role says who holds a role of the governance and how many must speak for it. A
// person holds it by any one of the ways.
type Role struct {
	Name       string
	Count      int
	Users      []string // logins, or "id:123"
	Teams      []string // org/slug
	Permission string   // "", or the least permission on the repository: write, maintain, admin
	CodeOwners bool     // the owners of what the change touches; see Question.Owners
}

// Excluded is a person whose approval never counts, and why: one of the Why constants.
type Excluded struct {
	Person Person
	Why    string
}

// Why somebody's approval never counts.
const (
	WhyAuthor       = "author"
	WhyPusher       = "pusher"
	WhyTriggered    = "triggered"
	WhyCommitAuthor = "commit author"
)

// Question is what is to be approved.
type Question struct {
	Roles        []Role
	Head         string    // the planned head commit
	Sealed       time.Time // when the token was first sealed
	Code         string    // the approval code of the flight
	Coded        time.Time // when that code was made; not before Sealed
	CodeNeeded   bool
	Excluded     []Excluded
	SelfApproval bool
	Distinct     bool       // one person speaks for one role only
	Owners       [][]string // per path that must be covered: its code owners (@user, @org/team, e-mail)
	Now          time.Time
	Expire       time.Duration
}

// Directory tells who is in a team and what a person may do. An error means that it
// cannot be told, which is no "no".
type Directory interface {
	InTeam(ctx context.Context, team string, p Person) (bool, error)
	Permission(ctx context.Context, p Person) (string, error)
}

// Refusal is an act that does not count for a role.
type Refusal struct {
	Act  Act
	Role string
	Code string // an error code, such as approval_stale_commit
	Why  string
}

// RoleCount is who speaks for a role.
type RoleCount struct {
	Role      string
	Need      int
	By        []Act
	Refused   []Refusal
	Blocked   *Act       // a holder of the role requested changes, or rejected
	Uncovered [][]string // the owners of paths that none of By owns; only of roles of code owners
}

// Approved says whether enough people speak for the role and none against.
func (r RoleCount) Approved() bool {
	return r.Need > 0 && len(r.By) >= r.Need && r.Blocked == nil && len(r.Uncovered) == 0
}
