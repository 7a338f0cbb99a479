package protocol

import (
	"errors"
	"strings"
	"testing"
)

var scanSeeds = []string{
	`{}`, `[]`, `null`, `true`, `false`, `0`, `-1`, `""`, `9007199254740991`, `9007199254740992`, `-9007199254740991`,
	`-0`, `01`, `-01`, `1.0`, `1e3`, `+1`, `-`, ``, ` {}`, `{} `, `{"a":1,"b":[1,2,{"c":null}]}`, `{"b":1,"a":2}`,
	`{"a":1,"a":2}`, `{"a" :1}`, `{"a":1,}`, `[1,]`, `[1 ,2]`, `{"a"}`, `{a:1}`, `tru`, `truex`, `nul`, "\ufeff{}",
	`"\u0000\u001f\u000b"`, `"\u000a"`, `"\u0008"`, `"\u000A"`, `"\u0041"`, `"\/"`, `"\b\t\n\f\r\"\\"`, "\"\x01\"", "\"\x7f\"",
	"\"\xff\"", "\"\xed\xa0\x80\"", `"\ud83d\ude00"`, `"\ud83d"`, `"😀"`, "\"\u2028\"", `{"😀":1,"":2}`, `{"":1,"😀":2}`,
	`{"\n":1," ":2}`, `{" ":1,"\n":2}`, `{"\"":1,"a":2}`, `{"\\":1,"]":2}`, `{"]":1,"\\":2}`, `{"\u0001":1,"\u0002":2}`,
	`{"é":1,"z":2}`, `{"z":1,"é":2}`, `{"":{"":{"":[]}}}`, `{"a":tru}`, `"`, `"\`, `"\u00`, `{"a":"`,
	strings.Repeat("[", 64) + strings.Repeat("]", 64), strings.Repeat("[", 65) + strings.Repeat("]", 65),
	strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 64), strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65),
}

func compareScan(t *testing.T, doc []byte) {
	t.Helper()
	slow, fast := CheckCanonical(doc), ScanCanonical(doc, nil)
	if (slow == nil) != (fast == nil) {
		t.Fatalf("%q: CheckCanonical says %v, ScanCanonical says %v", doc, slow, fast)
	}
	if slow != nil {
		return
	}
	for i := range doc { // every beginning of a canonical document is a prefix, unless it is a whole number
		err := (*Shape)(nil).ScanPrefix(doc[:i], nil)
		if err != nil && ScanCanonical(doc[:i], nil) != nil {
			t.Fatalf("%q: its beginning %q is not a prefix: %v", doc, doc[:i], err)
		}
	}
	if err := (*Shape)(nil).ScanPrefix(doc, nil); err == nil {
		t.Fatalf("%q is complete, but passes as a proper prefix", doc)
	}
}

func TestScanCanonicalAgreesWithCheckCanonical(t *testing.T) {
	t.Parallel()
	for _, s := range scanSeeds {
		compareScan(t, []byte(s))
	}
	for _, s := range scanSeeds { // and with each byte changed, left out or doubled
		for i := range len(s) {
			for _, c := range []byte{0, ' ', '"', '\\', ',', '0', 'a', '}', 0x80, s[i] ^ 1} {
				compareScan(t, []byte(s[:i]+string([]byte{c})+s[i+1:]))
			}
			compareScan(t, []byte(s[:i]+s[i+1:]))
			compareScan(t, []byte(s[:i]+s[i:i+1]+s[i:]))
		}
	}
}

func FuzzScanCanonical(f *testing.F) {
	for _, s := range scanSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if len(doc) > 1<<12 {
			t.Skip("longer than what this target looks at")
		}
		compareScan(t, doc)
		// What strict reading accepts has a canonical form, unless a number has none.
		if tree, err := DecodeAny(doc); err == nil {
			if again, err := Canonical(tree); err == nil {
				compareScan(t, again)
			}
		}
	})
}

func TestScanVisitsMembers(t *testing.T) { // not parallel: it counts allocations
	doc := []byte(`{"a":{"x":[1]},"b":"t","c":-3}`)
	var got []string
	if err := ScanCanonical(doc, func(m Member) error {
		got = append(got, string(m.Key)+"="+string(m.Value))
		if want := `"` + string(m.Key) + `":` + string(m.Value); string(doc[m.Start:m.End]) != want {
			t.Errorf("span %q, want %q", doc[m.Start:m.End], want)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if s := strings.Join(got, " "); s != `a={"x":[1]} b="t" c=-3` {
		t.Errorf("visited %s", s)
	}
	stop := errors.New("stop")
	if err := ScanCanonical(doc, func(Member) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the visitor's error became %v", err)
	}
	if n := testing.AllocsPerRun(100, func() { _ = ScanCanonical(doc, nil) }); n != 0 {
		t.Errorf("%v allocations in the common case", n)
	}
}

func TestAppendWithout(t *testing.T) {
	t.Parallel()
	doc := []byte(`{"a":1,"b":[2],"c":"3"}`)
	for names, want := range map[string]string{
		"": `{"a":1,"b":[2],"c":"3"}`, "a": `{"b":[2],"c":"3"}`, "b": `{"a":1,"c":"3"}`, "c": `{"a":1,"b":[2]}`,
		"ab": `{"c":"3"}`, "bc": `{"a":1}`, "ac": `{"b":[2]}`, "abc": `{}`,
	} {
		var cut []Member
		_ = ScanCanonical(doc, func(m Member) error { // doc is canonical
			if strings.Contains(names, string(m.Key)) {
				cut = append(cut, m)
			}
			return nil
		})
		if got := string(AppendWithout([]byte("x,"), doc, cut...)); got != "x,"+want {
			t.Errorf("without %q: %s, want x,%s", names, got, want)
		}
		if err := CheckCanonical([]byte(want)); err != nil {
			t.Error(err)
		}
	}
}

func TestUnquote(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{`""`: "", `"abc"`: "abc", `"a\"\\\u0001\n"`: "a\"\\\x01\n", `"é"`: "é"} {
		if got, err := Unquote([]byte(in)); err != nil || got != want {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", `"`, "1", "null"} {
		if _, err := Unquote([]byte(in)); err == nil {
			t.Errorf("%q passed", in)
		}
	}
}

func BenchmarkScanEvent(b *testing.B) {
	line, shape := []byte(sampleEvent), ShapeOf(AuditEvent{})
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if err := shape.Scan(line, nil); err != nil {
			b.Fatal(err)
		}
	}
}
