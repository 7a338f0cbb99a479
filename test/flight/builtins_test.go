package flight

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"

	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// outOfFlight demands that no file of the state directory holds a text.
func (w *ws) outOfFlight(texts ...string) {
	w.t.Helper()
	err := filepath.WalkDir(filepath.Join(w.dir, ".cabincrew"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, text := range texts {
			if bytes.Contains(data, []byte(text)) {
				w.t.Errorf("%s holds %q", path, text)
			}
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// in gives what git says in a repository.
func (w *ws) in(dir string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.email=other@example.com", "-c", "user.name=Other"}, args...)...)
	cmd.Env = w.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// forge is a repository behind git's own http-backend.
type forge struct {
	dir, host string
	seen      *asked
}

// gitWS is a workspace in a repository, with a forge that has the same commit. Two
// steps change files; the third makes a commit of that for a branch.
func gitWS(t *testing.T, branch string) (*ws, *forge) {
	t.Helper()
	isolates(t)
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Skip("this test needs git:", err)
	}
	backend := filepath.Join(strings.TrimSpace(string(path)), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		t.Skip("this test pushes to git's own http-backend, which is not here:", err)
	}
	f := &forge{dir: filepath.Join(t.TempDir(), "remote.git")}
	w := newWS(t, map[string]string{"a.txt": "one\n", "sub/gone.txt": "gone\n", "tool": "echo hi\n", ".gitignore": "*.tmp\n/keys/*\n!/keys/*.pub\n"})
	for _, name := range []string{"boss", "other", "robot", "author"} {
		w.keys(name)
	}
	handler := &cgi.Handler{
		Path: backend, Env: append(slices.Clone(w.env), "GIT_PROJECT_ROOT="+filepath.Dir(f.dir), "GIT_HTTP_EXPORT_ALL=1"), Stderr: io.Discard,
	}
	var server *httptest.Server
	server, f.host, f.seen = tlsServer(t, ownAddress(t), func(rw http.ResponseWriter, r *http.Request) {
		if user, token, _ := r.BasicAuth(); user != "x-access-token" || token != secretValue {
			rw.Header().Set("WWW-Authenticate", "Basic")
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(rw, r)
	})
	w.trusts(server)
	w.write(".cabincrew.yaml", config(baseline+approvers,
		"  - id: write\n    engine: {use: files, with: {values: {n: 3}, files: [{path: docs/new.md, template: \"n is {{.n}}\\n\"}, {path: sub/gone.txt, delete: true}]}}\n",
		commandLine("edit", "", "echo two >> a.txt; chmod +x tool; echo x > left.tmp"),
		"  - id: commit\n    needs: [write, edit]\n    engine: {use: git, with: {message: Update, branch: "+branch+", remote: \"https://"+f.host+"/remote.git\"}}\n"+
			"    hosts: ['"+f.host+"']\n    secrets: {GIT_TOKEN: 'env:GIT_TOKEN'}\n"))
	w.git("init", "-q", "-b", "main")
	w.git("config", "user.email", "author@example.com")
	w.git("add", "-A")
	w.git("commit", "-q", "-m", "start")
	w.git("tag", "v1")
	w.git("branch", "private")
	w.in(w.dir, "clone", "-q", "--bare", "--single-branch", w.dir, f.dir)
	w.in(f.dir, "config", "http.receivepack", "true")
	w.in(f.dir, "remote", "remove", "origin")
	return w, f
}

// commitOf is the evidence of the step that commits.
func commitOf(t *testing.T, s orchestrator.Summary) (body struct{ Commit, Tree, Parent string }) {
	t.Helper()
	raw, err := os.ReadFile(flightDir(s, "steps", "commit", "artifacts", "commit", "artifact.json"))
	if err != nil {
		t.Fatal(err)
	}
	var a struct{ Body any }
	a.Body = &body
	if err := json.Unmarshal(raw, &a); err != nil {
		t.Fatal(err)
	}
	return body
}

// pushes flies from plan to take-off, with a person's approval of the executable
// that changes, and looks at what the forge has then.
func (w *ws) pushes(f *forge, branch, key string) {
	t := w.t
	t.Helper()
	refs, own := w.in(f.dir, "for-each-ref"), w.in(w.dir, "for-each-ref")
	head := w.in(w.dir, "rev-parse", "HEAD")
	s, planned := w.ends(4, "flight-plan")
	w.want(0, "approve", s.WorkflowID, "--as", "boss", "--key", key)
	if n := len(f.seen.all()); n != 0 {
		t.Fatalf("flight-plan sent %d requests: %v", n, f.seen.lines())
	}
	evidence := commitOf(t, s)
	with := w.with("GIT_TOKEN=" + secretValue)
	_, took := with.ends(0, "take-off", s.WorkflowID)
	if got := w.in(f.dir, "rev-parse", branch); got != evidence.Commit || w.in(f.dir, "rev-parse", branch+"^") != head || evidence.Parent != head {
		t.Errorf("the forge has %s, the evidence says %+v on top of %s", got, evidence, head)
	}
	index := w.with("GIT_INDEX_FILE=" + filepath.Join(t.TempDir(), "index"))
	index.in(w.dir, "read-tree", "HEAD")
	index.in(w.dir, "add", "-A", ":!.cabincrew")
	if got := index.in(w.dir, "write-tree"); got != evidence.Tree || w.in(f.dir, "rev-parse", branch+"^{tree}") != got {
		t.Errorf("the workspace is tree %s now, the evidence says %s\n%s", got, evidence.Tree, w.in(f.dir, "ls-tree", "-r", branch))
	}
	if got := w.in(f.dir, "show", "--format=%an %s", "--name-status", branch); got != "cabincrew Update\n\nM\ta.txt\nA\tdocs/new.md\nD\tsub/gone.txt\nM\ttool" {
		t.Errorf("the commit is\n%s", got)
	}
	// Nothing else came: no other reference, and no object that the branches do not need.
	if branch == "main" {
		refs = strings.Replace(refs, head+" commit\trefs/heads/main", evidence.Commit+" commit\trefs/heads/main", 1)
	} else {
		refs = evidence.Commit + " commit\trefs/heads/" + branch + "\n" + refs
	}
	if got := w.in(f.dir, "for-each-ref"); got != refs {
		t.Errorf("the forge has\n%s\nwant\n%s", got, refs)
	}
	objects := func(args ...string) []string {
		var out []string
		for line := range strings.Lines(w.in(f.dir, args...)) {
			out = append(out, line[:40])
		}
		slices.Sort(out)
		return out
	}
	if have, need := objects("cat-file", "--batch-all-objects", "--batch-check"), objects("rev-list", "--objects", "--all"); !slices.Equal(have, need) {
		t.Errorf("the forge has objects %v, its branches need %v", have, need)
	}
	w.in(f.dir, "fsck", "--strict")
	if got := w.in(w.dir, "for-each-ref"); got != own || w.in(w.dir, "rev-parse", "HEAD") != head {
		t.Errorf("the workspace's own repository changed:\n%s", got)
	}
	n := len(f.seen.all())
	_, again := with.ends(0, "take-off", s.WorkflowID)
	if got := f.seen.lines(); len(got) != n || n != 2 {
		t.Errorf("two take-offs asked %q", got)
	}
	timeline := w.want(0, "audit", "show", s.WorkflowID)
	if !strings.Contains(timeline.stdout, "POST https://"+f.host+"/remote.git/git-receive-pack, status 200") {
		t.Errorf("the push is not in the timeline:\n%s", timeline.stdout)
	}
	w.want(0, "verify", s.WorkflowID)
	w.silent(planned, took, again, timeline)
	w.outOfFlight(base64.StdEncoding.EncodeToString([]byte("x-access-token:" + secretValue)))
}

// TestCommitIsPushed plans with three built-in engines and pushes exactly the
// planned commit to a real git server: to the branch it was made on, to a new one,
// and from a linked work tree.
func TestCommitIsPushed(t *testing.T) {
	t.Parallel()
	t.Run("branch", func(t *testing.T) {
		t.Parallel()
		w, f := gitWS(t, "main")
		w.pushes(f, "main", w.key("boss"))
	})
	t.Run("linked work tree, new branch", func(t *testing.T) {
		t.Parallel()
		w, f := gitWS(t, "bot/update")
		at, key := filepath.Join(t.TempDir(), "linked"), w.key("boss")
		w.git("worktree", "add", "-q", "-b", "work", at)
		w.dir = at
		w.pushes(f, "bot/update", key)
	})
}

// TestRemoteMoved refuses to push where the branch is not what was planned upon.
func TestRemoteMoved(t *testing.T) {
	t.Parallel()
	w, f := gitWS(t, "main")
	s, _ := w.ends(4, "flight-plan")
	w.approve(s.WorkflowID)
	other := w.in(f.dir, "commit-tree", "-p", "main", "-m", "somebody else's", "main^{tree}")
	w.in(f.dir, "update-ref", "refs/heads/main", other)
	refs := w.in(f.dir, "for-each-ref")
	done, r := w.with("GIT_TOKEN="+secretValue).ends(6, "take-off", s.WorkflowID)
	if done.Error == nil || done.Error.Code != "engine_stale" || !strings.Contains(done.Error.Message, other) || !strings.Contains(done.Error.Message, commitOf(t, s).Commit) {
		t.Errorf("%+v", done.Error)
	}
	if got := w.in(f.dir, "for-each-ref"); got != refs {
		t.Errorf("the forge has\n%s\nwant\n%s", got, refs)
	}
	if got := f.seen.lines(); len(got) != 1 || !strings.HasPrefix(got[0], "GET ") {
		t.Errorf("it asked %q", got)
	}
	w.silent(r)
}

// httpWS is a workspace whose step declares two requests to a host.
func httpWS(t *testing.T, answer http.HandlerFunc, hosts string) (w *ws, host string, seen *asked) {
	t.Helper()
	isolates(t)
	server, host, seen := tlsServer(t, loopback, answer)
	w = newWS(t, map[string]string{
		"hello.txt": "hello\n",
		".cabincrew.yaml": config(baseline, `  - id: tell
    engine:
      use: http
      with:
        values: {who: world}
        requests:
          - {name: create, method: POST, url: "https://`+host+`/things?a=b", headers: {Content-Type: application/json},
             secrets: {Authorization: {secret: API, format: "Bearer {{secret}}"}}, body_template: '{"hello":{{json .who}}}'}
          - {name: close, method: PUT, url: "https://`+host+`/things/1", secrets: {X-Key: API}, body_file: hello.txt, idempotency_key: true}
    secrets: {API: env:TOKEN}
`+strings.ReplaceAll(hosts, "HOST", host)),
	})
	w.trusts(server)
	return w, host, seen
}

// TestRequestsAreSentOnce sends declared requests in take-off only, each once, with
// the secret that no file of the flight has.
func TestRequestsAreSentOnce(t *testing.T) {
	t.Parallel()
	w, host, seen := httpWS(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }, "    hosts: ['HOST']\n")
	s, planned := w.ends(0, "flight-plan")
	if asked := held(t, s, "tell").Requests; len(seen.all()) != 0 || len(asked) != 0 {
		t.Fatalf("flight-plan asked %q, the flight keeps %+v", seen.lines(), asked)
	}
	if body := holds(t, s, "tell", "001-create"); body != `{"hello":"world"}` {
		t.Errorf("the planned body is %q", body)
	}
	with := w.with("TOKEN=" + secretValue)
	_, took := with.ends(0, "take-off", s.WorkflowID)
	_, again := with.ends(0, "take-off", s.WorkflowID)
	sent := seen.all()
	if len(sent) != 2 || sent[0].line != "POST /things?a=b" || sent[0].body != `{"hello":"world"}` || sent[0].header.Get("Authorization") != "Bearer "+secretValue ||
		sent[1].line != "PUT /things/1" || sent[1].body != "hello\n" || sent[1].header.Get("X-Key") != secretValue || len(sent[1].header.Get("Idempotency-Key")) < 32 {
		t.Errorf("the host got %+v", sent)
	}
	timeline := w.want(0, "audit", "show", s.WorkflowID)
	for _, want := range []string{"POST https://" + host + "/things?a=b, status 201", "PUT https://" + host + "/things/1, status 201"} {
		if strings.Count(timeline.stdout, want) != 1 {
			t.Errorf("the timeline does not have %q once:\n%s", want, timeline.stdout)
		}
	}
	w.want(0, "verify", s.WorkflowID)
	w.silent(planned, took, again, timeline)
}

// TestRequestsThatDoNotGoThrough fails a step whose host is not listed, or answers
// otherwise, and names the host.
func TestRequestsThatDoNotGoThrough(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		hosts string
		sent  int
		want  []string
		audit string
	}{
		"another host": {"    hosts: [api.example.com]\n", 0, []string{"001-create", "CONNECT", "HOST", "host_not_listed"}, "the proxy refused the engine CONNECT HOST (host_not_listed)"},
		"no host":      {"", 0, []string{"001-create", "was not sent"}, ""},
		"not expected": {"    hosts: ['HOST']\n", 1, []string{"001-create", "500"}, "POST https://HOST/things?a=b, status 500"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, host, seen := httpWS(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, c.hosts)
			with := w.with("TOKEN=" + secretValue)
			s, _ := with.ends(0, "flight-plan")
			done, r := with.ends(1, "take-off", s.WorkflowID)
			if done.State != protocol.StateFailed || done.Error == nil || done.Error.Code != "engine_failed" || len(seen.all()) != c.sent {
				t.Fatalf("%s: %+v, the host got %q", done.State, done.Error, seen.lines())
			}
			for _, want := range c.want {
				if said := done.Error.Message + " " + done.Error.Hint; !strings.Contains(said, strings.ReplaceAll(want, "HOST", host)) {
					t.Errorf("%q is not in %q", want, said)
				}
			}
			timeline := w.want(0, "audit", "show", s.WorkflowID)
			if !strings.Contains(timeline.stdout, strings.ReplaceAll(c.audit, "HOST", host)) {
				t.Errorf("the timeline does not tell:\n%s", timeline.stdout)
			}
			if again := with.alone("take-off", s.WorkflowID); again.code == 0 || len(seen.all()) != c.sent {
				t.Errorf("a second take-off: exit %d, the host got %q", again.code, seen.lines())
			}
			w.silent(r, timeline)
		})
	}
}

const infra = `variable "password" {
  sensitive = true
  default   = "correct-horse-battery"
}
resource "terraform_data" "a" {
  input = { size = 1, key = var.password }
}
`

// terraformWS is a workspace whose step plans with a real terraform.
func terraformWS(t *testing.T, with, more string) *ws {
	t.Helper()
	isolates(t)
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Skip("this test plans with a real terraform, which is not here:", err)
	}
	w := newWS(t, map[string]string{
		"main.tf": infra,
		".cabincrew.yaml": config(baseline+approvers, "  - id: infra\n    engine: {use: terraform, with: {"+with+"}}\n    inputs: ['*.tf']\n"+
			"    secrets: {TF_AGE_IDENTITY: 'env:TF_AGE_IDENTITY'}\n"+more),
	})
	for _, name := range []string{"boss", "other", "robot", "author"} {
		w.keys(name)
	}
	w.git("init", "-q")
	w.git("config", "user.email", "author@example.com")
	return w
}

func ageKey(t *testing.T) (identity, with string) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id.String(), "encrypt_to: [" + id.Recipient().String() + "]"
}

// TestTerraform plans and applies with a real terraform. What the sealing side can
// read, it derives again; what it cannot, a person must answer for.
func TestTerraform(t *testing.T) {
	t.Parallel()
	identity, sealed := ageKey(t)
	for name, c := range map[string]struct {
		with       string
		plan, take []string // environment
		exit       int      // of flight-plan
	}{
		"identity in take-off only": {sealed, nil, []string{"TF_AGE_IDENTITY=" + identity}, 4},
		"identity where it seals":   {sealed, []string{"TF_AGE_IDENTITY=" + identity}, []string{"TF_AGE_IDENTITY=" + identity}, 0},
		"readable":                  {"plaintext_state: true", nil, []string{"TF_AGE_IDENTITY=" + identity}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := terraformWS(t, c.with, "")
			s := w.with(c.plan...).json(c.exit, "flight-plan")
			if c.exit == 4 {
				if len(s.Approvals) != 1 || s.Approvals[0].RequiredRole != "maintainer" || !strings.Contains(s.Approvals[0].Reason, "state") {
					t.Fatalf("%+v", s.Approvals)
				}
				w.approve(s.WorkflowID)
			}
			if w.exists("terraform.tfstate") || w.exists(".terraform") {
				t.Error("flight-plan wrote into the workspace")
			}
			if c.with == sealed {
				w.outOfFlight("correct-horse", identity)
			}
			w.want(0, "verify", s.WorkflowID)
			w.with(c.take...).json(0, "take-off", s.WorkflowID)
			if state := w.read("terraform.tfstate"); !strings.Contains(state, "terraform_data") || w.exists(".terraform") {
				t.Errorf("after take-off the state is %s", state)
			}
			w.outOfFlight(identity)
			w.with(c.take...).want(0, "verify", s.WorkflowID)
		})
	}
}

// TestTerraformStateMoved refuses a plan that was made for another state, and names
// the two and what differs.
func TestTerraformStateMoved(t *testing.T) {
	t.Parallel()
	w := terraformWS(t, "plaintext_state: true", "").with("TF_AGE_IDENTITY=not used here")
	theirs, mine := w.json(0, "flight-plan"), w.json(0, "flight-plan")
	w.json(0, "take-off", theirs.WorkflowID)
	state := w.read("terraform.tfstate")
	var now struct {
		Serial  json.Number
		Lineage string
	}
	if err := json.Unmarshal([]byte(state), &now); err != nil {
		t.Fatal(err)
	}
	s := w.json(6, "take-off", mine.WorkflowID)
	for _, want := range []string{"serial 0 of the state (none yet)", "serial " + now.Serial.String() + " of " + now.Lineage, "terraform_data.a (new)", "terraform_state_moved"} {
		if s.Error == nil || s.Error.Code != "engine_stale" || !strings.Contains(s.Error.Message, want) {
			t.Errorf("%+v, want %q", s.Error, want)
		}
	}
	if w.read("terraform.tfstate") != state {
		t.Error("the state changed")
	}
}

// stateStore keeps a state as terraform's http backend wants it.
type stateStore struct {
	mu    sync.Mutex
	state []byte
}

func (s *stateStore) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.Method == http.MethodPost:
		s.state, _ = io.ReadAll(r.Body) // of memory
	case r.Method != http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case s.state == nil:
		w.WriteHeader(http.StatusNotFound)
	default:
		_, _ = w.Write(s.state)
	}
}

func (s *stateStore) read() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.state)
}

// TestTerraformRemoteState plans with a state that is elsewhere: flight-plan reads
// it through the proxy, take-off writes it there.
func TestTerraformRemoteState(t *testing.T) {
	t.Parallel()
	var store stateStore
	server, host, seen := tlsServer(t, ownAddress(t), store.answer)
	w := terraformWS(t, "plaintext_state: true", "    hosts: ['"+host+"']\n").with("TF_AGE_IDENTITY=not used here")
	w.trusts(server)
	w.write("main.tf", infra+"terraform {\n  backend \"http\" {\n    address = \"https://"+host+"/state\"\n  }\n}\n")
	theirs, _ := w.ends(0, "flight-plan")
	mine, _ := w.ends(0, "flight-plan")
	for _, line := range seen.lines() {
		if line != "GET /state" {
			t.Errorf("flight-plan asked %s", line)
		}
	}
	asked := held(t, mine, "infra").Requests
	if len(asked) == 0 || asked[0].Method != http.MethodGet || asked[0].URL != "https://"+host+"/state" || !asked[0].Allowed {
		t.Errorf("the flight keeps %+v", asked)
	}
	w.ends(0, "take-off", theirs.WorkflowID)
	written := store.read()
	if !strings.Contains(written, "terraform_data") || w.exists("terraform.tfstate") {
		t.Errorf("the state is %s", written)
	}
	s, _ := w.ends(6, "take-off", mine.WorkflowID)
	if s.Error == nil || s.Error.Code != "engine_stale" || !strings.Contains(s.Error.Message, "terraform_data.a (new)") || store.read() != written {
		t.Errorf("%+v, the state is %s", s.Error, store.read())
	}
	if timeline := w.want(0, "audit", "show", theirs.WorkflowID).stdout; !strings.Contains(timeline, "POST https://"+host+"/state, status 200") {
		t.Errorf("the writing is not in the timeline:\n%s", timeline)
	}
}

// TestTamperedEvidence changes what the plan says before it is sealed. The state is
// as it was; the receipt's hash is made to fit.
func TestTamperedEvidence(t *testing.T) {
	t.Parallel()
	w := terraformWS(t, "plaintext_state: true", "")
	s := w.json(0, "flight-plan", "--unsealed")
	at := flightDir(s, "steps", "infra", "artifacts", "plan", "artifact.json")
	old, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.ReplaceAll(old, []byte(`"create"`), []byte(`"no-op"`))
	if bytes.Equal(forged, old) {
		t.Fatalf("%s", old)
	}
	receipt := flightDir(s, "steps", "infra", "receipt.json")
	text, err := os.ReadFile(receipt)
	if err != nil {
		t.Fatal(err)
	}
	was, is := strings.TrimPrefix(protocol.Digest(old), "sha256:"), strings.TrimPrefix(protocol.Digest(forged), "sha256:")
	if !bytes.Contains(text, []byte(was)) {
		t.Fatalf("the receipt has no %s: %s", was, text)
	}
	for name, data := range map[string][]byte{at: forged, receipt: bytes.ReplaceAll(text, []byte(was), []byte(is))} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.json(5, "seal", s.WorkflowID); got.Error == nil || got.Error.Code != "file_changed" || got.State != protocol.StateFailed {
		t.Errorf("%s: %+v", got.State, got.Error)
	}
}

// TestForgedEvidence plans where a program in terraform's place lies about what it
// saved. Whoever can read the saved plan finds out before anything is applied: the
// sealing side, or else take-off.
func TestForgedEvidence(t *testing.T) {
	t.Parallel()
	identity, sealed := ageKey(t)
	for name, with := range map[string]string{"sealing side": "plaintext_state: true", "take-off": sealed} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := terraformWS(t, with, "    env: {PATH: 'env:PATH', REAL: 'env:REAL'}\n    tools: [terraform, /usr/bin, 'REALPROGRAM']\n")
			program, err := exec.LookPath("terraform")
			if err != nil {
				t.Fatal(err)
			}
			dir, _ := tool(t, "terraform", `[ "$1" = show ] || exec "$REAL" "$@"; "$REAL" "$@" | sed 's/"create"/"no-op"/g'`)
			w.write(".cabincrew.yaml", strings.Replace(w.read(".cabincrew.yaml"), "REALPROGRAM", program, 1))
			w.env = append(w.env, "REAL="+program)
			liar := w.with("PATH=" + dir + ":" + os.Getenv("PATH"))
			s := liar.json(0, "flight-plan", "--unsealed")
			if !strings.Contains(string(w.artifact(s, "infra", "plan")), `"no-op"`) {
				t.Fatalf("the program did not lie: %s", w.artifact(s, "infra", "plan"))
			}
			if with == sealed {
				w.json(4, "seal", s.WorkflowID)
				w.approve(s.WorkflowID)
				if got := w.with("TF_AGE_IDENTITY="+identity).json(5, "take-off", s.WorkflowID); got.Error == nil || got.Error.Code != "evidence_differs" {
					t.Errorf("%s: %+v", got.State, got.Error)
				}
			} else if got := w.json(5, "seal", s.WorkflowID); got.Error == nil || got.Error.Code != "evidence_differs" || got.State != protocol.StateFailed {
				t.Errorf("%s: %+v", got.State, got.Error)
			}
			if w.exists("terraform.tfstate") {
				t.Error("it was applied")
			}
		})
	}
}

// artifact gives the description of an artifact as the flight has it.
func (w *ws) artifact(s orchestrator.Summary, step, name string) []byte {
	w.t.Helper()
	raw, err := os.ReadFile(flightDir(s, "steps", step, "artifacts", name, "artifact.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}
