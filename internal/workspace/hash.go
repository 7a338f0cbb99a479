package workspace

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"

	"github.com/cabincrew/action/protocol"
)

// bufferBytes is how much of a file a worker holds.
const bufferBytes = 256 << 10

// hasher hashes files one after another without allocating for each.
type hasher struct {
	sum hash.Hash
	buf []byte
	out [sha256.Size]byte
}

func newHasher() *hasher { return &hasher{sum: sha256.New(), buf: make([]byte, bufferBytes)} }

// file fills in digest and size of f, which is name in root and was info a moment ago.
func (h *hasher) file(root *os.Root, name string, info fs.FileInfo, f *File) error {
	if f.Letter == Link {
		target, err := root.Readlink(name)
		if err != nil {
			return err
		}
		f.Digest, f.Size = protocol.Digest([]byte(target)), int64(len(target))
		return nil
	}
	in, err := openFile(root, name, info, f.Path)
	if err != nil {
		return err
	}
	f.Size, err = h.copy(nil, in)
	_ = in.Close() // it was only read
	f.Digest = protocol.FormatDigest(h.sum.Sum(h.out[:0]))
	return err
}

// copy reads in to its end, hashes it and writes it to out if there is one.
func (h *hasher) copy(out io.Writer, in io.Reader) (int64, error) {
	h.sum.Reset()
	var size int64
	for {
		n, err := in.Read(h.buf)
		_, _ = h.sum.Write(h.buf[:n]) // a hash never fails
		size += int64(n)
		if out != nil && n > 0 {
			if _, err := out.Write(h.buf[:n]); err != nil {
				return size, err
			}
		}
		if errors.Is(err, io.EOF) {
			return size, nil
		}
		if err != nil {
			return size, err
		}
	}
}

// openFile opens a regular file that was info a moment ago. os.Root follows links
// inside the root, so it makes sure that no link or pipe took the file's place.
func openFile(root *os.Root, name string, info fs.FileInfo, p string) (*os.File, error) {
	in, err := root.OpenFile(name, openFlags, 0)
	if err != nil {
		return nil, err
	}
	opened, err := in.Stat()
	if err == nil && !os.SameFile(info, opened) {
		err = changedNow(p)
	}
	if err != nil {
		_ = in.Close() // it was only read
		return nil, err
	}
	return in, nil
}
