package paths

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/cabincrew/action/internal/limits"
)

// resolver follows paths for one call.
type resolver struct {
	c    *Checker
	left int // look-ups
	// rootOK says of roots whether they are still what they were: 0 is unknown.
	rootOK [quickRoots]int8
}

const tooMany = "too many files are named at once"

// quickRoots is how many roots need not be followed again for every path.
const quickRoots = 16

// place is where a path leads.
type place struct {
	path   string      // without links, clean
	info   fs.FileInfo // of what is there, nil if nothing is
	exists int         // how much of path exists, in bytes
	why    string      // why it cannot be told
}

// follow follows an absolute path as the kernel does. What does not exist is added by
// its letters; a ".." takes away the directory that was really reached.
func (r *resolver) follow(p string) place {
	p = tidy(p)
	done := r.skipRoot(p) // p[:done] is free of links
	at := place{exists: max(done, 1)}
	missing := false
	links := 0
	for done < len(p) {
		if len(p) > limits.PathBytes {
			return place{why: "it is too long"}
		}
		end := next(p, done)
		name := p[done+1 : end]
		if name == ".." {
			up := max(strings.LastIndexByte(p[:done], '/'), 0)
			p, done = p[:up]+p[end:], up
			if at.exists >= max(up, 1) {
				missing, at.exists, at.info = false, max(up, 1), nil
			}
			continue
		}
		r.left--
		switch {
		case missing:
			done = end
			continue
		case len(name) > limits.PathElementBytes:
			return place{why: "a name in it is too long"}
		case r.left < 0:
			return place{why: tooMany}
		}
		info, err := os.Lstat(p[:end])
		switch {
		case err == nil && info.Mode()&fs.ModeSymlink != 0:
			if links++; links > limits.MCPPathLinks {
				return place{why: "it leads through too many links, or in a circle"}
			}
			target, err := os.Readlink(p[:end])
			if err != nil || target == "" {
				return place{why: "a link in it cannot be read"}
			}
			if p = p[:done] + tidy("/"+target+p[end:]); target[0] == '/' {
				p, at, done = p[done:], place{exists: 1}, 0
			}
		case err == nil:
			done, at.exists, at.info = end, end, info
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			missing, done, at.info = true, end, nil
		default:
			return place{why: reason(err)}
		}
	}
	at.path = p
	if p == "" {
		at.path = "/"
	}
	if missing || at.exists != len(at.path) {
		at.info = nil
	}
	return at
}

// skipRoot gives how much of p need not be looked at since it is a root as it was.
func (r *resolver) skipRoot(p string) int {
	for i := range min(len(r.c.roots), quickRoots) {
		dir := r.c.roots[i].path
		if dir == "/" || !below(p, dir) {
			continue
		}
		if r.rootOK[i] == 0 {
			r.rootOK[i] = -1
			info, err := os.Lstat(dir)
			if err == nil && info.IsDir() && os.SameFile(info, r.c.roots[i].info) {
				r.rootOK[i] = 1
			}
		}
		if r.rootOK[i] > 0 {
			return len(dir)
		}
	}
	return 0
}

// next gives where the name after p[at], a slash, ends.
func next(p string, at int) int {
	if i := strings.IndexByte(p[at+1:], '/'); i >= 0 {
		return at + 1 + i
	}
	return len(p)
}

// tidy takes empty and "." elements from an absolute path and leaves "..": "" is "/".
func tidy(p string) string {
	if !strings.Contains(p, "//") && !strings.Contains(p, "/./") && !strings.HasSuffix(p, "/") && !strings.HasSuffix(p, "/.") {
		return p
	}
	var b strings.Builder
	b.Grow(len(p))
	for name := range strings.SplitSeq(p, "/") {
		if name != "" && name != "." {
			b.WriteByte('/')
			b.WriteString(name)
		}
	}
	return b.String()
}

// reason says for people why a path cannot be followed; the path itself stands elsewhere.
func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "it does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "it cannot be looked at: permission denied"
	case errors.Is(err, syscall.ELOOP):
		return "it leads through too many links, or in a circle"
	case errors.Is(err, syscall.ENAMETOOLONG):
		return "it is too long"
	}
	return "it cannot be looked at"
}

// inside finds the root that a place lies in. A root that is not there any more holds
// nothing.
func (r *resolver) inside(at place) (string, string) {
	for i := range r.c.roots {
		dir := r.c.roots[i].path
		if !below(at.path, dir) && !(r.c.fold && below(fold(at.path), fold(dir))) {
			continue
		}
		if at.exists < len(dir) {
			return "", "its root is not there any more"
		}
		return dir, ""
	}
	// The same directory may have other letters: another case, another normal form.
	for p := at.path[:at.exists]; ; p = path.Dir(p) {
		if r.left--; r.left < 0 {
			return "", tooMany
		}
		info, err := os.Lstat(p)
		if err != nil {
			return "", "it lies outside the roots"
		}
		for i := range r.c.roots {
			if os.SameFile(info, r.c.roots[i].info) {
				return r.c.roots[i].path, ""
			}
		}
		if p == "/" {
			return "", "it lies outside the roots"
		}
	}
}
