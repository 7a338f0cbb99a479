package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	bits64 "math/bits"
	"strings"
	"unicode/utf8"
)

// A Member is one member of a scanned object, or one element of a scanned list
// (then Key is nil). The slices point into the scanned document.
type Member struct {
	Key        []byte // between the quotes, with its escapes
	Value      []byte
	Start, End int // of the whole member, key and value, in the document
}

// ScanCanonical says in one pass and without building a tree whether doc is
// exactly the canonical form of a document: it agrees with CheckCanonical on
// every input. It calls visit, which may be nil, for each member of the
// outermost object or list, in order; an error of visit ends the scan and is
// given back as it is. Members are visited before the rest of doc was looked
// at, so what visit keeps counts only if ScanCanonical gives nil.
// SPEC: docs/protocol.md 3.
func ScanCanonical(doc []byte, visit func(Member) error) error {
	return (*Shape)(nil).Scan(doc, visit)
}

// Scan is ScanCanonical for documents of one type: unknown members, missing
// ones and wrong types are errors as well.
func (s *Shape) Scan(doc []byte, visit func(Member) error) error {
	p := scanner{data: doc}
	err := p.document(s, visit)
	if errors.Is(err, errShort) {
		return p.fail("the document ends too early")
	}
	return err
}

// ScanPrefix gives nil if doc is a proper prefix of a canonical document of
// this shape, which is what a write that was interrupted leaves behind. A
// complete document is not. visit sees the members that are whole.
// SPEC: docs/protocol.md 5.
func (s *Shape) ScanPrefix(doc []byte, visit func(Member) error) error {
	p := scanner{data: doc}
	switch err := p.document(s, visit); {
	case errors.Is(err, errShort):
		return nil
	case err != nil:
		return err
	}
	return p.fail("the document is complete")
}

// AppendWithout appends doc, a canonical object, without the given members of
// it to dst. The members must come from a scan of doc, in order.
func AppendWithout(dst, doc []byte, cut ...Member) []byte {
	from := 0
	for _, m := range cut {
		dst = append(dst, doc[from:m.Start]...)
		from = m.End
		if doc[from] == ',' {
			from++
		} else if dst[len(dst)-1] == ',' {
			dst = dst[:len(dst)-1]
		}
	}
	return append(dst, doc[from:]...)
}

// Unquote gives the text of a JSON string that a scan accepted, quotes included.
func Unquote(value []byte) (string, error) {
	if len(value) < 2 || value[0] != '"' {
		return "", fmt.Errorf("%.20q is not a JSON string", value)
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1]), nil
	}
	return unescape(value[1 : len(value)-1]), nil
}

// errShort is the scanner's word for "good so far, but the bytes ended".
var errShort = errors.New("the document ends too early")

type scanner struct {
	data []byte
	pos  int
}

func (p *scanner) fail(format string, args ...any) error {
	return &SyntaxError{Path: "$", Offset: p.pos, Reason: fmt.Sprintf(format, args...)}
}

// under puts the name of a member in front of the path of an error.
func under(err error, name string) error {
	if e, ok := err.(*SyntaxError); ok { //nolint:errorlint // only the scanner's own, unwrapped
		e.Path = "$" + name + e.Path[1:]
	}
	return err
}

func (p *scanner) document(s *Shape, visit func(Member) error) error {
	if visit == nil {
		visit = func(Member) error { return nil }
	}
	if len(p.data) == 0 {
		return errShort
	}
	if err := s.accepts(p); err != nil {
		return err
	}
	var err error
	switch p.data[0] {
	case '{':
		err = p.object(1, s, visit)
	case '[':
		err = p.list(1, s, visit)
	default:
		err = p.value(0, s)
	}
	if err != nil {
		return err
	}
	if p.pos != len(p.data) {
		return p.fail("bytes after the end of the document")
	}
	return nil
}

func (p *scanner) value(depth int, s *Shape) error {
	if p.pos >= len(p.data) {
		return errShort
	}
	if err := s.accepts(p); err != nil {
		return err
	}
	start := p.pos
	switch c := p.data[p.pos]; c {
	case '"':
		if _, err := p.text(); err != nil {
			return err
		}
		return s.oneOf(p, p.data[start+1:p.pos-1])
	case '{':
		return p.object(depth+1, s, nil)
	case '[':
		return p.list(depth+1, s, nil)
	case 't':
		return p.word("true")
	case 'f':
		return p.word("false")
	case 'n':
		return p.word("null")
	default:
		if c == '-' || c >= '0' && c <= '9' {
			return p.number()
		}
		return p.fail("no JSON value starts with byte %#02x", c)
	}
}

func (p *scanner) object(depth int, s *Shape, visit func(Member) error) error {
	if depth > MaxDepth {
		return p.fail("nested deeper than %d", MaxDepth)
	}
	p.pos++
	fields := s.start()
	if p.pos >= len(p.data) {
		return errShort
	}
	if p.data[p.pos] == '}' {
		p.pos++
		return fields.end(p)
	}
	var last []byte
	for first := true; ; first = false {
		start := p.pos
		key, shape, err := p.key(last, first, &fields)
		if err != nil {
			return err
		}
		from := p.pos
		if err := p.value(depth, shape); err != nil {
			if errors.Is(err, errShort) {
				return err
			}
			return under(err, "."+string(key))
		}
		if visit != nil {
			if err := visit(Member{Key: key, Value: p.data[from:p.pos], Start: start, End: p.pos}); err != nil {
				return err
			}
		}
		last = key
		if p.pos >= len(p.data) {
			return errShort
		}
		switch p.data[p.pos] {
		case ',':
			p.pos++
		case '}':
			p.pos++
			return fields.end(p)
		default:
			return p.fail("expected ',' or '}'")
		}
	}
}

// key reads a member's name and colon, and checks the order of names.
func (p *scanner) key(last []byte, first bool, fields *cursor) ([]byte, *Shape, error) {
	if p.pos >= len(p.data) {
		return nil, nil, errShort
	}
	if p.data[p.pos] != '"' {
		return nil, nil, p.fail("expected a member name")
	}
	start := p.pos
	key, err := p.text()
	if err != nil {
		if errors.Is(err, errShort) {
			return nil, nil, p.tornKey(p.data[start+1:], last, first, fields)
		}
		return nil, nil, err
	}
	shape, err := fields.next(p, key)
	// Where the fields are known, finding them in their order proves the order.
	if (err != nil || fields.open()) && !first && compareRaw(last, key) >= 0 {
		return nil, nil, p.fail("member %q comes after %q: a duplicate or not in canonical order", key, last)
	}
	if err != nil {
		return nil, nil, err
	}
	if p.pos >= len(p.data) {
		return nil, nil, errShort
	}
	if p.data[p.pos] != ':' {
		return nil, nil, p.fail("expected ':' after member %q", key)
	}
	p.pos++
	return key, shape, nil
}

// tornKey judges a member name that the end of the bytes cuts: errShort if
// some name that may stand here begins like it.
func (p *scanner) tornKey(part, last []byte, first bool, fields *cursor) error {
	n := min(len(part), len(last))
	if !first && plain(part) && plain(last) && bytes.Compare(part[:n], last[:n]) < 0 {
		return p.fail("member %q comes after %q: not in canonical order", part, last)
	}
	return fields.begins(p, part)
}

func (p *scanner) list(depth int, s *Shape, visit func(Member) error) error {
	if depth > MaxDepth {
		return p.fail("nested deeper than %d", MaxDepth)
	}
	p.pos++
	if p.pos >= len(p.data) {
		return errShort
	}
	if p.data[p.pos] == ']' {
		p.pos++
		return nil
	}
	for i := 0; ; i++ {
		start := p.pos
		if err := p.value(depth, s.element()); err != nil {
			if errors.Is(err, errShort) {
				return err
			}
			return under(err, fmt.Sprintf("[%d]", i))
		}
		if visit != nil {
			if err := visit(Member{Value: p.data[start:p.pos], Start: start, End: p.pos}); err != nil {
				return err
			}
		}
		if p.pos >= len(p.data) {
			return errShort
		}
		switch p.data[p.pos] {
		case ',':
			p.pos++
		case ']':
			p.pos++
			return nil
		default:
			return p.fail("expected ',' or ']'")
		}
	}
}

func (p *scanner) word(w string) error {
	rest := p.data[p.pos:]
	n := min(len(w), len(rest))
	if string(rest[:n]) != w[:n] {
		return p.fail("no JSON value starts like this")
	}
	if n < len(w) {
		return errShort
	}
	p.pos += n
	return nil
}

// number accepts what appendNumber writes: integers within ±(2^53-1).
func (p *scanner) number() error {
	negative := p.data[p.pos] == '-'
	if negative {
		p.pos++
	}
	start, n := p.pos, int64(0)
	for p.pos < len(p.data) && p.data[p.pos] >= '0' && p.data[p.pos] <= '9' {
		n = n*10 + int64(p.data[p.pos]-'0')
		if n > maxSafe || p.pos > start && p.data[start] == '0' {
			return p.fail("a number is not an integer within 2^53 without leading zeros")
		}
		p.pos++
	}
	switch {
	case negative && p.pos > start && n == 0:
		return p.fail("a number is a negative zero")
	case p.pos == start && p.pos < len(p.data):
		return p.fail("malformed number")
	case p.pos == start:
		return errShort
	}
	return nil
}

// ordinary counts the bytes up to the first quote, backslash or control
// character, and says whether one of them is beyond ASCII. It looks at eight
// bytes at once, since most of a log is text.
func ordinary(b []byte) (n int, high bool) {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	var bits uint64
	for ; n+8 <= len(b); n += 8 {
		x := binary.LittleEndian.Uint64(b[n:])
		quote, slash := x^ones*'"', x^ones*'\\'
		stop := ((x - ones*0x20) &^ x) | ((quote - ones) &^ quote) | ((slash - ones) &^ slash)
		if stop &= tops; stop != 0 { // the lowest bit set is exact
			k := bits64.TrailingZeros64(stop)
			return n + k/8, (bits|x&(1<<k-1))&tops != 0
		}
		bits |= x
	}
	high = bits&tops != 0
	for ; n < len(b) && b[n] >= 0x20 && b[n] != '"' && b[n] != '\\'; n++ {
		high = high || b[n] >= utf8.RuneSelf
	}
	return n, high
}

// text reads a string in its canonical escapes and gives what is between the quotes.
func (p *scanner) text() ([]byte, error) {
	p.pos++
	start, high := p.pos, false
	for {
		i, eight := ordinary(p.data[p.pos:])
		p.pos += i
		high = high || eight
		if p.pos == len(p.data) {
			break
		}
		switch p.data[p.pos] {
		case '"':
			s := p.data[start:p.pos]
			if high && !utf8.Valid(s) {
				return nil, p.fail("invalid UTF-8")
			}
			p.pos++
			return s, nil
		case '\\':
			if err := p.escape(); err != nil {
				if errors.Is(err, errShort) && !utf8.Valid(p.data[start:p.pos]) {
					return nil, p.fail("invalid UTF-8")
				}
				return nil, err
			}
		default:
			return nil, p.fail("a control character in a string must be escaped")
		}
	}
	if !validBeginning(p.data[start:]) {
		return nil, p.fail("invalid UTF-8")
	}
	return nil, errShort
}

// escape accepts the escapes that RFC 8785 3.2.2.2 writes and no others.
func (p *scanner) escape() error {
	rest := p.data[p.pos+1:]
	if len(rest) == 0 {
		return errShort
	}
	switch rest[0] {
	case '"', '\\', 'b', 't', 'n', 'f', 'r':
		p.pos += 2
		return nil
	case 'u':
	default:
		return p.fail("escape \\%c is not canonical", rest[0])
	}
	for i, c := range rest[1:min(len(rest), 5)] {
		ok := c == '0'
		switch i {
		case 2:
			ok = c == '0' || c == '1'
		case 3:
			ok = c >= '0' && c <= '9' || c >= 'a' && c <= 'f'
			if rest[3] == '0' { // these have short escapes
				ok = ok && c != '8' && c != '9' && c != 'a' && c != 'c' && c != 'd'
			}
		}
		if !ok {
			return p.fail("a \\u escape that is not canonical")
		}
	}
	if len(rest) < 5 {
		return errShort
	}
	p.pos += 6
	return nil
}

// validBeginning says whether s, perhaps cut inside a character, can be the beginning of UTF-8 text.
func validBeginning(s []byte) bool {
	for i := 1; i <= min(utf8.UTFMax-1, len(s)); i++ {
		if tail := s[len(s)-i:]; utf8.RuneStart(tail[0]) {
			return utf8.Valid(s[:len(s)-i]) && (utf8.Valid(tail) || !utf8.FullRune(tail))
		}
	}
	return utf8.Valid(s)
}

// compareRaw orders two member names as they stand in a canonical document.
func compareRaw(x, y []byte) int {
	if plain(x) && plain(y) {
		return bytes.Compare(x, y)
	}
	return compareUTF16(unescape(x), unescape(y))
}

// plain says whether the order of bytes is the order of UTF-16 code units of the text.
func plain(s []byte) bool {
	for _, c := range s {
		if c == '\\' || c >= 0xee {
			return false
		}
	}
	return true
}

// unescape undoes canonical escapes; s was accepted by text.
func unescape(s []byte) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b = append(b, s[i])
			continue
		}
		i++
		if j := strings.IndexByte("btnfr", s[i]); j >= 0 {
			b = append(b, "\b\t\n\f\r"[j])
		} else if s[i] == 'u' && i+4 < len(s) {
			low := strings.IndexByte("0123456789abcdef", s[i+4])
			b = append(b, (s[i+3]-'0')<<4|byte(max(low, 0))) //nolint:gosec // below 16
			i += 4
		} else {
			b = append(b, s[i])
		}
	}
	return string(b)
}
