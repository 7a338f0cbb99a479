package orchestrator

import (
	"sync"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol/plantoken"
)

// early is what needs no artifact, and so is worked out while they are read. Each is
// done once and from bytes alone; what comes of it is told at its place among the checks.
type early struct {
	manifest func() parsed
	plan     func() (*PlanFacts, error)
}

// parsed is a manifest as it lies on disk.
type parsed struct {
	raw      []byte
	manifest *plantoken.Manifest
	err      error
}

// ahead begins with what can be done early. The function that it gives waits until
// nothing of it is under way.
func (v *verified) ahead(o *Orchestrator, f *Flight) (wait func()) {
	v.early.manifest = sync.OnceValue(f.parseManifest)
	v.early.plan = sync.OnceValues(func() (*PlanFacts, error) {
		m := v.early.manifest()
		if m.err != nil {
			return nil, m.err
		}
		return o.planSaid(f, m.raw)
	})
	var running sync.WaitGroup
	running.Go(func() {
		v.early.manifest()
		if v.wanted(o, f) {
			_, _ = v.early.plan() // told by its check
		}
	})
	return running.Wait
}

func (f *Flight) parseManifest() parsed {
	raw, err := f.ReadFile(ManifestFile, limits.ManifestFile)
	if err != nil {
		return parsed{err: integrity("flight_unreadable", "%w", err).At(ManifestFile)}
	}
	m, err := plantoken.ParseManifest(raw)
	if err != nil {
		return parsed{err: integrity("manifest_malformed", "%w", err).At(ManifestFile)}
	}
	return parsed{raw: raw, manifest: m}
}

// planSaid gives what the flight's bundle says of a manifest, once its signature holds.
func (o *Orchestrator) planSaid(f *Flight, manifest []byte) (*PlanFacts, error) {
	raw, err := f.ReadFile(PlanBundle, limits.Approval)
	if err != nil {
		return nil, integrity("plan_unsigned", "%w", err).At(PlanBundle).WithHint("sign the plan with cabincrew sign")
	}
	return o.Signatures.Plan(raw, manifest)
}
