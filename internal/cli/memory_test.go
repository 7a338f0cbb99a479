package cli

import "testing"

func TestGarbageFollowsWhatIsLive(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{0: 800, 1 << 20: 800, 8 << 20: 800, 16 << 20: 400, 32 << 20: 200, 64 << 20: 100, 1 << 40: 50} {
		if got := garbageFor(live); got != want {
			t.Errorf("%d: %d", live, got)
		}
	}
}
