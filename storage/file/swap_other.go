//go:build !linux

package file

import (
	"os"
	"path/filepath"
)

// exchange gives two paths of a directory each other's place, in two steps: there is
// nothing better everywhere. If it ends between them, a copy is in its old place.
func exchange(dir, a, b string) error {
	a, b = filepath.Join(dir, a), filepath.Join(dir, b)
	aside := a + ".old"
	if err := os.Rename(b, aside); err != nil {
		return err
	}
	if err := os.Rename(a, b); err != nil {
		return err
	}
	return os.Rename(aside, a)
}
