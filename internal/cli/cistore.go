package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/bundle"
)

// What the input store may be: where the flights of runs are kept. It is the caller's
// word and decides nothing but where bytes are looked for: which registry is the
// governance's, which run counts is the forge's list's, and whatever is found is
// verified. SPEC: docs/threats.md T15, T27, T36, T39.
const (
	storeActions = "actions"
	storeOCI     = "oci"
	storeBoth    = "both"
)

// storing takes over the inputs that say where flights are kept.
func (r *ciRun) storing() error {
	switch v := r.job.Input("store"); v {
	case "", storeActions, storeOCI, storeBoth:
	default:
		return usageError("ci_input", "store is %q", v).
			WithHint("it is %s, %s or %s; the place in a registry is storage.flights of the configuration", storeActions, storeOCI, storeBoth)
	}
	r.registryAuth = []byte(r.job.Input("registry-config"))
	if len(r.registryAuth) > limits.OCIDockerConfig {
		return usageError("ci_input", "registry-config has more than %d bytes", limits.OCIDockerConfig).WithHint("it is a Docker configuration with \"auths\"")
	}
	return nil
}

func (r *ciRun) inActions() bool { return r.job.Input("store") != storeOCI }

func (r *ciRun) inRegistry() bool {
	v := r.job.Input("store")
	return v == storeOCI || v == storeBoth
}

// placed refuses a registry that the governance does not name, before anything is done.
func (r *ciRun) placed() error {
	if !r.inRegistry() {
		return nil
	}
	_, err := r.keptAt("")
	return err
}

// keptAt gives the reference of a tag where the governance has flights kept.
func (r *ciRun) keptAt(tag string) (bundle.Ref, error) {
	if r.keptBy != r.flags.governanceRef || r.kept.Place == "" {
		var c config.Storage
		if err := r.withStore(func(s *session) (err error) {
			c, err = s.storageConfig()
			return err
		}); err != nil {
			return bundle.Ref{}, err
		}
		unset := usageError("ci_store", "store is %s, and storage.flights of the configuration that governs is %q, not a repository of a registry", r.job.Input("store"), c.Flights).
			WithHint("set storage: {flights: \"oci:REGISTRY/REPOSITORY\"} on the protected branch, or leave the input store out")
		if c.Flights == "" {
			return bundle.Ref{}, unset
		}
		ref, err := destination(nil, c)
		if err != nil {
			return ref, err
		}
		if ref.Kind != bundle.OCI {
			return ref, unset
		}
		r.kept, r.keptBy = ref, r.flags.governanceRef
	}
	ref := r.kept
	ref.Tag = tag
	if tag == "" {
		return ref, nil
	}
	return bundle.ParseRef(ref.String()) // ids are the forge's text
}

// keptTag names a part of the flight of an attempt of a run, which has one of each step
// where steps fly singly.
func (r *ciRun) keptTag(run, attempt, part string) string {
	part = r.artifactName(part)
	return "flight-" + r.env["GITHUB_REPOSITORY_ID"] + "-" + run + "-" + attempt + "-" + part
}

// keep puts a part that was written to be handed over into the registry too, if flights
// are kept there. What was done is not undone because it cannot be told there.
func (r *ciRun) keep(s *session, id, part, archive string) error {
	switch {
	case !r.inRegistry():
	case part == judgedPart, part == signedPart:
		return r.put(s, id, part, archive)
	case part == landedPart && r.fence != nil && len(r.fence.made) > 0: // it began here
		if r.within != "" { // an earlier merge, of which one run may fly several
			part += "." + filepath.Base(r.within)[:shortCommit]
		}
		if err := r.put(s, id, part, archive); err != nil {
			r.complain(err)
			r.report.Notes = append(r.report.Notes, "The flight could not be put into the registry after its take-off: "+err.Error())
		}
	}
	return nil
}

// shortCommit is how much of a commit tells merges of one run apart.
const shortCommit = 12

func (r *ciRun) put(s *session, id, part, archive string) error {
	ref, err := r.keptAt(r.keptTag(r.env["GITHUB_RUN_ID"], r.env["GITHUB_RUN_ATTEMPT"], part))
	if err != nil {
		return err
	}
	dir, err := s.find([]string{id})
	if err != nil {
		return err
	}
	m, err := metaOf(dir)
	if err != nil {
		return err
	}
	f, err := openRegular(archive)
	if err != nil {
		return unwritable(archive, err)
	}
	defer func() { _ = f.Close() }() // only read
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return unwritable(archive, err)
	}
	store, err := r.storage(ref, "")
	if err != nil {
		return err
	}
	got, err := store.Put(r.ctx, f, bundle.Packed{Digest: "sha256:" + hex.EncodeToString(sum.Sum(nil)), Size: size}, m)
	if err != nil {
		return err
	}
	r.text(visible(ref.String()) + " is " + visible(got.String()) + "\n")
	return nil
}

// artifactsOf lists what a run uploaded, where flights are kept there.
func (r *ciRun) artifactsOf(ctx context.Context, run github.Run) ([]github.Artifact, error) {
	if !r.inActions() {
		return nil, nil
	}
	return r.forge.Artifacts(ctx, run.ID)
}

// sealedPart gives the archive of a part of what a run sealed, from where flights are
// kept; "" where it is nowhere.
func (r *ciRun) sealedPart(ctx context.Context, run github.Run, artifacts []github.Artifact, name, part, top string) (at string, err error) {
	if r.inActions() {
		at, err = r.fetchPart(artifacts, r.artifactName(name), part, top)
	}
	gone := err == nil && at == "" || errors.Is(err, protocol.Code("flight_missing")) || errors.Is(err, protocol.Code("forge_gone"))
	if !gone || !r.inRegistry() {
		return at, err
	}
	kept, other := r.fetchKept(ctx, run, part, top)
	if other != nil || kept != "" {
		return kept, other
	}
	return "", err
}

// mostAttempts is how many attempts of a run are looked at. GitHub allows 50.
const mostAttempts = 50

// fetchKept gets a part of what a run sealed from the registry: that of the newest
// attempt which has it, since jobs that went well are not run again. Whether an older
// attempt's counts is for isOfChange to say.
func (r *ciRun) fetchKept(ctx context.Context, run github.Run, part, top string) (string, error) {
	newest, err := strconv.Atoi(run.Attempt)
	if err != nil || newest < 1 || newest > mostAttempts {
		return "", protocol.Errorf(protocol.ExitUnreachable, "flight_missing", "run %s is at attempt %q, and only up to %d are looked at", run.ID, run.Attempt, mostAttempts).
			WithHint("plan the change anew")
	}
	for n := newest; n > 0; n-- {
		ref, err := r.keptAt(r.keptTag(run.ID, strconv.Itoa(n), part))
		if err != nil {
			return "", err
		}
		at, found, err := r.get(ctx, ref, top)
		if found || !errors.Is(err, protocol.Code("storage_missing")) {
			return at, err
		}
	}
	return "", nil
}

// get fetches what a tag names. found says that the tag names something.
func (r *ciRun) get(ctx context.Context, ref bundle.Ref, top string) (at string, found bool, err error) {
	store, err := r.storage(ref, "")
	if err != nil {
		return "", false, err
	}
	f, err := os.CreateTemp(top, "kept-*"+bundle.Suffix)
	if err != nil {
		return "", false, unwritable(top, err)
	}
	got, err := store.Get(ctx, ref, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", got.Digest != "", err
	}
	_, _ = fmt.Fprintf(r.err, "%s is %s\n", visible(ref.String()), visible(got.String())) // a tag moves, what was read does not
	return f.Name(), true, nil
}

// signedPart gives what the signing job added to a judged flight; "" where one job did
// both, and what was judged holds the signature.
func (r *ciRun) signedPart(run github.Run, artifacts []github.Artifact, judged, top string) (at string, err error) {
	if r.inRegistry() {
		whole := false
		err := r.withStore(func(s *session) error {
			u, err := s.unpack(judged, "")
			if err == nil {
				_, e := os.Lstat(filepath.Join(u.dir, orchestrator.PlanBundle))
				whole = e == nil
			}
			return err
		})
		if err != nil || whole {
			return "", err
		}
	}
	return r.sealedPart(r.ctx, run, artifacts, artifactSigned, signedPart, top)
}

// nowhere is the error for a plan that is in none of the places for it.
func (r *ciRun) nowhere(run github.Run) error {
	switch {
	case !r.inRegistry():
		return missingFlight(run, "has no artifact "+r.artifactName(artifactJudged))
	case !r.inActions():
		return missingFlight(run, "is not in "+r.kept.String())
	}
	return missingFlight(run, "has no artifact "+r.artifactName(artifactJudged)+" and is not in "+r.kept.String())
}
