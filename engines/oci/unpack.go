package oci

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Unpack makes the root file system of an image, or the files of an artifact, in
// an empty directory, from the cache alone. After an error the directory is
// empty again. The directory's own mode stays as it was.
func Unpack(ctx context.Context, i *Image, o Options, dir string) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	c, err := openCache(o.Cache)
	if err != nil {
		return err
	}
	defer c.close()
	disk, err := os.OpenRoot(dir)
	if err != nil {
		return cannotUnpack(dir, err)
	}
	defer func() { _ = disk.Close() }() // only a handle
	if entries, err := fs.ReadDir(disk.FS(), "."); err != nil || len(entries) > 0 {
		return cannotUnpack(dir, errors.Join(errors.New("it is not an empty directory"), err))
	}
	u := &unpacker{ctx: ctx, image: i, o: o, cache: c, tree: newTree(disk, o.Limits), left: o.Limits.UnpackedBytes, buffer: make([]byte, 256<<10)}
	defer u.tree.close()
	if err = u.run(); err == nil {
		return nil
	}
	u.tree.close()
	if left := emptied(disk); left != nil {
		err = errors.Join(err, cannotUnpack(dir, left))
	}
	return err
}

func emptied(disk *os.Root) error {
	entries, err := fs.ReadDir(disk.FS(), ".")
	for _, e := range entries {
		err = errors.Join(err, disk.RemoveAll(e.Name()))
	}
	return err
}

func cannotUnpack(dir string, err error) error {
	return protocol.Errorf(protocol.ExitFailure, "oci_unpack", "the engine cannot be unpacked: %w", err).At(dir)
}

// unpacker unpacks one image.
type unpacker struct {
	ctx    context.Context
	image  *Image
	o      Options
	cache  *cache
	tree   *tree
	left   int64 // bytes that the archives may still have
	buffer []byte
}

func (u *unpacker) run() error {
	for n, l := range u.image.Layers {
		u.tree.layer = n
		if u.image.Artifact {
			u.tree.layer = 0 // no file lies above another
		}
		if err := u.one(l); err != nil {
			if stopped := interrupted(u.ctx); stopped != nil {
				return stopped
			}
			return err
		}
	}
	if err := u.tree.finish(u.tree.root, u.tree.disk); err != nil {
		return cannotUnpack(u.tree.disk.Name(), err)
	}
	when := time.Unix(u.tree.root.mtime, 0)
	if err := u.tree.disk.Chtimes(".", when, when); err != nil {
		return cannotUnpack(u.tree.disk.Name(), err)
	}
	return nil
}

// one unpacks a layer while its bytes are hashed. What it wrote goes away if
// they turn out to be others than the digests say.
func (u *unpacker) one(l Layer) error {
	where := u.image.Digest + ", layer " + l.Digest
	in, err := u.cache.open(blob{digest: l.Digest, size: l.Size})
	if err != nil {
		return mismatch(where, "the cache no longer has the layer: %w", err).WithHint("fetch the image again")
	}
	defer func() { _ = in.Close() }() // only read
	packed := &counted{r: withContext{u.ctx, in}, h: sha256.New(), left: l.Size}
	if u.image.Artifact {
		err = u.titled(l, packed)
	} else {
		err = u.archive(l, packed, where)
	}
	// Hash the rest, so that rotten bytes are told from a malformed archive.
	if _, rest := io.Copy(io.Discard, packed); rest != nil || packed.sum() != l.Digest {
		return mismatch(where, "the cached layer hashes to %s", packed.sum()).WithHint("fetch the image again")
	}
	return err
}

// counted hashes what is read and ends with an error after a number of bytes.
type counted struct {
	r    io.Reader
	h    hash.Hash
	left int64
}

var errLonger = errors.New("more bytes than allowed")

func (c *counted) Read(p []byte) (int, error) {
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1]
	}
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		c.left = 0
		return 0, errLonger
	}
	_, _ = c.h.Write(p[:n]) // a hash never fails
	return n, err
}

func (c *counted) sum() string { return protocol.FormatDigest(c.h.Sum(nil)) }

// archive unpacks a layer of an image.
func (u *unpacker) archive(l Layer, packed io.Reader, where string) error {
	expanded, done, err := expand(layerTypes[l.MediaType], packed)
	if err != nil {
		return badLayer(where, err)
	}
	defer done()
	raw := &counted{r: withContext{u.ctx, expanded}, h: sha256.New(), left: u.left}
	if err := u.entries(tar.NewReader(raw), where); err != nil {
		return err
	}
	if err := zeros(raw, u.buffer); err != nil {
		return u.readError(where, err)
	}
	u.left = raw.left
	if raw.sum() != l.DiffID {
		return mismatch(where, "the layer unpacks to %s, its image says %s", raw.sum(), l.DiffID)
	}
	return nil
}

func expand(c compression, packed io.Reader) (io.Reader, func(), error) {
	switch c {
	case gzipped:
		z, err := gzip.NewReader(bufio.NewReaderSize(packed, 64<<10))
		return z, func() {}, err
	case zstandard:
		z, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(limits.OCIZstdWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	default:
		return packed, func() {}, nil
	}
}

// zeros reads what follows an archive: nothing but padding, for another reader
// could find entries there.
func zeros(r io.Reader, buffer []byte) error {
	for {
		n, err := r.Read(buffer)
		for _, b := range buffer[:n] {
			if b != 0 {
				return errors.New("something follows the end of the archive")
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (u *unpacker) entries(r *tar.Reader, where string) error {
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return u.readError(where, err)
		}
		if err := u.tree.count(); err != nil {
			return u.entryError(where, h.Name, err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue // says nothing about a file
		}
		if err := u.entry(h, r); err != nil {
			return u.entryError(where, h.Name, err)
		}
	}
}

func badLayer(where string, err error) error {
	return protocol.Errorf(protocol.ExitIntegrity, "oci_layer", "the layer cannot be unpacked: %w", err).At(where).
		WithHint("build the image again, with another tool if need be")
}

// readError sorts an error of reading an archive.
func (u *unpacker) readError(where string, err error) error {
	if errors.Is(err, errLonger) {
		return tooMuch(where, "the layers unpack to more than %d bytes", u.o.Limits.UnpackedBytes)
	}
	return badLayer(where, err)
}

// entryError sorts an error of making an entry.
func (u *unpacker) entryError(where, name string, err error) error {
	var known *protocol.Error
	var system *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, errTooMany):
		return tooMuch(where, "the layers have more than %d entries", u.o.Limits.Files)
	case errors.As(err, new(contentError)):
		return u.readError(where, err)
	case errors.As(err, &system), errors.As(err, &link):
		return cannotUnpack(u.tree.disk.Name(), err)
	}
	return badName(where, name, err)
}

// contentError is an error of reading a file's content from an archive.
type contentError struct{ error }

func (e contentError) Unwrap() error { return e.error }

// titled writes a file of an artifact.
func (u *unpacker) titled(l Layer, from io.Reader) error {
	path, err := cleanName(l.Title, u.o.Limits)
	if err != nil || len(path) == 0 {
		return badName(u.image.Digest, l.Title, err)
	}
	if u.left -= l.Size; u.left < 0 {
		return tooMuch(u.image.Digest, "the files have more than %d bytes", u.o.Limits.UnpackedBytes)
	}
	dir, err := u.tree.walk(path[:len(path)-1], true)
	if err == nil {
		err = u.file(dir, path[len(path)-1], &tar.Header{Size: l.Size, Mode: 0o755}, from)
	}
	if err != nil {
		return u.entryError(u.image.Digest, l.Title, fmt.Errorf("%q: %w", l.Title, err))
	}
	return nil
}
