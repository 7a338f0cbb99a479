package signing_test

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/cabincrew/action/signing"
)

// TestNotes signs and verifies notes with both kinds of keys.
func TestNotes(t *testing.T) {
	t.Parallel()
	const text = "cabincrew.dev/42/flight\n3\nq6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\n"
	load := func(typ signing.KeyType) *signing.Key {
		private, _, err := signing.Generate(typ, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		k, err := signing.LoadPrivate(private, nil)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for _, typ := range []signing.KeyType{signing.ECDSAP256, signing.Ed25519} {
		k, other := load(typ), load(typ)
		s, err := k.NoteSigner("plans")
		if err != nil {
			t.Fatal(err)
		}
		signed, err := note.Sign(&note.Note{Text: text}, s)
		if err != nil {
			t.Fatal(err)
		}
		v, err := k.Public().NoteVerifier("plans")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := note.Open(signed, note.VerifierList(v)); err != nil || n.Text != text {
			t.Errorf("%s: %v", typ, err)
		}
		for name, by := range map[string]*signing.Key{"plans": other, "others": k} {
			v, err := by.Public().NoteVerifier(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := note.Open(signed, note.VerifierList(v)); err == nil {
				t.Errorf("%s: verified as %s by another key or name", typ, name)
			}
		}
		// The last characters of the signature may have bits that stand for nothing.
		for i := range signed[:len(signed)-5] {
			changed := bytes.Clone(signed)
			changed[i] ^= 4
			if n, err := note.Open(changed, note.VerifierList(v)); err == nil {
				t.Errorf("%s: byte %d changed: %q", typ, i, n.Text)
			}
		}
		for _, bad := range []string{"", "a b", "a+b", "a\nb", "\xff", "a\u2003b"} {
			if _, err := k.NoteSigner(bad); err == nil || !strings.Contains(err.Error(), "no name") {
				t.Errorf("%q: %v", bad, err)
			}
		}
	}
}
