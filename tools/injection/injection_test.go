package main

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestModelIsThatOfTheTexts(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "models", "data")
	all, err := readData(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := build(dir, all)
	if err != nil {
		t.Fatal(err)
	}
	there, err := os.ReadFile(filepath.Join("..", "..", "models", "instruction-injection.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.onnx(), there) {
		t.Error("the texts give another model than the one that is there")
	}
	for i, w := range m.weights {
		if w*scale != math.Trunc(w*scale) || math.Abs(w) > 100 {
			t.Fatalf("weight %d is %v, want a small multiple of 1/%d", i, w, scale)
		}
	}
}

func TestFamiliesStayTogether(t *testing.T) {
	t.Parallel()
	all, err := readData(filepath.Join("..", "..", "models", "data"))
	if err != nil {
		t.Fatal(err)
	}
	where := map[string]set{}
	var sizes [3]int
	for _, s := range all {
		key := s.Family
		if s.order {
			key = "+" + key
		}
		if at, ok := where[key]; ok && at != s.setOf() {
			t.Errorf("family %s is in two sets", key)
		}
		where[key] = s.setOf()
		sizes[s.setOf()]++
	}
	for i, n := range sizes {
		if n < len(all)/10 {
			t.Errorf("set %d has %d of %d texts", i, n, len(all))
		}
	}
}

func TestWordsAndStems(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text  string
		words []string
		stems []string
	}{
		{"", nil, nil},
		{" ,;", []string{";"}, []string{";"}},
		{"Ignoring Instructions", []string{"ignoring", "instructions"}, []string{"ignori", "instru"}},
		{"a_b\nc", []string{"a", "b", "\n", "c"}, []string{"a", "b", "\n", "c"}},
		{"ÜBER über", []string{"Über", "über"}, []string{"Über", "über"}},
		{"忽略x", []string{"忽", "略", "x"}, []string{"忽", "略", "x"}},
		{"<!-- <|im", []string{"<!--", "<|", "im"}, []string{"<!--", "<|", "im"}},
	} {
		got := words(tc.text)
		if !slices.Equal(got, tc.words) {
			t.Errorf("words(%q) = %q, want %q", tc.text, got, tc.words)
			continue
		}
		for i, w := range got {
			if stem(w) != tc.stems[i] {
				t.Errorf("stem(%q) = %q, want %q", w, stem(w), tc.stems[i])
			}
		}
	}
}

func TestExpIsExp(t *testing.T) {
	t.Parallel()
	for x := -40.0; x <= 40; x += 0.37 {
		if got, want := exp(x), math.Exp(x); math.Abs(got-want) > 1e-4*want {
			t.Errorf("exp(%v) = %v, want %v", x, got, want)
		}
	}
}
