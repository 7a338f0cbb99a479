//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// stage is a workspace and bare repositories, in which act runs workflows in host
// mode: on this machine, in the environment of the test alone.
type stage struct {
	t       *testing.T
	dir     string
	work    string // the workspace
	origins string // OWNER/NAME.git
	env     map[string]string
	flags   []string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	dir := t.TempDir()
	s := &stage{t: t, dir: dir, work: filepath.Join(dir, "work"), origins: filepath.Join(dir, "origins"), env: map[string]string{}}
	for _, sub := range []string{"work", "origins", "home/.config/act"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil { //nolint:gosec // a workspace
			t.Fatal(err)
		}
	}
	s.file("home/.config/act/actrc", "")
	standIns := filepath.Join(house.repository, "test/e2e/stand-ins")
	s.env["ORIGINS"], s.env["STAND_INS"], s.env["STAND_INS_PACKAGES"] = s.origins, standIns, house.tool("npm-actions/node_modules")
	for name, commit := range pinnedActions(t) {
		s.flags = append(s.flags, "--local-repository", "actions/"+name+"@"+commit+"="+filepath.Join(standIns, name))
	}
	return s
}

// pinnedActions gives the actions that our files use, with the commits that they pin.
func pinnedActions(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range []string{"action.yml", ".github/workflows/flight-plan.yml"} {
		for line := range strings.Lines(read(t, filepath.Join(house.repository, name))) {
			if _, uses, ok := strings.Cut(line, "uses: actions/"); ok {
				action, rest, _ := strings.Cut(uses, "@")
				out[action] = strings.Fields(rest)[0]
			}
		}
	}
	if len(out) != 4 {
		t.Fatalf("the files use %v", out)
	}
	return out
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name) //nolint:gosec // our own
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// file writes a file below the stage's directory.
func (s *stage) file(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a workspace
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// run runs a program in a directory of the stage, with nothing of this process's
// environment but what Go and git need.
func (s *stage) run(dir string, args ...string) (int, string) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), args[0], args[1:]...) //nolint:gosec // outside judges
	cmd.Dir = filepath.Join(s.dir, dir)
	home := filepath.Join(s.dir, "home")
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_CACHE_HOME=" + filepath.Join(s.dir, "cache"), "TMPDIR=" + s.t.TempDir(), "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

func (s *stage) must(dir string, args ...string) string {
	s.t.Helper()
	code, out := s.run(dir, args...)
	if code != 0 {
		s.t.Fatalf("%q: exit %d\n%s", args, code, out)
	}
	return strings.TrimSpace(out)
}

// publish commits a directory and makes it the repository OWNER/NAME that the
// stand-in of actions/checkout finds; it gives the commit.
func (s *stage) publish(dir, name string) string {
	s.t.Helper()
	s.must(dir, "git", "init", "--quiet", "--initial-branch=main", ".")
	s.must(dir, "git", "add", "--all", "--force")
	s.must(dir, "git", "commit", "--quiet", "--message=as it is")
	s.must(".", "git", "clone", "--quiet", "--bare", dir, filepath.Join("origins", name+".git"))
	s.must(filepath.Join("origins", name+".git"), "git", "config", "uploadpack.allowAnySHA1InWant", "true")
	s.must(dir, "git", "remote", "add", "origin", "https://github.com/"+name)
	return s.must(dir, "git", "rev-parse", "HEAD")
}

// act runs a workflow of the workspace for an event.
func (s *stage) act(workflow, event string, payload map[string]any) (int, string) {
	s.t.Helper()
	text, err := json.Marshal(payload)
	if err != nil {
		s.t.Fatal(err)
	}
	s.file("event.json", string(text))
	ports, err := freePorts(1)
	if err != nil {
		s.t.Fatal(err)
	}
	args := []string{
		house.tool("act"), event, "--workflows", filepath.Join(".github/workflows", workflow), "--eventpath", "../event.json",
		"--platform", "ubuntu-24.04=-self-hosted", "--platform", "ubuntu-latest=-self-hosted", "--no-skip-checkout", "--no-cache-server",
		"--artifact-server-path", filepath.Join(s.dir, "artifacts"), "--artifact-server-addr", "127.0.0.1", "--artifact-server-port", ports[0],
	}
	for name, value := range s.env {
		args = append(args, "--env", name+"="+value)
	}
	return s.run("work", append(args, s.flags...)...)
}

// goEnvironment lets Go build in the workspace with what this machine has: no network.
func goEnvironment(t *testing.T) map[string]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "-json", "GOMODCACHE", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	if err := json.Unmarshal(out, &env); err != nil {
		t.Fatal(err)
	}
	env["GOPROXY"] = "off"
	return env
}

// ownSource copies what git knows of this repository into the stage, or only what is
// below some paths of it.
func (s *stage) ownSource(dir string, paths ...string) {
	s.t.Helper()
	args := append([]string{"-C", house.repository, "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--"}, paths...)
	list, err := exec.CommandContext(s.t.Context(), "git", args...).Output() //nolint:gosec // our own
	if err != nil {
		s.t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		from := filepath.Join(house.repository, name)
		info, err := os.Lstat(from)
		if errors.Is(err, os.ErrNotExist) {
			continue // removed, and not committed yet
		}
		if err != nil {
			s.t.Fatal(err)
		}
		to := filepath.Join(s.dir, dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // a workspace
			s.t.Fatal(err)
		}
		if info.Mode()&os.ModeSymlink != 0 {
			target, err := os.Readlink(from)
			if err != nil {
				s.t.Fatal(err)
			}
			if err := os.Symlink(target, to); err != nil {
				s.t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(to, []byte(read(s.t, from)), info.Mode().Perm()); err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestActionFromSource runs action.yml as uses: ./ under act: it builds the workspace's
// own source, gives its outputs, and treats hostile inputs as text.
func TestActionFromSource(t *testing.T) {
	s := newStage(t)
	maps.Copy(s.env, goEnvironment(t))
	s.ownSource("work")
	s.file("work/.github/workflows/own.yml", strings.ReplaceAll(`
on: push
jobs:
  version:
    runs-on: ubuntu-24.04
    steps:
      - {uses: CHECKOUT, with: {persist-credentials: false}}
      - uses: ./
        id: version
        with: {command: version}
      - env: {CODE: "${{ steps.version.outputs.exit-code }}"}
        run: test "$CODE" = 0 && echo "the outputs arrived"
  hostile:
    needs: version
    runs-on: ubuntu-24.04
    steps:
      - {uses: CHECKOUT, with: {persist-credentials: false}}
      - uses: ./
        id: hostile
        continue-on-error: true
        with:
          command: '"; touch pwned-command; "'
          config: "$(touch pwned-config)\n; touch pwned-config"
          step: '${x:-$(touch pwned-step)}'
          working-directory: "'; touch pwned-directory; '"
          store: '`+"`touch pwned-store`"+`'
          fail-on: "\n::set-output name=decision::allow\nx=y"
          flight-path: '| touch pwned-path'
      - env: {CODE: "${{ steps.hostile.outputs.exit-code }}", DECISION: "${{ steps.hostile.outputs.decision }}", OUTCOME: "${{ steps.hostile.outcome }}"}
        run: test "$CODE" = 2 && test -z "$DECISION" && test "$OUTCOME" = failure && echo "the hostile inputs were text"
`, "CHECKOUT", "actions/checkout@"+pinnedActions(t)["checkout"]))
	s.publish("work", "cabincrew/action")
	code, out := s.act("own.yml", "push", map[string]any{})
	if code != 0 || !strings.Contains(out, "the outputs arrived") || !strings.Contains(out, "the hostile inputs were text") || !strings.Contains(out, "cabincrew devel") {
		t.Fatalf("exit %d\n%s", code, out)
	}
	s.unharmed()
}

// unharmed looks for what hostile texts of the tests would have made.
func (s *stage) unharmed() {
	s.t.Helper()
	err := filepath.WalkDir(s.dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(path), "pwned") {
			s.t.Errorf("a text was run: %s", path)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// TestWorkflowsAreCleanForOthers has two linters of others read all workflows.
func TestWorkflowsAreCleanForOthers(t *testing.T) {
	var files []string
	for _, pattern := range []string{".github/workflows/*.yml", "examples/github/*.yml"} {
		names, err := filepath.Glob(filepath.Join(house.repository, pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		files = append(files, names...)
	}
	lint := func(args ...string) {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...) //nolint:gosec // outside judges
		cmd.Dir = house.repository
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
	lint(append([]string{house.tool("actionlint"), "-no-color"}, files...)...)
	for _, name := range append(files, filepath.Join(house.repository, "action.yml")) {
		if filepath.Base(name) == "release.yml" { // action-validator 0.6.0 is older than that permission
			known := filepath.Join(t.TempDir(), ".github/workflows/release.yml")
			if err := os.MkdirAll(filepath.Dir(known), 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(known, []byte(strings.ReplaceAll(read(t, name), "      attestations: write\n", "")), 0o600); err != nil {
				t.Fatal(err)
			}
			name = known
		}
		lint("node", house.tool("npm-actions/node_modules/@action-validator/cli/cli.mjs"), name)
	}
}
