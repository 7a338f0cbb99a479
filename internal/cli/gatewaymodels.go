package cli

import (
	"context"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/protocol/plantoken"
)

// messageModels loads the models of a gateway; nil where there are none.
func (a *app) messageModels(ctx context.Context, r *gatewayRun) (gateways.TextJudge, []plantoken.GovernanceModel, error) {
	judge, named, err := a.modelJudge(&config.Config{Models: r.config.Models, Approvals: r.config.Approvals, Sandbox: config.Sandbox{Sudo: config.SudoAuto}}, r.dir)
	if err != nil || judge == nil {
		return nil, named, err
	}
	judge.prepare(ctx)
	if judge.err != nil {
		return nil, nil, judge.err
	}
	r.close = append(r.close, judge.close)
	messages, err := judge.loaded.Messages()
	return messages, named, err
}
