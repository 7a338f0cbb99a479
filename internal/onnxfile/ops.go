package onnxfile

import "strings"

// ml and microsoft are domains beside that of ONNX itself, which is "".
const (
	ml        = "ai.onnx.ml"
	microsoft = "com.microsoft"
)

// Domains gives the domains of operators that a file may use. "ai.onnx" is
// another spelling of "". Of com.microsoft, which every build of ONNX Runtime
// has, only a list of operators is allowed: others of it loop, or read files.
func Domains() []string { return []string{"", ml, microsoft} }

// domain gives the one spelling of a domain.
func domain(name string) string {
	if name == "ai.onnx" {
		return ""
	}
	return name
}

const (
	loops   = "runs for as long as data says"
	lists   = "makes sequences, maps or optionals, whose memory has no bound"
	random  = "draws random numbers"
	counted = "makes as much memory of its own as data says"
)

// refused are operators that a file may not use, with the reason.
var refused = map[string]map[string]string{
	"": {
		"Loop": loops, "Scan": loops, "SequenceMap": loops,
		"SplitToSequence": lists, "ConcatFromSequence": lists, "Optional": lists, "OptionalGetElement": lists, "OptionalHasElement": lists,
		"Multinomial": random, "Bernoulli": random,
		"StringConcat": counted, "NonZero": counted, "Unique": counted, "NonMaxSuppression": counted, "ImageDecoder": counted,
	},
	ml: {"ZipMap": lists, "DictVectorizer": lists, "CastMap": lists},
}

// contributed are the operators of com.microsoft that a file may use: fused and
// quantised forms of ordinary ones, and the tokenizer.
var contributed = set(
	"Tokenizer",
	"Attention", "QAttention", "MultiHeadAttention", "EmbedLayerNormalization", "QEmbedLayerNormalization",
	"SkipLayerNormalization", "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization",
	"Gelu", "FastGelu", "BiasGelu", "QuickGelu", "BiasSoftmax", "RotaryEmbedding",
	"FusedMatMul", "FusedGemm", "FusedConv", "TransposeMatMul", "MatMulInteger16", "MatMulNBits",
	"MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QGemm", "QOrderedMatMul",
	"QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearLeakyRelu", "QLinearSigmoid", "QLinearSoftmax",
	"QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearReduceMean", "QLinearWhere", "NhwcMaxPool",
	"QuantizeLinear", "DequantizeLinear",
)

// A string is memory of its own beside its tensor, which no bound on tensors
// holds. So strings may only go through operators that make no more of them
// than there is text, and end in those that give numbers.
var (
	textKeep = map[string]map[string]bool{ // the first output is text again
		"":        set("StringNormalizer", "StringSplit", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Transpose"),
		microsoft: set("Tokenizer"),
	}
	textEnd = map[string]map[string]bool{
		"": set("RegexFullMatch", "TfIdfVectorizer", "Equal", "Shape", "Size", "Cast"),
		ml: set("LabelEncoder", "CategoryMapper", "OneHotEncoder"),
	}
	// classifiers give a label for each row of their input.
	classifiers = set("TreeEnsembleClassifier", "LinearClassifier", "SVMClassifier")
)

// longestLabel is how many bytes a string may have that a model can make many
// of: a classifier's label. longestPad is the same for a tokenizer's padding.
const (
	longestLabel = 64
	longestPad   = 15
)

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// allowed says whether a file may use an operator at all.
func (n *node) allowed() error {
	switch n.domain {
	case "", ml:
	case microsoft:
		if !contributed[n.op] {
			return wrong("operator %q of %s is not allowed", n.op, microsoft)
		}
	default:
		return wrong("operator %q is of domain %q; only those of ai.onnx, %s and some of %s are allowed", n.op, n.domain, ml, microsoft)
	}
	if why := refused[n.domain][n.op]; why != "" {
		return wrong("operator %q is not allowed: it %s", n.op, why)
	}
	if n.domain != "" {
		return nil
	}
	switch {
	case strings.HasPrefix(n.op, "Sequence"):
		return wrong("operator %q is not allowed: it %s", n.op, lists)
	case strings.HasPrefix(n.op, "Random"):
		return wrong("operator %q is not allowed: it %s", n.op, random)
	case n.op == "StringNormalizer" && n.attrs["locale"].str != "C":
		return wrong("operator \"StringNormalizer\" needs the attribute locale=\"C\"; other locales are not on every machine")
	}
	return nil
}

// text follows strings through a node. It says whether the first output is text;
// the others never are.
func (n *node) text(in bool) (out bool, err error) {
	if err := n.makesText(); err != nil {
		return false, err
	}
	switch {
	case n.domain == "" && n.op == "Constant":
		return n.constantText(), nil
	case n.domain == ml && classifiers[n.op] && !in:
		labels := n.attrs["classlabels_strings"]
		if labels.longest > longestLabel {
			return false, wrong("a label of operator %q has more than %d bytes", n.op, longestLabel)
		}
		return labels.count > 0, nil
	case !in:
		return false, nil
	case textKeep[n.domain][n.op]:
		if len(n.attrs["pad_value"].str) > longestPad {
			return false, wrong("the padding of operator %q has more than %d bytes", n.op, longestPad)
		}
		return true, nil
	case textEnd[n.domain][n.op]:
		return false, nil
	}
	return false, wrong("operator %q may not take text; it goes through %s", n.op, "StringNormalizer, StringSplit, Tokenizer and others that keep its size, to TfIdfVectorizer and others that give numbers")
}

// constantText says whether the node is a constant of strings.
func (n *node) constantText() bool {
	return n.attrs["value"].elem == String || n.attrs["value_string"].kind != 0 || n.attrs["value_strings"].kind != 0
}

// makesText refuses operators that make strings from numbers, or other strings
// from strings.
func (n *node) makesText() error {
	bad := false
	switch {
	case n.op == "Cast" && n.attrs["to"].num == int64(String):
		bad = true
	case n.domain == ml && n.op == "LabelEncoder":
		bad = n.attrs["values_strings"].count > 0 || n.attrs["values_tensor"].elem == String
	case n.domain == ml && n.op == "CategoryMapper":
		bad = !n.textIn
	case n.op != "Constant":
		bad = n.attrs["value"].elem == String
	}
	if bad {
		return wrong("operator %q may not make text", n.op)
	}
	return nil
}
