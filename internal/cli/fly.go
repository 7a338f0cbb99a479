package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/orchestrator"
)

func (a *app) flightPlanCommand() *cobra.Command {
	var unsealed, noSign, noPreview bool
	var jobs int
	cmd := &cobra.Command{
		Use: "flight-plan", Short: "Plan a flight: run the engines without side effects, make tokens, ask the policies", Args: cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return a.with(ctx, func(s *session) error {
				if jobs < 0 {
					return usageError("usage", "--jobs is %d; it is a positive number, or 0 for one a processor", jobs)
				}
				if err := s.lockWorkspace(); err != nil {
					return err
				}
				s.crew.Jobs, s.crew.NoSign = jobs, noSign
				if !unsealed && !noSign { // before engines run for a plan that cannot be signed
					if err := s.crew.Signatures.Ready(ctx); err != nil {
						return err
					}
				}
				f, err := s.begin()
				if err != nil {
					return err
				}
				if err = s.plan(ctx, f); err == nil && !unsealed {
					s.judges.running.begin(ctx) // while artifacts are validated
					err = s.crew.Seal(ctx, f, s.setup)
				}
				if err == nil && !unsealed {
					err = s.crew.Outcome(ctx, f, s.setup)
				}
				if !unsealed && !noPreview {
					s.shown = s.preview(ctx, previewTime)
				}
				return s.finish(f, err)
			})
		}),
	}
	cmd.Flags().BoolVar(&noPreview, "no-preview", false, "do not show what a configuration that this change edits would plan")
	cmd.Flags().BoolVar(&noSign, "no-sign", false, "leave signing to cabincrew sign; until then the flight does not take off")
	cmd.Flags().BoolVar(&unsealed, "unsealed", false, "stop when the engines have planned; seal goes on, perhaps elsewhere")
	cmd.Flags().IntVar(&jobs, "jobs", 0, "independent steps at once (default one a processor)")
	return cmd
}

func (a *app) sealCommand() *cobra.Command {
	var noSign bool
	cmd := &cobra.Command{
		Use: "seal [FLIGHT]", Short: "Validate a planned flight as hostile bytes, make its tokens, ask the policies", Args: cobra.MaximumNArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			a.judging = true
			return a.onFlight(cmd, args, true, func(s *session, f *orchestrator.Flight) error {
				s.crew.NoSign = noSign
				if err := s.crew.Seal(cmd.Context(), f, s.setup); err != nil {
					return err
				}
				return s.crew.Outcome(cmd.Context(), f, s.setup)
			})
		}),
	}
	cmd.Flags().BoolVar(&noSign, "no-sign", false, "leave signing to cabincrew sign; until then the flight does not take off")
	return cmd
}

// plan runs the engines, with what the last run knew of files that have not changed.
func (s *session) plan(ctx context.Context, f *orchestrator.Flight) error {
	s.setup.Stats = workspace.LoadCache(s.place.statCache(), time.Now)
	if err := s.crew.Plan(ctx, f, s.setup); err != nil {
		return err
	}
	// A cache that cannot be kept costs time in the next run, and nothing else.
	if err := s.setup.Stats.Save(s.place.statCache()); err != nil {
		s.app.logger(s.setup.Redactor).Debug("the stat cache was not kept", "error", err.Error())
	}
	return nil
}

func (a *app) signCommand() *cobra.Command {
	return &cobra.Command{
		Use: "sign [FLIGHT]", Short: "Sign the manifest and decisions of a sealed flight; reads nothing else of it", Args: cobra.MaximumNArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.onFlight(cmd, args, false, func(s *session, f *orchestrator.Flight) error {
				return s.crew.Sign(cmd.Context(), f, s.setup)
			})
		}),
	}
}

func (a *app) takeOffCommand() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "take-off [FLIGHT]", Short: "Verify everything again and apply exactly the plan, once", Args: cobra.MaximumNArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.onFlight(cmd, args, true, func(s *session, f *orchestrator.Flight) error {
				if s.homeErr != nil {
					return s.homeErr
				}
				done, err := s.crew.TakeOff(cmd.Context(), f, s.setup, orchestrator.TakeOffOptions{
					DryRun: dry, RequireSigned: s.platform() != ci.None,
				})
				if done && err == nil {
					a.text("this flight was completed before; nothing was done\n")
				}
				if dry && err == nil && !done {
					a.text("every check passed; nothing was applied\n")
				}
				return err
			})
		}),
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "make every check, apply nothing")
	return cmd
}

func (a *app) resumeCommand() *cobra.Command {
	var retry bool
	var jobs int
	cmd := &cobra.Command{
		Use: "resume [FLIGHT]", Short: "Go on with a flight that was interrupted", Args: cobra.MaximumNArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.onFlight(cmd, args, true, func(s *session, f *orchestrator.Flight) error {
				if s.homeErr != nil {
					return s.homeErr
				}
				s.crew.Jobs = jobs
				return s.crew.Resume(cmd.Context(), f, s.setup, orchestrator.ResumeOptions{
					RetryTakeOff: retry, RequireSigned: s.platform() != ci.None,
				})
			})
		}),
	}
	cmd.Flags().BoolVar(&retry, "retry-take-off", false, "run an interrupted take-off again although its step is not idempotent")
	cmd.Flags().IntVar(&jobs, "jobs", 0, "independent steps at once (default one a processor)")
	return cmd
}

func (a *app) cancelCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "cancel [FLIGHT]", Short: "End an open flight", Args: cobra.MaximumNArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.endFlight(cmd, args, func(s *session, f *orchestrator.Flight) error {
				return s.crew.Cancel(cmd.Context(), f, s.setup, s.setup.Redactor.String(reason))
			})
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "no reason was given", "why")
	return cmd
}

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status [FLIGHT]", Short: "Say where a flight stands, and which calls a gateway holds; the exit code says what they wait for", Args: cobra.MaximumNArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			if isHeld(args) {
				return a.statusHeld(args[0])
			}
			if len(args) == 0 {
				return a.statusHere(func(docs []heldDocument) error { return a.flightStatus(cmd.Context(), args, docs) })
			}
			return a.flightStatus(cmd.Context(), args, nil)
		}),
	}
}

// flightStatus tells where a flight stands.
func (a *app) flightStatus(ctx context.Context, args []string, held []heldDocument) error {
	return a.with(ctx, func(s *session) error {
		s.held = held
		f, _, err := s.read(args)
		if err == nil {
			err = s.underPlanned(ctx, f, false)
		}
		if err != nil {
			return err
		}
		return s.finish(f, s.crew.Outcome(ctx, f, s.setup))
	})
}

// endFlight is onFlight for a command that only ends the flight.
func (a *app) endFlight(cmd *cobra.Command, args []string, do func(*session, *orchestrator.Flight) error) error {
	return a.with(cmd.Context(), func(s *session) error {
		s.ending = true
		f, err := s.write(args)
		if err != nil {
			return err
		}
		return s.finish(f, do(s, f))
	})
}

// onFlight opens a flight for writing, runs f and prints the flight's document.
func (a *app) onFlight(cmd *cobra.Command, args []string, workspace bool, do func(*session, *orchestrator.Flight) error) error {
	return a.with(cmd.Context(), func(s *session) error {
		if workspace {
			if err := s.lockWorkspace(); err != nil {
				return err
			}
		}
		f, err := s.write(args)
		if err == nil {
			err = s.underPlanned(cmd.Context(), f, cmd.Name() == "take-off" || cmd.Name() == "resume")
		}
		if err != nil {
			return err
		}
		return s.finish(f, do(s, f))
	})
}
