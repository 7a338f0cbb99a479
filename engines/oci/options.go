package oci

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Options say from where and how much. The zero value fetches anonymously over
// https; only Cache is required.
type Options struct {
	// Layout is an OCI layout directory. With it nothing is asked over the
	// network: what the reference names must be in it.
	Layout string
	// Cache is the directory of verified blobs; it is made with mode 0700.
	// Several processes may share it.
	Cache string
	// Plain allows http, to a registry on the loopback interface only.
	Plain bool
	// DockerConfig is a Docker configuration file whose "auths" hold the
	// credentials of the registry. Helpers that it names are never run.
	DockerConfig string
	// Hosts lists hosts ("name" or "name:port") to which the registry may send
	// us although their addresses are private.
	Hosts []string
	// Transport replaces the transport, for example by one with a proxy or other
	// authorities. It must look at the addresses that it connects to by itself;
	// URLs are checked in any case.
	Transport http.RoundTripper
	// Platform chooses from an index: "os/architecture" or
	// "os/architecture/variant"; "" is linux on this machine's architecture.
	Platform string
	// Verify is asked before anything below the reference's manifest is fetched;
	// an error refuses the engine.
	Verify Verify
	// Limits bound what is fetched and unpacked; zero fields are the defaults.
	Limits Limits
	// Progress is told of the bytes of layers that are in the cache. Calls do not overlap.
	Progress func(done, total int64)

	retryDelay time.Duration // 0: limits.OCIRetryDelay
	stall      time.Duration // 0: limits.OCIStall
}

// Limits bound one image or artifact. Zero fields are the defaults of internal/limits.
type Limits struct {
	ManifestBytes   int64
	ConfigBytes     int64
	Layers          int
	CompressedBytes int64 // all layers as they are fetched
	UnpackedBytes   int64 // all layers as tar archives
	Files           int   // entries of all layers, with implied directories
	PathBytes       int
	Depth           int
}

// Verify judges the manifest that a reference names, by signatures for example.
// Its bytes hash to digest; from reads other manifests and blobs of the repository.
type Verify func(ctx context.Context, digest string, manifest []byte, from Source) error

// Source is a repository: in a registry or in a layout directory. What it gives
// is bounded, but only hashed where a digest is asked for.
type Source interface {
	// Manifest gives a manifest by digest or tag, with the media type that the
	// source states, or "".
	Manifest(ctx context.Context, name string) (raw []byte, mediaType string, err error)
	// Blob opens a blob. The reader may give other bytes than the digest's.
	Blob(ctx context.Context, digest string, size int64) (io.ReadCloser, error)
}

func (o Options) withDefaults() (Options, error) {
	if o.Cache == "" {
		return o, protocol.Errorf(protocol.ExitFailure, "oci_cache", "no cache directory is set")
	}
	l := &o.Limits
	orDefault(&l.ManifestBytes, limits.OCIManifestBytes)
	orDefault(&l.ConfigBytes, limits.OCIConfigBytes)
	orDefault(&l.Layers, limits.OCILayers)
	orDefault(&l.CompressedBytes, limits.OCICompressedBytes)
	orDefault(&l.UnpackedBytes, limits.OCIUnpackedBytes)
	orDefault(&l.Files, limits.OCIFiles)
	orDefault(&l.PathBytes, limits.OCIPathBytes)
	orDefault(&l.Depth, limits.OCIDepth)
	orDefault(&o.retryDelay, limits.OCIRetryDelay)
	orDefault(&o.stall, limits.OCIStall)
	if o.Platform == "" {
		o.Platform = "linux/" + runtime.GOARCH
	}
	if n := strings.Count(o.Platform, "/"); n < 1 || n > 2 || strings.Contains("/"+o.Platform+"/", "//") {
		return o, protocol.Errorf(protocol.ExitUsage, "oci_platform", "%q is no platform", o.Platform).
			WithHint("write os/architecture, for example linux/arm64")
	}
	return o, nil
}

func orDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// interrupted turns the end of a context into the error for it; nil otherwise.
func interrupted(ctx context.Context) error {
	switch err := ctx.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return protocol.Errorf(protocol.ExitUnreachable, "oci_unreachable", "the time for fetching and unpacking the engine is over: %w", context.Cause(ctx))
	default:
		return protocol.Errorf(protocol.ExitInterrupted, "interrupted", "interrupted: %w", context.Cause(ctx))
	}
}

// mismatch is the error for bytes that are not what their digest or size says.
func mismatch(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitIntegrity, "oci_digest", format, args...).At(where).
		WithHint("the registry, the layout or what lies between gives other bytes than the digest names; nothing of them is used")
}

// clip bounds hostile text within an error.
func clip(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

func malformed(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitIntegrity, "oci_manifest", format, args...).At(where)
}

func tooMuch(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitIntegrity, "oci_limit", format, args...).At(where)
}

func unreachable(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUnreachable, "oci_unreachable", format, args...).At(where)
}
