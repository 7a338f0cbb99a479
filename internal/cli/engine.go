package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	enginecheck "github.com/cabincrew/action/engines/check"
)

func (a *app) engineCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "engine", Short: "List, run and check engines"}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "List the built-in engines", Args: cobra.NoArgs,
		RunE: a.run(func(*cobra.Command, []string) error {
			list := []map[string]any{}
			for _, b := range builtins() {
				list = append(list, map[string]any{"name": b.Name, "version": b.Version, "summary": b.Summary, "idempotent": b.Idempotent})
				a.text(fmt.Sprintf("%-10s version %s  %s\n", b.Name, b.Version, b.Summary))
			}
			if a.flags.output == outputJSON {
				a.printJSON(list)
			}
			return nil
		}),
	}, &cobra.Command{
		Use: "run NAME --mode flight-plan|take-off", Short: "Run a built-in engine; the orchestrator does",
		Long: `Runs a built-in engine as any other engine is run: the environment and files of the
engine contract must be there (docs/protocol.md, 2). It is how the orchestrator
starts them; people have no need to.`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.usage = false
			if len(args) == 0 {
				return usageError("usage", "engine run needs the name of an engine")
			}
			if args[0] == "--help" || args[0] == "-h" {
				return cmd.Help()
			}
			runs := internalPrograms()
			runs[stageProgram] = enginecheck.Stage
			for _, b := range builtins() {
				runs[b.Name] = b.run
			}
			if run, ok := runs[args[0]]; ok {
				env := make([]string, 0, len(a.env))
				for name, value := range a.env {
					env = append(env, name+"="+value)
				}
				if code := run(cmd.Context(), args[1:], a.in, a.out, a.err, env); code != 0 {
					return reportedError{exit(code)}
				}
				return nil
			}
			return usageError("engine_unknown", "there is no built-in engine %q", args[0]).WithHint("see cabincrew engine list")
		},
	}, a.engineCheckCommand())
	return cmd
}

// exit is an exit code whose story has been told by the engine.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// ExitCode gives the code.
func (e exit) ExitCode() int { return int(e) }
