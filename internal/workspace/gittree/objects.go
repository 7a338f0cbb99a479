package gittree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// Modes of tree entries that are read.
const (
	modeTree       = "40000"
	modeFile       = "100644"
	modeGroup      = "100664" // written by old versions of git
	modeExecutable = "100755"
)

// entry is one line of a tree.
type entry struct {
	mode, name string
	id         plumbing.Hash
}

// parseTree reads a tree. A name that no file can have is refused.
func parseTree(content []byte) ([]entry, error) {
	var out []entry
	for len(content) > 0 {
		mode, rest, ok := bytes.Cut(content, []byte{' '})
		name, rest, ok2 := bytes.Cut(rest, []byte{0})
		if !ok || !ok2 || len(rest) < len(plumbing.ZeroHash) {
			return nil, errors.New("a tree is malformed")
		}
		e := entry{mode: string(mode), name: string(name)}
		if e.name == "" || e.name == "." || e.name == ".." || strings.Contains(e.name, "/") {
			return nil, fmt.Errorf("a tree has the name %q", clip(e.name))
		}
		copy(e.id[:], rest)
		out = append(out, e)
		content = rest[len(e.id):]
	}
	return out, nil
}

// header is what is needed of a commit.
type header struct {
	tree    plumbing.Hash
	parents []plumbing.Hash
}

func parseCommit(content []byte) (header, error) {
	var h header
	head, _, _ := strings.Cut(string(content), "\n\n")
	for i, line := range strings.Split(head, "\n") {
		key, value, _ := strings.Cut(line, " ")
		if key != "tree" && key != "parent" || (key == "tree") != (i == 0) {
			if i == 0 {
				return h, errors.New("a commit has no tree")
			}
			break // parents come right after the tree
		}
		if !objectID.MatchString(value) {
			return h, errors.New("a commit names something that is no id")
		}
		if key == "tree" {
			h.tree = plumbing.NewHash(value)
			continue
		}
		h.parents = append(h.parents, plumbing.NewHash(value))
	}
	return h, nil
}

// get gives an object's content, and makes sure that it is the one of that id.
func (t *Tree) get(kind plumbing.ObjectType, id plumbing.Hash, most int64) ([]byte, error) {
	o, err := t.store.EncodedObject(kind, id)
	if err != nil {
		return nil, t.unreachable(err)
	}
	if o.Size() > most {
		return nil, &sizeError{o.Size(), most}
	}
	in, err := o.Reader()
	if err != nil {
		return nil, t.unreachable(err)
	}
	defer func() { _ = in.Close() }() // only read
	content, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, t.unreachable(err)
	}
	if plumbing.ComputeHash(kind, content) != id {
		return nil, t.unreachable(fmt.Errorf("object %s is damaged", id))
	}
	return content, nil
}

// sizeError is an object that is larger than it may be.
type sizeError struct{ size, most int64 }

func (e *sizeError) Error() string {
	return fmt.Sprintf("it has %d bytes, more than %d", e.size, e.most)
}
