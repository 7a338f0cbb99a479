package github

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	gh "github.com/google/go-github/v62/github"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// checkWire is a check run as the API gives it.
type checkWire struct {
	ID         ident  `json:"id"`
	Name       string `json:"name"`
	HeadSHA    string `json:"head_sha"`
	ExternalID string `json:"external_id"`
	Status     string `json:"status"`
	Conclusion string `json:"conclusion"`
	URL        string `json:"html_url"`
	DetailsURL string `json:"details_url"`
	StartedAt  stamp  `json:"started_at"`
	Output     struct {
		Title   string `json:"title"`
		Summary string `json:"summary"`
		Text    string `json:"text"`
	} `json:"output"`
	App *struct {
		ID   ident  `json:"id"`
		Slug string `json:"slug"`
	} `json:"app"`
}

func (w *checkWire) check() Check {
	k := Check{
		ID: string(w.ID), Name: w.Name, HeadSHA: w.HeadSHA, ExternalID: w.ExternalID,
		Status: w.Status, Conclusion: w.Conclusion, URL: w.URL, DetailsURL: w.DetailsURL, StartedAt: w.StartedAt.Time,
		Title: w.Output.Title, Summary: w.Output.Summary, Text: w.Output.Text,
	}
	if w.App != nil {
		k.AppID, k.App = string(w.App.ID), w.App.Slug
	}
	return k
}

// StartCheck makes a check run. Where it is unclear whether GitHub made it, an equal
// one that is there is taken.
func (c *Client) StartCheck(ctx context.Context, k Check) (Check, error) {
	if err := fits(k); err != nil {
		return Check{}, err
	}
	first, rest := k, k
	if n := limits.GitHubAnnotations; len(k.Annotations) > n { // concluded only when all is there
		first.Annotations, rest.Annotations = k.Annotations[:n], k.Annotations[n:]
		first.Conclusion, first.Status = "", "in_progress"
	} else {
		rest.Annotations = nil
	}
	body := gh.CreateCheckRunOptions{
		Name: first.Name, HeadSHA: first.HeadSHA, DetailsURL: text(first.DetailsURL), ExternalID: text(first.ExternalID),
		Status: text(first.Status), Conclusion: text(first.Conclusion), Output: output(first), Actions: buttons(first),
	}
	made, err := c.sendCheck(ctx, call{what: "make the check " + clean(k.Name), method: http.MethodPost, path: "check-runs", body: body})
	if err != nil && unclear(err) {
		made, err = c.sameCheck(ctx, first, err)
	}
	if err != nil || len(rest.Annotations) == 0 {
		return made, err
	}
	rest.ID = made.ID
	return c.UpdateCheck(ctx, rest)
}

// sameCheck finds the check run that a request made whose answer was lost.
func (c *Client) sameCheck(ctx context.Context, k Check, lost error) (Check, error) {
	have, err := c.Checks(ctx, k.HeadSHA, k.Name)
	if err != nil {
		return Check{}, lost
	}
	for _, h := range have {
		if k.ExternalID != "" && h.ExternalID == k.ExternalID && h.Status == k.Status && h.Conclusion == k.Conclusion && h.Summary == k.Summary {
			return h, nil
		}
	}
	return Check{}, lost
}

// UpdateCheck changes a check run: what is shown, how it stands, and more annotations
// beside those that it has. It is concluded by the last request only. Where an answer
// is lost the request is sent again; then annotations may stand there twice.
func (c *Client) UpdateCheck(ctx context.Context, k Check) (Check, error) {
	if err := fits(k); err != nil {
		return Check{}, err
	}
	if !isID(k.ID) {
		return Check{}, protocol.Errorf(protocol.ExitFailure, "forge_options", "a check without an id cannot be changed")
	}
	all := k.Annotations
	for {
		batch, last := k, true
		if n := limits.GitHubAnnotations; len(all) > n {
			batch.Annotations, all, last = all[:n], all[n:], false
		} else {
			batch.Annotations = all
		}
		body := gh.UpdateCheckRunOptions{
			Name: batch.Name, DetailsURL: text(batch.DetailsURL), ExternalID: text(batch.ExternalID),
			Output: output(batch), Actions: buttons(batch),
		}
		if last {
			body.Status, body.Conclusion = text(batch.Status), text(batch.Conclusion)
		}
		made, err := c.sendCheck(ctx, call{
			what: "change the check " + clean(k.Name), method: http.MethodPatch, path: "check-runs/" + k.ID, body: body, repeat: true,
		})
		if err != nil || last {
			return made, err
		}
	}
}

func (c *Client) sendCheck(ctx context.Context, k call) (Check, error) {
	k.need = "checks: write"
	var w checkWire
	if _, err := c.do(ctx, k, &w); err != nil {
		return Check{}, err
	}
	if w.ID == "" {
		return Check{}, c.odd(k, "the check has no id")
	}
	if w.App != nil && slugs.MatchString(w.App.Slug) {
		c.mu.Lock()
		c.app = w.App.Slug
		c.mu.Unlock()
	}
	return w.check(), nil
}

// Checks reads the check runs of a commit that have a name, all of them, by whatever
// App: a name proves nothing.
func (c *Client) Checks(ctx context.Context, sha, name string) ([]Check, error) {
	k := call{
		what: "read the checks of commit " + short(sha), need: "checks: read",
		path: "commits/" + url.PathEscape(sha) + "/check-runs", query: url.Values{"filter": {"all"}},
	}
	if !commitID.MatchString(sha) {
		return nil, c.odd(k, "%.70q is no commit", sha)
	}
	if name != "" {
		k.query.Set("check_name", name)
	}
	have, err := list(ctx, c, listing[checkWire]{call: k, key: "check_runs", id: func(w checkWire) string { return string(w.ID) }})
	if err != nil {
		return nil, err
	}
	out := make([]Check, 0, len(have))
	for i := range have {
		if w := &have[i]; w.HeadSHA != sha || name != "" && w.Name != name {
			return nil, c.odd(k, "check %s is of another commit or name", w.ID)
		}
		out = append(out, have[i].check())
	}
	return out, nil
}

func output(k Check) *gh.CheckRunOutput {
	if k.Title == "" && k.Summary == "" && k.Text == "" && len(k.Annotations) == 0 {
		return nil
	}
	out := &gh.CheckRunOutput{Title: &k.Title, Summary: &k.Summary, Text: text(k.Text)}
	for _, a := range k.Annotations {
		out.Annotations = append(out.Annotations, &gh.CheckRunAnnotation{
			Path: &a.Path, StartLine: &a.StartLine, EndLine: &a.EndLine,
			AnnotationLevel: &a.Level, Title: text(a.Title), Message: &a.Message,
		})
	}
	return out
}

func buttons(k Check) []*gh.CheckRunAction {
	var out []*gh.CheckRunAction
	for _, a := range k.Actions {
		out = append(out, &gh.CheckRunAction{Label: a.Label, Description: a.Description, Identifier: a.Identifier})
	}
	return out
}

// text leaves empty texts out of a request.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// fits refuses what GitHub would refuse, or worse: shorten. Who writes the report
// shortens it, by whole entries and with a mark.
func fits(k Check) error {
	for _, f := range []struct {
		what  string
		value string
		most  int
	}{
		{"name", k.Name, limits.GitHubName},
		{"external id", k.ExternalID, limits.GitHubName},
		{"title", k.Title, limits.GitHubCheckTitle},
		{"summary", k.Summary, limits.GitHubCheckText},
		{"text", k.Text, limits.GitHubCheckText},
	} {
		if err := short1(f.what, f.value, f.most); err != nil {
			return err
		}
	}
	if n := len(k.Annotations); n > limits.GitHubAnnotationsAll {
		return tooLong("annotations", n, limits.GitHubAnnotationsAll)
	}
	if n := len(k.Actions); n > limits.GitHubActions {
		return tooLong("actions", n, limits.GitHubActions)
	}
	for _, a := range k.Annotations {
		if err := short1("message of an annotation", a.Message, limits.GitHubAnnotationText); err != nil {
			return err
		}
		if err := short1("title of an annotation", a.Title, limits.GitHubCheckTitle); err != nil {
			return err
		}
		if a.Path == "" || a.StartLine < 1 || a.EndLine < a.StartLine || a.Message == "" {
			return protocol.Errorf(protocol.ExitFailure, "forge_options", "an annotation needs a path, lines in order and a message")
		}
	}
	for _, a := range k.Actions {
		if len(a.Label) > limits.GitHubActionLabel || len(a.Identifier) > limits.GitHubActionLabel || len(a.Description) > limits.GitHubActionText {
			return tooLong("label, identifier or description of an action", max(len(a.Label), len(a.Identifier), len(a.Description)), limits.GitHubActionLabel)
		}
	}
	return nil
}

func short1(what, value string, most int) error {
	if len(value) > most {
		return tooLong(what, len(value), most)
	}
	return nil
}

func tooLong(what string, n, most int) error {
	return protocol.Errorf(protocol.ExitFailure, "forge_too_long", "the %s for GitHub has %d, at most %d: %s", what, n, most,
		fmt.Sprintf("GitHub would refuse what is %d over", n-most)).
		WithHint("This is a fault of the program: reports are shortened before they are sent.")
}
