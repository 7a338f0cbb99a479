package oci

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"ghcr.io/org/engine:v1@" + someDigest, "localhost:5000/e:latest", "[::1]:5000/e@" + someDigest, "docker.io/alpine", "a@b@c", "http://x/y", "x.y/z:a:b", "",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, resolve bool) {
		r, err := Parse(s, resolve)
		if err != nil {
			wantExit(t, err, protocol.ExitUsage)
			return
		}
		if r.Digest() == "" && (!resolve || r.Tag() == "") || r.String() != s {
			t.Fatalf("%q is taken for %#v", s, r)
		}
		source, err := openRegistry(r, Options{}) // what we take, the library takes, and for the same
		if err != nil {
			wantExit(t, err, protocol.ExitUsage)
			return
		}
		if host := source.repo.RegistryStr(); host != r.Registry() && r.Registry() != "docker.io" || source.repo.RepositoryStr() != r.Repository() {
			t.Fatalf("%q is %s for us, %s for the library", s, r, source.repo)
		}
	})
}

func wantExit(t *testing.T, err error, exit int) {
	t.Helper()
	if got := protocol.ExitCode(err); got != exit {
		t.Fatalf("exit %d: %v", got, err)
	}
}

// FuzzLayers unpacks hostile bytes above a small tree.
func FuzzLayers(f *testing.F) {
	lower := tarOf(f, fileE("usr/bin/sh", "x"), linkE("bin", "usr/bin"), linkE("out", "/../../.."), fileE("a/b/c", "y"))
	for _, entries := range [][]te{
		{fileE("bin/x", "y"), fileE("a/.wh.b", ""), hardE("h", "bin/sh")},
		{fileE("../evil", "x")}, {fileE("out/evil", "x")}, {linkE("a", "/etc"), fileE("a/f", "x")},
		{fileE(".wh..wh..opq", ""), kindE("dev", tar.TypeChar), te{name: "s/", mode: 0o7000}},
		{te{name: strings.Repeat("long/", 30) + "f", body: "x", pax: map[string]string{"comment": "x"}}},
	} {
		f.Add(tarOf(f, entries...))
	}
	f.Fuzz(func(t *testing.T, raw []byte) { unpackHostile(t, lower, raw) })
}

// FuzzEntries makes layers of entries: a line is a type, a name and perhaps a
// target behind a space; a line "=" begins the next layer.
func FuzzEntries(f *testing.F) {
	for _, s := range []string{
		"5usr/bin\n2bin usr/bin\n=\n0bin/sh\n1h bin/sh\n=\n0bin/.wh.sh\n0.wh.bin\n0bin/x",
		"0a/b/c\n=\n0a/.wh..wh..opq\n0a/b/d\n=\n2a /etc\n0a/evil",
		"2out ../../..\n0out/evil\n2up /..\n5up/evil\n1evil ../evil\n0../evil\n0/evil",
		"2a b\n2b a\n0a/x\n=\n5a\n0a/x\n6a/fifo\n1c a/fifo\n=\n0.wh.a\n3a",
		"0d/f\n=\n1d d/f\n=\n5d/e/f\n=\n0.wh.d\n0d/e/.wh..wh..opq\n5d/e",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var archives [][]byte
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for line := range strings.Lines(s + "\n=") {
			line = strings.TrimSuffix(line, "\n")
			if line == "=" {
				_ = w.Close()
				archives = append(archives, bytes.Clone(b.Bytes()))
				b.Reset()
				w = tar.NewWriter(&b)
			} else if line != "" {
				name, target, _ := strings.Cut(line[1:], " ")
				_ = w.WriteHeader(&tar.Header{Typeflag: line[0], Name: name, Linkname: target, Mode: 0o7777}) // what it refuses is left out
			}
		}
		unpackHostile(t, archives...)
	})
}

// unpackHostile unpacks layers: nothing outside changes, the disk has what the
// tree in memory says, twice the same, and all of it can be removed.
func unpackHostile(t *testing.T, archives ...[]byte) {
	t.Helper()
	base := t.TempDir()
	outside := filepath.Join(base, "evil")
	if err := os.WriteFile(outside, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	var trees []map[string]string
	for range 2 {
		dir := filepath.Join(base, "root")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		trees = append(trees, unpackInto(t, dir, archives))
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if !maps.Equal(trees[0], trees[1]) {
		t.Fatalf("%q\n%q", trees[0], trees[1])
	}
	left, err := os.ReadDir(base)
	if err != nil || len(left) != 1 {
		t.Fatalf("%v %v", left, err)
	}
	if text, err := os.ReadFile(outside); err != nil || string(text) != "mine" {
		t.Fatalf("%q %v", text, err)
	}
}

// unpackInto unpacks layers and gives the tree, or nil if they were refused.
func unpackInto(t *testing.T, dir string, archives [][]byte) map[string]string {
	t.Helper()
	disk, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = disk.Close() }()
	o, err := Options{Cache: "unused", Limits: Limits{Files: 200}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	u := &unpacker{ctx: t.Context(), image: &Image{}, o: o, tree: newTree(disk, o.Limits), buffer: make([]byte, 4096)}
	defer u.tree.close()
	for n, archive := range archives {
		u.tree.layer = n
		if err := u.entries(tar.NewReader(io.LimitReader(bytes.NewReader(archive), 1<<20)), "fuzz"); err != nil {
			wantExit(t, err, protocol.ExitIntegrity)
			return nil
		}
	}
	if err := u.tree.finish(u.tree.root, disk); err != nil {
		t.Fatal(err)
	}
	same(t, u.tree.root, dir)
	return listing(t, dir)
}

// same holds the tree in memory against the disk.
func same(t *testing.T, n *node, path string) {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	there := 0
	for _, c := range n.children {
		if c.kind != omitted {
			there++
		}
	}
	if there != len(entries) {
		t.Fatalf("%s has %d entries, not %d", path, len(entries), there)
	}
	for name, c := range n.children {
		p := filepath.Join(path, name)
		info, err := os.Lstat(p)
		switch {
		case c.kind == omitted:
			continue
		case err != nil:
			t.Fatal(err)
		case c.kind == directory && info.IsDir():
			same(t, c, p)
		case c.kind == file && info.Mode().IsRegular() && info.Mode()&(os.ModeSetuid|os.ModeSetgid|os.ModeSticky) == 0:
		case c.kind == symlink && info.Mode()&os.ModeSymlink != 0:
		default:
			t.Fatalf("%s is %v", p, info.Mode())
		}
	}
}

func FuzzDocument(f *testing.F) {
	for _, s := range []string{
		`{"schemaVersion":2,"mediaType":"` + typeManifest + `","config":{"digest":"` + someDigest + `","size":2},"layers":[{"digest":"` + someDigest + `","size":1}]}`,
		`{"schemaVersion":2,"manifests":[{"mediaType":"` + typeManifest + `","digest":"` + someDigest + `","size":1,"platform":{"os":"linux","architecture":"amd64"}}]}`,
		`{"schemaVersion":2,"layers":null}`, `{}`, `[[`,
	} {
		f.Add([]byte(s), typeManifest)
		f.Add([]byte(s), "")
	}
	f.Fuzz(func(t *testing.T, raw []byte, stated string) {
		d, err := readDocument("fuzz", raw, stated)
		if err != nil {
			wantExit(t, err, protocol.ExitIntegrity)
			return
		}
		if d.index() == (d.Config != nil) {
			t.Fatalf("%s is both or nothing", raw)
		}
	})
}
