package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/gateways/llm"
	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/gateways/llm/upstream"
	llmwire "github.com/cabincrew/action/gateways/llm/wire"
	"github.com/cabincrew/action/gateways/mcp/front"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/internal/telemetry"
	"github.com/cabincrew/action/policies/secrets"
)

// llmFlags are what the command line says.
type llmFlags struct {
	listen              string
	providers, policies []string
	whole               bool
	canary              string
	file                bool // --config names one
}

func (a *app) gatewayLLMCommand() *cobra.Command {
	var f llmFlags
	cmd := &cobra.Command{
		Use: "llm", Short: "Judge every call of a model and every answer",
		Long: `Stands between clients and providers of models. Every request is judged before it goes
out and every answer before the client sees it, also while it streams: secrets are taken
out of prompts and stop answers, dangerous tool calls wait for an approval (cabincrew
status, approve, reject), and everything is on the record. The clients of OpenAI's and
Anthropic's APIs work unchanged: give them the gateway's address as the base URL.

    cabincrew gateway llm --provider openai=http://127.0.0.1:11434/v1

Without --provider the configuration says all of it (--config, default ` + config.LLMFile + `).
With it there is no file: a provider's key is read from NAME_API_KEY (OPENAI_API_KEY for openai) and is sent to that
provider only. Without --policy the bundled set llm judges.`,
		Args: cobra.NoArgs,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			p, err := a.placeOf(config.LLMFile)
			if err != nil {
				return err
			}
			f.file = cmd.Flags().Changed("config")
			g, err := a.llmConfig(p, f)
			if err != nil {
				return err
			}
			return a.serveLLM(cmd.Context(), p, g, func() (*config.LLMGateway, error) {
				if len(f.providers) > 0 {
					return nil, usageError("gateway_reload", "the gateway has no file that it could read again").WithHint("write %s and start without --provider", config.LLMFile)
				}
				return a.llmConfig(p, f)
			})
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "", "where to listen: HOST:PORT or unix:PATH (default 127.0.0.1:9150)")
	flags.StringArrayVar(&f.providers, "provider", nil, "a provider, NAME=URL (again for more); the first that works is used")
	flags.StringArrayVar(&f.policies, "policy", nil, "a directory of policies, instead of the bundled set (again for more)")
	flags.StringVar(&f.canary, "canary", "on", "on: refuse to start if a prompt or an answer with a known secret passes; off: do not try")
	flags.BoolVar(&f.whole, "whole", false, "hold answers that stream until all of them was judged")
	return cmd
}

// llmConfig reads the configuration, or makes one of the command line.
func (a *app) llmConfig(p place, f llmFlags) (g *config.LLMGateway, err error) {
	if len(f.providers) > 0 {
		if f.file {
			return nil, usageError("usage", "--provider is for a gateway without a file, and --config names one").WithHint("write the provider into the file, or leave one of the two out")
		}
		g, err = config.LocalLLM(f.providers, f.policies)
	} else {
		if len(f.policies) > 0 {
			return nil, usageError("usage", "--policy is for providers that the command line names").WithHint("write policies: {rego: [DIRECTORY]} into %s", p.config)
		}
		g, err = config.LoadLLM(p.config)
	}
	if err != nil {
		return nil, err
	}
	g.Whole = g.Whole || f.whole
	if f.listen != "" {
		g.Listen = f.listen
	}
	switch f.canary {
	case "on":
	case "off":
		g.Canary.Off = true
	default:
		return nil, usageError("usage", "--canary %s is neither on nor off", oneLine(f.canary)).WithHint("leave it out: it is on")
	}
	return g, nil
}

// llmKeys reads the keys of the providers, which nothing that is logged or recorded may hold.
func (r *gatewayRun) llmKeys(g *config.LLMGateway) (map[string]string, error) {
	keys := map[string]string{}
	for i := range g.Providers {
		q := &g.Providers[i]
		if q.Key == nil {
			continue
		}
		value, err := r.app.secret(r.dir, *q.Key)
		switch {
		case err == nil && value != "":
			keys[q.Name] = value
		case q.KeyOptional:
		default:
			return nil, usageError("gateway_secret", "the key of the provider %s cannot be had", q.Name).At(q.Where).
				WithHint("set the variable or write the file before the gateway starts")
		}
	}
	r.secrets = map[string]string{}
	for name, v := range keys {
		if len(v) >= 8 { // a shorter one is a word for servers that want any
			r.secrets["provider "+name] = v
		}
	}
	return keys, nil
}

// openLLM loads everything that judges and records. The run must be closed.
func (a *app) openLLM(ctx context.Context, p place, g *config.LLMGateway) (_ *gatewayRun, _ map[string]string, err error) {
	r := &gatewayRun{app: a, place: p, config: &g.Gateway, resolved: g, kind: llm.Kind, dir: filepath.Dir(p.config), now: time.Now, waiting: func() int { return 0 }}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.done())
		}
	}()
	if r.id, err = newRunID(r.now()); err != nil {
		return nil, nil, err
	}
	keys, err := r.llmKeys(g)
	if err != nil {
		return nil, nil, err
	}
	if r.redactor, err = redact.New(r.secrets); err != nil {
		return nil, nil, usageError("gateway_secret", "%w", err).At(g.Name).WithHint("use a longer key")
	}
	r.log = a.logger(r.redactor)
	if err := r.judges(ctx); err != nil {
		return nil, nil, err
	}
	if err := r.telemetry(ctx); err != nil {
		return nil, nil, err
	}
	err = r.records(ctx)
	return r, keys, err
}

// serveLLM runs a gateway until it is told to end.
func (a *app) serveLLM(ctx context.Context, p place, g *config.LLMGateway, load func() (*config.LLMGateway, error)) (err error) {
	r, keys, err := a.openLLM(ctx, p, g)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := r.done(); err == nil {
			err = closeErr
		}
	}()
	at := g.Gateway
	for _, k := range g.Keys { // they are tokens, and open a listener to other machines as tokens do
		at.Clients.Tokens = append(slices.Clip(at.Clients.Tokens), config.GatewayToken{Name: k.Name, SHA256: k.SHA256})
	}
	l, err := listenGateway(ctx, &at, r.dir)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }() // closed already, where it served
	secure, err := tlsOf(g.Clients, r.dir)
	if err != nil {
		return err
	}
	gate, err := r.gate()
	if err != nil {
		return err
	}
	defer gate.Close()
	serving := &llmServing{run: r, gate: gate, used: newLLMUsed(), models: telemetry.NewModels(r.calls)}
	first, err := serving.made(ctx, r, g, keys)
	if err != nil {
		return err
	}
	serving.now.Store(first)
	defer func() {
		if stopErr := serving.stop(); err == nil {
			err = stopErr
		}
	}()
	h := r.llmDoor(serving)
	watched, unwatch := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { serving.watch(watched, load) })
	defer watching.Wait()
	defer unwatch()
	where := scheme(secure != nil) + "://" + l.Addr().String()
	if l.Addr().Network() == "unix" {
		where = "unix:" + l.Addr().String()
	}
	r.toldLLM(g, where)
	return serveHTTP(ctx, l, h, secure, r.log, func() { r.drainLLM(serving) })
}

// drainLLM denies what waits for a person and gives calls that are under way a moment. Those
// that are not done by then are ended, and their clients told.
func (r *gatewayRun) drainLLM(s *llmServing) {
	if r.endHolds != nil {
		if err := r.endHolds(); err != nil {
			r.log.Warn("held calls could not be let go in order", "error", err.Error())
		}
	}
	late := time.NewTimer(limits.GatewayDrain)
	defer late.Stop()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for r.under.Load() > 0 {
		select {
		case <-poll.C:
		case <-late.C:
			s.now.Load().gw.Stop()
			late.Reset(limits.GatewayDrain)
			for r.under.Load() > 0 {
				select {
				case <-poll.C:
				case <-late.C:
					return
				}
			}
		}
	}
}

func (r *gatewayRun) toldLLM(g *config.LLMGateway, where string) {
	var b strings.Builder
	names := make([]string, 0, len(g.Providers))
	for _, p := range g.Providers {
		names = append(names, p.Name)
	}
	fmt.Fprintf(&b, "cabincrew gateway %s: %s (%s), serving %s\n", r.id, countOf(len(g.Providers), "provider"), strings.Join(names, ", "), where)
	if len(g.Policies.Bundled)+len(g.Policies.Rego)+len(g.Rules)+len(g.Models) == 0 {
		r.warnings = append(r.warnings, "no policy judges: everything is denied; policies: {bundled: [llm]} is a beginning")
	}
	if len(g.Approvals.Approvers) == 0 {
		r.warnings = append(r.warnings, "there are no approvers, so what needs an approval is refused when it expires")
	}
	for _, line := range r.warnings {
		b.WriteString("  note: " + line + "\n")
	}
	_, _ = io.WriteString(r.app.err, tame(b.String())) // a closed stderr cannot be told of
}

// formatsOf are the wire formats that a kind of provider speaks.
func formatsOf(kind string) []string {
	switch route.Kind(kind) {
	case route.Anthropic:
		return []string{string(llmwire.Messages), string(llmwire.CountTokens)}
	case route.Bedrock:
		return []string{string(llmwire.Messages), string(llmwire.Chat), string(llmwire.Responses)}
	case route.Vertex:
		return []string{string(llmwire.Messages), string(llmwire.CountTokens), string(llmwire.Chat)}
	default:
		return []string{string(llmwire.Chat), string(llmwire.Responses), string(llmwire.Embeddings), string(llmwire.Rerank)}
	}
}

// llmGateway puts the gateway together.
func (r *gatewayRun) llmGateway(g *config.LLMGateway, keys map[string]string, callers *llmCallers, s *llmServing) (*llm.Gateway, error) {
	o := llm.Options{
		Authenticate: callers.caller,
		Providers:    map[string]llm.Upstream{}, Judge: r.judge, Said: r.said, Secrets: g.Secrets.Results, Trail: r.trail, Tally: r.tally, Holds: r.holds,
		Role: g.Approvals.DefaultRole, GovernanceHash: r.hash, Environment: string(r.environment()), Whole: g.Whole, Hold: g.Approvals.Expire.Duration,
		Now: r.now, NewID: requestID, Log: r.log, Observe: r.observedBy(s.models),
	}
	err := r.llmBounds(g, &o, s.used)
	if err != nil {
		return nil, err
	}
	if r.windows != nil {
		o.Windows = r.windows
	}
	if r.search != nil {
		r.search.Stream() // the first one takes long
		o.Search = func() llm.Search { return searching{r.search.Stream()} }
	}
	var providers []route.Provider
	for i := range g.Providers {
		p := &g.Providers[i]
		client, err := r.llmUpstream(g, p, keys[p.Name])
		if err != nil {
			return nil, err
		}
		r.close = append(r.close, func() error { client.Close(); return nil })
		o.Providers[p.Name] = client
		if slices.Contains(formatsOf(p.Kind), string(llmwire.Embeddings)) { // it lists its models as OpenAI does
			o.Order = append(o.Order, p.Name)
		}
		one := route.Provider{
			Name: p.Name, Kind: route.Kind(p.Kind), Formats: formatsOf(p.Kind), Models: p.Models, Prices: map[string]route.Price{}, ContextTokens: p.Context,
			Weight: int(p.Weight), Rate: route.Rate(p.Rate), MaxConcurrent: int(p.Concurrent),
		}
		for alias, price := range p.Prices {
			one.Prices[alias] = route.Price(price)
		}
		providers = append(providers, one)
	}
	o.Router, err = route.New(route.Options{
		Providers: providers, Strategy: route.Strategy(g.Routing.Strategy), SafeModel: g.Routing.SafeModel, Allow: route.Scope{Providers: g.Allow.Providers, Models: g.Allow.Models},
		Breaker: route.Breaker{Failures: int(g.Routing.Failures), Open: g.Routing.Open.Duration}, Now: r.now,
	})
	if err != nil {
		return nil, err
	}
	o.Retry = route.Retry{
		Attempts: int(g.Routing.Retries) + 1, Base: 250 * time.Millisecond, Max: 5 * time.Second, Deadline: g.Limits.Total.Duration, MaxRetryAfter: 10 * time.Second,
		Random: rand.Int64N, //nolint:gosec // jitter is no secret
	}
	if err := o.Retry.Check(); err != nil {
		return nil, err
	}
	return llm.New(o)
}

// llmBounds says what the configuration bounds and changes.
func (r *gatewayRun) llmBounds(g *config.LLMGateway, o *llm.Options, used *llmUsed) error {
	o.Body, o.Answer, o.Concurrent, o.Total = g.Limits.Body, g.Limits.Answer, int(g.Limits.Concurrent), g.Limits.Total.Duration
	o.Safer, o.Idempotent = g.Routing.SaferModel, g.Routing.Idempotent
	o.Shape.MaxTokens, o.Shape.System = g.Shape.MaxTokens, g.Shape.System
	if len(g.Shape.Schema) > 0 {
		o.Shape.SchemaName, o.Shape.Schema = "answer", g.Shape.Schema
	}
	if g.Shape.Temperature != "" {
		t, err := strconv.ParseFloat(g.Shape.Temperature, 64)
		if err != nil {
			return usageError("config_value", "shape.temperature is no number").At(g.Name).WithHint("write 0.2")
		}
		o.Shape.Temperature = &t
	}
	if g.Cache.Size > 0 {
		o.Cache = llm.NewCache(g.Cache.Size, g.Cache.Keep.Duration)
	}
	for _, b := range g.Budgets {
		m, err := used.meter(llmMeter{LLMBudget: b}, r.now)
		if err != nil {
			return err
		}
		o.Meters = append(o.Meters, m)
	}
	return nil
}

// timeOf gives a provider's time, or that of all.
func timeOf(own, all config.Duration) time.Duration {
	if own.Text != "" {
		return own.Duration
	}
	return all.Duration
}

func (r *gatewayRun) llmUpstream(g *config.LLMGateway, p *config.LLMProvider, key string) (*upstream.Client, error) {
	o := upstream.Options{
		FirstByte: timeOf(p.FirstByte, g.Limits.FirstByte), Idle: timeOf(p.Idle, g.Limits.Idle), Total: timeOf(p.Total, g.Limits.Total), MaxAnswer: g.Limits.Answer,
		Name: p.Name, Kind: upstream.Kind(p.Kind), BaseURL: p.URL, Region: p.Region, Project: p.Project, Version: p.Version, MaxConcurrent: int(p.Concurrent), Private: p.Private,
	}
	if key != "" {
		o.Key = func(context.Context) (string, error) { return key, nil }
		if p.Key.File != "" {
			o.Key = upstream.FileKey(below(r.dir, p.Key.File)) // read again when it changed
		}
	}
	if p.CA != "" {
		pem, err := os.ReadFile(below(r.dir, p.CA))
		if err != nil {
			return nil, usageError("gateway_tls", "certificates cannot be read: %w", err).At(p.CA).WithHint("name a PEM file")
		}
		o.CA = pem
	}
	return upstream.New(o)
}

// searching is the search for secrets as the gateway asks it.
type searching struct{ s *secrets.Stream }

func (s searching) Feed(ctx context.Context, piece []byte) (int64, []llm.Found, error) {
	n, found, err := s.s.Feed(ctx, piece)
	return n, streamFound(found), err
}

func (s searching) End(ctx context.Context) ([]llm.Found, error) {
	found, err := s.s.End(ctx)
	return streamFound(found), err
}

func streamFound(list []secrets.StreamMatch) []llm.Found {
	if len(list) == 0 {
		return nil
	}
	out := make([]llm.Found, len(list))
	for i, f := range list {
		out[i] = llm.Found{From: f.From, To: f.To, Rule: f.Rule, Fingerprint: f.Fingerprint}
	}
	return out
}

// admitted says whether a request comes from somebody who may call, and tells others that
// they may not.
func (s *llmServing) admitted(w http.ResponseWriter, req *http.Request) bool {
	_, err := s.now.Load().callers.caller(req)
	if err == nil {
		return true
	}
	status := http.StatusUnauthorized
	var refused *llm.UnauthorizedError
	if errors.As(err, &refused) {
		status = refused.Status
		if refused.Challenge != "" {
			w.Header().Set("WWW-Authenticate", refused.Challenge)
		}
	}
	http.Error(w, http.StatusText(status), status)
	return false
}

// llmDoor puts the endpoints together.
func (r *gatewayRun) llmDoor(gw *llmServing) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") }) // the client may be gone
	mux.HandleFunc("/readyz", r.ready)
	if r.config.Metrics {
		metrics := r.calls.Handler()
		mux.HandleFunc("/metrics", func(w http.ResponseWriter, req *http.Request) {
			if !gw.admitted(w, req) {
				r.refusedAtDoor(front.Refusal{Reason: front.ReasonUnknown})
				return
			}
			r.calls.State(int(r.under.Load()), r.waiting(), r.trail.Broken() != nil)
			metrics.ServeHTTP(w, req)
		})
	}
	mux.Handle("/", gw)
	return front.Guarded(mux, front.HostPolicy{Hosts: r.config.Clients.Hosts, Origins: slices.Clone(r.config.Clients.Origins), Refused: r.refusedAtDoor})
}
