package plantoken_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// vectors were made by an implementation that shares nothing with this one.
type vectors struct {
	Artifacts []struct {
		Name, Role string
		Artifact   string  `json:"artifact.json"`
		BodyHex    *string `json:"body_hex"`
		Hash       string
	}
	Workspace struct {
		Files []struct {
			Letter     string
			ContentHex string `json:"content_hex"`
			Path       string
		}
		WorkspaceHash string `json:"workspace_hash"`
	}
	Policies struct {
		Files        []struct{ Content, Path string }
		PolicyDigest string `json:"policy_digest"`
	}
	Governance struct {
		ContentJCS     string `json:"content_jcs"`
		GovernanceHash string `json:"governance_hash"`
	}
	StepConfig struct {
		ContentJCS   string `json:"content_jcs"`
		ConfigDigest string `json:"config_digest"`
	} `json:"step_config"`
	EngineOfTwoFiles struct {
		Digests      []string
		EngineDigest string `json:"engine_digest"`
	} `json:"engine_of_two_files"`
	Token struct {
		PreimageJCS string `json:"preimage_jcs"`
		Token       string
	}
	Flight struct {
		Pairs              [][]string
		FlightToken        string     `json:"flight_token"`
		OneStepPairs       [][]string `json:"one_step_pairs"`
		OneStepFlightToken string     `json:"one_step_flight_token"`
	}
	Intent struct {
		Evidence []string
		Intent   string
	}
	Approval struct {
		Of         []string
		ApprovalID string `json:"approval_id"`
		Nonce      string
		Code       string
	}
	Payload struct {
		ObjectJCS string `json:"object_jcs"`
		Hash      string
	}
	Manifest struct {
		JCS    string
		Digest string
	}
}

func load(t *testing.T) vectors {
	t.Helper()
	data, err := os.ReadFile("../testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func equal(t *testing.T, what, got, want string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if got != want || want == "" {
		t.Errorf("%s = %s, want %s", what, got, want)
	}
}

func TestVectorsOfFiles(t *testing.T) {
	t.Parallel()
	v := load(t)
	for _, a := range v.Artifacts {
		body := ""
		if a.BodyHex != nil {
			raw, err := hex.DecodeString(*a.BodyHex)
			if err != nil {
				t.Fatal(err)
			}
			body = protocol.Digest(raw)
		}
		got, err := plantoken.ArtifactHash(a.Name, a.Role, protocol.Digest([]byte(a.Artifact)), body)
		equal(t, "artifact "+a.Name, got, a.Hash, err)
	}
	records := make([]protocol.FileRecord, 0, len(v.Workspace.Files))
	for _, f := range v.Workspace.Files {
		raw, err := hex.DecodeString(f.ContentHex)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, protocol.FileRecord{Letter: f.Letter[0], Digest: protocol.Digest(raw), Path: f.Path})
	}
	got, err := plantoken.WorkspaceHash(records)
	equal(t, "workspace", got, v.Workspace.WorkspaceHash, err)

	var gov struct {
		PolicyDigest string                      `json:"policy_digest"`
		Models       []plantoken.GovernanceModel `json:"models"`
		Config       map[string]any              `json:"config"`
	}
	if err := json.Unmarshal([]byte(v.Governance.ContentJCS), &gov); err != nil {
		t.Fatal(err)
	}
	got, err = plantoken.GovernanceHash(gov.PolicyDigest, gov.Models, gov.Config)
	equal(t, "governance", got, v.Governance.GovernanceHash, err)

	var cfg map[string]any
	if err := json.Unmarshal([]byte(v.StepConfig.ContentJCS), &cfg); err != nil {
		t.Fatal(err)
	}
	got, err = plantoken.ConfigDigest(cfg)
	equal(t, "config", got, v.StepConfig.ConfigDigest, err)

	got, err = plantoken.EngineDigest(v.EngineOfTwoFiles.Digests...)
	equal(t, "engine", got, v.EngineOfTwoFiles.EngineDigest, err)
}

func TestVectorsOfTokens(t *testing.T) {
	t.Parallel()
	v := load(t)
	var p plantoken.Preimage
	if err := protocol.Decode([]byte(v.Token.PreimageJCS), &p); err != nil {
		t.Fatal(err)
	}
	got, err := p.Token()
	equal(t, "token", got, v.Token.Token, err)

	roles := map[string]string{}
	for _, a := range v.Artifacts {
		roles[a.Name] = a.Role
	}
	got, err = p.Intent(roles)
	equal(t, "intent", got, v.Intent.Intent, err)

	pairs := func(list [][]string) (steps []plantoken.StepToken) {
		for _, p := range list {
			steps = append(steps, plantoken.StepToken{StepID: p[0], Token: p[1]})
		}
		return steps
	}
	got, err = plantoken.FlightToken(pairs(v.Flight.Pairs))
	equal(t, "flight token", got, v.Flight.FlightToken, err)
	got, err = plantoken.FlightToken(pairs(v.Flight.OneStepPairs))
	equal(t, "flight token of one step", got, v.Flight.OneStepFlightToken, err)

	of := v.Approval.Of
	got, err = plantoken.ApprovalID(of[0], of[1], of[2], of[3], of[4])
	equal(t, "approval id", got, v.Approval.ApprovalID, err)
	got, err = plantoken.ApprovalCode(v.Flight.FlightToken, v.Approval.Nonce)
	equal(t, "approval code", got, v.Approval.Code, err)

	var pay plantoken.Payload
	if err := protocol.Decode([]byte(v.Payload.ObjectJCS), &pay); err != nil {
		t.Fatal(err)
	}
	got, err = pay.Hash()
	equal(t, "payload", got, v.Payload.Hash, err)
}

func TestVectorOfManifest(t *testing.T) {
	t.Parallel()
	v := load(t)
	// The vector's steps and flight token are of two different examples, so it is
	// a figure for the canonical form and the digest, not for the cross-check.
	var m plantoken.Manifest
	if err := protocol.Decode([]byte(v.Manifest.JCS), &m); err != nil {
		t.Fatal(err)
	}
	data, err := protocol.Canonical(m)
	equal(t, "manifest", string(data), v.Manifest.JCS, err)
	equal(t, "manifest digest", protocol.Digest(data), v.Manifest.Digest, nil)
}
