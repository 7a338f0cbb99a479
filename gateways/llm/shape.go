package llm

import (
	"net/http"

	"github.com/cabincrew/action/gateways/llm/wire"
)

// Shape is what is changed of every request before it is judged, so that what was judged
// is what goes. Zero values change nothing.
type Shape struct {
	System      string   // goes before the client's own instructions
	MaxTokens   int64    // bounds the answer
	Temperature *float64 // takes the place of the client's
	SchemaName  string   // the answer must be JSON of Schema
	Schema      any
}

// shape changes the request as the configuration says.
func (x *exchange) shape() *refusal {
	o := &x.g.o.Shape
	body, err := x.came, error(nil)
	edit := func(want bool, change func([]byte) ([]byte, error)) {
		if want && err == nil {
			body, err = change(body)
		}
	}
	chat := x.format == wire.Chat || x.format == wire.Responses || x.format == wire.Messages
	edit(chat && o.System != "", func(b []byte) ([]byte, error) { return wire.WithSystem(b, x.format, o.System) })
	// A format that cannot be held to a schema is refused, not let through without it.
	edit(chat && o.Schema != nil, func(b []byte) ([]byte, error) { return wire.WithSchema(b, x.format, o.SchemaName, o.Schema) })
	edit(chat && o.MaxTokens > 0, func(b []byte) ([]byte, error) { return wire.WithMaxTokens(b, x.format, o.MaxTokens) })
	edit(chat && o.Temperature != nil, func(b []byte) ([]byte, error) { return wire.WithTemperature(b, x.format, *o.Temperature) })
	if err == nil && len(body) > 0 && (len(body) != len(x.came) || &body[0] != &x.came[0]) {
		x.request, err = wire.ParseRequest(x.format, body)
		x.changed = true
	}
	if err != nil {
		return &refusal{http.StatusBadRequest, codeOf(err, "llm_request"), shown(err)}
	}
	return nil
}
