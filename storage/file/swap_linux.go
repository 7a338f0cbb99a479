package file

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// exchange gives two paths of a directory each other's place at once.
func exchange(dir, a, b string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	fd := int(d.Fd()) //nolint:gosec // a file descriptor fits
	err = unix.Renameat2(fd, a, fd, b, unix.RENAME_EXCHANGE)
	return errors.Join(err, d.Close())
}
