package policies_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

func TestDiscreet(t *testing.T) {
	t.Parallel()
	const secret = "sec\"ret-and\nthe second line of it"
	finding := func(text string) policies.Finding {
		f := policies.Finding{Files: []string{"a/" + text, "b"}, Artifact: text, Rule: "r", Role: text}
		f.PolicyID, f.Reason, f.Decision = "p/"+text, "no "+text, protocol.Deny
		f.Evidence = map[string]any{"x": []any{text}, "y": []string{text}, text: map[string]any{"z": text}}
		return f
	}
	r := policies.Result{
		Findings: []policies.Finding{finding(secret), finding(`sec\"ret-and\nthe second line of it`), finding("the second line of it"), {Files: []string{"c"}}},
		Hidden:   policies.Hidden{Marks: map[string]string{secret: "[secret]"}},
	}
	r.Explanations = []policies.Explanation{{Policy: "p", Lines: []string{"because " + secret}}}
	text := func(r policies.Result) string {
		raw, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back map[string]any
		if err := json.Unmarshal(raw, &back); err != nil {
			t.Fatal(err)
		}
		delete(back, "Hidden")
		raw, err = json.Marshal(back)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	got := r.Discreet()
	for _, part := range []string{"ret-and", "second line"} {
		if strings.Contains(text(got), part) {
			t.Errorf("%q is left in %s", part, text(got))
		}
	}
	if got.Findings[0].Reason != "no [secret]" || got.Findings[0].Files[1] != "b" || got.Findings[3].Evidence != nil || got.Explanations[0].Lines[0] != "because [secret]" {
		t.Errorf("%s", text(got))
	}
	if r.Findings[0].Reason != "no "+secret || r.Findings[0].Files[0] != "a/"+secret {
		t.Error("the result itself changed")
	}
	r.Hidden.More, r.Findings[3].Discreet = true, true
	if got = r.Discreet(); strings.Contains(got.Findings[1].Reason, "no") && got.Findings[1].Evidence != nil || got.Findings[1].Files != nil || !got.Findings[1].Cut || got.Findings[3].Files[0] != "c" {
		t.Errorf("%s", text(got))
	}
	if same := (policies.Result{Findings: r.Findings}).Discreet(); text(same) != text(policies.Result{Findings: r.Findings}) {
		t.Error("nothing is hidden, and the result changed")
	}
}
