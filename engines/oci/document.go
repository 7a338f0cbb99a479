package oci

import (
	"encoding/json"
	"mime"
	"reflect"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Media types of the OCI image specification and of Docker's schema 2.
const (
	typeIndex          = "application/vnd.oci.image.index.v1+json"
	typeManifest       = "application/vnd.oci.image.manifest.v1+json"
	typeConfig         = "application/vnd.oci.image.config.v1+json"
	typeDockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	typeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerConfig   = "application/vnd.docker.container.image.v1+json"

	titleKey  = "org.opencontainers.image.title"
	refKey    = "org.opencontainers.image.ref.name"
	unpackKey = "io.deis.oras.content.unpack"
)

// descriptor names a blob. Only members that decide something are read.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	URLs        []string          `json:"urls"`
	Annotations map[string]string `json:"annotations"`
	Platform    *platform         `json:"platform"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant"`
}

// document is a manifest or an index.
type document struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        *descriptor  `json:"config"`
	Layers        []descriptor `json:"layers"`
	Manifests     []descriptor `json:"manifests"`
}

func (d *document) index() bool { return isIndex(d.MediaType) }

func isIndex(mediaType string) bool {
	return mediaType == typeIndex || mediaType == typeDockerIndex
}

// imageConfig is an image's configuration.
type imageConfig struct {
	platform
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	Config struct {
		Entrypoint []string `json:"Entrypoint"`
		Cmd        []string `json:"Cmd"`
		Env        []string `json:"Env"`
		WorkingDir string   `json:"WorkingDir"`
		User       string   `json:"User"`
	} `json:"config"`
}

// decode reads JSON whose members are named exactly as v's tags and occur once:
// what another reader of the same digest could understand differently is either
// refused or not read.
func decode(raw []byte, v any) error {
	tree, err := protocol.DecodeAny(raw)
	if err != nil {
		return err
	}
	exact, err := json.Marshal(project(tree, reflect.TypeOf(v)))
	if err != nil {
		return err
	}
	return json.Unmarshal(exact, v)
}

// project keeps of a decoded document the members that a type has.
func project(tree any, t reflect.Type) any {
	switch t.Kind() {
	case reflect.Pointer:
		return project(tree, t.Elem())
	case reflect.Slice:
		list, ok := tree.([]any)
		if !ok {
			return tree
		}
		for i := range list {
			list[i] = project(list[i], t.Elem())
		}
		return list
	case reflect.Struct:
		members, ok := tree.(map[string]any)
		if !ok {
			return tree
		}
		kept := map[string]any{}
		for _, field := range reflect.VisibleFields(t) {
			name := field.Tag.Get("json") // "" for an embedded struct, whose fields come too
			if value, ok := members[name]; ok && name != "" {
				kept[name] = project(value, field.Type)
			}
		}
		return kept
	default:
		return tree
	}
}

// readDocument reads a manifest or index. stated is the media type that its
// source gave, or "". One document never counts as both kinds.
func readDocument(where string, raw []byte, stated string) (*document, error) {
	var d document
	if err := decode(raw, &d); err != nil {
		return nil, malformed(where, "the manifest does not parse: %w", err)
	}
	if parsed, _, err := mime.ParseMediaType(stated); err == nil {
		stated = parsed
	}
	if d.MediaType == "" {
		d.MediaType = typeManifest
		if d.Manifests != nil {
			d.MediaType = typeIndex
		}
		if stated == typeDockerIndex || stated == typeDockerManifest { // optional only in OCI's
			return nil, malformed(where, "a manifest of Docker states no media type")
		}
	}
	manifest := d.MediaType == typeManifest || d.MediaType == typeDockerManifest
	switch {
	case d.SchemaVersion != 2 || !manifest && !d.index():
		return nil, mediaType(where, "a manifest has schema %d and media type %q", d.SchemaVersion, clip(d.MediaType))
	case stated != "" && stated != d.MediaType:
		return nil, malformed(where, "a manifest is %q by itself and %q by who gave it", d.MediaType, clip(stated))
	case manifest && (d.Manifests != nil || d.Config == nil || d.Layers == nil):
		return nil, malformed(where, "a manifest lacks config or layers, or is an index too")
	case !manifest && (d.Config != nil || d.Layers != nil):
		return nil, malformed(where, "an index is a manifest too")
	case len(d.Manifests) > limits.OCIIndexEntries:
		return nil, tooMuch(where, "an index lists %d manifests, more than %d", len(d.Manifests), limits.OCIIndexEntries)
	}
	return &d, d.check(where)
}

// check looks at every descriptor that the document has.
func (d *document) check(where string) error {
	all := append(append([]descriptor{}, d.Layers...), d.Manifests...)
	if d.Config != nil {
		all = append(all, *d.Config)
	}
	for _, one := range all {
		if _, err := protocol.ParseDigest(one.Digest); err != nil {
			return malformed(where, "a manifest names %q, which is no SHA-256 digest", clip(one.Digest))
		}
		if one.Size < 0 {
			return malformed(where, "a manifest gives %s a negative size", one.Digest)
		}
		if len(one.URLs) > 0 {
			return mediaType(where, "%s is to be fetched from elsewhere (urls)", one.Digest)
		}
	}
	return nil
}

// compression of a layer, by its media type.
type compression int

const (
	plain compression = iota
	gzipped
	zstandard
)

// layerTypes are the layers that can be unpacked. Foreign (nondistributable) and
// encrypted ones are not among them.
var layerTypes = map[string]compression{
	"application/vnd.oci.image.layer.v1.tar":            plain,
	"application/vnd.oci.image.layer.v1.tar+gzip":       gzipped,
	"application/vnd.oci.image.layer.v1.tar+zstd":       zstandard,
	"application/vnd.docker.image.rootfs.diff.tar":      plain,
	"application/vnd.docker.image.rootfs.diff.tar.gzip": gzipped,
	"application/vnd.docker.image.rootfs.diff.tar.zstd": zstandard,
}

func mediaType(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitIntegrity, "oci_media_type", format, args...).At(where).
		WithHint("images of OCI and of Docker's schema 2 are taken, with layers as tar, gzip or zstd in the same repository")
}

// wanted says how well a platform fits: 0 not at all, more is better.
func (p *platform) wanted(by string) int {
	if p == nil {
		return 0
	}
	system, rest, _ := strings.Cut(by, "/")
	architecture, variant, exact := strings.Cut(rest, "/")
	switch {
	case p.OS != system || p.Architecture != architecture:
		return 0
	case exact && p.Variant == variant, !exact && p.Variant == "":
		return 3
	case exact && p.Variant != "":
		return 0
	case !exact && p.Variant == "v8" && architecture == "arm64":
		return 2 // what arm64 means
	default:
		return 1
	}
}
