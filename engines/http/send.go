package http

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"unicode"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// sender sends requests through the way that the environment names.
type sender struct {
	proxies map[string]*url.URL // by scheme; none is direct
	roots   *x509.CertPool      // nil: those of the system
}

var (
	errTimeout = errors.New("no whole answer within the time-out")
	errProxy   = errors.New("the proxy refused the connection")
)

func newSender(env map[string]string) (*sender, error) {
	s := &sender{proxies: map[string]*url.URL{}}
	for scheme, variables := range map[string][]string{"http": {"HTTP_PROXY", "http_proxy"}, "https": {"HTTPS_PROXY", "https_proxy"}} {
		for _, v := range variables {
			if env[v] == "" {
				continue
			}
			u, err := url.Parse(env[v])
			if err != nil || u.Scheme != "http" || u.Host == "" {
				return nil, protocol.Errorf(protocol.ExitUsage, "engine_environment", "%s is not the address of a proxy", v).WithHint("write it as http://HOST:PORT")
			}
			s.proxies[scheme] = u
			break
		}
	}
	if name := env["SSL_CERT_FILE"]; name != "" {
		var err error
		if s.roots, err = readRoots(name); err != nil {
			return nil, protocol.Errorf(protocol.ExitUsage, "engine_environment", "the certificate authorities of SSL_CERT_FILE cannot be read: %w", err).
				WithHint("it must name a file of PEM certificates")
		}
	}
	return s, nil
}

func readRoots(name string) (*x509.CertPool, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	pem, err := kit.ReadBounded(f, limits.HTTPCertificates)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("there is no certificate in it")
	}
	return pool, nil
}

// transport makes a transport for one request. A connection that was never used
// before is what keeps net/http from sending a request again by itself.
func (s *sender) transport() *nethttp.Transport {
	protocols := new(nethttp.Protocols)
	protocols.SetHTTP1(true)
	return &nethttp.Transport{
		Proxy:                  func(r *nethttp.Request) (*url.URL, error) { return s.proxies[r.URL.Scheme], nil },
		DialContext:            (&net.Dialer{}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12},
		Protocols:              protocols,
		DisableKeepAlives:      true,
		DisableCompression:     true, // or it would add a header that no plan shows
		MaxResponseHeaderBytes: limits.HTTPResponseHeader,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *nethttp.Request, answer *nethttp.Response) error {
			if answer.StatusCode != nethttp.StatusOK {
				return fmt.Errorf("%w with status %d", errProxy, answer.StatusCode)
			}
			return nil
		},
	}
}

// once sends a request, once. It is not a Client: nothing follows a redirect, keeps
// a cookie or tries again.
func (s *sender) once(ctx context.Context, p *planned) (outcome, *protocol.Error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, errTimeout)
	defer cancel()
	var connected atomic.Bool // from here on something may have been sent
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	o := outcome{Artifact: p.artifact, Outcome: notSent}
	req, err := nethttp.NewRequestWithContext(ctx, p.method, p.rawURL, nethttp.NoBody)
	if err != nil {
		return o, failed(o, "cannot be made", err)
	}
	req.Header = p.fields
	if len(p.body) > 0 {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(p.body)), int64(len(p.body)) // GetBody stays nil
	}
	t := s.transport()
	defer t.CloseIdleConnections()
	answer, err := t.RoundTrip(req)
	if err != nil {
		if !connected.Load() {
			return o, failed(o, "was not sent", reason(ctx, err, "no connection to the host can be made"))
		}
		o.Outcome = indeterminate
		return o, failed(o, "may have been sent", reason(ctx, err, "what was answered is not HTTP, or has a header that is too large"))
	}
	defer func() { _ = answer.Body.Close() }() // it was only read
	o.Status = answer.StatusCode
	if err := o.read(answer.Body); err != nil {
		o.Outcome = indeterminate
		return o, failed(o, fmt.Sprintf("was answered with status %d, but not to the end", o.Status), reason(ctx, err, "what was answered is not HTTP"))
	}
	o.Outcome = expected
	if !p.expects(o.Status) {
		o.Outcome = unexpected
		return o, failed(o, "was sent", fmt.Errorf("it was answered with status %d, expected is %s", o.Status, strings.Trim(fmt.Sprint(p.expect), "[]")))
	}
	return o, nil
}

// read records the body of a response without keeping it.
func (o *outcome) read(body io.Reader) error {
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(body, limits.HTTPResponseBytes))
	if err != nil {
		return err
	}
	if n == limits.HTTPResponseBytes {
		more, _ := io.ReadFull(body, make([]byte, 1)) // an error here is the end, or as good as it
		o.Truncated = more > 0
	}
	o.Bytes, o.Digest = n, protocol.FormatDigest(h.Sum(nil))
	return nil
}

// failed makes the error for a request that ended in a way.
func failed(o outcome, what string, err error) *protocol.Error {
	code := "http_not_sent"
	switch o.Outcome {
	case indeterminate:
		code = "http_indeterminate"
	case unexpected:
		code = "http_status"
	}
	return protocol.Errorf(protocol.ExitFailure, code, "%s: %w", what, err).
		WithHint("look at the host for what it did; a request whose fate is unknown is never sent again by itself")
}

// reason says why there is no answer, in words of ours: an answer that cannot be
// read may hold anything, also what was sent. otherwise is for all other causes.
func reason(ctx context.Context, err error, otherwise string) error {
	var (
		errno       syscall.Errno
		certificate *tls.CertificateVerificationError
		dns         *net.DNSError
	)
	switch {
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), errTimeout):
		return errTimeout
	case ctx.Err() != nil:
		return errors.New("it was interrupted")
	case errors.Is(err, errProxy):
		return err
	case errors.As(err, &certificate):
		return fmt.Errorf("the certificate of the host is not accepted: %s", printable(certificate.Err.Error()))
	case errors.As(err, &dns):
		return errors.New("the name of the host cannot be resolved")
	case errors.As(err, &errno):
		return errno
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(err.Error(), "server closed"):
		return errors.New("the connection was closed")
	}
	return errors.New(otherwise)
}

// printable bounds and neutralises text of a stranger.
func printable(s string) string {
	const most = 300
	if len(s) > most {
		s = s[:most]
	}
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, " "))
}
