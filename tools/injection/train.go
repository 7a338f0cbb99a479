package main

import (
	"math"
	"slices"
)

// How the model is trained. All of it was chosen by looking at the tuning texts
// and at ordinary files, see the model card.
const (
	seed    = 1
	epochs  = 50   // passes over the training texts
	settled = 25   // epochs from which on the weights are averaged
	rate    = 0.1  // of AdaGrad
	ridge   = 0.01 // pulls large weights back
	lasso   = 0.002
	blind   = 500 // of 1000 features are left out at random in each step, so that weights do not lean on one text
	mixed   = 10  // texts made of ordinary ones for each ordinary one
	parts   = 9   // ordinary texts in one of those
	scale   = 64  // weights are multiples of 1/64: sums of them are exact in float32, in any order
)

// model is a linear model whose score is that of the worst stretch of a text.
type model struct {
	vocabulary *vocabulary
	weights    []float64
	bias       float64
}

// worst gives the largest sum of a stretch and where it is; at least 0, -1.
func (m *model) worst(text [][]int) (sum float64, at int) {
	at = -1
	for i, features := range text {
		s := 0.0
		for _, f := range features {
			s += m.weights[f]
		}
		if s > sum {
			sum, at = s, i
		}
	}
	return sum, at
}

// score is the probability that a text gives orders.
func (m *model) score(text string) float64 {
	sum, _ := m.worst(m.vocabulary.encode(text))
	return sigmoid(sum + m.bias)
}

// example is one text of an epoch.
type example struct {
	text   [][]int
	order  bool
	weight float64
}

// train fits a model to the training texts.
func train(v *vocabulary, samples []sample) *model {
	v.learn(samples)
	m := &model{vocabulary: v, weights: make([]float64, len(v.keys)), bias: -3}
	examples := v.examples(samples)
	history := make([]float64, len(m.weights))
	mean := make([]float64, len(m.weights))
	r := random(seed)
	var scratch [][]int
	for epoch := range epochs {
		for _, i := range r.shuffle(len(examples)) {
			scratch = examples[i].blinded(&r, scratch)
			m.step(example{scratch, examples[i].order, examples[i].weight}, history)
		}
		if epoch >= settled {
			for i, w := range m.weights {
				mean[i] += w / (epochs - settled)
			}
		}
	}
	for i, w := range mean {
		m.weights[i] = math.Round(w*scale) / scale
	}
	m.bias = math.Round(m.bias*scale) / scale
	return m
}

// examples gives the texts themselves, and longer ones made of them: an order
// among ordinary texts is still an order, and many ordinary texts are none.
func (v *vocabulary) examples(samples []sample) []example {
	var orders, others []int
	for i, s := range samples {
		if s.order {
			orders = append(orders, i)
		} else {
			others = append(others, i)
		}
	}
	balance := float64(len(others)) / float64(len(orders))
	var out []example
	for _, s := range samples {
		e := example{v.encode(s.Text), s.order, 1}
		if s.order {
			e.weight = balance
		}
		out = append(out, e)
	}
	r := random(seed + 1)
	other := func() string { return samples[others[r.next(len(others))]].Text }
	for _, i := range orders {
		text := other() + "\n" + samples[i].Text + "\n" + other()
		out = append(out, example{v.encode(text), true, balance / 2})
	}
	for range len(others) * mixed {
		text := other()
		for range parts - 1 {
			text += "\n" + other()
		}
		out = append(out, example{v.encode(text), false, 1})
	}
	return out
}

// blinded gives the text without features that are left out at random, in the
// memory of the one before.
func (e example) blinded(r *random, scratch [][]int) [][]int {
	scratch = slices.Grow(scratch[:0], len(e.text))[:len(e.text)]
	for i, features := range e.text {
		scratch[i] = scratch[i][:0]
		for _, f := range features {
			if r.next(1000) >= blind {
				scratch[i] = append(scratch[i], f)
			}
		}
	}
	return scratch
}

// step moves the weights of the worst stretch against the error.
func (m *model) step(e example, history []float64) {
	sum, at := m.worst(e.text)
	target := 0.0
	if e.order {
		target = 1
		at = max(at, 0) // nothing speaks for it yet: learn from how it begins
	}
	wrong := mul(sigmoid(sum+m.bias)-target, e.weight)
	m.bias -= mul(0.01, wrong)
	if at < 0 {
		return
	}
	for _, f := range e.text[at] {
		g := wrong + mul(ridge, m.weights[f])
		history[f] += mul(g, g)
		r := rate / math.Sqrt(history[f]+0.01)
		m.weights[f] = shrink(m.weights[f]-mul(r, g), mul(r, lasso))
	}
}

// shrink moves w towards zero, and no further.
func shrink(w, by float64) float64 {
	switch {
	case w > by:
		return w - by
	case w < -by:
		return w + by
	default:
		return 0
	}
}
