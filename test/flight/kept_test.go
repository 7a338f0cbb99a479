package flight

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cabincrew/action/protocol"
)

// outsider is an engine whose take-off reads and writes through what is kept, and
// what else it tries.
func outsider(kept, file string) string {
	return shellEngine(`[ "$CABINCREW_MODE" = take-off ] || { receipt ''; exit 0; }
set +e
{ ls -A ` + kept + `/; cat ` + kept + `/` + file + ` "$OUT/` + file + `"; } > seen.txt 2>/dev/null
for to in ` + kept + ` "$OUT"; do echo changed >> "$to/` + file + `"; echo made > "$to/made"; mv "$to/` + file + `" "$to/moved"; rm -r "$to/` + file + `"; done 2>/dev/null
set -e
receipt ''`)
}

// outside makes a directory with one file that no engine shall reach.
func outside(t *testing.T, file, content string) (dir string, intact func()) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "outside")
	if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, func() {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, file))
		entries, errList := os.ReadDir(dir)
		if err != nil || errList != nil || string(data) != content || len(entries) != 1 {
			t.Errorf("outside of the workspace there is now %v with %q: %v, %v", entries, data, err, errList)
		}
	}
}

// TestKeptLinksLeadNowhere: what a take-off must not write is bound into its
// sandbox, and so must not be a link that leads out of the workspace.
func TestKeptLinksLeadNowhere(t *testing.T) {
	t.Parallel()
	isolates(t)
	step := "  - id: work\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n    env: {OUT: 'env:OUT'}\n"
	for name, c := range map[string]struct {
		kept, file, content string
		late                bool // the link comes only after the plan
	}{
		"policies":                   {"pol", "p.rego", quietPolicy, false},
		"policies, after plan":       {"pol", "p.rego", quietPolicy, true},
		"policies below":             {"conf", "pol/p.rego", quietPolicy, false},
		"policies below, after plan": {"conf", "pol/p.rego", quietPolicy, true},
		"repository":                 {".git", "config", "[core]\n", false},
		"repository, after plan":     {".git", "config", "[core]\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, intact := outside(t, c.file, c.content)
			judged := quiet
			if c.kept == "conf" {
				judged = "policies: {rego: [conf/pol/]}\n"
			}
			w := newWS(t, map[string]string{
				"hello.txt": "hello\n", "pol/p.rego": quietPolicy, c.kept + "/" + c.file: c.content,
				"engine.sh": outsider(c.kept, c.file), ".cabincrew.yaml": config(judged, step),
			})
			w.env = append(w.env, "OUT="+out)
			link := func() {
				at := filepath.Join(w.dir, c.kept)
				if err := os.RemoveAll(at); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(out, at); err != nil {
					t.Fatal(err)
				}
			}
			if !c.late {
				link()
			}
			r := w.run("flight-plan", "--output", "json")
			s := r.summary(t)
			if r.code != 0 {
				t.Fatalf("exit %d: %+v", r.code, s.Error)
			}
			if c.late {
				link()
			}
			w.want(0, "take-off", s.WorkflowID, "--output", "json")
			intact()
			if w.read("seen.txt") != "" {
				t.Errorf("the engine saw %q", w.read("seen.txt"))
			}
			if to, err := os.Readlink(filepath.Join(w.dir, c.kept)); err != nil || to != out {
				t.Errorf("the link leads to %q, %v", to, err)
			}
		})
	}
}

// TestKeptIsReplacedByAStep: a step that puts a link in the place of what decides
// over flights fails, and the next one does not start.
func TestKeptIsReplacedByAStep(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ replace, code string }{
		"policies":      {`rm -r pol && ln -s "$OUT" pol`, "takeoff_misapplied"},
		"configuration": {`cp .cabincrew.yaml c.yaml && ln -sf "$PWD/c.yaml" .cabincrew.yaml`, "takeoff_misapplied"},
		"repository":    {`ln -s "$OUT" .git`, "takeoff_repository"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, intact := outside(t, "p.rego", quietPolicy)
			w := newWS(t, map[string]string{
				"hello.txt": "hello\n", "pol/p.rego": quietPolicy,
				"engine.sh": shellEngine(`[ "$CABINCREW_MODE" = flight-plan ] || { ` + c.replace + `; }; receipt ''`), "second.sh": outsider("pol", "p.rego"),
				".cabincrew.yaml": config(quiet, "  - id: work\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n    env: {OUT: 'env:OUT'}\n"+bare,
					"  - id: second\n    needs: [work]\n    engine: {run: [./second.sh]}\n    inputs: [hello.txt]\n    env: {OUT: 'env:OUT'}\n"),
			})
			w.env = append(w.env, "OUT="+out)
			s := w.json(0, "flight-plan")
			got := w.run("take-off", s.WorkflowID, "--output", "json")
			intact()
			if e := got.summary(t).Error; got.code != protocol.ExitFailure || e == nil || e.Code != c.code || w.exists("seen.txt") {
				t.Errorf("exit %d: %+v, want %s; the second step started: %t", got.code, e, c.code, w.exists("seen.txt"))
			}
		})
	}
}
