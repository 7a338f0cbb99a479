package oci

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// benchImage is about what a small interpreter image is: 3,000 files in two
// layers, 40 MB that compress to about half.
func benchImage(b *testing.B) []byte {
	b.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	var entries []te
	for n := range 3000 {
		body := make([]byte, 2000+random.IntN(24_000))
		for i := range body {
			body[i] = byte(random.IntN(16)) //nolint:gosec // test data
		}
		entries = append(entries, fileE(fmt.Sprintf("usr/lib/engine/%d/%d/file%d", n/200, n/20, n), string(body)))
	}
	return tarOf(b, entries...)
}

// BenchmarkPull fetches, or finds in the cache, an image from a registry on loopback.
func BenchmarkPull(b *testing.B) {
	host := realRegistry(b)
	archive := benchImage(b)
	for kind, how := range map[string][]tarball.LayerOption{
		"gzip": {},
		"zstd": {tarball.WithCompression("zstd"), tarball.WithMediaType(types.OCILayerZStd)},
	} {
		digest := push(b, host+"/"+kind+":v1", realImage(b, how, archive, tarOf(b, fileE("bin/engine", "x"))))
		ref, err := Parse(host+"/"+kind+"@"+digest, false)
		if err != nil {
			b.Fatal(err)
		}
		warm := options(b)
		b.Run(kind+"/cold", func(b *testing.B) {
			for b.Loop() {
				if _, err := Get(b.Context(), ref, options(b)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(kind+"/warm", func(b *testing.B) {
			for b.Loop() {
				if _, err := Get(b.Context(), ref, warm); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(kind+"/unpack", func(b *testing.B) {
			i, err := Get(b.Context(), ref, warm)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(archive)))
			for b.Loop() {
				if err := Unpack(b.Context(), i, warm, b.TempDir()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSmallEngine pulls and unpacks an engine of one file of 4 MB.
func BenchmarkSmallEngine(b *testing.B) {
	host := realRegistry(b)
	body := make([]byte, 4<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range body {
		body[i] = byte(random.IntN(32)) //nolint:gosec // test data
	}
	digest := push(b, host+"/small:v1", realImage(b, []tarball.LayerOption{}, tarOf(b, te{name: "engine", body: string(body), mode: 0o755})))
	ref, err := Parse(host+"/small@"+digest, false)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		o := options(b)
		i, err := Get(b.Context(), ref, o)
		if err == nil {
			err = Unpack(b.Context(), i, o, b.TempDir())
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHostileWhiteouts has every entry of an upper layer hide what lower
// layers have, in a tree that is not small: the work stays linear.
func BenchmarkHostileWhiteouts(b *testing.B) {
	var lower, upper []te
	for n := range 5000 {
		lower = append(lower, fileE(fmt.Sprintf("d%d/f%d", n%100, n), ""))
		upper = append(upper, linkE(fmt.Sprintf("l%d", n), "/"), fileE(fmt.Sprintf("l%d/.wh..wh..opq", n), ""))
	}
	f := newFake(b)
	o := options(b)
	i, err := Get(b.Context(), f.ref(b, f.image(b, nil, tarOf(b, lower...), tarOf(b, upper...)).Digest), o)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := Unpack(b.Context(), i, o, b.TempDir()); err != nil {
			b.Fatal(err)
		}
	}
}
