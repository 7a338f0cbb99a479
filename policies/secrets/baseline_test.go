package secrets

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

func TestBaseline(t *testing.T) {
	t.Parallel()
	text := "a " + githubPat() + "\nb " + awsKey() + "\nc opensesame\n"
	values := map[string]string{"V": "opensesame"}
	found, err := must(t, Options{Values: values}).Scan(t.Context(), "out.txt", strings.NewReader(text))
	if err != nil || len(found) != 3 {
		t.Fatalf("%v %v", found, err)
	}
	b, err := NewBaseline(append(found, found...), "an example of the documentation")
	if err != nil || len(b.Known()) != 2 {
		t.Fatalf("%v %v", b, err)
	}
	var file bytes.Buffer
	if err := b.Write(&file); err != nil {
		t.Fatal(err)
	}
	read, err := ReadBaseline("b.json", &file)
	if err != nil || read.Digest() != b.Digest() {
		t.Fatal(err)
	}
	ev := must(t, Options{Baseline: read, Values: values})
	list := judge(t, ev, body(text+"d "+awsKey()+"\ne "+awsKey()[:16]+"2345\n"))
	if got := brief(list); got != "value@body:3:3; aws-access-token@body:5:3" {
		t.Errorf("found %q", got)
	}
	if list[0].Evidence["known"] != int64(3) {
		t.Errorf("%v", list[0].Evidence)
	}
	if list := judge(t, ev, body(strings.Split(text, "c ")[0])); len(list) != 0 {
		t.Errorf("all is known, but found %q", brief(list))
	}
	other := body(text)
	other.Artifacts[0].Name = "other.txt"
	if got := brief(judge(t, ev, other)); got != "github-pat@body:1:3; aws-access-token@body:2:3; value@body:3:3" {
		t.Errorf("in another file: %q", got)
	}
	if must(t, Options{}).Digest() == ev.Digest() || must(t, Options{Decision: protocol.Warn}).Digest() == must(t, Options{}).Digest() {
		t.Error("the digest does not cover the options")
	}
	if must(t, Options{Values: values}).Digest() != must(t, Options{}).Digest() {
		t.Error("the digest tells about values")
	}
}

func TestBaselineRefusals(t *testing.T) {
	t.Parallel()
	entry := `{"fingerprint": "0123456789abcdef01234567", "rule": "r", "file": "f", "reason": "x"}`
	list := func(entries ...string) string {
		return `{"version": 1, "findings": [` + strings.Join(entries, ",") + `]}`
	}
	if b, err := ReadBaseline("b", strings.NewReader(list(entry))); err != nil || len(b.Known()) != 1 {
		t.Fatal(err)
	}
	many := make([]string, limits.SecretBaselineEntries+1)
	for i := range many {
		many[i] = strings.Replace(entry, "0123", fmt.Sprintf("%04x", i), 1)
	}
	for name, text := range map[string]string{
		"empty": "", "not json": "{", "a list": "[]", "no version": `{"findings": []}`, "version": `{"version": 2, "findings": []}`,
		"unknown key": `{"version": 1, "findings": [], "more": 1}`, "second document": list() + list(),
		"short fingerprint":      list(strings.Replace(entry, "0123", "", 1)),
		"capital digits":         list(strings.Replace(entry, "abcdef", "ABCDEF", 1)),
		"no rule":                list(strings.Replace(entry, `"r"`, `""`, 1)),
		"mapped value":           list(strings.Replace(entry, `"r"`, `"value"`, 1)),
		"unjudged":               list(strings.Replace(entry, `"r"`, `"unjudged"`, 1)),
		"no file":                list(strings.Replace(entry, `"f"`, `""`, 1)),
		"no reason":              list(strings.Replace(entry, `"x"`, `" "`, 1)),
		"missing reason":         list(`{"fingerprint": "0123456789abcdef01234567", "rule": "r", "file": "f"}`),
		"long reason":            list(strings.Replace(entry, `"x"`, `"`+strings.Repeat("x", limits.SecretBaselineReason+1)+`"`, 1)),
		"twice":                  list(entry, strings.Replace(entry, `"x"`, `"y"`, 1)),
		"too many":               list(many...),
		"too large":              strings.Repeat(" ", limits.SecretBaseline) + list(),
		"duplicate key":          `{"version": 1, "version": 1, "findings": []}`,
		"fingerprint of another": list(strings.Replace(entry, "0123456789abcdef01234567", "xyz3456789abcdef01234567", 1)),
	} {
		if _, err := ReadBaseline("b.json", strings.NewReader(text)); protocol.ExitCode(err) != protocol.ExitUsage || !strings.Contains(err.Error(), "b.json") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadBaseline("b.json", iotest.ErrReader(bytes.ErrTooLarge)); protocol.ExitCode(err) != protocol.ExitUsage {
		t.Errorf("unreadable: %v", err)
	}
	if _, err := NewBaseline([]Match{{Rule: "r", Fingerprint: "0123456789abcdef01234567", File: "f"}}, ""); err == nil {
		t.Error("no reason was accepted")
	}
	var none *Baseline
	if none.knows(&Match{}) || none.Known() != nil || none.Digest() == "" {
		t.Error("nil knows something")
	}
}

func FuzzBaseline(f *testing.F) {
	f.Add([]byte(`{"version": 1, "findings": [{"fingerprint": "0123456789abcdef01234567", "rule": "r", "file": "f", "reason": "x"}]}`))
	f.Add([]byte(`{"version": 1, "findings": []}`))
	f.Add([]byte(`{"version": 1, "findings": [{"fingerprint": "0123456789abcdef01234567", "rule": "\ud800", "file": "é", "reason": "\u0000"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ReadBaseline("b", bytes.NewReader(data))
		if err != nil {
			if protocol.ExitCode(err) != protocol.ExitUsage {
				t.Fatal(err)
			}
			return
		}
		var out bytes.Buffer
		if err := b.Write(&out); err != nil {
			t.Fatal(err)
		}
		again, err := ReadBaseline("b", &out)
		if err != nil || again.Digest() != b.Digest() {
			t.Fatalf("written and read again: %v", err)
		}
	})
}

// FuzzDecoder goes through everything that is decoded from any bytes and checks
// that places lie within, that it ends, and that it grows within bounds.
func FuzzDecoder(f *testing.F) {
	for _, s := range []string{
		std("some text that is long enough"), hexed("some text that is long enough"), percentAll("some text"), `\u0041\x42\"\/\\n`,
		strings.Repeat("VVVV", 20), lines64(std(strings.Repeat("long text ", 20)), 40), "a\"" + std("text in quotes,") + "\" +\n\"" + std("more of it") + "\"",
		std(string(wideText("wide text in base64"))), "%%25%2525", "\\", "%4", "\\u00", strings.Repeat("=\n", 30),
	} {
		f.Add([]byte(s), 0, 1<<10)
	}
	f.Fuzz(func(t *testing.T, text []byte, lo, hi int) {
		if len(text) > 1<<12 {
			text = text[:1<<12]
		}
		lo = min(max(0, lo), len(text))
		hi = min(max(lo, hi), len(text))
		size, count := 0, 0
		new(decoder).pieces(text, lo, hi, func(p piece) bool {
			if p.lo < 0 || p.lo > p.hi || p.hi > len(p.text) || p.encoding == "" {
				t.Fatalf("piece of %d bytes with %d to %d", len(p.text), p.lo, p.hi)
			}
			for i := range len(p.text) + 1 {
				if at := p.origin(i); at < 0 || at > len(text) {
					t.Fatalf("place %d of a %s piece is %d of %d", i, p.encoding, at, len(text))
				}
			}
			count++
			size += len(p.text)
			return count < 1000
		})
		wide(text, 0, len(text), func(p piece) bool {
			last := 0
			for i := range len(p.text) + 1 {
				at := p.origin(i)
				if at < last || at > len(text) {
					t.Fatalf("place %d of a UTF-16 piece is %d of %d", i, at, len(text))
				}
				last = at
			}
			size += len(p.text)
			return true
		})
		if size > 24*len(text)+limits.SecretBefore {
			t.Fatalf("%d bytes became %d in %d pieces", len(text), size, count)
		}
	})
}
