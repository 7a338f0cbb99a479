package secrets

import (
	"strings"
	"testing"

	"github.com/zricethezav/gitleaks/v8/detect"
)

// BenchmarkSource compares the rules alone over Go's net packages, file by file, with
// gitleaks' detector on the same text in the same run.
func BenchmarkSource(b *testing.B) {
	text, size := source(b, "net"), int64(0)
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
				d.Detect(detect.Fragment{Raw: t, FilePath: name})
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
