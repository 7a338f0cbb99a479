package oci

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/cabincrew/action/protocol"
)

// blob is what a descriptor says of bytes.
type blob struct {
	digest string
	size   int64 // -1: not known, at most max
	max    int64
}

// passingError is a failure that another attempt may not have.
type passingError struct{ error }

func (e passingError) Unwrap() error { return e.error }

// copyVerified copies a blob and refuses what does not have its size and digest.
// At most one byte more than expected is read. w may have got anything then.
func copyVerified(w io.Writer, r io.Reader, b blob, where string) (int64, error) {
	limit := b.size
	if limit < 0 {
		limit = b.max
	}
	h := sha256.New()
	writer := &failures{w: w}
	n, err := io.Copy(io.MultiWriter(h, writer), io.LimitReader(r, limit+1))
	switch {
	case writer.err != nil:
		return n, writer.err
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return n, passingError{err}
	case n > limit && b.size < 0:
		return n, tooMuch(where, "%s has more than %d bytes", b.digest, limit)
	case n > limit:
		return n, mismatch(where, "%s is longer than the %d bytes that it should have", b.digest, limit)
	case n < b.size || err != nil:
		return n, passingError{mismatch(where, "%s ends after %d bytes", b.digest, n)}
	}
	if got := protocol.FormatDigest(h.Sum(nil)); got != b.digest {
		return n, mismatch(where, "what came for %s hashes to %s", b.digest, got)
	}
	return n, nil
}

// failures remembers that writing failed, which io.Copy mixes with reading.
type failures struct {
	w   io.Writer
	err error
}

func (f *failures) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err != nil {
		f.err = err
	}
	return n, err
}

// withContext ends reading when the context ends.
type withContext struct {
	ctx context.Context
	r   io.Reader
}

func (r withContext) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// openTries is how often a file is opened that another process exchanges, between
// looking at it and opening it, for its equal.
const openTries = 10

var errExchanged = errors.New("it was exchanged while it was opened")

// openRegular opens a regular file and follows, and waits for, nothing else.
func openRegular(root *os.Root, name string) (f *os.File, info fs.FileInfo, err error) {
	for range openTries {
		if f, info, err = openOnce(root, name); !errors.Is(err, errExchanged) {
			return f, info, err
		}
	}
	return nil, nil, fmt.Errorf("%s: %w", name, err)
}

func openOnce(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	before, err := root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is no regular file", name)
	}
	f, err := root.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(before, info) {
		err = errExchanged
	}
	if err != nil {
		_ = f.Close() // the error above is the one that counts
		return nil, nil, err
	}
	return f, info, nil
}
