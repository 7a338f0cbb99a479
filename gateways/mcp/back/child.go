package back

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// ChildOptions say how a server that is a child process is started.
type ChildOptions struct {
	Name string   // of the server in the configuration
	Argv []string // the program, looked for in Env's PATH unless it is a path, and its arguments
	Dir  string   // absolute
	// Env is what the child gets beside PATH, HOME and LANG, which it may set too.
	// Nothing of this process's environment is passed on.
	Env map[string]string
	// Confine holds the child in a sandbox; nil: nothing is held back.
	Confine *Confinement
	Grace   time.Duration // from the end of stdin to SIGTERM, and from that to SIGKILL; 0: limits.MCPBackGrace
	// Children bounds how many processes there are at one time; 0: limits.MCPBackChildren.
	Children int
	Limits   Limits
	Redact   func(string) string // what of stderr is logged; nil: all
	Log      *slog.Logger        // nil: nothing is logged
	Now      func() time.Time    // nil: time.Now
}

// Child opens sessions with processes of one server, one process for each. It implements
// link.Opener.
type Child struct {
	o      ChildOptions
	argv   []string
	env    []string
	pauses pauses
	// patience is limits.MCPBackQueueTime.
	patience time.Duration

	mu      sync.Mutex
	running int
}

// NewChild makes ready to start children. None is started yet.
func NewChild(o ChildOptions) (*Child, error) {
	o.Limits = o.Limits.withDefaults()
	put(&o.Grace, limits.MCPBackGrace)
	if o.Children == 0 {
		o.Children = limits.MCPBackChildren
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if len(o.Argv) == 0 || o.Argv[0] == "" {
		return nil, refused(o.Name, "it has no command").WithHint("give the program and its arguments as a list")
	}
	if !filepath.IsAbs(o.Dir) {
		return nil, refused(o.Name, "its directory %q is not absolute", o.Dir)
	}
	c := &Child{o: o, pauses: pauses{now: o.Now}, patience: limits.MCPBackQueueTime}
	env := map[string]string{"PATH": defaultPath, "LANG": "C.UTF-8"}
	if home, err := os.UserHomeDir(); err == nil {
		env["HOME"] = home
	}
	maps.Copy(env, o.Env)
	if o.Confine != nil { // what the sandbox has instead
		delete(env, "HOME")
		delete(env, "TMPDIR")
	}
	for name, value := range env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
			return nil, refused(o.Name, "its environment has the name %q, or a NUL in its value", name)
		}
		c.env = append(c.env, name+"="+value)
	}
	slices.Sort(c.env)
	program, err := find(o.Argv[0], env["PATH"], o.Dir)
	if err != nil {
		return nil, refused(o.Name, "its program %s is not there: %w", o.Argv[0], err).WithHint("install it, or write its whole path")
	}
	c.argv = append([]string{program}, o.Argv[1:]...)
	if o.Confine != nil {
		if err := o.Confine.check(o.Name); err != nil {
			return nil, err
		}
	}
	return c, nil
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// find looks for a program as a shell does.
func find(name, path, dir string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, executable(name)
	}
	for _, d := range filepath.SplitList(path) {
		if at := filepath.Join(d, name); filepath.IsAbs(at) && executable(at) == nil {
			return at, nil
		}
	}
	return "", exec.ErrNotFound
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return errors.New("it is not executable")
	}
	return nil
}

// Open opens a session. Its process is started when it is needed.
func (c *Child) Open(_ context.Context, s link.Session) (link.Server, error) {
	return &childSession{c: c, session: s, router: newRouter(c.o.Name, c.o.Limits.MessageBytes)}, nil
}

// start starts a process. That it cannot be started is said by its end.
func (c *Child) start(of link.Session, r *router) (*process, error) {
	principal := of.Principal
	if failed, left := c.pauses.left(principal); left > 0 {
		return nil, &link.Down{Server: c.o.Name, Why: "ended " + times(failed) + " soon after its start; it is started again in " + left.Round(time.Second).String() + " at the earliest"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running >= c.o.Children {
		return nil, &link.Down{Server: c.o.Name, Why: "has as many processes as it may have, one for each session"}
	}
	mark := "CABINCREW_GATEWAY_CHILD=" + rand.Text()
	h, err := c.o.Confine.hold(c.argv[0])
	if err != nil {
		return nil, &link.Down{Server: c.o.Name, Why: "was not started: " + plain(err), Err: err}
	}
	ctx, kill := context.WithCancelCause(context.Background())
	p := &process{
		server: c.o.Name, most: c.o.Limits.MessageBytes, router: r, log: c.o.Log, ctx: ctx, kill: kill, patience: c.patience,
		lines: make(chan []byte, limits.MCPBackLines), shut: make(chan struct{}), gone: make(chan struct{}), done: make(chan struct{}),
	}
	log := &stderr{server: c.o.Name, log: c.o.Log, redact: c.o.Redact, now: c.o.Now}
	c.running++
	go func() {
		from := c.o.Now()
		exit, err := sandbox.Run(ctx, sandbox.Command{
			Argv: c.argv, Dir: c.o.Dir, Env: append(slices.Concat(c.env, h.env), mark), Mark: mark,
			Stdin: stdin{p}, Stdout: stdout{p, sync.OnceFunc(func() { p.mute(c.o.Grace) })}, Stderr: log,
			Grace: c.o.Grace, Confine: h.confine,
		})
		log.close()
		h.clean()
		for _, path := range c.o.Confine.appeared(h.kept) {
			c.o.Log.Warn("a protected name appeared in a root while the server ran; look at it before anything uses it", "server", c.o.Name, "path", path)
		}
		p.down = ending(c.o.Name, exit, err, context.Cause(ctx))
		if !of.Stateless { // what the process knew of the session is gone with it
			p.down.Err = errors.Join(p.down.Err, link.ErrOver)
		}
		kill(nil)
		c.pauses.ended(principal, c.o.Now().Sub(from))
		c.mu.Lock()
		c.running--
		c.mu.Unlock()
		close(p.done)
		r.over(p.down)
		c.o.Log.Info("the server's process is over", "server", c.o.Name, "why", p.down.Why)
	}()
	return p, nil
}

func times(n int) string {
	if n == 2 {
		return "twice"
	}
	return "several times"
}

// childSession is one session with a process. It implements link.Server.
type childSession struct {
	c       *Child
	session link.Session
	router  *router

	mu    sync.Mutex
	p     *process // the one that was started last; nil: none
	ended bool
}

// process gives the process that gets a message.
func (s *childSession) process(ctx context.Context, initializes bool) (*process, error) {
	s.mu.Lock()
	before := s.p
	s.mu.Unlock()
	if before != nil {
		if err := before.settle(ctx); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, &link.Down{Server: s.c.o.Name, Why: "the session with it is over", Err: link.ErrOver}
	}
	if s.p != nil {
		select {
		case <-s.p.done:
			if !initializes && !s.session.Stateless {
				return nil, &link.Down{Server: s.c.o.Name, Why: s.p.down.Why + "; the session is over and must be initialized anew", Err: link.ErrOver}
			}
		default:
			return s.p, nil
		}
	}
	p, err := s.c.start(s.session, s.router)
	if err != nil {
		return nil, err
	}
	s.p = p
	return p, nil
}

// Send sends a message. A request's answer is a stream only where something that
// belongs to the request comes before the answer.
func (s *childSession) Send(ctx context.Context, c link.Call) (*link.Answer, error) {
	settled := sync.OnceFunc(c.Settled)
	defer settled()
	p, err := s.process(ctx, c.Message.Method == "initialize")
	if err != nil {
		return nil, err
	}
	m := c.Message
	var also *alias
	if s.session.Stateless {
		var known bool
		if m, also, known, err = s.router.rename(m); err != nil {
			return nil, err
		}
		if !known {
			return &link.Answer{Status: 202}, nil
		}
	}
	under, err := s.router.open(m, also)
	if err != nil {
		return nil, err
	}
	ctx, untimed := s.timed(ctx, p, m, under)
	if err := p.send(ctx, m.Raw); err != nil {
		untimed()
		if under != nil {
			_ = under.Close()
		}
		return nil, err
	}
	settled()
	if under == nil {
		untimed()
		return &link.Answer{Status: 202, Header: nil}, nil
	}
	return s.answer(ctx, p, m, under, untimed)
}

// answer waits for the first message of an answer.
func (s *childSession) answer(ctx context.Context, p *process, m jsonrpc.Message, under *call, untimed func()) (*link.Answer, error) {
	select {
	case <-p.done: // it may have ended before the request was under way
		under.finish(p.down)
	default:
	}
	ev, last, err := under.first(ctx)
	if err != nil || last || under.stays { // what it subscribed may go on for ever
		untimed()
	}
	if err != nil {
		waits := s.router.waits(under) // or the child was told already
		if _ = under.Close(); waits {
			s.abandon(p, m)
		}
		return nil, err
	}
	if last {
		_ = under.Close()
		return &link.Answer{Status: 200, Header: jsonHeader(), Body: ev.Data}, nil
	}
	leave := func() {
		untimed()
		if s.router.waits(under) {
			s.abandon(p, m)
		}
	}
	return &link.Answer{Status: 200, Header: streamHeader(), Stream: &after{queue: under.queue, head: ev, leave: leave}}, nil
}

// timed bounds the time until the whole answer has come, from now on: a request that
// takes longer fails, and the child is told. It gives what ends that bound.
func (s *childSession) timed(ctx context.Context, p *process, m jsonrpc.Message, under *call) (context.Context, func()) {
	t := s.c.o.Limits.AnswerTime
	if t <= 0 {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	slow := &link.Down{Server: s.c.o.Name, Why: "took longer than " + t.String() + " for its answer", Err: context.DeadlineExceeded}
	timer := time.AfterFunc(t, func() {
		if under != nil && s.router.late(under, slow) {
			s.withdraw(p, m)
		}
		cancel(slow)
	})
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}

// abandon tells the child that nobody waits for a request's answer any more. Over HTTP
// the end of the connection says so to a server without sessions; of others it is said
// by their clients.
func (s *childSession) abandon(p *process, m jsonrpc.Message) {
	if s.session.Stateless {
		s.withdraw(p, m)
	}
}

// withdraw tells the child that it need not answer.
func (s *childSession) withdraw(p *process, m jsonrpc.Message) {
	if m.Method == "initialize" {
		return // the protocol forbids it
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, r := range requests(m) {
		params := append(append([]byte(`{"requestId":`), r.ID...), '}')
		_ = p.send(ctx, jsonrpc.NewNotification("notifications/cancelled", params)) // it need not obey
	}
}

// Listen gives what the child sends unasked.
func (s *childSession) Listen(context.Context, http.Header) (*link.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, &link.Down{Server: s.c.o.Name, Why: "the session with it is over", Err: link.ErrOver}
	}
	return &link.Answer{Status: 200, Header: streamHeader(), Stream: s.router.listen()}, nil
}

// End ends the process: its stdin first, then by SIGTERM, then by SIGKILL, with all that
// it started. It returns when the process is gone or ctx ends.
func (s *childSession) End(ctx context.Context) error {
	s.mu.Lock()
	s.ended = true
	p := s.p
	s.mu.Unlock()
	s.router.over(&link.Down{Server: s.c.o.Name, Why: "the session with it is over", Err: link.ErrOver})
	if p == nil {
		return nil
	}
	p.end(s.c.o.Grace)
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func jsonHeader() http.Header { return http.Header{"Content-Type": {"application/json"}} }

func streamHeader() http.Header { return http.Header{"Content-Type": {"text/event-stream"}} }
