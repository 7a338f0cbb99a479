package oci

import (
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
)

// refusing is a transport that no test may use.
type refusing struct{ t *testing.T }

func (r refusing) RoundTrip(q *http.Request) (*http.Response, error) {
	r.t.Errorf("the network was asked for %s", q.URL)
	return nil, http.ErrHandlerTimeout
}

func TestCacheNeedsNoNetwork(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	o := options(t)
	ref := f.ref(t, f.image(t, nil, tarOf(t, fileE("f", "x"))).Digest)
	if _, err := Get(t.Context(), ref, o); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(o.Cache)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("the cache has mode %v, %v", info.Mode(), err)
	}
	o.Transport = refusing{t}
	i, err := Get(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := Unpack(t.Context(), i, o, t.TempDir()); err != nil {
		t.Error(err)
	}
}

// TestCacheIsNotBelieved spoils every blob in every way: Get fetches it again,
// Unpack refuses it.
func TestCacheIsNotBelieved(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(path string) error{
		"other bytes": func(p string) error {
			raw, err := os.ReadFile(p)
			if err == nil {
				raw[len(raw)/2] ^= 1
				err = os.WriteFile(p, raw, 0o600)
			}
			return err
		},
		"cut":         func(p string) error { return os.Truncate(p, 3) },
		"empty":       func(p string) error { return os.Truncate(p, 0) },
		"longer":      func(p string) error { return os.Truncate(p, 1<<30) },
		"a link":      func(p string) error { return replace(p, func() error { return os.Symlink(outside, p) }) },
		"a dead link": func(p string) error { return replace(p, func() error { return os.Symlink("nowhere", p) }) },
		"a directory": func(p string) error {
			return replace(p, func() error { return os.MkdirAll(filepath.Join(p, "x"), 0o700) })
		},
		"gone": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			o := options(t)
			d := f.image(t, nil, tarOf(t, fileE("f", "right")))
			ref := f.ref(t, d.Digest)
			i, err := Get(t.Context(), ref, o)
			if err != nil {
				t.Fatal(err)
			}
			blobs, err := filepath.Glob(filepath.Join(o.Cache, "blobs", "sha256", "*"))
			if err != nil || len(blobs) != 3 {
				t.Fatalf("%q %v", blobs, err)
			}
			for _, b := range blobs {
				if err := spoil(b); err != nil {
					t.Fatal(err)
				}
			}
			dir := t.TempDir()
			wantError(t, Unpack(t.Context(), i, o, dir), protocol.ExitIntegrity, "oci_digest")
			if got := listing(t, dir); len(got) > 0 {
				t.Errorf("left behind: %q", got)
			}
			if i, err = Get(t.Context(), ref, o); err != nil {
				t.Fatal(err)
			}
			if err := Unpack(t.Context(), i, o, dir); err != nil || contents(t, dir)["f"] != "right" {
				t.Errorf("%v %q", err, contents(t, dir))
			}
		})
	}
	if raw, err := os.ReadFile(outside); err != nil || string(raw) != "mine" {
		t.Errorf("a file outside was written: %q %v", raw, err)
	}
}

func replace(p string, by func() error) error {
	if err := os.Remove(p); err != nil {
		return err
	}
	return by()
}

func TestCacheDirectories(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing on Windows")
	}
	for name, bend := range map[string]func(dir string) error{
		"blobs lead elsewhere": func(dir string) error { return os.Symlink(t.TempDir(), filepath.Join(dir, "blobs")) },
		"blobs lead back":      func(dir string) error { return os.Symlink(".", filepath.Join(dir, "blobs")) },
		"tmp is a file":        func(dir string) error { return os.WriteFile(filepath.Join(dir, "tmp"), nil, 0o600) },
		"others may write":     func(dir string) error { return os.Chmod(dir, 0o777) },
		"others may write in": func(dir string) error {
			if err := os.Mkdir(filepath.Join(dir, "blobs"), 0o700); err != nil {
				return err
			}
			return os.Chmod(filepath.Join(dir, "blobs"), 0o770)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := bend(dir); err != nil {
				t.Fatal(err)
			}
			_, err := openCache(dir)
			wantError(t, err, protocol.ExitFailure, "oci_cache")
		})
	}
	_, err := Get(t.Context(), Reference{registry: "localhost:1", repository: "x", digest: protocol.Digest(nil)}, Options{})
	wantError(t, err, protocol.ExitFailure, "oci_cache")
}

// TestCacheOfManyProcesses lets many fetch into one cache at once, while what a
// killed one left lies there.
func TestCacheOfManyProcesses(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	o := options(t)
	ref := f.ref(t, f.image(t, nil, tarOf(t, fileE("f", strings.Repeat("x", 100_000))), tarOf(t, fileE("g", "y"))).Digest)
	if _, err := Get(t.Context(), ref, o); err != nil {
		t.Fatal(err)
	}
	old, young := filepath.Join(o.Cache, tempDir, "old"), filepath.Join(o.Cache, tempDir, "young")
	for _, p := range []string{old, young} {
		if err := os.WriteFile(p, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(old, time.Now(), time.Now().Add(-48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(o.Cache, "blobs")); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			i, err := Get(t.Context(), ref, o)
			if err == nil {
				err = Unpack(t.Context(), i, o, t.TempDir())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	left, err := os.ReadDir(filepath.Join(o.Cache, tempDir))
	if err != nil || len(left) != 1 || left[0].Name() != "young" {
		t.Errorf("left in tmp: %v %v", left, err)
	}
}
