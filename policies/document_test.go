package policies

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// randomly fills a value with anything, all fields that there are.
func randomly(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			randomly(r, v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(4), 4))
		for i := range v.Len() {
			randomly(r, v.Index(i))
		}
	case reflect.String:
		parts := []string{"a", "", "\"", "\\", "\xff\xfe", "é", "\u2028", "\x00", "\xed\xa0\x80", "<&>", "\U0001f600", "\xf0\x9f"}
		v.SetString(parts[r.IntN(len(parts))] + parts[r.IntN(len(parts))])
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int64:
		v.SetInt(r.Int64() - r.Int64())
	default:
		panic("a kind of field that this test does not know: " + v.Kind().String())
	}
}

// TestPatchDocument: patches are given as writing and reading them as JSON would.
func TestPatchDocument(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4)) // the same every time
	for range 300 {
		p := &Patch{}
		randomly(r, reflect.ValueOf(p).Elem())
		in := Input{Artifacts: []Artifact{{Name: "a", Patch: p}, {Name: "b"}}}.filled()
		var b bytes.Buffer
		if err := json.NewEncoder(&b).Encode(in); err != nil {
			t.Fatal(err)
		}
		want, err := protocol.DecodeAny(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		got, err := in.Document()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
		if in.Artifacts[0].Patch == nil {
			t.Fatal("the input lost its patch")
		}
	}
}

func TestLargePatchIsNoDocument(t *testing.T) {
	t.Parallel()
	p := &Patch{Files: []PatchFile{{Path: "a", AddedLines: []string{strings.Repeat("x", limits.PolicyInput)}}}}
	if _, err := (Input{Artifacts: []Artifact{{Patch: p}}}).Document(); protocol.ExitCode(err) != protocol.ExitDenied {
		t.Error(err)
	}
}
