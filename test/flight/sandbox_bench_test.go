package flight

import (
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/cabincrew/action/engines/sandbox"
)

// BenchmarkSandboxStart is the start of /bin/true in each tier beside a plain one,
// from a program that holds all that the shipped one holds: the sandbox's helper is
// the same program again, and pays for what it initialises.
func BenchmarkSandboxStart(b *testing.B) {
	var binds []sandbox.Bind
	for _, dir := range []string{"/bin", "/lib", "/lib64", "/usr"} {
		binds = append(binds, sandbox.Bind{Source: dir, Target: dir})
	}
	for name, tier := range map[string]string{"plain": "", "A": sandbox.TierA, "B": sandbox.TierB, "C": sandbox.TierC} {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				begin := time.Now()
				if tier == "" {
					if err := exec.Command("/bin/true").Run(); err != nil {
						b.Fatal(err)
					}
				} else {
					exit, err := sandbox.Run(b.Context(), sandbox.Command{
						Argv: []string{"/bin/true"}, Dir: "/", Grace: time.Second, Confine: &sandbox.Confine{Tier: tier, Binds: binds},
					})
					if err != nil || exit.Code != 0 {
						b.Skipf("tier %s cannot be had here: %+v, %v", tier, exit, err)
					}
				}
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms/median")
			b.ReportMetric(0, "ns/op")
		})
	}
}
