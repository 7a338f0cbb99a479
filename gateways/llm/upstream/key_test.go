package upstream

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestKeyFileIsReadAgain says that a key which is renewed is used at once, also where its
// file keeps its size and its time.
func TestKeyFileIsReadAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	u := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("Authorization")) })
	c := client(t, u, func(o *Options) { o.Key = FileKey(path) })
	_, _, err := whole(t, c, ask())
	failed(t, err, Key, false) // it is not there yet
	same := time.Now()
	for _, k := range []string{"key-1", "key-2\n", "key-3\r\n"} {
		if err := os.WriteFile(path, []byte(k), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, same, same); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, text, err := whole(t, c, ask()); err != nil || text != "Bearer "+strings.TrimSpace(k) {
				t.Errorf("%q, %v", text, err)
			}
		}
	}
	other := path + ".new"
	if err := os.WriteFile(other, []byte("key-4"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(other, old, old); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, text, err := whole(t, c, ask()); err != nil || text != "Bearer key-4" {
			t.Errorf("%q, %v", text, err)
		}
	}
	if err := os.Chmod(path, 0o622); err != nil { //nolint:gosec // it must be refused
		t.Fatal(err)
	}
	_, _, err = whole(t, c, ask())
	failed(t, err, Key, false)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, _, err = whole(t, c, ask())
	failed(t, err, Key, false)
}

func TestKeyFilesRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe, large, empty := filepath.Join(dir, "pipe"), filepath.Join(dir, "large"), filepath.Join(dir, "empty")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{large: strings.Repeat("a", 20000), empty: ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{dir, pipe, large, empty, filepath.Join(dir, "none")} {
		c := client(t, "http://127.0.0.1:1", func(o *Options) { o.Key = FileKey(path) })
		_, _, err := whole(t, c, ask())
		failed(t, err, Key, false)
	}
}

func TestVaultKey(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("X-Vault-Token") != "hvs.token" || r.Header.Get("X-Vault-Request") != "true" || r.Header.Get("X-Vault-Namespace") != "team" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		switch r.URL.Path {
		case "/v1/secret/data/openai":
			_, _ = io.WriteString(w, `{"data":{"data":{"api_key":"`+secret+`","data":"d"},"metadata":{"version":3}}}`)
		case "/v1/kv/openai":
			_, _ = io.WriteString(w, `{"data":{"api_key":"`+secret+`","n":1}}`)
		case "/v1/large":
			_, _ = io.Copy(w, io.LimitReader(zeros{}, 10<<20))
		case "/v1/elsewhere":
			w.Header().Set("Location", "http://169.254.169.254/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, secret)
		}
	})
	from := func(path, field string) func(context.Context) (string, error) {
		k, done, err := VaultKey(Vault{Address: u, Token: "hvs.token", Namespace: "team", Path: path, Field: field})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(done)
		return k
	}
	for _, path := range []string{"secret/data/openai", "kv/openai"} {
		k := from(path, "api_key")
		before := asked.Load()
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				if v, err := k(t.Context()); v != secret || err != nil {
					t.Errorf("%s: %q, %v", path, v, err)
				}
			})
		}
		group.Wait()
		if n := asked.Load() - before; n != 1 {
			t.Errorf("%s: asked %d times", path, n)
		}
	}
	for _, ref := range [][2]string{{"secret/data/openai", "none"}, {"kv/openai", "n"}, {"none", "a"}, {"large", "a"}, {"elsewhere", "a"}} {
		if v, err := from(ref[0], ref[1])(t.Context()); v != "" || err == nil || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "hvs.") {
			t.Errorf("%v: %q, %v", ref, v, err)
		}
	}
	for _, v := range []Vault{
		{Address: u, Path: "a", Field: "b"}, {Address: u, Token: "a\nb", Path: "a", Field: "b"}, {Address: u, Token: "t", Path: "../a", Field: "b"}, {Address: u, Token: "t", Path: "a"},
		{Address: "http://vault.example.com", Token: "t", Path: "a", Field: "b"}, {Token: "t", Path: "a", Field: "b"},
	} {
		if _, _, err := VaultKey(v); err == nil {
			t.Errorf("%+v", v)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := from("slow", "a")(ctx); err == nil {
		t.Error("it waits although nobody does")
	}
}
