package github

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Event is what an event's payload says, as far as anybody here asks.
type Event struct {
	Name, Action string
	Number       int // of the pull request or issue
	Draft        bool

	HeadSHA, HeadRepositoryID, HeadRef string
	BaseRef, BaseSHA                   string
	RepositoryID, Repository           string
	DefaultBranch                      string
	Private                            bool // whether the repository is
	Sender                             ci.Person
	Merged                             bool
	MergeCommit                        string
	BaseEdited                         bool   // of pull_request edited: the base is another one
	Before, After, Ref                 string // of push
	RunID, RunEvent, RunConclusion     string // of workflow_run
	RunHeadSHA, RunHeadRepositoryID    string
	RunWorkflowPath                    string
	MergeGroup                         MergeGroup
	CheckID, CheckExternalID           string // of check_run
	RequestedAction                    string // of check_run: the button that somebody pressed
	ReviewID                           string // of pull_request_review
}

// MergeGroup is the group of a merge queue.
type MergeGroup struct{ HeadSHA, HeadRef, BaseSHA, BaseRef string }

var eventNames = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)

// payload is what is read of payloads, whichever event they are of.
type payload struct {
	Action     string      `json:"action"`
	Number     int         `json:"number"`
	Pull       *pull       `json:"pull_request"`
	Issue      *numbered   `json:"issue"`
	Repository *repository `json:"repository"`
	Sender     *user       `json:"sender"`
	Changes    struct {
		Base json.RawMessage `json:"base"`
	} `json:"changes"`
	Before string          `json:"before"`
	After  string          `json:"after"`
	Ref    string          `json:"ref"`
	Run    *runWire        `json:"workflow_run"`
	Group  *groupWire      `json:"merge_group"`
	Check  *checkWire      `json:"check_run"`
	Button json.RawMessage `json:"requested_action"`
	Review *struct {
		ID ident `json:"id"`
	} `json:"review"`
}

type numbered struct {
	Number int `json:"number"`
}

type groupWire struct {
	HeadSHA string `json:"head_sha"`
	HeadRef string `json:"head_ref"`
	BaseSHA string `json:"base_sha"`
	BaseRef string `json:"base_ref"`
}

// ParseEvent reads the payload of an event. Of an event that nobody here knows it reads
// what all have in common. What it needs and does not find is an error: what an event
// is about is never guessed.
func ParseEvent(name string, data []byte) (Event, error) {
	if !eventNames.MatchString(name) {
		return Event{}, badEvent(name, "it has no name of an event")
	}
	if len(data) > limits.GitHubEvent {
		return Event{}, badEvent(name, fmt.Sprintf("it has %d bytes, at most %d", len(data), limits.GitHubEvent))
	}
	p, err := decodeEvent(name, data)
	if err != nil {
		return Event{}, badEvent(name, clean(err.Error()))
	}
	e := Event{
		Name: name, Action: p.Action, Number: p.Number, Sender: p.Sender.person(),
		RepositoryID: p.Repository.id(), Repository: p.Repository.name(),
	}
	if p.Repository != nil {
		e.DefaultBranch, e.Private = p.Repository.DefaultBranch, p.Repository.Private
	}
	if p.Issue != nil && e.Number == 0 {
		e.Number = p.Issue.Number
	}
	if err := e.fill(p); err != nil {
		return Event{}, badEvent(name, err.Error())
	}
	return e, nil
}

func badEvent(name, why string) error {
	return protocol.Errorf(protocol.ExitUsage, "event_payload", "the payload of the event %.64q: %s", name, why).
		WithHint("GITHUB_EVENT_NAME and GITHUB_EVENT_PATH must be those that the runner sets.")
}

// decodeEvent decodes the members that an event has. The same name means other things
// in events that are not ours, and their form is not ours to check.
func decodeEvent(name string, data []byte) (*payload, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return nil, err
	}
	if members == nil {
		return nil, fmt.Errorf("it is no object")
	}
	var p payload
	fields := map[string]any{"action": &p.Action, "repository": &p.Repository, "sender": &p.Sender}
	for _, f := range eventFields(&p, name) {
		fields[f.name] = f.into
	}
	for _, member := range []string{
		"action", "repository", "sender", "number", "pull_request", "changes", "review", "before", "after", "ref",
		"workflow_run", "merge_group", "check_run", "requested_action", "issue",
	} {
		raw, there := members[member]
		into, wanted := fields[member]
		if !there || !wanted {
			continue
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return nil, fmt.Errorf("%s: %w", member, err)
		}
	}
	return &p, nil
}

type eventField struct {
	name string
	into any
}

func eventFields(p *payload, name string) []eventField {
	switch name {
	case "pull_request", "pull_request_target":
		return []eventField{{"number", &p.Number}, {"pull_request", &p.Pull}, {"changes", &p.Changes}, {"before", &p.Before}, {"after", &p.After}}
	case "pull_request_review":
		return []eventField{{"pull_request", &p.Pull}, {"review", &p.Review}}
	case "pull_request_review_comment":
		return []eventField{{"pull_request", &p.Pull}}
	case "push":
		return []eventField{{"before", &p.Before}, {"after", &p.After}, {"ref", &p.Ref}}
	case "workflow_run":
		return []eventField{{"workflow_run", &p.Run}}
	case "merge_group":
		return []eventField{{"merge_group", &p.Group}}
	case "check_run":
		return []eventField{{"check_run", &p.Check}, {"requested_action", &p.Button}}
	case "workflow_dispatch":
		return []eventField{{"ref", &p.Ref}}
	case "issue_comment", "issues":
		return []eventField{{"issue", &p.Issue}}
	}
	return nil
}

// fill takes over what the event is about, and refuses one that does not say it.
func (e *Event) fill(p *payload) error {
	switch e.Name {
	case "pull_request", "pull_request_target", "pull_request_review", "pull_request_review_comment":
		return e.fillPull(p)
	case "push":
		if !commitID.MatchString(p.Before) || !commitID.MatchString(p.After) || !strings.HasPrefix(p.Ref, "refs/") {
			return fmt.Errorf("the push has no commits or no ref")
		}
		e.Before, e.After, e.Ref, e.HeadSHA = p.Before, p.After, p.Ref, p.After
	case "workflow_run":
		w := p.Run
		if w == nil || w.ID == "" || w.Event == "" || !commitID.MatchString(w.HeadSHA) || w.HeadRepository.id() == "" {
			return fmt.Errorf("the run has no id, event, commit or repository")
		}
		e.RunID, e.RunEvent, e.RunConclusion, e.RunWorkflowPath = string(w.ID), w.Event, w.Conclusion, w.Path
		e.RunHeadSHA, e.RunHeadRepositoryID = w.HeadSHA, w.HeadRepository.id()
		if len(w.Pulls) == 1 {
			e.Number = w.Pulls[0].Number
		}
	case "merge_group":
		if p.Group == nil || !commitID.MatchString(p.Group.HeadSHA) || !commitID.MatchString(p.Group.BaseSHA) {
			return fmt.Errorf("the merge group has no commits")
		}
		e.MergeGroup = MergeGroup(*p.Group)
		e.HeadSHA, e.BaseSHA, e.BaseRef = p.Group.HeadSHA, p.Group.BaseSHA, p.Group.BaseRef
	case "check_run":
		return e.fillCheck(p)
	case "workflow_dispatch":
		e.Ref = p.Ref
	}
	return e.needsRepository()
}

func (e *Event) fillPull(p *payload) error {
	if p.Pull == nil {
		return fmt.Errorf("there is no pull request")
	}
	if err := p.Pull.check(); err != nil {
		return err
	}
	c := p.Pull.change()
	if e.Number != 0 && e.Number != c.Number {
		return fmt.Errorf("it has two numbers, %d and %d", e.Number, c.Number)
	}
	e.Number, e.Draft, e.Merged, e.MergeCommit = c.Number, c.Draft, c.Merged, c.MergeCommit
	e.HeadSHA, e.HeadRepositoryID, e.HeadRef = c.Head.SHA, c.Head.RepositoryID, c.Head.Ref
	e.BaseSHA, e.BaseRef = c.Base.SHA, c.Base.Ref
	e.Before, e.After = p.Before, p.After
	e.BaseEdited = e.Action == "edited" && len(p.Changes.Base) > 0 && string(p.Changes.Base) != "null"
	if e.RepositoryID != c.Base.RepositoryID {
		return fmt.Errorf("the base of the pull request is not the repository")
	}
	if e.Name == "pull_request_review" {
		if p.Review == nil || p.Review.ID == "" {
			return fmt.Errorf("the review has no id")
		}
		e.ReviewID = string(p.Review.ID)
	}
	return e.needsRepository()
}

func (e *Event) fillCheck(p *payload) error {
	if p.Check == nil || p.Check.ID == "" || !commitID.MatchString(p.Check.HeadSHA) {
		return fmt.Errorf("the check has no id or commit")
	}
	e.CheckID, e.HeadSHA, e.CheckExternalID = string(p.Check.ID), p.Check.HeadSHA, p.Check.ExternalID
	if e.Action == "requested_action" {
		var b struct {
			Identifier string `json:"identifier"`
		}
		if err := json.Unmarshal(p.Button, &b); err != nil || b.Identifier == "" || len(b.Identifier) > limits.GitHubActionLabel {
			return fmt.Errorf("the action that is requested has no name")
		}
		if e.Sender.ID == "" {
			return fmt.Errorf("nobody requested the action")
		}
		e.RequestedAction = b.Identifier
	}
	return e.needsRepository()
}

// needsRepository refuses an event of ours that tells no repository.
func (e *Event) needsRepository() error {
	switch e.Name {
	case "pull_request", "pull_request_target", "pull_request_review", "push", "workflow_run", "merge_group", "check_run", "workflow_dispatch":
		if e.RepositoryID == "" || e.Repository == "" {
			return fmt.Errorf("it tells no repository")
		}
	}
	return nil
}
