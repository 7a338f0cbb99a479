package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"

	"github.com/cabincrew/action/internal/rawjson"
)

// member is one member of a JSON object, its value written as JSON.
type member struct{ name, value string }

var errNoObject = errors.New("its body is no JSON object")

// reshape gives a JSON object without some of its members, and with others before the
// rest unless it has them. Every other byte of a member stays as it is.
func reshape(body []byte, without []string, with ...member) ([]byte, error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || body[0] != '{' || !json.Valid(body) {
		return nil, errNoObject
	}
	has := map[string]bool{}
	var kept [][]byte
	err := rawjson.Members(body, func(name string, from int, value []byte) bool {
		has[name] = true
		if !slices.Contains(without, name) {
			kept = append(kept, body[from:rawjson.Offset(body, value)+len(value)])
		}
		return true
	})
	if err != nil {
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
