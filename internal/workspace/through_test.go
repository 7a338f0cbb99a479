package workspace_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cabincrew/action/internal/workspace"
)

func TestThrough(t *testing.T) {
	t.Parallel()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(top, filepath.FromSlash(name)) }
	for _, d := range []string{"ws/vendor/p", "out/p", "ws2"} {
		if err := os.MkdirAll(at(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{
		"ws/away": "../out", "alias": at("ws"), "into": "ws/vendor", "back": "ws/away", "twice": "back", "fine": "out", "loop": "loop", "round": "out/../out",
	} {
		if err := os.Symlink(to, at(from)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{
		"ws": true, "ws/vendor/p": true, "ws/none": true, "alias/vendor/p": true, "alias/none": true, "into/p": true,
		"ws/away/p": true, "alias/away/p": true, "back/p": true, "twice/p": true, "loop/p": true,
		"out/p": false, "fine/p": false, "round/p": false, "ws2": false, "ws3": false, "none/ws": false, ".": false,
	} {
		if got := workspace.Through(at("ws"), at(name)); got != want {
			t.Errorf("%s: %v", name, got)
		}
		if got := workspace.Through(at("alias"), at(name)); name != "alias" && got != want {
			t.Errorf("%s, by the other name: %v", name, got)
		}
	}
	if !workspace.Through(at("ws"), "out") || !workspace.Through(at("none"), at("out")) {
		t.Error("what cannot be told was no reason")
	}
}
