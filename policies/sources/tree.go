package sources

import (
	"bytes"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/policies"
)

// tree is a file system that is read only where somebody looks.
type tree struct {
	root *node
	// err is the first error of a child or of data: what reads a policy set gives
	// its own for it.
	err error
}

var (
	_ fs.ReadDirFS = (*tree)(nil)
	_ fs.StatFS    = (*tree)(nil)
)

// node is a file or directory. It is its own fs.DirEntry and fs.FileInfo.
type node struct {
	name     string
	mode     fs.FileMode
	children func() ([]*node, error) // of a directory, sorted by name
	data     func() ([]byte, error)  // of a file
	list     []*node                 // what children gave
}

// Name is a part of fs.FileInfo.
func (n *node) Name() string { return n.name }

// IsDir is a part of fs.FileInfo.
func (n *node) IsDir() bool { return n.mode.IsDir() }

// Type is a part of fs.DirEntry.
func (n *node) Type() fs.FileMode { return n.mode.Type() }

// Info is a part of fs.DirEntry.
func (n *node) Info() (fs.FileInfo, error) { return n, nil }

// Size is a part of fs.FileInfo; nobody asks.
func (n *node) Size() int64 { return 0 }

// Mode is a part of fs.FileInfo.
func (n *node) Mode() fs.FileMode { return n.mode }

// ModTime is a part of fs.FileInfo; there is none.
func (n *node) ModTime() time.Time { return time.Time{} }

// Sys is a part of fs.FileInfo.
func (n *node) Sys() any { return nil }

func (t *tree) find(op, name string) (*node, error) {
	fail := func(err error) (*node, error) { return nil, &fs.PathError{Op: op, Path: name, Err: err} }
	if !fs.ValidPath(name) {
		return fail(fs.ErrInvalid)
	}
	at := t.root
	if name == "." {
		return at, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		list, err := t.open(at)
		if err != nil {
			return fail(err)
		}
		i := slices.IndexFunc(list, func(n *node) bool { return n.name == part })
		if i < 0 {
			return fail(fs.ErrNotExist)
		}
		at = list[i]
	}
	return at, nil
}

func (t *tree) open(n *node) ([]*node, error) {
	if n.children == nil {
		return nil, errors.New("not a directory")
	}
	if n.list == nil {
		list, err := n.children()
		if err != nil {
			return nil, t.keep(err)
		}
		n.list = list
	}
	return n.list, nil
}

func (t *tree) keep(err error) error {
	if t.err == nil {
		t.err = err
	}
	return err
}

// Stat gives what a path names.
func (t *tree) Stat(name string) (fs.FileInfo, error) {
	n, err := t.find("stat", name)
	if err != nil {
		return nil, err
	}
	return n, nil
}

// ReadDir lists a directory.
func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.find("readdir", name)
	if err != nil {
		return nil, err
	}
	list, err := t.open(n)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	out := make([]fs.DirEntry, len(list))
	for i, c := range list {
		out[i] = c
	}
	return out, nil
}

// Open opens a file, and of a directory what Stat says.
func (t *tree) Open(name string) (fs.File, error) {
	n, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	f := &opened{node: n, Reader: bytes.NewReader(nil)}
	if n.data != nil {
		data, err := n.data()
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: t.keep(err)}
		}
		f.Reader = bytes.NewReader(data)
	}
	return f, nil
}

type opened struct {
	*bytes.Reader
	node *node
}

// Stat gives the file's node.
func (o *opened) Stat() (fs.FileInfo, error) { return o.node, nil }

// Close does nothing: the file is in memory.
func (o *opened) Close() error { return nil }

// newFiles makes a tree of files whose paths are clean and differ.
func newFiles(files []policies.SetFile) *tree {
	root := &node{name: ".", mode: fs.ModeDir}
	dirs := map[string]*node{".": root}
	var dir func(name string) *node
	dir = func(name string) *node {
		if d, ok := dirs[name]; ok {
			return d
		}
		d := &node{name: path.Base(name), mode: fs.ModeDir}
		dirs[name] = d
		parent := dir(path.Dir(name))
		parent.list = append(parent.list, d)
		return d
	}
	for _, f := range files {
		d := dir(path.Dir(f.Path))
		d.list = append(d.list, &node{name: path.Base(f.Path), data: func() ([]byte, error) { return f.Data, nil }})
	}
	for _, d := range dirs {
		slices.SortFunc(d.list, func(a, b *node) int { return strings.Compare(a.name, b.name) })
		d.children = func() ([]*node, error) { return d.list, nil }
	}
	return &tree{root: root}
}
