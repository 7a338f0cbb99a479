package protocol

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

var documents = []string{
	``, `null`, `truex`, `{"a":[1,-2.5e+3,"\u00e9\ud83d\ude00"],"b":{"a":null}}`, `{"a":1,"\u0061":2}`, "\ufeff1", "\"\xff\"",
	`"\ud800"`, nested(MaxDepth, ""), nested(MaxDepth+1, ""), `[01]`, `[1,]`, `{"":{"":{}}}`, "[\"\\u0000\x7f\"]", `9007199254740992`, `-0`,
	`{"protocol_version":"draft","mode":"take-off","meta":{"workflow_id":"w","step_id":"s"},"config":{"x":[1.5]}}`,
}

// FuzzDecodeAny holds strict reading against encoding/json: whatever is accepted
// must be JSON to others too, and mean the same.
func FuzzDecodeAny(f *testing.F) {
	for _, doc := range documents {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := DecodeAny(data)
		if err != nil {
			if len(err.Error()) > 4*maxShown {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		var theirs any
		if !json.Valid(data) || d.Decode(&theirs) != nil {
			t.Fatalf("%q is accepted and is not JSON", data)
		}
		if !reflect.DeepEqual(tree, theirs) {
			t.Errorf("%q is read as %#v, by others as %#v", data, tree, theirs)
		}
		var input EngineInput
		if Decode(data, &input) == nil {
			again, err := json.Marshal(input)
			if err != nil {
				t.Fatal(err)
			}
			if err := Decode(again, &EngineInput{}); err != nil {
				t.Errorf("%q was read, written as %s, and is refused: %v", data, again, err)
			}
		}
	})
}

// FuzzCanonical checks that the canonical form is a fixed point and changes no meaning.
func FuzzCanonical(f *testing.F) {
	for _, doc := range documents {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := DecodeAny(data)
		if err != nil {
			return
		}
		once, err := Canonical(tree)
		if err != nil {
			return // numbers that this project does not write
		}
		back, err := DecodeAny(once)
		if err != nil || !reflect.DeepEqual(back, tree) {
			t.Fatalf("%q became %q, read as %#v, %v", data, once, back, err)
		}
		if err := CheckCanonical(once); err != nil {
			t.Errorf("%q became %q: %v", data, once, err)
		}
		if bytes.Equal(once, data) != (CheckCanonical(data) == nil) {
			t.Errorf("%q is judged wrongly", data)
		}
	})
}
