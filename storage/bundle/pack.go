package bundle

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strconv"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// MediaType is that of an archive.
const MediaType = "application/vnd.cabincrew.flight.v1.tar+zstd"

// Suffix ends the names of archives.
const Suffix = ".tar.zst"

// PackOptions say what leaves in which form.
type PackOptions struct {
	// Recipients read the artifacts with the role state.
	Recipients []age.Recipient
	// PlainState lets them leave in the clear where there are no recipients.
	PlainState bool
	// Temp is a directory for what is encrypted; only ciphertext is written there.
	Temp string
}

// Packed is an archive's digest and what is in it.
type Packed struct {
	Digest    string
	Size      int64 // in bytes
	Files     int
	Encrypted []Sealed // in the order of their paths
}

// Pack writes the archive of a flight. Nobody may write the flight meanwhile.
func Pack(ctx context.Context, root *os.Root, w io.Writer, o PackOptions) (_ Packed, err error) {
	entries, err := list(root)
	if err != nil {
		return Packed{}, err
	}
	s, err := sealState(ctx, root, entries, o)
	if err != nil {
		return Packed{}, err
	}
	defer s.close()
	sum := &counter{w: w, hash: sha256.New()}
	z, err := zstd.NewWriter(sum, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true), zstd.WithWindowSize(8<<20))
	if err != nil {
		return Packed{}, err
	}
	content := &counter{w: z}
	out := tar.NewWriter(content)
	p := Packed{Encrypted: s.sealed}
	for _, e := range s.entries {
		if !e.dir {
			p.Files++
		}
		if err := pack(ctx, root, out, e); err != nil {
			_ = z.Close() // the error above is the one that counts
			if sum.err != nil {
				err = unwritable("the archive", sum.err)
			}
			return Packed{}, err
		}
	}
	if err := errors.Join(out.Close(), z.Close()); err != nil {
		return Packed{}, unwritable("the archive", err)
	}
	p.Digest, p.Size = protocol.FormatDigest(sum.hash.Sum(nil)), sum.n
	// What nobody could read is not written either.
	if sum.n > limits.StorageArchive || content.n > limits.StorageContent || content.n > mostContent(sum.n) {
		return Packed{}, tooLarge("the archive", "the flight has %d bytes, compressed %d: more than an archive may have", content.n, sum.n)
	}
	return p, nil
}

// mostContent is how many bytes may be in an archive of so many.
func mostContent(compressed int64) int64 {
	return min(limits.StorageContent, max(limits.StorageRatioFree, compressed*limits.StorageRatio))
}

// header is the only one that an entry may have.
func header(e entry) *tar.Header {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: e.path, Mode: e.mode, Size: e.size, ModTime: time.Unix(0, 0)}
	if e.dir {
		h.Typeflag, h.Name = tar.TypeDir, e.path+"/"
	}
	return h
}

func pack(ctx context.Context, root *os.Root, out *tar.Writer, e entry) error {
	if err := interrupted(ctx); err != nil {
		return err
	}
	if err := out.WriteHeader(header(e)); err != nil {
		return unwritable("the archive", err)
	}
	switch {
	case e.dir:
		return nil
	case e.data != nil:
		_, err := out.Write(e.data)
		return err
	case e.file != nil:
		_, err := io.Copy(out, withContext{ctx, io.NewSectionReader(e.file, 0, e.size)})
		return err
	}
	f, _, err := openFile(root, e.from)
	if err != nil {
		return unreadable(e.from, err)
	}
	defer func() { _ = f.Close() }() // only read
	n, err := io.Copy(out, withContext{ctx, io.LimitReader(f, e.size)})
	if stopped := interrupted(ctx); err != nil && stopped != nil {
		return stopped
	}
	if err == nil && n < e.size {
		err = errors.New("it became shorter while it was read")
	}
	if err == nil {
		if more, _ := f.Read(make([]byte, 1)); more > 0 {
			err = errors.New("it became longer while it was read")
		}
	}
	if err != nil {
		return unreadable(e.from, err)
	}
	return nil
}

func unwritable(where string, err error) error {
	return protocol.Errorf(protocol.ExitUnreachable, "storage_unwritable", "it cannot be written: %w", err).At(where).
		WithHint("free space or mend the file system, then run the command again")
}

// counter counts, and perhaps hashes, what is written through it.
type counter struct {
	w    io.Writer
	hash hash.Hash // or nil
	n    int64
	err  error // the first of writing, which io.Copy mixes with reading
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	if c.err == nil {
		c.err = err
	}
	if c.hash != nil {
		_, _ = c.hash.Write(p[:n]) // a hash takes everything
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
		return 0, fmt.Errorf("interrupted: %w", err)
	}
	return r.r.Read(p)
}

// quoted shows a hostile name.
func quoted(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strconv.Quote(s)
}
