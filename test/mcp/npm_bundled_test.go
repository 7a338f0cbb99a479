//go:build e2e

package mcp

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestFilesystemBehindBundledPolicies judges npm's server for files by the bundled set,
// with its tools pinned: what reads goes through, what writes waits for a person.
func TestFilesystemBehindBundledPolicies(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	s, _ := people(t)
	root := filepath.Join(t.TempDir(), "root-of-test")
	write(t, filepath.Join(root, "first.txt"), "first")
	s.servers = command(npmServer(t, "server-filesystem", root))
	s.policies = "{bundled: [mcp]}"
	s.more += fmt.Sprintf("roots: [%q]\n", root)
	g := configured(t, s)
	for _, pin := range [][]string{{"--pin"}, nil} {
		out, err := g.program(append([]string{"gateway", "mcp", "inspect", "--config", g.config}, pin...)...)
		if err != nil || !strings.Contains(out, "write_file") {
			t.Fatalf("inspect: %v %s", err, out)
		}
		if pin == nil && (!strings.Contains(out, "pinned") || !strings.Contains(out, "require_approval") || strings.Contains(out, "  new ")) {
			t.Errorf("inspect of what is pinned: %s", out)
		}
	}
	g.run()
	c := g.session()
	first := filepath.Join(root, "first.txt")
	for name, arguments := range map[string]string{
		"read_text_file": fmt.Sprintf(`{"path":%q}`, first),
		"list_directory": fmt.Sprintf(`{"path":%q}`, root),
		"search_files":   fmt.Sprintf(`{"path":%q,"pattern":"*.txt"}`, root),
	} {
		if got := c.tool(t, name, arguments); !strings.Contains(string(got.body), "first") {
			t.Errorf("%s: %s\n%s", name, got, g.said())
		}
	}
	refused(t, c.tool(t, "read_text_file", `{"path":"/etc/hostname"}`), denied)

	second := filepath.Join(root, "second.txt")
	write := func(id string) <-chan reply {
		out := make(chan reply, 1)
		var wg sync.WaitGroup
		wg.Go(func() { out <- c.tool(t, "write_file", fmt.Sprintf(`{"path":%q,"content":%q}`, second, id)) })
		t.Cleanup(wg.Wait)
		return out
	}
	g.answersFromTheCommandLine(t, write)
	if data, err := os.ReadFile(second); err != nil || string(data) != "first" {
		t.Errorf("the file holds %q: %v", data, err)
	}
	for _, kind := range []string{"approval_request", "approval_response"} {
		g.records(kind, "apr-")
	}
}
