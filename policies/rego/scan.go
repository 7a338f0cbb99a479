package rego

import (
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cabincrew/action/internal/limits"
)

// scan is what one walk over a module tells.
type scan struct {
	terms int
	data  []*ast.Term      // references to data, imports too
	vars  map[ast.Var]bool // names that the module reads
	depth int              // of comprehensions around what is walked over
	err   error
}

// size counts what the modules of a set have together.
type size struct {
	set          string
	rules, terms int
}

// scan walks over a module and refuses what takes OPA's compiler too long.
func (s *size) scan(m *ast.Module) (*scan, error) {
	if s.rules += len(m.Rules); s.rules > limits.PolicyRules {
		return nil, tooCostly(at(m.Package.Location), "the policy set %s has more than %d rules", s.set, limits.PolicyRules)
	}
	for _, r := range m.Rules {
		n := 0
		for e := r.Else; e != nil; e = e.Else {
			if n++; n > limits.PolicyElse {
				return nil, tooCostly(at(e.Location), "the rule has more than %d else branches", limits.PolicyElse)
			}
		}
	}
	out := &scan{vars: map[ast.Var]bool{}}
	ast.NewGenericVisitor(out.visit).Walk(m)
	if out.err != nil {
		return nil, out.err
	}
	if s.terms += out.terms; s.terms > limits.PolicyTerms {
		return nil, tooCostly(at(m.Package.Location), "the policy set %s has more than %d terms", s.set, limits.PolicyTerms)
	}
	return out, nil
}

func (s *scan) visit(x any) bool {
	switch x := x.(type) {
	case *ast.Comment, *ast.Annotations, *ast.Package:
		return true
	case *ast.Term:
		s.term(x)
		if nested(x) != nil {
			s.nest(x)
			return true
		}
	case ast.Body:
		if len(x) > limits.PolicyExpressions && s.err == nil {
			s.err = tooCostly(at(x.Loc()), "a body has more than %d expressions", limits.PolicyExpressions)
		}
	}
	return s.err != nil
}

func (s *scan) term(t *ast.Term) {
	s.terms++
	switch v := t.Value.(type) {
	case ast.Var:
		s.vars[v] = true
	case ast.Ref:
		if len(v) > 0 && v[0].Equal(ast.DefaultRootDocument) {
			s.data = append(s.data, t)
		}
	}
}

// nest walks over a comprehension.
func (s *scan) nest(t *ast.Term) {
	if s.depth++; s.depth > limits.PolicyNesting && s.err == nil {
		s.err = tooCostly(at(t.Location), "comprehensions are nested more than %d deep", limits.PolicyNesting)
	}
	if s.err == nil {
		v := ast.NewGenericVisitor(s.visit)
		for _, part := range nested(t) {
			v.Walk(part)
		}
	}
	s.depth--
}

// nested gives the parts of a comprehension, nil for all else.
func nested(t *ast.Term) []any {
	switch c := t.Value.(type) {
	case *ast.ArrayComprehension:
		return []any{c.Term, c.Body}
	case *ast.SetComprehension:
		return []any{c.Term, c.Body}
	case *ast.ObjectComprehension:
		return []any{c.Key, c.Value, c.Body}
	}
	return nil
}

// overlap says whether two paths are, or lie in, each other.
func overlap(a, b ast.Ref) bool { return a.HasPrefix(b) || b.HasPrefix(a) }
