package sources

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	client "github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/protocol"
)

const (
	typeOPAConfig = "application/vnd.cncf.openpolicyagent.config.v1+json" // conftest's
	titleKey      = "org.opencontainers.image.title"
	typeBundle    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// layer of an artifact.
type layer struct{ kind, title, body string }

func artifact(t testing.TB, configType string, layers ...layer) v1.Image {
	t.Helper()
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.MediaType(configType))
	for _, l := range layers {
		var err error
		add := mutate.Addendum{Layer: static.NewLayer([]byte(l.body), types.MediaType(l.kind)), MediaType: types.MediaType(l.kind)}
		if l.title != "" {
			add.Annotations = map[string]string{titleKey: l.title}
		}
		image, err = mutate.Append(image, add)
		must(t, err)
	}
	return image
}

// registryHere is a registry on loopback.
type registryHere struct {
	t     testing.TB
	host  string
	asked atomic.Int64
}

func newRegistry(t testing.TB) *registryHere {
	t.Helper()
	r := &registryHere{t: t}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.asked.Add(1)
		handler.ServeHTTP(w, q)
	}))
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	return r
}

func (r *registryHere) push(image v1.Image) string {
	r.t.Helper()
	ref, err := name.ParseReference(r.host+"/team/policies:latest", name.Insecure)
	must(r.t, err)
	must(r.t, client.Write(ref, image))
	digest, err := image.Digest()
	must(r.t, err)
	return r.host + "/team/policies@" + digest.String()
}

func conftest() []layer {
	return []layer{{typeRego, "p.rego", policy}, {typeRego, "sub/q.rego", "package acme.q\n"}, {typeData, "data.json", "{}"}}
}

func TestArtifactOfConftest(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	ref := r.push(artifact(t, typeOPAConfig, conftest()...))
	h := newHere(t, nil)
	want := map[string]string{"p.rego": policy, "sub/q.rego": "package acme.q\n", "data.json": "{}"}
	h.gives(config.Source{OCI: ref, Name: "acme"}, "acme", want)
	before := r.asked.Load()
	h.gives(config.Source{OCI: ref, Name: "acme"}, "acme", want)
	if r.asked.Load() != before {
		t.Error("the registry was asked for what is in the cache")
	}
}

func TestArtifactWithBundle(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	h := newHere(t, nil)
	for _, configType := range []string{"application/vnd.oci.image.config.v1+json", "application/vnd.unknown.config.v1+json", typeOPAConfig} {
		ref := r.push(artifact(t, configType, layer{typeBundle, "", fakePolicy() + "\nREADME.md=x"}))
		h.gives(config.Source{OCI: ref, Name: "acme"}, "acme", map[string]string{"p.rego": policy})
	}
}

func TestArtifactOfLayout(t *testing.T) {
	t.Parallel()
	image := artifact(t, typeOPAConfig, conftest()...)
	h := newHere(t, nil)
	p, err := layout.Write(filepath.Join(h.o.Dir, "images"), empty.Index)
	must(t, err)
	must(t, p.AppendImage(image))
	digest, err := image.Digest()
	must(t, err)
	s := config.Source{OCI: "registry.example/p@" + digest.String(), Layout: "images", Name: "acme"}
	h.gives(s, "acme", map[string]string{"p.rego": policy, "sub/q.rego": "package acme.q\n", "data.json": "{}"})

	layers, err := image.Layers()
	must(t, err)
	one, err := layers[0].Digest()
	must(t, err)
	at := filepath.Join(h.o.Dir, "images/blobs/sha256", one.Hex)
	must(t, os.WriteFile(at, []byte(strings.Replace(policy, "deny", "warn", 1)), 0o644))
	h.o.Cache = t.TempDir()
	h.refuses(s, protocol.ExitIntegrity, "oci_digest", "hashes to")
}

func TestArtifactRefusals(t *testing.T) {
	t.Parallel()
	rego := layer{typeRego, "p.rego", policy}
	for name, c := range map[string]struct {
		layers     []layer
		exit       int
		code, want string
	}{
		"unknown layer":       {[]layer{rego, {"text/plain", "x", "x"}}, protocol.ExitDenied, "policy_artifact", `media type "text/plain"`},
		"wasm":                {[]layer{{"application/vnd.wasm.content.layer.v1+wasm", "policy.wasm", "x"}}, protocol.ExitDenied, "policy_artifact", "wasm"},
		"bundle and more":     {[]layer{{typeBundle, "", fakePolicy()}, rego}, protocol.ExitDenied, "policy_artifact", "has 2 layers"},
		"more and bundle":     {[]layer{rego, {typeBundle, "b.rego", fakePolicy()}}, protocol.ExitDenied, "policy_artifact", "media type"},
		"policy by no name":   {[]layer{{typeRego, "", policy}}, protocol.ExitDenied, "policy_artifact", "does not end with .rego"},
		"policy by a name":    {[]layer{{typeRego, "p.txt", policy}}, protocol.ExitDenied, "policy_artifact", `"p.txt"`},
		"data by a name":      {[]layer{rego, {typeData, "services.json", "{}"}}, protocol.ExitDenied, "policy_artifact", "only data.json"},
		"outside":             {[]layer{{typeRego, "../p.rego", policy}}, protocol.ExitDenied, "policy_artifact", "no path within"},
		"absolute":            {[]layer{{typeRego, "/p.rego", policy}}, protocol.ExitDenied, "policy_artifact", "no path within"},
		"control":             {[]layer{{typeRego, "p\x1b.rego", policy}}, protocol.ExitDenied, "policy_artifact", "p?.rego"},
		"twice":               {[]layer{rego, {typeRego, "p.rego", policy + "\n"}}, protocol.ExitDenied, "policy_artifact", "twice"},
		"file as a directory": {[]layer{rego, {typeRego, "p.rego/q.rego", policy}}, protocol.ExitDenied, "policy_artifact", "as a file and as a directory"},
		"nearly right":        {[]layer{{typeBundle, "", fakePolicy() + "\ndata.yml=x"}}, protocol.ExitDenied, "policy_file_name", "left out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ref := newRegistry(t).push(artifact(t, typeOPAConfig, c.layers...))
			newHere(t, nil).refuses(config.Source{OCI: ref, Name: "acme"}, c.exit, c.code, c.want)
		})
	}
}

func TestRegistryRefusals(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	image := artifact(t, typeOPAConfig, conftest()...)
	ref := r.push(image)
	h := newHere(t, nil)
	missing := ref[:strings.Index(ref, "@")] + "@sha256:" + strings.Repeat("1", 64)
	h.refuses(config.Source{OCI: missing}, protocol.ExitUnreachable, "oci_unreachable", "404")
	h.refuses(config.Source{OCI: r.host + "/team/policies:latest"}, protocol.ExitUsage, "oci_tag", "named by a tag")
	h.refuses(config.Source{OCI: ref, Layout: "none"}, protocol.ExitUsage, "oci_layout", "cannot be opened")

	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{Add: image})
	at, err := name.ParseReference(r.host+"/team/policies:index", name.Insecure)
	must(t, err)
	must(t, client.WriteIndex(at, index))
	digest, err := index.Digest()
	must(t, err)
	h.refuses(config.Source{OCI: r.host + "/team/policies@" + digest.String()}, protocol.ExitIntegrity, "oci_media_type", "index")

	// A registry that gives other bytes than it should.
	lying := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if strings.Contains(q.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			_, _ = fmt.Fprint(w, `{"schemaVersion":2}`)
		}
	}))
	t.Cleanup(lying.Close)
	h.refuses(config.Source{OCI: strings.TrimPrefix(lying.URL, "http://") + ref[strings.Index(ref, "/"):]}, protocol.ExitIntegrity, "oci_digest", "hashes to")
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"127.0.0.1:5000": true, "localhost:5000": true, "localhost": true, "[::1]:5000": true, "registry.example": false, "10.0.0.1:80": false, "localhost.example": false,
	} {
		if loopback(host) != want {
			t.Error(host)
		}
	}
}
