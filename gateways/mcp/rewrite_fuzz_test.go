package mcp

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
)

// rewrites are messages and pointers for the fuzz targets to begin with.
func rewrites(f *testing.F) {
	f.Helper()
	for _, doc := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":1, "y" : [1,{"z":"\u0041"},3],"":{"/":"~"}}}}`,
		`{ "jsonrpc":"2.0" ,"id":"\u0061","method":"vendor/x","params":{"\u0061":true,"b":null,"c":[],"d":[ 1 , 2 ]} }`,
		`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"},{"name":"b"}],"n":1.50e2}}`,
		`{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"m","data":{"a":[[]]}}}`,
	} {
		for _, at := range []string{"", "/", "/id", "/params/arguments/x", "/params/arguments/y/1/z", "/params/arguments//~1", "/params/a", "/params/d/0", "/params/d/-1", "/params/d/00", "/result/tools/1", "/error/data/a/0"} {
			f.Add([]byte(doc), at, "/params/arguments/y", byte(0))
			f.Add([]byte(doc), at, "/result/n", byte(7))
		}
	}
}

// valueAt walks a tree as RFC 6901 says, by other code than locate.
func valueAt(tree any, pointer string) (any, bool) {
	if !strings.HasPrefix(pointer, "/") {
		return nil, false
	}
	for _, step := range strings.Split(pointer, "/")[1:] {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		switch node := tree.(type) {
		case map[string]any:
			v, ok := node[step]
			if !ok {
				return nil, false
			}
			tree = v
		case []any:
			n, err := strconv.ParseUint(step, 10, 31)
			if err != nil || int(n) >= len(node) || len(step) > 1 && step[0] == '0' {
				return nil, false
			}
			tree = node[n]
		default:
			return nil, false
		}
	}
	return tree, true
}

// FuzzLocate compares the place of a value in the bytes with the value in the tree.
func FuzzLocate(f *testing.F) {
	rewrites(f)
	f.Fuzz(func(t *testing.T, doc []byte, at, _ string, _ byte) {
		msg, err := jsonrpc.Scan(doc, jsonrpc.Options{MaxBytes: 1 << 16})
		if err != nil {
			return
		}
		tree, err := jsonrpc.Tree(msg.Raw)
		if err != nil {
			t.Fatalf("no tree: %v", err)
		}
		want, there := valueAt(tree, at)
		p, ok := locate(msg.Raw, at)
		if ok != there {
			t.Fatalf("%q is there %v, located %v", at, there, ok)
		}
		if !ok {
			return
		}
		if p.cutFrom > p.from || p.cutTo < p.to || p.cutFrom < 0 || p.cutTo > len(msg.Raw) {
			t.Fatalf("%q is at %+v", at, p)
		}
		got, err := jsonrpc.Tree(msg.Raw[p.from:p.to])
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q leads to %q, want %v (%v)", at, msg.Raw[p.from:p.to], want, err)
		}
	})
}

// changed gives a copy of a tree with a value replaced, or removed.
func changed(tree any, steps []string, value any, remove bool) any {
	step := strings.NewReplacer("~1", "/", "~0", "~").Replace(steps[0])
	switch node := tree.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, v := range node {
			switch {
			case k != step:
			case len(steps) > 1:
				v = changed(v, steps[1:], value, remove)
			case remove:
				continue
			default:
				v = value
			}
			out[k] = v
		}
		return out
	case []any:
		n, _ := strconv.Atoi(step)
		out := []any{}
		for i, v := range node {
			switch {
			case i != n:
			case len(steps) > 1:
				v = changed(v, steps[1:], value, remove)
			case remove:
				continue
			default:
				v = value
			}
			out = append(out, v)
		}
		return out
	}
	return tree
}

// FuzzRewritten rewrites messages. What comes of it is read strictly, says what it was
// told to say and otherwise what it said before; what stands before and behind all changes
// is the same bytes, and a value that is replaced leaves everything else the same bytes.
func FuzzRewritten(f *testing.F) {
	rewrites(f)
	f.Fuzz(func(t *testing.T, doc []byte, one, two string, how byte) {
		o := jsonrpc.Options{MaxBytes: 1 << 16}
		msg, err := jsonrpc.Scan(doc, o)
		if err != nil {
			return
		}
		was := bytes.Clone(msg.Raw)
		changes := []gateways.Change{{At: one}}
		if how&1 != 0 {
			changes[0].Value = "new \" value"
		}
		if how&2 != 0 {
			changes = append(changes, gateways.Change{At: two})
			if how&4 != 0 {
				changes[1].Value = json.Number("12.50")
			}
		}
		out, err := rewritten(&matter{msg: msg}, changes, o)
		if !bytes.Equal(msg.Raw, was) {
			t.Fatal("the message itself was changed")
		}
		if err != nil {
			return
		}
		again, err := jsonrpc.Scan(out.Raw, o)
		if err != nil || again.Kind != msg.Kind || again.ID != msg.ID || again.Method != msg.Method {
			t.Fatalf("%q became %q: %v", was, out.Raw, err)
		}
		exactBytes(t, was, out.Raw, changes)
		sameTree(t, was, out.Raw, changes)
	})
}

// exactBytes compares what is beside the changes.
func exactBytes(t *testing.T, was, now []byte, changes []gateways.Change) {
	t.Helper()
	from, to := len(was), 0
	for _, c := range changes {
		p, ok := locate(was, c.At)
		if !ok {
			t.Fatalf("%q was rewritten and is nowhere", c.At)
		}
		if c.Value != nil {
			p.cutFrom, p.cutTo = p.from, p.to
		}
		from, to = min(from, p.cutFrom), max(to, p.cutTo)
	}
	if len(changes) > 1 && changes[0].Value == nil && changes[1].Value == nil {
		to = len(was) // of two that are removed the comma behind both may go, too
	}
	if !bytes.HasPrefix(now, was[:from]) || !bytes.HasSuffix(now, was[to:]) {
		t.Fatalf("%q became %q beside %v", was, now, changes)
	}
	if len(changes) == 1 && changes[0].Value != nil {
		text, err := json.Marshal(changes[0].Value)
		if want := string(was[:from]) + string(text) + string(was[to:]); err != nil || string(now) != want {
			t.Fatalf("%q, want %q", now, want)
		}
	}
}

// sameTree compares what the message says, where the changes do not touch one another.
func sameTree(t *testing.T, was, now []byte, changes []gateways.Change) {
	t.Helper()
	want, err := jsonrpc.Tree(was)
	if err != nil {
		t.Fatal(err)
	}
	// The last place first, so that what is removed of a list moves none of the others.
	if len(changes) == 2 {
		a, _ := locate(was, changes[0].At)
		b, _ := locate(was, changes[1].At)
		if a.from <= b.from && b.to <= a.to || b.from <= a.from && a.to <= b.to {
			return // one within the other: which of them is done is for the tests of rewritten
		}
		if a.from < b.from {
			changes = []gateways.Change{changes[1], changes[0]}
		}
	}
	for _, c := range changes {
		want = changed(want, strings.Split(c.At, "/")[1:], c.Value, c.Value == nil)
	}
	got, err := jsonrpc.Tree(now)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%q became %q (%v), want %v", was, now, err, want)
	}
}
