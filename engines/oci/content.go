package oci

import (
	"bytes"
	"context"

	"github.com/cabincrew/action/protocol"
)

// Blob is what one layer of a manifest holds, as it was fetched.
type Blob struct {
	MediaType string
	Digest    string
	Title     string // its annotation org.opencontainers.image.title, as it stands there; or ""
	Data      []byte
}

// Contents gives the layers of the manifest that a reference names, each verified
// and in memory: for artifacts that are no engines, whatever their configuration
// is. An index is refused: it would be different things on different machines.
// o.Limits bounds how many bytes that may be.
func Contents(ctx context.Context, ref Reference, o Options) ([]Blob, error) {
	if ref.digest == "" {
		return nil, checkTag(ref, false)
	}
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	from, closeSource, err := open(ref, o)
	if err != nil {
		return nil, err
	}
	defer closeSource()
	c, err := openCache(o.Cache)
	if err != nil {
		return nil, err
	}
	defer c.close()
	p := &pull{ref: ref, o: o, from: from, cache: c}
	_, d, err := p.manifest(ctx, descriptor{Digest: ref.digest, Size: -1})
	if err != nil {
		return nil, err
	}
	return p.contents(ctx, d)
}

func (p *pull) contents(ctx context.Context, d *document) ([]Blob, error) {
	where := p.ref.String()
	if d.index() {
		return nil, mediaType(where, "the digest is an index's, which lists artifacts for several platforms").
			WithHint("name the digest of the artifact's own manifest")
	}
	if len(d.Layers) == 0 || len(d.Layers) > p.o.Limits.Layers {
		return nil, tooMuch(where, "the artifact has %d layers, not 1 to %d", len(d.Layers), p.o.Limits.Layers)
	}
	left := p.o.Limits.CompressedBytes
	var layers []Layer
	for _, l := range d.Layers {
		if l.Size > left {
			return nil, tooMuch(where, "the layers have more than %d bytes", p.o.Limits.CompressedBytes)
		}
		left -= l.Size
		layers = append(layers, Layer{Digest: l.Digest, Size: l.Size})
	}
	if err := p.layers(ctx, layers); err != nil {
		return nil, err
	}
	out := make([]Blob, 0, len(d.Layers))
	for _, l := range d.Layers {
		var body bytes.Buffer
		if err := p.fetch(ctx, blob{digest: l.Digest, size: l.Size}, &body); err != nil {
			return nil, err
		}
		if protocol.Digest(body.Bytes()) != l.Digest {
			return nil, mismatch(where, "%s changed in the cache while it was read", l.Digest)
		}
		out = append(out, Blob{MediaType: l.MediaType, Digest: l.Digest, Title: l.Annotations[titleKey], Data: body.Bytes()})
	}
	return out, nil
}
