package github

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/limits"
)

// entry is one entry of an archive for tests.
type entry struct {
	name, body string
	mode       fs.FileMode
	method     uint16
	flags      uint16
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: e.method, Flags: e.flags}
		if e.mode != 0 {
			h.SetMode(e.mode)
		}
		out, err := w.CreateHeader(h)
		if err == nil {
			_, err = out.Write([]byte(e.body))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unzipInto(t *testing.T, data []byte, lim ZipLimits) (string, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "into")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	if lim == (ZipLimits{}) {
		lim.Bytes = 1 << 20
	}
	return dir, Unzip(bytes.NewReader(data), int64(len(data)), root, lim)
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(filepath.Dir(dir), func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestUnzip(t *testing.T) {
	t.Parallel()
	dir, err := unzipInto(t, archive(t,
		entry{name: "flight.json", body: "{}"},
		entry{name: "steps/", mode: fs.ModeDir | 0o755},
		entry{name: "steps/one/receipt.json", body: strings.Repeat("a", 4096), method: zip.Deflate},
		entry{name: "steps/one/empty"},
		entry{name: "run", body: "#!", mode: 0o755},
	), ZipLimits{})
	must(t, err)
	if got := files(t, dir); !slices.Equal(got, []string{"flight.json", "run", "steps/one/empty", "steps/one/receipt.json"}) {
		t.Errorf("%q", got)
	}
	body, err := os.ReadFile(filepath.Join(dir, "steps/one/receipt.json"))
	if must(t, err); string(body) != strings.Repeat("a", 4096) {
		t.Errorf("%d bytes", len(body))
	}
	if info, err := os.Stat(filepath.Join(dir, "run")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a mode came along: %v", info.Mode())
	}
}

// TestT16HostileZips unpacks archives that no upload step makes.
func TestT16HostileZips(t *testing.T) {
	t.Parallel()
	many := make([]entry, 12)
	for i := range many {
		many[i] = entry{name: strings.Repeat("x", i+1)}
	}
	one := archive(t, entry{name: "a", body: strings.Repeat("a", 1000)}, entry{name: "b", body: strings.Repeat("b", 1000)})
	for _, c := range []struct {
		name string
		data []byte
		lim  ZipLimits
	}{
		{"traversal", archive(t, entry{name: "../evil"}), ZipLimits{}},
		{"traversal inside", archive(t, entry{name: "a/../../evil"}), ZipLimits{}},
		{"absolute", archive(t, entry{name: "/evil"}), ZipLimits{}},
		{"backslash", archive(t, entry{name: `..\evil`}), ZipLimits{}},
		{"drive", archive(t, entry{name: "C:/evil"}), ZipLimits{}},
		{"stream", archive(t, entry{name: "a:evil"}), ZipLimits{}},
		{"empty element", archive(t, entry{name: "a//b"}), ZipLimits{}},
		{"no name", archive(t, entry{name: ""}), ZipLimits{}},
		{"only a slash", archive(t, entry{name: "/"}), ZipLimits{}},
		{"dot", archive(t, entry{name: "./a"}), ZipLimits{}},
		{"hidden", archive(t, entry{name: ".git/config"}), ZipLimits{}},
		{"hidden below", archive(t, entry{name: "a/.cabincrew"}), ZipLimits{}},
		{"trailing dot", archive(t, entry{name: "a./b"}), ZipLimits{}},
		{"trailing space", archive(t, entry{name: "a "}), ZipLimits{}},
		{"line break", archive(t, entry{name: "a\nb"}), ZipLimits{}},
		{"turned text", archive(t, entry{name: "a\u202eb"}), ZipLimits{}},
		{"not UTF-8", archive(t, entry{name: "a\xff"}), ZipLimits{}},
		{"too deep", archive(t, entry{name: strings.Repeat("a/", limits.FlightDepth) + "a"}), ZipLimits{}},
		{"too long", archive(t, entry{name: strings.Repeat("a", limits.FlightPath+1)}), ZipLimits{}},
		{"symbolic link", archive(t, entry{name: "a", body: "/etc/passwd", mode: fs.ModeSymlink | 0o777}), ZipLimits{}},
		{"device", archive(t, entry{name: "a", mode: fs.ModeDevice | fs.ModeCharDevice | 0o600}), ZipLimits{}},
		{"fifo", archive(t, entry{name: "a", mode: fs.ModeNamedPipe | 0o600}), ZipLimits{}},
		{"a file that calls itself a directory", archive(t, entry{name: "a", mode: fs.ModeDir | 0o700}), ZipLimits{}},
		{"twice", archive(t, entry{name: "a", body: "1"}, entry{name: "a", body: "2"}), ZipLimits{}},
		{"case", archive(t, entry{name: "flight.json"}, entry{name: "FLIGHT.JSON"}), ZipLimits{}},
		{"case of a directory", archive(t, entry{name: "Steps/a"}, entry{name: "steps/b"}), ZipLimits{}},
		{"case of a letter like another", archive(t, entry{name: "k"}, entry{name: "\u212a"}), ZipLimits{}},
		{"file and directory", archive(t, entry{name: "a"}, entry{name: "a/b"}), ZipLimits{}},
		{"directory and file", archive(t, entry{name: "a/b"}, entry{name: "a"}), ZipLimits{}},
		{"encrypted", patched(one, 'a', 8, 1), ZipLimits{}},
		{"unknown method", patched(one, 'a', 10, 93), ZipLimits{}},
		{"too many", archive(t, many...), ZipLimits{Bytes: 1 << 20, Files: 11}},
		{"too large a file", one, ZipLimits{Bytes: 1 << 20, File: 999}},
		{"too large together", one, ZipLimits{Bytes: 1999}},
		{"bomb", archive(t, entry{name: "a", body: strings.Repeat("\x00", 20<<20), method: zip.Deflate}), ZipLimits{Bytes: 1 << 30}},
		{"larger than it says", patched32(one, 'a', 24, 10), ZipLimits{}},
		{"smaller than it says", patched32(one, 'a', 24, 1001), ZipLimits{}},
		{"wrong checksum", bytes.Replace(one, []byte("aaaaaaaaaa"), []byte("aaaaXaaaaa"), 1), ZipLimits{}},
		{"overlapping", patched32(one, 'b', 42, 0), ZipLimits{}},
		{"beyond the end", patched32(one, 'a', 20, 1<<30), ZipLimits{}},
		{"no archive", []byte("PK\x03\x04 not really"), ZipLimits{}},
		{"empty", nil, ZipLimits{}},
		{"cut", one[:len(one)-30], ZipLimits{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir, err := unzipInto(t, c.data, c.lim)
			wants(t, err, "forge_archive", 5)
			for _, f := range files(t, dir) {
				if f != "a" && f != "b" {
					t.Errorf("it wrote %q", f)
				}
			}
		})
	}
}

// record finds the entry of a one-letter name in an archive's directory.
func record(data []byte, name byte) int {
	for at := 0; ; {
		i := bytes.Index(data[at:], []byte("PK\x01\x02"))
		if i < 0 {
			panic("no entry " + string(name))
		}
		if at += i; data[at+46] == name {
			return at
		}
		at += 4
	}
}

func patched(data []byte, name byte, offset int, value uint16) []byte {
	out := slices.Clone(data)
	binary.LittleEndian.PutUint16(out[record(out, name)+offset:], value)
	return out
}

func patched32(data []byte, name byte, offset int, value uint32) []byte {
	out := slices.Clone(data)
	binary.LittleEndian.PutUint32(out[record(out, name)+offset:], value)
	return out
}

func FuzzUnzip(f *testing.F) {
	f.Add(archive(f, entry{name: "a/b", body: "x"}, entry{name: "c", body: strings.Repeat("y", 100), method: zip.Deflate}))
	f.Add(archive(f, entry{name: "../a"}, entry{name: "l", mode: fs.ModeSymlink, body: "/etc"}))
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := filepath.Join(t.TempDir(), "into")
		must(t, os.Mkdir(dir, 0o700))
		root, err := os.OpenRoot(dir)
		must(t, err)
		defer func() { _ = root.Close() }()
		_ = Unzip(bytes.NewReader(data), int64(len(data)), root, ZipLimits{Bytes: 1 << 16, Files: 32})
		total := int64(0)
		must(t, filepath.WalkDir(filepath.Dir(dir), func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err != nil || !info.Mode().IsRegular() || !strings.HasPrefix(p, dir+string(filepath.Separator)) {
				t.Errorf("%s: %v", p, err)
				return err
			}
			total += info.Size()
			return nil
		}))
		if total > 1<<17 {
			t.Errorf("%d bytes", total)
		}
	})
}
