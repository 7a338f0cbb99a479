package onnx

import (
	"context"
	"errors"
	"fmt"
	"github.com/cabincrew/action/policies/onnx/inside"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// Evaluate judges one step with all models. An error is the end of ctx; what one
// model could not judge is a finding.
func (e *Evaluator) Evaluate(ctx context.Context, in policies.Input, evaluatedAt string) (policies.Result, error) {
	var out policies.Result
	for _, m := range e.models {
		found := e.judge(ctx, m, in)
		if ctx.Err() != nil {
			return policies.Result{}, context.Cause(ctx)
		}
		for i := range found {
			found[i].EvaluatedAt = evaluatedAt
		}
		out.Findings = append(out.Findings, found...)
	}
	return out, nil
}

// judge judges one step with one model.
func (e *Evaluator) judge(ctx context.Context, m *loaded, in policies.Input) []policies.Finding {
	ctx, cancel := context.WithTimeout(ctx, m.Timeout)
	defer cancel()
	r := &reading{model: m, tops: newTops(len(m.Labels)), runtime: e.runtime}
	err := e.read(ctx, r, in)
	if err == nil {
		return r.findings()
	}
	if errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil && !errors.Is(err, errLeft) {
		err = context.DeadlineExceeded
	}
	return []policies.Finding{r.failed(err)}
}

// reading is what one model read of one step, and what it made of it.
type reading struct {
	model   *loaded
	runtime string

	mu      sync.Mutex
	windows int64
	bytes   int64
	tops    []top           // for each label
	files   map[string]bool // with a window that satisfies a row
	others  bool            // such a window is in no file
}

// top is the largest score of a label with where it was found. Of equal scores
// the first window's counts, so that the order of work does not show.
type top struct {
	score  float64
	order  int64 // of the window; -1: none
	source source
	offset int64
}

func newTops(n int) []top {
	tops := make([]top, n)
	for i := range tops {
		tops[i] = top{score: math.Inf(-1), order: -1}
	}
	return tops
}

func (r *reading) note(scores []float64, j job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, s := range scores {
		t := &r.tops[i]
		if s > t.score || s == t.score && j.order < t.order {
			*t = top{score: s, order: j.order, source: j.source, offset: j.window.offset}
		}
	}
	for _, row := range r.model.Decisions {
		if !row.holds(scores[r.model.column(row.Label)], r.model.bits) {
			continue
		}
		if j.source.file == "" {
			r.others = true
			continue
		}
		if r.files == nil {
			r.files = map[string]bool{}
		}
		r.files[j.source.file] = true
	}
}

// job is one window to be scored.
type job struct {
	order  int64
	source source
	window window
	input  input
}

// read gives a model all that it reads of a step.
func (e *Evaluator) read(ctx context.Context, r *reading, in policies.Input) error {
	if r.model.Input == InputFeatures {
		return e.readFeatures(ctx, r, in)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	jobs := make(chan job)
	var workers sync.WaitGroup
	for range cap(e.slots) {
		workers.Go(func() {
			for j := range jobs {
				if err := e.run(ctx, r, j); err != nil {
					cancel(err) // the first error is the one that is told
				}
			}
		})
	}
	err := r.hand(ctx, in, jobs)
	close(jobs)
	workers.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func (e *Evaluator) readFeatures(ctx context.Context, r *reading, in policies.Input) error {
	row, err := Features(in, r.model.Reads)
	if err != nil {
		return err
	}
	r.windows = 1
	return e.run(ctx, r, job{input: input{Features: row}})
}

func (e *Evaluator) run(ctx context.Context, r *reading, j job) error {
	select {
	case e.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-e.slots }()
	scores, err := r.model.cached(ctx, j.input)
	if err != nil {
		return err
	}
	r.note(scores, j)
	return nil
}

// hand cuts all that a model reads into windows and hands them on.
func (r *reading) hand(ctx context.Context, in policies.Input, jobs chan<- job) error {
	for _, a := range in.Artifacts {
		if !r.model.Reads.selects(a) {
			continue
		}
		sources, err := r.model.Reads.sources(in, a)
		if err != nil {
			return err
		}
		for _, s := range sources {
			if err := r.windowsOf(ctx, s, jobs); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reading) windowsOf(ctx context.Context, s source, jobs chan<- job) error {
	body, err := s.open()
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	err = windows(body, r.model.Window, r.model.Overlap, func(w window) error {
		r.windows++
		if r.bytes += int64(w.bytes); r.bytes > limits.OnnxInput {
			return tooMuch()
		}
		for _, text := range forms(w.text) {
			select {
			case jobs <- job{order: r.windows, source: s, window: w, input: input{Text: text}}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	var told *protocol.Error
	if err == nil || ctx.Err() != nil || errors.As(err, &told) {
		return err
	}
	return unreadable(policies.Artifact{Name: s.artifact}, "its body cannot be read to the end")
}

func tooMuch() *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, "model_input", "there are more than %d bytes to read", int64(limits.OnnxInput)).
		WithHint("let the model read less (reads), or split the step")
}

// findings gives what the decision table makes of the scores: a finding for each
// satisfied row of the most severe decision that asks another role than those
// before, or one that allows.
func (r *reading) findings() []policies.Finding {
	m := r.model
	var rows []Row
	for _, row := range m.Decisions {
		t := r.tops[m.column(row.Label)]
		if t.order < 0 || !row.holds(t.score, m.bits) {
			continue
		}
		switch {
		case len(rows) == 0 || row.Decision.Severity() > rows[0].Decision.Severity():
			rows = []Row{row}
		case rows[0].Decision == protocol.RequireApproval && row.Decision == rows[0].Decision && !slices.ContainsFunc(rows, func(o Row) bool { return o.Role == row.Role }):
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return []policies.Finding{r.allowed()}
	}
	out := make([]policies.Finding, len(rows))
	for i, row := range rows {
		out[i] = r.matched(row)
	}
	return out
}

// column gives the place of a label, which Check found to be there.
func (m *loaded) column(label string) int { return max(slices.Index(m.Labels, label), 0) }

func (r *reading) matched(row Row) policies.Finding {
	m := r.model
	t := r.tops[m.column(row.Label)]
	f := r.finding(row.Decision, "/"+row.Label)
	r.place(&f, row.Label, t)
	r.everywhere(&f)
	f.Evidence["at_least"] = row.AtLeast
	where := ""
	if t.source.artifact != "" {
		where = fmt.Sprintf(" in %s of artifact %q", partText[t.source.part], inside.Short(t.source.artifact))
	}
	if t.source.file != "" {
		where += fmt.Sprintf(", file %q", inside.Short(t.source.file))
		if line := t.source.line(t.offset); line > 0 {
			where += fmt.Sprintf(", from line %d", line)
		}
	}
	f.Reason = fmt.Sprintf("model %q gives %q the score %s, at least %s%s", m.Name, row.Label, decimal(t.score, m.bits), row.AtLeast, where)
	if row.Decision == protocol.RequireApproval {
		f.Role = row.Role
		f.Evidence["role"] = row.Role
	}
	return f
}

// evidenceFiles is how many files are named in the evidence.
const evidenceFiles = 100

// everywhere names all files that satisfy a row, so that no exemption of one file
// covers another.
func (r *reading) everywhere(f *policies.Finding) {
	f.Files = slices.Sorted(maps.Keys(r.files))
	if len(f.Files) > 1 {
		f.Evidence["files"] = f.Files[:min(len(f.Files), evidenceFiles)]
	}
	f.Cut = len(f.Files) > limits.PolicyFindings || len(f.Files) > 0 && r.others
	f.Files = f.Files[:min(len(f.Files), limits.PolicyFindings)]
}

// partText names the parts for people.
var partText = map[string]string{PartAdded: "added lines", PartBody: "the body", PartMetadata: "the metadata"}

// allowed says that a model looked and what its highest score was.
func (r *reading) allowed() policies.Finding {
	m := r.model
	f := r.finding(protocol.Allow, "")
	best, label := top{score: math.Inf(-1), order: -1}, ""
	for _, row := range m.Decisions {
		if t := r.tops[m.column(row.Label)]; t.order >= 0 && t.score > best.score {
			best, label = t, row.Label
		}
	}
	if label == "" {
		f.Reason = fmt.Sprintf("model %q found nothing to read", m.Name)
		return f
	}
	r.place(&f, label, best)
	f.Reason = fmt.Sprintf("model %q reaches no threshold; its highest score is %s for %q", m.Name, decimal(best.score, m.bits), label)
	return f
}

func (r *reading) place(f *policies.Finding, label string, t top) {
	f.Evidence["label"] = label
	f.Evidence["score"] = decimal(t.score, r.model.bits)
	if t.source.artifact == "" {
		return // numbers of the whole step
	}
	f.Artifact = t.source.artifact
	f.Evidence["artifact"] = t.source.artifact
	f.Evidence["part"] = t.source.part
	f.Evidence["offset"] = t.offset
	if t.source.file != "" {
		f.Files = []string{t.source.file}
		f.Evidence["file"] = t.source.file
		if line := t.source.line(t.offset); line > 0 {
			f.Evidence["line"] = line
		}
	}
}

func (r *reading) finding(d protocol.Decision, suffix string) policies.Finding {
	m := r.model
	return policies.Finding{
		Rule: m.Name,
		PolicyEvaluation: protocol.PolicyEvaluation{
			Source: protocol.SourceONNX, PolicyID: "onnx/" + m.Name + suffix, Decision: d, Severity: d.Severity(),
			Evidence: map[string]any{
				"model": m.Name, "model_digest": m.digest, "runtime": r.runtime, "windows": r.windows, "bytes": r.bytes,
			},
		},
	}
}

// failed is the finding of a model that could not judge. What nobody could read is
// denied; for the rest the configuration may say something softer.
func (r *reading) failed(err error) policies.Finding {
	m := r.model
	var told *protocol.Error
	if errors.As(err, &told) {
		f := r.unjudged(protocol.Deny, told.Code, told.Message, told.Hint)
		f.Unjudged = true
		return f
	}
	why := m.failure(err, "on this step")
	f := r.unjudged(m.OnError, why.Code, why.Err.Error(), why.Hint)
	f.Unjudged = m.OnError == protocol.Deny
	f.Firm = true // an exemption is about what was found
	if m.OnError == protocol.RequireApproval {
		f.Role = m.OnErrorRole
		f.Evidence["role"] = f.Role
	}
	return f
}

func (r *reading) unjudged(d protocol.Decision, code, why, hint string) policies.Finding {
	f := r.finding(d, "")
	// How far it came depends on the machine.
	delete(f.Evidence, "windows")
	delete(f.Evidence, "bytes")
	f.Evidence["error"] = code
	f.Reason = fmt.Sprintf("model %q could not judge: %s (%s). %s.", r.model.Name, inside.Short(why), code, strings.TrimSuffix(hint, "."))
	return f
}

// decimal writes a score with at most four places, the rest cut off, so that a
// score below a threshold never reads as if it reached it.
func decimal(x float64, bits int) string {
	s := strconv.FormatFloat(x, 'f', -1, bits)
	whole, places, ok := strings.Cut(s, ".")
	if !ok {
		return whole
	}
	return whole + "." + places[:min(len(places), 4)]
}

func itoa(n int) string { return strconv.Itoa(n) }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return itoa(n) + " " + what + "s"
}
