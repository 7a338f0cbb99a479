package cli

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/bundle"
)

// Names of what one job hands to the next.
const (
	plannedPart  = "planned"  // what engines planned; hostile
	judgedPart   = "judged"   // the sealed flight
	decisionPart = "decision" // its manifest and decisions only
	signedPart   = "signed"   // the same, signed
	landedPart   = "landed"   // the flight after its take-off

	flightArchive = "flight" + bundle.Suffix
)

// planJob runs the engines. Its token can do nothing but read, and what it says of the
// change is only a claim.
func (r *ciRun) planJob() error {
	if err := r.mayPlan(); err != nil {
		return err
	}
	r.repo.Private = r.event.Private // what is handed on stays in this repository
	branch := strings.TrimPrefix(cmp.Or(r.event.BaseRef, r.event.DefaultBranch), branchTop)
	r.flags.governanceRef = "refs/remotes/origin/" + branch
	r.onForge = func(s *session) error {
		s.setup.Source.HeadCommit = cmp.Or(r.event.HeadSHA, s.setup.Source.HeadCommit) // of a merge group, the group's
		return nil
	}
	id, err := r.fly(func(s *session, f *orchestrator.Flight) error { return s.plan(r.ctx, f) })
	if err != nil {
		return err
	}
	return r.export(id, plannedPart)
}

// fly begins a flight and does something with it; nothing is printed but progress.
func (r *ciRun) fly(do func(*session, *orchestrator.Flight) error) (id string, err error) {
	err = r.with(r.ctx, func(s *session) error {
		if err := s.lockWorkspace(); err != nil {
			return err
		}
		f, err := s.begin()
		if err != nil {
			return err
		}
		id = f.ID()
		return errors.Join(do(s, f), r.tell(f))
	})
	return id, err
}

// export writes the archive of a flight to what is handed on.
func (r *ciRun) export(id, part string) error {
	dir, err := r.handOver(part)
	if err != nil {
		return err
	}
	at := filepath.Join(dir, flightArchive)
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unwritable(at, err)
	}
	return r.withStore(func(s *session) error {
		c, err := s.storageConfig()
		if err != nil {
			return err
		}
		// Who reads a registry is not who reads the repository.
		l := leaving{encryptTo: c.EncryptTo, plainState: len(c.EncryptTo) == 0 && r.repo.Private && !r.inRegistry()}
		if err := s.exportFlight([]string{id}, at, l); err != nil {
			return err
		}
		return r.keep(s, id, part, at)
	})
}

// bring takes in an archive that another job handed on, as hostile bytes.
func (r *ciRun) bring(at string) (id string, err error) { return r.join(at, "") }

// given gives the path of an archive that the input flight-path leads to.
func (r *ciRun) given(part string) (string, error) {
	top := r.job.Input("flight-path")
	if top == "" {
		return "", usageError("ci_input", "flight-path names no directory with what was planned").WithHint("download the artifact of the job before, and name its directory")
	}
	if !filepath.IsAbs(top) {
		top = filepath.Join(r.env["GITHUB_WORKSPACE"], top)
	}
	for _, at := range []string{filepath.Join(top, flightArchive), filepath.Join(top, part, flightArchive)} {
		if info, err := os.Lstat(at); err == nil && info.Mode().IsRegular() {
			return at, nil
		}
	}
	return "", usageError("ci_input", "there is no %s in flight-path", flightArchive).At(top).WithHint("download the artifact of the job before into it")
}

// judgeJob seals what another job planned and asks the policies.
func (r *ciRun) judgeJob() error {
	if err := r.maySeal(); err != nil {
		return err
	}
	at, err := r.given(plannedPart)
	if err != nil {
		return err
	}
	if err := r.deriveSealed(); err != nil {
		return err
	}
	if err := r.open(); err != nil {
		return err
	}
	if err := r.begin(r.planName(), cmp.Or(r.headCommit(), r.env["GITHUB_SHA"])); err != nil {
		return err
	}
	return r.watch(r.concluded(r.judge(at)))
}

// maySeal refuses events that nothing is sealed for. Under workflow_run, which has the
// rights of the base, it is what a run planned that could not seal it itself.
// SPEC: docs/threats.md T14.
func (r *ciRun) maySeal() error {
	if r.event.Name == "workflow_run" && r.event.RunEvent == "pull_request" {
		return nil
	}
	return r.mayPlan()
}

// deriveSealed is derive for what is to be sealed.
func (r *ciRun) deriveSealed() error {
	if err := r.derive(); err != nil || r.event.Name != "workflow_run" {
		return err
	}
	return r.ofPlan()
}

func (r *ciRun) judge(at string) error {
	id, err := r.bring(at)
	if err != nil {
		return err
	}
	r.judging, r.onForge = true, r.runIs
	err = r.with(r.ctx, func(s *session) error {
		if err := s.lockWorkspace(); err != nil {
			return err
		}
		f, err := s.write([]string{id})
		if err != nil {
			return err
		}
		if err := onlyPlanned(f); err != nil {
			return err
		}
		s.crew.NoSign, r.unsigned = !r.signs, !r.signs && s.crew.Signatures.Signs()
		err = s.crew.Seal(r.ctx, f, s.setup)
		if err == nil {
			err = r.carriesOver(s, f, s.crew.Outcome(r.ctx, f, s.setup))
		}
		return errors.Join(err, r.describe(s, f, err))
	})
	// What was denied is handed on too: a plan is not passed by because of how it ended.
	handed := r.export(id, judgedPart)
	if err != nil && protocol.ExitCode(err) != protocol.ExitWaiting {
		return errors.Join(err, handed)
	}
	return errors.Join(err, handed, r.exportPart(id, decisionPart))
}

// onlyPlanned refuses a flight from the planning side that says more of itself than that
// it was planned: sealing goes on after what was done, and the side that plans must not
// say that it was judged. SPEC: docs/threats.md T37.
func onlyPlanned(f *orchestrator.Flight) error {
	st := f.Status
	if st.State == protocol.StatePlanGenerated && st.FlightToken == "" && st.Digests[orchestrator.ManifestFile] == "" && st.Digests[orchestrator.PlanBundle] == "" &&
		len(st.Requested)+len(st.Received)+len(st.Evaluations)+len(st.Began) == 0 {
		return nil
	}
	return protocol.Errorf(protocol.ExitIntegrity, "plan_foreign", "the planning side handed over a flight that is %s, not one that is only planned", st.State).
		WithHint("look who wrote what the job that plans uploaded")
}

// open refuses to plan, seal or sign what was merged, what takes off was planned before,
// and a ref that is no change.
func (r *ciRun) open() error {
	if r.change.Merged {
		return usageError("change_closed", "change %d is merged: its plan was made before", r.change.Number)
	}
	return r.ofBranch(r.repo.DefaultBranch)
}

// decided says whether a file of a flight belongs to what the signing job sees: what
// was decided, and nothing that an engine wrote.
func decided(name string) bool {
	part := strings.Split(name, "/")
	switch len(part) {
	case 1: // manifest, WAL, audit log
		return true
	case 2:
		return part[0] == "approvals"
	case 3:
		return part[0] == "steps" && (part[2] == "plan-token.json" || part[2] == "preflight.json")
	}
	return false
}

// exportPart hands on the manifest and the decisions only.
func (r *ciRun) exportPart(id, part string) error {
	return r.withStore(func(s *session) error {
		dir, err := s.find([]string{id})
		if err != nil {
			return err
		}
		top, err := s.temp(part + "-")
		if err != nil {
			return err
		}
		if err := copyPart(dir.Root(), top, decided); err != nil {
			return err
		}
		at, err := r.pack(s, top, part)
		if err != nil {
			return err
		}
		return r.keep(s, id, part, at)
	})
}

// copyPart copies the files of a flight that belong to a part of it.
func copyPart(from *os.Root, to string, belongs func(string) bool) error {
	out, err := os.OpenRoot(to)
	if err != nil {
		return unwritable(to, err)
	}
	defer func() { _ = out.Close() }() // every file in it is closed
	return fs.WalkDir(from.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() || !belongs(name):
			return nil
		}
		info, err := from.Lstat(name)
		if err != nil || !info.Mode().IsRegular() || info.Size() > limits.ManifestFile {
			return protocol.Errorf(protocol.ExitIntegrity, "flight_unreadable", "it is no regular file of at most %d bytes", limits.ManifestFile).At(name)
		}
		data, err := from.ReadFile(name)
		if err != nil {
			return err
		}
		if err := out.MkdirAll(path.Dir(name), 0o700); err != nil {
			return err
		}
		return out.WriteFile(name, data, 0o600)
	})
}

// pack writes a directory as the archive of a part.
func (r *ciRun) pack(s *session, top, part string) (at string, err error) {
	root, err := os.OpenRoot(top)
	if err != nil {
		return "", unwritable(top, err)
	}
	defer func() { _ = root.Close() }() // only read
	dir, err := r.handOver(part)
	if err != nil {
		return "", err
	}
	at = filepath.Join(dir, flightArchive)
	out, err := os.Create(at) //nolint:gosec // the job's own directory
	if err != nil {
		return "", unwritable(at, err)
	}
	temp, err := s.temp("export-")
	if err == nil {
		_, err = bundle.Pack(r.ctx, root, out, bundle.PackOptions{PlainState: true, Temp: temp})
	}
	return at, errors.Join(err, out.Close())
}

// oneJob plans, judges and signs in one process. What that gives up is written into the
// report. SPEC: docs/github.md.
func (r *ciRun) oneJob() error {
	if err := r.mayPlan(); err != nil {
		return err
	}
	if err := r.derive(); err != nil {
		return err
	}
	if err := r.open(); err != nil {
		return err
	}
	if err := r.begin(r.planName(), cmp.Or(r.headCommit(), r.env["GITHUB_SHA"])); err != nil {
		return err
	}
	r.report.Notes = append(r.report.Notes, "This plan was made, judged and signed by one job: an engine that broke out of its sandbox could have changed what was judged or used the signing identity. The form with three jobs keeps them apart.")
	return r.watch(r.concluded(r.flyAll()))
}

func (r *ciRun) flyAll() error {
	r.judging, r.onForge = true, r.runIs
	id, err := r.fly(func(s *session, f *orchestrator.Flight) error {
		err := s.crew.Signatures.Ready(r.ctx)
		if err == nil {
			err = s.plan(r.ctx, f)
		}
		if err == nil {
			s.judges.running.begin(r.ctx)
			err = s.crew.Seal(r.ctx, f, s.setup)
		}
		if err == nil {
			err = r.carriesOver(s, f, s.crew.Outcome(r.ctx, f, s.setup))
		}
		return errors.Join(err, r.describe(s, f, err))
	})
	if err != nil && protocol.ExitCode(err) != protocol.ExitWaiting {
		return err
	}
	if handed := r.export(id, judgedPart); handed != nil {
		return handed
	}
	return err
}
