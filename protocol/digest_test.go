package protocol

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// figures are those parts of testdata/vectors.json that are hashes over given
// bytes. They come from an implementation that shares nothing with this one.
// protocol/plantoken checks the others.
type figures struct {
	Workspace struct {
		Files []struct {
			Letter  string `json:"letter"`
			Content string `json:"content_hex"`
			Path    string `json:"path"`
		} `json:"files"`
		Hash string `json:"workspace_hash"`
	} `json:"workspace"`
	Policies struct {
		Files []struct {
			Content string `json:"content"`
			Path    string `json:"path"`
		} `json:"files"`
		Digest string `json:"policy_digest"`
	} `json:"policies"`
	Governance struct {
		JCS  string `json:"content_jcs"`
		Hash string `json:"governance_hash"`
	} `json:"governance"`
	Config struct {
		JCS    string `json:"content_jcs"`
		Digest string `json:"config_digest"`
	} `json:"step_config"`
	Engine struct {
		Digests []string `json:"digests"`
		Digest  string   `json:"engine_digest"`
	} `json:"engine_of_two_files"`
	Token struct {
		JCS   string `json:"preimage_jcs"`
		Token string `json:"token"`
	} `json:"token"`
	Flight struct {
		Pairs [][2]string `json:"pairs"`
		Token string      `json:"flight_token"`
		One   [][2]string `json:"one_step_pairs"`
		OneOf string      `json:"one_step_flight_token"`
	} `json:"flight"`
	Approval struct {
		Of    []string `json:"of"`
		ID    string   `json:"approval_id"`
		Nonce string   `json:"nonce"`
		Code  string   `json:"code"`
	} `json:"approval"`
	Payload struct {
		JCS  string `json:"object_jcs"`
		Hash string `json:"hash"`
	} `json:"payload"`
	Manifest struct {
		JCS    string `json:"jcs"`
		Digest string `json:"digest"`
	} `json:"manifest"`
	Audit struct {
		WorkflowID string `json:"workflow_id"`
		First      string `json:"first_line"`
		Second     string `json:"chain_hash_of_second"`
	} `json:"audit"`
	WAL struct {
		JCS      string `json:"entry_without_checksum_jcs"`
		Checksum string `json:"checksum"`
	} `json:"wal"`
}

func readFigures(t *testing.T) figures {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var f figures
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want || want == "" {
		t.Errorf("%s: got %s, want %s", what, got, want)
	}
}

func hOf(t *testing.T, kind string, v any) string {
	t.Helper()
	got, err := HCanonical(kind, v)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestFiguresOfCanonicalDocuments(t *testing.T) {
	t.Parallel()
	f := readFigures(t)
	for _, c := range []struct{ kind, jcs, want string }{
		{KindGovernance, f.Governance.JCS, f.Governance.Hash},
		{KindConfig, f.Config.JCS, f.Config.Digest},
		{KindPlanToken, f.Token.JCS, f.Token.Token},
		{KindPayload, f.Payload.JCS, f.Payload.Hash},
		{KindWAL, f.WAL.JCS, f.WAL.Checksum},
	} {
		same(t, c.kind, H(c.kind, []byte(c.jcs)), c.want)
		same(t, c.kind+" from its parts", hOf(t, c.kind, json.RawMessage(c.jcs)), c.want)
		if err := CheckCanonical([]byte(c.jcs)); err != nil {
			t.Errorf("%s: %v", c.kind, err)
		}
	}
	same(t, "manifest", Digest([]byte(f.Manifest.JCS)), f.Manifest.Digest)
	same(t, "engine", hOf(t, KindEngine, f.Engine.Digests), f.Engine.Digest)
	same(t, "flight token", hOf(t, KindFlightToken, f.Flight.Pairs), f.Flight.Token)
	same(t, "flight token of one step", hOf(t, KindFlightToken, f.Flight.One), f.Flight.OneOf)
	same(t, "approval id", "apr-"+strings.TrimPrefix(hOf(t, KindApproval, f.Approval.Of), digestPrefix), f.Approval.ID)
	code := strings.TrimPrefix(H(KindApprovalCode, []byte(f.Flight.Token+"\n"+f.Approval.Nonce)), digestPrefix)
	same(t, "approval code", code[:12], f.Approval.Code)
}

func TestFiguresOfFileSets(t *testing.T) {
	t.Parallel()
	f := readFigures(t)
	var workspace, policies []FileRecord
	for _, file := range f.Workspace.Files {
		content, err := hex.DecodeString(file.Content)
		if err != nil {
			t.Fatal(err)
		}
		workspace = append(workspace, FileRecord{file.Letter[0], Digest(content), file.Path})
	}
	for _, file := range f.Policies.Files {
		policies = append(policies, FileRecord{'f', Digest([]byte(file.Content)), file.Path})
	}
	got, err := HashRecords(KindWorkspace, workspace)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "workspace", got, f.Workspace.Hash)
	if got, err = HashRecords(KindPolicies, policies); err != nil {
		t.Fatal(err)
	}
	same(t, "policies", got, f.Policies.Digest)
}

// TestFiguresOfWAL builds the entry of the figures from its type.
func TestFiguresOfWAL(t *testing.T) {
	t.Parallel()
	f := readFigures(t)
	var entry WALEntry
	if err := Decode([]byte(f.WAL.JCS), &entry); err != nil {
		t.Fatal(err)
	}
	var data WorkflowStartedData
	if err := Decode(entry.Data, &data); err != nil {
		t.Fatal(err)
	}
	if data.InitialState != StateInit || entry.EntryType != WALWorkflowStarted {
		t.Errorf("got %+v, %+v", entry, data)
	}
	entry.Checksum = f.WAL.Checksum
	line, err := Canonical(entry)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "line", strings.Replace(string(line), `"checksum":"`+f.WAL.Checksum+`",`, "", 1), f.WAL.JCS)
}

// TestFiguresOfAudit recomputes what certifies the first event and begins the second.
func TestFiguresOfAudit(t *testing.T) {
	t.Parallel()
	f := readFigures(t)
	first := []byte(f.Audit.First)
	if err := CheckCanonical(first); err != nil {
		t.Fatal(err)
	}
	var event AuditEvent
	if err := Decode(first, &event); err != nil {
		t.Fatal(err)
	}
	if line, err := Canonical(event); err != nil || string(line) != f.Audit.First {
		t.Errorf("written again: %s, %v", line, err)
	}
	same(t, "chain_hash of the first", H(KindAuditChain, []byte(f.Audit.WorkflowID)), event.ChainHash)
	same(t, "chain_hash of the second", H(KindAuditChain, first), f.Audit.Second)
	tree, err := DecodeAny(first)
	if err != nil {
		t.Fatal(err)
	}
	without, ok := tree.(map[string]any)
	if !ok {
		t.Fatal("the event is no object")
	}
	delete(without, "event_id")
	delete(without, "signature")
	same(t, "event_id", strings.TrimPrefix(hOf(t, KindAuditEvent, without), digestPrefix), event.EventID)
}

func TestKindsAreSeparate(t *testing.T) {
	t.Parallel()
	kinds := []string{
		KindArtifact, KindWorkspace, KindPolicies, KindGovernance, KindConfig, KindEngine, KindPlanToken, KindFlightToken,
		KindIntent, KindApproval, KindApprovalCode, KindPayload, KindWAL, KindAuditEvent, KindAuditChain,
	}
	seen := map[string]string{Digest([]byte("x")): "no kind"}
	for _, kind := range kinds {
		got := H(kind, []byte("x"))
		if other, dup := seen[got]; dup {
			t.Errorf("%s hashes like %s", kind, other)
		}
		seen[got] = kind
		same(t, kind, got, fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("cabincrew/"+kind+"/v1\nx"))))
		h := NewHash(kind)
		if _, err := h.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		same(t, kind+" in parts", FormatDigest(h.Sum(nil)), got)
	}
	if _, err := HCanonical(KindConfig, 1.5); err == nil {
		t.Error("a fraction was hashed")
	}
}

func TestDigestForms(t *testing.T) {
	t.Parallel()
	hexDigits := strings.TrimPrefix(Digest(nil), digestPrefix)
	same(t, "of nothing", hexDigits, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	for s, want := range map[string][2]bool{ // with prefix only, with or without
		digestPrefix + hexDigits: {true, true}, hexDigits: {false, true}, "": {}, digestPrefix: {}, digestPrefix + hexDigits[1:]: {},
		digestPrefix + hexDigits + "0": {}, strings.ToUpper(hexDigits): {}, digestPrefix + strings.ToUpper(hexDigits): {},
		"SHA256:" + hexDigits: {}, "sha512:" + hexDigits: {}, digestPrefix + digestPrefix + hexDigits: {}, " " + hexDigits: {},
		hexDigits + "\n": {}, digestPrefix + "g" + hexDigits[1:]: {}, digestPrefix + " " + hexDigits[1:]: {},
	} {
		bare, err := ParseDigest(s)
		if (err == nil) != want[0] || err == nil && bare != hexDigits {
			t.Errorf("ParseDigest(%q) gave %q, %v", s, bare, err)
		}
		normal, err := NormalDigest(s)
		if (err == nil) != want[1] || err == nil && normal != digestPrefix+hexDigits {
			t.Errorf("NormalDigest(%q) gave %q, %v", s, normal, err)
		}
	}
}

func TestHashRecords(t *testing.T) {
	t.Parallel()
	d := Digest([]byte("x"))
	a, b := FileRecord{'f', d, "a"}, FileRecord{'x', d, "b/c"}
	forward, err := HashRecords(KindWorkspace, []FileRecord{a, b})
	if err != nil {
		t.Fatal(err)
	}
	backward, err := HashRecords(KindWorkspace, []FileRecord{b, a})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "order of the list", backward, forward)
	bare := strings.TrimPrefix(d, digestPrefix)
	same(t, "records", forward, H(KindWorkspace, []byte("f "+bare+" a\x00x "+bare+" b/c\x00")))
	for name, bad := range map[string][]FileRecord{
		"letter": {{'d', d, "a"}}, "digest": {{'f', bare, "a"}}, "no path": {{'f', d, ""}}, "NUL": {{'f', d, "a\x00b"}},
		"UTF-8": {{'f', d, "\xff"}}, "twice": {a, b, {'l', d, "a"}},
	} {
		if got, err := HashRecords(KindWorkspace, bad); err == nil {
			t.Errorf("%s: accepted as %s", name, got)
		}
	}
}
