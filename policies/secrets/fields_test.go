package secrets

import (
	"strings"
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

func TestFields(t *testing.T) {
	t.Parallel()
	ev := must(t, Options{})
	pat := githubPat()
	artifact := func(a policies.Artifact) policies.Input {
		a.Name = max(a.Name, "a")
		return policies.Input{Artifacts: []policies.Artifact{a}}
	}
	deep := any(pat)
	for range 300 {
		deep = []any{deep}
	}
	for name, tc := range map[string]struct {
		in   policies.Input
		want string
	}{
		"metadata":                 {artifact(policies.Artifact{Metadata: map[string]any{"a": []any{map[string]any{"b": "x " + pat}}}}), "github-pat@metadata"},
		"metadata key":             {artifact(policies.Artifact{Metadata: map[string]any{pat: true}}), "github-pat@metadata"},
		"name and value":           {artifact(policies.Artifact{Metadata: map[string]any{"api_key": "q8Zr2" + "Lw0vXs71Kd9"}}), "generic-api-key@metadata"},
		"target":                   {artifact(policies.Artifact{Target: "https://u:" + pat + "@host/"}), "github-pat@metadata"},
		"key of an object":         {artifact(policies.Artifact{Metadata: map[string]any{pat: map[string]any{"z": 1}}}), "github-pat@metadata"},
		"key of nothing":           {artifact(policies.Artifact{Metadata: map[string]any{"x": map[string]any{pat: nil}}}), "github-pat@metadata"},
		"key of no object":         {artifact(policies.Artifact{Metadata: map[string]any{pat: map[string]any{}}}), "github-pat@metadata"},
		"key of a list":            {artifact(policies.Artifact{Metadata: map[string]any{"x": []any{map[string]any{pat: []any{}}, map[string]any{"y": []any{nil, []any{}}}}}}), "github-pat@metadata"},
		"key of a list of objects": {artifact(policies.Artifact{Metadata: map[string]any{pat: []any{map[string]any{"a": 1}}}}), "github-pat@metadata"},
		"key in a body":            {artifact(policies.Artifact{Body: map[string]any{pat: map[string]any{}}, Size: 9}), "github-pat@body:1:1"},
		"type":                     {artifact(policies.Artifact{ArtifactType: pat}), "github-pat@metadata"},
		"role":                     {artifact(policies.Artifact{Role: pat}), "github-pat@metadata"},
		"action":                   {artifact(policies.Artifact{Action: pat}), "github-pat@metadata"},
		"mime":                     {artifact(policies.Artifact{Mime: "text/" + pat}), "github-pat@metadata"},
		"body file":                {artifact(policies.Artifact{BodyFile: pat}), "github-pat@metadata"},
		"receipt key":              {policies.Input{Receipt: &protocol.EngineOutput{Diagnostics: []any{map[string]any{pat: map[string]any{}}}}}, "github-pat@receipt"},
		"attempt":                  {policies.Input{Isolation: policies.Isolation{Attempts: []policies.Attempt{{Call: pat}}}}, "github-pat@isolation"},
		"changed":                  {policies.Input{TakeOff: &policies.TakeOff{Changed: []string{"a/" + pat}}}, "github-pat@path"},
		"name":                     {artifact(policies.Artifact{Name: pat}), "github-pat@metadata"},
		"deep":                     {artifact(policies.Artifact{Metadata: map[string]any{"a": deep}}), "unjudged@<nil>"},
		"json body":                {artifact(policies.Artifact{Body: map[string]any{"token": []any{pat}}, Size: 9}), "github-pat@body:1:8"},
		"yaml body":                {artifact(policies.Artifact{Mime: "application/yaml; charset=utf-8", Body: "kind: Secret\ndata:\n  pass" + "word: aHVudGVyMmh1bnRlcjI=\n", Size: 9}), "kubernetes-secret-yaml@body:3:3; generic-api-key@body:3:13"},
		"no body":                  {artifact(policies.Artifact{Digest: "sha256:" + strings.Repeat("0", 64), Size: 1}), "unjudged@<nil>"},
		"nothing":                  {artifact(policies.Artifact{Action: "delete", Target: "host/thing"}), ""},
		"receipt":                  {policies.Input{Receipt: &protocol.EngineOutput{Diagnostics: []any{map[string]any{"message": "failed with " + pat}}}}, "github-pat@receipt"},
		"take-off":                 {policies.Input{TakeOff: &policies.TakeOff{Receipt: &protocol.EngineOutput{Warnings: []string{"did " + pat}}}}, "github-pat@receipt"},
		"context":                  {policies.Input{Context: map[string]string{"k": pat}}, "github-pat@context"},
		"request":                  {policies.Input{Isolation: policies.Isolation{Requests: []policies.Request{{Method: "GET", URL: "https://h/?x=" + percentAll(pat)}}}}, "github-pat@request percent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := judge(t, ev, tc.in)
			if got := brief(list); got != tc.want {
				t.Errorf("found %q, want %q", got, tc.want)
			}
			safe(t, list, pat)
		})
	}
}

// TestStreams finds secrets wherever a large body is cut into parts.
