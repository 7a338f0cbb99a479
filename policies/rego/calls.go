package rego

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/cabincrew/action/internal/limits"
)

// Some built-in functions can be made to give texts that are many times larger than
// what they are given, in one call, which no time limit stops and no look at the heap
// sees in time: the process would end with Go's "out of memory", and not with a deny.
// Their results are bounded before they are made.

// grows gives at least how large in bytes the result of a call may become.
type grows func(operands []*ast.Term) float64

func growing() map[string]grows {
	return map[string]grows{
		ast.Concat.Name:                 concatSize,
		ast.Sprintf.Name:                sprintfSize,
		ast.Replace.Name:                replaceSize,
		ast.ReplaceN.Name:               replaceAllSize,
		ast.RegexReplace.Name:           regexReplaceSize,
		ast.InternalTemplateString.Name: func(o []*ast.Term) float64 { return textSize(o[0], 1) },
		ast.JSONMarshalWithOptions.Name: marshalSize,
		ast.JSONMarshal.Name:            func(o []*ast.Term) float64 { return writtenSize(o[0]) },
		ast.YAMLMarshal.Name:            func(o []*ast.Term) float64 { return 2 * writtenSize(o[0]) },
		ast.URLQueryEncodeObject.Name:   querySize,
		ast.ArrayFlatten.Name:           flatSize,
		ast.Split.Name: func(o []*ast.Term) float64 {
			return elementBytes * float64(strings.Count(text(o[0]), text(o[1]))+1)
		},
	}
}

// boundCalls puts the bounds before OPA's functions, whose register is one for the
// whole process.
var boundCalls = sync.OnceFunc(func() {
	for name, size := range growing() {
		call := topdown.GetBuiltin(name)
		topdown.RegisterBuiltinFunc(name, func(b topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
			if n := size(operands); n > limits.PolicyCallBytes {
				return topdown.Halt{Err: &topdown.Error{
					Code: topdown.BuiltinErr, Location: b.Location,
					Message: fmt.Sprintf("%s would give about %.0f MiB, more than %d", name, n/(1<<20), limits.PolicyCallBytes>>20),
				}}
			}
			return call(b, operands, iter)
		})
	}
})

func text(t *ast.Term) string {
	s, _ := t.Value.(ast.String) // anything else is an error of the function itself
	return string(s)
}

// textSize is how large the texts of a collection are together.
func textSize(t *ast.Term, factor float64) float64 {
	var n float64
	each(t, func(e *ast.Term) {
		switch v := e.Value.(type) {
		case ast.String:
			n += factor * float64(len(v))
		case ast.Number:
			n += float64(len(v))
		case *ast.Array, ast.Object, ast.Set:
			n += factor * writtenSize(e)
		default:
			n += 8
		}
	})
	return n
}

func each(t *ast.Term, f func(*ast.Term)) {
	switch v := t.Value.(type) {
	case *ast.Array:
		v.Foreach(f)
	case ast.Set:
		v.Foreach(f)
	}
}

func count(t *ast.Term) float64 {
	switch v := t.Value.(type) {
	case *ast.Array:
		return float64(v.Len())
	case ast.Set:
		return float64(v.Len())
	}
	return 0
}

// elementBytes is what an element of a list takes at least.
const elementBytes = 16

// writtenSize is about how large a value is as text. A part that stands in it several
// times counts each time, and counting ends above the bound.
func writtenSize(t *ast.Term) float64 {
	var n float64
	var add func(t *ast.Term)
	add = func(t *ast.Term) {
		if n > limits.PolicyCallBytes {
			return
		}
		n += 4
		switch v := t.Value.(type) {
		case ast.String:
			n += float64(len(v))
		case ast.Number:
			n += float64(len(v))
		case ast.Object:
			v.Foreach(func(k, e *ast.Term) { add(k); add(e) })
		default:
			each(t, add)
		}
	}
	add(t)
	return n
}

// querySize counts a key once for each of its values; a byte may become three.
func querySize(o []*ast.Term) float64 {
	pairs, ok := o[0].Value.(ast.Object)
	if !ok {
		return 0 // an error of the function itself
	}
	var n float64
	pairs.Foreach(func(k, v *ast.Term) { n += 3 * (max(1, count(v))*(float64(len(text(k)))+2) + writtenSize(v)) })
	return n
}

// flatSize counts the elements of all lists within a list.
func flatSize(o []*ast.Term) float64 {
	var n float64
	var add func(t *ast.Term)
	add = func(t *ast.Term) {
		switch v := t.Value.(type) {
		case *ast.Array:
			for i := 0; i < v.Len() && n <= limits.PolicyCallBytes; i++ {
				add(v.Elem(i))
			}
		default:
			n += elementBytes
		}
	}
	add(o[0])
	return n
}

func concatSize(o []*ast.Term) float64 {
	return float64(len(text(o[0])))*count(o[1]) + textSize(o[1], 1)
}

// verb is what sprintf puts a value for, with the value's number, width and precision.
var verb = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`%[-+# 0]*(?:\[[0-9]*\])?([0-9]+|\*)?(?:\.(?:\[[0-9]*\])?([0-9]+|\*)?)?`)
})

// widest is the largest width that Go's fmt takes; larger ones are an error of it.
const widest = 1e6

func sprintfSize(o []*ast.Term) float64 {
	format := text(o[0])
	values := textSize(o[1], 1)
	if !strings.Contains(format, "%") {
		return float64(len(format)) + values
	}
	largest := 0.0
	each(o[1], func(e *ast.Term) { largest = max(largest, textSize(ast.ArrayTerm(e), 1)) })
	n := float64(len(format)) + values // what no verb takes is added at the end
	for _, m := range verb().FindAllStringSubmatch(format, -1) {
		// A byte of a value is at most ten bytes long, quoted as \U0010ffff.
		one := largest
		if strings.ContainsAny(m[0], "# +") || quoting(format) {
			one *= 10
		}
		n += one
		for _, width := range m[1:] {
			switch w, err := strconv.ParseFloat(width, 64); {
			case width == "*":
				n += widest
			case width != "" && err == nil:
				n += min(w, widest)
			}
		}
	}
	return n
}

// quoting says whether a format has verbs that make values longer.
func quoting(format string) bool { return strings.ContainsAny(format, "qxXU") }

func replaceSize(o []*ast.Term) float64 {
	s, old, with := text(o[0]), text(o[1]), text(o[2])
	return float64(len(s)) + float64(strings.Count(s, old))*float64(len(with))
}

// countedPatterns is how many patterns are looked for one by one.
const countedPatterns = 32

func replaceAllSize(o []*ast.Term) float64 {
	patterns, ok := o[0].Value.(ast.Object)
	if !ok {
		return 0 // an error of the function itself
	}
	s := text(o[1])
	n, longest := float64(len(s)), 0
	patterns.Foreach(func(old, with *ast.Term) {
		longest = max(longest, len(text(with)))
		if patterns.Len() <= countedPatterns {
			n += float64(strings.Count(s, text(old))) * float64(len(text(with)))
		}
	})
	if patterns.Len() > countedPatterns {
		n += float64(len(s)+1) * float64(longest)
	}
	return n
}

func regexReplaceSize(o []*ast.Term) float64 {
	s, with := float64(len(text(o[0]))), text(o[2])
	// Every place may match, and each reference may give all of what matched.
	return s + (s+1)*float64(len(with)) + s*float64(strings.Count(with, "$"))
}

// marshalSize counts what indentation adds: to each value, once for each level.
func marshalSize(o []*ast.Term) float64 {
	options, ok := o[1].Value.(ast.Object)
	if !ok {
		return 0 // as above
	}
	indent, prefix := "\t", ""
	if t := options.Get(ast.InternedTerm("indent")); t != nil {
		indent = text(t)
	}
	if t := options.Get(ast.InternedTerm("prefix")); t != nil {
		prefix = text(t)
	}
	written := writtenSize(o[0])
	if len(indent)+len(prefix) <= 16 {
		return written // so little is no matter
	}
	values, deepest := nodes(o[0], 0, limits.PolicyCallBytes)
	if values < 0 {
		return math.MaxFloat64
	}
	return written + float64(values)*float64(len(prefix)+deepest*len(indent))
}

// nodes counts values and levels; -1 if there are more values than a bound.
func nodes(t *ast.Term, depth, bound int) (values, deepest int) {
	values, deepest = 1, depth+1
	add := func(e *ast.Term) {
		if values < 0 {
			return
		}
		n, d := nodes(e, depth+1, bound-values)
		if deepest = max(deepest, d); n < 0 || values+n > bound {
			values = -1
			return
		}
		values += n
	}
	switch v := t.Value.(type) {
	case ast.Object:
		v.Foreach(func(_, e *ast.Term) { add(e) })
	default:
		each(t, add)
	}
	return values, deepest
}
