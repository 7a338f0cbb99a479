package cli

import (
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/internal/config"
)

func (a *app) gatewayCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "gateway", Short: "Put tool calls and model calls under the same policies and approvals"}
	cmd.AddCommand(a.gatewayMCPCommand(), a.gatewayLLMCommand())
	return cmd
}

// gatewayPlace is where an MCP gateway works.
func (a *app) gatewayPlace() (place, error) { return a.placeOf(config.GatewayFile) }

// placeOf is where a gateway works: its configuration is a file of its own.
func (a *app) placeOf(file string) (place, error) {
	if a.flags.config == config.FileName {
		a.flags.config = filepath.Join(filepath.Dir(a.flags.config), file)
		if a.flags.workspace != "" {
			a.flags.config = filepath.Join(a.flags.workspace, file)
		}
	}
	return a.place()
}
