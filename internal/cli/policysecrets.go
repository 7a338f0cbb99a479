package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/secrets"
	"github.com/cabincrew/action/protocol"
)

// secretSearch is what policy secrets was asked.
type secretSearch struct {
	flight   string
	paths    []string
	baseline string
	reason   string
}

// foundSecret is one finding of policy secrets. It never holds the secret.
type foundSecret struct {
	StepID      string            `json:"step_id,omitempty"`
	Decision    protocol.Decision `json:"decision"`
	Rule        string            `json:"rule"`
	Fingerprint string            `json:"fingerprint,omitempty"`
	Secret      string            `json:"secret,omitempty"`
	File        string            `json:"file,omitempty"`
	Part        string            `json:"part,omitempty"`
	Line        int64             `json:"line,omitempty"`
	Column      int64             `json:"column,omitempty"`
	Encoding    string            `json:"encoding,omitempty"`
	Reason      string            `json:"reason"`
}

func (a *app) policySecretsCommand() *cobra.Command {
	var q secretSearch
	cmd := &cobra.Command{
		Use: "secrets --flight FLIGHT | --path FILE...", Short: "Look for secrets in a flight or in files, and list the known ones", Args: cobra.NoArgs,
		Long: `Looks for secrets as a preflight does, in all steps of a sealed flight or in files,
and tells where they stand, by fingerprint and never by value. What the baseline of
the configuration lists (policies.secrets.baseline) is left out.
With --write-baseline, what was found is added to a baseline file with the reason
that is given; the values of mapped secrets never are. Look at each first: whoever
reads the file later takes it that somebody did.
The exit code is 0 if nothing was found or all of it was written, 3 if findings
deny, 4 if they need an approval.`,
		Example: "  cabincrew policy secrets --flight FLIGHT\n  cabincrew policy secrets --path docs/example.md --write-baseline .known-secrets.json --reason \"an example, revoked\"",
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			switch {
			case (q.flight == "") == (len(q.paths) == 0):
				return usageError("usage", "policy secrets needs either --flight or --path").WithHint("cabincrew policy secrets --flight FLIGHT")
			case q.baseline != "" && strings.TrimSpace(q.reason) == "":
				return usageError("usage", "--write-baseline needs --reason: why these may stay").WithHint(`--reason "examples, revoked"`)
			}
			return a.with(cmd.Context(), func(s *session) error { return s.policySecrets(cmd.Context(), q) })
		}),
	}
	cmd.Flags().StringVar(&q.flight, "flight", "", "sealed flight to look through")
	cmd.Flags().StringArrayVar(&q.paths, "path", nil, "file to look through; may be given more than once")
	cmd.Flags().StringVar(&q.baseline, "write-baseline", "", "baseline file to add what was found to")
	cmd.Flags().StringVar(&q.reason, "reason", "", "why that may stay")
	_ = cmd.RegisterFlagCompletionFunc("flight", a.completeFlights(1)) // the flag is there
	return cmd
}

func (s *session) policySecrets(ctx context.Context, q secretSearch) error {
	c := s.setup.Config
	o, _, err := secretOptions(c, s.origin.dir, s.app.secretValues(c, s.place.dir()))
	if err != nil {
		return err
	}
	ev, err := secrets.New(o)
	if err != nil {
		return err
	}
	var found []foundSecret
	var all []policies.Finding
	take := func(step string, r policies.Result) {
		for _, f := range s.setup.Shown(r).Findings {
			found, all = append(found, foundOf(step, f)), append(all, f)
		}
	}
	if q.flight != "" {
		err = s.secretsOfFlight(ctx, ev, q.flight, take)
	} else {
		err = s.secretsOfFiles(ctx, ev, q.paths, take)
	}
	if err != nil {
		return err
	}
	left := all
	if q.baseline != "" {
		if left, err = writeBaseline(q, all); err != nil {
			return err
		}
	}
	s.app.tellSecrets(found, len(all)-len(left), q.baseline)
	worst := protocol.Allow
	for _, f := range left {
		worst = protocol.MostSevere(worst, f.Decision)
	}
	return decisionExit(worst)
}

func (s *session) secretsOfFlight(ctx context.Context, ev *secrets.Evaluator, name string, take func(string, policies.Result)) error {
	f, _, err := s.read([]string{name})
	if err != nil {
		return err
	}
	list, err := s.crew.Inputs(ctx, f, s.setup)
	if err != nil {
		return err
	}
	for _, in := range list {
		r, err := ev.Evaluate(ctx, in.Input, "")
		if err != nil {
			return err
		}
		take(in.StepID, r)
	}
	return nil
}

func (s *session) secretsOfFiles(ctx context.Context, ev *secrets.Evaluator, paths []string, take func(string, policies.Result)) error {
	for _, path := range paths {
		r, err := s.secretsOfFile(ctx, ev, path)
		if err != nil {
			return err
		}
		take("", r)
	}
	return nil
}

// secretsOfFile looks through one file. It has the name that a patch would give it.
func (s *session) secretsOfFile(ctx context.Context, ev *secrets.Evaluator, path string) (_ policies.Result, err error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		return policies.Result{}, usageError("input_unreadable", "the file cannot be read: %w", err).At(path)
	}
	f, err := os.Open(path) //nolint:gosec // the user names it
	if err != nil {
		return policies.Result{}, usageError("input_unreadable", "the file cannot be read: %w", err).At(path)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	name := filepath.ToSlash(filepath.Clean(path))
	if abs, err := filepath.Abs(path); err == nil {
		if rel, err := filepath.Rel(s.place.workspace, abs); err == nil && filepath.IsLocal(rel) {
			name = filepath.ToSlash(rel)
		}
	}
	return ev.File(ctx, name, f)
}

// writeBaseline adds findings to a baseline file, and gives those that cannot be known.
func writeBaseline(q secretSearch, all []policies.Finding) ([]policies.Finding, error) {
	var have *secrets.Baseline
	old, err := os.Open(q.baseline)
	switch {
	case err == nil:
		have, err = secrets.ReadBaseline(q.baseline, old)
		if err := errors.Join(err, old.Close()); err != nil {
			return nil, err
		}
	case !errors.Is(err, os.ErrNotExist):
		return nil, usageError("secrets_baseline", "the known findings cannot be read: %w", err).At(q.baseline)
	}
	b, left, err := have.With(all, q.reason)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	if err := b.Write(&text); err != nil {
		return nil, err
	}
	if text.Len() > limits.SecretBaseline {
		return nil, usageError("secrets_baseline", "the baseline would be larger than %d bytes", limits.SecretBaseline).At(q.baseline)
	}
	if err := replaceFile(q.baseline, []byte(text.String()), 0o644); err != nil {
		return nil, protocol.Errorf(protocol.ExitFailure, "secrets_baseline_write", "the baseline cannot be written: %w", err).At(q.baseline).
			WithHint("let this user write the file and its directory")
	}
	return left, nil
}

// replaceFile puts a file into the place of another, whole or not at all.
func replaceFile(path string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".cabincrew-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func foundOf(step string, f policies.Finding) foundSecret {
	m := secrets.MatchOf(f)
	return foundSecret{
		StepID: step, Decision: f.Decision, Rule: m.Rule, Fingerprint: m.Fingerprint, Secret: m.Secret, File: m.File, Part: m.Part,
		Line: m.Line, Column: m.Column, Encoding: m.Encoding, Reason: f.Reason,
	}
}

// tellSecrets prints what was found.
func (a *app) tellSecrets(found []foundSecret, written int, baseline string) {
	if a.flags.output == outputJSON {
		a.printJSON(map[string]any{"findings": append([]foundSecret{}, found...), "written": written})
		return
	}
	var b strings.Builder
	for _, f := range found {
		at := f.File
		if f.Line > 0 {
			at += fmt.Sprintf(":%d:%d", f.Line, f.Column)
		}
		what := f.Fingerprint
		if f.Secret != "" {
			what = "secret " + f.Secret
		}
		fmt.Fprintf(&b, "%-16s  %s  %s  %s", f.Decision, oneLine(f.Rule), what, oneLine(at))
		for _, more := range []string{f.Part, f.Encoding, f.StepID} {
			if more != "" {
				b.WriteString("  " + oneLine(more))
			}
		}
		b.WriteString("\n")
		if f.Rule == secrets.RuleUnjudged || f.Rule == secrets.RuleDelta {
			fmt.Fprintf(&b, "    %s\n", oneLine(f.Reason))
		}
	}
	fmt.Fprintf(&b, "%d found\n", len(found))
	if baseline != "" {
		fmt.Fprintf(&b, "%d of them written to %s\n", written, oneLine(baseline))
	}
	a.text(b.String())
}
