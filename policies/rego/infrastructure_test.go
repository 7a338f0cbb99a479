package rego_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/policies/views"
	"github.com/cabincrew/action/protocol"
)

// infrastructure gives what the set of that name finds in bodies as a flight would
// show them, such as "deny open-to-world".
func infrastructure(t *testing.T, e *rego.Evaluator, arts ...policies.Artifact) []string {
	t.Helper()
	in := policies.Input{Mode: protocol.FlightPlan, Isolation: policies.Isolation{Tier: "A"}}
	for i, a := range arts {
		text, _ := a.Body.(string)
		a.Name, a.Role, a.Size = fmt.Sprintf("a%d", i), "evidence", int64(len(text))
		if a.Action == "" {
			a.Action = "apply"
		}
		if views.Wanted(a) {
			views.Fill(&a, []byte(text))
		}
		in.Artifacts = append(in.Artifacts, a)
	}
	out := []string{}
	for _, f := range evaluate(t, e, in) {
		if f.Unjudged {
			t.Errorf("not judged: %s", f.Reason)
		}
		if f.Decision != protocol.Allow {
			_, id, _ := strings.Cut(strings.TrimPrefix(f.PolicyID, "cabincrew.infrastructure/"), "/")
			out = append(out, string(f.Decision)+" "+id)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func infrastructureSet(t *testing.T) *rego.Evaluator {
	t.Helper()
	set, err := policies.Bundled("infrastructure")
	if err != nil {
		t.Fatal(err)
	}
	return mustNew(t, rego.Options{}, set)
}

// planned gives a plan with one created resource.
func planned(t *testing.T, kind, after string) policies.Artifact {
	t.Helper()
	body := `{"format_version":"1.2","resource_changes":[{"address":"` + kind + `.x","mode":"managed","type":"` + kind + `","change":{"actions":["create"],"before":null,"after_unknown":{},"after":` + after + `}}]}`
	if !json.Valid([]byte(body)) {
		t.Fatal(body)
	}
	return policies.Artifact{ArtifactType: "terraform-plan", Mime: "application/json", Body: body}
}

// TestInfrastructureIsNotEvaded judges bodies that say the same in unusual ways.
func TestInfrastructureIsNotEvaded(t *testing.T) {
	t.Parallel()
	e := infrastructureSet(t)
	anyone := "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: x}\nroleRef: {kind: ClusterRole, name: view}\nsubjects: [{kind: Group, name: 'system:unauthenticated'}]\n"
	rbac := []string{"deny k8s-rbac-anyone"}
	manifest := func(mime, action, body string) policies.Artifact {
		return policies.Artifact{ArtifactType: "objects", Mime: mime, Action: action, Body: body}
	}
	trust := func(text string) policies.Artifact {
		raw, _ := json.Marshal(map[string]string{"assume_role_policy": text}) // a text always can be
		return planned(t, "aws_iam_role", string(raw))
	}
	for name, c := range map[string]struct {
		artifact policies.Artifact
		want     []string
	}{
		"plain":            {manifest("application/yaml", "", anyone), rbac},
		"replaced":         {manifest("application/yaml", "replace", anyone), rbac},
		"text":             {manifest("text/plain", "", anyone), rbac},
		"binary tag":       {manifest("text/yaml", "", strings.Replace(anyone, "ClusterRoleBinding", "!!binary Q2x1c3RlclJvbGVCaW5kaW5n", 1)), rbac},
		"boolean tag":      {manifest("text/yaml", "", "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {hostNetwork: !!bool \"true\"}\n"), []string{"require_approval k8s-node-access"}},
		"merge key":        {manifest("text/yaml", "", anyone+"<<: {}\n"), []string{"deny manifest-unreadable"}},
		"too large":        {manifest("text/plain", "", anyone+strings.Repeat("#", 5<<20)), []string{"deny manifest-unreadable"}},
		"trust, escapes":   {trust(`{"\u0053tatement":[{"Effect":"Allow","Principal":"*"}]}`), []string{"deny trust-anyone"}},
		"trust, condition": {trust(`{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Condition":{}}}`), []string{"deny trust-anyone"}},
		"trust, key twice": {trust(`{"Statement":[{"Effect":"Deny","Effect":"Allow","Principal":"*"}]}`), []string{"deny policy-unreadable"}},
		"wildcards":        {planned(t, "aws_iam_policy", `{"policy":"{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"iam:P*\",\"Resource\":\"*\"}}"}`), []string{"require_approval iam-widened"}},
		"nested":           {planned(t, "aws_x", `{"a":[{"b":{"policy":"{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}}"}}]}`), []string{"require_approval iam-widened"}},
		"Google":           {planned(t, "google_project_iam_policy", `{"policy_data":"{\"bindings\":[{\"role\":\"roles/owner\",\"members\":[\"allUsers\"]}]}"}`), []string{"require_approval iam-widened", "require_approval public-policy"}},
		"spelling":         {planned(t, "aws_security_group", `{"ingress":[{"cidr_blocks":["0.0.0.0/00"],"from_port":22,"to_port":22,"protocol":"tcp"}]}`), []string{"deny open-to-world"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, infrastructure(t, e, c.artifact)); diff != "" {
				t.Error(diff)
			}
		})
	}
	plan := planned(t, "aws_security_group", `{"ingress":[{"cidr_blocks":["0.0.0.0/0"],"from_port":22,"to_port":22,"protocol":"tcp"}]}`)
	plan.ArtifactType, plan.Mime = "report", "text/plain"
	if got := infrastructure(t, e, plan); !slices.Equal(got, []string{"deny open-to-world"}) {
		t.Errorf("a plan without a MIME type: %v", got)
	}
}

// TestOrdinaryInfrastructureIsQuiet judges manifests and plans as people write them.
func TestOrdinaryInfrastructureIsQuiet(t *testing.T) {
	t.Parallel()
	e := infrastructureSet(t)
	files, err := filepath.Glob("testdata/infrastructure/*")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, mime := range []string{map[string]string{".json": "application/json", ".yaml": "application/yaml"}[filepath.Ext(file)], "text/plain"} {
				if got := infrastructure(t, e, policies.Artifact{ArtifactType: "report", Mime: mime, Body: string(raw)}); len(got) > 0 {
					t.Errorf("%q: %v", mime, got)
				}
			}
		})
	}
}

// TestOddValuesAreJudged puts values of every kind in each place of documents: no
// rule may fail on one, since that would keep the whole set from judging.
func TestOddValuesAreJudged(t *testing.T) {
	t.Parallel()
	e := infrastructureSet(t)
	var artifacts []any
	for _, name := range []string{"cluster", "disaster", "teardown"} {
		raw, err := os.ReadFile("testdata/documents/infrastructure-" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Artifacts []map[string]any `json:"artifacts"`
		}
		if err := json.Unmarshal(raw, &doc); err != nil {
			t.Fatal(err)
		}
		for _, a := range doc.Artifacts {
			artifacts = append(artifacts, a)
		}
	}
	extra := planned(t, "google_project_iam_policy", `{"policy_data":"{\"bindings\":[{\"role\":\"roles/owner\",\"members\":[\"allUsers\"]}]}","start_ip_address":"1.1.1.1","permissions":[{"actions":["*"]}],"member":"x","role":"y"}`)
	extra.Name, extra.Role, extra.Metadata = "plan", "evidence", map[string]any{}
	views.Fill(&extra, nil)
	raw, err := json.Marshal(extra)
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	// One evaluation for each odd value and each of a few disjoint sets of places.
	const rounds = 12
	for _, odd := range []any{nil, true, 7, "x", "", []any{}, []any{nil, 1, []any{}, map[string]any{}}, map[string]any{}, map[string]any{"a": []any{1}}} {
		for round := range rounds {
			in := policies.Input{Mode: protocol.FlightPlan}
			n := 0
			for i, a := range append(slices.Clone(artifacts), doc) {
				n++
				if err := remarshal(altered(a, "", &n, round, rounds, odd), &in.Artifacts); err != nil {
					t.Fatalf("artifact %d: %v", i, err)
				}
			}
			for _, f := range evaluate(t, e, in) {
				if f.Unjudged {
					t.Fatalf("with %v: %s", odd, f.Reason)
				}
			}
		}
	}
}

func remarshal(v any, to *[]policies.Artifact) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var a policies.Artifact
	if err := protocol.Decode(raw, &a); err != nil {
		return err
	}
	*to = append(*to, a)
	return nil
}

// altered puts an odd value in every rounds-th place of what engines write freely:
// attributes of resources and members of objects.
func altered(v any, at string, n *int, round, rounds int, odd any) any {
	free := strings.Contains(at, ".before.") || strings.Contains(at, ".after.") || strings.Contains(at, ".unknown.") || strings.Contains(at, ".kubernetes.[].")
	if *n++; free && *n%rounds == round {
		return odd
	}
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for _, k := range slices.Sorted(func(yield func(string) bool) {
			for k := range v {
				if !yield(k) {
					return
				}
			}
		}) {
			out[k] = altered(v[k], at+"."+k+".", n, round, rounds, odd)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = altered(v[i], at+"[].", n, round, rounds, odd)
		}
		return out
	}
	return v
}
