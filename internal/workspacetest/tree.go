// Package workspacetest makes the large workspace that benchmarks measure with, so
// that their numbers are of the same tree. Only tests import it.
package workspacetest

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// Files is how many files the tree has.
const Files = 20_000

// fileBytes is the size of each: all together have 550 MB.
const fileBytes = 27_500

// Tree makes 20,000 files of 550 MB, all different, in 500 directories below dir, and
// gives the number of their bytes.
func Tree(tb testing.TB, dir string) int64 {
	tb.Helper()
	data := make([]byte, fileBytes)
	for i := range Files {
		at := filepath.Join(dir, "d"+strconv.Itoa(i%20), "e"+strconv.Itoa(i/20%25))
		if i < 500 {
			if err := os.MkdirAll(at, 0o755); err != nil { //nolint:gosec // as a checkout's
				tb.Fatal(err)
			}
		}
		data[i%len(data)]++
		if err := os.WriteFile(filepath.Join(at, "f"+strconv.Itoa(i)), data, 0o644); err != nil { //nolint:gosec // as above
			tb.Fatal(err)
		}
	}
	return Files * fileBytes
}
