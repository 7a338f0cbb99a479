//go:build cgo

package onnx

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/onnxfile"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// onnxruntime gives options with the library that make onnxruntime puts in place.
func onnxruntime(t testing.TB) Options {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "bin", "lib", names()[0]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("the ONNX Runtime library is not there; run make onnxruntime: %v", err)
	}
	return Options{Library: path}
}

// opened is an evaluator with models on the real runtime.
func opened(t testing.TB, models ...Model) (*Evaluator, error) {
	t.Helper()
	o := onnxruntime(t)
	if err := Check(models); err != nil {
		t.Fatal(err)
	}
	e, err := New(t.Context(), models, o)
	if err == nil {
		t.Cleanup(func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return e, err
}

func ready(t testing.TB, models ...Model) *Evaluator {
	t.Helper()
	e, err := opened(t, models...)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// bag is a linear model over words, as the one that comes with the program: lower
// case, words, counts, weights, softmax. vocabulary are words, of which those that
// begin with "bad" speak for injection.
func bag(vocabulary []string) []byte {
	g := &onnxfile.Graph{}
	g.Input("text", onnxfile.String, onnxfile.Named("n"))
	g.Node("StringNormalizer", "", []string{"text"}, []string{"lower"}, onnxfile.AttrString("case_change_action", "LOWER"), onnxfile.AttrString("locale", "C"))
	g.Node("Tokenizer", "com.microsoft", []string{"lower"}, []string{"words"},
		onnxfile.AttrInt("mark", 0), onnxfile.AttrInt("mincharnum", 1), onnxfile.AttrString("pad_value", "#"), onnxfile.AttrString("tokenexp", "[a-z0-9]+"))
	n := int64(len(vocabulary))
	indexes := make([]int64, n)
	weights := make([]float32, 2*n)
	for i, w := range vocabulary {
		indexes[i] = int64(i)
		if strings.HasPrefix(w, "bad") {
			weights[2*i+1] = 2
		}
	}
	g.Node("TfIdfVectorizer", "", []string{"words"}, []string{"counts"},
		onnxfile.AttrInt("max_gram_length", 1), onnxfile.AttrInt("min_gram_length", 1), onnxfile.AttrInt("max_skip_count", 0), onnxfile.AttrString("mode", "TF"),
		onnxfile.AttrInts("ngram_counts", []int64{0}), onnxfile.AttrInts("ngram_indexes", indexes), onnxfile.AttrStrings("pool_strings", vocabulary))
	g.Initializer(onnxfile.Floats("w", []int64{n, 2}, weights))
	g.Initializer(onnxfile.Floats("b", []int64{2}, []float32{0, -3}))
	g.Node("Gemm", "", []string{"counts", "w", "b"}, []string{"z"})
	g.Node("Softmax", "", []string{"z"}, []string{"score"}, onnxfile.AttrInt("axis", 1))
	g.Output("score", onnxfile.Float, onnxfile.Named("n"), onnxfile.Fixed(2))
	return modelFile(g)
}

func TestTextOnTheRuntime(t *testing.T) {
	t.Parallel()
	e := ready(t, model().with(bag([]string{"good", "bad", "badly"})))
	f := one(t, e, step(patchOf("a.md", "nothing here", "BAD, badly bad bad!\xff\x00")))
	if f.Decision != protocol.Warn || f.Evidence["score"] != "0.9933" || f.Evidence["file"] != "a.md" {
		t.Errorf("got %+v", f)
	}
	if f = one(t, e, step(textOf("b", "good, all good"))); f.Decision != protocol.Allow || f.Evidence["score"] != "0.0474" {
		t.Errorf("got %+v", f)
	}
	if v := e.Models()[0].Runtime; !strings.HasPrefix(v, "1.") || f.Evidence["runtime"] != v {
		t.Errorf("version %q", v)
	}
}

// wide is a model over the features that sums them into a second column.
func wide(meta ...onnxfile.Property) []byte {
	g := &onnxfile.Graph{}
	n := int64(len(features))
	g.Input("x", onnxfile.Float, onnxfile.Named("n"), onnxfile.Fixed(n))
	w := make([]float32, 2*n)
	for i := range n {
		w[2*i+1] = 1
	}
	g.Initializer(onnxfile.Floats("w", []int64{n, 2}, w))
	g.Node("MatMul", "", []string{"x", "w"}, []string{"f"})
	g.Node("Cast", "", []string{"f"}, []string{"y"}, onnxfile.AttrInt("to", int64(onnxfile.Double)))
	g.Output("y", onnxfile.Double, onnxfile.Named("n"), onnxfile.Fixed(2))
	return modelFile(g, meta...)
}

func TestFeaturesOnTheRuntime(t *testing.T) {
	t.Parallel()
	m := model().with(wide(onnxfile.Property{Key: FeaturesKey, Value: FeaturesVersion}))
	m.Input = InputFeatures
	m.Decisions = []Row{{Label: "injection", AtLeast: "7", Decision: protocol.Deny}}
	a := textOf("a", "12345")
	f := one(t, ready(t, m), policies.Input{Artifacts: []policies.Artifact{a}, Opaque: true})
	if f.Decision != protocol.Deny || f.Evidence["score"] != "7" || f.Artifact != "" || f.Evidence["offset"] != nil {
		t.Errorf("got %+v", f)
	}
}

func TestOneSessionManyGoroutines(t *testing.T) {
	t.Parallel()
	e := ready(t, model().with(bag([]string{"good", "bad"})))
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50 {
				r, err := e.Evaluate(t.Context(), step(textOf("a", fmt.Sprintf("good %d %d", g, i)), textOf("b", strings.Repeat("bad ", 4))), now)
				if err != nil || len(r.Findings) != 1 || r.Findings[0].Decision != protocol.Warn || r.Findings[0].Artifact != "b" {
					t.Errorf("got %+v, %v", r, err)
				}
			}
		})
	}
	wg.Wait()
}

// hostile builds a model that takes text, of which it takes a number, and lets
// more be done with it: build goes from the float "x" [1] to "y".
func hostile(build func(*onnxfile.Graph), dims ...onnxfile.Dim) []byte {
	g := &onnxfile.Graph{}
	g.Input("text", onnxfile.String, onnxfile.Named("n"))
	g.Node("Shape", "", []string{"text"}, []string{"n64"})
	g.Node("Cast", "", []string{"n64"}, []string{"x"}, onnxfile.AttrInt("to", int64(onnxfile.Float)))
	build(g)
	if dims == nil {
		dims = []onnxfile.Dim{onnxfile.Named("n"), onnxfile.Fixed(2)}
	}
	g.Output("y", onnxfile.Float, dims...)
	return modelFile(g)
}

// give ends a hostile model with a row of two columns.
func give(g *onnxfile.Graph, from string) {
	g.Initializer(onnxfile.Int64s("row", []int64{2}, []int64{1, 1}))
	g.Node("Reshape", "", []string{from, "row"}, []string{"one"})
	g.Node("Concat", "", []string{"one", "one"}, []string{"y"}, onnxfile.AttrInt("axis", 1))
}

// square makes a matrix of n columns and rows, "c".
func square(g *onnxfile.Graph, n int64) {
	g.Initializer(onnxfile.Int64s("size", []int64{2}, []int64{n, n}))
	g.Node("ConstantOfShape", "", []string{"size"}, []string{"c"})
}

func hostileModels() map[string]struct {
	file []byte
	code string
} {
	return map[string]struct {
		file []byte
		code string
	}{
		"huge allocation": {hostile(func(g *onnxfile.Graph) {
			square(g, 100_000)
			g.Node("ReduceSum", "", []string{"c"}, []string{"r"}, onnxfile.AttrInt("keepdims", 0))
			g.Node("Add", "", []string{"x", "r"}, []string{"z"})
			give(g, "z")
		}), "model_memory"},
		"many allocations": {hostile(func(g *onnxfile.Graph) {
			square(g, 5000)
			last := "c"
			for i := range 20 {
				next := fmt.Sprintf("c%d", i)
				g.Node("Exp", "", []string{last}, []string{next})
				last = next
			}
			var all []string
			for i := range 20 {
				all = append(all, fmt.Sprintf("c%d", i))
			}
			g.Node("Sum", "", all, []string{"s"})
			g.Node("ReduceSum", "", []string{"s"}, []string{"r"}, onnxfile.AttrInt("keepdims", 0))
			g.Node("Add", "", []string{"x", "r"}, []string{"z"})
			give(g, "z")
		}), "model_memory"},
		"not a number": {hostile(func(g *onnxfile.Graph) {
			g.Node("Neg", "", []string{"x"}, []string{"m"})
			g.Node("Log", "", []string{"m"}, []string{"z"})
			give(g, "z")
		}), "model_output"},
		"infinite": {hostile(func(g *onnxfile.Graph) {
			g.Node("Sub", "", []string{"x", "x"}, []string{"o"})
			g.Node("Div", "", []string{"x", "o"}, []string{"z"})
			give(g, "z")
		}), "model_output"},
		"more columns than it declares": {hostile(func(g *onnxfile.Graph) {
			g.Initializer(onnxfile.Int64s("three", []int64{2}, []int64{1, 3}))
			g.Node("Expand", "", []string{"x", "three"}, []string{"y"})
		}, onnxfile.Named("n"), onnxfile.Named("m")), "model_output"},
		"fewer dimensions": {hostile(func(g *onnxfile.Graph) {
			g.Initializer(onnxfile.Int64s("two", []int64{1}, []int64{2}))
			g.Initializer(onnxfile.Int64s("how", []int64{1}, []int64{-1}))
			g.Node("Expand", "", []string{"x", "two"}, []string{"e"})
			g.Node("Reshape", "", []string{"e", "how"}, []string{"y"})
		}, onnxfile.Named("n"), onnxfile.Named("m")), ""},
		"operator that does not exist": {hostile(func(g *onnxfile.Graph) {
			g.Node("Shell", "", []string{"x"}, []string{"y"})
		}), "model_invalid"},
		"other type than it declares": {hostile(func(g *onnxfile.Graph) {
			g.Node("Cast", "", []string{"x"}, []string{"y"}, onnxfile.AttrInt("to", int64(onnxfile.Int64)))
		}), "model_invalid"},
		"loop": {hostile(func(g *onnxfile.Graph) { g.Node("Loop", "", []string{"x"}, []string{"y"}) }), "model_invalid"},
		"huge shape": {hostile(func(g *onnxfile.Graph) {
			g.Node("Neg", "", []string{"x"}, []string{"y"})
		}, onnxfile.Fixed(1e9), onnxfile.Fixed(1e9)), "model_invalid"},
		"division by zero": {hostile(func(g *onnxfile.Graph) {
			g.Initializer(onnxfile.Int64s("zero", []int64{1}, []int64{0}))
			g.Node("Gather", "", []string{"n64", "n64"}, []string{"out"}) // out of range
			g.Node("Cast", "", []string{"out"}, []string{"z"}, onnxfile.AttrInt("to", int64(onnxfile.Float)))
			give(g, "z")
		}), "model_failed"},
	}
}

func TestHostileModels(t *testing.T) {
	t.Parallel()
	onnxruntime(t)
	for name, tc := range hostileModels() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			_, err := opened(t, model().with(tc.file))
			e := asError(err)
			if e == nil || e.ExitCode() != protocol.ExitDenied || tc.code != "" && e.Code != tc.code {
				t.Errorf("got %v (%+v), want %s", err, e, tc.code)
			}
			if d := time.Since(start); d > 15*time.Second {
				t.Errorf("it took %s", d)
			}
		})
	}
}

// slow is a model of many steps, which together take minutes if the text has the
// word; without it, it takes none.
func slow(steps int, n int64) []byte {
	g := &onnxfile.Graph{}
	g.Input("text", onnxfile.String, onnxfile.Named("n"))
	g.Node("RegexFullMatch", "", []string{"text"}, []string{"has"}, onnxfile.AttrString("pattern", "slow"))
	heavy := &onnxfile.Graph{}
	square(heavy, n)
	last := "c"
	for i := range steps {
		next := fmt.Sprintf("c%d", i)
		heavy.Node("MatMul", "", []string{last, "c"}, []string{next})
		last = next
	}
	heavy.Node("ReduceSum", "", []string{last}, []string{"h"}, onnxfile.AttrInt("keepdims", 0))
	heavy.Output("h", onnxfile.Float)
	light := &onnxfile.Graph{}
	light.Node("Constant", "", nil, []string{"l"}, onnxfile.AttrFloat("value_float", 0))
	light.Output("l", onnxfile.Float)
	g.Node("Squeeze", "", []string{"has"}, []string{"if"})
	g.Node("If", "", []string{"if"}, []string{"x"}, onnxfile.AttrGraph("then_branch", heavy), onnxfile.AttrGraph("else_branch", light))
	give(g, "x")
	g.Output("y", onnxfile.Float, onnxfile.Fixed(1), onnxfile.Fixed(2))
	return onnxfile.Model{Name: "g", IR: 9, Opsets: []onnxfile.Opset{{Version: 20}}}.Bytes(g)
}

func TestTimeOutOnTheRuntime(t *testing.T) {
	t.Parallel()
	m := model().with(slow(10_000, 400))
	m.Timeout = 200 * time.Millisecond
	e := ready(t, m)
	start := time.Now()
	f := one(t, e, step(textOf("a", "slow")))
	if f.Decision != protocol.Deny || !f.Unjudged || f.Evidence["error"] != "model_timeout" {
		t.Errorf("got %+v", f)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("it took %s", d)
	}
	// What was stopped is not broken.
	if f = one(t, e, step(textOf("a", "fast"))); f.Decision != protocol.Allow {
		t.Errorf("got %+v", f)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := e.Evaluate(ctx, step(textOf("a", "slow")), now); err == nil {
		t.Error("the end of the context is no error")
	}
}

func TestOtherLibraries(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("libraries are made with the options of Linux's linker")
	}
	dir := realDir(t)
	compile := func(name, source string) string {
		cc := os.Getenv("CC")
		if cc == "" {
			cc = "cc"
		}
		path := filepath.Join(dir, name)
		c := exec.Command(cc, "-shared", "-fPIC", "-x", "c", "-o", path, "-")
		c.Stdin = strings.NewReader(source)
		if out, err := c.CombinedOutput(); err != nil {
			t.Skipf("no C compiler: %v: %s", err, out)
		}
		return path
	}
	text := filepath.Join(dir, "text.so")
	if err := os.WriteFile(text, []byte("certainly no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	const old = `
		static const void *get(unsigned v) { return 0; }
		static const char *version(void) { return "1.9.0"; }
		static struct { const void *(*g)(unsigned); const char *(*v)(void); } base = {get, version};
		void *OrtGetApiBase(void) { return &base; }`
	for path, code := range map[string]string{
		text:                                  "model_library_missing",
		compile("other.so", "int other = 1;"): "model_library_version",
		compile("old.so", old):                "model_library_version",
		filepath.Join(dir, "not", "there.so"): "model_library_missing",
	} {
		_, err := New(t.Context(), []Model{model().with(fileOf(t))}, Options{Library: path})
		e := asError(err)
		if e == nil || e.Code != code || e.ExitCode() != protocol.ExitDenied || !strings.Contains(e.Hint, "make onnxruntime") {
			t.Errorf("%s: got %v (%+v)", path, err, e)
		}
	}
}

func BenchmarkModel(b *testing.B) {
	var vocabulary []string
	for i := range 20_000 {
		vocabulary = append(vocabulary, fmt.Sprintf("word%d", i))
	}
	start := cpu()
	n := 0
	b.Cleanup(func() { // the model's process has ended then
		b.Logf("%.3f ms CPU a KB with the model's process and its start, %d times", float64(cpu()-start)/float64(n)/1e6, n)
	})
	m := model().with(bag(vocabulary))
	e := ready(b, m)
	var text strings.Builder
	for i := 0; text.Len() < 1024; i++ {
		fmt.Fprintf(&text, "word%d, then another: x%d = f(y) // no comment\n", i*37%20_000, i)
	}
	body := text.String()[:1024]
	b.SetBytes(1024)
	for b.Loop() {
		n++
		if _, err := e.Evaluate(b.Context(), step(textOf("a", fmt.Sprint(n)+body)), now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	var vocabulary []string
	for i := range 20_000 {
		vocabulary = append(vocabulary, fmt.Sprintf("word%d", i))
	}
	m := model().with(bag(vocabulary))
	o := onnxruntime(b)
	for b.Loop() {
		e, err := New(b.Context(), []Model{m}, o)
		if err != nil {
			b.Fatal(err)
		}
		if err := e.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
