package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

func keyDigest(path string) (string, error) { return protocol.Digest([]byte(path)), nil }

// forms gives the canonical forms of the steps and of the governance.
func forms(t *testing.T, doc string, builtins Builtins) (steps []string, governance string) {
	t.Helper()
	c, err := Parse("c.yaml", []byte(doc))
	if err != nil {
		t.Fatalf("%v\n%s", err, doc)
	}
	if err := c.Resolve(builtins); err != nil {
		t.Fatal(err)
	}
	for i := range c.Steps {
		b, err := protocol.Canonical(c.Resolved(&c.Steps[i]))
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, string(b))
	}
	g, err := c.Governance(keyDigest)
	if err != nil {
		t.Fatal(err)
	}
	b, err := protocol.Canonical(g)
	if err != nil {
		t.Fatal(err)
	}
	return steps, string(b)
}

func TestResolvedForm(t *testing.T) {
	t.Parallel()
	steps, governance := forms(t, full, Builtins{"command": {Idempotent: true}})
	want := []string{
		`{"config":{},"engine":{"use":"command","with":{"deep":{"list":[1,true,null]},"depth":3,"ratio":"0.50","run":["gofmt","-s","-w","."]}},"env":{},"hosts":[],"id":"format","idempotent":false,"inputs":["**/*.go"],"isolation":"auto","limits":{"artifact_bytes":10737418240,"artifacts":10000,"log":67108864,"receipt":4194304},"model":"none","needs":[],"secrets":{},"take_off":{"workspace":"full"},"target":"","timeout":"10m","tools":[],"tunnels":[]}`,
		`{"config":{"title":"Handbook"},"engine":{"run":["./tools/docs-engine","--quick"]},"env":{"DEBUG":"1","REGION":"env:AWS_REGION"},"hosts":["api.example.com","*.example.org:8443"],"id":"docs","idempotent":true,"inputs":["docs/**","*.md"],"isolation":"required","limits":{"artifact_bytes":1073741824,"artifacts":7,"log":2097152,"receipt":1048576},"model":"small-1","needs":["format"],"secrets":{"CERT":{"from":"file:certs/x.pem","plan":false},"DOCS_TOKEN":{"from":"env:DOCS_TOKEN","plan":false},"READ":{"from":"env:READ_TOKEN","plan":true}},"take_off":{"workspace":"none"},"target":"staging","timeout":"5m","tools":[],"tunnels":[]}`,
	}
	if !slices.Equal(steps, want) {
		t.Errorf("have\n%s", strings.Join(steps, "\n"))
	}
	digest, _ := keyDigest("keys/first-maintainer.pub")
	if w := `{"after":{"bundled":[],"rego":[]},"approvals":{"approvers":[{"bot":true,"email":"first@example.com","key":"` + digest + `","name":"first-maintainer","not_after":"2026-12-31T23:00:00Z","not_before":"2026-01-01T00:00:00Z","roles":["maintainer","owner"]}],"binding":"code","break_glass":{"expire":"2h"},"carry_over":"same-intent","default_role":"owner","distinct":true,"environments":["production"],"expire":"24h","roles":{"break-glass":{"codeowners":false,"count":1,"permission":"","teams":["acme/wardens"],"users":[]},"operator":{"codeowners":true,"count":2,"permission":"maintain","teams":["acme/operators"],"users":["octocat","id:583231"]}},"self_approval":true},"audit":{"key":"audit.key","sign":"checkpoint"},"checks":"per-step","comment":true,"governance":{"refs":["main","release/1.x"]},"min_version":"","models":[],"policies":{"aggregation":"custom","allow_without_policies":true,"bundled":["baseline"],"custom_rule":"data.cabincrew.join.decision","data":{},"exemptions":[],"explain":false,"rego":["policies"],"secrets":{"baseline":"","decision":"deny","role":"","scan":true},"sources":[],"timeout":"10s"},"retention":{"days":30,"flights":10},"rules":[],"sandbox":{"require":[],"sudo":"auto"},"signing":{"fulcio_url":"","identity_token":"","insecure_no_log_entry":false,"insecure_no_sct":false,"key":"plan.key","keyless":false,"public":false,"rekor_url":"","require_timestamp":false,"timestamp_url":"","trusted":{"identities":[],"keys":[]},"trusted_root":""},"storage":{"encrypt_to":["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"],"flights":"dir:../flights"},"take_off":{"on_stale":"replan"},"version":1,"workflow":"housekeeping"}`; governance != w {
		t.Errorf("have\n%s\nwant\n%s", governance, w)
	}
}

// TestEverySettingCounts changes one setting of the full file at a time.
func TestEverySettingCounts(t *testing.T) {
	t.Parallel()
	builtins := Builtins{"command": {}, "other": {}}
	steps, governance := forms(t, full, builtins)
	for _, c := range []struct{ old, new, what string }{ // what: the index of the step, or g
		{"use: command", "use: other", "0"}, {"-s, -w", "-w, -s", "0"}, {"0.50", "0.5", "0"}, {"depth: 3", "depth: 4", "0"}, {"1, true", "1, false", "0"},
		{"**/*.go", "**/*.g", "0"}, {"idempotent: false", "idempotent: true", "0"},
		{"id: docs", "id: doc", "1"}, {"needs: [format]", "needs: []", "1"}, {"--quick", "--slow", "1"}, {"Handbook", "Handbuch", "1"},
		{"docs/**, ", "", "1"}, {`"1"`, `"2"`, "1"}, {"env:AWS_REGION", "env:REGION", "1"}, {"env:DOCS_TOKEN", "env:OTHER", "1"},
		{"x.pem", "y.pem", "1"}, {"file:certs/x.pem", "env:CERT", "1"}, {"plan: true", "plan: false", "1"}, {"timeout: 5m", "timeout: 6m", "1"},
		{"staging", "production", "1"}, {"idempotent: true", "idempotent: false", "1"}, {"isolation: required", "isolation: auto", "1"}, {"workspace: none", "workspace: full", "1"},
		{"1MiB", "2MiB", "1"}, {"2097152", "2097153", "1"}, {"artifacts: 7", "artifacts: 8", "1"}, {"1GiB", "2GiB", "1"},
		{"api.example.com", "www.example.com", "1"}, {"small-1", "small-2", "1"},
		{"housekeeping", "housework", "g"}, {"aggregation: custom, custom_rule: data.cabincrew.join.decision", "aggregation: majority", "g"},
		{"join.decision", "join.other", "g"}, {"[baseline]", "[]", "g"}, {"[policies/]", "[rules]", "g"},
		{"allow_without_policies: true", "allow_without_policies: false", "g"}, {"expire: 24h", "expire: 25h", "g"},
		{"default_role: owner", "default_role: other", "g"}, {"self_approval: true", "self_approval: false", "g"}, {"binding: code", "binding: auto", "g"},
		{"name: first-m", "name: second-m", "g"}, {"first@", "second@", "g"}, {"[maintainer, owner]", "[maintainer]", "g"},
		{"keys/first", "keys/second", "g"}, {"bot: true", "bot: false", "g"}, {"not_before: 2026", "not_before: 2025", "g"}, {"not_after: 2027", "not_after: 2028", "g"},
		{"count: 2", "count: 3", "g"}, {"octocat", "octodog", "g"}, {"id:583231", "id:583232", "g"}, {"acme/operators", "acme/oper", "g"}, {"permission: maintain", "permission: admin", "g"},
		{"codeowners: true", "codeowners: false", "g"}, {"operator: {", "op: {", "g"}, {"distinct: true", "distinct: false", "g"}, {"carry_over: same-intent", "carry_over: none", "g"},
		{"[production]", "[staging]", "g"}, {"expire: 2h", "expire: 3h", "g"}, {"on_stale: replan", "on_stale: fail", "g"}, {"checks: per-step", "checks: single", "g"},
		{"comment: true", "comment: false", "g"}, {"refs: [main, ", "refs: [", "g"},
		{"key: plan.key", "key: other.key", "g"}, {"sign: checkpoint", "sign: each", "g"}, {"audit.key", "log.key", "g"}, {"keyless: false", "trusted_root: r.json", "g"}, {"keyless: false", "trusted_root: r.json, timestamp_url: https://t", "g"}, {"keyless: false", "fulcio_url: https://t", "g"}, {"keyless: false", "trusted_root: r.json, rekor_url: https://t", "g"}, {"keyless: false", "public: true", "g"}, {"keyless: false", "identity_token: env:T", "g"}, {"keyless: false", "insecure_no_sct: true", "g"}, {"keyless: false", "insecure_no_log_entry: true", "g"}, {"keyless: false", "trusted: {keys: [{key: a.pub}]}", "g"}, {"retention:", "min_version: 1.0.0\nretention:", "g"}, {"days: 30", "days: 31", "g"}, {"flights: 10", "flights: 11", "g"},
		{"dir:../flights", "oci:ghcr.io/o/r", "g"}, {"age1ql3z", "age1ql4z", "g"},
	} {
		if strings.Count(full, c.old) < 1 {
			t.Fatalf("%q is not in the file", c.old)
		}
		s, g := forms(t, strings.Replace(full, c.old, c.new, 1), builtins)
		if (s[0] != steps[0]) != (c.what == "0") || (s[1] != steps[1]) != (c.what == "1") || (g != governance) != (c.what == "g") {
			t.Errorf("%q -> %q changes step 0: %v, step 1: %v, governance: %v; want %s only",
				c.old, c.new, s[0] != steps[0], s[1] != steps[1], g != governance, c.what)
		}
	}
}

func TestFormsStandStill(t *testing.T) {
	t.Parallel()
	builtins := Builtins{"command": {}}
	steps, governance := forms(t, full, builtins)
	for range 20 { // map order
		s, g := forms(t, "# a comment\n"+full, builtins)
		if !slices.Equal(s, steps) || g != governance {
			t.Fatal("the same settings have two forms")
		}
	}
	s, g := forms(t, strings.NewReplacer("policies/]", "./policies]", "2027-01-01T00:00:00+01:00", "2026-12-31T23:00:00Z", "2097152", "2MiB").Replace(full), builtins)
	if !slices.Equal(s, steps) || g != governance {
		t.Error("another way of writing the same setting has another form")
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	parse := func(keys string) *Config {
		c, err := Parse("c.yaml", []byte("version: 1\nworkflow: w\nsteps: [{id: a, engine: {use: command}"+keys+"}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, c := range []struct {
		keys    string
		builtin bool
		want    bool
	}{{"", true, true}, {"", false, false}, {", idempotent: false", true, false}, {", idempotent: true", false, true}} {
		cfg := parse(c.keys)
		if err := cfg.Resolve(Builtins{"command": {Idempotent: c.builtin}}); err != nil || cfg.Steps[0].Idempotent != c.want {
			t.Errorf("%+v: %v, %v", c, cfg.Steps[0].Idempotent, err)
		}
	}
	err := parse("").Resolve(Builtins{"comand": {}, "terraform": {}})
	p := Problems(err)
	if len(p) != 1 || p[0].Error() != `c.yaml:3:31: there is no built-in engine "command"` || p[0].Hint != `did you mean "comand"?` || p[0].Code != "config_engine" {
		t.Errorf("%v %+v", err, p)
	}
}

func TestPlanOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ steps, want string }{
		{"a b c", "a b c"},
		{"c b a", "c b a"},
		{"a:c b c", "b c a"},
		{"d:b,c b:a c:a a", "a b c d"},
		{"z a:z y b:y", "z a y b"},
		{"e:d a d:a b", "a d e b"},
	} {
		var b strings.Builder
		b.WriteString("version: 1\nworkflow: w\nsteps:\n")
		for s := range strings.FieldsSeq(c.steps) {
			id, needs, _ := strings.Cut(s, ":")
			b.WriteString("- {id: " + id + ", needs: [" + needs + "], engine: {run: [x]}}\n")
		}
		cfg, err := Parse("c.yaml", []byte(b.String()))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(cfg.PlanOrder(), " "); got != c.want {
			t.Errorf("%s: have %s, want %s", c.steps, got, c.want)
		}
	}
}

func TestGovernanceKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "k.pub")
	for _, p := range []string{filepath.Join(dir, "a.pub"), filepath.Join(dir, "same.pub"), outside} {
		if err := os.WriteFile(p, []byte("key\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link.pub")); err != nil {
		t.Fatal(err)
	}
	parse := func(keys ...string) *Config {
		doc := minimal + "approvals:\n  approvers:\n"
		for i, k := range keys {
			doc += "  - {name: n" + string(rune('a'+i)) + ", roles: [r], key: " + k + "}\n"
		}
		c, err := Parse("c.yaml", []byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if _, err := parse("a.pub").Governance(KeyDigests(dir)); err != nil {
		t.Error(err)
	}
	if d, err := KeyDigests(dir)("a.pub"); err != nil || d != protocol.Digest([]byte("key\n")) {
		t.Errorf("%s %v", d, err)
	}
	for _, c := range []struct {
		name, code string
		keys       []string
	}{
		{"absent", "config_approver_key", []string{"absent.pub"}},
		{"a link out of the workspace", "config_approver_key", []string{"link.pub"}},
		{"a directory", "config_approver_key", []string{"."}},
		{"one key for two people", "config_approver", []string{"a.pub", "same.pub"}},
	} {
		_, err := parse(c.keys...).Governance(KeyDigests(dir))
		if !errors.Is(err, protocol.Code(c.code)) || protocol.ExitCode(err) != protocol.ExitUsage {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
