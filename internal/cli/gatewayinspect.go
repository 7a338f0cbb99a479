package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/gateways/mcp/pins"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// inspected is what an inspection tells of one server.
type inspected struct {
	Server  string          `json:"server"`
	Error   string          `json:"error,omitempty"`
	Version string          `json:"protocol_version,omitempty"`
	Items   []inspectedItem `json:"items"`
	Gone    []string        `json:"gone,omitempty"` // pinned, and not there any more
}

// inspectedItem is one tool, prompt or resource template.
type inspectedItem struct {
	Kind       string            `json:"kind"`
	Name       string            `json:"name"`
	Pin        string            `json:"pin"`
	State      string            `json:"state"`
	Like       string            `json:"like,omitempty"` // what it is easily taken for
	LikeServer string            `json:"like_server,omitempty"`
	Listed     bool              `json:"listed"`             // clients see it before anybody approves anything
	Decision   protocol.Decision `json:"decision,omitempty"` // of a call without arguments; tools and prompts
	Why        string            `json:"why,omitempty"`
	Diff       string            `json:"diff,omitempty"`
	Suspicions []string          `json:"suspicions,omitempty"`
}

func (a *app) gatewayInspectCommand() *cobra.Command {
	var f gatewayFlags
	var pin bool
	cmd := &cobra.Command{
		Use: "inspect [-- COMMAND ARGUMENT…]", Short: "List servers, tools, pins and the decision that each would get",
		Long: `Connects with every server, lists its tools, prompts and resource templates, says
whether they are as the lock file has them, and what would be decided of a call without
arguments. What clients do not see before somebody approves it is marked. No tool is
called. With --pin the lock file is written: look at the
differences first, for this is what approves them.`,
		Args: cobra.ArbitraryArgs,
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			p, err := a.gatewayPlace()
			if err != nil {
				return err
			}
			g, _, err := a.gatewayConfig(p, f, args, cmd.ArgsLenAtDash())
			if err != nil {
				return err
			}
			return a.inspectGateway(cmd.Context(), p, g, pin)
		}),
	}
	cmd.Flags().BoolVar(&pin, "pin", false, "write what is there to the lock file")
	cmd.Flags().StringArrayVar(&f.roots, "root", nil, "without a configuration: a directory that arguments may name files in (again for more)")
	cmd.Flags().StringArrayVar(&f.env, "env", nil, envHelp)
	cmd.Flags().StringVar(&f.sandbox, "sandbox", config.IsolationNone, "without a configuration: auto, required or none")
	return cmd
}

func (a *app) inspectGateway(ctx context.Context, p place, g *config.Gateway, pin bool) (err error) {
	ctx, cancel := context.WithTimeout(ctx, limits.GatewayInspect)
	defer cancel()
	seen, below := &decisions{}, &underGuard{}
	run, err := a.openGateway(ctx, p, g, gatewayKinds{transport: "stdio", looking: true, through: below.through, observe: seen.add})
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := run.done(); err == nil {
			err = closeErr
		}
	}()
	book, err := run.book()
	if err != nil {
		return err
	}
	var all []inspected
	lists := map[string]map[string][]pins.Item{}
	failed := 0
	for _, s := range run.servers {
		one, items := run.inspect(ctx, s, seen, below)
		if one.Error != "" {
			failed++
		}
		all = append(all, one)
		lists[s.Name] = items
	}
	for i := range all {
		againstLock(run.keeper, &all[i], lists)
	}
	if pin {
		if failed > 0 {
			return gatewayError("gateway_down", "%s cannot be asked, so nothing was pinned", countOf(failed, "server")).WithHint("cabincrew gateway mcp inspect says why")
		}
		if err := run.writeLock(book, lists); err != nil {
			return err
		}
	}
	a.tellInspection(run, all, pin)
	if failed > 0 {
		return gatewayError("gateway_down", "%s cannot be asked", countOf(failed, "server")).WithHint("the reason stands beside each")
	}
	return nil
}

// decisions remembers what was decided of requests to call something.
type decisions struct {
	mu   sync.Mutex
	last map[string]protocol.Decision
}

func (d *decisions) add(x mcp.Observation) {
	if x.Phase != gateways.PhaseRequest || x.Tool == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil {
		d.last = map[string]protocol.Decision{}
	}
	d.last[x.Server+"\x00"+x.Method+"\x00"+x.Tool] = x.Decision
}

func (d *decisions) of(server, method, tool string) protocol.Decision {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last[server+"\x00"+method+"\x00"+tool]
}

// underGuard lets everything through to servers but calls, which it answers itself, and
// keeps the sessions, so that what servers have can be asked without what a guard cuts out.
type underGuard struct {
	mu   sync.Mutex
	open map[string]link.Server // by session
}

func (u *underGuard) through(next link.Opener) link.Opener { return notCalling{next, u} }

func (u *underGuard) of(session string) link.Server {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.open[session]
}

type notCalling struct {
	next link.Opener
	kept *underGuard
}

func (n notCalling) Open(ctx context.Context, s link.Session) (link.Server, error) {
	server, err := n.next.Open(ctx, s)
	if err != nil {
		return nil, err
	}
	n.kept.mu.Lock()
	defer n.kept.mu.Unlock()
	if n.kept.open == nil {
		n.kept.open = map[string]link.Server{}
	}
	quiet := &notCallingServer{server}
	n.kept.open[s.ID] = quiet
	return quiet, nil
}

type notCallingServer struct{ link.Server }

func (s *notCallingServer) Send(ctx context.Context, c link.Call) (*link.Answer, error) {
	if m := c.Message.Method; m == "tools/call" || m == "prompts/get" {
		c.Settled()
		result := `{"content":[]}`
		if m == "prompts/get" {
			result = `{"messages":[]}`
		}
		return &link.Answer{Status: 200, Body: jsonrpc.NewResult(c.Message.ID, []byte(result))}, nil
	}
	return s.Server.Send(ctx, c)
}

// inspect asks one server what it has.
func (r *gatewayRun) inspect(ctx context.Context, s mcp.Named, seen *decisions, under *underGuard) (inspected, map[string][]pins.Item) {
	out := inspected{Server: s.Name, Items: []inspectedItem{}}
	items := map[string][]pins.Item{}
	fail := func(err error) (inspected, map[string][]pins.Item) {
		out.Error = oneLine(err.Error())
		return out, items
	}
	session := requestID()
	server, err := s.Open.Open(ctx, link.Session{ID: session, Principal: "local"})
	if err != nil {
		return fail(err)
	}
	ask := &asker{server: server}
	defer func() { _ = server.End(context.WithoutCancel(ctx)) }() // nothing is asked any more
	hello, err := ask.request(ctx, "initialize", map[string]any{
		"protocolVersion": string(jsonrpc.Revision20251125), "capabilities": map[string]any{}, "clientInfo": map[string]any{"name": "cabincrew", "version": Version()},
	})
	if err != nil {
		return fail(err)
	}
	if v, ok := jsonrpc.Lookup(hello, "protocolVersion"); ok {
		out.Version, _ = jsonrpc.Text(v)
	}
	if err := ask.notify(ctx, "notifications/initialized"); err != nil {
		return fail(err)
	}
	raw := ask
	if at := under.of(session); at != nil {
		raw = &asker{server: at, n: inspectRaw}
	}
	for _, kind := range pinKinds() {
		if _, has := jsonrpc.Lookup(hello, "capabilities", kind.capability); !has {
			continue
		}
		list, err := raw.list(ctx, kind.method, kind.name)
		if err != nil {
			return fail(fmt.Errorf("%s: %w", kind.method, err))
		}
		items[kind.name] = list
		for _, item := range list {
			one := inspectedItem{Kind: kind.name, Name: item.Name, Pin: pins.Pin(item)}
			if kind.call != "" {
				if _, err := ask.request(ctx, kind.call, map[string]any{"name": item.Name, "arguments": map[string]any{}}); err != nil {
					one.Why = oneLine(err.Error())
				}
				if one.Decision = seen.of(s.Name, kind.call, item.Name); one.Decision == protocol.RequireApproval {
					one.Why = "" // here is nobody to hold it, which says nothing of the gateway
				}
			}
			out.Items = append(out.Items, one)
		}
		r.listed(ctx, ask, kind, out.Items[len(out.Items)-len(list):])
	}
	return out, items
}

// listed notes what clients see in a list. It is asked for after the calls: in a list that
// nobody approves, what needs it is cut out, and could not be called any more.
func (r *gatewayRun) listed(ctx context.Context, ask *asker, kind pinKind, items []inspectedItem) {
	shown, err := ask.list(ctx, kind.method, kind.name)
	for i := range items {
		x := &items[i]
		x.Listed = slices.ContainsFunc(shown, func(s pins.Item) bool { return s.Name == x.Name })
		if err != nil && x.Why == "" {
			x.Why = oneLine(err.Error())
		}
	}
}

// inspectRaw is where ids of requests begin that no guard sees.
const inspectRaw = 1 << 30

type pinKind struct{ name, capability, method, call string }

// pinKinds are what servers list that is pinned.
func pinKinds() []pinKind {
	return []pinKind{
		{pins.Tool, "tools", "tools/list", "tools/call"},
		{pins.Prompt, "prompts", "prompts/list", "prompts/get"},
		{pins.Template, "resources", "resources/templates/list", ""},
	}
}

// asker is a client that asks one thing after another.
type asker struct {
	server link.Server
	n      int
}

func (a *asker) request(ctx context.Context, method string, params any) ([]byte, error) {
	a.n++
	raw, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": a.n, "method": method, "params": params})
	if err != nil {
		return nil, err
	}
	m, err := jsonrpc.Scan(raw, jsonrpc.Options{})
	if err != nil {
		return nil, err
	}
	answer, err := a.server.Send(ctx, link.Call{Message: m})
	if err != nil {
		return nil, err
	}
	body := answer.Body
	if answer.Stream != nil {
		if body, err = a.await(ctx, answer.Stream, m.ID); err != nil {
			return nil, err
		}
	}
	reply, err := jsonrpc.Scan(body, jsonrpc.Options{})
	if err != nil {
		return nil, fmt.Errorf("the answer (status %d) is no message: %w", answer.Status, err)
	}
	if reply.Kind == jsonrpc.Failure {
		text, _ := jsonrpc.Lookup(reply.Error, "message")
		why, _ := jsonrpc.Text(text)
		return nil, errors.New(why)
	}
	return reply.Result, nil
}

func (a *asker) await(ctx context.Context, s link.Stream, id jsonrpc.ID) ([]byte, error) {
	defer func() { _ = s.Close() }() // the answer was there, or never comes
	for {
		e, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the stream ended without the answer")
		}
		if err != nil {
			return nil, err
		}
		if m, err := jsonrpc.Scan(e.Data, jsonrpc.Options{}); err == nil && m.ID == id && (m.Kind == jsonrpc.Response || m.Kind == jsonrpc.Failure) {
			return e.Data, nil
		}
	}
}

func (a *asker) notify(ctx context.Context, method string) error {
	m, err := jsonrpc.Scan(jsonrpc.NewNotification(method, nil), jsonrpc.Options{})
	if err != nil {
		return err
	}
	_, err = a.server.Send(ctx, link.Call{Message: m})
	return err
}

// list reads all pages of a list.
func (a *asker) list(ctx context.Context, method, kind string) ([]pins.Item, error) {
	var out []pins.Item
	params := map[string]any{}
	for range limits.GatewayInspectPages {
		result, err := a.request(ctx, method, params)
		if err != nil {
			return nil, err
		}
		items, err := pins.Items(kind, result)
		if err != nil {
			return nil, err
		}
		out = append(out, items...)
		next, ok := jsonrpc.Lookup(result, "nextCursor")
		cursor, isText := jsonrpc.Text(next)
		if !ok || !isText || cursor == "" {
			return out, nil
		}
		params = map[string]any{"cursor": cursor}
	}
	return nil, fmt.Errorf("it has more than %d pages", limits.GatewayInspectPages)
}

// againstLock says of what a server has how it stands to the lock and to what other
// servers have, as the gateway judges it when it has seen all of them.
func againstLock(keeper *pins.Keeper, one *inspected, lists map[string]map[string][]pins.Item) {
	if one.Error != "" {
		return
	}
	for _, kind := range pinKinds() {
		var raw [][]byte
		for _, item := range lists[one.Server][kind.name] {
			raw = append(raw, item.Raw)
		}
		report := keeper.Report(one.Server, kind.name, raw)
		for _, gone := range report.Gone {
			one.Gone = append(one.Gone, kind.name+" "+gone)
		}
		for _, j := range report.Items {
			i := slices.IndexFunc(one.Items, func(x inspectedItem) bool { return x.Kind == kind.name && x.Name == j.Item.Name && x.State == "" })
			if i >= 0 {
				x := &one.Items[i]
				x.State, x.Diff, x.Suspicions, x.Like, x.LikeServer = j.State, j.Diff, j.Suspicions, j.Like, j.LikeServer
			}
		}
	}
}

func (r *gatewayRun) lockPath() string { return below(r.dir, r.config.Tools.Lock) }

// book reads the lock file; nil if there is none.
func (r *gatewayRun) book() (*pins.Book, error) {
	path := r.lockPath()
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // documented
	}
	if err != nil {
		return nil, gatewayError("gateway_lock_unreadable", "the lock file cannot be read: %w", err).At(path).WithHint("check its permissions")
	}
	defer func() { _ = f.Close() }() // only read
	return pins.Read(path, f)
}

func (r *gatewayRun) writeLock(book *pins.Book, lists map[string]map[string][]pins.Item) error {
	for server, kinds := range lists {
		for _, kind := range pinKinds() {
			book = book.With(server, kind.name, kinds[kind.name])
		}
	}
	var b strings.Builder
	if err := book.Write(&b); err != nil {
		return err
	}
	if err := replaceFile(r.lockPath(), []byte(b.String()), 0o644); err != nil {
		return gatewayError("gateway_lock_unwritable", "the lock file cannot be written: %w", err).At(r.lockPath()).WithHint("let this user write %s", filepath.Dir(r.lockPath()))
	}
	return nil
}

func (a *app) tellInspection(r *gatewayRun, all []inspected, pinned bool) {
	if a.flags.output == outputJSON {
		a.printJSON(map[string]any{"lock": r.lockPath(), "pinned": pinned, "servers": all, "warnings": append([]string{}, r.warnings...)})
		return
	}
	var b strings.Builder
	for _, s := range all {
		fmt.Fprintf(&b, "%s  %s\n", oneLine(s.Server), s.Version)
		if s.Error != "" {
			fmt.Fprintf(&b, "  cannot be asked: %s\n", s.Error)
		}
		for _, i := range s.Items {
			line := fmt.Sprintf("  %-9s %-32s %-10s %s", i.Kind, oneLine(i.Name), i.State, i.Decision)
			if !i.Listed {
				line += "  not listed"
			}
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			if i.Like != "" {
				fmt.Fprintf(&b, "            like %s\n", strings.TrimSpace(oneLine(i.Like)+" "+ofServer(i.LikeServer)))
			}
			if i.Why != "" {
				fmt.Fprintf(&b, "            %s\n", i.Why)
			}
			for _, x := range i.Suspicions {
				fmt.Fprintf(&b, "            speaks to the model: %s\n", x)
			}
			for line := range strings.Lines(i.Diff) {
				fmt.Fprintf(&b, "            %s\n", strings.TrimSuffix(line, "\n"))
			}
		}
		for _, g := range s.Gone {
			fmt.Fprintf(&b, "  gone: %s\n", oneLine(g))
		}
	}
	for _, w := range r.warnings {
		b.WriteString("note: " + w + "\n")
	}
	if pinned {
		b.WriteString("wrote " + oneLine(r.lockPath()) + "\n")
	}
	a.text(b.String())
}

func ofServer(name string) string {
	if name == "" {
		return ""
	}
	return "of server " + oneLine(name)
}

// pins judges what servers list, for all sessions of the run.
func (r *gatewayRun) pins() (mcp.PinJudge, error) {
	book, err := r.book()
	if err != nil {
		return nil, err
	}
	if book == nil {
		r.warnings = append(r.warnings, "there is no "+r.config.Tools.Lock+": tools are held to what their servers say first; cabincrew gateway mcp inspect --pin writes it")
	}
	r.keeper = pins.NewKeeper(pins.KeeperOptions{Book: book, Suspect: gateways.Suspicions, Order: r.serverOrder()})
	return r.keeper, nil
}

// serverOrder gives the names of the servers as the configuration has them.
func (r *gatewayRun) serverOrder() []string {
	out := make([]string, 0, len(r.config.Servers))
	for _, s := range r.config.Servers {
		out = append(out, s.Name)
	}
	return out
}
