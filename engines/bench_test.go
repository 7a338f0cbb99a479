//go:build unix

package engines

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
)

const (
	benchBody = 2 << 30 // bytes
	benchFree = 6 << 30 // bytes of disk that the benchmark wants
)

// peakMB gives the largest resident size since reset, in MB; 0 where it cannot be told.
func peakMB() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			kb, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				return 0
			}
			return kb / 1024
		}
	}
	return 0
}

func resetPeak() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o200) } // only a measure

func room(b *testing.B) {
	b.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(b.TempDir(), &fs); err != nil {
		b.Skip("the free disk space cannot be told:", err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < benchFree { //nolint:gosec // a block's size is no negative number
		b.Skipf("%d MB of disk are free, %d are needed", free>>20, benchFree>>20)
	}
}

// inMemory gives the speed of crypto/sha256 over memory, in bytes a second.
func inMemory() float64 {
	buf := make([]byte, 4<<20)
	h := sha256.New()
	begin := time.Now()
	for range benchBody / len(buf) {
		_, _ = h.Write(buf) // a hash never fails
	}
	return benchBody / time.Since(begin).Seconds()
}

// BenchmarkHashBody collects a body of 2 GB, hashed while it is copied into the
// flight, beside crypto/sha256 over memory.
func BenchmarkHashBody(b *testing.B) {
	room(b)
	bx := newBox(b)
	bx.put("a", bodied, []byte{})
	at := filepath.Join(bx.dir, "a", "body.data")
	f, err := os.Create(at)
	bx.must(err)
	block := make([]byte, 1<<20)
	r := rand.NewChaCha8([32]byte{1})
	h := sha256.New()
	for range benchBody / len(block) {
		_, _ = r.Read(block) // never fails
		_, err = f.Write(block)
		bx.must(err)
		_, _ = h.Write(block) // never fails
	}
	bx.must(f.Sync()) // or the disk writes the source while the copy is measured
	bx.must(f.Close())
	bx.declare("a", protocol.FormatDigest(h.Sum(nil)))
	for name, copied := range map[string]bool{"copied": true, "validated": false} {
		b.Run(name, func(b *testing.B) {
			resetPeak()
			var took, memory float64
			for b.Loop() {
				memory += inMemory()
				begin := time.Now()
				if copied {
					dst, _, err := bx.collect(b.Context())
					took += time.Since(begin).Seconds()
					bx.must(err)
					bx.must(os.RemoveAll(dst))
					continue
				}
				from, err := os.OpenRoot(bx.dir)
				bx.must(err)
				_, err = bx.c.Collect(b.Context(), from, nil, bx.declared)
				took += time.Since(begin).Seconds()
				bx.must(err)
				bx.must(from.Close())
			}
			speed, memory := benchBody*float64(b.N)/took, memory/float64(b.N)
			b.ReportMetric(speed/1e6, "MB/s")
			b.ReportMetric(memory/1e6, "sha256-MB/s")
			b.ReportMetric(100*speed/memory, "%-of-sha256")
			b.ReportMetric(peakMB(), "peak-RSS-MB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkManyArtifacts collects artifacts of 1 KB; the time per artifact tells
// whether it is linear.
func BenchmarkManyArtifacts(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			bx := newBox(b)
			for i := range n {
				bx.add(fmt.Sprintf("a%05d", i), bodied, bytes.Repeat([]byte{byte(i)}, 1024))
			}
			resetPeak()
			var took time.Duration
			for b.Loop() {
				begin := time.Now()
				dst, _, err := bx.collect(b.Context())
				took += time.Since(begin)
				bx.must(err)
				bx.must(os.RemoveAll(dst))
			}
			b.ReportMetric(took.Seconds()/float64(b.N), "s/collect")
			b.ReportMetric(float64(took.Microseconds())/float64(b.N)/float64(n), "µs/artifact")
			b.ReportMetric(peakMB(), "peak-RSS-MB")
			b.ReportMetric(0, "ns/op")
		})
	}
}
