package config

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// TestSchemaAgrees sends one corpus through the reader and through the JSON
// Schema that editors get. The schema refuses what the reader refuses, but for
// the documents marked semantic, and accepts all that the reader accepts.
func TestSchemaAgrees(t *testing.T) {
	t.Parallel()
	schema := compileSchema(t)
	for _, c := range refusals() {
		tree, ok := tree(c.data())
		if !ok {
			continue // not YAML that an editor could check
		}
		err := schema.Validate(tree)
		if c.semantic && err != nil {
			t.Errorf("%s: marked semantic, but the schema sees it: %v", c.name, err)
		}
		if !c.semantic && err == nil {
			t.Errorf("%s: the schema accepts it", c.name)
		}
	}
	for name, doc := range accepted() {
		if _, err := Parse("c.yaml", []byte(doc)); err != nil {
			t.Errorf("%s: the reader refuses it: %v", name, err)
		}
		tree, ok := tree([]byte(doc))
		if !ok {
			t.Errorf("%s: not YAML", name)
			continue
		}
		if err := schema.Validate(tree); err != nil {
			t.Errorf("%s: the schema refuses it: %v", name, err)
		}
	}
}

func accepted() map[string]string {
	top := func(keys string) string { return minimal + keys }
	return map[string]string{
		"full":              full,
		"judges":            judges,
		"judges, less":      minimal + "policies: {secrets: {}}\nrules: []\nmodels: [{name: m, bundled: instruction-injection}]\nafter: {}\n",
		"minimal":           minimal,
		"template":          string(Template("w")),
		"empty parts":       top("policies: {}\napprovals: {}\nsigning: {}\nretention: {}\n"),
		"empty lists":       step("needs: [], inputs: [], hosts: [], env: {}, secrets: {}, config: {}, limits: {}"),
		"words of YAML 1.1": step("target: yes, model: off, env: {ON: no, y: n}, config: {a: yes, b: 1_000, c: 0b1, d: 2026-01-01}"),
		"numbers":           step("config: {a: 0x1F, b: 0o17, c: -1, d: +2, e: 1e3, f: .5, g: .inf, h: .nan, i: 9007199254740991, j: -0, k: -0.0}"),
		"quoted merge key":  step(`config: {"<<": 1}`),
		"block text":        step("config: {a: b}") + "policies:\n  bundled:\n    - baseline\n",
		"empty text":        step(`env: {A: ""}, config: {"": ""}`),
		"keyless":           top("signing: {keyless: true, trusted_root: r.json, trusted: {identities: [{issuer: 'https://x', san: a@b.example}]}}\n"),
		"keyless, two":      top("signing: {keyless: true, trusted_root: r.json, trusted: {identities: [{issuer: 'https://x', san: a@b.example, signs: [plan]}, {issuer: 'https://y', san: a@b.example, signs: [take-off, plan]}], keys: [" + strings.Repeat("{key: a.pub},", 11) + "]}}\n"),
		"keyless, services": top("signing: {keyless: true, fulcio_url: 'https://f', timestamp_url: 'https://t/api', rekor_url: 'http://r', public: true, identity_token: env:T, trusted_root: r.json, insecure_no_sct: true, insecure_no_log_entry: true, trusted: {identities: [{issuer: 'https://x', signer_uri: 'https://w', signer_digests: ['" + strings.Repeat("0a", 20) + "'], repository_id: '1', owner_id: '2', runner_environment: r, events: [push], ref: refs/heads/main}]}}\n"),
		"trusted keys":      top("signing: {key: k, require_timestamp: true, trusted_root: r.json, trusted: {keys: [{key: a.pub, not_before: 2026-01-31T00:00:00Z, not_after: 2026-02-01T00:00:00Z}]}}\n"),
		"min_version":       top("min_version: 0.3.0-rc.1\n"),
		"storage":           top("storage: {flights: 'oci:ghcr.io/o/r:t', encrypt_to: []}\n"),
		"audit":             top("audit: {sign: checkpoint, key: k}\n"),
		"audit, plan's key": top("signing: {key: k}\naudit: {sign: each}\n"),
		"not audited":       top("audit: {}\n"),
		"not keyless":       top("signing: {key: k, keyless: false}\n"),
		"key service":       top("signing: {key: 'awskms:///alias/plan', trusted: {keys: [{key: a.pub}]}}\n"),
		"absolute secret":   step("secrets: {A: file:/run/secrets/a}"),
		"glob with braces":  step(`inputs: ["{a,b}/**/*.{go,mod}", "[a-z]?.md", ".github/**"]`),
		"names with dots":   step("inputs: [a..b, ..., x.git, .gitignore]"),
		"roles":             top("approvals: {roles: {a: {}, 'b c': {codeowners: true}, d: {permission: admin}}, approvers: [{name: n, roles: [a], key: k.pub}]}\n"),
		"keys break glass":  top("approvals: {break_glass: {expire: 24h}, approvers: [{name: n, roles: [break-glass], key: k.pub}]}\n"),
		"forge, nothing":    top("approvals: {roles: {}, environments: []}\ntake_off: {}\ngovernance: {}\n"),
		"branches":          top("governance: {refs: [main, release/1.x, a@b, v1.lockx]}\n"),
		"no bound":          top("retention: {days: 0, flights: 0}\n"),
		"JSON":              `{"version": 1, "workflow": "w", "steps": [{"id": "a", "engine": {"use": "command"}}]}`,
	}
}

func tree(data []byte) (any, bool) {
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) != nil || len(doc.Content) != 1 || strings.HasPrefix(string(data), "\xef") {
		return nil, false
	}
	v := (&reader{}).value(doc.Content[0], "")
	// The validator wants what encoding/json gives.
	b, err := json.Marshal(v)
	if err != nil {
		return nil, false
	}
	var out any
	return out, json.Unmarshal(b, &out) == nil && assign(&out, b)
}

func assign(out *any, b []byte) bool {
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	*out = v
	return err == nil
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	f, err := os.Open("../../schemas/config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // only read from
	doc, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(SchemaURL, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(SchemaURL)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSchemaPatterns: the patterns of the reader stand in the schema as they are.
func TestSchemaPatterns(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../schemas/config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, re := range []func() *regexp.Regexp{workflowName, engineName, envName, hostName, ruleName, emailAddress, durationText, sizeText,
		ruleID, ruleRef, hexDigest, share, pinnedRef, gitRef, roleName, tensorName, forgeUser, forgeTeam,
	} {
		quoted, err := json.Marshal(re().String())
		if err != nil {
			t.Fatal(err)
		}
		plain := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(string(quoted))
		if !strings.Contains(string(data), plain) {
			t.Errorf("%s is not in the schema", plain)
		}
	}
}
