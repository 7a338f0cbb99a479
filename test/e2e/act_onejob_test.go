//go:build e2e

package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/test/githubtest"
)

// oneJob begins a repository with the example's form with one job. It signs with a key,
// since the certificate of a workflow of the change names the change's own commit.
func (f *field) oneJob() {
	f.t.Helper()
	f.must(".", "mkdir", "keys")
	f.must(".", house.program, "keys", "generate", "--no-passphrase", "--out", "keys/plan")
	text := read(f.t, filepath.Join(house.repository, "examples/github/one-job.yml"))
	// What took off stands in the checkout, which ends with the job.
	text += `      - name: Look what was done
        run: echo "out.txt holds <$(cat out.txt 2>/dev/null)>"
`
	f.begin(map[string]string{
		".github/workflows/" + planFile: text, "app.txt": "one\n", ".gitignore": ".cabincrew/\n",
		".cabincrew.yaml": `version: 1
workflow: deploy
steps:
  - id: edit
    engine: {use: command, with: {shell: "cp app.txt out.txt"}}
policies: {rego: [pol/]}
approvals: {roles: {platform: {users: [bob]}}}
signing: {key: ` + filepath.Join(f.dir, "keys/plan") + `}
`,
		"pol/house.rego": `package cabincrew.house

require_approval contains {"msg": "somebody looks at it", "role": "platform"} if {
	some a in input.artifacts
	a.artifact_type == "patch"
}

deny contains "this text is forbidden" if {
	some a in input.artifacts
	contains(sprintf("%v", [a]), "forbidden")
}
`,
	})
	f.flags = append(f.flags, "--local-repository", "cabincrew/action@v1="+filepath.Join(f.dir, "action"))
}

// TestOneJobUnderAct flies the form with one job: opened, reviewed, merged, and a second
// push event. What nobody approved does not take off.
func TestOneJobUnderAct(t *testing.T) {
	t.Parallel()
	f := newField(t)
	f.oneJob()
	p := f.open("feature", map[string]string{"app.txt": "two\n"})
	plan := f.flies(f.opened(p, "opened"))
	f.wants(plan, 0, "cabincrew 0")
	told := plan.outputs["cabincrew"]
	token := told["plan-token"]
	if k := f.check(planCheck); k.Conclusion != "action_required" || k.SHA != p.Head() || k.ExternalID != token || told["decision"] != "require_approval" || told["state"] != "AWAITING_APPROVAL" {
		t.Errorf("the check is %+v, the outputs are %v", k, told)
	}
	review := f.flies(f.reviewed(p, p.Review(f.bob, githubtest.Approved, "fine")))
	f.wants(review, 0, "cabincrew 0")
	if k := f.check(planCheck); k.Conclusion != "success" || !strings.Contains(k.Summary, "bob") {
		t.Errorf("after the review the check is %+v", k)
	}
	push := f.merge(planFile, p)
	done := f.flies(push)
	f.wants(done, 0, "cabincrew 0")
	if !strings.Contains(done.out, "out.txt holds <two>") {
		t.Errorf("the take-off did not do what was planned\n%s", done.out)
	}
	f.landed(done, token)
	f.again(push, token)
	f.refused()
}

// refused flies what nobody approved, and what a policy denies.
func (f *field) refused() {
	f.t.Helper()
	p := f.open("unseen", map[string]string{"app.txt": "three\n"})
	plan := f.flies(f.opened(p, "opened"))
	f.wants(plan, 0, "cabincrew 0")
	done := f.flies(f.merge(planFile, p))
	f.wants(done, 1, "cabincrew 4")
	if marks := f.marks(plan.outputs["cabincrew"]["plan-token"]); len(marks) != 0 || !strings.Contains(done.out, "platform: 0 of 1") {
		f.t.Errorf("what nobody approved left the tags %q\n%s", marks, done.out)
	}
	if k := f.check(takeOffCheck); k.Conclusion != "action_required" {
		f.t.Errorf("its check is %+v", k)
	}
	denied := f.open("denied", map[string]string{"app.txt": "forbidden\n"})
	f.wants(f.flies(f.opened(denied, "opened")), 1, "cabincrew 3")
	if k := f.check(planCheck); k.Conclusion != "failure" || k.SHA != denied.Head() {
		f.t.Errorf("the check of what is denied is %+v", k)
	}
}
