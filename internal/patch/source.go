package patch

import (
	"crypto/sha1" //nolint:gosec // git's blob ids are SHA-1; nothing is trusted by them
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// blobID gives git's id of a content.
func blobID(content []byte) string {
	h := sha1.New() //nolint:gosec // as above
	_, _ = h.Write([]byte("blob " + strconv.Itoa(len(content)) + "\x00"))
	_, _ = h.Write(content) // a hash never fails
	return hex.EncodeToString(h.Sum(nil))
}

const (
	zeroID  = "0000000000000000000000000000000000000000"
	emptyID = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
)

// lstatPlain is Lstat through real directories only; what lies behind a link or
// a file does not exist.
func lstatPlain(root *os.Root, p string) (fs.FileInfo, error) {
	for i := range len(p) {
		if p[i] != '/' {
			continue
		}
		info, err := root.Lstat(p[:i])
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			return nil, &fs.PathError{Op: "lstat", Path: p, Err: fs.ErrNotExist}
		}
	}
	return root.Lstat(p)
}

// modeOf gives git's mode of a file, or "" for what is neither file nor link.
func modeOf(info fs.FileInfo) string {
	switch {
	case info.Mode().IsRegular() && info.Mode()&0o100 != 0:
		return ModeExecutable
	case info.Mode().IsRegular():
		return ModeFile
	case info.Mode()&fs.ModeType == fs.ModeSymlink:
		return ModeLink
	}
	return ""
}

// openPlain opens a regular file that was info a moment ago.
func openPlain(root *os.Root, p string, info fs.FileInfo) (*os.File, error) {
	f, err := root.OpenFile(p, openFlags, 0)
	if err != nil {
		return nil, err
	}
	now, err := f.Stat()
	if err == nil && !os.SameFile(now, info) {
		err = errors.New("it changed while it was being read")
	}
	if err != nil {
		_ = f.Close() // it was only read
		return nil, err
	}
	return f, nil
}

// readPlain gives the content of a file or the target of a link, up to limit bytes.
func readPlain(root *os.Root, p string, info fs.FileInfo, limit int64) ([]byte, error) {
	if modeOf(info) == ModeLink {
		target, err := root.Readlink(p)
		return []byte(target), err
	}
	if info.Size() > limit {
		return nil, tooLarge(p, limit)
	}
	f, err := openPlain(root, p, info)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, tooLarge(p, limit)
	}
	return data, err
}

// readEntry reads a file of a tree and makes sure that it is what the list says.
func readEntry(root *os.Root, e *Entry) ([]byte, error) {
	info, err := lstatPlain(root, e.Path)
	if err != nil {
		return nil, ioError(e.Path, err)
	}
	data, err := readPlain(root, e.Path, info, limits.PatchFileBytes)
	if err != nil {
		return nil, ioError(e.Path, err)
	}
	if modeOf(info) != e.mode() || protocol.Digest(data) != e.Digest {
		return nil, protocol.Errorf(protocol.ExitStale, "workspace_changed", "it changed while the patch was being made").
			At(e.Path).WithHint("stop what writes to the workspace and run again")
	}
	return data, nil
}

func tooLarge(p string, limit int64) error {
	return protocol.Errorf(protocol.ExitUsage, "patch_too_large",
		"a changed file is larger than %d bytes, too large for a patch", limit).At(p).
		WithHint("leave the file out by .gitignore or the step's inputs, or keep it outside the repository")
}

// ioError makes the error for a file that cannot be read or written.
func ioError(p string, err error) error {
	var known *protocol.Error
	if errors.As(err, &known) {
		return err
	}
	var pe *fs.PathError
	var le *os.LinkError
	if errors.As(err, &pe) {
		err = pe.Err
	} else if errors.As(err, &le) {
		err = le.Err
	}
	return protocol.Errorf(protocol.ExitFailure, "patch_io", "%w", err).At(strings.ToValidUTF8(p, "?")).
		WithHint("check permissions and free space of the workspace")
}
