package github

import (
	"context"
	"net/http"
	"net/url"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// known makes an answer of what may be left out.
func known(b *bool) Known {
	switch {
	case b == nil:
		return Unknown
	case *b:
		return Yes
	}
	return No
}

// environmentWire is an environment as the API gives it.
type environmentWire struct {
	ID       ident  `json:"id"`
	Name     string `json:"name"`
	CanAdmin *bool  `json:"can_admins_bypass"`
	Rules    []struct {
		Type              string `json:"type"`
		WaitTimer         int    `json:"wait_timer"`
		PreventSelfReview *bool  `json:"prevent_self_review"`
		Reviewers         []struct {
			Type     string `json:"type"`
			Reviewer struct {
				ID    ident  `json:"id"`
				Login string `json:"login"`
				Slug  string `json:"slug"`
			} `json:"reviewer"`
		} `json:"reviewers"`
	} `json:"protection_rules"`
	Branches *struct {
		Protected bool `json:"protected_branches"`
		Custom    bool `json:"custom_branch_policies"`
	} `json:"deployment_branch_policy"`
}

// Environment reads an environment. One that is not there is not found, and protects
// nothing: GitHub makes it when a job names it.
func (c *Client) Environment(ctx context.Context, name string) (Environment, error) {
	k := call{
		what: "read environment " + clean(name), need: "actions: read", path: "environments/" + url.PathEscape(name),
		allow: []int{http.StatusNotFound},
	}
	if name == "" || len(name) > limits.GitHubName || dots(name) {
		return Environment{}, protocol.Errorf(protocol.ExitUsage, "forge_options", "%.100q is no name of an environment", name)
	}
	var w environmentWire
	a, err := c.do(ctx, k, &w)
	if err != nil || a.status == http.StatusNotFound {
		return Environment{}, err
	}
	if w.ID == "" {
		return Environment{}, c.odd(k, "the environment has no id")
	}
	e := w.environment()
	if w.Branches == nil || !w.Branches.Custom {
		return e, nil
	}
	type policy struct {
		ID   ident  `json:"id"`
		Name string `json:"name"`
		Type string `json:"type"`
	}
	k = call{what: "read who may deploy to " + clean(name), need: "actions: read", path: k.path + "/deployment-branch-policies"}
	policies, err := list(ctx, c, listing[policy]{call: k, key: "branch_policies", id: func(p policy) string { return string(p.ID) }})
	if err != nil {
		return Environment{}, err
	}
	for _, p := range policies {
		if p.Type == "" {
			p.Type = "branch"
		}
		e.Policies = append(e.Policies, p.Type+":"+p.Name)
	}
	return e, nil
}

func (w *environmentWire) environment() Environment {
	e := Environment{Found: true, ID: string(w.ID), Name: w.Name, AdminsCanBypass: known(w.CanAdmin), PreventSelfReview: No}
	for _, r := range w.Rules {
		e.Rules = append(e.Rules, r.Type)
		e.WaitMinutes += r.WaitTimer
		if r.Type == "required_reviewers" {
			e.PreventSelfReview = known(r.PreventSelfReview)
		}
		for _, p := range r.Reviewers {
			reviewer := Reviewer{Kind: p.Type, ID: string(p.Reviewer.ID), Name: p.Reviewer.Login}
			if reviewer.Name == "" {
				reviewer.Name = p.Reviewer.Slug
			}
			e.Reviewers = append(e.Reviewers, reviewer)
		}
	}
	e.ProtectedBranches = w.Branches != nil && w.Branches.Protected
	return e
}
