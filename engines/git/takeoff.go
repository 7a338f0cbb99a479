package git

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// takeOff pushes the planned commit. Everything is verified from bytes again
// before the remote is looked at. SPEC: docs/protocol.md 9.
func takeOff(ctx context.Context, r *kit.Run) (*protocol.EngineOutput, error) {
	s, err := readSettings(r.Input.Config)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(r.Artifacts)
	if err != nil {
		return nil, kit.InvalidPlan("the artifacts directory cannot be opened: %w", err)
	}
	p, err := s.planned(root)
	_ = root.Close() // it was only read
	if err != nil {
		return nil, err
	}
	open, err := s.carrier(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limits.GitPushTimeout, errors.New("the push took too long"))
	defer cancel()
	job := push{s: s, b: p.bundle, open: open}
	if err := job.run(ctx); err != nil {
		return nil, err
	}
	if job.already {
		r.Logf("%s is at %s already; nothing was done", s.branch, p.bundle.commit)
	} else {
		r.Logf("%s is at %s now", s.branch, p.bundle.commit)
	}
	return &protocol.EngineOutput{ReceiptID: receiptID(p.bundle.commit), Metrics: metrics(len(p.changes), len(p.bundle.order))}, nil
}

// command is the one change of a reference that is asked for: to commit, and only
// if the reference is at old (zero: if there is none).
type command struct {
	ref string
	old plumbing.Hash
	b   *bundle
}

// carrier speaks with a remote once: it looks, and perhaps sends.
type carrier interface {
	// look gives where a reference is; zero if there is none.
	look(ctx context.Context, ref string) (plumbing.Hash, error)
	// send changes the reference, in one step that fails if it is elsewhere.
	send(ctx context.Context, c command) error
	close()
}

// push is one push.
type push struct {
	s       *settings
	b       *bundle
	open    func(ctx context.Context) (carrier, error)
	already bool   // it was there before
	looked  func() // for tests: between looking and sending
}

// run looks where the branch is and moves it, from there and from nowhere else.
func (p *push) run(ctx context.Context) error {
	c, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	at, err := c.look(ctx, p.s.ref())
	if err != nil {
		return err
	}
	if at == p.b.commit {
		p.already = true
		return nil
	}
	if err := p.allowed(at); err != nil {
		return err
	}
	if p.looked != nil {
		p.looked()
	}
	sent := c.send(ctx, command{ref: p.s.ref(), old: at, b: p.b})
	if sent == nil {
		return nil
	}
	return p.afterFailure(ctx, at, sent)
}

// allowed refuses a branch that is not where the plan expects it.
func (p *push) allowed(at plumbing.Hash) error {
	want := p.b.parent
	if !p.s.expect.IsZero() {
		want = p.s.expect
	}
	switch {
	case at == want:
		return nil
	case !at.IsZero():
		return p.moved(at.String(), want)
	case p.s.create && p.s.expect.IsZero():
		return nil
	}
	return p.moved("nowhere (there is no such branch)", want)
}

func (p *push) moved(at string, want plumbing.Hash) *protocol.Error {
	return protocol.Errorf(protocol.ExitStale, "git_remote_moved", "the branch %s of %s is at %s; commit %s was planned for %s (drift)",
		p.s.branch, p.s.remote.text, at, p.b.commit, want).
		WithHint("nothing was pushed; plan again on what is there now")
}

// afterFailure looks again: a push whose answer was lost may have been done, and
// one that was refused may have met another one.
func (p *push) afterFailure(ctx context.Context, old plumbing.Hash, sent error) error {
	c, err := p.open(ctx)
	if err != nil {
		return sent
	}
	defer c.close()
	at, err := c.look(ctx, p.s.ref())
	switch {
	case err != nil:
		return sent
	case at == p.b.commit:
		return nil
	case at != old && at.IsZero():
		return p.moved("nowhere (the branch was deleted)", old)
	case at != old:
		return p.moved(at.String(), old)
	}
	return sent
}

// carrier gives the way to the remote.
func (s *settings) carrier(r *kit.Run) (func(ctx context.Context) (carrier, error), error) {
	log := &remoteLog{log: func(line string) { r.Logf("remote: %s", line) }}
	switch s.remote.scheme {
	case schemeHTTPS:
		return s.httpCarrier(r, log)
	case schemeSSH:
		return s.sshCarrier(r, log)
	default:
		return func(context.Context) (carrier, error) { return openFileRemote(s.remote.path) }, nil
	}
}

// remoteLog takes the text that a remote writes for people: lines without
// control characters, and not without end.
type remoteLog struct {
	log  func(line string)
	line []byte
	seen int
}

func (l *remoteLog) Write(text []byte) (int, error) {
	for _, c := range text {
		switch {
		case c == '\n' || c == '\r':
			l.flush()
		case l.seen < limits.GitRemoteTextBytes:
			l.seen++
			if c >= ' ' && c != 0x7f {
				l.line = append(l.line, c)
			}
		}
	}
	return len(text), nil
}

func (l *remoteLog) flush() {
	if len(l.line) > 0 {
		l.log(fmt.Sprintf("%q", l.line))
	}
	l.line = l.line[:0]
}

func unreachable(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUnreachable, "git_remote_unreachable", format, args...).
		WithHint("nothing was pushed as far as is known; is the host in the step's hosts (over ssh: in its tunnels)?")
}

func refused(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitFailure, "git_push_refused", format, args...).
		WithHint("see the remote's rules for this branch, and what the key or token may do")
}
