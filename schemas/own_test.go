package schemas

import (
	"strings"
	"testing"
)

const (
	aDigest  = "sha256:eafde1a7a5f88cf15210b8b512599c5e7ee4668b14a4cedc52c37053501c1e55"
	aContext = `{"change":"pull/12","config_digest":"` + aDigest + `","config_path":".cabincrew.yaml","engine_digest":"builtin:command@1","forge":"github",` +
		`"head_commit":"","repository":"1","step_id":"greet","target":"","workflow":"greet"}`
	aDerived = `{"author_email":"","base_commit":"","head_commit":"","governance_commit":"0123456789012345678901234567890123456789","merge_tree":"","forge":"",` +
		`"repository_id":"","repository":"","change":"","event":"","run_id":"","run_attempt":""}`
)

// TestOwnDocuments takes one good document of each form that is this project's
// own, and checks what a change of it does.
func TestOwnDocuments(t *testing.T) {
	t.Parallel()
	good := map[string]string{
		"plan-manifest": `{"files":[{"digest":"` + aDigest + `","mode":"0644","path":"steps/greet/receipt.json","size":13}],"flight_token":"` + aDigest +
			`","steps":[{"context":` + aContext + `,"step_id":"greet","token":"` + aDigest + `"}],"version":"1","workflow_id":"w1"}`,
		"flight": `{"format":"1","workflow_id":"w1","workflow":"greet","config_path":".cabincrew.yaml","cabincrew":"v1.0.0","created_at":"2026-11-22T18:00:00Z",` +
			`"steps":[{"step_id":"greet","needs":[]},{"step_id":"docs","needs":["greet"]}]}`,
		"preflight-report": `{"version":"1","workflow_id":"w1","step_id":"greet","token":"` + aDigest + `","decision":"require_approval","aggregation":"most_restrictive",` +
			`"evaluations":[{"source":"opa","policy_id":"p","decision":"warn","severity":1,"evaluated_at":"2026-11-22T18:00:00Z"}],"violations":[],"warnings":["w"],` +
			`"requires":[{"role":"maintainer","reason":"r"}],"isolation":{"tier":"none","missing":["network"],"kernel":"x"},"opaque":false,"intent":"` + aDigest + `",` +
			`"derived":` + aDerived + `}`,
	}
	for kind, doc := range good {
		if err := Validate(kind, []byte(doc)); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for _, c := range []struct{ kind, from, to, want string }{
		{"plan-manifest", `"version":"1"`, `"version":"2"`, "$.version"},
		{"plan-manifest", `"0644"`, `"0600"`, "$.files[0].mode"},
		{"plan-manifest", `"size":13`, `"size":-1`, "$.files[0].size"},
		{"plan-manifest", `"size":13`, `"size":1.5`, "$.files[0].size"},
		{"plan-manifest", `"forge":"github",`, ``, "$.steps[0].context"},
		{"plan-manifest", aDigest, strings.ToUpper(aDigest), "$.files[0].digest"},
		{"plan-manifest", `"w1"`, `"../w1"`, "$.workflow_id"},
		{"flight", `"needs":[]`, `"needs":null`, "$.steps[0].needs"},
		{"flight", `"docs"`, `"Docs"`, "$.steps[1].step_id"},
		{"flight", `"format":"1"`, `"format":"1","x":1`, `has unknown "x"`},
		{"flight", `18:00:00Z`, `18:00`, "$.created_at"},
		{"preflight-report", `"opaque":false`, `"opaque":"no"`, "$.opaque"},
		{"preflight-report", `"violations":[],`, ``, `is missing "violations"`},
		{"preflight-report", `"severity":1`, `"severity":4`, "$.evaluations[0].severity"},
		{"preflight-report", `"tier":"none",`, ``, "$.isolation"},
		{"preflight-report", `"0123456789012345678901234567890123456789"`, `"main"`, "$.derived.governance_commit"},
	} {
		bad := strings.Replace(good[c.kind], c.from, c.to, 1)
		if bad == good[c.kind] {
			t.Fatalf("%s: %s changes nothing", c.kind, c.from)
		}
		if err := Validate(c.kind, []byte(bad)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %s for %s: got %v, want %s", c.kind, c.to, c.from, err, c.want)
		}
	}
}
