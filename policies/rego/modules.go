package rego

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// policyError is the error of policies that cannot be judged by. SPEC: docs/protocol.md 6.
func policyError(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitDenied, "policy_error", format, args...).At(where)
}

// module is one parsed file with the set that it came from.
type module struct {
	set  string
	file string // <set>/<path>
	ast  *ast.Module
	test bool // it holds tests
	// typed says that the schema of the input is to be checked against.
	typed bool
	// own says that the program brings it, byte for byte: tests of this repository
	// have checked what need not be checked on each flight.
	own  bool
	seen *scan
}

// parse reads the modules of all sets, tests too if asked for, sorted by file.
func (r *reading) parse(sets []policies.Set, caps *ast.Capabilities, tests bool) ([]module, error) {
	names := map[string]bool{}
	for _, s := range sets {
		if names[s.Name] {
			return nil, policyError(s.Name, "there are two policy sets of the name %q", s.Name).
				WithHint("rename one of the directories; a bundled set's name is taken")
		}
		names[s.Name] = true
	}
	parts, errs := make([][]module, len(sets)), make([]error, len(sets))
	var wait sync.WaitGroup
	for i, s := range sets {
		wait.Go(func() { parts[i], errs[i] = r.parseSet(s, caps, tests) })
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err // that of the first set, whichever was read first
		}
	}
	out := slices.Concat(parts...)
	slices.SortFunc(out, func(a, b module) int { return cmp.Compare(a.file, b.file) })
	return out, nil
}

func (r *reading) parseSet(s policies.Set, caps *ast.Capabilities, tests bool) ([]module, error) {
	var out []module
	size, own := size{set: s.Name}, builtIn(s)
	parsed, errs := make([]*ast.Module, len(s.Files)), make([]error, len(s.Files))
	var wait sync.WaitGroup
	for i, f := range s.Files {
		if f.Rego() && (!f.Test() || tests) {
			wait.Go(func() { parsed[i], errs[i] = r.parseFile(s.Name+"/"+f.Path, f, caps) })
		}
	}
	wait.Wait()
	for i, f := range s.Files {
		m := parsed[i]
		if errs[i] != nil {
			return nil, errs[i] // that of the first file, whichever was read first
		}
		if m == nil {
			continue
		}
		if err := checkSchemas(m); err != nil {
			return nil, err
		}
		seen, err := size.scan(m)
		if err != nil {
			return nil, err
		}
		out = append(out, module{set: s.Name, file: s.Name + "/" + f.Path, ast: m, test: f.Test(), typed: annotated(m) && (tests || !own), own: own, seen: seen})
	}
	return out, nil
}

func (r *reading) parseFile(file string, f policies.SetFile, caps *ast.Capabilities) (*ast.Module, error) {
	defer r.begin(file)()
	m, err := ast.ParseModuleWithOpts(file, string(f.Data), ast.ParserOptions{
		Capabilities: caps, ProcessAnnotation: true, RegoVersion: ast.RegoV1,
	})
	if err != nil {
		return nil, astError(file, err)
	}
	if m == nil {
		return nil, policyError(file, "the policy file is empty").WithHint("write a package and rules, or remove the file")
	}
	return m, nil
}

// astError makes an error with file and line of what the parser or compiler said.
func astError(file string, err error) error {
	var list ast.Errors
	if !errors.As(err, &list) || len(list) == 0 {
		return policyError(file, "the policy cannot be read: %s", clean(err.Error()))
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, byPlace)
	first := list[0]
	where, more := file, ""
	if first.Location != nil {
		where = at(first.Location)
	}
	if len(list) > 1 {
		more = fmt.Sprintf(" (and %d more)", len(list)-1)
	}
	e := policyError(where, "%s: %s%s", first.Code, readable(first.Message), more)
	switch {
	case strings.Contains(first.Message, "undefined function"):
		return e.WithHint("policies may not call this function: they have no network, files, clock or randomness (docs/policies.md)")
	case first.Code == ast.RecursionErr:
		return e.WithHint("rules may not refer to themselves")
	}
	if hint, ok := typeHint(first); ok {
		return e.WithHint("%s", hint)
	}
	return e.WithHint("mend the policy and try it with: cabincrew policy test")
}

// byPlace sorts errors by file and line; those without a place come first.
func byPlace(a, b *ast.Error) int {
	x, y := a.Location, b.Location
	if x == nil || y == nil {
		return cmp.Compare(at(x), at(y))
	}
	return cmp.Or(cmp.Compare(x.File, y.File), cmp.Compare(x.Row, y.Row), cmp.Compare(x.Col, y.Col))
}

func at(l *ast.Location) string {
	if l == nil {
		return ""
	}
	return fmt.Sprintf("%s:%d", l.File, l.Row)
}

// owners maps each package path to the set that declares it.
type owners map[string]module

// own refuses sets that meddle with each other or with the canary: a package
// belongs to one set, and no rule or data of another set may reach into it. Two
// sets would otherwise change each other's meaning without anybody noticing.
func own(modules []module) (owners, error) {
	o := owners{}
	for _, m := range modules {
		p := m.ast.Package
		if reserved(p.Path) {
			return nil, policyError(at(p.Location), "the package %s is reserved", packageName(p.Path)).WithHint("choose another package name")
		}
		if !p.Path.IsGround() {
			return nil, policyError(at(p.Location), "the package path is not constant")
		}
		if other, ok := o[p.Path.String()]; ok && other.set != m.set {
			return nil, policyError(at(p.Location), "package %s is declared in the policy set %s too (%s)",
				packageName(p.Path), other.set, other.file).
				WithHint("give each set packages of its own, or put the files into one set")
		}
		o[p.Path.String()] = m
	}
	for _, m := range modules {
		for _, r := range m.ast.Rules {
			if err := o.rule(m, r); err != nil {
				return nil, err
			}
		}
		if err := noReservedRefs(m); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// rule refuses a rule whose name reaches into a package of another set.
func (o owners) rule(m module, r *ast.Rule) error {
	ground := r.Ref().GroundPrefix()
	own := m.ast.Package.Path
	if reserved(ground) {
		return policyError(at(r.Location), "the rule reaches into a reserved package").WithHint("choose another name")
	}
	for _, key := range slices.Sorted(maps.Keys(o)) {
		other := o[key]
		p := other.ast.Package.Path
		if other.set == m.set || len(own) >= len(p) {
			continue
		}
		if ground.HasPrefix(p) || p.HasPrefix(ground) {
			return policyError(at(r.Location), "the rule reaches into package %s of the policy set %s",
				packageName(p), other.set).WithHint("give each set packages of its own")
		}
	}
	return nil
}

// reservedRoot is the first part of the packages that are this program's own.
const reservedRoot = "cabincrew_internal"

// reserved says whether a path under data is, or has in it, the canary's package.
func reserved(path ast.Ref) bool {
	if len(path) < 2 {
		return false
	}
	root, ok := path[1].Value.(ast.String)
	return ok && string(root) == reservedRoot
}

// noReservedRefs refuses any mention of the canary, also where a rule would
// replace it by "with" for what it evaluates itself.
func noReservedRefs(m module) error {
	for _, t := range m.seen.data {
		if reserved(t.Value.(ast.Ref)) { //nolint:forcetypeassert // nothing else is kept there
			return policyError(at(t.Location), "%s is reserved", t.Value.String()).WithHint("do not refer to it")
		}
	}
	return nil
}

// noConftestData refuses policies that read what conftest tells of the file that it
// looks at: here it would be undefined, and a rule that needs it never fire.
func noConftestData(modules []module, values *tree) error {
	conftest := ast.MustParseRef("data.conftest")
	if there, err := values.exists([]string{"conftest"}); there || err != nil {
		return err
	}
	for _, m := range modules {
		i := slices.IndexFunc(m.seen.data, func(t *ast.Term) bool {
			return t.Value.(ast.Ref).HasPrefix(conftest) //nolint:forcetypeassert // nothing else is kept there
		})
		if i >= 0 && !m.ast.Package.Path.HasPrefix(conftest) {
			found := m.seen.data[i]
			return policyError(at(found.Location), "%s is not there: it is what conftest tells of a file", found.Value.String()).
				WithHint("policies judge a whole plan here: read paths from input.artifacts, or put a data.json below conftest/ into the set")
		}
	}
	return nil
}

func packageName(p ast.Ref) string { return strings.TrimPrefix(p.String(), "data.") }
