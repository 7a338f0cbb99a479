package rego

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Sets that do not read each other are compiled apart and at the same time:
// compiling is most of what preparing takes, and no pass of it looks further than
// references reach.

// group is a part of all modules that refers to no package of another part.
type group struct {
	sets     map[string]bool
	modules  map[string]*ast.Module
	typed    bool // a module of it is checked against the schema of the input
	foreign  bool // a module of it does not come with the program
	compiler *ast.Compiler
}

// groups parts modules by their sets and joins sets of which one refers to a
// package of the other, or to anything that may be one, such as data[x].
func groups(modules []module) []*group {
	var out []*group
	of := map[string]*group{}
	for _, m := range modules {
		g := of[m.set]
		if g == nil {
			g = &group{sets: map[string]bool{m.set: true}, modules: map[string]*ast.Module{}}
			of[m.set] = g
			out = append(out, g)
		}
		g.modules[m.file] = m.ast
		g.typed, g.foreign = g.typed || m.typed, g.foreign || !m.own
	}
	packages := map[string][]ast.Ref{}
	for _, m := range modules {
		packages[m.set] = append(packages[m.set], m.ast.Package.Path)
	}
	for _, m := range modules {
		for _, to := range reads(m, packages) {
			of[m.set].join(of[to], of)
		}
	}
	var left []*group
	for _, g := range out {
		if len(g.sets) > 0 {
			left = append(left, g)
		}
	}
	if len(left) == 0 {
		left = append(left, &group{sets: map[string]bool{"": true}, modules: map[string]*ast.Module{}})
	}
	return left
}

// name gives one of the sets of a group.
func (g *group) name() string { return slices.Sorted(maps.Keys(g.sets))[0] }

// what names a group in messages: by its file if it has but one.
func (g *group) what() string {
	if len(g.modules) == 2 { // the other one is the canary
		for file := range g.modules {
			if file != canaryFile {
				return file
			}
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(g.sets)), ", ")
}

// join takes what another group has.
func (g *group) join(other *group, of map[string]*group) {
	if g == other {
		return
	}
	for set := range other.sets {
		g.sets[set] = true
		of[set] = g
	}
	maps.Copy(g.modules, other.modules)
	g.typed, g.foreign = g.typed || other.typed, g.foreign || other.foreign
	other.sets, other.modules = nil, nil
}

// reads gives the other sets that a module may read.
func reads(m module, packages map[string][]ast.Ref) []string {
	found := map[string]bool{}
	for _, t := range m.seen.data {
		ground := t.Value.(ast.Ref).GroundPrefix() //nolint:forcetypeassert // nothing else is kept there
		for set, paths := range packages {
			for _, p := range paths {
				if set != m.set && overlap(ground, p) {
					found[set] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// compileAll compiles groups at the same time, each beside a canary of its own.
// The errors are those of all.
func (r *reading) compileAll(all []*group, compiler func(*group) *ast.Compiler, caps *ast.Capabilities) error {
	var wait sync.WaitGroup
	for _, g := range all {
		canary, err := canaryModule(caps)
		if err != nil {
			return err
		}
		g.modules[canaryFile] = canary
		g.compiler = compiler(g)
		wait.Go(func() {
			defer r.begin(g.what())()
			g.compiler.Compile(g.modules)
		})
	}
	wait.Wait()
	var errs ast.Errors
	for _, g := range all {
		errs = append(errs, g.compiler.Errors...)
	}
	if len(errs) > 0 {
		return astError("policies", errs)
	}
	return nil
}
