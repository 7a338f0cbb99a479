package online

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
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
func roundTrip(transport http.RoundTripper, req *http.Request) (status int, answer []byte, err error) {
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil, &unavailable{err.Error()}
	}
	defer func() { _ = resp.Body.Close() }() // only read
	const redirect, server = 300, 500
	switch code := resp.StatusCode; {
	case code >= redirect && code < http.StatusBadRequest:
		return 0, nil, fmt.Errorf("it answers %d, and redirects are not followed", code)
	case code >= server || code == http.StatusTooManyRequests:
		return 0, nil, &unavailable{fmt.Sprintf("it answers %d", code)}
	}
	answer, err = io.ReadAll(io.LimitReader(resp.Body, limits.SignerResponseBytes+1))
	if err != nil {
		return 0, nil, &unavailable{err.Error()}
	}
	if len(answer) > limits.SignerResponseBytes {
		return 0, nil, fmt.Errorf("the answer has more than %d bytes", limits.SignerResponseBytes)
	}
	return resp.StatusCode, answer, nil
}

// unavailable says that a service could not be asked.
type unavailable struct{ why string }

func (u *unavailable) Error() string { return u.why }

// call names a service and what must not be told of a request to it.
type call struct {
	service string
	secrets []string
}

// failed makes the error of a request. Its text has no secret, and it wraps
// nothing that could have one.
func (c call) failed(ctx context.Context, err error) error {
	text := c.redact(err.Error())
	var away *unavailable
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case errors.As(err, &away), ctx.Err() != nil:
		return protocol.Errorf(protocol.ExitUnreachable, signing.CodeSignerUnreachable, "%s cannot be reached: %s", c.service, text).
			WithHint("nothing was signed; check the address and the network, then run it again")
	}
	return protocol.Errorf(protocol.ExitFailure, signing.CodeSignerRefused, "%s refuses: %s", c.service, text).
		WithHint("nothing was signed; see what it says of the request")
}

// redact takes secrets and their parts out of a text, and bounds it.
func (c call) redact(text string) string {
	const most, shortest = 500, 8
	for _, secret := range c.secrets {
		for _, part := range append([]string{secret}, strings.Split(secret, ".")...) {
			if len(part) >= shortest {
				text = strings.ReplaceAll(text, part, "[secret]")
			}
		}
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == '\u007f' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " …"
	}
	return text
}
