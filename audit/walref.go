package audit

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cabincrew/action/protocol"
)

// Audit events are durable before the WAL entries that they tell of, so every
// WAL entry has its event. The event says which by the end of its message. What
// the audit has beyond the end of the WAL is an interrupted write or a WAL that
// was cut. SPEC: docs/protocol.md 11.

const (
	refOpen         = " [wal "
	recoveredPrefix = "recovered: wal continues at "
)

// WALRef is the end of the message of the event that tells of a WAL entry.
func WALRef(seq int64, checksum string) string {
	return refOpen + strconv.FormatInt(seq, 10) + " " + checksum + "]"
}

// Recovered begins the message of the error event that must come before the
// WAL goes on at a sequence that events already name.
func Recovered(seq int64) string { return recoveredPrefix + strconv.FormatInt(seq, 10) }

// PlainText breaks what looks like a reference to a WAL entry or like a
// recovery in foreign text, so that no engine or tool can make a message say
// either. Callers pass foreign text through it before they add a WALRef.
func PlainText(s string) string {
	if strings.HasPrefix(s, recoveredPrefix) {
		s = "text: " + s
	}
	return strings.ReplaceAll(s, refOpen, " (wal ")
}

// ParseWALRef gives the reference at the end of a message.
func ParseWALRef(message string) (seq int64, checksum string, ok bool) {
	_, seq, checksum, ok = cutRef(message)
	return seq, checksum, ok
}

// cutRef parts a message from the reference at its end.
func cutRef(message string) (text string, seq int64, checksum string, ok bool) {
	i := strings.LastIndex(message, refOpen)
	if i < 0 || !strings.HasSuffix(message, "]") {
		return message, 0, "", false
	}
	number, checksum, found := strings.Cut(message[i+len(refOpen):len(message)-1], " ")
	seq, err := strconv.ParseInt(number, 10, 64)
	if !found || err != nil || number[0] == '+' || number[0] == '-' || number[0] == '0' && len(number) > 1 {
		return message, 0, "", false
	}
	if _, err := protocol.ParseDigest(checksum); err != nil {
		return message, 0, "", false
	}
	return message[:i], seq, checksum, true
}

// A Ref is what one event says of the WAL: that it tells of an entry, or that
// the WAL goes on at Seq after an interruption.
type Ref struct {
	Line      int // of audit.jsonl, from 1
	EventType string
	Seq       int64
	Checksum  string
	Recovery  bool
}

// RefOf gives the Ref of an event, if it has one.
func RefOf(e protocol.AuditEvent) (Ref, bool) { return refOf(e.EventType, e.Message) }

func refOf(eventType, message string) (Ref, bool) {
	if rest, ok := strings.CutPrefix(message, recoveredPrefix); ok && eventType == protocol.EventError {
		digits := rest
		if i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
			digits = rest[:i]
		}
		if seq, err := strconv.ParseInt(digits, 10, 64); err == nil {
			return Ref{EventType: eventType, Seq: seq, Recovery: true}, true
		}
	}
	seq, checksum, ok := ParseWALRef(message)
	return Ref{EventType: eventType, Seq: seq, Checksum: checksum}, ok
}

// A CrossReport says what the audit has that the WAL has not.
type CrossReport struct {
	Ahead     []Ref // events beyond the end of the WAL: an interrupted write, or a WAL that was cut
	Abandoned []Ref // events of entries that a recorded recovery found not to be in the WAL
}

// CrossCheck holds the references of a verified audit log against a verified
// WAL: each entry must have exactly its event, in order, and a sequence comes
// again only after a recovery that says so. The caller judges the rest.
func CrossCheck(refs []Ref, wal []protocol.WALEntry) (CrossReport, error) {
	var r CrossReport
	var told []Ref // told[i] tells of the entry with sequence i
	for _, ref := range refs {
		next := int64(len(told))
		switch {
		case ref.Recovery && ref.Seq > next:
			return r, mismatch(ref, "it says that the WAL continues at %d, but events tell only of entries before %d", ref.Seq, next)
		case ref.Recovery:
			r.Abandoned = append(r.Abandoned, told[ref.Seq:]...)
			told = told[:ref.Seq]
		case ref.Seq > next:
			return r, mismatch(ref, "it tells of WAL entry %d, but no event tells of entry %d", ref.Seq, next)
		case ref.Seq < next:
			return r, mismatch(ref, "it tells of WAL entry %d, which line %d told of, and no recovery is recorded between", ref.Seq, told[ref.Seq].Line)
		default:
			told = append(told, ref)
		}
	}
	for i, entry := range wal {
		if i >= len(told) {
			return r, protocol.Errorf(protocol.ExitIntegrity, "audit_cut", "WAL entry %d (%s) has no audit event: the end of the audit log was cut", entry.Sequence, entry.EntryType).
				At("audit.jsonl").WithHint("restore audit.jsonl from a copy; this flight cannot go on without it")
		}
		if told[i].Seq != entry.Sequence || told[i].Checksum != entry.Checksum {
			return r, mismatch(told[i], "it tells of WAL entry %d with checksum %s, but that entry has %s", told[i].Seq, told[i].Checksum, entry.Checksum)
		}
	}
	r.Ahead = told[min(len(wal), len(told)):]
	return r, nil
}

func mismatch(ref Ref, format string, args ...any) error {
	return protocol.Errorf(protocol.ExitIntegrity, "audit_wal_mismatch", "audit event %s and the WAL do not fit: %s", ref.EventType, fmt.Sprintf(format, args...)).
		At(fmt.Sprintf("audit.jsonl:%d", ref.Line)).WithHint("wal.jsonl or audit.jsonl was replaced; restore both from one copy")
}
