package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"

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
	same, err := s.sameFlight(d.FlightDir, u.dir)
	if err != nil {
		return err
	}
	at := u.dir
	if same {
		at = d.FlightDir // it is there already; perhaps more of it can be decrypted now
	}
	left, err := s.restore(at, identity)
	if err != nil {
		return err
	}
	if !same {
		if same, err = s.sameFlight(d.FlightDir, u.dir); err == nil && !same {
			err = s.store.Install(u.dir, id)
		}
		if err != nil {
			return err
		}
	}
	s.app.tellPulled(d, left)
	return nil
}

// pullAs makes a directory of its own.
func (s *session) pullAs(u stored, d pulled, identity, asDir string) error {
	var err error
	if d.FlightDir, err = filepath.Abs(asDir); err != nil {
		return err
	}
	left, err := s.restore(u.dir, identity)
	if err != nil {
		return err
	}
	if err := os.Mkdir(d.FlightDir, 0o700); err != nil {
		return usageError("usage", "the directory cannot be made: %w", err).WithHint("name a directory with --as-dir that is not there yet")
	}
	if err := os.CopyFS(d.FlightDir, os.DirFS(u.dir)); err != nil {
		return protocol.Errorf(protocol.ExitUnreachable, "storage_unwritable", "the flight cannot be written: %w", err).At(d.FlightDir).
			WithHint("free space or mend the file system, then run the command again")
	}
	s.app.tellPulled(d, left)
	return nil
}

// sameFlight says whether two directories hold the same flight, byte for byte.
func (s *session) sameFlight(a, b string) (bool, error) {
	if _, err := os.Lstat(a); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	var digests [2]string
	for i, dir := range []string{a, b} {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return false, err
		}
		p, err := bundle.Pack(s.app.ctx, root, io.Discard, bundle.PackOptions{PlainState: true})
		if err := errors.Join(err, root.Close()); err != nil {
			return false, err
		}
		digests[i] = p.Digest
	}
	return digests[0] == digests[1], nil
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
