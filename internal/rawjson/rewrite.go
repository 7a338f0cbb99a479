package rawjson

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Change is one value of a document to be replaced, or removed.
type Change struct {
	At    string // an RFC 6901 pointer
	Value any    // what to put there; nil removes it
}

// ErrChange says that a document cannot be changed as it was asked for.
var ErrChange = errors.New("the changes name places that are not there, or that meet")

// Rewrite gives the document with the changes. All other bytes stay as they are.
func Rewrite(doc []byte, changes []Change) ([]byte, error) {
	// Later places first: where an element of a list goes, those before it keep theirs.
	order := slices.Clone(changes)
	at := make(map[string]int, len(order))
	for _, c := range order {
		p, ok := locate(doc, c.At)
		if _, twice := at[c.At]; !ok || twice {
			return nil, ErrChange
		}
		at[c.At] = p.from
	}
	slices.SortFunc(order, func(a, b Change) int { return at[b.At] - at[a.At] })
	for _, c := range order {
		p, ok := locate(doc, c.At)
		if !ok {
			return nil, ErrChange
		}
		edit := Edit{From: p.cutFrom, To: p.cutTo}
		if c.Value != nil {
			text, err := Encode(c.Value)
			if err != nil {
				return nil, err
			}
			edit = Edit{From: p.from, To: p.to, New: text}
		}
		doc = Splice(doc, []Edit{edit})
	}
	return doc, nil
}

// Encode gives a value as JSON text.
func Encode(v any) ([]byte, error) {
	if s, ok := v.(string); ok {
		return AppendString(nil, s), nil
	}
	return json.Marshal(v)
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
	value, ok := Lookup(doc)
	base := Offset(doc, value)
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
		at := Offset(value, v)
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
		_ = Elements(value, func(i int, v []byte) bool {
			return visit(i == n, Offset(value, v), v)
		})
		return found, p, ok
	}
	_ = Members(value, func(key string, keyFrom int, v []byte) bool {
		return visit(key == step, keyFrom, v)
	})
	return found, p, ok
}
