package github

import "github.com/cabincrew/action/ci"

// Event is what an event's payload says, as far as anybody here asks.
type Event struct {
	Name, Action string
	Number       int // of the pull request or issue
	Draft        bool

	HeadSHA, HeadRepositoryID, HeadRef string
	BaseRef, BaseSHA                   string
	RepositoryID, Repository           string
	DefaultBranch                      string
	Sender                             ci.Person
	Merged                             bool
	MergeCommit                        string
	BaseEdited                         bool   // of pull_request edited: the base is another one
	Before, After, Ref                 string // of push
	RunID, RunEvent, RunConclusion     string // of workflow_run
	RunHeadSHA, RunHeadRepositoryID    string
	RunWorkflowPath                    string
	MergeGroup                         MergeGroup
	RequestedAction, CheckExternalID   string // of check_run
	ReviewID                           string // of pull_request_review
}

// MergeGroup is the group of a merge queue.
type MergeGroup struct{ HeadSHA, HeadRef, BaseSHA, BaseRef string }
