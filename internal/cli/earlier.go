package cli

import (
	"context"
	"slices"
	"time"

	"golang.org/x/mod/semver"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/storage/file"
)

// earlier gives the signed take-offs of the flights in the state directories that this
// command knows, as far as they verify: what does not is no evidence of a take-off, and
// must not stop others. A key's window does not matter here: that it signed a take-off
// only ever keeps another one back.
func (s *session) earlier(signed *signatures) func(context.Context) ([]orchestrator.TakeOffFacts, error) {
	always := *signed
	always.trust.Keys = slices.Clone(signed.trust.Keys)
	for i := range always.trust.Keys {
		always.trust.Keys[i].NotBefore, always.trust.Keys[i].NotAfter = time.Time{}, time.Time{}
	}
	return func(ctx context.Context) ([]orchestrator.TakeOffFacts, error) {
		var out []orchestrator.TakeOffFacts
		stores := []*file.Store{s.store}
		if s.home != s.store {
			stores = append(stores, s.home)
		}
		for _, store := range stores {
			ids, err := store.List()
			if err != nil {
				return nil, err
			}
			for _, id := range ids {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				if facts := takeOffOf(store, id, &always); facts != nil {
					out = append(out, *facts)
				}
			}
		}
		return out, nil
	}
}

// takeOffOf reads the signed take-off of a flight; nil where there is none that verifies.
func takeOffOf(store *file.Store, id string, signed *signatures) *orchestrator.TakeOffFacts {
	dir, err := store.Flight(id)
	if err != nil {
		return nil
	}
	defer func() { _ = dir.Close() }() // only read
	bundle, err := dir.ReadFile(orchestrator.TakeOffBundle, limits.Approval)
	if err != nil {
		return nil
	}
	manifest, err := dir.ReadFile(orchestrator.ManifestFile, limits.ManifestFile)
	if err != nil {
		return nil
	}
	facts, err := signed.TakeOff(bundle, manifest)
	if err != nil {
		return nil
	}
	return facts
}

// atLeast compares versions of the program. A build that has none is older than all.
func atLeast(version, least string) bool {
	return semver.IsValid(canonicalVersion(version)) && semver.Compare(canonicalVersion(version), canonicalVersion(least)) >= 0
}

func canonicalVersion(v string) string {
	if v != "" && v[0] != 'v' {
		return "v" + v
	}
	return v
}
