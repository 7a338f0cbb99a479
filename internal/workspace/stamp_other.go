//go:build !linux

package workspace

import "io/fs"

// stampOf gives nothing: elsewhere every file is hashed.
func stampOf(fs.FileInfo) (stamp, bool) { return stamp{}, false }

func ownedBy(fs.FileInfo, int, int) bool { return false }
