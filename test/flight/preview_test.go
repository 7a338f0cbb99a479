package flight

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/orchestrator"
)

// TestPreview: who is asked to approve a change of the configuration sees what the
// new steps would plan. They get nothing of what a governing configuration could
// give them, and decide nothing.
func TestPreview(t *testing.T) {
	t.Parallel()
	w := governed(t)
	w.env = append(w.env, "PASSWORD=correct-horse-battery")
	w.write(".cabincrew.yaml", strings.Join([]string{
		"version: 1", "workflow: new", "policies: {allow_without_policies: true}", "steps:",
		`  - id: quiet`,
		`    engine: {use: command, with: {shell: "test -z \"$LEAK$TOKEN\" && test \"$KEPT\" = literal && echo one > new.txt"}}`,
		`    env: {LEAK: "env:PASSWORD", KEPT: literal}`,
		`    secrets: {TOKEN: {from: "env:PASSWORD", plan: true}}`,
		`  - id: after`,
		`    needs: [quiet]`,
		`    engine: {use: command, with: {shell: "cat new.txt > after.txt"}}`,
		`    hosts: [metadata.example.com]`,
		`    tools: [/etc]`,
		`  - id: loose`,
		`    engine: {use: command, with: {run: ["true"]}}`,
		`    isolation: none`,
		`  - id: last`,
		`    needs: [loose]`,
		`    engine: {use: command, with: {run: ["true"]}}`,
		`  - id: foreign`,
		`    engine: {run: [/etc/passwd]}`, "",
	}, "\n"))
	s := w.json(4, "flight-plan", "--governance-ref", "main")
	p := s.Preview
	if p == nil || p.Error != nil {
		t.Fatalf("%+v", p)
	}
	names := []string{}
	for _, step := range p.Steps {
		names = append(names, step.StepID)
		if len(step.Artifacts) != 2 || step.Token != "" || step.Decision != "" || step.Isolation == nil || step.Isolation.Tier == "C" {
			t.Errorf("%+v", step)
		}
	}
	if !slices.Equal(names, []string{"quiet", "after"}) {
		t.Errorf("planned were %q", names)
	}
	if !slices.Equal(p.Changes, []string{"quiet: add new.txt (+1 -0)", "after: add after.txt (+1 -0)"}) {
		t.Errorf("%q", p.Changes)
	}
	want := []string{
		"step quiet: without secrets", "step quiet: without variables of the environment", "step after: without network", "step after: without declared tools",
		"step loose: not planned, it asks for no isolation", "step last: not planned, it needs step loose",
		"step foreign: not planned, its program lies outside of the workspace and is not one of the governing configuration",
	}
	if !slices.Equal(p.Without, want) {
		t.Errorf("%q", p.Without)
	}
	if len(s.Steps) != 1 || s.Steps[0].StepID != "edit" {
		t.Errorf("the flight is of %+v", s.Steps)
	}
	if text := w.want(4, "flight-plan", "--governance-ref", "main").stdout; !strings.Contains(text, "preview ") || !strings.Contains(text, "step after") {
		t.Error(text)
	}
	if s := w.json(4, "flight-plan", "--governance-ref", "main", "--no-preview"); s.Preview != nil {
		t.Errorf("%+v", s.Preview)
	}
}

// TestPreviewOfNothing: a preview that fails fails nothing else, and where the
// configuration is as it was there is none.
func TestPreviewOfNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(w *ws)
		check  func(p *orchestrator.Preview) bool
	}{
		"a policy": {func(w *ws) { w.write("pol/q.rego", "package cabincrew.q\n\nallowed := 1\n") }, func(p *orchestrator.Preview) bool { return p == nil }},
		"not a configuration": {func(w *ws) { w.write(".cabincrew.yaml", "version: 7\n") }, func(p *orchestrator.Preview) bool {
			return p != nil && p.Error != nil && strings.HasPrefix(p.Error.Code, "config_") && p.Steps == nil
		}},
		"a link out of the workspace": {func(w *ws) {
			secret := filepath.Join(t.TempDir(), "outside.txt")
			if err := os.WriteFile(secret, []byte("TOPSECRET: line\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Remove(filepath.Join(w.dir, ".cabincrew.yaml")), os.Symlink(secret, filepath.Join(w.dir, ".cabincrew.yaml"))); err != nil {
				t.Fatal(err)
			}
		}, func(p *orchestrator.Preview) bool {
			return p != nil && p.Error != nil && p.Error.Code == "config_unreadable" && !strings.Contains(p.Error.Message, "TOPSECRET")
		}},
		"a step that fails": {func(w *ws) { w.write(".cabincrew.yaml", commandConfig(quiet, "exit 3")) }, func(p *orchestrator.Preview) bool {
			return p != nil && p.Error != nil && strings.Contains(p.Error.Message, "exit code")
		}},
		"no step that can be planned": {func(w *ws) {
			w.write(".cabincrew.yaml", strings.Replace(commandConfig(quiet, "true"), "    engine:", "    isolation: none\n    engine:", 1))
		}, func(p *orchestrator.Preview) bool { return p != nil && p.Error == nil && len(p.Without) == 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := governed(t)
			c.change(w)
			if s := w.json(4, "flight-plan", "--governance-ref", "main"); !c.check(s.Preview) {
				t.Errorf("%+v", s.Preview)
			}
		})
	}
}
