package mcp

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/cli"
)

// process is a program that a test started, and ends.
type process struct {
	t   testing.TB
	cmd *exec.Cmd
	url string // what it said on its first line, if it was waited for
	log *logged

	once sync.Once
	done chan struct{}
}

// logged is what a process said, safe to read while it still speaks.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text.Len() < 1<<20 {
		l.text.Write(p)
	}
	return len(p), nil
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start starts a program. Where says is true, its first line of output is its address.
func start(t testing.TB, says bool, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, log: &logged{}, done: make(chan struct{})}
	cmd.Stderr = p.log
	cmd.WaitDelay = 5 * time.Second
	var first chan string
	if says {
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		first = make(chan string, 1)
		defer func() {
			go func() {
				lines := bufio.NewScanner(out)
				if lines.Scan() {
					first <- lines.Text()
				}
				close(first)
				for lines.Scan() { // so that it never blocks
				}
			}()
			select {
			case p.url = <-first:
			case <-time.After(30 * time.Second):
			}
			if p.url == "" {
				t.Fatalf("%s does not say where it listens:\n%s", cmd, p.log)
			}
		}()
	} else if cmd.Stdout == nil {
		cmd.Stdout = p.log
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// kill ends the process at once, as kill -9 does.
func (p *process) kill() {
	p.once.Do(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		close(p.done)
	})
}

// self is the test binary in a role.
func self(as string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), role+"="+as)
	return cmd
}

// free gives an address on which nothing listens.
func free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// reachable waits until something listens there.
func (p *process) reachable(address string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-ctx.Done():
			p.t.Fatalf("%s does not listen on %s:\n%s", p.cmd, address, p.log)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// allowAll is a policy that finds nothing wrong.
const allowAll = `package cabincrew.gateway

deny contains "never" if input.method == "no method has this name"
`

// gateway is the program as a gateway before some servers.
type gateway struct {
	*process
	t   testing.TB
	dir string // the workspace: gateway.yaml, policies/, .cabincrew/
	url string // its endpoint
	at  string // host and port

	config string // its gateway.yaml
}

// setting is how a gateway is set up.
type setting struct {
	servers  string // YAML flow mapping: {one: {url: "http://…"}}
	policy   string // Rego; allowAll if empty
	policies string // instead of it, the configuration of policies
	more     string // further lines of the configuration
	secrets  bool   // whether the secret scan stays on
	files    map[string]string
	env      []string
}

// open starts a gateway.
func open(t testing.TB, s setting) *gateway {
	t.Helper()
	g := configured(t, s)
	g.run(s.env...)
	return g
}

// configured is a gateway that is not started yet.
func configured(t testing.TB, s setting) *gateway {
	t.Helper()
	g := &gateway{t: t, dir: t.TempDir(), at: free(t)}
	g.url, g.config = "http://"+g.at+"/mcp", filepath.Join(g.dir, "gateway.yaml")
	policies := s.policies
	if policies == "" {
		policies = fmt.Sprintf("{rego: [policies/], secrets: {scan: %t}}", s.secrets)
		policy := s.policy
		if policy == "" {
			policy = allowAll
		}
		write(t, filepath.Join(g.dir, "policies", "gateway.rego"), policy)
	}
	for name, text := range s.files {
		write(t, filepath.Join(g.dir, name), text)
	}
	write(t, g.config, fmt.Sprintf("version: 1\nlisten: %s\nservers: %s\npolicies: %s\n%s", g.at, s.servers, policies, s.more))
	return g
}

// run starts the program, also after it was killed.
func (g *gateway) run(env ...string) {
	g.t.Helper()
	cmd := self("program", "gateway", "mcp", "--config", filepath.Join(g.dir, "gateway.yaml"))
	cmd.Dir = g.dir
	cmd.Env = append(cmd.Env, env...)
	g.process = start(g.t, false, cmd)
	g.reachable(g.at)
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tool is the path of something that scripts/mcp-judges.sh puts there.
func tool(t testing.TB, name string) string {
	t.Helper()
	p, err := filepath.Abs(filepath.Join("..", "..", "bin", "tools", filepath.FromSlash(name)))
	if err == nil {
		_, err = os.Stat(p)
	}
	if err != nil {
		t.Fatalf("scripts/mcp-judges.sh puts it there: %v", err)
	}
	return p
}

// wired says whether the program is a gateway, and no stand-in was asked for.
func wired() bool {
	return !standIn() && cli.Main(context.Background(), []string{"gateway", "mcp", "--help"}, strings.NewReader(""), io.Discard, io.Discard, os.Environ()) == 0
}

// standIn says that the gateway's tests run against the raw proxy, to prove the tests.
func standIn() bool { return os.Getenv("CABINCREW_MCP_STAND_IN") != "" }

func rawBefore(t testing.TB, server string) string {
	t.Helper()
	return start(t, true, self("raw", server, filepath.Join(t.TempDir(), "trail"))).url
}
