package main

import (
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// counts are how many texts were found out of how many.
type counts struct{ found, all int }

func (c *counts) add(found bool) {
	c.all++
	if found {
		c.found++
	}
}

func (c counts) String() string {
	if c.all == 0 {
		return "0 of 0"
	}
	return fmt.Sprintf("%d of %d (%.1f %%)", c.found, c.all, 100*float64(c.found)/float64(c.all))
}

// levels are the scores for which numbers are printed.
var levels = []float64{0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95}

// report prints how the model does on texts with labels, and on orders among
// ordinary texts of the same set.
func (m *model) report(w io.Writer, samples []sample) {
	for _, at := range levels {
		var orders, others counts
		for _, s := range samples {
			if s.order {
				orders.add(m.score(s.Text) >= at)
			} else {
				others.add(m.score(s.Text) >= at)
			}
		}
		precision := float64(orders.found) / float64(max(1, orders.found+others.found))
		fmt.Fprintf(w, "at %.2f: recall %s, false positives %s, precision %.3f\n", at, orders, others, precision)
	}
	kinds, languages := map[string]*counts{}, map[string]*counts{}
	for _, s := range samples {
		name := "benign " + s.Kind
		if s.order {
			name = "injection " + s.Kind
			count(languages, "injection in "+s.Lang).add(m.score(s.Text) >= threshold)
		}
		count(kinds, name).add(m.score(s.Text) >= threshold)
	}
	for _, table := range []map[string]*counts{kinds, languages} {
		for _, k := range slices.Sorted(maps.Keys(table)) {
			fmt.Fprintf(w, "  %-26s %s\n", k, table[k])
		}
	}
	with, without := m.embedded(samples)
	fmt.Fprintf(w, "orders among 1 to 2 KB of ordinary texts: %s; the same without the order: %s\n", with, without)
}

func count(table map[string]*counts, name string) *counts {
	if table[name] == nil {
		table[name] = &counts{}
	}
	return table[name]
}

// embedded counts orders found among ordinary texts that are not found by
// themselves, and what is found among these texts without the order.
func (m *model) embedded(samples []sample) (with, without counts) {
	var quiet []string
	for _, s := range samples {
		if !s.order && m.score(s.Text) < threshold {
			quiet = append(quiet, s.Text)
		}
	}
	r := random(seed)
	for _, s := range samples {
		if !s.order {
			continue
		}
		var before, after string
		for len(before) < 512 {
			before += quiet[r.next(len(quiet))] + "\n"
		}
		for len(after) < 512 {
			after += "\n" + quiet[r.next(len(quiet))]
		}
		with.add(m.score(before+s.Text+after) >= threshold)
		without.add(m.score(before+after) >= threshold)
	}
	return with, without
}

// window and overlap are how policies cut a text by default.
const (
	window  = 2048
	overlap = 256
)

// scan counts the windows and files of a directory in which the model finds
// something. Half of the files, by the hash of their path, were looked at while
// the model was made ("seen"); the numbers of the model card are the others'.
func (m *model) scan(w io.Writer, dir, half string, show bool) error {
	extensions := strings.Fields(".go .md .html .txt .sh .py .yml .yaml .json .js .c .h .s .mod .toml .rst")
	var files, bytes counts
	windows := make([]counts, len(levels))
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() || !slices.Contains(extensions, filepath.Ext(p)) {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		if seen := seen(rel); half == "seen" && !seen || half == "unseen" && seen {
			return nil
		}
		data, err := os.ReadFile(p)
		if err != nil || len(data) > 1<<20 || !utf8.Valid(data) {
			return err
		}
		bytes.all += len(data)
		found := false
		for from := 0; from < len(data); from += window - overlap {
			part := strings.ToValidUTF8(string(data[from:min(from+window, len(data))]), "")
			score := m.score(part)
			for i, at := range levels {
				windows[i].add(score >= at)
			}
			yes := score >= threshold
			found = found || yes
			if yes && show {
				m.show(w, rel, part)
			}
			if from+window >= len(data) {
				break
			}
		}
		files.add(found)
		return nil
	})
	fmt.Fprintf(w, "%s: %d bytes, files at %.2f: %s\n", dir, bytes.all, threshold, files)
	for i, at := range levels {
		fmt.Fprintf(w, "  windows at %.2f: %s\n", at, windows[i])
	}
	return err
}

// seen says whether a file is of the half that was looked at.
func seen(path string) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(filepath.ToSlash(path)))
	return h.Sum32()/7%2 == 0
}

// show prints the stretch that was found.
func (m *model) show(w io.Writer, path, part string) {
	sum, at := m.worst(m.vocabulary.encode(part))
	list := words(part)
	fmt.Fprintf(w, "%.3f %s: %s\n", sigmoid(sum+m.bias), path, strings.Join(list[at*stride:min((at+2)*stride, len(list))], " "))
}
