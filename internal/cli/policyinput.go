package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) policyInputCommand() *cobra.Command {
	var flight, step string
	cmd := &cobra.Command{
		Use: "input --flight FLIGHT", Short: "Print what policies are asked about a sealed flight", Args: cobra.NoArgs,
		Long: `Prints the input document of a step (docs/policy-input.md), as the policies of the
configuration would get it now: to write rules against, to keep as a test's input,
and for cabincrew policy eval --input. Its exit code is 0 whatever policies say.`,
		Example: "  cabincrew policy input --flight FLIGHT > plan.json\n  cabincrew policy eval --input plan.json",
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			if flight == "" {
				return usageError("usage", "policy input needs --flight").WithHint("cabincrew policy input --flight FLIGHT")
			}
			return a.with(cmd.Context(), func(s *session) error { return s.policyInput(cmd.Context(), flight, step) })
		}),
	}
	cmd.Flags().StringVar(&flight, "flight", "", "sealed flight")
	cmd.Flags().StringVar(&step, "step", "", "step of it (default its only one)")
	_ = cmd.RegisterFlagCompletionFunc("flight", a.completeFlights(1)) // the flag is there
	return cmd
}

func (s *session) policyInput(ctx context.Context, flight, step string) error {
	f, _, err := s.read([]string{flight})
	if err != nil {
		return err
	}
	list, err := s.crew.Inputs(ctx, f, s.setup)
	if err != nil {
		return err
	}
	var names []string
	for _, in := range list {
		names = append(names, in.StepID)
		if in.StepID != step && (step != "" || len(list) > 1) {
			continue
		}
		doc, err := in.Input.Document()
		if err != nil {
			return err
		}
		s.app.printJSON(doc)
		return nil
	}
	if step == "" {
		return usageError("usage", "the flight has the steps %s", strings.Join(names, ", ")).WithHint("name one with --step")
	}
	return usageError("step_unknown", "the flight has no step %q", step).WithHint("its steps: %s", strings.Join(names, ", "))
}
