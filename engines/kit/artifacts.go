package kit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

const (
	descriptionFile = "artifact.json"
	bodyFile        = "body.data"
)

// Artifact writes an artifact and declares it in the receipt. With body == nil it
// has no body file: then d.Body holds its content. body writes the body file.
func (r *Run) Artifact(name, role string, d protocol.Artifact, body func(w io.Writer) error) (digest string, err error) {
	root, err := os.OpenRoot(r.Artifacts)
	if err != nil {
		return "", fmt.Errorf("opening the artifacts directory: %w", err)
	}
	defer func() { _ = root.Close() }() // files written through it are closed one by one
	if err := root.Mkdir(name, 0o755); err != nil {
		return "", fmt.Errorf("writing artifact %s: %w", name, err)
	}
	if body != nil {
		d.BodyFile = bodyFile
		if digest, err = writeBody(root, name, body); err != nil {
			return "", fmt.Errorf("writing artifact %s: %w", name, err)
		}
	}
	raw, err := protocol.Canonical(d)
	if err != nil {
		return "", fmt.Errorf("writing artifact %s: %w", name, err)
	}
	if len(raw) > limits.ArtifactJSON {
		return "", protocol.Errorf(protocol.ExitUsage, "artifact_too_large", "the description of artifact %s has %d bytes, the limit is %d", name, len(raw), limits.ArtifactJSON).
			WithHint("split the step, or narrow its inputs")
	}
	if err := root.WriteFile(name+"/"+descriptionFile, raw, 0o644); err != nil {
		return "", fmt.Errorf("writing artifact %s: %w", name, err)
	}
	if body == nil {
		digest = protocol.Digest(raw)
	}
	r.declared = append(r.declared, protocol.EngineArtifact{Name: name, Role: role, Path: name, Hash: digest})
	return digest, nil
}

func writeBody(root *os.Root, name string, body func(io.Writer) error) (string, error) {
	f, err := root.OpenFile(name+"/"+bodyFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	err = body(io.MultiWriter(f, h))
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return protocol.FormatDigest(h.Sum(nil)), nil
}

// Planned reads a planned artifact back in take-off: its description, and its body
// of at most that many bytes where it has one.
func (r *Run) Planned(name string, most int64) (protocol.Artifact, []byte, error) {
	root, err := os.OpenRoot(r.Artifacts)
	if err != nil {
		return protocol.Artifact{}, nil, InvalidPlan("the artifacts directory cannot be opened: %w", err)
	}
	defer func() { _ = root.Close() }() // it was only read
	return ReadArtifact(root, name, most)
}

// PlannedBody reads a planned artifact of a type as Planned does; one without a body
// file is refused.
func (r *Run) PlannedBody(name, kind string, most int64) (protocol.Artifact, []byte, error) {
	a, body, err := r.Planned(name, most)
	if err == nil && (a.ArtifactType != kind || a.BodyFile == "") {
		err = InvalidPlan("the planned %s are not a %s with a body file", name, kind)
	}
	return a, body, err
}

// ReadArtifact reads one artifact below a directory of artifacts.
func ReadArtifact(root *os.Root, name string, most int64) (a protocol.Artifact, body []byte, err error) {
	if info, err := root.Lstat(name); err != nil || !info.IsDir() {
		return a, nil, InvalidPlan("the plan has no artifact %s", name)
	}
	raw, err := readFile(root, name+"/"+descriptionFile, limits.ArtifactJSON)
	if err != nil {
		return a, nil, err
	}
	if err := protocol.Decode(raw, &a); err != nil {
		return a, nil, InvalidPlan("artifact %s cannot be read: %w", name, err)
	}
	if a.BodyFile == "" {
		return a, nil, nil
	}
	if a.Body != nil {
		return a, nil, InvalidPlan("artifact %s has a body beside its body file", name)
	}
	if a.BodyFile != bodyFile {
		return a, nil, InvalidPlan("the body file of artifact %s is not %s", name, bodyFile)
	}
	body, err = readFile(root, name+"/"+bodyFile, most)
	return a, body, err
}

func readFile(root *os.Root, name string, most int64) ([]byte, error) {
	info, err := root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return nil, InvalidPlan("the plan has no file %s", name)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, InvalidPlan("the plan's file %s cannot be opened: %w", name, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := ReadBounded(f, most)
	if err != nil {
		return nil, InvalidPlan("%s cannot be read: %w", name, err)
	}
	return data, nil
}

// InvalidPlan says that a planned artifact is not one that this engine made.
func InvalidPlan(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitIntegrity, "engine_plan_invalid", format, args...).
		WithHint("the artifact was not made by this engine or was changed; plan again")
}
