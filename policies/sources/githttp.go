package sources

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// httpRemote speaks git's smart protocol over https.
type httpRemote struct {
	client *http.Client
	base   string
	where  string
	open   []io.Closer
}

// elsewhereError says that a remote led to an address that is refused.
type elsewhereError struct{ to string }

func (e elsewhereError) Error() string { return fmt.Sprintf("the remote leads to %q", e.to) }

func newHTTP(u *url.URL, where string) *httpRemote {
	h := &httpRemote{base: strings.TrimSuffix(u.String(), "/"), where: where}
	h.client = &http.Client{
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: limits.SourceGitConnect}).DialContext,
			TLSHandshakeTimeout:    limits.SourceGitConnect,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			MaxResponseHeaderBytes: limits.SourceGitFile,
			DisableCompression:     true,
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if r.URL.Scheme != u.Scheme || r.URL.Host != u.Host || r.URL.User != nil || via[0].Method != http.MethodGet {
				return elsewhereError{short(r.URL.Scheme + "://" + r.URL.Host)}
			}
			if len(via) > limits.SourceGitRedirects {
				return fmt.Errorf("more than %d redirects", limits.SourceGitRedirects)
			}
			return nil
		},
	}
	return h
}

func (h *httpRemote) refs(ctx context.Context) (io.Reader, error) {
	const path = "/info/refs"
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.base+path+"?service="+uploadPack, http.NoBody)
	if err != nil {
		return nil, unreachable(h.where, "%w", err)
	}
	response, err := h.do(r, "application/x-"+uploadPack+"-advertisement") //nolint:bodyclose // close does it
	if err != nil {
		return nil, err
	}
	// As git does: what was moved is asked where it is now.
	at := *response.Request.URL
	at.RawQuery = ""
	base, ok := strings.CutSuffix(at.String(), path)
	if !ok {
		return nil, unreachable(h.where, "the remote redirects to an address that is no repository's")
	}
	h.base = base
	return response.Body, nil
}

func (h *httpRemote) ask(ctx context.Context, request []byte) (io.Reader, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.base+"/"+uploadPack, bytes.NewReader(request))
	if err != nil {
		return nil, unreachable(h.where, "%w", err)
	}
	r.Header.Set("Content-Type", "application/x-"+uploadPack+"-request")
	response, err := h.do(r, "application/x-"+uploadPack+"-result") //nolint:bodyclose // close does it
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

func (h *httpRemote) do(r *http.Request, kind string) (*http.Response, error) {
	r.Header.Set("User-Agent", "git/2 (cabincrew)") // some forges answer git's clients only
	r.Header.Set("Accept", kind)
	response, err := h.client.Do(r)
	if err != nil {
		var to elsewhereError
		if errors.As(err, &to) {
			return nil, protocol.Errorf(protocol.ExitDenied, "policy_git_redirect", "the remote redirects to %q, which is not followed", to.to).At(h.where).
				WithHint("if the repository moved there, write its new address into policies.sources")
		}
		return nil, unreachable(h.where, "the remote cannot be reached: %s", short(err.Error()))
	}
	h.open = append(h.open, response.Body)
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusNotFound:
		return nil, unreachable(h.where, "there is no such repository, or it is not public (HTTP status %d)", status).
			WithHint("for a repository that is not public write ssh://HOST/PATH; its key comes from the ssh agent")
	case status != http.StatusOK:
		return nil, unreachable(h.where, "the remote answers with HTTP status %d", status)
	}
	if got := response.Header.Get("Content-Type"); got != kind {
		return nil, unreachable(h.where, "the remote answers with the type %q, not as a git server does", short(got))
	}
	return response, nil
}

func (h *httpRemote) close() {
	for _, c := range h.open {
		_ = c.Close() // nothing is expected of it any more
	}
	h.client.CloseIdleConnections()
}
