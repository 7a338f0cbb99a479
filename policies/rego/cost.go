package rego

import (
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cabincrew/action/internal/limits"
)

// OPA gives each value of a policy a type with a part for each element, and compares
// types from both sides at each level. A value that is built of others that are
// built so doubles with each step: twenty lines of policy take hours. The cost of
// comparing is therefore estimated before anything is compiled: too high rather
// than too low, and never with more work than the policy has terms.

// costs estimates what comparing the types of values takes. It does not overflow:
// no estimate is above tooMuch.
type costs struct {
	rules map[string]*ruleCost // by package, and by package and name
	first *ast.Term            // the first value that costs too much
}

const tooMuch = 1 << 40

// ruleCost is that of all rules of one name, or of one package.
type ruleCost struct {
	rules []rulePlace
	state progress
	cost  int
}

type rulePlace struct {
	rule   *ast.Rule
	module *ast.Module
}

type progress int

const (
	unknown progress = iota
	underway
	known
)

// checkCost refuses values whose type is too costly.
func checkCost(modules []module) error {
	c := &costs{rules: map[string]*ruleCost{}}
	for _, m := range modules {
		if m.own {
			continue
		}
		pkg := m.ast.Package.Path.String()
		for _, r := range m.ast.Rules {
			c.add(pkg, r, m.ast)
			if name, ok := r.Head.Ref()[0].Value.(ast.Var); ok {
				c.add(pkg+"."+string(name), r, m.ast)
			}
		}
	}
	for _, m := range modules {
		if m.own {
			continue
		}
		for _, r := range m.ast.Rules {
			for ; r != nil; r = r.Else {
				c.head(r, &values{costs: c, module: m.ast, body: r.Body})
				c.body(r.Body, &values{costs: c, module: m.ast})
			}
		}
		if c.first != nil {
			return tooCostly(at(c.first.Location), "the type of this value takes more than %d steps to compare: it is nested deep, or its parts hold each other many times", limits.PolicyTypeCost)
		}
	}
	return nil
}

func (c *costs) add(key string, r *ast.Rule, m *ast.Module) {
	e := c.rules[key]
	if e == nil {
		e = &ruleCost{}
		c.rules[key] = e
	}
	e.rules = append(e.rules, rulePlace{r, m})
}

// of gives the cost of the rules of a key, 1 for what is none.
func (c *costs) of(key string) int {
	e := c.rules[key]
	if e == nil {
		return 1
	}
	switch e.state {
	case known:
		return e.cost
	case underway:
		return 1 // it refers to itself, which the compiler refuses
	case unknown:
	}
	e.state = underway
	sum := 0
	for _, p := range e.rules {
		for r := p.rule; r != nil; r = r.Else {
			sum = plus(sum, c.head(r, &values{costs: c, module: p.module, body: r.Body}))
		}
	}
	e.state, e.cost = known, max(sum, 1)
	return e.cost
}

func plus(a, b int) int { return min(a+b, tooMuch) }

// head gives the cost of what a rule is. A name with several parts nests it.
func (c *costs) head(r *ast.Rule, v *values) int {
	sum := 1
	for _, t := range []*ast.Term{r.Head.Key, r.Head.Value} {
		if t != nil {
			sum = plus(sum, v.check(t))
		}
	}
	for range len(r.Head.Ref()) - 1 {
		sum = plus(1, plus(sum, sum))
	}
	return sum
}

// body looks at all values of a body, also of comprehensions in it.
func (c *costs) body(b ast.Body, outer *values) {
	v := &values{costs: c, module: outer.module, body: b, outer: outer}
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case ast.Body: // of an every, or of b itself
			if len(b) > 0 && len(x) > 0 && x[0] != b[0] {
				c.body(x, v)
				return true
			}
		case *ast.Term:
			v.check(x)
			for _, part := range nested(x) {
				if inner, ok := part.(ast.Body); ok {
					c.body(inner, v)
				}
			}
			return true
		}
		return c.first != nil
	}).Walk(b)
}

// values knows what the variables of one body stand for.
type values struct {
	costs  *costs
	module *ast.Module
	body   ast.Body
	outer  *values
	local  map[ast.Var]*variable // made when it is needed
}

type variable struct {
	terms []*ast.Term
	state progress
	cost  int
}

// check gives the cost of a term and notes one that is too high.
func (v *values) check(t *ast.Term) int {
	n := v.term(t)
	if n > limits.PolicyTypeCost && v.costs.first == nil {
		v.costs.first = t
	}
	return n
}

func (v *values) term(t *ast.Term) int {
	switch x := t.Value.(type) {
	case ast.Var:
		return v.name(x)
	case ast.Ref:
		return v.ref(x)
	case ast.Call:
		if f, ok := x[0].Value.(ast.Ref); ok {
			return v.ref(f) // 1 for a built-in function
		}
	case *ast.Array:
		sum := 0
		for i := range x.Len() {
			sum = plus(sum, v.term(x.Elem(i)))
		}
		return plus(1, plus(sum, sum)) // from both sides
	case ast.Object:
		sum := 0
		x.Foreach(func(_, value *ast.Term) { sum = plus(sum, v.term(value)) })
		return plus(1, plus(sum, sum))
	case ast.Set:
		sum := 1
		x.Foreach(func(e *ast.Term) { sum = plus(sum, v.term(e)) })
		return sum
	case *ast.ArrayComprehension:
		return v.inner(x.Body, x.Term)
	case *ast.SetComprehension:
		return v.inner(x.Body, x.Term)
	case *ast.ObjectComprehension:
		return v.inner(x.Body, x.Key, x.Value)
	}
	return 1
}

func (v *values) inner(b ast.Body, terms ...*ast.Term) int {
	in, sum := &values{costs: v.costs, module: v.module, body: b, outer: v}, 1
	for _, t := range terms {
		sum = plus(sum, in.term(t))
	}
	return sum
}

// ref gives the cost of what a reference begins with: of no less than it leads to.
func (v *values) ref(r ast.Ref) int {
	head, ok := r[0].Value.(ast.Var)
	switch {
	case !ok:
		return v.term(r[0])
	case r[0].Equal(ast.DefaultRootDocument):
		return v.document(r)
	}
	return v.name(head)
}

// document gives the cost of the package, or the rule of one, that a path leads into.
func (v *values) document(r ast.Ref) int {
	ground := r.GroundPrefix()
	for n := len(ground); n > 1; n-- {
		if key := ground[:n].String(); v.costs.rules[key] != nil {
			return v.costs.of(key)
		}
	}
	return 1
}

// name gives the cost of a local variable, a rule of the package, or an import.
func (v *values) name(name ast.Var) int {
	for s := v; s != nil; s = s.outer {
		if s.local == nil {
			s.assigned()
		}
		if l := s.local[name]; l != nil {
			return s.variable(l)
		}
	}
	if key := v.module.Package.Path.String() + "." + string(name); v.costs.rules[key] != nil {
		return v.costs.of(key)
	}
	for _, i := range v.module.Imports {
		if path, ok := i.Path.Value.(ast.Ref); ok && i.Name().Equal(name) && len(path) > 0 && path[0].Equal(ast.DefaultRootDocument) {
			return v.document(path)
		}
	}
	return 1
}

func (v *values) variable(l *variable) int {
	switch l.state {
	case known:
		return l.cost
	case underway:
		return 1
	case unknown:
	}
	l.state = underway
	sum := 1
	for _, t := range l.terms {
		sum = plus(sum, v.term(t))
	}
	l.state, l.cost = known, sum
	return sum
}

// assigned notes what variables of the body are set to. Each variable of a pattern
// counts as the whole that is matched with it.
func (v *values) assigned() {
	v.local = map[ast.Var]*variable{}
	for _, e := range v.body {
		terms, ok := e.Terms.([]*ast.Term)
		if !ok || len(terms) != 3 || (!e.IsAssignment() && !e.IsEquality()) {
			continue
		}
		v.set(terms[1], terms[2])
		if e.IsEquality() {
			v.set(terms[2], terms[1])
		}
	}
}

func (v *values) set(pattern, to *ast.Term) {
	switch p := pattern.Value.(type) {
	case ast.Var:
		l := v.local[p]
		if l == nil {
			l = &variable{}
			v.local[p] = l
		}
		l.terms = append(l.terms, to)
	case *ast.Array:
		p.Foreach(func(t *ast.Term) { v.set(t, to) })
	case ast.Object:
		p.Foreach(func(_, t *ast.Term) { v.set(t, to) })
	}
}
