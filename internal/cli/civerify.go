package cli

import "cmp"

// sealJob seals and signs in one job what another one planned.
func (r *ciRun) sealJob() error {
	r.signs = true
	return r.judgeJob()
}

// verifyJob verifies a flight and does nothing else: the one that flight-path leads to,
// or the newest of the change or of the merge that the run is about.
func (r *ciRun) verifyJob() error {
	id, err := r.toVerify()
	if err != nil || id == "" {
		return err
	}
	return r.verifyConfigured(r.ctx, []string{id})
}

func (r *ciRun) toVerify() (id string, err error) {
	if r.job.Input("flight-path") != "" {
		if err := r.derive(); err != nil {
			return "", err
		}
		at, err := r.given(judgedPart)
		if err == nil {
			id, err = r.bring(at)
		}
		return id, err
	}
	if r.takesOff() {
		if err := r.api(); err != nil {
			return "", err
		}
		commit := cmp.Or(r.event.MergeCommit, r.event.After, r.env["GITHUB_SHA"])
		found, err := r.mergedChange(commit)
		if err != nil || !found {
			return "", err
		}
		if id, err = r.fetchMerged(commit); err != nil {
			return "", err
		}
		return id, r.newest(id)
	}
	if err := r.derive(); err != nil {
		return "", err
	}
	if r.change.Number == 0 {
		return "", usageError("ci_event", "the event %s is about no change, so there is no flight of it", r.event.Name).WithHint("name a directory with a flight as flight-path")
	}
	if id, err = r.fetchFlight(); err != nil {
		return "", err
	}
	return id, r.newest(id)
}

// newest compares a flight that was fetched with what it was fetched for.
func (r *ciRun) newest(id string) error {
	return r.withStore(func(s *session) error {
		f, _, err := s.read([]string{id})
		if err == nil {
			err = r.isOfChange(f)
		}
		if err == nil {
			err = r.newestShown(r.ctx, f)
		}
		if err != nil {
			return err
		}
		return r.tell(f)
	})
}
