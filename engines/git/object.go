package git

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
)

// Modes of tree entries beside those of package patch.
const (
	modeTree     = "40000"
	modeGroup    = "100664" // written by old versions of git; the same as 100644
	modeGitlink  = "160000"
	headerParent = "parent "
)

// object is a git object: its kind and what it holds.
type object struct {
	kind    plumbing.ObjectType
	content []byte
}

// objects are objects by id, in the order in which they were added.
type objects struct {
	order []plumbing.Hash
	byID  map[plumbing.Hash]object
}

func newObjects() *objects { return &objects{byID: map[plumbing.Hash]object{}} }

// add takes an object and gives its id. What is there already is not added again.
func (o *objects) add(kind plumbing.ObjectType, content []byte) plumbing.Hash {
	id := plumbing.ComputeHash(kind, content)
	if _, ok := o.byID[id]; !ok {
		o.byID[id] = object{kind, content}
		o.order = append(o.order, id)
	}
	return id
}

// get gives an object's content.
func (o *objects) get(kind plumbing.ObjectType, id plumbing.Hash) ([]byte, error) {
	x, ok := o.byID[id]
	if !ok || x.kind != kind {
		return nil, fmt.Errorf("there is no %s %s", kind, id)
	}
	return x.content, nil
}

// entry is one line of a tree.
type entry struct {
	name string
	mode string
	id   plumbing.Hash
}

func (e *entry) isTree() bool { return e.mode == modeTree }

// sortKey is the name by which git sorts: a directory's has a slash at the end.
func (e *entry) sortKey() string {
	if e.isTree() {
		return e.name + "/"
	}
	return e.name
}

var errTree = errors.New("the tree is malformed")

// parseTree reads a tree strictly: what encodeTree makes of it is the same bytes.
func parseTree(content []byte) ([]entry, error) {
	var out []entry
	seen := map[string]bool{}
	for len(content) > 0 {
		space := bytes.IndexByte(content, ' ')
		if space < 0 {
			return nil, errTree
		}
		null := bytes.IndexByte(content[space:], 0)
		if null < 0 || len(content) < space+null+1+len(plumbing.ZeroHash) {
			return nil, errTree
		}
		e := entry{mode: string(content[:space]), name: string(content[space+1 : space+null])}
		content = content[space+null+1:]
		copy(e.id[:], content)
		content = content[len(e.id):]
		switch e.mode {
		case modeTree, patch.ModeFile, modeGroup, patch.ModeExecutable, patch.ModeLink, modeGitlink:
		default:
			return nil, fmt.Errorf("%w: it has mode %q", errTree, e.mode)
		}
		if e.name == "" || e.name == "." || e.name == ".." || strings.Contains(e.name, "/") || seen[e.name] {
			return nil, fmt.Errorf("%w: it has a name that no file can have, or one twice: %q", errTree, e.name)
		}
		if n := len(out); n > 0 && out[n-1].sortKey() >= e.sortKey() {
			return nil, fmt.Errorf("%w: it is not sorted", errTree)
		}
		seen[e.name] = true
		out = append(out, e)
	}
	return out, nil
}

// encodeTree writes a tree; the entries may stand in any order.
func encodeTree(entries []entry) []byte {
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.sortKey(), b.sortKey()) })
	var out []byte
	for i := range entries {
		e := &entries[i]
		out = append(out, e.mode...)
		out = append(out, ' ')
		out = append(out, e.name...)
		out = append(out, 0)
		out = append(out, e.id[:]...)
	}
	return out
}

// commit is what a commit object says, as far as it matters here.
type commit struct {
	tree      plumbing.Hash
	parents   []plumbing.Hash
	when      int64  // committer's time, in seconds
	signature string // gpgsig, without the leading spaces
}

var errCommit = errors.New("the commit is malformed")

// parseCommit reads the headers of any commit.
func parseCommit(content []byte) (*commit, error) {
	if len(content) > limits.GitCommitBytes {
		return nil, fmt.Errorf("%w: it is larger than %d bytes", errCommit, limits.GitCommitBytes)
	}
	head, _, ok := strings.Cut(string(content), "\n\n")
	if !ok {
		if head, ok = strings.CutSuffix(head, "\n"); !ok {
			return nil, errCommit
		}
	}
	c := &commit{}
	lines := strings.Split(head, "\n")
	rest, ok := strings.CutPrefix(lines[0], "tree ")
	if c.tree, ok = parseID(rest, ok); !ok {
		return nil, fmt.Errorf("%w: it has no tree", errCommit)
	}
	found, at := false, ""
	for _, line := range lines[1:] {
		key, value, _ := strings.Cut(line, " ")
		switch {
		case key == "" && at == "gpgsig":
			c.signature += "\n" + value
			continue
		case key == "parent":
			id, ok := parseID(value, true)
			if !ok {
				return nil, fmt.Errorf("%w: it has a parent that is no id", errCommit)
			}
			c.parents = append(c.parents, id)
		case key == "committer" && !found:
			if c.when, found = parseWhen(value); !found {
				return nil, fmt.Errorf("%w: its committer has no date", errCommit)
			}
		case key == "gpgsig":
			c.signature = value
		}
		at = key
	}
	if !found {
		return nil, fmt.Errorf("%w: it has no committer", errCommit)
	}
	return c, nil
}

// parseWhen reads the seconds of "name <mail> seconds zone".
func parseWhen(line string) (int64, bool) {
	i := strings.LastIndexByte(line, '>')
	if i < 0 {
		return 0, false
	}
	fields := strings.Fields(line[i+1:])
	if len(fields) != 2 {
		return 0, false
	}
	n, err := strconv.ParseInt(fields[0], 10, 64)
	return n, err == nil && n >= 0 && n < maxTime
}

// maxTime is the first second of the year 10000, which RFC 3339 cannot write.
const maxTime = 253402300800

// parseID reads a full id in lower case.
func parseID(s string, ok bool) (plumbing.Hash, bool) {
	if !ok || len(s) != 40 || strings.Trim(s, "0123456789abcdef") != "" {
		return plumbing.ZeroHash, false
	}
	id := plumbing.NewHash(s)
	return id, !id.IsZero()
}

// encodeCommit writes the commit that the settings ask for.
func (s *settings) encodeCommit(tree, parent plumbing.Hash, when int64, signature string) []byte {
	var b bytes.Buffer
	date := strconv.FormatInt(when, 10) + " +0000"
	b.WriteString("tree " + tree.String() + "\n")
	b.WriteString(headerParent + parent.String() + "\n")
	b.WriteString("author " + s.author.String() + " " + date + "\n")
	b.WriteString("committer " + s.committer.String() + " " + date + "\n")
	if signature != "" {
		b.WriteString("gpgsig " + strings.ReplaceAll(signature, "\n", "\n ") + "\n")
	}
	b.WriteString("\n" + s.fullMessage())
	return b.Bytes()
}
