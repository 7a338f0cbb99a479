package git

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1" //nolint:gosec // the checksum that git's format asks for; ids are computed with collision detection
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/cabincrew/action/internal/limits"
)

const (
	packHeader  = 12
	packVersion = 2
)

var errPack = errors.New("the pack is damaged")

// encodePack writes objects as a pack without deltas, in their order, so that the
// same objects give the same bytes.
func encodePack(o *objects) ([]byte, error) {
	var out bytes.Buffer
	out.WriteString("PACK")
	out.Write(binary.BigEndian.AppendUint32(nil, packVersion))
	out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(o.order)))) //nolint:gosec // bounded by limits.GitObjects
	z := zlib.NewWriter(&out)
	for _, id := range o.order {
		x := o.byID[id]
		writePackHeader(&out, x.kind, len(x.content))
		z.Reset(&out)
		_, err := z.Write(x.content)
		if err := errors.Join(err, z.Close()); err != nil {
			return nil, fmt.Errorf("compressing %s: %w", id, err)
		}
		if out.Len() > limits.GitBundleBytes {
			return nil, tooLarge("the new objects are larger than %d bytes", limits.GitBundleBytes)
		}
	}
	sum := sha1.Sum(out.Bytes()) //nolint:gosec // as above
	out.Write(sum[:])
	return out.Bytes(), nil
}

func writePackHeader(out *bytes.Buffer, kind plumbing.ObjectType, size int) {
	b, size := byte(kind)<<4|byte(size&15), size>>4 //nolint:gosec // the kinds of objects are 1 to 4
	for ; size > 0; size >>= 7 {
		out.WriteByte(b | 0x80)
		b = byte(size & 0x7f)
	}
	out.WriteByte(b)
}

// decodePack reads a pack as encodePack writes it: no deltas, no tags, nothing
// twice, nothing behind it. Every id is computed anew.
func decodePack(data []byte) (*objects, error) {
	if len(data) < packHeader+sha1.Size || string(data[:4]) != "PACK" || binary.BigEndian.Uint32(data[4:]) != packVersion {
		return nil, fmt.Errorf("%w: it is no pack of version %d", errPack, packVersion)
	}
	count := binary.BigEndian.Uint32(data[8:])
	if count > limits.GitObjects {
		return nil, fmt.Errorf("%w: it has more than %d objects", errPack, limits.GitObjects)
	}
	body, sum := data[:len(data)-sha1.Size], data[len(data)-sha1.Size:]
	if got := sha1.Sum(body); !bytes.Equal(got[:], sum) { //nolint:gosec // as above
		return nil, fmt.Errorf("%w: its checksum is wrong", errPack)
	}
	r := bytes.NewReader(body[packHeader:])
	out := newObjects()
	left := int64(limits.GitContentBytes)
	for range count {
		kind, content, err := readPacked(r, left)
		if err != nil {
			return nil, err
		}
		left -= int64(len(content))
		out.add(kind, content)
	}
	if r.Len() != 0 || len(out.order) != int(count) {
		return nil, fmt.Errorf("%w: it has an object twice, or bytes behind its objects", errPack)
	}
	return out, nil
}

// readPacked reads one object that is no larger than limit, in bytes.
func readPacked(r *bytes.Reader, limit int64) (plumbing.ObjectType, []byte, error) {
	b, err := r.ReadByte()
	if err != nil {
		return 0, nil, fmt.Errorf("%w: it ends early", errPack)
	}
	kind, size := plumbing.ObjectType(b>>4&7), int64(b&15)
	for shift := 4; b&0x80 != 0; shift += 7 {
		if b, err = r.ReadByte(); err != nil || shift > 40 {
			return 0, nil, fmt.Errorf("%w: a size in it is malformed", errPack)
		}
		size |= int64(b&0x7f) << shift
	}
	if kind != plumbing.CommitObject && kind != plumbing.TreeObject && kind != plumbing.BlobObject {
		return 0, nil, fmt.Errorf("%w: it has a %s", errPack, kind)
	}
	if size > min(limit, limits.GitObjectBytes) {
		return 0, nil, fmt.Errorf("%w: its objects are larger than the limit", errPack)
	}
	z, err := zlib.NewReader(r)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errPack, err)
	}
	var content bytes.Buffer
	n, err := io.Copy(&content, io.LimitReader(z, size+1))
	if err != nil || n != size {
		return 0, nil, fmt.Errorf("%w: an object has another size than it says", errPack)
	}
	return kind, content.Bytes(), nil
}
