package patch

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// The stage is a directory in the workspace, so that it is on the same file
// system. The .gitignore file in it keeps it out of every list of files.

// openStage makes the stage; a kill leaves one behind, so the next number is taken.
func (a *applier) openStage() error {
	if err := a.findLeftovers(); err != nil {
		return err
	}
	if err := a.fail("stage"); err != nil {
		return err
	}
	for n := 1; ; n++ {
		name := stagePrefix + strconv.Itoa(n)
		err := a.root.Mkdir(name, 0o700)
		if errors.Is(err, fs.ErrExist) && n <= limits.PatchFiles {
			continue
		}
		if err != nil {
			return ioError(name, err)
		}
		a.stage = name
		break
	}
	p := a.stage + "/.gitignore"
	if err := a.root.WriteFile(p, []byte("*\n"), 0o600); err != nil {
		return ioError(p, err)
	}
	return nil
}

// findLeftovers lists the stages of runs that were killed.
func (a *applier) findLeftovers() error {
	f, err := a.root.Open(".")
	if err != nil {
		return ioError(".", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	a.leftover = nil
	for {
		part, err := f.ReadDir(1024)
		for _, e := range part {
			if number, ok := strings.CutPrefix(e.Name(), stagePrefix); ok && e.IsDir() && strings.Trim(number, "0123456789") == "" {
				a.leftover = append(a.leftover, e.Name())
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return ioError(".", err)
		}
	}
}

// recover finds a content by its digest in what a killed run had staged or saved.
func (a *applier) recover(s state) (string, error) {
	if a.found == nil {
		a.found = map[string]string{}
		for _, dir := range a.leftover {
			if err := a.index(dir); err != nil {
				return "", err
			}
		}
	}
	return a.found[kindDigest(s)], nil
}

// kindDigest keeps files and links of the same bytes apart.
func kindDigest(s state) string {
	if s.mode == ModeLink {
		return "link " + s.digest
	}
	return s.digest
}

func (a *applier) index(dir string) error {
	f, err := a.root.Open(dir)
	if err != nil {
		return ioError(dir, err)
	}
	entries, err := f.ReadDir(2*limits.PatchFiles + 2)
	_ = f.Close() // it was only read
	if err != nil && !errors.Is(err, io.EOF) {
		return ioError(dir, err)
	}
	for _, e := range entries {
		p := dir + "/" + e.Name()
		info, err := a.root.Lstat(p)
		if err != nil {
			return ioError(p, err)
		}
		if modeOf(info) == "" {
			continue
		}
		digest, err := a.digestOf(p, info)
		if err != nil {
			return err
		}
		a.found[kindDigest(state{modeOf(info), digest})] = p
	}
	return nil
}

// stageTarget writes the content that t has afterwards into the stage and checks it.
func (a *applier) stageTarget(i int, t *target) error {
	t.staged = fmt.Sprintf("%s/new-%d", a.stage, i)
	if err := a.fail("write " + t.path); err != nil {
		return err
	}
	t.perm = 0o666
	source, err := a.sourceOf(t)
	if err != nil {
		return err
	}
	if t.after.mode == ModeLink {
		return a.stageLink(t, source)
	}
	perm := t.perm
	if t.after.mode == ModeExecutable {
		perm |= 0o100 | (perm&0o444)>>2
	}
	f, err := a.root.OpenFile(t.staged, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return ioError(t.path, err)
	}
	h := sha256.New()
	err = a.produce(io.MultiWriter(f, h), t, source)
	if err == nil && t.from != "" {
		err = f.Chmod(perm) // as the file was, whatever the umask is
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return contentError(t, err)
	}
	return checkAfter(t, protocol.FormatDigest(h.Sum(nil)))
}

// source is the content before: a file of the workspace, or of a leftover.
type source struct {
	path  string
	info  fs.FileInfo
	ready bool // it is the content after already
}

// sourceOf finds the content that t is made from.
func (a *applier) sourceOf(t *target) (*source, error) {
	if t.change.Op == Add {
		return nil, nil //nolint:nilnil // a new file is made from nothing
	}
	from := a.byPath[t.from]
	if !from.done {
		if from.info.Mode().IsRegular() {
			t.perm = from.info.Mode().Perm() &^ 0o111
		}
		return &source{path: t.from, info: from.info}, nil
	}
	p, err := a.recover(t.after)
	if err != nil {
		return nil, err
	}
	if p == "" {
		return nil, mismatch(from, state{})
	}
	info, err := a.root.Lstat(p)
	if err != nil {
		return nil, ioError(p, err)
	}
	if info.Mode().IsRegular() {
		t.perm = info.Mode().Perm() &^ 0o111
	}
	return &source{path: p, info: info, ready: true}, nil
}

// produce writes the content after.
func (a *applier) produce(w io.Writer, t *target, s *source) error {
	if s != nil && (s.ready || !t.change.hasContent()) {
		if modeOf(s.info) == ModeLink {
			target, err := a.root.Readlink(s.path)
			if err != nil {
				return err
			}
			_, err = io.WriteString(w, target)
			return err
		}
		f, err := openPlain(a.root, s.path, s.info)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // it was only read
		_, err = io.Copy(w, f)
		return err
	}
	return t.change.writeContent(w, func() ([]byte, error) {
		return readPlain(a.root, s.path, s.info, limits.PatchFileBytes)
	})
}

func (a *applier) stageLink(t *target, s *source) error {
	var b strings.Builder
	if err := a.produce(&b, t, s); err != nil {
		return contentError(t, err)
	}
	if n := b.Len(); n == 0 || n > limits.LinkBytes || strings.Contains(b.String(), "\x00") {
		return contentError(t, errors.New("the target of a link is empty, too long or has a NUL byte"))
	}
	if err := checkAfter(t, protocol.Digest([]byte(b.String()))); err != nil {
		return err
	}
	if err := a.root.Symlink(b.String(), t.staged); err != nil {
		return ioError(t.path, err)
	}
	return nil
}

func checkAfter(t *target, digest string) error {
	if digest == t.after.digest {
		return nil
	}
	return metaInvalid("the patch makes other content than its metadata says").At(quote(t.path))
}

// contentError tells a patch that does not fit from a disk that does not work.
func contentError(t *target, err error) error {
	for _, known := range []error{errHunk, errDelta, errInflate, errID} {
		if errors.Is(err, known) {
			return protocol.Errorf(protocol.ExitIntegrity, "patch_invalid", "the patch does not fit: %w", err).At(quote(t.path)).
				WithHint("the artifact was not made by this engine or was changed; plan again")
		}
	}
	return ioError(t.path, err)
}

// hasID says whether content has the blob id, or one that begins so.
func hasID(content []byte, id string) bool { return strings.HasPrefix(blobID(content), id) }

// syncDir makes the names in a directory durable.
func (a *applier) syncDir(dir string) error {
	info, err := lstatPlain(a.root, dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil // it became empty and is gone; its parent is synced too
	} else if err != nil {
		return ioError(dir, err)
	}
	f, err := a.root.Open(dir)
	if err != nil {
		return ioError(dir, err)
	}
	err = f.Sync()
	_ = f.Close() // it was only synced
	if err != nil {
		return ioError(dir, err)
	}
	return nil
}

// touch remembers a directory for syncing.
func (a *applier) touch(p string) {
	if a.dirs == nil {
		a.dirs = map[string]bool{}
	}
	a.dirs[path.Dir(p)] = true
}

func (a *applier) fail(step string) error {
	if a.o.Failpoint == nil {
		return nil
	}
	return a.o.Failpoint(step)
}
