package bundle

import (
	"context"
	"errors"
	"io"
	"os"
)

// Copy copies a flight's directory into an empty one, and has the disk hold it.
func Copy(ctx context.Context, from, to *os.Root) error {
	entries, err := list(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if stopped := interrupted(ctx); stopped != nil {
			return stopped
		}
		if e.dir {
			err = written(e.path, to.Mkdir(e.path, 0o700))
		} else {
			err = copyFile(ctx, from, to, e)
		}
		if err != nil {
			return err
		}
	}
	return Sync(to)
}

func copyFile(ctx context.Context, from, to *os.Root, e entry) error {
	in, _, err := openFile(from, e.path)
	if err != nil {
		return unreadable(e.path, err)
	}
	defer func() { _ = in.Close() }()                                                     // only read
	f, err := to.OpenFile(e.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, os.FileMode(e.mode)) //nolint:gosec // 0644 or 0755
	if err != nil {
		return unwritable(e.path, err)
	}
	out := &counter{w: f}
	_, err = io.Copy(out, withContext{ctx, in})
	closed := f.Close()
	switch stopped := interrupted(ctx); {
	case stopped != nil:
		return stopped
	case out.err != nil || closed != nil:
		return unwritable(e.path, errors.Join(out.err, closed))
	case err != nil:
		return unreadable(e.path, err)
	}
	return nil
}
