package cli

import (
	"cmp"
	"context"
	"strings"

	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/internal/limits"
)

// underWay says on the merged commit that its plan is being applied, right before the
// first engine starts, in the environment that the input deployment names. It holds
// nothing up: what cannot be said now is said at the end.
func (r *ciRun) underWay(mark string) {
	if r.job.Input("deployment") == "" {
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, limits.GitHubRequest)
	defer cancel()
	err := r.deploy(ctx, "sha256:"+strings.TrimPrefix(mark, tokenPrefix))
	if err == nil {
		err = r.forge.Deployed(ctx, r.deployment, github.DeploymentState{State: "in_progress", LogURL: r.runURL(), Description: "the take-off began"})
	}
	if err != nil {
		r.complain(err)
	}
}

// deploy makes the deployment of the merged commit, once.
func (r *ciRun) deploy(ctx context.Context, token string) (err error) {
	if r.deployment != "" {
		return nil
	}
	r.deployment, err = r.forge.Deploy(ctx, github.Deployment{
		Ref: r.fence.commit, Environment: r.job.Input("deployment"), Task: "deploy", Description: "CabinCrew", Payload: map[string]string{"flight_token": token},
	})
	return err
}

// deployed says on the merged commit that a plan was applied, or that this failed: in
// the environment that the input deployment names, for jobs that name none themselves.
// A take-off that never began deployed nothing.
func (r *ciRun) deployed(flown error) error {
	if r.job.Input("deployment") == "" || r.fence == nil || len(r.fence.made) == 0 || r.check.Name != r.checkName(takeOffCheck) {
		return nil
	}
	if err := r.deploy(r.ctx, r.report.FlightToken); err != nil {
		return err
	}
	state := "success"
	if flown != nil {
		state = "failure"
	}
	return r.forge.Deployed(r.ctx, r.deployment, github.DeploymentState{State: state, LogURL: r.runURL(), Description: cmp.Or(r.report.State, "the take-off ended")})
}
