package oci

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Reference names an image or artifact in a registry. Parse makes it.
type Reference struct {
	registry   string
	repository string
	tag        string // "" if there is none
	digest     string // "sha256:…", "" before Resolve
}

// Registry gives host and perhaps port of the registry.
func (r Reference) Registry() string { return r.registry }

// Repository gives the path within the registry.
func (r Reference) Repository() string { return r.repository }

// Tag gives the tag as it was written, for people; with a digest it decides nothing.
func (r Reference) Tag() string { return r.tag }

// Digest gives what the reference names, or "" for a tag that was not resolved.
func (r Reference) Digest() string { return r.digest }

// String gives the reference as Parse reads it.
func (r Reference) String() string {
	s := r.registry + "/" + r.repository
	if r.tag != "" {
		s += ":" + r.tag
	}
	if r.digest != "" {
		s += "@" + r.digest
	}
	return s
}

var (
	hostPattern = regexp.MustCompile(`^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?$`)
	repoPattern = regexp.MustCompile(`^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$`)
	tagPattern  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
)

// Parse reads "registry/repository@sha256:…". A tag may stand before the digest,
// which wins; a tag alone is refused unless the caller means to Resolve it.
func Parse(ref string, resolve bool) (Reference, error) {
	if len(ref) > limits.OCIReferenceBytes {
		return Reference{}, badReference(clip(ref), "is longer than %d bytes", limits.OCIReferenceBytes)
	}
	if strings.Contains(ref, "://") {
		return Reference{}, badReference(ref, "is a URL; leave out what is before the registry's name")
	}
	name, digest, hasDigest := strings.Cut(ref, "@")
	registry, path, _ := strings.Cut(name, "/")
	if !strings.ContainsAny(registry, ".:") && registry != "localhost" {
		return Reference{}, badReference(ref, "does not begin with a registry").
			WithHint("write it in full, for example docker.io/library/NAME@sha256:…")
	}
	if !validHost(registry) {
		return Reference{}, badReference(ref, "has a registry that is no host name with an optional port, in lower case")
	}
	r := Reference{registry: registry, repository: path}
	if repository, tag, ok := strings.Cut(path, ":"); ok {
		if !tagPattern.MatchString(tag) {
			return Reference{}, badReference(ref, "has a malformed tag")
		}
		r.repository, r.tag = repository, tag
	}
	if !repoPattern.MatchString(r.repository) || len(r.repository) > limits.OCINameBytes {
		return Reference{}, badReference(ref, "has a malformed repository")
	}
	if registry == "docker.io" && !strings.Contains(r.repository, "/") {
		return Reference{}, badReference(ref, "leaves out the namespace of Docker Hub").
			WithHint("write docker.io/library/%s", r.repository)
	}
	if hasDigest {
		if _, err := protocol.ParseDigest(digest); err != nil {
			return Reference{}, badReference(ref, "has a malformed digest: %w", err)
		}
		r.digest = digest
		return r, nil
	}
	if err := checkTag(r, resolve); err != nil {
		return Reference{}, err
	}
	return r, nil
}

func checkTag(r Reference, resolve bool) error {
	if r.tag == "" {
		return badReference(r.String(), "has no digest")
	}
	if !resolve {
		return protocol.Errorf(protocol.ExitUsage, "oci_tag", "the engine is named by a tag, which anybody who can push can move").
			At(r.String()).WithHint("name it by digest (…@sha256:…), or set resolve: true to pin the tag's digest in the plan")
	}
	return nil
}

func validHost(host string) bool {
	m := hostPattern.FindStringSubmatch(host)
	if m == nil || len(host) > limits.OCINameBytes {
		return false
	}
	port, err := strconv.Atoi(m[1])
	return m[1] == "" || err == nil && port > 0 && port <= 0xffff
}

func badReference(ref, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "oci_reference", "the reference "+format, args...).
		At(strconv.Quote(ref)).WithHint("write registry/repository@sha256:… with 64 lower-case hex digits")
}
