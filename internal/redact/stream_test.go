package redact

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// reference redacts in the plainest way: it looks for every spelling at every
// place, joins places that overlap or touch, and names each by the one that ends
// first, the longest of those.
func reference(r *Redactor, texts [][]byte, s string) string {
	type place struct{ from, to, pattern int }
	var places []place
	for p, text := range texts {
		for i := 0; i+len(text) <= len(s); i++ {
			if s[i:i+len(text)] == string(text) {
				places = append(places, place{i, i + len(text), p})
			}
		}
	}
	slices.SortStableFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.to, b.to), cmp.Compare(a.from, b.from), cmp.Compare(a.pattern, b.pattern))
	})
	// Going by ends, a place may swallow any number of earlier ones.
	var joined []place
	for _, p := range places {
		for len(joined) > 0 && joined[len(joined)-1].to >= p.from {
			last := joined[len(joined)-1]
			joined = joined[:len(joined)-1]
			p = place{min(p.from, last.from), p.to, last.pattern}
		}
		joined = append(joined, p)
	}
	var b strings.Builder
	at := 0
	for _, p := range joined {
		b.WriteString(s[at:p.from])
		b.WriteString(r.patterns[p.pattern].label)
		at = p.to
	}
	return b.String() + s[at:]
}

// texts gives the spellings that New puts into a redactor, in its order.
func texts(t testing.TB, secrets map[string]string) [][]byte {
	t.Helper()
	var names []string
	for n := range secrets {
		names = append(names, n)
	}
	slices.Sort(names)
	var out [][]byte
	for _, n := range names {
		out = append(out, forms(secrets[n])...)
		if bare := trimmed(secrets[n]); bare != secrets[n] {
			out = append(out, forms(bare)...)
		}
		for _, l := range lines(secrets[n]) {
			out = append(out, l.text)
		}
	}
	return out
}

func fuzzSecrets() map[string]string {
	return map[string]string{
		"A": "hunter2hunter2", "B": "aaab", "C": "ter2hunter2aa", "D": "aaaa", "E": "x/y+z=%&\"", "F": "\xff\x00ö\n",
		"G": "first line of it\nsecond line of it\nab", "H": " ter2\r\n",
	}
}

// FuzzStream proves that the stream gives what the plainest redactor gives, in
// whatever pieces it is written, byte by byte among them.
func FuzzStream(f *testing.F) {
	secrets := fuzzSecrets()
	r, err := New(secrets)
	if err != nil {
		f.Fatal(err)
	}
	all := texts(f, secrets)
	if len(all) != len(r.patterns) {
		f.Fatalf("%d spellings, %d patterns", len(all), len(r.patterns))
	}
	f.Add([]byte("a hunter2hunter2 b aaab aab"), uint64(1))
	f.Add([]byte("hunter2hunter2hunter2aaaaaaaabhunter2"), uint64(2))
	f.Add([]byte("aaaaaaaaaaaaaaaaaaaaab"), uint64(3))
	f.Add([]byte(base64.StdEncoding.EncodeToString([]byte("u:hunter2hunter2"))), uint64(4))
	for _, text := range all {
		f.Add(append(append([]byte("=aa"), text...), text...), uint64(5))
	}
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		if len(data) > 1<<12 {
			data = data[:1<<12]
		}
		want := reference(r, all, string(data))
		random := rand.New(rand.NewPCG(seed, 0))
		for name, size := range map[string]func() int{
			"whole": func() int { return len(data) }, "bytes": func() int { return 1 }, "pieces": func() int { return random.IntN(9) },
		} {
			var b bytes.Buffer
			w := r.Writer(&b)
			for rest := data; len(rest) > 0; {
				n := min(max(0, size()), len(rest))
				if _, err := w.Write(rest[:n]); err != nil {
					t.Fatal(err)
				}
				if len(w.held) > 2*r.longest {
					t.Fatalf("%s: %d bytes held", name, len(w.held))
				}
				rest = rest[n:]
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if b.String() != want {
				t.Fatalf("%s: %q, want %q", name, b.String(), want)
			}
		}
		d := r.Detector()
		for _, c := range data {
			_, _ = d.Write([]byte{c})
		}
		if (d.Found() != "") != (want != string(data)) {
			t.Fatalf("the detector found %q", d.Found())
		}
	})
}

// TestEverySplit cuts a text with every spelling at every pair of places.
func TestEverySplit(t *testing.T) {
	t.Parallel()
	secrets := map[string]string{"A": "pä/ss w+rd", "B": "w+rdw+rd", "C": "wrd+\r\n"}
	r, err := New(secrets)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts(t, secrets) {
		s := "w+rd" + string(text) + "w+rd."
		want := reference(r, texts(t, secrets), s)
		for i := range s {
			for j := i; j <= len(s); j++ {
				var b strings.Builder
				w := r.Writer(&b)
				for _, part := range []string{s[:i], s[i:j], s[j:]} {
					if _, err := io.WriteString(w, part); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Close(); err != nil || b.String() != want {
					t.Fatalf("cut at %d and %d: %q, want %q", i, j, b.String(), want)
				}
			}
		}
	}
}

// TestMemory redacts a chain of values that overlap without end.
func TestMemory(t *testing.T) {
	t.Parallel()
	r, err := New(map[string]string{"A": "aaaaaaaa"})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	w := r.Writer(&b)
	for range 1 << 14 {
		if _, err := w.Write([]byte("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")); err != nil {
			t.Fatal(err)
		}
		if len(w.held) > 2*r.longest {
			t.Fatalf("%d bytes held", len(w.held))
		}
	}
	if err := w.Close(); err != nil || b.String() != "[redacted:A]" {
		t.Fatalf("%q %v", b.String(), err)
	}
}

func TestWrappedBase64(t *testing.T) {
	t.Parallel()
	var value strings.Builder
	for i := range 40 {
		fmt.Fprintf(&value, "line %d of a key that is long;", i)
	}
	r, err := New(map[string]string{"KEY": value.String()})
	if err != nil {
		t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString([]byte(value.String()))
	for _, width := range []int{64, 76} {
		var wrapped strings.Builder
		for i := 0; i < len(text); i += width {
			wrapped.WriteString("  " + text[i:min(i+width, len(text))] + "\r\n")
		}
		got := r.String(wrapped.String())
		for l := range strings.Lines(got) {
			if l = strings.TrimSpace(l); len(l) > minLine && !strings.Contains(l, "[redacted:KEY") {
				t.Errorf("width %d: %q is left", width, l)
			}
		}
	}
}

// TestLargeSecret keeps the automaton within a few dozen bytes a byte of pattern.
func TestLargeSecret(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, 32<<10)
	for i := range value {
		value[i] = byte(' ' + random.IntN(95))
	}
	r, err := New(map[string]string{"BIG": string(value)})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.String("a " + string(value) + " b"); got != "a [redacted:BIG] b" {
		t.Fatalf("%d bytes are left", len(got))
	}
	if n := len(r.auto.states); n > 60*len(value) {
		t.Fatalf("%d states", n)
	}
}

func BenchmarkStream(b *testing.B) {
	secrets := map[string]string{}
	for i := range 10 {
		secrets[fmt.Sprintf("S%d", i)] = strings.Repeat(fmt.Sprintf("s3cr/et%d+Va", i), 4)
	}
	r, err := New(secrets)
	if err != nil {
		b.Fatal(err)
	}
	text := bytes.Repeat([]byte("\tif err := step(ctx, \"some ordinary text of a log\", 1234); err != nil {\n"), 1<<10)
	for name, sink := range map[string]io.Writer{"redact": r.Writer(io.Discard), "detect": r.Detector()} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := sink.Write(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	secrets := map[string]string{"KEY": strings.Repeat("0123456789abcdef\n", 200), "TOKEN": "s3cr/et+Value==&\"x\""}
	for b.Loop() {
		if _, err := New(secrets); err != nil {
			b.Fatal(err)
		}
	}
}
