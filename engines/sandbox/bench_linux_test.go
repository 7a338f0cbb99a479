package sandbox

import (
	"os/exec"
	"slices"
	"testing"
	"time"
)

// BenchmarkStart starts /bin/true, plain and in each tier. What counts is the
// median: tier A shall cost less than 20 ms over plain on an idle machine.
func BenchmarkStart(b *testing.B) {
	system := []Bind{{Source: "/usr", Target: "/usr"}, {Source: "/bin", Target: "/bin"}, {Source: "/lib", Target: "/lib"}, {Source: "/lib64", Target: "/lib64"}}
	one := func(c *Confine) func() error {
		return func() error {
			_, err := Run(b.Context(), Command{Argv: []string{"/bin/true"}, Dir: "/", Confine: c})
			return err
		}
	}
	for _, x := range []struct {
		name, tier string
		run        func() error
	}{
		{"plain", TierC, func() error { return exec.Command("/bin/true").Run() }},
		{"tier-C", TierC, one(nil)},
		{"tier-B", TierB, one(&Confine{Tier: TierB, Binds: system})},
		{"tier-A", TierA, one(&Confine{Tier: TierA, Binds: system})},
	} {
		b.Run(x.name, func(b *testing.B) {
			tier(b, x.tier)
			var took []time.Duration
			for b.Loop() {
				begin := time.Now()
				if err := x.run(); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
			b.ReportMetric(ms(took[len(took)/2]), "ms-median")
			b.ReportMetric(ms(took[0]), "ms-least")
		})
	}
}

// BenchmarkHide starts with a view that hides 20,000 files.
func BenchmarkHide(b *testing.B) {
	tier(b, TierA)
	dir := fill(b, shared(b), map[string]string{"low/file": "x"})
	hide := make([]string, 20_000)
	for i := range hide {
		hide[i] = "d/" + time.Duration(i).String()
	}
	for b.Loop() {
		cmd, _ := hostile(b, &Confine{Tier: TierA, View: &View{Target: "/w", Lower: []string{dir + "/low"}, Hide: hide}}, "true")
		if _, err := Run(b.Context(), cmd); err != nil {
			b.Fatal(err)
		}
	}
}
