package oci

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
)

// kind of a node.
type kind uint8

const (
	directory kind = iota
	file
	symlink
	omitted // a device, FIFO or socket: hides what was there, but is not made
)

// never is the layer of what no layer has done.
const never = -1

// node is one name of the tree that is being unpacked. The tree in memory and
// the one on the disk are the same, for nobody else writes there; so what an
// entry means is decided without asking a file system that could follow links.
type node struct {
	parent   *node
	children map[string]*node // of a directory
	name     string
	target   string // of a symlink, as the archive has it
	mtime    int64  // seconds
	mode     os.FileMode
	depth    int
	length   int // bytes of the path
	born     int // layer that made the node
	declared int // layer that last had an entry for it; never: implied by entries below it
	pruned   int // layer whose whiteout has gone through the directory
	kind     kind
}

var (
	errNotFound     = errors.New("there is no such file in the tree")
	errNotDirectory = errors.New("a parent is not a directory")
	errTwice        = errors.New("its layer has another entry in the same place")
)

// tree is a root file system that grows layer by layer.
type tree struct {
	root   *node
	disk   *os.Root
	limits Limits
	layer  int
	nodes  int // made so far; removed ones count, the work was done

	at     *node // directory that handle is open for
	handle *os.Root
}

func newTree(disk *os.Root, l Limits) *tree {
	root := &node{kind: directory, mode: 0o755, born: never, declared: never, pruned: never, children: map[string]*node{}}
	return &tree{root: root, disk: disk, limits: l}
}

func (t *tree) close() {
	if t.handle != nil {
		_ = t.handle.Close() // only a handle
	}
	t.at, t.handle = nil, nil
}

func (n *node) path() string {
	if n.parent == nil {
		return "."
	}
	var elements []string
	for ; n.parent != nil; n = n.parent {
		elements = append(elements, n.name)
	}
	slices.Reverse(elements)
	return strings.Join(elements, "/")
}

// open gives a handle of a directory, so that work in it needs no walk.
func (t *tree) open(dir *node) (*os.Root, error) {
	if t.at == dir && t.handle != nil {
		return t.handle, nil
	}
	handle, err := t.disk.OpenRoot(dir.path())
	if err != nil {
		return nil, err
	}
	t.close()
	t.at, t.handle = dir, handle
	return handle, nil
}

// count bounds the number of entries.
func (t *tree) count() error {
	if t.nodes++; t.nodes > t.limits.Files {
		return errTooMany
	}
	return nil
}

var errTooMany = errors.New("too many entries")

// walk gives the directory that a path leads to, as a process would see it that
// is chrooted into the tree: links are followed, ".." ends at the root. Missing
// directories are made if create is set.
func (t *tree) walk(path []string, create bool) (*node, error) {
	at, hops, steps := t.root, 0, 0
	for rest := path; len(rest) > 0; steps++ {
		if steps > limits.OCILinkHops*limits.OCIDepth {
			return nil, errors.New("its symbolic links have too many elements")
		}
		name := rest[0]
		rest = rest[1:]
		if name == ".." && at.parent != nil {
			at = at.parent
		}
		if name == "" || name == "." || name == ".." {
			continue
		}
		next := at.children[name]
		if next == nil {
			if !create {
				return nil, errNotFound
			}
			made, err := t.mkdir(at, name)
			if err != nil {
				return nil, err
			}
			next = made
		}
		switch next.kind {
		case directory:
			at = next
		case symlink:
			if hops++; hops > limits.OCILinkHops {
				return nil, fmt.Errorf("more than %d symbolic links lead there", limits.OCILinkHops)
			}
			if strings.HasPrefix(next.target, "/") {
				at = t.root
			}
			rest = append(strings.Split(next.target, "/"), rest...)
		case file, omitted:
			return nil, errNotDirectory
		}
	}
	return at, nil
}

// child makes a node in memory.
func (t *tree) child(dir *node, name string, k kind) (*node, error) {
	if err := t.count(); err != nil {
		return nil, err
	}
	n := &node{
		parent: dir, name: name, kind: k, depth: dir.depth + 1, length: dir.length + 1 + len(name),
		born: t.layer, declared: never, pruned: never,
	}
	// A link's target can make a path longer than its entry's name.
	if n.depth > t.limits.Depth || n.length > t.limits.PathBytes+1 || len(name) > limits.OCINameBytes {
		return nil, fmt.Errorf("its place is deeper than %d or longer than %d bytes", t.limits.Depth, t.limits.PathBytes)
	}
	if k == directory {
		n.children, n.mode = map[string]*node{}, 0o755
	}
	return n, nil
}

func (t *tree) mkdir(dir *node, name string) (*node, error) {
	n, err := t.child(dir, name, directory)
	if err != nil {
		return nil, err
	}
	in, err := t.open(dir)
	if err != nil {
		return nil, err
	}
	if err := in.Mkdir(name, 0o700); err != nil {
		return nil, err
	}
	dir.children[name] = n
	return n, nil
}

// clear makes a place free for an entry of this layer. What a lower layer left
// there goes away; what this layer has there may not be replaced.
func (t *tree) clear(dir *node, name string) error {
	old := dir.children[name]
	switch {
	case old == nil:
		return nil
	case old.declared == t.layer || t.touched(old):
		return errTwice
	}
	return t.remove(old)
}

// touched says whether this layer made anything at or below a node.
func (t *tree) touched(n *node) bool {
	if n.born == t.layer || n.declared == t.layer {
		return true
	}
	for _, c := range n.children {
		if t.touched(c) {
			return true
		}
	}
	return false
}

func (t *tree) remove(n *node) error {
	t.close() // the handle may be of a directory that goes
	if n.kind != omitted {
		if err := t.disk.RemoveAll(n.path()); err != nil {
			return err
		}
	}
	delete(n.parent.children, n.name)
	return nil
}

// hide is the whiteout of a name: it hides what lower layers have there.
func (t *tree) hide(dir *node, name string) error {
	n := dir.children[name]
	if n == nil || n.born == t.layer {
		return nil
	}
	if n.kind == directory {
		if err := t.prune(n); err != nil {
			return err
		}
		if n.declared == t.layer {
			return nil
		}
		if len(n.children) > 0 { // its layer has something below it
			n.mode, n.mtime, n.declared = 0o755, 0, never
			return nil
		}
	}
	return t.remove(n)
}

// prune removes what lower layers have in a directory. Each directory is gone
// through once in a layer: what it holds afterwards is the layer's own.
func (t *tree) prune(dir *node) error {
	if dir.pruned == t.layer || dir.born == t.layer {
		return nil
	}
	dir.pruned = t.layer
	for _, name := range sorted(dir.children) {
		if err := t.hide(dir, name); err != nil {
			return err
		}
	}
	return nil
}

// finish sets modes and times that were kept back because work in a directory
// changes them.
func (t *tree) finish(dir *node, in *os.Root) error {
	self, err := in.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = self.Close() }() // only a handle
	for _, name := range sorted(dir.children) {
		n := dir.children[name]
		switch n.kind {
		case symlink:
			err = linkTime(self, name, time.Unix(n.mtime, 0))
		case directory:
			err = t.finishBelow(n, in)
		case file, omitted:
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) finishBelow(n *node, in *os.Root) error {
	below, err := in.OpenRoot(n.name)
	if err != nil {
		return err
	}
	err = t.finish(n, below)
	_ = below.Close() // only a handle
	if err == nil {
		err = in.Chmod(n.name, n.mode)
	}
	if err == nil {
		err = in.Chtimes(n.name, time.Unix(n.mtime, 0), time.Unix(n.mtime, 0))
	}
	return err
}

func sorted(children map[string]*node) []string {
	names := make([]string, 0, len(children))
	for name := range children {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
