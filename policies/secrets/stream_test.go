package secrets

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
)

const mappedValue = "correct horse battery"

var streamMessages = sync.OnceValues(func() (*Messages, error) {
	ev, err := New(Options{Values: map[string]string{"UPSTREAM": mappedValue, "KEY": "first line of it is here\nsecond line of it is there"}})
	if err != nil {
		return nil, err
	}
	return ev.Messages("deny", "deny")
})

func streaming(t testing.TB) *Messages {
	t.Helper()
	m, err := streamMessages()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// inWhole gives what JudgeTexts finds in a whole text, with its places.
func inWhole(t testing.TB, m *Messages, text string) []StreamMatch {
	t.Helper()
	w, _ := m.ev.workers.Get().(*worker)
	defer m.ev.workers.Put(w)
	x := &texting{texts: []policies.Text{{At: "", Value: text}}, found: map[string]*leak{}}
	c := &scan{
		w: w, values: m.ev.values, baseline: m.ev.o.Baseline, left: limits.GatewaySecretBytes, expand: limits.SecretExpansionFree,
		seen: map[Match]bool{}, spot: x.spot, room: limits.GatewaySecretHidden,
	}
	if err := x.whole(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	all := map[StreamMatch]bool{}
	for _, l := range x.found {
		for _, p := range l.places {
			all[StreamMatch{int64(p.from), int64(p.to), l.rule, l.fingerprint, l.secret, ""}] = true
		}
	}
	return ordered(slices.Collect(maps.Keys(all)))
}

func ordered(list []StreamMatch) []StreamMatch {
	slices.SortFunc(list, func(a, b StreamMatch) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), strings.Compare(a.Rule, b.Rule), strings.Compare(a.Fingerprint, b.Fingerprint))
	})
	return list
}

// inPieces gives what a stream finds, and how it broke its promises.
func inPieces(t testing.TB, m *Messages, pieces []string, keep int) (found []StreamMatch, wrong string) {
	t.Helper()
	s := m.Stream()
	s.keep = keep
	released, size := int64(0), int64(0)
	all := map[StreamMatch]bool{}
	add := func(list []StreamMatch) {
		for _, f := range list {
			if f.From < released {
				wrong = fmt.Sprintf("%+v is told when %d bytes were released", f, released)
			}
			f.Encoding = ""
			all[f] = true
		}
	}
	for _, p := range pieces {
		size += int64(len(p))
		n, list, err := s.Feed(t.Context(), []byte(p))
		if err != nil {
			return nil, err.Error()
		}
		add(list)
		if n < released || n > size {
			return nil, fmt.Sprintf("%d bytes are released after %d, of %d", n, released, size)
		}
		released = n
	}
	list, err := s.End(t.Context())
	if err != nil {
		return nil, err.Error()
	}
	add(list)
	return ordered(slices.Collect(maps.Keys(all))), wrong
}

// differ gives how a stream of pieces differs from the whole text.
func differ(t testing.TB, m *Messages, want []StreamMatch, pieces []string, keep int) string {
	t.Helper()
	have, wrong := inPieces(t, m, pieces, keep)
	if wrong == "" && !slices.Equal(have, want) {
		wrong = fmt.Sprintf("found\n  %+v\nin the whole\n  %+v", have, want)
	}
	return wrong
}

func each(text string, n int) []string {
	var out []string
	for len(text) > n {
		out, text = append(out, text[:n]), text[n:]
	}
	return append(out, text)
}

// streamCorpus has secrets of every rule, in several surroundings and encodings.
func streamCorpus(t testing.TB) map[string][]string {
	t.Helper()
	f, err := testRules()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(8, 5))
	out := map[string][]string{}
	for _, r := range f.Rules {
		if r.Regex == "" {
			continue
		}
		secret := sample(t, random, r)
		out[r.ID] = []string{
			secret,
			"The key is " + secret + " and that is all of it.\nAnother line, with a token in it.",
			"x := \"" + secret + "\"\n" + secret + "\n",
			"see " + base64.StdEncoding.EncodeToString([]byte("a token: "+secret+" end")) + " there",
			inLines(base64.StdEncoding.EncodeToString([]byte(secret)), 20+random.IntN(50)),
			"key: " + hex.EncodeToString([]byte(secret)) + ".",
			"?q=" + url.QueryEscape(secret) + "&x=1 and so on",
			jsonEscaped(secret, random),
			"bytes " + strings.ReplaceAll(fmt.Sprintf("% x", secret), " ", ", 0x") + " end",
		}
	}
	out["value"] = []string{
		"a " + mappedValue + " b", base64.StdEncoding.EncodeToString([]byte("x" + mappedValue)), "wide " + littleEndian(mappedValue) + " end",
		"the first line of it is here, and the second line of it is there", url.QueryEscape(mappedValue + "\n" + mappedValue),
		inLines(base64.StdEncoding.EncodeToString([]byte("aaa "+mappedValue+" bbb")), 10),
	}
	return out
}

func littleEndian(text string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(text)) {
		b.Write([]byte{byte(u), byte(u >> 8)})
	}
	return b.String()
}

func inLines(text string, n int) string { return strings.Join(each(text, n), "\n") }

func jsonEscaped(text string, random *rand.Rand) string {
	var b strings.Builder
	b.WriteString(`{"a": "{\"text\": \"`)
	for i := range len(text) {
		if random.IntN(3) == 0 {
			fmt.Fprintf(&b, `\u%04x`, text[i])
		} else {
			b.WriteByte(text[i])
		}
	}
	return b.String() + `\"}"}`
}

// TestStreamEverySplit feeds secrets of every rule in two pieces at every place, and in
// pieces of one and a few bytes: what is found is what is found in the whole, and is told
// before a byte of it is released.
func TestStreamEverySplit(t *testing.T) {
	t.Parallel()
	m := streaming(t)
	for id, texts := range streamCorpus(t) {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			found := 0
			for i, text := range texts {
				want := inWhole(t, m, text)
				found += len(want)
				for _, n := range []int{1, 2, 5, 64, len(text) + 1} {
					if wrong := differ(t, m, want, each(text, n), 0); wrong != "" {
						t.Errorf("text %d in pieces of %d: %s\n%q", i, n, wrong, text)
						break
					}
				}
				for at := 0; at <= len(text); at += stride(len(text)) {
					if wrong := differ(t, m, want, []string{text[:at], text[at:]}, 1<<20); wrong != "" {
						t.Errorf("text %d cut at %d: %s\n%q", i, at, wrong, text)
						break
					}
				}
			}
			if r := ruleOf(id); found == 0 && (r == nil || r.Path == "") {
				t.Error("nothing was found in any text")
			}
		})
	}
}

func stride(n int) int { return 1 + n/(400/share) }

func ruleOf(id string) *rule {
	f, err := testRules()
	if err != nil {
		return nil
	}
	for _, r := range f.Rules {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// soup mixes secrets, parts of them, keywords and prose, plain and encoded, also twice.
func soup(t testing.TB, random *rand.Rand, e *engine, size int) string {
	t.Helper()
	separators := []string{" ", "\n", "=", " = \"", "\"", "\";\n", ": ", ",", "\\n", "\t", "ſ", "\u212a", "\u0130", "é", "\xff", "'", "`", "- ", "-", "_", ".", "%", "\\", "\\\\", "\\\"", "\n\n", "|", "\x00", "测试", "+\n"}
	prose := []string{"The quick brown fox jumps over the lazy dog", "curl -u ", "curl -H \"Authorization: Bearer ", "key", "12, 34, 0x56", "abcd\nefgh\nijkl", "go on", "https://example.com/", "0123456789abcdef0123456789abcdef01234567", "-----BEGIN PRIVATE KEY-----\n"}
	var b strings.Builder
	for b.Len() < size {
		r := e.rules[random.IntN(len(e.rules))]
		text := prose[random.IntN(len(prose))]
		switch {
		case r.Regex != "" && random.IntN(2) == 0:
			text = sample(t, random, r)
		case len(r.Keywords) > 0 && random.IntN(2) == 0:
			text = r.Keywords[random.IntN(len(r.Keywords))]
		case random.IntN(6) == 0:
			text = mappedValue
		}
		if len(text) > 10 && random.IntN(4) == 0 {
			text = text[:random.IntN(len(text))]
		}
		for random.IntN(2) == 0 && len(text) < 1000 {
			text = disguise(random, text)
		}
		b.WriteString(text)
		for range 1 + random.IntN(2) {
			b.WriteString(separators[random.IntN(len(separators))])
		}
	}
	return b.String()
}

// disguise encodes a text, or a part of it.
func disguise(random *rand.Rand, text string) string {
	if text == "" {
		return text
	}
	from, to := 0, len(text)
	if random.IntN(2) == 0 {
		from = random.IntN(len(text))
		to = from + 1 + random.IntN(min(len(text)-from, 1+random.IntN(len(text))))
	}
	part := text[from:to]
	switch random.IntN(9) {
	case 0:
		part = base64.StdEncoding.EncodeToString([]byte(part))
	case 1:
		part = inLines(base64.RawURLEncoding.EncodeToString([]byte(part)), 4+random.IntN(30))
	case 2:
		part = hex.EncodeToString([]byte(part))
	case 3:
		part = fmt.Sprintf("% x", part)
	case 4:
		part = url.QueryEscape(part)
	case 5:
		part = escapedEach(part, "%%%02x")
	case 6:
		part = escapedEach(part, `\u%04x`)
	case 7:
		part = strings.NewReplacer("s", "ſ", "k", "\u212a", "i", "\u0130").Replace(part)
	case 8:
		part = string(wideText(part))
	}
	return text[:from] + part + text[to:]
}

func escapedEach(text, format string) string {
	var b strings.Builder
	for i := range len(text) {
		fmt.Fprintf(&b, format, text[i])
	}
	return b.String()
}

func randomly(random *rand.Rand, text string, most int) []string {
	var out []string
	for text != "" {
		n := min(len(text), 1+random.IntN(most))
		out, text = append(out, text[:n]), text[n:]
	}
	return out
}

// TestStreamSoup compares on texts in which everything stands beside everything.
func TestStreamSoup(t *testing.T) {
	t.Parallel()
	f, err := testRules()
	if err != nil {
		t.Fatal(err)
	}
	m, e, findings := streaming(t), newEngine(f), 0
	for seed := range uint64(soups / share) {
		random := rand.New(rand.NewPCG(seed, 1))
		text := soup(t, random, e, 100+random.IntN(1500))
		want := inWhole(t, m, text)
		findings += len(want)
		for _, pieces := range [][]string{each(text, 1), randomly(random, text, 8), randomly(random, text, 200), {text}} {
			if wrong := differ(t, m, want, pieces, random.IntN(2)*keepAtLeast); wrong != "" {
				t.Fatalf("soup %d in %d pieces: %s\n%q", seed, len(pieces), wrong, text)
			}
		}
	}
	t.Logf("%d findings", findings)
}

const soups = 400

// englishProse is ordinary text, as models write it.
const englishProse = `Sure! Here is how the garbage collector works, step by step.

First, the runtime stops the world for a very short time. Every goroutine is paused at a safe point, and the write barrier is turned on. After that, marking runs beside your program: it walks from the roots (globals, stacks, registers) and colours what it can reach. Objects that were not reached are free. The key idea is that the mutator helps: whoever allocates much also has to mark, so the collector is never outrun.

Then comes sweeping - it is lazy, and each span is swept when it is needed again. You can watch all of this with GODEBUG=gctrace=1, or ask for a token budget of 50% with debug.SetGCPercent. Don't tune it before you have measured; in 9 of 10 cases the heap is simply too small, or a cache holds too much.

1. Measure the live heap.
2. Look at who allocates.
3. Only then change GOGC.

- fewer pointers
- larger objects
- pools

If you need to authenticate against an API, read the password from a file, never from the command line. That's it; I hope this helps!
`

// piecesOf gives a text as models stream it: a word or a part of one at a time.
func piecesOf(text string) []string {
	var out []string
	for text != "" {
		n := 1
		for n < len(text) && n < 8 && text[n] != ' ' && text[n] != '\n' {
			n++
		}
		out, text = append(out, text[:n]), text[n:]
	}
	return out
}

// holds feeds pieces and gives how much of the text is held back after one, on average
// and at most.
func holds(t testing.TB, m *Messages, pieces []string) (mean float64, most int64) {
	t.Helper()
	s := m.Stream()
	sum, size := int64(0), int64(0)
	for _, p := range pieces {
		size += int64(len(p))
		released, found, err := s.Feed(t.Context(), []byte(p))
		if err != nil || len(found) > 0 {
			t.Fatalf("%d of %d bytes, %+v, %v", released, size, found, err)
		}
		sum += size - released
		most = max(most, size-released)
	}
	if found, err := s.End(t.Context()); err != nil || len(found) > 0 || int64(s.released) != size {
		t.Fatalf("%d of %d bytes at the end, %+v, %v", s.released, size, found, err)
	}
	return float64(sum) / float64(len(pieces)), most
}

// TestStreamHoldsLittle says how much of ordinary text is held back: of prose the word
// that is not at its end.
func TestStreamHoldsLittle(t *testing.T) {
	t.Parallel()
	m := streaming(t)
	mean, most := holds(t, m, piecesOf(englishProse))
	t.Logf("prose: %.1f bytes are held back on average, %d at most", mean, most)
	if mean > 6 || most > 32 {
		t.Errorf("of prose %.1f bytes are held back on average, %d at most", mean, most)
	}
	chinese := strings.Repeat("垃圾回收器首先会暂停所有的程序，然后从根对象开始标记。这是一个测试，没有任何秘密。", 20)
	if mean, most := holds(t, m, each(chinese, 9)); mean > 3 || most > 9 {
		t.Errorf("of Chinese %.1f bytes are held back on average, %d at most", mean, most)
	}
	files := goSource(t, "net/url", "container", "sort", "strconv")
	sum, n, longest := 0.0, 0, int64(0)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if len(files[name]) > 1<<16/share || len(inWhole(t, m, files[name])) > 0 {
			continue
		}
		pieces := piecesOf(files[name])
		mean, most := holds(t, m, pieces)
		if most > longest {
			longest = most
			t.Logf("%s: %d", name, most)
		}
		sum, n = sum+mean*float64(len(pieces)), n+len(pieces)
	}
	t.Logf("code: %.1f bytes are held back on average, %d at most, over %d pieces", sum/float64(n), longest, n)
}

// BenchmarkStream is one answer of a model: 52 pieces of prose.
func BenchmarkStream(b *testing.B) {
	m := streaming(b)
	pieces := piecesOf(englishProse)[:52]
	feed := make([][]byte, len(pieces))
	size := 0
	for i, p := range pieces {
		feed[i], size = []byte(p), size+len(p)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		s := m.Stream()
		for _, p := range feed {
			if _, found, err := s.Feed(b.Context(), p); err != nil || len(found) > 0 {
				b.Fatal(found, err)
			}
		}
		if _, err := s.End(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStreamCode is a file of Go in pieces of 6 bytes.
func BenchmarkStreamCode(b *testing.B) {
	m := streaming(b)
	text := goSource(b, "net/url")["/src/net/url/url.go"]
	pieces := each(text, 6)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		s := m.Stream()
		for _, p := range pieces {
			if _, _, err := s.Feed(b.Context(), []byte(p)); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := s.End(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
