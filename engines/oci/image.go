package oci

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Image is an engine whose bytes are all in the cache. Get makes it.
type Image struct {
	Digest   string // what the reference names: the step's engine_digest
	Manifest string // the manifest of the platform; Digest, or below it
	Artifact bool   // files by title instead of layers of a root file system
	Config   Config // empty for an artifact
	Layers   []Layer
}

// Config is what an image says about its process.
type Config struct {
	Entrypoint   []string
	Cmd          []string
	Env          []string // "NAME=value"
	WorkingDir   string
	User         string
	OS           string
	Architecture string
}

// Layer is a layer of an image, lowest first, or a file of an artifact.
type Layer struct {
	Digest    string // of the bytes as fetched
	DiffID    string // of the tar archive; "" in an artifact
	Size      int64  // as fetched
	MediaType string // says how the archive is compressed
	Title     string // path of an artifact's file; "" in an image
}

// Argv gives the command that the image runs: override if there is one, else
// entrypoint and command, else the one file of an artifact.
func (i *Image) Argv(override []string) ([]string, error) {
	argv := override
	if len(argv) == 0 {
		argv = append(append([]string{}, i.Config.Entrypoint...), i.Config.Cmd...)
	}
	if len(argv) == 0 && i.Artifact && len(i.Layers) == 1 {
		argv = []string{"/" + i.Layers[0].Title}
	}
	if len(argv) == 0 || argv[0] == "" {
		return nil, protocol.Errorf(protocol.ExitUsage, "oci_command", "the image names no command").
			At(i.Digest).WithHint("give the command in the configuration, or build the image with an entrypoint")
	}
	for _, a := range argv {
		if strings.ContainsRune(a, 0) {
			return nil, malformed(i.Digest, "an argument of the command holds a NUL")
		}
	}
	return argv, nil
}

// Resolve gives the reference with the digest that its tag has now. Whoever
// calls it pins that digest; nothing later asks for the tag again.
func Resolve(ctx context.Context, ref Reference, o Options) (Reference, error) {
	if ref.digest != "" {
		return ref, nil
	}
	if ref.tag == "" {
		return ref, badReference(ref.String(), "has neither tag nor digest")
	}
	o, err := o.withDefaults()
	if err != nil {
		return ref, err
	}
	from, closeSource, err := open(ref, o)
	if err != nil {
		return ref, err
	}
	defer closeSource()
	raw, stated, err := from.Manifest(ctx, ref.tag)
	if err != nil {
		return ref, err
	}
	if _, err := readDocument(ref.String(), raw, stated); err != nil {
		return ref, err
	}
	ref.digest = protocol.Digest(raw)
	return ref, nil
}

func open(ref Reference, o Options) (Source, func(), error) {
	if o.Layout != "" {
		l, err := openLayout(o.Layout, o.Limits.ManifestBytes)
		if err != nil {
			return nil, nil, err
		}
		return l, l.close, nil
	}
	r, err := openRegistry(ref, o)
	if err != nil {
		return nil, nil, err
	}
	return r, r.close, nil
}

// Get brings all bytes of an image or artifact into the cache, verified. What the
// cache has already is not asked for.
func Get(ctx context.Context, ref Reference, o Options) (*Image, error) {
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
	return p.image(ctx)
}

// pull fetches one image.
type pull struct {
	ref   Reference
	o     Options
	from  Source
	cache *cache
	read  int // indexes read
}

func (p *pull) image(ctx context.Context) (*Image, error) {
	raw, d, err := p.manifest(ctx, descriptor{Digest: p.ref.digest, Size: -1})
	if err != nil {
		return nil, err
	}
	if p.o.Verify != nil {
		if err := p.o.Verify(ctx, p.ref.digest, raw, p.from); err != nil {
			if known := new(protocol.Error); errors.As(err, &known) {
				return nil, err
			}
			return nil, protocol.Errorf(protocol.ExitIntegrity, "oci_signature", "the engine's signature does not count: %w", err).At(p.ref.String())
		}
	}
	i := &Image{Digest: p.ref.digest, Manifest: p.ref.digest}
	if d.index() {
		found, err := p.choose(ctx, d, 1)
		if err != nil {
			return nil, err
		}
		if found == nil {
			return nil, protocol.Errorf(protocol.ExitUsage, "oci_platform", "the image is not made for %s", p.o.Platform).
				At(p.ref.String()).WithHint("build the image for this platform, or run where it fits")
		}
		i.Manifest = found.Digest
		if _, d, err = p.manifest(ctx, *found); err != nil {
			return nil, err
		}
		if d.index() {
			return nil, malformed(p.ref.String(), "%s is an index, listed as a manifest", found.Digest)
		}
	}
	if err := p.describe(ctx, i, d); err != nil {
		return nil, err
	}
	if err := p.layers(ctx, i.Layers); err != nil {
		return nil, err
	}
	return i, nil
}

// choose finds the manifest of the platform in an index and in those below it;
// nil if there is none. The first of equally fitting ones counts.
func (p *pull) choose(ctx context.Context, d *document, depth int) (*descriptor, error) {
	if p.read++; p.read > limits.OCIIndexEntries || depth > limits.OCIIndexDepth {
		return nil, tooMuch(p.ref.String(), "the image's indexes are too many or too deep")
	}
	var best *descriptor
	for n := range d.Manifests {
		m := &d.Manifests[n]
		if !isIndex(m.MediaType) && m.Platform.wanted(p.o.Platform) > 0 &&
			(best == nil || m.Platform.wanted(p.o.Platform) > best.Platform.wanted(p.o.Platform)) {
			best = m
		}
	}
	if best == nil && len(d.Manifests) == 1 && d.Manifests[0].Platform == nil && !isIndex(d.Manifests[0].MediaType) {
		best = &d.Manifests[0] // the configuration, if it has one, is checked all the same
	}
	for n := range d.Manifests {
		if best != nil || !isIndex(d.Manifests[n].MediaType) {
			continue
		}
		_, nested, err := p.manifest(ctx, d.Manifests[n])
		if err != nil {
			return nil, err
		}
		if best, err = p.choose(ctx, nested, depth+1); err != nil {
			return nil, err
		}
	}
	return best, nil
}

// manifest gives a manifest or index that a descriptor names.
func (p *pull) manifest(ctx context.Context, m descriptor) ([]byte, *document, error) {
	b := blob{digest: m.Digest, size: m.Size, max: p.o.Limits.ManifestBytes}
	if b.size > b.max {
		return nil, nil, tooMuch(p.ref.String(), "the manifest %s has %d bytes, more than %d", b.digest, b.size, b.max)
	}
	var cached bytes.Buffer
	found, err := p.cache.copyTo(ctx, &cached, b)
	if err != nil {
		return nil, nil, err
	}
	if found && p.o.Layout == "" { // what is in a layout, and not in the cache, counts there
		d, err := readDocument(p.ref.String(), cached.Bytes(), m.MediaType)
		return cached.Bytes(), d, err
	}
	raw, stated, err := p.from.Manifest(ctx, m.Digest)
	if err != nil {
		return nil, nil, err
	}
	if err := settled(p.cache.put(b, bytes.NewReader(raw), p.ref.String())); err != nil {
		return nil, nil, err
	}
	d, err := readDocument(p.ref.String(), raw, stated)
	if err == nil && m.MediaType != "" && d.MediaType != m.MediaType {
		err = malformed(p.ref.String(), "%s is %q, listed as %q", m.Digest, d.MediaType, clip(m.MediaType))
	}
	return raw, d, err
}

// describe reads what a manifest says and what its configuration adds.
func (p *pull) describe(ctx context.Context, i *Image, d *document) error {
	where := p.ref.String()
	if len(d.Layers) == 0 || len(d.Layers) > p.o.Limits.Layers {
		return tooMuch(where, "the image has %d layers, not 1 to %d", len(d.Layers), p.o.Limits.Layers)
	}
	left := p.o.Limits.CompressedBytes
	for _, l := range d.Layers {
		if l.Size > left {
			return tooMuch(where, "the layers have more than %d bytes", p.o.Limits.CompressedBytes)
		}
		left -= l.Size
		i.Layers = append(i.Layers, Layer{Digest: l.Digest, Size: l.Size, MediaType: l.MediaType})
	}
	b := blob{digest: d.Config.Digest, size: d.Config.Size, max: p.o.Limits.ConfigBytes}
	if b.size > b.max {
		return tooMuch(where, "the configuration has %d bytes, more than %d", b.size, b.max)
	}
	if d.Config.MediaType != typeConfig && d.Config.MediaType != typeDockerConfig {
		i.Artifact = true
		if err := p.fetch(ctx, b, nil); err != nil {
			return err
		}
		return titles(where, i.Layers, d.Layers, p.o.Limits)
	}
	var raw bytes.Buffer
	if err := p.fetch(ctx, b, &raw); err != nil {
		return err
	}
	return p.configure(i, d, raw.Bytes())
}

func (p *pull) configure(i *Image, d *document, raw []byte) error {
	where := p.ref.String()
	var c imageConfig
	if err := decode(raw, &c); err != nil {
		return malformed(where, "the image's configuration does not parse: %w", err)
	}
	if c.OS+c.Architecture != "" && c.wanted(p.o.Platform) == 0 {
		return protocol.Errorf(protocol.ExitUsage, "oci_platform", "the image is made for %q, not for %s", clip(c.OS+"/"+c.Architecture), p.o.Platform).
			At(where).WithHint("build the image for this platform, or run where it fits")
	}
	if len(c.RootFS.DiffIDs) != len(d.Layers) {
		return malformed(where, "the image has %d layers and %d diff_ids", len(d.Layers), len(c.RootFS.DiffIDs))
	}
	for n, l := range d.Layers {
		if _, ok := layerTypes[l.MediaType]; !ok {
			return mediaType(where, "the layer %s has the media type %q", l.Digest, clip(l.MediaType))
		}
		if _, err := protocol.ParseDigest(c.RootFS.DiffIDs[n]); err != nil {
			return malformed(where, "a diff_id is %q, which is no SHA-256 digest", clip(c.RootFS.DiffIDs[n]))
		}
		i.Layers[n].DiffID = c.RootFS.DiffIDs[n]
	}
	for _, e := range c.Config.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" || strings.ContainsRune(e, 0) {
			return malformed(where, "an environment entry of the image is no NAME=value")
		}
	}
	if strings.ContainsRune(c.Config.WorkingDir+c.Config.User, 0) {
		return malformed(where, "the image's working directory or user holds a NUL")
	}
	i.Config = Config{
		Entrypoint: c.Config.Entrypoint, Cmd: c.Config.Cmd, Env: c.Config.Env,
		WorkingDir: c.Config.WorkingDir, User: c.Config.User, OS: c.OS, Architecture: c.Architecture,
	}
	return nil
}

// titles reads where the files of an artifact go.
func titles(where string, to []Layer, layers []descriptor, l Limits) error {
	for n, one := range layers {
		title, ok := one.Annotations[titleKey]
		if !ok {
			return malformed(where, "the artifact's file %s has no title", one.Digest).
				WithHint("annotate each file with %s, as oras push does", titleKey)
		}
		if one.Annotations[unpackKey] == "true" {
			return mediaType(where, "the artifact holds the directory %q as an archive", clip(title))
		}
		path, err := cleanName(title, l)
		if err != nil || len(path) == 0 {
			return badName(where, title, err)
		}
		to[n].Title = strings.Join(path, "/")
	}
	return nil
}

// settled takes away the mark that another attempt could help.
func settled(err error) error {
	var again passingError
	if errors.As(err, &again) {
		return again.error
	}
	return err
}

// fetchTries is how often a blob is fetched that is gone again when it is read: other
// processes that fetch it at the same time exchange it for its equal.
const fetchTries = 10

// fetch brings a blob into the cache, and its bytes to w unless that is nil.
func (p *pull) fetch(ctx context.Context, b blob, w *bytes.Buffer) error {
	sink := io.Discard
	if w != nil {
		sink = w
	}
	for range fetchTries {
		if w != nil {
			w.Reset()
		}
		found, err := p.cache.copyTo(ctx, sink, b)
		if found || err != nil {
			return err
		}
		if err := p.download(ctx, b); err != nil {
			return err
		}
		if w == nil {
			return nil
		}
	}
	return p.cache.fail(errors.New("a blob was exchanged as soon as it was written"))
}
