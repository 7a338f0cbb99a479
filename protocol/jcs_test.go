package protocol

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCanonicalOfDocuments(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ doc, want string }{
		// RFC 8785, 3.2.2 and 3.2.3, without the numbers that this project does not write.
		"RFC 8785 3.2.2": {
			`{"numbers": [333333333, 4, 2, 0],"string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals": [null, true, false]}`,
			`{"literals":[null,true,false],"numbers":[333333333,4,2,0],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
		},
		"RFC 8785 3.2.3": {
			`{"\u20ac": "Euro Sign","\r": "Carriage Return","\ufb33": "Hebrew Letter Dalet With Dagesh","1": "One",` +
				`"\ud83d\ude00": "Emoji: Grinning Face","\u0080": "Control","\u00f6": "Latin Small Letter O With Diaeresis"}`,
			"{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\"," +
				"\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}",
		},
		"astral before U+E000":    {`{"\ue000":1,"\ud800\udc00":2,"\uffff":3,"\udbff\udfff":4}`, "{\"\U00010000\":2,\"\U0010ffff\":4,\"\ue000\":1,\"\uffff\":3}"},
		"astral inside names":     {`{"a\ue000":1,"a\ud83d\ude00":2,"a":3}`, "{\"a\":3,\"a😀\":2,\"a\ue000\":1}"},
		"astral after U+D7FF":     {`{"\ud800\udc00":1,"\ud7ff":2}`, "{\"\ud7ff\":2,\"\U00010000\":1}"},
		"prefix first":            {`{"ab":1,"a":2,"":3,"b":4}`, `{"":3,"a":2,"ab":1,"b":4}`},
		"capitals before letters": {`{"a":1,"B":2,"_":3,"1":4}`, `{"1":4,"B":2,"_":3,"a":1}`},
		"control characters": {
			`"\u0000\u0001\u0007\b\t\n\u000b\f\r\u000e\u001f\u0020\u007f\u0080"`,
			"\"\\u0000\\u0001\\u0007\\b\\t\\n\\u000b\\f\\r\\u000e\\u001f \x7f\u0080\"",
		},
		"nothing else is escaped": {`"\u003c\u003e\u0026\u2028\u2029\/'"`, "\"<>&\u2028\u2029/'\""},
		"largest integers":        {`[9007199254740991,-9007199254740991,0,-1]`, `[9007199254740991,-9007199254740991,0,-1]`},
		"arrays keep their order": {` [ 3 , 1 , [ ] , { } ] `, `[3,1,[],{}]`},
		"at the depth":            {nested(MaxDepth, ""), nested(MaxDepth, "")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree, err := DecodeAny([]byte(c.doc))
			if err != nil {
				t.Fatal(err)
			}
			got, err := Canonical(tree)
			if err != nil || string(got) != c.want {
				t.Fatalf("got  %s, %v\nwant %s", got, err, c.want)
			}
			raw, err := Canonical(json.RawMessage(c.doc))
			if err != nil || string(raw) != c.want {
				t.Errorf("raw form gives %s, %v", raw, err)
			}
			if err := CheckCanonical(got); err != nil {
				t.Error(err)
			}
			if c.doc != c.want && CheckCanonical([]byte(c.doc)) == nil {
				t.Error("the form that is not canonical passes the check")
			}
		})
	}
}

func TestCanonicalRefuses(t *testing.T) {
	t.Parallel()
	type twice struct {
		EngineMeta
		PreflightEvidence
		Other string `json:"step_id"`
	}
	for name, c := range map[string]struct {
		v    any
		want string
	}{
		"2^53":                  {Number("9007199254740992"), "not an integer within 2^53"},
		"-2^53":                 {int64(-1 << 53), "not an integer within 2^53"},
		"uint64":                {uint64(1 << 63), "not an integer within 2^53"},
		"very large":            {Number(strings.Repeat("9", 5000)), "not an integer within 2^53"},
		"fraction":              {Number("1.5"), "not an integer"},
		"fraction of nothing":   {Number("1.0"), "not an integer"},
		"exponent":              {Number("1e2"), "not an integer"},
		"minus zero":            {Number("-0"), "not an integer"},
		"no number":             {Number(""), "not an integer"},
		"float":                 {1.0, "no canonical form"},
		"float inside":          {map[string]any{"a": []any{float32(1)}}, "a: a float32 has no canonical form"},
		"invalid UTF-8":         {"a\xff", "not valid UTF-8"},
		"invalid UTF-8 in name": {map[string]int{"\xff": 1}, "not valid UTF-8"},
		"surrogate":             {"\xed\xa0\x80", "not valid UTF-8"},
		"raw duplicate":         {json.RawMessage(`{"a":1,"a":1}`), "duplicate member"},
		"raw nothing":           {json.RawMessage(nil), "too early"},
		"raw fraction":          {struct{ A json.RawMessage }{json.RawMessage(`[0.5]`)}, "A: number"},
		"time":                  {time.Time{}, "a time.Time has no canonical form"},
		"pointer to time":       {&time.Time{}, "a time.Time has no canonical form"},
		"bytes":                 {[]byte("abc"), "bytes have no canonical form"},
		"array of bytes":        {[2]byte{}, "bytes have no canonical form"},
		"number keys":           {map[int]int{1: 1}, "no canonical form"},
		"channel":               {make(chan int), "no canonical form"},
		"function":              {func() {}, "no canonical form"},
		"member twice":          {twice{}, `member "step_id" is there twice`},
		"too deep":              {json.RawMessage(nested(MaxDepth+1, "")), "deeper than 64"},
		"too deep, empty":       {deep(MaxDepth + 1), "deeper than 64"},
		"raw makes it too deep": {[]any{json.RawMessage(nested(MaxDepth, ""))}, "deeper than 64"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Canonical(c.v)
			if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 4*maxShown {
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			}
		})
	}
	if b, err := Canonical(deep(MaxDepth)); err != nil || CheckCanonical(b) != nil {
		t.Errorf("depth %d: %v", MaxDepth, err)
	}
}

func deep(n int) any {
	var v any = []any{}
	for range n - 1 {
		v = []any{v}
	}
	return v
}

func TestCanonicalOfGoValues(t *testing.T) {
	t.Parallel()
	type embedded struct {
		EngineMeta
		*GatewayApproval
		Zero    int     `json:"zero,omitzero"`
		Kept    int     `json:"kept"`
		Pointer *string `json:"pointer"`
		Empty   *string `json:"empty,omitempty"`
		Skipped string  `json:"-"`
		Untyped any     `json:"untyped"`
		Plain   Decision
		private int
	}
	var empty, no = "", false
	for _, c := range []struct {
		v    any
		want string
	}{
		{nil, `null`}, {(*int)(nil), `null`}, {true, `true`}, {int8(-3), `-3`}, {uint16(7), `7`}, {Allow, `"allow"`},
		{[]string(nil), `[]`}, {[]string{}, `[]`}, {[2]string{"b", "a"}, `["b","a"]`}, {map[string]string(nil), `{}`},
		{map[Decision]int{Deny: 1, Allow: 2}, `{"allow":2,"deny":1}`},
		{&empty, `""`},
		{embedded{private: 1, Skipped: "x"}, `{"Plain":"","kept":0,"pointer":null,"step_id":"","untyped":null,"workflow_id":""}`},
		{embedded{GatewayApproval: &GatewayApproval{Reason: "r"}, Zero: 1, Empty: &empty}, `{"Plain":"","empty":"","kept":0,"pointer":null,"reason":"r","step_id":"","untyped":null,"workflow_id":"","zero":1}`},
		{AuditIntegrity{PlanTokenMatch: &no}, `{"plan_token_match":false}`},
		{PlanArtifactHash{Name: "n", Hash: "h"}, `{"hash":"h","name":"n","size":0}`},
		{EngineArtifact{}, `{"hash":"","name":"","path":"","role":""}`},
		{WALEntry{Data: json.RawMessage(` { "b" : 1 , "a" : "\u0041" } `)}, `{"checksum":"","data":{"a":"A","b":1},"entry_type":"","sequence":0,"timestamp":"","workflow_id":""}`},
		{WorkflowCompletedData{FinalState: StateCompleted}, `{"artifacts":[],"final_state":"COMPLETED"}`},
	} {
		got, err := Canonical(c.v)
		if err != nil || string(got) != c.want {
			t.Errorf("%#v:\ngot  %s, %v\nwant %s", c.v, got, err, c.want)
		}
	}
}

func TestCheckCanonicalRefuses(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{
		``, ` {}`, `{} `, "{}\n", `{"b":1,"a":2}`, `{"a": 1}`, `"\u0041"`, `"\/"`, `"\u000F"`, `"\u000A"`, `1.0`, `1e1`, `-0`,
		`9007199254740992`, `{"a":1,"a":1}`, "{\"\ue000\":1,\"\U0001f600\":2}", nested(MaxDepth+1, ""),
	} {
		if err := CheckCanonical([]byte(doc)); err == nil {
			t.Errorf("%q passes", doc)
		}
	}
}

// trees draws documents such as DecodeAny gives, of numbers that have a canonical form.
func trees() *rapid.Generator[any] {
	text := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune("a\x00\x1f\"\\/\ud7ff\ue000\uffff\U00010000\U0010ffff"))))
	leaf := rapid.OneOf(
		rapid.Just[any](nil),
		rapid.Map(rapid.Bool(), func(b bool) any { return b }),
		rapid.Map(text, func(s string) any { return s }),
		rapid.Map(rapid.Int64Range(-maxSafe, maxSafe), func(n int64) any {
			b, err := json.Marshal(n)
			if err != nil {
				panic(err) // an integer always marshals
			}
			return Number(b)
		}),
	)
	tree := leaf
	for range 3 {
		inner := tree
		tree = rapid.OneOf(leaf,
			rapid.Map(rapid.SliceOfN(inner, 0, 4), func(l []any) any { return append([]any{}, l...) }),
			rapid.Map(rapid.MapOfN(text, inner, 0, 6), func(m map[string]any) any { return m }))
	}
	return tree
}

func TestCanonicalRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tree := trees().Draw(t, "document")
		once, err := Canonical(tree)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeAny(once)
		if err != nil {
			t.Fatalf("%s is not read back: %v", once, err)
		}
		if !reflect.DeepEqual(back, tree) {
			t.Fatalf("read back as %#v, was %#v", back, tree)
		}
		again, err := Canonical(back)
		if err != nil || string(again) != string(once) {
			t.Fatalf("%s became %s, %v", once, again, err)
		}
		if err := CheckCanonical(once); err != nil {
			t.Fatal(err)
		}
		// Written by encoding/json, with other escapes and another order, it means the same.
		foreign, err := json.MarshalIndent(tree, " ", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if same, err := Canonical(json.RawMessage(foreign)); err != nil || string(same) != string(once) {
			t.Fatalf("%s became %s, %v", foreign, same, err)
		}
	})
}
