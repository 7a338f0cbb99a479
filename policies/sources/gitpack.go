package sources

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1" //nolint:gosec // the checksum of git's format; ids are computed with collision detection
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"

	"github.com/cabincrew/action/internal/limits"
)

const packHeader = 12

var errPack = errors.New("the pack is damaged")

type packed struct {
	kind    plumbing.ObjectType
	content []byte
}

// pack holds the objects of a pack by the ids that they hash to.
type pack struct {
	where   string
	objects map[plumbing.Hash]packed
	waiting map[plumbing.Hash][][]byte // deltas by the id of their base
	left    int64                      // bytes that may still be inflated
}

// readPack reads a pack as a remote sends it: whole, or with deltas against objects
// that are in it too.
func readPack(data []byte, where string) (*pack, error) {
	if len(data) < packHeader+sha1.Size || string(data[:4]) != "PACK" || binary.BigEndian.Uint32(data[4:]) != 2 {
		return nil, fmt.Errorf("%w: it is no pack of version 2", errPack)
	}
	count := binary.BigEndian.Uint32(data[8:])
	if count > limits.SourceGitObjects {
		return nil, fmt.Errorf("%w: it has more than %d objects", errPack, limits.SourceGitObjects)
	}
	body, sum := data[:len(data)-sha1.Size], data[len(data)-sha1.Size:]
	if got := sha1.Sum(body); !bytes.Equal(got[:], sum) { //nolint:gosec // as above
		return nil, fmt.Errorf("%w: its checksum is wrong", errPack)
	}
	p := &pack{where: where, objects: map[plumbing.Hash]packed{}, waiting: map[plumbing.Hash][][]byte{}, left: limits.SourceGitContent}
	r := bytes.NewReader(body[packHeader:])
	for range count {
		if err := p.next(r); err != nil {
			return nil, err
		}
	}
	if r.Len() != 0 {
		return nil, fmt.Errorf("%w: there are bytes behind its objects", errPack)
	}
	if len(p.waiting) > 0 {
		return nil, fmt.Errorf("%w: it lacks the base of a delta", errPack)
	}
	return p, nil
}

// next reads one object or delta.
func (p *pack) next(r *bytes.Reader) error {
	b, err := r.ReadByte()
	if err != nil {
		return fmt.Errorf("%w: it ends early", errPack)
	}
	kind, size := plumbing.ObjectType(b>>4&7), int64(b&15)
	for shift := 4; b&0x80 != 0; shift += 7 {
		if b, err = r.ReadByte(); err != nil || shift > 40 {
			return fmt.Errorf("%w: a size in it is malformed", errPack)
		}
		size |= int64(b&0x7f) << shift
	}
	var base plumbing.Hash
	switch kind { //nolint:exhaustive // the default refuses: what was not asked for
	case plumbing.CommitObject, plumbing.TreeObject, plumbing.BlobObject, plumbing.TagObject:
	case plumbing.REFDeltaObject:
		if _, err := io.ReadFull(r, base[:]); err != nil {
			return fmt.Errorf("%w: it ends early", errPack)
		}
	default:
		return fmt.Errorf("%w: it has an object of kind %d", errPack, kind)
	}
	if size > p.left {
		return fmt.Errorf("%w: its objects have more than %d bytes", errPack, limits.SourceGitContent)
	}
	p.left -= size
	z, err := zlib.NewReader(r)
	if err != nil {
		return fmt.Errorf("%w: %w", errPack, err)
	}
	var content bytes.Buffer
	if n, err := io.Copy(&content, io.LimitReader(z, size+1)); err != nil || n != size {
		return fmt.Errorf("%w: an object has another size than it says", errPack)
	}
	if kind != plumbing.REFDeltaObject {
		return p.add(packed{kind, content.Bytes()})
	}
	if found, ok := p.objects[base]; ok {
		return p.apply(found, content.Bytes())
	}
	p.waiting[base] = append(p.waiting[base], content.Bytes())
	return nil
}

// add takes an object, and whatever waits for it.
func (p *pack) add(first packed) error {
	for todo := []packed{first}; len(todo) > 0; {
		o := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		id := plumbing.ComputeHash(o.kind, o.content)
		p.objects[id] = o
		deltas := p.waiting[id]
		delete(p.waiting, id)
		for _, d := range deltas {
			made, err := p.patched(o, d)
			if err != nil {
				return err
			}
			todo = append(todo, made)
		}
	}
	return nil
}

func (p *pack) apply(base packed, delta []byte) error {
	made, err := p.patched(base, delta)
	if err != nil {
		return err
	}
	return p.add(made)
}

// patched makes an object of its base and a delta, whose result is bounded before
// it is made.
func (p *pack) patched(base packed, delta []byte) (packed, error) {
	from, rest := deltaSize(delta)
	to, _ := deltaSize(rest)
	if from != int64(len(base.content)) || to < 0 || to > p.left {
		return packed{}, fmt.Errorf("%w: a delta does not fit, or its result has more than %d bytes", errPack, limits.SourceGitContent)
	}
	p.left -= to
	content, err := packfile.PatchDelta(base.content, delta)
	if err != nil || int64(len(content)) != to {
		return packed{}, fmt.Errorf("%w: a delta is malformed", errPack)
	}
	return packed{base.kind, content}, nil
}

// deltaSize reads a number of a delta's head; -1 if it is malformed.
func deltaSize(d []byte) (int64, []byte) {
	var n int64
	for i, b := range d {
		if i > 5 {
			break
		}
		n |= int64(b&0x7f) << (7 * i)
		if b&0x80 == 0 {
			return n, d[i+1:]
		}
	}
	return -1, nil
}

func (p *pack) get(kind plumbing.ObjectType, id plumbing.Hash, most int64) ([]byte, error) {
	o, ok := p.objects[id]
	switch {
	case !ok && kind == plumbing.BlobObject:
		return nil, errTooLarge // it was not asked for because of its size
	case !ok:
		return nil, badRepository(p.where, "the remote did not send object %s", id)
	case o.kind != kind:
		return nil, errKind
	case int64(len(o.content)) > most:
		return nil, errTooLarge
	}
	return o.content, nil
}
