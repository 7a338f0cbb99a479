package onnx

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Kinds of input that a model takes.
const (
	InputString   = "string"   // windows of text
	InputFeatures = "features" // the numbers of FeaturesVersion
)

// Parts of an artifact that a model can read.
const (
	PartAdded    = "added"    // added lines of patches
	PartBody     = "body"     // bodies; of patches only if PartAdded is not read
	PartMetadata = "metadata" // texts in the metadata
)

// Model is one configured model.
type Model struct {
	Name   string // unique; what exemptions and findings call it
	At     string // where it is configured, for errors, such as config.models[0]
	Source string // where its bytes come from, for errors, such as models/x.onnx
	// Open gives the model's bytes; it is called once.
	Open   func(context.Context) (io.ReadCloser, error)
	SHA256 string // of those bytes, 64 hexadecimal digits

	Input   string // InputString or InputFeatures
	Reads   Reads
	Window  int // bytes of one window of text; 0: limits.OnnxWindow
	Overlap int // bytes that windows share; 0: limits.OnnxOverlap, or a quarter of a smaller window

	Output    string   // name of the output; empty: the only one
	Labels    []string // names of the output's columns
	Decisions []Row

	Timeout     time.Duration     // for one step; 0: limits.OnnxTime
	OnError     protocol.Decision // if judging fails while it runs; empty: deny
	OnErrorRole string            // approves then; empty: policies.DefaultRole
}

// Reads selects what a model reads. An empty list selects everything; empty Parts
// are PartAdded and PartBody.
type Reads struct {
	Types []string // artifact types
	Roles []string // evidence or state
	MIME  []string // such as text/markdown or text/*
	Parts []string
}

// Row is one row of a decision table.
type Row struct {
	Label    string
	AtLeast  string // a decimal, such as "0.90"
	Decision protocol.Decision
	Role     string // approves, for require_approval; empty: policies.DefaultRole
}

var (
	modelName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	labelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._:/-]{0,63}$`)
	threshold = regexp.MustCompile(`^-?[0-9]{1,6}(\.[0-9]{1,9})?$`)
)

// Check says what is wrong with the configuration of models, without reading one.
func Check(models []Model) error {
	if len(models) > limits.OnnxModels {
		return configError("config.models", "there are %d models, more than %d", len(models), limits.OnnxModels)
	}
	seen := map[string]bool{}
	for _, m := range models {
		m = m.withDefaults()
		if err := m.check(); err != nil {
			return err
		}
		if seen[m.Name] {
			return configError(m.At+".name", "two models have the name %q", m.Name)
		}
		seen[m.Name] = true
	}
	return nil
}

func (m Model) withDefaults() Model {
	if m.At == "" {
		m.At = "config.models." + m.Name
	}
	if m.Window == 0 {
		m.Window = limits.OnnxWindow
	}
	if m.Overlap == 0 {
		m.Overlap = min(limits.OnnxOverlap, m.Window/4)
	}
	if m.Timeout == 0 {
		m.Timeout = limits.OnnxTime
	}
	if m.OnError == "" {
		m.OnError = protocol.Deny
	}
	if m.OnErrorRole == "" {
		m.OnErrorRole = policies.DefaultRole
	}
	if len(m.Reads.Parts) == 0 {
		m.Reads.Parts = []string{PartAdded, PartBody}
	}
	m.Decisions = slices.Clone(m.Decisions)
	for i := range m.Decisions {
		if m.Decisions[i].Role == "" {
			m.Decisions[i].Role = policies.DefaultRole
		}
	}
	return m
}

func (m Model) check() error {
	if !modelName.MatchString(m.Name) {
		return configError(m.At+".name", "%q is no name of a model; a name has lower-case letters, digits, '.', '_' and '-'", m.Name)
	}
	if sum, err := hex.DecodeString(m.SHA256); err != nil || len(sum) != 32 || m.SHA256 != strings.ToLower(m.SHA256) {
		return configError(m.At+".sha256", "the SHA-256 of model %q must be 64 lower-case hexadecimal digits; print it with: sha256sum FILE", m.Name)
	}
	if m.Input != InputString && m.Input != InputFeatures {
		return configError(m.At+".input", "input is %q; it must be string or features", m.Input)
	}
	for _, p := range m.Reads.Parts {
		if p != PartAdded && p != PartBody && p != PartMetadata {
			return configError(m.At+".reads.parts", "part %q must be added, body or metadata", p)
		}
	}
	if m.Window < limits.OnnxWindowMin || m.Window > limits.OnnxWindowMax {
		return configError(m.At+".window", "a window has %d bytes; it must have %d to %d", m.Window, limits.OnnxWindowMin, limits.OnnxWindowMax)
	}
	if m.Overlap < 0 || m.Overlap > m.Window/2 {
		return configError(m.At+".overlap", "the overlap has %d bytes; it must have at most half of the window's %d", m.Overlap, m.Window)
	}
	if m.Timeout < 0 || m.Timeout > limits.OnnxTimeMax {
		return configError(m.At+".timeout", "the time-out must be above 0 and at most %s", limits.OnnxTimeMax)
	}
	if !softer(m.OnError) {
		return configError(m.At+".on_error", "on_error is %q; it must be deny, require_approval or warn", m.OnError)
	}
	return m.checkTable()
}

func (m Model) checkTable() error {
	if len(m.Labels) == 0 || len(m.Labels) > limits.OnnxLabels {
		return configError(m.At+".labels", "model %q needs 1 to %d labels: the names of its output's columns", m.Name, limits.OnnxLabels)
	}
	for i, l := range m.Labels {
		if !labelName.MatchString(l) || slices.Contains(m.Labels[:i], l) {
			return configError(m.At+".labels", "the label %q is there twice or is no name", l)
		}
	}
	if len(m.Decisions) == 0 || len(m.Decisions) > limits.OnnxLabels {
		return configError(m.At+".decisions", "model %q needs 1 to %d decisions; without one it decides nothing", m.Name, limits.OnnxLabels)
	}
	for i, r := range m.Decisions {
		at := fmt.Sprintf("%s.decisions[%d]", m.At, i)
		switch {
		case !slices.Contains(m.Labels, r.Label):
			return configError(at+".label", "model %q has no label %q", m.Name, r.Label)
		case !threshold.MatchString(r.AtLeast):
			return configError(at+".at_least", "%q is no threshold; write a decimal in quotes, such as \"0.90\"", r.AtLeast)
		case !softer(r.Decision):
			return configError(at+".decision", "the decision is %q; it must be deny, require_approval or warn", r.Decision)
		}
	}
	return nil
}

func softer(d protocol.Decision) bool {
	return d == protocol.Deny || d == protocol.RequireApproval || d == protocol.Warn
}

// holds says whether a score reaches the row's threshold. The threshold is rounded
// as the model's own numbers are, so that a score of 0.9 reaches "0.9".
func (r Row) holds(score float64, bits int) bool {
	t, err := strconv.ParseFloat(r.AtLeast, bits)
	return err != nil || score >= t // what is not checked must not pass
}

func configError(at, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "model_config", format, args...).At(at).WithHint("docs/models.md describes the keys of a model")
}
