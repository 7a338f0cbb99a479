package protocol

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func nested(depth int, inner string) string {
	return strings.Repeat("[", depth) + inner + strings.Repeat("]", depth)
}

func TestDecodeAnyAccepts(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]any{
		`null`: nil, ` true `: true, "\t\r\nfalse\n": false, `""`: "", `{}`: map[string]any{}, `[]`: []any{},
		`0`: Number("0"), `-0`: Number("-0"), `-12.50e+07`: Number("-12.50e+07"), `1E5`: Number("1E5"),
		`12345678901234567890123`:       Number("12345678901234567890123"),
		`"\"\\\/\b\f\n\r\t\u00fC"`:      "\"\\/\b\f\n\r\tü",
		`"\ud83d\ude00\uE000"`:          "\U0001f600\ue000",
		`"\u0000"`:                      "\x00",
		`{"a":{"a":1},"b":[{"a":2}]}`:   map[string]any{"a": map[string]any{"a": Number("1")}, "b": []any{map[string]any{"a": Number("2")}}},
		`[ 1 , "x" , null ]`:            []any{Number("1"), "x", nil},
		"\"\u2028 \ufeff \x7f\"":        "\u2028 \ufeff \x7f",
		`{"":0,"A":1,"a":2,"\u00e9":3}`: map[string]any{"": Number("0"), "A": Number("1"), "a": Number("2"), "é": Number("3")},
	} {
		got, err := DecodeAny([]byte(doc))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %#v, %v, want %#v", doc, got, err, want)
		}
	}
	for _, doc := range []string{nested(MaxDepth, ""), nested(MaxDepth, "1"), strings.Repeat(`{"a":`, MaxDepth) + "1" + strings.Repeat("}", MaxDepth)} {
		if _, err := DecodeAny([]byte(doc)); err != nil {
			t.Errorf("depth %d is refused: %v", MaxDepth, err)
		}
	}
}

func TestDecodeAnyRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ doc, path, reason string }{
		"nothing":                 {"", "$", "too early"},
		"only space":              {" \n", "$", "too early"},
		"byte-order mark":         {"\ufeff{}", "$", "byte-order mark"},
		"UTF-16":                  {"\xff\xfe{\x00}\x00", "$", "no JSON value"},
		"trailing value":          {`{} {}`, "$", "bytes after"},
		"trailing bracket":        {`[]]`, "$", "bytes after"},
		"trailing NUL":            {"{}\x00", "$", "bytes after"},
		"trailing mark":           {"{}\ufeff", "$", "bytes after"},
		"word and more":           {`truex`, "$", "bytes after"},
		"word and more inside":    {`[truex]`, "$", "expected ','"},
		"part of a word":          {`{"a":tru}`, "$.a", "no JSON value"},
		"capital word":            {`True`, "$", "no JSON value"},
		"NaN":                     {`NaN`, "$", "no JSON value"},
		"Infinity":                {`-Infinity`, "$", "malformed number"},
		"duplicate":               {`{"a":1,"a":1}`, "$", `duplicate member "a"`},
		"duplicate, escaped":      {`{"a":1,"\u0061":2}`, "$", `duplicate member "a"`},
		"duplicate, surrogates":   {`{"😀":1,"\ud83d\ude00":2}`, "$", "duplicate member"},
		"duplicate, slash":        {`{"/":1,"\/":2}`, "$", "duplicate member"},
		"duplicate, empty":        {`{"":1,"":2}`, "$", "duplicate member"},
		"duplicate, deep":         {`{"a":[0,{"b":{"c":1,"c":2}}]}`, "$.a[1].b", `duplicate member "c"`},
		"duplicate, not adjacent": {`{"a":1,"b":{"a":1},"a":3}`, "$", "duplicate member"},
		"array too deep":          {nested(MaxDepth+1, ""), "$" + strings.Repeat("[0]", MaxDepth), "deeper than 64"},
		"object too deep":         {strings.Repeat(`{"a":`, MaxDepth+1) + "1" + strings.Repeat("}", MaxDepth+1), "$" + strings.Repeat(".a", MaxDepth), "deeper than 64"},
		"very deep":               {strings.Repeat("[", 1<<20), "$" + strings.Repeat("[0]", MaxDepth), "deeper than 64"},
		"invalid UTF-8":           {"[\"a\xffb\"]", "$[0]", "invalid UTF-8"},
		"invalid UTF-8, escapes":  {"[\"\\n\xc3\\u00a9\"]", "$[0]", "invalid UTF-8"},
		"overlong UTF-8":          {"\"\xc0\xaf\"", "$", "invalid UTF-8"},
		"surrogate in UTF-8":      {"\"\xed\xa0\x80\"", "$", "invalid UTF-8"},
		"invalid UTF-8 in a name": {"{\"\xff\":1}", "$", "invalid UTF-8"},
		"high surrogate":          {`"\ud800"`, "$", "lone surrogate"},
		"low surrogate":           {`"\udc00"`, "$", "lone surrogate"},
		"surrogates turned round": {`"\ude00\ud83d"`, "$", "lone surrogate"},
		"surrogate and letter":    {`"\ud83d\u0061"`, "$", "lone surrogate"},
		"surrogate cut off":       {`"\ud83d\u00`, "$", "ends inside"},
		"short escape":            {`"\u12`, "$", "ends inside"},
		"malformed escape":        {`"\u00g0"`, "$", "malformed"},
		"unknown escape":          {`"\x41"`, "$", "unknown escape"},
		"escape at the end":       {`"\`, "$", "ends inside"},
		"open string":             {`"abc`, "$", "ends inside"},
		"open escaped string":     {`"a\nbc`, "$", "ends inside"},
		"newline in a string":     {"\"a\nb\"", "$", "control character"},
		"NUL after an escape":     {"\"\\n\x00\"", "$", "control character"},
		"unit separator, escapes": {"\"\\n\x1f\"", "$", "control character"},
		"single quotes":           {`{'a':1}`, "$", "expected a member name"},
		"no name":                 {`{1:1}`, "$", "expected a member name"},
		"no colon":                {`{"a" 1}`, "$", "expected ':'"},
		"no value":                {`{"a":}`, "$.a", "no JSON value"},
		"comma at an object end":  {`{"a":1,}`, "$", "expected a member name"},
		"comma at an array end":   {`[1,]`, "$[1]", "no JSON value"},
		"no comma":                {`[1 2]`, "$", "expected ','"},
		"wrong bracket":           {`[1}`, "$", "expected ','"},
		"open object":             {`{"a":1`, "$", "too early"},
		"open array":              {`[1`, "$", "too early"},
		"comment":                 {"{}//", "$", "bytes after"},
		"leading zero":            {`01`, "$", "malformed number"},
		"leading plus":            {`+1`, "$", "no JSON value"},
		"only a minus":            {`-`, "$", "malformed number"},
		"no fraction":             {`1.`, "$", "malformed number"},
		"no integer":              {`.5`, "$", "no JSON value"},
		"no exponent":             {`1e`, "$", "malformed number"},
		"signed exponent only":    {`[1e+]`, "$[0]", "malformed number"},
		"hexadecimal":             {`0x10`, "$", "bytes after"},
		"form feed":               {"\f1", "$", "no JSON value"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := DecodeAny([]byte(c.doc))
			bad, ok := errors.AsType[*SyntaxError](err)
			if !ok {
				t.Fatalf("accepted as %#v, %v", got, err)
			}
			if bad.Path != c.path || !strings.Contains(bad.Reason, c.reason) {
				t.Errorf("got %v, want %s: %s", err, c.path, c.reason)
			}
			if bad.Offset < 0 || bad.Offset > len(c.doc) {
				t.Errorf("offset %d of %d bytes", bad.Offset, len(c.doc))
			}
		})
	}
}

func TestErrorsOfHostileTextAreBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 1<<20)
	for _, doc := range []string{
		`{"` + long + `":1,"` + long + `":1}`, `{"` + long + `":{"` + long + `":tru`, `{"` + long + `" 1}`,
		`{"` + long + `":1}`, `{"meta":{"` + long + `":1}}`, `{"mode":` + strings.Repeat("9", 1<<20) + `}`, `{"meta":"` + long + `"}`,
	} {
		var v EngineInput
		if err := Decode([]byte(doc), &v); err == nil || len(err.Error()) > 4*maxShown {
			t.Errorf("%.20s: an error of %d bytes", doc, len(err.Error()))
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	var got EngineOutput
	doc := `{"protocol_version":"draft","engine_id":"e","mode":"flight-plan","receipt_id":"r","status":"success",` +
		`"diagnostics":{"any":[1.50,null]},"artifacts":[{"name":"a","role":"log","path":"a","hash":"h","size":1e3}]}`
	if err := Decode([]byte(doc), &got); err != nil {
		t.Fatal(err)
	}
	if got.Mode != FlightPlan || got.Artifacts[0].Size != "1e3" {
		t.Errorf("got %+v", got)
	}
	if d := got.Diagnostics.(map[string]any)["any"].([]any); d[0] != Number("1.50") || d[1] != nil {
		t.Errorf("numbers are not kept as text: %#v", d)
	}
	var entry WALEntry
	if err := Decode([]byte(`{"sequence":9007199254740993,"timestamp":"","workflow_id":"","entry_type":"","data":{"x":{"y":null}},"checksum":""}`), &entry); err != nil {
		t.Fatal(err)
	}
	if entry.Sequence != 9007199254740993 || string(entry.Data) != `{"x":{"y":null}}` {
		t.Errorf("got %+v", entry)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	type typed struct {
		Map  map[string]EngineMeta `json:"map"`
		Ptr  *EngineMeta           `json:"ptr"`
		Plus struct{ Inner int }   `json:"plus"`
	}
	for name, c := range map[string]struct {
		into      any
		doc, want string
	}{
		"unknown":              {&EngineMeta{}, `{"workflow_id":"w","extra":1}`, "$.extra: unknown field"},
		"unknown, first":       {&EngineMeta{}, `{"z":1,"b":2,"y":3}`, "$.b: unknown field"},
		"capital":              {&EngineMeta{}, `{"Workflow_ID":"w"}`, "$.Workflow_ID: unknown field"},
		"Go's name":            {&EngineMeta{}, `{"WorkflowID":"w"}`, "$.WorkflowID: unknown field"},
		"both cases":           {&EngineMeta{}, `{"step_id":"a","STEP_ID":"b"}`, "$.STEP_ID: unknown field"},
		"folding letter":       {&EngineMeta{}, "{\"\u017ftep_id\":\"a\"}", "unknown field"}, // long s folds to s
		"unknown, nested":      {&EngineOutput{}, `{"artifacts":[{"name":"a"},{"nam":"b"}]}`, "$.artifacts[1].nam: unknown field"},
		"unknown, behind *":    {&AuditEvent{}, `{"policy":{"policy_evaluations":[{"src":1}]}}`, "$.policy.policy_evaluations[0].src: unknown field"},
		"unknown in a map":     {&typed{}, `{"map":{"k":{"step":1}}}`, "$.map.k.step: unknown field"},
		"unknown, inner":       {&typed{}, `{"plus":{"inner":1}}`, "$.plus.inner: unknown field"},
		"duplicate":            {&EngineMeta{}, `{"step_id":"a","step_id":"b"}`, "duplicate member"},
		"duplicate, free-form": {&EngineInput{}, `{"config":{"a":{"b":1,"b":2}}}`, "$.config.a: duplicate member"},
		"duplicate in raw":     {&WALEntry{}, `{"data":{"a":1,"a":2}}`, "$.data: duplicate member"},
		"null text":            {&EngineMeta{}, `{"step_id":null}`, "$.step_id: null does not fit here, want a string"},
		"null list":            {&EngineOutput{}, `{"warnings":null}`, "$.warnings: null"},
		"null in a list":       {&EngineOutput{}, `{"warnings":["a",null]}`, "$.warnings[1]: null"},
		"null map":             {&EngineInput{}, `{"config":null}`, "$.config: null"},
		"null object":          {&EngineInput{}, `{"meta":null}`, "$.meta: null does not fit here, want an object"},
		"null document":        {&EngineMeta{}, `null`, "$: null"},
		"quoted number":        {&EngineMetric{}, `{"name":"n","value":"1"}`, "$.value: a string does not fit here, want a number"},
		"text for an object":   {&EngineInput{}, `{"meta":"x"}`, "$.meta: string does not fit here, want an object"},
		"number for text":      {&EngineMeta{}, `{"step_id":1}`, "$.step_id: number does not fit here, want a string"},
		"list for an object":   {&EngineMeta{}, `[]`, "$: array does not fit here, want an object"},
		"fraction":             {&PlanArtifactHash{}, `{"size":1.5}`, "$.size: number 1.5 does not fit here, want an integer"},
		"too large":            {&PlanArtifactHash{}, `{"size":9223372036854775808}`, "want an integer"},
		"text for a truth":     {&ApprovalResponse{}, `{"approved":"true"}`, "$.approved: string does not fit here, want true or false"},
		"number for a truth":   {&ApprovalResponse{}, `{"approved":1}`, "$.approved"},
		"trailing":             {&EngineMeta{}, `{}{}`, "bytes after"},
		"not a pointer":        {EngineMeta{}, `{}`, "needs a pointer"},
		"nothing":              {nil, `{}`, "needs a pointer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := Decode([]byte(c.doc), c.into); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	var ptr typed
	if err := Decode([]byte(`{"ptr":null}`), &ptr); err != nil || ptr.Ptr != nil {
		t.Errorf("null for a pointer is refused: %v", err)
	}
}

func TestDecodeFollowsEmbeddedStructs(t *testing.T) {
	t.Parallel()
	type both struct {
		EngineMeta
		*GatewayApproval
		Own     int `json:"own"`
		Skipped int `json:"-"`
		Plain   int
	}
	var v both
	if err := Decode([]byte(`{"step_id":"s","reason":"r","own":1,"Plain":2}`), &v); err != nil {
		t.Fatal(err)
	}
	if v.StepID != "s" || v.Reason != "r" || v.Own != 1 || v.Plain != 2 {
		t.Errorf("got %+v", v)
	}
	for _, doc := range []string{`{"Skipped":1}`, `{"-":1}`, `{"plain":1}`, `{"EngineMeta":{}}`} {
		if err := Decode([]byte(doc), &v); err == nil {
			t.Errorf("%s is accepted", doc)
		}
	}
}

func BenchmarkDecodeAny(b *testing.B) {
	doc := []byte(`[` + strings.Repeat(`{"name":"a","ok":true,"n":12,"text":"a\tb","list":[null,false]},`, 1000) + `{}]`)
	if !json.Valid(doc) {
		b.Fatal("not JSON")
	}
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if _, err := DecodeAny(doc); err != nil {
			b.Fatal(err)
		}
	}
}
