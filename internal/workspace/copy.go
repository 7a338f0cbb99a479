package workspace

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"

	"github.com/cabincrew/action/protocol"
)

// Copy makes a private copy of files, as Scan of src gave them, in dst, which is
// made if it does not exist. Modes become 0644 and 0755, links are made again
// with the same target, data is shared by reflink where the file system can and
// never by hard links. Every byte is hashed on the way: a file that is not what
// files says is an error "workspace_changed".
func Copy(ctx context.Context, src string, files []File, dst string) error {
	if err := os.MkdirAll(dst, 0o755); err != nil { //nolint:gosec // a workspace's directories are readable, as git makes them
		return unwritable(dst, err)
	}
	in, err := os.OpenRoot(src)
	if err != nil {
		return unreadable(src, err)
	}
	defer func() { _ = in.Close() }() // it was only read
	out, err := os.OpenRoot(dst)
	if err != nil {
		return unwritable(dst, err)
	}
	defer func() { _ = out.Close() }() // files written through it are closed one by one
	if err := makeDirs(out, files); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	jobs := make(chan []File)
	var wg sync.WaitGroup
	for range workers(0) {
		wg.Go(func() {
			h := newHasher()
			for part := range jobs {
				for _, f := range part {
					if ctx.Err() != nil {
						break
					}
					if err := h.copyFile(in, out, f); err != nil {
						cancel(err)
					}
				}
			}
		})
	}
	for len(files) > 0 && ctx.Err() == nil {
		n := min(batchFiles, len(files))
		select {
		case jobs <- files[:n]:
		case <-ctx.Done():
		}
		files = files[n:]
	}
	close(jobs)
	wg.Wait()
	return context.Cause(ctx)
}

// makeDirs makes the directories of files before the workers start.
func makeDirs(out *os.Root, files []File) error {
	made := map[string]bool{".": true}
	for _, f := range files {
		if !cleanPath(f.Path) {
			return protocol.Errorf(protocol.ExitUsage, "path_invalid",
				"%q is not a clean slash path inside the workspace", f.Path)
		}
		dir := path.Dir(f.Path)
		if made[dir] {
			continue
		}
		for i := 0; i <= len(dir); i++ {
			if i < len(dir) && dir[i] != '/' || made[dir[:i]] {
				continue
			}
			if err := out.Mkdir(dir[:i], 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return unwritable(dir[:i], err)
			}
			made[dir[:i]] = true
		}
	}
	return nil
}

// copyFile copies one file and checks its digest.
func (h *hasher) copyFile(in, out *os.Root, f File) error {
	info, err := lstatIn(in, f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return changedNow(f.Path)
	} else if err != nil {
		return unreadable(f.Path, err)
	}
	now, err := describe(f.Path, info)
	if err != nil {
		return err
	}
	if now.Letter != f.Letter {
		return changedNow(f.Path)
	}
	if f.Letter == Link {
		target, err := in.Readlink(f.Path)
		if err != nil {
			return unreadable(f.Path, err)
		}
		if protocol.Digest([]byte(target)) != f.Digest {
			return changedNow(f.Path)
		}
		return unwritable(f.Path, out.Symlink(target, f.Path))
	}
	src, err := openFile(in, f.Path, info, f.Path)
	if err != nil {
		return unreadable(f.Path, err)
	}
	defer func() { _ = src.Close() }() // it was only read
	dst, err := out.OpenFile(f.Path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return unwritable(f.Path, err)
	}
	err = h.fill(dst, src, f)
	if cerr := dst.Close(); err == nil {
		err = unwritable(f.Path, cerr)
	}
	return err
}

// fill writes src to dst, by reflink if possible, and checks what was written.
func (h *hasher) fill(dst, src *os.File, f File) error {
	mode := fs.FileMode(0o644)
	if f.Letter == Executable {
		mode = 0o755
	}
	if err := dst.Chmod(mode); err != nil {
		return unwritable(f.Path, err)
	}
	var to io.Writer = dst
	from := src
	if clone(dst, src) {
		to, from = nil, dst // hash what the copy holds
	}
	size, err := h.copy(to, from)
	if err != nil {
		return unreadable(f.Path, err)
	}
	if size != f.Size || protocol.FormatDigest(h.sum.Sum(h.out[:0])) != f.Digest {
		return changedNow(f.Path)
	}
	return nil
}

// lstatIn is Lstat through real directories only.
func lstatIn(root *os.Root, p string) (fs.FileInfo, error) {
	for i := strings.IndexByte(p, '/'); i >= 0; {
		info, err := root.Lstat(p[:i])
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			return nil, fs.ErrNotExist
		}
		next := strings.IndexByte(p[i+1:], '/')
		if next < 0 {
			break
		}
		i += 1 + next
	}
	return root.Lstat(p)
}

// unwritable makes the error for something that cannot be written; nil stays nil.
func unwritable(p string, err error) error {
	if err == nil {
		return nil
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return protocol.Errorf(protocol.ExitFailure, "workspace_unwritable", "cannot be written: %w", err).At(p).
		WithHint("check permissions and free space of the temporary directory")
}
