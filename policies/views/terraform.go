package views

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
)

// isTerraform says whether a document has the form of a plan.
func isTerraform(doc any) bool {
	o, ok := doc.(map[string]any)
	if !ok {
		return false
	}
	_, version := o["format_version"].(string)
	_, changes := o["resource_changes"].([]any)
	return version && changes
}

// terraform reads the parts of a plan that judges ask about.
func terraform(doc any) (*policies.Terraform, error) {
	o, ok := doc.(map[string]any)
	if !ok {
		return nil, errors.New("it is no object")
	}
	out := &policies.Terraform{Resources: []policies.TerraformResource{}, Counts: map[string]int64{}}
	out.FormatVersion, _ = o["format_version"].(string)
	if major, _, _ := strings.Cut(out.FormatVersion, "."); major != "1" {
		return nil, fmt.Errorf("its format_version is %q, and 1.x is known", clip(out.FormatVersion))
	}
	for _, action := range []string{"create", "update", "replace", "destroy", "read", "forget", "no-op"} {
		out.Counts[action] = 0
	}
	changes, ok := o["resource_changes"].([]any)
	if !ok && o["resource_changes"] != nil {
		return nil, errors.New("its resource_changes are no list")
	}
	if len(changes) > limits.ViewResources {
		return nil, fmt.Errorf("it has more than %d resource changes", limits.ViewResources)
	}
	if errored, _ := o["errored"].(bool); errored {
		return nil, errors.New("it is errored, so it does not tell all changes")
	}
	p := &reader{left: limits.ViewStatements}
	for i, c := range changes {
		r, err := resource(c)
		if err == nil {
			err = p.policies(&r)
		}
		if err != nil {
			return nil, fmt.Errorf("resource change %d: %w", i, err)
		}
		out.Counts[r.Action]++
		out.Resources = append(out.Resources, r)
	}
	return out, nil
}

func resource(v any) (policies.TerraformResource, error) {
	r := policies.TerraformResource{ReplacePaths: []any{}}
	o, ok := v.(map[string]any)
	if !ok {
		return r, errors.New("it is no object")
	}
	for key, to := range map[string]*string{"address": &r.Address, "mode": &r.Mode, "type": &r.Type, "name": &r.Name, "provider_name": &r.Provider, "deposed": &r.Deposed, "previous_address": &r.PreviousAddress} {
		*to, _ = o[key].(string)
	}
	change, ok := o["change"].(map[string]any)
	if !ok || r.Address == "" || r.Type == "" {
		return r, errors.New("it has no address, type or change")
	}
	var err error
	if r.Action, err = action(change["actions"]); err != nil {
		return r, err
	}
	r.Before, r.After, r.Unknown = change["before"], change["after"], change["after_unknown"]
	if paths, ok := change["replace_paths"].([]any); ok {
		r.ReplacePaths = paths
	}
	return r, nil
}

// action gives one word for Terraform's list of actions. An unknown list is an
// error: it may mean anything.
func action(v any) (string, error) {
	list, _ := v.([]any)
	words := make([]string, 0, len(list))
	for _, w := range list {
		s, _ := w.(string)
		words = append(words, s)
	}
	for name, known := range map[string][][]string{
		"create": {{"create"}}, "update": {{"update"}}, "destroy": {{"delete"}}, "read": {{"read"}}, "no-op": {{"no-op"}},
		"forget": {{"forget"}}, "replace": {{"delete", "create"}, {"create", "delete"}, {"create", "forget"}},
	} {
		if slices.ContainsFunc(known, func(k []string) bool { return slices.Equal(k, words) }) {
			return name, nil
		}
	}
	return "", fmt.Errorf("its actions %q are not known", clip(strings.Join(words, ", ")))
}
