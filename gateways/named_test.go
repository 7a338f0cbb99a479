package gateways_test

import (
	"testing"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/protocol"
)

// TestNamedMethods: only a rule that decides, fires and names a method letter by letter
// takes it out of those that nobody knows.
func TestNamedMethods(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		match  map[string]any
		action string
		want   bool
	}{
		"named":             {map[string]any{"method": "x/y"}, "allow", true},
		"in a list":         {map[string]any{"method": []any{"a/*", "x/y"}}, "warn", true},
		"held":              {map[string]any{"method": "x/y"}, "require_approval", true},
		"pattern":           {map[string]any{"method": "x/*"}, "allow", false},
		"everything":        {map[string]any{"method": "**"}, "allow", false},
		"question":          {map[string]any{"method": "x/?"}, "allow", false},
		"another":           {map[string]any{"method": "x/Y"}, "allow", false},
		"by another key":    {map[string]any{"known": false}, "allow", false},
		"does not fire":     {map[string]any{"method": "x/y", "server": "other"}, "allow", false},
		"other direction":   {map[string]any{"method": "x/y", "direction": "server_to_client"}, "allow", false},
		"list, another fit": {map[string]any{"method": []any{"x/*", "a/b"}}, "allow", false},
	} {
		p, err := gateways.NewPanel(gateways.PanelOptions{Rules: []protocol.MCPGatewayRule{{Match: c.match, Action: c.action}}, AllowWithoutPolicies: true})
		if err != nil {
			t.Fatal(err)
		}
		v, err := p.Judge(t.Context(), gateways.Document{Phase: gateways.PhaseRequest, Input: map[string]any{
			"method": "x/y", "server_id": "s", "context": map[string]any{"direction": "client_to_server", "known": false},
		}}, time.Unix(1, 0))
		if err != nil || v.Named != c.want {
			t.Errorf("%s: named is %v, %v", name, v.Named, err)
		}
	}
}
