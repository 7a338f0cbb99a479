package onnxfile

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

func testLimits() Limits {
	return Limits{
		Bytes: 1 << 20, Nodes: 100, Tensors: 100, Elements: 1 << 16, Numbers: 10_000, Depth: 2,
		Name: 256, Text: 1024, Rank: 4, Ports: 4, Inputs: 8, Property: 4,
	}
}

func TestReadSaysWhatIsWritten(t *testing.T) {
	t.Parallel()
	info, err := Read(bytes.NewReader(linear()), testLimits())
	if err != nil {
		t.Fatal(err)
	}
	want := &Info{
		IR: 9, Producer: "test", Name: "linear",
		Opsets:   []Opset{{"", 17}, {"ai.onnx.ml", 3}},
		Ops:      []Op{{"", "Gemm", 1}, {"", "Softmax", 1}},
		Inputs:   []Value{{"x", Float, []Dim{Named("n"), Fixed(3)}}},
		Outputs:  []Value{{"score", Float, []Dim{Named("n"), Fixed(2)}}},
		Metadata: []Property{{"purpose", "a test"}},
		Nodes:    2, Initializers: 2, InitializerBytes: 32,
	}
	if !reflect.DeepEqual(info, want) {
		t.Errorf("got %+v\nwant %+v", info, want)
	}
}

func TestReadTellsFailedReadsApart(t *testing.T) {
	t.Parallel()
	_, err := Read(io.MultiReader(strings.NewReader("x"), failing{}), testLimits())
	if err == nil || IsInvalid(err) {
		t.Errorf("got %v, want the reader's error", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("broken pipe") }

// around gives a model around the graph that build makes.
func around(build func(*Graph)) []byte {
	g := &Graph{}
	build(g)
	return Model{Name: "g", IR: 9, Opsets: []Opset{{"", 17}, {"ai.onnx.ml", 3}, {"com.microsoft", 1}}}.Bytes(g)
}

// pass is a graph with text in, an operator on it, and its output.
func pass(op, dom string, attrs ...Attr) func(*Graph) {
	return func(g *Graph) {
		g.Input("text", String, Named("n"))
		g.Node(op, dom, []string{"text"}, []string{"y"}, attrs...)
		g.Output("y", Float, Named("n"))
	}
}

// numbers is a graph with floats in, an operator on them, and its output.
func numbers(op, dom string, attrs ...Attr) func(*Graph) {
	return func(g *Graph) {
		g.Input("x", Float, Named("n"))
		g.Node(op, dom, []string{"x"}, []string{"y"}, attrs...)
		g.Output("y", Float, Named("n"))
	}
}

// body is a graph that gives what it finds around it.
func body(op string, attrs ...Attr) *Graph {
	g := &Graph{}
	g.Node(op, "", []string{"x"}, []string{"inner_" + op}, attrs...)
	g.Output("inner_"+op, Float)
	return g
}

func TestReadAccepts(t *testing.T) {
	t.Parallel()
	for name, build := range map[string]func(*Graph){
		"text to numbers": func(g *Graph) {
			g.Input("text", String, Named("n"))
			g.Node("StringNormalizer", "", []string{"text"}, []string{"low"}, AttrString("case_change_action", "LOWER"), AttrString("locale", "C"))
			g.Node("Tokenizer", "com.microsoft", []string{"low"}, []string{"words"}, AttrInt("mark", 0), AttrString("pad_value", "#"), AttrStrings("separators", []string{" "}))
			g.Node("TfIdfVectorizer", "", []string{"words"}, []string{"y"}, AttrStrings("pool_strings", []string{"a", "b"}))
			g.Output("y", Float, Named("n"), Fixed(2))
		},
		"text constant": func(g *Graph) {
			g.Input("text", String, Named("n"))
			g.Initializer(Strings("sep", nil, []string{" "}))
			g.Node("Constant", "", nil, []string{"a"}, AttrTensor("value", Strings("", []int64{1}, []string{"a"})))
			g.Node("Equal", "", []string{"text", "a"}, []string{"y"})
			g.Output("y", Bool, Named("n"))
		},
		"classifier": func(g *Graph) {
			g.Input("x", Float, Named("n"), Fixed(2))
			g.Node("LinearClassifier", "ai.onnx.ml", []string{"x"}, []string{"label", "p"}, AttrStrings("classlabels_strings", []string{"no", "yes"}), AttrFloats("coefficients", []float32{1, 2, 3, 4}))
			g.Output("label", String, Named("n"))
			g.Output("p", Float, Named("n"), Fixed(2))
		},
		"condition": func(g *Graph) {
			g.Input("x", Float, Fixed(1))
			g.Node("Cast", "", []string{"x"}, []string{"c"}, AttrInt("to", int64(Bool)))
			g.Node("If", "", []string{"c"}, []string{"y"}, AttrGraph("then_branch", body("Neg")), AttrGraph("else_branch", body("Abs")))
			g.Output("y", Float)
		},
		"other spelling": numbers("Neg", "ai.onnx"),
		"no shape": func(g *Graph) {
			g.Input("x", Float)
			g.Node("Neg", "", []string{"x"}, []string{"y"})
			g.Output("y", Float)
		},
		"int64s": func(g *Graph) { numbers("Neg", "")(g); g.Initializer(Int64s("i", []int64{2}, []int64{1, -1})) },
		"empty":  func(g *Graph) { numbers("Neg", "")(g); g.Initializer(Floats("e", []int64{0}, nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Parse(around(build), testLimits()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	many := func(n int, one func(*Graph, int)) func(*Graph) {
		return func(g *Graph) {
			for i := range n {
				one(g, i)
			}
		}
	}
	deep := body("Neg")
	for range 3 {
		outer := &Graph{}
		outer.Node("If", "", []string{"c"}, []string{"y"}, AttrGraph("then_branch", deep))
		outer.Output("y", Float)
		deep = outer
	}
	for name, tc := range map[string]struct {
		build func(*Graph)
		want  string
	}{
		"loop":             {numbers("Loop", "", AttrGraph("body", body("Neg"))), `"Loop" is not allowed: it runs`},
		"scan":             {numbers("Scan", ""), `"Scan" is not allowed`},
		"loop by ai.onnx":  {numbers("Loop", "ai.onnx"), `"Loop" is not allowed`},
		"sequence":         {numbers("SequenceConstruct", ""), "makes sequences"},
		"zipmap":           {numbers("ZipMap", "ai.onnx.ml"), "makes sequences"},
		"random":           {numbers("RandomNormalLike", ""), "random numbers"},
		"custom domain":    {numbers("Shell", "evil"), `domain "evil"`},
		"beam search":      {numbers("BeamSearch", "com.microsoft"), "not allowed"},
		"external context": {numbers("EPContext", "com.microsoft", AttrString("ep_cache_context", "/etc/passwd")), "not allowed"},
		"graph elsewhere":  {numbers("Neg", "", AttrGraph("then_branch", body("Abs"))), "only If may"},
		"deep graphs": {func(g *Graph) {
			g.Input("c", Bool)
			g.Input("x", Float)
			g.Node("If", "", []string{"c"}, []string{"out"}, AttrGraph("then_branch", deep))
			g.Output("out", Float)
		}, "nested deeper"},
		"text from a graph": {func(g *Graph) {
			g.Input("c", Bool)
			g.Input("x", String)
			g.Node("If", "", []string{"c"}, []string{"y"}, AttrGraph("then_branch", body("Identity")))
			g.Output("y", String)
		}, "is text"},
		"text tiled":        {pass("Tile", ""), "may not take text"},
		"text gathered":     {pass("Gather", ""), "may not take text"},
		"text joined":       {pass("StringConcat", ""), "makes as much memory"},
		"text mapped":       {pass("LabelEncoder", "ai.onnx.ml", AttrStrings("keys_strings", []string{"a"}), AttrStrings("values_strings", []string{"b"})), "may not make text"},
		"text from numbers": {numbers("Cast", "", AttrInt("to", int64(String))), "may not make text"},
		"text of a shape":   {numbers("ConstantOfShape", "", AttrTensor("value", Strings("", []int64{1}, []string{"x"}))), "may not make text"},
		"numbers to names":  {numbers("CategoryMapper", "ai.onnx.ml"), "may not make text"},
		"long label":        {numbers("LinearClassifier", "ai.onnx.ml", AttrStrings("classlabels_strings", []string{strings.Repeat("a", 65)})), "a label of operator"},
		"long padding":      {pass("Tokenizer", "com.microsoft", AttrString("pad_value", strings.Repeat("a", 16))), "padding"},
		"locale":            {pass("StringNormalizer", "", AttrString("locale", "tr_TR")), `locale="C"`},
		"no locale":         {pass("StringNormalizer", ""), `locale="C"`},
		"huge shape":        {func(g *Graph) { g.Input("x", Float, Fixed(1<<30), Fixed(1<<30)) }, "more than 65536 elements"},
		"huge product":      {func(g *Graph) { g.Input("x", Float, Fixed(1<<15), Fixed(4)) }, "more than 65536 elements"},
		"huge constant":     {func(g *Graph) { g.Initializer(Raw("w", Float, []int64{1 << 15}, nil)) }, "more than 65536"},
		"short constant":    {func(g *Graph) { g.Initializer(Raw("w", Float, []int64{2}, make([]byte, 4))) }, "entries that its shape"},
		"long constant":     {func(g *Graph) { g.Initializer(Raw("w", Float, []int64{1}, make([]byte, 8))) }, "entries that its shape"},
		"negative constant": {func(g *Graph) { g.Initializer(Raw("w", Float, []int64{-1}, make([]byte, 4))) }, "negative"},
		"raw text":          {func(g *Graph) { g.Initializer(Raw("w", String, []int64{1}, make([]byte, 1))) }, "where that type has none"},
		"long text":         {func(g *Graph) { g.Initializer(Strings("w", []int64{1}, []string{strings.Repeat("a", 257)})) }, "257 bytes"},
		"unknown type":      {func(g *Graph) { g.Initializer(Raw("w", 14, []int64{1}, make([]byte, 8))) }, "element type 14"},
		"rank":              {func(g *Graph) { g.Input("x", Float, Fixed(1), Fixed(1), Fixed(1), Fixed(1), Fixed(1)) }, "dimensions"},
		"external data": {func(g *Graph) {
			b := tensor("w", Float, []int64{1})
			b = putBytes(b, tensorExternal, putString(putString(nil, 1, "location"), 2, "../../etc/passwd"))
			g.Initializer(Tensor{putInt(b, tensorLocation, 1)})
		}, "external_data"},
		"external location": {func(g *Graph) { g.Initializer(Tensor{putInt(tensor("w", Float, []int64{1}), tensorLocation, 1)}) }, "another file"},
		"sparse":            {func(g *Graph) { g.b = putBytes(g.b, 15, nil) }, "sparse_initializer"},
		"two places": {func(g *Graph) {
			b := putBytes(tensor("w", Float, []int64{1}), tensorRaw, make([]byte, 4))
			g.Initializer(Tensor{putBytes(b, tensorFloats, make([]byte, 4))})
		}, "two places"},
		"wrong place": {func(g *Graph) {
			g.Initializer(Tensor{putBytes(tensor("w", Float, []int64{1}), tensorInt64s, []byte{1})})
		}, "where that type has none"},
		"twice constant": {many(2, func(g *Graph, _ int) { g.Initializer(Floats("w", []int64{1}, []float32{1})) }), "twice"},
		"twice value":    {func(g *Graph) { numbers("Neg", "")(g); g.Node("Abs", "", []string{"x"}, []string{"y"}) }, "defined twice"},
		"order": {func(g *Graph) {
			g.Input("x", Float)
			g.Node("Neg", "", []string{"a"}, []string{"y"})
			g.Node("Abs", "", []string{"x"}, []string{"a"})
			g.Output("y", Float)
		}, "nothing before it defines"},
		"output from nowhere": {func(g *Graph) { g.Output("y", Float) }, "made by no node"},
		"no type":             {func(g *Graph) { g.b = putBytes(g.b, graphInput, putString(nil, valueName, "x")) }, "has no type"},
		"sequence input": {func(g *Graph) {
			g.b = putBytes(g.b, graphInput, putBytes(putString(nil, valueName, "x"), valueType, putBytes(nil, 4, nil)))
		}, "sequence_type"},
		"many nodes":      {many(101, func(g *Graph, _ int) { g.Node("Constant", "", nil, nil) }), "more than 100 nodes"},
		"many constants":  {many(101, func(g *Graph, i int) { g.Initializer(Floats(strings.Repeat("w", i), []int64{0}, nil)) }), "more than 100 constants"},
		"many inputs":     {many(5, func(g *Graph, i int) { g.Input(strings.Repeat("x", i+1), Float) }), "too many inputs"},
		"many numbers":    {numbers("Neg", "", AttrInts("i", make([]int64, 10_001))), "too many entries"},
		"many strings":    {numbers("Neg", "", AttrStrings("s", make([]string, 10_001))), "too many entries"},
		"node inputs":     {func(g *Graph) { g.Node("Max", "", make([]string, 9), []string{"y"}) }, "more than 8 inputs"},
		"twice attribute": {numbers("Neg", "", AttrInt("a", 1), AttrInt("a", 2)), "twice"},
		"other kind":      {numbers("Neg", "", Attr{putInt(putInt(putString(nil, attrName, "a"), attrInt, 1), attrType, kindString)}), "another kind"},
		"reference":       {numbers("Neg", "", Attr{putString(nil, 21, "a")}), "ref_attr_name"},
		"bad name":        {func(g *Graph) { g.Input("\xff", Float) }, "no UTF-8"},
		"long name":       {func(g *Graph) { g.Input(strings.Repeat("x", 257), Float) }, "257 bytes"},
		"size and name": {func(g *Graph) {
			shape := putBytes(nil, shapeDim, putString(putInt(nil, dimValue, 1), dimParam, "n"))
			g.b = putBytes(g.b, graphInput, putBytes(putString(nil, valueName, "x"), valueType, putBytes(nil, typeTensor, putBytes(putInt(nil, tensorTypeElem, 1), tensorTypeShape, shape))))
		}, "both a size and a name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse(around(tc.build), testLimits())
			if err == nil || !IsInvalid(err) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestReadRefusesFiles(t *testing.T) {
	t.Parallel()
	ok := linear()
	more := func(num protowire.Number, b []byte) []byte { return putBytes(append([]byte{}, ok...), num, b) }
	for name, tc := range map[string]struct {
		file []byte
		want string
	}{
		"empty":         {nil, "empty"},
		"large":         {make([]byte, 1<<20+1), "more than"},
		"no model":      {[]byte("GIF89a, certainly no model"), ""},
		"no graph":      {putInt(nil, modelIR, 9), "no graph"},
		"cut":           {ok[:len(ok)-3], "cut off"},
		"two graphs":    {more(modelGraph, nil), "graph twice"},
		"functions":     {more(modelFunctions, nil), "functions"},
		"training":      {more(20, nil), "training_info"},
		"unknown field": {more(99, nil), "unknown field 99"},
		"wire type":     {putInt(append([]byte{}, ok...), modelProducer, 1), "producer_name twice"},
		"group":         {protowire.AppendTag(append([]byte{}, ok...), modelMetadata, protowire.StartGroupType), "another wire type"},
		"custom opset":  {more(modelOpset, putString(nil, opsetDomain, "evil")), `"evil" is not allowed`},
		"opset twice":   {more(modelOpset, putString(nil, opsetDomain, "ai.onnx")), "named twice"},
		"metadata":      {more(modelMetadata, putString(nil, entryKey, "purpose")), "twice"},
		"no opset":      {Model{Name: "g"}.Bytes(&Graph{}), "no operator set"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse(tc.file, testLimits())
			if err == nil || !IsInvalid(err) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(linear())
	f.Add(around(pass("Tokenizer", "com.microsoft", AttrString("pad_value", "#"))))
	f.Add(around(numbers("If", "", AttrGraph("then_branch", body("Neg")))))
	f.Add(around(func(g *Graph) { g.Initializer(Strings("s", []int64{1}, []string{"a"})) }))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := Parse(b, testLimits())
		if err != nil {
			if !IsInvalid(err) || strings.ContainsAny(err.Error(), "\n\r") {
				t.Fatalf("not an error of the file, or of many lines: %q", err)
			}
			return
		}
		again, err := Parse(b, testLimits())
		if err != nil || !reflect.DeepEqual(info, again) {
			t.Fatal("two readings differ")
		}
		// What is behind the end of a file that is accepted is never dropped.
		if _, err := Parse(append(append([]byte{}, b...), putBytes(nil, 99, nil)...), testLimits()); err == nil {
			t.Fatal("an unknown field is accepted")
		}
	})
}
