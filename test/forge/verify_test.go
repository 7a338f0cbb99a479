package forge

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/cli"
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
