package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// within runs the program of hostile acts in a tier, with what it prints.
func within(t *testing.T, c *Confine, args ...string) (Exit, string) {
	t.Helper()
	cmd, out := hostile(t, c, args...)
	exit, err := Run(t.Context(), cmd)
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return exit, out.String()
}

// hostile gives the command of a hostile act.
func hostile(t testing.TB, c *Confine, args ...string) (Command, *bytes.Buffer) {
	t.Helper()
	at := acts(t)
	if c != nil {
		held := *c
		c = &held
		c.Binds = append(slices.Clone(c.Binds), Bind{Source: at, Target: at})
	}
	var out bytes.Buffer
	return Command{
		Argv: append([]string{at}, args...), Dir: "/", Stdout: &out, Stderr: &out, Timeout: 30 * time.Second, Grace: 200 * time.Millisecond,
		Env: []string{"HOSTILE_PRIVATE=" + os.Getenv(stageVar), "GOMAXPROCS=2"}, Confine: c,
	}, &out
}

// fill makes files, with directories as needed; a name that ends in / is a
// directory, a content that begins with -> a symbolic link.
func fill(t testing.TB, dir string, files map[string]string) string {
	t.Helper()
	for name, content := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		to, link := strings.CutPrefix(content, "->")
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(at, 0o755)
		case link:
			err = os.Symlink(to, at)
		default:
			err = os.WriteFile(at, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// listing gives a directory as text: names, kinds, modes, contents.
func listing(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var content []byte
		switch {
		case info.Mode().IsRegular():
			content, err = os.ReadFile(p)
		case info.Mode()&os.ModeSymlink != 0:
			var to string
			to, err = os.Readlink(p)
			content = []byte(to)
		}
		rel, _ := filepath.Rel(dir, p)
		fmt.Fprintf(&b, "%q %s %q\n", rel, info.Mode(), content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestNoLinkLeadsOutOfTheRoot binds trees whose symbolic links lead to the host's
// files: an image may hold any. While the root is made, none may be followed there.
func TestNoLinkLeadsOutOfTheRoot(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T) {
		tier(t, TierA)
		for name, c := range map[string]struct {
			image map[string]string // HOST stands for a directory of the host
			bind  []Bind            // with IMAGE and HOST
			cover string
		}{
			"a file of etc":    {map[string]string{"etc/resolv.conf": "->HOST/file", "etc/passwd": "->HOST/new", "etc/group": "->HOST/file"}, []Bind{{Source: "IMAGE/etc", Target: "/etc"}}, ""},
			"etc":              {map[string]string{"etc": "->HOST"}, []Bind{{Source: "IMAGE/etc", Target: "/etc"}}, ""},
			"writable etc":     {map[string]string{"etc/passwd": "->HOST/new", "etc/hosts": "->HOST/file"}, []Bind{{Source: "IMAGE/etc", Target: "/etc", Write: true}}, ""},
			"parts":            {map[string]string{"p": "->HOST"}, []Bind{{Source: "IMAGE/p", Target: "/.parts"}}, ""},
			"dev":              {map[string]string{"dev": "->HOST"}, []Bind{{Source: "IMAGE/dev", Target: "/dev2"}}, ""},
			"parent of a bind": {map[string]string{"w/a": "->HOST", "f": "x"}, []Bind{{Source: "IMAGE/w", Target: "/w", Write: true}, {Source: "IMAGE/f", Target: "/w/a/planted"}}, ""},
			"a directory":      {map[string]string{"w/a": "->HOST", "d/": ""}, []Bind{{Source: "IMAGE/w", Target: "/w", Write: true}, {Source: "IMAGE/d", Target: "/w/a/planted"}}, ""},
			"a cover":          {map[string]string{"w/a": "->HOST"}, []Bind{{Source: "IMAGE/w", Target: "/w", Write: true}}, "/w/a/file"},
			"old root":         {map[string]string{"etc/passwd": "->/.old/HOST/new"}, []Bind{{Source: "IMAGE/etc", Target: "/etc", Write: true}}, ""},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				// Not below /tmp, where the new root is made.
				dir, err := os.MkdirTemp("/var/tmp", "sb-") //nolint:usetesting // see above
				if err != nil {
					t.Skip("no directory can be made outside of /tmp:", err)
				}
				t.Cleanup(func() { _ = os.RemoveAll(dir) })
				host := fill(t, dir, map[string]string{"file": "host", "dir/inner": "host"})
				image := shared(t)
				files := map[string]string{}
				for at, content := range c.image {
					files[at] = strings.ReplaceAll(content, "HOST", host)
				}
				fill(t, image, files)
				held := &Confine{Tier: TierA}
				for _, b := range c.bind {
					b.Source = strings.ReplaceAll(b.Source, "IMAGE", image)
					held.Binds = append(held.Binds, b)
				}
				if c.cover != "" {
					held.Covers = []string{c.cover}
				}
				before, imageBefore := listing(t, host), listing(t, image)
				cmd, out := hostile(t, held, "do", "read|"+host+"/file", "read|/etc/resolv.conf", "list|/w/a", "read|/w/a/file")
				_, err = Run(t.Context(), cmd) // it may refuse, as long as it does no harm
				if err != nil && !errors.Is(err, ErrIsolation) {
					t.Error(err)
				}
				if after := listing(t, host); after != before {
					t.Errorf("the host was changed:\n%s\n%s", before, after)
				}
				if after := listing(t, image); after != imageBefore && !strings.Contains(name, "writable") && name != "old root" {
					t.Errorf("the image was changed:\n%s\n%s", imageBefore, after)
				}
				if strings.Contains(out.String(), `"host"`) {
					t.Errorf("the host was read:\n%s", out)
				}
			})
		}
	})
}

// TestBinds binds one thing below another, through links, and under odd names.
func TestBinds(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T) {
		tier(t, TierA)
		t.Run("below one another", func(t *testing.T) {
			t.Parallel()
			dir := fill(t, shared(t), map[string]string{"w/file": "w", "w/.git/config": "kept", "w/sub/deep/file": "deep", "other/file": "other", "lone": "lone"})
			w := filepath.Join(dir, "w")
			_, out := within(t, &Confine{Tier: TierA, Binds: []Bind{
				{Source: filepath.Join(dir, "other"), Target: "/w/sub/deep"}, // before what it lies in
				{Source: w, Target: "/w", Write: true}, {Source: filepath.Join(w, ".git"), Target: "/w/.git"},
				{Source: filepath.Join(dir, "lone"), Target: "/w/file"},
				// The same at their own places.
				{Source: w, Target: w, Write: true}, {Source: filepath.Join(w, ".git"), Target: filepath.Join(w, ".git")},
			}}, "do", "read|/w/file", "read|/w/sub/deep/file", "write|/w/sub/deep/file|x", "write|/w/.git/config|x", "write|/w/new|x", "write|/w/file|x",
				"write|"+w+"/.git/config|x", "write|"+w+"/more|x")
			want := []string{`"lone"`, `"other"`, "read-only", "read-only", "<nil>", "read-only", "read-only", "<nil>"}
			for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
				if !strings.Contains(line, want[i]) {
					t.Errorf("%s, want %s", line, want[i])
				}
			}
			if got := listing(t, dir); !strings.Contains(got, `"w/.git/config" -rw-r--r-- "kept"`) || !strings.Contains(got, `"w/new"`) || !strings.Contains(got, `"w/more"`) || !strings.Contains(got, `"w/file" -rw-r--r-- "w"`) {
				t.Error(got)
			}
		})
		t.Run("writable below read-only", func(t *testing.T) {
			t.Parallel()
			dir := fill(t, shared(t), map[string]string{"file": "x", "out/": ""})
			_, out := within(t, &Confine{Tier: TierA, Binds: []Bind{{Source: dir, Target: dir}, {Source: dir + "/out", Target: dir + "/out", Write: true}}},
				"do", "write|"+dir+"/file|y", "write|"+dir+"/out/new|y")
			if !strings.Contains(out, "read-only") || strings.Count(out, "<nil>") != 1 {
				t.Error(out)
			}
		})
		// What lies in a directory can be replaced by moving it away, unless it is a mount.
		t.Run("fixed directories stay", func(t *testing.T) {
			t.Parallel()
			dir := fill(t, shared(t), map[string]string{"free/": "", "fixed/below/": ""})
			_, out := within(t, &Confine{Tier: TierA, Binds: []Bind{{Source: dir, Target: dir, Write: true}, {Source: dir + "/fixed", Target: dir + "/fixed", Write: true, Fixed: true}}},
				"do", "rename|"+dir+"/free|"+dir+"/moved", "rename|"+dir+"/fixed|"+dir+"/away", "rename|"+dir+"/fixed/below|"+dir+"/fixed/other")
			for name, there := range map[string]bool{"/moved": true, "/free": false, "/fixed": true, "/away": false, "/fixed/other": true} {
				if _, err := os.Stat(dir + name); (err == nil) != there {
					t.Errorf("%s: %v\n%s", name, err, out)
				}
			}
		})
		t.Run("links and what is missing", func(t *testing.T) {
			t.Parallel()
			dir := fill(t, shared(t), map[string]string{"secret/file": "secret", "link": "->secret", "here/file": "x", "parent": "->here"})
			_, out := within(t, &Confine{Tier: TierA, Binds: []Bind{
				{Source: dir + "/link", Target: "/link"}, {Source: dir + "/nowhere", Target: "/nowhere"}, {Source: dir + "/parent/file", Target: "/through"},
			}}, "do", "readlink|/link", "read|/link/file", "read|/nowhere", "read|/through")
			lines := strings.Split(out, "\n")
			// The link itself is shown, what it leads to is not.
			if !strings.Contains(lines[0], `"secret" <nil>`) || !strings.Contains(lines[1], "no such file") || !strings.Contains(lines[2], "no such file") || !strings.Contains(lines[3], `"x" <nil>`) {
				t.Error(out)
			}
		})
		t.Run("writable and missing", func(t *testing.T) {
			t.Parallel()
			cmd, _ := hostile(t, &Confine{Tier: TierA, Binds: []Bind{{Source: shared(t) + "/nowhere", Target: "/w", Write: true}}}, "true")
			if _, err := Run(t.Context(), cmd); !errors.Is(err, ErrIsolation) || !strings.Contains(err.Error(), "nowhere") {
				t.Error(err)
			}
		})
		t.Run("a socket in what is bound", func(t *testing.T) {
			t.Parallel()
			dir := fill(t, shared(t), map[string]string{"in/": "", "out/": ""})
			for _, d := range []string{"in", "out"} {
				l, err := net.Listen("unix", dir+"/"+d+"/s") //nolint:noctx // closed below
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = l.Close() }()
			}
			// This is how it is, and the comment of Bind says so. What is not bound is not there.
			_, out := within(t, &Confine{Tier: TierA, Binds: []Bind{{Source: dir + "/in", Target: "/in"}}}, "dial", "unix /in/s", "unix "+dir+"/out/s", "unix "+dir+"/in/s")
			if strings.Count(out, "\tpassed\t") != 1 || !strings.HasPrefix(out, "unix /in/s\tpassed") {
				t.Error(out)
			}
		})
		t.Run("a pipe in the way", func(t *testing.T) {
			t.Parallel()
			dir := fill(t, shared(t), map[string]string{"w/": "", "f": "x"})
			mkfifo(t, dir+"/w/pipe")
			begin := time.Now()
			_, out := within(t, &Confine{Tier: TierA, Binds: []Bind{{Source: dir + "/w", Target: "/w", Write: true}, {Source: dir + "/f", Target: "/w/pipe"}}}, "do", "read|/w/pipe")
			if !strings.Contains(out, `"x" <nil>`) || time.Since(begin) > 10*time.Second {
				t.Error(out)
			}
		})
	})
}

// oddNames are names that options of mounts, JSON and shells give a meaning to.
func oddNames() []string {
	return []string{
		"a space", "colon:colon", "comma,lowerdir=etc", `back\slash`, `\072`, "new\nline", "tab\tquote\"'", "#hash;$(id)`id`", "=equals,upperdir=x", "-rf", "ünïcödé", "%s%n",
		"raw-\xff\xfe", "\x01\x1b[31m", strings.Repeat("long", 60), "..data", "...",
	}
}

// TestOddNames uses odd names wherever a name can be.
func TestOddNames(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T) {
		tier(t, TierA)
		for _, name := range oddNames() {
			t.Run(strconv.QuoteToASCII(name), func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(shared(t), name)
				files := map[string]string{"bound/file": "bound", "lower/seen": "seen", "lower/sub/file": "sub", "lower/cover/file": "covered", "upper/": "", "out/": ""}
				files["lower/"+name] = "hidden"
				files["lower/sub/"+name] = "hidden"
				files["lower/"+name+"2/file"] = "hidden"
				fill(t, dir, files)
				before := listing(t, filepath.Join(dir, "lower"))
				cmd, out := hostile(t, &Confine{
					Tier: TierA, Binds: []Bind{{Source: dir + "/bound", Target: "/" + name}, {Source: dir + "/out", Target: dir + "/out", Write: true}},
					View: &View{
						Target: "/view/" + name, Lower: []string{dir + "/lower"}, Hide: []string{name, "sub/" + name, name + "2"},
						Upper: dir + "/upper", Base: "/base/" + name, Changes: "/changes/" + name,
					},
					Covers: []string{"/view/" + name + "/cover"},
				}, "do", "read|/"+name+"/file", "read|/view/"+name+"/seen", "list|/view/"+name, "list|/view/"+name+"/sub", "list|/view/"+name+"/cover",
					"write|/view/"+name+"/made|"+name, "read|/changes/"+name+"/made", "write|"+dir+"/out/"+name+"|x", "list|/base/"+name)
				cmd.Dir = "/view/" + name
				cmd.Env = append(cmd.Env, "ODD="+name)
				exit, err := Run(t.Context(), cmd)
				if err != nil || exit.Code != 0 {
					t.Fatalf("%+v %v", exit, err)
				}
				want := []string{`"bound" <nil>`, `"seen" <nil>`, `"cover seen sub " <nil>`, `"file " <nil>`, `"" <nil>`, "<nil>", strconv.Quote(name) + " <nil>", "<nil>", `"cover seen sub " <nil>`}
				for i, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
					if i >= len(want) || !strings.HasSuffix(line, want[i]) {
						t.Errorf("%s, want %v", line, want[min(i, len(want)-1)])
					}
				}
				if after := listing(t, filepath.Join(dir, "lower")); after != before {
					t.Errorf("what lies below changed:\n%s\n%s", before, after)
				}
				if data, err := os.ReadFile(dir + "/upper/u/made"); err != nil || string(data) != name {
					t.Errorf("%q, %v", data, err)
				}
				if _, err := os.Lstat(dir + "/out/" + name); err != nil {
					t.Error(err)
				}
			})
		}
	})
}
