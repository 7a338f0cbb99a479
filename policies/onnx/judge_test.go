package onnx

import (
	"context"
	"errors"
	"fmt"
	"github.com/cabincrew/action/policies/onnx/inside"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

func TestTheLargestWindowIsTheEvidence(t *testing.T) {
	t.Parallel()
	e := judged(t, &fake{score: words}, func(m *Model) {
		m.Window, m.Overlap = 64, 16
		m.Decisions = []Row{{Label: "injection", AtLeast: "0.20", Decision: protocol.Deny}}
	})
	filler := strings.Repeat("x", 50)
	f := one(t, e, step(patchOf("docs/a.md", filler, filler, "obey me, obey", filler, "obey")))
	want := policies.Finding{
		Rule: "injection", Artifact: "changes", Files: []string{"docs/a.md"},
		PolicyEvaluation: protocol.PolicyEvaluation{
			Source: "onnx", PolicyID: "onnx/injection/injection", Decision: protocol.Deny, Severity: 3, EvaluatedAt: now,
			Reason: `model "injection" gives "injection" the score 0.2, at least 0.20 in added lines of artifact "changes", file "docs/a.md", from line 11`,
			Evidence: map[string]any{
				"model": "injection", "model_digest": e.Models()[0].Digest, "runtime": "0.0.0-fake", "windows": int64(4), "bytes": int64(220),
				"label": "injection", "score": "0.2", "at_least": "0.20",
				"artifact": "changes", "part": "added", "file": "docs/a.md", "offset": int64(96), "line": int64(11),
			},
		},
	}
	if !reflect.DeepEqual(f, want) {
		t.Errorf("got  %+v\nwant %+v", f, want)
	}
	if text := fmt.Sprintf("%+v", f); strings.Contains(text, "obey") {
		t.Errorf("the finding holds the text: %s", text)
	}
}

func TestBelowTheThresholdIsAllowed(t *testing.T) {
	t.Parallel()
	e := judged(t, &fake{score: words}, nil)
	f := one(t, e, step(textOf("a", "nothing"), textOf("b", "obey")))
	if f.Decision != protocol.Allow || f.Severity != 0 || f.PolicyID != "onnx/injection" || f.Artifact != "b" || f.Evidence["score"] != "0.1" || f.Unjudged {
		t.Errorf("got %+v", f)
	}
	f = one(t, e, step(textOf("a", " \n")))
	if f.Decision != protocol.Allow || f.Evidence["score"] != nil || !strings.Contains(f.Reason, "nothing to read") {
		t.Errorf("got %+v", f)
	}
}

func TestTheMostSevereRowWins(t *testing.T) {
	t.Parallel()
	rows := func(rows ...Row) func(*Model) { return func(m *Model) { m.Decisions = rows } }
	for name, tc := range map[string]struct {
		change func(*Model)
		want   string
	}{
		"most severe last":  {rows(Row{"injection", "0.1", protocol.Warn, ""}, Row{"injection", "0.5", protocol.Deny, ""}), "deny onnx/injection/injection "},
		"most severe first": {rows(Row{"injection", "0.5", protocol.Deny, ""}, Row{"injection", "0.1", protocol.Warn, ""}), "deny onnx/injection/injection "},
		"unreached":         {rows(Row{"injection", "0.9", protocol.Deny, ""}, Row{"injection", "0.1", protocol.Warn, ""}), "warn onnx/injection/injection "},
		"another label":     {rows(Row{"benign", "0.9", protocol.Warn, ""}, Row{"injection", "0.9", protocol.Deny, ""}), "warn onnx/injection/benign "},
		"a role":            {rows(Row{"injection", "0.5", protocol.RequireApproval, "security"}), "require_approval onnx/injection/injection security"},
		"default role":      {rows(Row{"injection", "0.5", protocol.RequireApproval, ""}), "require_approval onnx/injection/injection maintainer"},
		"two roles": {
			rows(Row{"injection", "0.5", protocol.RequireApproval, "security"}, Row{"benign", "0.3", protocol.RequireApproval, "docs"}, Row{"injection", "0.4", protocol.RequireApproval, "security"}),
			"require_approval onnx/injection/injection security,require_approval onnx/injection/benign docs",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := judged(t, &fake{score: words}, tc.change)
			r, err := e.Evaluate(t.Context(), step(textOf("a", strings.Repeat("obey ", 6)), textOf("b", "fine")), now)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range r.Findings {
				got = append(got, string(f.Decision)+" "+f.PolicyID+" "+f.Role)
			}
			if strings.Join(got, ",") != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// An exemption of one file must not cover another that is below the largest score.
func TestAFindingNamesAllFiles(t *testing.T) {
	t.Parallel()
	e := judged(t, &fake{score: words}, func(m *Model) {
		m.Decisions = []Row{{Label: "injection", AtLeast: "0.50", Decision: protocol.Deny}, {Label: "injection", AtLeast: "0.20", Decision: protocol.Warn}}
	})
	a := patchOf("worst.md", strings.Repeat("obey ", 9))
	add := func(path, text string) {
		a.Patch.Files = append(a.Patch.Files, patchOf(path, text).Patch.Files...)
	}
	add("fine.md", "fine")
	add("bad.md", strings.Repeat("obey ", 3))
	add("also.md", strings.Repeat("obey ", 3)) // the same text
	f := one(t, e, step(a))
	files := []string{"also.md", "bad.md", "worst.md"}
	if !reflect.DeepEqual(f.Files, files) || !reflect.DeepEqual(f.Evidence["files"], files) || f.Evidence["file"] != "worst.md" || f.Cut || f.Decision != protocol.Deny {
		t.Errorf("got %+v", f)
	}
	if f = one(t, e, step(a, textOf("b", "obey obey obey"))); !f.Cut {
		t.Errorf("got %+v; an exemption of files would cover a body", f)
	}
	if f = one(t, e, step(textOf("b", "obey obey obey"))); f.Cut || len(f.Files) != 0 {
		t.Errorf("got %+v", f)
	}
}

// recorder gives what a model was given, as one text.
func recorder() (*fake, func() string) {
	var mu sync.Mutex
	var got []string
	f := &fake{score: func(_ context.Context, in input) ([]float64, error) {
		mu.Lock()
		defer mu.Unlock()
		if in.Text != sampleText {
			got = append(got, in.Text)
		}
		return []float64{1, 0}, nil
	}}
	return f, func() string { mu.Lock(); defer mu.Unlock(); return strings.Join(got, "|") }
}

func TestReads(t *testing.T) {
	t.Parallel()
	diff := "diff --git a/a.txt b/a.txt\nindex 1111111111111111111111111111111111111111..2222222222222222222222222222222222222222 100644\n--- a/a.txt\n+++ b/a.txt\n@@ -1 +1,2 @@\n-old\n+new\n+lines\n"
	whole := patchOf("a.txt", "new", "lines")
	truncated := patchOf("a.txt", "new")
	truncated.Patch.Files[0].Truncated = true
	unparsed := truncated
	unparsed.Patch = nil
	link := patchOf("l", "target")
	link.Patch.Files[0].Hunks = nil
	json := textOf("j", "")
	json.Body = map[string]any{"b": []any{"ignore\nall", true}, "a": map[string]any{"n": protocol.Number("7")}}
	meta := textOf("m", "body")
	meta.Metadata = map[string]any{"title": "obey", "hash": "sha256:" + strings.Repeat("0", 64)}
	far := textOf("far", "")
	far.Body, far.Digest = nil, "sha256:x"
	inside := bodies{"changes": diff, "far": "from far"}
	for name, tc := range map[string]struct {
		a     policies.Artifact
		reads Reads
		want  string
	}{
		"added":               {whole, Reads{}, "new\nlines\n"},
		"added of a cut":      {truncated, Reads{}, "new\nlines\n"},
		"added of unparsed":   {unparsed, Reads{}, "new\nlines\n"},
		"added of a link":     {link, Reads{}, "target\n"},
		"patch as body":       {unparsed, Reads{Parts: []string{PartBody}}, diff},
		"text":                {textOf("t", "body"), Reads{}, "body"},
		"no body":             {textOf("t", "body"), Reads{Parts: []string{PartAdded}}, ""},
		"JSON":                {json, Reads{}, "a: n: \n\nb: ignore\nall\n\n\n"},
		"metadata":            {meta, Reads{Parts: []string{PartMetadata}}, "hash: title: obey\n\n"},
		"far":                 {far, Reads{}, "from far"},
		"type":                {textOf("t", "body"), Reads{Types: []string{"report"}}, "body"},
		"another type":        {textOf("t", "body"), Reads{Types: []string{"patch"}}, ""},
		"role":                {textOf("t", "body"), Reads{Roles: []string{"evidence"}}, "body"},
		"another role":        {textOf("t", "body"), Reads{Roles: []string{"state"}}, ""},
		"MIME":                {textOf("t", "body"), Reads{MIME: []string{"Text/Plain"}}, "body"},
		"MIME group":          {textOf("t", "body"), Reads{MIME: []string{"image/png", "text/*"}}, "body"},
		"any MIME":            {textOf("t", "body"), Reads{MIME: []string{"*/*"}}, "body"},
		"another MIME":        {textOf("t", "body"), Reads{MIME: []string{"text/html", "tex/*"}}, ""},
		"no UTF-8":            {textOf("t", "a\xffb\x00c"), Reads{}, "a\ufffdbc"},
		"blank is not judged": {textOf("t", "\n\t "), Reads{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, got := recorder()
			e := judged(t, f, func(m *Model) { m.Reads = tc.reads })
			in := step(tc.a)
			in.Bodies = inside
			if f := one(t, e, in); f.Decision != protocol.Allow {
				t.Errorf("got %+v", f)
			}
			if got() != tc.want {
				t.Errorf("read %q, want %q", got(), tc.want)
			}
		})
	}
}

// The form that scores most counts, and stands where the text stood.
func TestCompatibleLettersAreJudgedAsOrdinaryOnes(t *testing.T) {
	t.Parallel()
	e := judged(t, &fake{score: words}, func(m *Model) {
		m.Window, m.Decisions[0].AtLeast = 64, "0.30"
	})
	text := strings.Repeat("\uff4e", 40) + " " + strings.Repeat("\uff4f\uff42\uff45\uff59 ", 6) // 121 bytes before the words
	f := one(t, e, step(textOf("a", text)))
	offset, ok := f.Evidence["offset"].(int64)
	if f.Decision != protocol.Warn || !ok || offset < 64 || offset > int64(len(text)) {
		t.Errorf("got %+v", f)
	}
	for text, want := range map[string][]string{
		"plain": {"plain"}, "naïve 数": {"naïve 数"}, "\uff4f\uff42ey \u2460": {"\uff4f\uff42ey \u2460", "obey 1"}, "\U0001d428bey": {"\U0001d428bey", "obey"},
	} {
		if got := forms(text); !reflect.DeepEqual(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestWhatCannotBeReadIsDenied(t *testing.T) {
	t.Parallel()
	far := textOf("far", "")
	far.Body = nil
	broken := patchOf("a", "b")
	broken.Patch = nil
	deep := textOf("deep", "")
	var nested any = "x"
	for range deepest + 2 {
		nested = []any{nested}
	}
	deep.Body = nested
	for name, in := range map[string]policies.Input{
		"no bodies":    step(far),
		"no such body": {Artifacts: []policies.Artifact{far}, Bodies: bodies{}},
		"no patch":     {Artifacts: []policies.Artifact{broken}, Bodies: bodies{"changes": "certainly no patch"}},
		"deep":         step(deep),
		"too much":     {Artifacts: []policies.Artifact{far}, Bodies: bodies{"far": strings.Repeat("same\n", limits.OnnxInput/5+1)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := judged(t, &fake{score: words}, func(m *Model) { m.OnError = protocol.Warn; m.Window = limits.OnnxWindowMax })
			f := one(t, e, in)
			if f.Decision != protocol.Deny || !f.Unjudged || f.Severity != 3 || f.Evidence["error"] != "model_input" || f.EvaluatedAt != now {
				t.Errorf("got %+v; no on_error may soften this", f)
			}
		})
	}
}

func TestFailuresWhileJudging(t *testing.T) {
	t.Parallel()
	fail := func(scores []float64, err error) *fake {
		return &fake{score: func(_ context.Context, in input) ([]float64, error) {
			if in.Text == sampleText {
				return []float64{1, 0}, nil
			}
			return scores, err
		}}
	}
	for name, tc := range map[string]struct {
		f    *fake
		code string
	}{
		"NaN":       {fail([]float64{0, math.NaN()}, nil), "model_output"},
		"infinite":  {fail([]float64{math.Inf(1), 0}, nil), "model_output"},
		"too few":   {fail([]float64{1}, nil), "model_output"},
		"shape":     {fail(nil, inside.ErrShape), "model_output"},
		"memory":    {fail(nil, inside.ErrMemory), "model_memory"},
		"anything":  {fail(nil, inside.ErrFailed), "model_failed"},
		"left":      {fail(nil, errLeft), "model_timeout"},
		"its clock": {fail(nil, context.DeadlineExceeded), "model_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, onError := range []protocol.Decision{"", protocol.Deny, protocol.RequireApproval, protocol.Warn} {
				e := judged(t, tc.f, func(m *Model) { m.OnError, m.OnErrorRole = onError, "security" })
				f := one(t, e, step(textOf("a", "some text")))
				want := onError
				if want == "" {
					want = protocol.Deny
				}
				role := ""
				if want == protocol.RequireApproval {
					role = "security"
				}
				if f.Decision != want || f.Severity != want.Severity() || f.Unjudged != (want == protocol.Deny) || f.Role != role || !f.Firm || f.Evidence["error"] != tc.code {
					t.Errorf("on_error %q: got %+v", onError, f)
				}
			}
		})
	}
}

func TestTimeOut(t *testing.T) {
	t.Parallel()
	f := &fake{score: func(ctx context.Context, in input) ([]float64, error) {
		if in.Text == sampleText {
			return []float64{1, 0}, nil
		}
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}}
	e := judged(t, f, func(m *Model) { m.Timeout = 20 * time.Millisecond })
	got := one(t, e, step(textOf("a", "some text")))
	if got.Decision != protocol.Deny || !got.Unjudged || got.Evidence["error"] != "model_timeout" || !strings.Contains(got.Reason, "20ms") {
		t.Errorf("got %+v", got)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("the person pressed a key")
	cancel(stop)
	if _, err := e.Evaluate(ctx, step(textOf("a", "some text")), now); !errors.Is(err, stop) {
		t.Errorf("got %v, want the end of the context", err)
	}
}

func TestAModelThatDidNotStopIsAskedAgain(t *testing.T) {
	t.Parallel()
	f := &fake{score: func(_ context.Context, in input) ([]float64, error) {
		if in.Text == "slow" {
			return nil, errLeft
		}
		return []float64{1, 0}, nil
	}}
	e := judged(t, f, nil)
	if got := one(t, e, step(textOf("a", "slow"))); got.Evidence["error"] != "model_timeout" || got.Decision != protocol.Deny {
		t.Errorf("got %+v", got)
	}
	if got := one(t, e, step(textOf("a", "other"))); got.Decision != protocol.Allow {
		t.Errorf("got %+v", got)
	}
}

func TestEqualTextIsJudgedOnce(t *testing.T) {
	t.Parallel()
	f := &fake{score: words}
	e := judged(t, f, nil)
	in := step(textOf("a", "obey"), textOf("b", "obey"), textOf("c", "other"))
	first := one(t, e, in)
	if n := f.runs.Load(); n != 2 || first.Artifact != "a" {
		t.Errorf("%d runs, found in %s; want 2 and a", n, first.Artifact)
	}
	if again := one(t, e, in); !reflect.DeepEqual(first, again) || f.runs.Load() != 2 {
		t.Errorf("the cache gives another answer, or was not asked: %+v", again)
	}
}

func TestManyAtOnceGiveOneAnswer(t *testing.T) {
	t.Parallel()
	var in policies.Input
	for i := range 40 {
		in.Artifacts = append(in.Artifacts, textOf(fmt.Sprintf("a%02d", i), fmt.Sprintf("text %d %s", i, strings.Repeat("obey ", i%5))))
	}
	var want policies.Finding
	for round := range 5 {
		e := judged(t, &fake{score: words}, func(m *Model) { m.Window = 64 })
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				r, err := e.Evaluate(t.Context(), in, now)
				if err != nil || len(r.Findings) != 1 || r.Findings[0].Artifact != "a04" {
					t.Errorf("got %+v, %v; want the first of the largest", r, err)
				}
			})
		}
		wg.Wait()
		got := one(t, e, in)
		if round > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, before %+v", got, want)
		}
		want = got
	}
}

func TestFeatures(t *testing.T) {
	t.Parallel()
	a := patchOf("docs/sub/a.md", strings.Repeat("ab", 20), "é\u200b")
	a.Size = 1000
	a.Patch.Files = append(a.Patch.Files, policies.PatchFile{Op: "delete", Path: "b", Deleted: 3, Binary: true, OldMode: "120000"})
	plan := policies.Artifact{Name: "plan", ArtifactType: "plan", Role: "evidence", Kubernetes: []any{1, 2}, Terraform: &policies.Terraform{
		Resources: []policies.TerraformResource{{Action: "create"}, {Action: "replace"}, {Action: "destroy"}, {Action: "no-op"}},
	}}
	in := step(a, plan)
	in.Opaque = true
	row, err := Features(in, Reads{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float32{}
	for i, name := range FeatureNames() {
		got[name] = row[i]
	}
	for name, want := range map[string]float32{
		"artifacts": 2, "artifact_bytes": 1000, "files": 2, "files_added": 0, "files_modified": 1, "files_deleted": 1, "files_renamed": 0,
		"lines_added": 2, "lines_deleted": 3, "binary_files": 1, "executables_changed": 0, "links": 1,
		"directories": 2, "top_directories": 2, "path_depth_max": 2, "path_bytes_max": 13, "added_bytes": 45, "line_bytes_max": 40,
		"line_entropy_max": 1, "non_ascii_share": float32(5.0 / 45), "hidden_runes": 1,
		"kubernetes_objects": 2, "resources_created": 1, "resources_destroyed": 2, "resources_updated": 0, "opaque": 1,
	} {
		if got[name] != want {
			t.Errorf("%s: %v, want %v", name, got[name], want)
		}
	}
	if got["entropy"] <= 1 || got["entropy"] >= 2 {
		t.Errorf("entropy: %v", got["entropy"])
	}
	if row, err = Features(in, Reads{Types: []string{"plan"}}); err != nil || row[0] != 1 || row[2] != 0 {
		t.Errorf("got %v, %v", row, err)
	}
	a.Patch = nil
	if _, err := Features(step(a), Reads{}); asError(err) == nil || asError(err).Code != "model_input" {
		t.Errorf("got %v", err)
	}
}

// The names and their order are a contract: another list is another version.
func TestFeaturesV1(t *testing.T) {
	t.Parallel()
	const v1 = "artifacts artifact_bytes files files_added files_deleted files_modified files_renamed lines_added lines_deleted " +
		"binary_files executables_changed links directories top_directories path_depth_max path_bytes_max added_bytes line_bytes_max " +
		"entropy line_entropy_max non_ascii_share hidden_runes kubernetes_objects resources_created resources_updated resources_destroyed opaque"
	if got := strings.Join(FeatureNames(), " "); FeaturesVersion != "features/v1" || got != v1 {
		t.Errorf("%s is %s", FeaturesVersion, got)
	}
}
