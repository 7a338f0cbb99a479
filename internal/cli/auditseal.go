package cli

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/cabincrew/action/audit"
	"github.com/cabincrew/action/audit/merkle"
	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/storage/file"
)

// checkpointName is the newest checkpoint of a flight's audit log.
const checkpointName = "audit.checkpoint"

// auditTrust is who may sign the audit log, and what of it must be signed.
type auditTrust struct {
	keys       []*signing.PublicKey
	each       bool   // each event must be signed
	repository string // whose logs these are, audit.LocalRepository where nobody says
}

// opened gives what a checkpoint of a flight's log says, if it is signed by who may.
func (t *auditTrust) opened(workflowID string, checkpoint []byte) (c merkle.Checkpoint, err error) {
	c, signed, err := merkle.ReadCheckpoint(checkpoint)
	if err == nil && !signed {
		err = errors.New("it is not signed")
	}
	if err == nil {
		err = t.named(c.Origin, workflowID)
	}
	if err == nil {
		var by []note.Verifier
		for _, key := range t.keys {
			v, keyErr := key.NoteVerifier(c.Origin)
			err = errors.Join(err, keyErr)
			by = append(by, v)
		}
		if err == nil {
			c, err = merkle.OpenCheckpoint(checkpoint, c.Origin, by...)
		}
	}
	if err != nil {
		return merkle.Checkpoint{}, protocol.Errorf(protocol.ExitIntegrity, "audit_checkpoint", "the checkpoint of the audit log does not hold: %w", err).
			WithHint("trust the log no further than another checkpoint or the signed plan says")
	}
	return c, nil
}

// named refuses an origin that is not of this flight and repository.
func (t *auditTrust) named(origin, workflowID string) error {
	repository, id, err := audit.ParseOrigin(origin)
	switch {
	case err != nil:
		return err
	case id != workflowID:
		return fmt.Errorf("it is of the log of flight %s, not of %s", id, workflowID)
	case t.repository != audit.LocalRepository && repository != audit.LocalRepository && repository != t.repository:
		return fmt.Errorf("it is of a log of repository %s, not of %s", repository, t.repository)
	}
	return nil
}

// signed says whether an event is signed by who may.
func (t *auditTrust) signed(ref string, event, signature []byte) error {
	for _, key := range t.keys {
		if key.Fingerprint() == ref {
			return key.VerifyEvent(event, signature)
		}
	}
	return fmt.Errorf("it names the key %.80q, which is none of those that may sign", ref)
}

// newest gives the newest checkpoint of a flight, verified.
func (t *auditTrust) newest(dir orchestrator.Dir) (merkle.Checkpoint, error) {
	raw, err := dir.ReadFile(checkpointName, limits.AuditCheckpoint)
	if errors.Is(err, fs.ErrNotExist) {
		return merkle.Checkpoint{}, protocol.Errorf(protocol.ExitIntegrity, "audit_unsigned", "the audit log has no checkpoint, and the configuration says that it is signed").
			At(checkpointName).WithHint("restore the flight's directory from a copy; if the log was not signed when the flight began, plan again")
	}
	if err != nil {
		return merkle.Checkpoint{}, protocol.Errorf(protocol.ExitIntegrity, "flight_unreadable", "%w", err).At(checkpointName)
	}
	return t.opened(dir.ID(), raw)
}

// within refuses a log that is shorter than a checkpoint of it says, or another one.
func within(dir orchestrator.Dir, c merkle.Checkpoint) error {
	in, err := engines.OpenPlainIn(dir.Root(), auditName)
	if err != nil {
		return protocol.Errorf(protocol.ExitIntegrity, "audit_unreadable", "%w", err).At(auditName)
	}
	defer func() { _ = in.Close() }() // only read
	return holdsTo(in, c, "restore the flight's directory from a copy")
}

// holdsTo refuses the lines of a log if they are fewer than a checkpoint says, or others.
func holdsTo(in io.Reader, c merkle.Checkpoint, hint string) error {
	tree, err := merkle.Read(in, &c.Size)
	if err != nil {
		return protocol.Errorf(protocol.ExitIntegrity, "audit_cut", "the newest checkpoint is of %d events: %w", c.Size, err).At(auditName).WithHint("%s", hint)
	}
	root, err := tree.Root()
	if err == nil && root != c.Root {
		err = protocol.Errorf(protocol.ExitIntegrity, "audit_rewritten", "the first %d events are not those of the newest checkpoint (root %s, signed %s)",
			c.Size, protocol.FormatDigest(root[:]), protocol.FormatDigest(c.Root[:])).At(auditName).WithHint("%s", hint)
	}
	return err
}

// Opened verifies a checkpoint of a flight's log.
func (t *auditTrust) Opened(dir orchestrator.Dir, checkpoint string) (size uint64, root string, err error) {
	c, err := t.opened(dir.ID(), []byte(checkpoint))
	return c.Size, protocol.FormatDigest(c.Root[:]), err
}

// Holds verifies the signatures of a flight's log: the newest checkpoint, and that of
// each event where each is signed.
func (t *auditTrust) Holds(dir orchestrator.Dir) (string, error) {
	c, err := t.newest(dir)
	if err == nil {
		err = within(dir, c)
	}
	detail := fmt.Sprintf("%d events are those of the newest checkpoint", c.Size)
	if err != nil || !t.each {
		return detail, err
	}
	in, err := engines.OpenPlainIn(dir.Root(), auditName)
	if err != nil {
		return "", protocol.Errorf(protocol.ExitIntegrity, "audit_unreadable", "%w", err).At(auditName)
	}
	defer func() { _ = in.Close() }() // only read
	report, err := audit.Verify(in, dir.ID(), audit.VerifyOptions{Signed: t.signed})
	return fmt.Sprintf("%s; all %d are signed", detail, report.Events), err
}

// auditSeal signs audit logs with the key of the configuration. The key stays in this
// process; engines never see it.
type auditSeal struct {
	auditTrust

	load func() (*signing.Key, error) // asks for a passphrase once at most
}

var (
	_ orchestrator.AuditSeal = (*auditSeal)(nil)
	_ audit.Signer           = (*auditSeal)(nil)
)

// key opens the private key, which must be that of the governance.
func (s *auditSeal) key() (*signing.Key, error) {
	key, err := s.load()
	if err != nil {
		return nil, err
	}
	if got := key.Public().Fingerprint(); got != s.KeyRef() {
		return nil, usageError("audit_key", "the private key that signs the audit log is %s, its public part beside it is of %s", got, s.KeyRef()).
			WithHint("restore both files from one pair")
	}
	return key, nil
}

// KeyRef names the key in events.
func (s *auditSeal) KeyRef() string { return s.keys[0].Fingerprint() }

// Sign signs an event.
func (s *auditSeal) Sign(event []byte) ([]byte, error) {
	key, err := s.key()
	if err != nil {
		return nil, err
	}
	return key.SignEvent(event)
}

// Checkpoint signs how far the log of a flight has come. All checkpoints of a flight
// have the origin of the first one.
func (s *auditSeal) Checkpoint(dir orchestrator.Dir, size uint64, root string) (string, error) {
	raw, err := parseRoot(root)
	if err != nil {
		return "", err
	}
	origin, err := audit.Origin(s.repository, dir.ID())
	if err != nil {
		return "", err
	}
	switch first, err := s.newest(dir); {
	case err == nil:
		origin = first.Origin
	case !errors.Is(err, protocol.Code("audit_unsigned")):
		return "", err
	}
	out, err := s.sign(merkle.Checkpoint{Origin: origin, Size: size, Root: raw})
	return string(out), err
}

func (s *auditSeal) sign(c merkle.Checkpoint) ([]byte, error) {
	key, err := s.key()
	if err != nil {
		return nil, err
	}
	by, err := key.NoteSigner(c.Origin)
	if err != nil {
		return nil, err
	}
	return c.Sign(by)
}

// begin prepares the log of a flight for being appended to: a new one gets its first
// checkpoint, an old one must hold to the one that it has. A checkpoint is never made
// of a log that does not hold to the one before.
func (s *auditSeal) begin(dir *file.Flight, events int) error {
	if events > 0 {
		c, err := s.newest(dir)
		if err != nil {
			return err
		}
		return within(dir, c)
	}
	empty, err := merkle.New().Root()
	if err != nil {
		return err
	}
	return s.write(dir, 0, protocol.FormatDigest(empty[:]))
}

// renew replaces the newest checkpoint by one of the whole log.
func (s *auditSeal) renew(dir *file.Flight, events uint64) error {
	in, err := openAudit(dir)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	root, _, err := auditRoot(in, events)
	if err != nil {
		return err
	}
	return s.write(dir, events, root)
}

func (s *auditSeal) write(dir *file.Flight, events uint64, root string) error {
	checkpoint, err := s.Checkpoint(dir, events, root)
	if err != nil {
		return err
	}
	return dir.WriteFile(checkpointName, []byte(checkpoint))
}

func parseRoot(digest string) (root merkle.Root, err error) {
	digits, err := protocol.ParseDigest(digest)
	if err == nil {
		_, err = hex.Decode(root[:], []byte(digits))
	}
	return root, err
}

// sealOf prepares the signatures of audit logs from the configuration; nil where they
// are not signed. The private key is the machine's, its public part that of the
// governance.
func (s *session) sealOf(o *origin) (*auditSeal, error) {
	c := o.config.Audit
	if c.Sign == "" {
		return nil, nil //nolint:nilnil // no signatures are no error
	}
	public, err := o.read(s.place, c.Key+".pub")
	if err != nil {
		return nil, err
	}
	key, err := readAuditKey(public, c.Key)
	if err != nil {
		return nil, err
	}
	return &auditSeal{
		auditTrust: auditTrust{keys: []*signing.PublicKey{key}, each: c.Sign == config.AuditEach, repository: repositoryOf(s.app.env)},
		load:       func() (*signing.Key, error) { return s.app.openKey(s.place.file(c.Key)) },
	}, nil
}

func readAuditKey(path, name string) (*signing.PublicKey, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the configuration or the person names it
	if err != nil {
		return nil, usageError("audit_key", "the public part of the key that signs the audit log cannot be read: %w", err).
			WithHint("keep %s.pub beside the key; cabincrew keys generate writes both", name)
	}
	key, err := signing.ParsePublic(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// repositoryOf gives the id of the repository as the CI platform tells it.
func repositoryOf(env map[string]string) string {
	id := ""
	switch ci.Detect(env) {
	case ci.GitHub, ci.Gitea, ci.Forgejo:
		id = env["GITHUB_REPOSITORY_ID"]
	case ci.GitLab:
		id = env["CI_PROJECT_ID"]
	}
	return cmp.Or(id, audit.LocalRepository)
}

// openKey opens a private key once a command, so that its passphrase is asked for once.
func (a *app) openKey(path string) (*signing.Key, error) {
	if key, ok := a.opened[path]; ok {
		return key, nil
	}
	key, err := a.privateKey(path)
	if err != nil {
		return nil, err
	}
	if a.opened == nil {
		a.opened = map[string]*signing.Key{}
	}
	a.opened[path] = key
	return key, nil
}

// trusted gives who may sign audit logs: the keys that the command line names, or that
// of the configuration. It is nil where there is neither.
func (s *session) trusted(names []string) (*auditTrust, error) {
	t := &auditTrust{repository: repositoryOf(s.app.env)}
	for _, name := range names {
		key, err := readAuditKey(name, strings.TrimSuffix(name, ".pub"))
		if err != nil {
			return nil, err
		}
		t.keys = append(t.keys, key)
	}
	if len(names) > 0 {
		return t, nil
	}
	if _, err := os.Stat(s.place.config); errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nobody is trusted, which is no error
	}
	ref := s.app.flags.governanceRef
	if ref != "" && s.store == nil {
		return nil, usageError("audit_key", "a proof is not verified under a --governance-ref").WithHint("name the public key: --key FILE.pub")
	}
	o, err := s.originOf(ref)
	if err != nil {
		return nil, err
	}
	seal, err := s.sealOf(o)
	if err != nil || seal == nil {
		return nil, err
	}
	return &seal.auditTrust, nil
}
