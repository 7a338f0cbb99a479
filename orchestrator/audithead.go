package orchestrator

import (
	"errors"
	"fmt"

	"github.com/cabincrew/action/engines"
)

// AuditFile is the audit log in a flight's directory.
const AuditFile = "audit.jsonl"

// auditHead gives how far the audit log has come, as it lies on disk, signed where
// audit logs are.
func (o *Orchestrator) auditHead(f *Flight) (AuditHead, error) {
	head := AuditHead{Size: uint64(f.Journal.AuditHead())} //nolint:gosec // a count
	var err error
	if head.Root, head.Last, err = o.auditRoot(f, head.Size); err == nil && o.Audit != nil {
		head.Checkpoint, err = o.Audit.Checkpoint(f.Dir, head.Size, head.Root)
	}
	return head, err
}

// auditRoot gives the root of the audit log's first lines, and the hash of the last.
func (o *Orchestrator) auditRoot(f *Flight, size uint64) (root, last string, err error) {
	if o.AuditRoot == nil {
		return "", "", errors.New("nothing is there to compute the audit log's root")
	}
	file, err := engines.OpenPlainIn(f.Root(), AuditFile)
	if err != nil {
		return "", "", fmt.Errorf("the audit log cannot be read: %w", err)
	}
	defer func() { _ = file.Close() }() // only read
	if root, last, err = o.AuditRoot(file, size); err != nil {
		return "", "", fmt.Errorf("the audit log cannot be read: %w", err)
	}
	return root, last, nil
}

// auditHolds refuses a flight whose audit log does not begin with what it held when
// the plan was signed: it was cut, or written anew. SPEC: docs/protocol.md 11.
func (v *verified) auditHolds(o *Orchestrator, f *Flight) (string, error) {
	return o.headHolds(f, v.plan.Audit, "the signed plan")
}

// headHolds is auditHolds for the head of any signed statement. Where audit logs are
// signed, so must the head be, for what it says itself.
func (o *Orchestrator) headHolds(f *Flight, head AuditHead, who string) (string, error) {
	if o.Audit != nil {
		if head.Checkpoint == "" {
			return "", integrity("audit_unsigned", "%s holds no checkpoint of the audit log, and the configuration says that it is signed", who).
				WithHint("plan again with cabincrew flight-plan")
		}
		size, root, err := o.Audit.Opened(f.Dir, head.Checkpoint)
		if err != nil {
			return "", err
		}
		if size != head.Size || root != head.Root {
			return "", integrity("audit_checkpoint", "%s says audit_head.size is %d and audit_head.root %s, the checkpoint in it %d and %s", who, head.Size, head.Root, size, root).
				WithHint("plan again with cabincrew flight-plan")
		}
	}
	return o.logHolds(f, head, who)
}

// unknownLast stands for the hash of a last event that nobody kept, as in marks.
const unknownLast = "-"

// logHolds refuses an audit log whose first events are not those that somebody knows.
func (o *Orchestrator) logHolds(f *Flight, head AuditHead, who string) (string, error) {
	root, last, err := o.auditRoot(f, head.Size)
	if err != nil {
		return "", integrity("audit_cut", "%s knows an audit log of %d events (audit_head.size): %w", who, head.Size, err).At(AuditFile).
			WithHint("restore the flight's directory from a copy")
	}
	if root != head.Root {
		return "", integrity("audit_rewritten", "the first %d events (audit_head.size) are not those that %s knows (root %s, there %s)", head.Size, who, root, head.Root).
			At(AuditFile).WithHint("restore the flight's directory from a copy")
	}
	if last != head.Last && head.Last != unknownLast {
		return "", integrity("audit_rewritten", "event %d has hash %s, %s says audit_head.last_hash is %s", head.Size, last, who, head.Last).At(AuditFile)
	}
	return fmt.Sprintf("%d events are those of %s", head.Size, who), nil
}
