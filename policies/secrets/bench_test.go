package secrets

import (
	"fmt"
	"strings"
	"testing"

	"github.com/zricethezav/gitleaks/v8/detect"

	"github.com/cabincrew/action/policies"
)

// BenchmarkSource compares the rules alone over Go's net packages, file by file, with
// gitleaks' detector on the same text in the same run.
func BenchmarkSource(b *testing.B) {
	text, size := goSource(b, "net"), int64(0)
	for _, t := range text {
		size += int64(len(t))
	}
	b.Run("driver", func(b *testing.B) {
		s := newScanner(exactEngine(b))
		b.SetBytes(size)
		for b.Loop() {
			for name, t := range text {
				if _, err := s.rules(b.Context(), []byte(t), name); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("gitleaks", func(b *testing.B) {
		d := oracle(b)
		b.SetBytes(size)
		for b.Loop() {
			for name, t := range text {
				d.Detect(detect.Fragment{Raw: t, FilePath: name}) //nolint:staticcheck // there is no other way in this version
			}
		}
	})
}

func BenchmarkSoup(b *testing.B) {
	e := exactEngine(b)
	var soup strings.Builder
	for soup.Len() < 1<<20 {
		soup.WriteString(strings.Join(e.keywords, " "))
	}
	text := soup.String()
	b.SetBytes(int64(len(text)))
	s := newScanner(e)
	for b.Loop() {
		if _, err := s.rules(b.Context(), []byte(text), ""); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEvaluate is the whole way: rules, mapped values, and everything decoded.
func BenchmarkEvaluate(b *testing.B) {
	var all strings.Builder
	for _, t := range goSource(b, "net/http") {
		all.WriteString(t)
	}
	ev := must(b, Options{Values: map[string]string{"TOKEN": "open sesame now, or else"}})
	for b.Loop() {
		if _, err := ev.Scan(b.Context(), "x.go", strings.NewReader(all.String())); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(all.Len()))
}

// BenchmarkPatch is a change of 200 files and 5,000 lines.
func BenchmarkPatch(b *testing.B) {
	var files []policies.PatchFile
	for i := range 200 {
		f := policies.PatchFile{Op: "modify", Path: fmt.Sprintf("internal/part%d/file%d.go", i%20, i), Hunks: []policies.Hunk{{}}}
		for l := range 25 {
			f.Hunks[0].Lines = append(f.Hunks[0].Lines, policies.Line{Op: "+", Line: int64(l), Text: fmt.Sprintf("\treturn fmt.Errorf(\"line %d of file %d: %%w\", err)", l, i)})
		}
		files = append(files, f)
	}
	ev := must(b, Options{})
	for b.Loop() {
		if list := judge(b, ev, patchOf(files...)); len(list) > 0 {
			b.Fatal(list)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := New(Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
