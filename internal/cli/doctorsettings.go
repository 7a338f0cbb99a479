package cli

import (
	"context"
	"errors"
	"slices"

	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/protocol"
)

// actions looks at what workflows may do.
func (d *forgeDoctor) actions(s github.Settings) {
	read := github.Unknown
	switch s.DefaultPermissions {
	case "read":
		read = github.Yes
	case "":
	default:
		read = github.No
	}
	d.is(holeToken, read, "a workflow that says nothing may read only", "a workflow that says nothing may write: "+s.DefaultPermissions)
	d.is(holeApproves, not(s.ApprovesChanges), "workflows cannot approve", "workflows may create and approve pull requests")
	d.is(holePinning, s.PinningRequired, "GitHub runs pinned actions only", "GitHub runs actions by tags and branches too")
}

func not(k github.Known) github.Known {
	switch k {
	case github.Yes:
		return github.No
	case github.No:
		return github.Yes
	}
	return github.Unknown
}

// environments looks at each environment that the configuration or a workflow names.
func (d *forgeDoctor) environments(ctx context.Context, names []string) error {
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		e, err := d.client.Environment(ctx, name)
		var refused *protocol.Error
		switch {
		case errors.As(err, &refused) && refused.Code == "forge_refused":
			for _, id := range []string{holeEnvironment, holeEnvSelf, holeEnvAdmins, holeEnvBranches} {
				d.add(id, holeUnknown, "environment "+name+": "+refused.Message, spot{})
			}
			continue
		case err != nil:
			return err
		}
		d.environment(name, e)
	}
	return nil
}

func (d *forgeDoctor) environment(name string, e github.Environment) {
	if !e.Found {
		d.add(holeEnvironment, holeThere, "environment "+name+" is not there; GitHub makes it, without protection, when a job names it", spot{})
		return
	}
	d.is(holeEnvironment, knows(len(e.Reviewers) > 0), "environment "+name+" asks for reviewers", "environment "+name+" asks nobody")
	d.is(holeEnvSelf, e.PreventSelfReview, "nobody approves their own run for "+name, "who starts a run for "+name+" may approve it")
	d.is(holeEnvAdmins, not(e.AdminsCanBypass), "administrators wait for "+name+" too", "administrators pass by the rules of "+name)
	d.is(holeEnvBranches, knows(e.ProtectedBranches || len(e.Policies) > 0), "only some branches deploy to "+name, "every branch deploys to "+name)
}

func knows(b bool) github.Known {
	if b {
		return github.Yes
	}
	return github.No
}
