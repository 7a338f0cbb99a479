package rawjson

import (
	"errors"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	t.Parallel()
	doc := []byte(` { "a" : { "b\/c" : [ 1 , "x" , { "é" : null } ] , "\u0062" : 2.50 } , "" : "e" } `)
	for _, c := range []struct {
		path, want string
		ok         bool
	}{
		{"a,b/c,0", "1", true}, {"a,b/c,1", `"x"`, true}, {"a,b/c,2,é", "null", true}, {"a,b", "2.50", true}, {"", `"e"`, true},
		{"a,b/c,3", "", false}, {"a,b/c,00", "", false}, {"a,b/c,-1", "", false}, {"a,x", "", false}, {"A", "", false}, {"a,b,c", "", false},
	} {
		v, ok := Lookup(doc, strings.Split(c.path, ",")...)
		if ok != c.ok || string(v) != c.want {
			t.Errorf("%s: %q, %v", c.path, v, ok)
		}
		if ok && string(doc[Offset(doc, v):][:len(v)]) != c.want {
			t.Errorf("%s is not at %d", c.path, Offset(doc, v))
		}
	}
	if v, ok := Lookup(doc); !ok || v[0] != '{' || v[len(v)-1] != '}' {
		t.Errorf("without a path: %q, %v", v, ok)
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	doc := []byte(`{ "a":1,"\u0062": {"x":[]},"c":"}" }`)
	got := ""
	err := Members(doc, func(key string, at int, value []byte) bool {
		got += key + "=" + string(value) + ";"
		if doc[at] != '"' {
			t.Errorf("%s is not at %d", key, at)
		}
		return key != "c"
	})
	if err != nil || got != `a=1;b={"x":[]};c="}";` {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{``, `[]`, `{"a"}`, `{"a":1`, `{"a":1 "b":2}`, `{a:1}`, `{"a":}`} {
		if err := Members([]byte(bad), func(string, int, []byte) bool { return true }); !errors.Is(err, errForm) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, bad := range []string{``, `{}`, `[1`, `[1 2]`, `[,]`} {
		if err := Elements([]byte(bad), func(int, []byte) bool { return true }); !errors.Is(err, errForm) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestLiterals(t *testing.T) {
	t.Parallel()
	doc := []byte(`{"a/b":["x",{"~":"y\n"}],"n":1,"z":"end"}`)
	var got []string
	Literals(doc, func(l Literal) bool {
		kind := "="
		if l.Key {
			kind = "#"
		}
		got = append(got, l.At+kind+l.Value)
		return true
	})
	if s := strings.Join(got, " "); s != "/a~1b#a/b /a~1b/0=x /a~1b/1/~0#~ /a~1b/1/~0=y\n /n#n /z#z /z=end" {
		t.Errorf("%q", s)
	}
	var values, keys int
	if !Strings(doc, func(string, int, int, string) bool { values++; return true }) || !Keys(doc, func(string, int, int, string) bool { keys++; return true }) {
		t.Error("the walk broke off")
	}
	if values != 3 || keys != 4 {
		t.Errorf("%d values, %d keys", values, keys)
	}
	if Strings(doc, func(string, int, int, string) bool { return false }) {
		t.Error("the walk went on")
	}
}

func TestSplice(t *testing.T) {
	t.Parallel()
	raw := []byte(`{"a":"b"}`)
	if s := Splice(raw, []Edit{{5, 8, []byte(`"longer"`)}, {1, 4, []byte(`"x"`)}}); string(s) != `{"x":"longer"}` {
		t.Errorf("%s", s)
	}
	for _, bad := range [][]Edit{{{0, 2, nil}, {1, 3, nil}}, {{-1, 2, nil}}, {{3, 2, nil}}, {{0, 10, nil}}, {{10, 10, nil}}} {
		if s := Splice(raw, bad); s != nil {
			t.Errorf("%v: %s", bad, s)
		}
	}
	if Offset(raw, []byte(`"a"`)) != -1 || Offset(raw, nil) != -1 || Offset(raw[:3], raw[2:5]) != -1 {
		t.Error("what is no part is found")
	}
}
