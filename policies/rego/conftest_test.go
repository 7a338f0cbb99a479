package rego_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/policies/views"
	"github.com/cabincrew/action/protocol"
)

// The version of conftest whose example policies must work unchanged, and the
// checksum of its module.
const (
	conftestModule = "github.com/open-policy-agent/conftest@v0.71.1"
	conftestSum    = "h1:M6MogKBsr76V7WVTgGgyGvKUsDtzFA3gaOrl7ciyqvQ="
)

// conftestDir finds conftest's sources by the Go module proxy or the module cache.
// Nothing of them is part of this repository.
var conftestDir = sync.OnceValues(func() (string, error) {
	gocmd, err := exec.LookPath("go")
	if err != nil {
		return "", err
	}
	cmd := exec.Command(gocmd, "mod", "download", "-json", conftestModule)
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local")
	out, err := cmd.Output()
	var answer struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(out, &answer); jsonErr != nil || answer.Error != "" || err != nil {
		return "", fmt.Errorf("%s cannot be had: %s (%w)", conftestModule, answer.Error, errors.Join(err, jsonErr))
	}
	if answer.Sum != conftestSum {
		return "", fmt.Errorf("%s has the checksum %s, not %s", conftestModule, answer.Sum, conftestSum)
	}
	return filepath.Join(answer.Dir, "examples"), nil
})

// conftestProgram finds conftest itself, which is not needed: it says then that
// what is expected here is what it finds, and parses what nothing here can.
func conftestProgram() string {
	for _, name := range []string{os.Getenv("CONFTEST"), "../../bin/tools/conftest"} {
		if at, err := filepath.Abs(name); name != "" && err == nil {
			if info, err := os.Stat(at); err == nil && info.Mode().IsRegular() {
				return at
			}
		}
	}
	return ""
}

// conftestCase is one example: what conftest finds in files by a policy, in
// package main, as conftest v0.71.1 prints it and, where they speak of it, its
// own acceptance tests demand.
type conftestCase struct {
	policy string
	files  []string
	data   string // file that conftest gets by --data
	given  string // name of the file, which conftest gives as data.conftest.file.name
	parser string // of conftest, where it does not see itself which
	deny   []string
	warn   []string
	// differs says what else is denied here, and why.
	differs []string
}

const (
	kubernetesLabels = "hello-kubernetes must include Kubernetes recommended labels: https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/#labels"
	noServices       = "Found service hello-kubernetes but services are not allowed"
)

func conftestCases() []conftestCase {
	deployment := []string{
		"Containers must not run as root in Deployment hello-kubernetes",
		"Deployment hello-kubernetes must provide app/release labels for pod selectors",
		"Found deployment hello-kubernetes but deployments are not allowed",
		kubernetesLabels,
	}
	return []conftestCase{
		{policy: "kubernetes/policy", files: []string{"kubernetes/deployment.yaml"}, deny: deployment},
		{policy: "kubernetes/policy", files: []string{"kubernetes/service.yaml"}, warn: []string{noServices}},
		{policy: "kubernetes/policy", files: []string{"kubernetes/deployment+service.yaml"}, deny: deployment, warn: []string{noServices}},
		{
			policy: "kubernetes/combine/combine.rego", files: []string{"kubernetes/combine/combine.yaml", "kubernetes/combine/deployment.yaml", "kubernetes/combine/service.yaml"},
			deny: []string{"Deployment 'goodbye-kubernetes' has no matching service"},
		},
		{policy: "report/policy", files: []string{"kubernetes/deployment.yaml"}, deny: []string{kubernetesLabels}},
		{policy: "report/policy_print", files: []string{"kubernetes/deployment.yaml"}, deny: []string{kubernetesLabels}},
		{policy: "strict-rules/policy", files: []string{"kubernetes/service.yaml"}},
		{
			policy: "compose/policy", files: []string{"compose/docker-compose.yml"},
			deny: []string{"Must be using at least version 3.5 of the Compose file format", "No images tagged latest"},
		},
		{policy: "compose/policy", files: []string{"compose/docker-compose-valid.yml"}},
		{policy: "awssam/policy", files: []string{"awssam/lambda.yaml"}, deny: []string{
			"Sensitive data not allowed in environment variables", "excessive Action permissions not allowed",
			"excessive Resource permissions not allowed", "python2.7 runtime not allowed",
		}},
		{
			policy: "exceptions/policy", files: []string{"exceptions/deployments.yaml"}, deny: []string{"Containers must not run as root in Deployment cannot-run-as-root"},
			// The rule "exception" means nothing here: exemptions are part of the configuration.
			differs: []string{"Containers must not run as root in Deployment can-run-as-root"},
		},
		{
			policy: "data/policy", data: "data/exclusions/services.yaml", files: []string{"data/service.yaml"},
			deny: []string{"Cannot expose port 22 on LoadBalancer. Denied ports: [22, 21]"},
		},
		{
			policy: "kustomize/policy", files: []string{"kustomize/deployment.yaml"},
			deny: []string{"Containers must not run as root", "Containers must provide app label for pod selectors"},
		},
		{policy: "kustomize/policy", files: []string{"kustomize/service.yaml"}, warn: []string{"Services are not allowed"}},
		{policy: "hcl1/policy/base.rego", files: []string{"hcl1/gke-show.json"}, deny: []string{
			"Terraform plan will change prohibited resources in the following namespaces: google_iam, google_container",
		}},
		{
			policy: "combine/policy", files: []string{"combine/team.yaml", "combine/user1.yaml", "combine/user2.yaml"},
			deny: []string{`Existing users ["jan.doe@example.com", "john.doe@example.com"] | Configured users ["jane.doe@example.com", "john.doe@example.com"] | Missing users ["jane.doe@example.com"]`},
		},
		// Beside it lies a package that conftest asks only with --all-namespaces, and that is refused here.
		{policy: "docker/policy/images.rego", files: []string{"docker/Dockerfile"}, deny: []string{`unallowed image found ["openjdk:8-jdk-alpine"]`}},
		{policy: "dotenv/policy", files: []string{"dotenv/sample.env"}},
		{policy: "properties/policy", files: []string{"properties/sample.properties"}},
		{policy: "ini/policy", files: []string{"ini/grafana.ini"}, parser: "ini", deny: []string{"Users should verify their e-mail address"}},
		{policy: "hcl2/policy", files: []string{"hcl2/terraform.tf"}, parser: "hcl2", deny: []string{
			"ALB `my-alb-listener` is using HTTP rather than HTTPS", "ASG `my-rule` defines a fully open ingress",
			`AWS resource: "aws_alb_listener" named "my-alb-listener" is missing required tags: {"environment", "owner"}`,
			`AWS resource: "aws_db_security_group" named "my-group" is missing required tags: {"environment", "owner"}`,
			`AWS resource: "aws_security_group_rule" named "my-rule" is missing required tags: {"environment", "owner"}`,
			"Azure disk `source` is not encrypted",
		}},
		{policy: "traefik/policy", files: []string{"traefik/traefik.toml"}, parser: "toml", deny: []string{
			`Following ciphers are not allowed: ["TLS_RSA_WITH_AES_256_GCM_SHA384"]`,
		}},
		{policy: "jenkins/policy", files: []string{"jenkins/Jenkinsfile"}, given: "jenkins/Jenkinsfile", parser: "groovy", deny: []string{"Pipeline downloads a script and pipes it directly to an interpreter"}},
		{policy: "jenkins/policy", files: []string{"jenkins/Jenkinsfile.safe"}, given: "jenkins/Jenkinsfile.safe", parser: "groovy"},
		{policy: "spdx/policy", files: []string{"spdx/sbom.spdx"}, parser: "spdx"},
		{policy: "cyclonedx/policy", files: []string{"cyclonedx/cyclonedx.json"}, parser: "cyclonedx"},
		{policy: "codeowners/policy", files: []string{"codeowners/CODEOWNERS"}, parser: "codeowners"},
		{policy: "ignore/gitignore/policy", files: []string{"ignore/gitignore/.gitignore"}, parser: "ignore", deny: []string{"id_rsa files should be ignored"}},
		{policy: "cue/policy", files: []string{"cue/deployment.cue"}, parser: "cue", deny: []string{"The image port should be 8080 in deployment.cue. you have : 8081"}},
		{policy: "jsonnet/policy", files: []string{"jsonnet/arith.jsonnet"}, parser: "jsonnet", deny: []string{"Concat array should be less than 3"}},
		{policy: "edn/policy", files: []string{"edn/sample_config.edn"}, parser: "edn", deny: []string{"Applications in the production environment should have error only logging"}},
		{policy: "nginx/policy", files: []string{"nginx/nginx.conf"}, parser: "nginx"},
		{policy: "hocon/policy", files: []string{"hocon/hocon.conf"}, parser: "hocon", deny: []string{"Play http server port should be 9000"}},
		{policy: "vcl/policy", files: []string{"vcl/varnish.vcl"}, parser: "vcl", deny: []string{"default backend port should be 8080"}},
		{policy: "xml/policy", files: []string{"xml/pom.xml"}, parser: "xml", deny: []string{
			`in {"artifactId": "maven-compiler-plugin", "configuration": {"encoding": "UTF-8", "source": "1.8", "target": "1.8"}, "groupId": "org.apache.maven.plugins", "version": "3.6.0"} ` +
				"\n--- maven-plugin must have the version: 3.6.1 \n",
		}},
	}
}

// TestConftestExamples judges what conftest judges in its examples by the policies
// that lie there, unchanged.
func TestConftestExamples(t *testing.T) {
	t.Parallel()
	root, err := conftestDir()
	if err != nil {
		t.Skip(err)
	}
	judged := 0
	for _, c := range conftestCases() {
		name := c.policy + " " + strings.Join(c.files, " ")
		docs, err := c.documents(root)
		if err != nil {
			t.Logf("%s: left out: %v", name, err)
			continue
		}
		judged++
		deny, warn := c.judge(t, root, docs)
		wantDeny := slices.Sorted(slices.Values(slices.Concat(c.deny, c.differs)))
		if !slices.Equal(deny, wantDeny) || !slices.Equal(warn, c.warn) {
			t.Errorf("%s:\ndeny %q\nwant %q\nwarn %q\nwant %q", name, deny, wantDeny, warn, c.warn)
		}
		if program := conftestProgram(); program != "" {
			deny, warn := c.conftest(t, program, root)
			if want := slices.Sorted(slices.Values(c.deny)); !slices.Equal(deny, want) || !slices.Equal(warn, c.warn) {
				t.Errorf("%s: conftest itself says\ndeny %q\nwant %q\nwarn %q\nwant %q", name, deny, want, warn, c.warn)
			}
		}
	}
	if judged < 19 {
		t.Errorf("only %d examples were judged", judged)
	}
	t.Logf("%d of %d examples judged", judged, len(conftestCases()))
}

// TestConftestExamplesThatAreRefused names every example that does not work
// unchanged, with the reason.
func TestConftestExamplesThatAreRefused(t *testing.T) {
	t.Parallel()
	root, err := conftestDir()
	if err != nil {
		t.Skip(err)
	}
	for dir, c := range map[string]struct{ says, why string }{
		"builtin-errors":          {"net.lookup_ip_addr", "policies have no network"},
		"capabilities":            {"judges nothing", "its rule attack is no answer; http.send would be refused too, as policies have no network"},
		"hcl1/policy/gke_combine": {"judges nothing", "its rules are in package main.gke, which conftest judges with --all-namespaces only"},
		"serverless/policy":       {"has_field", "the example calls a function that does not exist; conftest refuses it too"},
		"docker/policy":           {"nobody asks package commands", "a package beside the one that judges would be left out without a word"},
		"docker/policy/commands":  {"judges nothing", "its rules are in package commands, which conftest judges with --all-namespaces only"},
		"configfile/test":         {"judges nothing", "its rules are in package conftest, which conftest.toml names"},
	} {
		name := dir
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(dir))); errors.Is(err, fs.ErrNotExist) {
			name += ".rego"
		}
		_, err := rego.New(t.Context(), []policies.Set{conftestSet(t, root, name, "")}, rego.Options{})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q, because %s", dir, err, c.says, c.why)
		}
	}
}

// conftestSet reads a policy directory, or one file, as a set.
func conftestSet(t *testing.T, root, name, data string) policies.Set {
	t.Helper()
	s := policies.Set{Name: "conftest"}
	top := filepath.Join(root, filepath.FromSlash(name))
	err := filepath.WalkDir(top, func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(at, ".rego") {
			return err
		}
		text, err := os.ReadFile(at)
		s.Files = append(s.Files, policies.SetFile{Path: path.Base(filepath.ToSlash(at)), Data: text})
		return err
	})
	if err == nil && data != "" {
		var text []byte
		text, err = os.ReadFile(filepath.Join(root, filepath.FromSlash(data)))
		s.Files = append(s.Files, policies.SetFile{Path: "data.yaml", Data: text})
	}
	if err != nil || len(s.Files) == 0 {
		t.Fatalf("%s: %d files, %v", name, len(s.Files), err)
	}
	return s
}

// judge gives the reasons of denials and warnings over all documents.
func (c conftestCase) judge(t *testing.T, root string, docs []any) (deny, warn []string) {
	t.Helper()
	set := conftestSet(t, root, c.policy, c.data)
	if c.given != "" {
		set.Files = append(set.Files, policies.SetFile{Path: "conftest/file/data.json", Data: fmt.Appendf(nil, `{"name": %q}`, c.given)})
	}
	e := mustNew(t, rego.Options{}, set)
	for _, doc := range docs {
		r, err := e.EvaluateDocument(t.Context(), doc, now)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range r.Findings {
			switch {
			case f.Unjudged || f.Source != protocol.SourceOPA:
				t.Errorf("%s: %+v", c.policy, f)
			case !strings.HasPrefix(f.PolicyID, "main"):
			case f.Decision == protocol.Deny:
				deny = append(deny, f.Reason)
			case f.Decision == protocol.Warn:
				warn = append(warn, f.Reason)
			}
		}
	}
	slices.Sort(deny)
	slices.Sort(warn)
	return deny, warn
}

// documents parses the files as conftest does: each document of a file is judged
// by itself; several files are judged together.
func (c conftestCase) documents(root string) ([]any, error) {
	var all, combined []any
	for _, name := range c.files {
		docs, err := c.parse(root, name)
		if err != nil {
			return nil, err
		}
		for _, doc := range docs {
			combined = append(combined, map[string]any{"path": name, "contents": doc})
		}
		all = append(all, docs...)
	}
	if len(c.files) > 1 {
		all = []any{combined}
	}
	for i, doc := range all {
		text, err := json.Marshal(doc)
		if err != nil {
			return nil, err
		}
		if all[i], err = protocol.DecodeAny(text); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (c conftestCase) parse(root, name string) ([]any, error) {
	at := filepath.Join(root, filepath.FromSlash(name))
	text, err := os.ReadFile(at)
	if err != nil {
		return nil, err
	}
	switch ext := path.Ext(name); {
	case c.parser != "":
		return c.parsedByConftest(at)
	case ext == ".json":
		doc, err := protocol.DecodeAny(text)
		return []any{doc}, err
	case ext == ".yaml" || ext == ".yml":
		a := policies.Artifact{Mime: "application/yaml"}
		if views.Fill(&a, text); a.ViewError != "" {
			return nil, errors.New(a.ViewError)
		}
		return a.Documents, nil
	case ext == ".env" || ext == ".properties":
		values := map[string]any{}
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
				values[key] = value
			}
		}
		return []any{values}, nil
	}
	var commands []any // a Dockerfile without continued lines and stages
	for line := range strings.Lines(string(text)) {
		if command, rest, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			commands = append(commands, map[string]any{"Cmd": strings.ToLower(command), "Value": []string{rest}})
		}
	}
	return []any{commands}, nil
}

func (c conftestCase) parsedByConftest(at string) ([]any, error) {
	program := conftestProgram()
	if program == "" {
		return nil, fmt.Errorf("only conftest reads %s files; name the program in CONFTEST, or put it at bin/tools/conftest", c.parser)
	}
	out, err := exec.Command(program, "parse", "--parser", c.parser, at).Output()
	if err != nil {
		return nil, err
	}
	doc, err := protocol.DecodeAny(bytes.TrimSpace(out))
	if list, ok := doc.([]any); ok {
		return list, err
	}
	return []any{doc}, err
}

// conftest asks conftest itself.
func (c conftestCase) conftest(t *testing.T, program, root string) (deny, warn []string) {
	t.Helper()
	args := []string{"test", "--no-color", "--output", "json", "--policy", c.policy}
	if c.data != "" {
		args = append(args, "--data", path.Dir(c.data))
	}
	if c.parser != "" {
		args = append(args, "--parser", c.parser)
	}
	if len(c.files) > 1 {
		args = append(args, "--combine")
	}
	cmd := exec.Command(program, append(args, c.files...)...)
	cmd.Dir = root
	out, err := cmd.Output() // it fails where it finds something
	var answers []struct{ Warnings, Failures []struct{ Msg string } }
	if jsonErr := json.Unmarshal(out, &answers); jsonErr != nil {
		t.Fatalf("conftest %q: %v, %v\n%s", args, err, jsonErr, out)
	}
	for _, a := range answers {
		for _, f := range a.Failures {
			deny = append(deny, f.Msg)
		}
		for _, w := range a.Warnings {
			warn = append(warn, w.Msg)
		}
	}
	slices.Sort(deny)
	slices.Sort(warn)
	return deny, warn
}

// TestListsUnderConditions judges by complete rules that are lists, as conftest's
// policies may have them; all other complete rules stay what they were.
func TestListsUnderConditions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ src, want string }{
		{"package main\nviolation := [\"x\"] if input.mode == \"flight-plan\"", "deny main/violation: x"},
		{"package main\nviolation := [{\"msg\": \"x\"}] if input.mode == \"flight-plan\"", "deny main/violation: x"},
		{"package main\nwarn_x := [m | some m in [\"x\"]] if input.mode == \"flight-plan\"", "warn main/warn_x: x"},
		{"package main\nviolation := [\"x\"] if input.mode == \"never\"", "allow main: evaluated; nothing found"},
		{"package main\ndeny := [1] if input.mode == \"flight-plan\"", "neither a text"},
		{"package main\ndeny := [\"x\"] if input.mode == \"never\" else := \"y\"", "a text and not a set"},
		{"package main\ndeny := [\"x\"] if input.mode == \"never\"\ndeny := \"y\" if input.mode == \"never\"", "undefined where"},
		{"package main\ndefault deny := \"y\"\ndeny := [\"x\"] if input.mode == \"never\"", "a text and not a set"},
		{"package main\ndecision := [\"deny\"] if input.mode == \"never\"", "undefined where"},
		{"package cabincrew.x\ndeny := [\"x\"] if input.mode == \"never\"", "undefined where"},
		{"package cabincrew.x\ndeny := [\"x\"] if input.mode == \"flight-plan\"", "a list and not a set"},
	} {
		got := brief(evaluate(t, mustNew(t, rego.Options{}, set("s", "a.rego", c.src)), policies.Input{Mode: protocol.FlightPlan}))
		if len(got) != 1 || !strings.Contains(got[0], c.want) {
			t.Errorf("%s\ngot %q, want %q", c.src, got, c.want)
		}
	}
}
