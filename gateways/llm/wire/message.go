package wire

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/rawjson"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// The kinds of texts: whose words they are.
const (
	KindSystem     = "system"
	KindUser       = "user"
	KindAssistant  = "assistant"
	KindTool       = "tool_definition"
	KindArguments  = "tool_arguments"
	KindToolResult = "tool_result"
	KindDocument   = "document"
	KindText       = "text"
)

// Tool is a tool that a request offers.
type Tool struct {
	Name, Kind, At string
	Hosted         bool // the provider runs it
}

// Unread is a part that is no text, which nobody judged.
type Unread struct{ At, Kind string }

// Call is a call of a tool in an answer.
type Call struct {
	Name, At  string
	Arguments any    // decoded; a string where they are no JSON
	Raw       string `json:",omitempty"`
}

// Request is a request to a model.
type Request struct {
	Format    Format
	Raw       []byte
	Model     string
	Stream    bool
	MaxTokens int64 // of all answers together; 0 is not said
	Tree      map[string]any
	// Texts are all texts of the body, names of members too.
	Texts  []policies.Text
	Tools  []Tool
	Unread []Unread
}

// Usage is the tokens that the provider counted.
type Usage struct {
	// Input is all that went in, CacheRead and CacheWrite too.
	Input, Output, CacheRead, CacheWrite, Reasoning int64
	Given                                           bool
}

// Answer is a whole answer of a model.
type Answer struct {
	Format Format
	Raw    []byte
	Tree   map[string]any
	Texts  []policies.Text
	Said   []string // what the model says
	Calls  []Call
	Usage  Usage
	Finish string
	Model  string
	Unread []Unread
}

func refusef(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "llm_request", format, args...).WithHint("send what the API of the provider documents")
}

// object reads a JSON object strictly.
func object(body []byte) (map[string]any, error) {
	tree, err := protocol.DecodeAny(body)
	if err != nil {
		return nil, refusef("the body is no JSON that everybody reads alike: %w", err)
	}
	o, ok := tree.(map[string]any)
	if !ok {
		return nil, refusef("the body is no JSON object")
	}
	return o, nil
}

// ParseRequest reads the body of a request.
func ParseRequest(f Format, body []byte) (*Request, error) {
	tree, err := object(body)
	if err != nil {
		return nil, err
	}
	if err := oneCase(tree); err != nil {
		return nil, err
	}
	q := &Request{Format: f, Raw: body, Tree: tree}
	var ok bool
	if q.Model, ok = tree["model"].(string); !ok || q.Model == "" {
		return nil, refusef("the body names no model")
	}
	if s, has := tree["stream"]; has && s != nil {
		if q.Stream, ok = s.(bool); !ok {
			return nil, refusef("stream is neither true nor false")
		}
	}
	if q.Stream && f != Chat && f != Responses && f != Messages {
		return nil, refusef("%s has no streams", f)
	}
	for _, name := range maxFields(f) {
		if n, has := tree[name]; has && n != nil {
			most, ok := whole(n)
			if !ok {
				return nil, refusef("%s is no number of tokens", name)
			}
			q.MaxTokens = max(q.MaxTokens, most) // servers take one or the other
		}
	}
	if n, has := tree["n"]; has && n != nil && f == Chat {
		answers, ok := whole(n)
		if !ok || answers > limits.LLMIndex {
			return nil, refusef("n is no number of answers")
		}
		q.MaxTokens = min(q.MaxTokens, limits.LLMRouteTokens) * max(answers, 1)
	}
	q.MaxTokens = min(q.MaxTokens, limits.LLMRouteTokens)
	if err := check(f, tree); err != nil {
		return nil, err
	}
	r := reader{roles: roles(f, tree), blocks: blocks(f, tree), request: true}
	if err := r.read(body); err != nil {
		return nil, err
	}
	q.Texts, q.Unread = r.texts, r.unread
	q.Unread = append(q.Unread, kept(f, tree)...)
	q.Tools = tools(f, tree)
	return q, nil
}

// steering are the members that say what happens with a request.
var steering = []string{
	"model", "stream", "messages", "input", "prompt", "system", "instructions", "tools", "functions", "mcp_servers",
	"max_tokens", "max_completion_tokens", "max_output_tokens", "temperature", "documents", "query", "n",
	"web_search_options", "previous_response_id", "conversation", "response_format", "text",
}

// oneCase refuses members that servers which do not tell large letters from small ones
// take for others: for them a second "Model" would stand instead of the one that was judged.
func oneCase(tree map[string]any) error {
	for key := range tree {
		for _, name := range steering {
			if len(key) >= len(name) && key != name && strings.EqualFold(key, name) {
				return refusef("a member is named like %s but for its letters, which servers read in two ways", name)
			}
		}
	}
	return nil
}

// maxFields are the members that bound an answer, the one to be written first.
func maxFields(f Format) []string {
	switch f {
	case Chat:
		return []string{"max_completion_tokens", "max_tokens"}
	case Responses:
		return []string{"max_output_tokens"}
	case Messages:
		return []string{"max_tokens"}
	case Embeddings, Models, CountTokens, Rerank:
	}
	return nil
}

func whole(v any) (int64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := strconv.ParseInt(string(n), 10, 64)
	if err != nil {
		f, err := n.Float64()
		if err != nil || f < 0 || f > 1e15 || f != math.Trunc(f) {
			return 0, false
		}
		i = int64(f)
	}
	return i, i >= 0
}

// check refuses what has not the members that the format must have.
func check(f Format, tree map[string]any) error {
	list := func(name string) error {
		if l, ok := tree[name].([]any); !ok || len(l) == 0 {
			return refusef("%s is no list with something in it", name)
		}
		return nil
	}
	switch f {
	case Chat, Messages, CountTokens:
		return list("messages")
	case Embeddings:
		if tree["input"] == nil {
			return refusef("there is no input")
		}
	case Rerank:
		return list("documents")
	case Responses, Models:
		// Either an input, or a conversation that the provider keeps.
		if tree["previous_response_id"] != nil || tree["conversation"] != nil {
			return nil
		}
		if f == Responses && tree["input"] == nil && tree["prompt"] == nil {
			return refusef("there is no input")
		}
	}
	return nil
}

// tools gives what a request offers.
func tools(f Format, tree map[string]any) (out []Tool) {
	list, _ := tree["tools"].([]any)
	for i, t := range list {
		o, _ := t.(map[string]any)
		at := "/tools/" + strconv.Itoa(i)
		kind, _ := o["type"].(string)
		name, _ := o["name"].(string)
		tool := Tool{Name: name, Kind: kind, At: at}
		switch f {
		case Chat:
			inner, _ := o[kind].(map[string]any)
			if n, ok := inner["name"].(string); ok {
				tool.Name = n
			}
			tool.Hosted = kind != "function" && kind != "custom"
		case Messages, CountTokens:
			if kind == "" || kind == "custom" {
				tool.Kind = "function"
				break
			}
			tool.Hosted = !clientTool(kind)
		default:
			tool.Hosted = kind != "function" && kind != "custom" && !clientTool(kind)
			if tool.Name == "" {
				tool.Name = kind
			}
		}
		out = append(out, tool)
	}
	if f == Chat {
		functions, _ := tree["functions"].([]any)
		for i, t := range functions {
			o, _ := t.(map[string]any)
			name, _ := o["name"].(string)
			out = append(out, Tool{Name: name, Kind: "function", At: "/functions/" + strconv.Itoa(i)})
		}
		if tree["web_search_options"] != nil {
			out = append(out, Tool{Name: "web_search", Kind: "web_search", At: "/web_search_options", Hosted: true})
		}
	}
	servers, _ := tree["mcp_servers"].([]any)
	for i, s := range servers {
		o, _ := s.(map[string]any)
		name, _ := o["name"].(string)
		out = append(out, Tool{Name: name, Kind: "mcp", At: "/mcp_servers/" + strconv.Itoa(i), Hosted: true})
	}
	return out
}

// clientTool says of a tool that the vendor defines whether the client runs it.
func clientTool(kind string) bool {
	for _, p := range []string{"bash_", "text_editor_", "computer_", "memory_", "local_shell", "shell", "apply_patch"} {
		if strings.HasPrefix(kind, p) {
			return true
		}
	}
	return false
}

// roles gives the role of each message of a conversation.
func roles(f Format, tree map[string]any) []string {
	name := "messages"
	if f == Responses {
		name = "input"
	}
	list, _ := tree[name].([]any)
	out := make([]string, len(list))
	for i, m := range list {
		o, _ := m.(map[string]any)
		role, _ := o["role"].(string)
		kind, _ := o["type"].(string)
		switch {
		case role == "system" || role == "developer":
			out[i] = KindSystem
		case role == "assistant" || kind == "reasoning":
			out[i] = KindAssistant
		case role == "tool" || role == "function" || strings.HasSuffix(kind, "_output"):
			out[i] = KindToolResult
		case strings.HasSuffix(kind, "_call"):
			out[i] = KindArguments
		default:
			out[i] = KindUser
		}
	}
	return out
}

// blocks gives whose words stand in the content blocks of messages, where it is not the
// message's role: results of tools come in messages of users.
func blocks(f Format, tree map[string]any) map[string]string {
	out := map[string]string{}
	if !f.Anthropic() {
		return out
	}
	for i, m := range members(tree, "messages") {
		for j, b := range members(m, "content") {
			var kind string
			switch typ := text(b, "type"); {
			case strings.HasSuffix(typ, "tool_result"):
				kind = KindToolResult
			case strings.HasSuffix(typ, "tool_use"):
				kind = KindArguments
			case typ == "document", typ == "search_result":
				kind = KindDocument
			default:
				continue
			}
			out[strconv.Itoa(i)+"/content/"+strconv.Itoa(j)] = kind
		}
	}
	return out
}

// kept names what a request only refers to: what the provider keeps, and tokens. Nobody
// has read it.
func kept(f Format, tree map[string]any) (out []Unread) {
	if f == Responses {
		for _, name := range []string{"previous_response_id", "conversation"} {
			if tree[name] != nil {
				out = append(out, Unread{"/" + name, "kept"})
			}
		}
		if p, ok := tree["prompt"].(map[string]any); ok && p["id"] != nil {
			out = append(out, Unread{"/prompt/id", "kept"})
		}
	}
	if list, ok := tree["input"].([]any); ok && f == Embeddings {
		for _, e := range list {
			if _, ok := e.(string); !ok {
				return append(out, Unread{"/input", "tokens"})
			}
		}
	}
	return out
}

// reader gathers the texts of a body.
type reader struct {
	blocks  map[string]string
	roles   []string
	request bool
	texts   []policies.Text
	unread  []Unread
	err     error
}

func (r *reader) read(body []byte) error {
	r.texts = make([]policies.Text, 0, 32)
	if !rawjson.Literals(body, func(l rawjson.Literal) bool {
		kind := r.kindOf(l.At)
		if !l.Key && r.media(l) {
			return true
		}
		r.add(policies.Text{At: l.At, Value: l.Value, Kind: kind})
		if !l.Key && r.err == nil && holdsJSON(l.At) {
			r.within(l, kind)
		}
		return r.err == nil
	}) && r.err == nil {
		r.err = refusef("the body cannot be read")
	}
	return r.err
}

func (r *reader) add(t policies.Text) {
	if len(r.texts) >= limits.LLMTexts {
		r.err = refusef("the body has more than %d texts", limits.LLMTexts)
		return
	}
	r.texts = append(r.texts, t)
}

// holdsJSON says whether a text is JSON by itself: the arguments of a call.
func holdsJSON(at string) bool {
	return strings.HasSuffix(at, "/arguments") || strings.HasSuffix(at, "/partial_json")
}

// within adds the texts within arguments, which clients decode once more.
func (r *reader) within(l rawjson.Literal, kind string) {
	if strings.IndexByte(l.Value, '\\') < 0 {
		return // nothing in it reads otherwise
	}
	// Readers differ in what they make of arguments that are not quite JSON, or that name
	// a member twice: so its texts count as far as there are any.
	rawjson.Literals([]byte(l.Value), func(in rawjson.Literal) bool {
		r.add(policies.Text{At: l.At, Value: in.Value, Kind: kind})
		return r.err == nil
	})
}

// media notes data that is no text: what is in it nobody can judge.
func (r *reader) media(l rawjson.Literal) bool {
	name := l.At[strings.LastIndexByte(l.At, '/')+1:]
	var kind string
	switch name {
	case "data", "file_data", "image_data":
		kind = "file"
	case "url", "image_url", "file_url":
		kind = "image"
	case "encrypted_content", "signature", "thinking_signature":
		kind = "encrypted"
	case "b64_json", "partial_image_b64":
		kind = "image"
	case "file_id":
		if r.request {
			r.unread = append(r.unread, Unread{l.At, "file"})
		}
		return false // the name is a text
	case "result": // of an image that the provider made
		kind = "image"
		if r.request || !base64Only(l.Value) || len(l.Value) < limits.LLMMedia {
			return false
		}
		r.unread = append(r.unread, Unread{l.At, kind})
		return true
	default:
		return false
	}
	switch {
	case kind == "encrypted":
	case strings.HasPrefix(l.Value, "data:"):
	case name == "data" && strings.Contains(l.At, "input_audio"):
		kind = "audio"
	case kind == "image" && name != "b64_json":
		r.unread = append(r.unread, Unread{l.At, kind})
		return false // the address is a text
	case len(l.Value) < 64:
		return false
	}
	if !base64Only(l.Value) {
		return false
	}
	r.unread = append(r.unread, Unread{l.At, kind})
	// What is short can be searched nevertheless, and hides no secret behind a name.
	return len(l.Value) > limits.LLMMediaText
}

// base64Only says that a text is data and nothing else.
func base64Only(s string) bool {
	if rest, ok := strings.CutPrefix(s, "data:"); ok {
		var head string
		head, rest, ok = strings.Cut(rest, ";base64,")
		if !ok || len(head) > 127 || strings.ContainsFunc(head, notInType) {
			return false
		}
		s = rest
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '+', c == '/', c == '-', c == '_', c == '=', c == '\n', c == '\r':
		default:
			return false
		}
	}
	return true
}

// notInType says whether a character stands in no type of media: what has one is a text.
func notInType(c rune) bool {
	return (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("/.+-;=", c)
}

// kindOf says whose words stand at a place.
func (r *reader) kindOf(at string) string {
	first, rest, _ := strings.Cut(at[min(1, len(at)):], "/")
	if !r.request {
		switch {
		case strings.Contains(at, "/tool_calls/"), strings.HasSuffix(at, "/arguments"), strings.Contains(at, "/input/"):
			return KindArguments
		case first == "output":
			_, member, _ := strings.Cut(rest, "/")
			if member, _, _ = strings.Cut(member, "/"); slices.Contains(callMembers, member) {
				return KindArguments
			}
		}
		return KindText
	}
	switch first {
	case "system", "instructions":
		return KindSystem
	case "tools", "functions", "tool_choice", "mcp_servers":
		return KindTool
	case "documents":
		return KindDocument
	case "query", "prompt":
		return KindUser
	case "messages", "input":
		n, _, _ := strings.Cut(rest, "/")
		if i, err := strconv.Atoi(n); err == nil && i >= 0 && i < len(r.roles) {
			return r.inMessage(at, rest, r.roles[i])
		}
		return KindUser
	}
	return ""
}

// inMessage says whose words stand within a message.
func (r *reader) inMessage(at, rest, role string) string {
	if len(r.blocks) > 0 {
		if parts := strings.SplitN(rest, "/", 4); len(parts) >= 3 {
			if kind := r.blocks[strings.Join(parts[:3], "/")]; kind != "" {
				return kind
			}
		}
	}
	if strings.Contains(rest, "/tool_calls/") || strings.Contains(rest, "/function_call/") || strings.HasSuffix(at, "/arguments") {
		return KindArguments
	}
	return role
}
