package limits

import "time"

// Bounds of engines that come as OCI images or artifacts. A registry and an
// archive are hostile until their digests match; even then a layer is the work
// of whoever built the image.
const (
	OCIReferenceBytes = 512      // bytes of a reference "registry/repository:tag@digest"
	OCIManifestBytes  = 4 << 20  // bytes of one manifest or index; what registries take at most
	OCIConfigBytes    = 4 << 20  // bytes of an image's configuration
	OCIDockerConfig   = 1 << 20  // bytes of a Docker configuration with credentials
	OCIPingBytes      = 64 << 10 // bytes of a registry's answer to /v2/, whose text nobody reads

	OCILayers          = 256             // layers of one image, or files of one artifact
	OCICompressedBytes = int64(4 << 30)  // bytes of all layers of one image as they are fetched
	OCIUnpackedBytes   = int64(16 << 30) // bytes of all layers of one image as tar archives
	OCIFiles           = 500_000         // entries of all layers of one image, with directories that are only implied
	OCIPathBytes       = 1024            // bytes of a path in an image
	OCINameBytes       = 255             // bytes of one element of a path; what file systems take
	OCIDepth           = 64              // elements of a path in an image
	OCILinkBytes       = 4095            // bytes of a symbolic link's target
	OCILinkHops        = 40              // symbolic links followed in one path; what the kernel follows

	OCIIndexDepth   = 4         // indexes nested in each other
	OCIIndexEntries = 64        // manifests of one index, and indexes read for one image
	OCIDownloads    = 3         // layers fetched at the same time
	OCIAttempts     = 3         // requests for one thing that a registry could not give for now
	OCIRedirects    = 5         // redirects followed for one request
	OCIZstdWindow   = 128 << 20 // bytes of a zstd frame's window, which is memory; what --long=27 makes
)

// Times of a registry's client.
const (
	OCIDial       = 10 * time.Second       // until a connection stands, and until TLS does
	OCIHeader     = 30 * time.Second       // from a request to the first byte of its answer
	OCIStall      = 60 * time.Second       // without one byte of a body
	OCIRetryDelay = 200 * time.Millisecond // before the second attempt; four times as long before each further one
	OCIStaleTemp  = 24 * time.Hour         // age of an unfinished file in the cache that is removed
)
