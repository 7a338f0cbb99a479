package cli

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/config"
)

func TestGatewayImport(t *testing.T) {
	t.Parallel()
	w := newTower(t, nil)
	remove(t, w.path(config.GatewayFile))
	const secret = "sk-live-0123456789"
	client := `{
  // servers of this workspace
  "servers": {
    "Files": {"type": "stdio", "command": ` + quote(w.argv(0)) + `, "args": [` + quote(w.argv(1)) + `, ` + quote(w.argv(2)) + `], "env": {"DEBUG": "1", "API_KEY": "` + secret + `"}},
    "api": {"type": "http", "url": "https://tools.example/mcp", "headers": {"Authorization": "Bearer ` + secret + `"}},
  },
}
`
	w.write(".vscode/mcp.json", client)
	var doc struct {
		Gateway, Client string
		Written         bool
		Servers, Notes  []string
		Wrapped         struct {
			Servers map[string]struct {
				Command string
				Args    []string
			}
		}
	}
	w.into(0, &doc, "gateway", "mcp", "import", w.path(".vscode/mcp.json"))
	if doc.Written || len(doc.Servers) != 2 || len(doc.Notes) != 2 || read(t, w.path(".vscode/mcp.json")) != client {
		t.Errorf("%+v", doc)
	}
	w.say(2, []string{"config_exists", "--force"}, "gateway", "mcp", "import", w.path(".vscode/mcp.json"))
	out := w.say(0, []string{"API_KEY", "API_AUTHORIZATION", "what it was is in"}, "gateway", "mcp", "import", "--force", "--write", w.path(".vscode/mcp.json"))
	if out != "" {
		t.Errorf("with --write it prints %s", out)
	}
	if read(t, w.path(".vscode/mcp.json.before-cabincrew")) != client {
		t.Error("what the client's file was is not kept")
	}
	gateway := read(t, w.path(config.GatewayFile))
	if strings.Contains(gateway+read(t, w.path(".vscode/mcp.json")), secret) {
		t.Error("a credential was copied")
	}
	// Imported once more, nothing is to do and nothing is lost.
	w.write("again.json", strings.ReplaceAll(read(t, w.path(".vscode/mcp.json")), os.Args[0], "/usr/bin/cabincrew"))
	w.say(2, []string{"import_empty"}, "gateway", "mcp", "import", "--force", "--write", w.path("again.json"))
	if read(t, w.path(config.GatewayFile)) != gateway {
		t.Error("the gateway's configuration was replaced")
	}
	// An earlier file of what was is not lost either, nor is the gateway's file touched then.
	w.write("mcp.json", client)
	w.write("mcp.json.before-cabincrew", "earlier")
	remove(t, w.path(config.GatewayFile))
	w.say(2, []string{"import_unwritable"}, "gateway", "mcp", "import", "--write", w.path("mcp.json"))
	if _, err := os.Lstat(w.path(config.GatewayFile)); err == nil || read(t, w.path("mcp.json")) != client || read(t, w.path("mcp.json.before-cabincrew")) != "earlier" {
		t.Error("half of the import was done")
	}
	w.write(config.GatewayFile, gateway)

	// What the wrapped file says works; the program in it is this test.
	var wrapped struct {
		Servers map[string]struct{ Args []string }
	}
	if err := json.Unmarshal([]byte(read(t, w.path(".vscode/mcp.json"))), &wrapped); err != nil {
		t.Fatal(err)
	}
	args := wrapped.Servers["Files"].Args
	if len(args) != 5 || args[0] != "gateway" || args[1] != "mcp" || args[2] != "--config" || args[3] != w.path(config.GatewayFile) {
		t.Fatalf("the client starts %q", args)
	}
	w.env = append(w.env, "API_KEY=another-key-0123456789", "API_AUTHORIZATION=another-token-0123456789")
	p := w.pipe(args[4:]...)
	p.hello()
	allowed(t, p.call("echo", map[string]any{"text": "through the import"}), "through the import")
	p.end()
	w.say(2, []string{"2 configurations"}, "gateway", "mcp", "import")
	w.say(2, []string{"import_unreadable"}, "gateway", "mcp", "import", w.path("nowhere.json"))
	w.say(2, []string{"import_unreadable"}, "gateway", "mcp", "import", w.dir)
}

// TestGatewayImportLeavesOut: what cannot be imported is told, with the others imported;
// what looks like a secret to a scanner is not written, whatever the import thinks of it.
func TestGatewayImportLeavesOut(t *testing.T) {
	t.Parallel()
	w := newTower(t, nil)
	remove(t, w.path(config.GatewayFile))
	w.write("c.json", `{"mcpServers": {
  "files": {"command": "server-files", "envFile": ".env"},
  "older": {"type": "sse", "url": "https://tools.example/sse"},
  "told": {"command": "server-told", "args": ["--password", "correct-horse"]}
}}`)
	w.write(".env", "API_TOKEN=correct-horse\nMODE=fast\n")
	var doc struct {
		Servers []string
		Left    []struct{ Name, Why string } `json:"left_out"`
	}
	w.into(0, &doc, "gateway", "mcp", "import", w.path("c.json"))
	if len(doc.Servers) != 1 || len(doc.Left) != 2 || doc.Left[0].Name != "older" || !strings.Contains(doc.Left[1].Why, "after --password") {
		t.Errorf("%+v", doc)
	}
	got := read(t, w.path(config.GatewayFile))
	if strings.Contains(got, "correct-horse") || !strings.Contains(got, "API_TOKEN: env:API_TOKEN") || !strings.Contains(got, "MODE: env:MODE") {
		t.Errorf("written is %s", got)
	}
	w.say(0, []string{"left out, and still without the gateway: older", "told has what looks like a credential"}, "gateway", "mcp", "import", "--force", w.path("c.json"))
	remove(t, w.path(config.GatewayFile))
	w.write("d.json", `{"mcpServers": {"a": {"command": "/opt/x", "args": ["/data/`+"AKIA"+"Q3EGVZ5WJ7XKLM2N"+`"]}}}`)
	if code, out, errs := w.tell("", "gateway", "mcp", "import", w.path("d.json")); code != 2 || strings.Contains(out+errs, "Q3EGVZ") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	w.write("d.json", `{"mcpServers": {"a": {"command": "/opt/x", "args": ["/data/`+"dp.pt."+"rfp3vN5kPz8qLw2xYb7cTg4hJm6sDa9eRu1oKi0ZtQX"+`"]}}}`)
	w.say(2, []string{"import_credential"}, "gateway", "mcp", "import", w.path("d.json"))
	if _, err := os.Lstat(w.path(config.GatewayFile)); err == nil {
		t.Error("it was written")
	}
}

// TestGatewayOfOneServer: the credentials of a server that is not served need not be there.
func TestGatewayOfOneServer(t *testing.T) {
	t.Parallel()
	w := newTower(t, nil)
	w.write(config.GatewayFile, strings.Replace(read(t, w.path(config.GatewayFile)), "roots:", "  other: {url: 'http://127.0.0.1:9/mcp', headers: {Authorization: env:NOBODY_SETS_THIS}}\nroots:", 1))
	p := w.pipe("--stdio=files")
	p.hello()
	allowed(t, p.call("echo", map[string]any{"text": "alone"}), "alone")
	p.end()
	w.say(2, []string{"NOBODY_SETS_THIS"}, "gateway", "mcp", "--stdio")
	w.say(2, []string{"gateway_server", "files, other"}, "gateway", "mcp", "--stdio=third")
}

func quote(s string) string {
	raw, _ := json.Marshal(s) //nolint:errchkjson // a string encodes
	return string(raw)
}
