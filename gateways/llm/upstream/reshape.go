package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
)

// member is one member of a JSON object, its value written as JSON.
type member struct{ name, value string }

var errNoObject = errors.New("its body is no JSON object")

// reshape gives a JSON object without some of its members, and with others before the
// rest unless it has them. Every other byte of a member stays as it is.
func reshape(body []byte, without []string, with ...member) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errNoObject
	}
	has := map[string]bool{}
	var kept [][]byte
	for d.More() {
		from := d.InputOffset()
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errNoObject
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errNoObject
		}
		has[name] = true
		if !slices.Contains(without, name) {
			kept = append(kept, bytes.TrimLeft(body[from:d.InputOffset()], " \t\r\n,"))
		}
	}
	if _, err := d.Token(); err != nil || len(bytes.TrimSpace(body[d.InputOffset():])) > 0 {
		return nil, errNoObject
	}
	out := make([]byte, 1, len(body)+64)
	out[0] = '{'
	add := func(b []byte) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, b...)
	}
	for _, m := range with {
		if !has[m.name] {
			add([]byte(`"` + m.name + `":` + m.value))
		}
	}
	for _, b := range kept {
		add(b)
	}
	return append(out, '}'), nil
}
