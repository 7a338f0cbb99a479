package mcp

import (
	"context"
	"net/http"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
)

// fanOwn is what answers in the place of a server where the fan itself does: behind the
// link that FanOptions.Own gives, so that such messages are judged as all others.
type fanOwn struct{ v *fanServer }

// fanSaid is the key by which the fan's answer goes with a message to fanOwn.
type fanSaid struct{}

type fanAnswered struct {
	answer *link.Answer
	err    error
}

func (o fanOwn) Open(context.Context, link.Session) (link.Server, error) { return o, nil }
func (o fanOwn) End(context.Context) error                               { return nil }

func (o fanOwn) Listen(context.Context, http.Header) (*link.Answer, error) {
	return &link.Answer{Status: http.StatusMethodNotAllowed}, nil
}

// Send gives the answer that came with the message. A message that was held comes back
// without it; no server is asked then, either.
func (o fanOwn) Send(ctx context.Context, c link.Call) (*link.Answer, error) {
	c.Settled()
	m := c.Message
	switch said, ok := ctx.Value(fanSaid{}).(fanAnswered); {
	case ok:
		return said.answer, said.err
	case m.Kind != jsonrpc.Request:
		return &link.Answer{Status: http.StatusAccepted}, nil
	case m.Method == "ping":
		return fanPong(m), nil
	}
	_, why := o.v.route(m)
	return fanAnswer(jsonrpc.NewFailure(m.ID, fanCode(m), or(why, "no server has what this asks for"), nil)), nil
}

// say answers a message that goes to no server.
func (v *fanServer) say(ctx context.Context, c link.Call, a *link.Answer, err error) (*link.Answer, error) {
	if v.own == nil {
		return a, err
	}
	return v.own.Send(context.WithValue(ctx, fanSaid{}, fanAnswered{a, err}), c)
}

// refuse answers a message that cannot be routed.
func (v *fanServer) refuse(ctx context.Context, c link.Call, code int, why string) (*link.Answer, error) {
	m := c.Message
	v.Log.Info("mcp message is not routed", "session", v.session.Ref(), "method", m.Method, "why", why)
	a := fanAnswer(jsonrpc.NewFailure(m.ID, code, why, nil))
	if m.Kind != jsonrpc.Request {
		a = fanAnswer(jsonrpc.NewFailure("", code, why, nil))
		a.Status = http.StatusBadRequest
	}
	return v.say(ctx, c, a, nil)
}

func fanPong(m jsonrpc.Message) *link.Answer {
	return fanAnswer(jsonrpc.NewResult(m.ID, []byte("{}")))
}

// fanCode is the code of the error for a request that names no server.
func fanCode(m jsonrpc.Message) int {
	if _, ok := jsonrpc.Find(m.Method); !ok {
		return jsonrpc.CodeMethodNotFound
	}
	return jsonrpc.CodeInvalidParams
}
