package oci

import (
	"archive/tar"
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

func TestUnpackMakesTheTreeOfTheLayers(t *testing.T) {
	t.Parallel()
	type tree = map[string]string
	for name, c := range map[string]struct {
		layers [][]te
		want   tree
	}{
		"files, directories, links": {
			[][]te{{dirE("a"), fileE("a/f", "x"), linkE("a/l", "/etc/passwd"), hardE("a/h", "a/f"), linkE("out", "../../..")}},
			tree{"a": "/", "a/f": "x", "a/l": "-> /etc/passwd", "a/h": "x", "out": "-> ../../.."},
		},
		"names with a leading slash and dots": {
			[][]te{{dirE("."), dirE("/ko-app"), fileE("/ko-app//./engine", "x"), fileE("./b", "y"), hardE("c", "/b")}},
			tree{"ko-app": "/", "ko-app/engine": "x", "b": "y", "c": "y"},
		},
		"implied directories": {[][]te{{fileE("a/b/c", "x")}}, tree{"a": "/", "a/b": "/", "a/b/c": "x"}},
		"an upper file replaces a lower one, also one with another name": {
			[][]te{{fileE("f", "old"), hardE("g", "f")}, {fileE("f", "new")}}, tree{"f": "new", "g": "old"},
		},
		"an upper file replaces what a lower link leads to by nothing": {
			[][]te{{fileE("f", "old"), linkE("l", "f")}, {fileE("l", "new")}}, tree{"f": "old", "l": "new"},
		},
		"whiteout of a file": {[][]te{{fileE("a/f", "x"), fileE("a/g", "y")}, {fileE("a/.wh.f", "")}}, tree{"a": "/", "a/g": "y"}},
		"whiteout of a directory": {
			[][]te{{fileE("a/b/f", "x"), fileE("g", "y")}, {fileE(".wh.a", "")}}, tree{"g": "y"},
		},
		"whiteout of a link hides the link": {[][]te{{fileE("f", "x"), linkE("l", "f")}, {fileE(".wh.l", "")}}, tree{"f": "x"}},
		"whiteout of nothing":               {[][]te{{fileE("f", "x")}, {fileE(".wh.g", ""), fileE("no/where/.wh.g", ""), fileE("f/.wh.g", "")}}, tree{"f": "x"}},
		"whiteout does not touch its own layer": {
			[][]te{{fileE("f", "x")}, {fileE("g", "new"), fileE(".wh.g", ""), fileE(".wh.f", ""), fileE("f", "again")}},
			tree{"f": "again", "g": "new"},
		},
		"whiteout before and after a directory of its layer": {
			[][]te{
				{fileE("a/old", "x"), fileE("b/old", "x"), fileE("c/old", "x")},
				{fileE(".wh.a", ""), fileE("a/new", "y"), fileE("b/new", "y"), fileE(".wh.b", ""), dirE("c"), fileE(".wh.c", "")},
			},
			tree{"a": "/", "a/new": "y", "b": "/", "b/new": "y", "c": "/"},
		},
		"opaque, before and after": {
			[][]te{
				{fileE("a/old", "x"), fileE("b/sub/old", "x"), fileE("b/sub/two", "x"), fileE("c", "z")},
				{fileE("a/.wh..wh..opq", ""), fileE("a/new", "y"), fileE("b/sub/two", "y"), fileE("b/.wh..wh..opq", "")},
			},
			tree{"a": "/", "a/new": "y", "b": "/", "b/sub": "/", "b/sub/two": "y", "c": "z"},
		},
		"opaque root, twice": {
			[][]te{{fileE("a/b", "x"), fileE("c", "x")}, {fileE(".wh..wh..opq", ""), fileE("n", "y"), fileE("./.wh..wh..opq", "")}}, tree{"n": "y"},
		},
		"opaque in a third layer":    {[][]te{{fileE("a/1", "x")}, {fileE("a/2", "x")}, {fileE("a/.wh..wh..opq", ""), fileE("a/3", "x")}}, tree{"a": "/", "a/3": "x"}},
		"other names of AUFS":        {[][]te{{fileE(".wh..wh.plnk/1.2", "x"), kindE(".wh..wh.orph", tar.TypeDir), fileE("f", "x")}}, tree{"f": "x"}},
		"directories merge":          {[][]te{{dirE("a"), fileE("a/1", "x")}, {dirE("a"), fileE("a/2", "y")}}, tree{"a": "/", "a/1": "x", "a/2": "y"}},
		"a directory may repeat":     {[][]te{{dirE("a"), fileE("a/1", "x"), dirE("a")}}, tree{"a": "/", "a/1": "x"}},
		"a directory over a file":    {[][]te{{fileE("a", "x")}, {dirE("a"), fileE("a/1", "y")}}, tree{"a": "/", "a/1": "y"}},
		"a directory over a link":    {[][]te{{dirE("b"), linkE("a", "b")}, {dirE("a"), fileE("a/1", "y")}}, tree{"a": "/", "a/1": "y", "b": "/"}},
		"a file over a directory":    {[][]te{{fileE("a/b/c", "x")}, {fileE("a", "y")}}, tree{"a": "y"}},
		"a link over a directory":    {[][]te{{fileE("a/b/c", "x"), fileE("d/e", "x")}, {linkE("a", "d")}, {fileE("a/f", "y")}}, tree{"a": "-> d", "d": "/", "d/e": "x", "d/f": "y"}},
		"through a link in the root": {[][]te{{dirE("usr/bin"), linkE("bin", "usr/bin")}, {fileE("bin/sh", "x")}}, tree{"usr": "/", "usr/bin": "/", "usr/bin/sh": "x", "bin": "-> usr/bin"}},
		"through an absolute link":   {[][]te{{dirE("run"), linkE("var/run", "/run"), fileE("var/run/x", "y")}}, tree{"run": "/", "run/x": "y", "var": "/", "var/run": "-> /run"}},
		"through a link that leads out": {
			[][]te{{linkE("a", "../../../../../etc"), fileE("a/evil", "x"), linkE("b", "/.."), fileE("b/f", "y")}},
			tree{"a": "-> ../../../../../etc", "etc": "/", "etc/evil": "x", "b": "-> /..", "f": "y"},
		},
		"whiteout through a link":        {[][]te{{fileE("usr/bin/sh", "x"), linkE("bin", "usr/bin")}, {fileE("bin/.wh.sh", "")}}, tree{"usr": "/", "usr/bin": "/", "bin": "-> usr/bin"}},
		"hard link through a link":       {[][]te{{fileE("usr/bin/sh", "x"), linkE("bin", "/usr/bin"), hardE("sh", "bin/sh")}}, tree{"usr": "/", "usr/bin": "/", "usr/bin/sh": "x", "bin": "-> /usr/bin", "sh": "x"}},
		"hard link to a lower file":      {[][]te{{fileE("f", "x")}, {hardE("g", "f"), fileE(".wh.f", "")}}, tree{"g": "x"}},
		"hard link to a link":            {[][]te{{linkE("l", "/etc/shadow"), hardE("m", "l")}}, tree{"l": "-> /etc/shadow", "m": "-> /etc/shadow"}},
		"devices hide and are not made":  {[][]te{{fileE("d", "x")}, {kindE("d", tar.TypeChar), kindE("b", tar.TypeBlock), kindE("f", tar.TypeFifo), hardE("h", "d")}}, tree{}},
		"a device may be replaced":       {[][]te{{kindE("d", tar.TypeFifo)}, {fileE("d", "x")}, {fileE(".wh.d", "")}}, tree{}},
		"names that differ in case":      {[][]te{{fileE("A", "1"), fileE("a", "2")}}, tree{"A": "1", "a": "2"}},
		"a backslash, newline, Unicode":  {[][]te{{fileE(`system\x2dcryptsetup.slice`, "1"), fileE("a\nb", "2"), fileE("ő", "3")}}, tree{`system\x2dcryptsetup.slice`: "1", "a\nb": "2", "ő": "3"}},
		"global headers say nothing":     {[][]te{{{kind: tar.TypeXGlobalHeader, pax: map[string]string{"path": "evil"}}, fileE("f", "x")}}, tree{"f": "x"}},
		"the longest names":              {[][]te{{fileE(strings.Repeat("n", 255), "x")}}, tree{strings.Repeat("n", 255): "x"}},
		"an empty image":                 {[][]te{{}}, tree{}},
		"a lower link, replaced midway":  {[][]te{{dirE("d"), linkE("a", "d")}, {fileE("a/1", "x"), dirE("a"), fileE("a/2", "y")}}, tree{"d": "/", "d/1": "x", "a": "/", "a/2": "y"}},
		"a hidden parent comes back":     {[][]te{{fileE("a/b/c", "x")}, {fileE("a/.wh.b", ""), fileE("a/b/d", "y")}}, tree{"a": "/", "a/b": "/", "a/b/d": "y"}},
		"extended attributes, ownership": {[][]te{{{name: "f", body: "x", mode: 0o6755, pax: map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02", "uid": "0"}}}}, tree{"f": "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var archives [][]byte
			for _, l := range c.layers {
				archives = append(archives, tarOf(t, l...))
			}
			dir, err := unpacked(t, options(t), archives...)
			if err != nil {
				t.Fatal(err)
			}
			if got := contents(t, dir); !maps.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	small := func(l Limits) func(*Options) { return func(o *Options) { o.Limits = l } }
	deep := strings.Repeat("d/", 65)
	loop := []te{linkE("a", "b"), linkE("b", "a"), fileE("a/f", "x")}
	var chain []te
	for n := range 60 {
		chain = append(chain, linkE("l"+string(rune('A'+n)), "l"+string(rune('A'+n+1))))
	}
	long := []te{linkE("x", strings.Repeat("./", 2000)+"x"), fileE("x/f", "y")}
	for name, c := range map[string]struct {
		code string
		bend func(*Options)
		in   [][]te
	}{
		"..":                              {"oci_name", nil, [][]te{{fileE("../evil", "x")}}},
		".. in the middle":                {"oci_name", nil, [][]te{{fileE("a/../../evil", "x")}}},
		".. behind a slash":               {"oci_name", nil, [][]te{{fileE("/../evil", "x")}}},
		".. in a whiteout":                {"oci_name", nil, [][]te{{fileE("../.wh.evil", "")}}},
		"whiteout of ..":                  {"oci_name", nil, [][]te{{fileE(".wh...", "")}}},
		"whiteout of .":                   {"oci_name", nil, [][]te{{fileE("a/.wh..", "")}}},
		"whiteout of no name":             {"oci_name", nil, [][]te{{fileE(".wh.", "")}}},
		"below a whiteout":                {"oci_name", nil, [][]te{{fileE(".wh.a/f", "")}}},
		"not UTF-8":                       {"oci_name", nil, [][]te{{fileE("a\xff", "x")}}},
		"a long element":                  {"oci_name", nil, [][]te{{fileE(strings.Repeat("n", 256), "x")}}},
		"a long path":                     {"oci_name", nil, [][]te{{fileE(strings.Repeat(strings.Repeat("n", 200)+"/", 6), "")}}},
		"a deep path":                     {"oci_name", nil, [][]te{{fileE(deep+"f", "x")}}},
		"a deep path by links":            {"oci_name", nil, [][]te{{dirE(deep[:100]), linkE("l", deep[:100]), fileE("l/"+deep[:100]+"f", "x")}}},
		"the root as a file":              {"oci_name", nil, [][]te{{fileE(".", "x")}}},
		"the root as a link":              {"oci_name", nil, [][]te{{linkE("./", "/etc")}}},
		"a file twice":                    {"oci_name", nil, [][]te{{fileE("f", "x"), fileE("f", "y")}}},
		"a file twice by a link":          {"oci_name", nil, [][]te{{dirE("d"), linkE("l", "d"), fileE("d/f", "x"), fileE("l/f", "y")}}},
		"a file and a directory":          {"oci_name", nil, [][]te{{fileE("f", "x"), dirE("f")}}},
		"a directory and a link":          {"oci_name", nil, [][]te{{dirE("a"), linkE("a", "/etc"), fileE("a/f", "x")}}},
		"a directory in use and a link":   {"oci_name", nil, [][]te{{dirE("a")}, {fileE("a/x", "x"), linkE("a", "/etc"), fileE("a/f", "x")}}},
		"an implied directory and a link": {"oci_name", nil, [][]te{{fileE("a/x", "x"), linkE("a", "/etc")}}},
		"below a file":                    {"oci_name", nil, [][]te{{fileE("a", "x"), fileE("a/b", "y")}}},
		"below a device":                  {"oci_name", nil, [][]te{{kindE("a", tar.TypeChar), fileE("a/b", "y")}}},
		"hard link out":                   {"oci_name", nil, [][]te{{hardE("h", "../../../etc/passwd")}}},
		"hard link to a file outside":     {"oci_name", nil, [][]te{{hardE("h", "/etc/passwd")}}},
		"hard link by a link out":         {"oci_name", nil, [][]te{{linkE("l", "/etc"), hardE("h", "l/passwd")}}},
		"hard link to a directory":        {"oci_name", nil, [][]te{{dirE("d"), hardE("h", "d")}}},
		"hard link to nothing":            {"oci_name", nil, [][]te{{hardE("h", "")}}},
		"hard link to itself":             {"oci_name", nil, [][]te{{fileE("f", "x")}, {hardE("f", "f")}}},
		"hard link to what it replaces":   {"oci_name", nil, [][]te{{fileE("d/f", "x")}, {hardE("d", "d/f")}}},
		"hard link to a whiteout":         {"oci_name", nil, [][]te{{fileE(".wh.f", ""), hardE("h", ".wh.f")}}},
		"link to nothing":                 {"oci_name", nil, [][]te{{linkE("l", "")}}},
		"a link's long target":            {"oci_name", nil, [][]te{{linkE("l", strings.Repeat("t", 4096))}}},
		"a link's target not UTF-8":       {"oci_name", nil, [][]te{{linkE("l", "\xff")}}},
		"links in a circle":               {"oci_name", nil, [][]te{loop}},
		"a chain of links":                {"oci_name", nil, [][]te{append(chain, fileE("lA/f", "x"))}},
		"links with endless targets":      {"oci_name", nil, [][]te{long}},
		"an unknown type":                 {"oci_name", nil, [][]te{{kindE("f", '7')}}},
		"a sparse file":                   {"oci_name", nil, [][]te{{{name: "f", pax: map[string]string{"GNU.sparse.name": "x"}}}}},
		"too many entries":                {"oci_limit", small(Limits{Files: 3}), [][]te{{fileE("1", ""), fileE("2", "")}, {fileE("3", ""), fileE("4", "")}}},
		"too many implied directories":    {"oci_limit", small(Limits{Files: 10}), [][]te{{fileE("1/2/3/4/5/6/7/8/9/10/f", "")}}},
		"too many bytes":                  {"oci_limit", small(Limits{UnpackedBytes: 4096}), [][]te{{fileE("1", strings.Repeat("x", 4000))}}},
		"too many bytes in two layers":    {"oci_limit", small(Limits{UnpackedBytes: 4096}), [][]te{{fileE("1", "x")}, {fileE("1", strings.Repeat("x", 1024))}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			if c.bend != nil {
				c.bend(&o)
			}
			var archives [][]byte
			for _, l := range c.in {
				archives = append(archives, rawTar(t, l...))
			}
			dir, err := unpacked(t, o, archives...)
			wantError(t, err, protocol.ExitIntegrity, c.code)
			if got := listing(t, dir); len(got) > 0 {
				t.Errorf("left behind: %q", got)
			}
		})
	}
}

// rawTar writes also what archive/tar refuses to write: NUL-free but odd names.
func rawTar(t testing.TB, entries ...te) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, e := range entries {
		odd := e.pax != nil && e.pax["GNU.sparse.name"] != ""
		if odd { // archive/tar writes no sparse records: change them behind its back
			e.pax = map[string]string{"XXX.sparse.name": "x"}
		}
		one := tarOf(t, e)
		if odd {
			one = bytes.Replace(one, []byte("XXX.sparse"), []byte("GNU.sparse"), 1)
		}
		out.Write(one[:len(one)-1024])
	}
	out.Write(make([]byte, 1024))
	return out.Bytes()
}

func TestUnpackRefusesMalformedArchives(t *testing.T) {
	t.Parallel()
	good := tarOf(t, fileE("f", strings.Repeat("x", 2000)))
	evil := tarOf(t, fileE("evil", "x"))
	badSum := append([]byte{}, good...)
	badSum[0] ^= 1
	negative := append([]byte{}, good...)
	copy(negative[124:136], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
	for name, c := range map[string]struct {
		raw  []byte
		code string
	}{
		"a header with a wrong sum":     {badSum, "oci_layer"},
		"a header with a negative size": {negative, "oci_layer"},
		"cut in a file":                 {good[:1500], "oci_layer"},
		"cut in a header":               {good[:100], "oci_layer"},
		"entries behind the end":        {append(append([]byte{}, good...), evil...), "oci_layer"},
		"no archive":                    {[]byte(strings.Repeat("hello ", 500)), "oci_layer"},
		"extended records without end":  {paxBomb(t), "oci_layer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, err := unpacked(t, options(t), c.raw)
			wantError(t, err, protocol.ExitIntegrity, c.code)
			if got := listing(t, dir); len(got) > 0 {
				t.Errorf("left behind: %q", got)
			}
		})
	}
}

// paxBomb is an archive whose extended header is larger than any reader should keep.
func paxBomb(t *testing.T) []byte {
	t.Helper()
	raw := tarOf(t, te{name: "f", pax: map[string]string{"comment": "x"}})
	body := "4194310 comment=" + strings.Repeat("x", 4194310-17) + "\n"
	var h bytes.Buffer
	w := tar.NewWriter(&h)
	if err := w.WriteHeader(&tar.Header{Name: "PaxHeaders.0/f", Typeflag: tar.TypeReg, Size: int64(len(body)), Format: tar.FormatUSTAR}); err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte(body))
	_ = w.Close()
	head := h.Bytes()
	head = head[:len(head)-1024]
	head[156] = 'x'
	copy(head[148:156], "        ")
	sum := 0
	for _, b := range head[:512] {
		sum += int(b)
	}
	copy(head[148:156], []byte{'0', '0' + byte(sum>>12&7), '0' + byte(sum>>9&7), '0' + byte(sum>>6&7), '0' + byte(sum>>3&7), '0' + byte(sum&7), 0, ' '})
	return append(head, raw[1024:]...)
}

// TestUnpackStopsBombs unpacks a gzip bomb and an archive of very many entries
// within the default limits' reach, scaled down.
func TestUnpackStopsBombs(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Limits = Limits{UnpackedBytes: 16 << 20, Files: 5000}
	_, err := unpacked(t, o, tarOf(t, te{name: "zeros", body: strings.Repeat("\x00", 32<<20)}))
	wantError(t, err, protocol.ExitIntegrity, "oci_limit")

	var many bytes.Buffer
	w := tar.NewWriter(&many)
	for range 20_000 { // the same name again and again would be refused: whiteouts are not
		if err := w.WriteHeader(&tar.Header{Name: ".wh.x", Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
	}
	_ = w.Close()
	_, err = unpacked(t, o, many.Bytes())
	wantError(t, err, protocol.ExitIntegrity, "oci_limit")
}

func TestUnpackModesAndTimes(t *testing.T) {
	t.Parallel()
	dir, err := unpacked(t, options(t), tarOf(t,
		te{name: "d/", mode: 0o1777, time: 1e9}, te{name: "shut/", mode: -1}, fileE("shut/in", "x"), te{name: "d/suid", mode: 0o6777, time: -5},
		te{name: "none", mode: -1, body: "x", time: 1 << 40}, modeE("x", 0o111), te{name: "l", link: "x", kind: tar.TypeSymlink, time: 77}))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"d": "drwxr-xr-x 1000000000 ", "shut": "drwx------ 0 ", "shut/in": "-rw-r--r-- 0 x", "d/suid": "-rwxr-xr-x 0 ",
		"none": "-r-------- 2147483647 x", "x": "-r-x--x--x 0 ", "l": "Lrwxrwxrwx 77 x",
	}
	if runtime.GOOS != "linux" {
		t.Skip("modes and times of other systems differ")
	}
	if got := listing(t, dir); !maps.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if err := os.RemoveAll(filepath.Join(dir, "shut")); err != nil {
		t.Errorf("it cannot be removed: %v", err)
	}
}

func TestUnpackTwiceGivesTheSame(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	o := options(t)
	d := f.image(t, nil,
		tarOf(t, fileE("usr/bin/a", "1"), linkE("bin", "usr/bin"), te{name: "etc/", time: 9}, fileE("etc/x", "y")),
		tarOf(t, fileE("bin/b", "2"), hardE("c", "bin/a"), fileE("etc/.wh.x", "")))
	i, err := Get(t.Context(), f.ref(t, d.Digest), o)
	if err != nil {
		t.Fatal(err)
	}
	var trees []map[string]string
	for range 2 {
		dir := t.TempDir()
		if err := Unpack(t.Context(), i, o, dir); err != nil {
			t.Fatal(err)
		}
		trees = append(trees, listing(t, dir))
		info, err := os.Stat(dir)
		if err != nil || info.ModTime().Unix() != 0 {
			t.Errorf("time of the root: %v %v", info.ModTime(), err)
		}
	}
	if !maps.Equal(trees[0], trees[1]) {
		t.Errorf("%q\n%q", trees[0], trees[1])
	}
}

func TestUnpackNeedsAnEmptyDirectory(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	o := options(t)
	i, err := Get(t.Context(), f.ref(t, f.image(t, nil, tarOf(t, fileE("f", "x"))).Digest), o)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantError(t, Unpack(t.Context(), i, o, dir), protocol.ExitFailure, "oci_unpack")
	if _, err := os.Stat(filepath.Join(dir, "mine")); err != nil {
		t.Error("what was there is gone")
	}
	wantError(t, Unpack(t.Context(), i, o, filepath.Join(dir, "absent")), protocol.ExitFailure, "oci_unpack")
}
