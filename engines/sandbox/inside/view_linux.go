package inside

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// parts is where the parts of a view are mounted while it is made.
const parts = "/.parts"

// view composes directories by an overlay. A mask of whiteouts on top hides what
// the child shall not see.
func (r *root) view(v *View, dirs []source) error {
	if err := r.tmpfs(parts, "0700"); err != nil {
		return err
	}
	var layers []string
	if len(v.Hide) > 0 {
		mask := parts + "/mask"
		if err := makeMask(mask, v, dirs[:len(v.Lower)]); err != nil {
			return err
		}
		layers = append(layers, mask)
	}
	for i := range v.Lower {
		at := parts + "/" + strconv.Itoa(i)
		if err := os.Mkdir(at, 0o700); err != nil {
			return err
		}
		if err := dirs[i].attach(at); err != nil {
			return err
		}
		layers = append(layers, at)
	}
	if len(layers) == 1 { // an overlay without a top needs two
		empty := parts + "/empty"
		if err := os.Mkdir(empty, 0o755); err != nil { //nolint:gosec // as above
			return err
		}
		layers = append(layers, empty)
	}
	lower := "lowerdir=" + strings.Join(layers, ":")
	if v.Upper == "" {
		return overlay(v.Target, lower, unix.MS_RDONLY, true)
	}
	if err := overlay(v.Base, lower, unix.MS_RDONLY, false); err != nil {
		return err
	}
	if err := writable(v, dirs[len(v.Lower)], lower); err != nil {
		return err
	}
	return unix.Unmount(parts, unix.MNT_DETACH)
}

// writable mounts the view that takes changes, and what it has taken beside it.
func writable(v *View, up source, lower string) error {
	up.Write = true
	at := parts + "/up"
	if err := os.Mkdir(at, 0o700); err != nil {
		return err
	}
	if err := up.attach(at); err != nil {
		return err
	}
	for _, d := range []string{"/u", "/w"} {
		if err := os.Mkdir(at+d, 0o755); err != nil && !errors.Is(err, os.ErrExist) { //nolint:gosec // as a checkout's
			return err
		}
	}
	if err := place(v.Changes, true); err != nil {
		return err
	}
	if err := overlay(v.Target, lower+",upperdir="+at+"/u,workdir="+at+"/w,userxattr", 0, false); err != nil {
		return err
	}
	// The kernel makes this one so that its owner cannot remove it later.
	if err := os.Chmod(at+"/w/work", 0o700); err != nil { //nolint:gosec // a directory
		return err
	}
	s, err := open(Bind{Source: at + "/u", Target: v.Changes}, true)
	if err != nil {
		return err
	}
	return s.attach(v.Changes)
}

func overlay(target, options string, flags uintptr, last bool) error {
	if err := place(target, true); err != nil {
		return err
	}
	if err := unix.Mount("overlay", target, "overlay", unix.MS_NOSUID|unix.MS_NODEV|flags, options); err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	if last {
		return unix.Unmount(parts, unix.MNT_DETACH)
	}
	return nil
}

// makeMask makes a directory of whiteouts. Its directories have the modes of those
// that they stand for, since the upper one's mode is what is seen.
func makeMask(mask string, v *View, lower []source) error {
	if err := os.Mkdir(mask, 0o755); err != nil { //nolint:gosec // as above
		return err
	}
	for _, name := range v.Hide {
		clean := path.Clean(name)
		if !local(clean) || clean == "." {
			return fmt.Errorf("%q cannot be hidden", name)
		}
		hidden, err := maskParents(mask, path.Dir(clean), lower)
		if err != nil {
			return fmt.Errorf("hiding %q: %w", name, err)
		}
		at := path.Join(mask, clean)
		if info, err := os.Lstat(at); err == nil && info.IsDir() { // what it holds is hidden with it
			if err := os.RemoveAll(at); err != nil {
				return fmt.Errorf("hiding %q: %w", name, err)
			}
		} else if err == nil {
			hidden = true
		}
		if hidden {
			continue
		}
		if err := unix.Mknod(at, unix.S_IFCHR, 0); err != nil {
			return fmt.Errorf("hiding %q: %w", name, err)
		}
	}
	return nil
}

// local says whether a clean path stays below where it begins. filepath.IsLocal
// would do, but that package is initialised late.
func local(clean string) bool {
	return !path.IsAbs(clean) && clean != ".." && !strings.HasPrefix(clean, "../")
}

// maskParents makes the directories above what is to be hidden. It says whether
// one of them is hidden itself.
func maskParents(mask, dir string, lower []source) (hidden bool, err error) {
	if dir == "." {
		return false, nil
	}
	if info, err := os.Lstat(path.Join(mask, dir)); err == nil {
		return !info.IsDir(), nil
	}
	if hidden, err := maskParents(mask, path.Dir(dir), lower); err != nil || hidden {
		return hidden, err
	}
	mode := os.FileMode(0o755)
	for _, s := range lower {
		var st unix.Stat_t
		if err := unix.Fstatat(s.fd, dir, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil {
			mode = os.FileMode(st.Mode & 0o777)
			break
		}
	}
	if err := os.Mkdir(path.Join(mask, dir), mode); err != nil {
		return false, err
	}
	return false, os.Chmod(path.Join(mask, dir), mode)
}
