package test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sink is a function whose parameter becomes the code of an error.
type sink struct {
	arg  int    // which parameter
	exit string // name of the exit constant, "" where it is a parameter or unknown
	from int    // which parameter is the exit code; -1: none
}

// scan finds every error code in the sources: the literals that reach the code
// of a protocol.Error, directly, through small wrappers, constants or tables.
type scan struct {
	sinks map[string]sink            // "package.function"
	codes map[string]map[string]bool // code: names of the exit constants
	lost  map[string]bool            // places whose code cannot be told
	grew  bool
}

// errorCodes gives every code with its exit constants.
func errorCodes(t *testing.T) map[string]map[string]bool {
	t.Helper()
	s := &scan{sinks: map[string]sink{"protocol.Errorf": {arg: 1, from: 0}}}
	fset := token.NewFileSet()
	var files []source
	for _, src := range readSources(t) {
		if src.test || strings.HasPrefix(src.pkg, "test") || strings.HasPrefix(src.pkg, "examples") {
			continue
		}
		f, err := parser.ParseFile(fset, path.Join("..", src.pkg, src.name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		src.file = f
		files = append(files, src)
	}
	consts := constants(files)
	for s.grew = true; s.grew; {
		s.grew, s.codes, s.lost = false, map[string]map[string]bool{}, map[string]bool{}
		for _, src := range files {
			v := &scanFile{scan: s, fset: fset, src: src, consts: consts}
			for _, d := range src.file.Decls {
				v.decl(d)
			}
		}
	}
	for place := range s.lost {
		t.Errorf("%s: the error code cannot be told; use a literal", place)
	}
	return s.codes
}

func constants(files []source) map[string]string {
	out := map[string]string{}
	for _, src := range files {
		for _, d := range src.file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				for i, name := range v.Names {
					if i < len(v.Values) {
						if text, ok := literal(v.Values[i]); ok {
							out[src.pkg+"."+name.Name] = text
							if kind, ok := v.Type.(*ast.Ident); ok && kind.Name == "Kind" {
								out[src.pkg+".Kind:"+name.Name] = text
							}
						}
					}
				}
			}
		}
	}
	return out
}

func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

type scanFile struct {
	*scan
	fset   *token.FileSet
	src    source
	consts map[string]string
	stack  []frame // enclosing functions, outermost first
}

// frame is a function that encloses what is looked at.
type frame struct {
	name   string
	params []string
	body   ast.Node
}

func (v *scanFile) decl(d ast.Decl) {
	f, ok := d.(*ast.FuncDecl)
	if !ok || f.Body == nil {
		v.walk(d)
		return
	}
	v.stack = []frame{{f.Name.Name, params(f.Type), f.Body}}
	v.walk(f.Body)
	v.stack = nil
}

func params(f *ast.FuncType) []string {
	var out []string
	for _, p := range f.Params.List {
		for _, n := range p.Names {
			out = append(out, n.Name)
		}
		if len(p.Names) == 0 {
			out = append(out, "_")
		}
	}
	return out
}

func (v *scanFile) walk(n ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			// fail := func(code, format string, …) error { … }
			for i, r := range n.Rhs {
				if lit, ok := r.(*ast.FuncLit); ok && i < len(n.Lhs) {
					if name, ok := n.Lhs[i].(*ast.Ident); ok {
						v.inside(frame{name.Name, params(lit.Type), lit.Body})
						return false
					}
				}
			}
		case *ast.FuncLit:
			v.inside(frame{"", params(n.Type), n.Body})
			return false
		case *ast.CallExpr:
			v.call(n)
		case *ast.CompositeLit:
			v.composite(n)
		}
		return true
	})
}

func (v *scanFile) inside(f frame) {
	v.stack = append(v.stack, f)
	v.walk(f.body)
	v.stack = v.stack[:len(v.stack)-1]
}

func (v *scanFile) call(c *ast.CallExpr) {
	key := ""
	switch f := c.Fun.(type) {
	case *ast.Ident:
		key = v.src.pkg + "." + f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			if pkg, ok := v.imported(x.Name); ok {
				key = pkg + "." + f.Sel.Name
				break
			}
		}
		key = v.src.pkg + "." + f.Sel.Name
	}
	s, ok := v.sinks[key]
	if !ok || s.arg >= len(c.Args) {
		return
	}
	exit := s.exit
	from := -1
	if s.from >= 0 && s.from < len(c.Args) {
		exit, from = v.exitOf(c.Args[s.from])
	}
	v.code(c.Args[s.arg], exit, from)
}

// exitOf names an exit constant, or gives the parameter that it comes from.
func (v *scanFile) exitOf(e ast.Expr) (string, int) {
	switch e := e.(type) {
	case *ast.SelectorExpr:
		if strings.HasPrefix(e.Sel.Name, "Exit") {
			return e.Sel.Name, -1
		}
	case *ast.Ident:
		if strings.HasPrefix(e.Name, "Exit") {
			return e.Name, -1
		}
		if len(v.stack) > 0 {
			if i := slices.Index(v.stack[len(v.stack)-1].params, e.Name); i >= 0 {
				return "", i
			}
		}
	}
	return "", -1
}

// imported gives the package that a name in this file stands for: a directory of
// this module, or the path of another module's package.
func (v *scanFile) imported(name string) (string, bool) {
	for _, imp := range v.src.file.Imports {
		p, _ := literal(imp.Path)
		if imp.Name == nil && path.Base(p) == name || imp.Name != nil && imp.Name.Name == name {
			return strings.TrimPrefix(p, module+"/"), true
		}
	}
	return "", false
}

// composite looks at protocol.Error{Code: …}.
func (v *scanFile) composite(c *ast.CompositeLit) {
	name := ""
	switch t := c.Type.(type) {
	case *ast.Ident:
		name = v.src.pkg + "." + t.Name
	case *ast.SelectorExpr:
		if x, ok := t.X.(*ast.Ident); ok {
			pkg, _ := v.imported(x.Name)
			name = pkg + "." + t.Sel.Name
		}
	}
	if name != "protocol.Error" && name != "orchestrator.SummaryError" || v.src.pkg == "protocol" {
		return
	}
	var code ast.Expr
	exit := ""
	from := -1
	for _, e := range c.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		switch k, _ := kv.Key.(*ast.Ident); k.Name {
		case "Code":
			code = kv.Value
		case "Exit":
			exit, from = v.exitOf(kv.Value)
		}
	}
	if name == "orchestrator.SummaryError" {
		exit = "ExitFailure"
	}
	if code != nil {
		v.code(code, exit, from)
	}
}

// code follows an expression to the texts that it can be.
func (v *scanFile) code(e ast.Expr, exit string, from int) {
	if text, ok := literal(e); ok {
		v.add(text, exit)
		return
	}
	switch e := e.(type) {
	case *ast.Ident:
		if text, ok := v.consts[v.src.pkg+"."+e.Name]; ok {
			v.add(text, exit)
			return
		}
		for i, f := range slices.Backward(v.stack) {
			if at := slices.Index(f.params, e.Name); at >= 0 {
				if i != len(v.stack)-1 {
					from = -1
				}
				v.sink(f.name, sink{at, exit, from})
				return
			}
		}
		if v.assigned(e.Name, exit) {
			return
		}
	case *ast.BinaryExpr:
		if v.joined(e, exit) {
			return
		}
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok {
			pkg, _ := v.imported(x.Name)
			if text, ok := v.consts[pkg+"."+e.Sel.Name]; ok {
				v.add(text, exit)
				return
			}
		}
		if v.table(e.Sel.Name, exit) {
			return
		}
	}
	v.lost[fmt.Sprint(v.fset.Position(e.Pos()))] = true
}

func (v *scanFile) add(code, exit string) {
	if v.codes[code] == nil {
		v.codes[code] = map[string]bool{}
	}
	v.codes[code][exit] = true
}

func (v *scanFile) sink(name string, s sink) {
	key := v.src.pkg + "." + name
	if _, ok := v.sinks[key]; !ok && name != "" {
		v.sinks[key] = s
		v.grew = true
	}
}

// joined adds "prefix_" + string(value) with every constant of the package's type
// Kind: the only way in which a code may be put together.
func (v *scanFile) joined(e *ast.BinaryExpr, exit string) bool {
	prefix, ok := literal(e.X)
	found := false
	for name, text := range v.consts {
		if rest, own := strings.CutPrefix(name, v.src.pkg+".Kind:"); ok && own && e.Op == token.ADD && rest != "" {
			found = true
			v.add(prefix+text, exit)
		}
	}
	return found
}

// assigned adds the texts that a local variable is given anywhere in its function.
func (v *scanFile) assigned(name, exit string) bool {
	found := false
	ast.Inspect(v.stack[0].body, func(n ast.Node) bool {
		a, ok := n.(*ast.AssignStmt)
		if !ok {
			return true
		}
		for i, l := range a.Lhs {
			if id, ok := l.(*ast.Ident); ok && id.Name == name && i < len(a.Rhs) {
				if text, ok := literal(a.Rhs[i]); ok {
					found = true
					v.add(text, exit)
				}
			}
		}
		return true
	})
	return found
}

// table adds the texts of a field of the struct literals in this function.
func (v *scanFile) table(field, exit string) bool {
	if len(v.stack) == 0 {
		return false
	}
	found := false
	ast.Inspect(v.stack[0].body, func(n ast.Node) bool {
		c, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		list, ok := c.Type.(*ast.ArrayType)
		if !ok {
			return true
		}
		st, ok := list.Elt.(*ast.StructType)
		if !ok {
			return true
		}
		at := slices.Index(params(&ast.FuncType{Params: st.Fields}), field)
		for _, e := range c.Elts {
			if row, ok := e.(*ast.CompositeLit); ok && at >= 0 && at < len(row.Elts) {
				if text, ok := literal(row.Elts[at]); ok {
					found = true
					v.add(text, exit)
				}
			}
		}
		return true
	})
	return found
}

// exitNumbers are the exit constants as docs/errors.md writes them.
func exitNumbers() map[string]string {
	return map[string]string{
		"ExitFailure": "1", "ExitUsage": "2", "ExitDenied": "3", "ExitWaiting": "4", "ExitIntegrity": "5", "ExitStale": "6",
		"ExitUnreachable": "7", "ExitInterrupted": "130",
	}
}

// TestErrorCodesAreListed proves that docs/errors.md lists exactly the codes that
// the sources have, once each, with every exit code that they are given there.
func TestErrorCodesAreListed(t *testing.T) {
	t.Parallel()
	codes := errorCodes(t)
	if len(codes) < 100 {
		t.Fatalf("only %d codes: this test does not see the sources", len(codes))
	}
	listed := map[string]string{}
	rows := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| ([0-9, ]+) \\| ([^|]+) \\| ([^|]+) \\|$").FindAllStringSubmatch(readDoc(t, "docs/errors.md"), -1)
	for _, row := range rows {
		if listed[row[1]] != "" {
			t.Errorf("docs/errors.md: %s stands there twice", row[1])
		}
		listed[row[1]] = row[2]
		if codes[row[1]] == nil {
			t.Errorf("docs/errors.md: no source has the code %s", row[1])
		}
	}
	for code, exits := range codes {
		if listed[code] == "" {
			t.Errorf("docs/errors.md: the code %s (%v) is not listed", code, slices.Sorted(maps.Keys(exits)))
			continue
		}
		for exit := range exits {
			if number := exitNumbers()[exit]; exit != "" && !slices.Contains(strings.Split(listed[code], ", "), number) {
				t.Errorf("docs/errors.md: %s is listed with exit %s, the sources give %s too", code, listed[code], number)
			}
		}
	}
}

// readDoc reads a text of this repository.
func readDoc(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
