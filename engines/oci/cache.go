package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

const (
	blobDir = "blobs/sha256" // as in an OCI layout
	tempDir = "tmp"
)

// cache keeps blobs by digest. Nothing in it is believed: every blob is hashed
// when it is read. So a blob needs no fsync, a torn one is fetched again.
type cache struct {
	dir  string
	root *os.Root
}

// openCache opens the cache directory and makes it if it is not there.
func openCache(dir string) (*cache, error) {
	fail := func(err error) (*cache, error) {
		return nil, protocol.Errorf(protocol.ExitFailure, "oci_cache", "the cache of images cannot be used: %w", err).At(dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fail(err)
	}
	c := &cache{dir: dir, root: root}
	for _, sub := range []string{".", filepath.Dir(blobDir), blobDir, tempDir} {
		if err := c.directory(sub); err != nil {
			c.close()
			return fail(err)
		}
	}
	return c, nil
}

// directory makes a directory of the cache, or checks that it is one into which
// nobody else can put things.
func (c *cache) directory(sub string) error {
	err := c.root.Mkdir(sub, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) && sub != "." {
		return err
	}
	info, err := c.root.Lstat(sub)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no directory", sub)
	case !ownOrRoot(info) || othersWrite(info):
		return fmt.Errorf("others may write into %s", sub)
	}
	return nil
}

func (c *cache) close() { _ = c.root.Close() } // only a handle

func blobName(digest string) string { return blobDir + "/" + strings.TrimPrefix(digest, "sha256:") }

// open opens a blob for reading without having hashed it.
func (c *cache) open(b blob) (*os.File, error) {
	f, info, err := openRegular(c.root, blobName(b.digest))
	if err != nil {
		return nil, err
	}
	if size := info.Size(); b.size >= 0 && size != b.size || b.size < 0 && size > b.max {
		_ = f.Close() // only read
		return nil, fmt.Errorf("it has %d bytes", size)
	}
	return f, nil
}

// copyTo writes a blob to w if the cache has it: found is false if there is nothing,
// or something that does not have the blob's digest. That is left for put to
// replace, since another process may have done so already. w may have got bytes
// that are not the blob's.
func (c *cache) copyTo(ctx context.Context, w io.Writer, b blob) (found bool, err error) {
	f, err := c.open(b)
	if err == nil {
		defer func() { _ = f.Close() }() // only read
		_, err = copyVerified(w, withContext{ctx, f}, b, c.dir)
	}
	if err == nil {
		return true, nil
	}
	if stopped := interrupted(ctx); stopped != nil {
		return false, stopped
	}
	return false, nil
}

// put stores a blob after it was verified.
func (c *cache) put(b blob, from io.Reader, where string) error {
	f, err := c.temp(b.digest)
	if err != nil {
		return c.fail(err)
	}
	name := tempDir + "/" + filepath.Base(f.Name())
	_, err = copyVerified(f, from, b, where)
	if closed := f.Close(); err == nil && closed != nil {
		err = c.fail(closed)
	}
	if err == nil {
		if err = c.replace(name, blobName(b.digest)); err == nil {
			return nil
		}
	}
	_ = c.root.Remove(name) // what is left over goes with the next stale one
	var known *protocol.Error
	if !errors.As(err, &known) && !errors.As(err, new(passingError)) {
		err = c.fail(err)
	}
	return err
}

// replace gives a file the name of a blob. A file or a link that has the name goes
// in the same moment, a directory before it: RemoveAll follows nothing.
func (c *cache) replace(name, blob string) error {
	if info, err := c.root.Lstat(blob); err == nil && info.IsDir() {
		if err := c.root.RemoveAll(blob); err != nil {
			return err
		}
	}
	return c.root.Rename(name, blob)
}

// temp makes a file that no other process has, and removes those that a killed
// process left long ago, by the clock of the file system.
func (c *cache) temp(digest string) (*os.File, error) {
	hex := strings.TrimPrefix(digest, "sha256:")
	for n := range 1000 {
		name := fmt.Sprintf("%s/%s.%d.%d", tempDir, hex, os.Getpid(), n)
		f, err := c.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			c.sweep(f)
		}
		return f, err
	}
	return nil, fmt.Errorf("%s is full of unfinished files", tempDir)
}

func (c *cache) sweep(fresh *os.File) {
	now, err := fresh.Stat()
	if err != nil {
		return
	}
	entries, err := fs.ReadDir(c.root.FS(), tempDir)
	if err != nil {
		return // sweeping is for order only
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && now.ModTime().Sub(info.ModTime()) > limits.OCIStaleTemp {
			_ = c.root.RemoveAll(tempDir + "/" + e.Name())
		}
	}
}

func (c *cache) fail(err error) error {
	return protocol.Errorf(protocol.ExitFailure, "oci_cache", "the cache of images cannot be used: %w", err).At(c.dir)
}
