package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Unpack reads an archive into an empty directory. The flight in it is as hostile as
// before; its archive has the one form.
func Unpack(ctx context.Context, archive *os.File, into *os.Root) (Packed, error) {
	where := archive.Name()
	info, err := archive.Stat()
	if err != nil {
		return Packed{}, unreachable(where, "the archive cannot be read: %w", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return Packed{}, malformed(where, "it is not a regular file")
	case info.Size() > limits.StorageArchive:
		return Packed{}, tooLarge(where, "the archive has more than %d bytes", limits.StorageArchive)
	}
	if err := checkFrame(archive, info.Size()); err != nil {
		return Packed{}, malformed(where, "%w", err)
	}
	sum := sha256.New()
	z, err := zstd.NewReader(io.TeeReader(withContext{ctx, io.NewSectionReader(archive, 0, info.Size())}, sum),
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(limits.StorageWindow))
	if err != nil {
		return Packed{}, malformed(where, "%w", err)
	}
	defer z.Close()
	p, err := unpackTar(ctx, z, mostContent(info.Size()), into)
	if stopped := interrupted(ctx); err != nil && stopped != nil {
		return Packed{}, stopped
	}
	var own *protocol.Error
	switch {
	case errors.As(err, &own):
		if own.Where == "" {
			own.Where = where
		}
		return Packed{}, err
	case err != nil:
		return Packed{}, malformed(where, "%w", err)
	}
	p.Digest, p.Size = protocol.FormatDigest(sum.Sum(nil)), info.Size()
	return p, nil
}

// unpacker reads a tar and writes, besides the files, what the tar should be.
type unpacker struct {
	ctx   context.Context
	in    *tar.Reader
	again *tar.Writer
	into  *os.Root
	order *order
	files map[string]bool
}

func unpackTar(ctx context.Context, r io.Reader, most int64, into *os.Root) (Packed, error) {
	is, should := sha256.New(), sha256.New()
	bounded := &bounded{r: r, left: most}
	stream := io.TeeReader(bounded, is)
	u := &unpacker{ctx: ctx, in: tar.NewReader(stream), again: tar.NewWriter(should), into: into, order: newOrder(), files: map[string]bool{}}
	for {
		h, err := u.in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = u.entry(h)
		}
		if err != nil {
			return Packed{}, err
		}
	}
	// The tar has ended; so must the stream, or something hides behind it.
	if n, err := io.ReadFull(stream, make([]byte, 1)); n > 0 {
		return Packed{}, errors.New("there is something behind the last entry")
	} else if !errors.Is(err, io.EOF) {
		return Packed{}, err
	}
	if err := u.again.Close(); err != nil {
		return Packed{}, err
	}
	if !bytes.Equal(is.Sum(nil), should.Sum(nil)) {
		return Packed{}, errors.New("its headers or paddings say more than an archive's do")
	}
	sealed, err := Encrypted(into)
	if err == nil {
		err = checkSealed(sealed, func(p string) bool { return u.files[p] })
	}
	if err != nil {
		return Packed{}, err
	}
	return Packed{Files: len(u.files), Encrypted: sealed}, nil
}

// entry writes one entry after everything about it was checked.
func (u *unpacker) entry(h *tar.Header) error {
	dir := h.Typeflag == tar.TypeDir
	name := h.Name
	if dir {
		name = strings.TrimSuffix(name, "/")
	}
	for key := range h.PAXRecords {
		if key != "path" {
			return fmt.Errorf("%s has the record %s, which none has", quoted(h.Name), quoted(key))
		}
	}
	switch {
	case h.Typeflag != tar.TypeReg && !dir:
		return fmt.Errorf("%s is of the type %s; there are only files and directories", quoted(h.Name), quoted(string(h.Typeflag)))
	case h.Format != tar.FormatUSTAR && h.Format != tar.FormatPAX:
		return fmt.Errorf("%s is in another form of tar", quoted(h.Name))
	case h.Size < 0 || h.Size > limits.StorageFile || dir && h.Size != 0:
		return tooLarge(quoted(h.Name), "the file has more than %d bytes", limits.StorageFile)
	case h.Mode != execMode && (dir || h.Mode != plainMode):
		return fmt.Errorf("%s has the mode %o", quoted(h.Name), h.Mode)
	}
	if err := u.order.add(name, dir); err != nil {
		return fmt.Errorf("the path %s %w", quoted(name), err)
	}
	e := entry{path: name, dir: dir, mode: h.Mode, size: h.Size}
	if err := u.again.WriteHeader(header(e)); err != nil {
		return err
	}
	if dir {
		return written(name, u.into.Mkdir(name, 0o700))
	}
	u.files[name] = true
	return u.file(e)
}

func (u *unpacker) file(e entry) error {
	f, err := u.into.OpenFile(e.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(e.mode)) //nolint:gosec // 0644 or 0755
	if err != nil {
		return written(e.path, err)
	}
	to := &counter{w: f}
	n, err := io.Copy(io.MultiWriter(to, u.again), withContext{u.ctx, u.in})
	closed := f.Close()
	switch {
	case to.err != nil:
		return unwritable(e.path, to.err)
	case err != nil:
		return err
	case closed != nil:
		return unwritable(e.path, closed)
	}
	if n != e.size {
		return fmt.Errorf("%s has not %d bytes", quoted(e.path), e.size)
	}
	return nil
}

func written(where string, err error) error {
	if err == nil {
		return nil
	}
	return unwritable(where, err)
}

// bounded ends a stream that gives more than it may.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, tooLarge("", "the archive holds more than it may, or is a bomb")
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left+1)])
	b.left -= int64(n)
	if b.left < 0 {
		return n, tooLarge("", "the archive holds more than it may, or is a bomb")
	}
	return n, err
}
