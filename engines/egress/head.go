package egress

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/limits"
)

// head is a request's first line and header fields, read strictly.
type head struct {
	method string
	target string
	url    *url.URL // as http.ReadRequest took it
	host   string   // the Host field; empty if there is none
	hosts  int
	old    bool        // HTTP/1.0
	header http.Header // without Host, Content-Length and what is for one hop only
	length int64       // Content-Length; -1 if there is none

	chunked, close, upgrade, expect bool
}

// hasBody says whether bytes may follow the head.
func (h *head) hasBody() bool { return h.chunked || h.length > 0 }

// hopFields concern one connection and are never passed on.
var hopFields = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// readHead reads up to the empty line, byte by byte, so that what is too long or
// cannot become a good head is refused when it is seen, and not when more comes.
func readHead(br *bufio.Reader, urlMax, fieldsMax int) ([]byte, error) {
	var raw []byte
	firstMax := urlMax + limits.EgressMethodBytes + len("  HTTP/1.1\r\n")
	first, start := true, 0 // start of the line that is being read
	for {
		b, err := br.ReadByte()
		if err != nil {
			return nil, errors.Join(io.ErrUnexpectedEOF, err)
		}
		raw = append(raw, b)
		switch {
		case first && len(raw) > firstMax:
			return nil, refuse(urlTooLong, "the URL has more than %d bytes", urlMax)
		case len(raw) > firstMax+fieldsMax:
			return nil, refuse(headerTooLarge, "the header fields have more than %d bytes", fieldsMax)
		case b != '\n':
			continue
		}
		line := raw[start:]
		start = len(raw)
		switch {
		case !bytes.HasSuffix(line, []byte("\r\n")):
			return nil, refuse(malformed, "a line of the head does not end in CR LF")
		case !first && len(line) == 2:
			return raw, nil
		case first && !bytes.HasSuffix(line, []byte(" HTTP/1.1\r\n")) && !bytes.HasSuffix(line, []byte(" HTTP/1.0\r\n")):
			return nil, refuse(malformed, "the first line is not that of HTTP/1.1")
		case first:
			first, fieldsMax, firstMax = false, fieldsMax+len("\r\n"), len(raw)
		}
	}
}

// parseHead takes one spelling of HTTP/1.1 only, and only what http.ReadRequest
// reads the same way.
func parseHead(raw []byte) (*head, *refusal) {
	text, ok := strings.CutSuffix(string(raw), "\r\n\r\n")
	if !ok {
		return nil, refuse(malformed, "the head does not end")
	}
	lines := strings.Split(text, "\r\n")
	parts := strings.Split(lines[0], " ")
	if len(parts) != 3 || !isToken(parts[0]) || len(parts[0]) > limits.EgressMethodBytes || (parts[2] != "HTTP/1.1" && parts[2] != "HTTP/1.0") {
		return nil, refuse(malformed, "the first line is not that of HTTP/1.1")
	}
	h := &head{method: parts[0], target: parts[1], old: parts[2] == "HTTP/1.0", header: http.Header{}, length: -1}
	if h.target == "" || strings.IndexFunc(h.target, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' || r == '\\' }) >= 0 {
		return nil, refuse(malformed, "the target of the request has a byte that URLs write as %%XX")
	}
	for _, line := range lines[1:] {
		if ref := h.field(line); ref != nil {
			return nil, ref
		}
	}
	switch {
	case h.hosts > 1, h.hosts == 0 && !h.old:
		return nil, refuse(malformed, "a request has one Host field")
	case h.chunked && h.length >= 0:
		return nil, refuse(malformed, "the request has both Content-Length and Transfer-Encoding")
	case h.chunked && h.old:
		return nil, refuse(malformed, "HTTP/1.0 has no Transfer-Encoding")
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil || r.Method != h.method || r.RequestURI != h.target {
		return nil, refuse(malformed, "the request cannot be read")
	}
	h.url = r.URL
	return h, nil
}

// field reads one header line.
func (h *head) field(line string) *refusal {
	name, value, ok := strings.Cut(line, ":")
	if !ok || !isToken(name) { // also a folded line and blanks before the colon
		return refuse(malformed, "a header line is not \"Name: value\" on one line")
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return refuse(malformed, "the header field %s has a control character", http.CanonicalHeaderKey(name))
		}
	}
	value = strings.Trim(value, " \t")
	switch name = http.CanonicalHeaderKey(name); name {
	case "Host":
		h.host, h.hosts = value, h.hosts+1
	case "Content-Length":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 0 || h.length >= 0 || !isDigit(value[0]) {
			return refuse(malformed, "Content-Length is not one number")
		}
		h.length = n
	case "Transfer-Encoding":
		if h.chunked || lowerASCII(value) != "chunked" {
			return refuse(malformed, "the only Transfer-Encoding is chunked, once")
		}
		h.chunked = true
	case "Connection", "Proxy-Connection":
		return h.connection(value)
	case "Upgrade":
		h.upgrade = true
	case "Expect":
		if h.expect || lowerASCII(value) != "100-continue" {
			return refuse(malformed, "the only Expect is 100-continue, once")
		}
		h.expect = true
	default:
		if !slices.Contains(hopFields, name) {
			h.header[name] = append(h.header[name], value)
		}
	}
	return nil
}

// connection reads the options of a Connection field. One that names another
// field would remove it on the way.
func (h *head) connection(value string) *refusal {
	for option := range strings.SplitSeq(lowerASCII(value), ",") {
		switch strings.Trim(option, " \t") {
		case "close":
			h.close = true
		case "upgrade":
			h.upgrade = true
		case "", "keep-alive", "te":
		default:
			return refuse(malformed, "the Connection field names something other than close, keep-alive or TE")
		}
	}
	return nil
}

// isToken follows RFC 9110, 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isDigit(c) && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}
