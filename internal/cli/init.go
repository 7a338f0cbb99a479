package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/protocol"
)

func (a *app) initCommand() *cobra.Command {
	var forge, pin string
	cmd := &cobra.Command{
		Use: "init", Short: "Write a configuration to begin with", Args: cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			switch {
			case forge == forgeGitHub:
				return a.beginOnGitHub(cmd.Context(), pin)
			case forge != "":
				return badForge(forge)
			case pin != "":
				return usageError("usage", "--pin is for workflows, which --for github writes")
			}
			return a.begin()
		}),
	}
	forgeFlag(cmd, &forge)
	cmd.Flags().StringVar(&pin, "pin", "", "with --for: the commit of cabincrew/action that the workflows call (default that of the newest release)")
	return cmd
}

func (a *app) begin() error {
	p, err := a.place()
	if err != nil {
		return err
	}
	if err := writeNew(p.config, config.Template(filepath.Base(p.workspace)), 0o644); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return usageError("config_exists", "there is already a configuration").At(p.config).
				WithHint("edit it, or move it away and run cabincrew init again; cabincrew doctor checks it")
		}
		return usageError("config_unwritable", "the configuration cannot be written: %w", err).At(p.config).
			WithHint("make the directory, or name another place with --config")
	}
	s := &session{app: a, place: p}
	if err := s.openStore(); err != nil {
		return err
	}
	if err := s.done(); err != nil {
		return protocol.Errorf(protocol.ExitFailure, "close_failed", "closing files: %w", err)
	}
	next := []string{
		"look at " + oneLine(p.configPath) + " and let a step do something that you need",
		"cabincrew keys generate --out keys/YOUR-NAME    and name the .pub file under approvals.approvers",
		"cabincrew doctor                                checks that everything is there",
		"cabincrew flight-plan                           plans; nothing is changed",
	}
	if a.flags.output == outputJSON {
		a.printJSON(map[string]any{"config": p.config, "state_dir": p.stateDir, "next": next})
		return nil
	}
	a.text("wrote " + oneLine(p.config) + "\nflights are kept in " + oneLine(p.stateDir) + ", out of git\n\nnext\n")
	for _, line := range next {
		a.text("  " + line + "\n")
	}
	return nil
}

// writeNew writes a file that must not exist yet, durably. What it could not
// write whole it removes.
func writeNew(name string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}
