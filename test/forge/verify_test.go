package forge

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/cli"
	"github.com/cabincrew/action/storage/bundle"
	"github.com/cabincrew/action/test/githubtest"
)

// alone runs the program at a terminal, with no forge around.
func (r *rig) alone(args ...string) (int, string) {
	r.t.Helper()
	var stdout, stderr bytes.Buffer
	code := cli.Main(r.t.Context(), args, strings.NewReader(""), &stdout, &stderr, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.t.TempDir(), "CABINCREW_WORKSPACE=" + r.t.TempDir()})
	return code, stdout.String() + stderr.String()
}

// TestLandedFlightIsVerifiedAnywhere: what took off on GitHub verifies from its archive
// alone, approvals by people of the forge included, and one of its approvals by itself.
func TestLandedFlightIsVerifiedAnywhere(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	r.plan(p, "opened", 0)
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	done := r.land(p, 0)
	archive := filepath.Join(done.outputs["flight-path"], "landed", "flight.tar.zst")
	dir := r.keys
	write := func(name, content string) string {
		t.Helper()
		at := filepath.Join(dir, name)
		if err := os.WriteFile(at, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return at
	}
	r.key("other")
	policy := func(roles, key string) string {
		return "version: 1\nsigning: {trusted: {keys: [{key: " + key + ".pub}]}}\n" + roles
	}
	good := write("good.yaml", policy(byReview, "plan"))
	flights := filepath.Join(done.workspace, ".cabincrew", "flights", done.outputs["flight-id"])
	answers, err := filepath.Glob(filepath.Join(flights, "approvals", "*.response.json"))
	if err != nil || len(answers) != 1 {
		t.Fatalf("%v %v", answers, err)
	}
	for _, c := range []struct {
		name, policy, what string
		code               int
		says               string
	}{
		{"flight", good, archive, 0, "1 of 1 answered"},
		{"two must approve", write("two.yaml", policy("approvals: {roles: {platform: {count: 2, users: [bob, carol]}}}\n", "plan")), archive, 5, "1 of 2 people"},
		{"another role", write("role.yaml", policy("approvals: {roles: {reader: {users: [bob]}}}\n", "plan")), archive, 5, "approval_role"},
		{"another signer", write("signer.yaml", policy(byReview, "other")), archive, 5, "which is none of"},
		{"approval", good, answers[0], 0, "as the forge told who signed the plan"},
		{"approval, another role", filepath.Join(dir, "role.yaml"), answers[0], 5, "approval_role"},
		{"approval, another signer", filepath.Join(dir, "signer.yaml"), answers[0], 5, ""},
	} {
		code, out := r.alone("verify", c.what, "--policy", c.policy)
		if code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: exit %d, want %d and %q\n%s", c.name, code, c.code, c.says, out)
		}
	}
}

// TestVerifyInAJob: the command verify of the action looks at the newest flight of a
// change, of a merge, or at one that another job handed over, and writes nothing.
func TestVerifyInAJob(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.approved("feature", "two\n")
	number := strconv.FormatInt(p.run.ID, 10)
	calls := len(r.repo.Checks())
	if got := r.want(0, "verify", r.pullRequest(p.pull, "synchronize", number)); !strings.Contains(got.stdout, "plan signature") || got.outputs["plan-token"] != p.got.outputs["plan-token"] {
		t.Errorf("it says\n%s", got.stdout)
	}
	handed := r.pullRequest(p.pull, "synchronize", number)
	handed.inputs = map[string]string{"flight-path": filepath.Join(p.got.outputs["flight-path"], "judged")}
	r.want(0, "verify", handed)
	handed.inputs["flight-path"] = t.TempDir()
	r.want(2, "verify", handed)
	before, commit := r.repo.Tip("refs/heads/main"), p.pull.Merge(r.author, "merge")
	r.takeOff(commit, before, 0)
	if got := r.want(0, "verify", r.push(commit, before, number)); !strings.Contains(got.stdout, "plan signature") {
		t.Errorf("it says\n%s", got.stdout)
	}
	if n := len(r.repo.Checks()); n != calls+1 { // that of the take-off
		t.Errorf("there are %d checks, there were %d", n, calls)
	}
	p.kept.Expire()
	r.want(7, "verify", r.push(commit, before, number))
}

// TestT01VerifyInAJobRefuses: a flight that was changed does not verify in a job either.
func TestT01VerifyInAJobRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.approved("feature", "two\n")
	archive := filepath.Join(p.got.outputs["flight-path"], "judged", "flight.tar.zst")
	top, to := t.TempDir(), t.TempDir()
	for name, data := range unpacked(t, archive) {
		if strings.HasSuffix(name, "/body.data") && len(data) > 0 {
			data[0] ^= 1
		}
		put(t, filepath.Join(top, name), data)
	}
	root, err := os.OpenRoot(top)
	must(t, err)
	out, err := os.Create(filepath.Join(to, "flight.tar.zst"))
	must(t, err)
	_, err = bundle.Pack(t.Context(), root, out, bundle.PackOptions{PlainState: true, Temp: t.TempDir()})
	must(t, errors.Join(err, out.Close(), root.Close()))
	p.kept.Delete()
	p.run.UploadZip("cabincrew-judged", zipOf(t, to))
	got := r.want(5, "verify", r.pullRequest(p.pull, "synchronize", strconv.FormatInt(p.run.ID, 10)))
	if !strings.Contains(got.stdout+got.stderr, "fail") {
		t.Errorf("it says\n%s%s", got.stdout, got.stderr)
	}
}

// TestSealJob: one job plans without any right, the next judges and signs.
func TestSealJob(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	p := r.open("feature", "two\n")
	run := r.start(p, p.Author)
	plan := r.does(0, "plan", r.planStep(p, run))
	seal := r.does(0, "seal", r.judgeStep(p, run, plan.handed()))
	run.UploadZip("cabincrew-judged", zipOf(t, seal.handed("judged")))
	run.Finish("success")
	r.later()
	if k := r.lastCheck(planCheck); k.Conclusion != "action_required" || !strings.Contains(k.Text, "### Signed plan") {
		t.Errorf("the check is %+v", k)
	}
	p.Review(r.bob, githubtest.Approved, "fine")
	r.hub.Advance(time.Second)
	r.lands(p, 0)
}
