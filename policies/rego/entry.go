package rego

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// entry is one package that judges, with the rules that it answers by.
type entry struct {
	path  ast.Ref // data.cabincrew.baseline
	name  string  // cabincrew.baseline
	set   string  // the set that declares it; empty for the canary
	rules []answer
}

// answer is one rule that answers.
type answer struct {
	name     string            // deny_root
	decision protocol.Decision // what a member of the set means; empty for "decision"
	at       string            // file:line of its first definition
	// list says that the rule is one list under a condition, as conftest's policies
	// may have it: undefined means that it finds nothing.
	list bool
}

// answers are the names of rules that are answers, in the order of findings.
var answers = []struct {
	name     string
	decision protocol.Decision
}{
	{"decision", ""},
	{"deny", protocol.Deny},
	{"violation", protocol.Deny},
	{"require_approval", protocol.RequireApproval},
	{"warn", protocol.Warn},
}

// answerOf says whether a rule of this name answers, and what. A name may go on
// after an underscore, as in "deny_root", if the rule is a set, or a list under a
// condition: a complete rule such as "deny_list := [...]" is somebody's helper.
func answerOf(name string, r *ast.Rule) (rank int, d protocol.Decision, ok bool) {
	for i, a := range answers {
		if name == a.name {
			return i, a.decision, true
		}
		if i > 0 && strings.HasPrefix(name, a.name+"_") && (r.Head.RuleKind() == ast.MultiValue || !r.Head.Ref().IsGround() || listed(r)) {
			return i, a.decision, true
		}
	}
	return 0, "", false
}

// listed says whether a rule of package main is a list under a condition, such as
// violation := [msg] if { ... }.
func listed(r *ast.Rule) bool {
	if r.Module == nil || len(r.Module.Package.Path) != 2 || !r.Module.Package.Path[1].Equal(ast.StringTerm("main")) {
		return false
	}
	if r.Head.RuleKind() != ast.SingleValue || r.Head.Value == nil || r.Default || r.Else != nil || len(r.Head.Args) > 0 || !r.Head.Ref().IsGround() {
		return false
	}
	switch r.Head.Value.Value.(type) {
	case *ast.Array, *ast.ArrayComprehension:
		return !r.Body.Equal(ast.NewBody(ast.NewExpr(ast.BooleanTerm(true))))
	}
	return false
}

// entries finds the packages that judge, and refuses what nobody would ask. Tests
// judge nothing. SPEC: docs/protocol.md 6.
func entries(sets []policies.Set, modules []module, custom ast.Ref) ([]entry, error) {
	byPath := map[string]*entry{}
	roots := map[string]bool{}
	for _, m := range modules {
		for _, r := range m.ast.Rules {
			if m.test {
				continue
			}
			if hidden(m.ast.Package.Path, r) {
				return nil, policyError(at(r.Location), "the rule answers at a place that depends on the input, where nobody looks").
					WithHint("write the package out: package cabincrew.<name>")
			}
			if custom != nil && r.Ref().GroundPrefix().Equal(custom) {
				roots[m.ast.Package.Path.String()] = true
				continue
			}
			path, name, ok := promised(m.ast.Package.Path, r)
			if !ok {
				continue
			}
			rank, d, ok := answerOf(name, r)
			if !ok {
				continue
			}
			if len(r.Head.Args) > 0 {
				return nil, policyError(at(r.Location), "%s is a function and can never answer", name).
					WithHint("write a set: %s contains msg if { ... }", name)
			}
			roots[m.ast.Package.Path.String()] = true
			e := byPath[path.String()]
			if e == nil {
				e = &entry{path: path, name: packageName(path), set: m.set}
				byPath[path.String()] = e
			}
			e.add(answer{name: name, decision: d, at: at(r.Location), list: d != "" && listed(r)}, rank)
		}
	}
	if err := newAsking(modules, roots).check(sets); err != nil {
		return nil, err
	}
	out := make([]entry, 0, len(byPath))
	for _, key := range slices.Sorted(maps.Keys(byPath)) {
		out = append(out, *byPath[key])
	}
	return out, nil
}

func (e *entry) add(a answer, rank int) {
	for i := range e.rules {
		if have := &e.rules[i]; have.name == a.name {
			have.list = have.list && a.list
			return // its place is that of the first definition
		}
	}
	e.rules = append(e.rules, a)
	slices.SortFunc(e.rules, func(x, y answer) int {
		return cmp.Or(cmp.Compare(rankOf(x), rankOf(y)), cmp.Compare(x.name, y.name))
	})
}

func rankOf(a answer) int {
	for i, known := range answers {
		if a.name == known.name || strings.HasPrefix(a.name, known.name+"_") {
			return i
		}
	}
	return len(answers)
}

// promised gives package and name of a rule that lies where answers are looked
// for: in package cabincrew or below it (also where a rule "x.deny" of package
// cabincrew lies in cabincrew.x), or in package main itself.
func promised(pkg ast.Ref, r *ast.Rule) (ast.Ref, string, bool) {
	if len(pkg) < 2 {
		return nil, "", false
	}
	root, _ := pkg[1].Value.(ast.String)
	full := r.Ref().GroundPrefix()
	if len(full) <= len(pkg) {
		return nil, "", false
	}
	switch root {
	case "main":
		name, ok := full[len(pkg)].Value.(ast.String)
		return pkg, string(name), ok && len(pkg) == 2
	case "cabincrew":
		for i := len(pkg); i < len(full); i++ {
			name, ok := full[i].Value.(ast.String)
			if !ok {
				return nil, "", false
			}
			if _, _, is := answerOf(string(name), r); is {
				return full[:i], string(name), true
			}
		}
	}
	return nil, "", false
}

// hidden says whether a rule below cabincrew has an answer's name after a
// variable, as in "teams[t].deny": no fixed place to look for it.
func hidden(pkg ast.Ref, r *ast.Rule) bool {
	if len(pkg) < 2 || !pkg[1].Equal(ast.StringTerm("cabincrew")) {
		return false
	}
	full := r.Ref()
	for _, t := range full[len(full.GroundPrefix()):] {
		if s, ok := t.Value.(ast.String); ok {
			if _, _, is := answerOf(string(s), r); is {
				return true
			}
		}
	}
	return false
}
