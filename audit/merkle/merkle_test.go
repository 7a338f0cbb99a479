package merkle_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/cabincrew/action/audit/merkle"
	"github.com/cabincrew/action/internal/limits"
)

// naive is the definition of RFC 6962, section 2.1, as it stands there.
func naive(lines [][]byte) merkle.Root {
	switch len(lines) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, lines[0]...))
	}
	k := 1
	for k*2 < len(lines) {
		k *= 2
	}
	left, right := naive(lines[:k]), naive(lines[k:])
	return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
}

func some(n int) (lines [][]byte, log []byte) {
	for i := range n {
		lines = append(lines, fmt.Appendf(nil, `{"n":%d}`, i))
		log = append(append(log, lines[i]...), '\n')
	}
	return lines, log
}

func read(tb testing.TB, log []byte, size *uint64) (*merkle.Tree, merkle.Root) {
	tb.Helper()
	tree, err := merkle.Read(bytes.NewReader(log), size)
	if err != nil {
		tb.Fatal(err)
	}
	root, err := tree.Root()
	if err != nil {
		tb.Fatal(err)
	}
	return tree, root
}

func TestRoots(t *testing.T) {
	t.Parallel()
	for n := range 70 {
		lines, log := some(n)
		tree, root := read(t, log, nil)
		if want := naive(lines); root != want || tree.Size() != uint64(n) {
			t.Errorf("%d lines: root %x of %d, want %x", n, root, tree.Size(), want)
		}
		for first := range uint64(n) + 1 {
			if _, root := read(t, log, &first); root != naive(lines[:first]) {
				t.Errorf("the first %d of %d lines have another root", first, n)
			}
		}
	}
	// The vector of RFC 6962's reference implementation for eight entries.
	tree := merkle.New()
	for _, text := range []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"} {
		line, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Append(line); err != nil {
			t.Fatal(err)
		}
	}
	if root, err := tree.Root(); err != nil || hex.EncodeToString(root[:]) != "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328" {
		t.Errorf("%x %v", root, err)
	}
}

func TestLogsThatAreNone(t *testing.T) {
	t.Parallel()
	three := uint64(3)
	for name, c := range map[string]struct {
		log  string
		size *uint64
		want string
	}{
		"torn":     {"a\nb", nil, "line 2 has no end"},
		"too few":  {"a\nb\n", &three, "has 2 lines, not 3"},
		"too long": {strings.Repeat("x", limits.AuditLine+1) + "\n", nil, "longer than"},
		"endless":  {strings.Repeat("x", limits.AuditLine+100_000), nil, "longer than"},
	} {
		if _, err := merkle.Read(strings.NewReader(c.log), c.size); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := merkle.Prove(strings.NewReader(c.log), c.size, func([]byte) bool { return true }); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, proving: %v", name, err)
		}
	}
	none, two := uint64(0), uint64(2)
	if _, err := merkle.Prove(strings.NewReader("a\n"), &none, func([]byte) bool { return true }); !errors.Is(err, merkle.ErrNoLine) {
		t.Error(err)
	}
	if p, err := merkle.Prove(strings.NewReader("a\nb\nc"), &two, func(l []byte) bool { return string(l) == "b" }); err != nil || p.Check(2, naive([][]byte{{'a'}, {'b'}})) != nil {
		t.Error("a torn line behind those that count:", err)
	}
	if _, err := merkle.Prove(strings.NewReader("a\n"), nil, func([]byte) bool { return false }); !errors.Is(err, merkle.ErrNoLine) {
		t.Error(err)
	}
}

// TestProofs proves every line of logs of every size; another implementation checks.
func TestProofs(t *testing.T) {
	t.Parallel()
	for n := 1; n < 40; n++ {
		lines, log := some(n)
		_, root := read(t, log, nil)
		for i, line := range lines {
			p, err := merkle.Prove(bytes.NewReader(log), nil, func(l []byte) bool { return bytes.Equal(l, line) })
			if err != nil {
				t.Fatal(err)
			}
			head := merkle.Checkpoint{Origin: "o", Size: uint64(n), Root: root}.Text()
			text := p.Marshal(head)
			again, checkpoint, err := merkle.UnmarshalProof(text)
			if err != nil || !bytes.Equal(checkpoint, head) {
				t.Fatal(err)
			}
			var theirs proof.TLogProof
			if err := theirs.Unmarshal(text); err != nil || theirs.Index != uint64(i) || !bytes.Equal(theirs.ExtraData, line) || len(theirs.Hashes) != len(p.Hashes) {
				t.Fatalf("line %d of %d as another program reads it: %+v: %v", i, n, theirs, err)
			}
			if err := again.Check(uint64(n), root); err != nil || again.Index != uint64(i) || again.Size != uint64(n) || !bytes.Equal(again.Line, line) {
				t.Fatalf("line %d of %d: %+v: %v", i, n, again, err)
			}
			var path tlog.RecordProof
			for _, h := range again.Hashes {
				path = append(path, tlog.Hash(h))
			}
			if err := tlog.CheckRecord(path, int64(n), tlog.Hash(root), int64(i), tlog.RecordHash(line)); err != nil {
				t.Fatalf("line %d of %d: %v", i, n, err)
			}
		}
	}
}

// TestChangedProofs changes each byte of a proof.
func TestChangedProofs(t *testing.T) {
	t.Parallel()
	_, log := some(23)
	_, root := read(t, log, nil)
	p, err := merkle.Prove(bytes.NewReader(log), nil, func(l []byte) bool { return string(l) == `{"n":13}` })
	if err != nil {
		t.Fatal(err)
	}
	head := merkle.Checkpoint{Origin: "o", Size: 23, Root: root}
	proves := func(text []byte) bool {
		q, checkpoint, err := merkle.UnmarshalProof(text)
		if err != nil || q.Check(23, root) != nil {
			return false
		}
		c, signed, err := merkle.ReadCheckpoint(checkpoint)
		return err == nil && !signed && c == head
	}
	text := p.Marshal(head.Text())
	if !proves(text) {
		t.Fatalf("it does not prove as it is:\n%s", text)
	}
	for i := range text {
		for _, with := range []byte{text[i] ^ 1, text[i] ^ 0x80, '\n', ' ', 0} {
			changed := bytes.Clone(text)
			if changed[i] = with; bytes.Equal(changed, text) {
				continue
			}
			if proves(changed) {
				t.Errorf("byte %d as %q still proves:\n%s", i, with, changed)
			}
		}
		if proves(text[:i]) {
			t.Errorf("cut at byte %d it still proves", i)
		}
		if proves(slices.Concat(text[:i], text[i:i+1], text[i:])) {
			t.Errorf("with byte %d twice it still proves", i)
		}
	}
	other := root
	other[0] ^= 1
	if p.Check(23, other) == nil {
		t.Error("it proves another root")
	}
}

func keys(tb testing.TB, name string) (note.Signer, note.Verifier) {
	tb.Helper()
	private, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := note.NewSigner(private)
	if err != nil {
		tb.Fatal(err)
	}
	v, err := note.NewVerifier(public)
	if err != nil {
		tb.Fatal(err)
	}
	return s, v
}

func TestCheckpoints(t *testing.T) {
	t.Parallel()
	s, v := keys(t, "plans")
	_, stranger := keys(t, "plans")
	_, log := some(9)
	tree, root := read(t, log, nil)
	const origin = "cabincrew.dev/42/20260101-000000-abc"
	c := merkle.Checkpoint{Origin: origin, Size: tree.Size(), Root: root}
	signed, err := c.Sign(s)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := merkle.OpenCheckpoint(signed, origin, v); err != nil || got != c {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range signed {
		changed := bytes.Clone(signed)
		changed[i] ^= 1
		if got, err := merkle.OpenCheckpoint(changed, origin, v); err == nil {
			t.Errorf("byte %d changed: %+v", i, got)
		}
	}
	sign := func(text string) []byte {
		out, err := note.Sign(&note.Note{Text: text}, s)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	hash := "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s="
	for name, c := range map[string]struct {
		signed []byte
		origin string
		by     note.Verifier
	}{
		"another key of the name": {signed, origin, stranger},
		"another log":             {signed, origin + "x", v},
		"no origin":               {signed, "", v},
		"origin of two lines":     {signed, "a\nb", v},
		"more lines":              {sign(origin + "\n9\n" + hash + "\nmore\n"), origin, v},
		"leading zero":            {sign(origin + "\n09\n" + hash + "\n"), origin, v},
		"negative":                {sign(origin + "\n-9\n" + hash + "\n"), origin, v},
		"short root":              {sign(origin + "\n9\nq6s=\n"), origin, v},
		"loose base64":            {sign(origin + "\n9\n" + hash[:43-1] + "t=\n"), origin, v},
		"no root":                 {sign(origin + "\n9\n"), origin, v},
		"too long":                {append(bytes.Clone(signed), bytes.Repeat([]byte{'\n'}, limits.AuditCheckpoint)...), origin, v},
		"nothing":                 {nil, origin, v},
	} {
		if got, err := merkle.OpenCheckpoint(c.signed, c.origin, c.by); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, bad := range []string{"", "a\nb", " a", strings.Repeat("a", limits.AuditOrigin+1), "a\x00"} {
		if _, err := (merkle.Checkpoint{Origin: bad}).Sign(s); err == nil {
			t.Errorf("%q was signed", bad)
		}
	}
}

// TestProofFiles reads proofs that are none.
func TestProofFiles(t *testing.T) {
	t.Parallel()
	_, log := some(5)
	_, root := read(t, log, nil)
	p, err := merkle.Prove(bytes.NewReader(log), nil, func([]byte) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	head := merkle.Checkpoint{Origin: "o", Size: 5, Root: root}.Text()
	good := string(p.Marshal(head))
	long := p
	long.Hashes = slices.Repeat(p.Hashes, 22)
	bare := p
	bare.Line = nil
	big := p
	big.Line = bytes.Repeat([]byte{'x'}, 100_000)
	for name, text := range map[string]string{"without the line": string(bare.Marshal(head)), "with a long line": string(big.Marshal(head))} {
		if got, _, err := merkle.UnmarshalProof([]byte(text)); err != nil || len(got.Hashes) != len(p.Hashes) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"nothing":               "",
		"header only":           "c2sp.org/tlog-proof@v1\n",
		"another version":       strings.Replace(good, "@v1", "@v2", 1),
		"extra twice":           strings.Replace(good, "\nindex", "\nextra eA==\nindex", 1),
		"empty extra":           strings.Replace(string(bare.Marshal(head)), "\nindex", "\nextra \nindex", 1),
		"extra of two lines":    strings.Replace(string(bare.Marshal(head)), "\nindex", "\nextra eAp4\nindex", 1),
		"leading zero":          strings.Replace(good, "index 0", "index 00", 1),
		"carriage return":       strings.Replace(good, "\n", "\r\n", 1),
		"too many hashes":       string(long.Marshal(head)),
		"no checkpoint":         string(p.Marshal(nil)),
		"checkpoint of 4 lines": string(p.Marshal(append(bytes.Clone(head), "more\n"...))),
		"too long":              good + strings.Repeat("\n", limits.AuditProof),
		"too long a checkpoint": good + strings.Repeat("\n", limits.AuditCheckpoint+10_000),
	} {
		if _, _, err := merkle.UnmarshalProof([]byte(text)); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

func FuzzProof(f *testing.F) {
	_, log := some(5)
	_, root := read(f, log, nil)
	p, err := merkle.Prove(bytes.NewReader(log), nil, func([]byte) bool { return true })
	if err != nil {
		f.Fatal(err)
	}
	s, _ := keys(f, "o")
	head := merkle.Checkpoint{Origin: "o", Size: 5, Root: root}
	signed, err := head.Sign(s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.Marshal(head.Text()))
	f.Add(p.Marshal(signed))
	f.Add([]byte("c2sp.org/tlog-proof@v1\nindex 0\n\no\n1\nAAAA\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		q, checkpoint, err := merkle.UnmarshalProof(text)
		if err != nil {
			return
		}
		if !bytes.Equal(q.Marshal(checkpoint), text) {
			t.Errorf("%q is read as what is written %q", text, q.Marshal(checkpoint))
		}
		_ = q.Check(5, root) // it must only end
	})
}

func FuzzCheckpoint(f *testing.F) {
	s, v := keys(f, "plans")
	good, err := merkle.Checkpoint{Origin: "o", Size: 3}.Sign(s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("o\n3\nAAAA\n\n— plans AAAA\n"))
	f.Fuzz(func(t *testing.T, signed []byte) {
		c, err := merkle.OpenCheckpoint(signed, "o", v)
		if err == nil && (c.Origin != "o" || c.Size != 3) {
			t.Errorf("%q is taken for %+v", signed, c)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	_, log := some(10_000)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		read(b, log, nil)
	}
}
