package bundle

import (
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Kinds of storage.
const (
	Dir = "dir"
	OCI = "oci"
)

// Ref names a storage, or one flight in it if it has a digest or tag.
type Ref struct {
	Kind   string // Dir or OCI
	Place  string // a path, or HOST/REPOSITORY
	Tag    string // of OCI only
	Digest string // "sha256:…", "" if there is none
}

var (
	tagForm  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	repoForm = regexp.MustCompile(`^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$`)
)

// IsRef says whether a text is meant as a reference.
func IsRef(text string) bool {
	return strings.HasPrefix(text, Dir+":") || strings.HasPrefix(text, OCI+":")
}

// ParseRef reads dir:PATH and oci:HOST/REPOSITORY[:TAG], each with an optional
// @sha256:…, which wins over a tag.
func ParseRef(text string) (Ref, error) {
	if len(text) > limits.StorageRef || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return Ref{}, badRef(quoted(text), "is too long or holds control characters")
	}
	kind, rest, _ := strings.Cut(text, ":")
	r := Ref{Kind: kind, Place: rest}
	if at := strings.LastIndex(rest, "@sha256:"); at >= 0 {
		r.Place, r.Digest = rest[:at], rest[at+1:]
		if _, err := protocol.ParseDigest(r.Digest); err != nil {
			return Ref{}, badRef(text, "has a malformed digest: %w", err)
		}
	}
	switch {
	case r.Place == "":
		return Ref{}, badRef(text, "names no place")
	case kind == Dir:
		return r, nil
	case kind == OCI:
		return parseOCI(text, r)
	}
	return Ref{}, badRef(text, "is of no kind that is known")
}

func parseOCI(text string, r Ref) (Ref, error) {
	host, path, _ := strings.Cut(r.Place, "/")
	if repo, tag, ok := strings.Cut(path, ":"); ok {
		if path, r.Tag = repo, tag; !tagForm.MatchString(tag) {
			return Ref{}, badRef(text, "has a malformed tag")
		}
	}
	r.Place = host + "/" + path
	if !strings.ContainsAny(host, ".:") && host != "localhost" {
		return Ref{}, badRef(text, "does not begin with a registry")
	}
	if _, err := name.NewRepository(r.Place, name.StrictValidation); err != nil || !repoForm.MatchString(path) || len(path) > 255 {
		return Ref{}, badRef(text, "has no registry and repository in lower case")
	}
	return r, nil
}

// String gives the reference as ParseRef reads it.
func (r Ref) String() string {
	s := r.Kind + ":" + r.Place
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}

// Pinned gives the reference by digest alone.
func (r Ref) Pinned(digest string) Ref {
	r.Tag, r.Digest = "", digest
	return r
}
