package rego_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/protocol"
)

// TestBundledPolicies runs the tests of the sets that are built in.
func TestBundledPolicies(t *testing.T) {
	t.Parallel()
	for _, set := range all(t) {
		if set.Name == "baseline" {
			continue // TestBaselinePolicies
		}
		t.Run(set.Name, func(t *testing.T) {
			t.Parallel()
			// The limit is for one whole test, which has dozens of cases and is traced for coverage.
			r, err := rego.Test(t.Context(), []policies.Set{set}, "", rego.Options{Time: 2 * time.Minute, Memory: 16 << 30})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range r.Tests {
				if c.Outcome != rego.TestPass {
					t.Errorf("%s:%d %s: %s %s", c.File, c.Line, c.Name, c.Outcome, c.Error)
				}
			}
			if len(r.Tests) < 20 || !r.Passed() {
				t.Errorf("%d tests, passed %v", len(r.Tests), r.Passed())
			}
			if r.Coverage() < 950 {
				t.Errorf("coverage %d.%d %%, missed %v", r.Coverage()/10, r.Coverage()%10, r.Missed)
			}
		})
	}
}

// wants says what all sets together find in the documents of testdata/documents.
var wants = map[string][]string{
	"agents-creep": {
		"deny agents/deny/agent-credentials",
		"require_approval agents/require_approval/agent-executable",
		"require_approval agents/require_approval/large-unexplained",
		"require_approval agents/require_approval/outside-target",
		"require_approval baseline/require_approval/changed-executable",
	},
	"agents-fence": {
		"deny agents/deny/agent-policy",
		"require_approval agents/require_approval/agent-autostart",
		"require_approval agents/require_approval/agent-ci",
		"require_approval agents/require_approval/agent-instructions",
		"require_approval agents/require_approval/check-disabled",
		"require_approval agents/require_approval/check-removed",
		"require_approval agents/require_approval/forbidden-call",
		"require_approval agents/require_approval/refused-request",
		"require_approval baseline/require_approval/ci-workflow",
		"require_approval baseline/require_approval/governance",
		"warn agents/warn/network-attempt",
	},
	"agents-tests": {
		"require_approval agents/require_approval/coverage-lowered",
		"require_approval agents/require_approval/test-deleted",
		"require_approval agents/require_approval/test-skipped",
		"require_approval agents/require_approval/tests-weakened",
		"warn agents/warn/check-silenced",
	},
	"infrastructure-cluster": {
		"deny infrastructure/deny/k8s-rbac-anyone",
		"require_approval infrastructure/require_approval/k8s-load-balancer",
		"require_approval infrastructure/require_approval/k8s-node-access",
		"require_approval infrastructure/require_approval/k8s-rbac-widened",
		"require_approval infrastructure/require_approval/stateful-destroy",
		"warn infrastructure/warn/k8s-ingress-plain",
	},
	"infrastructure-disaster": {
		"deny infrastructure/deny/open-to-world",
		"deny infrastructure/deny/trust-anyone",
		"require_approval infrastructure/require_approval/deletion-protection-off",
		"require_approval infrastructure/require_approval/encryption-off",
		"require_approval infrastructure/require_approval/iam-widened",
		"require_approval infrastructure/require_approval/logging-off",
		"require_approval infrastructure/require_approval/public-database",
		"require_approval infrastructure/require_approval/public-storage",
		"require_approval infrastructure/require_approval/stateful-destroy",
		"require_approval infrastructure/require_approval/unknown-sensitive",
	},
	"infrastructure-teardown": {
		"require_approval infrastructure/require_approval/blast-radius",
		"warn infrastructure/warn/stateful-forgotten",
	},
	"ordinary-plan": nil,
	"ordinary-source": {
		"warn baseline/warn/binary-file",
	},
	"ordinary-upgrade": nil,
	"supply-chain-backdoor": {
		"deny supply_chain/deny/hidden-text",
		"require_approval supply_chain/require_approval/binary-blob",
		"require_approval supply_chain/require_approval/checksum-removed",
		"require_approval supply_chain/require_approval/lock-without-manifest",
		"require_approval supply_chain/require_approval/new-registry",
		"require_approval supply_chain/require_approval/remote-script",
		"warn baseline/warn/binary-file",
		"warn supply_chain/warn/mixed-scripts",
	},
	"supply-chain-go-tamper": {
		"deny supply_chain/deny/checksum-changed",
		"require_approval supply_chain/require_approval/new-registry",
	},
	"supply-chain-pipeline": {
		"require_approval agents/require_approval/agent-ci",
		"require_approval baseline/require_approval/ci-workflow",
		"require_approval supply_chain/require_approval/install-script",
		"require_approval supply_chain/require_approval/new-registry",
		"require_approval supply_chain/require_approval/unpinned-action",
		"require_approval supply_chain/require_approval/verification-off",
		"warn supply_chain/warn/unpinned-image",
	},
}

// TestDocuments judges whole documents as a flight would show them. They are
// read into the Go form strictly, so that no field of them is made up.
func TestDocuments(t *testing.T) {
	t.Parallel()
	e := mustNew(t, rego.Options{}, every(t)...)
	files, err := filepath.Glob("testdata/documents/*.json")
	if err != nil || len(files) != len(wants) {
		t.Errorf("%d documents, %d expected outcomes, %v", len(files), len(wants), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var in policies.Input
			d := json.NewDecoder(bytes.NewReader(raw))
			d.DisallowUnknownFields()
			if err := d.Decode(&in); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range evaluate(t, e, in) {
				if f.Unjudged {
					t.Errorf("not judged: %s", f.Reason)
				}
				if f.Decision != protocol.Allow {
					got = append(got, string(f.Decision)+" "+strings.TrimPrefix(f.PolicyID, "cabincrew."))
				}
				if strings.Contains(f.Reason, "%!") {
					t.Errorf("the message is malformed: %s", f.Reason)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(wants[name], slices.Compact(got)); diff != "" {
				t.Errorf("want, got:\n%s", diff)
			}
		})
	}
}

// TestOrdinaryPatchIsQuiet keeps the sets usable: nothing is denied or asked of
// a change in several languages, and nothing at all of an empty one.
func TestOrdinaryPatchIsQuiet(t *testing.T) {
	t.Parallel()
	in := mixedPatch()
	in.Artifacts[0].Patch.Files = in.Artifacts[0].Patch.Files[:18]
	for name, in := range map[string]policies.Input{"mixed": in, "empty": {Isolation: policies.Isolation{Tier: "A"}}} {
		for _, f := range evaluate(t, mustNew(t, rego.Options{}, every(t)...), in) {
			if f.Decision != protocol.Allow {
				t.Errorf("%s: %s %s: %s", name, f.Decision, f.PolicyID, f.Reason)
			}
		}
	}
}

// TestTablesAreSound reads every pattern of the sets' tables, also those that no
// test's input reaches.
func TestTablesAreSound(t *testing.T) {
	t.Parallel()
	for _, set := range all(t) {
		for _, f := range set.Files {
			if f.Rego() {
				continue
			}
			var doc map[string]map[string]any
			if err := json.Unmarshal(f.Data, &doc); err != nil {
				t.Fatal(err)
			}
			if len(doc) != 1 || doc["cabincrew_"+strings.ReplaceAll(set.Name, "-", "_")]["role"] == nil {
				t.Errorf("%s: values outside of the set's own", set.Name)
			}
			patterns(t, doc)
		}
	}
}

// patterns compiles each text below v that is written as a pattern.
func patterns(t *testing.T, v any) {
	t.Helper()
	rv := reflect.ValueOf(v)
	switch rv.Kind() { //nolint:exhaustive // JSON has no other kinds that hold text
	case reflect.Map:
		for _, key := range rv.MapKeys() {
			patterns(t, rv.MapIndex(key).Interface())
		}
	case reflect.Slice:
		for i := range rv.Len() {
			patterns(t, rv.Index(i).Interface())
		}
	case reflect.String:
		if _, err := regexp.Compile(rv.String()); err != nil && strings.ContainsAny(rv.String(), `\|^$`) {
			t.Error(err)
		}
	}
}
