package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/storage/bundle"
	"github.com/cabincrew/action/storage/file"
)

// leaving says in which form a flight leaves the state directory.
type leaving struct {
	encryptTo      []string
	plainState     bool
	registryConfig string
}

func (l *leaving) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&l.encryptTo, "encrypt-to", nil, "an age recipient, or a file with recipients, for state artifacts; instead of storage.encrypt_to")
	f.BoolVar(&l.plainState, "plain-state", false, "let state artifacts leave unencrypted where there is no recipient")
}

func registryConfigFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "registry-config", "", "Docker configuration with the registry's credentials (default that of $DOCKER_CONFIG or ~/.docker)")
}

// pushed is the document of push and export.
type pushed struct {
	WorkflowID string   `json:"workflow_id"`
	Ref        string   `json:"ref,omitempty"`
	File       string   `json:"file,omitempty"`
	Digest     string   `json:"digest"` // of the archive
	Size       int64    `json:"size"`
	Files      int      `json:"files"`
	Encrypted  []string `json:"encrypted"`
}

func (a *app) pushCommand() *cobra.Command {
	var l leaving
	cmd := &cobra.Command{
		Use: "push [FLIGHT] [DEST]", Short: "Store a flight in a directory or a registry", Args: cobra.MaximumNArgs(2),
		Long: `Stores a flight as an archive in DEST, which is dir:PATH or oci:HOST/REPOSITORY[:TAG]
and by default storage.flights of the configuration, and prints its reference by
digest. Artifacts with the role state are encrypted to storage.encrypt_to.`,
		RunE: a.run(func(_ *cobra.Command, args []string) error {
			return a.withStore(func(s *session) error { return s.push(args, l) })
		}),
	}
	l.flags(cmd)
	registryConfigFlag(cmd, &l.registryConfig)
	return cmd
}

func (a *app) exportCommand() *cobra.Command {
	var l leaving
	var out string
	cmd := &cobra.Command{
		Use: "export [FLIGHT]", Short: "Write a flight into one archive (.tar.zst)", Args: cobra.MaximumNArgs(1),
		RunE: a.run(func(_ *cobra.Command, args []string) error {
			return a.withStore(func(s *session) error { return s.exportFlight(args, out, l) })
		}),
	}
	cmd.Flags().StringVar(&out, "out", "", "the archive; nothing is overwritten (default FLIGHT.tar.zst)")
	l.flags(cmd)
	return cmd
}

func (s *session) push(args []string, l leaving) error {
	c, err := s.storageConfig()
	if err != nil {
		return err
	}
	ref, err := destination(args, c)
	if err != nil {
		return err
	}
	store, err := s.app.storage(ref, l.registryConfig)
	if err != nil {
		return err
	}
	top, err := s.temp("push-")
	if err != nil {
		return err
	}
	archive, err := os.OpenFile(filepath.Join(top, "archive"+bundle.Suffix), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return unwritable(top, err)
	}
	defer func() { _ = archive.Close() }() // it is removed with the session
	if len(l.encryptTo) == 0 {
		l.encryptTo = c.EncryptTo
	}
	p, m, err := s.pack(args[:min(len(args), 1)], archive, top, l)
	if err != nil {
		return err
	}
	got, err := store.Put(s.app.ctx, archive, p, m)
	if err != nil {
		return err
	}
	s.app.tellPushed(pushed{WorkflowID: m.WorkflowID, Ref: got.String()}, p)
	return nil
}

// pack writes a flight's archive; nobody writes the flight meanwhile.
func (s *session) pack(args []string, to *os.File, temp string, l leaving) (bundle.Packed, bundle.Meta, error) {
	var none bundle.Packed
	recipients, err := bundle.Recipients(l.encryptTo, func(name string) ([]byte, error) { return readBounded(name, limits.StorageKeys) })
	if err != nil {
		return none, bundle.Meta{}, err
	}
	dir, err := s.find(args)
	if err != nil {
		return none, bundle.Meta{}, err
	}
	if err := s.lock(s.home, "flight-"+dir.ID()); err != nil {
		return none, bundle.Meta{}, err
	}
	m, err := metaOf(dir)
	if err != nil {
		return none, m, err
	}
	p, err := bundle.Pack(s.app.ctx, dir.Root(), to, bundle.PackOptions{Recipients: recipients, PlainState: l.plainState, Temp: temp})
	return p, m, err
}

// metaOf tells of a flight for those who only look.
func metaOf(dir *file.Flight) (bundle.Meta, error) {
	f, err := loadFlight(dir)
	if err != nil {
		return bundle.Meta{}, err
	}
	sum := orchestrator.Summarize(f)
	m := bundle.Meta{
		WorkflowID: f.ID(), FlightToken: sum.FlightToken, Decision: string(sum.Decision), Created: f.Info.CreatedAt, PredicateType: signing.FlightPlanType,
	}
	m.PlanBundle, err = dir.ReadFile(orchestrator.PlanBundle, limits.BundleBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if d, err := signing.UnverifiedDerived(m.PlanBundle); err == nil { // it is for show
		m.HeadCommit, m.Change = d.HeadCommit, d.Change
	}
	return m, nil
}

func (s *session) exportFlight(args []string, out string, l leaving) (err error) {
	if len(l.encryptTo) == 0 {
		c, err := s.storageConfig()
		if err != nil {
			return err
		}
		l.encryptTo = c.EncryptTo
	}
	if out == "" {
		dir, err := s.find(args)
		if err != nil {
			return err
		}
		args, out = []string{dir.ID()}, dir.ID()+bundle.Suffix
	}
	temp, err := s.temp("export-")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return usageError("usage", "the archive cannot be made: %w", err).WithHint("name another file with --out")
	}
	defer func() {
		if err != nil {
			_ = os.Remove(out) // the error above is the one that counts
		}
	}()
	p, m, err := s.pack(args, f, temp, l)
	if synced := f.Sync(); err == nil && synced != nil {
		err = unwritable(out, synced)
	}
	if closed := f.Close(); err == nil && closed != nil {
		err = unwritable(out, closed)
	}
	if err != nil {
		return err
	}
	s.app.tellPushed(pushed{WorkflowID: m.WorkflowID, File: out}, p)
	return nil
}

func (a *app) tellPushed(d pushed, p bundle.Packed) {
	d.Digest, d.Size, d.Files, d.Encrypted = p.Digest, p.Size, p.Files, paths(p.Encrypted)
	if a.flags.output == outputJSON {
		a.printJSON(d)
		return
	}
	a.text(visible(d.Ref+d.File) + "\n")
	_, _ = fmt.Fprintf(a.err, "%d files, %d bytes, %d encrypted\n", d.Files, d.Size, len(d.Encrypted))
}

func paths(list []bundle.Sealed) []string {
	out := []string{}
	for _, f := range list {
		out = append(out, f.Path)
	}
	return out
}
