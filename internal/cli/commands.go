package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

// commands lists every command; each has a file of its own or shares one with
// its nearest relatives.
func (a *app) commands() []*cobra.Command {
	list := []*cobra.Command{
		a.initCommand(), a.flightPlanCommand(), a.sealCommand(), a.signCommand(), a.listCommand(), a.statusCommand(), a.showCommand(), a.diffCommand(),
		a.approveCommand(), a.rejectCommand(), a.cancelCommand(), a.takeOffCommand(), a.resumeCommand(), a.pruneCommand(), a.verifyCommand(),
		a.pushCommand(), a.pullCommand(), a.exportCommand(), a.ciCommand(), a.gatewayCommand(), a.auditCommand(), a.policyCommand(), a.engineCommand(), a.keysCommand(), a.schemaCommand(), a.validateCommand(), a.doctorCommand(),
		a.versionCommand(),
	}
	a.complete(list)
	for _, c := range list {
		if c.HasSubCommands() && c.RunE == nil {
			c.Args, c.RunE = cobra.ArbitraryArgs, a.run(a.group)
		}
	}
	return list
}

// group answers a command that is only a name for others.
func (a *app) group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 && a.flags.output == outputText {
		return cmd.Help()
	}
	return usageError("usage", "%q is no command of %s", strings.Join(args, " "), cmd.CommandPath()).
		WithHint("see %s --help", cmd.CommandPath())
}

// complete lets every command that takes a flight complete the flights there are.
func (a *app) complete(list []*cobra.Command) {
	for _, c := range list {
		switch {
		case strings.Contains(c.Use, "[FLIGHT]"):
			c.ValidArgsFunction = a.completeFlights(1)
		case strings.HasSuffix(c.Use, " A B"):
			c.ValidArgsFunction = a.completeFlights(2)
		}
		a.complete(c.Commands())
	}
}
