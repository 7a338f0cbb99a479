package github

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestT15Download(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("zip"), 1000)
	sum := sha256.Sum256(data)
	good := "sha256:" + hex.EncodeToString(sum[:])
	n := 0
	blobs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || strings.Contains(r.URL.String(), token) {
			t.Error("the token goes elsewhere")
		}
		switch r.URL.Path {
		case "/good":
			_, _ = w.Write(data)
		case "/again":
			http.Redirect(w, r, "/good", http.StatusFound)
		case "/gone":
			w.WriteHeader(http.StatusNotFound)
		case "/cut":
			if n++; n == 1 {
				w.Header().Set("Content-Length", "3000")
				_, _ = w.Write(data[:10])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(data)
		case "/chunked":
			w.(http.Flusher).Flush()
			_, _ = w.Write(data)
		}
	}))
	defer blobs.Close()
	for _, c := range []struct {
		name, at, digest string
		most             int64
		expired          bool
		code             string
		exit             int
	}{
		{"whole", blobs.URL + "/good?sig=secret", good, 3000, false, "", 0},
		{"without a digest", blobs.URL + "/good", "", 1 << 20, false, "", 0},
		{"rewritten", blobs.URL + "/good", "sha256:00", 1 << 20, false, "forge_archive", 5},
		{"digest of another kind", blobs.URL + "/good", "md5:00", 1 << 20, false, "forge_archive", 5},
		{"too large", blobs.URL + "/good", good, 2999, false, "forge_archive", 5},
		{"too large, untold", blobs.URL + "/chunked", good, 2999, false, "forge_archive", 5},
		{"redirected twice", blobs.URL + "/again", good, 1 << 20, false, "forge_unreachable", 7},
		{"T39: gone", blobs.URL + "/gone", good, 1 << 20, false, "forge_gone", 7},
		{"T39: expired", blobs.URL + "/good", good, 1 << 20, true, "forge_gone", 7},
		{"in the clear", "http://blobs.example.com/good", good, 1 << 20, false, "forge_incomplete", 7},
		{"a file", "file:///etc/passwd", good, 1 << 20, false, "forge_incomplete", 7},
		{"credentials", "https://u:p@blobs.example.com/", good, 1 << 20, false, "forge_incomplete", 7},
		{"nowhere", "", good, 1 << 20, false, "forge_incomplete", 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, s, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", c.at)
				w.WriteHeader(http.StatusFound)
			})
			var out bytes.Buffer
			err := client.Download(t.Context(), Artifact{ID: "9", Name: "cabincrew-judged", RunID: "5", Digest: c.digest, Expired: c.expired}, &out, c.most)
			if c.code != "" {
				if wants(t, err, c.code, c.exit); strings.Contains(err.Error(), "secret") || int64(out.Len()) > c.most {
					t.Errorf("%v, %d bytes", err, out.Len())
				}
				return
			}
			if must(t, err); !bytes.Equal(out.Bytes(), data) || s.requests()[0].path != "/repos/acme/shop/actions/artifacts/9/zip" || s.requests()[0].auth == "" {
				t.Errorf("%d bytes by %+v", out.Len(), s.requests())
			}
		})
	}
	client, _, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", blobs.URL+"/cut")
		w.WriteHeader(http.StatusFound)
	})
	a := Artifact{ID: "9", Name: "a", RunID: "5", Digest: good}
	var out bytes.Buffer
	wants(t, client.Download(t.Context(), a, &out, 1<<20), "forge_unreachable", 7)
	n = 0
	f, err := os.Create(filepath.Join(t.TempDir(), "a.zip"))
	must(t, err)
	defer func() { _ = f.Close() }()
	must(t, client.Download(t.Context(), a, f, 1<<20))
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes %v", len(got), err)
	}
	client, _, _ = serve(t, one(http.StatusGone, map[string]string{"message": "Artifact has expired"}))
	wants(t, client.Download(t.Context(), a, &out, 1<<20), "forge_gone", 7)
	client, _, _ = serve(t, one(http.StatusForbidden, map[string]string{"message": "no"}))
	wants(t, client.Download(t.Context(), a, &out, 1<<20), "forge_refused", 7)
	client, _, _ = serve(t, one(http.StatusOK, map[string]string{}))
	wants(t, client.Download(t.Context(), a, &out, 1<<20), "forge_unreachable", 7)
}
