package jsonrpc

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

// taken are hostile messages that are read alike by everybody, and so are taken.
func taken() []string {
	params := func(p string) string { return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + p + `}}` }
	arg := func(a string) string { return params(`"name":"x","arguments":{` + a + `}`) }
	return []string{
		call, " \n" + call + "\r\n\t ", arg(``), arg(`"":0`), arg(`" ":0,"  ":1`), arg(`"a":1,"A":2,"á":3,"Á":4`), arg("\"\u00e9\":1,\"e\u0301\":2"), arg(`"ſ":1,"s":2,"S":3`),
		arg(`"__proto__":{"x":1},"constructor":1,"toString":null`), arg(`"0":1,"00":2,"-0":3,"1e0":4`), arg(`"a":"\u0000"`), arg(`"a":"\u0000b","b":"\u007f"`),
		arg(`"a":"\ud83d\ude00😀\uD83D\uDE00"`), arg(`"\ud83d\ude00":1`), arg(`"a":"\ufeff"`), arg("\"a\":\"\ufeff\u200b\u2028\u2029\u00ad\""), arg(`"a":"\uffff\ufffe\ufdd0"`), arg("\"a\":\"\uffff\U0010ffff\""),
		arg(`"a":"\/\"\\\b\f\n\r\t"`), arg(`"a":"<\/script>&amp;"`), arg("\"a\":\"\x7f\u0080\u0085\u009f\""), arg(`"a":9007199254740993`), arg(`"a":-9007199254740993`), arg(`"a":123456789012345678901234567890`),
		arg(`"a":0.1,"b":1e-400,"c":-0,"d":-0.0,"e":0e0,"f":1E+2,"g":1e-7,"h":5e-324,"i":1.7976931348623157e308`), arg(`"a":1.0,"b":1,"c":1e0,"d":10e-1`), arg(`"a":` + strings.Repeat("9", 300)), arg(`"a":0.` + strings.Repeat("1", 900)),
		arg(`"a":[],"b":{},"c":[[],[[]]],"d":[{}]`), arg(`"a":[null,true,false,0,"",[],{}]`), arg("\"a\" \t:\r\n1 , \"b\"\n:\t2"), arg(`"a":` + strings.Repeat("[", 61) + strings.Repeat("]", 61)), arg(strings.Repeat(`"a":{`, 61) + strings.Repeat("}", 61)),
		`{"id":1,"params":{},"method":"x","jsonrpc":"2.0"}`, `{"jsonrpc":"2.0","id":"","method":"x"}`, `{"jsonrpc":"2.0","id":"1","method":"x"}`, `{"jsonrpc":"2.0","id":"null","method":"x"}`, `{"jsonrpc":"2.0","id":-1,"method":"x"}`, `{"jsonrpc":"2.0","id":9007199254740993,"method":"x"}`,
		`{"jsonrpc":"2.0","id":"\u0000","method":"x"}`, `{"jsonrpc":"2.0","method":"rpc.discover"}`, `{"jsonrpc":"2.0","id":1,"method":"Tools/Call"}`, `{"jsonrpc":"2.0","id":1,"method":"__proto__"}`, `{"jsonrpc":"2.0","id":1,"method":"../../x"}`, `{"jsonrpc":"2.0","id":1,"method":"\u0070ing"}`,
		params(`"name":"\u0061","arguments":{}`), params(`"name":"__proto__"`), params(`"extra":{"name":"x"},"name":"y"`), params(`"arguments":{"name":"x"},"name":"y"`), params(`"nаme":"x"`), params(`"_meta":{"x/y":1,"com.example/Name":2}`),
		`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"a"}],"structuredContent":{"Text":1,"text":2,"TEXT":3},"isError":false}}`, `{"jsonrpc":"2.0","id":1,"result":{"action":"accept","content":{"Name":"a","name":"b"}}}`,
		`{"jsonrpc":"2.0","id":1,"result":{}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no","data":{"Code":1,"code":2}}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"\u0000","data":null}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","inputSchema":{"type":"object","Type":1,"properties":{"Name":{},"name":{}}}}]}}`,
	}
}

// plainTree decodes with the standard library, numbers as their text.
func plainTree(t *testing.T, raw []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q is taken, but encoding/json says %v", raw, err)
	}
	if d.More() {
		t.Fatalf("%q is taken, but encoding/json sees more", raw)
	}
	return v
}

// faithful asserts what holds of every message that is taken.
func faithful(t *testing.T, raw []byte, m Message) {
	t.Helper()
	if string(m.Raw) != string(bytes.Trim(raw, " \t\r\n")) {
		t.Fatalf("%q: the message is %q", raw, m.Raw)
	}
	want := plainTree(t, raw)
	got, err := Tree(m.Raw)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%q: the tree is %v, want %v (%v)", raw, got, want, err)
	}
	if s := Splice(raw, nil); !bytes.Equal(s, raw) {
		t.Fatalf("%q: spliced to %q", raw, s)
	}
	if one, err := Tree(OneLine(m.Raw)); err != nil || !reflect.DeepEqual(one, want) {
		t.Fatalf("%q: as one line it is %v", raw, one)
	}
	count := 0
	if !Literals(m.Raw, func(l Literal) bool {
		count++
		if text, ok := Text(m.Raw[l.From:l.To]); !ok || text != l.Value {
			t.Fatalf("%q: literal %+v", raw, l)
		}
		if found, ok := pointed(want, l.At); !ok || !l.Key && found != l.Value {
			t.Fatalf("%q: literal %+v is not what is there: %v", raw, l, found)
		}
		return true
	}) {
		t.Fatalf("%q: the walk broke off", raw)
	}
	if n := texts0(want); n != count {
		t.Fatalf("%q: %d texts of %d", raw, count, n)
	}
	parts := m.Parts
	if m.Kind != Batch {
		parts = []Message{m}
	}
	for i, p := range parts {
		tree := want
		if list, ok := want.([]any); ok {
			tree = list[i]
		}
		faithfulParts(t, p, tree)
	}
}

func faithfulParts(t *testing.T, p Message, tree any) {
	t.Helper()
	object, _ := tree.(map[string]any)
	for key, part := range map[string][]byte{"params": p.Params, "result": p.Result, "error": p.Error} {
		want, there := object[key]
		found, ok := Lookup(p.Raw, key)
		if there != (part != nil) || ok != there || !bytes.Equal(found, part) {
			t.Fatalf("%q: %s is %q and %q", p.Raw, key, part, found)
		}
		if !there {
			continue
		}
		if at := Offset(p.Raw, part); at < 0 || string(p.Raw[at:at+len(part)]) != string(part) {
			t.Fatalf("%q: %s is at %d", p.Raw, key, at)
		}
		if got, err := Tree(part); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %s is %v", p.Raw, key, got)
		}
	}
	method, there := object["method"]
	if there && method != p.Method || !there && p.Method != "" {
		t.Fatalf("%q: the method is %q", p.Raw, p.Method)
	}
	id, there := object["id"]
	var text any
	_ = json.Unmarshal([]byte(p.ID), &text)
	switch id := id.(type) {
	case string:
		if text != id {
			t.Fatalf("%q: the id is %s", p.Raw, p.ID)
		}
	case json.Number:
		if string(p.ID) != id.String() {
			t.Fatalf("%q: the id is %s", p.Raw, p.ID)
		}
	default:
		if there != (p.ID == "null") {
			t.Fatalf("%q: the id is %s", p.Raw, p.ID)
		}
	}
}

// pointed follows an RFC 6901 pointer.
func pointed(v any, at string) (any, bool) {
	if at == "" {
		return v, true
	}
	step, rest, more := strings.Cut(at[1:], "/")
	if more {
		rest = "/" + rest
	}
	step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
	switch v := v.(type) {
	case map[string]any:
		inner, ok := v[step]
		if !ok {
			return nil, false
		}
		return pointed(inner, rest)
	case []any:
		for i, e := range v {
			if n, _ := json.Marshal(i); string(n) == step {
				return pointed(e, rest)
			}
		}
	}
	return nil, false
}

func texts0(v any) int {
	n := 0
	switch v := v.(type) {
	case string:
		n = 1
	case []any:
		for _, e := range v {
			n += texts0(e)
		}
	case map[string]any:
		for _, e := range v {
			n += 1 + texts0(e)
		}
	}
	return n
}

func FuzzScan(f *testing.F) {
	for _, all := range refusals() {
		for _, raw := range all {
			if len(raw) < 1<<12 {
				f.Add([]byte(raw), true)
			}
		}
	}
	for _, raw := range taken() {
		f.Add([]byte(raw), false)
		f.Add([]byte(`[`+raw+`,{"jsonrpc":"2.0","method":"x"}]`), true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, batch bool) {
		m, err := Scan(raw, Options{Batch: batch, MaxBytes: 1 << 16})
		if err == nil {
			faithful(t, raw, m)
			return
		}
		// What the strict reader of the protocol refuses, this one refuses: held above.
		// What it takes and this one does not, is refused for what is no grammar.
		r, ok := err.(*Refusal) //nolint:errorlint // it is one, unwrapped
		if !ok {
			t.Fatalf("%q: %T", raw, err)
		}
		if _, err := protocol.DecodeAny(raw); err == nil && r.RPC == CodeParse {
			t.Fatalf("%q is JSON, but refused: %v", raw, r)
		}
	})
}

// FuzzWalk walks over text that nobody scanned.
func FuzzWalk(f *testing.F) {
	for _, raw := range taken() {
		f.Add([]byte(raw), "params")
	}
	for _, raw := range []string{`{`, `{"a"`, `{"a":`, `[`, `[1`, `"\`, `{"a":[}`, `{"a":1]`, `]`, `{"\u":1}`, `{"a" "b"}`, strings.Repeat("[", 200), `,`, `[,]`, `{"a":,}`} {
		f.Add([]byte(raw), "0")
	}
	f.Fuzz(func(_ *testing.T, raw []byte, step string) {
		_, _ = Lookup(raw, step, step)
		_, _ = Text(raw)
		_ = Members(raw, func(string, int, []byte) bool { return true })
		_ = Elements(raw, func(int, []byte) bool { return true })
		Literals(raw, func(l Literal) bool { return string(raw[l.From:l.To]) != "" })
	})
}
