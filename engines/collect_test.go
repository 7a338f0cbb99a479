package engines

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/protocol"
)

// box is an artifacts directory with the receipt's list of what is in it.
type box struct {
	t        testing.TB
	dir      string
	declared []protocol.EngineArtifact
	c        Collector
}

func newBox(t testing.TB) *box { return &box{t: t, dir: t.TempDir(), c: Collector{Step: "s"}} }

func (b *box) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

const (
	bodyless = `{"artifact_type":"note","action":"tell","mime":"text/plain","body":"x"}`
	bodied   = `{"artifact_type":"note","action":"tell","mime":"text/plain","body_file":"body.data"}`
)

// put writes an artifact as an engine would, without declaring it. A nil body
// means no body file.
func (b *box) put(name, description string, body []byte) {
	b.t.Helper()
	b.must(os.MkdirAll(filepath.Join(b.dir, name), 0o755))
	b.must(os.WriteFile(filepath.Join(b.dir, name, DescriptionFile), []byte(description), 0o644))
	if body != nil {
		b.must(os.WriteFile(filepath.Join(b.dir, name, "body.data"), body, 0o644))
	}
}

func (b *box) declare(name, hash string) {
	b.declared = append(b.declared, protocol.EngineArtifact{Name: name, Role: protocol.RoleEvidence, Path: name, Hash: hash})
}

// add writes and declares an artifact that is in order.
func (b *box) add(name, description string, body []byte) {
	b.t.Helper()
	b.put(name, description, body)
	hashed := []byte(description)
	if body != nil {
		hashed = body
	}
	b.declare(name, protocol.Digest(hashed))
}

// collect copies into a fresh directory and gives it.
func (b *box) collect(ctx context.Context) (string, []Artifact, error) {
	b.t.Helper()
	from, err := os.OpenRoot(b.dir)
	b.must(err)
	defer func() { b.must(from.Close()) }()
	dst := b.t.TempDir()
	to, err := os.OpenRoot(dst)
	b.must(err)
	defer func() { b.must(to.Close()) }()
	got, err := b.c.Collect(ctx, from, to, b.declared)
	return dst, got, err
}

func TestCollectAccepts(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.add("zulu", bodied, []byte("body\r\n\x00\xff"))
	b.add("Alpha.1", bodyless, nil)
	b.add("empty", bodied, []byte{})
	b.add("state", bodied, bytes.Repeat([]byte("0123456789"), 300_000)) // more than one chunk
	b.declared[0].Hash = strings.TrimPrefix(b.declared[0].Hash, "sha256:")
	b.declared[0].Size = "8"
	b.declared[3].Role = protocol.RoleState
	dst, got, err := b.collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := ""
	for _, a := range got {
		names += a.Name + " "
		for _, file := range []string{DescriptionFile, "body.data"} {
			want, err := os.ReadFile(filepath.Join(b.dir, a.Name, file))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			have, err2 := os.ReadFile(filepath.Join(dst, a.Name, file))
			if err != nil || err2 != nil || !bytes.Equal(want, have) {
				t.Errorf("%s/%s differs in the flight (%v, %v)", a.Name, file, err, err2)
			}
			if file == "body.data" && (a.BodyDigest != protocol.Digest(have) || a.Size != int64(len(have))) {
				t.Errorf("%s: digest %s, size %d", a.Name, a.BodyDigest, a.Size)
			}
			if file == DescriptionFile && (a.RawDigest != protocol.Digest(have) || !bytes.Equal(a.Raw, have)) {
				t.Errorf("%s: description's digest %s", a.Name, a.RawDigest)
			}
		}
	}
	if names != "Alpha.1 empty state zulu " {
		t.Errorf("order: %s", names)
	}
	if got[0].BodyDigest != "" || got[0].Size != 0 || got[2].Role != protocol.RoleState {
		t.Errorf("%+v", got)
	}
}

func TestCollectCopiesNoMode(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.add("a", bodied, []byte("#!/bin/sh\n"))
	b.must(os.Chmod(filepath.Join(b.dir, "a", "body.data"), 0o4755))
	dst, _, err := b.collect(t.Context())
	b.must(err)
	info, err := os.Stat(filepath.Join(dst, "a", "body.data"))
	b.must(err)
	if info.Mode()&(os.ModeSetuid|0o111) != 0 {
		t.Fatalf("the copy is %v", info.Mode())
	}
}

// TestCollectRefusals builds one artifacts directory in order, breaks it in one
// way, and demands the refusal.
func TestCollectRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code   string
		damage func(b *box)
	}{
		"undeclared":              {"artifact_undeclared", func(b *box) { b.put("extra", bodyless, nil) }},
		"undeclared, raw name":    {"artifact_undeclared", func(b *box) { b.put("x\x1b[31m\ny", bodyless, nil) }},
		"undeclared file":         {"artifact_undeclared", func(b *box) { b.must(os.WriteFile(filepath.Join(b.dir, "stray"), nil, 0o644)) }},
		"undeclared by case":      {"artifact_undeclared", func(b *box) { b.put("A", bodyless, nil) }},
		"missing":                 {"artifact_missing", func(b *box) { b.declare("gone", protocol.Digest(nil)) }},
		"a file for a directory":  {"artifact_kind", func(b *box) { b.exchange("a", func(p string) error { return os.WriteFile(p, nil, 0o644) }) }},
		"a link for a directory":  {"artifact_kind", func(b *box) { b.exchange("a", func(p string) error { return os.Symlink(b.outside(), p) }) }},
		"hash of another":         {"artifact_hash", func(b *box) { b.declared[0].Hash = protocol.Digest([]byte("other")) }},
		"hash of the description": {"artifact_hash", func(b *box) { b.declared[0].Hash = protocol.Digest([]byte(bodied)) }},
		"upper-case hash":         {"artifact_hash", func(b *box) { b.declared[0].Hash = strings.ToUpper(b.declared[0].Hash) }},
		"other algorithm":         {"artifact_hash", func(b *box) { b.declared[0].Hash = "sha1:" + strings.Repeat("0", 40) }},
		"empty hash":              {"artifact_hash", func(b *box) { b.declared[0].Hash = "" }},
		"giant hash":              {"artifact_hash", func(b *box) { b.declared[0].Hash = strings.Repeat("\x1b", 1<<20) }},
		"size":                    {"artifact_size", func(b *box) { b.declared[0].Size = "5" }},
		"negative size":           {"artifact_size", func(b *box) { b.declared[0].Size = "-4" }},
		"name with a slash":       {"artifact_name", func(b *box) { b.declare("a/b", "") }},
		"name ..":                 {"artifact_name", func(b *box) { b.declare("..", "") }},
		"name .":                  {"artifact_name", func(b *box) { b.declare(".", "") }},
		"empty name":              {"artifact_name", func(b *box) { b.declare("", "") }},
		"hidden name":             {"artifact_name", func(b *box) { b.declare(".x", "") }},
		"name with a newline":     {"artifact_name", func(b *box) { b.declare("a\n", "") }},
		"name of another script":  {"artifact_name", func(b *box) { b.declare("а", "") }},
		"long name":               {"artifact_name", func(b *box) { b.declare(strings.Repeat("n", 129), "") }},
		"declared twice":          {"artifact_duplicate", func(b *box) { b.declare("a", "") }},
		"equal but for case":      {"artifact_duplicate", func(b *box) { b.add("A", bodyless, nil) }},
		"path":                    {"artifact_path", func(b *box) { b.declared[0].Path = "../a" }},
		"path with ./":            {"artifact_path", func(b *box) { b.declared[0].Path = "./a" }},
		"no path":                 {"artifact_path", func(b *box) { b.declared[0].Path = "" }},
		"role":                    {"artifact_role", func(b *box) { b.declared[0].Role = "Evidence" }},
		"too many":                {"artifact_count", func(b *box) { b.c.Limits.Artifacts = 1; b.add("b", bodyless, nil) }},
		"too many bytes":          {"artifact_too_large", func(b *box) { b.c.Limits.ArtifactBytes = int64(len(bodied)) + 3 }},
		"sparse giant": {"artifact_too_large", func(b *box) {
			b.must(os.Truncate(filepath.Join(b.dir, "a", "body.data"), limits.ArtifactBytes+1))
		}},
		"giant artifact.json": {"artifact_too_large", func(b *box) {
			b.must(os.Truncate(filepath.Join(b.dir, "a", DescriptionFile), limits.ArtifactJSON+1))
		}},
		"no artifact.json":        {"artifact_unreadable", func(b *box) { b.must(os.Remove(filepath.Join(b.dir, "a", DescriptionFile))) }},
		"no body":                 {"artifact_unreadable", func(b *box) { b.must(os.Remove(filepath.Join(b.dir, "a", "body.data"))) }},
		"further file":            {"artifact_extra_file", func(b *box) { b.must(os.WriteFile(filepath.Join(b.dir, "a", "more"), nil, 0o644)) }},
		"further directory":       {"artifact_extra_file", func(b *box) { b.must(os.Mkdir(filepath.Join(b.dir, "a", "more"), 0o755)) }},
		"body file without one":   {"artifact_extra_file", func(b *box) { b.describe(bodyless) }},
		"not JSON":                {"artifact_malformed", func(b *box) { b.describe("x") }},
		"empty artifact.json":     {"artifact_malformed", func(b *box) { b.describe("") }},
		"duplicate key":           {"artifact_malformed", func(b *box) { b.describe(strings.Replace(bodied, "{", `{"action":"a",`, 1)) }},
		"trailing bytes":          {"artifact_malformed", func(b *box) { b.describe(bodied + "{}") }},
		"unknown field":           {"artifact_malformed", func(b *box) { b.describe(strings.Replace(bodied, "{", `{"approved":true,`, 1)) }},
		"giant unknown field":     {"artifact_malformed", func(b *box) { b.describe(strings.Replace(bodied, "{", `{"`+strings.Repeat("x", 1<<20)+`":true,`, 1)) }},
		"body and body_file":      {"artifact_body", func(b *box) { b.describe(strings.Replace(bodied, "{", `{"body":"x",`, 1)) }},
		"body null and body_file": {"artifact_body", func(b *box) { b.describe(strings.Replace(bodied, "{", `{"body":null,`, 1)) }},
		"body_file ..":            {"artifact_body_file", func(b *box) { b.bodyFile("..") }},
		"body_file .":             {"artifact_body_file", func(b *box) { b.bodyFile(".") }},
		"body_file above":         {"artifact_body_file", func(b *box) { b.bodyFile("../a/body.data") }},
		"body_file below":         {"artifact_body_file", func(b *box) { b.bodyFile("x/body.data") }},
		"absolute body_file":      {"artifact_body_file", func(b *box) { b.bodyFile("/etc/passwd") }},
		"body_file backslash":     {"artifact_body_file", func(b *box) { b.bodyFile(`..\\body.data`) }},
		"body_file NUL":           {"artifact_body_file", func(b *box) { b.bodyFile(`body.data\u0000x`) }},
		"body_file newline":       {"artifact_body_file", func(b *box) { b.bodyFile(`body\ndata`) }},
		"body_file escape":        {"artifact_body_file", func(b *box) { b.bodyFile(`\u001b[31mbody`) }},
		"body_file turned":        {"artifact_body_file", func(b *box) { b.bodyFile(`\u202ebody`) }},
		"body_file itself":        {"artifact_body_file", func(b *box) { b.bodyFile(DescriptionFile) }},
		"long body_file":          {"artifact_body_file", func(b *box) { b.bodyFile(strings.Repeat("n", 256)) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			b.add("a", bodied, []byte("body"))
			c.damage(b)
			_, _, err := b.collect(t.Context())
			code := c.code
			var e *protocol.Error
			if code == "artifact_malformed" && errors.As(err, &e) && e.Code == "artifact_invalid" {
				code = e.Code // which of the two reads a shape is no promise
			}
			if got := refusal(t, err, code); got.Exit != protocol.ExitFailure || !strings.Contains(got.Where, "step s") {
				t.Fatalf("exit %d at %q", got.Exit, got.Where)
			}
		})
	}
}

func (b *box) outside() string {
	dir := b.t.TempDir()
	b.must(os.WriteFile(filepath.Join(dir, DescriptionFile), []byte(bodied), 0o644))
	b.must(os.WriteFile(filepath.Join(dir, "body.data"), []byte("body"), 0o644))
	return dir
}

func (b *box) exchange(name string, f func(path string) error) {
	b.t.Helper()
	at := filepath.Join(b.dir, name)
	b.must(os.RemoveAll(at))
	b.must(f(at))
}

func (b *box) describe(description string) {
	b.must(os.WriteFile(filepath.Join(b.dir, "a", DescriptionFile), []byte(description), 0o644))
}

func (b *box) bodyFile(name string) { b.describe(strings.Replace(bodied, "body.data", name, 1)) }

func secretBox(t *testing.T) (*box, string) {
	const value = "correct-horse/battery+staple"
	b := newBox(t)
	r, err := redact.New(map[string]string{"s.TOKEN": value})
	b.must(err)
	b.c.Secrets = r
	return b, value
}

func TestCollectFindsSecrets(t *testing.T) {
	t.Parallel()
	const value = "correct-horse/battery+staple"
	quoted := func(s string) string { return strings.ReplaceAll(s, `"`, `\"`) }
	for name, text := range map[string]string{
		"plain": value, "base64": base64.StdEncoding.EncodeToString([]byte(value)),
		"shifted base64": base64.StdEncoding.EncodeToString([]byte("user:" + value)),
		"hex":            hex.EncodeToString([]byte(value)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(value))),
	} {
		for place, put := range map[string]func(b *box){
			"body":       func(b *box) { b.add("a", bodied, []byte("x "+text+" y")) },
			"end":        func(b *box) { b.add("a", bodied, []byte(text)) },
			"later part": func(b *box) { b.add("a", bodied, append(make([]byte, 3*chunkSize), text...)) },
			"chunk border": func(b *box) {
				b.add("a", bodied, append(append(make([]byte, chunkSize-5), text...), make([]byte, chunkSize)...))
			},
			"inline body": func(b *box) { b.add("a", strings.Replace(bodyless, `"x"`, `"`+quoted(text)+`"`, 1), nil) },
			"metadata": func(b *box) {
				b.add("a", strings.Replace(bodyless, "{", `{"metadata":{"k":["`+quoted(text)+`"]},`, 1), nil)
			},
		} {
			t.Run(name+"/"+place, func(t *testing.T) {
				t.Parallel()
				b, _ := secretBox(t)
				put(b)
				_, _, err := b.collect(t.Context())
				e := refusal(t, err, "artifact_secret")
				if e.Exit != protocol.ExitDenied || strings.Contains(err.Error()+e.Hint, value) || strings.Contains(err.Error(), text) {
					t.Fatalf("exit %d: %v", e.Exit, err)
				}
			})
		}
	}
	b, _ := secretBox(t)
	b.add("a", bodied, []byte(value[:len(value)-1]))
	if _, _, err := b.collect(t.Context()); err != nil {
		t.Fatalf("a part of a value was refused: %v", err)
	}
}

// TestCollectLowestIndex demands the same answer however goroutines are scheduled.
func TestCollectLowestIndex(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	for i := range 40 {
		b.add(fmt.Sprintf("a%02d", i), bodyless, nil)
	}
	for _, i := range []int{39, 23, 11, 12} {
		b.declared[i].Hash = protocol.Digest([]byte("other"))
	}
	for range 30 {
		_, _, err := b.collect(t.Context())
		if e := refusal(t, err, "artifact_hash"); !strings.Contains(e.Where, "artifact a11") {
			t.Fatalf("it names %s", e.Where)
		}
	}
	// Which artifact overdraws the common budget depends on the schedule, so the
	// refusal names none.
	b = newBox(t)
	for i := range 8 {
		b.add(fmt.Sprintf("a%d", i), bodied, make([]byte, 100))
	}
	b.c.Limits.ArtifactBytes = 500
	for range 20 {
		_, _, err := b.collect(t.Context())
		if e := refusal(t, err, "artifact_too_large"); e.Where != "step s" {
			t.Fatalf("it names %s", e.Where)
		}
	}
}

func TestCollectCancelled(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.add("a", bodied, make([]byte, 8<<20))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := b.collect(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
}

// changing is a file whose size is another one when it is read.
type changing struct {
	left int64
	step func()
}

func (c *changing) Read(p []byte) (int, error) {
	if c.step != nil {
		c.step()
	}
	n := min(int64(len(p)), c.left)
	if n == 0 {
		return 0, io.EOF
	}
	c.left -= n
	return int(n), nil
}

func TestStreamSeesChangedSizes(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{10, chunkSize, chunkSize + 1, 5 * chunkSize} {
		for _, actual := range []int64{size - 1, size, size + 1, size + 3*chunkSize} {
			var sink bytes.Buffer
			n, err := stream(t.Context(), &changing{left: actual}, size, []io.Writer{&sink})
			if err != nil || (n == size) != (actual == size) || n > size+1 || n != int64(sink.Len()) {
				t.Errorf("size %d, really %d: read %d, sink has %d, %v", size, actual, n, sink.Len(), err)
			}
		}
	}
}

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

func TestStreamTellsOfAFailingSink(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{10, 9 * chunkSize} {
		var good bytes.Buffer
		_, err := stream(t.Context(), &changing{left: size}, size, []io.Writer{&good, &failing{after: int(size / chunkSize / 2)}})
		if err == nil || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("size %d: %v", size, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	_, err := stream(ctx, &changing{left: 100 * chunkSize, step: func() {
		if n++; n == 3 {
			cancel()
		}
	}}, 100*chunkSize, []io.Writer{io.Discard})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestCollectWhileItGrows lets a survivor append to the body all the time: it is
// refused, or the copy in the flight is what was hashed.
func TestCollectWhileItGrows(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.add("a", bodied, make([]byte, 20<<20))
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		f, err := os.OpenFile(filepath.Join(b.dir, "a", "body.data"), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return
		}
		defer func() { _ = f.Close() }()
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := f.Write(make([]byte, 64)); err != nil {
					return
				}
			}
		}
	}()
	dst, got, err := b.collect(t.Context())
	close(stop)
	<-stopped
	if err != nil {
		var e *protocol.Error
		if !errors.As(err, &e) || e.Code != "artifact_changed" && e.Code != "artifact_hash" {
			t.Fatal(err)
		}
		return
	}
	copied, err := os.ReadFile(filepath.Join(dst, "a", "body.data"))
	if err != nil || protocol.Digest(copied) != got[0].BodyDigest {
		t.Fatalf("the flight does not hold what was hashed (%v)", err)
	}
}

// TestCollectMemoryIsFlat collects a body of 300 MB and watches the heap.
func TestCollectMemoryIsFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 300 MB; run without -short")
	}
	const size = 300 << 20
	b := newBox(t)
	b.put("a", bodied, []byte{})
	b.must(os.Truncate(filepath.Join(b.dir, "a", "body.data"), size))
	b.declare("a", "sha256:"+strings.Repeat("0", 64))
	r, err := redact.New(map[string]string{"T": "never in here"})
	b.must(err)
	b.c.Secrets = r
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var peak atomic.Uint64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			peak.Store(max(peak.Load(), now.HeapInuse))
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	_, _, err = b.collect(t.Context())
	close(stop)
	<-stopped
	_ = refusal(t, err, "artifact_hash") // it fails the test itself
	if grown := int64(peak.Load()) - int64(before.HeapInuse); grown > 32<<20 {
		t.Fatalf("the heap grew by %d MB", grown>>20)
	}
}

// FuzzArtifactJSON: whatever artifact.json holds, it is refused by a code or the
// flight has the same bytes.
func FuzzArtifactJSON(f *testing.F) {
	for _, seed := range []string{
		bodyless, bodied, "{}", "", strings.Replace(bodied, "body.data", "../x", 1), strings.Replace(bodied, "{", `{"body":null,`, 1),
		strings.Replace(bodyless, `"x"`, `{"a":[1,2.5e3,null,true]}`, 1), strings.Replace(bodied, "body.data", `a\u0000b`, 1),
		strings.Replace(bodyless, "{", `{"metadata":{"files":[{"old_path":"a"}]},`, 1),
	} {
		f.Add([]byte(seed), rand.Uint64()%2 == 0)
	}
	f.Fuzz(func(t *testing.T, raw []byte, withBody bool) {
		b := newBox(t)
		var body []byte
		if withBody {
			body = []byte("body")
		}
		b.put("a", string(raw), body)
		hashed := raw
		if strings.Contains(string(raw), "body_file") && withBody {
			hashed = body
		}
		b.declare("a", protocol.Digest(hashed))
		dst, got, err := b.collect(t.Context())
		if err != nil {
			var e *protocol.Error
			if !errors.As(err, &e) || e.Exit != protocol.ExitFailure || !strings.HasPrefix(e.Code, "artifact_") {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		have, err := os.ReadFile(filepath.Join(dst, "a", DescriptionFile))
		if err != nil || !bytes.Equal(have, raw) || !bytes.Equal(got[0].Raw, raw) {
			t.Fatalf("the flight holds other bytes (%v)", err)
		}
		if d := got[0].Description; d.ArtifactType == "" && !strings.Contains(string(raw), `""`) || d.BodyFile != "" && d.Body != nil {
			t.Fatalf("accepted %q as %+v", raw, d)
		}
	})
}
