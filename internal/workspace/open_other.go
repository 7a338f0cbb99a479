//go:build !unix

package workspace

import (
	"io/fs"
	"os"
)

const openFlags = os.O_RDONLY

func isNotDir(error) bool { return false }

func listed(root *os.Root, e fs.DirEntry) (fs.FileInfo, error) { return root.Lstat(e.Name()) }

// unrooted gives the directory as it is.
func unrooted(dir *os.File) (*os.File, error) { return dir, nil }
