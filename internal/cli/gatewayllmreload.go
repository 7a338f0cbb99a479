package cli

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/signal"
	"reflect"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cabincrew/action/gateways/identity"
	"github.com/cabincrew/action/gateways/llm"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/telemetry"
	"github.com/cabincrew/action/protocol"
)

// llmServing serves by the newest configuration. Calls that are under way end by the one
// that they began with.
type llmServing struct {
	run    *gatewayRun // of the start: its trail, held calls, clients and listener stay
	gate   *identity.Gate
	used   *llmUsed
	models *telemetry.Models

	mu  sync.Mutex // of who reads the configuration anew
	now atomic.Pointer[llmTurn]
	all sync.WaitGroup // turns that end
}

// llmTurn is one configuration with what was made of it.
type llmTurn struct {
	g       *config.LLMGateway
	gw      *llm.Gateway
	callers *llmCallers
	hash    string // governance_hash
	close   func() error

	mu    sync.Mutex
	calls int
	over  bool
	empty chan struct{} // closed when it is over and has no calls
}

// enter counts a call of a turn; false: it is over, and another one is there.
func (t *llmTurn) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return false
	}
	t.calls++
	return true
}

func (t *llmTurn) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.calls--; t.over && t.calls == 0 {
		close(t.empty)
	}
}

// end lets no more calls in.
func (t *llmTurn) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	if t.over = true; t.calls == 0 {
		close(t.empty)
	}
}

func (s *llmServing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.run.under.Add(1)
	defer s.run.under.Add(-1)
	t := s.entered()
	if t == nil {
		http.Error(w, "the gateway stops", http.StatusServiceUnavailable)
		return
	}
	defer t.leave()
	t.gw.ServeHTTP(w, r)
}

// entered counts a call of the newest turn; nil: the gateway stops.
func (s *llmServing) entered() *llmTurn {
	for {
		t := s.now.Load()
		if t.enter() {
			return t
		}
		if s.now.Load() == t {
			return nil
		}
	}
}

// watch reads the configuration anew at each SIGHUP, until ctx ends.
func (s *llmServing) watch(ctx context.Context, load func() (*config.LLMGateway, error)) {
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	defer signal.Stop(again)
	for {
		select {
		case <-ctx.Done():
			return
		case <-again:
			g, err := load()
			if err == nil {
				err = s.renew(ctx, g)
			}
			if err != nil {
				s.run.log.Error("the configuration was not read again; the gateway goes on with the old one", "error", err.Error())
				continue
			}
			s.run.log.Warn("the configuration was read again")
		}
	}
}

// renew makes a turn of a new configuration. An error leaves everything as it is.
func (s *llmServing) renew(ctx context.Context, g *config.LLMGateway) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.now.Load()
	if what := fixed(old.g, g); what != "" {
		return usageError("gateway_reload", "%s cannot change while the gateway runs", what).At(g.Name).WithHint("start the gateway anew")
	}
	next, err := s.turn(ctx, g)
	if err != nil {
		return err
	}
	ev := protocol.AuditEvent{
		EventType: protocol.EventStateTransition, Severity: protocol.SeverityWarning, Message: "the configuration was read again",
		Gateway: &protocol.AuditGateway{GatewayType: llm.Kind},
		Policy: &protocol.AuditPolicy{Decision: protocol.Allow, PolicyEvaluations: []protocol.PolicyEvaluation{{
			Source: protocol.SourceLLMGateway, PolicyID: "gateway/run", Decision: protocol.Allow,
			Evidence: map[string]any{aboutGovernance: next.hash}, EvaluatedAt: s.run.now().UTC().Format(time.RFC3339Nano),
		}}},
	}
	if err := s.run.trail.Append(ctx, true, ev); err != nil {
		return errors.Join(err, next.close())
	}
	s.now.Store(next)
	s.all.Go(func() { s.retire(old) })
	return nil
}

// retire ends a turn when its last call has ended.
func (s *llmServing) retire(t *llmTurn) {
	t.end()
	<-t.empty
	if err := t.close(); err != nil {
		s.run.log.Warn("what an old configuration held was not let go in order", "error", err.Error())
	}
}

// stop ends all turns. Calls that are under way have had their time.
func (s *llmServing) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.now.Load()
	t.gw.Stop()
	t.end()
	<-t.empty
	err := t.close()
	s.all.Wait()
	return err
}

// turn makes what a configuration says. It must be closed.
func (s *llmServing) turn(ctx context.Context, g *config.LLMGateway) (_ *llmTurn, err error) {
	of := s.run
	r := &gatewayRun{
		app: of.app, place: of.place, config: &g.Gateway, resolved: g, kind: of.kind, dir: of.dir, id: of.id, now: of.now, log: of.log, redactor: of.redactor,
		state: of.state, trail: of.trail, tally: of.tally, holds: of.holds, waiting: of.waiting, calls: of.calls,
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.done())
		}
	}()
	keys, err := r.llmKeys(g)
	if err != nil {
		return nil, err
	}
	if err := r.judges(ctx); err != nil {
		return nil, err
	}
	t, err := s.made(ctx, r, g, keys)
	if err != nil {
		return nil, err
	}
	t.close = r.done
	return t, nil
}

// made makes a turn of what a run has loaded, which the run closes.
func (s *llmServing) made(ctx context.Context, r *gatewayRun, g *config.LLMGateway, keys map[string]string) (*llmTurn, error) {
	callers, err := llmCallersOf(g, s.gate, s.used, r.now)
	if err != nil {
		return nil, err
	}
	gw, err := r.llmGateway(g, keys, callers, s)
	if err != nil {
		return nil, err
	}
	if err := r.canary(ctx, gw, g.Canary); err != nil {
		return nil, err
	}
	return &llmTurn{g: g, gw: gw, callers: callers, hash: r.hash, close: func() error { return nil }, empty: make(chan struct{})}, nil
}

// fixed names what differs between two configurations and cannot change while the gateway
// runs: what was opened at its start, and who may approve, which whoever is judged must
// not decide.
func fixed(old, g *config.LLMGateway) string {
	for _, c := range []struct {
		name      string
		old, then any
	}{
		{"listen", old.Listen, g.Listen}, {"clients", old.Clients, g.Clients}, {"audit", old.Audit, g.Audit}, {"approvals", old.Approvals, g.Approvals},
		{"environment", old.Environment, g.Environment}, {"traces", old.Traces, g.Traces}, {"metrics", old.Metrics, g.Metrics},
	} {
		if !reflect.DeepEqual(c.old, c.then) {
			return c.name
		}
	}
	return ""
}
