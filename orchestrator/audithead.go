package orchestrator

import (
	"errors"
	"fmt"

	"github.com/cabincrew/action/engines"
)

// AuditFile is the audit log in a flight's directory.
const AuditFile = "audit.jsonl"

// auditHead gives how far the audit log has come, as it lies on disk.
func (o *Orchestrator) auditHead(f *Flight) (AuditHead, error) {
	events, last := f.Journal.AuditHead()
	head := AuditHead{Size: uint64(events), Last: last} //nolint:gosec // a count
	root, err := o.auditRoot(f, head.Size)
	head.Root = root
	return head, err
}

// auditRoot gives the root of the audit log's first lines.
func (o *Orchestrator) auditRoot(f *Flight, size uint64) (string, error) {
	if o.AuditRoot == nil {
		return "", errors.New("nothing is there to compute the audit log's root")
	}
	file, err := engines.OpenPlainIn(f.Root(), AuditFile)
	if err != nil {
		return "", fmt.Errorf("the audit log cannot be read: %w", err)
	}
	defer func() { _ = file.Close() }() // only read
	root, err := o.AuditRoot(file, size)
	if err != nil {
		return "", fmt.Errorf("the audit log cannot be read: %w", err)
	}
	return root, nil
}

// auditHolds refuses a flight whose audit log does not begin with what it held when
// the plan was signed: it was cut, or written anew. SPEC: docs/protocol.md 11.
func (v *verified) auditHolds(o *Orchestrator, f *Flight) (string, error) {
	return o.logHolds(f, v.plan.Audit.Size, v.plan.Audit.Root, "the signed plan")
}

// logHolds refuses an audit log whose first events are not those that somebody knows.
func (o *Orchestrator) logHolds(f *Flight, size uint64, want, who string) (string, error) {
	root, err := o.auditRoot(f, size)
	if err != nil {
		return "", integrity("audit_cut", "%s knows an audit log of %d events: %w", who, size, err).At(AuditFile).
			WithHint("restore the flight's directory from a copy")
	}
	if root != want {
		return "", integrity("audit_rewritten", "the first %d events are not those that %s knows (root %s, there %s)", size, who, root, want).
			At(AuditFile).WithHint("restore the flight's directory from a copy")
	}
	return fmt.Sprintf("%d events are those of %s", size, who), nil
}
