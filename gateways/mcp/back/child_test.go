package back

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// TestMain lets this binary be the child as well.
func TestMain(m *testing.M) {
	if how := os.Getenv("BACK_CHILD"); how != "" {
		os.Exit(beChild(how))
	}
	os.Exit(m.Run())
}

// beChild answers the requests on stdin; the method says how.
func beChild(how string) int {
	if how == "stubborn" {
		signal.Ignore(syscall.SIGTERM)
	}
	if how == "exit" {
		return 3
	}
	say := func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	if how == "pairs" {
		return bePaired(say)
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		m, err := jsonrpc.Scan(in.Bytes(), jsonrpc.Options{Batch: true})
		if err != nil {
			say(`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"bad"}}`)
			continue
		}
		if m.Kind == jsonrpc.Batch {
			say(`[{"jsonrpc":"2.0","id":%s,"result":{}},{"jsonrpc":"2.0","id":%s,"result":{}}]`, m.Parts[0].ID, m.Parts[1].ID)
			continue
		}
		childAnswers(m, say)
	}
	if how == "stubborn" {
		select {}
	}
	return 0
}

func childAnswers(m jsonrpc.Message, say func(string, ...any)) {
	if m.Kind == jsonrpc.Failure {
		fmt.Fprintf(os.Stderr, "refused %s\n", m.ID)
	}
	switch m.Method {
	case "notifications/many":
		for i := range limits.MCPBackQueueEvents + 3 {
			say(`{"jsonrpc":"2.0","id":%d,"method":"roots/list"}`, i)
		}
	case "progress":
		say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}`)
	case "ask":
		say(`{"jsonrpc":"2.0","id":1,"method":"roots/list"}`)
	case "notifications/cancelled":
		say(`{"jsonrpc":"2.0","method":"notifications/x","params":%s}`, m.Params)
	case "die":
		os.Exit(7)
	case "killed":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "sleep":
		return
	case "much":
		for i := range 20_000 {
			say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":%d}}`, i)
		}
	case "mute":
		_ = os.Stdout.Close()
		select {}
	case "endless":
		go func() {
			for range time.Tick(5 * time.Millisecond) {
				say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}`)
			}
		}()
		return
	case "noise":
		say("hello\n\n  \r\n{broken")
	case "twice":
		say(`{"jsonrpc":"2.0","id":%s,"result":{},"result":{}}`, m.ID)
		return
	case "overlong":
		say(`{"jsonrpc":"2.0","id":%s,"result":"%s"}`, m.ID, strings.Repeat("x", 5000))
	case "flood":
		for range 100000 {
			say("%s", strings.Repeat("x", 500))
		}
	case "stderr":
		for i := range 3000 {
			fmt.Fprintf(os.Stderr, "line %d \x1b[31m%s\n", i, strings.Repeat("x", 6000))
		}
		fmt.Fprint(os.Stderr, "no end")
	case "env":
		for _, e := range os.Environ() {
			say(`{"jsonrpc":"2.0","method":"notifications/env","params":{"e":%s}}`, jsonrpc.AppendString(nil, e))
		}
	case "read":
		name, _ := jsonrpc.Lookup(m.Params, "name")
		path, _ := jsonrpc.Text(name)
		data, err := os.ReadFile(path)
		to, moves := jsonrpc.Lookup(m.Params, "to")
		switch {
		case moves:
			name, _ := jsonrpc.Text(to)
			err = os.Rename(path, name)
		case strings.Contains(string(m.Params), `"how":"write"`):
			err = os.WriteFile(path, []byte("changed"), 0o600)
		}
		say(`{"jsonrpc":"2.0","id":%s,"result":{"text":%s}}`, m.ID, jsonrpc.AppendString(nil, fmt.Sprint(string(data), err)))
		return
	}
	if m.Kind == jsonrpc.Request {
		say(`{"jsonrpc":"2.0","id":%s,"result":{"method":"%s"}}`, m.ID, m.Method)
	}
}

// records collects what is logged.
type records struct {
	mu    sync.Mutex
	lines []string
}

func (r *records) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, string(b))
	return len(b), nil
}

func (r *records) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.lines...)
}

func childOf(t testing.TB, how string, o ChildOptions, s link.Session) (*Child, *childSession) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o.Name, o.Argv = "near", []string{self}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Env == nil {
		o.Env = map[string]string{}
	}
	o.Env["BACK_CHILD"] = how
	if o.Grace == 0 {
		o.Grace = 2 * time.Second
	}
	c, err := NewChild(o)
	if err != nil {
		t.Fatal(err)
	}
	return c, sessionOf(t, c, s)
}

func sessionOf(t testing.TB, c *Child, s link.Session) *childSession {
	t.Helper()
	server, err := c.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.End(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return server.(*childSession)
}

func asks(id, method string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"%s","params":{"_meta":{"progressToken":"t"}}}`, id, method)
}

func TestChild(t *testing.T) {
	t.Parallel()
	_, s := childOf(t, "yes", ChildOptions{}, link.Session{Principal: "p"})
	ctx := t.Context()
	settled := false
	c := callOf(t, "{\n\"jsonrpc\":\"2.0\",\r\n\"id\":\"a\",\"method\":\"initialize\"}")
	c.Sent = func() { settled = true }
	a, err := s.Send(ctx, c)
	if err != nil || a.Status != 200 || string(a.Body) != `{"jsonrpc":"2.0","id":"a","result":{"method":"initialize"}}` || a.Stream != nil || !settled {
		t.Fatalf("%+v, %v", a, err)
	}
	if a, err = s.Send(ctx, callOf(t, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)); err != nil || a.Status != 202 || a.Body != nil || a.Stream != nil {
		t.Fatalf("%+v, %v", a, err)
	}
	if a, err = s.Send(ctx, callOf(t, `[`+asks("1", "x")+`,`+asks("2", "y")+`]`)); err != nil || !strings.HasPrefix(string(a.Body), "[") {
		t.Fatalf("%+v, %v", a, err)
	}
	for _, c := range []struct{ method, first string }{{"progress", "notifications/progress"}, {"ask", "roots/list"}} {
		a, err := s.Send(ctx, callOf(t, asks("3", c.method)))
		if err != nil || a.Stream == nil {
			t.Fatalf("%s: %+v, %v", c.method, a, err)
		}
		for _, want := range []string{c.first, `"id":3`} {
			if ev, err := a.Stream.Next(ctx); err != nil || !strings.Contains(string(ev.Data), want) {
				t.Errorf("%s: %s, %v", c.method, ev.Data, err)
			}
		}
		if _, err := a.Stream.Next(ctx); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		_ = a.Stream.Close()
	}
	if a, err := s.Send(ctx, callOf(t, asks("4", "noise"))); err != nil || len(a.Body) == 0 {
		// {broken may be for this request: nobody can tell, and it is the only one
		isDown(t, err, "no message")
	}
	_, err = s.Send(ctx, callOf(t, asks("5", "twice")))
	isDown(t, err, "no message")
}

func TestChildsEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ method, says string }{
		{"die", "exit code 7"}, {"killed", "SIGKILL"}, {"overlong", "line of more than 1000 bytes"}, {"flood", "lines that are no messages"},
	} {
		t.Run(c.method, func(t *testing.T) {
			t.Parallel()
			_, s := childOf(t, "yes", ChildOptions{Limits: Limits{MessageBytes: 1000}}, link.Session{Principal: "p"})
			ctx := t.Context()
			listen, err := s.Listen(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			other := make(chan error)
			go func() {
				_, err := s.Send(ctx, callOf(t, asks("1", "sleep")))
				other <- err
			}()
			_, err = s.Send(ctx, callOf(t, asks("2", c.method)))
			isDown(t, err, c.says)
			isDown(t, <-other, c.says)
			_, err = listen.Stream.Next(ctx)
			isDown(t, err, c.says)
			_, err = s.Send(ctx, callOf(t, asks("3", "x")))
			if isDown(t, err, c.says); !errors.Is(err, link.ErrOver) {
				t.Error("the session is not over")
			}
			if a, err := s.Send(ctx, callOf(t, asks("4", "initialize"))); err != nil || len(a.Body) == 0 {
				t.Errorf("initialized anew: %+v, %v", a, err)
			}
		})
	}
}

func TestChildPauses(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.Unix(1e9, 0)
	o := ChildOptions{Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }}
	c, s := childOf(t, "exit", o, link.Session{Principal: "p", Stateless: true})
	for range 2 {
		_, err := s.Send(t.Context(), callOf(t, ask))
		isDown(t, err, "exit code 3")
	}
	_, err := s.Send(t.Context(), callOf(t, ask))
	isDown(t, err, "ended twice soon after its start; it is started again in 1s")
	_, err = sessionOf(t, c, link.Session{Principal: "q", Stateless: true}).Send(t.Context(), callOf(t, ask))
	isDown(t, err, "exit code 3")
	mu.Lock()
	now = now.Add(time.Second)
	mu.Unlock()
	_, err = s.Send(t.Context(), callOf(t, ask))
	isDown(t, err, "exit code 3")
}

func TestChildIgnoresSIGTERM(t *testing.T) {
	t.Parallel()
	_, s := childOf(t, "stubborn", ChildOptions{Grace: 100 * time.Millisecond}, link.Session{Principal: "p"})
	if _, err := s.Send(t.Context(), callOf(t, ask)); err != nil {
		t.Fatal(err)
	}
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := s.p.down; !strings.Contains(d.Why, "SIGKILL") && d.Err == nil {
		t.Error(d)
	}
	_, err := s.Send(t.Context(), callOf(t, ask))
	isDown(t, err, "over")
}

func TestChildTimes(t *testing.T) {
	t.Parallel()
	_, s := childOf(t, "yes", ChildOptions{Limits: Limits{AnswerTime: 300 * time.Millisecond}, Children: 1}, link.Session{Principal: "p"})
	_, err := s.Send(t.Context(), callOf(t, asks("1", "sleep")))
	isDown(t, err, "took longer than 300ms")
	if _, err := s.Send(t.Context(), callOf(t, asks("1", "x"))); err != nil {
		t.Error(err)
	}
	_, err = sessionOf(t, s.c, link.Session{Principal: "q"}).Send(t.Context(), callOf(t, ask))
	isDown(t, err, "as many processes")
}

// TestChildTalksForEver says that a request which is answered by other messages only
// fails in time, and that the child hears of it.
func TestChildTalksForEver(t *testing.T) {
	t.Parallel()
	for _, stateless := range []bool{false, true} {
		_, s := childOf(t, "yes", ChildOptions{Limits: Limits{AnswerTime: 300 * time.Millisecond}}, link.Session{Principal: "p", Stateless: stateless})
		a, err := s.Send(t.Context(), callOf(t, asks("5", "endless")))
		if err != nil || a.Stream == nil {
			t.Fatalf("%+v, %v", a, err)
		}
		for err == nil {
			_, err = a.Stream.Next(t.Context())
		}
		isDown(t, err, "took longer than 300ms")
		_ = a.Stream.Close()
		l, err := s.Listen(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		told := false
		for !told && err == nil {
			var ev link.Event
			ev, err = l.Stream.Next(t.Context())
			told = strings.Contains(string(ev.Data), `"requestId":`)
		}
		if !told {
			t.Errorf("stateless %v: the child was not told: %v", stateless, err)
		}
	}
}

// TestChildQueue says that a child which says much is slowed down, and that a client
// which takes nothing does not stop others.
func TestChildQueue(t *testing.T) {
	t.Parallel()
	c, s := childOf(t, "yes", ChildOptions{}, link.Session{Principal: "p"})
	c.patience = 200 * time.Millisecond
	a, err := s.Send(t.Context(), callOf(t, asks("1", "much")))
	if err != nil || a.Stream == nil {
		t.Fatalf("%+v, %v", a, err)
	}
	n, last := 0, ""
	for err == nil {
		var ev link.Event
		if ev, err = a.Stream.Next(t.Context()); err == nil {
			n, last = n+1, string(ev.Data)
		}
	}
	if !errors.Is(err, io.EOF) || n != 20_001 || !strings.Contains(last, `"result"`) {
		t.Errorf("%d messages, the last %s, %v", n, last, err)
	}
	_ = a.Stream.Close()
	slow, err := s.Send(t.Context(), callOf(t, asks("2", "much")))
	if err != nil {
		t.Fatal(err)
	}
	if other, err := s.Send(t.Context(), callOf(t, `{"jsonrpc":"2.0","id":3,"method":"x"}`)); err != nil || !strings.Contains(string(other.Body), `"id":3`) {
		t.Errorf("%+v, %v", other, err)
	}
	for err == nil {
		_, err = slow.Stream.Next(t.Context())
	}
	isDown(t, err, "more than the client took")
	_ = slow.Stream.Close()
}

// TestChildClosesStdout says that a child which can say nothing any more is ended.
func TestChildClosesStdout(t *testing.T) {
	t.Parallel()
	_, s := childOf(t, "yes", ChildOptions{Grace: 200 * time.Millisecond}, link.Session{Principal: "p"})
	_, err := s.Send(t.Context(), callOf(t, asks("1", "mute")))
	isDown(t, err, "closed its output")
	if _, err := s.Send(t.Context(), callOf(t, `{"jsonrpc":"2.0","id":2,"method":"initialize"}`)); err != nil {
		t.Error(err)
	}
}

func TestChildTalks(t *testing.T) {
	t.Parallel()
	var log records
	o := ChildOptions{
		Log: slog.New(slog.NewTextHandler(&log, nil)), Env: map[string]string{"TOKEN": "t"},
		Redact: func(s string) string { return strings.ReplaceAll(s, "line 2 ", "*** ") },
	}
	_, s := childOf(t, "yes", o, link.Session{Principal: "p"})
	if _, err := s.Send(t.Context(), callOf(t, asks("1", "stderr"))); err != nil {
		t.Fatal(err)
	}
	a, err := s.Send(t.Context(), callOf(t, asks("2", "env")))
	if err != nil || a.Stream == nil {
		t.Fatal(err)
	}
	for err == nil {
		var ev link.Event
		ev, err = a.Stream.Next(t.Context())
		name, _, _ := strings.Cut(string(ev.Data), "=")
		if _, name, ok := strings.Cut(name, `{"e":"`); ok && !strings.Contains(" PATH HOME LANG TOKEN BACK_CHILD CABINCREW_GATEWAY_CHILD ", " "+name+" ") {
			t.Errorf("the child has %s", name)
		}
	}
	_ = a.Stream.Close()
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := log.all()
	if n := len(lines); n < 100 || n > 3000 {
		t.Errorf("%d lines", n)
	}
	text := strings.Join(lines, "")
	if strings.Contains(text, "\x1b[") || strings.Contains(text, "line 2 ") || !strings.Contains(text, "***") || !strings.Contains(text, "left out") {
		t.Error(lines[:5])
	}
}

// TestChildPlain holds that the answer of a plain call is never a stream.
func TestChildPlain(t *testing.T) {
	t.Parallel()
	_, s := childOf(t, "yes", ChildOptions{}, link.Session{Principal: "p", Stateless: true})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 200 {
				a, err := s.Send(t.Context(), callOf(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"x"}`, i*1000+j)))
				if err != nil || a.Stream != nil || !strings.Contains(string(a.Body), fmt.Sprintf(`"id":%d,`, i*1000+j)) {
					t.Errorf("%+v, %v", a, err)
				}
			}
		})
	}
	all.Wait()
}

func TestChildAbandoned(t *testing.T) {
	t.Parallel()
	_, s := childOf(t, "yes", ChildOptions{}, link.Session{Principal: "p", Stateless: true})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := s.Send(ctx, callOf(t, asks("1", "sleep"))); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	a, err := s.Listen(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if ev, err := a.Stream.Next(t.Context()); err != nil || !strings.Contains(string(ev.Data), `"requestId":1`) {
		t.Errorf("%s, %v", ev.Data, err)
	}
}

func TestChildRefuses(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]ChildOptions{
		"no command":  {Dir: "/"},
		"no program":  {Dir: "/", Argv: []string{"cabincrew-no-such-program"}},
		"no file":     {Dir: "/", Argv: []string{"./nothing"}},
		"a directory": {Dir: "/", Argv: []string{"/"}},
		"relative":    {Dir: "x", Argv: []string{"sh"}},
		"environment": {Dir: "/", Argv: []string{"sh"}, Env: map[string]string{"A=B": "x"}},
		"NUL":         {Dir: "/", Argv: []string{"sh"}, Env: map[string]string{"A": "x\x00"}},
	} {
		if _, err := NewChild(o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestChildAsksNobody: requests that wait for a client until there is no room for them
// are answered.
func TestChildAsksNobody(t *testing.T) {
	t.Parallel()
	var log records
	_, s := childOf(t, "yes", ChildOptions{Log: slog.New(slog.NewTextHandler(&log, nil))}, link.Session{Principal: "p"})
	if _, err := s.Send(t.Context(), callOf(t, `{"jsonrpc":"2.0","method":"notifications/many"}`)); err != nil {
		t.Fatal(err)
	}
	for try := 0; !strings.Contains(strings.Join(log.all(), ""), "refused 2"); try++ {
		if try > 5000 {
			t.Fatalf("%q", log.all())
		}
		time.Sleep(time.Millisecond)
	}
	text := strings.Join(log.all(), "")
	for _, once := range []string{"refused 0", "refused 1", "refused 2", "are dropped"} {
		if strings.Count(text, once) != 1 {
			t.Errorf("%s is not there once: %s", once, text)
		}
	}
	a, err := s.Listen(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if ev, err := a.Stream.Next(t.Context()); err != nil || !strings.Contains(string(ev.Data), `"id":3,`) {
		t.Errorf("%s, %v", ev.Data, err)
	}
}
