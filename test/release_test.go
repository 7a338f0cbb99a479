package test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// command runs a program in a directory, with a git that knows nothing of this machine.
func command(t *testing.T, dir string, env []string, args ...string) (code int, out string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...) //nolint:gosec // our own scripts, and git
	cmd.Dir = dir
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GOTOOLCHAIN=local",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
	}, env...)
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), strings.TrimSpace(string(text))
}

// built builds a small program with a module of others in it.
func built(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program, source := filepath.Join(dir, "cabincrew"), filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nimport \"go.yaml.in/yaml/v3\"\n\nfunc main() { _, _ = yaml.Marshal(1) }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", program, source) //nolint:gosec // our own
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// packed makes archives of a program, and gives the checksums.
func packed(t *testing.T, program string) (dir, checksums string) {
	t.Helper()
	tools, programs, target := t.TempDir(), t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(tools, "npm"), []byte("#!/bin/bash\nexit 1\n"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	for _, platform := range []string{"darwin-amd64", "darwin-arm64", "linux-amd64", "linux-arm64"} {
		if err := os.Mkdir(filepath.Join(programs, platform), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(program, filepath.Join(programs, platform, "cabincrew")); err != nil {
			t.Fatal(err)
		}
	}
	code, out := command(t, "..", []string{"PATH=" + tools + ":" + os.Getenv("PATH"), "ONNXRUNTIME_REQUIRED=0"}, "scripts/package-release.sh", "1.2.3", "1700000000", programs, target)
	if code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	text, err := os.ReadFile(filepath.Join(target, "checksums.txt")) //nolint:gosec // our own
	if err != nil {
		t.Fatal(err)
	}
	return target, string(text)
}

// TestReleaseArchives: the same programs give the same bytes, with what must be in them.
func TestReleaseArchives(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("releases are packed on Linux, with GNU tar")
	}
	for _, name := range []string{"jq", "tar", "sha256sum"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(name + " is missing, which packs releases")
		}
	}
	program := built(t)
	dir, sums := packed(t, program)
	if _, again := packed(t, program); again != sums || strings.Count(sums, "\n") != 8 {
		t.Errorf("checksums are\n%s\nand then\n%s", sums, again)
	}
	file, err := os.Open(filepath.Join(dir, "cabincrew_1.2.3_linux_amd64.tar.gz")) //nolint:gosec // our own
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // it was only read
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for archive := tar.NewReader(unzipped); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.ModTime.Unix() != 1700000000 || h.Uid != 0 || h.Mode&0o022 != 0 {
			t.Errorf("%s is %+v", h.Name, h)
		}
	}
	if want := []string{"LICENSE", "README.md", "cabincrew"}; !slices.Equal(names, want) {
		t.Errorf("the archive has %q, not %q", names, want)
	}
	list, err := os.ReadFile(filepath.Join(dir, "cabincrew_1.2.3_linux_amd64.cdx.json")) //nolint:gosec // our own
	if err != nil {
		t.Fatal(err)
	}
	var bom struct {
		Format     string `json:"bomFormat"`
		Components []struct {
			Name string `json:"name"`
			URL  string `json:"purl"`
		} `json:"components"`
	}
	if err := json.Unmarshal(list, &bom); err != nil || bom.Format != "CycloneDX" || len(bom.Components) != 1 || !bytes.Contains(list, []byte(`"pkg:golang/go.yaml.in/yaml/v3@v`)) {
		t.Errorf("%v, %d components", err, len(bom.Components))
	}
}

// TestTagOfARelease: tags name a child of the built commit, a version is tagged once,
// and one with a suffix does not move the major tag.
func TestTagOfARelease(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	dir := filepath.Dir(d.action)
	if err := os.WriteFile(filepath.Join(d.action, "scripts/tag-release.sh"), []byte(readDoc(t, "scripts/tag-release.sh")), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	git := func(args ...string) string {
		t.Helper()
		code, out := command(t, d.action, nil, append([]string{"git"}, args...)...)
		if code != 0 {
			t.Fatalf("git %q: exit %d\n%s", args, code, out)
		}
		return out
	}
	d.write(d.pins(), "{}\n", 0o600)
	git("init", "--quiet", "--initial-branch=main", ".")
	git("add", "--all")
	git("commit", "--quiet", "--message=built")
	git("init", "--quiet", "--bare", "../origin.git")
	git("remote", "add", "origin", "../origin.git")
	built := git("rev-parse", "HEAD")
	tag := func(version string) (int, string) {
		t.Helper()
		git("checkout", "--quiet", "--force", built)
		list := filepath.Join(dir, version+".txt")
		d.write(list, strings.ReplaceAll(readFile(t, filepath.Join(dir, "checksums.txt")), "1.2.3", version), 0o600)
		return command(t, d.action, nil, "scripts/tag-release.sh", version, built, list)
	}
	for _, version := range []string{"1.2.3", "1.3.0-rc.1"} {
		if code, out := tag(version); code != 0 {
			t.Fatalf("%s: exit %d\n%s", version, code, out)
		}
	}
	refs := git("ls-remote", "origin")
	first := git("rev-parse", "refs/tags/v1.2.3")
	if strings.Count(refs, "\n") != 2 || strings.Count(refs, first+"\trefs/tags/v1") != 2 || git("rev-parse", "v1.2.3^") != built || git("rev-parse", "v1.3.0-rc.1^") != built {
		t.Errorf("refs are\n%s", refs)
	}
	if got := git("show", "v1:ci/release.json"); !strings.Contains(got, `"version": "1.2.3"`) || !strings.Contains(got, built) {
		t.Errorf("v1 pins\n%s", got)
	}
	if code, _ := tag("1.2.3"); code == 0 || git("ls-remote", "origin") != refs {
		t.Error("a version was tagged twice")
	}
	if code, _ := command(t, d.action, nil, "scripts/tag-release.sh", "1.2.4", strings.Repeat("a", 40), filepath.Join(dir, "checksums.txt")); code == 0 {
		t.Error("checksums of another version and commit were tagged")
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name) //nolint:gosec // our own
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReleaseBuildsAllPlatforms compares what goreleaser builds, what is built where,
// and what is packed.
func TestReleaseBuildsAllPlatforms(t *testing.T) {
	t.Parallel()
	var config struct {
		Version int `yaml:"version"`
		Builds  []struct {
			Main    string   `yaml:"main"`
			OS      []string `yaml:"goos"`
			Arch    []string `yaml:"goarch"`
			Flags   []string `yaml:"flags"`
			LDFlags []string `yaml:"ldflags"`
		} `yaml:"builds"`
	}
	if err := yaml.Unmarshal([]byte(readDoc(t, ".goreleaser.yaml")), &config); err != nil || config.Version != 2 || len(config.Builds) != 1 {
		t.Fatalf("%v: %+v", err, config)
	}
	b := config.Builds[0]
	if b.Main != "./cmd/cabincrew" || !slices.Equal(b.Flags, []string{"-trimpath"}) || !strings.Contains(b.LDFlags[0], "internal/cli.version={{ .Version }}") {
		t.Errorf("it builds %+v", b)
	}
	workflow, packing := readDoc(t, ".github/workflows/release.yml"), readDoc(t, "scripts/package-release.sh")
	for _, system := range b.OS {
		for _, arch := range b.Arch {
			if platform := system + "-" + arch; !strings.Contains(workflow, "platform: "+platform+",") || !strings.Contains(packing, " "+platform) {
				t.Errorf("%s is built, and not released", platform)
			}
		}
	}
}
