package cli

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/schemas"
	"github.com/cabincrew/action/signing"
)

func TestInit(t *testing.T) {
	t.Parallel()
	d := &desk{t: t, dir: filepath.Join(t.TempDir(), "my-project"), env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}}
	d.must(2, []string{"config_unwritable"}, "init")
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d.must(2, []string{"config_not_found"}, "list")
	if _, err := os.Lstat(d.path(".cabincrew")); err == nil {
		t.Error("list made a state directory")
	}
	var doc struct {
		Config   string   `json:"config"`
		StateDir string   `json:"state_dir"`
		Next     []string `json:"next"`
	}
	d.json(0, &doc, "init")
	if len(doc.Next) == 0 || filepath.Base(doc.Config) != config.FileName {
		t.Errorf("the document is %+v", doc)
	}
	c, err := config.Load(d.path(".cabincrew.yaml"))
	if err != nil || c.Workflow != "my-project" {
		t.Errorf("the configuration: %v, %+v", err, c)
	}
	if got := read(t, d.path(".cabincrew/.gitignore")); got != "*\n" {
		t.Errorf(".gitignore holds %q", got)
	}
	d.write(".cabincrew.yaml", "# mine\n")
	d.must(2, []string{"config_exists", "hint:"}, "init")
	if read(t, d.path(".cabincrew.yaml")) != "# mine\n" {
		t.Error("init changed a configuration that was there")
	}
	remove(t, d.path(".cabincrew.yaml"))
	d.must(0, []string{"wrote ", "next", "flight-plan"}, "init")
	d.must(0, nil, "doctor")
}

func TestKeysGenerate(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.must(2, []string{"--out"}, "keys", "generate")
	d.must(2, []string{".pub"}, "keys", "generate", "--out", d.path("a.pub"))
	d.must(2, []string{"key_generate", "ed25519"}, "keys", "generate", "--out", d.path("a"), "--type", "rsa")
	d.must(2, []string{"key_passphrase", "--no-passphrase"}, "keys", "generate", "--out", d.path("a"))
	d.must(2, []string{"key_unwritable"}, "keys", "generate", "--out", d.path("nowhere/a"), "--no-passphrase")

	var doc struct {
		Fingerprint string               `json:"fingerprint"`
		Type        signing.KeyType      `json:"type"`
		Encrypted   bool                 `json:"encrypted"`
		Warnings    []string             `json:"warnings"`
		Approver    struct{ Key string } `json:"approver"`
	}
	d.json(0, &doc, "keys", "generate", "--out", d.path("a"), "--no-passphrase", "--type", "ed25519")
	if doc.Encrypted || doc.Type != signing.Ed25519 || doc.Approver.Key != "a.pub" || len(doc.Warnings) != 1 {
		t.Errorf("the document is %+v", doc)
	}
	info, err := os.Stat(d.path("a"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the private key: %v, %v", err, info)
	}
	pub, err := signing.ParsePublic([]byte(read(t, d.path("a.pub"))))
	if err != nil || pub.Fingerprint() != doc.Fingerprint {
		t.Errorf("the public key: %v", err)
	}
	before := read(t, d.path("a"))
	d.must(2, []string{"key_exists"}, "keys", "generate", "--out", d.path("a"), "--no-passphrase")
	remove(t, d.path("a"))
	d.must(2, []string{"key_exists", "a.pub"}, "keys", "generate", "--out", d.path("a"), "--no-passphrase")
	if _, err := os.Lstat(d.path("a")); err == nil {
		t.Error("half a pair was written")
	}
	if !strings.Contains(before, "PRIVATE KEY") {
		t.Errorf("the key is %.40q", before)
	}

	d.env = append(d.env, "CABINCREW_KEY_PASSPHRASE=correct horse")
	out := d.must(0, []string{"fingerprint  sha256:", "roles: [maintainer, policy-owner]", "key: b.pub"}, "keys", "generate", "--out", d.path("b"))
	if strings.Contains(out, "correct horse") || !strings.Contains(read(t, d.path("b")), "ENCRYPTED SIGSTORE PRIVATE KEY") {
		t.Error("the key is not encrypted, or the passphrase is told")
	}
	d.env = append(d.env, "CABINCREW_KEY_PASSPHRASE=")
	d.must(2, []string{"key_passphrase"}, "keys", "generate", "--out", d.path("c"))
}

func TestKeysInGit(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{".git/HEAD": "ref: refs/heads/main\n", ".gitignore": "/private/*\n"})
	if err := os.Mkdir(d.path("private"), 0o700); err != nil {
		t.Fatal(err)
	}
	d.must(0, []string{"warning: ", ".gitignore"}, "keys", "generate", "--out", d.path("open"), "--no-passphrase")
	_, _, errs := d.run("keys", "generate", "--out", d.path("private/key"), "--no-passphrase")
	if strings.Contains(errs, "work tree") {
		t.Errorf("a warning for an ignored key: %s", errs)
	}
}

func TestYAMLText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"keys/a.pub": "keys/a.pub", "true": `"true"`, "12": `"12"`, "a: b": `"a: b"`, "-x": `"-x"`, "": `""`} {
		if got := yamlText(in); got != want {
			t.Errorf("%q becomes %s, want %s", in, got, want)
		}
	}
}

func TestSchemaAndValidate(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	var kinds []string
	d.json(0, &kinds, "schema")
	if !slices.Contains(kinds, "bundle") || !slices.Contains(kinds, "config") || len(kinds) != len(schemas.Kinds())+1 {
		t.Errorf("the kinds are %v", kinds)
	}
	for _, kind := range kinds {
		if out := d.must(0, nil, "schema", kind); !json.Valid([]byte(out)) || !strings.Contains(out, "$schema") {
			t.Errorf("schema %s is %.60q", kind, out)
		}
	}
	d.must(0, []string{"engine-output\n"}, "schema")
	d.must(2, []string{"schema_unknown"}, "schema", "nonesuch")

	good := `{"step_id":"a","step_type":"INIT"}`
	d.write("good.json", good)
	if out := d.must(0, nil, "validate", "step-started-data", d.path("good.json")); out != "ok\n" {
		t.Errorf("said %q", out)
	}
	for name, c := range map[string]struct {
		kind, text string
		words      []string
	}{
		"missing":   {"step-started-data", `{}`, []string{"step_id", "step_type"}},
		"duplicate": {"step-started-data", `{"step_id":"a","step_id":"b","step_type":"INIT"}`, []string{"step_id"}},
		"trailing":  {"step-started-data", good + "{}", []string{"document_invalid"}},
		"kind":      {"nonesuch", good, []string{"schema_unknown"}},
		"config":    {"config", "version: 1\nworkflow: x\nstep: []\nsteps: 3\n", []string{"stdin:3", "stdin:4", "did you mean"}},
	} {
		code, out, errs := d.runIn(c.text, "validate", c.kind, "-")
		if code != 2 {
			t.Errorf("%s: exit %d", name, code)
		}
		for _, w := range c.words {
			if !strings.Contains(out+errs, w) {
				t.Errorf("%s: %q is missing in %s%s", name, w, out, errs)
			}
		}
	}
	var doc struct {
		Valid    bool      `json:"valid"`
		Problems []finding `json:"problems"`
	}
	d.write("bad.json", `{"step_id":1}`)
	d.json(2, &doc, "validate", "step-started-data", d.path("bad.json"))
	if doc.Valid || len(doc.Problems) == 0 {
		t.Errorf("the document is %+v", doc)
	}
	d.json(0, &doc, "validate", "config", d.path(".cabincrew.yaml"))
	if !doc.Valid {
		t.Errorf("the document is %+v", doc)
	}
	d.must(2, []string{"input_unreadable"}, "validate", "config", d.path("nonesuch"))
	d.must(2, []string{"input_unreadable"}, "validate", "config", d.dir)
	d.must(2, nil, "validate", "config")
}

func TestPolicyEval(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	id := d.plan(4)
	d.must(2, []string{"--flight"}, "policy", "eval")
	d.must(4, []string{"step edit", "require_approval", "cabincrew.desk", "needs approval of role maintainer"}, "policy", "eval", "--flight", id)

	in := policies.Input{Artifacts: []policies.Artifact{{Name: "a", Role: "evidence", Hash: protocol.Digest(nil)}}, Mode: protocol.FlightPlan}
	in.Isolation = policies.Isolation{Tier: "A", Attempts: []policies.Attempt{}, Requests: []policies.Request{}, Tools: []policies.Tool{}}
	doc, err := in.Document()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	d.write("in.json", string(raw))
	var answer struct {
		Decision protocol.Decision `json:"decision"`
		Steps    []judged          `json:"steps"`
	}
	d.json(4, &answer, "policy", "eval", "--input", d.path("in.json"))
	if answer.Decision != protocol.RequireApproval || len(answer.Steps) != 1 || len(answer.Steps[0].Evaluations) != 1 || answer.Steps[0].Requires[0].Role != "maintainer" {
		t.Errorf("the answer is %+v", answer)
	}
	d.write("in.json", `{"artifacts":[],"surprise":1}`)
	d.must(2, []string{"policy_input", "surprise"}, "policy", "eval", "--input", d.path("in.json"))
	d.write("in.json", strings.Replace(string(raw), `"mode":"flight-plan"`, `"mode":"flightplan"`, 1))
	d.must(2, []string{"policy_input", "$.mode"}, "policy", "eval", "--input", d.path("in.json"))

	// The policies of now are asked, not those of the flight.
	d.write("policies/desk.rego", "package cabincrew.desk\n\ndeny contains \"no\"\n")
	d.json(3, &answer, "policy", "eval", "--flight", id)
	if answer.Decision != protocol.Deny || answer.Steps[0].StepID != "edit" {
		t.Errorf("the answer is %+v", answer)
	}
	d.write("policies/desk.rego", "package cabincrew.desk\n\nwarn contains \"hm\"\n")
	d.must(0, []string{"warn", "hm"}, "policy", "eval", "--flight", id)

	d.change(d.flightFile(id, "steps/edit/artifacts/changes/body.data"), "new", "old")
	d.must(5, nil, "policy", "eval", "--flight", id)
}

// TestPolicyInput: what is printed is what the judges get.
func TestPolicyInput(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	id := d.plan(4)
	d.must(2, []string{"--flight"}, "policy", "input")
	d.must(2, []string{"step_unknown", "edit"}, "policy", "input", "--flight", id, "--step", "nonesuch")
	code, out, errs := d.runIn("", "policy", "input", "--flight", id)
	if code != 0 {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	at := filepath.Join(t.TempDir(), "in.json") // the workspace stays as it is
	if err := os.WriteFile(at, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, how := range [][]string{{"--step", "edit"}, {"--output", "json"}} {
		if _, again, _ := d.runIn("", append([]string{"policy", "input", "--flight", id}, how...)...); again != out {
			t.Errorf("%q gives another document", how)
		}
	}
	d.must(0, nil, "validate", "policy-input", at)
	reasons := func(args ...string) (list []string) {
		var answer struct {
			Steps []judged `json:"steps"`
		}
		d.json(4, &answer, append([]string{"policy", "eval"}, args...)...)
		for _, e := range answer.Steps[0].Evaluations {
			list = append(list, string(e.Decision)+" "+e.PolicyID+" "+e.Reason)
		}
		return list
	}
	if one, other := reasons("--flight", id), reasons("--input", at); len(one) == 0 || !slices.Equal(one, other) {
		t.Errorf("of the flight %q, of its document %q", one, other)
	}
	d.change(d.flightFile(id, "steps/edit/artifacts/changes/body.data"), "new", "old")
	d.must(5, nil, "policy", "input", "--flight", id)
}

func TestPolicyTest(t *testing.T) {
	t.Parallel()
	const good = "package cabincrew.desk_test\n\nimport data.cabincrew.desk\n\ntest_asks if count(desk.require_approval) == 1 with input as {\"artifacts\": [1]}\n"
	d := newDesk(t, map[string]string{"policies/desk_test.rego": good})
	d.must(0, []string{"1 passed, 0 failed", "coverage 100.0 %"}, "policy", "test", "--coverage")
	d.must(1, []string{"policy_test_none", "0 passed"}, "policy", "test", "--run", "nonesuch")
	d.must(2, []string{"--run"}, "policy", "test", "--run", "(")
	d.must(0, []string{"0 failed"}, "policy", "test", "baseline")

	d.write("policies/desk_test.rego", good+"\ntest_wrong if 1 == 2\n")
	d.must(1, []string{"desk_test.rego:7", "test_wrong", "1 passed, 1 failed", "policy_test_failed"}, "policy", "test", d.path("policies"))
	var report struct {
		Tests  []any                      `json:"tests"`
		Passed bool                       `json:"passed"`
		Error  *orchestrator.SummaryError `json:"error"`
	}
	d.json(1, &report, "policy", "test")
	if len(report.Tests) != 2 || report.Passed || report.Error == nil {
		t.Errorf("the report is %+v", report)
	}
	d.must(3, []string{"policy_set_missing"}, "policy", "test", d.path("nowhere"))
	d.write("policies/desk_test.rego", "package x\n\ntest_y if {")
	code, _, errs := d.run("policy", "test")
	if code == 0 || !strings.Contains(errs, "desk_test.rego:3") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	commit := strings.Repeat("a", 40)
	git := map[string]string{
		".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": commit + "\n", ".git/config": "[user]\n\temail = me@example.com\n", ".gitignore": "boss\n",
	}
	// What the machine offers decides what is said of isolation.
	tier := sandbox.Probe(t.Context(), false).Isolation.Tier
	isolated, required, requiredCode := "pass", "pass", 0
	switch tier {
	case sandbox.TierB:
		isolated, required, requiredCode = "warn", "fail", protocol.ExitUnreachable
	case sandbox.TierC:
		t.Skip("this machine cannot isolate engines: doctor says so of every configuration whose steps are not bare")
	}
	for name, c := range map[string]struct {
		files  map[string]string
		modes  map[string]os.FileMode
		code   int
		checks map[string]string
	}{
		"whole": {nil, nil, 0, map[string]string{
			"configuration": "pass", "policies": "pass", "approvers": "pass", "roles": "pass", "git": "pass", "state directory": "pass",
			"private keys": "pass", "isolation": isolated, "clock": "pass", "engines": "pass",
		}},
		"configuration":  {map[string]string{".cabincrew.yaml": "version: 2\n"}, nil, 2, map[string]string{"configuration": "fail", "policies": "skip", "engines": "skip", "git": "pass"}},
		"policy":         {map[string]string{"policies/desk.rego": "package x\n\ndeny if {"}, nil, 2, map[string]string{"policies": "fail", "approvers": "pass"}},
		"no policy":      {map[string]string{".cabincrew.yaml": strings.Replace(deskConfig, "{rego: [policies/]}", "{}", 1)}, nil, 2, map[string]string{"policies": "fail"}},
		"approver's key": {map[string]string{"boss.pub": "no key"}, nil, 2, map[string]string{"approvers": "fail", "roles": "skip"}},
		"nobody":         {map[string]string{".cabincrew.yaml": deskConfig[:strings.Index(deskConfig, "  approvers:")]}, nil, 0, map[string]string{"approvers": "warn", "roles": "skip"}},
		"role":           {map[string]string{".cabincrew.yaml": strings.Replace(deskConfig, "[maintainer]", "[other]", 1)}, nil, 2, map[string]string{"roles": "fail"}},
		"owner":          {map[string]string{".cabincrew.yaml": strings.Replace(deskConfig, "{rego:", "{bundled: [baseline], rego:", 1)}, nil, 0, map[string]string{"roles": "warn"}},
		"no commit":      {map[string]string{".git/refs/heads/main": ""}, nil, 7, map[string]string{"git": "fail"}},
		"key for all":    {map[string]string{"boss": "x"}, map[string]os.FileMode{"boss": 0o644}, 2, map[string]string{"private keys": "fail"}},
		"key in git":     {map[string]string{"boss": "x", ".gitignore": ""}, nil, 2, map[string]string{"private keys": "fail"}},
		"key apart":      {map[string]string{"boss": "x"}, nil, 0, map[string]string{"private keys": "pass"}},
		"engine":         {map[string]string{".cabincrew.yaml": strings.Replace(deskConfig, "[sh, edit.sh]", "[no-such-program]", 1)}, nil, 7, map[string]string{"engines": "fail"}},
		"engine's file":  {map[string]string{".cabincrew.yaml": strings.Replace(deskConfig, "{use: command, with: {run: [sh, edit.sh]}}", "{run: [./edit.sh]}", 1)}, nil, 7, map[string]string{"engines": "fail"}},
		"isolation":      {map[string]string{".cabincrew.yaml": strings.Replace(deskConfig, "policies:", "    isolation: required\npolicies:", 1)}, nil, requiredCode, map[string]string{"isolation": required}},
		"not isolated":   {map[string]string{".cabincrew.yaml": strings.Replace(deskConfig, "policies:", "    isolation: none\npolicies:", 1)}, nil, 0, map[string]string{"isolation": isolated}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{}
			for _, m := range []map[string]string{git, c.files} {
				maps.Copy(files, m)
			}
			d := newDesk(t, files)
			for file, mode := range c.modes {
				if err := os.Chmod(d.path(file), mode); err != nil {
					t.Fatal(err)
				}
			}
			var list []advice
			d.json(c.code, &list, "doctor")
			got := map[string]advice{}
			for _, item := range list {
				got[item.Name] = item
			}
			for check, want := range c.checks {
				if got[check].Status != want {
					t.Errorf("%s is %+v, want %s", check, got[check], want)
				}
			}
			for _, item := range list {
				if item.Status == doctorFail && item.Hint == "" {
					t.Errorf("%+v does not say what to do", item)
				}
			}
			d.must(c.code, []string{"configuration"}, "doctor")
		})
	}
}

func TestRetention(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"30d": "720h0m0s", "12h": "12h0m0s", "0s": "0s", "0d": "0s"} {
		if got, err := length(in); err != nil || got.String() != want {
			t.Errorf("%s is %v, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "d", "-1d", "1.5d", "99999999d", "-1h", "soon", "30"} {
		if _, err := length(in); err == nil {
			t.Errorf("%q is taken for a length of time", in)
		}
	}
}
