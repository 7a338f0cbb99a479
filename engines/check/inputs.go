package check

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// inputs gives the engine what it must refuse.
func (b *bench) inputs(ctx context.Context) error {
	bad := []struct {
		id    string
		trial func() (trial, error)
	}{
		{InputEmpty, func() (trial, error) { return trial{stage: &stage{Input: noInput}}, nil }},
		{InputMalformed, func() (trial, error) {
			raw, err := b.inputOf(protocol.FlightPlan)
			// Cut where no closing bracket ends it by chance.
			return trial{stage: &stage{Input: givenInput}, input: []byte(strings.TrimRight(string(raw[:len(raw)*2/3]), "}] \n"))}, err
		}},
		{InputMode, func() (trial, error) {
			raw, err := b.inputOf(protocol.TakeOff)
			return trial{stage: &stage{Input: givenInput}, input: raw}, err
		}},
		{InputHuge, func() (trial, error) {
			return trial{config: map[string]any{"cabincrew_check_huge": strings.Repeat("x", limits.CheckHugeConfig)}}, nil
		}},
		{ModeUnknown, func() (trial, error) { return trial{mode: "launch"}, nil }},
	}
	for _, c := range bad {
		if !b.ok {
			b.skip("an engine whose flight-plan fails refuses everything", c.id)
			continue
		}
		if !b.begin(c.id) {
			continue
		}
		t, err := c.trial()
		if err != nil {
			return err
		}
		if err := b.refuses(ctx, c.id, t); err != nil {
			return err
		}
	}
	return b.unknownSetting(ctx)
}

// inputOf writes an input as the engine would get it.
func (b *bench) inputOf(mode protocol.Mode) ([]byte, error) {
	spec, err := b.spec(trial{mode: mode, workflow: "engine-check-1"}, "", "")
	if err != nil {
		return nil, err
	}
	return json.Marshal(spec.Input)
}

// refuses makes one run that the engine must refuse.
func (b *bench) refuses(ctx context.Context, id string, t trial) error {
	t.name, t.workspace, t.workflow = id, b.bound, "engine-check-1"
	if t.mode == "" {
		t.mode = protocol.FlightPlan
	}
	out, err := b.run(ctx, t)
	if err != nil {
		return err
	}
	detail := fmt.Sprintf("exit %d", out.ExitCode)
	if out.ExitCode != 2 {
		detail += "; exit 2 would say that the input was at fault"
	}
	b.verdict(id, accepted(out), detail)
	return nil
}

// accepted says how a run that must be refused was not, "" where it was.
func accepted(out outcome) string {
	receipt, err := engines.ParseReceipt(out.Receipt, protocol.FlightPlan)
	switch {
	case out.TimedOut:
		return "the engine ran into the time-out"
	case out.Isolation.Over != "":
		return "the engine was ended: it used more " + out.Isolation.Over + " than it may"
	case out.Signal != "":
		return "the engine was ended by signal " + out.Signal
	case out.ExitCode == 0:
		return "the engine ended with exit 0"
	case err == nil && receipt.Status == protocol.StatusSuccess:
		return fmt.Sprintf("the engine ended with exit %d and left a receipt that says success", out.ExitCode)
	}
	return ""
}

// unknownSetting tells whether a setting that cannot exist is refused.
func (b *bench) unknownSetting(ctx context.Context) error {
	if !b.ok {
		b.skip("there is no plan to compare with", ConfigUnknown)
		return nil
	}
	if !b.begin(ConfigUnknown) {
		return nil
	}
	out, err := b.run(ctx, trial{
		name: ConfigUnknown, mode: protocol.FlightPlan, workspace: b.bound, workflow: "engine-check-1",
		config: map[string]any{"cabincrew_check_unknown": true},
	})
	if err != nil {
		return err
	}
	if out.err == nil {
		b.addf(ConfigUnknown, Pass, "accepted: a mistyped setting would go unnoticed")
		return nil
	}
	b.addf(ConfigUnknown, Pass, "refused")
	return nil
}
