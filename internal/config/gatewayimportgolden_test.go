package config

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/import anew")

// TestImportGoldens takes the files of three kinds of clients through the import: what is
// written, what the client's file becomes, and what people are told. No credential of the
// client's file is in what is written.
func TestImportGoldens(t *testing.T) {
	t.Parallel()
	// Written so that no file of this repository holds what looks like a secret.
	credentials := map[string]string{"@GITHUB@": "ghp" + "_0123456789abcdefghijABCDEFGHIJ012345", "@WORD@": "correct-horse" + "-battery", "@LONG@": "Zm9v" + "YmFyQmF6UXV4MTIzNDU2Nzg5MA"}
	for _, name := range []string{"mcp", "vscode", "claude_desktop_config"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(filepath.Join("testdata", "import", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			text := string(data)
			for mark, value := range credentials {
				text = strings.ReplaceAll(text, mark, value)
			}
			f, err := ReadClients(name+".json", []byte(text), func(file string) ([]byte, error) {
				if file != "./.env" {
					return nil, errors.New("there is none")
				}
				return []byte("# of the database\nexport DB_PASSWORD=\"" + credentials["@WORD@"] + "\"\nDB_SCHEMA=private\nDB_TIMEOUT=5\nDB_LOGIN=" + credentials["@GITHUB@"] + "\nHOME=/nowhere\nnonsense\n"), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			gateway, err := f.Gateway()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ParseGateway("g.yaml", gateway); err != nil {
				t.Errorf("what is written cannot be read: %v", err)
			}
			wrapped, err := json.MarshalIndent(f.Wrapped("cabincrew", ".cabincrew.gateway.yaml"), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			var told strings.Builder
			for _, l := range f.Left {
				told.WriteString("left out: " + l.Name + " " + l.Why + "\n")
			}
			slices.Sort(f.Notes)
			told.WriteString(strings.Join(f.Notes, "\n") + "\n")
			said := string(wrapped) + "\n"
			for mark, value := range credentials {
				if strings.Contains(string(gateway), value) || strings.Contains(told.String(), value) {
					t.Errorf("a credential (%s) was copied", mark)
				}
				said = strings.ReplaceAll(said, value, mark) // of servers that were left out
			}
			for _, s := range f.Servers {
				one, _ := f.Wrapped("cabincrew", "g.yaml")[f.Key].(map[string]any)
				raw, _ := json.Marshal(one[s.Name]) //nolint:errchkjson // it was encoded before
				for mark, value := range credentials {
					if strings.Contains(string(raw), value) {
						t.Errorf("the client's file still has a credential (%s) of %s", mark, s.Name)
					}
				}
			}
			golden(t, name+".gateway.yaml", string(gateway))
			golden(t, name+".wrapped.json", said)
			golden(t, name+".told.txt", told.String())
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "import", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (-update writes it anew):\n%s\nwant\n%s", name, got, want)
	}
}

func TestHoldsCredential(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"--api-key=x1": true, "Authorization: Bearer abcdefgh": true, "https://a:b@host/": true, `{"token":"abc"}`: true, "TOKEN=x": true,
		"xoxb-1": true, "-----BEGIN PRIVATE KEY-----": true, "0123456789abcdef0123456789abcdef": true, "https://h/?sig=1&access_token=2": true,
		"": false, "-y": false, "@modelcontextprotocol/server-filesystem@2025.11.25": false, "--port=8080": false, "https://tools.example/mcp": false,
		"/home/Ann/Projects2024/TheWebsiteOfTheTeam3": false, "--key-file=/etc/key.pem": false, "GITHUB_TOKEN": false, "ssh://git@host/x": false,
		"123e4567-e89b-12d3-a456-426614174000": false, "--log-level=debug": false,
	} {
		if holdsCredential(text) != want {
			t.Errorf("%q: %t", text, !want)
		}
	}
}
