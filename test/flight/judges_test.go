package flight

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

// TestRulesOfTheConfiguration flies under rules without Rego.
func TestRulesOfTheConfiguration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rule     string
		code     int
		decision protocol.Decision
	}{
		"deny":             {"{id: r, match: {paths: [prod/**]}, decision: deny, reason: hands off}", 3, protocol.Deny},
		"another path":     {"{id: r, match: {paths: [docs/**]}, decision: deny, reason: hands off}", 0, protocol.Allow},
		"branch that is":   {"{id: r, match: {branches: [trunk], paths: [prod/**]}, decision: warn, reason: careful}", 0, protocol.Warn},
		"branch that isnt": {"{id: r, match: {branches: [main], paths: [prod/**]}, decision: deny, reason: careful}", 0, protocol.Allow},
		"label unknown":    {"{id: r, match: {labels: [x]}, decision: deny, reason: hands off}", 3, protocol.Deny},
		"somebody":         {"{id: r, match: {operations: [modify]}, decision: require_approval, role: owner, reason: look}", 4, protocol.RequireApproval},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWS(t, map[string]string{
				"prod/a": "one\n", "pol/p.rego": quietPolicy, ".cabincrew.yaml": commandConfig(quiet+"rules: ["+c.rule+"]\n", "echo two > prod/a"),
			})
			w.git("init", "-q", "-b", "trunk")
			w.git("add", "-A")
			w.git("commit", "-q", "-m", "start")
			s := w.json(c.code, "flight-plan")
			if s.Decision != c.decision {
				t.Fatalf("%+v", s)
			}
			if c.code == 4 && (len(s.Approvals) != 1 || s.Approvals[0].RequiredRole != "owner") {
				t.Errorf("%+v", s.Approvals)
			}
		})
	}
}

// TestExemption lets a known finding through until its day, and says so.
func TestExemption(t *testing.T) {
	t.Parallel()
	for until, code := range map[string]int{"2999-12-31": 0, "2020-01-01": 4} {
		t.Run(until, func(t *testing.T) {
			t.Parallel()
			w := newWS(t, map[string]string{
				".github/workflows/ci.yml": "on: push\n",
				".cabincrew.yaml": commandConfig("policies: {bundled: [baseline], exemptions: [{rule: ci-workflow, paths: [.github/workflows/ci.yml], until: "+until+", reason: moving house}]}\n",
					"echo on: pull_request > .github/workflows/ci.yml"),
			})
			s := w.json(code, "flight-plan")
			text := w.want(0, "show", s.WorkflowID).stdout
			want := "exempt until 2999-12-31 (moving house)"
			if code != 0 {
				want = "its exemption ended on 2020-01-01"
			}
			if !strings.Contains(text, want) {
				t.Errorf("%q is not shown:\n%s", want, text)
			}
		})
	}
}

// TestAfterTakeOff asks policies about what was done: a deny fails the flight, a
// warning is an alert, and what cannot be judged is a deny.
func TestAfterTakeOff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		policy string
		code   int
		state  protocol.State
		audit  string
	}{
		"deny":   {"deny contains sprintf(\"changed %v\", [input.take_off.changed]) if input.mode == \"take-off\"", 3, protocol.StateFailed, `changed [\"out.txt\"]`},
		"warn":   {"warn contains \"look\" if { input.take_off.receipt.engine_id == \"command\"; input.take_off.changed_known }", 0, protocol.StateCompleted, `"severity":"warning"`},
		"ask":    {"require_approval contains \"look\" if input.mode == \"take-off\"", 3, protocol.StateFailed, "says require_approval"},
		"broken": {"deny contains \"x\" if to_number(\"x\") == 1", 3, protocol.StateFailed, "could not be judged"},
		"quiet":  {"deny contains \"x\" if input.mode == \"flight-plan\"", 0, protocol.StateCompleted, "nothing found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWS(t, map[string]string{
				"in.txt": "one\n", "pol/p.rego": quietPolicy, "after/a.rego": "package cabincrew.after\n\n" + c.policy + "\n",
				".cabincrew.yaml": commandConfig(quiet+"after: {rego: [after/]}\n", "echo two > out.txt"),
			})
			plan := w.json(0, "flight-plan")
			done := w.json(c.code, "take-off")
			if done.State != c.state || w.read("out.txt") != "two\n" {
				t.Fatalf("%+v", done)
			}
			audit, err := os.ReadFile(flightDir(plan, "audit.jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(audit), c.audit) {
				t.Errorf("%q is not in the audit log", c.audit)
			}
			w.want(0, "verify", plan.WorkflowID)
			if c.code != 0 {
				w.want(c.code, "take-off", plan.WorkflowID) // and it stays so
			}
		})
	}
}

// TestAfterIsGoverned: another policy over take-offs is another governance.
func TestAfterIsGoverned(t *testing.T) {
	t.Parallel()
	w := newWS(t, map[string]string{
		"pol/p.rego": quietPolicy, "after/a.rego": "package cabincrew.after\n\ndeny contains \"x\" if input.mode == \"flight-plan\"\n",
		".cabincrew.yaml": commandConfig(quiet+"after: {rego: [after/]}\n", "echo two > out.txt"),
	})
	w.json(0, "flight-plan")
	w.write("after/a.rego", "package cabincrew.after\n\nwarn contains \"x\" if input.mode == \"flight-plan\"\n")
	if s := w.json(6, "take-off"); s.Error == nil || s.Error.Code != "governance_changed" {
		t.Fatalf("%+v", s.Error)
	}
}

// TestViewsAreJudged gives policies what YAML and plans of Terraform say.
func TestViewsAreJudged(t *testing.T) {
	t.Parallel()
	engine := `#!/bin/sh
mkdir "$CABINCREW_ARTIFACTS_DIR/m"
printf 'apiVersion: v1\nkind: Pod\nspec: {hostNetwork: yes}\n' > "$CABINCREW_ARTIFACTS_DIR/m/body.data"
printf '{"artifact_type":"manifest","action":"apply","mime":"application/yaml","body_file":"body.data"}' > "$CABINCREW_ARTIFACTS_DIR/m/artifact.json"
h=$(sha256sum "$CABINCREW_ARTIFACTS_DIR/m/body.data" | cut -d' ' -f1)
printf '{"protocol_version":"draft","engine_id":"m","mode":"flight-plan","receipt_id":"r","status":"success","artifacts":[{"name":"m","path":"m","role":"evidence","hash":"%s"}]}' "$h"
`
	policy := "package cabincrew.k8s\n\ndeny contains sprintf(\"%s on the host's network\", [o.kind]) if {\n\tsome o in input.artifacts[_].kubernetes\n\to.spec.hostNetwork == true\n}\n"
	w := newWS(t, map[string]string{"engine.sh": engine, "pol/p.rego": policy, ".cabincrew.yaml": config(quiet, "  - id: m\n    engine: {run: [./engine.sh]}\n")})
	s := w.json(3, "flight-plan")
	if s.Error == nil || !strings.Contains(s.Error.Message, "Pod on the host's network") {
		t.Fatalf("%+v %+v", s.Error, s.Steps)
	}
}

// TestHostileArtifactsAreDenied: a body that is made to break its readers ends in a
// deny, soon and without taking much memory.
func TestHostileArtifactsAreDenied(t *testing.T) {
	t.Parallel()
	bomb := `printf 'a0: &a0 [x,x,x,x,x,x,x,x,x]\n'; for i in 1 2 3 4 5 6 7 8 9; do j=$((i-1)); printf "a$i: &a$i [*a$j,*a$j,*a$j,*a$j,*a$j,*a$j,*a$j,*a$j,*a$j]\n"; done`
	const declared, text = "cannot be read as what it says it is", "says that it is text"
	for name, c := range map[string]struct{ mime, body, want string }{
		"deep JSON":           {"application/json", `head -c 3000000 /dev/zero | tr '\0' '['`, declared},
		"deep YAML":           {"application/yaml", `head -c 300000 /dev/zero | tr '\0' '['`, declared},
		"YAML bomb":           {"text/yaml", bomb, declared},
		"YAML that is itself": {"text/yaml", `printf 'a: &a [*a]\n'`, declared},
		"not UTF-8":           {"application/json", `printf '"a\377b"'`, declared},
		"a key twice":         {"application/json", `printf '{"a":1,"a":2}'`, declared},
		"no number":           {"application/json", `printf '[NaN]'`, declared},
		"a line of 40 MB":     {"application/json", `printf '["'; head -c 40000000 /dev/zero | tr '\0' 'a'; printf '"]'`, declared},
		// And where the MIME type says nothing, or something else.
		"a line of 100 MB":          {"text/plain", fmt.Sprintf(`head -c %d /dev/zero | tr '\0' 'a'`, long), fmt.Sprintf("has a line of %d bytes", long)},
		"such a line of no type":    {"application/octet-stream", `echo x; head -c 100000000 /dev/zero | tr '\0' 'a'; echo; echo y`, "has a line of 100000000 bytes"},
		"deep JSON as text":         {"text/plain", `head -c 3000000 /dev/zero | tr '\0' '['`, "has a line of 3000000 bytes"},
		"text that is not UTF-8":    {"text/plain", `printf 'a\377b'`, text},
		"bytes as text":             {"text/plain", `head -c 2000000 /dev/zero`, text},
		"objects in YAML that bomb": {"text/plain", `printf 'apiVersion: v1\nkind: Pod\n'; ` + bomb, declared},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := "#!/bin/sh\nA=$CABINCREW_ARTIFACTS_DIR/m\nmkdir \"$A\"\n{ " + c.body + "; } > \"$A/body.data\"\n" +
				`printf '{"artifact_type":"manifest","action":"apply","mime":"` + c.mime + `","body_file":"body.data"}' > "$A/artifact.json"` + "\n" +
				`h=$(sha256sum "$A/body.data" | cut -d' ' -f1)` + "\n" +
				`printf '{"protocol_version":"draft","engine_id":"m","mode":"flight-plan","receipt_id":"r","status":"success","artifacts":[{"name":"m","path":"m","role":"evidence","hash":"%s"}]}' "$h"` + "\n"
			// No bundled set: whatever policies there are, this is denied.
			w := newWS(t, map[string]string{"engine.sh": engine, "pol/p.rego": quietPolicy, ".cabincrew.yaml": config(quiet, "  - id: m\n    engine: {run: [./engine.sh]}\n")})
			s := w.json(3, "flight-plan")
			if s.Decision != protocol.Deny || s.Error == nil || !strings.Contains(s.Error.Message, c.want) {
				t.Fatalf("%+v %s", s.Error, s.Decision)
			}
		})
	}
}

// TestHostilePatchesAreDenied: so is a patch with a line that nobody can read, also
// where it is too large to be shown as text; one that is only large is not.
func TestHostilePatchesAreDenied(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		command string
		code    int
	}{
		"100 MB in one line": {fmt.Sprintf("head -c %d /dev/zero | tr \"\\0\" a > long", long), 3},
		"2 MB in one line":   {"head -c 2000000 /dev/zero | tr \"\\0\" a > long", 3},
		"20 MB of lines":     {"yes 0123456789012345678901234567890123456789 | head -c 20000000 > long", 0},
		"20 MB of bytes":     {"head -c 20000000 /dev/zero > long", 0},
		"a line goes away":   {"echo short > was-long", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWS(t, map[string]string{
				"was-long": strings.Repeat("a", 2<<20), "pol/p.rego": quietPolicy, ".cabincrew.yaml": commandConfig(quiet, c.command),
			})
			s := w.json(c.code, "flight-plan")
			if c.code == 3 && (s.Error == nil || !strings.Contains(s.Error.Message, `writes lines of more than 1048576 bytes, which nobody can read: "long"`)) {
				t.Fatalf("%+v", s.Error)
			}
		})
	}
}
