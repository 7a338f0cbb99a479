package test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/cabincrew/action/internal/cli"
)

// TestInitWritesTheExamples: the workflows that init writes are those of the examples,
// which the tests here hold, but for what they are pinned to.
func TestInitWritesTheExamples(t *testing.T) {
	t.Parallel()
	const pin = "0123456789abcdef0123456789abcdef01234567"
	dir := t.TempDir()
	if out, err := exec.Command("git", "init", "-q", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var out, errs bytes.Buffer
	args := []string{"init", "--for", "github", "--pin", pin, "--config", filepath.Join(dir, ".cabincrew.yaml")}
	if code := cli.Main(t.Context(), args, strings.NewReader(""), &out, &errs, []string{"HOME=" + dir}); code != 0 {
		t.Fatalf("exit %d\n%s%s", code, out.String(), errs.String())
	}
	all := flows(t)
	for _, name := range []string{"cabincrew.yml", "cabincrew-base.yml"} {
		text, err := os.ReadFile(filepath.Join(dir, ".github/workflows", name))
		if err != nil {
			t.Fatal(err)
		}
		var f flow
		if err := yaml.Unmarshal(bytes.Replace(text, []byte("\non:"), []byte("\nevents:"), 1), &f); err != nil {
			t.Fatal(err)
		}
		want := all["examples/github/"+name]
		for id, j := range f.Jobs {
			if !strings.HasSuffix(j.Uses, "@"+pin) {
				t.Errorf("%s, job %s calls %s", name, id, j.Uses)
			}
			j.Uses = strings.Replace(j.Uses, "@"+pin, "@v1", 1)
			f.Jobs[id] = j
		}
		if !reflect.DeepEqual(f, want) {
			t.Errorf("%s is %+v, the example %+v", name, f, want)
		}
	}
}
