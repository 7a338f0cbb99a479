package jsonrpc

import (
	"errors"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/limits"
)

const call = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"_meta":{"progressToken":"abc"},"name":"read_file","arguments":{"path":"/work/a.txt","lines":[1,2.50,3e2],"deep":{"a":null,"b":true}}}}`

func TestScanTells(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, raw string
		want      Message
	}{
		{"request", call, Message{Kind: Request, ID: "7", Method: "tools/call"}},
		{"notification", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, Message{Kind: Notification, Method: "notifications/initialized"}},
		{"response", `{"jsonrpc":"2.0","id":"a","result":{}}`, Message{Kind: Response, ID: `"a"`}},
		{"failure", `{"jsonrpc":"2.0","id":-3,"error":{"code":-32601,"message":"no"}}`, Message{Kind: Failure, ID: "-3"}},
		{"failure of nothing known", `{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}`, Message{Kind: Failure, ID: "null"}},
		{"failure without id", `{"jsonrpc":"2.0","error":{"code":1,"message":""}}`, Message{Kind: Failure}},
		{"escaped id", `{"jsonrpc":"2.0","id":"\u0061\/","method":"x"}`, Message{Kind: Request, ID: `"a/"`, Method: "x"}},
		{"huge id", `{"jsonrpc":"2.0","id":123456789012345678901234567890,"method":"x"}`, Message{Kind: Request, ID: "123456789012345678901234567890", Method: "x"}},
		{"escaped method", `{"jsonrpc":"2.0","id":0,"method":"tools\/list"}`, Message{Kind: Request, ID: "0", Method: "tools/list"}},
		{"white space", " \t\r\n{ \"jsonrpc\" : \"2.0\" ,\n\"id\":1 , \"method\":\"ping\" } \n", Message{Kind: Request, ID: "1", Method: "ping"}},
		{"case of others", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"Name":1,"NAME":2,"name":3}}}`, Message{Kind: Request, ID: "1", Method: "tools/call"}},
		{"surrogates", `{"jsonrpc":"2.0","id":"\ud83d\ude00","method":"x"}`, Message{Kind: Request, ID: `"😀"`, Method: "x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, err := Scan([]byte(c.raw), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if m.Kind != c.want.Kind || m.ID != c.want.ID || m.Method != c.want.Method {
				t.Errorf("got %+v", m)
			}
			if string(m.Raw) != strings.TrimSpace(c.raw) {
				t.Errorf("raw is %q", m.Raw)
			}
		})
	}
}

func TestScanBatch(t *testing.T) {
	t.Parallel()
	raw := []byte(` [ {"jsonrpc":"2.0","id":1,"method":"ping"} , {"jsonrpc":"2.0","id":1,"result":{}},{"jsonrpc":"2.0","method":"x"}] `)
	m, err := Scan(raw, Options{Batch: true})
	if err != nil {
		t.Fatal(err)
	}
	if m.Kind != Batch || len(m.Parts) != 3 || string(m.Parts[1].Raw) != `{"jsonrpc":"2.0","id":1,"result":{}}` || m.Parts[2].Kind != Notification {
		t.Errorf("got %+v", m)
	}
	if Offset(m.Raw, m.Parts[1].Result) < 0 {
		t.Error("a part is no part")
	}
}

// refusals are messages that Scan refuses, by the code of the refusal.
func refusals() map[string][]string {
	deep := strings.Repeat("[", 63) + strings.Repeat("]", 63)
	many := `{"jsonrpc":"2.0","id":1,"result":{` + strings.Repeat(`"a`, 1) + `":0`
	for i := range 20 {
		many += `,"k` + strings.Repeat("x", i) + `":0`
	}
	params := func(p string) string { return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + p + `}}` }
	id := func(id string) string { return `{"jsonrpc":"2.0","id":` + id + `,"method":"x"}` }
	result := func(r string) string { return `{"jsonrpc":"2.0","id":1,"result":` + r + `}` }
	return map[string][]string{
		"syntax":    {"", " ", "{", `{"jsonrpc":"2.0",}`, `{"jsonrpc" "2.0"}`, `{jsonrpc:1}`, id("01"), id("1."), id("+1"), id(".5"), id("NaN"), id("'a'"), id("tru"), id("\"\x01\""), id(`"\x41"`), id(`"\u12g4"`), result("{\"a\":1 /* */}"), "{\"jsonrpc\":\"2.0\",\u00a0\"id\":1,\"method\":\"x\"}", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"", "\x00", "}", `{"jsonrpc":"2.0","id":1,"method":"x"]`, result("[1,]"), result("[1 2]"), result(`{"a":-}`), result(`{"a":1e}`), result(`{"a":Infinity}`), result("{\"a\":\"\n\"}"), `"`},
		"bom":       {"\ufeff" + call},
		"utf8":      {id("\"\xff\""), result("{\"\xc0\x80\":1}"), result("{\"a\":\"\xed\xa0\x80\"}"), result("{\"a\":\"\xf4\x90\x80\x80\"}"), result("{\"a\":\"\xe2\x82\"}")},
		"trailing":  {call + call, call + "x", call + ",", call + "\x00", call + "\u2028", call + "]"},
		"surrogate": {id(`"\ud800"`), id(`"\udc00"`), id(`"\ud800\ud800"`), id(`"\ud800x"`), id(`"\ud800\u0041"`), result(`{"\udbff":1}`)},
		"duplicate_key": {
			`{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"x"}`, `{"jsonrpc":"2.0","id":1,"id":1,"method":"x"}`, `{"jsonrpc":"2.0","id":1,"method":"x","method":"y"}`,
			params(`"name":"a","name":"b"`), params(`"arguments":{"a":1,"a":1}`), params(`"arguments":{"a":1,"\u0061":1}`), params(`"arguments":{"x":[{"a":1,"b":{"é":1,"\u00e9":2}}]}`),
			params(`"arguments":{"\ud83d\ude00":1,"😀":2}`), params(`"arguments":{"":1,"":2}`), many + `,"\u006bxxx":1}}`, many + `,"a":1}}`, params(`"arguments":{"a\/b":1,"a/b":2}`),
		},
		"lookalike_key": {
			`{"jsonrpc":"2.0","id":1,"Method":"x"}`, `{"jsonrpc":"2.0","ID":1,"method":"x"}`, `{"jsonrpc":"2.0","id":1,"method":"x","METHOD":"y"}`, "{\"j\u017fonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"}",
			`{"jsonrpc":"2.0","id":1,"\u006dethod":"x"}`, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"method\u200b\":\"y\"}", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"method \":\"y\"}", `{"jsonrpc":"2.0","id":1,"method":"x","param\u017f":{}}`,
			params(`"name":"a","Name":"b"`), params(`"name":"a","NAME":"b"`), params(`"Arguments":{}`), params(`"argument\u017f":{}`), params("\"name\u200b\":1"), params("\"\u2060name\":1"), params("\"na\u00adme\":1"), params(`"\u006eame":"a"`), params("\"name\ufeff\":1"),
			params(`"_META":{}`), params(`"_meta":{"ProgressToken":1}`), params("\"_meta\":{\"progressTo\u212aen\":1}"), params(`"URI":"x"`), params(" \"name \":1"), params("\"ｎａｍｅ\":1"),
			result(`{"Content":[]}`), result(`{"content":[{"type":"text","text":"a","Text":"b"}]}`), result(`{"tools":[{"name":"a","Description":"b"}]}`), result(`{"isERROR":true}`),
			`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"","Message":"b"}}`,
		},
		"control_key":    {params(`"name\u0001":1`), params(`"zz\u001f":1`), result(`{"x\u007f":1}`), result("{\"x\x7f\":1}"), params(`"name\n":1`)},
		"nul_key":        {params(`"name\u0000":1`), params(`"arguments":{"path\u0000":1}`), `{"jsonrpc":"2.0","id":1,"method":"x","method\u0000":"y"}`, result(`{"structuredContent":{"a":{"\u0000":1}}}`)},
		"unknown_member": {`{"jsonrpc":"2.0","id":1,"method":"x","extra":1}`, `{"jsonrpc":"2.0","id":1,"method":"x","":1}`, `{"jsonrpc":"2.0","id":1,"method":"x","__proto__":{}}`},
		"batch":          {`[]`, `[` + call + `]`},
		"not_object":     {`1`, `"x"`, `null`, `true`},
		"depth":          {result(`{"a":` + deep + `}`), params(`"arguments":{"a":` + strings.Repeat(`{"a":`, 62) + `1` + strings.Repeat(`}`, 62) + `}`)},
		"version":        {`{"id":1,"method":"x"}`, `{"jsonrpc":"1.0","id":1,"method":"x"}`, `{"jsonrpc":2.0,"id":1,"method":"x"}`, `{"jsonrpc":"2","id":1,"method":"x"}`, `{"jsonrpc":"2.0 ","id":1,"method":"x"}`, `{"jsonrpc":"2\u002e0","id":1,"method":"x"}`, `{"jsonrpc":null,"id":1,"method":"x"}`, `{}`},
		"id":             {id("1.0"), id("1e2"), id("1E0"), id("-0"), id("null"), id("true"), id("[1]"), id("{}"), id("0.5"), id(`"` + strings.Repeat("a", limits.MCPIDBytes) + `"`), id(strings.Repeat("9", limits.MCPIDBytes+1)), `{"jsonrpc":"2.0","id":null,"result":{}}`, `{"jsonrpc":"2.0","result":{}}`},
		"method":         {`{"jsonrpc":"2.0","id":1,"method":""}`, `{"jsonrpc":"2.0","id":1,"method":1}`, `{"jsonrpc":"2.0","id":1,"method":null}`, `{"jsonrpc":"2.0","id":1,"method":["a"]}`, `{"jsonrpc":"2.0","id":1,"method":"a b"}`, `{"jsonrpc":"2.0","id":1,"method":"a\u0000"}`, `{"jsonrpc":"2.0","id":1,"method":"tооls/call"}`, `{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("a", limits.MCPMethodBytes+1) + `"}`},
		"params":         {`{"jsonrpc":"2.0","id":1,"method":"x","params":null}`, `{"jsonrpc":"2.0","id":1,"method":"x","params":[]}`, `{"jsonrpc":"2.0","id":1,"method":"x","params":1}`, `{"jsonrpc":"2.0","id":1,"method":"x","params":"a"}`},
		"result":         {result(`1`), result(`null`), result(`[]`), result(`"a"`)},
		"error":          {`{"jsonrpc":"2.0","id":1,"error":null}`, `{"jsonrpc":"2.0","id":1,"error":"x"}`, `{"jsonrpc":"2.0","id":1,"error":{}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":1.0,"message":""}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":""}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":1}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":1}}`},
		"kind":           {`{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}`, `{"jsonrpc":"2.0","id":1}`, `{"jsonrpc":"2.0","id":1,"method":"x","result":{}}`, `{"jsonrpc":"2.0","id":1,"method":"x","error":{"code":1,"message":""}}`, `{"jsonrpc":"2.0","id":1,"params":{},"result":{}}`, `{"jsonrpc":"2.0"}`},
		"number_large":   {params(`"arguments":{"a":1e400}`), result(`{"a":-1e999}`), result(`{"a":` + strings.Repeat("9", 400) + `}`)},
		"number_long":    {result(`{"a":0.` + strings.Repeat("1", limits.MCPNumberBytes) + `}`)},
		"key_long":       {result(`{"` + strings.Repeat("a", limits.MCPKeyBytes+1) + `":1}`)},
		"too_large":      {strings.Repeat(" ", limits.MCPMessageBytes+1)},
	}
}

func TestScanRefuses(t *testing.T) {
	t.Parallel()
	n := 0
	for code, all := range refusals() {
		for _, raw := range all {
			n++
			m, err := Scan([]byte(raw), Options{})
			var r *Refusal
			if !errors.As(err, &r) {
				t.Errorf("%s: %.120q is taken as %+v", code, raw, m)
				continue
			}
			if r.Code != code {
				t.Errorf("%.120q: refused as %s (%s), want %s", raw, r.Code, r.What, code)
			}
			if r.RPC != CodeParse && r.RPC != CodeInvalidRequest || r.At < 0 || r.At > len(raw) || r.What == "" || len(r.What) > 600 {
				t.Errorf("%.120q: %+v", raw, r)
			}
			if m.Raw != nil || m.Kind != 0 {
				t.Errorf("%.120q: a refused message is there", raw)
			}
		}
	}
	if n < 130 {
		t.Errorf("only %d messages", n)
	}
}

func TestScanRefusesBatches(t *testing.T) {
	t.Parallel()
	ping := `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	for raw, code := range map[string]string{
		`[]`: "batch_empty", ` [ ] `: "batch_empty", `[[` + ping + `]]`: "batch_nested", `[1]`: "not_object", `[` + ping + `,]`: "not_object",
		`[` + ping + `,` + ping + `]`: "batch_ids", `[` + ping + `]x`: "trailing", `[` + ping: "syntax", `[{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}]`: "batch_initialize",
		`[` + strings.Repeat(`{"jsonrpc":"2.0","method":"x"},`, limits.MCPBatch) + `{"jsonrpc":"2.0","method":"x"}]`: "batch_large",
	} {
		_, err := Scan([]byte(raw), Options{Batch: true})
		var r *Refusal
		if !errors.As(err, &r) || r.Code != code {
			t.Errorf("%.80q: %v, want %s", raw, err, code)
		}
	}
}

func TestRefusalNamesTheRequest(t *testing.T) {
	t.Parallel()
	_, err := Scan([]byte(`{"jsonrpc":"1.0","id":"a","method":"x"}`), Options{})
	var r *Refusal
	if !errors.As(err, &r) || r.ID != `"a"` || r.Error() == "" {
		t.Errorf("%+v", r)
	}
}

func BenchmarkScan(b *testing.B) {
	small := strings.Replace(call, "/work/a.txt", "/work/"+strings.Repeat("a/", 100)+"a.txt", 1)
	big := strings.Replace(call, `"deep"`, `"rows":[`+strings.Repeat(`{"id":12,"name":"Someone","note":"some text \"quoted\" and long enough"},`, 850)+`1],"deep"`, 1)
	for name, raw := range map[string]string{"400": small, "64K": big} {
		b.Run(name, func(b *testing.B) {
			doc := []byte(raw)
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Scan(doc, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
