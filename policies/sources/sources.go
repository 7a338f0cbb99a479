package sources

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Options say where things lie. All of them but Env and Log are required.
type Options struct {
	// Dir is the directory of the configuration: bundles, keys and layouts are below it.
	Dir string
	// Workspace lies in the repository that the entry "." names. No other one may
	// lie in it: what a change can edit does not judge it.
	Workspace string
	// Cache is a directory for what is fetched. Nothing in it is believed.
	Cache string
	// Env gives HOME, for known hosts, and SSH_AUTH_SOCK.
	Env map[string]string
	// Bundle reads an OPA bundle: the files that a key has signed, or all of them
	// where there is none and the digest was looked at.
	Bundle func(raw []byte, key *Key, where string) ([]policies.SetFile, error)
	// Log is told which commits are used, at debug level.
	Log *slog.Logger
}

// Key is the public key that must have signed a bundle.
type Key struct {
	Where string // the file that it came from
	PEM   []byte
}

// Load brings the sets of a configuration here, in its order.
func Load(ctx context.Context, list []config.Source, o Options) ([]policies.Set, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	sets := make([]policies.Set, 0, len(list))
	for i := range list {
		set, err := load(ctx, &list[i], &o)
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// Name gives the name of the set of an entry.
func Name(s *config.Source) (string, error) {
	switch {
	case s.Name != "":
		return s.Name, nil
	case s.Bundle != "":
		return policies.CleanName(s.Bundle)
	case s.OCI != "":
		return policies.CleanName(s.OCI)
	case s.Dir == "." || s.Dir == "":
		return policies.CleanName(s.Git)
	}
	return policies.CleanName(s.Git + "/" + s.Dir)
}

func load(ctx context.Context, s *config.Source, o *Options) (policies.Set, error) {
	name, err := Name(s)
	if err != nil {
		return policies.Set{}, err
	}
	switch {
	case s.Bundle != "":
		return loadBundle(ctx, s, name, o)
	case s.OCI != "":
		return loadArtifact(ctx, s, name, o)
	}
	return loadGit(ctx, s, name, o)
}

func loadBundle(ctx context.Context, s *config.Source, name string, o *Options) (policies.Set, error) {
	raw, err := readFile(o.Dir, s.Bundle, limits.PolicyBundleBytes)
	if err != nil {
		return policies.Set{}, protocol.Errorf(protocol.ExitDenied, "policy_set_missing", "cannot read the bundle: %w", err).At(s.Bundle).
			WithHint("put the bundle there, or take it out of policies.sources")
	}
	var key *Key
	if s.Key != "" {
		pem, err := readFile(o.Dir, s.Key, limits.PolicyBundleKey)
		if err != nil {
			return policies.Set{}, protocol.Errorf(protocol.ExitUsage, "policy_bundle_key", "cannot read the key of the bundle: %w", err).At(s.Key).
				WithHint("put the public key (PEM) there that the bundle's author signs with")
		}
		key = &Key{Where: s.Key, PEM: pem}
	} else if got := strings.TrimPrefix(protocol.Digest(raw), "sha256:"); got != s.SHA256 {
		return policies.Set{}, protocol.Errorf(protocol.ExitDenied, "policy_bundle_digest", "the bundle has the SHA-256 %s, not %s", got, s.SHA256).At(s.Bundle).
			WithHint("if this bundle is the right one, write its digest into policies.sources; that is a change of governance")
	}
	files, err := o.Bundle(raw, key, s.Bundle)
	if err != nil {
		return policies.Set{}, err
	}
	return policies.FromFS(ctx, name, s.Bundle, newFiles(files))
}

var errNotRegular = errors.New("it is no regular file")

// readFile reads a regular file below a directory, also through links that stay in it.
func readFile(dir, name string, most int64) (_ []byte, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // only a handle
	name = filepath.FromSlash(name)
	// A FIFO would be waited for.
	if info, err := root.Stat(name); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, notRegular(info))
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, notRegular(info))
	}
	return readBounded(f, most)
}

func notRegular(info fs.FileInfo) error {
	if info == nil || info.Mode().IsRegular() {
		return nil
	}
	return errNotRegular
}

var errTooLarge = errors.New("it is larger than the limit")

func readBounded(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = errTooLarge
	}
	return data, err
}
