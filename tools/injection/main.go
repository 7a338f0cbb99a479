package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "injection:", err)
		os.Exit(1)
	}
}

func run(args []string, w io.Writer) error {
	flags := flag.NewFlagSet("injection", flag.ContinueOnError)
	dir := flags.String("models", "../models", "the directory of the models")
	check := flags.Bool("check", false, "compare with the model that is there, write nothing")
	report := flags.Bool("report", false, "print how it does on the tuning texts")
	test := flags.Bool("test", false, "print how it does on the held-out texts")
	scan := flags.String("scan", "", "count what it finds in the files of a directory")
	half := flags.String("half", "all", "of -scan: seen, unseen or all files")
	show := flags.Bool("show", false, "of -scan: print what was found")
	if err := flags.Parse(args); err != nil {
		return err
	}
	all, err := readData(filepath.Join(*dir, "data"))
	if err != nil {
		return err
	}
	m, err := build(filepath.Join(*dir, "data"), all)
	if err != nil {
		return err
	}
	switch {
	case *report:
		m.report(w, pick(all, tuning))
		return nil
	case *test:
		m.report(w, pick(all, heldOut))
		return nil
	case *scan != "":
		return m.scan(w, *scan, *half, *show)
	default:
		return m.save(*dir, all, *check)
	}
}

// build trains the model of the texts.
func build(dir string, all []sample) (*model, error) {
	v, err := readLexicon(filepath.Join(dir, "lexicon.txt"))
	if err != nil {
		return nil, err
	}
	return train(v, pick(all, training)), nil
}

// expected is the score of one text, for those who run the model.
type expected struct {
	ID    string `json:"id"`
	Text  string `json:"text"`
	Score string `json:"score"` // of the label injection, four decimals
}

// expectations gives the scores of every ninth text.
func (m *model) expectations(all []sample) ([]byte, error) {
	var list []expected
	for i := 0; i < len(all); i += 9 {
		list = append(list, expected{all[i].ID, all[i].Text, fmt.Sprintf("%.4f", m.score(all[i].Text))})
	}
	out, err := json.MarshalIndent(list, "", " ")
	return append(out, '\n'), err
}

// save writes or compares the model, and the scores that a runtime should find.
func (m *model) save(dir string, all []sample, check bool) error {
	scores, err := m.expectations(all)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		path string
		data []byte
	}{{"instruction-injection.onnx", m.onnx()}, {filepath.Join("testdata", "scores.json"), scores}} {
		path := filepath.Join(dir, f.path)
		if !check {
			if err := os.WriteFile(path, f.data, 0o644); err != nil {
				return err
			}
			continue
		}
		there, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(there, f.data) {
			return errors.New(path + " is not what the texts give; run `go run ./injection` in tools and change the model card")
		}
	}
	return nil
}
