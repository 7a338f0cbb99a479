package orchestrator

import (
	"errors"
	"maps"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/protocol/plantoken"
)

func file(path, digest string) workspace.File {
	return workspace.File{Path: path, Letter: workspace.Regular, Digest: digest}
}

const plainMode = "100644"

func modify(path, before, after string) patch.File {
	return patch.File{Op: "modify", OldPath: path, NewPath: path, OldMode: plainMode, NewMode: plainMode, Before: before, After: after}
}

func add(path, after string) patch.File {
	return patch.File{Op: "add", NewPath: path, NewMode: plainMode, After: after}
}

func remove(path, before string) patch.File {
	return patch.File{Op: "delete", OldPath: path, OldMode: plainMode, Before: before}
}

func rename(from, to, digest string) patch.File {
	return patch.File{Op: "rename", OldPath: from, NewPath: to, OldMode: plainMode, NewMode: plainMode, Before: digest, After: digest}
}

func same(a, b tree) bool {
	return maps.EqualFunc(a, b, func(x, y workspace.File) bool {
		return x.Path == y.Path && x.Letter == y.Letter && x.Digest == y.Digest
	})
}

// randomPatch makes a lawful patch over a tree.
func randomPatch(r *rand.Rand, t tree) patched {
	p := patched{step: "s"}
	fresh := 0
	for _, path := range sortedKeys(t) {
		fresh++
		next := path + strings.Repeat("'", fresh)
		switch r.IntN(5) {
		case 0:
			p.meta = append(p.meta, modify(path, t[path].Digest, "changed "+path))
		case 1:
			p.meta = append(p.meta, remove(path, t[path].Digest))
		case 2:
			p.meta = append(p.meta, rename(path, next, t[path].Digest))
		case 3:
			p.meta = append(p.meta, add(next, "new "+next))
		}
	}
	r.Shuffle(len(p.meta), func(i, j int) { p.meta[i], p.meta[j] = p.meta[j], p.meta[i] })
	return p
}

// TestTreeApplyRevert: taking a patch off gives back what was there, also where
// it was applied in part.
func TestTreeApplyRevert(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test's patches are no secret
	for range 500 {
		base := newTree(nil)
		for _, name := range []string{"a", "b", "c/d", "e"} {
			base[name] = file(name, "old "+name)
		}
		p := randomPatch(r, base)
		now := maps.Clone(base)
		if err := now.apply(p); err != nil {
			t.Fatalf("%+v: %v", p.meta, err)
		}
		for _, partly := range []bool{false, true} {
			back := maps.Clone(now)
			if err := back.revert(p, partly); err != nil || !same(back, base) {
				t.Fatalf("%+v: reverted to %v, %v", p.meta, sortedKeys(back), err)
			}
		}
		// Any part of the files may be done when a take-off is interrupted.
		some := patched{step: "s"}
		for _, m := range p.meta {
			if r.IntN(2) == 0 {
				some.meta = append(some.meta, m)
			}
		}
		half := maps.Clone(base)
		if err := half.apply(some); err != nil {
			t.Fatal(err)
		}
		if err := half.revert(p, true); err != nil || !same(half, base) {
			t.Fatalf("%+v, of which %+v: %v", p.meta, some.meta, err)
		}
		if len(some.meta) < len(p.meta) {
			half = maps.Clone(base)
			if err := errors.Join(half.apply(some)); err != nil {
				t.Fatal(err)
			}
			if err := half.revert(p, false); err == nil {
				t.Fatalf("%+v, of which %+v, was reverted as if it were whole", p.meta, some.meta)
			}
		}
	}
}

func TestTreeRefuses(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]patch.File{
		"other content":    modify("a", "another", "x"),
		"no such file":     modify("b", "old", "x"),
		"other mode":       {Op: "modify", OldPath: "a", NewPath: "a", OldMode: "100755", NewMode: plainMode, Before: "old", After: "x"},
		"link":             {Op: "modify", OldPath: "a", NewPath: "a", OldMode: "120000", NewMode: plainMode, Before: "old", After: "x"},
		"delete of other":  remove("a", "another"),
		"add over a file":  add("a", "x"),
		"rename onto one":  rename("c", "a", "other"),
		"unknown mode":     {Op: "add", NewPath: "n", NewMode: "160000", After: "x"},
		"unknown old mode": {Op: "delete", OldPath: "a", OldMode: "x", Before: "old"},
	} {
		tr := newTree([]workspace.File{file("a", "old"), file("c", "other")})
		err := tr.apply(patched{step: "s", meta: []patch.File{m}})
		if code := protocol.ExitCode(err); code != protocol.ExitStale && code != protocol.ExitIntegrity {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Two files may exchange their names in one patch.
	tr := newTree([]workspace.File{file("a", "1"), file("b", "2")})
	if err := tr.apply(patched{meta: []patch.File{rename("a", "b", "1"), rename("b", "a", "2")}}); err != nil || tr["a"].Digest != "2" || tr["b"].Digest != "1" {
		t.Errorf("exchange: %v, %v", tr, err)
	}
}

// TestMovedNamesEachField changes each text of a token's preimage.
func TestMovedNamesEachField(t *testing.T) {
	t.Parallel()
	zero := "sha256:" + strings.Repeat("0", 64)
	one := "sha256:" + strings.Repeat("1", 64)
	base := plantoken.Preimage{
		Version: plantoken.Version, ProtocolVersion: "draft", EngineID: "e", Model: "none", WorkspaceHash: zero, PolicyDigest: zero, GovernanceHash: zero,
		Artifacts: []protocol.PlanArtifactHash{}, Context: plantoken.Context{EngineDigest: zero, ConfigDigest: zero, StepID: "s", Workflow: "w", ConfigPath: "c.yaml"},
	}
	if err := moved("s", base, base); err != nil {
		t.Fatalf("equal preimages: %v", err)
	}
	codes := map[string]string{
		"WorkspaceHash": "workspace_changed", "PolicyDigest": "governance_changed", "GovernanceHash": "governance_changed",
		"Forge": "plan_foreign", "Repository": "plan_foreign", "Change": "plan_foreign",
		"ConfigDigest": "config_changed", "EngineDigest": "engine_changed", "HeadCommit": "head_changed",
	}
	try := func(field string, now plantoken.Preimage) {
		err := moved("s", base, now)
		var e *protocol.Error
		if !errors.As(err, &e) {
			if err == nil {
				t.Errorf("%s: a change is not seen", field)
			}
			return // a value that no token may have is an error, too
		}
		want := codes[field]
		if want == "" {
			want = "context_changed"
		}
		exit := protocol.ExitStale
		if want == "plan_foreign" {
			exit = protocol.ExitIntegrity
		}
		if e.Code != want || e.Exit != exit || e.Where != "step s" {
			t.Errorf("%s: %s (exit %d) at %q, want %s", field, e.Code, e.Exit, e.Where, want)
		}
	}
	texts := func(v reflect.Value, set func(i int, s string)) {
		for i := range v.NumField() {
			if v.Field(i).Kind() == reflect.String {
				value := "another"
				if strings.HasPrefix(v.Field(i).String(), "sha256:") {
					value = one
				}
				set(i, value)
			}
		}
	}
	texts(reflect.ValueOf(base), func(i int, s string) {
		now := base
		reflect.ValueOf(&now).Elem().Field(i).SetString(s)
		try(reflect.TypeOf(base).Field(i).Name, now)
	})
	texts(reflect.ValueOf(base.Context), func(i int, s string) {
		now := base
		reflect.ValueOf(&now.Context).Elem().Field(i).SetString(s)
		try(reflect.TypeOf(base.Context).Field(i).Name, now)
	})
	now := base
	now.Artifacts = []protocol.PlanArtifactHash{{Name: "n", Hash: one}}
	try("Artifacts", now)
}
