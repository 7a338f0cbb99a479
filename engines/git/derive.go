package git

import (
	"bytes"
	"os"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// DeriveKeys are the keys that a sealing side has to read state with. The state of
// this engine is never encrypted, so it needs none.
type DeriveKeys struct{}

// Derive computes the evidence anew from the bytes of the state artifacts below
// artifacts, and compares it byte for byte with the evidence there. It needs no
// repository, no network and no other program, and the state is never opaque.
// SPEC: docs/protocol.md 2.
func Derive(artifacts *os.Root, with map[string]any, _ DeriveKeys) (opaque bool, err error) {
	s, err := readSettings(with)
	if err != nil {
		return false, err
	}
	_, err = s.planned(artifacts)
	return false, err
}

// planned reads the planned artifacts and makes sure that the evidence says what
// the state holds.
func (s *settings) planned(artifacts *os.Root) (*proven, error) {
	b, err := readObjects(artifacts)
	if err != nil {
		return nil, err
	}
	base, err := readBase(artifacts)
	if err != nil {
		return nil, err
	}
	p, err := s.prove(b, base)
	if err != nil {
		return nil, kit.InvalidPlan("the planned objects are not those of the configured commit: %w", err)
	}
	want, err := s.evidence(p)
	if err != nil {
		return nil, kit.InvalidPlan("the planned objects cannot be described: %w", err)
	}
	raw, err := protocol.Canonical(want)
	if err != nil {
		return nil, err
	}
	got, err := readRaw(artifacts, commitName+"/artifact.json")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(raw, got) {
		return nil, protocol.Errorf(protocol.ExitIntegrity, "evidence_differs",
			"the evidence says something else than the objects that would be pushed (commit %s)", p.bundle.commit).
			At(commitName).WithHint("the artifact was not made by this engine or was changed; plan again")
	}
	return p, nil
}

func readObjects(artifacts *os.Root) (*bundle, error) {
	a, body, err := kit.ReadArtifact(artifacts, objectsName, limits.GitBundleBytes+limits.GitBundleHeaderBytes)
	if err != nil {
		return nil, err
	}
	if a.ArtifactType != typeBundle || a.BodyFile == "" {
		return nil, kit.InvalidPlan("the artifact %s is not a bundle with a body file", objectsName)
	}
	b, err := decodeBundle(body)
	if err != nil {
		return nil, kit.InvalidPlan("the artifact %s cannot be read: %w", objectsName, err)
	}
	return b, nil
}

func readBase(artifacts *os.Root) (*objects, error) {
	a, body, err := kit.ReadArtifact(artifacts, baseName, limits.GitBundleBytes)
	if err != nil {
		return nil, err
	}
	if a.ArtifactType != typePack || a.BodyFile == "" {
		return nil, kit.InvalidPlan("the artifact %s is not a pack with a body file", baseName)
	}
	base, err := decodePack(body)
	if err != nil {
		return nil, kit.InvalidPlan("the artifact %s cannot be read: %w", baseName, err)
	}
	return base, nil
}

// readRaw reads a file of the plan as it is.
func readRaw(artifacts *os.Root, name string) ([]byte, error) {
	info, err := artifacts.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return nil, kit.InvalidPlan("the plan has no file %s", name)
	}
	f, err := artifacts.Open(name)
	if err != nil {
		return nil, kit.InvalidPlan("the plan's file %s cannot be opened: %w", name, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := kit.ReadBounded(f, limits.ArtifactJSON)
	if err != nil {
		return nil, kit.InvalidPlan("%s cannot be read: %w", name, err)
	}
	return data, nil
}
