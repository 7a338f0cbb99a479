package front

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/internal/limits"
)

// once are the headers that a request has at most once: of two, this program and a
// server might read different ones.
var once = []string{"Content-Type", "Content-Encoding", headerSession, headerVersion, headerMethod, headerName, headerLast}

// The protocol's headers, in the form of http.Header's keys.
const (
	headerSession = "Mcp-Session-Id"
	headerVersion = "Mcp-Protocol-Version"
	headerMethod  = "Mcp-Method"
	headerName    = "Mcp-Name"
	headerParam   = "Mcp-Param-"
	headerLast    = "Last-Event-Id"
)

// single refuses headers that are there twice or are too long.
func single(h http.Header) error {
	for _, name := range once {
		values := h[name]
		if len(values) > 1 {
			return badHeader("header " + name + " is there more than once")
		}
		if len(values) == 1 && len(values[0]) > limits.MCPFrontHeader {
			return badHeader("header " + name + " is too long")
		}
	}
	params := 0
	for name, values := range h {
		if !strings.HasPrefix(name, headerParam) {
			continue
		}
		params++
		if len(values) != 1 || len(values[0]) > limits.MCPFrontHeader || params > limits.MCPFrontParams {
			return badHeader("Mcp-Param headers are too many, too long, or there more than once")
		}
	}
	return nil
}

func badHeader(what string) error {
	return no(http.StatusBadRequest, codeHeaders, what)
}

// accepts says which of the two forms of an answer a client takes.
func accepts(h http.Header) (jsonOK, events bool) {
	for _, value := range h["Accept"] {
		for part := range strings.SplitSeq(value, ",") {
			name, _, _ := strings.Cut(part, ";")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case contentJSON, "application/*":
				jsonOK = true
			case contentEvents, "text/*":
				events = true
			case "*/*":
				return true, true
			}
		}
	}
	return jsonOK, events
}

// sendable refuses POST requests by their headers alone.
func sendable(h http.Header, older bool) error {
	if err := single(h); err != nil {
		return err
	}
	if !isJSON(h.Get("Content-Type")) {
		return no(http.StatusUnsupportedMediaType, codeRefused, "Content-Type must be application/json")
	}
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return no(http.StatusUnsupportedMediaType, codeRefused, "Content-Encoding must be identity")
	}
	if older {
		return nil
	}
	if jsonOK, events := accepts(h); !jsonOK || !events {
		return no(http.StatusNotAcceptable, codeRefused, "Accept must have application/json and text/event-stream")
	}
	if h.Get("Last-Event-ID") != "" {
		return no(http.StatusBadRequest, codeRefused, "Last-Event-ID has no place in a POST request")
	}
	return nil
}

// isJSON says that a media type is JSON as UTF-8.
func isJSON(contentType string) bool {
	if contentType == contentJSON {
		return true
	}
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != contentJSON {
		return false
	}
	charset, set := params["charset"]
	return !set || strings.EqualFold(charset, "utf-8")
}

// body reads the whole body of a request, within bounds of size and time. What it took
// of the door's memory is given back by the function that it returns.
func (d *Door) body(w http.ResponseWriter, r *http.Request, principal string) ([]byte, func(), error) {
	most := int64(d.o.MessageBytes)
	if r.ContentLength > most {
		return nil, nil, tooLong(w)
	}
	control := http.NewResponseController(w)
	// The socket's clock is the system's, whatever this program takes for the time.
	_ = control.SetReadDeadline(time.Now().Add(d.waits.body))
	h := holder{d: d, principal: principal}
	var b bytes.Buffer
	if n := r.ContentLength; n > 0 {
		b.Grow(int(min(n, 64<<10)) + bytes.MinRead)
	}
	_, err := io.Copy(&b, io.LimitReader(h.read(r.Body), most+1))
	switch {
	case err != nil:
	case int64(b.Len()) > most:
		err = tooLong(w)
	case b.Len() == 0:
		err = no(http.StatusBadRequest, jsonrpc.CodeInvalidRequest, "the body is empty")
	}
	if err == nil {
		_ = control.SetReadDeadline(time.Time{})
		return b.Bytes(), h.release, nil
	}
	h.release()
	w.Header().Set("Connection", "close") // what is left of the body is not read
	var own *refusal
	switch {
	case errors.As(err, &own):
		return nil, nil, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, nil, no(http.StatusRequestTimeout, codeTooMuch, "the body came too slowly")
	}
	return nil, nil, no(http.StatusBadRequest, codeRefused, "the body could not be read")
}

func tooLong(w http.ResponseWriter) error {
	w.Header().Set("Connection", "close")
	return no(http.StatusRequestEntityTooLarge, codeTooMuch, "the message is too long")
}

// holder counts the bytes that bodies take, at the door and of one request.
type holder struct {
	d         *Door
	principal string
	n         int64
	r         io.Reader
}

func (h *holder) read(r io.Reader) io.Reader { h.r = r; return h }

func (h *holder) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.n += int64(n)
	if !h.d.hold(h.principal, int64(n)) {
		return n, no(http.StatusServiceUnavailable, codeTooMuch, "the gateway has too many messages in hand")
	}
	return n, err
}

func (h *holder) release() {
	h.d.hold(h.principal, -h.n)
	h.n = 0
}

// hold counts bytes that somebody has the gateway hold, or no longer; no says that it is
// too much. Nobody takes what all have together.
func (d *Door) hold(principal string, n int64) bool {
	d.sharing.Lock()
	defer d.sharing.Unlock()
	if d.shares == nil {
		d.shares = map[string]int64{}
	}
	of := d.shares[principal] + n
	if d.shares[principal] = of; of == 0 {
		delete(d.shares, principal)
	}
	return d.held.Add(n) <= limits.MCPFrontHeld && of <= limits.MCPFrontHeldEach
}
