package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/cabincrew/action/ci"
)

// compiled gives the directory for what is compiled of a module, or says why there
// is none. It is native code that is run as it is found, so it lies where nobody
// else writes and no change under review can put anything: in the user's own cache
// directory, never in the workspace or a repository around it; and on a CI
// platform, where jobs of others may have had the same directories, nowhere.
func compiled(env map[string]string, workspace, digest string) (string, error) {
	if platform := ci.Detect(env); platform != ci.None {
		return "", fmt.Errorf("modules are compiled each time on a CI platform (%s)", platform)
	}
	base := env["XDG_CACHE_HOME"]
	if !filepath.IsAbs(base) {
		if !filepath.IsAbs(env["HOME"]) {
			return "", errors.New("neither XDG_CACHE_HOME nor HOME names a directory")
		}
		base = filepath.Join(env["HOME"], ".cache")
	}
	// Links are followed once, in what is there, and then no more.
	parent, err := filepath.EvalSymlinks(filepath.Dir(base))
	if err != nil {
		return "", err
	}
	if to, err := filepath.EvalSymlinks(base); err == nil {
		base = to
	} else {
		base = filepath.Join(parent, filepath.Base(base))
	}
	dir := filepath.Join(base, "cabincrew", wasmEngine, strings.TrimPrefix(digest, "sha256:"))
	if err := outsideOf(workspace, dir); err != nil {
		return "", err
	}
	return dir, private(base, dir)
}

// outsideOf refuses a directory in the workspace or in a work tree that holds it.
func outsideOf(workspace, dir string) error {
	at, err := filepath.EvalSymlinks(workspace)
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		_, err := os.Lstat(filepath.Join(at, ".git"))
		if rel, relErr := filepath.Rel(at, dir); (first || err == nil) && (relErr != nil || filepath.IsLocal(rel)) {
			return fmt.Errorf("%s lies in %s, where a change could put files", dir, at)
		}
		if filepath.Dir(at) == at {
			return nil
		}
		at = filepath.Dir(at)
	}
}

// private makes what is missing from base on down to dir, and refuses a way that
// somebody else can change: every directory is this user's or root's, from base on
// this user's, and not open for others to write, but for those like /tmp above base.
func private(base, dir string) error {
	var way []string
	for at := dir; ; at = filepath.Dir(at) {
		way = append(way, at)
		if filepath.Dir(at) == at {
			break
		}
	}
	for _, at := range slices.Backward(way) {
		own := at == base || strings.HasPrefix(at, base+string(filepath.Separator))
		if own {
			if err := os.Mkdir(at, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
		info, err := os.Lstat(at)
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		me := ok && int(st.Uid) == os.Getuid()
		sticky := info.Mode()&fs.ModeSticky != 0 && !own
		switch {
		case !info.IsDir():
			return fmt.Errorf("%s is not a directory", at)
		case !me && (own || !ok || st.Uid != 0):
			return fmt.Errorf("%s belongs to somebody else", at)
		case info.Mode().Perm()&0o022 != 0 && !sticky:
			return fmt.Errorf("%s can be written by others (mode %04o)", at, info.Mode().Perm())
		}
	}
	return nil
}
