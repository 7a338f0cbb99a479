//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cabincrew/action/test/githubtest"
)

// field is a stage on which the real program flies: act runs the workflows, the fake
// GitHub answers it, and the rig's Fulcio and time stamping authority let it sign.
//
// act gives every job everything, knows no permissions and mints no identity. So what a
// job gets here is what its workflow asks for: a token of the fake with exactly these
// permissions, and the way to an identity only with id-token: write.
type field struct {
	*stage
	hub        *githubtest.Server
	repo       *githubtest.Repo
	alice, bob *githubtest.User
	own        string // the commit of the action
	as         func(job string, c claims) claims
}

// The files of the form with three jobs.
const (
	planFile = "cabincrew.yml"
	baseFile = "cabincrew-base.yml"
)

func newField(t *testing.T) *field {
	t.Helper()
	f := &field{stage: newStage(t), hub: githubtest.New(t), as: func(_ string, c claims) claims { return c }}
	f.ownSource("action", "action.yml", "ci/release.json", "scripts", ".github")
	action := read(t, filepath.Join(f.dir, "action/action.yml"))
	const given = "INPUT_TOKEN: ${{ inputs.token "
	if strings.Count(action, given+"}}") != 1 {
		t.Fatal("action.yml gives the program its token in another way")
	}
	f.file("action/action.yml", strings.Replace(action, given, given+"&& env.TOKEN_OF_THE_JOB ", 1))
	f.flags = append(f.flags, "--secret", "GITHUB_TOKEN=one-for-all-jobs")
	if err := os.MkdirAll(filepath.Join(f.dir, "program"), 0o750); err != nil {
		t.Fatal(err)
	}
	f.must(".", "cp", house.program, "program/cabincrew")
	f.own = f.release()
	f.alice, f.bob = f.hub.User("alice"), f.hub.User("bob")
	origin := filepath.Join(f.origins, "acme/infra.git")
	f.must(".", "git", "init", "--quiet", "--bare", "--initial-branch=main", origin)
	f.must("origins/acme/infra.git", "git", "config", "uploadpack.allowAnySHA1InWant", "true")
	f.repo = f.hub.Repo("acme/infra", githubtest.GitDir(origin), githubtest.Private())
	f.repo.Allow(f.alice, "write")
	f.repo.Allow(f.bob, "maintain")
	maps.Copy(f.env, map[string]string{
		"GITHUB_API_URL": f.hub.URL(), "GITHUB_REPOSITORY_ID": strconv.FormatInt(f.repo.ID, 10),
	})
	f.must("work", "git", "init", "--quiet", "--initial-branch=main", ".")
	f.must("work", "git", "remote", "add", "origin", "https://github.com/acme/infra")
	f.tick()
	return f
}

// tick brings the fake's clock two seconds beyond this machine's, and forward in any
// case: GitHub tells times in seconds.
func (f *field) tick() {
	f.hub.Advance(max(time.Until(f.hub.Now()), 0) + time.Second)
	if d := time.Until(f.hub.Now()); d < 2*time.Second {
		f.hub.Advance(2*time.Second - d)
	}
}

// begin makes the first commit of the default branch.
func (f *field) begin(files map[string]string) {
	f.t.Helper()
	f.repo.Push("main", f.repo.Commit(githubtest.Commit{Author: f.alice, Message: "begin", Files: files}), f.alice)
}

// open opens a pull request.
func (f *field) open(branch string, files map[string]string) *githubtest.Pull {
	f.t.Helper()
	head := f.repo.Commit(githubtest.Commit{Author: f.alice, Message: branch, Parents: []string{f.repo.Tip("refs/heads/main")}, Files: files})
	f.repo.Push(branch, head, f.alice)
	return f.repo.Open(githubtest.Opened{Title: branch, Author: f.alice, Head: branch})
}

// trigger is an event and the run that it starts.
type trigger struct {
	githubtest.Started
	ref     string // of the run
	sha     string // of the run: of a pull request its merge with the base
	payload []byte
}

// opened is what GitHub starts for a pull request.
func (f *field) opened(p *githubtest.Pull, action string) trigger {
	return f.onPull(p, "pull_request", f.alice, p.Payload(action, f.alice))
}

// reviewed is what GitHub starts for a review.
func (f *field) reviewed(p *githubtest.Pull, r *githubtest.Review) trigger {
	return f.onPull(p, "pull_request_review", r.User, p.ReviewPayload("submitted", r))
}

func (f *field) onPull(p *githubtest.Pull, event string, by *githubtest.User, payload []byte) trigger {
	return trigger{
		githubtest.Started{Workflow: ".github/workflows/" + planFile, Event: event, Branch: "feature", SHA: p.Head(), Actor: by, Pulls: []*githubtest.Pull{p}},
		fmt.Sprintf("refs/pull/%d/merge", p.Number), p.MergeCommit(), payload,
	}
}

// pushed is what GitHub starts for a push to the default branch.
func (f *field) pushed(file, before, after string) trigger {
	return trigger{
		githubtest.Started{Workflow: ".github/workflows/" + file, Event: "push", Branch: "main", SHA: after, Actor: f.alice},
		"refs/heads/main", after, f.repo.PushPayload("main", before, after, f.alice),
	}
}

// after is what GitHub starts in the base when a run of a fork has ended.
func (f *field) after(r flight) trigger {
	main := f.repo.Tip("refs/heads/main")
	return trigger{
		githubtest.Started{Workflow: ".github/workflows/" + baseFile, Event: "workflow_run", Branch: "main", SHA: main, Actor: r.Actor},
		"refs/heads/main", main, r.Payload("completed"),
	}
}

// merge merges a pull request, and gives the push.
func (f *field) merge(file string, p *githubtest.Pull) trigger {
	f.t.Helper()
	f.tick()
	before := f.repo.Tip("refs/heads/main")
	after := p.Merge(f.bob, "merge")
	f.tick()
	return f.pushed(file, before, after)
}

// flies lets act do the run that an event starts. What its jobs uploaded is then the
// run's on the fake.
func (f *field) flies(e trigger) flight {
	f.t.Helper()
	f.must("work", "git", "fetch", "--quiet", filepath.Join(f.origins, "acme/infra.git"), e.sha)
	f.must("work", "git", "checkout", "--quiet", "--force", "--detach", e.sha)
	run := f.repo.Start(e.Started)
	maps.Copy(f.env, map[string]string{
		"GITHUB_RUN_ID": strconv.FormatInt(run.ID, 10), "GITHUB_WORKFLOW_REF": "acme/infra/" + e.Workflow + "@" + e.ref, "GITHUB_WORKFLOW_SHA": e.sha,
	})
	f.equip(run, e)
	var payload map[string]any
	if err := json.Unmarshal(e.payload, &payload); err != nil {
		f.t.Fatal(err)
	}
	out := flight{Run: run, t: f.t, outputs: map[string]map[string]string{}, kept: map[string]*githubtest.Artifact{}, zips: map[string][]byte{}}
	out.code, out.out = f.act(filepath.Base(e.Workflow), e.Event, payload)
	for _, m := range told.FindAllStringSubmatch(out.out, -1) {
		job, name, value := m[1], m[2], m[3]
		if out.outputs[job] == nil {
			out.outputs[job] = map[string]string{}
		}
		if _, again := out.outputs[job][name]; !again && name == "exit-code" {
			out.ended = append(out.ended, job+" "+value)
		}
		out.outputs[job][name] = value
	}
	for name, zip := range f.uploads(run) {
		out.kept[name], out.zips[name] = run.UploadZip(name, zip), zip
	}
	conclusion := "success"
	if out.code != 0 {
		conclusion = "failure"
	}
	run.Finish(conclusion)
	f.tick()
	return out
}

// flight is a run that act did.
type flight struct {
	*githubtest.Run
	t       *testing.T
	code    int                          // of act
	ended   []string                     // jobs in which the program ran, with its exit code, in order
	outputs map[string]map[string]string // of the steps of a job
	out     string
	kept    map[string]*githubtest.Artifact
	zips    map[string][]byte // of the artifacts
}

// told finds the outputs that act tells of.
var told = regexp.MustCompile(`(?m)^\[[^]]*/([a-z-]+) *\] +⚙  ::set-output:: ([a-z-]+)=(.*)$`)

// uploads are the artifacts of a run, as act's artifact service keeps them.
func (f *field) uploads(run *githubtest.Run) map[string][]byte {
	f.t.Helper()
	out := map[string][]byte{}
	top := filepath.Join(f.dir, "artifacts", strconv.FormatInt(run.ID, 10))
	names, err := os.ReadDir(top)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.t.Fatal(err)
	}
	for _, n := range names {
		out[n.Name()] = []byte(read(f.t, filepath.Join(top, n.Name(), n.Name()+".zip")))
	}
	return out
}

// flow is what a workflow's file says of its jobs.
type flow struct {
	Jobs map[string]struct {
		Uses        string
		Permissions map[string]string
	}
}

func (f *field) flow(text string) (w flow) {
	f.t.Helper()
	if err := yaml.Unmarshal([]byte(text), &w); err != nil {
		f.t.Fatal(err)
	}
	return w
}

// equip gives the jobs of a run, in its own file and those that it calls, what GitHub
// gives them.
func (f *field) equip(run *githubtest.Run, e trigger) {
	f.t.Helper()
	at := filepath.Join("work", e.Workflow)
	text := read(f.t, filepath.Join(f.dir, at))
	caller := f.flow(text)
	for name, job := range caller.Jobs {
		called, isCall := strings.CutPrefix(job.Uses, "cabincrew/action/")
		if !isCall {
			text = f.equipped(text, run, e, name, "acme/infra/"+e.Workflow+"@"+e.ref, e.sha, job.Permissions)
			continue
		}
		called, ref, _ := strings.Cut(called, "@")
		if ref != f.own {
			f.t.Fatalf("%s is not pinned by the commit of the action", job.Uses)
		}
		inner := knowing(read(f.t, filepath.Join(f.dir, "action", called)), f.own)
		for name, within := range f.flow(inner).Jobs {
			for p, level := range within.Permissions {
				if have := job.Permissions[p]; have != level && have != "write" {
					f.t.Errorf("%s: job %s needs %s: %s, and its caller gives %q", called, name, p, level, have)
				}
			}
			inner = f.equipped(inner, run, e, name, job.Uses, f.own, within.Permissions)
		}
		inner = strings.ReplaceAll(inner, "github.token", "env.TOKEN_OF_THE_JOB")
		f.file(filepath.Join("called", called), inner)
	}
	f.file(at, text)
}

// equipped gives a workflow's text in which a job has its token and its identity.
func (f *field) equipped(text string, run *githubtest.Run, e trigger, job, workflow, commit string, may map[string]string) string {
	f.t.Helper()
	head := "\n  " + job + ":\n"
	if strings.Count(text, head) != 1 {
		f.t.Fatalf("the job %s is not found", job)
	}
	may = maps.Clone(may)
	identity := may["id-token"]
	delete(may, "id-token")
	env := map[string]string{"TOKEN_OF_THE_JOB": f.hub.Token(githubtest.Token{Repo: f.repo, Permissions: may})}
	if identity == "write" {
		c := run.Claims(e.ref).With(claims{"sha": e.sha, "workflow_sha": e.sha, "job_workflow_ref": workflow, "job_workflow_sha": commit})
		for _, v := range house.github.Job(f.as(job, c)) {
			name, value, _ := strings.Cut(v, "=")
			env[name] = value
		}
	}
	line, err := json.Marshal(env) // JSON's text is YAML's
	if err != nil {
		f.t.Fatal(err)
	}
	return strings.Replace(text, head, head+"    env: "+string(line)+"\n", 1)
}

// check gives the newest check of a name.
func (f *field) check(name string) githubtest.CheckRun {
	f.t.Helper()
	for _, k := range slices.Backward(f.repo.Checks()) {
		if k.Name == name {
			return k
		}
	}
	f.t.Fatalf("there is no check %q", name)
	return githubtest.CheckRun{}
}

// wants demands how act ended, and with which exit codes the program did.
func (f *field) wants(r flight, code int, ended ...string) {
	f.t.Helper()
	if (r.code != 0) != (code != 0) || !slices.Equal(r.ended, ended) {
		f.t.Fatalf("act ended with %d, the program with %q, not %q\n%s", r.code, r.ended, ended, r.out)
	}
}

// marks are the tags of a flight: begun and done, in order.
func (f *field) marks(token string) (out []string) {
	for _, name := range f.repo.Refs("refs/tags/cabincrew/" + strings.TrimPrefix(token, "sha256:") + "/") {
		out = append(out, filepath.Base(name))
	}
	return out
}
