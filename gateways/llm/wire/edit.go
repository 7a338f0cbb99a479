package wire

import (
	"github.com/cabincrew/action/internal/rawjson"
	"github.com/cabincrew/action/policies"
)

func textOf(l rawjson.Literal) policies.Text {
	return policies.Text{At: l.At, Value: l.Value, Kind: KindText}
}

// Rewrite gives a body with changes; all other bytes stay as they are.
func Rewrite(body []byte, changes []policies.Rewrite) ([]byte, error) {
	list := make([]rawjson.Change, len(changes))
	for i, c := range changes {
		list[i] = rawjson.Change(c)
	}
	out, err := rawjson.Rewrite(body, list)
	if err != nil {
		return nil, refusef("the body cannot be changed as it was decided: %w", err)
	}
	return out, nil
}

// WithModel gives a request with another model.
func WithModel(body []byte, _ Format, model string) ([]byte, error) { return set(body, "model", model) }

// set replaces a member of the body, or adds it as the first one.
func set(body []byte, name string, value any) ([]byte, error) {
	if _, ok := rawjson.Lookup(body, name); ok {
		return Rewrite(body, []policies.Rewrite{{At: "/" + name, Value: value}})
	}
	at := -1
	empty := true
	for i, c := range body {
		if c == '{' {
			at = i
			break
		}
	}
	if at < 0 {
		return nil, refusef("the body is no JSON object")
	}
	_ = rawjson.Members(body, func(string, int, []byte) bool { empty = false; return false })
	text, err := rawjson.Encode(value)
	if err != nil {
		return nil, err
	}
	add := append(rawjson.AppendString(nil, name), ':')
	add = append(add, text...)
	if !empty {
		add = append(add, ',')
	}
	return rawjson.Splice(body, []rawjson.Edit{{From: at + 1, To: at + 1, New: add}}), nil
}

// WithMaxTokens bounds the answer: a larger bound, or none, becomes this one.
func WithMaxTokens(body []byte, f Format, most int64) ([]byte, error) {
	fields := maxFields(f)
	if len(fields) == 0 {
		return body, nil
	}
	tree, err := object(body)
	if err != nil {
		return nil, err
	}
	said := false
	for _, name := range fields {
		v, has := tree[name]
		if !has || v == nil {
			continue
		}
		said = true
		if n, ok := whole(v); ok && n <= most {
			continue
		}
		if body, err = set(body, name, most); err != nil {
			return nil, err
		}
	}
	if said {
		return body, nil
	}
	name := fields[0]
	if f == Chat {
		name = "max_tokens" // which servers of the form know, old ones too
	}
	return set(body, name, most)
}

// WithTemperature pins the temperature.
func WithTemperature(body []byte, f Format, t float64) ([]byte, error) {
	if len(maxFields(f)) == 0 {
		return body, nil
	}
	return set(body, "temperature", t)
}

// AppendError appends the body of an error, as the clients of a format read it. The text
// is the gateway's own.
func AppendError(dst []byte, f Format, kind, code, message string) []byte {
	if f.Anthropic() {
		dst = append(dst, `{"type":"error","error":{"type":`...)
		dst = rawjson.AppendString(dst, kind)
		dst = append(dst, `,"message":`...)
		dst = rawjson.AppendString(dst, message+" ("+code+")")
		return append(dst, "}}"...)
	}
	dst = append(dst, `{"error":{"message":`...)
	dst = rawjson.AppendString(dst, message)
	dst = append(dst, `,"type":`...)
	dst = rawjson.AppendString(dst, kind)
	dst = append(dst, `,"param":null,"code":`...)
	dst = rawjson.AppendString(dst, code)
	return append(dst, "}}"...)
}
