package examples

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cabincrew/action/engines/process"
	"github.com/cabincrew/action/internal/cli"
)

// engineCheck runs engine check in a directory, as a person would.
func engineCheck(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, append([]string{"engine", "check"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	cmd.Env = []string{"PATH=" + process.Path, "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir()}
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	code, stdout, stderr = cmd.ProcessState.ExitCode(), out.String(), errs.String()
	if code == 7 && strings.Contains(stderr, "cannot be isolated") {
		t.Skip("this machine cannot isolate engines")
	}
	return code, stdout, stderr
}

// inSandbox gives the path of a program that every engine sees, or skips.
func inSandbox(t *testing.T, name string) string {
	t.Helper()
	for dir := range strings.SplitSeq(process.Path, ":") {
		at := filepath.Join(dir, name)
		if info, err := os.Stat(at); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return at
		}
	}
	t.Skipf("there is no %s in %s", name, process.Path)
	return ""
}

// put copies files of the examples into a directory, and gives it.
func put(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), data, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// build builds one of the examples in Go.
func build(t *testing.T, name, out string, env ...string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, out), "./engines/"+name)
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return dir
}

func TestEnginesPassTheCheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dir  func(t *testing.T) string
		args func(t *testing.T) []string
		want string // the last line
	}{
		"shell": {
			func(t *testing.T) string { t.Helper(); return put(t, "engines/shell/release-notes") },
			func(*testing.T) []string { return []string{"./release-notes"} }, "19 passed, 0 failed, 2 skipped",
		},
		"go": {
			func(t *testing.T) string { t.Helper(); return build(t, "go-native", "go-native") },
			func(*testing.T) []string { return []string{"./go-native"} }, "19 passed, 0 failed, 2 skipped",
		},
		"wasm": {
			func(t *testing.T) string {
				t.Helper()
				return build(t, "go-wasi", "go-wasi.wasm", "GOOS=wasip1", "GOARCH=wasm")
			},
			func(*testing.T) []string { return []string{"go-wasi.wasm"} }, "20 passed, 0 failed, 1 skipped",
		},
		"python": {
			func(t *testing.T) string { t.Helper(); return put(t, "engines/python/words.py") },
			func(t *testing.T) []string {
				t.Helper()
				inSandbox(t, "python3")
				return []string{"--", "python3", "words.py"}
			},
			"19 passed, 0 failed, 2 skipped",
		},
		"python as a tool": {
			func(t *testing.T) string { t.Helper(); return put(t, "engines/python/words.py") },
			func(t *testing.T) []string {
				t.Helper()
				return []string{"--tool", inSandbox(t, "python3"), "--", "python3", "words.py"}
			},
			"19 passed, 0 failed, 2 skipped",
		},
		"node": {
			func(t *testing.T) string { t.Helper(); return put(t, "engines/node/bump.mjs") },
			func(t *testing.T) []string { t.Helper(); inSandbox(t, "node"); return []string{"./bump.mjs"} },
			"20 passed, 0 failed, 1 skipped",
		},
		"node with settings": {
			func(t *testing.T) string {
				t.Helper()
				dir := put(t, "engines/node/bump.mjs")
				if err := os.WriteFile(filepath.Join(dir, "settings.json"), []byte(`{"part":"minor"}`), 0o600); err != nil {
					t.Fatal(err)
				}
				return dir
			},
			func(t *testing.T) []string {
				t.Helper()
				inSandbox(t, "node")
				return []string{"--config", "settings.json", "--", "node", "bump.mjs"}
			},
			"20 passed, 0 failed, 1 skipped",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := c.args(t)
			code, out, errs := engineCheck(t, c.dir(t), args...)
			if code != 0 || !strings.Contains(out, "\n"+c.want) {
				t.Errorf("exit %d\n%s%s", code, out, errs)
			}
		})
	}
}

var (
	yamlBlock  = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
	codeBlocks = regexp.MustCompile("(?ms)^```(sh|text)\n(.*?)^```$")
)

// TestEnginesFly plans with the configuration that each README shows.
func TestEnginesFly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		engine func(t *testing.T) string // directory with the engine
		code   int
		want   string // in what show prints
	}{
		"shell":     {func(t *testing.T) string { t.Helper(); return put(t, "engines/shell/release-notes") }, 0, "A first change."},
		"go-native": {func(t *testing.T) string { t.Helper(); return build(t, "go-native", "go-native") }, 0, "src/main.go"},
		"python": {func(t *testing.T) string {
			t.Helper()
			inSandbox(t, "python3")
			return put(t, "engines/python/words.py")
		}, 0, "CHANGELOG.md"},
		"node": {func(t *testing.T) string { t.Helper(); inSandbox(t, "node"); return put(t, "engines/node/bump.mjs") }, 4, "1.4.2 -> 1.5.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			readme, err := os.ReadFile(filepath.Join("engines", name, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			block := yamlBlock.FindSubmatch(readme)
			if block == nil {
				t.Fatal("its README shows no configuration")
			}
			e := example{t, c.engine(t)}
			for file, content := range map[string]string{
				".cabincrew.yaml": string(block[1]), "CHANGELOG.md": "# Changes\n\n## 1.4.2\n\n- A first change.\n", "src/main.go": "package main\n",
				"package.json": "{\n  \"name\": \"sample\",\n  \"version\": \"1.4.2\"\n}\n",
			} {
				at := filepath.Join(e.dir, file)
				if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(at, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if bytes.Contains(block[1], []byte("keys/release-manager.pub")) {
				if err := os.Mkdir(filepath.Join(e.dir, "keys"), 0o700); err != nil {
					t.Fatal(err)
				}
				e.run(0, "keys", "generate", "--no-passphrase", "--out", filepath.Join(e.dir, "keys", "release-manager"))
			}
			var out bytes.Buffer
			// Engines that are found in another PATH may lie where the sandbox does not look.
			env := []string{"PATH=" + process.Path, "HOME=" + t.TempDir(), "GIT_CONFIG_NOSYSTEM=1"}
			args := []string{"flight-plan", "--config", filepath.Join(e.dir, ".cabincrew.yaml")}
			if code := cli.Main(t.Context(), args, strings.NewReader(""), &out, &out, env); code != c.code {
				t.Fatalf("exit %d, want %d\n%s", code, c.code, &out)
			}
			if shown := e.run(0, "show"); !strings.Contains(shown, c.want) {
				t.Errorf("%q is missing in\n%s", c.want, shown)
			}
		})
	}
}

// TestConfigurationsOfEngines: those that the READMEs show are whole and valid.
func TestConfigurationsOfEngines(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("engines/*/README.md")
	if err != nil || len(names) < 5 {
		t.Fatalf("only %q: %v", names, err)
	}
	for _, name := range names {
		readme, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		block := yamlBlock.FindSubmatch(readme)
		if block == nil {
			t.Errorf("%s shows no configuration", name)
			continue
		}
		var out bytes.Buffer
		if code := cli.Main(t.Context(), []string{"validate", "config", "-"}, bytes.NewReader(block[1]), &out, &out, nil); code != 0 {
			t.Errorf("%s: exit %d\n%s", name, code, &out)
		}
	}
}

// TestWritingAnEngine follows docs/writing-an-engine.md: the engines that it shows,
// and what it says the check prints of them.
func TestWritingAnEngine(t *testing.T) {
	t.Parallel()
	if found, _ := fs.Glob(os.DirFS("/usr/lib"), "*/faketime/libfaketime.so.1"); len(found) > 0 {
		t.Skip("libfaketime is installed, with which the check finds more than the document shows")
	}
	doc, err := os.ReadFile("../docs/writing-an-engine.md")
	if err != nil {
		t.Fatal(err)
	}
	dir, last, checked := t.TempDir(), "", 0
	for _, block := range codeBlocks.FindAllStringSubmatch(string(doc), -1) {
		if strings.HasPrefix(block[2], "#!/bin/sh\n") {
			last = block[2]
			if err := os.WriteFile(filepath.Join(dir, "release-notes"), []byte(last), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		shown, ok := strings.CutPrefix(block[2], "$ cabincrew engine check ./release-notes\n")
		if !ok {
			continue
		}
		checked++
		code, out, errs := engineCheck(t, dir, "./release-notes")
		if likeAnywhere(out) != likeAnywhere(shown) {
			t.Errorf("the document shows\n%s\nthe program prints\n%s%s", likeAnywhere(shown), likeAnywhere(out), errs)
		}
		if (code == 0) != strings.Contains(shown, ", 0 failed,") {
			t.Errorf("exit %d", code)
		}
	}
	if checked != 2 {
		t.Errorf("%d outputs were compared, want 2: this test does not see the document", checked)
	}
	final, err := os.ReadFile("engines/shell/release-notes")
	if err != nil || string(final) != last {
		t.Errorf("the last engine of the document is not examples/engines/shell/release-notes: %v", err)
	}
}

// likeAnywhere leaves out what depends on the day and on the machine.
func likeAnywhere(out string) string {
	out = regexp.MustCompile(`"\d{4}-\d{2}-\d{2}"`).ReplaceAllString(out, `"DATE"`)
	out = regexp.MustCompile(`(?m)(; not varied: .*|\(tier [ABC]\))$`).ReplaceAllString(out, "")
	return regexp.MustCompile(`(?m)^(PASS  refused  ).*$`).ReplaceAllString(out, "$1")
}
