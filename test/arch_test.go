package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// source is one Go file of the module, whatever its build constraints: a layer
// must hold on every system, not only on this one.
type source struct {
	pkg     string // slash path of the directory
	name    string
	test    bool
	imports []string
	file    *ast.File
	lines   int
}

func readSources(t *testing.T) []source {
	t.Helper()
	var out []source
	fset := token.NewFileSet()
	err := filepath.WalkDir("..", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin" || d.Name() == "node_modules") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil && p != ".." {
				return filepath.SkipDir // a module of its own, such as tools
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		s, err := parseSource(fset, p)
		if err == nil {
			out = append(out, s)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 10 {
		t.Fatalf("only %d files: this test does not see the module", len(out))
	}
	return out
}

func parseSource(fset *token.FileSet, p string) (source, error) {
	data, err := os.ReadFile(p)
	if err != nil {
		return source{}, err
	}
	f, err := parser.ParseFile(fset, p, data, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	rel, err := filepath.Rel("..", filepath.Dir(p))
	if err != nil {
		return source{}, err
	}
	s := source{pkg: filepath.ToSlash(rel), name: filepath.Base(p), test: strings.HasSuffix(p, "_test.go"), file: f, lines: bytes.Count(data, []byte("\n"))}
	for _, i := range f.Imports {
		name, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return source{}, err
		}
		s.imports = append(s.imports, name)
	}
	return s, nil
}

func below(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

func isOutside(pkg string) bool {
	if _, ok := rooms()[pkg]; ok {
		return false // a fake that tests of other rooms use
	}
	return slices.ContainsFunc(outsideRooms(), func(dir string) bool { return below(pkg, dir) })
}

// house gives the path within the module, or false for a foreign import.
func house(imported string) (string, bool) {
	rel, ok := strings.CutPrefix(imported, module+"/")
	return rel, ok
}

func TestEveryPackageHasARoom(t *testing.T) {
	t.Parallel()
	for _, s := range readSources(t) {
		if _, ok := rooms()[s.pkg]; !ok && !isOutside(s.pkg) {
			t.Errorf("%s/%s: this package has no room; add it to rooms() and to docs/architecture.md, or move the file", s.pkg, s.name)
		}
	}
}

func TestLayers(t *testing.T) {
	t.Parallel()
	for _, s := range readSources(t) {
		from, ok := rooms()[s.pkg]
		if !ok {
			continue // outside, or reported above
		}
		for _, imported := range s.imports {
			rel, own := house(imported)
			if !own {
				continue
			}
			if why := misplaced(s, from, rel); why != "" {
				t.Errorf("%s/%s (layer %d) imports %s: %s", s.pkg, s.name, from.layer, rel, why)
			}
		}
	}
}

// misplaced says why a file may not import a package of the module.
func misplaced(s source, from room, rel string) string {
	if isOutside(rel) {
		return "nothing imports what is outside the rooms"
	}
	to, ok := rooms()[rel]
	if whole := parts()[rel]; whole != "" && rel != s.pkg {
		if s.pkg == whole {
			return ""
		}
		return "it is a part of " + whole + ", which alone imports it"
	}
	switch {
	case !ok:
		return "it has no room"
	case to.layer < from.layer, path.Dir(s.pkg) == rel:
		return ""
	case s.test && rel == s.pkg:
		return "" // an external test
	case s.test && to.layer == 0:
		return "" // the schemas are compared with the types, for example
	case s.test && path.Dir(rel) == path.Dir(s.pkg) && to.layer == from.layer && strings.HasSuffix(rel, "test"):
		return "" // a suite that every driver passes, such as storage/storagetest
	}
	return "only lower layers and the own parent are allowed (it is in layer " + strconv.Itoa(to.layer) + ")"
}

func TestOwnersOfModules(t *testing.T) {
	t.Parallel()
	for _, s := range readSources(t) {
		if s.test || isOutside(s.pkg) {
			continue
		}
		for _, imported := range s.imports {
			for mod, only := range owners() {
				if below(imported, mod) && !slices.Contains(only, s.pkg) {
					t.Errorf("%s/%s imports %s; only %v may", s.pkg, s.name, imported, only)
				}
			}
		}
	}
}

func TestNeverInOwnCode(t *testing.T) {
	t.Parallel()
	for _, s := range readSources(t) {
		if s.test {
			continue
		}
		for _, imported := range s.imports {
			if slices.Contains(rooms()[s.pkg].never, imported) {
				t.Errorf("%s/%s imports %s, which this room never does", s.pkg, s.name, imported)
			}
		}
	}
}

// pure are the rooms that know neither clock nor chance.
func pure() []string { return []string{"protocol", "protocol/plantoken", "schemas", "internal/limits"} }

func TestPureRooms(t *testing.T) {
	t.Parallel()
	for _, s := range readSources(t) {
		if s.test || !slices.Contains(pure(), s.pkg) {
			continue
		}
		for _, i := range s.imports {
			if i == "crypto/rand" || below(i, "math/rand") {
				t.Errorf("%s/%s imports %s", s.pkg, s.name, i)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && (sel.Sel.Name == "Now" || sel.Sel.Name == "Since" || sel.Sel.Name == "Until") {
					t.Errorf("%s/%s asks for the time", s.pkg, s.name)
				}
			}
			return true
		})
	}
}

func TestNoInitFunctions(t *testing.T) {
	t.Parallel()
	var have []string
	for _, s := range readSources(t) {
		at := path.Join(s.pkg, s.name)
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || f.Name.Name != "init" {
				continue
			}
			if have = append(have, at); !slices.Contains(inits(), at) {
				t.Errorf("%s has an init function; wire it in internal/cli instead", at)
			}
		}
	}
	slices.Sort(have)
	if !slices.Equal(have, inits()) { // an exception that nobody needs any more, or a second init beside one
		t.Errorf("the files with an init function are %v, the exceptions %v", have, inits())
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	docs := map[string]string{}
	for _, s := range readSources(t) {
		if s.test || isOutside(s.pkg) {
			continue
		}
		docs[s.pkg] += s.file.Doc.Text()
	}
	for pkg, doc := range docs {
		if len(doc) < 60 {
			t.Errorf("%s: the package comment says too little: %q", pkg, doc)
		}
	}
}

func TestMainIsSmall(t *testing.T) {
	t.Parallel()
	lines, found := 0, false
	for _, s := range readSources(t) {
		if s.pkg != "cmd/cabincrew" || s.test {
			continue
		}
		found = true
		lines += s.lines
		for _, i := range s.imports {
			if rel, own := house(i); own && rel != "internal/cli" {
				t.Errorf("%s imports %s; only internal/cli may be started", s.name, rel)
			}
		}
	}
	if !found {
		t.Skip("cmd/cabincrew does not exist yet")
	}
	if lines > longestMain {
		t.Errorf("cmd/cabincrew has %d lines, at most %d: logic belongs in internal/cli", lines, longestMain)
	}
}

// listed is what go list says of a package.
type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
	Module     *struct{ Path string }
}

func goList(t *testing.T) map[string]listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-deps", "-json=ImportPath,Standard,Imports,Deps,Module", "./...")
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	data, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	out := map[string]listed{}
	for dec := json.NewDecoder(bytes.NewReader(data)); ; {
		var l listed
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out[l.ImportPath] = l
	}
}

func TestNeverThroughOthers(t *testing.T) {
	t.Parallel()
	all := goList(t)
	for pkg, r := range rooms() {
		for _, dep := range all[module+"/"+pkg].Deps {
			rel, own := house(dep)
			if !own {
				continue
			}
			for _, never := range r.never {
				if below(rel, never) {
					t.Errorf("%s reaches %s, which it never may", pkg, rel)
				}
			}
		}
	}
}

// TestTheHelperStartsEarly keeps the sandbox's helper and the process of a model from
// what is initialised late: each start of a sandbox or a model would wait for it.
func TestTheHelperStartsEarly(t *testing.T) {
	t.Parallel()
	all := goList(t)
	for part := range parts() {
		deps := all[module+"/"+part].Deps
		if len(deps) == 0 {
			t.Errorf("%s is not there", part)
		}
		for _, dep := range deps {
			if rel, own := house(dep); own && rel != part && rel != "internal/limits" || slices.Contains(late(), dep) {
				t.Errorf("%s reaches %s, which is initialised late", part, dep)
			}
		}
	}
}

func TestDependencyBudgets(t *testing.T) {
	t.Parallel()
	all := goList(t)
	for pkg, allowed := range budgets() {
		seen := map[string]bool{}
		for _, dep := range all[module+"/"+pkg].Deps {
			d := all[dep]
			if d.Standard || d.Module == nil || d.Module.Path == module || seen[d.Module.Path] {
				continue
			}
			seen[d.Module.Path] = true
			if !slices.Contains(allowed, d.Module.Path) {
				t.Errorf("%s reaches %s (%s), which is not in its budget", pkg, d.Module.Path, dep)
			}
		}
	}
}

func TestChainsAreShort(t *testing.T) {
	t.Parallel()
	all := goList(t)
	depth := map[string]int{}
	var chain func(string) int
	chain = func(p string) int {
		if d, ok := depth[p]; ok {
			return d
		}
		depth[p] = 1
		longest := 0
		for _, i := range all[p].Imports {
			if _, own := house(i); own {
				longest = max(longest, chain(i))
			}
		}
		depth[p] = 1 + longest
		return depth[p]
	}
	for p := range all {
		if _, own := house(p); own && chain(p) > longestChain {
			t.Errorf("%s stands at the head of a chain of %d packages, at most %d", p, chain(p), longestChain)
		}
	}
}
