package terraform

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// realTerraform skips a test where there is no terraform.
func realTerraform(t testing.TB) string {
	t.Helper()
	p, err := exec.LookPath("terraform")
	if err != nil {
		t.Skip("this test runs a real terraform, and here is none:", err)
	}
	return p
}

// flight is one workspace with one artifacts directory.
type flight struct {
	t                    testing.TB
	workspace, artifacts string
	env                  []string
	log                  bytes.Buffer
}

func newFlight(t testing.TB) *flight {
	t.Helper()
	return &flight{t: t, workspace: t.TempDir(), artifacts: t.TempDir()}
}

func (f *flight) write(name, content string) {
	f.t.Helper()
	p := filepath.Join(f.workspace, name)
	must(f.t, os.MkdirAll(filepath.Dir(p), 0o755))
	must(f.t, os.WriteFile(p, []byte(content), 0o644))
}

// script puts a shell script in terraform's place and gives the configuration for it.
func (f *flight) script(text string) map[string]any {
	f.t.Helper()
	if _, err := exec.LookPath("sh"); err != nil {
		f.t.Skip("this test puts a shell script in terraform's place, and here is no sh")
	}
	p := filepath.Join(f.t.TempDir(), "terraform")
	must(f.t, os.WriteFile(p, []byte("#!/bin/sh\n"+text), 0o755))
	return map[string]any{"binary": p, "plaintext_state": true}
}

func (f *flight) run(mode protocol.Mode, config map[string]any, secrets map[string]string) (int, protocol.EngineOutput) {
	f.t.Helper()
	return f.runIn(context.Background(), mode, config, secrets)
}

func (f *flight) runIn(ctx context.Context, mode protocol.Mode, config map[string]any, secrets map[string]string) (int, protocol.EngineOutput) {
	f.t.Helper()
	temp := f.t.TempDir()
	out := filepath.Join(f.t.TempDir(), "out.json")
	if secrets == nil {
		secrets = map[string]string{}
	}
	input, err := json.Marshal(map[string]any{"protocol_version": "draft", "mode": mode, "meta": map[string]any{"workflow_id": "w", "step_id": "s"},
		"config": config, "secrets": secrets})
	must(f.t, err)
	env := append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + temp, "HOME=" + temp, "LANG=C.UTF-8", "TZ=UTC", "CABINCREW_WORKSPACE=" + f.workspace,
		"CABINCREW_ARTIFACTS_DIR=" + f.artifacts, "CABINCREW_TEMP_DIR=" + temp, "CABINCREW_OUTPUT_FILE=" + out}, f.env...)
	f.log.Reset()
	var stdout bytes.Buffer
	code := Run(ctx, []string{"--mode", string(mode)}, bytes.NewReader(input), &stdout, &f.log, env)
	if stdout.Len() > 0 {
		f.t.Errorf("stdout: %s", stdout.String())
	}
	data, err := os.ReadFile(out)
	must(f.t, err)
	var receipt protocol.EngineOutput
	must(f.t, protocol.Decode(data, &receipt))
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		f.t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
	return code, receipt
}

// plan runs a flight-plan that must succeed, into empty artifacts.
func (f *flight) plan(config map[string]any, secrets map[string]string) protocol.EngineOutput {
	f.t.Helper()
	f.artifacts = f.t.TempDir()
	before := f.list()
	code, receipt := f.run(protocol.FlightPlan, config, secrets)
	if code != 0 || receipt.Status != protocol.StatusSuccess {
		f.t.Fatalf("flight-plan: exit %d, %s\n%s", code, receipt.Error, f.log.String())
	}
	if d := cmp.Diff(before, f.list()); d != "" {
		f.t.Fatal("flight-plan changed the workspace:", d)
	}
	return receipt
}

func (f *flight) takeOff(config map[string]any, secrets map[string]string) {
	f.t.Helper()
	if code, receipt := f.run(protocol.TakeOff, config, secrets); code != 0 || receipt.Status != protocol.StatusSuccess || len(receipt.Artifacts) != 0 {
		f.t.Fatalf("take-off: exit %d, %+v\n%s", code, receipt, f.log.String())
	}
}

func (f *flight) list() []workspace.File {
	f.t.Helper()
	files, err := workspace.Scan(context.Background(), f.workspace, workspace.Options{NoIgnore: true, Tracked: []string{}})
	must(f.t, err)
	return files
}

func (f *flight) read(name string) []byte {
	f.t.Helper()
	data, err := os.ReadFile(filepath.Join(f.artifacts, name))
	must(f.t, err)
	return data
}

func (f *flight) artifact(name string) protocol.Artifact {
	f.t.Helper()
	var a protocol.Artifact
	must(f.t, protocol.Decode(f.read(name+"/artifact.json"), &a))
	return a
}

func (f *flight) summary() map[string]any {
	f.t.Helper()
	m, ok := f.artifact("summary").Body.(map[string]any)
	if !ok {
		f.t.Fatal("the summary is no object")
	}
	return m
}

// everything gives all bytes of all artifacts.
func (f *flight) everything() []byte {
	f.t.Helper()
	var all []byte
	must(f.t, filepath.WalkDir(f.artifacts, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		all = append(all, data...)
		return err
	}))
	return all
}

func (f *flight) edit(name, old, replacement string) {
	f.t.Helper()
	data := f.read(name)
	if !bytes.Contains(data, []byte(old)) {
		f.t.Fatalf("no %q in %s", old, data)
	}
	must(f.t, os.WriteFile(filepath.Join(f.artifacts, name), bytes.Replace(data, []byte(old), []byte(replacement), 1), 0o600))
}

func plain() map[string]any { return map[string]any{"plaintext_state": true} }

func newIdentity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	must(t, err)
	return id
}

func sealed(id *age.X25519Identity) map[string]any {
	return map[string]any{"encrypt_to": []any{id.Recipient().String()}}
}

const password = "correct horse battery staple"

const module = `
variable "password" {
  type      = string
  sensitive = true
  default   = "` + password + `"
}
variable "size" {
  type    = number
  default = 1.5
}
resource "terraform_data" "login" {
  input = var.password
}
resource "terraform_data" "box" {
  count = 2
  input = { size = var.size, users = [{ name = "ann", key = var.password }] }
}
output "login" {
  value     = terraform_data.login.output
  sensitive = true
}
`

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	realTerraform(t)
	f := newFlight(t)
	id := newIdentity(t)
	config, secrets := sealed(id), map[string]string{"TF_AGE_IDENTITY": "# a comment\n" + id.String() + "\n"}
	f.write("main.tf", module)
	receipt := f.plan(config, nil)
	if len(receipt.Artifacts) != 3 || receipt.Artifacts[2].Role != protocol.RoleState || receipt.EngineID != ID {
		t.Errorf("%+v", receipt)
	}
	if got := f.summary()["title"]; got != "3 to create" {
		t.Error(got)
	}
	all := f.everything()
	for _, secret := range []string{password, "horse", id.String()} {
		if bytes.Contains(all, []byte(secret)) {
			t.Errorf("%q is in the artifacts", secret)
		}
	}
	f.takeOff(config, secrets)
	state, err := os.ReadFile(filepath.Join(f.workspace, "terraform.tfstate"))
	if err != nil || !bytes.Contains(state, []byte(password)) {
		t.Fatalf("the local state was not written to the workspace: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(f.workspace, ".terraform")); err == nil {
		t.Error("take-off left .terraform in the workspace")
	}

	// Now the state has the password at a place that terraform does not mark.
	f.write("main.tf", strings.ReplaceAll(module, "count = 2", "count = 1"))
	f.plan(config, nil)
	if bytes.Contains(f.everything(), []byte("horse")) {
		t.Errorf("the value is in the artifacts: %s", f.read("plan/artifact.json"))
	}
	if got := f.summary()["title"]; got != "1 to delete" {
		t.Error(got)
	}
	f.takeOff(config, secrets)
	f.plan(config, nil)
	if got := f.summary()["title"]; got != "No changes" {
		t.Error(got)
	}
	f.takeOff(config, secrets) // nothing to do is no failure
	config["destroy"] = true
	f.plan(config, nil)
	if got := f.summary()["title"]; got != "2 to delete" {
		t.Error(got)
	}
}

func TestDeterministic(t *testing.T) {
	t.Parallel()
	realTerraform(t)
	f, g := newFlight(t), newFlight(t)
	for _, x := range []*flight{f, g} {
		x.write("main.tf", module+"\nresource \"terraform_data\" \"cwd\" {\n  input = basename(path.cwd)\n}\n")
		x.write(".terraform.lock.hcl", "# needs none\n")
		x.plan(plain(), nil)
	}
	if got := f.artifact("tfplan").Metadata["lock_digest"]; got != protocol.Digest([]byte("# needs none\n")) {
		t.Error("the lock file is not recorded:", got)
	}
	for _, name := range []string{"plan/artifact.json", "summary/artifact.json"} {
		if d := cmp.Diff(string(f.read(name)), string(g.read(name))); d != "" {
			t.Errorf("%s differs between two runs: %s", name, d)
		}
	}
	if bytes.Contains(f.read("plan/artifact.json"), []byte("timestamp")) {
		t.Error("the time is in the evidence")
	}
	a := f.artifact("plan")
	if a.ArtifactType != "terraform-plan" || a.Action != "apply" || a.Mime != "application/json" {
		t.Errorf("%+v", a)
	}
	body, ok := a.Body.(map[string]any)
	if !ok || body["terraform_version"] == nil {
		t.Fatal("no plan")
	}
	variables, err := protocol.Canonical(body["variables"])
	must(t, err)
	if string(variables) != `{"password":{"value":"(sensitive value)"},"size":{"value":"1.5"}}` {
		t.Errorf("%s", variables)
	}
}

func TestSecretVariables(t *testing.T) {
	t.Parallel()
	realTerraform(t)
	f := newFlight(t)
	f.write("infra/main.tf", `
variable "token" { type = string }
variable "size" { type = string }
variable "zone" { type = string }
resource "terraform_data" "a" {
  input = "bearer ${var.token} ${var.size} ${var.zone}"
}
`)
	f.write("vars/prod.tfvars", "zone = \"north\"\n")
	config := plain()
	config["dir"], config["var"], config["var_files"] = "infra", map[string]any{"size": "two"}, []any{"vars/prod.tfvars"}
	config["targets"], config["refresh"], config["parallelism"], config["lock_timeout"] = []any{"terraform_data.a"}, false, 3, "5s"
	f.env = []string{"TF_CLI_ARGS=-json", "TF_LOG=trace", "TF_DATA_DIR=/nowhere", "CABINCREW_X=1"} // none of them reaches terraform
	f.plan(config, map[string]string{"TF_VAR_token": "0123456789abcdef", "OTHER": "unseen"})
	plan := f.read("plan/artifact.json")
	if bytes.Contains(plan, []byte("0123456789")) || !bytes.Contains(plan, []byte("bearer (sensitive value) two north")) {
		t.Errorf("%s", plan)
	}
	f.takeOff(config, map[string]string{"TF_VAR_token": "0123456789abcdef"})
	f.write("vars/prod.tfvars", "zone = \"south\"\n")
	f.plan(config, map[string]string{"TF_VAR_token": "0123456789abcdef"})
}

func TestStateMoved(t *testing.T) {
	t.Parallel()
	realTerraform(t)
	f := newFlight(t)
	f.write("main.tf", module)
	f.plan(plain(), nil)
	first := f.artifacts
	f.takeOff(plain(), nil)
	code, receipt := f.run(protocol.TakeOff, plain(), nil)
	if code != 1 || !strings.Contains(receipt.Error, "serial 0 of the state (none yet), now it is serial") ||
		!strings.Contains(receipt.Error, "terraform_data.box[0] (new), terraform_data.box[1] (new), terraform_data.login (new)") {
		t.Errorf("a second take-off: exit %d, %s", code, receipt.Error)
	}
	// Planned, then somebody else applies another change.
	f.write("main.tf", strings.ReplaceAll(module, "1.5", "2.5"))
	f.plan(plain(), nil)
	mine := f.artifacts
	f.write("main.tf", strings.ReplaceAll(module, "count = 2", "count = 3"))
	f.plan(plain(), nil)
	f.takeOff(plain(), nil)
	f.write("main.tf", strings.ReplaceAll(module, "1.5", "2.5"))
	f.artifacts = mine
	before := f.list()
	code, receipt = f.run(protocol.TakeOff, plain(), nil)
	if code != 1 || !strings.Contains(receipt.Error, "these differ: terraform_data.box[2] (new)") || strings.Contains(receipt.Error, "box[0]") {
		t.Errorf("exit %d, %s", code, receipt.Error)
	}
	if d := cmp.Diff(before, f.list()); d != "" {
		t.Error("a stale take-off changed the workspace:", d)
	}
	f.write("main.tf", module)
	must(t, os.Remove(filepath.Join(f.workspace, "terraform.tfstate")))
	f.artifacts = first
	f.takeOff(plain(), nil) // as planned: there is no state
}

func TestFilesMoved(t *testing.T) {
	t.Parallel()
	realTerraform(t)
	f := newFlight(t)
	f.write("infra/main.tf", "module \"m\" {\n  source = \"../modules/m\"\n}\n")
	f.write("modules/m/m.tf", "resource \"terraform_data\" \"a\" {\n  input = 1\n}\n")
	f.write("modules/other/o.tf", "# not used\n")
	config := plain()
	config["dir"] = "infra"
	f.plan(config, nil)
	f.write("modules/other/o.tf", "# changed\n")
	f.write("infra/extra.auto.tfvars", "") // values are saved in the plan
	f.takeOff(config, nil)
	must(t, os.Remove(filepath.Join(f.workspace, "infra/terraform.tfstate")))
	for name, change := range map[string]string{"modules/m/m.tf": "resource \"terraform_data\" \"b\" {}\n", "infra/override.tf": "", "infra/.terraform.lock.hcl": "# locks\n"} {
		old, oldErr := os.ReadFile(filepath.Join(f.workspace, name))
		f.write(name, change)
		if code, receipt := f.run(protocol.TakeOff, config, nil); code != 1 || !strings.Contains(receipt.Error, filepath.Base(name)) {
			t.Errorf("%s: exit %d, %s\n%s", name, code, receipt.Error, f.log.String())
		}
		if oldErr == nil {
			f.write(name, string(old))
		} else {
			must(t, os.Remove(filepath.Join(f.workspace, name)))
		}
	}
	f.takeOff(config, nil)
}
