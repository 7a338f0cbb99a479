package patch

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// pair is one file that differs between two trees; old or new may be nil.
type pair struct{ old, new *Entry }

// Make writes the patch that turns the old tree into the new one and gives the
// description of its files, both in the order of paths. It depends on nothing
// but the two trees, whose entries must be sorted by path, as Scan gives them.
func Make(ctx context.Context, oldDir string, old []Entry, newDir string, newer []Entry, w io.Writer) ([]File, error) {
	pairs := comparePairs(old, newer)
	if len(pairs) > limits.PatchFiles {
		return nil, protocol.Errorf(protocol.ExitUsage, "patch_too_large", "more than %d files changed", limits.PatchFiles).
			WithHint("split the step, or narrow its inputs")
	}
	oldRoot, err := os.OpenRoot(oldDir)
	if err != nil {
		return nil, ioError(oldDir, err)
	}
	defer func() { _ = oldRoot.Close() }() // it was only read
	newRoot, err := os.OpenRoot(newDir)
	if err != nil {
		return nil, ioError(newDir, err)
	}
	defer func() { _ = newRoot.Close() }() // it was only read
	files := make([]File, 0, len(pairs))
	var total int64
	for _, p := range pairs {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		var b bytes.Buffer
		f, err := writeFile(&b, oldRoot, newRoot, p)
		if err != nil {
			return nil, err
		}
		if total += int64(b.Len()); total > limits.PatchBytes {
			return nil, protocol.Errorf(protocol.ExitUsage, "patch_too_large", "the patch is larger than %d bytes", limits.PatchBytes).
				WithHint("split the step, or narrow its inputs")
		}
		if _, err := w.Write(b.Bytes()); err != nil {
			return nil, ioError(f.Path(), err)
		}
		files = append(files, f)
	}
	return files, nil
}

// comparePairs finds what differs, with renames, in the order of paths.
func comparePairs(old, newer []Entry) []pair {
	var changed, added, deleted []pair
	i, j := 0, 0
	for i < len(old) || j < len(newer) {
		switch {
		case j == len(newer) || i < len(old) && old[i].Path < newer[j].Path:
			deleted = append(deleted, pair{old: &old[i]})
			i++
		case i == len(old) || newer[j].Path < old[i].Path:
			added = append(added, pair{new: &newer[j]})
			j++
		default:
			a, b := &old[i], &newer[j]
			switch {
			case (a.Letter == 'l') != (b.Letter == 'l'): // as git: the old one goes, a new one comes
				changed = append(changed, pair{old: a}, pair{new: b})
			case a.Letter != b.Letter || a.Digest != b.Digest:
				changed = append(changed, pair{a, b})
			}
			i, j = i+1, j+1
		}
	}
	out := slices.Concat(changed, findRenames(deleted, added))
	slices.SortStableFunc(out, func(a, b pair) int { return cmp.Compare(a.path(), b.path()) })
	return out
}

func (p pair) path() string {
	if p.new != nil {
		return p.new.Path
	}
	return p.old.Path
}

// renameKey is what a deleted and an added file have in common to be a rename.
type renameKey struct {
	digest string
	base   string // last element of the path, or empty to join whatever the name
}

// findRenames joins deleted and added files of the same bytes: first those of
// the same last element, then the others, always in the order of paths. Empty
// files are never joined, as git does; nor are links, since "git apply" does not
// see from a rename that the link goes and makes room for a directory.
func findRenames(deleted, added []pair) []pair {
	for _, sameBase := range []bool{true, false} {
		keyOf := func(e *Entry) renameKey {
			k := renameKey{digest: e.Digest}
			if sameBase {
				k.base = path.Base(e.Path)
			}
			return k
		}
		candidates := map[renameKey][]*Entry{}
		for _, d := range deleted {
			if d.old.Size > 0 && d.old.Letter != 'l' {
				candidates[keyOf(d.old)] = append(candidates[keyOf(d.old)], d.old)
			}
		}
		joined := map[*Entry]bool{}
		for i := range added {
			k := keyOf(added[i].new)
			if list := candidates[k]; added[i].old == nil && added[i].new.Letter != 'l' && len(list) > 0 {
				added[i].old, candidates[k] = list[0], list[1:]
				joined[list[0]] = true
			}
		}
		deleted = slices.DeleteFunc(deleted, func(d pair) bool { return joined[d.old] })
	}
	return slices.Concat(added, deleted)
}

// writeFile writes the part of the patch for one file.
func writeFile(b *bytes.Buffer, oldRoot, newRoot *os.Root, p pair) (File, error) {
	f := describe(p)
	for _, name := range []string{f.OldPath, f.NewPath} {
		if name == "" {
			continue
		}
		if err := CheckPath(name, nil); err != nil {
			return f, err
		}
	}
	var before, after []byte
	var err error
	same := p.old != nil && p.new != nil && p.old.Digest == p.new.Digest
	if p.old != nil && !same {
		if before, err = readEntry(oldRoot, p.old); err != nil {
			return f, err
		}
	}
	if p.new != nil && !same {
		if after, err = readEntry(newRoot, p.new); err != nil {
			return f, err
		}
	}
	f.Binary = !same && f.OldMode != ModeLink && f.NewMode != ModeLink && (isBinary(before) || isBinary(after))
	writeHeader(b, &f)
	if same {
		return f, nil
	}
	b.WriteString("index " + idOf(p.old, before) + ".." + idOf(p.new, after))
	if f.OldMode == f.NewMode {
		b.WriteString(" " + f.NewMode)
	}
	b.WriteByte('\n')
	switch {
	case f.Binary:
		b.WriteString("GIT binary patch\n")
		if err := writeBinary(b, after); err != nil {
			return f, err
		}
		return f, writeBinary(b, before)
	case len(before) > 0 || len(after) > 0:
		b.WriteString("--- " + label("a/", f.OldPath) + "\n+++ " + label("b/", f.NewPath) + "\n")
		f.Added, f.Deleted = writeHunks(b, string(before), string(after))
	}
	return f, nil
}

func describe(p pair) File {
	var f File
	if p.old != nil {
		f.OldPath, f.OldMode, f.Before = p.old.Path, p.old.mode(), p.old.Digest
	}
	if p.new != nil {
		f.NewPath, f.NewMode, f.After = p.new.Path, p.new.mode(), p.new.Digest
	}
	switch {
	case p.old == nil:
		f.Op = Add
	case p.new == nil:
		f.Op = Delete
	case f.OldPath != f.NewPath:
		f.Op = Rename
	default:
		f.Op = Modify
	}
	return f
}

// writeHeader writes the lines up to "index", in git's order.
func writeHeader(b *bytes.Buffer, f *File) {
	from, to := cmp.Or(f.OldPath, f.NewPath), cmp.Or(f.NewPath, f.OldPath)
	b.WriteString("diff --git " + diffNames(from, to) + "\n")
	switch {
	case f.Op == Add:
		b.WriteString("new file mode " + f.NewMode + "\n")
	case f.Op == Delete:
		b.WriteString("deleted file mode " + f.OldMode + "\n")
	case f.OldMode != f.NewMode:
		b.WriteString("old mode " + f.OldMode + "\nnew mode " + f.NewMode + "\n")
	}
	if f.Op == Rename {
		b.WriteString("similarity index 100%\nrename from " + quote(from) + "\nrename to " + quote(to) + "\n")
	}
}

// diffNames gives the names of the diff line. Git splits an unquoted line at
// spaces and slashes, and writes lines that it cannot read itself where both
// meet in a name; quoted, it can.
func diffNames(from, to string) string {
	if from == to && (strings.Contains("/"+from+"/", " /") || strings.Contains("/"+from+"/", "/ ") || strings.Contains(from, " b/")) {
		return quoteAlways("a/"+from) + " " + quoteAlways("b/"+to)
	}
	return quote("a/"+from) + " " + quote("b/"+to)
}

func idOf(e *Entry, content []byte) string {
	if e == nil {
		return zeroID
	}
	return blobID(content)
}

// label gives the name for a --- or +++ line. As git does, a name with a space
// is followed by a tab, since other tools end the name at a space.
func label(prefix, p string) string {
	if p == "" {
		return "/dev/null"
	}
	name := quote(prefix + p)
	if strings.Contains(name, " ") {
		name += "\t"
	}
	return name
}
