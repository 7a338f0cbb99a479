package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/secrets"
	"github.com/cabincrew/action/protocol"
)

// lazy is a judge that is made when it is first asked: most commands judge nothing,
// and models and rules take their time to load. What cannot be made denies.
type lazy struct {
	once  sync.Once
	make  func(context.Context) (policies.Evaluator, error)
	judge policies.Evaluator
	err   error
}

var _ policies.Evaluator = (*lazy)(nil)

func (l *lazy) Evaluate(ctx context.Context, in policies.Input, evaluatedAt string) (policies.Result, error) {
	l.prepare(ctx)
	if l.err != nil {
		return policies.Result{}, l.err
	}
	return l.judge.Evaluate(ctx, in, evaluatedAt)
}

func (l *lazy) prepare(ctx context.Context) {
	l.once.Do(func() { l.judge, l.err = l.make(ctx) })
}

// secretJudge makes the judge that looks for secrets, and gives the digest of the
// findings that are known.
func secretJudge(c *config.Config, dir string, values map[string]string) (*secretScan, string, error) {
	o, digest, err := secretOptions(c, dir, values)
	if err != nil {
		return nil, "", err
	}
	s := &secretScan{}
	s.make = func(context.Context) (policies.Evaluator, error) {
		ev, err := secrets.New(o)
		s.names = ev
		return ev, err
	}
	return s, digest, nil
}

// secretScan is the judge that looks for secrets. It also looks at names that are
// recorded before anything is judged.
type secretScan struct {
	lazy
	names *secrets.Evaluator
}

func (s *secretScan) plain(ctx context.Context, texts []string) error {
	s.prepare(ctx)
	if s.err != nil {
		return s.err
	}
	return s.names.Plain(ctx, texts)
}

// secretOptions says how the configuration wants secrets to be looked for, and gives
// the digest of the findings that are known.
func secretOptions(c *config.Config, dir string, values map[string]string) (secrets.Options, string, error) {
	o := secrets.Options{Decision: c.Policies.Secrets.Decision, Role: c.Policies.Secrets.Role, Values: values}
	if o.Role == "" {
		o.Role = c.Approvals.DefaultRole
	}
	digest := ""
	if name := c.Policies.Secrets.Baseline; name != "" {
		f, err := openBelow(dir, name)
		if err != nil {
			return o, "", usageError("secrets_baseline", "the known findings cannot be read: %w", err).At(name).
				WithHint("write the file, or take policies.secrets.baseline out")
		}
		raw, err := io.ReadAll(io.LimitReader(f, limits.SecretBaseline+1))
		if err := f.Close(); err != nil {
			return o, "", err
		}
		if err != nil {
			return o, "", err
		}
		if o.Baseline, err = secrets.ReadBaseline(name, bytes.NewReader(raw)); err != nil {
			return o, "", err
		}
		digest = protocol.Digest(raw)
	}
	return o, digest, nil
}

// openBelow opens a regular file below a directory; no link leads out of it.
func openBelow(dir, path string) (_ io.ReadCloser, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // an open file outlives it
	info, err := root.Stat(filepath.FromSlash(path))
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return root.Open(filepath.FromSlash(path))
}
