package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/audit"
	"github.com/cabincrew/action/audit/merkle"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/storage/file"
)

func (a *app) auditProveCommand() *cobra.Command {
	var event, bundle, to string
	cmd := &cobra.Command{
		Use: "prove [FLIGHT] --event ID", Short: "Prove that one event is in the audit log, to who does not have the log", Args: cobra.MaximumNArgs(1),
		Long: `Writes a proof in the form of C2SP tlog-proof: the event's line, the path of hashes
from it to the root of the log, and the signed checkpoint that has this root, or the
head that a signed plan or take-off tells. cabincrew audit verify --proof checks it.`,
		RunE: a.run(func(_ *cobra.Command, args []string) error {
			want, err := wantedEvent(event)
			if err != nil {
				return err
			}
			return a.onAudit(args, func(dir *file.Flight) error { return a.prove(dir, want, bundle, to) })
		}),
	}
	cmd.Flags().StringVar(&event, "event", "", "the event_id, or the number of the line")
	cmd.Flags().StringVar(&bundle, "bundle", "", "prove against the audit head of this signed statement")
	cmd.Flags().StringVar(&to, "out", "", "write to this file instead of stdout")
	return cmd
}

// wantedEvent says which line is meant. It is called for each line in its order.
func wantedEvent(event string) (func() func(line []byte) bool, error) {
	const idDigits = 64
	number, err := strconv.ParseUint(event, 10, 32)
	switch {
	case len(event) == idDigits:
		return func() func([]byte) bool {
			return func(line []byte) bool { return audit.EventID(line) == event }
		}, nil
	case err == nil && number > 0:
		return func() func([]byte) bool {
			var n uint64
			return func([]byte) bool { n++; return n == number }
		}, nil
	}
	return nil, usageError("audit_event_unknown", "%.80q is neither an event_id (64 hex digits) nor the number of a line", event).
		WithHint("cabincrew audit show --output json tells the events")
}

// A provenHead is how far a log had come, as somebody signed it.
type provenHead struct {
	merkle.Checkpoint

	text   []byte // as it goes into a proof
	signed bool   // the text is a signed checkpoint
	from   string
}

func (a *app) prove(dir *file.Flight, want func() func([]byte) bool, bundle, to string) error {
	heads, err := a.headsOf(dir, bundle)
	if err != nil {
		return err
	}
	for _, head := range heads {
		p, err := proveIn(dir, want(), head)
		if errors.Is(err, merkle.ErrNoLine) {
			continue // it came later
		}
		if err != nil {
			return err
		}
		return a.tellProof(dir.ID(), p, head, to)
	}
	return usageError("audit_unanchored", "no signed statement or checkpoint of flight %s tells of a log with such an event", dir.ID()).
		WithHint("cabincrew audit show --output json tells the events; sign the log (audit: {sign: checkpoint}) or the plan (signing), or name a statement with --bundle")
}

// headsOf gives the heads that a proof may lead to, the newest first.
func (a *app) headsOf(dir *file.Flight, bundle string) ([]provenHead, error) {
	if bundle != "" {
		raw, err := a.readInput(bundle, limits.BundleBytes)
		if err != nil {
			return nil, err
		}
		head, err := statementHead(dir.ID(), raw, bundle)
		return []provenHead{head}, err
	}
	var heads []provenHead
	raw, err := dir.ReadFile(checkpointName, limits.AuditCheckpoint)
	if err == nil {
		head := provenHead{text: raw, from: checkpointName}
		if head.Checkpoint, head.signed, err = merkle.ReadCheckpoint(raw); err != nil {
			return nil, protocol.Errorf(protocol.ExitIntegrity, "audit_checkpoint", "%w", err).At(checkpointName)
		}
		heads = append(heads, head)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, protocol.Errorf(protocol.ExitIntegrity, "flight_unreadable", "%w", err).At(checkpointName)
	}
	// The take-off's head comes after all events, that of the plan before most.
	for _, name := range []string{orchestrator.TakeOffBundle, orchestrator.PlanBundle} {
		raw, err := dir.ReadFile(name, limits.BundleBytes)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, protocol.Errorf(protocol.ExitIntegrity, "flight_unreadable", "%w", err).At(name)
		}
		head, err := statementHead(dir.ID(), raw, name)
		if err != nil {
			return nil, err
		}
		heads = append(heads, head)
	}
	return heads, nil
}

// statementHead gives the head that a statement tells, as a proof can hold it.
func statementHead(id string, bundle []byte, from string) (provenHead, error) {
	head := provenHead{from: from}
	flight, said, err := signing.UnverifiedAuditHead(bundle)
	if err != nil {
		return head, err
	}
	if flight != id {
		return head, protocol.Errorf(protocol.ExitIntegrity, "audit_proof", "the statement is of flight %.100s, not of %s", flight, id).At(from)
	}
	if said.Checkpoint != "" {
		head.text, head.signed = []byte(said.Checkpoint), true
		if head.Checkpoint, _, err = merkle.ReadCheckpoint(head.text); err != nil {
			return head, protocol.Errorf(protocol.ExitIntegrity, "audit_checkpoint", "%w", err).At(from)
		}
		return head, nil
	}
	if head.Checkpoint, err = checkpointOf(id, said); err != nil {
		return head, err
	}
	head.text = head.Text()
	return head, nil
}

// checkpointOf gives an unsigned head of a statement as a checkpoint.
func checkpointOf(id string, head signing.AuditHead) (c merkle.Checkpoint, err error) {
	if c.Origin, err = audit.Origin(audit.LocalRepository, id); err != nil {
		return c, err
	}
	if c.Size, err = strconv.ParseUint(head.Size, 10, 64); err != nil {
		return c, err
	}
	c.Root, err = parseRoot(head.Root)
	return c, err
}

// proveIn makes a proof that leads to a head, and checks it.
func proveIn(dir *file.Flight, want func([]byte) bool, head provenHead) (merkle.Proof, error) {
	in, err := openAudit(dir)
	if err != nil {
		return merkle.Proof{}, err
	}
	defer func() { _ = in.Close() }() // only read
	p, err := merkle.Prove(in, &head.Size, want)
	if errors.Is(err, merkle.ErrNoLine) {
		return p, err
	}
	if err != nil {
		return p, protocol.Errorf(protocol.ExitIntegrity, "audit_cut", "%s is of a log of %d events: %w", head.from, head.Size, err).At(auditName).
			WithHint("restore the flight's directory from a copy")
	}
	if err := p.Check(head.Size, head.Root); err != nil {
		return p, protocol.Errorf(protocol.ExitIntegrity, "audit_rewritten", "the log is not the one that %s is of: %w", head.from, err).At(auditName).
			WithHint("restore the flight's directory from a copy")
	}
	return p, nil
}

func (a *app) tellProof(id string, p merkle.Proof, head provenHead, to string) error {
	text := p.Marshal(head.text)
	if to != "" {
		if err := writeFile(to, func(w io.Writer) error { _, err := w.Write(text); return err }); err != nil {
			return err
		}
	}
	if a.flags.output == outputJSON {
		a.printJSON(map[string]any{
			"workflow_id": id, "event": json.RawMessage(p.Line), "index": p.Index, "size": p.Size, "root": protocol.FormatDigest(head.Root[:]),
			"origin": head.Origin, "signed": head.signed, "against": head.from, "file": to, "proof": string(text),
		})
		return nil
	}
	if to == "" {
		_, err := a.out.Write(text)
		return err
	}
	a.text(fmt.Sprintf("wrote the proof of line %d of %d of flight %s against %s to %s\n", p.Index+1, p.Size, id, oneLine(head.from), oneLine(to)))
	if !head.signed {
		a.text("its head is not signed itself: give " + oneLine(head.from) + " along, for audit verify --bundle\n")
	}
	return nil
}

// proofFlags say what a proof is held against.
type proofFlags struct {
	checkpoints                  string // of a run of a gateway
	proof, event, bundle, origin string
	keys                         []string
}

// proofChecker checks a proof, one named check after another.
type proofChecker struct {
	app    *app
	trust  *auditTrust
	flags  proofFlags
	now    time.Time
	proof  merkle.Proof
	head   merkle.Checkpoint
	note   []byte
	signed bool
	flight string
	event  protocol.AuditEvent
	checks []orchestrator.Check
}

// verifyProof is `audit verify --proof`: no log, no state directory.
func (a *app) verifyProof(f proofFlags) error {
	s := &session{app: a}
	var err error
	if s.place, err = a.place(); err != nil {
		return err
	}
	trust, err := s.trusted(f.keys)
	if err != nil {
		return err
	}
	if trust == nil {
		return usageError("audit_key", "there is no key to verify the proof with").
			WithHint("name the public key of who signed: --key FILE.pub; or use a configuration with an audit block")
	}
	c := &proofChecker{app: a, trust: trust, flags: f, now: time.Now()}
	return a.proofVerdict(c, c.run())
}

func (c *proofChecker) run() error {
	for _, step := range []struct {
		name    string
		applies func() bool
		check   func() (string, error)
	}{
		{"proof", always, c.read},
		{"event", always, c.certifies},
		{"inclusion", always, c.included},
		{"checkpoint", func() bool { return c.signed }, c.checkpoint},
		{"statement", func() bool { return c.flags.bundle != "" }, c.statement},
		{"anchor", func() bool { return !c.signed && c.flags.bundle == "" }, unanchored},
	} {
		if !step.applies() {
			c.checks = append(c.checks, orchestrator.Check{Name: step.name, Status: orchestrator.NotApplicable})
			continue
		}
		detail, err := step.check()
		c.checks = append(c.checks, checkOf(step.name, detail, err))
		if err != nil {
			return err
		}
	}
	return nil
}

func always() bool { return true }

func unanchored() (string, error) {
	return "", protocol.Errorf(protocol.ExitIntegrity, "audit_unanchored", "the head in the proof is not signed, so anybody can have made it").
		WithHint("give the signed take-off or plan that tells this head: --bundle take-off.sigstore.json or plan.sigstore.json")
}

func proofError(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitIntegrity, "audit_proof", format, args...).WithHint("take the proof from where it was made; a changed one is never accepted")
}

func (c *proofChecker) read() (string, error) {
	raw, err := c.app.readInput(c.flags.proof, limits.AuditProof)
	if err != nil {
		return "", err
	}
	if c.proof, c.note, err = merkle.UnmarshalProof(raw); err != nil {
		return "", proofError("the proof cannot be read: %w", err)
	}
	if c.head, c.signed, err = merkle.ReadCheckpoint(c.note); err != nil {
		return "", proofError("the proof's checkpoint cannot be read: %w", err)
	}
	if _, c.flight, err = audit.ParseOrigin(c.head.Origin); err == nil {
		err = c.trust.named(c.head.Origin, c.flight)
	}
	if err != nil {
		return "", proofError("%w", err)
	}
	if c.flags.origin != "" && c.head.Origin != c.flags.origin {
		return "", proofError("the proof is about the log %s, not about %s", c.head.Origin, c.flags.origin)
	}
	return c.head.Origin, nil
}

// certifies finds the event's line and holds it against its own event_id.
func (c *proofChecker) certifies() (string, error) {
	if c.flags.event != "" {
		line, err := c.app.readInput(c.flags.event, limits.AuditLine+1)
		if err != nil {
			return "", err
		}
		line = bytes.TrimSuffix(line, []byte{'\n'})
		if c.proof.Line != nil && !bytes.Equal(c.proof.Line, line) {
			return "", proofError("the proof is about another event than %s", c.flags.event)
		}
		c.proof.Line = line
	}
	if len(c.proof.Line) == 0 {
		return "", usageError("audit_event_unknown", "the proof does not bring the event that it is about").WithHint("name the file with its line: --event FILE")
	}
	var by audit.SignedBy
	if c.trust.each {
		by = c.trust.signed
	}
	if err := audit.CheckLine(c.proof.Line, by); err != nil {
		return "", proofError("the line is no event that certifies itself: %w", err)
	}
	if err := protocol.Decode(c.proof.Line, &c.event); err != nil {
		return "", proofError("the line is no event: %w", err)
	}
	if w := c.event.Workflow; w != nil && w.WorkflowID != c.flight {
		return "", proofError("the event is of flight %s, the proof of %s", w.WorkflowID, c.flight)
	}
	return fmt.Sprintf("%s %s %s", c.event.Timestamp, c.event.EventType, c.event.EventID), nil
}

func (c *proofChecker) included() (string, error) {
	if err := c.proof.Check(c.head.Size, c.head.Root); err != nil {
		return "", proofError("%w", err)
	}
	return fmt.Sprintf("it is line %d of %d under root %s", c.proof.Index+1, c.head.Size, protocol.FormatDigest(c.head.Root[:])), nil
}

func (c *proofChecker) checkpoint() (string, error) {
	_, err := c.trust.opened(c.flight, c.note)
	return "signed by a key that is trusted", err
}

// statement verifies the statement that tells the head. What it says beside the head is
// not looked at: that is for `cabincrew verify`.
func (c *proofChecker) statement() (string, error) {
	raw, err := c.app.readInput(c.flags.bundle, limits.BundleBytes)
	if err != nil {
		return "", err
	}
	keys := make([]signing.TrustedKey, len(c.trust.keys))
	for i, key := range c.trust.keys {
		keys[i].Key = key
	}
	v, err := signing.Verify(raw, c.now, keys...)
	if err != nil {
		return "", err
	}
	id, said, err := v.AuditHead()
	if err != nil {
		return "", err
	}
	head, err := checkpointOf(id, said)
	if err != nil {
		return "", proofError("the statement's audit head: %w", err)
	}
	if id != c.flight || head.Size != c.head.Size || head.Root != c.head.Root {
		return "", proofError("the statement is of flight %s with a log of %d events and root %s, the proof of flight %s with %d and %s",
			id, head.Size, said.Root, c.flight, c.head.Size, protocol.FormatDigest(c.head.Root[:]))
	}
	if err := c.vouched(v); err != nil {
		return "", err
	}
	return v.Statement.PredicateType + " signed by " + v.KeyFingerprint, nil
}

// vouched refuses a log's name of which nobody who signed says that it is right: a head
// that is not signed itself can name any repository.
func (c *proofChecker) vouched(v *signing.Verified) error {
	repository, _, err := audit.ParseOrigin(c.head.Origin)
	if err != nil || c.signed || repository == audit.LocalRepository {
		return err
	}
	d, err := v.Derived()
	if err == nil && d.RepositoryID != repository {
		err = protocol.Errorf(protocol.ExitIntegrity, "audit_origin", "the proof names the log %s, and the statement does not say that it is of repository %s", c.head.Origin, repository).
			WithHint("take the proof from where it was made; a changed one is never accepted")
	}
	return err
}

func (a *app) proofVerdict(c *proofChecker, err error) error {
	if a.flags.output == outputJSON {
		doc := map[string]any{
			"verified": err == nil, "checks": c.checks, "workflow_id": c.flight, "origin": c.head.Origin,
			"index": c.proof.Index, "size": c.head.Size, "root": protocol.FormatDigest(c.head.Root[:]),
		}
		if err != nil {
			doc["error"] = a.errorOf(err)
		} else {
			doc["event"] = json.RawMessage(c.proof.Line)
		}
		a.printJSON(doc)
	}
	a.tellChecks(c.checks)
	if err != nil {
		a.complain(err)
		return reportedError{err}
	}
	a.text(fmt.Sprintf("event %s is line %d of the audit log of flight %s\n", c.event.EventID, c.proof.Index+1, c.flight))
	return nil
}
