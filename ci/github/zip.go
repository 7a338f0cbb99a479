package github

import (
	"archive/zip"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// ZipLimits bound what is unpacked. Zero is the bound of internal/limits; Bytes must
// be given.
type ZipLimits struct {
	Files int   // entries, directories among them
	Bytes int64 // of all files
	File  int64 // of one file; Bytes where it is 0
	Ratio int64 // how many times larger than its compressed bytes a file may be
}

// Unzip unpacks the archive of an artifact below into, which should be empty. The
// archive is hostile: everything that its directory says is checked before the first
// byte is written, and what is written is bounded by that. After an error something
// may have been written: throw into away.
func Unzip(r io.ReaderAt, size int64, into *os.Root, lim ZipLimits) error {
	lim.Files = cmp.Or(lim.Files, limits.GitHubArchiveFiles)
	lim.File = cmp.Or(lim.File, lim.Bytes)
	lim.Ratio = cmp.Or(lim.Ratio, limits.GitHubArchiveRatio)
	archive, err := zip.NewReader(r, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // names are checked below, all of them
		return badArchive("", "is no zip archive that can be read: "+clean(err.Error()))
	}
	if len(archive.File) > lim.Files {
		return badArchive("", fmt.Sprintf("has %d entries, at most %d", len(archive.File), lim.Files))
	}
	u := unzip{lim: lim, spelled: map[string]string{}, kinds: map[string]bool{}}
	for _, f := range archive.File {
		if err := u.entry(f, size); err != nil {
			return badArchive(f.Name, err.Error())
		}
	}
	if err := u.apart(); err != nil {
		return err
	}
	for _, f := range archive.File {
		if err := extract(into, f); err != nil {
			return err
		}
	}
	return nil
}

func badArchive(name, why string) error {
	e := protocol.Errorf(protocol.ExitIntegrity, "forge_archive", "the archive of an artifact %s", why)
	if name != "" {
		e = protocol.Errorf(protocol.ExitIntegrity, "forge_archive", "entry %.200q of an artifact's archive %s", name, why)
	}
	return e.WithHint("Nobody's upload step makes such an archive: look who wrote it.")
}

type unzip struct {
	lim     ZipLimits
	total   uint64
	spelled map[string]string // folded path: as it is spelled
	kinds   map[string]bool   // path: is a directory
	spans   []span
}

type span struct {
	name     string
	from, to int64
}

// entry checks one entry of the archive's directory.
func (u *unzip) entry(f *zip.File, size int64) error {
	name, dir := strings.CutSuffix(f.Name, "/")
	if err := checkName(name); err != nil {
		return err
	}
	mode := f.Mode()
	switch {
	case dir != mode.IsDir(), !dir && !mode.IsRegular():
		return errors.New("is neither a file nor a directory")
	case f.Flags&1 != 0:
		return errors.New("is encrypted")
	case f.Method != zip.Store && f.Method != zip.Deflate:
		return fmt.Errorf("is compressed by method %d", f.Method)
	case dir && f.UncompressedSize64 != 0:
		return errors.New("is a directory with content")
	case f.UncompressedSize64 > uint64(max(u.lim.File, 0)):
		return fmt.Errorf("has more than %d bytes", u.lim.File)
	case f.UncompressedSize64 > uint64(limits.GitHubArchiveRatioFree) && f.UncompressedSize64/uint64(max(u.lim.Ratio, 1)) > f.CompressedSize64:
		return fmt.Errorf("is more than %d times larger than its compressed bytes", u.lim.Ratio)
	}
	if u.total += f.UncompressedSize64; u.total > uint64(max(u.lim.Bytes, 0)) {
		return fmt.Errorf("makes the content larger than %d bytes", u.lim.Bytes)
	}
	if err := u.once(name, dir); err != nil {
		return err
	}
	from, err := f.DataOffset()
	if err != nil || f.CompressedSize64 > math.MaxInt64/2 || from+int64(f.CompressedSize64) > size {
		return errors.New("has no place in the archive")
	}
	u.spans = append(u.spans, span{f.Name, from, from + int64(f.CompressedSize64)})
	return nil
}

// checkName takes names that mean the same on every file system.
func checkName(name string) error {
	switch {
	case !fs.ValidPath(name) || name == ".":
		return errors.New("has a name that leads out of the archive, or is no path")
	case len(name) > limits.FlightPath, strings.Count(name, "/") >= limits.FlightDepth:
		return errors.New("has a name that is too long or too deep")
	case !utf8.ValidString(name), strings.ContainsAny(name, `\:`), strings.ContainsFunc(name, odd):
		return errors.New("has a name with characters that no file of ours has")
	}
	for element := range strings.SplitSeq(name, "/") {
		if element[0] == '.' || strings.HasSuffix(element, ".") || strings.HasSuffix(element, " ") {
			return errors.New("has a name that is hidden, or that some file system changes")
		}
	}
	return nil
}

// odd are characters that are not shown, or are shown as others.
func odd(r rune) bool { return !unicode.IsPrint(r) }

// once refuses names that are there twice, or are the same where case does not count;
// and files that are also directories.
func (u *unzip) once(name string, dir bool) error {
	if _, twice := u.kinds[name]; twice && !(dir && u.kinds[name]) {
		return errors.New("is there twice, or is a file and a directory")
	}
	for at, isDir := name, dir; at != "."; at, isDir = path.Dir(at), true {
		key := folded(at)
		if spelled, ok := u.spelled[key]; ok && spelled != at {
			return fmt.Errorf("differs from %.200q only by case", spelled)
		}
		if kind, ok := u.kinds[at]; ok && kind != isDir {
			return errors.New("is there twice, or is a file and a directory")
		}
		u.spelled[key], u.kinds[at] = at, isDir
	}
	return nil
}

// folded gives one spelling for all that a file system without case takes for it.
func folded(p string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, p)
}

// apart refuses entries whose bytes overlap, of which a small archive could have a
// great many.
func (u *unzip) apart() error {
	slices.SortFunc(u.spans, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	for i, s := range u.spans {
		if i > 0 && s.from < u.spans[i-1].to {
			return badArchive(s.name, "shares bytes with another one")
		}
	}
	return nil
}

// extract writes one entry.
func extract(into *os.Root, f *zip.File) (err error) {
	name, dir := strings.CutSuffix(f.Name, "/")
	parent := name
	if !dir {
		parent = path.Dir(name)
	}
	if err := into.MkdirAll(parent, 0o700); err != nil {
		return unwritable(f.Name, err)
	}
	if dir {
		return nil
	}
	body, err := f.Open()
	if err != nil {
		return badArchive(f.Name, "cannot be opened: "+clean(err.Error()))
	}
	defer func() { _ = body.Close() }()
	out, err := into.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return unwritable(f.Name, err)
	}
	defer func() {
		if e := out.Close(); err == nil && e != nil {
			err = unwritable(f.Name, e)
		}
	}()
	read := &reading{r: io.LimitReader(body, int64(f.UncompressedSize64)+1)} //nolint:gosec // bounded above
	n, err := io.Copy(out, read)
	switch {
	case read.err != nil:
		return badArchive(f.Name, "cannot be unpacked: "+clean(read.err.Error()))
	case err != nil:
		return unwritable(f.Name, err)
	case uint64(n) != f.UncompressedSize64: //nolint:gosec // what Copy counted
		return badArchive(f.Name, "has another size than the archive says")
	}
	return nil
}

// reading remembers whether it was the reading that failed.
type reading struct {
	r   io.Reader
	err error
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

func unwritable(name string, err error) error {
	return protocol.Errorf(protocol.ExitUnreachable, "file_unwritable", "unpacking %.200q: %w", name, err).
		WithHint("Check permissions and the disk.")
}
