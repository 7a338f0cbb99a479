package cli

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/mod/semver"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
)

// earlier gives the signed take-offs of this state directory's flights, as far as they
// verify: what does not is no evidence of a take-off, and must not stop others.
func (s *session) earlier(signed *signatures) func(context.Context) ([]orchestrator.TakeOffFacts, error) {
	return func(ctx context.Context) ([]orchestrator.TakeOffFacts, error) {
		ids, err := s.store.List()
		if err != nil {
			return nil, err
		}
		var out []orchestrator.TakeOffFacts
		for _, id := range ids {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			facts, err := s.takeOffOf(id, signed)
			if err != nil {
				return nil, err
			}
			if facts != nil {
				out = append(out, *facts)
			}
		}
		return out, nil
	}
}

// takeOffOf reads the signed take-off of a flight; nil where there is none that verifies.
func (s *session) takeOffOf(id string, signed *signatures) (_ *orchestrator.TakeOffFacts, err error) {
	dir, err := s.store.Flight(id)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	bundle, err := dir.ReadFile(orchestrator.TakeOffBundle, limits.Approval)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // most flights have none
	}
	if err != nil {
		return nil, err
	}
	manifest, err := dir.ReadFile(orchestrator.ManifestFile, limits.ManifestFile)
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // as above: it says nothing
	}
	facts, err := signed.TakeOff(bundle, manifest)
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // as above
	}
	return facts, nil
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
