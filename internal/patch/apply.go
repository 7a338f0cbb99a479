package patch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/cabincrew/action/protocol"
)

// ApplyOptions say how a patch is applied.
type ApplyOptions struct {
	// AllowApplied takes a file that is already as the patch makes it for done,
	// so that what was killed half way can be finished.
	AllowApplied bool
	// Protected are paths that the patch may not touch; see Limits.
	Protected []string
	// Failpoint, for tests, is called before each step that changes something. An
	// error undoes everything; one that wraps ErrKilled leaves all as it is, as
	// SIGKILL would.
	Failpoint func(step string) error
}

// ErrKilled makes a Failpoint behave like SIGKILL.
var ErrKilled = errors.New("killed at a failpoint")

var errID = errors.New("a content has another blob id than the index line says")

// state is what is at a path: a mode and a digest, both empty if nothing is there.
type state struct{ mode, digest string }

// target is one path that the patch touches.
type target struct {
	path          string
	before, after state
	change        *Change // that gives the content after; nil for a path that goes
	from          string  // path of the content before
	info          fs.FileInfo
	perm          fs.FileMode // of the source, without execute bits
	done          bool        // it is at after already
	staged        string      // name of the new content in the stage
}

// Apply changes the files of dir as the patch says: all of them or, on any
// error, none. meta must be what Check agrees with; each file must be as it says
// before, and is as it says afterwards. What a killed Apply left in dir is used
// and removed by the next.
func Apply(ctx context.Context, dir string, changes []Change, meta []File, o ApplyOptions) error {
	if err := checkOnce(changes); err != nil {
		return err
	}
	if err := Check(changes, meta); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return ioError(dir, err)
	}
	defer func() { _ = root.Close() }() // files written through it are closed one by one
	a := &applier{ctx: ctx, root: root, o: o}
	if err := a.plan(changes, meta); err != nil {
		return err
	}
	if err := a.readStates(); err != nil {
		return err
	}
	if err := a.run(); err != nil {
		if errors.Is(err, ErrKilled) {
			return err
		}
		return a.undo(err)
	}
	return a.finish()
}

// applier applies one patch.
type applier struct {
	ctx      context.Context
	root     *os.Root
	o        ApplyOptions
	targets  []*target // by path
	byPath   map[string]*target
	stage    string            // the directory of new and saved contents
	leftover []string          // stages of runs that were killed
	found    map[string]string // digest to path of what leftovers hold
	journal  []step
	dirs     map[string]bool // directories to be synced
}

// plan works out what each path is before and after.
func (a *applier) plan(changes []Change, meta []File) error {
	a.byPath = map[string]*target{}
	at := func(p string) *target {
		t := a.byPath[p]
		if t == nil {
			t = &target{path: p}
			a.byPath[p] = t
			a.targets = append(a.targets, t)
		}
		return t
	}
	for i := range changes {
		c, m := &changes[i], &meta[i]
		for _, p := range []string{m.OldPath, m.NewPath} {
			if p == "" {
				continue
			}
			if err := CheckPath(p, a.o.Protected); err != nil {
				return err
			}
		}
		if m.OldPath != "" {
			at(m.OldPath).before = state{m.OldMode, m.Before}
		}
		if m.NewPath != "" {
			t := at(m.NewPath)
			t.after, t.change, t.from = state{m.NewMode, m.After}, c, m.OldPath
		}
	}
	slices.SortFunc(a.targets, func(x, y *target) int { return cmp.Compare(x.path, y.path) })
	return nil
}

// readStates compares every path with what it must be before anything is done.
func (a *applier) readStates() error {
	for _, t := range a.targets {
		if err := a.ctx.Err(); err != nil {
			return context.Cause(a.ctx)
		}
		if err := a.checkParents(t.path, false); err != nil {
			return err
		}
		now, err := a.stateOf(t)
		if err != nil {
			return err
		}
		switch {
		case now == t.before:
		case now == t.after && a.o.AllowApplied:
			t.done = true
		default:
			return mismatch(t, now)
		}
	}
	return nil
}

// stateOf reads what is at a path now. A directory counts as nothing: it must
// become empty by the patch itself, or the path cannot be written.
func (a *applier) stateOf(t *target) (state, error) {
	info, err := lstatPlain(a.root, t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	} else if err != nil {
		return state{}, ioError(t.path, err)
	}
	if info.IsDir() {
		return state{}, nil
	}
	mode := modeOf(info)
	if mode == "" {
		return state{mode: "special"}, nil
	}
	t.info = info
	digest, err := a.digestOf(t.path, info)
	return state{mode, digest}, err
}

func (a *applier) digestOf(p string, info fs.FileInfo) (string, error) {
	if modeOf(info) == ModeLink {
		target, err := a.root.Readlink(p)
		if err != nil {
			return "", ioError(p, err)
		}
		return protocol.Digest([]byte(target)), nil
	}
	f, err := openPlain(a.root, p, info)
	if err != nil {
		return "", ioError(p, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", ioError(p, err)
	}
	return protocol.FormatDigest(h.Sum(nil)), nil
}

// checkParents refuses a path that is reached through something that is no
// directory. Before the patch runs, a file or link in the way is fine if the
// patch speaks of it.
func (a *applier) checkParents(p string, running bool) error {
	for i := range len(p) {
		if p[i] != '/' {
			continue
		}
		info, err := a.root.Lstat(p[:i])
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return ioError(p[:i], err)
		}
		if info.IsDir() {
			continue
		}
		if !running && a.byPath[p[:i]] != nil {
			return nil // p is missing, and what is in its way is itself compared
		}
		what := "a file"
		if modeOf(info) == ModeLink {
			what = "a symbolic link"
		}
		return badPath(p, "its directory %s is %s in the workspace", quoteAlways(p[:i]), what)
	}
	return nil
}

func mismatch(t *target, now state) error {
	what := "has other content than when it was planned"
	switch {
	case now == state{}:
		what = "is missing"
	case t.before == state{}:
		what = "exists, but was to be new"
	case now.mode == "special":
		what = "is neither a file nor a link any more"
	case now.digest == t.before.digest:
		what = "has mode " + now.mode + ", planned was " + t.before.mode
	}
	return protocol.Errorf(protocol.ExitStale, "patch_before_mismatch", "the file %s", what).At(quote(t.path)).
		WithHint("the workspace is not the planned one; nothing was changed; plan again")
}

// run stages every new content, then puts all in place.
func (a *applier) run() error {
	if !slices.ContainsFunc(a.targets, func(t *target) bool { return !t.done }) {
		return nil
	}
	if err := a.openStage(); err != nil {
		return err
	}
	for i, t := range a.targets {
		if err := a.ctx.Err(); err != nil {
			return context.Cause(a.ctx)
		}
		if t.done || t.change == nil {
			continue
		}
		if err := a.stageTarget(i, t); err != nil {
			return err
		}
	}
	if err := a.syncDir(a.stage); err != nil {
		return err
	}
	var first, removed, last []*target
	for _, t := range a.targets {
		switch {
		case t.after == state{}:
			removed = append(removed, t)
		case t.done:
		case a.conflicts(t):
			last = append(last, t)
		default:
			first = append(first, t)
		}
	}
	// New contents come before anything goes, so that a kill in between loses
	// nothing; what stands in the place of something that goes comes last.
	slices.Reverse(removed)
	for _, work := range []struct {
		list []*target
		do   func(*target) error
	}{{first, a.install}, {removed, a.remove}, {last, a.install}} {
		for _, t := range work.list {
			if err := work.do(t); err != nil {
				return err
			}
		}
	}
	for dir := range a.dirs {
		if err := a.syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// conflicts says whether a directory that t needs is a file now, or the other way round.
func (a *applier) conflicts(t *target) bool {
	for i := range len(t.path) {
		if t.path[i] == '/' {
			if p := a.byPath[t.path[:i]]; p != nil && p.after == (state{}) {
				return true
			}
		}
	}
	i, _ := slices.BinarySearchFunc(a.targets, t.path+"/", func(x *target, p string) int { return cmp.Compare(x.path, p) })
	return i < len(a.targets) && strings.HasPrefix(a.targets[i].path, t.path+"/")
}
