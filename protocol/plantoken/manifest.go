package plantoken

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/cabincrew/action/protocol"
)

// Manifest is plan-manifest.json: what gets signed. SPEC: docs/protocol.md 3.
type Manifest struct {
	Version     string         `json:"version"`
	WorkflowID  string         `json:"workflow_id"`
	FlightToken string         `json:"flight_token"`
	Steps       []ManifestStep `json:"steps"`
	Files       []ManifestFile `json:"files"`
}

// ManifestStep is one step in plan order.
type ManifestStep struct {
	StepID  string  `json:"step_id"`
	Token   string  `json:"token"`
	Context Context `json:"context"`
}

// ManifestFile is one file of the flight. Size is in bytes.
type ManifestFile struct {
	Path   string `json:"path"`
	Mode   string `json:"mode"` // "0644" or "0755"
	Size   int64  `json:"size"`
	Digest string `json:"digest"`
}

// Covered says whether the manifest of a flight covers the file at this path of
// the flight's directory, as it is when the manifest is written.
func Covered(p string) bool {
	return strings.HasPrefix(p, "steps/") ||
		strings.HasPrefix(p, "approvals/") && strings.HasSuffix(p, ".request.json")
}

// Later says whether take-off writes this file under steps/, after the manifest.
func Later(p string) bool {
	parts := strings.Split(p, "/")
	return len(parts) == 3 && parts[0] == "steps" && (parts[2] == "takeoff-receipt.json" || parts[2] == "takeoff.log")
}

// Bytes gives the canonical bytes of a checked manifest, its files sorted.
func (m Manifest) Bytes() ([]byte, error) {
	m.Files = slices.SortedFunc(slices.Values(m.Files), func(a, b ManifestFile) int { return cmp.Compare(a.Path, b.Path) })
	if err := m.check(); err != nil {
		return nil, err
	}
	return protocol.Canonical(m)
}

// ParseManifest reads plan-manifest.json strictly: canonical bytes, sorted
// files, tokens that give the flight token.
func ParseManifest(data []byte) (*Manifest, error) {
	var m Manifest
	exact, err := protocol.DecodeExact(data, &m)
	if err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	if exact {
		return &m, nil
	}
	again, err := protocol.Canonical(m)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, data) {
		return nil, fmt.Errorf("the manifest is not in canonical form")
	}
	return &m, nil
}

func (m Manifest) check() error {
	if m.Version != Version {
		return fmt.Errorf("manifest version %q is not known (this program reads %q)", m.Version, Version)
	}
	if !protocol.ValidWorkflowID(m.WorkflowID) {
		return fmt.Errorf("workflow_id %q is not allowed", m.WorkflowID)
	}
	pairs := make([]StepToken, 0, len(m.Steps))
	seen := map[string]bool{}
	for _, s := range m.Steps {
		if !protocol.ValidStepID(s.StepID) || seen[s.StepID] {
			return fmt.Errorf("step id %q is not allowed or there twice", s.StepID)
		}
		if s.Context.StepID != s.StepID {
			return fmt.Errorf("step_id is %q, but its context.step_id is %q", s.StepID, s.Context.StepID)
		}
		seen[s.StepID] = true
		pairs = append(pairs, StepToken{s.StepID, s.Token})
	}
	flight, err := FlightToken(pairs)
	if err != nil {
		return err
	}
	if flight != m.FlightToken {
		return fmt.Errorf("flight_token is %s, the steps give %s", m.FlightToken, flight)
	}
	for i, f := range m.Files {
		if err := f.check(); err != nil {
			return err
		}
		if i > 0 && m.Files[i-1].Path >= f.Path {
			return fmt.Errorf("files are not sorted by path, or %q is there twice", f.Path)
		}
	}
	return nil
}

func (f ManifestFile) check() error {
	if !Covered(f.Path) || Later(f.Path) || path.Clean(f.Path) != f.Path || strings.ContainsAny(f.Path, "\x00\\\n") {
		return fmt.Errorf("file %q does not belong into a manifest", f.Path)
	}
	if f.Mode != "0644" && f.Mode != "0755" {
		return fmt.Errorf("file %q: mode %q is neither 0644 nor 0755", f.Path, f.Mode)
	}
	if f.Size < 0 {
		return fmt.Errorf("file %q: negative size", f.Path)
	}
	if _, err := protocol.ParseDigest(f.Digest); err != nil {
		return fmt.Errorf("file %q: %w", f.Path, err)
	}
	return nil
}

// Step finds a step of the manifest.
func (m *Manifest) Step(id string) (ManifestStep, bool) {
	for _, s := range m.Steps {
		if s.StepID == id {
			return s, true
		}
	}
	return ManifestStep{}, false
}
