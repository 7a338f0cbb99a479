package git

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// gitEnv is an environment in which git reads nothing of the machine or the user.
func gitEnv() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_ATTR_NOSYSTEM=1", "LC_ALL=C",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=C", "GIT_COMMITTER_EMAIL=c@example.org",
		"GIT_AUTHOR_DATE=1700000000 +0100", "GIT_COMMITTER_DATE=1700000000 +0100", "GIT_ALLOW_PROTOCOL=file",
	}
}

func tryGit(t testing.TB, dir string, env []string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env = dir, append(gitEnv(), env...)
	out, err := cmd.CombinedOutput()
	return strings.TrimSuffix(string(out), "\n"), err
}

func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	out, err := tryGit(t, dir, nil, args...)
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return out
}

func needs(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip("this test has a real program as its judge, and here there is none called", p)
		}
	}
}

// files are paths with content; a content that begins with "x " is of an
// executable, one with "l " a link's target, "" is a deletion.
type files map[string]string

func (f files) write(t testing.TB, dir string) {
	t.Helper()
	for name, c := range f { // first what goes, so that something else can come there
		if c == "" {
			must(t, os.RemoveAll(filepath.Join(dir, name)))
		}
	}
	for name, c := range f {
		p := filepath.Join(dir, name)
		if c == "" {
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.RemoveAll(p))
		if target, ok := strings.CutPrefix(c, "l "); ok {
			must(t, os.Symlink(target, p))
			continue
		}
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(c, "x ") {
			mode = 0o755
		}
		must(t, os.WriteFile(p, []byte(c), mode))
	}
}

// skeleton is what "git init" makes, without a process.
func skeleton(t testing.TB, dir string, bare bool) {
	t.Helper()
	for _, d := range []string{"objects/info", "objects/pack", "refs/heads", "refs/tags"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(dir, "HEAD"), []byte("ref: refs/heads/main\n"), 0o644))
	config := fmt.Sprintf("[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = %v\n[gc]\n\tauto = 0\n", bare)
	must(t, os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o644))
}

// templates are repositories by their content: copying one is cheaper than asking
// git for another.
var templates struct {
	sync.Mutex
	dir    string
	byText map[string]string
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "git-templates-")
	if err != nil {
		os.Exit(1)
	}
	templates.dir, templates.byText = dir, map[string]string{}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// newRepository makes a repository with one commit.
func newRepository(t testing.TB, content files) string {
	t.Helper()
	needs(t, "git")
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(template(t, content))))
	return dir
}

func template(t testing.TB, content files) string {
	t.Helper()
	text, err := json.Marshal(content)
	must(t, err)
	templates.Lock()
	defer templates.Unlock()
	if dir := templates.byText[string(text)]; dir != "" {
		return dir
	}
	dir := filepath.Join(templates.dir, strconv.Itoa(len(templates.byText)))
	skeleton(t, filepath.Join(dir, ".git"), false)
	content.write(t, dir)
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "--allow-empty", "-m", "first")
	templates.byText[string(text)] = dir
	return dir
}

// flight is one step over a repository: its work tree stands for the checkout,
// workspace for what the step sees.
type flight struct {
	t         testing.TB
	repo      string
	gitDir    string
	workspace string
	artifacts string
	context   map[string]any
	config    map[string]any
	secrets   map[string]any
	env       []string
	log       bytes.Buffer
}

func newFlight(t testing.TB, repo string) *flight {
	t.Helper()
	f := &flight{
		t: t, repo: repo, gitDir: filepath.Join(repo, ".git"), workspace: t.TempDir(), artifacts: t.TempDir(), context: map[string]any{"steps": map[string]any{}},
		config: map[string]any{"message": "Update things", "branch": "bot/update", "remote": "file:///nowhere", "allow_file": true},
	}
	f.copyTree(repo, f.workspace)
	return f
}

func scan(t testing.TB, dir string) []workspace.File {
	t.Helper()
	list, err := workspace.Scan(context.Background(), dir, workspace.Options{NoIgnore: true, Tracked: []string{}, Exclude: []string{".git"}})
	must(t, err)
	return slices.DeleteFunc(list, func(f workspace.File) bool { return strings.Contains("/"+f.Path+"/", "/.git/") })
}

func (f *flight) copyTree(from, to string) {
	f.t.Helper()
	must(f.t, workspace.Copy(context.Background(), from, scan(f.t, from), to))
}

func entries(list []workspace.File) []patch.Entry {
	var out []patch.Entry
	for _, f := range list {
		out = append(out, patch.Entry{Path: f.Path, Letter: f.Letter, Digest: f.Digest, Size: f.Size})
	}
	return out
}

// step changes the workspace as an earlier step's patch would.
func (f *flight) step(id string, change files) {
	f.t.Helper()
	before := f.t.TempDir()
	f.copyTree(f.workspace, before)
	change.write(f.t, f.workspace)
	var body bytes.Buffer
	list, err := patch.Make(context.Background(), before, entries(scan(f.t, before)), f.workspace, entries(scan(f.t, f.workspace)), &body)
	must(f.t, err)
	raw, err := protocol.Canonical(protocol.Artifact{ArtifactType: "patch", Action: "apply", Mime: "text/x-diff", BodyFile: "body.data", Metadata: map[string]any{"files": list}})
	must(f.t, err)
	f.context["steps"].(map[string]any)[id] = map[string]any{"artifacts": []any{
		map[string]any{"name": "notes", "role": "evidence", "hash": "sha256:0", "size": 0, "artifact": map[string]any{"artifact_type": "summary", "action": "inform", "mime": "text/plain", "body": "x"}},
		map[string]any{"name": "changes", "role": "evidence", "hash": "sha256:0", "size": body.Len(), "artifact": json.RawMessage(raw), "body": body.String()},
	}}
}

func (f *flight) run(ctx context.Context, mode protocol.Mode) (int, protocol.EngineOutput) {
	f.t.Helper()
	temp := f.t.TempDir()
	doc := map[string]any{"protocol_version": "draft", "mode": mode, "meta": map[string]any{"workflow_id": "w", "step_id": "commit"}, "config": f.config}
	if mode == protocol.FlightPlan {
		doc["context"] = f.context
	}
	if f.secrets != nil {
		doc["secrets"] = f.secrets
	}
	input, err := json.Marshal(doc)
	must(f.t, err)
	env := append([]string{
		"CABINCREW_WORKSPACE=" + f.workspace, "CABINCREW_ARTIFACTS_DIR=" + f.artifacts, "CABINCREW_TEMP_DIR=" + temp, "HOME=" + temp,
		"CABINCREW_MODE=" + string(mode), "PATH=/nonexistent",
	}, f.env...)
	if mode == protocol.FlightPlan && f.gitDir != "" {
		env = append(env, "CABINCREW_GIT_DIR="+f.gitDir)
	}
	var out bytes.Buffer
	f.log.Reset()
	code := Run(ctx, []string{"--mode", string(mode)}, bytes.NewReader(input), &out, &f.log, env)
	var receipt protocol.EngineOutput
	must(f.t, protocol.Decode(out.Bytes(), &receipt))
	if code == 0 && mode == protocol.FlightPlan {
		f.derive()
	}
	return code, receipt
}

// plan plans anew and gives the evidence.
func (f *flight) plan() evidence {
	f.t.Helper()
	must(f.t, os.RemoveAll(f.artifacts))
	must(f.t, os.MkdirAll(f.artifacts, 0o755))
	if code, receipt := f.run(context.Background(), protocol.FlightPlan); code != 0 {
		f.t.Fatalf("exit %d: %s", code, receipt.Error)
	}
	return f.evidence()
}

// refused plans and wants a failure with a text in its message.
func (f *flight) refused(want string) {
	f.t.Helper()
	must(f.t, os.RemoveAll(f.artifacts))
	must(f.t, os.MkdirAll(f.artifacts, 0o755))
	code, receipt := f.run(context.Background(), protocol.FlightPlan)
	if code == 0 || receipt.Status != protocol.StatusFailure || !strings.Contains(receipt.Error, want) {
		f.t.Errorf("exit %d, %s: %q; want a failure with %q", code, receipt.Status, receipt.Error, want)
	}
	if list, _ := os.ReadDir(f.artifacts); len(list) != 0 || len(receipt.Artifacts) != 0 {
		f.t.Errorf("%d artifacts, %d declared", len(list), len(receipt.Artifacts))
	}
}

func (f *flight) takeOff() (int, protocol.EngineOutput) {
	f.t.Helper()
	return f.run(context.Background(), protocol.TakeOff)
}

func (f *flight) pushes() {
	f.t.Helper()
	if code, receipt := f.takeOff(); code != 0 {
		f.t.Fatalf("exit %d: %s\n%s", code, receipt.Error, f.log.String())
	}
}

func (f *flight) pushFails(want string) {
	f.t.Helper()
	if code, receipt := f.takeOff(); code == 0 || !strings.Contains(receipt.Error, want) {
		f.t.Errorf("exit %d: %q, want a failure with %q", code, receipt.Error, want)
	}
}

func (f *flight) derive() {
	f.t.Helper()
	root, err := os.OpenRoot(f.artifacts)
	must(f.t, err)
	defer func() { must(f.t, root.Close()) }()
	if opaque, err := Derive(root, f.config, DeriveKeys{}); opaque || err != nil {
		f.t.Errorf("derive: opaque %v, %v", opaque, err)
	}
}

type evidence struct {
	Commit, Tree, Parent, Date, Message, Branch, Remote string
	Author, Committer                                   map[string]string
	Create, Signed                                      bool
	SigningKey                                          string `json:"signing_key"`
	FilesChanged                                        int    `json:"files_changed"`
	Files                                               []struct {
		Op, Path, Mode, Before, After, Digest string
		OldMode                               string `json:"old_mode"`
	}
}

func (f *flight) evidence() (e evidence) {
	f.t.Helper()
	raw, err := os.ReadFile(filepath.Join(f.artifacts, "commit", "artifact.json"))
	must(f.t, err)
	var a struct{ Body evidence }
	must(f.t, json.Unmarshal(raw, &a))
	return a.Body
}

func (f *flight) bundle() string { return filepath.Join(f.artifacts, "objects", "body.data") }

// fetch takes the planned commit into a repository by its bundle, as git does.
func (f *flight) fetch(repo string) {
	f.t.Helper()
	git(f.t, repo, "bundle", "verify", f.bundle())
	git(f.t, repo, "fetch", "-q", f.bundle(), "+refs/heads/"+f.config["branch"].(string)+":refs/planned")
	git(f.t, repo, "fsck", "--strict", "--no-dangling")
}

// read reads all artifacts, to compare two plannings.
func (f *flight) read() string {
	f.t.Helper()
	var b strings.Builder
	must(f.t, filepath.WalkDir(f.artifacts, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		b.WriteString(strings.TrimPrefix(p, f.artifacts) + "\n")
		b.Write(data)
		return err
	}))
	return b.String()
}
