package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

func TestArchiveIsTheFlight(t *testing.T) {
	t.Parallel()
	files := flight()
	files["steps/one/artifacts/plan/"+strings.Repeat("long/", 20)+strings.Repeat("n", 120)+"ä.sh"] = "#!/bin/sh\n"
	root := tree(t, files)
	archive, p := packed(t, root, PackOptions{})
	into, q, err := unpack(t.Context(), t, archive)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, q); diff != "" {
		t.Error(diff)
	}
	want := contents(t, root)
	delete(want, ".tmp-1-1") // what is being written stays
	if diff := cmp.Diff(want, contents(t, into)); diff != "" {
		t.Error(diff)
	}
	if p.Files != len(files)-2 || len(p.Encrypted) != 0 {
		t.Errorf("%+v", p)
	}
	// The same flight elsewhere, later, has the same archive.
	other := tree(t, files)
	if err := other.Chtimes("flight.json", time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if again, _ := packed(t, other, PackOptions{}); !bytes.Equal(again, archive) {
		t.Error("two archives of one flight differ")
	}
}

func TestPackRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		make  func(root *os.Root) error
		code  string
	}{
		"a link":              {nil, func(r *os.Root) error { return r.Symlink("flight.json", "steps/one/link") }, "path_unsafe"},
		"a newline":           {map[string]string{"steps/a\nb": ""}, nil, "path_unsafe"},
		"a backslash":         {map[string]string{`steps/a\b`: ""}, nil, "path_unsafe"},
		"names of one letter": {map[string]string{"steps/one/A": "", "steps/one/a": ""}, nil, "path_unsafe"},
		"depth":               {map[string]string{"steps/" + strings.Repeat("d/", 40) + "f": ""}, nil, "path_unsafe"},
		"a bomb":              {map[string]string{}, func(r *os.Root) error { return grow(r, limits.StorageRatioFree+1<<20) }, "archive_limit"},
		"a file too large":    {map[string]string{}, func(r *os.Root) error { return grow(r, limits.StorageFile+1) }, "archive_limit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := flight()
			maps.Copy(files, c.files)
			root := tree(t, files)
			if c.make != nil {
				if err := c.make(root); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Pack(t.Context(), root, &bytes.Buffer{}, PackOptions{Temp: t.TempDir()})
			wantError(t, err, protocol.ExitIntegrity, c.code)
		})
	}
}

// grow makes a sparse file.
func grow(r *os.Root, size int64) error {
	f, err := r.Create("large")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return f.Truncate(size)
}

func TestPackEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Pack(ctx, tree(t, flight()), &bytes.Buffer{}, PackOptions{Temp: t.TempDir()})
	wantError(t, err, protocol.ExitInterrupted, "interrupted")
	archive, _ := packed(t, tree(t, flight()), PackOptions{})
	_, _, err = unpack(ctx, t, archive)
	wantError(t, err, protocol.ExitInterrupted, "interrupted")
}

// hostileTars are archives that no Pack makes.
func hostileTars(t testing.TB) map[string][]byte {
	t.Helper()
	good := []tarEntry{plainEntry("flight.json", "{}")}
	pad := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] = 'x'
		return b
	}
	plain := tarOf(t, good...)
	link := func(kind byte) tarEntry {
		return plainEntry("l", "").with(func(h *tar.Header) { h.Typeflag, h.Linkname = kind, "../../x" })
	}
	record := func(k, v string) tarEntry {
		return plainEntry("f", "").with(func(h *tar.Header) { h.PAXRecords, h.Format = map[string]string{k: v}, tar.FormatPAX })
	}
	many := make([]tarEntry, 0, 101)
	for deep := range limits.FlightDepth + 1 {
		many = append(many, dirEntry(strings.Repeat("d/", deep)+"d"))
	}
	out := map[string][]byte{
		"traversal":             tarOf(t, plainEntry("../x", "")),
		"traversal inside":      tarOf(t, dirEntry("a"), plainEntry("a/../../x", "")),
		"absolute":              tarOf(t, plainEntry("/x", "")),
		"a dot":                 tarOf(t, plainEntry("./x", "")),
		"backslash":             tarOf(t, plainEntry(`..\x`, "")),
		"newline":               tarOf(t, plainEntry("a\nb", "")),
		"not UTF-8":             tarOf(t, plainEntry("a\xff", "").with(func(h *tar.Header) { h.Format = tar.FormatGNU })),
		"hidden":                tarOf(t, plainEntry(".tmp-1", "")),
		"too long":              tarOf(t, plainEntry(strings.Repeat("n", limits.FlightPath+1), "")),
		"too deep":              tarOf(t, many...),
		"symbolic link":         tarOf(t, link(tar.TypeSymlink)),
		"hard link":             tarOf(t, plainEntry("a", "x"), link(tar.TypeLink)),
		"device":                tarOf(t, link(tar.TypeBlock)),
		"character device":      tarOf(t, link(tar.TypeChar)),
		"fifo":                  tarOf(t, link(tar.TypeFifo)),
		"global header":         tarOf(t, tarEntry{tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"path": "x"}}, ""}),
		"duplicate":             tarOf(t, plainEntry("a", "1"), plainEntry("a", "2")),
		"case":                  tarOf(t, plainEntry("A", "1"), plainEntry("a", "2")),
		"case of another kind":  tarOf(t, plainEntry("K", "1"), plainEntry("\u212a", "2")),
		"file as directory":     tarOf(t, plainEntry("a", "1"), plainEntry("a/b", "2")),
		"order":                 tarOf(t, plainEntry("b", ""), plainEntry("a", "")),
		"no directory":          tarOf(t, plainEntry("a/b", "")),
		"mode":                  tarOf(t, plainEntry("a", "").with(func(h *tar.Header) { h.Mode = 0o4755 })),
		"owner":                 tarOf(t, plainEntry("a", "").with(func(h *tar.Header) { h.Uid = 1 })),
		"owner's name":          tarOf(t, plainEntry("a", "").with(func(h *tar.Header) { h.Uname = "root" })),
		"time":                  tarOf(t, plainEntry("a", "").with(func(h *tar.Header) { h.ModTime = time.Unix(1, 0) })),
		"form":                  tarOf(t, plainEntry("a", "").with(func(h *tar.Header) { h.Format = tar.FormatGNU })),
		"record that says more": tarOf(t, record("VENDOR.x", "y")),
		"record with a path":    tarOf(t, record("SCHILY.xattr.a", "b")),
		"behind the end":        append(bytes.Clone(plain), tarOf(t, plainEntry("z", ""))...),
		"zeros behind the end":  append(bytes.Clone(plain), make([]byte, 512)...),
		"padding of a file":     pad(plain, 512+100),
		"padding of a header":   pad(plain, 505),
		"no end":                plain[:1024],
		"half an end":           plain[:len(plain)-512],
		"cut":                   plain[:513],
		"sealed twice":          tarOf(t, plainEntry(SealedFile, `{"files":[{"digest":"sha256:x","mode":"0644","path":"steps/a","size":1}],"version":"1"}`)),
		"sealed elsewhere": tarOf(t, plainEntry(SealedFile,
			`{"files":[{"digest":"`+protocol.Digest(nil)+`","mode":"0644","path":"flight.json","size":1}],"version":"1"}`)),
	}
	for name, raw := range out {
		out[name] = compress(t, raw)
	}
	return out
}

// hostileArchives are those, and files that are not even a right zstd frame.
func hostileArchives(t testing.TB) map[string][]byte {
	t.Helper()
	out := hostileTars(t)
	good := compress(t, tarOf(t, plainEntry("flight.json", "{}")))
	flip := bytes.Clone(good)
	flip[len(flip)/2] ^= 0x10
	maps.Copy(out, map[string][]byte{
		"nothing":             {},
		"text":                []byte("PK\x03\x04"),
		"a second frame":      append(bytes.Clone(good), compress(t, nil)...),
		"a skippable frame":   append(bytes.Clone(good), 0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'),
		"a skippable first":   append([]byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'}, good...),
		"a byte behind":       append(bytes.Clone(good), 0),
		"cut off":             good[:len(good)-1],
		"a changed bit":       flip,
		"no checksum":         compress(t, tarOf(t, plainEntry("flight.json", "{}")), zstd.WithEncoderCRC(false)),
		"an immense window":   {0x28, 0xb5, 0x2f, 0xfd, 0x04, 0xb0, 1, 0, 0, 0, 0, 0, 0},
		"blocks without end":  append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58}, bytes.Repeat([]byte{0, 0, 0}, 1000)...),
		"a bomb":              bomb(t),
		"a large file stated": compress(t, tarHeader(t, limits.StorageFile)),
	})
	return out
}

func tarHeader(t testing.TB, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	e := entry{path: "large", mode: plainMode, size: size}
	if err := tar.NewWriter(&b).WriteHeader(header(e)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// bomb is one file of zeros, a little more than an archive of its size may hold.
func bomb(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	size := limits.StorageRatioFree + 1<<20
	if err := w.WriteHeader(header(entry{path: "zeros", mode: plainMode, size: size})); err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for n := int64(0); n < size; n += 1 << 20 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	for name, archive := range hostileArchives(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := unpack(t.Context(), t, archive)
			if protocol.ExitCode(err) != protocol.ExitIntegrity {
				t.Fatalf("exit %d: %v", protocol.ExitCode(err), err)
			}
			t.Log(err)
			if strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("%q", err)
			}
		})
	}
}

func TestUnpackFillsOnlyWhatIsEmpty(t *testing.T) {
	t.Parallel()
	archive, _ := packed(t, tree(t, flight()), PackOptions{})
	into := tree(t, map[string]string{"flight.json": "mine"})
	_, err := Unpack(t.Context(), file(t, archive), into)
	wantError(t, err, protocol.ExitUnreachable, "storage_unwritable")
	if contents(t, into)["flight.json"] != "-mine" {
		t.Error("it was overwritten")
	}
}
