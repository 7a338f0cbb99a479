// Package oci fetches an engine that is shipped as an OCI image or artifact and
// unpacks its root file system, so that the sandbox can run it without a
// container runtime.
//
// It promises that an engine is named by its digest and that every byte which
// is used hashes to a digest that this one reaches: index, manifest,
// configuration, compressed layers and, after decompression, their diff_ids. A
// blob is hashed when it is written to the cache and again each time when it is
// read from there. A tag is resolved only on request.
//
// The network is asked only for what the cache lacks, and never if an OCI layout
// directory is given. Plain http is spoken to loopback registries only.
// Redirects and token services at private, local or metadata addresses are
// refused unless listed. No proxy is taken from the environment, no credentials
// from the user's files unless a file is named, and no credential helper is run:
// it is foreign code.
//
// Unpacking makes exactly the tree that the layers describe, twice the same:
//
//   - Paths are what a process chrooted into the tree would see: a leading "/"
//     is the root, symbolic links in the parents of an entry are followed within
//     the root (an upper layer writes bin/x where a lower one has bin -> usr/bin),
//     the last element never. ".." in a name is refused. All work goes through an
//     os.Root, whatever this package computes.
//   - Whiteouts hide what lower layers have, never entries of their own layer.
//   - Within one layer a path is described once; only directories may repeat.
//   - Devices, FIFOs and sockets hide what was below them and are left out.
//     Sparse and unknown entries are refused.
//   - Set-uid, set-gid and sticky bits, write permission for others, ownership,
//     extended attributes and access times are dropped. Directories can be
//     entered and written by their owner, so that os.RemoveAll removes the tree.
//   - Names that differ in case are different files. A file system that sees
//     them as one makes the unpacking fail, not overwrite.
//
// An artifact (a manifest whose configuration is not an image's) is a set of
// files: each layer is written, executable, to the path that its annotation
// org.opencontainers.image.title gives.
package oci
