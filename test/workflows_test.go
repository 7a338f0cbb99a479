package test

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// flow is what these tests look at in a workflow, and in an action's file.
type flow struct {
	Permissions map[string]string `yaml:"permissions"`
	Jobs        map[string]job    `yaml:"jobs"`
	On          struct {
		Call *struct {
			Inputs  map[string]any `yaml:"inputs"`
			Secrets map[string]any `yaml:"secrets"`
		} `yaml:"workflow_call"`
	} `yaml:"on"`
	Runs    job            `yaml:"runs"`
	Inputs  map[string]any `yaml:"inputs"`
	Outputs map[string]any `yaml:"outputs"`
}

type job struct {
	Uses        string            `yaml:"uses"`
	If          string            `yaml:"if"`
	RunsOn      string            `yaml:"runs-on"`
	Permissions map[string]string `yaml:"permissions"`
	Timeout     int               `yaml:"timeout-minutes"`
	Steps       []struct {
		Uses string            `yaml:"uses"`
		Run  string            `yaml:"run"`
		With map[string]string `yaml:"with"`
	} `yaml:"steps"`
}

// flows reads every workflow, those of the examples and action.yml.
func flows(t *testing.T) map[string]flow {
	t.Helper()
	out := map[string]flow{}
	for _, pattern := range []string{"action.yml", ".github/workflows/*.yml", "examples/github/*.yml"} {
		names, err := filepath.Glob(filepath.Join("..", pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: no files: %v", pattern, err)
		}
		for _, name := range names {
			rel, err := filepath.Rel("..", name)
			if err != nil {
				t.Fatal(err)
			}
			var f flow
			text := readDoc(t, rel)
			if strings.HasPrefix(rel, "action") || strings.Contains(text, "workflow_call:\n") {
				err = yaml.Unmarshal([]byte(text), &f)
			} else { // on: may be a list of events here
				err = yaml.Unmarshal([]byte(strings.Replace(text, "\non:", "\nevents:", 1)), &f)
			}
			if err != nil {
				t.Fatalf("%s: %v", rel, err)
			}
			out[filepath.ToSlash(rel)] = f
		}
	}
	return out
}

// steps gives what one file runs, by job.
func (f flow) all() map[string]job {
	out := maps.Clone(f.Jobs)
	if len(f.Runs.Steps) > 0 {
		out = map[string]job{"": f.Runs}
	}
	return out
}

// TestUsesArePinned wants a commit and its version at every action of others. The
// examples name our own by a branch, since `init` writes the commit.
func TestUsesArePinned(t *testing.T) {
	t.Parallel()
	line := regexp.MustCompile(`(?m)^\s*(?:- )?uses: (\S+)(.*)$`)
	pinned := regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)
	version := regexp.MustCompile(`^ # v\d+\.\d+\.\d+$`)
	seen := 0
	for name := range flows(t) {
		for _, m := range line.FindAllStringSubmatch(readDoc(t, name), -1) {
			seen++
			own := strings.HasPrefix(m[1], "cabincrew/action") && strings.HasSuffix(m[1], "@v1") && strings.HasPrefix(name, "examples/")
			if strings.HasPrefix(m[1], "./") || own {
				continue
			}
			if !pinned.MatchString(m[1]) || !version.MatchString(m[2]) {
				t.Errorf("%s: %s is not pinned by commit with its version behind it", name, m[0])
			}
		}
	}
	if seen < 20 {
		t.Fatalf("only %d uses: this test does not see them", seen)
	}
}

// TestScriptsHaveNoExpressions keeps what others write out of the text of scripts:
// no expression at all stands there, values come in variables.
func TestScriptsHaveNoExpressions(t *testing.T) {
	t.Parallel()
	seen := 0
	for name, f := range flows(t) {
		for id, j := range f.all() {
			for _, s := range j.Steps {
				if s.Run != "" {
					seen++
				}
				if strings.Contains(s.Run, "${{") {
					t.Errorf("%s, job %s: an expression in %q", name, id, s.Run)
				}
			}
		}
	}
	if seen < 5 {
		t.Fatalf("only %d scripts: this test does not see them", seen)
	}
}

// TestJobsSayTheirRights wants permissions, an end, and checkouts that keep no token.
func TestJobsSayTheirRights(t *testing.T) {
	t.Parallel()
	for name, f := range flows(t) {
		if name == "action.yml" {
			continue
		}
		if f.Permissions == nil {
			t.Errorf("%s says no permissions at its top", name)
		}
		for id, j := range f.Jobs {
			if j.Permissions == nil && len(f.Permissions) > 0 && maps.Equal(f.Permissions, map[string]string{"contents": "read"}) {
				j.Permissions = f.Permissions
			}
			if j.Permissions == nil {
				t.Errorf("%s, job %s says no permissions", name, id)
			}
			if j.Timeout == 0 && j.Uses == "" {
				t.Errorf("%s, job %s may run for ever", name, id)
			}
			for _, s := range j.Steps {
				if strings.HasPrefix(s.Uses, "actions/checkout@") && s.With["persist-credentials"] != "false" {
					t.Errorf("%s, job %s: a checkout leaves its token behind", name, id)
				}
			}
		}
	}
}

// reusable is what the workflows for others may do and be told: a change of it is a
// change of what docs/github.md promises.
func reusable() map[string]struct {
	inputs, secrets []string
	jobs            map[string]map[string]string
} {
	type rights = map[string]string
	type row = struct {
		inputs, secrets []string
		jobs            map[string]map[string]string
	}
	return map[string]row{
		"flight-plan": {[]string{"plan-runner", "store"}, []string{"age-identity", "registry-config"}, map[string]map[string]string{
			"refuse": {},
			"plan":   {"contents": "read"},
			"judge":  {"contents": "read", "checks": "write", "pull-requests": "read", "actions": "read"},
			"sign":   {"contents": "read", "checks": "write", "pull-requests": "read", "actions": "read", "id-token": "write"},
		}},
		"review": {[]string{"store"}, []string{"age-identity", "registry-config"}, map[string]map[string]string{
			"review": {"contents": "read", "checks": "write", "pull-requests": "read", "actions": "read"},
		}},
		"take-off": {[]string{"deployment", "environment", "store"}, []string{"age-identity", "engine-secrets", "registry-config"}, map[string]map[string]string{
			"take-off": rights{"contents": "write", "checks": "write", "id-token": "write", "pull-requests": "read", "actions": "read", "deployments": "write"},
		}},
	}
}

// TestT36InputsOfReusableWorkflows holds the workflows for others to the inputs that
// cannot loosen anything, and each job to its rights: the one that runs engines may
// only read, and the one that signs sees nothing of the change (T42).
func TestT36InputsOfReusableWorkflows(t *testing.T) {
	t.Parallel()
	all := flows(t)
	for name, want := range reusable() {
		f := all[".github/workflows/"+name+".yml"]
		if f.On.Call == nil {
			t.Fatalf("%s cannot be called", name)
		}
		if got := slices.Sorted(maps.Keys(f.On.Call.Inputs)); !slices.Equal(got, want.inputs) {
			t.Errorf("%s has inputs %q, not %q", name, got, want.inputs)
		}
		if got := slices.Sorted(maps.Keys(f.On.Call.Secrets)); !slices.Equal(got, want.secrets) {
			t.Errorf("%s has secrets %q, not %q", name, got, want.secrets)
		}
		if len(f.Permissions) != 0 || !slices.Equal(slices.Sorted(maps.Keys(f.Jobs)), slices.Sorted(maps.Keys(want.jobs))) {
			t.Errorf("%s has other jobs or rights at its top", name)
		}
		for id, j := range f.Jobs {
			if !maps.Equal(j.Permissions, want.jobs[id]) {
				t.Errorf("%s, job %s may %v, not %v", name, id, j.Permissions, want.jobs[id])
			}
			if j.RunsOn != "ubuntu-24.04" && id != "plan" {
				t.Errorf("%s, job %s: its runner can be chosen", name, id)
			}
		}
	}
}

// TestCallersGrantWhatIsNeeded compares the examples' permissions with those of the
// workflows that they call: one too few and GitHub starts nothing.
func TestCallersGrantWhatIsNeeded(t *testing.T) {
	t.Parallel()
	calls := 0
	all := flows(t)
	for name, f := range all {
		for id, j := range f.Jobs {
			called, _, _ := strings.Cut(strings.TrimPrefix(j.Uses, "cabincrew/action/"), "@")
			callee, ok := all[strings.TrimPrefix(called, "./")]
			if j.Uses == "" {
				continue
			}
			calls++
			if !ok {
				t.Errorf("%s, job %s calls %s, which is not there", name, id, j.Uses)
			}
			union := map[string]string{}
			for _, inner := range callee.Jobs {
				for right, level := range inner.Permissions {
					if union[right] != "write" {
						union[right] = level
					}
				}
			}
			if !maps.Equal(j.Permissions, union) {
				t.Errorf("%s, job %s grants %v, and %s needs %v", name, id, j.Permissions, j.Uses, union)
			}
		}
	}
	if calls < 4 {
		t.Fatalf("only %d calls: this test does not see them", calls)
	}
}

// TestT12TrustedWorkflowChecksOutByItself: the program is that of the workflow's own
// commit, checked to be one, and artifacts come by id, not by a name that another job
// of the caller's file can take.
func TestT12TrustedWorkflowChecksOutByItself(t *testing.T) {
	t.Parallel()
	for name := range reusable() {
		for id, j := range flows(t)[".github/workflows/"+name+".yml"].Jobs {
			if id == "refuse" {
				continue
			}
			if len(j.Steps) < 3 || !strings.Contains(j.Steps[0].Run, "^[0-9a-f]{40}$") || j.Steps[1].With["ref"] != "${{ job.workflow_sha }}" || j.Steps[1].With["repository"] != "${{ job.workflow_repository }}" {
				t.Errorf("%s, job %s does not begin with the workflow's own commit", name, id)
			}
			for _, s := range j.Steps {
				if strings.HasPrefix(s.Uses, "./") && s.Uses != "./"+j.Steps[1].With["path"] {
					t.Errorf("%s, job %s runs %s", name, id, s.Uses)
				}
				if strings.HasPrefix(s.Uses, "actions/download-artifact@") && (s.With["artifact-ids"] == "" || s.With["name"] != "") {
					t.Errorf("%s, job %s takes an artifact by its name", name, id)
				}
				if s.Uses == "./cabincrew-action" && id == "plan" && s.With["token"] != "" {
					t.Errorf("%s, job %s has a token", name, id)
				}
			}
		}
	}
}

// TestT14EventsOfTheBase: events with the rights of the base are refused, or skipped
// by every job that takes part in a flight.
func TestT14EventsOfTheBase(t *testing.T) {
	t.Parallel()
	all := flows(t)
	if f := all[".github/workflows/flight-plan.yml"]; !strings.Contains(f.Jobs["refuse"].If, "'pull_request_target'") || !strings.Contains(f.Jobs["refuse"].Steps[0].Run, "exit 2") {
		t.Error("flight-plan does not refuse pull_request_target")
	}
	for name, f := range all {
		for id, j := range f.Jobs {
			if strings.Contains(j.If, "pull_request_target") && id != "refuse" {
				t.Errorf("%s, job %s runs on pull_request_target", name, id)
			}
		}
		if strings.Contains(readDoc(t, name), "\n  pull_request_target:") {
			t.Errorf("%s runs on pull_request_target", name)
		}
	}
}

// TestInterfaceOfTheAction holds the action to its published names.
func TestInterfaceOfTheAction(t *testing.T) {
	t.Parallel()
	f := flows(t)["action.yml"]
	inputs := []string{"age-identity", "approvals", "command", "config", "deployment", "fail-on", "flight-path", "registry-config", "signing", "step", "store", "token", "version", "working-directory"}
	if got := slices.Sorted(maps.Keys(f.Inputs)); !slices.Equal(got, inputs) {
		t.Errorf("inputs are %q", got)
	}
	outputs := []string{"check-run-url", "decision", "exit-code", "flight-id", "flight-path", "plan-token", "report-path", "state"}
	if got := slices.Sorted(maps.Keys(f.Outputs)); !slices.Equal(got, outputs) {
		t.Errorf("outputs are %q", got)
	}
	text := readDoc(t, "action.yml")
	for _, name := range inputs {
		if want := "\n        INPUT_" + strings.ToUpper(name) + ": ${{ inputs." + name + " }}\n"; !strings.Contains(text, want) {
			t.Errorf("input %s does not reach the program", name)
		}
	}
	for _, name := range outputs {
		if !strings.Contains(text, "value: ${{ steps.run.outputs."+name+" }}\n") {
			t.Errorf("output %s does not come from the program", name)
		}
	}
}
