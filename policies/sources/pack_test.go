package sources

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"os/exec"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/cabincrew/action/internal/limits"
)

// object is an entry of a pack that a test writes.
type object struct {
	kind plumbing.ObjectType
	size int // that it says; -1: the right one
	base plumbing.Hash
	body string
}

func packOf(objects ...object) []byte {
	var b bytes.Buffer
	b.WriteString("PACK")
	b.Write(binary.BigEndian.AppendUint32(nil, 2))
	b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(objects))))
	for _, o := range objects {
		size := o.size
		if size < 0 {
			size = len(o.body)
		}
		c := byte(o.kind)<<4 | byte(size&15)
		for size >>= 4; size > 0; size >>= 7 {
			b.WriteByte(c | 0x80)
			c = byte(size & 0x7f)
		}
		b.WriteByte(c)
		if o.kind == plumbing.REFDeltaObject {
			b.Write(o.base[:])
		}
		z := zlib.NewWriter(&b)
		_, _ = z.Write([]byte(o.body))
		_ = z.Close()
	}
	return sealed(b.Bytes())
}

func sealed(body []byte) []byte {
	sum := sha1.Sum(body)
	return append(body, sum[:]...)
}

// number is a number of a delta's head.
func number(n int) string {
	var b []byte
	for ; n > 0x7f; n >>= 7 {
		b = append(b, byte(n&0x7f)|0x80)
	}
	return string(append(b, byte(n)))
}

func TestPacks(t *testing.T) {
	t.Parallel()
	blob := object{plumbing.BlobObject, -1, plumbing.ZeroHash, "hello"}
	id := plumbing.ComputeHash(plumbing.BlobObject, []byte("hello"))
	// Copy "hello", insert "!!".
	delta := object{plumbing.REFDeltaObject, -1, id, number(5) + number(7) + "\x90\x05\x02!!"}
	made := plumbing.ComputeHash(plumbing.BlobObject, []byte("hello!!"))
	next := object{plumbing.REFDeltaObject, -1, made, number(7) + number(5) + "\x90\x05"} // hello again
	for name, raw := range map[string][]byte{"in order": packOf(blob, delta, next), "backwards": packOf(next, delta, blob), "twice": packOf(blob, blob, delta, delta)} {
		p, err := readPack(raw, "x")
		must(t, err)
		if body, err := p.get(plumbing.BlobObject, made, 100); err != nil || string(body) != "hello!!" {
			t.Errorf("%s: %q %v", name, body, err)
		}
		if _, err := p.get(plumbing.TreeObject, made, 100); err == nil {
			t.Error(name, "a blob is a tree")
		}
		if _, err := p.get(plumbing.BlobObject, made, 6); err == nil {
			t.Error(name, "it is not bounded")
		}
		if _, err := p.get(plumbing.CommitObject, plumbing.ZeroHash, 6); err == nil {
			t.Error(name, "a commit is there that was not sent")
		}
	}
	good := packOf(blob)
	body := good[:len(good)-sha1.Size]
	many := append([]byte("PACK\x00\x00\x00\x02"), binary.BigEndian.AppendUint32(nil, limits.SourceGitObjects+1)...)
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"nothing":              {nil, "no pack"},
		"version 3":            {sealed(append([]byte("PACK\x00\x00\x00\x03\x00\x00\x00\x00"), 0)), "version 2"},
		"checksum":             {append(bytes.Clone(body), make([]byte, sha1.Size)...), "checksum"},
		"too many":             {sealed(many), "more than 200000 objects"},
		"ends early":           {sealed(append([]byte("PACK\x00\x00\x00\x02"), 0, 0, 0, 1)), "ends early"},
		"bytes behind":         {sealed(append(bytes.Clone(body), 'x')), "bytes behind"},
		"wrong size":           {packOf(object{plumbing.BlobObject, 4, plumbing.ZeroHash, "hello"}), "another size"},
		"larger size":          {packOf(object{plumbing.BlobObject, 6, plumbing.ZeroHash, "hello"}), "another size"},
		"bomb":                 {packOf(object{plumbing.BlobObject, limits.SourceGitContent + 1, plumbing.ZeroHash, "hello"}), "more than"},
		"endless size":         {sealed(append([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x01"), bytes.Repeat([]byte{0xb0}, 12)...)), "size in it is malformed"},
		"no zlib":              {sealed(append([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x01"), 0x30, 'x', 'y')), "zlib"},
		"delta by offset":      {packOf(object{plumbing.OFSDeltaObject, -1, plumbing.ZeroHash, "x"}), "kind 6"},
		"unknown kind":         {packOf(object{5, -1, plumbing.ZeroHash, "x"}), "kind 5"},
		"no base":              {packOf(delta), "lacks the base"},
		"base of another size": {packOf(blob, object{plumbing.REFDeltaObject, -1, id, number(6) + number(7) + "\x90\x05\x02!!"}), "does not fit"},
		"delta bomb":           {packOf(blob, object{plumbing.REFDeltaObject, -1, id, number(5) + number(limits.SourceGitContent) + "\x90\x05"}), "does not fit"},
		"short result":         {packOf(blob, object{plumbing.REFDeltaObject, -1, id, number(5) + number(9) + "\x90\x05\x02!!"}), "malformed"},
		"no numbers":           {packOf(blob, object{plumbing.REFDeltaObject, -1, id, "\x80\x80\x80\x80\x80\x80\x80"}), "does not fit"},
	} {
		if _, err := readPack(c.raw, "x"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPackOfGit reads what git packs of this test's own repository, with chains.
func TestPackOfGit(t *testing.T) {
	t.Parallel()
	dir, _ := policyRepository(t)
	for i := range 20 {
		write(t, dir, map[string]string{"pol/p.rego": policy + strings.Repeat("# more\n", 100+i)})
		commitAll(t, dir)
	}
	cmd := exec.Command("git", "-C", dir, "pack-objects", "--all", "--stdout", "--depth=50", "-q")
	cmd.Env = gitEnv()
	raw, err := cmd.Output()
	must(t, err)
	p, err := readPack(raw, "x")
	must(t, err)
	listed := strings.Fields(git(t, dir, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)"))
	if len(listed) < 60 || len(p.objects) != len(listed) {
		t.Errorf("%d of %d", len(p.objects), len(listed))
	}
	for _, id := range listed {
		if _, ok := p.objects[plumbing.NewHash(id)]; !ok {
			t.Error(id)
		}
	}
}

// FuzzPack: a pack is read or refused, and every object has the id that it hashes to.
func FuzzPack(f *testing.F) {
	blob := object{plumbing.BlobObject, -1, plumbing.ZeroHash, "hello"}
	id := plumbing.ComputeHash(plumbing.BlobObject, []byte("hello"))
	for _, raw := range [][]byte{
		packOf(blob), packOf(blob, object{plumbing.REFDeltaObject, -1, id, number(5) + number(7) + "\x90\x05\x02!!"}),
		packOf(object{plumbing.TreeObject, -1, plumbing.ZeroHash, "100644 a\x00" + string(id[:])}), nil,
	} {
		f.Add(raw[:max(0, len(raw)-sha1.Size)])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := readPack(sealed(bytes.Clone(body)), "x")
		if err != nil {
			return
		}
		for id, o := range p.objects {
			if plumbing.ComputeHash(o.kind, o.content) != id {
				t.Fatal(id)
			}
			if o.kind == plumbing.TreeObject {
				_, _ = parseTree(o.content)
			}
			_, _ = headerID(o.content, "tree ")
		}
	})
}
