package egress

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
)

// answerStep is how much of an answer is read at once, in bytes.
const answerStep = 32 << 10

// answer passes a response on as it comes, and says whether it was whole: a body
// that ends early ends the connection, so that no client takes it for complete.
func (c *client) answer(a *http.Response, note *Request, h *head) bool {
	note.Status = a.StatusCode
	lim := c.p.opt.Limits.ResponseBytes
	if a.StatusCode < 200 || a.StatusCode > 999 {
		c.refuse(note, refuse(upstreamFailed, "the host answered with another protocol"))
		return false
	}
	bare := h.method == http.MethodHead || a.StatusCode == http.StatusNoContent || a.StatusCode == http.StatusNotModified
	if !bare && a.ContentLength > lim {
		c.refuse(note, refuse(answerTooLarge, "the answer has %d bytes, the limit is %d", a.ContentLength, lim))
		return true
	}
	chunked := c.writeHead(a, h.method, bare)
	var err error
	if !bare {
		err = c.copyBody(a, note, chunked, lim)
	}
	var ref *refusal
	if errors.As(err, &ref) {
		note.Reason = string(ref.reason)
	}
	c.p.record(*note)
	if err == nil && chunked {
		_, err = c.bw.WriteString("0\r\n\r\n")
	}
	if err == nil {
		err = c.bw.Flush()
	}
	return err == nil
}

// writeHead gives the status and the fields that are not for one hop.
func (c *client) writeHead(a *http.Response, method string, bare bool) (chunked bool) {
	drop := append([]string{"Content-Length", "Alt-Svc"}, hopFields...) // Alt-Svc: ways around this proxy
	for _, v := range a.Header["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			drop = append(drop, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
	fields := a.Header.Clone()
	for name := range fields {
		if slices.Contains(drop, name) {
			delete(fields, name)
		}
	}
	switch {
	case a.ContentLength >= 0 && (!bare || method == http.MethodHead):
		fields.Set("Content-Length", strconv.FormatInt(a.ContentLength, 10))
	case !bare:
		chunked = true
		fields.Set("Transfer-Encoding", "chunked") //nolint:gosec // G113: Content-Length is among what was dropped above
	}
	// The writer keeps its errors for Flush.
	_, _ = fmt.Fprintf(c.bw, "HTTP/1.1 %03d %s\r\n", a.StatusCode, http.StatusText(a.StatusCode))
	_ = fields.Write(c.bw)
	_, _ = c.bw.WriteString("\r\n")
	return chunked
}

// copyBody leaves the last bytes in the buffer, so that the request can be
// recorded before its client knows that it is over.
func (c *client) copyBody(a *http.Response, note *Request, chunked bool, lim int64) error {
	var to io.Writer = c.bw
	if chunked {
		to = httputil.NewChunkedWriter(c.bw)
	}
	buf := make([]byte, answerStep)
	for {
		n, err := a.Body.Read(buf)
		if note.Received+int64(n) > lim {
			return refuse(answerTooLarge, "the answer has more than %d bytes", lim)
		}
		if n > 0 {
			if c.bw.Available() < n+64 && c.bw.Flush() != nil { // only the head can be in the way
				return refuse(clientGone, "the client left")
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return refuse(clientGone, "the client left")
			}
			note.Received += int64(n)
		}
		switch {
		case errors.Is(err, io.EOF), err == nil && note.Received == a.ContentLength:
			return nil
		case err != nil:
			return refuse(upstreamFailed, "the answer ends early")
		case c.bw.Flush() != nil:
			return refuse(clientGone, "the client left")
		}
	}
}
