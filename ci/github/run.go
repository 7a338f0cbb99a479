package github

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// runWire is a run of a workflow, as the API and events give it.
type runWire struct {
	ID              ident       `json:"id"`
	Attempt         int         `json:"run_attempt"`
	Path            string      `json:"path"`
	WorkflowID      ident       `json:"workflow_id"`
	Event           string      `json:"event"`
	HeadSHA         string      `json:"head_sha"`
	HeadBranch      string      `json:"head_branch"`
	HeadRepository  *repository `json:"head_repository"`
	Repository      *repository `json:"repository"`
	Status          string      `json:"status"`
	Conclusion      string      `json:"conclusion"`
	URL             string      `json:"html_url"`
	Actor           *user       `json:"actor"`
	TriggeringActor *user       `json:"triggering_actor"`
	CreatedAt       stamp       `json:"created_at"`
	StartedAt       stamp       `json:"run_started_at"`
	Pulls           []struct {
		Number int `json:"number"`
	} `json:"pull_requests"`
}

func (w *runWire) run() Run {
	r := Run{
		ID: string(w.ID), Attempt: strconv.Itoa(max(w.Attempt, 1)), WorkflowPath: w.Path, WorkflowID: string(w.WorkflowID),
		Event: w.Event, HeadSHA: w.HeadSHA, HeadBranch: w.HeadBranch, HeadRepositoryID: w.HeadRepository.id(),
		RepositoryID: w.Repository.id(), Status: w.Status, Conclusion: w.Conclusion, URL: w.URL,
		Actor: w.Actor.person(), TriggeringActor: w.TriggeringActor.person(),
		CreatedAt: w.CreatedAt.Time, StartedAt: w.StartedAt.Time,
	}
	if w.HeadRepository != nil && w.HeadRepository.Owner != nil {
		r.HeadOwner = w.HeadRepository.Owner.Login
	}
	for _, p := range w.Pulls {
		r.Pulls = append(r.Pulls, p.Number)
	}
	return r
}

func (w *runWire) check() error {
	if w.ID == "" || w.WorkflowID == "" || w.Event == "" || !commitID.MatchString(w.HeadSHA) || w.CreatedAt.IsZero() {
		return fmt.Errorf("run %s has no workflow, event, commit or time", w.ID)
	}
	return nil
}

// Run reads a run of a workflow.
func (c *Client) Run(ctx context.Context, id string) (Run, error) {
	k := call{what: "read run " + clean(id), need: "actions: read", path: "actions/runs/" + id}
	if !isID(id) {
		return Run{}, c.odd(k, "%.30q is no id of a run", id)
	}
	var w runWire
	if _, err := c.do(ctx, k, &w); err != nil {
		return Run{}, err
	}
	if err := w.check(); err != nil {
		return Run{}, c.odd(k, "%s", err)
	}
	if string(w.ID) != id {
		return Run{}, c.odd(k, "it answers with run %s", w.ID)
	}
	return w.run(), nil
}

var workflowFiles = regexp.MustCompile(`^[A-Za-z0-9_.@ -]{1,200}$`)

// Runs reads the newest runs, newest first. What it was asked to look for is looked at
// again in each run that comes.
func (c *Client) Runs(ctx context.Context, f RunFilter) ([]Run, error) {
	k := call{what: "list the runs", need: "actions: read", path: "actions/runs", query: url.Values{}}
	if f.WorkflowFile != "" {
		k.what, k.path = "list the runs of workflow "+clean(f.WorkflowFile), "actions/workflows/"+url.PathEscape(f.WorkflowFile)+"/runs"
		if !workflowFiles.MatchString(f.WorkflowFile) || dots(f.WorkflowFile) {
			return nil, c.odd(k, "%.100q is no name of a workflow's file", f.WorkflowFile)
		}
	}
	for name, value := range map[string]string{"head_sha": f.HeadSHA, "event": f.Event, "branch": f.Branch, "status": f.Status} {
		if value != "" {
			k.query.Set(name, value)
		}
	}
	have, err := list(ctx, c, listing[runWire]{
		call: k, key: "workflow_runs", most: f.Most, pages: limits.GitHubRuns / limits.GitHubPage,
		id: func(w runWire) string { return string(w.ID) },
	})
	if err != nil {
		return nil, err
	}
	out := make([]Run, 0, len(have))
	for i := range have {
		w := &have[i]
		if err := w.check(); err != nil {
			return nil, c.odd(k, "%s", err)
		}
		if f.HeadSHA != "" && w.HeadSHA != f.HeadSHA || f.Event != "" && w.Event != f.Event || f.Branch != "" && w.HeadBranch != f.Branch {
			return nil, c.odd(k, "run %s is none that was asked for", w.ID)
		}
		if i > 0 && w.CreatedAt.After(have[i-1].CreatedAt.Time) {
			return nil, c.odd(k, "the runs are not in order, newest first")
		}
		out = append(out, w.run())
	}
	slices.SortStableFunc(out, newer)
	return out, nil
}

// newer orders runs; of those of one second the one with the larger id is the newer.
func newer(a, b Run) int {
	if d := b.CreatedAt.Compare(a.CreatedAt); d != 0 {
		return d
	}
	if d := len(b.ID) - len(a.ID); d != 0 {
		return d
	}
	switch {
	case b.ID < a.ID:
		return -1
	case b.ID > a.ID:
		return 1
	}
	return 0
}

// RunApprovals reads who let a run deploy to its environments. GitHub tells neither
// when nor of which attempt, so an approval of this kind has no time and no commit.
func (c *Client) RunApprovals(ctx context.Context, runID string) ([]ci.Act, error) {
	k := call{what: "read the approvals of run " + clean(runID), need: "actions: read", path: "actions/runs/" + runID + "/approvals"}
	if !isID(runID) {
		return nil, c.odd(k, "%.30q is no id of a run", runID)
	}
	var have []struct {
		State        string `json:"state"`
		Comment      string `json:"comment"`
		User         *user  `json:"user"`
		Environments []struct {
			Name string `json:"name"`
		} `json:"environments"`
	}
	if _, err := c.do(ctx, k, &have); err != nil {
		return nil, err
	}
	states := map[string]ci.ActState{"approved": ci.StateApproved, "rejected": ci.StateRejected, "pending": ci.StatePending}
	out := make([]ci.Act, 0, len(have))
	for i, w := range have {
		state, known := states[w.State]
		if !known {
			return nil, c.odd(k, "an approval has the state %.30q, which nobody here knows", w.State)
		}
		a := ci.Act{Kind: ci.ActEnvironment, ID: fmt.Sprintf("run/%s/%d", runID, i), Person: w.User.person(), State: state, Text: w.Comment}
		for _, e := range w.Environments {
			a.Environments = append(a.Environments, e.Name)
		}
		out = append(out, a)
	}
	return out, nil
}

// Dispatch starts a workflow.
func (c *Client) Dispatch(ctx context.Context, workflowFile, ref string, inputs map[string]string) error {
	if !workflowFiles.MatchString(workflowFile) || dots(workflowFile) {
		return protocol.Errorf(protocol.ExitFailure, "forge_options", "%.100q is no name of a workflow's file", workflowFile)
	}
	body := map[string]any{"ref": ref}
	if len(inputs) > 0 {
		body["inputs"] = inputs
	}
	_, err := c.do(ctx, call{
		what: "start workflow " + clean(workflowFile), need: "actions: write", method: "POST",
		path: "actions/workflows/" + url.PathEscape(workflowFile) + "/dispatches", body: body,
	}, nil)
	return err
}

// Artifacts reads what a run uploaded.
func (c *Client) Artifacts(ctx context.Context, runID string) ([]Artifact, error) {
	type wire struct {
		ID        ident  `json:"id"`
		Name      string `json:"name"`
		Size      int64  `json:"size_in_bytes"`
		Digest    string `json:"digest"`
		Expired   bool   `json:"expired"`
		CreatedAt stamp  `json:"created_at"`
		Run       *struct {
			ID               ident  `json:"id"`
			HeadSHA          string `json:"head_sha"`
			HeadRepositoryID ident  `json:"head_repository_id"`
		} `json:"workflow_run"`
	}
	k := call{what: "list the artifacts of run " + clean(runID), need: "actions: read", path: "actions/runs/" + runID + "/artifacts"}
	if !isID(runID) {
		return nil, c.odd(k, "%.30q is no id of a run", runID)
	}
	have, err := list(ctx, c, listing[wire]{call: k, key: "artifacts", id: func(w wire) string { return string(w.ID) }})
	if err != nil {
		return nil, err
	}
	out := make([]Artifact, 0, len(have))
	for _, w := range have {
		if w.Run == nil || string(w.Run.ID) != runID {
			return nil, c.odd(k, "artifact %s is of another run", w.ID)
		}
		out = append(out, Artifact{
			ID: string(w.ID), Name: w.Name, RunID: runID, Digest: w.Digest, HeadSHA: w.Run.HeadSHA,
			HeadRepositoryID: string(w.Run.HeadRepositoryID), Size: w.Size, Expired: w.Expired, CreatedAt: w.CreatedAt.Time,
		})
	}
	return out, nil
}
