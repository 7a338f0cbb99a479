package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"

	"github.com/cabincrew/action/protocol"
)

// Same says whether two directories hold the same flight: byte for byte, but that a
// file may be encrypted in one of them, which tells then what it is. What is encrypted
// in both must be the same there, too.
func Same(ctx context.Context, a, b *os.Root) (bool, error) {
	x, err := look(ctx, a)
	if err != nil {
		return false, err
	}
	y, err := look(ctx, b)
	if err != nil {
		return false, err
	}
	if len(x.plain) != len(y.plain) {
		return false, nil
	}
	for p, is := range x.plain {
		other, both := y.sealed[p]
		mine, also := x.sealed[p]
		if y.plain[p] != is || both && also && other != mine {
			return false, nil
		}
	}
	return true, nil
}

// looked is what a flight's directory holds.
type looked struct {
	plain  map[string]string // mode and digest by path, as it was before it was encrypted
	sealed map[string]string // digest of what stands in place of a path
}

func look(ctx context.Context, root *os.Root) (looked, error) {
	l := looked{map[string]string{}, map[string]string{}}
	entries, err := list(root)
	if err != nil {
		return l, err
	}
	sealed, err := Encrypted(root)
	if err != nil {
		return l, err
	}
	for _, e := range entries {
		if e.dir {
			l.plain[e.path] = "directory"
			continue
		}
		digest, err := digestOf(ctx, root, e.path)
		if err != nil {
			return l, err
		}
		l.plain[e.path] = sealedMode(e.mode) + digest
	}
	if err := checkSealed(sealed, func(p string) bool { return l.plain[p] != "" }); err != nil {
		return l, err
	}
	for _, f := range sealed {
		l.sealed[f.Path] = l.plain[f.Path+sealedSuffix]
		delete(l.plain, f.Path+sealedSuffix)
		l.plain[f.Path] = f.Mode + f.Digest
	}
	delete(l.plain, SealedFile)
	return l, nil
}

func digestOf(ctx context.Context, root *os.Root, p string) (string, error) {
	f, _, err := openFile(root, p)
	if err != nil {
		return "", unreadable(p, err)
	}
	defer func() { _ = f.Close() }() // only read
	sum := sha256.New()
	_, err = io.Copy(sum, withContext{ctx, f})
	if stopped := interrupted(ctx); err != nil && stopped != nil {
		return "", stopped
	}
	if err != nil {
		return "", unreadable(p, err)
	}
	return protocol.FormatDigest(sum.Sum(nil)), nil
}

// Sync has the disk hold all of a flight, so that a rename after it is of what it says.
func Sync(root *os.Root) error {
	entries, err := list(root)
	if err != nil {
		return err
	}
	for _, e := range append(entries, entry{path: "."}) {
		f, err := root.OpenFile(e.path, os.O_RDONLY|nonblock, 0)
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			return unwritable(e.path, err)
		}
	}
	return nil
}
