package oci

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// layoutSource is an OCI layout directory as a source.
type layoutSource struct {
	dir     string
	root    *os.Root
	max     int64
	index   *document
	reached map[string]descriptor // manifests that index.json names, also through indexes
}

func openLayout(dir string, most int64) (*layoutSource, error) {
	l := &layoutSource{dir: dir, max: most}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, l.fail("cannot be opened: %w", err)
	}
	l.root = root
	if err := l.read(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *layoutSource) close() { _ = l.root.Close() } // only a handle

func (l *layoutSource) fail(format string, args ...any) error {
	return protocol.Errorf(protocol.ExitUsage, "oci_layout", "the OCI layout "+format, args...).At(l.dir).
		WithHint("make it with a tool that writes OCI layouts, for example crane pull --format=oci, skopeo copy or oras copy --to-oci-layout")
}

func (l *layoutSource) read() error {
	var version struct {
		Version string `json:"imageLayoutVersion"`
	}
	raw, err := l.file("oci-layout")
	if err == nil {
		err = decode(raw, &version)
	}
	if err != nil || !strings.HasPrefix(version.Version, "1.") {
		return l.fail("has no file oci-layout of version 1 (%v)", err)
	}
	raw, err = l.file("index.json")
	if err != nil {
		return l.fail("has no index: %w", err)
	}
	l.index, err = readDocument(l.dir, raw, "")
	if err != nil {
		return err
	}
	if !l.index.index() {
		return l.fail("has an index.json that is no index")
	}
	l.reached = map[string]descriptor{}
	return l.reach(l.index, 0)
}

// reach collects what an index names, through nested indexes.
func (l *layoutSource) reach(d *document, depth int) error {
	for _, m := range d.Manifests {
		if _, seen := l.reached[m.Digest]; seen {
			continue
		}
		if len(l.reached) >= limits.OCIIndexEntries*limits.OCIIndexEntries || depth > limits.OCIIndexDepth {
			return tooMuch(l.dir, "the layout's indexes are too many or too deep")
		}
		l.reached[m.Digest] = m
		if !isIndex(m.MediaType) {
			continue
		}
		raw, err := l.verified(m)
		if os.IsNotExist(err) {
			continue // a layout may hold a part of what an index lists
		}
		if err != nil {
			return err
		}
		nested, err := readDocument(l.dir, raw, m.MediaType)
		if err != nil {
			return err
		}
		if err := l.reach(nested, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (l *layoutSource) verified(m descriptor) ([]byte, error) {
	raw, err := l.file(blobName(m.Digest))
	if err != nil {
		return nil, err
	}
	_, err = copyVerified(io.Discard, bytes.NewReader(raw), blob{digest: m.Digest, size: m.Size}, l.dir)
	return raw, err
}

// file reads a small file of the layout.
func (l *layoutSource) file(name string) ([]byte, error) {
	f, _, err := openRegular(l.root, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	raw, err := io.ReadAll(io.LimitReader(f, l.max+1))
	if err == nil && int64(len(raw)) > l.max {
		err = tooMuch(l.dir, "%s has more than %d bytes", name, l.max)
	}
	return raw, err
}

// Manifest gives a manifest that index.json names, by digest or by the tag in its
// annotation.
func (l *layoutSource) Manifest(_ context.Context, name string) ([]byte, string, error) {
	m, ok := l.reached[name]
	if !ok && !strings.HasPrefix(name, "sha256:") {
		found, err := l.tagged(name)
		if err != nil {
			return nil, "", err
		}
		m, ok = found, true
	}
	if !ok {
		return nil, "", unreachable(l.dir, "the OCI layout does not list %s", name).
			WithHint("copy the engine's image into the layout by this digest, with all platforms if the digest is an index's")
	}
	raw, err := l.file(blobName(m.Digest))
	if err != nil {
		return nil, "", l.missing(m.Digest, err)
	}
	return raw, m.MediaType, nil
}

// tagged finds the one manifest with a tag. Tools write the tag or the whole name.
func (l *layoutSource) tagged(tag string) (descriptor, error) {
	var found descriptor
	for _, m := range l.index.Manifests {
		name := m.Annotations[refKey]
		if name != tag && !strings.HasSuffix(name, ":"+tag) {
			continue
		}
		if found.Digest != "" && found.Digest != m.Digest {
			return found, protocol.Errorf(protocol.ExitUsage, "oci_reference", "the OCI layout has two images with the tag %s", tag).
				At(l.dir).WithHint("name the engine by digest")
		}
		found = m
	}
	if found.Digest == "" {
		return found, unreachable(l.dir, "the OCI layout has no image with the tag %s", tag)
	}
	return found, nil
}

// Blob opens a blob of the layout.
func (l *layoutSource) Blob(_ context.Context, digest string, _ int64) (io.ReadCloser, error) {
	f, _, err := openRegular(l.root, blobName(digest))
	if err != nil {
		return nil, l.missing(digest, err)
	}
	return f, nil
}

func (l *layoutSource) missing(digest string, err error) error {
	if known := new(protocol.Error); errors.As(err, &known) {
		return known
	}
	return unreachable(l.dir, "the OCI layout lacks %s: %w", digest, err).
		WithHint("copy the image into the layout again; parts of it are missing")
}
