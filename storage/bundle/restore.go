package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"

	"filippo.io/age"

	"github.com/cabincrew/action/protocol"
)

// Restore decrypts what these identities can read and puts it where it was, so that
// a directory of which everything was restored is the one that was packed. It gives
// what is still encrypted. It changes one file after another: the directory must be a
// copy, which is thrown away after an error.
func Restore(ctx context.Context, root *os.Root, identities []age.Identity) (left []Sealed, err error) {
	sealed, err := Encrypted(root)
	if err != nil || len(identities) == 0 {
		return sealed, err
	}
	for _, f := range sealed {
		done, err := restore(ctx, root, f, identities)
		if err != nil {
			return nil, err
		}
		if !done {
			left = append(left, f)
		}
	}
	if len(left) == len(sealed) {
		return left, nil
	}
	if len(left) == 0 {
		return nil, written(SealedFile, root.Remove(SealedFile))
	}
	raw, err := protocol.Canonical(sealedDocument{Version: sealedVersion, Files: left})
	if err == nil {
		err = written(SealedFile, root.WriteFile(SealedFile, raw, plainMode))
	}
	return left, err
}

// restore gives false where none of the identities is a recipient.
func restore(ctx context.Context, root *os.Root, f Sealed, identities []age.Identity) (done bool, err error) {
	from := f.Path + sealedSuffix
	in, _, err := openFile(root, from)
	if err != nil {
		return false, unreadable(from, err)
	}
	defer func() { _ = in.Close() }() // only read
	plain, err := age.Decrypt(withContext{ctx, in}, identities...)
	var other *age.NoIdentityMatchError
	if errors.As(err, &other) {
		return false, nil
	}
	if err != nil {
		return false, undecryptable(ctx, from, err)
	}
	mode := os.FileMode(plainMode)
	if f.Mode == "0755" {
		mode = execMode
	}
	out, err := root.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return false, unwritable(f.Path, err)
	}
	hash, to := sha256.New(), &counter{w: out}
	n, err := io.Copy(io.MultiWriter(to, hash), io.LimitReader(plain, f.Size+1))
	closed := out.Close()
	switch {
	case to.err != nil:
		err = unwritable(f.Path, to.err)
	case err == nil && closed != nil:
		err = unwritable(f.Path, closed)
	case err == nil && (n != f.Size || protocol.FormatDigest(hash.Sum(nil)) != f.Digest):
		err = errors.New("it is not the file that encrypted.json describes")
		fallthrough
	case err != nil:
		err = undecryptable(ctx, from, err)
	default:
		return true, written(from, root.Remove(from))
	}
	_ = root.Remove(f.Path) // the error above is the one that counts
	return false, err
}

func undecryptable(ctx context.Context, where string, err error) error {
	if stopped := interrupted(ctx); stopped != nil {
		return stopped
	}
	return protocol.Errorf(protocol.ExitIntegrity, "state_undecryptable", "it cannot be decrypted: %w", err).At(where).
		WithHint("do not trust this copy; take the flight from elsewhere")
}
