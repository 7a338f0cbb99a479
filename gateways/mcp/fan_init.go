package mcp

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// initialize opens the protocol with all servers. Who does not answer is left out for
// the session, and the instructions say so.
func (v *fanServer) initialize(ctx context.Context, c link.Call) (*link.Answer, error) {
	var to []*fanTo
	for _, b := range v.live() {
		to = append(to, &fanTo{branch: b})
	}
	if len(to) == 0 {
		return v.say(ctx, c, nil, fanNobody())
	}
	greet, cancel := context.WithTimeout(ctx, limits.MCPFanGreet) // one that is slow does not keep the others
	defer cancel()
	got := v.gather(greet, c, to)
	var good []fanGot
	var lowest jsonrpc.Revision
	for _, g := range got {
		text, _ := fanText(g.answer.Result, "protocolVersion")
		r := jsonrpc.Revision(text)
		why := g.why()
		if why == "" && (!jsonrpc.Known(r) || jsonrpc.Stateless(r)) {
			why = "it speaks the revision " + fanShow(text)
		}
		if why != "" {
			g.branch.leaveOut(why)
			v.Log.Warn("mcp server is left out", "server", g.branch.name, "session", v.session.Ref(), "why", why)
			continue
		}
		if lowest == "" || r < lowest {
			lowest = r
		}
		good = append(good, g)
		g.branch.mu.Lock()
		g.branch.revision = r
		g.branch.mu.Unlock()
		if g.branch.link != nil {
			g.branch.link.greeted(link.Call{Message: c.Message, Header: fanHeader(c.Header, &fanTo{branch: g.branch})}, text)
		}
	}
	if len(good) == 0 {
		return v.allFailed(got)
	}
	capabilities := v.capabilities(good)
	out := jsonrpc.AppendString([]byte(`{"protocolVersion":`), string(lowest))
	out = append(append(out, `,"capabilities":`...), capabilities...)
	out = append(append(out, `,"serverInfo":`...), v.info()...)
	if text := v.instructions(good); text != "" {
		out = jsonrpc.AppendString(append(out, `,"instructions":`...), text)
	}
	return fanAnswer(jsonrpc.NewResult(c.Message.ID, append(out, '}'))), nil
}

// fanNobody says that every server is left out.
func fanNobody() error {
	return &link.Down{Server: "cabincrew", Why: "all servers are left out"}
}

// allFailed gives what the first server said where none said yes.
func (v *fanServer) allFailed(got []fanGot) (*link.Answer, error) {
	for _, g := range got {
		if g.err == nil && g.answer.Kind == jsonrpc.Failure {
			return fanAnswer(g.answer.Raw), nil
		}
	}
	for _, g := range got {
		if g.err != nil {
			return nil, g.err
		}
	}
	return nil, &link.Down{Server: "cabincrew", Why: "no server speaks a revision that the gateway knows"}
}

// discover asks all servers what they are; the revisions are those that all have.
func (v *fanServer) discover(ctx context.Context, c link.Call) (*link.Answer, error) {
	var to []*fanTo
	for _, b := range v.live() {
		to = append(to, &fanTo{branch: b})
	}
	if len(to) == 0 {
		return v.say(ctx, c, nil, fanNobody())
	}
	got := v.gather(ctx, c, to)
	var good []fanGot
	var versions []string
	page := fanPage{}
	for _, g := range got {
		list, ok := jsonrpc.Lookup(g.answer.Result, "supportedVersions")
		if !g.ok() || !ok {
			v.Log.Warn("mcp server does not say what it is", "server", g.branch.name, "why", g.why())
			continue
		}
		var of []string
		_ = jsonrpc.Elements(list, func(_ int, value []byte) bool {
			if text, ok := jsonrpc.Text(value); ok && jsonrpc.Known(jsonrpc.Revision(text)) {
				of = append(of, text)
			}
			return len(of) < len(jsonrpc.Revisions())
		})
		if len(good) > 0 {
			of = slices.DeleteFunc(versions, func(r string) bool { return !slices.Contains(of, r) })
		}
		versions = of
		good = append(good, g)
		page.meta(g.answer.Result)
	}
	if len(good) == 0 {
		return v.allFailed(got)
	}
	out := []byte(`{"supportedVersions":[`)
	for i, r := range versions {
		if i > 0 {
			out = append(out, ',')
		}
		out = jsonrpc.AppendString(out, r)
	}
	out = append(append(out, `],"capabilities":`...), v.capabilities(good)...)
	if text := v.instructions(good); text != "" {
		out = jsonrpc.AppendString(append(out, `,"instructions":`...), text)
	}
	return fanAnswer(jsonrpc.NewResult(c.Message.ID, append(page.appendMeta(out, v), '}'))), nil
}

// capabilities merges what the servers can: what one of them can, the endpoint can.
func (v *fanServer) capabilities(good []fanGot) []byte {
	merged := map[string]any{}
	for _, g := range good {
		can := map[string]bool{}
		if value, ok := jsonrpc.Lookup(g.answer.Result, "capabilities"); ok {
			tree, _ := jsonrpc.Tree(value)
			one, _ := tree.(map[string]any)
			for name := range one {
				can[name] = true
			}
			fanMerge(merged, one)
		}
		g.branch.mu.Lock()
		g.branch.can = can
		g.branch.mu.Unlock()
	}
	out, err := json.Marshal(merged)
	if err != nil {
		return []byte("{}")
	}
	return out
}

// fanMerge adds the members of from to into: objects are merged, of flags the true one
// stays, of anything else the first.
func fanMerge(into, from map[string]any) {
	for name, value := range from {
		old, there := into[name]
		if !there {
			into[name] = value
			continue
		}
		switch value := value.(type) {
		case map[string]any:
			if inner, ok := old.(map[string]any); ok {
				fanMerge(inner, value)
			}
		case bool:
			if flag, ok := old.(bool); ok {
				into[name] = flag || value
			}
		}
	}
}

// instructions puts those of all servers together, and says who is left out.
func (v *fanServer) instructions(good []fanGot) string {
	var parts []string
	for _, g := range good {
		if text, ok := fanText(g.answer.Result, "instructions"); ok && text != "" {
			parts = append(parts, g.branch.name+" (tools "+g.branch.name+fanBetween+"...): "+text)
		}
	}
	for _, b := range v.branches {
		if why := b.gone(); why != "" {
			parts = append(parts, "The server "+b.name+" is left out: "+why+".")
		}
	}
	return strings.Join(parts, "\n\n")
}

// union is what the servers acknowledged together.
func (s *fanSubscription) union() []byte {
	merged := map[string]any{}
	var uris []any
	for _, a := range s.acks {
		one, _ := a.(map[string]any)
		list, _ := one["resourceSubscriptions"].([]any)
		uris = append(uris, list...)
		delete(one, "resourceSubscriptions")
		fanMerge(merged, one)
	}
	if len(uris) > 0 {
		merged["resourceSubscriptions"] = uris
	}
	out, err := json.Marshal(merged)
	if err != nil {
		return []byte("{}")
	}
	return out
}
