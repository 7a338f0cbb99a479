//go:build !unix

package wasm

import "io/fs"

// nonblock: there are no FIFOs in directories.
const nonblock = 0

// identify knows no inode numbers here; the module sees 0.
func identify(fs.FileInfo) (identity, bool) { return identity{}, false }
