package wire

import (
	"math"
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/rawjson"
	"github.com/cabincrew/action/protocol"
)

// ParseAnswer reads the body of an answer.
func ParseAnswer(f Format, body []byte) (*Answer, error) {
	if f == Embeddings {
		return embeddings(body)
	}
	tree, err := object(body)
	if err != nil {
		return nil, err
	}
	a := &Answer{Format: f, Raw: body, Tree: tree}
	a.Model, _ = tree["model"].(string)
	r := reader{}
	if err := r.read(body); err != nil {
		return nil, err
	}
	a.Texts, a.Unread = r.texts, r.unread
	switch f {
	case Chat:
		a.chat(tree)
	case Responses:
		a.responses(tree)
	case Messages:
		a.messages(tree)
	case Embeddings, Models, CountTokens, Rerank:
	}
	a.usage(tree)
	return a, nil
}

// callMembers are the members in which items of a response tell what a call asks for.
var callMembers = []string{"arguments", "input", "action", "operation", "code"}

func members(v any, name string) []map[string]any {
	o, _ := v.(map[string]any)
	list, _ := o[name].([]any)
	out := make([]map[string]any, 0, len(list))
	for _, e := range list {
		m, _ := e.(map[string]any) // what is no object has no members
		out = append(out, m)
	}
	return out
}

func text(o map[string]any, name string) string {
	s, _ := o[name].(string)
	return s
}

func (a *Answer) say(s string) {
	if s != "" {
		a.Said = append(a.Said, s)
	}
}

func (a *Answer) call(at, name string, arguments any) {
	c := Call{Name: name, At: at, Arguments: arguments}
	if raw, ok := arguments.(string); ok {
		c.Raw = raw
		if v, err := protocol.DecodeAny([]byte(raw)); err == nil {
			c.Arguments = v
		}
	}
	a.Calls = append(a.Calls, c)
}

func (a *Answer) chat(tree map[string]any) {
	for i, c := range members(tree, "choices") {
		m, _ := c["message"].(map[string]any)
		at := "/choices/" + strconv.Itoa(i) + "/message"
		switch v := m["content"].(type) {
		case string:
			a.say(v)
		case []any:
			for _, p := range members(m, "content") {
				a.say(text(p, "text"))
			}
		}
		for _, name := range []string{"refusal", "reasoning_content", "reasoning"} {
			a.say(text(m, name))
		}
		for k, t := range members(m, "tool_calls") {
			kind := text(t, "type")
			if kind == "" {
				kind = "function"
			}
			in, _ := t[kind].(map[string]any)
			at := at + "/tool_calls/" + strconv.Itoa(k)
			if in["input"] != nil {
				a.call(at, text(in, "name"), in["input"])
			}
			if in["arguments"] != nil || in["input"] == nil {
				a.call(at, text(in, "name"), in["arguments"])
			}
		}
		if in, ok := m["function_call"].(map[string]any); ok {
			a.call(at+"/function_call", text(in, "name"), in["arguments"])
		}
		if a.Finish == "" {
			a.Finish = text(c, "finish_reason")
		}
	}
}

func (a *Answer) responses(tree map[string]any) {
	for i, item := range members(tree, "output") {
		at := "/output/" + strconv.Itoa(i)
		for _, p := range members(item, "content") {
			a.say(text(p, "text"))
			a.say(text(p, "refusal"))
		}
		for _, p := range members(item, "summary") {
			a.say(text(p, "text"))
		}
		kind := text(item, "type")
		if !strings.HasSuffix(kind, "_call") && kind != "mcp_approval_request" && item["arguments"] == nil {
			continue
		}
		name := text(item, "name")
		if name == "" {
			name = strings.TrimSuffix(kind, "_call")
		}
		said := false
		for _, field := range callMembers { // clients may read any of them
			if arguments := item[field]; arguments != nil {
				a.call(at, name, arguments)
				said = true
			}
		}
		if !said {
			a.call(at, name, nil)
		}
	}
	a.Finish = text(tree, "status")
}

func (a *Answer) messages(tree map[string]any) {
	for i, b := range members(tree, "content") {
		a.say(text(b, "text"))
		a.say(text(b, "thinking"))
		if strings.HasSuffix(text(b, "type"), "tool_use") {
			a.call("/content/"+strconv.Itoa(i), text(b, "name"), b["input"])
		}
	}
	a.Finish = text(tree, "stop_reason")
}

// Of gives the usage that a provider told in a format with its cached tokens among the
// input: Anthropic counts them apart.
func (u Usage) Of(f Format) Usage {
	if f.Anthropic() {
		u.Input += u.CacheRead + u.CacheWrite
		if u.Input < 0 { // beyond all numbers
			u.Input = math.MaxInt64
		}
	}
	return u
}

// usage reads what the provider counted.
func (a *Answer) usage(tree map[string]any) {
	u, ok := tree["usage"].(map[string]any)
	if a.Format == CountTokens {
		return // it counts what nobody has used
	}
	if !ok {
		return
	}
	read := func(o any, names ...string) int64 {
		m, _ := o.(map[string]any)
		for _, n := range names {
			if v, ok := whole(m[n]); ok {
				return v
			}
		}
		return 0
	}
	a.Usage = Usage{
		Input: read(u, "prompt_tokens", "input_tokens", "total_tokens"), Output: read(u, "completion_tokens", "output_tokens"),
		CacheRead: read(u, "cache_read_input_tokens"), CacheWrite: read(u, "cache_creation_input_tokens"), Given: true,
	}
	for _, name := range []string{"prompt_tokens_details", "input_tokens_details"} {
		if a.Usage.CacheRead == 0 {
			a.Usage.CacheRead = read(u[name], "cached_tokens")
		}
	}
	a.Usage = a.Usage.Of(a.Format)
	for _, name := range []string{"completion_tokens_details", "output_tokens_details"} {
		if a.Usage.Reasoning == 0 {
			a.Usage.Reasoning = read(u[name], "reasoning_tokens")
		}
	}
}

// embeddings reads an answer whose numbers nobody keeps.
func embeddings(body []byte) (*Answer, error) {
	tree, err := object(body)
	if err != nil {
		return nil, err
	}
	a := &Answer{Format: Embeddings, Raw: body}
	a.Model, _ = tree["model"].(string)
	r := reader{}
	short := func(l rawjson.Literal) bool {
		// A vector in base64 is numbers; anything else is a text.
		if !l.Key && strings.HasPrefix(l.At, "/data/") && strings.HasSuffix(l.At, "/embedding") && base64Only(l.Value) {
			r.unread = append(r.unread, Unread{l.At, "file"})
			return true
		}
		return false
	}
	if !rawjson.Literals(body, func(l rawjson.Literal) bool {
		if !short(l) {
			r.add(textOf(l))
		}
		return r.err == nil
	}) && r.err == nil {
		r.err = refusef("the answer cannot be read")
	}
	if r.err != nil {
		return nil, r.err
	}
	delete(tree, "data")
	a.Tree, a.Texts, a.Unread = tree, r.texts, r.unread
	a.usage(tree)
	return a, nil
}
