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
		`{"mcpServers": {"é": {"command": "x"}}}`:                           "no name of its own",
		`{"mcpServers": {"a": {"command": "x"}}} /* never closed`:           "cannot be read",
	} {
		if _, err := ReadClients("c.json", []byte(file), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestImportLeavesOutWhatDoesNotFit holds that one server that cannot be imported keeps no
// other from it.
func TestImportLeavesOutWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	for server, want := range map[string]string{
		`"gateway": {"command": "x"}`: "gateway's own", `"OK": {"command": "y"}`: "no name of its own", `"": {"command": "x"}`: "no name of its own",
		`"a": {"url": "https://h/mcp#x"}`: "more than", `"a": {"url": "ftp://h/mcp"}`: "more than", `"a": {"url": "https://h/mcp", "headers": {"Host": "x"}}`: "more than",
		`"a": {"url": "https://h/mcp", "headers": {"Bad Header": "x"}}`: "more than", `"a": {"command": "x", "args": "y"}`: "no list", `"a": {"command": "x", "args": ["\u0000"]}`: "more than",
	} {
		c, err := ReadClients("c.json", []byte(`{"mcpServers": {"Ok": {"command": "true"}, `+server+`}}`), nil)
		if err != nil || len(c.Servers) != 1 || len(c.Left) != 1 || !strings.Contains(c.Left[0].Why, want) {
			t.Errorf("%s: %+v, %v", server, c, err)
		}
	}
	c, err := ReadClients("c.json", []byte(`{"mcpServers": {"a": {"command": "x"}}, "servers": {"b": {"command": "y"}}}`), nil)
	if err != nil || len(c.Left) != 1 || c.Left[0].Name != "b" || !strings.Contains(c.Left[0].Why, "beside mcpServers") {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestImportCopiesNothingUnknown holds that of variables and arguments only what is plainly
// harmless is copied.
func TestImportCopiesNothingUnknown(t *testing.T) {
	t.Parallel()
	for name := range strings.FieldsSeq(`PGPASSWORD MYSQL_PWD PASSPHRASE CREDS COOKIE BEARER MNEMONIC PIN SESSION_ID AWS_SESSION DBPASS MYSECRET secretpassword
		SIGNING_SEED STRIPE_SK MONGODB_URI SLACK_WEBHOOK_URL`) {
		c, err := ReadClients("c.json", []byte(`{"mcpServers": {"a": {"command": "x", "env": {"`+name+`": "hunter2"}}}}`), nil)
		if err != nil || c.Servers[0].Env[name] != "" || c.Servers[0].Secrets[name] != "env:"+name || len(c.Notes) == 0 {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	for _, harmless := range []string{`"NODE_ENV": "production"`, `"LOG_LEVEL": "debug"`, `"PORT": 8080`, `"DEBUG": "1"`, `"WHERE": "/srv/data"`, `"PLACE": "${workspaceFolder}/x"`, `"TLS": true`, `"EMPTY": ""`} {
		c, err := ReadClients("c.json", []byte(`{"mcpServers": {"a": {"command": "x", "env": {`+harmless+`}}}}`), nil)
		if err != nil || len(c.Servers[0].Env) != 1 || len(c.Servers[0].Secrets) != 0 {
			t.Errorf("%s: %+v, %v", harmless, c, err)
		}
	}
	for args, out := range map[string]bool{
		`"--pwd", "hunter2"`: true, `"-p", "hunter2"`: true, `"--bearer", "hunter2"`: true, `"--header", "Cookie: a=hunter2"`: true, `"-H", "X-Own: hunter2"`: true, `"-u", "me:hunter2"`: true,
		`"--user", "me:hunter2"`: true, `"PGPASSWORD=hunter2"`: true, `"-e", "MYSQL_PWD=hunter2"`: true, `"--env", "PGPASSWORD=hunter2"`: true, `"--env=PGPASSWORD=hunter2"`: true,
		`"-p", "8080"`: false, `"-p", "80:80"`: false, `"--user", "me"`: false, `"-H", "Accept: application/json"`: false, `"-e", "PGPASSWORD"`: false, `"-e", "NODE_ENV=production"`: false,
		`"-y", "@modelcontextprotocol/server-filesystem", "."`: false, `"--allow=read"`: false,
	} {
		c, err := ReadClients("c.json", []byte(`{"mcpServers": {"ok": {"command": "true"}, "a": {"command": "x", "args": [`+args+`]}}}`), nil)
		if err != nil || len(c.Left) == 1 != out {
			t.Errorf("%s: %+v, %v", args, c, err)
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
