package test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestThreatsHaveTheirTests holds docs/threats.md to the tests that it names, and to
// all ids in order.
func TestThreatsHaveTheirTests(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/threats.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "bin") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path) //nolint:gosec // our own
		for _, m := range declared.FindAllSubmatch(source, -1) {
			there[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	names, row := regexp.MustCompile("`(Test\\w+)`"), regexp.MustCompile(`(?m)^\| (T\d\d) \|.*$`)
	rows := row.FindAllStringSubmatch(string(page), -1)
	const threats = 46
	if len(rows) != threats {
		t.Fatalf("%d rows, not %d", len(rows), threats)
	}
	for i, r := range rows {
		if want := fmt.Sprintf("T%02d", i+1); r[1] != want {
			t.Errorf("row %d is %s, not %s", i+1, r[1], want)
		}
		for _, m := range names.FindAllStringSubmatch(r[0], -1) {
			if !there[m[1]] {
				t.Errorf("%s: there is no test %s", r[1], m[1])
			}
		}
	}
}
