package command

import "golang.org/x/sys/unix"

// replaced says whether an overlay's directory hides that below it. One that
// cannot be looked at counts as such: then all below it is compared.
func replaced(dir string) bool {
	buf := make([]byte, 8)
	n, err := unix.Lgetxattr(dir, "user.overlay.opaque", buf)
	if err == unix.ENODATA || err == unix.ENOTSUP { //nolint:errorlint // bare errnos
		return false
	}
	return err != nil || n == 1 && buf[0] == 'y'
}
