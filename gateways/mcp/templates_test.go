package mcp_test

import (
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/gateways/mcp/pins"
	"github.com/cabincrew/action/protocol"
)

// templated is a server with templates and a resource that is none of theirs.
func templated(r *rig, templates string) {
	r.server.answer = func(m jsonrpc.Message) (*link.Answer, error) {
		out := `{}`
		switch m.Method {
		case "resources/templates/list":
			if templates == "" {
				return body(`{"jsonrpc":"2.0","id":` + string(m.ID) + `,"error":{"code":-32601,"message":"no such method"}}`)
			}
			out = `{"resourceTemplates":[` + templates + `]}`
		case "resources/list":
			out = `{"resources":[{"uri":"x://secret/listed","name":"listed"}]}`
		case "resources/read":
			out = `{"contents":[]}`
		}
		return body(`{"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":` + out + `}`)
	}
}

func read(uri string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"` + uri + `"}}`
}

// TestHiddenTemplates reads what only a template makes that was cut out of the list: as
// hidden tools cannot be called, it cannot be read.
func TestHiddenTemplates(t *testing.T) {
	t.Parallel()
	const templates = `{"uriTemplate":"x://secret/{id}","name":"a"},{"uriTemplate":"x://docs/{id}","name":"b"},{"uriTemplate":"x://deep{/path*}{?q}","name":"c"}`
	for _, listed := range []bool{false, true} {
		r := newRig(t, func(o *mcp.GuardOptions) {
			o.Hidden = func(kind, name string) bool { return kind == pins.Template && strings.Contains(name, "secret") }
		})
		templated(r, templates)
		if listed {
			if got, _ := r.one(`{"jsonrpc":"2.0","id":1,"method":"resources/templates/list"}`); strings.Contains(got, "secret") {
				t.Errorf("listed %s", got)
			}
		}
		for uri, want := range map[string]int{
			"x://secret/1": -32050, "X://SECRET/1": -32050, "x://secret/": -32050, "x://secret/a/b": -32050, "x://s%65cret/1": -32050,
			"x://docs/../secret/1": -32050, "x://docs/%2e%2e/secret/1": -32050, `x://docs/..\\secret/1`: -32050, `x://sec\tret/1`: -32050,
			"x://docs/%zz": -32050, "x://@secret/1": -32050, "x://secret:/1": -32050, "x://:@secret/1": -32050, "x://s\u0435cret/1": -32050, "x://secret/" + strings.Repeat("a", 4000): -32050, "x://secret/listed": -32050,
			"x://docs/1": 0, "x://deep": 0, "x://deep/a/b?q=1": 0, "y://other": 0,
		} {
			if text, code := r.one(read(uri)); code != want {
				t.Errorf("%s: %s", uri, text)
			}
			if text, code := r.one(strings.Replace(read(uri), "resources/read", "resources/subscribe", 1)); code != want {
				t.Errorf("%s: %s", uri, text)
			}
		}
		for ref, want := range map[string]int{"x://secret/{id}": -32050, "x://docs/{id}": 0} {
			text, code := r.one(`{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/resource","uri":"` + ref + `"},"argument":{"name":"id","value":""}}}`)
			if code != want {
				t.Errorf("%s: %s", ref, text)
			}
		}
		// What the server lists by itself is no template's.
		r.one(`{"jsonrpc":"2.0","id":1,"method":"resources/list"}`)
		if text, code := r.one(read("x://secret/listed")); code != 0 {
			t.Errorf("listed: %s", text)
		}
	}
}

// TestTemplatesAsPinned reads by templates that are not as they were pinned.
func TestTemplatesAsPinned(t *testing.T) {
	t.Parallel()
	const one = `{"uriTemplate":"x://a/{id}","name":"a","description":"One."}`
	items, err := pins.Items(pins.Template, []byte(`{"resourceTemplates":[`+one+`]}`))
	if err != nil {
		t.Fatal(err)
	}
	var none *pins.Book
	for name, c := range map[string]struct {
		templates string
		d         protocol.Decision
		approve   bool
		code      int
	}{
		"pinned":    {templates: one},
		"none":      {},
		"changed":   {templates: strings.Replace(one, "One.", "Two.", 1), approve: true},
		"not yet":   {templates: strings.Replace(one, "One.", "Two.", 1), code: -32051},
		"denied":    {templates: strings.Replace(one, "One.", "Two.", 1), d: protocol.Deny, code: -32050},
		"new, deny": {templates: one + `,{"uriTemplate":"x://{+all}","name":"b"}`, d: protocol.Deny},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(o *mcp.GuardOptions) {
				o.Pins = pins.NewKeeper(pins.KeeperOptions{Book: none.With("files", pins.Template, items)})
				o.PinDecisions = mcp.PinDecisions{New: c.d, Changed: c.d}
			})
			templated(r, c.templates)
			r.people.reply <- gateways.Answered{Approved: c.approve, Approver: "ada"}
			if text, code := r.one(read("x://a/1")); code != c.code {
				t.Errorf("read: %s", text)
			}
		})
	}
}
