package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// sample is one text of models/data.
type sample struct {
	ID     string `json:"id"`
	Family string `json:"family"`
	Kind   string `json:"kind"`
	Lang   string `json:"lang"`
	Text   string `json:"text"`

	order bool // it gives orders to an agent or a reviewer
}

// set says what a sample is for.
type set int

const (
	training set = iota // 70 %: weights
	tuning              // 15 %: everything that a person chose, such as the threshold
	heldOut             // 15 %: the numbers of the model card, and nothing else
)

// setOf decides by the hash of the family, so that texts which differ in a few
// words are in the same set, and a new text moves no other.
func (s sample) setOf() set {
	label := "benign"
	if s.order {
		label = "injection"
	}
	h := sha256.Sum256([]byte("instruction-injection/1/" + label + "/" + s.Family))
	switch n := (int(h[0])<<8 | int(h[1])) % 100; {
	case n < 70:
		return training
	case n < 85:
		return tuning
	default:
		return heldOut
	}
}

// readData reads both files of models/data.
func readData(dir string) ([]sample, error) {
	var all []sample
	for _, f := range []struct {
		name  string
		order bool
	}{{"injection.jsonl", true}, {"benign.jsonl", false}} {
		data, err := os.ReadFile(filepath.Join(dir, f.name))
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(bytes.NewReader(data))
		for n := 1; lines.Scan(); n++ {
			s := sample{order: f.order}
			if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", f.name, n, err)
			}
			if s.ID == "" || s.Family == "" || s.Kind == "" || s.Lang == "" || s.Text == "" {
				return nil, fmt.Errorf("%s:%d: a field is empty", f.name, n)
			}
			all = append(all, s)
		}
		if err := lines.Err(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func pick(all []sample, which set) []sample {
	var out []sample
	for _, s := range all {
		if s.setOf() == which {
			out = append(out, s)
		}
	}
	return out
}
