// Package bundle keeps flights outside of the state directory: as one archive
// (.tar.zst), in a directory (dir:PATH) or as an OCI artifact in a registry
// (oci:HOST/REPOSITORY).
//
// It promises that the tar of a flight is a function of its paths, modes and
// bytes, and that only such an archive is read: regular files and directories in
// one order, each once, also on a file system that does not tell case apart,
// nothing behind them, within bounds of size, number and ratio, unpacked below an
// os.Root. Compression and encryption may differ between two archives of one flight.
//
// A stored flight is named by digest, and what does not have it is an integrity
// error (exit 5); what is missing or cannot be reached denies (exit 7). A put that
// was interrupted leaves nothing that a digest or tag names.
//
// Artifacts with the role state never leave in the clear unless that is asked for:
// they are encrypted with age, and encrypted.json says what they were.
package bundle
