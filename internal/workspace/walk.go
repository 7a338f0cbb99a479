package workspace

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// batchFiles is how many files of one directory go to a worker together.
const batchFiles = 16

// directory is an open directory, closed when the walk and the last worker have left it.
type directory struct {
	root *os.Root
	refs atomic.Int64
}

func (d *directory) release() {
	if d.refs.Add(-1) == 0 {
		_ = d.root.Close() // it was only read
	}
}

// batch is some files of one directory that wait to be hashed.
type batch struct {
	dir   *directory
	names []string
	infos []fs.FileInfo
	files []File // Path and Letter filled in by the walk, the rest by a worker
}

// walker lists a workspace on one goroutine while workers hash.
type walker struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	root     *os.Root
	inputs   []string
	exclude  map[string]bool
	tracked  []string // sorted
	extra    map[string]bool
	ignores  ignoreStack
	others   *[]string
	pruned   []string // ignored directories, not walked
	seen     map[string]bool
	batches  []*batch
	jobs     chan *batch
	files    int
	entries  int
	patterns int
	noIgnore bool
	cache    *Cache
	uid, gid int             // this process'
	bare     bool            // lists names and types only, in no order
	only     map[string]bool // nil: everything
	toOnly   map[string]bool // directories on the way to them
}

func newWalker(ctx context.Context, dir string, o Options, tracked []string) (*walker, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	w := &walker{root: root, inputs: o.Inputs, tracked: tracked, noIgnore: o.NoIgnore, others: o.Others, cache: o.Cache, uid: os.Getuid(), gid: os.Getgid(),
		exclude: map[string]bool{}, extra: map[string]bool{}, seen: map[string]bool{}}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	for _, p := range o.Exclude {
		w.exclude[p] = true
	}
	for _, p := range o.Extra {
		w.extra[p] = true
	}
	if len(o.Only) > 0 {
		w.only, w.toOnly = map[string]bool{}, map[string]bool{}
	}
	for _, p := range o.Only {
		w.only[p] = true
		for d := path.Dir(p); d != "." && !w.toOnly[d]; d = path.Dir(d) {
			w.toOnly[d] = true
		}
	}
	return w, nil
}

func (w *walker) run(workers int) ([]File, error) {
	defer w.cancel(nil)
	w.jobs = make(chan *batch, 4*workers)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() { w.work() })
	}
	top := &directory{root: w.root}
	top.refs.Add(1)
	err := w.walk(top, "", 0)
	if err == nil {
		err = w.unwalked(top)
	}
	if err != nil {
		w.cancel(err)
	}
	close(w.jobs)
	wg.Wait()
	top.release()
	if cause := context.Cause(w.ctx); cause != nil {
		return nil, cause
	}
	files := make([]File, 0, w.files)
	for _, b := range w.batches {
		files = append(files, b.files...)
	}
	return files, nil
}

func (w *walker) work() {
	h := newHasher()
	for b := range w.jobs {
		for i := range b.files {
			if w.ctx.Err() != nil {
				break
			}
			f := &b.files[i]
			if f.Digest = w.cache.digest(f.Path, b.infos[i]); f.Digest != "" && f.Letter != Link {
				f.Size = b.infos[i].Size()
				continue
			}
			if err := h.file(b.dir.root, b.names[i], b.infos[i], f); err != nil {
				w.cancel(unreadable(f.Path, err))
				continue
			}
			if f.Letter != Link {
				w.cache.remember(f.Path, b.infos[i], f.Digest)
			}
		}
		b.dir.release()
		b.names, b.infos = nil, nil
	}
}

// walk visits one directory; at is its path with a slash at the end, or empty.
func (w *walker) walk(d *directory, at string, depth int) error {
	if depth > limits.WorkspaceDepth {
		return tooMany("levels of directories", limits.WorkspaceDepth)
	}
	entries, err := w.list(d.root, at)
	if err != nil {
		return err
	}
	pushed := false
	if !w.noIgnore {
		if pushed, err = w.readIgnore(d.root, at, entries); err != nil {
			return err
		}
	}
	if pushed {
		defer w.ignores.pop()
	}
	b := &batch{dir: d}
	for _, e := range entries {
		p := at + e.Name()
		switch {
		case e.Name() == ".git" && !w.noIgnore || w.exclude[p]:
			w.other(p)
			continue
		case !w.wanted(p, e.IsDir()):
			continue
		case e.IsDir():
			err = w.enter(d, p, e, depth)
		default:
			if !w.selects(p) {
				w.other(p)
				continue
			}
			b, err = w.addNamed(b, p, e)
		}
		if err != nil {
			return err
		}
	}
	return w.send(b)
}

// wanted says whether a path is one that is looked at, or leads to one.
func (w *walker) wanted(p string, dir bool) bool {
	if w.only == nil || dir && w.toOnly[p] {
		return true
	}
	for at := p; at != "."; at = path.Dir(at) {
		if w.only[at] {
			return true
		}
	}
	return false
}

// list reads the names of a directory in byte order, whatever the file system's order is.
func (w *walker) list(root *os.Root, at string) ([]fs.DirEntry, error) {
	f, err := root.Open(".")
	if err != nil {
		return nil, unreadable(strings.TrimSuffix(at, "/"), err)
	}
	defer func() { _ = f.Close() }() // it was only read
	if w.bare {
		plain, err := unrooted(f)
		if err != nil {
			return nil, unreadable(strings.TrimSuffix(at, "/"), err)
		}
		defer func() { _ = plain.Close() }() // as above
		f = plain
	}
	var all []fs.DirEntry
	for {
		if err := w.ctx.Err(); err != nil {
			return nil, context.Cause(w.ctx)
		}
		part, err := f.ReadDir(1024)
		all = append(all, part...)
		if w.entries += len(part); w.entries > limits.WorkspaceEntries {
			return nil, tooMany("directory entries", limits.WorkspaceEntries)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, unreadable(strings.TrimSuffix(at, "/"), err)
		}
	}
	if w.bare {
		return all, nil
	}
	slices.SortFunc(all, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return all, nil
}

// enter walks a directory below d unless it is ignored.
func (w *walker) enter(d *directory, p string, e fs.DirEntry, depth int) error {
	if w.ignores.ignored(p, true) {
		w.pruned = append(w.pruned, p)
		w.other(p)
		return nil
	}
	info, err := listed(d.root, e)
	if err != nil {
		return unreadable(p, err)
	}
	sub, err := d.root.OpenRoot(e.Name())
	if err != nil {
		return unreadable(p, err)
	}
	below := &directory{root: sub}
	below.refs.Add(1)
	defer below.release()
	// OpenRoot follows links inside the root, so make sure that none took the directory's place.
	if opened, err := sub.Lstat("."); err != nil || !os.SameFile(info, opened) {
		return changedNow(p)
	}
	had := w.files
	if err := w.walk(below, p+"/", depth+1); err != nil {
		return err
	}
	if w.files == had {
		w.other(p)
	}
	return nil
}

func (w *walker) other(p string) {
	if w.others != nil {
		*w.others = append(*w.others, p)
	}
}

// selects says whether a file that is no directory counts.
func (w *walker) selects(p string) bool {
	if w.extra[p] {
		return true
	}
	if w.ignores.ignored(p, false) && !w.isTracked(p) {
		return false // SPEC: docs/protocol.md 3: ignored files never, tracked files always
	}
	return w.inInputs(p)
}

func (w *walker) inInputs(p string) bool {
	if len(w.inputs) == 0 {
		return true
	}
	return slices.ContainsFunc(w.inputs, func(g string) bool { return doublestar.MatchUnvalidated(g, p) })
}

func (w *walker) isTracked(p string) bool {
	_, ok := slices.BinarySearch(w.tracked, p)
	return ok
}

// addNamed queues one selected file, which is an entry of the batch's directory.
func (w *walker) addNamed(b *batch, p string, e fs.DirEntry) (*batch, error) {
	info, err := listed(b.dir.root, e)
	if err != nil {
		return nil, unreadable(p, err)
	}
	return w.add(b, p, e.Name(), info)
}

func (w *walker) add(b *batch, p, name string, info fs.FileInfo) (*batch, error) {
	f, err := describe(p, info)
	if err != nil {
		return nil, err
	}
	if w.files++; w.files > limits.WorkspaceFiles {
		return nil, tooMany("selected files", limits.WorkspaceFiles)
	}
	f.Own = ownedBy(info, w.uid, w.gid)
	if w.extra[p] {
		w.seen[p] = true
	}
	b.names, b.infos, b.files = append(b.names, name), append(b.infos, info), append(b.files, f)
	if len(b.files) < batchFiles {
		return b, nil
	}
	return &batch{dir: b.dir}, w.send(b)
}

// send gives a batch to the workers.
func (w *walker) send(b *batch) error {
	if len(b.files) == 0 {
		return nil
	}
	w.batches = append(w.batches, b)
	b.dir.refs.Add(1)
	select {
	case w.jobs <- b:
		return nil
	case <-w.ctx.Done():
		b.dir.release()
		return context.Cause(w.ctx)
	}
}

// unwalked adds the files that count although the walk did not come by: tracked
// files in ignored directories, and Extra.
func (w *walker) unwalked(top *directory) error {
	var paths []string
	for _, dir := range w.pruned {
		from := sort.SearchStrings(w.tracked, dir+"/")
		for _, p := range w.tracked[from:] {
			if !strings.HasPrefix(p, dir+"/") {
				break
			}
			if w.inInputs(p) && !w.extra[p] {
				paths = append(paths, p)
			}
		}
	}
	for p := range w.extra {
		if !w.seen[p] {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	b := &batch{dir: top}
	for _, p := range slices.Compact(paths) {
		info, err := w.lstatPlain(p)
		if err != nil {
			return err
		}
		if info == nil {
			continue
		}
		if b, err = w.add(b, p, p, info); err != nil { // the batch's directory is the workspace
			return err
		}
	}
	return w.send(b)
}

// lstatPlain gives a file that is reached through real directories only, or nil.
func (w *walker) lstatPlain(p string) (fs.FileInfo, error) {
	for i := range len(p) {
		if p[i] != '/' {
			continue
		}
		name := p[strings.LastIndexByte(p[:i], '/')+1 : i]
		if name == ".git" || w.exclude[p[:i]] {
			return nil, nil //nolint:nilnil // no file and no error: the path does not count
		}
		info, err := w.root.Lstat(p[:i])
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
			return nil, nil //nolint:nilnil // as above
		} else if err != nil {
			return nil, unreadable(p, err)
		}
	}
	info, err := w.root.Lstat(p)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() || w.exclude[p] {
		return nil, nil //nolint:nilnil // as above
	} else if err != nil {
		return nil, unreadable(p, err)
	}
	return info, nil
}

// describe gives the letter of a file, or refuses what cannot be hashed.
func describe(p string, info fs.FileInfo) (File, error) {
	f := File{Path: p, Mode: info.Mode()}
	if !utf8.ValidString(p) {
		return f, protocol.Errorf(protocol.ExitUsage, "path_not_utf8", "the file name is not UTF-8: %q", p).
			WithHint("rename the file, or leave it out by .gitignore or the step's inputs")
	}
	if len(p) > limits.PathBytes {
		return f, protocol.Errorf(protocol.ExitUsage, "path_invalid", "a path is longer than %d bytes", limits.PathBytes).At(p[:80])
	}
	switch {
	case info.Mode().IsRegular() && info.Mode()&0o100 != 0:
		f.Letter = Executable
	case info.Mode().IsRegular():
		f.Letter = Regular
	case info.Mode()&fs.ModeType == fs.ModeSymlink:
		f.Letter = Link
	default:
		return f, protocol.Errorf(protocol.ExitUsage, "workspace_special_file",
			"it is a %s, which cannot be part of a plan", kindOf(info.Mode())).At(p).
			WithHint("remove it, or leave it out by .gitignore or the step's inputs")
	}
	return f, nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "named pipe (fifo)"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

func changedNow(p string) error {
	return protocol.Errorf(protocol.ExitStale, "workspace_changed", "it changed while it was being read").At(p).
		WithHint("stop what writes to the workspace and run again")
}
