package back

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/internal/limits"
)

// alias is what a request is called at a child that many clients share. Each of them
// counts its ids by itself, and a child could not tell two of the same apart. So the id
// of a request, and its progress token, are replaced by a number of the gateway's, and
// put back into what the child says of them. All other bytes stay as they are: it is one
// of the few changes that the gateway makes to messages by itself.
type alias struct {
	own   []byte     // the gateway's number, as JSON
	id    []byte     // what the client wrote
	key   jsonrpc.ID // as ids compare
	token []byte     // the progress token that it wrote; nil: none
}

// rename gives a client's message the names that the child knows. What cancels a request
// that is not under way, or one of several with the same id, is nobody's: ok is false.
func (r *router) rename(m jsonrpc.Message) (out jsonrpc.Message, a *alias, ok bool, err error) {
	var edits []jsonrpc.Edit
	replace := func(value, by []byte) {
		at := jsonrpc.Offset(m.Raw, value)
		edits = append(edits, jsonrpc.Edit{From: at, To: at + len(value), New: by})
	}
	switch {
	case m.Kind == jsonrpc.Request:
		value, _ := jsonrpc.Lookup(m.Raw, "id")
		a = &alias{own: strconv.AppendUint(nil, r.number(), 10), id: bytes.Clone(value), key: m.ID}
		replace(value, a.own)
		if token, ok := jsonrpc.Lookup(m.Params, "_meta", "progressToken"); ok {
			a.token = bytes.Clone(token)
			replace(token, a.own)
		}
	case m.Method == "notifications/cancelled":
		value, found := jsonrpc.Lookup(m.Params, "requestId")
		if !found {
			return m, nil, true, nil
		}
		own := r.owned(jsonrpc.IDOf(value))
		if own == nil {
			return m, nil, false, nil
		}
		replace(value, own)
	default:
		return m, nil, true, nil
	}
	slices.SortFunc(edits, func(a, b jsonrpc.Edit) int { return a.From - b.From })
	raw := jsonrpc.Splice(m.Raw, edits)
	out, err = jsonrpc.Scan(raw, jsonrpc.Options{MaxBytes: len(raw) + limits.MCPIDBytes})
	return out, a, true, err
}

// number is unique for this child.
func (r *router) number() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	return r.last
}

// owned gives the number of the one request with a client's id; nil if there is none or
// several.
func (r *router) owned(id jsonrpc.ID) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	var own []byte
	for _, c := range r.calls {
		switch {
		case c.alias == nil || c.alias.key != id:
		case own != nil:
			return nil
		default:
			own = c.alias.own
		}
	}
	return own
}

// restore gives a message of the child the names that the client knows.
func (a *alias) restore(m jsonrpc.Message) []byte {
	if a == nil {
		return m.Raw
	}
	var edits []jsonrpc.Edit
	back := func(value, by []byte) {
		if by != nil && bytes.Equal(value, a.own) {
			at := jsonrpc.Offset(m.Raw, value)
			edits = append(edits, jsonrpc.Edit{From: at, To: at + len(value), New: by})
		}
	}
	put := func(of []byte, by []byte, path ...string) {
		if of == nil {
			return
		}
		if value, ok := jsonrpc.Lookup(of, path...); ok {
			back(value, by)
		}
	}
	switch m.Kind {
	case jsonrpc.Response, jsonrpc.Failure:
		put(m.Raw, a.id, "id")
		put(m.Result, a.id, "_meta", jsonrpc.MetaSubscription)
	case jsonrpc.Notification:
		switch m.Method {
		case "notifications/progress":
			put(m.Params, a.token, "progressToken")
		case "notifications/cancelled":
			put(m.Params, a.id, "requestId")
		}
		put(m.Params, a.id, "_meta", jsonrpc.MetaSubscription)
	case jsonrpc.Request, jsonrpc.Batch:
	}
	if len(edits) == 0 {
		return m.Raw
	}
	slices.SortFunc(edits, func(a, b jsonrpc.Edit) int { return a.From - b.From })
	return jsonrpc.Splice(m.Raw, edits)
}
