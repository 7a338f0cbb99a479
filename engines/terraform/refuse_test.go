package terraform

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cabincrew/action/protocol"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	const recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
	tests := map[string]struct{ with, where string }{
		"good":                  {`{"encrypt_to":["` + recipient + `"],"dir":"a/b","var":{"x":"y","e":""},"env":["AWS_SECRET_ACCESS_KEY","TF_TOKEN_example_com"],"identity":"KEY","parallelism":4,"lock_timeout":"1m","targets":["a.b[\"c\"]"],"backend_config":{"bucket":"b"},"binary":"tofu","destroy":true,"refresh":false}`, ""},
		"good plain":            {`{"plaintext_state":true,"binary":"/usr/bin/tofu"}`, ""},
		"nothing":               {`{}`, "config.encrypt_to"},
		"both":                  {`{"plaintext_state":true,"encrypt_to":["` + recipient + `"]}`, "config.plaintext_state"},
		"no recipients":         {`{"encrypt_to":[]}`, "config.encrypt_to"},
		"recipient as text":     {`{"encrypt_to":"` + recipient + `"}`, "config.encrypt_to"},
		"bad recipient":         {`{"encrypt_to":["` + recipient + `x"]}`, "config.encrypt_to[0]"},
		"secret as recipient":   {`{"encrypt_to":["AGE-SECRET-KEY-1QQQ"]}`, "config.encrypt_to[0]"},
		"two in one":            {`{"encrypt_to":["` + recipient + `\n` + recipient + `"]}`, "config.encrypt_to[0]"},
		"plugin recipient":      {`{"encrypt_to":["age1yubikey1qqq"]}`, "config.encrypt_to[0]"},
		"comment":               {`{"encrypt_to":["# ` + recipient + `"]}`, "config.encrypt_to[0]"},
		"binary in workspace":   {`{"binary":"./terraform"}`, "config.binary"},
		"binary an option":      {`{"binary":"-x"}`, "config.binary"},
		"binary a list":         {`{"binary":["a"]}`, "config.binary"},
		"dir out":               {`{"dir":"../x"}`, "config.dir"},
		"dir absolute":          {`{"dir":"/x"}`, "config.dir"},
		"dir empty":             {`{"dir":""}`, "config.dir"},
		"dir NUL":               {`{"dir":"a\u0000"}`, "config.dir"},
		"var no map":            {`{"var":[]}`, "config.var"},
		"var name":              {`{"var":{"a=b":"c"}}`, "config.var"},
		"var number":            {`{"var":{"a":1}}`, "config.var.a"},
		"var too long":          {`{"var":{"a":"` + strings.Repeat("x", 9000) + `"}}`, "config.var.a"},
		"var file":              {`{"var_files":["../x"]}`, "config.var_files[0]"},
		"targets":               {`{"targets":[1]}`, "config.targets[0]"},
		"backend name":          {`{"backend_config":{"-x":"y"}}`, "config.backend_config"},
		"env reserved":          {`{"env":["TF_CLI_ARGS"]}`, "config.env[0]"},
		"env reattach":          {`{"env":["TF_REATTACH_PROVIDERS"]}`, "config.env[0]"},
		"env path":              {`{"env":["PATH"]}`, "config.env[0]"},
		"env name":              {`{"env":["A B"]}`, "config.env[0]"},
		"identity":              {`{"identity":"a b"}`, "config.identity"},
		"bool as text":          {`{"destroy":"yes"}`, "config.destroy"},
		"parallelism 0":         {`{"parallelism":0}`, "config.parallelism"},
		"parallelism huge":      {`{"parallelism":99999999999999999999}`, "config.parallelism"},
		"parallelism fraction":  {`{"parallelism":1.5}`, "config.parallelism"},
		"lock timeout":          {`{"lock_timeout":"soon"}`, "config.lock_timeout"},
		"lock timeout too long": {`{"lock_timeout":"999h"}`, "config.lock_timeout"},
		"unknown":               {`{"vars":{}}`, "config.vars"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var with map[string]any
			d := json.NewDecoder(strings.NewReader(tc.with))
			d.UseNumber()
			must(t, d.Decode(&with))
			err := Check(with)
			if tc.where == "" {
				must(t, err)
				return
			}
			var e *protocol.Error
			if !asError(err, &e) || e.Code != "terraform_config" || e.Exit != protocol.ExitUsage || e.Where != tc.where || e.Hint == "" {
				t.Errorf("%v", err)
			}
		})
	}
	for _, n := range []any{3, int64(3)} {
		must(t, Check(map[string]any{"plaintext_state": true, "parallelism": n}))
	}
}

func TestPlanRefused(t *testing.T) {
	t.Parallel()
	realTerraform(t)
	tests := map[string]struct {
		fill   func(f *flight)
		config map[string]any
		code   int
		want   string
	}{
		"no recipients":  {nil, map[string]any{}, 2, "config.encrypt_to"},
		"no directory":   {nil, map[string]any{"dir": "infra"}, 2, "config.dir"},
		"no module":      {func(f *flight) { f.write("infra/readme", "") }, map[string]any{"dir": "infra"}, 2, "no Terraform configuration"},
		"linked dir":     {func(f *flight) { must(f.t, os.Symlink(".", filepath.Join(f.workspace, "infra"))) }, map[string]any{"dir": "infra"}, 2, "config.dir"},
		"no binary":      {nil, map[string]any{"binary": "terraform-not-here"}, 2, "terraform-not-here"},
		"no binary file": {nil, map[string]any{"binary": "/nowhere/terraform"}, 2, "/nowhere/terraform"},
		"syntax":         {func(f *flight) { f.write("bad.tf", "resource {") }, nil, 1, "terraform init ended with exit code 1"},
		"bad reference":  {func(f *flight) { f.write("bad.tf", "output \"x\" {\n  value = var.none\n}\n") }, nil, 1, "Reference to undeclared input variable"},
		"missing value":  {func(f *flight) { f.write("v.tf", "variable \"v\" {}\n") }, nil, 1, "No value for required variable"},
		"module outside": {func(f *flight) { f.write("m.tf", "module \"m\" {\n  source = \"../../outside\"\n}\n") }, nil, 1, "terraform init"},
		"no var file":    {nil, map[string]any{"var_files": []any{"none.tfvars"}}, 2, "none.tfvars"},
		"bad target":     {nil, map[string]any{"targets": []any{"-chdir=/"}}, 1, "Invalid target"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlight(t)
			f.write("main.tf", "resource \"terraform_data\" \"a\" {}\n")
			if tc.fill != nil {
				tc.fill(f)
			}
			config := map[string]any{"plaintext_state": name != "no recipients"}
			maps.Copy(config, tc.config)
			before := f.list()
			code, receipt := f.run(protocol.FlightPlan, config, nil)
			if code != tc.code || receipt.Status != protocol.StatusFailure || !strings.Contains(receipt.Error, tc.want) {
				t.Errorf("exit %d, %q, want %d and %q\n%s", code, receipt.Error, tc.code, tc.want, f.log.String())
			}
			if d := cmp.Diff(before, f.list()); d != "" {
				t.Error("the workspace changed:", d)
			}
		})
	}
}

// TestLockFile uses a provider that is a file in the workspace, so no network.
func TestLockFile(t *testing.T) {
	t.Parallel()
	binary := realTerraform(t)
	const needs = "terraform {\n  required_providers {\n    fake = {\n      source = \"example.com/acme/fake\"\n    }\n  }\n}\n"
	f := newFlight(t)
	f.write("main.tf", needs)
	dir := "terraform.d/plugins/example.com/acme/fake/1.0.0/" + runtime.GOOS + "_" + runtime.GOARCH + "/terraform-provider-fake_v1.0.0"
	f.write(dir, "#!/bin/sh\nexit 1\n")
	must(t, os.Chmod(filepath.Join(f.workspace, dir), 0o755))
	code, receipt := f.run(protocol.FlightPlan, plain(), nil)
	if code != 2 || !strings.Contains(receipt.Error, "the module needs providers and has no .terraform.lock.hcl") {
		t.Fatalf("exit %d, %s\n%s", code, receipt.Error, f.log.String())
	}
	cmd := exec.Command(binary, "init", "-input=false")
	cmd.Dir, cmd.Env = f.workspace, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TF_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "CHECKPOINT_DISABLE=1"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	// With its lock file the provider is started, which this one does not survive.
	if code, receipt := f.run(protocol.FlightPlan, plain(), nil); code != 1 || !strings.Contains(receipt.Error, "plugin") {
		t.Errorf("exit %d, %s", code, receipt.Error)
	}
	f.write(dir, "#!/bin/sh\nexit 2\n")
	must(t, os.Chmod(filepath.Join(f.workspace, dir), 0o755))
	if code, receipt := f.run(protocol.FlightPlan, plain(), nil); code != 2 || !strings.Contains(receipt.Error, "other checksums") {
		t.Errorf("another provider: exit %d, %s", code, receipt.Error)
	}
}

func TestRemoteModule(t *testing.T) {
	t.Parallel()
	realTerraform(t)
	f, outside := newFlight(t), t.TempDir()
	archive := filepath.Join(outside, "m.zip")
	must(t, os.WriteFile(archive, zipped(t, "m.tf", "resource \"terraform_data\" \"a\" {}\n"), 0o644))
	f.write("main.tf", "module \"m\" {\n  source = \""+archive+"\"\n}\n")
	f.plan(plain(), nil)
	if got := f.artifact("tfplan").Metadata["remote_modules"]; got == "" {
		t.Error("the fetched module is not recorded")
	}
	must(t, os.WriteFile(archive, zipped(t, "m.tf", "resource \"terraform_data\" \"b\" {}\n"), 0o644))
	code, receipt := f.run(protocol.TakeOff, plain(), nil)
	if code != 1 || !strings.Contains(receipt.Error, "modules that init fetches") {
		t.Errorf("exit %d, %s", code, receipt.Error)
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	realTerraform(t)
	f := newFlight(t)
	f.write("main.tf", "resource \"terraform_data\" \"a\" {\n  input = [file(\"in.txt\"), fileexists(\"out.txt\"), fileexists(\"abs.txt\")]\n}\n")
	f.write("real.txt", "inside")
	for name, target := range map[string]string{"in.txt": "real.txt", "out.txt": "../../../../../../../etc/hostname", "abs.txt": "/etc/hostname"} {
		must(t, os.Symlink(target, filepath.Join(f.workspace, name)))
	}
	f.plan(plain(), nil)
	if got := string(f.read("plan/artifact.json")); !strings.Contains(got, `"input":["inside",false,false]`) {
		t.Error(got)
	}
	if !strings.Contains(f.log.String(), `"out.txt" is a link that leads out`) {
		t.Error(f.log.String())
	}
}

func TestTakeOffRefused(t *testing.T) {
	t.Parallel()
	realTerraform(t)
	id, other := newIdentity(t), newIdentity(t)
	made := newFlight(t)
	made.write("main.tf", "resource \"terraform_data\" \"a\" {}\n")
	made.plan(sealed(id), nil)
	tests := map[string]struct {
		change  func(f *flight)
		secrets map[string]string
		code    int
		want    string
	}{
		"no identity":    {nil, map[string]string{}, 2, "no such secret"},
		"no age key":     {nil, map[string]string{"TF_AGE_IDENTITY": "sesame"}, 2, "not an age identity"},
		"another key":    {nil, map[string]string{"TF_AGE_IDENTITY": other.String()}, 2, "does not decrypt"},
		"no artifact":    {func(f *flight) { must(f.t, os.RemoveAll(filepath.Join(f.artifacts, "tfplan"))) }, nil, 2, "tfplan"},
		"no body":        {func(f *flight) { must(f.t, os.Remove(filepath.Join(f.artifacts, "tfplan/body.data"))) }, nil, 2, "body.data"},
		"body changed":   {func(f *flight) { f.edit("tfplan/body.data", "age-encryption", "age-incryption") }, nil, 2, "does not decrypt"},
		"now plain":      {func(f *flight) { f.edit("tfplan/artifact.json", `"encrypted":true`, `"encrypted":false`) }, nil, 2, "not as configured"},
		"metadata":       {func(f *flight) { f.edit("tfplan/artifact.json", `"serial"`, `"sequel"`) }, nil, 2, "metadata"},
		"module outside": {func(f *flight) { f.edit("tfplan/artifact.json", `"modules":["."]`, `"modules":["../x"]`) }, nil, 2, "path"},
		"another type":   {func(f *flight) { f.edit("tfplan/artifact.json", "terraform-saved-plan", "notes") }, nil, 2, "not a saved plan"},
		"version":        {func(f *flight) { f.edit("tfplan/artifact.json", `"terraform_version":"`, `"terraform_version":"9.`) }, nil, 1, "made with version 9."},
		"serial":         {func(f *flight) { f.edit("tfplan/artifact.json", `"serial":"0"`, `"serial":"7"`) }, nil, 1, "made for serial 7"},
		"no module":      {func(f *flight) { must(f.t, os.Remove(filepath.Join(f.workspace, "main.tf"))) }, nil, 2, "no Terraform configuration"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlight(t)
			must(t, os.CopyFS(f.workspace, os.DirFS(made.workspace)))
			must(t, os.CopyFS(f.artifacts, os.DirFS(made.artifacts)))
			if tc.change != nil {
				tc.change(f)
			}
			secrets := tc.secrets
			if secrets == nil {
				secrets = map[string]string{"TF_AGE_IDENTITY": id.String()}
			}
			before := f.list()
			code, receipt := f.run(protocol.TakeOff, sealed(id), secrets)
			if code != tc.code || receipt.Status != protocol.StatusFailure || !strings.Contains(receipt.Error, tc.want) {
				t.Errorf("exit %d, %q, want %d and %q\n%s", code, receipt.Error, tc.code, tc.want, f.log.String())
			}
			if strings.Contains(receipt.Error+f.log.String(), "sesame") {
				t.Error("the secret is in what was said")
			}
			if d := cmp.Diff(before, f.list()); d != "" {
				t.Error("the workspace changed:", d)
			}
		})
	}
}

func TestApplyFails(t *testing.T) {
	t.Parallel()
	realTerraform(t)
	f := newFlight(t)
	f.write("main.tf", "resource \"terraform_data\" \"a\" {\n  provisioner \"local-exec\" {\n    command = \"exit 3\"\n  }\n}\n")
	f.plan(plain(), nil)
	code, receipt := f.run(protocol.TakeOff, plain(), nil)
	if code != 1 || !strings.Contains(receipt.Error, "terraform apply ended with exit code 1: local-exec provisioner error") {
		t.Errorf("exit %d, %s\n%s", code, receipt.Error, f.log.String())
	}
}

// What a program in terraform's place does wrong ends in a message.
func TestOddPrograms(t *testing.T) {
	t.Parallel()
	const zipOfNothing = `for last; do :; done; case $1 in plan) for a; do case $a in -out=*) printf 'PK\005\006\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000' > "${a#-out=}";; esac; done;; esac; `
	tests := map[string]struct {
		script string
		code   int
		want   string
	}{
		"fails":          {"printf 'Error: no\\033[31m good\\n' >&2; exit 9", 1, "init ended with exit code 9: no?[31m good"},
		"killed":         {"kill -KILL $$", 1, "init was ended by signal"},
		"no plan":        {"exit 0", 1, "plan.bin"},
		"plan no file":   {`for a; do case $a in -out=*) mkdir "${a#-out=}";; esac; done`, 1, "the saved plan"},
		"show fails":     {zipOfNothing + `[ "$1" != show ] || exit 4`, 1, "show ended with exit code 4"},
		"show says none": {zipOfNothing + `exit 0`, 1, "ends too early"},
		"show for ever":  {zipOfNothing + `[ "$1" != show ] || exec cat /dev/zero`, 1, "printed more than"},
		"other format":   {zipOfNothing + `[ "$1" != show ] || echo '{"format_version":"2.0"}'`, 1, "format_version"},
		"no state":       {zipOfNothing + `[ "$1" != show ] || echo '{"format_version":"1.0"}'`, 1, "no tfstate"},
		"chatter":        {`i=0; [ "$1" != init ] || head -c 20000000 /dev/zero; exit 5`, 1, "init ended with exit code 5"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlight(t)
			config := f.script(tc.script + "\n")
			f.write("main.tf", "")
			code, receipt := f.run(protocol.FlightPlan, config, nil)
			if code != tc.code || !strings.Contains(receipt.Error, tc.want) {
				t.Errorf("exit %d, %q, want %d and %q", code, receipt.Error, tc.code, tc.want)
			}
			if strings.ContainsAny(f.log.String(), "\x1b\x00") || f.log.Len() > 10<<20 {
				t.Errorf("the log is not bounded and clean: %d bytes", f.log.Len())
			}
		})
	}
}

func TestNotAProgram(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	f.write("main.tf", "")
	p := filepath.Join(t.TempDir(), "terraform")
	must(t, os.WriteFile(p, []byte("#!/nowhere/at/all\n"), 0o755))
	code, receipt := f.run(protocol.FlightPlan, map[string]any{"binary": p, "plaintext_state": true}, nil)
	if code != 1 || !strings.Contains(receipt.Error, "could not be started") {
		t.Errorf("exit %d, %s", code, receipt.Error)
	}
}

func TestStopped(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	config := f.script("sleep 60 & sleep 60\n")
	f.write("main.tf", "")
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	code, receipt := f.runIn(ctx, protocol.FlightPlan, config, nil)
	if code != 1 || !strings.Contains(receipt.Error, "stopped") {
		t.Errorf("exit %d, %s", code, receipt.Error)
	}
}

// A secret of the step reaches terraform only if it is meant for it.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	config := f.script("env >&2; exit 1\n")
	config["env"] = []any{"CLOUD_KEY"}
	f.write("main.tf", "")
	f.env = []string{"PLAIN=1", "CLOUD_KEY=from the step", "TF_CLI_ARGS_plan=-x", "TF_LOG=trace", "TF_PLUGIN_CACHE_DIR=/x", "TF_VAR_open=2", "TF_WORKSPACE=blue", "CABINCREW_INPUT=3"}
	_, _ = f.run(protocol.FlightPlan, config, map[string]string{"TF_VAR_x": "secret-x", "CLOUD_KEY": "secret-c", "OTHER": "secret-o", "TF_AGE_IDENTITY": "secret-i"})
	log := "\n" + f.log.String()
	for _, want := range []string{"PLAIN=1", "CLOUD_KEY=secret-c", "TF_VAR_x=secret-x", "TF_VAR_open=2", "TF_WORKSPACE=blue", "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1", "TF_INPUT=0", "LANG=C.UTF-8"} {
		if !strings.Contains(log, "\n"+want+"\n") {
			t.Errorf("no %s in %s", want, log)
		}
	}
	for _, never := range []string{"secret-o", "secret-i", "from the step", "TF_CLI_ARGS", "TF_LOG", "TF_PLUGIN_CACHE_DIR", "CABINCREW_INPUT", "CABINCREW_WORKSPACE", "CABINCREW_ARTIFACTS_DIR"} {
		if strings.Contains(log, never) {
			t.Errorf("%s is in %s", never, log)
		}
	}
}
