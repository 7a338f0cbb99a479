package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
)

// entry of a tar archive; a name that ends with "/" is a directory.
type te struct {
	name, body, link string
	kind             byte
	mode             int64
	time             int64
	pax              map[string]string
}

func (e te) header() *tar.Header {
	h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, ModTime: time.Unix(e.time, 0), PAXRecords: e.pax, Size: int64(len(e.body))}
	if h.Typeflag == 0 {
		h.Typeflag = tar.TypeReg
		if strings.HasSuffix(e.name, "/") {
			h.Typeflag = tar.TypeDir
		}
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return &tar.Header{Typeflag: h.Typeflag, PAXRecords: h.PAXRecords}
	}
	if h.Mode < 0 {
		h.Mode = 0
	} else if h.Mode == 0 {
		h.Mode = 0o644
		if h.Typeflag == tar.TypeDir {
			h.Mode = 0o755
		}
	}
	return h
}

func dirE(name string) te           { return te{name: name + "/"} }
func fileE(name, body string) te    { return te{name: name, body: body} }
func linkE(name, target string) te  { return te{name: name, link: target, kind: tar.TypeSymlink} }
func hardE(name, target string) te  { return te{name: name, link: target, kind: tar.TypeLink} }
func kindE(name string, k byte) te  { return te{name: name, kind: k} }
func modeE(name string, m int64) te { return te{name: name, mode: m} }

func tarOf(t testing.TB, entries ...te) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(e.header()); err != nil {
			t.Fatalf("%q: %v", e.name, err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(t testing.TB, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(raw)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// thing is a manifest or blob of the fake registry.
type thing struct {
	raw  []byte
	kind string
}

// fake is a registry that does what a test wants of it.
type fake struct {
	mu     sync.Mutex
	things map[string]thing // "manifests/NAME", "blobs/DIGEST"
	asked  []string
	hook   func(w http.ResponseWriter, r *http.Request, path string) bool
	server *httptest.Server
}

const repository = "team/engine"

func newFake(t testing.TB) *fake {
	t.Helper()
	f := &fake{things: map[string]thing{}}
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v2/"+repository+"/")
	f.mu.Lock()
	f.asked = append(f.asked, path)
	one, ok := f.things[path]
	hook := f.hook
	f.mu.Unlock()
	switch {
	case hook != nil && hook(w, r, path):
	case r.URL.Path == "/v2/":
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	default:
		w.Header().Set("Content-Type", one.kind)
		_, _ = w.Write(one.raw)
	}
}

func (f *fake) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.asked...)
}

func (f *fake) host() string { return strings.TrimPrefix(f.server.URL, "http://") }

func (f *fake) ref(t testing.TB, digest string) Reference {
	t.Helper()
	r, err := Parse(f.host()+"/"+repository+"@"+digest, false)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (f *fake) blob(raw []byte) descriptor {
	d := protocol.Digest(raw)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.things["blobs/"+d] = thing{raw, "application/octet-stream"}
	return descriptor{Digest: d, Size: int64(len(raw))}
}

// manifest stores any document and gives its descriptor.
func (f *fake) manifest(v any, kind string) descriptor {
	raw, ok := v.([]byte)
	if !ok {
		raw, _ = json.Marshal(v)
	}
	d := protocol.Digest(raw)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.things["manifests/"+d] = thing{raw, kind}
	return descriptor{Digest: d, Size: int64(len(raw)), MediaType: kind}
}

type object = map[string]any

// spec is an image that a test builds and bends.
type spec struct {
	config   object
	manifest object
	layers   []object
	diffIDs  []string
}

func desc(d descriptor, kind string) object {
	return object{"mediaType": kind, "digest": d.Digest, "size": d.Size}
}

// image stores an image of gzipped layers.
func (f *fake) image(t testing.TB, bend func(*spec), archives ...[]byte) descriptor {
	t.Helper()
	s := &spec{}
	for _, a := range archives {
		s.diffIDs = append(s.diffIDs, protocol.Digest(a))
		s.layers = append(s.layers, desc(f.blob(gz(t, a)), "application/vnd.oci.image.layer.v1.tar+gzip"))
	}
	s.config = object{
		"os": "linux", "architecture": runtime.GOARCH,
		"config": object{"Entrypoint": []string{"/bin/engine"}, "Cmd": []string{"plan"}, "Env": []string{"A=b"}, "WorkingDir": "/", "User": "1000"},
	}
	s.manifest = object{"schemaVersion": 2, "mediaType": typeManifest}
	if bend != nil {
		bend(s)
	}
	if s.config["rootfs"] == nil {
		s.config["rootfs"] = object{"type": "layers", "diff_ids": s.diffIDs}
	}
	raw, _ := json.Marshal(s.config)
	if s.manifest["config"] == nil {
		s.manifest["config"] = desc(f.blob(raw), typeConfig)
	}
	if s.manifest["layers"] == nil {
		s.manifest["layers"] = s.layers
	}
	kind, _ := s.manifest["mediaType"].(string)
	return f.manifest(s.manifest, kind)
}

func options(t testing.TB) Options {
	t.Helper()
	return Options{Plain: true, Cache: filepath.Join(t.TempDir(), "cache"), retryDelay: time.Millisecond}
}

// unpacked builds an image of archives, gets it and unpacks it.
func unpacked(t testing.TB, o Options, archives ...[]byte) (string, error) {
	t.Helper()
	f := newFake(t)
	i, err := Get(t.Context(), f.ref(t, f.image(t, nil, archives...).Digest), o)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return dir, Unpack(t.Context(), i, o, dir)
}

func wantError(t testing.TB, err error, exit int, code string) {
	t.Helper()
	var e *protocol.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want the code %s", err, code)
	}
	if e.Code != code || e.ExitCode() != exit || protocol.ExitCode(err) != exit {
		t.Fatalf("error %s (exit %d): %v, want %s (exit %d)", e.Code, protocol.ExitCode(err), err, code, exit)
	}
}

// listing describes a tree: kind, mode, time, content or target.
func listing(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		info, err := os.Lstat(p)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		text := ""
		switch {
		case info.Mode().IsRegular():
			raw, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			text = string(raw)
		case info.Mode()&fs.ModeSymlink != 0:
			text, _ = os.Readlink(p)
		}
		out[rel] = fmt.Sprintf("%v %d %s", info.Mode(), info.ModTime().UnixNano()/1e9, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// contents gives path and content of a tree: a file's text, "-> target", "/".
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, line := range listing(t, dir) {
		words := strings.SplitN(line, " ", 3)
		switch line[0] {
		case 'd':
			out[name] = "/"
		case 'L':
			out[name] = "-> " + words[2]
		default:
			out[name] = words[2]
		}
	}
	return out
}
