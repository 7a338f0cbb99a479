package oci

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/cabincrew/action/protocol"
)

// realImage builds an image as build tools do; how nil leaves its layers uncompressed.
func realImage(t testing.TB, how []tarball.LayerOption, archives ...[]byte) v1.Image {
	t.Helper()
	i := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	i = mutate.ConfigMediaType(i, types.OCIConfigJSON)
	for _, a := range archives {
		if how == nil {
			i = appended(t, i, static.NewLayer(a, types.OCIUncompressedLayer))
			continue
		}
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(a)), nil }, how...)
		if err != nil {
			t.Fatal(err)
		}
		i = appended(t, i, l)
	}
	c, err := i.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c = c.DeepCopy()
	c.OS, c.Architecture = "linux", runtime.GOARCH
	c.Config.Entrypoint, c.Config.Cmd = []string{"/bin/engine"}, []string{"--plan"}
	c.Config.Env = []string{"PATH=/bin"}
	if i, err = mutate.ConfigFile(i, c); err != nil {
		t.Fatal(err)
	}
	return i
}

func appended(t testing.TB, i v1.Image, l v1.Layer) v1.Image {
	t.Helper()
	i, err := mutate.AppendLayers(i, l)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func realRegistry(t testing.TB) string {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func push(t testing.TB, ref string, i v1.Image) string {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, i); err != nil {
		t.Fatal(err)
	}
	d, err := i.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// TestPullFromARegistry takes images of each compression and an index by digest
// and by a resolved tag from a real registry.
func TestPullFromARegistry(t *testing.T) {
	t.Parallel()
	host := realRegistry(t)
	archives := [][]byte{tarOf(t, fileE("bin/engine", "v1"), fileE("gone", "x")), tarOf(t, fileE("bin/engine", "v2"), fileE(".wh.gone", ""))}
	for kind, how := range map[string][]tarball.LayerOption{
		"gzip":  {tarball.WithMediaType(types.OCILayer)},
		"zstd":  {tarball.WithCompression("zstd"), tarball.WithMediaType(types.OCILayerZStd)},
		"plain": nil,
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			digest := push(t, host+"/a/"+kind+":v1", realImage(t, how, archives...))
			tag, err := Parse(host+"/a/"+kind+":v1", true)
			if err != nil {
				t.Fatal(err)
			}
			ref, err := Resolve(t.Context(), tag, o)
			if err != nil || ref.Digest() != digest {
				t.Fatalf("resolved to %s, %v; want %s", ref, err, digest)
			}
			i, err := Get(t.Context(), ref, o)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := Unpack(t.Context(), i, o, dir); err != nil {
				t.Fatal(err)
			}
			if got := contents(t, dir); len(got) != 2 || got["bin/engine"] != "v2" {
				t.Errorf("unpacked %q", got)
			}
			argv, err := i.Argv(nil)
			if err != nil || !slices.Equal(argv, []string{"/bin/engine", "--plan"}) || i.Digest != digest || i.Manifest != digest || i.Config.Env[0] != "PATH=/bin" {
				t.Errorf("argv %q %v, image %+v", argv, err, i)
			}
		})
	}
	t.Run("index", func(t *testing.T) {
		t.Parallel()
		mine := realImage(t, nil, archives...)
		index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
			mutate.IndexAddendum{Add: realImage(t, nil, archives[0]), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "windows", Architecture: runtime.GOARCH}}},
			mutate.IndexAddendum{Add: mine, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}})
		r, err := name.ParseReference(host + "/a/index:v1")
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.WriteIndex(r, index); err != nil {
			t.Fatal(err)
		}
		d, _ := index.Digest()
		below, _ := mine.Digest()
		ref, err := Parse(host+"/a/index:whatever@"+d.String(), false)
		if err != nil {
			t.Fatal(err)
		}
		i, err := Get(t.Context(), ref, options(t))
		if err != nil || i.Digest != d.String() || i.Manifest != below.String() {
			t.Errorf("got %+v, %v", i, err)
		}
	})
}

// TestRegistryLies has a registry answer other things than were asked for.
func TestRegistryLies(t *testing.T) {
	t.Parallel()
	archive := tarOf(t, fileE("f", strings.Repeat("content ", 100)))
	packed := gz(t, archive)
	layer := "blobs/" + protocol.Digest(packed)
	other := newFake(t)
	evil := other.image(t, nil, tarOf(t, fileE("f", "evil")))
	evilRaw := other.things["manifests/"+evil.Digest]
	answer := func(path string, raw []byte) func(http.ResponseWriter, *http.Request, string) bool {
		return func(w http.ResponseWriter, _ *http.Request, p string) bool {
			if strings.HasPrefix(p, path) {
				_, _ = w.Write(raw)
			}
			return strings.HasPrefix(p, path)
		}
	}
	kinds := map[string]string{
		"a wrong media type": typeIndex,
		"Docker's schema 1":  "application/vnd.docker.distribution.manifest.v1+prettyjws",
		"a web page":         "text/html; charset=utf-8",
	}
	for name, c := range map[string]struct {
		exit int
		code string
		hook func(w http.ResponseWriter, r *http.Request, path string) bool
	}{
		"another manifest": {5, "oci_digest", func(w http.ResponseWriter, _ *http.Request, p string) bool {
			if strings.HasPrefix(p, "manifests/") {
				w.Header().Set("Content-Type", evilRaw.kind)
				_, _ = w.Write(evilRaw.raw)
			}
			return strings.HasPrefix(p, "manifests/")
		}},
		"another manifest that claims the digest": {5, "oci_digest", func(w http.ResponseWriter, _ *http.Request, p string) bool {
			if d, ok := strings.CutPrefix(p, "manifests/"); ok {
				w.Header().Set("Docker-Content-Digest", d)
				w.Header().Set("Content-Type", evilRaw.kind)
				_, _ = w.Write(evilRaw.raw)
				return true
			}
			return false
		}},
		"an empty manifest":     {5, "oci_digest", answer("manifests/", nil)},
		"an endless manifest":   {5, "oci_limit", endless("manifests/")},
		"an endless layer":      {5, "oci_digest", endless(layer)},
		"other blobs":           {5, "oci_digest", answer("blobs/", []byte("evil"))},
		"a layer of other size": {5, "oci_digest", answer(layer, packed[:len(packed)-1])},
		"a longer layer":        {5, "oci_digest", answer(layer, append(append([]byte{}, packed...), 0))},
		"a layer of right size": {5, "oci_digest", answer(layer, bytes.Repeat([]byte("x"), len(packed)))},
		"a longer layer without length": {5, "oci_digest", func(w http.ResponseWriter, _ *http.Request, p string) bool {
			if p == layer {
				w.(http.Flusher).Flush()
				_, _ = w.Write(append(append([]byte{}, packed...), packed...))
			}
			return p == layer
		}},
		"a shorter layer without length": {5, "oci_digest", func(w http.ResponseWriter, _ *http.Request, p string) bool {
			if p == layer {
				w.(http.Flusher).Flush()
				_, _ = w.Write(packed[:len(packed)/2])
			}
			return p == layer
		}},
		"a length that is too large": {5, "oci_digest", func(w http.ResponseWriter, _ *http.Request, p string) bool {
			if p == layer {
				w.Header().Set("Content-Length", strconv.Itoa(len(packed)+10))
				_, _ = w.Write(packed)
			}
			return p == layer
		}},
		"a right length and a body that ends early": {5, "oci_digest", func(w http.ResponseWriter, _ *http.Request, p string) bool {
			if p == layer {
				w.Header().Set("Content-Length", strconv.Itoa(len(packed)))
				_, _ = w.Write(packed[:len(packed)/2])
			}
			return p == layer
		}},
		"the layer unpacked by the way": {5, "oci_digest", func(w http.ResponseWriter, _ *http.Request, p string) bool {
			if p == layer {
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = w.Write(gz(t, packed))
			}
			return p == layer
		}},
		"a wrong media type":  {5, "oci_manifest", nil},
		"Docker's schema 1":   {5, "oci_manifest", nil},
		"a web page":          {5, "oci_manifest", nil},
		"nothing there":       {7, "oci_unreachable", status(http.StatusNotFound)},
		"no right to it":      {7, "oci_unreachable", status(http.StatusForbidden)},
		"failing for ever":    {7, "oci_unreachable", status(http.StatusBadGateway)},
		"a part of it":        {7, "oci_unreachable", status(http.StatusPartialContent)},
		"no content":          {7, "oci_unreachable", status(http.StatusNoContent)},
		"a challenge to all":  {7, "oci_unreachable", status(http.StatusUnauthorized)},
		"a connection cut":    {7, "oci_unreachable", func(http.ResponseWriter, *http.Request, string) bool { panic(http.ErrAbortHandler) }},
		"redirects in circle": {5, "oci_redirect", func(w http.ResponseWriter, r *http.Request, p string) bool { return redirect(w, r, p, r.URL.Path) }},
		"a redirect to plain http elsewhere": {5, "oci_redirect", func(w http.ResponseWriter, r *http.Request, p string) bool {
			return redirect(w, r, p, "http://example.com/x")
		}},
		"a redirect to another port here": {5, "oci_redirect", func(w http.ResponseWriter, r *http.Request, p string) bool {
			return redirect(w, r, p, other.server.URL+r.URL.Path)
		}},
		"a redirect to the metadata service": {5, "oci_redirect", func(w http.ResponseWriter, r *http.Request, p string) bool {
			return redirect(w, r, p, "https://169.254.169.254/latest/meta-data/")
		}},
		"a redirect to a private address": {5, "oci_redirect", func(w http.ResponseWriter, r *http.Request, p string) bool {
			return redirect(w, r, p, "https://[::ffff:10.0.0.1]/x")
		}},
		"a redirect to localhost": {5, "oci_redirect", func(w http.ResponseWriter, r *http.Request, p string) bool {
			return redirect(w, r, p, "https://LOCALHOST./x")
		}},
		"a redirect to an old form": {5, "oci_redirect", func(w http.ResponseWriter, r *http.Request, p string) bool {
			return redirect(w, r, p, "https://127.1/x")
		}},
		"a redirect to a number": {5, "oci_redirect", func(w http.ResponseWriter, r *http.Request, p string) bool {
			return redirect(w, r, p, "https://0x7f000001/x")
		}},
		"a redirect to a file": {5, "oci_redirect", func(w http.ResponseWriter, r *http.Request, p string) bool {
			return redirect(w, r, p, "file:///etc/passwd")
		}},
		"a redirect with a password": {5, "oci_redirect", func(w http.ResponseWriter, r *http.Request, p string) bool {
			return redirect(w, r, p, "https://a:b@example.com/")
		}},
		"a token service at a private address": {7, "oci_unreachable", func(w http.ResponseWriter, _ *http.Request, _ string) bool {
			w.Header().Set("WWW-Authenticate", `Bearer realm="https://169.254.169.254/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}},
		"a token service on this machine": {5, "oci_redirect", func(w http.ResponseWriter, _ *http.Request, _ string) bool {
			w.Header().Set("WWW-Authenticate", `Bearer realm="https://localhost:2375/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			d := f.image(t, nil, archive)
			f.hook = c.hook
			if kind, ok := kinds[name]; ok {
				f.things["manifests/"+d.Digest] = thing{f.things["manifests/"+d.Digest].raw, kind}
			}
			i, err := Get(t.Context(), f.ref(t, d.Digest), options(t))
			wantError(t, err, c.exit, c.code)
			if i != nil {
				t.Error("there is an image all the same")
			}
		})
	}
}

func endless(prefix string) func(http.ResponseWriter, *http.Request, string) bool {
	return func(w http.ResponseWriter, r *http.Request, p string) bool {
		for strings.HasPrefix(p, prefix) && r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				break
			}
		}
		return strings.HasPrefix(p, prefix)
	}
}

func status(code int) func(http.ResponseWriter, *http.Request, string) bool {
	return func(w http.ResponseWriter, _ *http.Request, p string) bool {
		if p != "/v2/" {
			w.WriteHeader(code)
		}
		return p != "/v2/"
	}
}

func redirect(w http.ResponseWriter, r *http.Request, p, to string) bool {
	if p == "/v2/" {
		return false
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusTemporaryRedirect)
	return true
}
