package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/storage/file"
)

// mutant is one change of a document: the member, and the document with it changed.
type mutant struct {
	at  string
	doc any
}

// mutants changes each leaf of a document in turn, and each list by its last element.
func mutants(doc any) []mutant {
	var out []mutant
	var walk func(at string, v any, put func(any) any)
	walk = func(at string, v any, put func(any) any) {
		switch x := v.(type) {
		case map[string]any:
			for _, k := range sortedNames(x) {
				walk(strings.TrimPrefix(at+"."+k, "."), x[k], func(n any) any {
					c := maps.Clone(x)
					c[k] = n
					return put(c)
				})
			}
		case []any:
			for i := range x {
				walk(fmt.Sprintf("%s[%d]", at, i), x[i], func(n any) any {
					c := slices.Clone(x)
					c[i] = n
					return put(c)
				})
			}
			if len(x) > 0 {
				out = append(out, mutant{at, put(slices.Clone(x[:len(x)-1]))})
			}
		case string:
			out = append(out, mutant{at, put(another(x))})
		case bool:
			out = append(out, mutant{at, put(!x)})
		case protocol.Number:
			n, _ := strconv.Atoi(string(x)) // a test's own document
			out = append(out, mutant{at, put(n + 1)})
		}
	}
	walk("", doc, func(n any) any { return n })
	return out
}

func sortedNames(m map[string]any) []string {
	var names []string
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

var digits = regexp.MustCompile(`^(sha256:|apr-)?[0-9a-f]{12,}$`)

// another gives a text of the same form.
func another(s string) string {
	switch at, err := time.Parse(time.RFC3339, s); {
	case err == nil:
		return at.Add(-400 * 24 * time.Hour).UTC().Format("2006-01-02T15:04:05.000Z")
	case digits.MatchString(s):
		last := byte('0')
		if s[len(s)-1] == '0' {
			last = '1'
		}
		return s[:len(s)-1] + string(last)
	case s == "allow":
		return "warn"
	case s == "require_approval", s == "warn", s == "deny":
		return "allow"
	case s == "completed":
		return "failed"
	case regexp.MustCompile(`^[0-9]+$`).MatchString(s):
		n, _ := strconv.Atoi(s)
		return strconv.Itoa(n + 1)
	}
	return s + "x"
}

// leaf is the last name of a member's place.
func leaf(at string) string {
	at = regexp.MustCompile(`\[[0-9]+\]`).ReplaceAllString(at, "")
	return at[strings.LastIndexByte(at, '.')+1:]
}

// refusals gives what verify and take-off (that changes nothing) say of a directory.
func refusedBy(t *testing.T, s *session, dir string) map[string]error {
	t.Helper()
	out := map[string]error{"verify": verifyDir(t.Context(), s, dir)}
	d, err := file.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }() // only read
	entries, _, _, err := checkLogs(d)
	if err != nil {
		t.Fatal(err)
	}
	f, err := orchestrator.Load(d, nil, entries)
	if err != nil {
		t.Fatal(err)
	}
	_, out["take-off"] = s.crew.TakeOff(t.Context(), f, s.setup, orchestrator.TakeOffOptions{DryRun: true})
	return out
}

func (k *killBench) planKey(t *testing.T) *signing.Key {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(k.dir, "ws", "plan.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.LoadPrivate(raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func payloadOf(t *testing.T, bundle []byte) map[string]any {
	t.Helper()
	var b struct {
		DSSE struct {
			Payload string `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(b.DSSE.Payload)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := protocol.DecodeAny(raw)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := doc.(map[string]any)
	return m
}

// unnamed are members that nothing else in a flight tells: that the bundle is not the
// one which was recorded is all that can be said, and is.
var unnamed = []string{"nonce", "approval_nonce", "cabincrew", "not_after", "last_hash", "_type", "payloadType", "tier"}

// TestEachMemberOfAPlan changes each member of the signed plan in turn, and signs it
// anew with the trusted key: what the statement says is held against the flight, and
// the refusal names the member. Without the key, the signature is refused.
func TestEachMemberOfAPlan(t *testing.T) {
	t.Parallel()
	k, dir := approvedFlight(t, smallConfig)
	s, key := k.inProcess(t), k.planKey(t)
	good, err := os.ReadFile(filepath.Join(dir, orchestrator.PlanBundle))
	if err != nil {
		t.Fatal(err)
	}
	for by, err := range refusedBy(t, s, dir) {
		if err != nil {
			t.Fatalf("the flight as it is: %s: %v", by, err)
		}
	}
	copied := filepath.Join(t.TempDir(), filepath.Base(dir))
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	list := mutants(payloadOf(t, good))
	if len(list) < 60 {
		t.Fatalf("only %d members", len(list))
	}
	for _, m := range list {
		statement, err := protocol.Canonical(m.doc)
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := signing.Sign(t.Context(), key, statement)
		if err == nil {
			tampered(t, s, copied, m.at, bundle, leaf(m.at))
		} else if !errors.Is(err, protocol.Code(signing.CodeStatementMalformed)) { // what is no statement is not even signed
			t.Errorf("%s: %v", m.at, err)
		}
		// And without the key, which names the signature only.
		unsigned := bytes.Replace(good, []byte(base64.StdEncoding.EncodeToString(canonicalOf(t, payloadOf(t, good)))), []byte(base64.StdEncoding.EncodeToString(statement)), 1)
		if bytes.Equal(unsigned, good) {
			t.Fatal("nothing was changed")
		}
		tampered(t, s, copied, m.at+" without the key", unsigned, "signature")
	}
}

func canonicalOf(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := protocol.Canonical(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// tampered puts another plan bundle into a flight's directory and looks who refuses it.
func tampered(t *testing.T, s *session, dir, what string, bundle []byte, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, orchestrator.PlanBundle), bundle, 0o600); err != nil {
		t.Fatal(err)
	}
	for by, err := range refusedBy(t, s, dir) {
		text := fmt.Sprint(err)
		switch {
		case protocol.ExitCode(err) != protocol.ExitIntegrity:
			t.Errorf("%s: %s: %v (exit %d)", what, by, err, protocol.ExitCode(err))
		case strings.Contains(text, name):
		case slices.Contains(unnamed, name) && errors.Is(err, protocol.Code("plan_bundle_changed")):
		default:
			t.Errorf("%s: %s does not name it: %v", what, by, err)
		}
	}
}

// TestEachMemberOfAManifest does the same with the manifest, and signs the plan anew
// over it.
func TestEachMemberOfAManifest(t *testing.T) {
	t.Parallel()
	k, dir := approvedFlight(t, smallConfig)
	s, key := k.inProcess(t), k.planKey(t)
	read := func(name string) []byte {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	manifest, plan := read(orchestrator.ManifestFile), payloadOf(t, read(orchestrator.PlanBundle))
	doc, err := protocol.DecodeAny(manifest)
	if err != nil {
		t.Fatal(err)
	}
	list := mutants(doc)
	if len(list) < 30 {
		t.Fatalf("only %d members", len(list))
	}
	for _, m := range list {
		to := filepath.Join(t.TempDir(), filepath.Base(dir))
		if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		raw := canonicalOf(t, m.doc)
		plan["subject"] = []any{map[string]any{"name": signing.ManifestName, "digest": map[string]any{"sha256": strings.TrimPrefix(protocol.Digest(raw), "sha256:")}}}
		bundle, err := signing.Sign(t.Context(), key, canonicalOf(t, plan))
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{orchestrator.ManifestFile: raw, orchestrator.PlanBundle: bundle} {
			if err := os.WriteFile(filepath.Join(to, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for by, err := range refusedBy(t, s, to) {
			text := fmt.Sprint(err)
			if protocol.ExitCode(err) != protocol.ExitIntegrity {
				t.Errorf("%s: %s: %v (exit %d)", m.at, by, err, protocol.ExitCode(err))
			} else if file := strings.HasPrefix(m.at, "files"); !file && !strings.Contains(text, leaf(m.at)) || file && !strings.Contains(text, "steps/") && !strings.Contains(text, "approvals/") && !strings.Contains(text, "files") {
				t.Errorf("%s: %s does not name it: %v", m.at, by, err)
			}
		}
	}
}

// TestEachMemberOfATakeOff does the same with the statement of how a flight ended.
func TestEachMemberOfATakeOff(t *testing.T) {
	t.Parallel()
	k, dir := approvedFlight(t, smallConfig)
	if code, _, _, stderr := k.run(0, "take-off"); code != 0 {
		t.Fatalf("exit %d\n%s", code, stderr)
	}
	s, key := k.inProcess(t), k.planKey(t)
	at := filepath.Join(dir, orchestrator.TakeOffBundle)
	good, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifyDir(t.Context(), s, dir); err != nil {
		t.Fatalf("the flight as it is: %v", err)
	}
	// What only the side that took off says, and nothing else tells.
	word := []string{
		"predicate.cabincrew", "predicate.derived.author_email", "predicate.derived.base_commit", "predicate.derived.governance_commit", "predicate.derived.merge_tree",
		"predicate.derived.event", "predicate.derived.repository", "predicate.derived.run_id", "predicate.derived.run_attempt",
	}
	n := 0
	for _, m := range mutants(payloadOf(t, good)) {
		bundle, err := signing.Sign(t.Context(), key, canonicalOf(t, m.doc))
		if err != nil || slices.Contains(word, m.at) {
			continue // what is no statement is not signed
		}
		n++
		if err := os.WriteFile(at, bundle, 0o600); err != nil {
			t.Fatal(err)
		}
		err = verifyDir(t.Context(), s, dir)
		if protocol.ExitCode(err) != protocol.ExitIntegrity || !strings.Contains(fmt.Sprint(err), leaf(m.at)) {
			t.Errorf("%s: %v (exit %d)", m.at, err, protocol.ExitCode(err))
		}
	}
	if n < 15 {
		t.Errorf("only %d members", n)
	}
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	if err := verifyDir(t.Context(), s, dir); !errors.Is(err, protocol.Code("takeoff_unsigned")) {
		t.Errorf("without the statement: %v", err)
	}
	if code, _, _, stderr := k.run(0, "take-off", filepath.Base(dir)); code != 0 {
		t.Fatalf("exit %d\n%s", code, stderr)
	}
	if err := verifyDir(t.Context(), s, dir); err != nil {
		t.Errorf("signed again: %v", err)
	}
}
