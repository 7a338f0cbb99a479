package mcp

import (
	"context"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/internal/limits"
)

// fanReads says whether a request names a resource.
func fanReads(m jsonrpc.Message) bool {
	switch m.Method {
	case "resources/read", "resources/subscribe":
		return true
	case "completion/complete":
		kind, _ := fanText(m.Params, "ref", "type")
		return kind == "ref/resource"
	}
	return false
}

// listResources learns whose resources are whose, once in a session, for a client that
// names one before it listed any. It asks for the first page of each server.
func (v *fanServer) listResources(ctx context.Context, c link.Call) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limits.MCPFanList)
	defer cancel()
	for _, method := range []string{"resources/list", "resources/templates/list"} {
		id := jsonrpc.ID(jsonrpc.AppendString(nil, "cabincrew/"+method))
		m, err := jsonrpc.Scan(jsonrpc.NewRequest(id, method, fanSays(c.Message)), jsonrpc.Options{})
		if err != nil {
			return
		}
		header := c.Header.Clone()
		if header.Get("Mcp-Method") != "" {
			header.Set("Mcp-Method", method)
		}
		header.Del("Mcp-Name")
		if _, err := v.list(ctx, link.Call{Message: m, Header: header}); err != nil {
			v.Log.Warn("mcp resources cannot be listed", "session", v.session.Ref(), "why", fanWhy(err))
		}
	}
}

// fanSays gives the parameters of a request of the gateway's own: what a client of the
// revision without sessions says of itself in each.
func fanSays(like jsonrpc.Message) []byte {
	out := []byte(`{"_meta":{`)
	n := 0
	for _, key := range []string{jsonrpc.MetaRevision, "io.modelcontextprotocol/clientInfo", "io.modelcontextprotocol/clientCapabilities"} {
		value, ok := jsonrpc.Lookup(like.Params, "_meta", key)
		if !ok {
			continue
		}
		if n++; n > 1 {
			out = append(out, ',')
		}
		out = append(append(jsonrpc.AppendString(out, key), ':'), value...)
	}
	if n == 0 {
		return []byte("{}")
	}
	return append(out, "}}"...)
}
