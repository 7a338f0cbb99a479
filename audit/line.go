package audit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

type sum = [sha256.Size]byte

// lineInfo is what one line says of itself, all that is needed to judge a log.
type lineInfo struct {
	number   int   // from 1
	start    int64 // offset of the line
	end      int64 // offset of the byte after its newline
	open     bool  // the newline is missing, so this is the last line
	torn     bool  // open, and a proper prefix of an event
	bad      error // not nil: the line does not stand on its own
	id, want sum   // the event_id written and the one recomputed
	self     sum   // what the next line's chain_hash must be
	prev     sum   // its own chain_hash
	hasPrev  bool
	at       time.Time
	kind     string // event_type
	ref      Ref    // to a WAL entry
	hasRef   bool   // the message ends with one
}

var errEventID = errors.New("event_id does not match the line")

// A checker judges lines one after another. It is for one goroutine.
type checker struct {
	shape *protocol.Shape
	refs  bool // parse references to WAL entries
	// signed judges signatures; nil: nobody does.
	signed SignedBy
	buf    []byte
	event  []byte // domain line of event ids
	chain  []byte // domain line of chain hashes
	kinds  map[string]string
}

const (
	maxRef   = len(refOpen) + 20 + len("sha256:") + 64 + 2 // bytes of the longest reference
	maxKinds = 64                                          // event types that a checker shares
)

// eventShape never changes; making it once keeps small logs cheap.
var eventShape = sync.OnceValue(func() *protocol.Shape { return protocol.ShapeOf(protocol.AuditEvent{}) })

func newChecker(refs bool) *checker {
	return &checker{
		shape: eventShape(), refs: refs,
		event: domain(protocol.KindAuditEvent), chain: domain(protocol.KindAuditChain),
		kinds: map[string]string{},
	}
}

// domain is the first line of everything that is hashed as this kind; the
// vectors test holds it equal to protocol.H.
func domain(kind string) []byte { return []byte("cabincrew/" + kind + "/v1\n") }

// chainStart is what the first line of a log must have as chain_hash.
// SPEC: docs/protocol.md 11.
func chainStart(workflowID string) sum {
	return sha256.Sum256(append(domain(protocol.KindAuditChain), workflowID...))
}

func (c *checker) hash(prefix []byte, fill func([]byte) []byte) sum {
	c.buf = fill(append(c.buf[:0], prefix...))
	return sha256.Sum256(c.buf)
}

// check fills in what line, without its newline, says. in.open must be set.
func (c *checker) check(line []byte, in *lineInfo) {
	if len(line) > limits.AuditLine {
		in.bad = fmt.Errorf("the line is longer than %d bytes", limits.AuditLine)
		return
	}
	in.self = c.hash(c.chain, func(b []byte) []byte { return append(b, line...) })
	var cut [2]protocol.Member
	n := 0
	var sig signatureOf
	err := c.shape.Scan(line, func(m protocol.Member) error {
		switch string(m.Key) {
		case "event_id", "signature":
			cut[n] = m
			n++
			if len(m.Key) == len("signature") {
				sig.member = m
			}
		case "signature_key_ref":
			sig.ref = m.Value
		}
		return c.member(m, in)
	})
	switch {
	case err != nil:
		in.bad = err
		// SPEC: docs/protocol.md 5: torn is a last line without newline that is a proper prefix.
		in.torn = in.open && c.shape.ScanPrefix(line, func(m protocol.Member) error { return c.member(m, in) }) == nil
	case !in.hasPrev:
		in.bad = errors.New("field \"chain_hash\" is missing")
	default:
		// SPEC: docs/protocol.md 11: the id covers everything but itself and the signature.
		in.want = c.hash(c.event, func(b []byte) []byte { return protocol.AppendWithout(b, line, cut[:n]...) })
		if in.want != in.id {
			in.bad = errEventID
		} else if c.signed != nil {
			in.bad = sig.check(line, c.signed)
		}
	}
}

func (c *checker) member(m protocol.Member, in *lineInfo) error {
	text := m.Value[1:max(1, len(m.Value)-1)]
	switch string(m.Key) {
	case "event_id":
		if !unhex(&in.id, text) {
			return errors.New("event_id is not 64 lower-case hex digits")
		}
	case "chain_hash":
		digits, ok := bytes.CutPrefix(text, []byte("sha256:"))
		if !ok || !unhex(&in.prev, digits) {
			return errors.New("chain_hash is not a digest")
		}
		in.hasPrev = true
	case "event_type":
		if len(text) == 0 {
			return errors.New("event_type is empty")
		}
		in.kind = c.kind(text)
	case "timestamp":
		return readTime(&in.at, text)
	case "severity":
		switch string(text) {
		case protocol.SeverityDebug, protocol.SeverityInfo, protocol.SeverityWarning, protocol.SeverityError, protocol.SeverityCritical:
		default:
			return fmt.Errorf("unknown severity %q", text)
		}
	case "message":
		if c.refs {
			in.message(text)
		}
	}
	return nil
}

// message looks for a reference in the text as it is escaped: what it looks for
// is never escaped, so nothing needs to be unescaped.
func (in *lineInfo) message(escaped []byte) {
	if bytes.HasPrefix(escaped, []byte(recoveredPrefix)) {
		in.ref, in.hasRef = refOf(in.kind, string(escaped))
		return
	}
	tail := escaped[max(0, len(escaped)-maxRef):]
	if !bytes.HasSuffix(tail, []byte("]")) {
		return
	}
	if i := bytes.LastIndex(tail, []byte(refOpen)); i >= 0 {
		in.ref, in.hasRef = refOf(in.kind, string(tail[i:]))
	}
}

// kind gives an event type as a string that is shared by all lines that have it.
func (c *checker) kind(text []byte) string {
	if s, ok := c.kinds[string(text)]; ok {
		return s
	}
	s := string(text)
	if len(c.kinds) < maxKinds {
		c.kinds[s] = s
	}
	return s
}

// unhex reads lower-case hex digits.
func unhex(dst *sum, digits []byte) bool {
	if len(digits) != 2*len(dst) {
		return false
	}
	for i, c := range digits {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return false
		}
		dst[i/2] = dst[i/2]<<4 | c
	}
	return true
}

// parseTime reads RFC 3339 text in UTC, written with Z.
func parseTime(s string) (at time.Time, err error) {
	err = readTime(&at, []byte(s))
	return at, err
}

func readTime(at *time.Time, text []byte) error {
	if len(text) == 0 || text[len(text)-1] != 'Z' || at.UnmarshalText(text) != nil {
		return fmt.Errorf("timestamp %.40q is not RFC 3339 in UTC", text)
	}
	return nil
}

func digest(s sum) string { return protocol.FormatDigest(s[:]) }
