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

// A policy that nobody asks is worse than none: its author believes in it. What no
// flight would ever evaluate is therefore an error: a set without answers, a package
// that neither answers nor is read, an answer whose name is misspelt.

const (
	mainPackage = "main"
	ownPackage  = "cabincrew" // the package that policies answer in, and those below it
	whereAsked  = "policies answer by decision, deny, violation, require_approval or warn in package main, cabincrew or cabincrew.<name>"
)

// unasked is the error of what nobody would evaluate.
func unasked(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, "policy_unasked", format, args...).At(where)
}

// asking finds what nobody asks. roots are the packages that have an answer, by path.
type asking struct {
	modules []module // without tests
	roots   map[string]bool
}

func newAsking(modules []module, roots map[string]bool) asking {
	return asking{slices.DeleteFunc(slices.Clone(modules), func(m module) bool { return m.test }), roots}
}

func (a asking) check(sets []policies.Set) error {
	for _, s := range sets {
		if err := a.set(s); err != nil {
			return err
		}
	}
	if err := a.packages(); err != nil {
		return err
	}
	for _, m := range a.modules {
		if err := a.names(m); err != nil {
			return err
		}
	}
	return nil
}

// set refuses a set without any answer.
func (a asking) set(s policies.Set) error {
	where, found := s.Name, map[string]bool{}
	for _, m := range a.modules {
		if m.set != s.Name {
			continue
		}
		if a.roots[m.ast.Package.Path.String()] {
			return nil
		}
		if len(found) == 0 {
			where = m.file
		}
		found[packageName(m.ast.Package.Path)] = true
	}
	names := slices.Sorted(maps.Keys(found))
	if len(names) == 0 {
		return unasked(where, "no rule of the policy set %s is asked: it judges nothing, for it has data or tests only", s.Name).
			WithHint("put a *.rego file that is no *_test.rego into it: %s", whereAsked)
	}
	if len(names) == 1 {
		for _, m := range a.modules {
			if err := a.names(m); m.set == s.Name && err != nil {
				return err // the one rule that was meant to answer is misspelt
			}
		}
	}
	return unasked(where, "no rule of the policy set %s is asked: it judges nothing; its packages are %s", s.Name, clean(strings.Join(names, ", "))).
		WithHint("%s%s", whereAsked, nearestPackage(names...))
}

// packages refuses a package that nothing asks for, directly or by others.
func (a asking) packages() error {
	live := maps.Clone(a.roots)
	for again := true; again; {
		again = false
		for _, m := range a.modules {
			if !live[m.ast.Package.Path.String()] {
				continue
			}
			for _, other := range a.modules {
				p := other.ast.Package.Path
				if !live[p.String()] && m.mentions(p) {
					live[p.String()], again = true, true
				}
			}
		}
	}
	for _, m := range a.modules {
		p := m.ast.Package.Path
		if live[p.String()] {
			continue
		}
		name := packageName(p)
		return unasked(at(m.ast.Package.Location), "nobody asks package %s: it has no answer, and no policy that has one reads it", clean(name)).
			WithHint("%s%s; what only tests need belongs into *_test.rego", whereAsked, nearestPackage(name))
	}
	return nil
}

// mentions says whether a module reads from a package, or from what is around it.
func (m module) mentions(p ast.Ref) bool {
	return slices.ContainsFunc(m.seen.data, func(t *ast.Term) bool {
		r, ok := t.Value.(ast.Ref)
		return ok && overlap(r.GroundPrefix(), p)
	})
}

// names refuses a rule that nobody reads and that has nearly the name of an answer.
func (a asking) names(m module) error {
	if m.own || !answering(m.ast.Package.Path) {
		return nil
	}
	for _, r := range m.ast.Rules {
		ref := r.Head.Ref()
		name, ok := ref[0].Value.(ast.Var)
		if !ok || len(ref.GroundPrefix()) > 1 {
			continue
		}
		if _, _, is := answerOf(string(name), r); is {
			continue
		}
		meant := nearestAnswer(string(name))
		if meant == "" || a.reads(m.ast.Package.Path, name) {
			continue
		}
		return unasked(at(r.Location), "nobody asks the rule %s", clean(string(name))).
			WithHint("did you mean %s? %s; a rule of your own needs a reader, or a name that is less like an answer's", meant, whereAsked)
	}
	return nil
}

// answering says whether a package is one in which answers are looked for.
func answering(p ast.Ref) bool {
	if len(p) < 2 {
		return false
	}
	switch root, _ := p[1].Value.(ast.String); root {
	case mainPackage:
		return len(p) == 2
	case ownPackage:
		return true
	}
	return false
}

// reads says whether any module may read a rule.
func (a asking) reads(pkg ast.Ref, name ast.Var) bool {
	full := pkg.Append(ast.StringTerm(string(name)))
	return slices.ContainsFunc(a.modules, func(m module) bool {
		return m.ast.Package.Path.Equal(pkg) && m.seen.vars[name] || m.mentions(full)
	})
}

// nearestAnswer gives the answer that a name was perhaps meant to be, or "".
func nearestAnswer(name string) string {
	best, least := "", maxTypos+1
	for _, a := range answers {
		if d := typos(name, a.name); d < least {
			best, least = a.name, d
		}
		// denny_root: what comes before an underscore may be wrong by one letter.
		for i, c := range name {
			if c == '_' && typos(name[:i], a.name) == 1 && least > 1 {
				best, least = a.name+name[i:], 1
			}
		}
	}
	return best
}

// nearestPackage gives a hint for the name of a package.
func nearestPackage(names ...string) string {
	for _, name := range names {
		root, rest, below := strings.Cut(name, ".")
		for _, want := range []string{mainPackage, ownPackage} {
			d := typos(root, want)
			if d > maxTypos || (d == 0 && (want == ownPackage || !below)) {
				continue
			}
			if below {
				want = ownPackage + "." + rest
			}
			return "; did you mean package " + clean(want) + "?"
		}
		if root != mainPackage && root != ownPackage {
			return "; if package " + clean(name) + " is to judge, name it " + ownPackage + "." + clean(name)
		}
	}
	return ""
}

// maxTypos is by how many letters a name may be off and still be nearly another.
const maxTypos = 2

// typos counts the letters to add, leave out, change or swap to make b of a, as far
// as maxTypos; case does not count.
func typos(a, b string) int {
	x, y := []rune(strings.ToLower(a)), []rune(strings.ToLower(b))
	if max(len(x)-len(y), len(y)-len(x)) > maxTypos {
		return maxTypos + 1
	}
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		for j := range rows[i] {
			rows[i][j] = cmp.Or(i, j)
			if i == 0 || j == 0 {
				continue
			}
			change := 1
			if x[i-1] == y[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}
