package workspace

import (
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is how many links of one path are followed.
const maxLinks = 64

// Through says whether an absolute path leads into a directory or through it, by its
// names, by links, or by other letters on a file system that does not tell them
// apart. What cannot be told does.
func Through(dir, path string) bool {
	here, err := os.Stat(dir)
	if err != nil || !filepath.IsAbs(path) || Within(dir, path) {
		return true
	}
	volume := filepath.VolumeName(path)
	top := volume + string(filepath.Separator)
	at, rest, links := top, split(path[len(volume):]), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, part)
		info, err := os.Lstat(next)
		if err != nil {
			return Within(dir, filepath.Join(next, filepath.Join(rest...))) // nothing is there
		}
		if info.Mode()&os.ModeSymlink == 0 {
			if os.SameFile(info, here) {
				return true
			}
			at = next
			continue
		}
		to, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks {
			return true
		}
		if filepath.IsAbs(to) {
			at, to = top, to[len(filepath.VolumeName(to)):]
		}
		rest = append(split(to), rest...)
	}
	return false
}

// Within says whether a path is a directory or lies below it, by their names.
func Within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

func split(path string) []string {
	return strings.Split(filepath.ToSlash(path), "/")
}
