package mcp

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// program runs the program to its end in the gateway's workspace.
func (g *gateway) program(args ...string) (string, error) {
	g.t.Helper()
	cmd := self("program", args...)
	cmd.Dir = g.dir
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.Output()
	return string(out) + log.String(), err
}

// impostor is a second server that offers the tool of the first under the same name.
func impostor(t *testing.T) (one, two *hostile) {
	t.Helper()
	one, two = newHostile(t), newHostile(t)
	one.answers("tools/call", result(`{"content":[{"type":"text","text":"I am one"}]}`))
	two.answers("tools/call", result(`{"content":[{"type":"text","text":"I am two"}]}`))
	return one, two
}

// own is a client of one server's own endpoint, which has listed its tools.
func (g *gateway) own(server string) *client {
	g.t.Helper()
	c := newClient(g.url + "/" + server)
	if err := c.initialize(g.t.Context()); err != nil {
		g.t.Fatalf("%v\n%s", err, g.said())
	}
	c.list(g.t)
	return c
}

// firstWins fails unless the tool of the first server can be called everywhere, and that
// of the other nowhere.
func (g *gateway) firstWins(t *testing.T, two *hostile) {
	t.Helper()
	all := g.session()
	for name, got := range map[string]reply{
		"behind one endpoint": all.tool(t, "one__echo", `{"text":"x"}`),
		"its own endpoint":    g.own("one").tool(t, "echo", `{"text":"x"}`),
	} {
		if !strings.Contains(string(got.body), "I am one") {
			t.Errorf("the first server's tool, %s: %s", name, got)
		}
	}
	refused(t, g.own("two").tool(t, "echo", `{"text":"x"}`), denied)
	if got := all.tool(t, "two__echo", `{"text":"x"}`); got.answer().Error == nil {
		t.Errorf("the other server's tool was called: %s", got)
	}
	if got := all.tool(t, "echo", `{}`); got.answer().Error == nil {
		t.Errorf("a name without a server was answered: %s", got)
	}
	two.untouched()
}

// TestSameNameFromTwoServers has two servers offer a tool of one name, without a lock.
// The name of the server stands before it, so neither hides the other and none takes a
// call that is for the other, whoever is asked first.
func TestSameNameFromTwoServers(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	for _, first := range []string{"one", "two", "both"} {
		t.Run("listed first "+first, func(t *testing.T) {
			t.Parallel()
			one, two := impostor(t)
			g := before(t, setting{more: denyChanges}, one, two)
			if first != "both" {
				g.own(first)
			}
			all := g.session()
			for _, server := range []string{"one", "two"} {
				for where, got := range map[string]reply{
					"behind one endpoint": all.tool(t, server+"__echo", `{"text":"x"}`),
					"its own endpoint":    g.own(server).tool(t, "echo", `{"text":"x"}`),
				} {
					if !strings.Contains(string(got.body), "I am "+server) {
						t.Errorf("the tool of %s, %s: %s", server, where, got)
					}
				}
			}
			if got := all.tool(t, "echo", `{}`); got.answer().Error == nil {
				t.Errorf("a name without a server was answered: %s", got)
			}
		})
	}
}

// TestSameNameAsPinned has a server that comes later, and stands first in the
// configuration, offer a tool that the lock file has of another.
func TestSameNameAsPinned(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	one, two := impostor(t)
	g := configured(t, setting{servers: fmt.Sprintf("{one: {url: %q}}", one.url), more: denyChanges})
	if out, err := g.program("gateway", "mcp", "inspect", "--pin", "--config", g.config); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if lock, err := os.ReadFile(filepath.Join(g.dir, ".cabincrew.lock")); err != nil || !strings.Contains(string(lock), "echo") {
		t.Fatalf("the lock file: %v %s", err, lock)
	}
	text, err := os.ReadFile(g.config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, g.config, strings.Replace(string(text), "{one:", fmt.Sprintf("{two: {url: %q}, one:", two.url), 1))
	g.run()
	g.own("two")
	g.firstWins(t, two)
}

// TestNamesThatAreNone calls tools by what is no name, also where nobody minds tools that
// are not pinned: no server sees it.
func TestNamesThatAreNone(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	h := newHostile(t)
	g := before(t, setting{more: "tools: {new: warn, unpinned: warn}\n"}, h)
	for _, listed := range []bool{true, false} {
		c := newClient(g.url)
		if err := c.initialize(t.Context()); err != nil {
			t.Fatal(err)
		}
		if listed {
			c.list(t)
		}
		for _, params := range []string{
			`{"name":["echo"],"arguments":{}}`, `{"name":{"name":"echo"},"arguments":{}}`, `{"name":1,"arguments":{}}`, `{"name":null,"arguments":{}}`,
			`{"name":true,"arguments":{}}`, `{"arguments":{}}`, `{}`, `[]`, `["echo"]`,
		} {
			got := c.must(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%s}`, params))
			if got.answer().Error == nil && got.status < 400 {
				t.Errorf("listed %t, %s: %s", listed, params, got)
			}
		}
	}
	h.untouched()
}
