package sandbox

import (
	"strings"
	"testing"
)

// bomb is a way to use more memory than one may. By says what ends it: "limit", its
// own limits; "guard", it is seen and ended; "passes", evidence says that a cgroup is
// missing.
type bomb struct {
	args  string
	by    string
	tiers string
	temp  int64 // bytes of the private file systems
}

// memoryBombs use up to 200 MiB.
func memoryBombs(dir string) []bomb {
	return []bomb{
		{"private 200", "limit guard", "AB", 0}, {"shared 200", "guard", "AB", 0}, {"many 200", "guard", "AB", 0},
		{"file 48 /tmp/big", "limit", "A", 0}, {"file 48 /dev/shm/big", "limit", "A", 0},
		{"file 32 " + dir + "/big", "passes", "AB", 0}, // a disk, not memory
		// What no process has mapped, in several places that each have room for it.
		{"files 96 /tmp/big /dev/shm/big", "guard", "A", 64 << 20}, {"unlinked 96 /tmp/big /dev/shm/big", "guard", "A", 64 << 20}, {"empty 96 /tmp", "guard", "A", 64 << 20},
		{"memfd 96", "limit", "AB", 0},
		{"detached 96", "guard", "A", 0}, {"detached 96", "limit", "B", 0},
		{"messages 96", "guard", "A", 0}, {"messages 96", "limit", "B", 0},
		{"semaphores 96", "guard", "A", 0}, {"semaphores 96", "limit", "B", 0},
		{"sockets 96", "guard", "AB", 0}, {"tables 96", "guard", "AB", 0},
		{"unmapped 96", "passes", "AB", 0}, // nothing tells of pages that were unmapped; the kernel ends such a process first
	}
}

// TestMemoryBombs use more memory than they may, in several ways.
func TestMemoryBombs(t *testing.T) {
	t.Parallel()
	held(t, "SAB", func(t *testing.T, name string, c *Confine, dir string) {
		for _, b := range memoryBombs(dir) {
			if !strings.Contains(b.tiers, name) || c.Sudo && b.by != "guard" { // only how it is counted differs there
				continue
			}
			c.Limits = Limits{Memory: 64 << 20, TempBytes: max(b.temp, 16<<20)}
			cmd, out := hostile(t, c, append([]string{"memory"}, strings.Fields(b.args)...)...)
			exit, err := Run(t.Context(), cmd)
			if err != nil {
				t.Fatalf("%s: %v\n%.1000s", b.args, err, out)
			}
			by := "passes"
			switch {
			case exit.Over == "memory": // the first process may have ended just before
				by = "guard"
			case exit.Code == 3, exit.Code == 2 && strings.Contains(out.String(), "out of memory"), exit.Code == 2 && strings.Contains(out.String(), "cannot allocate memory"):
				by = "limit"
			case exit.Code != 0:
				by = "broken"
			}
			if !strings.Contains(b.by, by) {
				t.Errorf("%s: %s, want %s: %+v\n%.300s", b.args, by, b.by, exit, out)
			}
			if by == "passes" && !exit.Isolation.Lacks(LayerCgroup) {
				t.Errorf("%s passed, and evidence does not say why: %v", b.args, exit.Isolation.Missing)
			}
		}
	})
}
