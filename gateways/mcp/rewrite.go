package mcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/internal/limits"
)

func (s *session) scanOptions() jsonrpc.Options {
	return jsonrpc.Options{MaxBytes: s.g.o.MaxBytes}
}

// rewritten gives the message with the changes of policies. Whatever they are, it stays
// the same kind of message, with its id and method.
func rewritten(m *matter, changes []gateways.Change, o jsonrpc.Options) (jsonrpc.Message, error) {
	if m.foreign != nil {
		return jsonrpc.Message{}, errors.New("it is no message")
	}
	if len(changes) > limits.MCPGuardChanges {
		return jsonrpc.Message{}, errors.New("too many changes")
	}
	// Later places first: where an element of a list goes, those before it keep theirs.
	order := slices.Clone(changes)
	at := make(map[string]int, len(order))
	for _, c := range order {
		p, ok := locate(m.msg.Raw, c.At)
		if !ok {
			return jsonrpc.Message{}, fmt.Errorf("there is nothing at %s", brief(c.At))
		}
		if _, twice := at[c.At]; twice {
			return jsonrpc.Message{}, fmt.Errorf("two changes of %s", brief(c.At))
		}
		at[c.At] = p.from
	}
	slices.SortFunc(order, func(a, b gateways.Change) int { return at[b.At] - at[a.At] })
	raw := m.msg.Raw
	for _, c := range order {
		p, ok := locate(raw, c.At)
		if !ok {
			return jsonrpc.Message{}, fmt.Errorf("changes that meet at %s", brief(c.At))
		}
		edit := jsonrpc.Edit{From: p.cutFrom, To: p.cutTo}
		if c.Value != nil {
			text, err := json.Marshal(c.Value)
			if err != nil {
				return jsonrpc.Message{}, err
			}
			edit = jsonrpc.Edit{From: p.from, To: p.to, New: text}
		}
		raw = jsonrpc.Splice(raw, []jsonrpc.Edit{edit})
	}
	return sameEnvelope(m.msg, raw, o)
}

// spliced gives a message with the edits.
func spliced(m jsonrpc.Message, edits []jsonrpc.Edit, o jsonrpc.Options) (jsonrpc.Message, error) {
	out := jsonrpc.Splice(m.Raw, edits)
	if out == nil {
		return jsonrpc.Message{}, errors.New("edits that meet")
	}
	return sameEnvelope(m, out, o)
}

func sameEnvelope(was jsonrpc.Message, raw []byte, o jsonrpc.Options) (jsonrpc.Message, error) {
	now, err := jsonrpc.Scan(raw, o)
	if err != nil {
		return jsonrpc.Message{}, err
	}
	if now.Kind != was.Kind || now.ID != was.ID || now.Method != was.Method {
		return jsonrpc.Message{}, errors.New("kind, id and method of a message cannot be rewritten")
	}
	if target(now) != target(was) {
		return jsonrpc.Message{}, errTarget
	}
	return now, nil
}

// place is where a value stands in a document, and what goes where it is removed: it,
// its name, and one comma beside it.
type place struct{ from, to, cutFrom, cutTo int }

// locate finds the value that an RFC 6901 pointer leads to. The whole document has no
// place: it can be neither replaced nor removed.
func locate(doc []byte, pointer string) (place, bool) {
	steps := strings.Split(pointer, "/")
	if len(steps) < 2 || steps[0] != "" {
		return place{}, false
	}
	var p place
	value, ok := jsonrpc.Lookup(doc)
	base := jsonrpc.Offset(doc, value)
	if !ok || base < 0 {
		return place{}, false
	}
	for _, step := range steps[1:] {
		if value, p, ok = within(value, base, strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")); !ok {
			return place{}, false
		}
		base = p.from
	}
	return p, true
}

// within finds one member or element of a value that begins at base.
func within(value []byte, base int, step string) (found []byte, p place, ok bool) {
	last := -1 // where what stands before ends
	visit := func(this bool, from int, v []byte) bool {
		at := jsonrpc.Offset(value, v)
		if ok { // the one after: the comma goes with what was found if nothing is before it
			if last < 0 {
				p.cutTo = base + from
			}
			return false
		}
		if this {
			found, ok = v, true
			p = place{from: base + at, to: base + at + len(v), cutFrom: base + from, cutTo: base + at + len(v)}
			if last >= 0 {
				p.cutFrom = base + last
			}
			return last < 0
		}
		last = at + len(v)
		return true
	}
	if len(value) > 0 && value[0] == '[' {
		n, err := strconv.Atoi(step)
		if err != nil || strconv.Itoa(n) != step {
			return nil, p, false
		}
		_ = jsonrpc.Elements(value, func(i int, v []byte) bool {
			return visit(i == n, jsonrpc.Offset(value, v), v)
		})
		return found, p, ok
	}
	_ = jsonrpc.Members(value, func(key string, keyFrom int, v []byte) bool {
		return visit(key == step, keyFrom, v)
	})
	return found, p, ok
}
