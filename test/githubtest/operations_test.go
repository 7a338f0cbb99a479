package githubtest

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestAllOperationsAreDone: what the script keeps of the description and what the fake
// does are the same.
func TestAllOperationsAreDone(t *testing.T) {
	t.Parallel()
	for _, flavour := range []string{"api.github.com", "ghes"} {
		data, err := os.ReadFile(filepath.Join("..", "..", "bin", "lib", "github-api", flavour+".json"))
		if err != nil {
			t.Fatal(err)
		}
		known := map[string]bool{}
		for _, m := range regexp.MustCompile(`"operationId":"([^"]+)"`).FindAllStringSubmatch(string(data), -1) {
			known[m[1]] = true
			if _, done := operations[m[1]]; !done {
				t.Errorf("%s: the fake does not do %s", flavour, m[1])
			}
		}
		for op := range operations {
			if !known[op] {
				t.Errorf("%s: the description has no %s", flavour, op)
			}
		}
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"refs/tags/cabincrew/**", "refs/tags/cabincrew/a/begun", true},
		{"refs/tags/cabincrew/**", "refs/tags/cabincrew", false},
		{"refs/tags/cabincrew/**/*", "refs/tags/cabincrew/a/b/begun", true},
		{"refs/tags/cabincrew/**/*", "refs/tags/cabincrew/begun", true},
		{"refs/tags/cabincrew/*", "refs/tags/cabincrew/a/begun", false},
		{"refs/tags/cabincrew/*", "refs/tags/cabincrew/a", true},
		{"refs/tags/*", "refs/tags/v1", true},
		{"refs/heads/main", "refs/heads/main", true},
		{"refs/heads/main", "refs/heads/maint", false},
		{"refs/heads/**/x", "refs/heads/a/b/x", true},
		{"refs/heads/**/x", "refs/heads/ax", false},
	} {
		if got := glob(c.pattern, c.name); got != c.want {
			t.Errorf("%s on %s is %v", c.pattern, c.name, got)
		}
	}
}
