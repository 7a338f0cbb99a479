package main

const (
	ml        = "ai.onnx.ml"
	microsoft = "com.microsoft"
)

// Names and labels of the model; policies name them.
const (
	inputName  = "text"
	outputName = "score"
	labels     = "benign,injection"
	threshold  = 0.75 // the lowest twentieth that finds something in at most 1 % of the ordinary windows that were seen
)

// onnx writes the model as a graph of ONNX: text [N] to score [N,2]. It does what
// words, stretches and worst do in Go.
func (m *model) onnx() []byte {
	g := &graph{}
	g.port(11, inputName, strings8, "N", 0)
	g.port(12, outputName, float32s, "N", 2)
	for _, c := range []struct {
		name string
		n    int64
	}{{"zero", 0}, {"one", 1}, {"two", 2}, {"minus", -1}, {"huge", 1 << 62}, {"stride", stride}, {"stretch", 2 * stride}} {
		g.ints(c.name, c.n)
	}
	stems := m.stretchesOf(g)
	sum := m.sums(g, stems)
	g.node("", "Slice", "texts", []string{"shape", "zero", "one", "zero"})
	g.node("", "Concat", "perText", []string{"texts", "minus"}, number("axis", 0))
	g.node("", "Reshape", "sums", []string{sum, "perText"})
	g.node("", "ReduceMax", "largest", []string{"sums", "one"}, number("keepdims", 1))
	g.node("", "Relu", "worst", []string{"largest"})
	g.node("", "Add", "logit", []string{"worst", g.floats("bias", []float64{m.bias})})
	g.node("", "Sigmoid", "injection", []string{"logit"})
	g.node("", "Sub", "benign", []string{g.floats("certain", []float64{1}), "injection"})
	g.node("", "Concat", outputName, []string{"benign", "injection"}, number("axis", 1))
	return g.file("instruction-injection", []pair{{"labels", labels}, {"threshold", "0.75"}})
}

// stretchesOf gives the numbers of the stems of all stretches of all texts, one
// stretch a row. Where no text has a word, the second tokenizer gives another
// rank than elsewhere, so its numbers take the shape of the words.
func (m *model) stretchesOf(g *graph) string {
	cut := func(pattern string) []message {
		return []message{number("mark", 0), number("mincharnum", 1), text("pad_value", " "), text("tokenexp", pattern)}
	}
	g.node("", "StringNormalizer", "lower", []string{inputName}, text("case_change_action", "LOWER"), number("is_case_sensitive", 1), text("locale", "C"))
	g.node(microsoft, "Tokenizer", "words", []string{"lower"}, cut(wordPattern)...)
	g.node(microsoft, "Tokenizer", "stems", []string{"words"}, cut(stemPattern)...)
	ids := make([]int64, len(m.vocabulary.stems))
	for i := range ids {
		ids[i] = int64(i) + 1
	}
	g.node(ml, "LabelEncoder", "numbers", []string{"stems"}, texts("keys_strings", m.vocabulary.stems), numbers("values_int64s", ids), number("default_int64", 0))
	g.node("", "Shape", "shape", []string{"words"})
	g.node("", "Reshape", "ids", []string{"numbers", "shape"}, number("allowzero", 1))
	// as many zeros as fill the last stride, and one more stride of them
	g.node("", "Slice", "length", []string{"shape", "one", "two", "zero"})
	g.node("", "Mod", "rest", []string{"length", "stride"})
	g.node("", "Sub", "fill", []string{"stretch", "rest"})
	g.node("", "Concat", "pads", []string{g.ints("none", 0, 0, 0), "fill"}, number("axis", 0))
	g.node("", "Pad", "padded", []string{"ids", "pads"})
	g.node("", "Reshape", "strides", []string{"padded", g.ints("perStride", 0, -1, stride)})
	g.node("", "Slice", "first", []string{"strides", "zero", "minus", "one"})
	g.node("", "Slice", "second", []string{"strides", "one", "huge", "one"})
	g.node("", "Concat", "both", []string{"first", "second"}, number("axis", 2))
	return g.node("", "Reshape", "stretches", []string{"both", g.ints("perStretch", -1, 2*stride)})
}

// sums gives the sum of the weights of what stands in each stretch.
func (m *model) sums(g *graph, stems string) string {
	meanings := make([]int64, len(m.vocabulary.stems)+1)
	for i, s := range m.vocabulary.stems {
		meanings[i+1] = m.vocabulary.meaning[s]
	}
	g.node("", "Gather", "meanings", []string{g.ints("meaningOf", meanings...), stems})
	ofStems := m.found(g, "Stems", stems, byStem, byPair, 0)
	ofMeanings := m.found(g, "Meanings", "meanings", byMeaning, byOrder, reach-1)
	return g.node("", "Add", "sum", []string{ofStems, ofMeanings})
}

// found gives the sum of the weights of single features and of pairs, whatever
// number of words up to skip is between the two.
func (m *model) found(g *graph, name, rows string, single, double int, skip int64) string {
	var pool, columns []int64
	var weights []float64
	singles := int64(0)
	for i, k := range m.vocabulary.keys {
		if m.weights[i] == 0 || k.kind != single && k.kind != double {
			continue
		}
		pool = append(pool, k.a)
		if k.kind == double {
			pool = append(pool, k.b)
		} else {
			singles++
		}
		columns = append(columns, int64(len(weights)))
		weights = append(weights, m.weights[i])
	}
	g.node("", "TfIdfVectorizer", "count"+name, []string{rows},
		text("mode", "TF"), number("min_gram_length", 1), number("max_gram_length", 2), number("max_skip_count", skip),
		numbers("ngram_counts", []int64{0, singles}), numbers("ngram_indexes", columns), numbers("pool_int64s", pool))
	g.node("", "Sign", "has"+name, []string{"count" + name})
	return g.node("", "MatMul", "sum"+name, []string{"has" + name, g.floats("weights"+name, weights)})
}
