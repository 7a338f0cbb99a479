package cli

import (
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

// flightDir is orchestrator.Dir under a name that can be embedded: that interface
// has a method Dir.
type flightDir interface{ orchestrator.Dir }

// pinned is a flight's directory that gives only what one manifest says. A person
// who answers is shown what the signature will be about, even if somebody
// exchanges files in between.
type pinned struct {
	flightDir
	digests map[string]string
}

// ReadFile reads a file and refuses one that is not the manifest's.
func (p pinned) ReadFile(path string, most int64) ([]byte, error) {
	data, err := p.flightDir.ReadFile(path, most)
	if err != nil || !plantoken.Covered(path) || plantoken.Later(path) {
		return data, err
	}
	if protocol.Digest(data) != p.digests[path] {
		return nil, protocol.Errorf(protocol.ExitIntegrity, "file_changed", "it is not what the manifest says").At(path)
	}
	return data, nil
}

// pin gives the flight as its manifest describes it, and the manifest's digest.
func pin(f *orchestrator.Flight) (*orchestrator.Flight, string, error) {
	raw, err := f.ReadFile(orchestrator.ManifestFile, limits.ManifestFile)
	if err != nil {
		return nil, "", err
	}
	m, err := plantoken.ParseManifest(raw)
	if err != nil {
		return nil, "", protocol.Errorf(protocol.ExitIntegrity, "manifest_malformed", "%w", err).At(orchestrator.ManifestFile)
	}
	p := pinned{flightDir: f.Dir, digests: make(map[string]string, len(m.Files))}
	for _, file := range m.Files {
		p.digests[file.Path] = file.Digest
	}
	shown := *f
	shown.Dir = p
	return &shown, protocol.Digest(raw), nil
}
