//go:build cgo

package onnx

import (
	"context"
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/onnxfile"
	"github.com/cabincrew/action/protocol"
)

const fusedDomain, mlDomain = "com.microsoft", "ai.onnx.ml"

// sum ends a model with a row of two columns made of all of a tensor.
func sum(g *onnxfile.Graph, from string) {
	g.Initializer(onnxfile.Floats("c", []int64{1, 2}, []float32{0.1, 0.2}))
	g.Node("ReduceSum", "", []string{from}, []string{"q"}, onnxfile.AttrInt("keepdims", 0))
	g.Node("Add", "", []string{"q", "c"}, []string{"y"})
	g.Output("y", onnxfile.Float, onnxfile.Named("n"), onnxfile.Fixed(2))
}

// ofText is a model that takes text, with the integers a and b.
func ofText(a, b int64, build func(*onnxfile.Graph)) []byte {
	g := &onnxfile.Graph{}
	g.Input("text", onnxfile.String, onnxfile.Named("n"))
	g.Initializer(onnxfile.Int64s("a", []int64{1}, []int64{a}))
	g.Initializer(onnxfile.Int64s("b", []int64{1}, []int64{b}))
	build(g)
	sum(g, "u")
	return modelFile(g)
}

// ofNumbers is a model that takes features through one node of ai.onnx.ml.
func ofNumbers(op string, attrs ...onnxfile.Attr) []byte {
	g := &onnxfile.Graph{}
	g.Input("x", onnxfile.Float, onnxfile.Named("n"), onnxfile.Fixed(int64(len(features))))
	outputs := []string{"u"}
	if strings.HasSuffix(op, "Classifier") {
		outputs = []string{"labels", "u"}
	}
	g.Node(op, mlDomain, []string{"x"}, outputs, attrs...)
	sum(g, "u")
	return modelFile(g, onnxfile.Property{Key: FeaturesKey, Value: FeaturesVersion})
}

// whole divides a by b as whole numbers.
func whole(op string) func(*onnxfile.Graph) {
	return func(g *onnxfile.Graph) {
		g.Node(op, "", []string{"a", "b"}, []string{"d"})
		g.Node("Cast", "", []string{"d"}, []string{"u"}, onnxfile.AttrInt("to", int64(onnxfile.Float)))
	}
}

// deepTree is a tree of which each node has one leaf and the next node.
func deepTree(n int64) []byte {
	all := 2*n + 1
	ints := func(at func(i int64) int64) []int64 {
		v := make([]int64, all)
		for i := range v {
			v[i] = at(int64(i))
		}
		return v
	}
	branch := func(then int64) func(int64) int64 {
		return func(i int64) int64 {
			if i < n {
				return then + i
			}
			return 0
		}
	}
	zero := func(int64) int64 { return 0 }
	modes := append(slices.Repeat([]string{"BRANCH_LEQ"}, int(n)), slices.Repeat([]string{"LEAF"}, int(n+1))...)
	return ofNumbers("TreeEnsembleClassifier",
		onnxfile.AttrInts("nodes_treeids", ints(zero)), onnxfile.AttrInts("nodes_nodeids", ints(func(i int64) int64 { return i })), onnxfile.AttrInts("nodes_featureids", ints(zero)),
		onnxfile.AttrStrings("nodes_modes", modes), onnxfile.AttrFloats("nodes_values", make([]float32, all)),
		onnxfile.AttrInts("nodes_truenodeids", ints(branch(1))), onnxfile.AttrInts("nodes_falsenodeids", ints(branch(n+1))),
		onnxfile.AttrInts("class_treeids", []int64{0}), onnxfile.AttrInts("class_nodeids", []int64{n}), onnxfile.AttrInts("class_ids", []int64{0}), onnxfile.AttrFloats("class_weights", []float32{0.5}),
		onnxfile.AttrInts("classlabels_int64s", []int64{0, 1}), onnxfile.AttrString("post_transform", "NONE"))
}

// wideTree is a small tree that says that it has many outputs.
func wideTree(targets int64) []byte {
	return ofNumbers("TreeEnsembleRegressor", onnxfile.AttrInt("n_targets", targets),
		onnxfile.AttrInts("nodes_treeids", []int64{0, 0, 0}), onnxfile.AttrInts("nodes_nodeids", []int64{0, 1, 2}), onnxfile.AttrInts("nodes_featureids", []int64{0, 0, 0}),
		onnxfile.AttrStrings("nodes_modes", []string{"BRANCH_LEQ", "LEAF", "LEAF"}), onnxfile.AttrFloats("nodes_values", []float32{.5, .5, .5}),
		onnxfile.AttrInts("nodes_truenodeids", []int64{1, 0, 0}), onnxfile.AttrInts("nodes_falsenodeids", []int64{2, 0, 0}),
		onnxfile.AttrInts("target_treeids", []int64{0}), onnxfile.AttrInts("target_nodeids", []int64{1}), onnxfile.AttrInts("target_ids", []int64{0}), onnxfile.AttrFloats("target_weights", []float32{.5}))
}

// fused is a model of one node of com.microsoft whose attributes say more than its
// constants have.
func fused(op string, inputs []string, build func(*onnxfile.Graph), attrs ...onnxfile.Attr) []byte {
	return ofText(0, 0, func(g *onnxfile.Graph) {
		build(g)
		g.Node(op, fusedDomain, inputs, []string{"u"}, attrs...)
	})
}

// ones is a constant.
func ones(g *onnxfile.Graph, name string, dims ...int64) {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	g.Initializer(onnxfile.Floats(name, dims, slices.Repeat([]float32{1}, int(n))))
}

// crashing are models that end their process, or fill its memory in ways that no
// bound on tensors holds.
func crashing() map[string]struct {
	file    []byte
	numbers bool
	codes   []string
} {
	crashed := []string{"model_crashed"}
	// What lies behind a buffer decides whether reading on ends the process.
	maybe := []string{"model_crashed", "model_output", "model_failed", "model_memory", "model_invalid", ""}
	many := int64(1_000_000)
	return map[string]struct {
		file    []byte
		numbers bool
		codes   []string
	}{
		"division by zero":  {ofText(5, 0, whole("Div")), false, crashed},
		"division overflow": {ofText(math.MinInt64, -1, whole("Div")), false, crashed},
		"remainder of zero": {ofText(5, 0, whole("Mod")), false, crashed},
		"pool without strides": {ofText(0, 0, func(g *onnxfile.Graph) {
			ones(g, "i", 1, 1, 4, 4)
			g.Node("MaxPool", "", []string{"i"}, []string{"u"}, onnxfile.AttrInts("kernel_shape", []int64{2, 2}), onnxfile.AttrInts("strides", []int64{0, 0}))
		}), false, crashed},
		"writes behind a buffer": {ofText(0, 0, func(g *onnxfile.Graph) {
			ones(g, "v", 1, 1, 2, 2)
			g.Initializer(onnxfile.Int64s("i", []int64{1, 1, 2, 2}, []int64{4_000_000_000_000, -900_000_000, 700_000_000_000, 11}))
			g.Node("MaxUnpool", "", []string{"v", "i"}, []string{"u"}, onnxfile.AttrInts("kernel_shape", []int64{2, 2}), onnxfile.AttrInts("strides", []int64{2, 2}))
		}), false, maybe},
		"deep tree":  {deepTree(200_000), true, crashed},
		"wide tree":  {wideTree(120_000_000), true, []string{"model_memory"}},
		"wider tree": {wideTree(1 << 40), true, maybe},
		"few coefficients": {ofNumbers("LinearRegressor",
			onnxfile.AttrFloats("coefficients", []float32{0.1}), onnxfile.AttrFloats("intercepts", []float32{0.1}), onnxfile.AttrInt("targets", 3*many)), true, maybe},
		"few vectors": {ofNumbers("SVMClassifier",
			onnxfile.AttrInts("classlabels_ints", []int64{0, 1, 2, 3}), onnxfile.AttrInts("vectors_per_class", []int64{many, many, 5, 5}),
			onnxfile.AttrFloats("coefficients", make([]float32, 10)), onnxfile.AttrFloats("support_vectors", make([]float32, 54)), onnxfile.AttrFloats("rho", []float32{0.1}),
			onnxfile.AttrString("kernel_type", "LINEAR"), onnxfile.AttrFloats("kernel_params", []float32{1, 1, 1})), true, maybe},
		"attention": {fused("Attention", []string{"i", "w", "k"}, func(g *onnxfile.Graph) {
			ones(g, "i", 1, 2, 4)
			ones(g, "w", 4, 12)
			ones(g, "k", 12)
		}, onnxfile.AttrInt("num_heads", 2), onnxfile.AttrInts("qkv_hidden_sizes", []int64{many, many, many})), false, maybe},
		"rotation": {fused("RotaryEmbedding", []string{"i", "p", "w", "k"}, func(g *onnxfile.Graph) {
			ones(g, "i", 1, 1, 4)
			ones(g, "w", 1, 2)
			ones(g, "k", 1, 2)
			g.Initializer(onnxfile.Int64s("p", []int64{1}, []int64{1e9}))
		}), false, maybe},
	}
}

func TestModelsThatCrash(t *testing.T) {
	t.Parallel()
	onnxruntime(t)
	for name, tc := range crashing() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := model().with(tc.file)
			if tc.numbers {
				m.Input = InputFeatures
			}
			start := time.Now()
			_, err := opened(t, m)
			if e := asError(err); e != nil {
				if e.ExitCode() != protocol.ExitDenied || !slices.Contains(tc.codes, e.Code) || !strings.Contains(err.Error(), `model "injection"`) {
					t.Errorf("got %v (%s), want %q", err, e.Code, tc.codes)
				}
			} else if err != nil || !slices.Contains(tc.codes, "") {
				t.Errorf("got %v, want %q", err, tc.codes)
			}
			if d := time.Since(start); d > 30*time.Second {
				t.Errorf("it took %s", d)
			}
		})
	}
}

// fragile is a model that ends its process for a text of n words.
func fragile(words int64) []byte {
	g := &onnxfile.Graph{}
	g.Input("text", onnxfile.String, onnxfile.Named("n"))
	g.Initializer(onnxfile.Int64s("k", []int64{1}, []int64{words}))
	g.Initializer(onnxfile.Int64s("h", []int64{1}, []int64{100}))
	g.Initializer(onnxfile.Floats("z", []int64{1}, []float32{0}))
	g.Initializer(onnxfile.Floats("c", []int64{1, 2}, []float32{0.1, 0.2}))
	g.Node("StringSplit", "", []string{"text"}, []string{"parts", "count"})
	g.Node("Sub", "", []string{"count", "k"}, []string{"m"})
	g.Node("Div", "", []string{"h", "m"}, []string{"q"})
	g.Node("Cast", "", []string{"q"}, []string{"f"}, onnxfile.AttrInt("to", int64(onnxfile.Float)))
	g.Node("Mul", "", []string{"f", "z"}, []string{"o"})
	g.Node("Add", "", []string{"o", "c"}, []string{"y"})
	g.Output("y", onnxfile.Float, onnxfile.Named("n"), onnxfile.Fixed(2))
	return onnxfile.Model{Name: "g", IR: 8, Opsets: []onnxfile.Opset{{Version: 20}}}.Bytes(g)
}

const seven = "one two three four five six seven"

// A text that ends the process of a harmless model is a finding, for each on_error;
// other texts and other models are judged.
func TestATextThatCrashes(t *testing.T) {
	t.Parallel()
	for _, onError := range []protocol.Decision{protocol.Deny, protocol.RequireApproval, protocol.Warn} {
		t.Run(string(onError), func(t *testing.T) {
			t.Parallel()
			m := model().with(fragile(7))
			m.OnError = onError
			other := model().with(bag([]string{"good", "bad"}))
			other.Name = "other"
			e := ready(t, m, other)
			r, err := e.Evaluate(t.Context(), step(textOf("a", seven), textOf("b", "bad bad bad bad")), now)
			if err != nil || len(r.Findings) != 2 {
				t.Fatalf("got %+v, %v", r, err)
			}
			f := r.Findings[0]
			if f.Rule != "injection" || f.Decision != onError || f.Evidence["error"] != "model_crashed" || !strings.Contains(f.Reason, "SIGFPE") || f.Unjudged != (onError == protocol.Deny) || !f.Firm {
				t.Errorf("got %+v", f)
			}
			if f := r.Findings[1]; f.Rule != "other" || f.Decision != protocol.Warn || f.Artifact != "b" {
				t.Errorf("the other model: got %+v", f)
			}
			// The next step gets a new process.
			if r, err = e.Evaluate(t.Context(), step(textOf("a", "one two")), now); err != nil || r.Findings[0].Decision != protocol.Allow {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
}

// Whatever tier there is, a model judges in it, and may not take more than it may.
func TestEachTier(t *testing.T) {
	t.Parallel()
	o := onnxruntime(t)
	for _, try := range tiersOf(Options{}) {
		t.Run(try.name, func(t *testing.T) {
			t.Parallel()
			start := func() (engine, error) {
				e, err := remoteEngine(o)
				if r, ok := e.(*remotes); ok {
					r.where.tiers = []tier{try}
				}
				return e, err
			}
			e, err := load(t.Context(), []Model{model().with(fragile(7))}, start)
			if told := asError(err); told != nil && told.Code == "model_isolation" {
				t.Skipf("this machine does not offer it: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := e.Close(); err != nil {
					t.Error(err)
				}
			})
			if f := one(t, e, step(textOf("a", seven))); f.Evidence["error"] != "model_crashed" {
				t.Errorf("got %+v", f)
			}
			if f := one(t, e, step(textOf("a", "one two"))); f.Decision != protocol.Allow {
				t.Errorf("got %+v", f)
			}
			if runtime.GOOS != "linux" {
				return
			}
			m := model().with(wideTree(120_000_000))
			m.Input = InputFeatures
			_, err = load(t.Context(), []Model{m}, start)
			wantDenied(t, err, "model_memory", `model "injection"`)
		})
	}
}

func TestAProcessIsNotStartedForEver(t *testing.T) {
	t.Parallel()
	e := ready(t, model().with(fragile(7)))
	for i := range 8 {
		f := one(t, e, step(textOf("a", seven+strings.Repeat(" ", i))))
		if f.Evidence["error"] != "model_crashed" || f.Decision != protocol.Deny {
			t.Errorf("got %+v", f)
		}
		if again := strings.Contains(f.Reason, "not started again"); again != (i > 3) {
			t.Errorf("step %d: %s", i, f.Reason)
		}
	}
	if f := one(t, e, step(textOf("a", "one two"))); f.Evidence["error"] != "model_crashed" {
		t.Errorf("got %+v", f)
	}
}

// A single node does not look whether it is to stop; its process is ended.
func TestAModelThatDoesNotStop(t *testing.T) {
	t.Parallel()
	m := model().with(slow(1, 6500))
	m.Timeout = 100 * time.Millisecond
	e := ready(t, m)
	start := time.Now()
	f := one(t, e, step(textOf("a", "slow")))
	if f.Decision != protocol.Deny || f.Evidence["error"] != "model_timeout" {
		t.Errorf("got %+v", f)
	}
	if d := time.Since(start); d > 8*time.Second {
		t.Errorf("it took %s", d)
	}
	for range 100 { // to start a process can take longer than this model has
		if f = one(t, e, step(textOf("a", "fast"))); f.Decision == protocol.Allow {
			return
		}
	}
	t.Errorf("no new process: %+v", f)
}

func TestTheEndOfTheContextEndsLoading(t *testing.T) {
	t.Parallel()
	o := onnxruntime(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("a key was pressed"))
	if _, err := New(ctx, []Model{model().with(bag([]string{"bad"}))}, o); err == nil {
		t.Error("no error")
	}
}
