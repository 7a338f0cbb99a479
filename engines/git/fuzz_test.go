package git

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/cabincrew/action/internal/limits"
)

// sample gives a bundle with every kind of object.
func sample(t testing.TB) []byte {
	t.Helper()
	o := newObjects()
	blob := o.add(plumbing.BlobObject, []byte("content\n"))
	tree := o.add(plumbing.TreeObject, encodeTree([]entry{{"b", "100644", blob}, {"a", modeTree, blob}}))
	s := settings{message: "m", author: identity{"a", "b"}, committer: identity{"a", "b"}}
	id := o.add(plumbing.CommitObject, s.encodeCommit(tree, blob, 1, ""))
	data, err := encodeBundle(blob, id, "refs/heads/x", o)
	must(t, err)
	return data
}

func FuzzBundle(f *testing.F) {
	good := sample(f)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte(bundleSignature + "\n\n"))
	f.Add(bytes.Replace(good, []byte("refs/heads/x"), []byte("refs/tags/x"), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := decodeBundle(data)
		if err != nil {
			return
		}
		for _, id := range b.order {
			if x := b.byID[id]; plumbing.ComputeHash(x.kind, x.content) != id {
				t.Errorf("%s has another id", id)
			}
		}
		again, err := encodeBundle(b.parent, b.commit, b.ref, b.objects)
		if err != nil {
			t.Fatal(err)
		}
		second, err := decodeBundle(again)
		if err != nil || second.commit != b.commit || second.parent != b.parent || len(second.order) != len(b.order) {
			t.Errorf("written anew it is another one: %v", err)
		}
	})
}

func FuzzTree(f *testing.F) {
	f.Add(encodeTree([]entry{{"b", "100644", plumbing.ZeroHash}, {"a", modeTree, plumbing.ZeroHash}, {"a.b", "120000", plumbing.ZeroHash}}))
	f.Add([]byte("100644 a\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseTree(data)
		if err == nil && !bytes.Equal(encodeTree(list), data) {
			t.Error("written anew it is another one")
		}
	})
}

func FuzzCommit(f *testing.F) {
	s := settings{message: "m", author: identity{"a", "b"}, committer: identity{"a", "b"}}
	one := plumbing.NewHash(strings.Repeat("1", 40))
	f.Add(s.encodeCommit(one, one, 1, "a\nb"))
	f.Add([]byte("tree x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseCommit(data)
		if err == nil && (c.when < 0 || c.when >= maxTime || c.tree.IsZero()) {
			t.Errorf("%+v", c)
		}
		if err == nil {
			_, _, _ = readSignature(c.signature)
		}
	})
}

func FuzzAttributes(f *testing.F) {
	f.Add("* text=auto\n[attr]x filter=y\n\"q\\\" r\" -text\n[!a]*/**/x eol=lf\n", "a/b")
	f.Add("[ \\ ** a/** [a", "x")
	f.Fuzz(func(t *testing.T, text, path string) {
		a := &attributes{macros: map[string][]setting{}}
		rules, err := a.parse([]byte(text), "", true)
		if err != nil {
			return
		}
		a.apply(map[string]string{}, rules, path)
	})
}

func FuzzRemote(f *testing.F) {
	f.Add("https://git.example/x")
	f.Add("git@git.example:x")
	f.Add("ssh://u@[::1]:22/x")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRemote(text)
		if err == nil && r.scheme != schemeFile && (r.host == "" || r.port == "" || strings.HasPrefix(r.host, "-") || strings.HasPrefix(r.path, "-")) {
			t.Errorf("%+v", r)
		}
	})
}

// TestBundleRefusals changes a good bundle in each of its parts.
func TestBundleRefusals(t *testing.T) {
	t.Parallel()
	good := sample(t)
	at := bytes.Index(good, []byte("PACK"))
	// pack gives a bundle with another pack, its checksum right.
	pack := func(body string) []byte {
		raw, err := hex.DecodeString(body)
		must(t, err)
		all := append([]byte("PACK"), raw...)
		return append(bytes.Clone(good[:at]), withSum(all)...)
	}
	replace := func(from, to string) []byte { return bytes.Replace(good, []byte(from), []byte(to), 1) }
	for name, tc := range map[string]struct {
		data []byte
		want string
	}{
		"empty":           {nil, "no header"},
		"version 3":       {replace("v2", "v3"), "version 2"},
		"a tag":           {replace("refs/heads/x", "refs/tags/x"), "no branch"},
		"bad branch":      {replace("refs/heads/x", "refs/heads/-x"), "no branch"},
		"two branches":    {replace(" refs/heads/x\n", " refs/heads/x\n"+strings.Repeat("1", 40)+" refs/heads/y\n"), "one branch"},
		"no parent":       {replace("-", ""), "parent"},
		"comment":         {replace(" \n", " x\n"), "parent"},
		"short commit":    {append(append([]byte(bundleSignature+"\n-"+strings.Repeat("1", 40)+" \nabc refs/heads/x\n\n"), good[at:]...), 'x'), "commit"},
		"long header":     {[]byte(strings.Repeat("#", limits.GitBundleHeaderBytes+1) + "\n\n"), "no header"},
		"no pack":         {good[:at], "no pack"},
		"pack version":    {pack("00000003" + "00000000"), "no pack"},
		"too many":        {pack("00000002" + "7fffffff"), "more than"},
		"ends early":      {pack("00000002" + "00000001"), "ends early"},
		"a tag object":    {pack("00000002" + "00000001" + "40" + "789c030000000001"), "has a tag"},
		"a delta":         {pack("00000002" + "00000001" + "60" + "01" + "789c030000000001"), "has a ofs-delta"},
		"huge":            {pack("00000002" + "00000001" + "bfffffffff7f" + "789c030000000001"), "larger"},
		"endless size":    {pack("00000002" + "00000001" + "bfffffffffffffffffff7f" + "789c030000000001"), "malformed"},
		"another size":    {pack("00000002" + "00000001" + "31" + "789c030000000001"), "another size"},
		"no zlib":         {pack("00000002" + "00000001" + "31" + "ffff"), "damaged"},
		"twice":           {pack("00000002" + "00000002" + "30" + "789c030000000001" + "30" + "789c030000000001"), "twice"},
		"bytes behind":    {pack("00000002" + "00000001" + "30" + "789c030000000001" + "00"), "behind"},
		"empty and valid": {pack("00000002" + "00000000"), ""},
	} {
		_, err := decodeBundle(tc.data)
		if tc.want == "" {
			must(t, err)
		} else if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// TestBombs refuses what inflates beyond the limit without holding it.
func TestBombs(t *testing.T) {
	t.Parallel()
	o := newObjects()
	for i := range 3 {
		o.add(plumbing.BlobObject, bytes.Repeat([]byte{byte(i)}, 8<<20))
	}
	pack, err := encodePack(o)
	must(t, err)
	if len(pack) > 1<<20 {
		t.Fatalf("%d bytes", len(pack))
	}
	r := bytes.NewReader(pack[packHeader:])
	if _, _, err := readPacked(r, 1<<20); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Error(err)
	}
}

// TestGitReadsPacks has git index what encodePack writes.
func TestGitReadsPacks(t *testing.T) {
	t.Parallel()
	repo := newRepository(t, nil)
	o := newObjects()
	for i := range 300 {
		o.add(plumbing.BlobObject, bytes.Repeat([]byte{'a', byte(i)}, i*i))
	}
	pack, err := encodePack(o)
	must(t, err)
	name := filepath.Join(t.TempDir(), "x.pack")
	must(t, os.WriteFile(name, pack, 0o600))
	git(t, repo, "index-pack", "--strict", name)
	if out := git(t, repo, "verify-pack", "-v", name); strings.Count(out, " blob ") != len(o.order) {
		t.Error(out)
	}
}

func withSum(pack []byte) []byte {
	sum := sha1.Sum(pack)
	return append(pack, sum[:]...)
}
