package config

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

const vscodeFile = `{
  // servers of this workspace
  "inputs": [{"type": "promptString", "id": "key", "password": true}],
  "servers": {
    "Files": {"type": "stdio", "command": "npx", "args": ["server-filesystem", "${workspaceFolder}"], "env": {"DEBUG": "1", "API_KEY": "${input:key}", "HOME": "/x"},},
    /* remote */
    "api": {"type": "http", "url": "https://tools.example/mcp", "headers": {"Authorization": "Bearer sk-live-123", "X-Team": "${env:TEAM}"}},
    "done": {"command": "/usr/bin/cabincrew", "args": ["gateway", "mcp", "--config", "g.yaml", "--stdio=x"]},
  },
}`

// TestImportOfClients takes a file as editors allow it through the import, and the result
// through the reader of the gateway's configuration.
func TestImportOfClients(t *testing.T) {
	t.Parallel()
	f, err := ReadClients("mcp.json", []byte(vscodeFile), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := f.Gateway()
	if err != nil {
		t.Fatal(err)
	}
	g, err := ParseGateway("g.yaml", text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	names := map[string]GatewayServer{}
	for _, s := range g.Servers {
		names[s.Name] = s
	}
	files, api := names["files"], names["api"]
	if len(names) != 2 || !slices.Equal(files.Command, []string{"npx", "server-filesystem", "."}) || files.Env["DEBUG"].Literal != "1" || files.Secrets["API_KEY"].Env != "API_KEY" {
		t.Errorf("%+v", names)
	}
	if h := api.Headers["Authorization"]; api.URL != "https://tools.example/mcp" || h.Prefix != "Bearer " || h.Value.Env != "API_AUTHORIZATION" || api.Headers["X-Team"].Value.Env != "TEAM" {
		t.Errorf("%+v", api)
	}
	if strings.Contains(string(text), "sk-live") || strings.Contains(strings.Join(f.Notes, "\n"), "sk-live") {
		t.Error("a credential was copied")
	}
	for _, want := range []string{"API_KEY", "API_AUTHORIZATION", "HOME"} {
		if !strings.Contains(strings.Join(f.Notes, "\n"), want) {
			t.Errorf("nobody is told of %s: %q", want, f.Notes)
		}
	}
	raw, err := json.Marshal(f.Wrapped("cabincrew", "g.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"Files":{"args":["gateway","mcp","--config","g.yaml","--stdio=files"],"command":"cabincrew","env":{"API_KEY":"${input:key}"},"type":"stdio"}`, `"api":{"args":["gateway","mcp","--config","g.yaml","--stdio=api"],"command":"cabincrew"}`, `"inputs":[`, `"done":{"args"`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("%s is not in %s", want, raw)
		}
	}
	if strings.Contains(string(raw), "sk-live") {
		t.Error("the wrapped file has the credential")
	}
	again, err := ReadClients("mcp.json", raw, nil)
	if err == nil {
		t.Errorf("what is wrapped is imported again: %+v", again)
	}
}

func TestImportRefusals(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		``:  "cannot be read",
		`{`: "cannot be read",
		`{"mcpServers": {"a": {}}, "mcpServers": 1}`: "cannot be read",
		`[]`:                        "no servers",
		`{"mcpServers": {}}`:        "no servers",
		`{"mcpServers": {"a": 1}}`:  "is no object",
		`{"mcpServers": {"a": {}}}`: "neither a command nor a url",
		`{"mcpServers": {"a": {"command": "x", "url": "http://y"}}}`:        "neither a command nor a url, or both",
		`{"mcpServers": {"a": {"command": "x", "args": [1]}}}`:              "no text",
		`{"mcpServers": {"a": {"url": "http://y/sse", "type": "sse"}}}`:     "older HTTP",
		`{"mcpServers": {"a": {"command": "x", "args": ["--token", "y"]}}}`: "looks like a credential in its command, after --token",
		`{"mcpServers": {"A": {"command": "x"}, "a": {"command": "y"}}}`:    "no name of its own",
		`{"mcpServers": {"é": {"command": "x"}}}`:                           "no name of its own",
		`{"mcpServers": {"a": {"command": "x"}}} /* never closed`:           "cannot be read",
	} {
		if _, err := ReadClients("c.json", []byte(file), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func FuzzReadClients(f *testing.F) {
	f.Add([]byte(vscodeFile))
	f.Add([]byte(`{"mcpServers":{"a":{"command":"x","env":{"A":"b"}}}}`))
	f.Add([]byte(`{"a":"\\\"//","b":"/*",}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if want, err := protocol.DecodeAny(data); err == nil {
			if got, err := protocol.DecodeAny(plainJSON(data)); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("JSON without comments reads as %v, %v", got, err)
			}
		}
		if c, err := ReadClients("c.json", data, nil); err == nil {
			if _, err := c.Gateway(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
