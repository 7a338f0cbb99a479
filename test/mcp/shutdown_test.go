package mcp

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways"
)

// stopped tells the gateway to end and waits until it has.
func (p *process) stopped(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	p.once.Do(func() {
		go func() {
			if err := p.cmd.Wait(); err != nil {
				t.Errorf("%v\n%s", err, p.log)
			}
			close(p.done)
			close(ended)
		}()
	})
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		t.Fatalf("it does not end\n%s", p.log)
	}
}

// left gives what became of a call that was held.
func (g *gateway) left(t *testing.T, c gateways.HeldCall) gateways.HeldState {
	t.Helper()
	state, err := os.OpenRoot(g.dir + "/.cabincrew")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = state.Close() }()
	now, err := gateways.ReadHeld(state, c.Request.ApprovalID)
	if err != nil {
		t.Fatal(err)
	}
	return now.State
}

// told demands that a held call was refused in one clear message.
func told(t *testing.T, got reply) {
	t.Helper()
	if e := got.answer().Error; e == nil || e.Code != rejected || !strings.Contains(e.Message, "the gateway is stopping") {
		t.Errorf("the client is told %s", got)
	}
}

// TestStopDuringHold ends the gateway in order while calls are held: each client is told,
// what was held is denied, and nothing reaches the server.
func TestStopDuringHold(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	s, _ := people(t)
	h := newHostile(t)
	g := before(t, s, h)
	all, one := g.session(), newClient(g.url+"/one")
	if err := one.initialize(t.Context()); err != nil {
		t.Fatal(err)
	}
	waiting := []<-chan reply{calling(t, all, "a", "x"), calling(t, one, "b", "y")}
	held := g.held(t, 2)
	begin := time.Now()
	g.stopped(t)
	for _, w := range waiting {
		told(t, answered(t, w))
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	for _, c := range held {
		if state := g.left(t, c); state.Status != gateways.HeldDenied || !strings.Contains(state.Reason, "stopped") {
			t.Errorf("it is %+v", state)
		}
	}
	h.untouched()
}

// onStdio starts the gateway for a client on stdin and stdout that makes a call. What it
// gives back waits until the gateway has ended, and gives the answer to the call.
func (g *gateway) onStdio(t *testing.T) func() reply {
	t.Helper()
	cmd := self("program", "gateway", "mcp", "--config", g.config, "--stdio")
	cmd.Dir = g.dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, says, err := os.Pipe() // that the end of the program closes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	cmd.Stdout = says
	g.process = start(t, false, cmd)
	_ = says.Close()
	for _, line := range []string{
		`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`,
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"}}}`,
	} {
		if _, err := io.WriteString(in, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	return func() (last reply) {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if text := lines.Bytes(); strings.Contains(lines.Text(), `"id":1`) {
				last.body = bytes.Clone(text)
				last.messages = read("application/json", last.body)
			}
		}
		return last
	}
}

// TestStopDuringHoldOverStdio is the same for a client on stdin and stdout.
func TestStopDuringHoldOverStdio(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprintf("kill -9 %t", kill), func(t *testing.T) {
			t.Parallel()
			s, _ := people(t)
			h := newHostile(t)
			s.servers = fmt.Sprintf("{one: {url: %q}}", h.url)
			g := configured(t, s)
			said := g.onStdio(t)
			held := g.held(t, 1)
			if kill {
				g.kill()
			} else {
				g.stopped(t)
			}
			got := said()
			if kill {
				g.run() // what an earlier run left is denied at the start
			} else {
				told(t, got)
			}
			if state := g.left(t, held[0]); state.Status != gateways.HeldDenied {
				t.Errorf("it is %+v", state)
			}
			h.untouched()
		})
	}
}

// TestStopDuringCall: a server that does not answer keeps nobody from ending, and the
// client is told, on both transports.
func TestStopDuringCall(t *testing.T) {
	t.Parallel()
	if standIn() {
		t.Skip("of the gateway")
	}
	h := newHostile(t)
	asked := make(chan struct{}, 2)
	h.answers("tools/call", func(w http.ResponseWriter, r *http.Request, _ sent) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		asked <- struct{}{}
		<-r.Context().Done()
	})
	g := before(t, setting{}, h)
	c := calling(t, g.session(), "a", "x")
	<-asked
	g.stopped(t)
	if got := answered(t, c); got.code() != unreachable {
		t.Errorf("the client is told %s", got)
	}
	g = configured(t, setting{servers: fmt.Sprintf("{one: {url: %q}}", h.url)})
	said := g.onStdio(t)
	<-asked
	g.stopped(t)
	if got := said(); got.code() != unreachable {
		t.Errorf("over stdio, the client is told %s", got)
	}
}
