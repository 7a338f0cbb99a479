package views_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/cabincrew/action/policies"
)

// role gives what the view says of a role with such a trust policy.
func role(t *testing.T, before, after string) policies.TerraformResource {
	t.Helper()
	plan := map[string]any{"format_version": "1.2", "resource_changes": []any{map[string]any{
		"address": "aws_iam_role.x", "type": "aws_iam_role", "mode": "managed", "deposed": "01234567", "previous_address": "aws_iam_role.y",
		"change": map[string]any{"actions": []any{"update"}, "before": map[string]any{"assume_role_policy": before}, "after": map[string]any{"assume_role_policy": after}},
	}}}
	raw, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	a := fill(t, "terraform-plan", "application/json", string(raw))
	if a.Terraform == nil {
		t.Fatal(a.ViewError)
	}
	return a.Terraform.Resources[0]
}

func TestStatements(t *testing.T) {
	t.Parallel()
	want := policies.Statement{
		Attribute: "assume_role_policy", New: true, Effect: "allow", Principals: []string{"AWS:*", "AWS:arn:x"}, NotPrincipals: []string{}, Actions: []string{"sts:AssumeRole"},
		NotActions: []string{}, Resources: []string{}, NotResources: []string{}, Conditions: []policies.Condition{{Operator: "Bool", Key: "k", Values: []string{"true"}}},
	}
	for name, text := range map[string]string{
		"plain":        `{"Statement":[{"Effect":"Allow","Principal":{"AWS":["arn:x","*"]},"Action":"sts:AssumeRole","Condition":{"Bool":{"k":"true"}}}]}`,
		"no list":      `{"Statement":{"Effect":"Allow","Principal":{"AWS":["*","arn:x","*"]},"Action":["sts:AssumeRole"],"Condition":{"Bool":{"k":[true]}}}}`,
		"escapes":      ` {"\u0053tatement":[{"Effect":"Allo\u0077","Principal":{"AWS":["arn:x","*"]},"Action":"sts:AssumeRole","Condition":{"Bool":{"k":"true"}}}]}`,
		"another case": `{"statement":[{"effect":"allow","principal":{"AWS":["arn:x","*"]},"action":"sts:AssumeRole","condition":{"Bool":{"k":"true"}}}]}`,
	} {
		if r := role(t, "", text); !reflect.DeepEqual(r.Statements, []policies.Statement{want}) || r.Unread != nil {
			t.Errorf("%s: %+v, unread %v", name, r.Statements, r.Unread)
		}
	}
	a := `{"Statement":[{"Effect":"Allow","Action":["a","b"],"Resource":"*"},{"Effect":"Deny","NotAction":"c","NotResource":"d","NotPrincipal":"*"}]}`
	b := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","NotAction":["c"],"NotResource":"d","NotPrincipal":"*"},{"Resource":["*"],"Effect":"Allow","Action":["b","a"]}]}`
	r := role(t, a, b)
	for _, s := range r.Statements {
		if s.New {
			t.Errorf("not new: %+v", s)
		}
	}
	if len(r.Statements) != 2 || r.Deposed != "01234567" || r.PreviousAddress != "aws_iam_role.y" {
		t.Errorf("%+v", r)
	}
}

func TestPoliciesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"key twice":          `{"Statement":[{"Effect":"Deny","Effect":"Allow","Principal":"*"}]}`,
		"statements twice":   `{"Statement":[{"Effect":"Allow","Principal":"*"}],"Statement":[]}`,
		"keys by case twice": `{"Statement":[{"Effect":"Deny","effect":"Allow","Principal":"*"}]}`,
		"no object":          `{"Statement":"text"}`,
		"no effect":          `{"Statement":[{"Principal":"*"}]}`,
		"effect, a number":   `{"Statement":[{"Effect":1,"Principal":"*"}]}`,
		"action, an object":  `{"Statement":[{"Effect":"Allow","Action":{}}]}`,
		"principal":          `{"Statement":[{"Effect":"Allow","Principal":{"AWS":{}}}]}`,
		"condition, a text":  `{"Statement":[{"Effect":"Allow","Condition":"x"}]}`,
		"condition's keys":   `{"Statement":[{"Effect":"Allow","Condition":{"Bool":[]}}]}`,
		"condition's values": `{"Statement":[{"Effect":"Allow","Condition":{"Bool":{"x":[{}]}}}]}`,
		"no JSON":            `{"Statement":`,
		"binding":            `{"bindings":["x",{"role":"y","members":[]}]}`,
		"members":            `{"bindings":[{"role":"x","members":[{}]}]}`,
	} {
		if r := role(t, "", text); !reflect.DeepEqual(r.Unread, []string{"assume_role_policy"}) {
			t.Errorf("%s: unread %v, %+v", name, r.Unread, r.Statements)
		}
	}
	for name, text := range map[string]string{
		"a list": `["Statement",1]`, "other JSON": `{"rules":[1]}`, "a query": `{"statement":"select 1"}`, "text": "Statement", "nothing": "", "bindings of another kind": `{"bindings":{"a":1}}`, "other bindings": `{"bindings":["x"]}`,
	} {
		if r := role(t, "", text); r.Unread != nil || r.Statements != nil || r.Bindings != nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestBindings(t *testing.T) {
	t.Parallel()
	r := role(t, `{"bindings":[{"role":"roles/viewer","members":["user:a"]}]}`, `{"bindings":[{"role":"roles/viewer","members":["user:a","allUsers"]},{"role":"roles/owner","members":["user:a"]}]}`)
	want := []policies.Binding{
		{Attribute: "assume_role_policy", Role: "roles/viewer", Members: []string{"allUsers", "user:a"}, NewMembers: []string{"allUsers"}},
		{Attribute: "assume_role_policy", Role: "roles/owner", Members: []string{"user:a"}, NewMembers: []string{"user:a"}},
	}
	if !reflect.DeepEqual(r.Bindings, want) || r.Unread != nil {
		t.Errorf("%+v", r)
	}
}

func TestPoliciesAreBounded(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(`{"Statement":[` + strings.Repeat(`{"Effect":"Deny"},`, 50_000) + `{"Effect":"Deny"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	a := fill(t, "terraform-plan", "application/json", `{"format_version":"1.2","resource_changes":[{"address":"a.b","type":"a","change":{"actions":["create"],"after":{"x":[{"policy":`+string(text)+`}]}}}]}`)
	if !strings.Contains(a.ViewError, "more than 50000 statements") || a.Seems != "terraform" {
		t.Errorf("%q", a.ViewError)
	}
	if a := fill(t, "terraform-plan", "application/json", `{"format_version":"1.2","errored":true,"resource_changes":[]}`); !strings.Contains(a.ViewError, "errored") {
		t.Errorf("%q", a.ViewError)
	}
	if a := fill(t, "x", "application/json", "{\"format_version\":\"1.2\",\"resource_changes\":[]}\n{}"); !strings.Contains(a.ViewError, "one JSON document") {
		t.Errorf("%q", a.ViewError)
	}
}
