package secrets

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
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
	"github.com/cabincrew/action/protocol"
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
			"bytes xyz" + strings.ReplaceAll(fmt.Sprintf("% x", secret), " ", ":") + " end",
			"[\n  \"" + strings.Join(each(base64.StdEncoding.EncodeToString([]byte(secret)), 12), "\", \n  \"") + "\"\n]\n",
			`"\x` + hex.EncodeToString([]byte(secret[:1])) + secret[1:] + "\"; // that is all",
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
	corpus := streamCorpus(t)
	for n, id := range slices.Sorted(maps.Keys(corpus)) {
		if n%share != 0 {
			continue // with the race detector, some of the rules
		}
		texts := corpus[id]
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
				for at := i % 3; at <= len(text); at += stride(i, len(text)) {
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

// stride is how far places are apart where a text is cut: plain secrets are cut at every
// byte.
func stride(i, n int) int {
	if i < 2 {
		return 1 + n/(2000/share)
	}
	return 1 + n/(50/share)
}

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
	prose := []string{"The quick brown fox jumps over the lazy dog", "curl -u ", "curl -H \"Authorization: Bearer ", "key", "12, 34, 0x56", "abcd\nefgh\nijkl", "go on", "https://example.com/", "0123456789abcdef0123456789abcdef01234567", "-----BEGIN PRIVATE KEY-----\n",
		"\ngithub.com/some/token v1.0.0 h1:q8Zr2Lm9Xw4Tv7Kc1Pb6Ny3Hs5Jd0Gfq8Zr2Lm9Xw4A=\n", "sourcegraph"}
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

// FuzzStreamSplits compares on any text, cut into pieces in any way.
func FuzzStreamSplits(f *testing.F) {
	m := streaming(f)
	file, err := testRules()
	if err != nil {
		f.Fatal(err)
	}
	e := newEngine(file)
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 2))
		f.Add(soup(f, random, e, 300), seed, uint8(random.IntN(40)))
	}
	f.Fuzz(func(t *testing.T, text string, seed uint64, most uint8) {
		if len(text) > 1<<14 {
			return
		}
		random := rand.New(rand.NewPCG(seed, 3))
		if wrong := differ(t, m, inWhole(t, m, text), randomly(random, text, 1+int(most)), random.IntN(2)*keepAtLeast); wrong != "" {
			t.Fatal(wrong)
		}
	})
}

// TestStreamFarKeyword holds back what is a secret only if a word stands anywhere in the
// text, until it comes or the text ends.
func TestStreamFarKeyword(t *testing.T) {
	t.Parallel()
	m := streaming(t)
	digits := "4efd99247e2e161e6ffd4d8f4a349626" + "e1e51f16"
	filler := strings.Repeat("Some words that say nothing of it.\n", 300)
	text := "commit " + digits + " mends it\n" + filler
	for _, c := range []struct {
		text  string
		found int
	}{{text, 0}, {text + "so says sourcegraph\n", 1}, {"sourcegraph says\n" + text, 1}} {
		s := m.Stream()
		var all []StreamMatch
		for _, p := range each(c.text, 7) {
			n, found, err := s.Feed(t.Context(), []byte(p))
			all = append(all, found...)
			if at := strings.Index(c.text, digits); err != nil || int(n) > at && len(all) < 1 {
				t.Fatalf("%d bytes are released, %v", n, err)
			}
		}
		found, err := s.End(t.Context())
		if all = append(all, found...); err != nil || len(all) != c.found || s.released != len(c.text) {
			t.Errorf("%+v, %v, %d of %d bytes", all, err, s.released, len(c.text))
		}
	}
}

// TestStreamBounds says that what cannot be decided within bounds is an error, and that
// nothing is released after one.
func TestStreamBounds(t *testing.T) {
	t.Parallel()
	m := streaming(t)
	s := m.Stream()
	var err error
	held := int64(0)
	for fed := 0; fed <= limits.SecretStreamHeld+4096 && err == nil; fed += 4096 {
		held, _, err = s.Feed(t.Context(), []byte("-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("no end of it. ", 300))[:4096])
	}
	if !errors.Is(err, protocol.Code("secrets_unjudged")) || held != 0 {
		t.Errorf("%d bytes are released, %v", held, err)
	}
	if n, _, again := s.Feed(t.Context(), []byte("-----END PRIVATE KEY-----\n more text")); n != held || again != err { //nolint:errorlint // the same
		t.Errorf("%d bytes, %v", n, again)
	}
	if _, again := s.End(t.Context()); again != err { //nolint:errorlint // the same
		t.Error(again)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, _, err := m.Stream().Feed(ctx, []byte("text")); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d bytes, %v", n, err)
	}
	done := m.Stream()
	if _, err := done.End(t.Context()); err != nil {
		t.Error(err)
	}
	if _, _, err := done.Feed(t.Context(), []byte("more")); err == nil {
		t.Error("text after the end is taken")
	}
	// Much text of no interest takes no room.
	long := m.Stream()
	for range 2000 {
		if n, found, err := long.Feed(t.Context(), []byte(englishProse)); err != nil || len(found) > 0 || long.base+len(long.buf)-int(n) > 64 || cap(long.buf) > 64<<10 {
			t.Fatalf("%d bytes, %+v, %v, %d kept", n, found, err, cap(long.buf))
		}
	}
}

// TestStreamKnown says that what the baseline knows is not told.
func TestStreamKnown(t *testing.T) {
	t.Parallel()
	secret := "ghp_" + "x9Qk2mZ7Lr4TvB8nW1sYc6Hd3Jf5Gp0aEoUi"
	b, err := NewBaseline([]Match{{Rule: "github-pat", Fingerprint: Fingerprint("github-pat", secret), File: "message"}}, "a sample")
	if err != nil {
		t.Fatal(err)
	}
	m, err := must(t, Options{Baseline: b}).Messages("", "")
	if err != nil {
		t.Fatal(err)
	}
	if found, wrong := inPieces(t, m, each("see "+secret+" there", 3), 0); len(found) > 0 || wrong != "" {
		t.Errorf("%+v %s", found, wrong)
	}
}

// TestStreamManyStates says that automata which forget their states go on as before.
func TestStreamManyStates(t *testing.T) {
	t.Parallel()
	m := streaming(t)
	random := rand.New(rand.NewPCG(3, 3))
	var b strings.Builder
	for b.Len() < 40_000/share {
		b.WriteString("abcdefghij_"[random.IntN(5):][:1+random.IntN(6)] + "_sk-proj-glpat-")
	}
	text := b.String()
	want := inWhole(t, m, text)
	if wrong := differ(t, m, want, each(text, 50), 0); wrong != "" {
		t.Error(wrong)
	}
	w, _ := m.ev.workers.Get().(*worker)
	defer m.ev.workers.Put(w)
	if w.dfas != nil {
		t.Logf("%d states, forgotten %d times", len(w.dfas.early.sets), w.dfas.resets)
	}
}

// TestStreamWorkers feeds many streams by turns, so that each meets the automata of others.
func TestStreamWorkers(t *testing.T) {
	t.Parallel()
	m := streaming(t)
	secret := "token: ghp_" + "x9Qk2mZ7Lr4TvB8nW1sYc6Hd3Jf5Gp0aEoUi" + " and openai sk-proj-none\n"
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			streams, found := make([]*Stream, 20), 0
			for n := range streams {
				streams[n] = m.Stream()
			}
			for _, p := range each(strings.Repeat("x", i)+secret, 5) {
				for _, s := range streams {
					_, list, err := s.Feed(t.Context(), []byte(p))
					if found += len(list); err != nil {
						t.Error(err)
					}
				}
			}
			for _, s := range streams {
				list, err := s.End(t.Context())
				if found += len(list); err != nil {
					t.Error(err)
				}
			}
			if found != len(streams) {
				t.Errorf("%d findings in %d streams", found, len(streams))
			}
		})
	}
	all.Wait()
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
	words := "- " + strings.ReplaceAll(strings.Join(strings.Fields(strings.ReplaceAll(englishProse, ".", " ")), "\n- "), ",", "") + "\n"
	if mean, most := holds(t, m, each(words, 5)); mean > 12 || most > 64 {
		t.Errorf("of a list %.1f bytes are held back on average, %d at most", mean, most)
	} else {
		t.Logf("list: %.1f bytes are held back on average, %d at most", mean, most)
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
