package oci

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
)

// secured is a registry over TLS, with options that trust it.
func secured(t *testing.T) (*fake, Options, *httptest.Server) {
	t.Helper()
	f := newFake(t)
	s := httptest.NewTLSServer(f)
	t.Cleanup(s.Close)
	o := options(t)
	o.Plain, o.Transport = false, s.Client().Transport
	return f, o, s
}

func refAt(t *testing.T, server *httptest.Server, digest string) Reference {
	t.Helper()
	_, host, _ := strings.Cut(server.URL, "://")
	r, err := Parse(host+"/"+repository+"@"+digest, false)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRedirectToAListedHost follows a redirect to a host that the user listed:
// its bytes are hashed, and it gets no credentials.
func TestRedirectToAListedHost(t *testing.T) {
	t.Parallel()
	f, o, s := secured(t)
	archive := tarOf(t, fileE("f", "x"))
	d := f.image(t, nil, archive)
	layer := "blobs/" + protocol.Digest(gz(t, archive))
	var leaked atomic.Bool
	var evil atomic.Bool
	store := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			leaked.Store(true)
		}
		raw := append([]byte{}, f.things[layer].raw...)
		if evil.Load() {
			raw[len(raw)-1] ^= 1
		}
		_, _ = w.Write(raw)
	}))
	t.Cleanup(store.Close)
	f.hook = func(w http.ResponseWriter, r *http.Request, p string) bool {
		if user, password, ok := r.BasicAuth(); !ok || user != "ann" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return p == layer && redirect(w, r, p, store.URL+"/x")
	}
	_, host, _ := strings.Cut(s.URL, "://")
	o.DockerConfig = dockerConfig(t, `{"auths": {"https://%s/v2/": {"auth": "%s"}}}`, host, base64.StdEncoding.EncodeToString([]byte("ann:secret")))
	if _, err := Get(t.Context(), refAt(t, s, d.Digest), o); err == nil {
		t.Error("an unlisted private host was asked")
	} else {
		wantError(t, err, protocol.ExitIntegrity, "oci_redirect")
	}
	_, storeHost, _ := strings.Cut(store.URL, "://")
	o.Hosts = []string{storeHost}
	evil.Store(true)
	_, err := Get(t.Context(), refAt(t, s, d.Digest), o)
	wantError(t, err, protocol.ExitIntegrity, "oci_digest")
	evil.Store(false)
	if _, err := Get(t.Context(), refAt(t, s, d.Digest), o); err != nil {
		t.Error(err)
	}
	if leaked.Load() {
		t.Error("the other host got the credentials")
	}
}

func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	d := f.image(t, nil, tarOf(t))
	o := options(t)
	o.Plain = false
	_, err := Get(t.Context(), f.ref(t, d.Digest), o)
	wantError(t, err, protocol.ExitUnreachable, "oci_unreachable")
	if asked := f.requests(); len(asked) > 0 {
		t.Errorf("asked in plain http: %q", asked)
	}
	o.Plain = true
	ref, err := Parse("registry.example/a@"+d.Digest, false)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Get(t.Context(), ref, o)
	wantError(t, err, protocol.ExitUsage, "oci_plain")

	// A redirect from TLS to the same host in plain http.
	f, o, s := secured(t)
	d = f.image(t, nil, tarOf(t))
	f.hook = func(w http.ResponseWriter, r *http.Request, p string) bool {
		return r.TLS != nil && strings.HasPrefix(p, "blobs/") && redirect(w, r, p, f.server.URL+r.URL.Path)
	}
	_, err = Get(t.Context(), refAt(t, s, d.Digest), o)
	wantError(t, err, protocol.ExitIntegrity, "oci_redirect")
}

// TestToken gets a token as registries hand them out, and reads credentials only
// from a file that was named.
func TestToken(t *testing.T) {
	t.Parallel()
	f, o, s := secured(t)
	d := f.image(t, nil, tarOf(t, fileE("f", "x")))
	var users []string
	f.hook = func(w http.ResponseWriter, r *http.Request, _ string) bool {
		if r.URL.Path == "/token" {
			user, _, _ := r.BasicAuth()
			f.mu.Lock()
			users = append(users, user+" "+r.URL.Query().Get("scope"))
			f.mu.Unlock()
			_, _ = io.WriteString(w, `{"token": "t0ken"}`)
			return true
		}
		if r.Header.Get("Authorization") != "Bearer t0ken" {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="x"`, s.URL))
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	}
	if _, err := Get(t.Context(), refAt(t, s, d.Digest), o); err != nil {
		t.Fatal(err)
	}
	_, host, _ := strings.Cut(s.URL, "://")
	o.DockerConfig = dockerConfig(t, `{"auths": {"%s": {"username": "ann", "password": "p"}}}`, host)
	o.Cache = filepath.Join(t.TempDir(), "other")
	if _, err := Get(t.Context(), refAt(t, s, d.Digest), o); err != nil {
		t.Fatal(err)
	}
	if want := []string{" repository:team/engine:pull", "ann repository:team/engine:pull"}; !slices.Equal(users, want) {
		t.Errorf("tokens for %q, want %q", users, want)
	}
}

func dockerConfig(t *testing.T, format string, args ...any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		registry, config string
		user             string
		refused          bool
	}{
		"nothing":                      {"ghcr.io", `{}`, "", false},
		"by host":                      {"ghcr.io", `{"auths":{"ghcr.io":{"auth":"YTpi"}}}`, "a", false},
		"by URL":                       {"index.docker.io", `{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"}}}`, "a", false},
		"another name of Docker Hub":   {"index.docker.io", `{"auths":{"docker.io":{"auth":"YTpi"}}}`, "a", false},
		"for a part of it only":        {"ghcr.io", `{"auths":{"ghcr.io/org":{"auth":"YTpi"}}}`, "", false},
		"for another":                  {"ghcr.io", `{"auths":{"ghcr.io.evil.example":{"auth":"YTpi"},"":{"auth":"YTpi"}}}`, "", false},
		"from a helper":                {"ghcr.io", `{"credHelpers":{"ghcr.io":"evil"}}`, "", true},
		"from another's helper":        {"ghcr.io", `{"credHelpers":{"gcr.io":"evil"}}`, "", false},
		"in a store":                   {"ghcr.io", `{"credsStore":"evil","auths":{"ghcr.io":{}}}`, "", true},
		"a store without the host":     {"ghcr.io", `{"credsStore":"evil"}`, "", false},
		"an auth that is none":         {"ghcr.io", `{"auths":{"ghcr.io":{"auth":"!"}}}`, "", true},
		"no JSON":                      {"ghcr.io", `auths: secret`, "", true},
		"more than anybody would have": {"ghcr.io", strings.Repeat(" ", 2<<20), "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, err := credentials(c.registry, dockerConfig(t, "%s", c.config))
			if c.refused {
				wantError(t, err, protocol.ExitUsage, "oci_credentials")
				if strings.Contains(err.Error(), "secret") {
					t.Errorf("the error shows the file: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			auth, err := a.Authorization()
			if err != nil || auth.Username != c.user {
				t.Errorf("user %q, want %q (%v)", auth.Username, c.user, err)
			}
		})
	}
	_, err := credentials("ghcr.io", filepath.Join(t.TempDir(), "absent"))
	wantError(t, err, protocol.ExitUsage, "oci_credentials")
}

// TestAgain asks again what failed for a moment, and not what was refused.
func TestAgain(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	archive := tarOf(t, fileE("f", strings.Repeat("x", 5000)))
	d := f.image(t, nil, archive)
	layer := "blobs/" + protocol.Digest(gz(t, archive))
	failed := map[string]int{}
	f.hook = func(w http.ResponseWriter, _ *http.Request, p string) bool {
		f.mu.Lock()
		failed[p]++
		n := failed[p]
		f.mu.Unlock()
		switch {
		case n > 2 || p == "/v2/":
			return false
		case p == layer:
			w.Header().Set("Content-Length", strconv.Itoa(len(f.things[layer].raw)))
			_, _ = w.Write([]byte{0x1f})
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return true
	}
	if _, err := Get(t.Context(), f.ref(t, d.Digest), options(t)); err != nil {
		t.Fatal(err)
	}
	f = newFake(t)
	d = f.image(t, nil, archive)
	f.hook = func(w http.ResponseWriter, _ *http.Request, p string) bool {
		if p == layer {
			_, _ = w.Write(make([]byte, len(f.things[layer].raw)))
		}
		return p == layer
	}
	_, err := Get(t.Context(), f.ref(t, d.Digest), options(t))
	wantError(t, err, protocol.ExitIntegrity, "oci_digest")
	n := 0
	for _, p := range f.requests() {
		if p == layer {
			n++
		}
	}
	if n != 1 {
		t.Errorf("wrong bytes were asked for %d times", n)
	}
}

func TestSlowRegistry(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"manifests/", "blobs/"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			d := f.image(t, nil, tarOf(t, fileE("f", "x")))
			f.hook = func(w http.ResponseWriter, r *http.Request, p string) bool {
				if strings.HasPrefix(p, path) {
					_, _ = w.Write([]byte("{"))
					w.(http.Flusher).Flush()
					<-r.Context().Done()
				}
				return strings.HasPrefix(p, path)
			}
			o := options(t)
			o.stall = 20 * time.Millisecond
			_, err := Get(t.Context(), f.ref(t, d.Digest), o)
			wantError(t, err, protocol.ExitUnreachable, "oci_unreachable")
			if !errors.Is(err, errStalled) {
				t.Errorf("the error does not say that nothing came: %v", err)
			}
			o.stall = time.Minute
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(50*time.Millisecond, cancel)
			_, err = Get(ctx, f.ref(t, d.Digest), o)
			wantError(t, err, protocol.ExitInterrupted, "interrupted")
			ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err = Get(ctx, f.ref(t, d.Digest), o)
			wantError(t, err, protocol.ExitUnreachable, "oci_unreachable")
		})
	}
}

// TestErrorsShowNothingHostile: what a server says is no escape sequence and no
// workflow command on somebody's terminal.
func TestErrorsShowNothingHostile(t *testing.T) {
	t.Parallel()
	f, o, s := secured(t)
	d := f.image(t, nil, tarOf(t))
	f.hook = func(w http.ResponseWriter, r *http.Request, _ string) bool {
		if r.URL.Path == "/token" {
			_, _ = io.WriteString(w, "{\"x\": \"\x7f\",\n\"error\": \"\u202e\"}\n::set-output name=a::b"+strings.Repeat("x", 5000))
			return true
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="x"`, s.URL))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	_, err := Get(t.Context(), refAt(t, s, d.Digest), o)
	wantError(t, err, protocol.ExitUnreachable, "oci_unreachable")
	if text := err.Error(); strings.ContainsAny(text, "\n\x7f\u202e") || len(text) > 1000 {
		t.Errorf("%q", text)
	}
}
