package rawjson

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzRewrite holds that a document stays one, that nothing panics, and that a change
// that is undone leaves all bytes as they were.
func FuzzRewrite(f *testing.F) {
	f.Add([]byte(` { "a" : [ 1 , "x" , { "~/" : null } ] , "b" : 2.50 } `), "/a/2/~0~1", "n")
	f.Add([]byte(`{"\u0061":"x"}`), "/a", "")
	f.Add([]byte(`[{"a":`), "/0/a", "x")
	f.Fuzz(func(t *testing.T, doc []byte, at, value string) {
		before := bytes.Clone(doc)
		with, err := Rewrite(doc, []Change{{At: at, Value: value}})
		without, err2 := Rewrite(doc, []Change{{At: at}})
		if !bytes.Equal(doc, before) {
			t.Fatal("the document itself was changed")
		}
		if (err == nil) != (err2 == nil) {
			t.Fatalf("%v, but %v", err, err2)
		}
		if err != nil || !json.Valid(doc) {
			return
		}
		if !json.Valid(with) || !json.Valid(without) {
			t.Fatalf("%s, %s", with, without)
		}
		p, ok := locate(doc, at)
		if !ok {
			t.Fatal("there is no such place")
		}
		q, ok := locate(with, at)
		if !ok {
			t.Fatal("there is no such place any more")
		}
		if undone := Splice(with, []Edit{{From: q.from, To: q.to, New: doc[p.from:p.to]}}); !bytes.Equal(undone, doc) {
			t.Fatalf("%s became %s", doc, undone)
		}
	})
}
