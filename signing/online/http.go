package online

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// CodeIdentityToken is the error code where there is no identity token, or it is
// none. It is stable: docs/errors.md.
const CodeIdentityToken = "identity_token"

// serviceURL reads the address of a service. Only a loopback may go without TLS:
// identity tokens travel there.
func serviceURL(key, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, configError("%s is not the URL of a service", key).WithHint("write it as https://HOST")
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return nil, configError("%s (%s) goes without TLS", key, u.Host).WithHint("write it as https://HOST")
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func configError(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, signing.CodeSignerConfig, format, args...)
}

// direct gives a transport without proxy and without connections that stay open.
func direct(transport http.RoundTripper) http.RoundTripper {
	if transport != nil {
		return transport
	}
	const dial, handshake, header = 10 * time.Second, 10 * time.Second, 30 * time.Second
	return &http.Transport{
		DialContext: (&net.Dialer{Timeout: dial}).DialContext, TLSHandshakeTimeout: handshake, ResponseHeaderTimeout: header,
		MaxResponseHeaderBytes: limits.SignerResponseBytes, DisableKeepAlives: true, ForceAttemptHTTP2: true,
	}
}

func newRequest(ctx context.Context, url, contentType string, body []byte, header http.Header) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Content-Type", contentType)
	return req, nil
}

// roundTrip does one request: no redirect is followed, and an answer that is
// longer than it may be is refused, not cut off.
func roundTrip(transport http.RoundTripper, req *http.Request) (status int, answer []byte, kind string, bad *problem) {
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil, "", away(networkProblem(err))
	}
	defer func() { _ = resp.Body.Close() }() // only read
	const redirect, server = 300, 500
	switch code := resp.StatusCode; {
	case code >= redirect && code < http.StatusBadRequest:
		return 0, nil, "", refuses("it answers %d, and redirects are not followed", code)
	case code >= server || code == http.StatusTooManyRequests:
		return 0, nil, "", away(fmt.Sprintf("it answers %d", code))
	}
	answer, err = io.ReadAll(io.LimitReader(resp.Body, limits.SignerResponseBytes+1))
	if err != nil {
		return 0, nil, "", away(networkProblem(err))
	}
	if len(answer) > limits.SignerResponseBytes {
		return 0, nil, "", refuses("the answer has more than %d bytes", limits.SignerResponseBytes)
	}
	return resp.StatusCode, answer, kindOf(resp.Header), nil
}

// problem is what went wrong with a request, in words of ours and numbers only. What
// a service sends, and errors that quote it, never get into it: a service can send
// the token back in any encoding, and none can be searched for all of them.
type problem struct {
	text string
	away bool // the service could not be asked
}

func refuses(format string, numbers ...int) *problem {
	args := make([]any, len(numbers))
	for i, n := range numbers {
		args[i] = n
	}
	return &problem{text: fmt.Sprintf(format, args...)}
}

func away(text string) *problem { return &problem{text, true} }

// networkProblem says in our words what an error of the network is.
func networkProblem(err error) string {
	var (
		dns       *net.DNSError
		op        *net.OpError
		timeout   net.Error
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		check     *tls.CertificateVerificationError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &dns):
		return "its name has no address"
	case errors.As(err, &check), errors.As(err, &authority), errors.As(err, &host), errors.As(err, &invalid):
		return "its TLS certificate is not accepted"
	case errors.As(err, &record):
		return "it does not speak TLS"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "it does not answer in time"
	case errors.As(err, &op) && op.Op == "dial":
		return "it takes no connection"
	}
	return "the connection broke, or what came is not HTTP"
}

// kindOf tells of an answer what kind it is said to have, in our words.
func kindOf(h http.Header) string {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case err != nil:
		return ""
	case kind == "text/html":
		return " with a web page, so something else may stand in its place"
	case kind == jsonType, kind == "application/problem+json", kind == "text/plain":
		return " with a reason, which is not shown: it could hold the token"
	}
	return ""
}

// call names a service.
type call struct{ service string }

// failed makes the error of a request. It wraps nothing.
func (c call) failed(ctx context.Context, bad *problem) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case bad.away, ctx.Err() != nil:
		return protocol.Errorf(protocol.ExitUnreachable, signing.CodeSignerUnreachable, "%s cannot be reached: %s", c.service, bad.text).
			WithHint("nothing was signed; check the address and the network, then run it again")
	}
	return protocol.Errorf(protocol.ExitFailure, signing.CodeSignerRefused, "%s refuses: %s", c.service, bad.text).
		WithHint("nothing was signed; what the service says of it stands in the log of the service")
}
