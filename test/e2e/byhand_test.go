//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// block is a piece of shell in docs/verify-by-hand.md.
type block struct{ under, text string }

// blocks gives the pieces of shell that the document shows, in their order.
func blocks(t *testing.T) []block {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join(house.repository, "docs", "verify-by-hand.md"))
	if err != nil {
		t.Fatal(err)
	}
	var out []block
	under := ""
	for _, m := range regexp.MustCompile("(?ms)^## ([^\n]*)$|^```sh\n(.*?)^```$").FindAllStringSubmatch(string(doc), -1) {
		if m[1] != "" {
			under = m[1]
			continue
		}
		out = append(out, block{under, m[2]})
	}
	if len(out) != 14 {
		t.Fatalf("the document has %d pieces of shell: this test does not see them, or tampers with too little", len(out))
	}
	return out
}

// refusals runs the document's blocks below some headings in a flight's directory, and
// gives the headings of those that failed.
func refusals(t *testing.T, dir string, env []string, headings ...string) (failed []string, said string) {
	t.Helper()
	for i, b := range blocks(t) {
		if !slices.Contains(headings, b.under) {
			continue
		}
		r := command(t, dir, env, "sh", "-eu", "-c", b.text)
		if r.code != 0 {
			failed = append(failed, b.under)
			said += fmt.Sprintf("block %d, exit %d: %s%s\n", i+1, r.code, r.stdout, r.stderr)
		}
	}
	return failed, said
}

// The headings of the document.
const (
	signature = "1 The signature"
	files     = "2 The files"
	tokens    = "3 The tokens"
	decided   = "4 What was decided"
	approvals = "5 The approvals"
	audit     = "6 The audit log"
	takeOff   = "7 The take-off"
	certified = "Signed with a certificate"
)

// TestByHandWithACertificate replaces the first block by that about certificates.
func TestByHandWithACertificate(t *testing.T) {
	t.Parallel()
	dir, env := flown(t)
	who := githubJob()
	signed, err := os.ReadFile(who.signs(t, of(dir)).bundle)
	if err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(dir, "plan.sigstore.json")
	if err := os.WriteFile(bundle, signed, 0o600); err != nil {
		t.Fatal(err)
	}
	env = append(env, "trusted_root="+house.trustedRoot, "issuer="+who.issuer.URL(), "repository="+repoID)
	good := append(slices.Clone(env), "identity="+planner)
	if failed, said := refusals(t, dir, good, certified, files, tokens, decided, approvals, audit); len(failed) > 0 {
		t.Fatalf("%q fails on a flight in order:\n%s", failed, said)
	}
	for name, env := range map[string][]string{
		"another workflow":   append(slices.Clone(env), "identity="+strings.Replace(planner, "plan.yml", "other.yml", 1)),
		"another ref":        append(slices.Clone(env), "identity="+strings.Replace(planner, "refs/tags/v1", "refs/pull/7/merge", 1)),
		"another issuer":     append(slices.Clone(good), "issuer="+house.gitlab.URL()),
		"another repository": append(slices.Clone(good), "repository=5678"),
	} {
		if failed, _ := refusals(t, dir, env, certified); len(failed) == 0 {
			t.Errorf("%s is not seen", name)
		}
	}
}

// flown is a flight that was signed, approved and taken off, and the environment that
// the document asks for.
func flown(t *testing.T) (dir string, env []string) {
	t.Helper()
	w := newWS(t, "signing: {key: keys/plan}\n")
	s := w.json(4, "flight-plan")
	w.want(0, "approve", s.WorkflowID, "--as", "boss", "--key", "keys/boss")
	w.want(0, "take-off", s.WorkflowID)
	w.want(0, "verify", s.WorkflowID)
	env = append(bare(w.t.TempDir()), "key="+filepath.Join(w.dir, "keys", "plan.pub"), "approver="+filepath.Join(w.dir, "keys", "boss.pub"))
	env[0] = "PATH=" + house.tool("") + string(os.PathListSeparator) + os.Getenv("PATH")
	return s.FlightDir, env
}

// edit changes the one file that matches a pattern in a copy of a flight.
func edit(dir, pattern, from, to string) error {
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) != 1 {
		return fmt.Errorf("%s: %v, %w", pattern, names, err)
	}
	data, err := os.ReadFile(names[0])
	if err != nil {
		return err
	}
	if !strings.Contains(string(data), from) {
		return fmt.Errorf("%s does not hold %q", names[0], from)
	}
	return os.WriteFile(names[0], []byte(strings.Replace(string(data), from, to, 1)), 0o600)
}

// TestByHand runs what docs/verify-by-hand.md says, on a flight in order, where all of
// it succeeds, and on tampered copies, where what looks at it refuses.
func TestByHand(t *testing.T) {
	t.Parallel()
	dir, env := flown(t)
	if failed, said := refusals(t, dir, env, signature, files, tokens, decided, approvals, audit, takeOff); len(failed) > 0 {
		t.Fatalf("%q fails on a flight in order:\n%s", failed, said)
	}
	for name, c := range tamperings() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			copied := filepath.Join(t.TempDir(), "flight")
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			if err := c.do(copied); err != nil {
				t.Fatal(err)
			}
			if failed, said := refusals(t, copied, env, c.seen); len(failed) == 0 {
				t.Errorf("%q does not see it\n%s", c.seen, said)
			}
		})
	}
}

type tampering struct {
	seen string // the heading under which it is seen
	do   func(dir string) error
}

// tamperings are what may be done to a flight's directory.
func tamperings() map[string]tampering {
	change := func(pattern, from, to string) func(string) error {
		return func(dir string) error { return edit(dir, pattern, from, to) }
	}
	add := func(name, text string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600) }
	}
	remove := func(name string) func(string) error {
		return func(dir string) error { return os.Remove(filepath.Join(dir, name)) }
	}
	return map[string]tampering{
		"a byte of the patch":              {files, change("steps/edit/artifacts/changes/body.data", "+more", "+mare")},
		"a byte of the patch, both hashes": {signature, rehashed},
		"an artifact is gone":              {files, remove("steps/edit/artifacts/summary/artifact.json")},
		"a file more":                      {files, add("steps/edit/artifacts/changes/more.data", "x")},
		"an artifact more": {files, func(dir string) error {
			return os.CopyFS(filepath.Join(dir, "steps/edit/artifacts/other"), os.DirFS(filepath.Join(dir, "steps/edit/artifacts/changes")))
		}},
		"an artifact as another role":  {tokens, change("steps/edit/receipt.json", `"role":"evidence"`, `"role":"state"`)},
		"a softer decision":            {files, change("steps/edit/preflight.json", `"require_approval"`, `"allow"`)},
		"a manifest of another flight": {signature, change("plan-manifest.json", `"workflow_id":"2`, `"workflow_id":"1`)},
		"another statement":            {signature, restated(`"decision":"require_approval"`, `"decision":"allow"`)},
		"another token":                {tokens, restated(`"model":"none"`, `"model":"some"`)},
		"another signature":            {signature, change("plan.sigstore.json", `"sig":"ME`, `"sig":"MF`)},
		"no signature":                 {signature, remove("plan.sigstore.json")},
		"an approval that nobody gave": {approvals, func(dir string) error { return edit(dir, "approvals/*.response.json", `"sig":"ME`, `"sig":"MF`) }},
		"the plan's bundle as an approval": {approvals, func(dir string) error {
			bundle, err := os.ReadFile(filepath.Join(dir, "plan.sigstore.json"))
			if err != nil {
				return err
			}
			names, err := filepath.Glob(filepath.Join(dir, "approvals/*.response.json"))
			if err != nil || len(names) != 1 {
				return fmt.Errorf("%v, %w", names, err)
			}
			return os.WriteFile(names[0], bundle, 0o600)
		}},
		"another question": {approvals, change("approvals/*.request.json", `"required_role":"maintainer"`, `"required_role":"nobody"`)},
		"an approval is gone": {approvals, func(dir string) error {
			names, err := filepath.Glob(filepath.Join(dir, "approvals/*.response.json"))
			if err != nil || len(names) != 1 {
				return fmt.Errorf("%v, %w", names, err)
			}
			return os.Remove(names[0])
		}},
		"an event says something else": {audit, change("audit.jsonl", "planning begins", "planning starts")},
		"the log is cut":               {audit, cut},
		"a receipt":                    {takeOff, change("steps/edit/takeoff-receipt.json", `"receipt_id":"`, `"receipt_id":"x`)},
		"a log of the take-off":        {takeOff, add("steps/edit/takeoff.log", "nothing happened\n")},
		"another end":                  {takeOff, change("take-off.sigstore.json", `"sig":"ME`, `"sig":"MF`)},
		"the end of another plan":      {takeOff, add("plan.sigstore.json", "{}")},
		"what came after is rewritten": {audit, func(dir string) error { return rewritten(dir, 20) }},
		"the log is written anew":      {audit, rechained},
	}
}
