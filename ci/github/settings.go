package github

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// ruleWire is a rule as rulesets and branches have it.
type ruleWire struct {
	Type       string `json:"type"`
	RulesetID  ident  `json:"ruleset_id"`
	Source     string `json:"ruleset_source"`
	Parameters struct {
		Approvals    int      `json:"required_approving_review_count"`
		DismissStale bool     `json:"dismiss_stale_reviews_on_push"`
		CodeOwners   bool     `json:"require_code_owner_review"`
		LastPush     bool     `json:"require_last_push_approval"`
		MergeMethods []string `json:"allowed_merge_methods"`
		Strict       bool     `json:"strict_required_status_checks_policy"`
		Checks       []struct {
			Context string `json:"context"`
			App     ident  `json:"integration_id"`
		} `json:"required_status_checks"`
	} `json:"parameters"`
}

func (w *ruleWire) rule() Rule {
	p := &w.Parameters
	r := Rule{
		Type: w.Type, RulesetID: string(w.RulesetID), Source: w.Source, Approvals: p.Approvals, DismissStale: p.DismissStale,
		CodeOwners: p.CodeOwners, LastPush: p.LastPush, MergeMethods: p.MergeMethods, Strict: p.Strict,
	}
	for _, k := range p.Checks {
		r.Checks = append(r.Checks, RequiredCheck{k.Context, string(k.App)})
	}
	return r
}

// Settings reads what protects a branch and what workflows may do, as far as the token
// may see it. What it may not see is unknown and named; only what cannot be reached
// is an error.
func (c *Client) Settings(ctx context.Context, branch string) (Settings, error) {
	if err := refName(branch); err != nil {
		return Settings{}, err
	}
	s := Settings{
		RulesKnown: Unknown, RulesetsKnown: Unknown, Protection: Protection{Present: Unknown},
		ActionsEnabled: Unknown, PinningRequired: Unknown, ApprovesChanges: Unknown,
	}
	for _, read := range []func(context.Context, *Settings, string) error{
		c.branchRules, c.rulesets, c.protection, c.actionsPermissions,
	} {
		if err := read(ctx, &s, branch); err != nil {
			return Settings{}, err
		}
	}
	return s, nil
}

// unread takes a refusal as an answer: the thing is unknown.
func (s *Settings) unread(what string, err error) error {
	var e *protocol.Error
	if errors.As(err, &e) && e.Code == "forge_refused" {
		s.Unread = append(s.Unread, Unread{what, cmp.Or(e.Hint, e.Message)})
		return nil
	}
	return err
}

func (c *Client) branchRules(ctx context.Context, s *Settings, branch string) error {
	k := call{what: "read the rules of branch " + clean(branch), need: "metadata: read", path: "rules/branches/" + url.PathEscape(branch)}
	n := 0
	rules, err := list(ctx, c, listing[ruleWire]{call: k, id: func(ruleWire) string { n++; return strconv.Itoa(n) }})
	if err != nil {
		return s.unread("rules of the branch", err)
	}
	s.RulesKnown = Yes
	for i := range rules {
		s.Rules = append(s.Rules, rules[i].rule())
	}
	return nil
}

func (c *Client) rulesets(ctx context.Context, s *Settings, _ string) error {
	type item struct {
		ID ident `json:"id"`
	}
	k := call{what: "list the rulesets", need: "metadata: read", path: "rulesets", query: url.Values{"includes_parents": {"true"}}}
	items, err := list(ctx, c, listing[item]{call: k, id: func(i item) string { return string(i.ID) }})
	if err != nil {
		return s.unread("rulesets", err)
	}
	if len(items) > limits.GitHubRulesets {
		return c.odd(k, "there are %d rulesets, at most %d are read", len(items), limits.GitHubRulesets)
	}
	s.RulesetsKnown = Yes
	for _, i := range items {
		r, err := c.ruleset(ctx, string(i.ID))
		if err != nil {
			s.RulesetsKnown = Unknown
			if err := s.unread("ruleset "+string(i.ID), err); err != nil {
				return err
			}
			continue
		}
		s.Rulesets = append(s.Rulesets, r)
	}
	return nil
}

func (c *Client) ruleset(ctx context.Context, id string) (Ruleset, error) {
	var w struct {
		ID          ident  `json:"id"`
		Name        string `json:"name"`
		Target      string `json:"target"`
		Enforcement string `json:"enforcement"`
		SourceType  string `json:"source_type"`
		Conditions  struct {
			RefName struct {
				Include []string `json:"include"`
				Exclude []string `json:"exclude"`
			} `json:"ref_name"`
		} `json:"conditions"`
		Rules  []ruleWire `json:"rules"`
		Bypass *[]struct {
			ID   ident  `json:"actor_id"`
			Type string `json:"actor_type"`
			Mode string `json:"bypass_mode"`
		} `json:"bypass_actors"`
	}
	k := call{what: "read ruleset " + id, need: "metadata: read", path: "rulesets/" + id, query: url.Values{"includes_parents": {"true"}}}
	if _, err := c.do(ctx, k, &w); err != nil {
		return Ruleset{}, err
	}
	r := Ruleset{
		ID: string(w.ID), Name: w.Name, Target: w.Target, Enforcement: w.Enforcement, SourceType: w.SourceType,
		Include: w.Conditions.RefName.Include, Exclude: w.Conditions.RefName.Exclude, BypassKnown: Unknown,
	}
	for i := range w.Rules {
		r.Rules = append(r.Rules, w.Rules[i].rule())
	}
	if w.Bypass != nil {
		r.BypassKnown = Yes
		for _, b := range *w.Bypass {
			r.Bypass = append(r.Bypass, Bypass{b.Type, string(b.ID), b.Mode})
		}
	}
	return r, nil
}

// enabled is a switch of a branch's protection.
type enabled struct {
	Enabled bool `json:"enabled"`
}

func (c *Client) protection(ctx context.Context, s *Settings, branch string) error {
	var w struct {
		Reviews *struct {
			Approvals    int  `json:"required_approving_review_count"`
			DismissStale bool `json:"dismiss_stale_reviews"`
			CodeOwners   bool `json:"require_code_owner_reviews"`
			LastPush     bool `json:"require_last_push_approval"`
			Bypass       struct {
				Users []struct{} `json:"users"`
				Teams []struct{} `json:"teams"`
				Apps  []struct{} `json:"apps"`
			} `json:"bypass_pull_request_allowances"`
		} `json:"required_pull_request_reviews"`
		Checks *struct {
			Strict   bool     `json:"strict"`
			Contexts []string `json:"contexts"`
			Checks   []struct {
				Context string `json:"context"`
				App     *int64 `json:"app_id"` // -1 is any
			} `json:"checks"`
		} `json:"required_status_checks"`
		Admins       enabled `json:"enforce_admins"`
		Linear       enabled `json:"required_linear_history"`
		ForcePushes  enabled `json:"allow_force_pushes"`
		Deletions    enabled `json:"allow_deletions"`
		Conversation enabled `json:"required_conversation_resolution"`
		Signatures   enabled `json:"required_signatures"`
	}
	k := call{what: "read the protection of branch " + clean(branch), need: "administration: read", path: "branches/" + url.PathEscape(branch) + "/protection"}
	if _, err := c.do(ctx, k, &w); err != nil {
		if strings.Contains(err.Error(), "Branch not protected") {
			s.Protection.Present = No
			return nil
		}
		return s.unread("protection of the branch", err)
	}
	p := Protection{
		Present: Yes, Admins: w.Admins.Enabled, ForcePushes: w.ForcePushes.Enabled, Deletions: w.Deletions.Enabled,
		LinearHistory: w.Linear.Enabled, Signatures: w.Signatures.Enabled, ConversationResolution: w.Conversation.Enabled,
	}
	if r := w.Reviews; r != nil {
		p.Approvals, p.DismissStale, p.CodeOwners, p.LastPush = r.Approvals, r.DismissStale, r.CodeOwners, r.LastPush
		p.ReviewBypass = len(r.Bypass.Users)+len(r.Bypass.Teams)+len(r.Bypass.Apps) > 0
	}
	if k := w.Checks; k != nil {
		p.Strict = k.Strict
		for _, check := range k.Checks {
			required := RequiredCheck{Context: check.Context}
			if check.App != nil && *check.App > 0 {
				required.AppID = strconv.FormatInt(*check.App, 10)
			}
			p.Checks = append(p.Checks, required)
		}
		if len(k.Checks) == 0 {
			for _, name := range k.Contexts {
				p.Checks = append(p.Checks, RequiredCheck{Context: name})
			}
		}
	}
	s.Protection = p
	return nil
}

func (c *Client) actionsPermissions(ctx context.Context, s *Settings, _ string) error {
	var general struct {
		Enabled *bool  `json:"enabled"`
		Allowed string `json:"allowed_actions"`
		Pinning *bool  `json:"sha_pinning_required"`
	}
	var workflow struct {
		Default  string `json:"default_workflow_permissions"`
		Approves *bool  `json:"can_approve_pull_request_reviews"`
	}
	for _, q := range []struct {
		what, path string
		out        any
	}{
		{"permissions of Actions", "actions/permissions", &general},
		{"permissions of workflows", "actions/permissions/workflow", &workflow},
	} {
		k := call{what: "read the " + q.what, need: "administration: read", path: q.path}
		if _, err := c.do(ctx, k, q.out); err != nil {
			if err := s.unread(q.what, err); err != nil {
				return err
			}
		}
	}
	s.ActionsEnabled, s.AllowedActions, s.PinningRequired = known(general.Enabled), general.Allowed, known(general.Pinning)
	s.DefaultPermissions, s.ApprovesChanges = workflow.Default, known(workflow.Approves)
	return nil
}
