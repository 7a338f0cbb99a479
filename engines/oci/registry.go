package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
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

// registrySource is a repository of a registry as a source. It connects when it is
// first asked.
type registrySource struct {
	ref   Reference
	repo  name.Repository
	auth  authn.Authenticator
	guard *registry.Guard
	o     Options

	connecting sync.Mutex
	client     *http.Client
}

func openRegistry(ref Reference, o Options) (*registrySource, error) {
	host := ref.registry
	if o.Plain && !registry.Loopback(hostOnly(host)) {
		return nil, protocol.Errorf(protocol.ExitUsage, "oci_plain", "plain http is only for registries on the loopback interface").
			At(ref.String()).WithHint("give the registry a certificate; an authority of your own can be trusted through the system's store")
	}
	how := []name.Option{name.StrictValidation}
	if o.Plain {
		how = append(how, name.Insecure)
	}
	repo, err := name.NewRepository(host+"/"+ref.repository, how...)
	if err != nil {
		return nil, badReference(ref.String(), "is refused: %w", err)
	}
	auth, err := credentials(repo.RegistryStr(), o.DockerConfig)
	if err != nil {
		return nil, err
	}
	return &registrySource{ref: ref, repo: repo, auth: auth, guard: guarded(repo.RegistryStr(), o), o: o}, nil
}

func guarded(host string, o Options) *registry.Guard {
	return registry.NewGuard(registry.Options{
		Host: host, Plain: o.Plain, Hosts: o.Hosts, Transport: o.Transport,
		Dial: limits.OCIDial, Header: limits.OCIHeader, PingBytes: limits.OCIPingBytes, Redirects: limits.OCIRedirects,
	})
}

// credentials reads what a Docker configuration has for a registry; without a
// file, or an entry in it, requests are anonymous.
func credentials(host, file string) (authn.Authenticator, error) {
	if file == "" {
		return authn.Anonymous, nil
	}
	auth, err := fileCredentials(host, file)
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitUsage, "oci_credentials", "%w", err).At(file).
			WithHint("give a file with \"auths\" that holds the credentials itself; credential helpers are programs and are not run")
	}
	return auth, nil
}

func fileCredentials(host, file string) (authn.Authenticator, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, fmt.Errorf("the Docker configuration cannot be read: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	raw, err := io.ReadAll(io.LimitReader(f, limits.OCIDockerConfig+1))
	if err != nil || len(raw) > limits.OCIDockerConfig {
		return nil, fmt.Errorf("the Docker configuration cannot be read or has more than %d bytes", limits.OCIDockerConfig)
	}
	return registry.Credentials(host, raw)
}

func hostOnly(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	return strings.Trim(host, "[]")
}

func (r *registrySource) close() {
	r.guard.Close()
}

// connect learns how the registry wants to be asked and gets a token from the
// service that it names.
func (r *registrySource) connect(ctx context.Context) (*http.Client, error) {
	r.connecting.Lock()
	defer r.connecting.Unlock()
	if r.client != nil {
		return r.client, nil
	}
	client, err := r.guard.Connect(ctx, r.repo, r.auth, registry.Pull)
	if err != nil {
		return nil, err
	}
	r.client = client
	return r.client, nil
}

// Manifest gives a manifest by digest or tag.
func (r *registrySource) Manifest(ctx context.Context, name string) ([]byte, string, error) {
	accept := strings.Join([]string{typeManifest, typeIndex, typeDockerManifest, typeDockerIndex}, ", ")
	var raw []byte
	var stated string
	err := r.attempts(ctx, func() error {
		body, err := r.get(ctx, "manifests/"+name, accept)
		if err != nil {
			return err
		}
		defer func() { _ = body.Close() }() // only read
		stated = body.mediaType
		raw, err = io.ReadAll(io.LimitReader(body, r.o.Limits.ManifestBytes+1))
		if err != nil {
			return passingError{unreachable(r.ref.String(), "the manifest did not arrive whole: %w", err)}
		}
		if int64(len(raw)) > r.o.Limits.ManifestBytes {
			return tooMuch(r.ref.String(), "the manifest has more than %d bytes", r.o.Limits.ManifestBytes)
		}
		return nil
	})
	return raw, stated, err
}

// Blob opens a blob of the repository.
func (r *registrySource) Blob(ctx context.Context, digest string, size int64) (io.ReadCloser, error) {
	body, err := r.get(ctx, "blobs/"+digest, "*/*")
	if err != nil {
		return nil, err
	}
	if length := body.length; length >= 0 && size >= 0 && length != size {
		_ = body.Close() // nothing of it is read
		return nil, mismatch(r.ref.String(), "the registry announces %d bytes for %s, which has %d", length, digest, size)
	}
	return body, nil
}

// attempts does something again that the network kept from happening.
func (r *registrySource) attempts(ctx context.Context, do func() error) error {
	return attempts(ctx, r.o.retryDelay, do)
}

func attempts(ctx context.Context, delay time.Duration, do func() error) error {
	for n := 1; ; n++ {
		err := do()
		if stopped := interrupted(ctx); err != nil && stopped != nil {
			return stopped
		}
		var again passingError
		if !errors.As(err, &again) {
			return err
		}
		if n == limits.OCIAttempts {
			return again.error
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return interrupted(ctx)
		}
		delay *= 4
	}
}

// get asks the registry once. Errors that may pass are passingError.
func (r *registrySource) get(ctx context.Context, path, accept string) (*answer, error) {
	own, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(r.o.stall, func() { cancel(errStalled) })
	response, err := r.send(own, path, accept)
	if cause := context.Cause(own); err != nil && cause != nil {
		err = cause
	}
	if err == nil && response.StatusCode == http.StatusOK {
		return &answer{
			body: response.Body, mediaType: response.Header.Get("Content-Type"), length: response.ContentLength,
			timer: timer, after: r.o.stall, ctx: own, cancel: cancel,
		}, nil
	}
	timer.Stop()
	cancel(nil)
	if err != nil {
		return nil, r.failed(ctx, err)
	}
	_ = response.Body.Close() // nothing of it is read
	return nil, r.refused(path, response.StatusCode)
}

func (r *registrySource) send(ctx context.Context, path, accept string) (*http.Response, error) {
	client, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	scheme := "https"
	if r.o.Plain {
		scheme = "http"
	}
	u := fmt.Sprintf("%s://%s/v2/%s/%s", scheme, r.repo.RegistryStr(), r.repo.RepositoryStr(), path)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", accept)
	request.Header.Set("Accept-Encoding", "identity") // digests are of the bytes as stored
	return client.Do(request)
}

// failed sorts an error of a request.
func (r *registrySource) failed(ctx context.Context, err error) error {
	if stopped := interrupted(ctx); stopped != nil {
		return stopped
	}
	var sent registry.SentError
	if errors.As(err, &sent) {
		return protocol.Errorf(protocol.ExitIntegrity, "oci_redirect", "the registry leads to %s, which is refused", sent.Reason).
			At(r.ref.String()).WithHint("if that is right, list the host; plain http is only for a registry on loopback that is configured so")
	}
	var status *transport.Error
	if errors.As(err, &status) {
		return r.refused("the request for a token", status.StatusCode)
	}
	return passingError{unreachable(r.ref.String(), "the registry cannot be reached: %w", printable{err})}
}

// refused is the error for a status that is not 200.
func (r *registrySource) refused(path string, status int) error {
	e := unreachable(r.ref.String(), "the registry answers %d %s to %s", status, http.StatusText(status), path)
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return e.WithHint("the image may be private or absent: give a Docker configuration with credentials for %s", r.ref.registry)
	case status == http.StatusNotFound:
		return e.WithHint("look whether the image was pushed to this repository and not deleted")
	case status == http.StatusTooManyRequests || status >= http.StatusInternalServerError:
		return passingError{e.WithHint("try again later")}
	}
	return e
}

// printable shows what a hostile server may have put into an error.
type printable struct{ error }

func (p printable) Unwrap() error { return p.error }

func (p printable) Error() string {
	text := []rune(p.error.Error())
	for n, r := range text {
		if !unicode.IsPrint(r) {
			text[n] = '?'
		}
	}
	const most = 500
	return string(text[:min(len(text), most)])
}

var errStalled = errors.New("no byte came for too long")

// answer is what the registry gives; its body ends when nothing comes for a while.
type answer struct {
	body      io.ReadCloser
	mediaType string
	length    int64 // -1: not announced
	timer     *time.Timer
	after     time.Duration
	ctx       context.Context
	cancel    context.CancelCauseFunc
}

func (s *answer) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	if n > 0 {
		s.timer.Reset(s.after)
	}
	if cause := context.Cause(s.ctx); err != nil && cause != nil {
		err = cause
	}
	return n, err
}

func (s *answer) Close() error {
	s.timer.Stop()
	s.cancel(nil)
	return s.body.Close()
}
