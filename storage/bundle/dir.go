package bundle

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// dirStore keeps archives in a directory, each under the name of its digest.
type dirStore struct {
	ref Ref
	o   Options
}

var _ Store = (*dirStore)(nil)

const unfinished = ".tmp-"

// unfinishedForm is that of the names of our own unfinished files: rand.Text.
var unfinishedForm = regexp.MustCompile(`^\.tmp-[A-Z2-7]{26}$`)

func archiveName(digest string) string {
	return strings.Replace(digest, ":", "-", 1) + Suffix
}

// Put writes the archive aside and renames it: it is there whole or not at all.
func (d *dirStore) Put(ctx context.Context, archive *os.File, p Packed, _ Meta) (Ref, error) {
	if err := os.MkdirAll(d.ref.Place, 0o750); err != nil {
		return Ref{}, unwritable(d.ref.Place, err)
	}
	root, err := os.OpenRoot(d.ref.Place)
	if err != nil {
		return Ref{}, unwritable(d.ref.Place, err)
	}
	defer func() { _ = root.Close() }() // everything was synchronised before
	d.sweep(root)
	temp := unfinished + rand.Text()
	err = d.write(ctx, root, temp, archive, p)
	if err == nil {
		err = written(d.ref.Place, root.Rename(temp, archiveName(p.Digest)))
	}
	if err == nil {
		err = written(d.ref.Place, syncRoot(root))
	}
	if err != nil {
		_ = root.Remove(temp) // it may be gone; the error above is what counts
		return Ref{}, err
	}
	return d.ref.Pinned(p.Digest), nil
}

func (d *dirStore) write(ctx context.Context, root *os.Root, temp string, archive *os.File, p Packed) error {
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return unwritable(d.ref.Place, err)
	}
	err = copyVerified(ctx, f, io.NewSectionReader(archive, 0, p.Size+1), p.Digest, p.Size, archive.Name(), d.o.Progress)
	if err == nil {
		err = written(d.ref.Place, f.Sync())
	}
	if closed := written(d.ref.Place, f.Close()); err == nil {
		err = closed
	}
	return err
}

// sweep removes what interrupted processes left.
func (d *dirStore) sweep(root *os.Root) {
	dir, err := root.Open(".")
	if err != nil || d.o.Now == nil {
		return
	}
	defer func() { _ = dir.Close() }() // only read
	entries, _ := dir.ReadDir(limits.StorageEntries)
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() && unfinishedForm.MatchString(e.Name()) && d.o.Now().Sub(info.ModTime()) > limits.StorageTemp {
			_ = root.Remove(e.Name()) // another process may have done it
		}
	}
}

// Get copies an archive and compares it with its digest.
func (d *dirStore) Get(ctx context.Context, ref Ref, into *os.File) (Ref, error) {
	if ref.Digest == "" {
		return Ref{}, badRef(ref.String(), "has no digest: a directory holds any number of flights")
	}
	root, err := os.OpenRoot(ref.Place)
	if err != nil {
		return Ref{}, missing(ref.String(), "the directory cannot be opened: %w", err)
	}
	defer func() { _ = root.Close() }() // only read
	f, info, err := openFile(root, archiveName(ref.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return Ref{}, missing(ref.String(), "the storage has no such flight")
	}
	if err != nil {
		return Ref{}, unreachable(ref.String(), "the archive cannot be opened: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	if info.Size() > limits.StorageArchive {
		return Ref{}, tooLarge(ref.String(), "the archive has more than %d bytes", limits.StorageArchive)
	}
	return ref.Pinned(ref.Digest), copyVerified(ctx, into, f, ref.Digest, info.Size(), ref.String(), d.o.Progress)
}

// copyVerified copies so many bytes and refuses what does not have the digest.
func copyVerified(ctx context.Context, w io.Writer, r io.Reader, digest string, size int64, where string, progress func(done, total int64)) error {
	hash := sha256.New()
	to := &counter{w: w}
	n, err := io.Copy(io.MultiWriter(to, hash, &teller{progress, size, 0}), withContext{ctx, io.LimitReader(r, size+1)})
	if stopped := interrupted(ctx); err != nil && stopped != nil {
		return stopped
	}
	switch {
	case to.err != nil:
		return unwritable(where, to.err)
	case err != nil:
		return unreachable(where, "the archive cannot be read: %w", err)
	case n != size || protocol.FormatDigest(hash.Sum(nil)) != digest:
		return mismatch(where, "the archive does not have the digest %s", digest)
	}
	return nil
}

// teller tells of progress.
type teller struct {
	tell  func(done, total int64)
	total int64
	done  int64
}

func (t *teller) Write(p []byte) (int, error) {
	t.done += int64(len(p))
	t.tell(t.done, t.total)
	return len(p), nil
}

func syncRoot(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
