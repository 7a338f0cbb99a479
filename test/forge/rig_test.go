package forge

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/cli"
	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/test/githubtest"
)

// TestMain lets the test binary be the program, so that built-in engines, which
// re-execute it, work in tests.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "engine" {
		os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
	}
	os.Exit(m.Run())
}

// workflowFile is the workflow that plans and takes off.
const workflowFile = ".github/workflows/cabincrew.yml"

// rig is a repository on a fake GitHub, with people.
type rig struct {
	t      *testing.T
	hub    *githubtest.Server
	repo   *githubtest.Repo
	origin string // the bare repository
	keys   string // directory of private keys, which only jobs have
	token  string
	signs  string            // token of the job that signs
	inputs map[string]string // of every job

	author, bob, carol *githubtest.User
}

// policy asks the role platform about every change of a workflow's file list.
const policy = `package cabincrew.rig

require_approval contains {"msg": "a change of app.txt", "role": "platform"} if {
	some a in input.artifacts
	a.artifact_type == "patch"
}

deny contains "this text is forbidden" if {
	some a in input.artifacts
	contains(sprintf("%v", [a]), "forbidden")
}
`

// configuration gives one whose only step writes a file, and the rest of which is given.
func (r *rig) configuration(rest string) string {
	return `version: 1
workflow: deploy
steps:
  - id: edit
    engine: {use: command, with: {shell: "cp app.txt out.txt"}}
    inputs: [app.txt]
policies: {rego: [pol/]}
signing: {key: ` + filepath.Join(r.keys, "plan") + `}
` + rest
}

// keysDir stands in files of a repository for the directory of keys.
const keysDir = "{keys}"

// byReview lets one reviewer with the role platform approve.
const byReview = "approvals: {roles: {platform: {users: [bob, carol]}}}\n"

func newRig(t *testing.T, rest string, more map[string]string) *rig {
	t.Helper()
	r := &rig{t: t, hub: githubtest.New(t), origin: t.TempDir(), keys: t.TempDir(), inputs: map[string]string{}}
	r.hub.Advance(time.Until(r.hub.Now()).Abs()) // both clocks tell the same
	r.key("plan")
	r.author, r.bob, r.carol = r.hub.User("alice"), r.hub.User("bob"), r.hub.User("carol")
	r.git(r.origin, "init", "-q", "--bare", "-b", "main")
	r.repo = r.hub.Repo("acme/infra", githubtest.GitDir(r.origin), githubtest.Private())
	for _, u := range []*githubtest.User{r.author, r.bob, r.carol} {
		r.repo.Allow(u, "write")
	}
	files := map[string]string{
		".cabincrew.yaml": r.configuration(rest), "pol/rig.rego": policy, "app.txt": "one\n", ".gitignore": ".cabincrew/\n",
		planFile: "on: pull_request\n", baseFile: "on: push\n",
	}
	maps.Copy(files, more)
	for name, content := range files {
		files[name] = strings.ReplaceAll(content, keysDir, r.keys)
	}
	r.repo.Push("main", r.repo.Commit(githubtest.Commit{Author: r.author, Message: "start", Files: files}), r.author)
	r.token = r.hub.Token(githubtest.Token{Repo: r.repo, Permissions: githubtest.JobPermissions()})
	r.signs = r.hub.Token(githubtest.Token{Repo: r.repo, Permissions: map[string]string{"contents": "read", "checks": "write", "pull-requests": "read", "actions": "read"}})
	return r
}

func (r *rig) key(name string) {
	r.t.Helper()
	private, public, err := signing.Generate(signing.ECDSAP256, nil, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for at, data := range map[string][]byte{name: private, name + ".pub": public} {
		if err := os.WriteFile(filepath.Join(r.keys, at), data, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) git(dir string, args ...string) string {
	r.t.Helper()
	return r.gitAt(dir, time.Now(), args...)
}

// gitAt runs git as if it were another time.
func (r *rig) gitAt(dir string, at time.Time, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_COMMITTER_NAME=rig", "GIT_COMMITTER_EMAIL=rig@example.com", "GIT_COMMITTER_DATE=" + at.Format(time.RFC3339)}
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// open opens a pull request that changes app.txt.
func (r *rig) open(branch, content string) *githubtest.Pull {
	r.t.Helper()
	return r.openFiles(branch, map[string]string{"app.txt": content})
}

func (r *rig) openFiles(branch string, files map[string]string) *githubtest.Pull {
	r.t.Helper()
	head := r.repo.Commit(githubtest.Commit{
		Author: r.author, Message: branch, Parents: []string{r.repo.Tip("refs/heads/main")}, Files: files,
	})
	r.repo.Push(branch, head, r.author)
	return r.repo.Open(githubtest.Opened{Title: branch, Author: r.author, Head: branch})
}

// job is one job of a workflow run.
type job struct {
	event   string
	payload map[string]any
	sha     string // of the run
	at      string // that is checked out; "": sha
	ref     string
	run     string // id of the run
	token   string
	inputs  map[string]string
	env     map[string]string
}

// result is what a job gave.
type result struct {
	code           int
	stdout, stderr string
	outputs        map[string]string
	summary        string
	workspace      string
}

func (r *rig) person(u *githubtest.User) map[string]any {
	return map[string]any{"id": u.ID, "login": u.Login, "type": u.Type}
}

func (r *rig) repository() map[string]any {
	return map[string]any{"id": r.repo.ID, "full_name": r.repo.FullName(), "default_branch": r.repo.Default, "private": r.repo.Private, "owner": r.person(r.repo.Owner)}
}

// pullRequest is a job of a pull_request event.
func (r *rig) pullRequest(p *githubtest.Pull, action, run string) job {
	return job{
		event: "pull_request", run: run, sha: p.MergeCommit(), ref: fmt.Sprintf("refs/pull/%d/merge", p.Number),
		payload: map[string]any{
			"action": action, "number": p.Number, "repository": r.repository(), "sender": r.person(p.Author), "pull_request": r.pullBody(p, false),
		},
	}
}

func (r *rig) pullBody(p *githubtest.Pull, merged bool) map[string]any {
	return map[string]any{
		"number": p.Number, "state": "open", "draft": false, "merged": merged, "merge_commit_sha": p.MergeCommit(), "user": r.person(p.Author),
		"head": map[string]any{"ref": "feature", "sha": p.Head(), "repo": r.repository()},
		"base": map[string]any{"ref": "main", "sha": r.repo.Tip("refs/heads/main"), "repo": r.repository()},
	}
}

// push is a job of a push to the default branch.
func (r *rig) push(commit, before, run string) job {
	sender := r.author
	for _, n := range r.repo.Runs() {
		if n.Event == "merge_group" && n.SHA == commit {
			sender = r.hub.Bot("github-merge-queue[bot]")
		}
	}
	return job{
		event: "push", run: run, sha: commit, ref: "refs/heads/main",
		payload: map[string]any{"ref": "refs/heads/main", "before": before, "after": commit, "repository": r.repository(), "sender": r.person(sender)},
	}
}

// do runs the program in a job on a fresh checkout with the whole history.
func (r *rig) do(command string, j job) result {
	r.t.Helper()
	top := r.t.TempDir()
	out := result{workspace: filepath.Join(top, "work"), outputs: map[string]string{}}
	r.checkout(out.workspace, cmp.Or(j.at, j.sha))
	env := r.environment(top, out.workspace, j)
	var stdout, stderr bytes.Buffer
	out.code = cli.Main(r.t.Context(), []string{"ci", command}, strings.NewReader(""), &stdout, &stderr, env)
	out.stdout, out.stderr = stdout.String(), stderr.String()
	out.outputs = outputs(r.t, filepath.Join(top, "output"))
	summary, err := os.ReadFile(filepath.Join(top, "summary"))
	if err != nil {
		r.t.Fatal(err)
	}
	out.summary = string(summary)
	return out
}

func (r *rig) checkout(dir, sha string) {
	r.git(filepath.Dir(dir), "init", "-q", dir)
	r.git(dir, "remote", "add", "origin", r.origin)
	r.git(dir, "fetch", "-q", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*", sha)
	r.git(dir, "checkout", "-q", "--detach", sha)
}

func (r *rig) environment(top, workspace string, j job) []string {
	r.t.Helper()
	payload, err := json.Marshal(j.payload)
	if err != nil {
		r.t.Fatal(err)
	}
	for name, content := range map[string][]byte{"event.json": payload, "output": nil, "summary": nil} {
		if err := os.WriteFile(filepath.Join(top, name), content, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	token := r.token
	if j.token != "" {
		token = j.token
	}
	env := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": top, "LANG": "C.UTF-8", "GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": workspace, "RUNNER_TEMP": top,
		"GITHUB_API_URL": r.hub.URL(), "GITHUB_SERVER_URL": r.hub.WebURL(), "GITHUB_REPOSITORY": r.repo.FullName(),
		"GITHUB_REPOSITORY_ID": strconv.FormatInt(r.repo.ID, 10), "GITHUB_EVENT_NAME": j.event, "GITHUB_EVENT_PATH": filepath.Join(top, "event.json"),
		"GITHUB_SHA": j.sha, "GITHUB_REF": j.ref, "GITHUB_RUN_ID": j.run, "GITHUB_RUN_ATTEMPT": "1", "GITHUB_OUTPUT": filepath.Join(top, "output"),
		"GITHUB_STEP_SUMMARY": filepath.Join(top, "summary"), "GITHUB_WORKFLOW_REF": r.repo.FullName() + "/" + workflowFile + "@" + j.ref,
		"INPUT_TOKEN": token,
	}
	for name, value := range merged(r.inputs, j.inputs) {
		env["INPUT_"+strings.ToUpper(strings.ReplaceAll(name, " ", "_"))] = value
	}
	maps.Copy(env, j.env)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}

// outputs reads what a step told GitHub Actions: NAME=VALUE, or NAME<<MARK, lines, MARK.
func outputs(t *testing.T, at string) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	lines := strings.Split(string(raw), "\n")
	for i := 0; i < len(lines); i++ {
		if name, mark, ok := strings.Cut(lines[i], "<<"); ok && !strings.Contains(name, "=") {
			var value []string
			for i++; i < len(lines) && lines[i] != mark; i++ {
				value = append(value, lines[i])
			}
			out[name] = strings.Join(value, "\n")
		} else if name, value, ok := strings.Cut(lines[i], "="); ok {
			out[name] = value
		}
	}
	return out
}

// want runs a job and demands an exit code.
func (r *rig) want(code int, command string, j job) result {
	r.t.Helper()
	got := r.do(command, j)
	if got.code != code {
		r.t.Fatalf("ci %s: exit %d, want %d\nstdout: %s\nstderr: %s", command, got.code, code, got.stdout, got.stderr)
	}
	return got
}

// zipOf packs a directory as actions/upload-artifact does.
func zipOf(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	err := filepath.WalkDir(dir, func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, at)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		w, err := z.Create(filepath.ToSlash(name))
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	})
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(t *testing.T, at string) string {
	t.Helper()
	raw, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
