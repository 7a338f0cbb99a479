package patch

import (
	"crypto/sha256"
	"io"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Check makes sure that the description meta says of each change what the patch
// says, and that the digests in it are those of every content that the patch
// holds as a whole. The digests of text that is changed in part can only be
// checked over the files: Apply does that.
func Check(changes []Change, meta []File) error {
	if len(changes) != len(meta) {
		return metaInvalid("the patch has %d files, its metadata %d", len(changes), len(meta))
	}
	for i := range changes {
		if err := checkFile(&changes[i], &meta[i]); err != nil {
			return err.At(quote(meta[i].Path()))
		}
	}
	return nil
}

func checkFile(c *Change, m *File) *protocol.Error {
	want := c.File
	want.Before, want.After = m.Before, m.After
	if want.OldMode == "" && want.NewMode == "" { // a rename of whole content, whose mode the patch does not name
		if m.OldMode != m.NewMode || m.OldMode != ModeFile && m.OldMode != ModeExecutable && m.OldMode != ModeLink {
			return metaInvalid("the metadata has other modes than the patch")
		}
		want.OldMode, want.NewMode = m.OldMode, m.NewMode
	}
	if want != *m {
		return metaInvalid("the metadata says something else of a file than the patch")
	}
	for _, side := range []struct {
		digest string
		absent bool
	}{{m.Before, m.Op == Add}, {m.After, m.Op == Delete}} {
		if side.absent {
			if side.digest != "" {
				return metaInvalid("the metadata has a digest of a content that is not there")
			}
		} else if _, err := protocol.ParseDigest(side.digest); err != nil {
			return metaInvalid("the metadata has a malformed digest: %w", err)
		}
	}
	if !c.hasContent() && m.Op != Add && m.Op != Delete && m.Before != m.After {
		return metaInvalid("the metadata has two digests for a content that does not change")
	}
	return checkDigests(c, m)
}

// checkDigests compares the digests of the contents that are whole in the patch.
func checkDigests(c *Change, m *File) *protocol.Error {
	empty := protocol.Digest(nil)
	wrong := func() *protocol.Error {
		return metaInvalid("the metadata has another digest than the content in the patch")
	}
	switch {
	case c.Forward != nil:
		if d := c.Forward.digest(); d != "" && m.After != "" && d != m.After {
			return wrong()
		}
		if d := c.Reverse.digest(); d != "" && m.Before != "" && d != m.Before {
			return wrong()
		}
	case c.Op == Add:
		if d := hunkDigest(c.Hunks, empty); d != m.After {
			return wrong()
		}
	case c.Op == Delete:
		if d := hunkDigest(c.Hunks, empty); d != m.Before {
			return wrong()
		}
	}
	return nil
}

// digest gives the digest of a literal, or "" for a delta. It inflated when it was read.
func (b *Binary) digest() string {
	if b.Delta {
		return ""
	}
	h := sha256.New()
	if b.inflate(h) != nil {
		return "damaged"
	}
	return protocol.FormatDigest(h.Sum(nil))
}

// hunkDigest gives the digest of a content that one hunk holds as a whole.
func hunkDigest(hunks []Hunk, empty string) string {
	if len(hunks) == 0 {
		return empty
	}
	h := sha256.New()
	for _, l := range hunks[0].Lines {
		_, _ = h.Write(l.Text) // a hash never fails
	}
	return protocol.FormatDigest(h.Sum(nil))
}

// writeContent writes the content of a change after it. before gives the content
// before, which is asked for only where the patch builds on it.
func (c *Change) writeContent(w io.Writer, before func() ([]byte, error)) error {
	if c.Forward != nil && !c.Forward.Delta {
		return c.Forward.inflate(w)
	}
	var base []byte
	if c.Op != Add {
		var err error
		if base, err = before(); err != nil {
			return err
		}
		if c.OldID != "" && !hasID(base, c.OldID) {
			return errID
		}
	}
	var out []byte
	var err error
	if c.Forward != nil {
		delta, derr := c.Forward.bytes()
		if derr != nil {
			return derr
		}
		out, err = applyDelta(base, delta, limits.PatchFileBytes)
	} else {
		out, err = applyHunks(base, c.Hunks, limits.PatchFileBytes)
	}
	if err != nil {
		return err
	}
	if !hasID(out, c.NewID) {
		return errID
	}
	_, err = w.Write(out)
	return err
}
