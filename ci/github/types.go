package github

import (
	"time"

	"github.com/cabincrew/action/ci"
)

// Repository is the repository that the client works for.
type Repository struct {
	ID, OwnerID, FullName, DefaultBranch string
	Private, Fork                        bool
}

// End is one end of a change: where its commits lie.
type End struct {
	RepositoryID, Repository string // empty where the fork is gone
	Ref, SHA                 string
	DefaultBranch            string // of the repository
	Private                  bool   // whether the repository is
}

// Change is a pull request.
type Change struct {
	Number                int
	Open, Merged, Draft   bool
	MergeCommit           string // merge_commit_sha: the test merge while it is open, the merged commit afterwards
	Head, Base            End
	Author, MergedBy      ci.Person
	Labels                []string
	Commits, ChangedFiles int // 0 in what ChangesOf gives
	URL, Title            string
	Mergeable             *bool // nil while GitHub does not know
	UpdatedAt, MergedAt   time.Time
}

// File is a path of a change; both sides of a rename.
type File struct{ Path, Previous, Status string }

// Check is a check run.
type Check struct {
	ID, Name, HeadSHA, ExternalID string
	Status, Conclusion            string // queued, in_progress, completed; success, neutral, action_required, failure
	URL, DetailsURL               string
	Title, Summary, Text          string
	Annotations                   []Annotation
	Actions                       []CheckAction
	AppID, App                    string // the App that made it, and its name
	StartedAt                     time.Time
}

// Annotation is a remark on lines of a file.
type Annotation struct {
	Path               string
	StartLine, EndLine int
	Level              string // notice, warning, failure
	Title, Message     string
}

// CheckAction is a button of a check.
type CheckAction struct{ Label, Description, Identifier string }

// Run is a run of a workflow.
type Run struct {
	ID, Attempt                     string
	WorkflowPath, WorkflowID, Event string
	HeadSHA, HeadBranch             string
	HeadRepositoryID, RepositoryID  string // HeadRepositoryID is empty where the fork is gone
	HeadOwner                       string // the login of who has the head's repository
	Status, Conclusion, URL         string
	Actor, TriggeringActor          ci.Person
	CreatedAt, StartedAt            time.Time
	Pulls                           []int
}

// RunFilter says which runs are asked for; what is empty is not asked.
type RunFilter struct {
	WorkflowFile                   string // the name of a file in .github/workflows, or the id of a workflow
	HeadSHA, Event, Branch, Status string
	Most                           int // how many of the newest are wanted; 0 is all, which must be no more than 1,000
}

// Artifact is what a run uploaded.
type Artifact struct {
	ID, Name, RunID           string
	Digest                    string // "sha256:<hex>" of the archive, where GitHub tells
	HeadSHA, HeadRepositoryID string // of the run
	Size                      int64  // bytes of the archive
	Expired                   bool
	CreatedAt                 time.Time
}

// Reviewer is a person or team that an environment asks.
type Reviewer struct {
	Kind string // User, Team
	ID   string
	Name string // login, or slug of the team
}

// Environment is a deployment environment and what protects it.
type Environment struct {
	Found             bool
	ID, Name          string
	Reviewers         []Reviewer
	PreventSelfReview Known
	AdminsCanBypass   Known
	ProtectedBranches bool     // only protected branches deploy
	Policies          []string // patterns of branches and tags that deploy, as "branch:main", where there are such
	WaitMinutes       int
	Rules             []string // types of all its protection rules
}

// Known is the answer to a question that the forge may leave open.
type Known string

// The answers.
const (
	Yes     Known = "yes"
	No      Known = "no"
	Unknown Known = "unknown"
)

// Branch is a branch and its tip.
type Branch struct {
	Name, SHA string
	Protected bool
}

// Push is a change of a ref.
type Push struct {
	Actor         ci.Person
	Before, After string
	Kind          string // push, force_push, branch_creation, branch_deletion, pr_merge, merge_queue_merge
	At            time.Time
}

// Deployment is something that is deployed.
type Deployment struct {
	Ref, Environment, Task, Description string
	Payload                             map[string]string
	Transient, Production               bool
}

// DeploymentState is how a deployment stands.
type DeploymentState struct {
	State            string // queued, in_progress, success, failure, error, inactive
	LogURL           string
	EnvironmentURL   string
	Description      string
	KeepOthersActive bool
}

// Rule is a rule of a ruleset that is in force on a branch.
type Rule struct {
	Type, RulesetID, Source string
	Approvals               int      // of pull_request
	DismissStale            bool     // of pull_request
	CodeOwners              bool     // of pull_request
	LastPush                bool     // of pull_request: somebody else than the last pusher approves
	MergeMethods            []string // of pull_request
	Checks                  []RequiredCheck
	Strict                  bool // of required_status_checks: branches are up to date
}

// RequiredCheck is a check that must pass.
type RequiredCheck struct{ Context, AppID string }

// Ruleset is a ruleset of the repository or of one of its owners.
type Ruleset struct {
	ID, Name, Target, Enforcement, SourceType string
	Include, Exclude                          []string // patterns of refs
	Rules                                     []Rule
	Bypass                                    []Bypass
	BypassKnown                               Known // GitHub shows the bypass list to those who may edit it
}

// Bypass is who may pass a ruleset by.
type Bypass struct{ Kind, ID, Mode string }

// Protection is the classic protection of a branch.
type Protection struct {
	Present                                    Known
	Approvals                                  int
	DismissStale, CodeOwners, LastPush, Admins bool
	ReviewBypass                               bool // some need no review
	Checks                                     []RequiredCheck
	Strict                                     bool
	ForcePushes, Deletions, LinearHistory      bool
	Signatures, ConversationResolution         bool
}

// Settings is what the repository's settings say, for a doctor. What cannot be read
// is unknown, never false.
type Settings struct {
	Rules              []Rule // in force on the branch
	RulesKnown         Known
	Rulesets           []Ruleset
	RulesetsKnown      Known
	Protection         Protection
	ActionsEnabled     Known
	AllowedActions     string // all, local_only, selected; empty if unknown
	PinningRequired    Known  // actions must be pinned by a full commit id
	DefaultPermissions string // read, write; empty if unknown
	ApprovesChanges    Known  // workflows can approve pull requests
	Unread             []Unread
}

// Unread is a setting that could not be read, and why.
type Unread struct{ What, Why string }
