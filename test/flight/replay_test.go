package flight

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

// signedWS is a workspace whose flights are signed and need nobody.
func signedWS(t *testing.T, more string) *ws {
	t.Helper()
	w := newWS(t, map[string]string{
		"hello.txt": "hello\n", "pol/p.rego": quietPolicy,
		".cabincrew.yaml": commandConfig(quiet+"signing: {key: keys/plan}\n"+more, "echo two > out.txt"),
	})
	w.keys("plan")
	return w
}

// TestOlderPlan: a plan that is behind the last one applied is refused, also where
// nothing but that one's signed take-off tells of it.
func TestOlderPlan(t *testing.T) {
	t.Parallel()
	for _, forget := range []bool{false, true} {
		w := signedWS(t, "")
		older, newer := w.json(0, "flight-plan"), w.json(0, "flight-plan")
		w.json(0, "take-off", newer.WorkflowID)
		if forget {
			for _, mark := range globbed(t, w.dir+"/.cabincrew/marks/line-*") {
				if err := os.Remove(mark); err != nil {
					t.Fatal(err)
				}
			}
		}
		if s := w.json(5, "take-off", older.WorkflowID); s.Error.Code != "plan_superseded" || s.State != protocol.StateReadyForTakeoff {
			t.Errorf("%+v %s", s.Error, s.State)
		}
		if again := w.json(0, "take-off", newer.WorkflowID); again.State != protocol.StateCompleted {
			t.Errorf("%+v", again)
		}
	}
}

func globbed(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %q %v", pattern, names, err)
	}
	return names
}

// TestForeignPlan: a plan that was made for another repository takes off nowhere else,
// and in CI a token takes off once.
func TestForeignPlan(t *testing.T) {
	t.Parallel()
	w := signedWS(t, "")
	w.git("init", "-q", "-b", "main")
	w.git("add", "-A")
	w.git("commit", "-q", "-m", "start")
	inRepository := func(id string) *ws {
		c := *w
		c.env = append(slices.Clip(w.env), "CI=true", "GITHUB_ACTIONS=true", "GITHUB_REPOSITORY_ID="+id, "GITHUB_REPOSITORY=acme/web", "GITHUB_RUN_ID=9007199254740993", "GITHUB_RUN_ATTEMPT=2", "GITHUB_EVENT_NAME=push")
		return &c
	}
	here, ref := inRepository("17"), []string{"--governance-ref", "main"}
	plan := func() string { return here.json(0, append([]string{"flight-plan"}, ref...)...).WorkflowID }
	takeOff := func(c *ws, code int, id string) (string, string) {
		s := c.json(code, append([]string{"take-off", id}, ref...)...)
		if s.Error == nil {
			return "", string(s.State)
		}
		return s.Error.Code, string(s.State)
	}
	first, second := plan(), plan()
	if code, _ := takeOff(inRepository("42"), 5, first); code != "plan_foreign" {
		t.Errorf("another repository: %s", code)
	}
	if code, _ := takeOff(w, 5, first); code != "plan_foreign" {
		t.Errorf("no forge: %s", code)
	}
	takeOff(here, 0, first)
	w.git("checkout", "-q", ".")
	if err := os.Remove(filepath.Join(w.dir, "out.txt")); err != nil {
		t.Fatal(err)
	}
	if _, state := takeOff(here, 0, second); state != string(protocol.StateReadyForTakeoff) || w.exists("out.txt") {
		t.Errorf("the same token again: %s, applied %v", state, w.exists("out.txt"))
	}
	// What the run was is in both statements, ids as texts.
	for _, name := range []string{"plan.sigstore.json", "take-off.sigstore.json"} {
		out := w.want(0, append([]string{"verify", filepath.Join(w.dir, ".cabincrew", "flights", first, name), "--output", "json"}, "--key", w.key("plan.pub"))...).stdout
		var doc struct {
			Statement struct {
				Predicate struct {
					Derived map[string]string `json:"derived"`
				} `json:"predicate"`
			} `json:"statement"`
		}
		if err := json.Unmarshal([]byte(out), &doc); err != nil {
			t.Fatal(err)
		}
		if d := doc.Statement.Predicate.Derived; d["repository_id"] != "17" || d["run_id"] != "9007199254740993" || d["run_attempt"] != "2" || d["event"] != "push" || d["repository"] != "acme/web" || d["governance_commit"] == "" ||
			d["change"] != "run/9007199254740993" || len(d["merge_tree"]) != 40 {
			t.Errorf("%s: %v", name, d)
		}
	}
}

// TestMinVersion: this build has no version that min_version could accept.
func TestMinVersion(t *testing.T) {
	t.Parallel()
	w := signedWS(t, "min_version: 99.0.0\n")
	if s := w.json(5, "take-off", w.json(0, "flight-plan").WorkflowID); s.Error.Code != "version_too_old" || w.exists("out.txt") {
		t.Errorf("%+v", s.Error)
	}
}

// TestKeysChange: while keys change both count, each in its window.
func TestKeysChange(t *testing.T) {
	t.Parallel()
	const trusted = "signing: {key: keys/%KEY%, trusted: {keys: [{key: keys/plan.pub, %OLD%: \"%WHEN%\"}, {key: keys/new.pub}]}}\n"
	set := func(w *ws, key, bound, when string) {
		w.write(".cabincrew.yaml", commandConfig(quiet+strings.NewReplacer("%KEY%", key, "%OLD%", bound, "%WHEN%", when).Replace(trusted), "echo two > out.txt"))
	}
	for name, c := range map[string]struct {
		key, bound, when string
		code             int
	}{
		"the old one, still": {"plan", "not_after", "2999-01-01T00:00:00Z", 0},
		"the old one, over":  {"plan", "not_after", "2020-01-01T00:00:00Z", 2},
		"the old one, soon":  {"plan", "not_before", "2999-01-01T00:00:00Z", 2},
		"the new one":        {"new", "not_after", "2020-01-01T00:00:00Z", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := signedWS(t, "")
			w.keys("new")
			set(w, c.key, c.bound, c.when)
			s := w.json(c.code, "flight-plan")
			if c.code == 0 {
				w.json(0, "take-off", s.WorkflowID)
				w.want(0, "verify", s.WorkflowID)
			} else if s.Error == nil || s.Error.Code != "signing_key" || !strings.Contains(s.Error.Message, "is not valid at") {
				t.Errorf("%+v", s.Error)
			}
		})
	}
}

// TestVerifyAlone verifies a flight that was taken elsewhere, by keys or a policy.
func TestVerifyAlone(t *testing.T) {
	t.Parallel()
	w := workflowChange(t, "signing: {key: keys/plan}\n")
	w.keys("plan")
	s := w.json(4, "flight-plan")
	w.json(0, "approve", s.WorkflowID, "--as", "boss", "--key", w.key("boss"))
	w.json(0, "take-off", s.WorkflowID)
	away := newWS(t, map[string]string{})
	if err := os.CopyFS(filepath.Join(away.dir, "f"), os.DirFS(s.FlightDir)); err != nil {
		t.Fatal(err)
	}
	w.want(0, "export", s.WorkflowID, "--out", filepath.Join(away.dir, "f.tar.zst"))
	for name, key := range map[string]string{"plan.pub": "plan.pub", "boss.pub": "boss.pub", "other.pub": "other.pub"} {
		raw, err := os.ReadFile(w.key(key))
		if err != nil {
			t.Fatal(err)
		}
		away.write(name, string(raw))
	}
	policy := func(plan, boss string) string {
		return "version: 1\nsigning: {trusted: {keys: [{key: " + plan + "}]}}\napprovals: {approvers: [{name: boss, roles: [maintainer], key: " + boss + "}]}\n"
	}
	away.write("trust.yaml", policy("plan.pub", "boss.pub"))
	away.write("other.yaml", policy("other.pub", "boss.pub"))
	away.write("stranger.yaml", policy("plan.pub", "other.pub"))
	away.write("nobody.yaml", "version: 1\nsigning: {}\n")
	before := away.snapshot()
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"key":                   {[]string{"f", "--key", "plan.pub"}, 0, "pass           plan signature"},
		"archive":               {[]string{"f.tar.zst", "--key", "plan.pub", "--offline"}, 0, "pass           take-off signature"},
		"another key":           {[]string{"f", "--key", "other.pub"}, 5, "signature_untrusted"},
		"one of two":            {[]string{"f", "--key", "other.pub", "--key", "plan.pub"}, 0, "not applicable approvals"},
		"policy":                {[]string{"f", "--policy", "trust.yaml"}, 0, "pass           approvals"},
		"policy, other key":     {[]string{"f", "--policy", "other.yaml"}, 5, "signature_untrusted"},
		"policy, other person":  {[]string{"f.tar.zst", "--policy", "stranger.yaml"}, 5, "signature_untrusted"},
		"policy that is empty":  {[]string{"f", "--policy", "nobody.yaml"}, 2, "trusts nobody"},
		"no policy":             {[]string{"f", "--policy", "nonesuch"}, 2, "policy_unreadable"},
		"root alone":            {[]string{"f", "--trusted-root", "nonesuch"}, 2, "trusted_root_unreadable"},
		"insecure":              {[]string{"f", "--insecure-ignore-signatures"}, 0, "not applicable plan signature"},
		"insecure and key":      {[]string{"f", "--insecure-ignore-signatures", "--key", "plan.pub"}, 2, "usage"},
		"nothing":               {[]string{"f"}, 2, "config_not_found"},
		"offline, registry":     {[]string{"oci:127.0.0.1:1/x@sha256:" + strings.Repeat("0", 64), "--offline", "--key", "plan.pub"}, 2, "verify_offline"},
		"statement":             {[]string{"f/plan.sigstore.json", "--key", "plan.pub"}, 0, "verifies"},
		"take-off statement":    {[]string{"f/take-off.sigstore.json", "--key", "plan.pub"}, 0, "take-off/v1"},
		"statement, other key":  {[]string{"f/plan.sigstore.json", "--key", "boss.pub"}, 5, "signature_untrusted"},
		"statement, no trust":   {[]string{"f/plan.sigstore.json"}, 2, "config_not_found"},
		"statement, insecure":   {[]string{"f/plan.sigstore.json", "--insecure-ignore-signatures"}, 2, "usage"},
		"no statement":          {[]string{"f/flight.json", "--key", "plan.pub"}, 5, "bundle_malformed"},
		"statement of another":  {[]string{"f/plan.sigstore.json", "--key", "plan.pub", "--manifest", "f/flight.json"}, 5, "statement_mismatch"},
		"statement of nothing":  {[]string{"f/plan.sigstore.json", "--key", "plan.pub", "--manifest", "nonesuch"}, 2, "verify_manifest"},
		"key that is none":      {[]string{"f", "--key", "trust.yaml"}, 2, "key_malformed"},
		"key that is not there": {[]string{"f", "--key", "nonesuch"}, 2, "key_unreadable"},
	} {
		t.Run(name, func(t *testing.T) {
			for i, arg := range c.args { // tests do not change their directory
				if !strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "oci:") {
					c.args[i] = filepath.Join(away.dir, arg)
				}
			}
			r := away.want(c.code, append([]string{"verify"}, c.args...)...)
			if !strings.Contains(r.stdout+r.stderr, c.want) {
				t.Errorf("%q is not there:\n%s%s", c.want, r.stdout, r.stderr)
			}
			if r := away.run(append([]string{"verify", "--output", "json"}, c.args...)...); !json.Valid([]byte(r.stdout)) || r.code != c.code {
				t.Errorf("exit %d, %s", r.code, r.stdout)
			}
		})
	}
	if now := away.snapshot(); now != before {
		t.Errorf("verify wrote something:\n%s\nwas\n%s", now, before)
	}
}

// TestChangeThatIsMerged: in CI the statement names the change, the commit that it goes
// onto and the tree that was planned on; a take-off that another event started names
// the change.
func TestChangeThatIsMerged(t *testing.T) {
	t.Parallel()
	w := signedWS(t, "")
	w.write(".gitignore", "keys/plan\n.cabincrew/\n")
	w.git("init", "-q", "-b", "main")
	w.git("add", "-A")
	w.git("commit", "-q", "-m", "start")
	w.git("checkout", "-q", "-b", "change")
	w.write("more.txt", "more\n")
	w.git("add", "-A")
	w.git("commit", "-q", "-m", "change")
	w.git("checkout", "-q", "main")
	w.git("merge", "-q", "--no-ff", "-m", "merge", "change")
	env := append(slices.Clip(w.env), "CI=true", "GITHUB_ACTIONS=true", "GITHUB_REPOSITORY_ID=17", "GITHUB_RUN_ID=1")
	pull, push := *w, *w
	pull.env = append(slices.Clip(env), "GITHUB_EVENT_NAME=pull_request", "GITHUB_REF=refs/pull/7/merge")
	push.env = append(slices.Clip(env), "GITHUB_EVENT_NAME=push", "GITHUB_REF=refs/heads/main")
	s := pull.json(0, "flight-plan", "--governance-ref", "main")
	derived := payload(t, readFrom(t, s.FlightDir, "plan.sigstore.json"))["predicate"].(map[string]any)["derived"].(map[string]any)
	for name, want := range map[string]string{
		"change": "pull/7", "base_commit": w.in(w.dir, "rev-parse", "HEAD^1"), "merge_tree": w.in(w.dir, "rev-parse", "HEAD^{tree}"), "head_commit": w.in(w.dir, "rev-parse", "HEAD"),
	} {
		if got := derived[name]; got != strings.TrimSpace(want) {
			t.Errorf("%s is %v, not %q", name, got, want)
		}
	}
	if got := push.json(5, "take-off", s.WorkflowID, "--governance-ref", "main"); got.Error.Code != "plan_foreign" {
		t.Errorf("%+v", got.Error)
	}
	if got := push.json(5, "take-off", s.WorkflowID, "--governance-ref", "main", "--change", "pull/8"); got.Error.Code != "plan_foreign" {
		t.Errorf("%+v", got.Error)
	}
	push.json(0, "take-off", s.WorkflowID, "--governance-ref", "main", "--change", "pull/7")
}

// payload is what a bundle's signature is over.
func payload(t *testing.T, bundle []byte) map[string]any {
	t.Helper()
	var b struct {
		Envelope struct {
			Payload []byte `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	var doc map[string]any
	err := json.Unmarshal(bundle, &b)
	if err == nil {
		err = json.Unmarshal(b.Envelope.Payload, &doc)
	}
	if err != nil {
		t.Fatal(err)
	}
	return doc
}
