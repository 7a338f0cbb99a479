package secrets

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Known is one known finding: a secret that was looked at and may stay, in one file.
type Known struct {
	Fingerprint string `json:"fingerprint"`
	Rule        string `json:"rule"`
	// File is the path of the file, or the name of the artifact.
	File string `json:"file"`
	// Reason says why it may stay; it must not be empty.
	Reason string `json:"reason"`
}

// Baseline is a list of known findings. nil knows nothing. It must come from the
// governance in force, never from the change that is judged.
type Baseline struct {
	list  []Known
	known map[[3]string]bool
}

// baselineFile is the form of a baseline file.
type baselineFile struct {
	Version  int64   `json:"version"`
	Findings []Known `json:"findings"`
}

// baselineVersion is the version of the form.
const baselineVersion = 1

// ReadBaseline reads a baseline file strictly. The name is used in errors.
func ReadBaseline(name string, r io.Reader) (*Baseline, error) {
	data, err := io.ReadAll(io.LimitReader(r, limits.SecretBaseline+1))
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitUsage, "secrets_baseline", "the baseline cannot be read: %w", err).At(name)
	}
	if len(data) > limits.SecretBaseline {
		return nil, baselineError(name, "it is larger than %d bytes", limits.SecretBaseline)
	}
	var f baselineFile
	if err := protocol.Decode(data, &f); err != nil {
		return nil, baselineError(name, "%w", err)
	}
	if f.Version != baselineVersion {
		return nil, baselineError(name, "its version is %d, not %d", f.Version, baselineVersion)
	}
	if len(f.Findings) > limits.SecretBaselineEntries {
		return nil, baselineError(name, "it lists more than %d findings", limits.SecretBaselineEntries)
	}
	return newBaseline(name, f.Findings)
}

// NewBaseline makes a baseline of matches, all with one reason. Matches of mapped
// values are left out: they are never known.
func NewBaseline(matches []Match, reason string) (*Baseline, error) {
	var list []Known
	for i := range matches {
		m := &matches[i]
		k := Known{Fingerprint: m.Fingerprint, Rule: m.Rule, File: m.File, Reason: reason}
		if m.Rule != RuleValue && m.Rule != RuleDelta && !slices.Contains(list, k) {
			list = append(list, k)
		}
	}
	return newBaseline("the new baseline", list)
}

func newBaseline(name string, list []Known) (*Baseline, error) {
	b := &Baseline{list: list, known: make(map[[3]string]bool, len(list))}
	for i, k := range list {
		if wrong := k.wrong(); wrong != "" {
			return nil, baselineError(fmt.Sprintf("%s: findings[%d]", name, i), "%s", wrong)
		}
		key := [3]string{k.Fingerprint, k.Rule, k.File}
		if b.known[key] {
			return nil, baselineError(fmt.Sprintf("%s: findings[%d]", name, i), "the finding is listed twice")
		}
		b.known[key] = true
	}
	slices.SortFunc(b.list, func(a, b Known) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return b, nil
}

// wrong says what is wrong with an entry, or nothing.
func (k *Known) wrong() string {
	switch {
	case len(k.Fingerprint) != 2*fingerprintBytes || strings.Trim(k.Fingerprint, "0123456789abcdef") != "":
		return fmt.Sprintf("the fingerprint has not %d small hexadecimal digits", 2*fingerprintBytes)
	case k.Rule == "" || k.Rule == RuleValue || k.Rule == RuleUnjudged || k.Rule == RuleDelta || len(k.Rule) > 128:
		return "the rule is none that can be known"
	case k.File == "":
		return "the file is missing"
	case strings.TrimSpace(k.Reason) == "":
		return "the reason is missing"
	}
	for _, s := range []string{k.Rule, k.File, k.Reason} {
		if len(s) > limits.SecretBaselineReason || !utf8.ValidString(s) {
			return fmt.Sprintf("a text is longer than %d bytes or not UTF-8", limits.SecretBaselineReason)
		}
	}
	return ""
}

func baselineError(at, format string, args ...any) error {
	return protocol.Errorf(protocol.ExitUsage, "secrets_baseline", "the baseline is wrong: "+format, args...).At(at).
		WithHint(`it is {"version": 1, "findings": [{"fingerprint": "…", "rule": "…", "file": "…", "reason": "…"}]}`)
}

// Write writes the baseline as a file, sorted, so that it changes as little as possible.
func (b *Baseline) Write(w io.Writer) error {
	f := baselineFile{Version: baselineVersion, Findings: []Known{}}
	if b != nil {
		f.Findings = append(f.Findings, b.list...)
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(f); err != nil {
		return err
	}
	_, err := w.Write(text.Bytes())
	return err
}

// Digest covers the known findings and their reasons.
func (b *Baseline) Digest() string {
	var text bytes.Buffer
	_ = b.Write(&text) // a buffer never fails, and the texts are valid
	return protocol.Digest(text.Bytes())
}

// Known gives the entries, sorted.
func (b *Baseline) Known() []Known {
	if b == nil {
		return nil
	}
	return slices.Clone(b.list)
}

func (b *Baseline) knows(m *Match) bool {
	return b != nil && b.known[[3]string{m.Fingerprint, m.Rule, m.File}]
}
