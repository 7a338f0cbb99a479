package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/registry"
	"github.com/cabincrew/action/protocol"
)

// ociStore keeps archives in a repository of a registry. It connects when it is
// first asked.
type ociStore struct {
	ref   Ref
	repo  name.Repository
	auth  authn.Authenticator
	guard *registry.Guard
	base  string // scheme://host/v2/repository/
	o     Options

	connecting sync.Mutex
	clients    map[string]*http.Client // by scope
}

var _ Store = (*ociStore)(nil)

func openOCI(ref Ref, o Options) (*ociStore, error) {
	how, scheme := []name.Option{name.StrictValidation}, "https"
	if o.Plain {
		how, scheme = append(how, name.Insecure), "http"
	}
	repo, err := name.NewRepository(ref.Place, how...)
	if err != nil {
		return nil, badRef(ref.String(), "is refused: %w", err)
	}
	host := repo.RegistryStr()
	if u, err := url.Parse("//" + host); o.Plain && (err != nil || !registry.Loopback(u.Hostname())) {
		return nil, badRef(ref.String(), "asks for plain http, which is only for registries on the loopback interface")
	}
	auth := authn.Anonymous
	if len(o.DockerConfig) > 0 {
		if auth, err = registry.Credentials(host, o.DockerConfig); err != nil {
			return nil, protocol.Errorf(protocol.ExitUsage, "storage_credentials", "%w", err).At(ref.String()).
				WithHint("give a Docker configuration with \"auths\" that holds the credentials itself; credential helpers are programs and are not run")
		}
	}
	guard := registry.NewGuard(registry.Options{
		Host: host, Plain: o.Plain, Hosts: o.Hosts, Transport: o.Transport,
		Dial: limits.OCIDial, Header: limits.OCIHeader, PingBytes: limits.OCIPingBytes, Redirects: limits.OCIRedirects,
	})
	return &ociStore{
		ref: ref, repo: repo, auth: auth, guard: guard, o: o, clients: map[string]*http.Client{},
		base: fmt.Sprintf("%s://%s/v2/%s/", scheme, host, repo.RepositoryStr()),
	}, nil
}

func (s *ociStore) connect(ctx context.Context, scope string) (*http.Client, error) {
	s.connecting.Lock()
	defer s.connecting.Unlock()
	if c := s.clients[scope]; c != nil {
		return c, nil
	}
	c, err := s.guard.Connect(ctx, s.repo, s.auth, scope)
	if err == nil {
		s.clients[scope] = c
	}
	return c, err
}

// passing is a failure that another try may not have.
type passing struct{ error }

func (e passing) Unwrap() error { return e.error }

// question is one request to the registry.
type question struct {
	scope, method string
	url           string
	header        map[string]string
	body          []byte
	stream        io.Reader // instead of body, of so many bytes
	size          int64
}

// ask sends a request once. Errors that may pass are passing.
func (s *ociStore) ask(ctx context.Context, q question) (*http.Response, error) {
	client, err := s.connect(ctx, q.scope)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	var body io.Reader = http.NoBody
	switch {
	case q.stream != nil:
		body = q.stream
	case q.body != nil:
		body = bytes.NewReader(q.body)
	}
	request, err := http.NewRequestWithContext(ctx, q.method, q.url, body)
	if err != nil {
		return nil, s.failed(ctx, registry.SentError{Reason: "a URL that is none"})
	}
	if q.stream != nil {
		request.ContentLength = q.size
	}
	request.Header.Set("Accept-Encoding", "identity") // digests are of the bytes as stored
	for k, v := range q.header {
		request.Header.Set(k, v)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return response, nil
}

// answer is a small answer, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
	url    *url.URL
}

// small asks for something small, with all of the time that a small thing may take.
func (s *ociStore) small(ctx context.Context, q question) (answer, error) {
	own, cancel := context.WithTimeout(ctx, limits.StorageRequest)
	defer cancel()
	response, err := s.ask(own, q)
	if err != nil {
		if stopped := interrupted(ctx); stopped != nil {
			return answer{}, stopped
		}
		if own.Err() != nil { // ours, not the caller's
			return answer{}, passing{unreachable(s.ref.String(), "the registry took longer than %s", limits.StorageRequest)}
		}
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }() // only read
	body, err := io.ReadAll(io.LimitReader(response.Body, limits.OCIManifestBytes+1))
	if err != nil {
		return answer{}, s.failed(ctx, err)
	}
	if len(body) > limits.OCIManifestBytes {
		return answer{}, tooLarge(s.ref.String(), "the registry answers with more than %d bytes", limits.OCIManifestBytes)
	}
	return answer{response.StatusCode, response.Header, body, response.Request.URL}, nil
}

// steady asks again while it may help. An answer is given whose status is one of those.
func (s *ociStore) steady(ctx context.Context, q question, good ...int) (answer, error) {
	var a answer
	err := s.tries(ctx, func() error {
		var err error
		if a, err = s.small(ctx, q); err != nil {
			return err
		}
		if slices.Contains(good, a.status) {
			return nil
		}
		return s.refused(q.method, q.url, a.status)
	})
	return a, err
}

// tries does something again that the network kept from happening.
func (s *ociStore) tries(ctx context.Context, do func() error) error {
	for n := 1; ; n++ {
		err := do()
		var again passing
		if !errors.As(err, &again) {
			return err
		}
		if n == limits.StorageTries {
			return again.error
		}
		if err := s.wait(ctx, n); err != nil {
			return err
		}
	}
}

// wait waits before a further try.
func (s *ociStore) wait(ctx context.Context, n int) error {
	timer := time.NewTimer(s.o.delay << min(n-1, 10))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return interrupted(ctx)
	}
}

// failed sorts an error of a request.
func (s *ociStore) failed(ctx context.Context, err error) error {
	if stopped := interrupted(ctx); stopped != nil {
		return stopped
	}
	var sent registry.SentError
	if errors.As(err, &sent) {
		return protocol.Errorf(protocol.ExitIntegrity, "storage_redirect", "the registry leads to %s, which is refused", sent.Reason).
			At(s.ref.String()).WithHint("plain http is only for a registry on loopback, and private addresses only for the registry itself")
	}
	var status *transport.Error
	if errors.As(err, &status) {
		return s.refused("the request for", "a token", status.StatusCode)
	}
	return passing{unreachable(s.ref.String(), "the registry cannot be reached: %w", printable{err})}
}

// refused is the error for a status that is not a good one.
func (s *ociStore) refused(method, at string, status int) error {
	path := strings.TrimPrefix(at, s.base)
	if u, err := url.Parse(path); err == nil {
		path = u.Path // the rest may hold what lets somebody in
	}
	e := unreachable(s.ref.String(), "the registry answers %d %s to %s %s", status, http.StatusText(status), method, quoted(path))
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return e.WithHint("the repository may be private or absent: log in to %s so that the Docker configuration holds the credentials", s.repo.RegistryStr())
	case status == http.StatusNotFound:
		return missing(s.ref.String(), "the registry has no %s", quoted(path))
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= http.StatusInternalServerError:
		return passing{e}
	}
	return e
}

// printable keeps what a server put into an error from playing tricks on a terminal.
type printable struct{ err error }

func (p printable) Unwrap() error { return p.err }

func (p printable) Error() string {
	const most = 500
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, p.err.Error())
	if len(text) > most {
		text = text[:most] + "..."
	}
	return text
}
