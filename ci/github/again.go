package github

import (
	"context"
	"net/http"

	gh "github.com/google/go-github/v62/github"
)

// CheckRun reads one check run.
func (c *Client) CheckRun(ctx context.Context, id string) (Check, error) {
	k := call{what: "read check " + clean(id), need: "checks: read", path: "check-runs/" + id}
	if !isID(id) {
		return Check{}, c.odd(k, "%.30q is no id of a check", id)
	}
	var w checkWire
	if _, err := c.do(ctx, k, &w); err != nil {
		return Check{}, err
	}
	if string(w.ID) != id || !commitID.MatchString(w.HeadSHA) {
		return Check{}, c.odd(k, "it answers with check %s of commit %.70q", w.ID, w.HeadSHA)
	}
	return w.check(), nil
}

// OwnCheck asks whether a check is of the App whose token this is, which no token of an
// installation is told otherwise: GitHub lets a check be changed by its own App alone.
// The check is given the name that it has, so nothing of it changes.
func (c *Client) OwnCheck(ctx context.Context, k Check) error {
	what := call{
		what: "give the check " + clean(k.Name) + " its own name, which only its own App may", method: http.MethodPatch,
		path: "check-runs/" + k.ID, body: gh.UpdateCheckRunOptions{Name: k.Name}, repeat: true,
	}
	if !isID(k.ID) {
		return c.odd(what, "%.30q is no id of a check", k.ID)
	}
	made, err := c.sendCheck(ctx, what)
	if err == nil && (made.ID != k.ID || made.AppID != k.AppID) {
		return c.odd(what, "it answers with check %s of App %s", made.ID, made.AppID)
	}
	return err
}

// Rerun starts a run again, with all its jobs, as a new attempt of it.
func (c *Client) Rerun(ctx context.Context, runID string) error {
	k := call{what: "start run " + clean(runID) + " again", need: "actions: write", method: http.MethodPost, path: "actions/runs/" + runID + "/rerun"}
	if !isID(runID) {
		return c.odd(k, "%.30q is no id of a run", runID)
	}
	_, err := c.do(ctx, k, nil)
	return err
}
