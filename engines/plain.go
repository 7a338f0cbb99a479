package engines

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// OpenPlain opens a regular file of at most limits.ProgramBytes by the path that a
// configuration, a command line or a script's first line gives. Links are followed.
// What is a pipe or a device is neither opened, which may have an effect, nor
// waited for, should it have taken the file's place just now.
func OpenPlain(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err == nil {
		err = plain(info)
	}
	if err != nil {
		return nil, err
	}
	return opened(os.OpenFile(path, os.O_RDONLY|nonblock, 0)) //nolint:gosec // who names it decides
}

// OpenPlainIn is OpenPlain for a file below a root.
func OpenPlainIn(root *os.Root, name string) (*os.File, error) {
	info, err := root.Stat(name)
	if err == nil {
		err = plain(info)
	}
	if err != nil {
		return nil, err
	}
	return opened(root.OpenFile(name, os.O_RDONLY|nonblock, 0))
}

func opened(f *os.File, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = plain(info)
	}
	if err != nil {
		_ = f.Close() // the error above is the one that counts
		return nil, err
	}
	return f, nil
}

func plain(info fs.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("it is a %s, not a regular file", kind(info.Mode()))
	case info.Size() > limits.ProgramBytes:
		return fmt.Errorf("it has more than %d MiB", limits.ProgramBytes>>20)
	}
	return nil
}

// DigestPlain gives the digest of an open file, or says why it could not be opened.
// It ends with ctx, and where the file grows beyond limits.ProgramBytes.
func DigestPlain(ctx context.Context, f *os.File, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(&until{ctx, f}, limits.ProgramBytes+1))
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err != nil:
		return "", err
	case n > limits.ProgramBytes:
		return "", errors.New("it grows while it is read")
	}
	return protocol.FormatDigest(h.Sum(nil)), nil
}

// until reads while a context lasts.
type until struct {
	ctx context.Context //nolint:containedctx // lives as long as one call of DigestPlain
	io.Reader
}

func (u *until) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.Reader.Read(p)
}
