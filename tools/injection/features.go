package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
)

// A text is judged by stretches of two strides, each of which begins a stride
// after the one before. A feature stands in a stretch or does not: how often it
// stands there is not counted, since code says the same word often.
const (
	stride = 12 // words
	reach  = 6  // words between the two of byOrder, at most
)

// feature kinds. Stems are numbers, meanings are numbers.
const (
	byStem    = iota // a stem stands in the stretch
	byPair           // two stems stand next to each other
	byMeaning        // a meaning stands in it
	byOrder          // one meaning stands before another, at most reach words apart
)

type key struct {
	kind int
	a, b int64
}

// fewest is in how many families of texts a feature must stand, by its kind.
const fewest = 2

// vocabulary is what the model knows: a number for each stem, the meanings of
// some, and the features.
type vocabulary struct {
	stems    []string // the number of a stem is its place + 1; 0 is every other stem
	number   map[string]int64
	meaning  map[string]int64 // from 1
	meanings []string
	keys     []key
	index    map[key]int
}

// readLexicon reads the lexicon: lines "name: stem stem ...".
func readLexicon(path string) (*vocabulary, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	v := &vocabulary{meaning: map[string]int64{}}
	for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, list, ok := strings.Cut(line, ": ")
		if !ok {
			return nil, fmt.Errorf("%s:%d: no name", path, i+1)
		}
		v.meanings = append(v.meanings, name)
		for _, s := range strings.Fields(list) {
			if v.meaning[s] != 0 || stem(s) != s {
				return nil, fmt.Errorf("%s:%d: %q is no stem, or has a meaning already", path, i+1, s)
			}
			v.meaning[s] = int64(len(v.meanings))
		}
	}
	return v, nil
}

// families are those of the texts in which something stands. What stands in one
// only says more about that text than about its kind.
type families[K comparable] map[K]map[string]bool

func (f families[K]) add(k K, s sample) {
	if f[k] == nil {
		f[k] = map[string]bool{}
	}
	f[k][fmt.Sprint(s.order, s.Family)] = true
}

// learn collects the stems and features of the training texts.
func (v *vocabulary) learn(samples []sample) {
	v.learnStems(samples)
	keys := families[key]{}
	for _, s := range samples {
		for _, stretch := range v.stretches(s.Text) {
			for _, k := range stretch {
				keys.add(k, s)
			}
		}
	}
	for k, f := range keys {
		if len(f) >= fewest {
			v.keys = append(v.keys, k)
		}
	}
	slices.SortFunc(v.keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.a, b.a), cmp.Compare(a.b, b.b))
	})
	v.index = map[key]int{}
	for i, k := range v.keys {
		v.index[k] = i
	}
}

// learnStems numbers the stems of the training texts and of the lexicon.
func (v *vocabulary) learnStems(samples []sample) {
	stems := families[string]{}
	for _, s := range samples {
		for _, w := range words(s.Text) {
			stems.add(stem(w), s)
		}
	}
	for s, f := range stems {
		if v.meaning[s] == 0 && len(f) >= fewest {
			v.stems = append(v.stems, s)
		}
	}
	for s := range v.meaning {
		v.stems = append(v.stems, s)
	}
	slices.Sort(v.stems)
	v.number = map[string]int64{}
	for i, s := range v.stems {
		v.number[s] = int64(i) + 1
	}
}

// stretches gives the features of each stretch of a text.
func (v *vocabulary) stretches(text string) [][]key {
	list := words(text)
	ids := make([]int64, len(list))
	mean := make([]int64, len(list))
	for i, w := range list {
		s := stem(w)
		ids[i], mean[i] = v.number[s], v.meaning[s]
	}
	var out [][]key
	for at := 0; at < len(list); at += stride {
		end := min(at+2*stride, len(list))
		out = append(out, v.stretch(ids[at:end], mean[at:end]))
	}
	return out
}

// stretch gives the features of one stretch, each once.
func (v *vocabulary) stretch(ids, mean []int64) []key {
	seen := map[key]bool{}
	var out []key
	add := func(k key) {
		if !seen[k] {
			seen[k] = true
			out = append(out, k)
		}
	}
	for i := range ids {
		if ids[i] != 0 {
			add(key{byStem, ids[i], 0})
			if i+1 < len(ids) && ids[i+1] != 0 {
				add(key{byPair, ids[i], ids[i+1]})
			}
		}
		if mean[i] == 0 {
			continue
		}
		add(key{byMeaning, mean[i], 0})
		for d := 1; d <= reach && i+d < len(ids); d++ {
			if mean[i+d] != 0 {
				add(key{byOrder, mean[i], mean[i+d]})
			}
		}
	}
	return out
}

// encode gives the numbers of the known features of each stretch of a text.
func (v *vocabulary) encode(text string) [][]int {
	at := v.stretches(text)
	out := make([][]int, len(at))
	for i, keys := range at {
		for _, k := range keys {
			if n, ok := v.index[k]; ok {
				out[i] = append(out[i], n)
			}
		}
		slices.Sort(out[i])
	}
	return out
}
