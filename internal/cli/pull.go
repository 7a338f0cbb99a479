package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/bundle"
	"github.com/cabincrew/action/storage/file"
)

// pulled is the document of pull.
type pulled struct {
	WorkflowID string   `json:"workflow_id"`
	FlightDir  string   `json:"flight_dir"`
	Ref        string   `json:"ref,omitempty"`
	Digest     string   `json:"digest"` // of the archive
	Files      int      `json:"files"`
	Encrypted  []string `json:"encrypted"` // what is still encrypted
}

func (a *app) pullCommand() *cobra.Command {
	var identity, asDir, registryConfig string
	cmd := &cobra.Command{
		Use: "pull REF|ARCHIVE", Short: "Bring a stored flight into the state directory", Args: cobra.ExactArgs(1),
		Long: `Fetches a flight by its reference (dir:PATH@sha256:… or oci:HOST/REPOSITORY@sha256:…)
or from an archive, so that status, verify and take-off find it. A different flight
of the same id is never overwritten, and what took off here does not do so again.`,
		RunE: a.run(func(_ *cobra.Command, args []string) error {
			return a.withStore(func(s *session) error {
				if !isStored(args[0]) {
					return notStored(args[0])
				}
				u, err := s.unpack(args[0], registryConfig)
				if err != nil {
					return err
				}
				return s.pull(u, identity, asDir)
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&identity, "age-identity", "", "file with the age identities that decrypt state artifacts")
	f.StringVar(&asDir, "as-dir", "", "make this directory instead, outside of the state directory")
	registryConfigFlag(cmd, &registryConfig)
	return cmd
}

func (s *session) pull(u stored, identity, asDir string) error {
	dir, err := file.OpenDir(u.dir)
	if err != nil {
		return err
	}
	id := dir.ID()
	_, err = loadFlight(dir)
	if err := errors.Join(err, dir.Close()); err != nil {
		return err
	}
	d := pulled{WorkflowID: id, Ref: u.ref, Digest: u.from.Digest, Files: u.from.Files}
	if asDir != "" {
		return s.pullAs(u, d, identity, asDir)
	}
	if err := s.lock(s.home, "flight-"+id); err != nil {
		return err
	}
	d.FlightDir = filepath.Join(s.store.Dir(), "flights", id)
	there, err := s.installed(d.FlightDir, u.dir)
	if err != nil {
		return err
	}
	left, err := s.restore(u.dir, identity)
	if err != nil {
		return err
	}
	if there == nil {
		err = s.settle(u.dir, func() error { return s.store.Install(u.dir, id) })
	} else if more := fewer(left, there.left); more {
		// Decrypted beside it, then swapped: it is there in one form or the other.
		err = s.settle(u.dir, func() error { return s.store.Replace(u.dir, id) })
	} else {
		left = there.left
	}
	if err != nil {
		return err
	}
	s.app.tellPulled(d, left)
	return nil
}

// settle has the disk hold a directory before it gets its place.
func (s *session) settle(dir string, place func() error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return unwritable(dir, err)
	}
	if err := bundle.Sync(root); err != nil {
		return errors.Join(err, root.Close())
	}
	if err := root.Close(); err != nil {
		return unwritable(dir, err)
	}
	return place()
}

// fewer says whether less is encrypted than before, and nothing else is.
func fewer(now, before []bundle.Sealed) bool {
	for _, f := range now {
		if !slices.Contains(before, f) {
			return false
		}
	}
	return len(now) < len(before)
}

// pullAs makes a directory of its own, whole or not at all.
func (s *session) pullAs(u stored, d pulled, identity, asDir string) error {
	to, err := s.outside(asDir)
	if err != nil {
		return err
	}
	d.FlightDir = to
	left, err := s.restore(u.dir, identity)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(to), ".cabincrew-pull-")
	if err != nil {
		return unwritable(to, err)
	}
	if err := s.copyTo(u.dir, temp); err != nil {
		_ = os.RemoveAll(temp) // the error above is the one that counts
		return err
	}
	if err := os.Rename(temp, to); err != nil {
		_ = os.RemoveAll(temp) // the error above is the one that counts
		return unwritable(to, err)
	}
	s.app.tellPulled(d, left)
	return nil
}

// outside gives the path of a directory that is to be made, which is not one of the
// flights that the state directory has.
func (s *session) outside(asDir string) (string, error) {
	to, err := filepath.Abs(asDir)
	if err != nil {
		return "", usageError("usage", "the directory cannot be made: %w", err)
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(to))
	if err != nil {
		return "", usageError("usage", "the directory cannot be made: %w", err).At(to).WithHint("make its parent first")
	}
	state, err := filepath.EvalSymlinks(s.store.Dir())
	if err != nil {
		return "", unwritable(s.store.Dir(), err)
	}
	if _, err := os.Lstat(to); err == nil {
		return "", usageError("usage", "there is something already").At(to).WithHint("name a directory with --as-dir that is not there yet")
	}
	if in, err := filepath.Rel(state, filepath.Join(parent, filepath.Base(to))); err == nil && filepath.IsLocal(in) {
		return "", usageError("usage", "it lies in the state directory, where only flights under their own ids are").At(to).
			WithHint("pull without --as-dir, or name a directory elsewhere")
	}
	return to, nil
}

func (s *session) copyTo(from, to string) error {
	in, err := os.OpenRoot(from)
	if err != nil {
		return unwritable(from, err)
	}
	defer func() { _ = in.Close() }() // only read
	out, err := os.OpenRoot(to)
	if err != nil {
		return unwritable(to, err)
	}
	defer func() { _ = out.Close() }() // Copy has synchronised it
	return bundle.Copy(s.app.ctx, in, out)
}

// unwritable is the error for a place that cannot hold what it should.
func unwritable(where string, err error) error {
	return protocol.Errorf(protocol.ExitUnreachable, "storage_unwritable", "it cannot be written: %w", err).At(where).
		WithHint("free space or mend the file system, then run the command again")
}

// installed is a flight that the state directory has.
type installed struct {
	left []bundle.Sealed // what is encrypted in it
}

// installed gives nil where there is no such flight, and refuses a different one.
func (s *session) installed(at, fetched string) (*installed, error) {
	info, err := os.Lstat(at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil //nolint:nilnil // it is not there
	case err != nil:
		return nil, unwritable(at, err)
	case !info.IsDir():
		return nil, protocol.Errorf(protocol.ExitIntegrity, "path_unsafe", "it is a link or a file, where only a flight's directory may be").At(at).WithHint("remove it, then pull again")
	}
	here, err := os.OpenRoot(at)
	if err != nil {
		return nil, unwritable(at, err)
	}
	defer func() { _ = here.Close() }() // only read
	there, err := os.OpenRoot(fetched)
	if err != nil {
		return nil, unwritable(fetched, err)
	}
	defer func() { _ = there.Close() }() // only read
	same, err := bundle.Same(s.app.ctx, here, there)
	if err != nil {
		return nil, err
	}
	if !same {
		return nil, usageError("flight_exists", "there is another flight of this id, or this one in another state").At(at).
			WithHint("compare them with cabincrew diff; remove the one that is there (cabincrew prune), or bring this one elsewhere with --as-dir")
	}
	left, err := bundle.Encrypted(here)
	return &installed{left}, err
}

func (a *app) tellPulled(d pulled, left []bundle.Sealed) {
	d.Encrypted = paths(left)
	if a.flags.output == outputJSON {
		a.printJSON(d)
		return
	}
	a.text(visible(d.WorkflowID) + "  " + visible(d.FlightDir) + "\n")
	a.tellEncrypted(left)
}
