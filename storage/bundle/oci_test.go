package bundle

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/cabincrew/action/protocol"
)

// store puts an archive into a registry.
func store(ctx context.Context, t testing.TB, ref Ref, o Options, archive []byte, m Meta) (Ref, error) {
	t.Helper()
	s, err := Open(ref, o)
	if err != nil {
		return Ref{}, err
	}
	return s.Put(ctx, file(t, archive), Packed{Digest: protocol.Digest(archive), Size: int64(len(archive))}, m)
}

func load(ctx context.Context, t testing.TB, ref Ref, o Options) ([]byte, Ref, error) {
	t.Helper()
	s, err := Open(ref, o)
	if err != nil {
		return nil, Ref{}, err
	}
	f := file(t, nil)
	got, err := s.Get(ctx, ref, f)
	if err != nil {
		return nil, got, err
	}
	_, _ = f.Seek(0, io.SeekStart)
	data, err := io.ReadAll(f)
	return data, got, err
}

func meta() Meta {
	return Meta{
		WorkflowID: "20260101-000000-0123456789", FlightToken: "sha256:" + strings.Repeat("a", 64), Decision: "ALLOW", Change: "evil\nname",
		HeadCommit: strings.Repeat("b", 40), Created: "2026-01-01T00:00:00Z",
		PlanBundle: []byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`), PredicateType: "https://cabincrew.dev/flight-plan/v1",
	}
}

// TestOthersFindTheFlight reads with another client what was stored, with and without
// a registry that lists referrers by itself.
func TestOthersFindTheFlight(t *testing.T) {
	t.Parallel()
	for _, api := range []bool{true, false} {
		t.Run(fmt.Sprintf("referrers %v", api), func(t *testing.T) {
			t.Parallel()
			r := newRegistry(t, api)
			ref := r.ref()
			ref.Tag = "change-7"
			archive := []byte(noise(1, 200_000))
			got, err := store(t.Context(), t, ref, r.options(), archive, meta())
			if err != nil {
				t.Fatal(err)
			}
			if again, err := store(t.Context(), t, ref, r.options(), archive, meta()); err != nil || again != got {
				t.Fatal(again, err)
			}
			at, err := name.NewDigest(got.Place+"@"+got.Digest, name.Insecure)
			if err != nil {
				t.Fatal(err)
			}
			d, err := remote.Get(at)
			if err != nil {
				t.Fatal(err)
			}
			var m manifest
			if err := protocol.Decode(d.Manifest, &m); err != nil {
				t.Fatal(err)
			}
			if m.ArtifactType != ArtifactType || m.Annotations["dev.cabincrew.flight.token"] != meta().FlightToken ||
				m.Annotations["dev.cabincrew.flight.decision"] != "ALLOW" || m.Annotations["dev.cabincrew.flight.change"] != "" {
				t.Errorf("%+v", m)
			}
			list, err := remote.Referrers(at)
			if err != nil {
				t.Fatal(err)
			}
			index, err := list.IndexManifest()
			if err != nil || len(index.Manifests) != 1 {
				t.Fatalf("%+v %v", index, err)
			}
			// What cosign looks for: the type of the referrer, and the bundle as its first layer.
			// This registry's own list has the configuration's type in its place.
			if have := index.Manifests[0]; !api && have.ArtifactType != signatureType {
				t.Errorf("%+v", have)
			}
			image, err := remote.Image(at.Context().Digest(index.Manifests[0].Digest.String()))
			if err != nil {
				t.Fatal(err)
			}
			config, err := image.Manifest()
			if err != nil || config.Annotations["dev.sigstore.bundle.content"] != "dsse-envelope" ||
				config.Annotations["dev.sigstore.bundle.predicateType"] != meta().PredicateType || string(config.Config.MediaType) != typeEmpty {
				t.Errorf("%+v %v", config, err)
			}
			layers, err := image.Layers()
			if err != nil || len(layers) != 1 {
				t.Fatal(layers, err)
			}
			body, err := layers[0].Compressed()
			if err != nil {
				t.Fatal(err)
			}
			if raw, err := io.ReadAll(body); err != nil || !bytes.Equal(raw, meta().PlanBundle) {
				t.Errorf("%q %v", raw, err)
			}
			// By tag, which is resolved once and told.
			data, pinned, err := load(t.Context(), t, ref, r.options())
			if err != nil || !bytes.Equal(data, archive) || pinned != got {
				t.Error(pinned, err)
			}
		})
	}
}

// uploads is a registry's side of uploads that remembers what came before a
// connection broke.
type uploads struct {
	mu    sync.Mutex
	have  map[string][]byte
	begun int
	sent  int                     // bytes of all chunks
	cut   func(offset, n int) int // how many bytes of a chunk come before the connection breaks; -1: all
}

func (u *uploads) serve(w http.ResponseWriter, r *http.Request, inner http.Handler) bool {
	if !strings.Contains(r.URL.Path, "/blobs/uploads/") {
		return false
	}
	id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	u.mu.Lock()
	defer u.mu.Unlock()
	answer := func(status int) bool {
		w.Header().Set("Location", r.URL.Path+"?state=x")
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(len(u.have[id])-1, 0)))
		w.WriteHeader(status)
		return true
	}
	switch r.Method {
	case http.MethodPost:
		u.begun++
		r.URL.Path += fmt.Sprintf("u%d", u.begun)
		u.have[fmt.Sprintf("u%d", u.begun)] = nil
		return answer(http.StatusAccepted)
	case http.MethodGet:
		return answer(http.StatusNoContent)
	case http.MethodPatch:
		var from, to int
		if _, err := fmt.Sscanf(r.Header.Get("Content-Range"), "%d-%d", &from, &to); err != nil || from != len(u.have[id]) || r.URL.Query().Get("state") != "x" {
			return answer(http.StatusRequestedRangeNotSatisfiable)
		}
		n := -1
		if u.cut != nil {
			n = u.cut(from, to-from+1)
		}
		part := io.Reader(r.Body)
		if n >= 0 {
			part = io.LimitReader(part, int64(n))
		}
		data, _ := io.ReadAll(part)
		u.have[id] = append(u.have[id], data...)
		u.sent += len(data)
		if n >= 0 {
			panic(http.ErrAbortHandler)
		}
		return answer(http.StatusAccepted)
	case http.MethodPut:
		rest, _ := io.ReadAll(r.Body)
		all := append(u.have[id], rest...)
		q := httptest.NewRequest(http.MethodPost, strings.TrimSuffix(r.URL.Path, id)+"?digest="+r.URL.Query().Get("digest"), bytes.NewReader(all))
		inner.ServeHTTP(w, q)
	}
	return true
}

func TestUploadGoesOnWhereItBroke(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	archive := []byte(noise(3, size))
	for name, c := range map[string]struct {
		cut   func() func(offset, n int) int
		begun int
	}{
		"never": {func() func(int, int) int { return nil }, 0},
		"in the middle": {func() func(int, int) int {
			left := 3
			return func(offset, n int) int {
				if offset > 200_000 && left > 0 {
					left--
					return n / 3
				}
				return -1
			}
		}, 0},
		"at once": {func() func(int, int) int {
			left := 2
			return func(int, int) int {
				if left > 0 {
					left--
					return 0
				}
				return -1
			}
		}, 0},
		"each chunk": {func() func(int, int) int { return func(_, n int) int { return max(n/2, 1) } }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry(t, true)
			r.Config.ErrorLog = nil
			u := &uploads{have: map[string][]byte{}, cut: c.cut()}
			r.hook = u.serve
			var told []int64
			o := r.options()
			o.Progress = func(done, _ int64) { told = append(told, done) }
			ref, err := store(t.Context(), t, r.ref(), o, archive, Meta{})
			if err != nil {
				t.Fatal(err)
			}
			data, _, err := load(t.Context(), t, ref, r.options())
			if err != nil || !bytes.Equal(data, archive) {
				t.Fatal(err)
			}
			if u.sent != size {
				t.Errorf("%d bytes were sent for %d", u.sent, size)
			}
			if u.begun != 2 { // the empty configuration and the archive
				t.Errorf("%d uploads were begun", u.begun)
			}
			if !slices.IsSorted(told) || told[len(told)-1] != size {
				t.Errorf("progress %v", told)
			}
		})
	}
}

// TestUploadBeginsAnew meets registries that forget uploads, or know no chunks.
func TestUploadBeginsAnew(t *testing.T) {
	t.Parallel()
	archive := []byte(noise(4, 300_000))
	for name, hook := range map[string]func() func(w http.ResponseWriter, r *http.Request, inner http.Handler) bool{
		"forgets": func() func(w http.ResponseWriter, r *http.Request, inner http.Handler) bool {
			n := 0
			return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
				if r.Method == http.MethodPatch {
					n++
				}
				if r.Method == http.MethodPatch && n == 3 {
					w.WriteHeader(http.StatusNotFound)
					return true
				}
				return false
			}
		},
		"breaks, and does not say how far it came": func() func(w http.ResponseWriter, r *http.Request, inner http.Handler) bool {
			n := 0
			return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
				if r.Method == http.MethodPatch {
					n++
				}
				if r.Method == http.MethodPatch && n == 2 {
					panic(http.ErrAbortHandler)
				}
				return false
			}
		},
		"knows no chunks": func() func(w http.ResponseWriter, r *http.Request, inner http.Handler) bool {
			return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
				if r.Method != http.MethodPatch {
					return false
				}
				w.WriteHeader(http.StatusMethodNotAllowed)
				return true
			}
		},
		"takes less than it is sent": func() func(w http.ResponseWriter, r *http.Request, inner http.Handler) bool {
			n := 0
			return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
				if r.Method != http.MethodPatch {
					return false
				}
				if n++; n > 2 {
					return false
				}
				w.Header().Set("Location", r.URL.Path)
				w.Header().Set("Range", "0-0")
				w.WriteHeader(http.StatusAccepted)
				return true
			}
		},
		"is busy": func() func(w http.ResponseWriter, r *http.Request, inner http.Handler) bool {
			seen := map[string]int{}
			return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
				key := r.Method
				if seen[key]++; seen[key] > 2 || r.URL.Path == "/v2/" || key == http.MethodPatch {
					return false
				}
				w.WriteHeader([]int{http.StatusServiceUnavailable, http.StatusTooManyRequests}[seen[key]-1])
				return true
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry(t, true)
			var mu sync.Mutex
			h := hook()
			r.hook = func(w http.ResponseWriter, q *http.Request, inner http.Handler) bool {
				mu.Lock()
				defer mu.Unlock()
				return h(w, q, inner)
			}
			ref, err := store(t.Context(), t, r.ref(), r.options(), archive, Meta{})
			if err != nil {
				t.Fatal(err)
			}
			if data, _, err := load(t.Context(), t, ref, r.options()); err != nil || !bytes.Equal(data, archive) {
				t.Fatal(err)
			}
		})
	}
}

// TestDownloadGoesOnWhereItBroke cuts the answer three times.
func TestDownloadGoesOnWhereItBroke(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, true)
	archive := []byte(noise(5, 500_000))
	ref, err := store(t.Context(), t, r.ref(), r.options(), archive, Meta{})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var ranges []string
	r.hook = func(w http.ResponseWriter, q *http.Request, inner http.Handler) bool {
		if !strings.HasSuffix(q.URL.Path, protocol.Digest(archive)) {
			return false
		}
		mu.Lock()
		ranges = append(ranges, q.Header.Get("Range"))
		n := len(ranges)
		mu.Unlock()
		if n > 3 {
			return false
		}
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, q)
		maps.Copy(w.Header(), rec.Header())
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()[:100_000])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	data, _, err := load(t.Context(), t, ref, r.options())
	if err != nil || !bytes.Equal(data, archive) {
		t.Fatal(err)
	}
	if len(ranges) != 4 || ranges[0] != "" || !strings.HasPrefix(ranges[3], "bytes=") {
		t.Errorf("%q", ranges)
	}
}

// answering is a registry that answers one path in its own way.
func answering(t testing.TB, part string, answer http.HandlerFunc) (*testRegistry, Ref) {
	t.Helper()
	r := newRegistry(t, true)
	ref := r.ref()
	ref.Tag = "t"
	ref, err := store(t.Context(), t, ref, r.options(), []byte(noise(6, 100_000)), meta())
	if err != nil {
		t.Fatal(err)
	}
	r.hook = func(w http.ResponseWriter, q *http.Request, _ http.Handler) bool {
		hit := strings.Contains(q.URL.Path, part)
		if hit {
			answer(w, q)
		}
		return hit
	}
	return r, ref
}

func TestRegistriesThatLie(t *testing.T) {
	t.Parallel()
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	other, err := json.Marshal(newManifest("application/vnd.other", descriptor{MediaType: MediaType, Digest: protocol.Digest(nil), Size: 1}, nil))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		part   string
		tag    bool
		answer http.HandlerFunc
		exit   int
		code   string
	}{
		"another manifest": {"/manifests/", false, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(other) }, protocol.ExitIntegrity, "storage_digest"},
		"another digest in the header": {"/manifests/", true, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Docker-Content-Digest", protocol.Digest(nil))
			_, _ = w.Write(other)
		}, protocol.ExitIntegrity, "storage_digest"},
		"a tag of something else":  {"/manifests/", true, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(other) }, protocol.ExitIntegrity, "storage_manifest"},
		"a tag of an index":        {"/manifests/", true, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"schemaVersion":2}`) }, protocol.ExitIntegrity, "storage_manifest"},
		"a manifest without end":   {"/manifests/", true, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 5<<20)) }, protocol.ExitIntegrity, "archive_limit"},
		"no manifest":              {"/manifests/", false, status(http.StatusNotFound), protocol.ExitUnreachable, "storage_missing"},
		"no blob":                  {"/blobs/", false, status(http.StatusNotFound), protocol.ExitUnreachable, "storage_missing"},
		"busy for ever":            {"/blobs/", false, status(http.StatusServiceUnavailable), protocol.ExitUnreachable, "storage_unreachable"},
		"private":                  {"/blobs/", false, status(http.StatusForbidden), protocol.ExitUnreachable, "storage_unreachable"},
		"a blob of another length": {"/blobs/", false, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 99_999)) }, protocol.ExitIntegrity, "storage_digest"},
		"a blob of other bytes":    {"/blobs/", false, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 100_000)) }, protocol.ExitIntegrity, "storage_digest"},
		"a blob without end": {"/blobs/", false, func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(make([]byte, 1<<20))
		}, protocol.ExitIntegrity, "storage_digest"},
		"a redirect inwards": {"/blobs/", false, func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, "http://169.254.169.254/latest", http.StatusTemporaryRedirect)
		}, protocol.ExitIntegrity, "storage_redirect"},
		"a redirect to this machine": {"/blobs/", false, func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, "https://127.0.0.1:1/x", http.StatusTemporaryRedirect)
		}, protocol.ExitIntegrity, "storage_redirect"},
		"redirects in a circle": {"/blobs/", false, func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, q.URL.Path, http.StatusTemporaryRedirect)
		}, protocol.ExitIntegrity, "storage_redirect"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, ref := answering(t, c.part, c.answer)
			if c.tag {
				ref = r.ref()
				ref.Tag = "t"
			}
			_, _, err := load(t.Context(), t, ref, r.options())
			wantError(t, err, c.exit, c.code)
		})
	}
	for name, c := range map[string]struct {
		part   string
		answer http.HandlerFunc
		exit   int
		code   string
	}{
		"an upload led inwards": {"/blobs/uploads/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://10.0.0.1/steal")
			w.WriteHeader(http.StatusAccepted)
		}, protocol.ExitIntegrity, "storage_redirect"},
		"chunks that vanish": {"/blobs/uploads/", func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Location", q.URL.Path)
			w.Header().Set("Range", "0-0")
			w.WriteHeader(http.StatusAccepted)
		}, protocol.ExitUnreachable, "storage_unreachable"},
		"an upload led nowhere":     {"/blobs/uploads/", status(http.StatusAccepted), protocol.ExitUnreachable, "storage_unreachable"},
		"an upload that is not let": {"/blobs/uploads/", status(http.StatusUnauthorized), protocol.ExitUnreachable, "storage_unreachable"},
		"a manifest kept as another": {"/manifests/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Docker-Content-Digest", protocol.Digest(nil))
			w.WriteHeader(http.StatusCreated)
		}, protocol.ExitIntegrity, "storage_digest"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := answering(t, c.part, c.answer)
			_, err := store(t.Context(), t, r.ref(), r.options(), []byte(noise(7, 100_000)), Meta{})
			wantError(t, err, c.exit, c.code)
		})
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, true)
	ref := r.ref()
	r.Close()
	_, err := store(t.Context(), t, ref, r.options(), []byte("x"), Meta{})
	wantError(t, err, protocol.ExitUnreachable, "storage_unreachable")
	_, _, err = load(t.Context(), t, ref.Pinned(protocol.Digest(nil)), r.options())
	wantError(t, err, protocol.ExitUnreachable, "storage_unreachable")
}

func TestStandstill(t *testing.T) {
	t.Parallel()
	r, ref := answering(t, "/blobs/", func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.WriteString(w, "x")
		w.(http.Flusher).Flush()
		<-q.Context().Done()
	})
	o := r.options()
	o.stall = 20 * time.Millisecond
	_, _, err := load(t.Context(), t, ref, o)
	wantError(t, err, protocol.ExitUnreachable, "storage_unreachable")
}

func TestCredentialsAreSent(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, true)
	r.hook = func(w http.ResponseWriter, q *http.Request, _ http.Handler) bool {
		if user, word, _ := q.BasicAuth(); user == "ann" && word == "p" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	o := r.options()
	_, err := store(t.Context(), t, r.ref(), o, []byte("x"), Meta{})
	wantError(t, err, protocol.ExitUnreachable, "storage_unreachable")
	o.DockerConfig = fmt.Appendf(nil, `{"auths":{"%s":{"auth":"%s"}}}`, r.host(), base64.StdEncoding.EncodeToString([]byte("ann:p")))
	ref, err := store(t.Context(), t, r.ref(), o, []byte("x"), Meta{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := load(t.Context(), t, ref, o); err != nil {
		t.Fatal(err)
	}
	o.DockerConfig = fmt.Appendf(nil, `{"credHelpers":{"%s":"evil"}}`, r.host())
	_, err = store(t.Context(), t, r.ref(), o, []byte("x"), Meta{})
	wantError(t, err, protocol.ExitUsage, "storage_credentials")
}

func TestParseRef(t *testing.T) {
	t.Parallel()
	digest := protocol.Digest(nil)
	for text, want := range map[string]Ref{
		"dir:/a/b":                             {Kind: Dir, Place: "/a/b"},
		"dir:a@b@" + digest:                    {Kind: Dir, Place: "a@b", Digest: digest},
		"oci:ghcr.io/o/r":                      {Kind: OCI, Place: "ghcr.io/o/r"},
		"oci:localhost:5000/rr:tag":            {Kind: OCI, Place: "localhost:5000/rr", Tag: "tag"},
		"oci:127.0.0.1:5000/o/r:tag@" + digest: {Kind: OCI, Place: "127.0.0.1:5000/o/r", Tag: "tag", Digest: digest},
	} {
		got, err := ParseRef(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: %+v %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "dir:", "oci:", "s3:x", "oci:repo", "oci:o/r", "oci:ghcr.io", "oci:ghcr.io/O/r", "oci:ghcr.io/r:", "oci:ghcr.io/r:a b", "oci:ghcr.io/../r",
		"oci:ghcr.io/r@sha256:12", "dir:x@sha256:" + strings.Repeat("A", 64), "dir:a\nb", "oci:https://ghcr.io/r", "oci:u:p@ghcr.io/r", "dir:" + strings.Repeat("x", 5000),
	} {
		_, err := ParseRef(text)
		wantError(t, err, protocol.ExitUsage, "storage_ref")
	}
	_, err := Open(Ref{Kind: OCI, Place: "ghcr.io/o/r"}, Options{Plain: true})
	wantError(t, err, protocol.ExitUsage, "storage_ref")
	_, _, err = load(t.Context(), t, Ref{Kind: Dir, Place: t.TempDir()}, Options{})
	wantError(t, err, protocol.ExitUsage, "storage_ref")
	_, _, err = load(t.Context(), t, Ref{Kind: Dir, Place: "/nowhere", Digest: digest}, Options{})
	wantError(t, err, protocol.ExitUnreachable, "storage_missing")
}
