package protocol

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

type scannedPart struct {
	Name  string         `json:"name"`
	Size  int64          `json:"size,omitempty"`
	State State          `json:"state,omitempty"`
	More  map[string]any `json:"more,omitempty"`
	Next  *scannedLeaf   `json:"next,omitempty"`
}

type scannedLeaf struct {
	Raw json.RawMessage `json:"raw"`
}

type scannedDoc struct {
	Pad   string        `json:"pad"`
	Parts []scannedPart `json:"parts"`
}

// TestDecodeAgreesWithTree holds large documents, which Decode scans, to what the
// tree says of them: the same are refused with the same words.
func TestDecodeAgreesWithTree(t *testing.T) {
	t.Parallel()
	pad := strings.Repeat("x", scanFrom)
	for _, parts := range []string{
		`[]`, `[{"name":"a"}]`, `[{"name":"a","size":1}]`, `[{"name":"a","size":"1"}]`, `[{"name":null}]`, `[{"Name":"a"}]`,
		`[{"name":"a","name":"b"}]`, `[{"name":"a","extra":1}]`, `[{"size":1,"name":"a"}]`, `[{"name":"a","size":1.5}]`, `[{"name":"a","size":99999999999999999999}]`,
		`[{"more":{"a":[1,null,{"b":"c"}]},"name":"a"}]`, `[{"more":{"a":1e3},"name":"a"}]`, `[{"more":null,"name":"a"}]`, `[{"name":"a","next":null}]`,
		`[{"name":"a","next":{"raw":null}}]`, `[{"name":"a","next":{"raw":[1, 2]}}]`, `[{"name":"a","next":{}}]`, `[{"name":"a","state":"NONE"}]`,
		`[{"name":"a","size":0}]`, `null`, `[null]`, `[1]`, `{}`, `[{"name":"\ud800"}]`, "[{\"name\":\"\xff\"}]", `[{"name":"a"}`, `[{"name":"a"}]]`,
	} {
		doc := []byte(`{"pad":"` + pad + `","parts":` + parts + `}`)
		var got, want scannedDoc
		gotErr, wantErr := Decode(doc, &got), byTree(doc, &want)
		if (gotErr == nil) != (wantErr == nil) || gotErr != nil && gotErr.Error() != wantErr.Error() {
			t.Errorf("%s: %v, by the tree %v", parts, gotErr, wantErr)
		}
		if gotErr == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, by the tree %+v", parts, got, want)
		}
	}
}

func byTree(doc []byte, v *scannedDoc) error {
	tree, err := DecodeAny(doc)
	if err == nil {
		err = (shapes{}).checkField("$", tree, reflect.TypeFor[scannedDoc]())
	}
	if err == nil {
		err = fill(doc, v)
	}
	return err
}

// TestScanLeavesOtherTypes names the types whose shape would not know the same members.
func TestScanLeavesOtherTypes(t *testing.T) {
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
		if plainFields(reflect.TypeOf(v), nil) {
			t.Errorf("%T", v)
		}
		doc := []byte(`{"-":"` + strings.Repeat("x", scanFrom) + `"}`)
		if err := Decode(doc, reflect.New(reflect.TypeOf(v)).Interface()); err == nil {
			t.Errorf("%T takes a member that it does not have", v)
		}
	}
	if !plainFields(reflect.TypeFor[scannedDoc](), nil) || !plainFields(reflect.TypeFor[PlanToken](), nil) {
		t.Error("a message of ours is not scanned")
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
		scannedDoc{}, scannedDoc{Parts: []scannedPart{{Name: "a", Size: 2, Next: &scannedLeaf{Raw: json.RawMessage(`[ 1 ]`)}}, {Name: "\x01"}}},
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
