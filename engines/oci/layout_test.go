package oci

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/cabincrew/action/protocol"
)

// realLayout writes an OCI layout directory with an image and an index of it.
func realLayout(t *testing.T, i v1.Image) (dir string, index v1.ImageIndex) {
	t.Helper()
	dir = t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(i, layout.WithAnnotations(map[string]string{refKey: "v1"})); err != nil {
		t.Fatal(err)
	}
	index = mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: i, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}})
	if err := p.AppendIndex(index); err != nil {
		t.Fatal(err)
	}
	return dir, index
}

func TestLayout(t *testing.T) {
	t.Parallel()
	i := realImage(t, nil, tarOf(t, fileE("bin/engine", "x")))
	dir, index := realLayout(t, i)
	digest, _ := i.Digest()
	nested, _ := index.Digest()
	o := options(t)
	o.Plain, o.Layout = false, dir
	o.Transport = refusing{t}
	tag, err := Parse("registry.example/engine:v1", true)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := Resolve(t.Context(), tag, o)
	if err != nil || ref.Digest() != digest.String() {
		t.Fatalf("resolved to %s, %v", ref, err)
	}
	for _, d := range []string{digest.String(), nested.String()} {
		ref, err := Parse("registry.example/engine@"+d, false)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Get(t.Context(), ref, o)
		if err != nil || got.Manifest != digest.String() || got.Digest != d {
			t.Fatalf("got %+v, %v", got, err)
		}
		root := t.TempDir()
		if err := Unpack(t.Context(), got, o, root); err != nil || contents(t, root)["bin/engine"] != "x" {
			t.Errorf("%v %q", err, contents(t, root))
		}
	}
	for name, c := range map[string]struct {
		exit int
		code string
		tag  string
		bend func(t *testing.T, dir string)
	}{
		"no such tag":      {7, "oci_unreachable", "v2", func(*testing.T, string) {}},
		"not in the index": {7, "oci_unreachable", "", func(t *testing.T, dir string) { write(t, dir, "index.json", `{"schemaVersion":2,"manifests":[]}`) }},
		"no layout":        {2, "oci_layout", "", func(t *testing.T, dir string) { remove(t, dir, "oci-layout") }},
		"another version":  {2, "oci_layout", "", func(t *testing.T, dir string) { write(t, dir, "oci-layout", `{"imageLayoutVersion":"2.0.0"}`) }},
		"no index":         {2, "oci_layout", "", func(t *testing.T, dir string) { remove(t, dir, "index.json") }},
		"an index that is a link": {2, "oci_layout", "", func(t *testing.T, dir string) {
			remove(t, dir, "index.json")
			if err := os.Symlink("oci-layout", filepath.Join(dir, "index.json")); err != nil {
				t.Fatal(err)
			}
		}},
		"a malformed index":  {5, "oci_manifest", "", func(t *testing.T, dir string) { write(t, dir, "index.json", `{`) }},
		"a manifest missing": {7, "oci_unreachable", "", func(t *testing.T, dir string) { remove(t, dir, blobName(digest.String())) }},
		"a manifest changed": {5, "oci_digest", "", func(t *testing.T, dir string) { write(t, dir, blobName(digest.String()), "{}") }},
		"an index changed":   {5, "oci_digest", "", func(t *testing.T, dir string) { write(t, dir, blobName(nested.String()), "{}") }},
		"a layer missing":    {7, "oci_unreachable", "", func(t *testing.T, dir string) { remove(t, dir, layerFile(t, i)) }},
		"a layer changed":    {5, "oci_digest", "", func(t *testing.T, dir string) { write(t, dir, layerFile(t, i), "x") }},
		"a layer that is a link": {7, "oci_unreachable", "", func(t *testing.T, dir string) {
			remove(t, dir, layerFile(t, i))
			if err := os.Symlink("/etc/passwd", filepath.Join(dir, layerFile(t, i))); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			o.Transport = refusing{t}
			o.Layout, _ = realLayout(t, i)
			c.bend(t, o.Layout)
			ref, err := Parse("registry.example/engine@"+digest.String(), false)
			if c.tag != "" {
				ref, err = Parse("registry.example/engine:"+c.tag, true)
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.tag == "" {
				_, err = Get(t.Context(), ref, o)
			} else {
				_, err = Resolve(t.Context(), ref, o)
			}
			wantError(t, err, c.exit, c.code)
		})
	}
	o.Layout = filepath.Join(dir, "absent")
	_, err = Get(t.Context(), ref, o)
	wantError(t, err, protocol.ExitUsage, "oci_layout")
}

func layerFile(t *testing.T, i v1.Image) string {
	t.Helper()
	layers, err := i.Layers()
	if err != nil {
		t.Fatal(err)
	}
	d, _ := layers[0].Digest()
	return blobName(d.String())
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	remove(t, dir, name)
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}
