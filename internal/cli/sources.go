package cli

import (
	"context"
	"path/filepath"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/policies/sources"
)

// sourced appends the policy sets that do not lie in directories of the workspace.
// Files that a configuration names are below dir; "." is the workspace's repository
// wherever the configuration was read from.
func (a *app) sourced(ctx context.Context, c *config.Config, dir string, sets []policies.Set) ([]policies.Set, error) {
	list := c.Policies.Sources
	if len(list) == 0 {
		return sets, nil
	}
	if err := nameOnce(list, sets); err != nil {
		return nil, err
	}
	p, err := a.place()
	if err != nil {
		return nil, err
	}
	nothing, err := redact.New(nil) // names and commits are no secrets, and addresses hold none
	if err != nil {
		return nil, err
	}
	more, err := sources.Load(ctx, list, sources.Options{
		Dir: dir, Workspace: p.workspace, Cache: filepath.Join(p.home(), "cache"), Env: a.env,
		Bundle: readBundle, Log: a.logger(nothing),
	})
	return append(sets, more...), err
}

// nameOnce refuses two sets of one name before anything is fetched.
func nameOnce(list []config.Source, sets []policies.Set) error {
	taken := map[string]bool{}
	for _, s := range sets {
		taken[s.Name] = true
	}
	for i := range list {
		name, err := sources.Name(&list[i])
		if err != nil {
			return err
		}
		if taken[name] {
			return usageError("policy_set_twice", "there are two policy sets of the name %q", name).At(list[i].Where).
				WithHint("give this one another name in policies.sources")
		}
		taken[name] = true
	}
	return nil
}

// readBundle reads a bundle as package sources wants it.
func readBundle(raw []byte, key *sources.Key, where string) ([]policies.SetFile, error) {
	if key == nil {
		return rego.Bundle(raw, nil, where)
	}
	return rego.Bundle(raw, &rego.BundleKey{Where: key.Where, PEM: key.PEM}, where)
}
