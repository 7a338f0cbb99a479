package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cabincrew/action/engines/egress"
	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// FileKey gives the key that a file holds, for Options.Key. The file is read again when
// it changed, so that who renews keys need not start the gateway again. Without the file
// there is no key.
func FileKey(path string) func(ctx context.Context) (string, error) {
	k := &fileKey{path: path}
	return k.get
}

type fileKey struct {
	path string

	mu   sync.Mutex
	seen fs.FileInfo // when it was read
	read time.Time
	key  string
}

func (k *fileKey) get(context.Context) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := os.Stat(k.path)
	if err != nil {
		k.seen = nil
		return "", errors.New("its file cannot be read")
	}
	// What was written right before it was read may have been written again since, with
	// the same time.
	fresh := k.seen != nil && os.SameFile(info, k.seen) && info.Size() == k.seen.Size() && info.ModTime().Equal(k.seen.ModTime()) &&
		info.Mode() == k.seen.Mode() && k.read.Sub(info.ModTime()).Abs() > time.Second
	if fresh {
		return k.key, nil
	}
	k.seen = nil
	key, info, err := readKey(k.path)
	if err != nil {
		return "", err
	}
	k.key, k.seen, k.read = key, info, time.Now()
	return key, nil
}

// readKey reads a file that only its owner can change.
func readKey(path string) (string, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) //nolint:gosec // the configuration names it
	if err != nil {
		return "", nil, errors.New("its file cannot be read")
	}
	defer func() { _ = f.Close() }() // it was read only
	info, err := f.Stat()
	switch {
	case err != nil || !info.Mode().IsRegular():
		return "", nil, errors.New("its file is not a regular one")
	case info.Mode().Perm()&0o022 != 0:
		return "", nil, fmt.Errorf("its file can be written by others (mode %04o)", info.Mode().Perm())
	case info.Size() > limits.LLMUpstreamKeyBytes:
		return "", nil, fmt.Errorf("its file has more than %d bytes", limits.LLMUpstreamKeyBytes)
	}
	data, err := io.ReadAll(io.LimitReader(f, limits.LLMUpstreamKeyBytes+1))
	if err != nil || len(data) > limits.LLMUpstreamKeyBytes {
		return "", nil, errors.New("its file cannot be read")
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), info, nil
}

// Vault says where HashiCorp Vault, or what speaks as it does, has a key.
type Vault struct {
	Address   string // VAULT_ADDR
	Token     string // VAULT_TOKEN
	Namespace string // VAULT_NAMESPACE; mostly ""
	CA        []byte // PEM: the only authorities that are trusted; nil: the system's
	Private   bool   // as in Options
	// Path is below /v1/: secret/data/openai in the second version of the key-value store,
	// secret/openai in the first.
	Path  string
	Field string
}

// VaultKey gives a key that Vault holds, for Options.Key. It is asked for again after a
// while, so a key that is renewed there is used soon. done ends its connections.
func VaultKey(v Vault) (key func(ctx context.Context) (string, error), done func(), err error) {
	o := Options{Name: "vault", Kind: route.OpenAI, BaseURL: v.Address, Key: func(context.Context) (string, error) { return "", nil }, CA: v.CA, Private: v.Private}
	wrong := func(what string) (func(context.Context) (string, error), func(), error) {
		return nil, nil, protocol.Errorf(protocol.ExitUsage, "llm_provider", "a key of a provider cannot be had from Vault: %s", what).
			WithHint("set VAULT_ADDR and VAULT_TOKEN, and write the reference as vault:PATH#FIELD")
	}
	switch {
	case v.Token == "" || !plainValue(v.Token) || !plainValue(v.Namespace):
		return wrong("there is no token")
	case v.Field == "" || checkPath("/"+v.Path) != nil:
		return wrong("the reference has no path or no field")
	}
	client, err := New(o)
	if err != nil {
		return wrong("its address is not https, or not one that can be asked")
	}
	s := &shared{life: client.life, now: time.Now, fetch: func(ctx context.Context, _ string) (key string, until, end time.Time, err error) {
		key, err = v.ask(ctx, client)
		now := time.Now()
		return key, now.Add(limits.LLMUpstreamVaultTime), now.Add(limits.LLMUpstreamVaultAway), err
	}}
	return func(ctx context.Context) (string, error) { return s.get(ctx, "") }, client.Close, nil
}

// ask asks Vault.
// SPEC: Vault HTTP API, KV secrets engine, version 1 and 2.
func (v Vault) ask(ctx context.Context, c *Client) (string, error) {
	u := *c.base
	u.RawPath = c.base.Path + "/v1/" + v.Path
	u.Path, _ = url.PathUnescape(u.RawPath) // it was looked at
	h := http.Header{"X-Vault-Token": {v.Token}, "X-Vault-Request": {"true"}, "Accept-Encoding": identity, "User-Agent": userAgent}
	if v.Namespace != "" {
		h["X-Vault-Namespace"] = []string{v.Namespace}
	}
	r := (&http.Request{Method: http.MethodGet, URL: &u, Host: u.Host, Header: h, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	response, err := c.sends.RoundTrip(r)
	var at egress.AddressError
	if errors.As(err, &at) {
		return "", at
	}
	if err != nil {
		return "", awayError{errors.New("Vault cannot be reached")}
	}
	defer func() { _ = response.Body.Close() }()               // it was read
	if response.StatusCode >= http.StatusInternalServerError { // it is sealed, or restarts
		return "", awayError{fmt.Errorf("Vault answered with HTTP %d", response.StatusCode)}
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("Vault answered with HTTP %d", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, limits.LLMUpstreamVaultBytes+1))
	if err != nil || len(text) > limits.LLMUpstreamVaultBytes {
		return "", errors.New("what Vault answered is not whole, or too large")
	}
	var answer struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	if json.Unmarshal(text, &answer) != nil {
		return "", errors.New("what Vault answered is no JSON")
	}
	fields := answer.Data
	var second map[string]json.RawMessage
	if _, versioned := fields["metadata"]; versioned && json.Unmarshal(fields["data"], &second) == nil && second != nil {
		fields = second
	}
	var key string
	if raw, ok := fields[v.Field]; !ok || json.Unmarshal(raw, &key) != nil || key == "" {
		return "", errors.New("Vault has no text in the field of the reference") //nolint:staticcheck // it is a name
	}
	return key, nil
}
