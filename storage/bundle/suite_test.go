package bundle

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/storagetest"
)

func archives(t *testing.T) storagetest.Archives {
	t.Helper()
	files := flight()
	files["steps/one/engine.log"] = noise(1, 300_000)
	good, _ := packed(t, tree(t, files), PackOptions{})
	files["steps/one/engine.log"] = noise(2, 300_000)
	other, _ := packed(t, tree(t, files), PackOptions{})
	return storagetest.Archives{Good: good, Other: other, Hostile: hostileArchives(t)}
}

// driver wraps a storage for the suite.
func driver(t *testing.T, ref Ref, o Options) storagetest.Driver {
	t.Helper()
	get := func(ctx context.Context, text string) (*os.File, error) {
		ref, err := ParseRef(text)
		if err != nil {
			return nil, err
		}
		s, err := Open(ref, o)
		if err != nil {
			return nil, err
		}
		f, err := os.CreateTemp(t.TempDir(), "got")
		if err != nil {
			return nil, err
		}
		got, err := s.Get(ctx, ref, f)
		if err == nil && got.String() != text {
			err = errors.New("it came as " + got.String())
		}
		return f, err
	}
	return storagetest.Driver{
		Put: func(ctx context.Context, archive []byte, progress func()) (string, error) {
			o := o
			if progress != nil {
				o.Progress = func(int64, int64) { progress() }
			}
			s, err := Open(ref, o)
			if err != nil {
				return "", err
			}
			f, err := os.CreateTemp(t.TempDir(), "put")
			if err == nil {
				_, err = f.Write(archive)
			}
			if err != nil {
				return "", err
			}
			defer func() { _ = f.Close() }()
			got, err := s.Put(ctx, f, Packed{Digest: protocol.Digest(archive), Size: int64(len(archive))}, Meta{WorkflowID: "w"})
			return got.String(), err
		},
		Get: func(ctx context.Context, text string) ([]byte, error) {
			f, err := get(ctx, text)
			if err != nil {
				return nil, err
			}
			defer func() { _ = f.Close() }()
			_, _ = f.Seek(0, io.SeekStart)
			return io.ReadAll(f)
		},
		Unpack: func(ctx context.Context, text string) error {
			f, err := get(ctx, text)
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			_, err = Unpack(ctx, f, empty(t))
			return err
		},
	}
}

func TestDir(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t *testing.T) storagetest.Driver {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "a", "flights")
		d := driver(t, Ref{Kind: Dir, Place: dir}, Options{})
		d.Change = func(t *testing.T, archive, to []byte) {
			t.Helper()
			at := filepath.Join(dir, archiveName(protocol.Digest(archive)))
			err := os.Remove(at)
			if to != nil {
				err = os.WriteFile(at, to, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		d.Named = func(t *testing.T) int {
			t.Helper()
			entries, err := os.ReadDir(dir)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			return len(entries) // unfinished ones count: none may be left
		}
		return d
	}, archives(t))
}

// blobs keeps a registry's blobs where a test can change them.
type blobs struct {
	mu   sync.Mutex
	have map[string][]byte
}

func (b *blobs) Get(_ context.Context, _ string, h v1.Hash) (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.have[h.String()]
	if !ok {
		return nil, registry.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (b *blobs) Put(_ context.Context, _ string, h v1.Hash, rc io.ReadCloser) error {
	data, err := io.ReadAll(rc)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.have[h.String()] = data
	return nil
}

// testRegistry is a real registry on loopback, behind a hook that may answer first.
type testRegistry struct {
	*httptest.Server
	blobs *blobs
	mu    sync.Mutex
	seen  []string
	names map[string]bool // of manifests that were stored
	hook  func(w http.ResponseWriter, r *http.Request, inner http.Handler) bool
}

func newRegistry(t testing.TB, referrers bool) *testRegistry {
	t.Helper()
	r := &testRegistry{blobs: &blobs{have: map[string][]byte{}}, names: map[string]bool{}}
	inner := registry.New(registry.WithReferrersSupport(referrers), registry.WithBlobHandler(r.blobs), registry.Logger(log.New(io.Discard, "", 0)))
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		r.seen = append(r.seen, q.Method+" "+q.URL.Path)
		if _, name, ok := strings.Cut(q.URL.Path, "/manifests/"); ok && q.Method == http.MethodPut {
			r.names[name] = true
		}
		r.mu.Unlock()
		if r.hook == nil || !r.hook(w, q, inner) {
			inner.ServeHTTP(w, q)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *testRegistry) host() string { return strings.TrimPrefix(r.URL, "http://") }

func (r *testRegistry) ref() Ref { return Ref{Kind: OCI, Place: r.host() + "/team/flights"} }

func (r *testRegistry) options() Options {
	return Options{Plain: true, delay: time.Millisecond, stall: 5 * time.Second, chunk: 64 << 10}
}

func TestOCI(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t *testing.T) storagetest.Driver {
		t.Helper()
		r := newRegistry(t, true)
		d := driver(t, r.ref(), r.options())
		d.Change = func(t *testing.T, archive, to []byte) {
			t.Helper()
			r.blobs.mu.Lock()
			defer r.blobs.mu.Unlock()
			if r.blobs.have[protocol.Digest(archive)] = to; to == nil {
				delete(r.blobs.have, protocol.Digest(archive))
			}
		}
		d.Named = func(t *testing.T) int {
			t.Helper()
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(r.names)
		}
		return d
	}, archives(t))
}
