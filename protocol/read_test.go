package protocol

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

type readPart struct {
	Name  string            `json:"name"`
	Size  int64             `json:"size,omitempty"`
	Small uint8             `json:"small,omitempty"`
	State State             `json:"state,omitempty"`
	More  map[string]any    `json:"more,omitempty"`
	Text  map[string]string `json:"text,omitempty"`
	List  []string          `json:"list,omitempty"`
	Sure  bool              `json:"sure,omitzero"`
	Count json.Number       `json:"count,omitempty"`
	Any   any               `json:"any,omitempty"`
	Next  *readLeaf         `json:"next,omitempty"`
}

type readLeaf struct {
	Raw json.RawMessage `json:"raw"`
}

type readDoc struct {
	Pad   string     `json:"pad"`
	Parts []readPart `json:"parts"`
}

var readParts = []string{
	`[]`, `[{"name":"a"}]`, `[{"name":"a","size":1}]`, `[{"name":"a","size":"1"}]`, `[{"name":null}]`, `[{"Name":"a"}]`,
	`[{"name":"a","name":"b"}]`, `[{"name":"a","extra":1}]`, `[{"size":1,"name":"a"}]`, `[{"name":"a","size":1.5}]`, `[{"name":"a","size":99999999999999999999}]`,
	`[{"more":{"a":[1,null,{"b":"c"}]},"name":"a"}]`, `[{"more":{"a":1e3},"name":"a"}]`, `[{"more":null,"name":"a"}]`, `[{"name":"a","next":null}]`,
	`[{"name":"a","next":{"raw":null}}]`, `[{"name":"a","next":{"raw":[1, 2]}}]`, `[{"name":"a","next":{"raw":[1,2]}}]`, `[{"name":"a","next":{}}]`, `[{"name":"a","state":"NONE"}]`,
	`[{"name":"a","size":0}]`, `null`, `[null]`, `[1]`, `{}`, `[{"name":"\ud800"}]`, "[{\"name\":\"\xff\"}]", `[{"name":"a"}`, `[{"name":"a"}]]`, `[{"name":"a"},]`, `[{"name":"a"} ]`,
	`[{"name":"\u001f\n\"é𐀀"},{"name":""}]`, `[{"name":"\u000a"}]`, `[{"name":"a","small":255},{"name":"a","small":256}]`, `[{"name":"a","small":-1}]`, `[{"name":"a","small":1}]`,
	`[{"name":"a","sure":true}]`, `[{"name":"a","sure":false}]`, `[{"name":"a","sure":"true"}]`, `[{"name":"a","sure":tru}]`, `[{"count":12,"name":"a"}]`, `[{"count":"12","name":"a"}]`,
	`[{"count":1.5,"name":"a"}]`, `[{"list":[],"name":"a"}]`, `[{"list":["a","b"],"name":"a"}]`, `[{"list":["a",1],"name":"a"}]`, `[{"list":null,"name":"a"}]`, `[{"list":[null],"name":"a"}]`,
	`[{"name":"a","text":{}}]`, `[{"name":"a","text":{"a":"b","b":"c"}}]`, `[{"name":"a","text":{"b":"c","a":"b"}}]`, `[{"name":"a","text":{"a":"b","a":"c"}}]`, `[{"name":"a","text":{"a":null}}]`,
	`[{"any":null,"name":"a"}]`, `[{"any":{"b":[true,1,"x"]},"name":"a"}]`, `[{"any":{"b":1,"a":2},"name":"a"}]`, `[{"any":` + nested(MaxDepth-3, "") + `,"name":"a"}]`, `[{"any":` + nested(MaxDepth-2, "") + `,"name":"a"}]`,
	`[{"name":"a","more":{"a":1}}]`, `[{"name":"a","size":-0}]`, `[{"name":"a","size":-3}]`, `[{"name":"a","size":9007199254740992}]`, `[{"name":"a","size":01}]`,
}

// TestDecodeAgreesWithTheLongWay holds what is read in one pass, or made of the tree, to
// what encoding/json and the checks beside it say: the same are refused with the same
// words.
func TestDecodeAgreesWithTheLongWay(t *testing.T) {
	t.Parallel()
	reader := ReaderOf[readDoc]()
	if reader.layout == nil {
		t.Fatal("the type of this test is read the long way")
	}
	for _, pad := range []string{"", strings.Repeat("x", readFrom)} {
		for _, parts := range readParts {
			sameAsLong(t, reader, []byte(`{"pad":"`+pad+`","parts":`+parts+`}`))
		}
	}
}

func sameAsLong(t *testing.T, reader Reader[readDoc], doc []byte) {
	t.Helper()
	var want readDoc
	wantErr := longWay(doc, &want)
	for name, read := range map[string]func(*readDoc) error{
		"Decode":      func(v *readDoc) error { return Decode(doc, v) },
		"DecodeTree":  func(v *readDoc) error { _, err := DecodeTree(doc, v); return err },
		"DecodeExact": func(v *readDoc) error { _, err := DecodeExact(doc, v); return err },
		"Reader":      func(v *readDoc) (err error) { *v, err = reader.Decode(doc); return err },
	} {
		var got readDoc
		gotErr := read(&got)
		if (gotErr == nil) != (wantErr == nil) || gotErr != nil && gotErr.Error() != wantErr.Error() {
			t.Errorf("%s: %.200s: %v, the long way %v", name, doc, gotErr, wantErr)
		}
		if gotErr == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %.200s: %+v, the long way %+v", name, doc, got, want)
		}
	}
	if wantErr != nil {
		return
	}
	again, err := Canonical(want)
	var v readDoc
	if exact, _ := DecodeExact(doc, &v); exact != (err == nil && bytes.Equal(again, doc)) {
		t.Errorf("%.200s: exact is %v, it is written as %.200s", doc, exact, again)
	}
}

func longWay(doc []byte, v *readDoc) error {
	tree, err := DecodeAny(doc)
	if err == nil {
		err = (shapes{}).checkField("$", tree, reflect.TypeFor[readDoc]())
	}
	if err == nil {
		err = fill(doc, v)
	}
	return err
}

// FuzzRead is TestDecodeAgreesWithTheLongWay for any document.
func FuzzRead(f *testing.F) {
	for _, parts := range readParts {
		f.Add([]byte(`{"pad":"","parts":` + parts + `}`))
	}
	reader := ReaderOf[readDoc]()
	f.Fuzz(func(t *testing.T, doc []byte) { sameAsLong(t, reader, doc) })
}

// TestReadKeepsWhatIsThere reads into a value that is not empty, which is done the long way.
func TestReadKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	v := readDoc{Pad: "before", Parts: []readPart{{Name: "b"}}}
	if exact, err := DecodeExact([]byte(`{"parts":[]}`), &v); exact || err != nil || v.Pad != "before" || len(v.Parts) != 0 {
		t.Errorf("%v %v %+v", exact, err, v)
	}
	if _, err := DecodeExact([]byte(`{}`), v); err == nil {
		t.Error("a value that is no pointer is read into")
	}
	if _, err := DecodeExact([]byte(`{}`), (*readDoc)(nil)); err == nil {
		t.Error("a nil pointer is read into")
	}
}

// TestReadLeavesOtherTypes names the types that are read the long way.
func TestReadLeavesOtherTypes(t *testing.T) {
	t.Parallel()
	type inner struct {
		A string `json:"a"`
	}
	type loop struct {
		Next []loop `json:"next"`
	}
	for _, v := range []any{
		struct{ A string }{}, struct{ inner }{}, struct {
			A string `json:"-"`
		}{}, loop{}, []struct{ B int }{}, map[int]string{}, struct {
			M map[string]struct{ C int } `json:"m"`
		}{},
	} {
		if layoutFor(reflect.TypeOf(v), nil) != nil {
			t.Errorf("%T", v)
		}
		doc := []byte(`{"-":"` + strings.Repeat("x", readFrom) + `"}`)
		if err := Decode(doc, reflect.New(reflect.TypeOf(v)).Interface()); err == nil {
			t.Errorf("%T takes a member that it does not have", v)
		}
	}
	if layoutFor(reflect.TypeFor[readDoc](), nil) == nil || layoutFor(reflect.TypeFor[PlanToken](), nil) == nil {
		t.Error("a message of ours is read the long way")
	}
}

// TestColumnsAgreeWithMembers writes structs by their columns and value by value.
func TestColumnsAgreeWithMembers(t *testing.T) {
	t.Parallel()
	type base struct {
		B string `json:"b"`
	}
	type embeds struct {
		base
		A string `json:"a"`
	}
	for _, v := range []any{
		readDoc{}, readDoc{Parts: []readPart{{Name: "a", Size: 2, Next: &readLeaf{Raw: json.RawMessage(`[ 1 ]`)}}, {Name: "\x01"}}},
		struct{}{}, struct {
			Z string
			A string `json:"-"`
			C int    `json:"c,omitzero"`
		}{Z: "z", A: "a"},
	} {
		got, err := Canonical(v)
		want, wantErr := encoder{}.appendMembers(nil, structMembers(nil, reflect.ValueOf(v)), 0)
		if err != nil || wantErr != nil || !bytes.Equal(got, want) {
			t.Errorf("%s %v, by members %s %v", got, err, want, wantErr)
		}
	}
	if got, err := Canonical(embeds{base{"x"}, "y"}); err != nil || string(got) != `{"a":"y","b":"x"}` {
		t.Errorf("%s %v", got, err)
	}
}
