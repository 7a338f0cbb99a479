package git

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/cabincrew/action/internal/limits"
)

const bundleSignature = "# v2 git bundle"

// bundle is a git bundle of version 2 with one reference and one prerequisite.
type bundle struct {
	commit plumbing.Hash
	parent plumbing.Hash
	ref    string
	pack   []byte
	*objects
}

var errBundle = errors.New("the bundle is damaged")

func encodeBundle(parent, commit plumbing.Hash, ref string, o *objects) ([]byte, error) {
	pack, err := encodePack(o)
	if err != nil {
		return nil, err
	}
	head := bundleSignature + "\n-" + parent.String() + " \n" + commit.String() + " " + ref + "\n\n"
	return append([]byte(head), pack...), nil
}

// decodeBundle reads a bundle as encodeBundle writes it, and nothing else.
func decodeBundle(data []byte) (*bundle, error) {
	end := bytes.Index(data[:min(len(data), limits.GitBundleHeaderBytes)], []byte("\n\n"))
	if end < 0 {
		return nil, fmt.Errorf("%w: it has no header", errBundle)
	}
	lines := strings.Split(string(data[:end]), "\n")
	if len(lines) != 3 || lines[0] != bundleSignature {
		return nil, fmt.Errorf("%w: it is not of version 2 with one parent and one branch", errBundle)
	}
	b := &bundle{pack: data[end+2:]}
	parent, ok := strings.CutPrefix(lines[1], "-")
	parent, space := strings.CutSuffix(parent, " ")
	if b.parent, ok = parseID(parent, ok && space); !ok {
		return nil, fmt.Errorf("%w: its parent is no full id", errBundle)
	}
	id, ref, ok := strings.Cut(lines[2], " ")
	if b.commit, ok = parseID(id, ok); !ok {
		return nil, fmt.Errorf("%w: its commit is no full id", errBundle)
	}
	branch, ok := strings.CutPrefix(ref, branchPrefix)
	if !ok || checkBranch(branch) != nil {
		return nil, fmt.Errorf("%w: its reference is no branch", errBundle)
	}
	b.ref = ref
	var err error
	if b.objects, err = decodePack(b.pack); err != nil {
		return nil, fmt.Errorf("%w: %w", errBundle, err)
	}
	return b, nil
}
