package bundle

import (
	"fmt"
	"io"
	"testing"
)

// BenchmarkArchive packs and unpacks a flight of 1,000 artifacts of 10 KB that do
// not compress.
func BenchmarkArchive(b *testing.B) {
	files := flight()
	for i := range 1000 {
		files[fmt.Sprintf("steps/one/artifacts/out/%04d.txt", i)] = noise(uint64(i), 10<<10)
	}
	root := tree(b, files)
	archive, _ := packed(b, root, PackOptions{})
	b.Run("pack", func(b *testing.B) {
		b.SetBytes(10 << 20)
		for b.Loop() {
			if _, err := Pack(b.Context(), root, io.Discard, PackOptions{Temp: b.TempDir()}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("unpack", func(b *testing.B) {
		b.SetBytes(10 << 20)
		f := file(b, archive)
		for b.Loop() {
			if _, err := Unpack(b.Context(), f, empty(b)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
