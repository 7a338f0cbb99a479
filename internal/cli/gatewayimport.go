package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies/secrets"
)

// clientFiles are where clients of a workspace list their MCP servers.
func clientFiles() []string {
	return []string{"mcp.json", ".mcp.json", ".vscode/mcp.json", ".cursor/mcp.json", "claude_desktop_config.json"}
}

// beforeGateway ends the name of what a client's file was before it was wrapped.
const beforeGateway = ".before-cabincrew"

func (a *app) gatewayImportCommand() *cobra.Command {
	var write, force bool
	cmd := &cobra.Command{
		Use: "import [FILE]", Short: "Put the servers of an MCP client's configuration behind the gateway",
		Long: `Reads the configuration of an MCP client (mcp.json, .mcp.json, .vscode/mcp.json,
.cursor/mcp.json, claude_desktop_config.json), writes a gateway's configuration with
the same servers to --config, and prints the client's configuration in which each
server is started through the gateway. With --write the client's file is replaced; what
it was is kept beside it.

Credentials are never copied: the gateway's file names the variables to set, and where
the client asks for a value, it goes on asking. A server that cannot be imported, such
as one with a credential in its command, is left out, and said; the others are not.`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			p, err := a.gatewayPlace()
			if err != nil {
				return err
			}
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			return a.importClients(cmd.Context(), p, name, write, force)
		}),
	}
	cmd.Flags().BoolVar(&write, "write", false, "replace the client's file by the wrapped form; what it was is kept as FILE"+beforeGateway)
	cmd.Flags().BoolVar(&force, "force", false, "replace a gateway's configuration that is there already")
	return cmd
}

func (a *app) importClients(ctx context.Context, p place, name string, write, force bool) error {
	name, data, err := clientFile(p.workspace, name)
	if err != nil {
		return err
	}
	clients, err := config.ReadClients(name, data, func(file string) ([]byte, error) { return regular(below(filepath.Dir(p.config), file)) })
	if err != nil {
		return err
	}
	gateway, err := clients.Gateway()
	if err != nil {
		return err
	}
	if _, err := config.ParseGateway(p.config, gateway); err != nil {
		return err // what the client says is more than a gateway's configuration can hold
	}
	if err := noCredentials(ctx, name, gateway); err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		program = "cabincrew"
	}
	wrapped, err := json.MarshalIndent(clients.Wrapped(program, p.config), "", "  ")
	if err != nil {
		return err
	}
	wrapped = append(wrapped, '\n')
	if err := a.writeImport(p, importing{name, data, gateway, wrapped}, write, force); err != nil {
		return err
	}
	return a.tellImport(p, name, clients, wrapped, write)
}

// noCredentials is the last look at what is written to a file that others read: whatever
// the import took for harmless, nothing in it looks like a secret to who scans files.
func noCredentials(ctx context.Context, name string, gateway []byte) error {
	scan, err := secrets.New(secrets.Options{})
	if err != nil {
		return err
	}
	found, err := scan.Scan(ctx, config.GatewayFile, bytes.NewReader(gateway))
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return usageError("import_credential", "what would be written on line %d looks like a secret (%s)", found[0].Line, found[0].Rule).At(name).
			WithHint("move it into env or headers of its server, from where it is never copied")
	}
	return nil
}

// importing is a client's file, what it was, the gateway's configuration made of it, and
// what the file becomes.
type importing struct {
	name                  string
	was, gateway, wrapped []byte
}

// writeImport writes the gateway's configuration, and the client's file if that is asked.
// What the client's file was is kept first: without that nothing is written.
func (a *app) writeImport(p place, i importing, write, force bool) error {
	if _, err := os.Lstat(p.config); err == nil && !force {
		return configThere(p)
	}
	if write {
		if err := writeNew(i.name+beforeGateway, i.was, 0o600); err != nil {
			return usageError("import_unwritable", "what the client's file was cannot be kept: %w", err).At(i.name + beforeGateway).
				WithHint("move an earlier one away")
		}
	}
	var err error
	if force {
		err = replaceFile(p.config, i.gateway, 0o644)
	} else {
		err = writeNew(p.config, i.gateway, 0o644)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return configThere(p)
	case err != nil:
		return usageError("config_unwritable", "the gateway's configuration cannot be written: %w", err).At(p.config).WithHint("name another place with --config")
	}
	if !write {
		return nil
	}
	if err := replaceFile(i.name, i.wrapped, 0o600); err != nil {
		return usageError("import_unwritable", "the client's file cannot be written: %w", err).At(i.name).WithHint("write the printed form yourself")
	}
	return nil
}

func configThere(p place) error {
	return usageError("config_exists", "there is already a gateway's configuration").At(p.config).
		WithHint("replace it with --force, or name another place with --config")
}

func (a *app) tellImport(p place, name string, clients *config.ClientFile, wrapped []byte, written bool) error {
	if a.flags.output == outputJSON {
		servers := make([]string, 0, len(clients.Servers))
		for _, s := range clients.Servers {
			servers = append(servers, s.As)
		}
		a.printJSON(map[string]any{"gateway": p.config, "client": name, "written": written, "servers": servers, "left_out": append([]config.LeftServer{}, clients.Left...), "notes": append([]string{}, clients.Notes...), "wrapped": json.RawMessage(wrapped)})
		return nil
	}
	if !written {
		a.text(string(wrapped))
	}
	note := func(line string) { _, _ = a.err.Write([]byte(tame(line + "\n"))) } // a closed stderr cannot be told of
	note("wrote " + oneLine(p.config) + " with " + countOf(len(clients.Servers), "server"))
	if written {
		note("wrote " + oneLine(name) + "; what it was is in " + oneLine(name+beforeGateway) + ", with its credentials: keep that out of the repository")
	} else {
		note("the client's configuration with its servers behind the gateway is on stdout; --write puts it in place")
	}
	for _, left := range clients.Left {
		note("  left out, and still without the gateway: " + oneLine(left.Name) + " " + oneLine(left.Why))
	}
	for _, line := range clients.Notes {
		note("  " + oneLine(line))
	}
	return nil
}

// clientFile reads the file that is named, or the only one that a workspace has.
func clientFile(workspace, name string) (string, []byte, error) {
	if name == "" {
		var found []string
		for _, f := range clientFiles() {
			if info, err := os.Stat(filepath.Join(workspace, filepath.FromSlash(f))); err == nil && info.Mode().IsRegular() {
				found = append(found, filepath.Join(workspace, filepath.FromSlash(f)))
			}
		}
		if len(found) != 1 {
			return "", nil, usageError("usage", "there are %d configurations of MCP clients here", len(found)).
				WithHint("name one: cabincrew gateway mcp import FILE (%s)", strings.Join(clientFiles(), ", "))
		}
		name = found[0]
	}
	data, err := regular(name)
	if err != nil {
		return "", nil, usageError("import_unreadable", "the client's configuration cannot be read: %w", err).At(name).WithHint("name the file in which the client lists its MCP servers")
	}
	return name, data, nil
}

// regular reads a small regular file.
func regular(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > limits.ConfigBytes) {
		err = errors.New("it is no regular file, or too large")
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(name) //nolint:gosec // the user, or a file that the user names, names it
}
