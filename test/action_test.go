package test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const (
	builtCommit = "0123456789abcdef0123456789abcdef01234567"
	// bash is where Linux and macOS have it.
	bash = "/bin/bash"
)

// desk is an installed action beside a runner's directories.
type desk struct {
	t      *testing.T
	action string // the action's own directory
	served string // what CABINCREW_DOWNLOAD_URL serves
	tools  string // programs of the test, first on PATH
	env    []string
}

// newDesk makes an action whose pins name version 1.2.3, and serves it.
func newDesk(t *testing.T) *desk {
	t.Helper()
	dir := t.TempDir()
	d := &desk{t: t, action: filepath.Join(dir, "action"), served: filepath.Join(dir, "served"), tools: filepath.Join(dir, "tools")}
	for _, sub := range []string{"action/scripts", "action/ci", "served/v1.2.3", "tools", "temp", "workspace", "archive"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"scripts/install-action.sh", "scripts/run-action.sh", "scripts/release-pins.sh"} {
		d.write(filepath.Join(d.action, name), readDoc(t, name), 0o750)
	}
	d.write(filepath.Join(dir, "archive/cabincrew"), "#!/bin/bash\necho cabincrew 1.2.3\n", 0o750)
	archive := filepath.Join(d.served, "v1.2.3", "archive.tar.gz")
	if out, err := exec.CommandContext(t.Context(), "tar", "-czf", archive, "-C", filepath.Join(dir, "archive"), "cabincrew").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	body, err := os.ReadFile(archive) //nolint:gosec // our own
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	var list strings.Builder
	for _, platform := range []string{"darwin_amd64", "darwin_arm64", "linux_amd64", "linux_arm64"} {
		name := "cabincrew_1.2.3_" + platform + ".tar.gz"
		fmt.Fprintf(&list, "%s  %s\n", hex.EncodeToString(sum[:]), name)
		d.write(filepath.Join(d.served, "v1.2.3", name), string(body), 0o600)
	}
	d.write(filepath.Join(d.served, "v1.2.3/cabincrew_1.2.3_provenance.sigstore.json"), "{}\n", 0o600)
	d.write(filepath.Join(dir, "checksums.txt"), list.String(), 0o600)
	d.write(filepath.Join(d.tools, "gh"), "#!/bin/bash\nprintf '%s\\n' \"$@\" >\""+dir+"/gh.said\"\n", 0o750)
	d.env = []string{
		"PATH=" + d.tools + ":/usr/bin:/bin", "HOME=" + dir, "RUNNER_TEMP=" + filepath.Join(dir, "temp"),
		"GITHUB_WORKSPACE=" + filepath.Join(dir, "workspace"), "GITHUB_OUTPUT=" + filepath.Join(dir, "output"),
		"CABINCREW_DOWNLOAD_URL=file://" + d.served,
	}
	if code, out := d.run("release-pins.sh", "v1.2.3", builtCommit, filepath.Join(dir, "checksums.txt"), d.pins()); code != 0 {
		t.Fatalf("release-pins.sh: exit %d\n%s", code, out)
	}
	return d
}

func (d *desk) pins() string { return filepath.Join(d.action, "ci/release.json") }

func (d *desk) write(name, text string, mode os.FileMode) {
	d.t.Helper()
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		d.t.Fatal(err)
	}
}

// edit replaces text in the pins.
func (d *desk) edit(before, after string) {
	d.t.Helper()
	text, err := os.ReadFile(d.pins())
	if err != nil || !strings.Contains(string(text), before) {
		d.t.Fatalf("%q is not in the pins: %v\n%s", before, err, text)
	}
	d.write(d.pins(), strings.ReplaceAll(string(text), before, after), 0o600)
}

// run runs one of the action's scripts.
func (d *desk) run(script string, args ...string) (code int, out string) {
	d.t.Helper()
	cmd := exec.CommandContext(d.t.Context(), bash, append([]string{filepath.Join(d.action, "scripts", script)}, args...)...) //nolint:gosec // our own scripts
	cmd.Env, cmd.Dir = d.env, d.t.TempDir()
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

// outputs gives what was written for later steps.
func (d *desk) outputs() string {
	text, err := os.ReadFile(filepath.Join(filepath.Dir(d.action), "output"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		d.t.Fatal(err)
	}
	return string(text)
}

// TestInstalledProgramIsThePinnedOne has the action install a release from a
// directory, with all that may be wrong with it.
func TestInstalledProgramIsThePinnedOne(t *testing.T) {
	t.Parallel()
	name := "cabincrew_1.2.3_" + runtime.GOOS + "_" + runtime.GOARCH + ".tar.gz"
	cases := []struct {
		title string
		set   func(*desk)
		code  int
		says  string
	}{
		{"as released", func(*desk) {}, 0, "cabincrew 1.2.3"},
		{"the version that is pinned", func(d *desk) { d.env = append(d.env, "INPUT_VERSION=v1.2.3") }, 0, "cabincrew 1.2.3"},
		{"T36 an older version", func(d *desk) { d.env = append(d.env, "INPUT_VERSION=1.2.2") }, 2, "installs version 1.2.3 and no other"},
		{"another archive", func(d *desk) { d.write(filepath.Join(d.served, "v1.2.3", name), "other", 0o600) }, 5, "was not unpacked"},
		{"no archive", func(d *desk) { d.env = append(d.env, "CABINCREW_DOWNLOAD_URL=file://"+d.tools) }, 7, "cannot be downloaded"},
		{"another protocol", func(d *desk) { d.env = append(d.env, "CABINCREW_DOWNLOAD_URL=ftp://127.0.0.1") }, 7, "cannot be downloaded"},
		{"no gh", func(d *desk) { d.hide("gh") }, 7, "gh is missing"},
		{"no attestation", func(d *desk) { d.write(filepath.Join(d.tools, "gh"), "#!/bin/bash\nexit 1\n", 0o750) }, 5, "no attestation"},
		{"attestation skipped", func(d *desk) { d.hide("gh"); d.env = append(d.env, "CABINCREW_ATTESTATION=skip") }, 0, "::warning"},
		{"attestation skipped, another archive", func(d *desk) {
			d.env = append(d.env, "CABINCREW_ATTESTATION=skip")
			d.write(filepath.Join(d.served, "v1.2.3", name), "other", 0o600)
		}, 5, "was not unpacked"},
		{"a platform that was not released", func(d *desk) { d.edit(runtime.GOOS+"-"+runtime.GOARCH, "plan9-mips") }, 2, "was not released"},
		{"a name that leads elsewhere", func(d *desk) { d.edit(name, "../"+name) }, 5, "release-pins.sh"},
		{"no commit", func(d *desk) { d.edit(builtCommit, "main") }, 5, "release-pins.sh"},
		{"a version that is none", func(d *desk) { d.edit(`"1.2.3"`, `"1.2.3;x"`) }, 5, "names no version"},
		{"a program that does not run", func(d *desk) { d.write(filepath.Join(d.tools, "tar"), "#!/bin/bash\nexit 0\n", 0o750) }, 1, "does not run here"},
	}
	for _, c := range cases {
		t.Run(c.title, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			c.set(d)
			code, out := d.run("install-action.sh", "install")
			if code != c.code || !strings.Contains(out, c.says) {
				t.Fatalf("exit %d, not %d, or it does not say %q:\n%s", code, c.code, c.says, out)
			}
			if got := d.outputs(); (code == 0) != strings.Contains(got, "program=") {
				t.Errorf("exit %d, and outputs %q", code, got)
			}
		})
	}
}

// hide makes a PATH on which a program is not.
func (d *desk) hide(program string) {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.tools, program)); err != nil {
		d.t.Fatal(err)
	}
	for _, name := range []string{"bash", "sed", "cut", "curl", "tar", "gzip", "sha256sum", "shasum", "mktemp", "mkdir", "uname", "dirname"} {
		if path, err := exec.LookPath(name); err == nil {
			if err := os.Symlink(path, filepath.Join(d.tools, name)); err != nil {
				d.t.Fatal(err)
			}
		}
	}
	d.env[0] = "PATH=" + d.tools
}

// TestAttestationIsAskedForTheBuiltCommit looks at what gh is asked.
func TestAttestationIsAskedForTheBuiltCommit(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	if code, out := d.run("install-action.sh", "install"); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	said, err := os.ReadFile(filepath.Join(filepath.Dir(d.action), "gh.said"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"attestation\nverify\n", "\n--source-digest\n" + builtCommit + "\n", "\n--repo\ncabincrew/action\n",
		"\n--signer-workflow\ncabincrew/action/.github/workflows/release.yml\n", "\n--deny-self-hosted-runners\n", "_provenance.sigstore.json\n",
	} {
		if !strings.Contains(string(said), want) {
			t.Errorf("gh was not asked %q, but\n%s", want, said)
		}
	}
}

// TestHowTheActionInstalls tells release from source.
func TestHowTheActionInstalls(t *testing.T) {
	t.Parallel()
	cases := []struct {
		title string
		set   func(*desk)
		code  int
		says  string
	}{
		{"released", func(*desk) {}, 0, "mode=release\n"},
		{"not released", func(d *desk) { d.edit(`"1.2.3"`, `""`) }, 0, "mode=source\n"},
		{"uses: ./", func(d *desk) { d.env = append(d.env, "GITHUB_WORKSPACE="+d.action) }, 0, "mode=source\n"},
		{"a directory of the workspace", func(d *desk) { d.env = append(d.env, "GITHUB_WORKSPACE="+filepath.Dir(d.action)) }, 0, "mode=release\n"},
		{"source, of a version", func(d *desk) { d.edit(`"1.2.3"`, `""`); d.env = append(d.env, "INPUT_VERSION=1.2.3") }, 2, ""},
	}
	for _, c := range cases {
		t.Run(c.title, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			c.set(d)
			if code, out := d.run("install-action.sh", "how"); code != c.code || d.outputs() != c.says {
				t.Errorf("exit %d, not %d, or outputs are not %q but %q:\n%s", code, c.code, c.says, d.outputs(), out)
			}
		})
	}
}

// TestPinsOfARelease holds the script and the committed file to one form.
func TestPinsOfARelease(t *testing.T) {
	t.Parallel()
	type pins struct {
		Version string `json:"version"`
		Commit  string `json:"commit"`
		Files   map[string]struct {
			Name   string `json:"name"`
			SHA256 string `json:"sha256"`
		} `json:"files"`
	}
	read := func(text string) (p pins) {
		dec := json.NewDecoder(strings.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&p); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		return p
	}
	d := newDesk(t)
	text, err := os.ReadFile(d.pins())
	if err != nil {
		t.Fatal(err)
	}
	p := read(string(text))
	if p.Version != "1.2.3" || p.Commit != builtCommit || len(p.Files) != 4 || p.Files["linux-arm64"].Name != "cabincrew_1.2.3_linux_arm64.tar.gz" || len(p.Files["darwin-amd64"].SHA256) != 64 {
		t.Errorf("pins are %+v", p)
	}
	if own := read(readDoc(t, "ci/release.json")); (own.Version == "") != (len(own.Files) == 0) || (own.Version == "") != (own.Commit == "") {
		t.Errorf("ci/release.json is half written: %+v", own)
	}
	list := filepath.Join(t.TempDir(), "list")
	for _, c := range []struct{ version, commit, list string }{
		{"latest", builtCommit, ""}, {"1.2.3", "main", ""}, {"1.2.3", builtCommit, "no list\n"},
		{"1.2.3", builtCommit, strings.Repeat(strings.Repeat("a", 64)+"  cabincrew_1.2.3_linux_amd64.tar.gz\n", 2)},
	} {
		d.write(list, c.list, 0o600)
		if code, out := d.run("release-pins.sh", c.version, c.commit, list, d.pins()); code != 2 {
			t.Errorf("%+v: exit %d\n%s", c, code, out)
		}
	}
	if after, err := os.ReadFile(d.pins()); err != nil || string(after) != string(text) {
		t.Errorf("a refused call changed the pins: %v", err)
	}
}

// TestCommandsOfTheAction runs the last script of the action over a program that
// tells what it was given.
func TestCommandsOfTheAction(t *testing.T) {
	t.Parallel()
	cases := []struct {
		command string
		code    int
		says    string
	}{
		{"auto", 4, "<ci><auto>"}, {"take-off", 4, "<ci><take-off>"}, {"version", 4, "<version>"},
		{"", 2, "names none"}, {"--help", 2, "names none"}, {"auto; touch pwned", 2, "names none"},
		{"$(touch pwned)", 2, "names none"}, {"auto\n::set-output name=x::y", 2, "names none"},
	}
	for _, c := range cases {
		t.Run(c.command, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			program := filepath.Join(d.tools, "cabincrew")
			d.write(program, "#!/bin/bash\nprintf '<%s>' \"$@\"; exit 4\n", 0o750)
			d.env = append(d.env, "CABINCREW_PROGRAM="+program, "INPUT_COMMAND="+c.command)
			code, out := d.run("run-action.sh")
			if code != c.code || !strings.Contains(out, c.says) || strings.Contains(out, "touch") || strings.Contains(out, "set-output") {
				t.Errorf("exit %d, or it does not say %q:\n%s", code, c.says, out)
			}
			if want := fmt.Sprintf("exit-code=%d\n", c.code); d.outputs() != want {
				t.Errorf("outputs are %q", d.outputs())
			}
		})
	}
}
