package flight

import (
	"os"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

// token is a made-up token of a known form; no scanner of a forge shall take this
// file for a leak.
var token = "gh" + "p_" + "Zk3Xw9Lq7Rt2Vb8Nm4Pc6Yd1Hs5Jf0Ga3Tu7"

// TestSecretScan finds a token that a plan would write, without any policy for it,
// and tells where without telling what.
func TestSecretScan(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		more, script string
		code         int
		decision     protocol.Decision
	}{
		"plain":      {"", "echo token = " + token + " > out.txt", 3, protocol.Deny},
		"encoded":    {"", "echo " + token + " | base64 -w0 > out.txt", 3, protocol.Deny},
		"warn":       {", secrets: {decision: warn}", "echo token = " + token + " > out.txt", 0, protocol.Warn},
		"off":        {", secrets: {scan: false}", "echo token = " + token + " > out.txt", 0, protocol.Allow},
		"role":       {", secrets: {decision: require_approval, role: security}", "echo token = " + token + " > out.txt", 4, protocol.RequireApproval},
		"exempt":     {", exemptions: [{rule: github-pat, paths: [out.txt], until: 2999-01-01, reason: a test}]", "echo token = " + token + " > out.txt", 0, protocol.Allow},
		"no secrets": {"", "echo nothing > out.txt", 0, protocol.Allow},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWS(t, map[string]string{
				"in.txt": "one\n", "pol/p.rego": quietPolicy,
				".cabincrew.yaml": commandConfig(strings.Replace(quiet, "]}", "]"+c.more+"}", 1), "sh gen.sh"), "gen.sh": c.script + "\n",
			})
			s := w.json(c.code, "flight-plan")
			if s.Decision != c.decision {
				t.Fatalf("%+v", s)
			}
			report, err := os.ReadFile(flightDir(s, "steps", "edit", "preflight.json"))
			if err != nil {
				t.Fatal(err)
			}
			found := c.decision != protocol.Allow || name == "exempt"
			if strings.Contains(string(report), token) || strings.Contains(string(report), "secrets/github-pat") != found || found != strings.Contains(string(report), `"out.txt"`) {
				t.Errorf("%s", report)
			}
			if c.code == 4 && s.Approvals[0].RequiredRole != "security" {
				t.Errorf("%+v", s.Approvals)
			}
		})
	}
}

// TestBaselineOfSecrets: what is known is not found again, and what is known is
// part of the governance.
func TestBaselineOfSecrets(t *testing.T) {
	t.Parallel()
	w := newWS(t, map[string]string{
		"in.txt": "one\n", "pol/p.rego": quietPolicy, "known.json": "{\"version\":1,\"findings\":[]}\n",
		".cabincrew.yaml": commandConfig(strings.Replace(quiet, "]}", "], secrets: {baseline: known.json}}", 1), "echo nothing > out.txt"),
	})
	w.json(0, "flight-plan")
	w.write("known.json", "{\"version\":1,\"findings\":[] }\n")
	if s := w.json(6, "take-off"); s.Error == nil || s.Error.Code != "governance_changed" {
		t.Errorf("%+v", s.Error)
	}
	w.write("known.json", "{\"version\":2}\n")
	if s := w.run("flight-plan", "--output", "json"); s.code != 2 || !strings.Contains(s.stdout, "secrets_baseline") {
		t.Errorf("%+v", s)
	}
	if err := os.Remove(w.dir + "/known.json"); err != nil {
		t.Fatal(err)
	}
	if s := w.run("flight-plan", "--output", "json"); s.code != 2 || !strings.Contains(s.stdout, "secrets_baseline") {
		t.Errorf("%+v", s)
	}
}
