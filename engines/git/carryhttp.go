package git

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// httpRemote speaks git's smart protocol over https.
type httpRemote struct {
	client   *http.Client
	url      string
	username string
	token    string
	adv      *packp.AdvRefs
	log      io.Writer
}

// httpCarrier prepares the way over https: through the proxy that the environment
// names, with the roots that it names. A redirect is never followed: the commit
// goes to the configured address only.
func (s *settings) httpCarrier(r *kit.Run, log io.Writer) (func(ctx context.Context) (carrier, error), error) {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: limits.GitConnectTimeout}).DialContext,
		TLSHandshakeTimeout: limits.GitConnectTimeout,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		DisableCompression:  true,
		ForceAttemptHTTP2:   true,
	}
	proxy := proxyOf(r.Env)
	transport.Proxy = func(req *http.Request) (*url.URL, error) { return proxy(req.URL) }
	if name := r.Env["SSL_CERT_FILE"]; name != "" {
		roots, err := readRoots(name)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	token, _ := r.Secret(secretToken)
	return func(context.Context) (carrier, error) {
		return &httpRemote{client: client, url: strings.TrimSuffix(s.remote.text, "/"), username: s.username, token: token, log: log}, nil
	}, nil
}

// proxyOf gives the proxy for an address as the run's environment says.
func proxyOf(env map[string]string) func(*url.URL) (*url.URL, error) {
	get := func(names ...string) string {
		for _, n := range names {
			if v := env[n]; v != "" {
				return v
			}
		}
		return ""
	}
	// Every host goes through it: Go's own rules would let loopback pass by, where no
	// other way may lead out.
	return func(to *url.URL) (*url.URL, error) {
		address := get("HTTPS_PROXY", "https_proxy")
		if to.Scheme == "http" {
			address = get("HTTP_PROXY", "http_proxy")
		}
		if address == "" {
			return nil, nil //nolint:nilnil // as net/http wants it: no proxy
		}
		return url.Parse(address)
	}
}

func readRoots(name string) (*x509.CertPool, error) {
	bad := func(err error) error {
		return protocol.Errorf(protocol.ExitFailure, "git_roots", "the certificates in SSL_CERT_FILE cannot be read: %w", err).At(name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, bad(err)
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := kit.ReadBounded(f, limits.GitFileBytes)
	if err != nil {
		return nil, bad(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, bad(errors.New("there is none"))
	}
	return roots, nil
}

func (h *httpRemote) look(ctx context.Context, ref string) (plumbing.Hash, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/info/refs?service="+receivePack, http.NoBody)
	if err != nil {
		return plumbing.ZeroHash, unreachable("%w", err)
	}
	res, err := h.do(req, "application/x-"+receivePack+"-advertisement")
	if err != nil {
		return plumbing.ZeroHash, err
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	if h.adv, err = readAdvertisement(res.Body); err != nil {
		return plumbing.ZeroHash, err
	}
	return advertised(h.adv, ref), nil
}

func (h *httpRemote) send(ctx context.Context, c command) error {
	head, request, err := encodeRequest(c, h.adv)
	if err != nil {
		return err
	}
	body := io.MultiReader(bytes.NewReader(head), bytes.NewReader(c.b.pack))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url+"/"+receivePack, body)
	if err != nil {
		return unreachable("%w", err)
	}
	req.ContentLength = int64(len(head)) + int64(len(c.b.pack))
	req.Header.Set("Content-Type", "application/x-"+receivePack+"-request")
	res, err := h.do(req, "application/x-"+receivePack+"-result")
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	return readReport(res.Body, request, c, h.log)
}

// do sends a request and looks at the status and type of the answer.
func (h *httpRemote) do(req *http.Request, wanted string) (*http.Response, error) {
	req.Header.Set("User-Agent", "git/2 ("+agent+")") // some forges answer git's clients only
	req.Header.Set("Accept", wanted)
	if h.token != "" {
		req.SetBasicAuth(h.username, h.token)
	}
	res, err := h.client.Do(req)
	if err != nil {
		return nil, unreachable("the remote cannot be reached: %w", err)
	}
	status, kind := res.StatusCode, res.Header.Get("Content-Type")
	if status == http.StatusOK && kind == wanted {
		return res, nil
	}
	_ = res.Body.Close() // it is not read
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		what := "refused the token in " + secretToken
		if h.token == "" {
			what = "asks for a token, and no secret " + secretToken + " is mapped"
		}
		return nil, refused("the remote %s (HTTP status %d)", what, status)
	case status >= 300 && status < 400:
		return nil, refused("the remote redirects to %q (HTTP status %d), which is not followed", printable(withoutUser(res.Header.Get("Location"))), status).
			WithHint("write the repository's new address into \"remote\"")
	case status == http.StatusNotFound:
		return nil, refused("there is no such repository, or the token may not see it (HTTP status %d)", status)
	case status != http.StatusOK:
		return nil, unreachable("the remote answered with HTTP status %d", status)
	}
	return nil, unreachable("the remote answered with type %q, not as a git server does", printable(kind))
}

func withoutUser(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host + u.Path
}

func (h *httpRemote) close() { h.client.CloseIdleConnections() }
