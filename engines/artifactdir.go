package engines

import (
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/schemas"
)

// batch is one collection: what the artifacts of one receipt have in common.
type batch struct {
	Collector
	from, to *os.Root
	top      *os.File // from itself
	budget   atomic.Int64
	buffers  sync.Pool // of *[]byte, for bodies
	mu       sync.Mutex
	known    map[string]protocol.Artifact // small descriptions that fit, by their bytes
}

// knownBytes bounds descriptions that are kept, since many artifacts have the same.
const knownBytes = 1 << 10

// described reads a description and holds it to the protocol. The same bytes give the
// same answer, so they are looked at once.
func (b *batch) described(name string, raw []byte) (protocol.Artifact, error) {
	b.mu.Lock()
	d, ok := b.known[string(raw)]
	b.mu.Unlock()
	if ok {
		return d, nil
	}
	tree, err := protocol.DecodeTree(raw, &d)
	if err != nil {
		return d, b.fail("artifact_malformed", name, "artifact.json cannot be read: %s", printable(err.Error()))
	}
	if err := schemas.ValidateValue("artifact", tree); err != nil {
		return d, b.fail("artifact_invalid", name, "artifact.json does not follow the protocol: %s", printable(err.Error()))
	}
	if d.BodyFile != "" {
		if !plainName(d.BodyFile) {
			return d, b.fail("artifact_body_file", name, "body_file %q is not a plain file name", printable(d.BodyFile))
		}
		// A body beside a body_file would let a judge see one and a take-off use the other.
		if _, both := tree.(map[string]any)["body"]; both {
			return d, b.fail("artifact_body", name, "body and body_file exclude each other")
		}
	}
	// Maps are not shared between artifacts.
	if d.Body == nil && d.Metadata == nil && len(raw) <= knownBytes {
		b.mu.Lock()
		b.known[string(raw)] = d
		b.mu.Unlock()
	}
	return d, nil
}

// buffer gives a buffer that release takes back.
func (b *batch) buffer() *[]byte {
	if buf, ok := b.buffers.Get().(*[]byte); ok {
		return buf
	}
	return new([]byte)
}

func (b *batch) release(buf *[]byte) { b.buffers.Put(buf) }

// artifactDir is an artifact's directory. Small files that are just what they should be are
// read from it with few calls (see quick); whatever is otherwise is looked at through
// an os.Root, which says what is wrong.
type artifactDir struct {
	from *os.Root
	name string
	quick
	root *os.Root // nil until it is needed
}

func (b *batch) enter(name string) *artifactDir {
	return &artifactDir{from: b.from, name: name, quick: enterQuick(b.top, name)}
}

func (r *artifactDir) close() {
	r.quick.close()
	if r.root != nil {
		_ = r.root.Close() // only read
	}
}

// slow opens the directory as an os.Root, once, so that each file is one step away.
func (r *artifactDir) slow() (_ *os.Root, err error) {
	if r.root == nil {
		r.root, err = r.from.OpenRoot(r.name)
	}
	return r.root, err
}

// names gives at most one name more than that many.
func (r *artifactDir) names(most int) ([]string, error) {
	if names, ok := r.quick.names(most + 1); ok {
		return names, nil
	}
	dir, err := r.slow()
	if err != nil {
		return nil, err
	}
	return namesIn(dir, most)
}

// open is OpenRegular in this directory.
func (r *artifactDir) open(name string) (*os.File, fs.FileInfo, error) {
	dir, err := r.slow()
	if err != nil {
		return nil, nil, err
	}
	return OpenRegular(dir, name)
}
