package sources

import (
	"context"
	"net"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cabincrew/action/engines/oci"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Media types of layers. The first two are what conftest pushes, one file each; the
// others are a bundle, as OPA's documentation has it pushed.
const (
	typeRego = "application/vnd.cncf.openpolicyagent.policy.layer.v1+rego"
	typeData = "application/vnd.cncf.openpolicyagent.data.layer.v1+json"
)

func bundleTypes() []string {
	return []string{
		"application/vnd.oci.image.layer.v1.tar+gzip",
		"application/vnd.cncf.openpolicyagent.policy.tar+gzip",
		"application/vnd.docker.image.rootfs.diff.tar.gzip",
	}
}

func loadArtifact(ctx context.Context, s *config.Source, name string, o *Options) (policies.Set, error) {
	ref, err := oci.Parse(s.OCI, false)
	if err != nil {
		return policies.Set{}, err
	}
	from := oci.Options{
		Cache: filepath.Join(o.Cache, "oci", "blobs"), Plain: loopback(ref.Registry()),
		Limits: oci.Limits{Layers: limits.SourceArtifactLayers, CompressedBytes: limits.PolicyBundleBytes},
	}
	if s.Layout != "" {
		from.Layout = filepath.Join(o.Dir, filepath.FromSlash(s.Layout))
	}
	blobs, err := oci.Contents(ctx, ref, from)
	if err != nil {
		return policies.Set{}, err
	}
	where := ref.String()
	if slices.Contains(bundleTypes(), blobs[0].MediaType) {
		if len(blobs) > 1 {
			return policies.Set{}, badArtifact(where, "has %d layers; beside a bundle there may be no other", len(blobs))
		}
		// The digest names these bytes: a signature would say no more about them.
		files, err := o.Bundle(blobs[0].Data, nil, where)
		if err != nil {
			return policies.Set{}, err
		}
		return policies.FromFS(ctx, name, where, newFiles(files))
	}
	files, err := artifactFiles(where, blobs)
	if err != nil {
		return policies.Set{}, err
	}
	return policies.FromFS(ctx, name, where, newFiles(files))
}

func badArtifact(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, "policy_artifact", "the artifact "+format, args...).At(where).
		WithHint("push policies with conftest push, or a bundle as one layer with oras push FILE:application/vnd.oci.image.layer.v1.tar+gzip")
}

// artifactFiles gives the files of an artifact that has one in each layer.
func artifactFiles(where string, blobs []oci.Blob) ([]policies.SetFile, error) {
	files := make([]policies.SetFile, 0, len(blobs))
	seen := map[string]bool{}
	for _, b := range blobs {
		base := path.Base(b.Title)
		switch b.MediaType {
		case typeRego:
			if !strings.HasSuffix(base, ".rego") {
				return nil, badArtifact(where, "has a policy with the name %q, which does not end with .rego", short(b.Title))
			}
		case typeData:
			if base != "data.json" && base != "data.yaml" {
				return nil, badArtifact(where, "has data with the name %q; only data.json and data.yaml are read", short(b.Title))
			}
		default:
			return nil, badArtifact(where, "has a layer of the media type %q", short(b.MediaType))
		}
		if !cleanPath(b.Title) {
			return nil, badArtifact(where, "has a file whose title is no path within it: %q", short(b.Title))
		}
		if seen[b.Title] {
			return nil, badArtifact(where, "has the file %q twice", short(b.Title))
		}
		seen[b.Title] = true
		files = append(files, policies.SetFile{Path: b.Title, Data: b.Data})
	}
	for _, f := range files {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if seen[dir] {
				return nil, badArtifact(where, "has %q as a file and as a directory", short(dir))
			}
		}
	}
	return files, nil
}

// cleanPath says whether a hostile text is a path relative to a root, in its
// shortest form.
func cleanPath(name string) bool {
	return name != "" && name != "." && len(name) <= limits.PolicyBundlePath && utf8.ValidString(name) && path.Clean(name) == name &&
		!path.IsAbs(name) && name != ".." && !strings.HasPrefix(name, "../") && !strings.Contains(name, `\`) &&
		!strings.ContainsFunc(name, unicode.IsControl) && strings.Count(name, "/") <= limits.PolicyDepth
}

// short makes hostile text fit for a message.
func short(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if len(text) > limits.SourceGitText {
		text = strings.ToValidUTF8(text[:limits.SourceGitText], "") + "…"
	}
	return text
}

// loopback says whether a registry is on this machine, where plain http is no risk.
func loopback(registry string) bool {
	host, port, err := net.SplitHostPort(registry)
	if err != nil {
		host = registry
	} else if _, err := strconv.Atoi(port); err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
