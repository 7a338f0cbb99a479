package rego

import (
	"bytes"
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/views"
	"github.com/cabincrew/action/protocol"
)

// tree is the data document: what data.json and data.yaml of all sets hold, each
// at the place of its directory, and which file each value came from.
type tree struct {
	root map[string]any
	from map[string]string // joined path -> file
	// claims are the places that files have values at, in the order of sets and files.
	claims []claim
}

// allData gives the data of all sets with the configuration's values in it. Sets
// that would change each other are refused.
func allData(sets []policies.Set, modules []module, over map[string]any) (*tree, error) {
	owned, err := own(modules)
	if err != nil {
		return nil, err
	}
	places, err := bundledPlaces(modules)
	if err != nil {
		return nil, err
	}
	values, err := data(sets, owned)
	if err != nil {
		return nil, err
	}
	if err := values.checkClaims(places, modules); err != nil {
		return nil, err
	}
	if err := values.override(over); err != nil {
		return nil, err
	}
	return values, noConftestData(modules, values)
}

// data merges the data files of all sets. Two files that give the same value a
// different owner are refused: one would change what the other means.
func data(sets []policies.Set, o owners) (*tree, error) {
	t := &tree{root: map[string]any{}, from: map[string]string{}}
	for _, s := range sets {
		for _, f := range s.Files {
			if f.Rego() {
				continue
			}
			file := s.Name + "/" + f.Path
			doc, err := readData(file, f)
			if err != nil {
				return nil, err
			}
			if dir := path.Dir(f.Path); dir != "." {
				parts := strings.Split(dir, "/")
				for _, p := range slices.Backward(parts) {
					doc = map[string]any{p: doc}
				}
			}
			t.claim(doc, file, s.Name)
			if err := t.merge(t.root, doc, nil, file, s.Name, o); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

func readData(file string, f policies.SetFile) (map[string]any, error) {
	src := f.Data
	if strings.HasSuffix(f.Path, ".yaml") && !json.Valid(src) {
		if bytes.Contains(src, []byte("\n---")) || bytes.Contains(src, []byte("\n...")) {
			return nil, policyError(file, "the data file holds more than one YAML document").WithHint("keep one document a file")
		}
		if err := views.KeysOnce(src); err != nil {
			return nil, policyError(file, "the data file cannot be read: %s", clean(err.Error())).WithHint("mend the YAML; each key may be there once")
		}
		var v any
		if err := util.Unmarshal(src, &v); err != nil {
			return nil, policyError(file, "the data file cannot be read: %s", clean(err.Error())).WithHint("mend the YAML")
		}
		var err error
		if src, err = json.Marshal(v); err != nil {
			return nil, policyError(file, "the data file cannot be read: %w", err)
		}
	}
	v, err := protocol.DecodeAny(src)
	if err != nil {
		return nil, policyError(file, "the data file cannot be read: %w", err).WithHint("mend the JSON")
	}
	doc, ok := v.(map[string]any)
	if !ok {
		return nil, policyError(file, "the data file does not hold an object").WithHint(`write {"name": ...}`)
	}
	return doc, nil
}

func (t *tree) merge(dst, src map[string]any, at []string, file, set string, o owners) error {
	for _, k := range slices.Sorted(maps.Keys(src)) {
		here := append(slices.Clone(at), k)
		if here[0] == reservedRoot {
			return policyError(file, "data.%s is reserved", reservedRoot).WithHint("choose another name")
		}
		if m, ok := o[dataRef(here).String()]; ok && m.set != set {
			return policyError(file, "the data reaches into package %s of the policy set %s",
				strings.Join(here, "."), m.set).WithHint("choose another name")
		}
		name := strings.Join(here, "\x00")
		have, there := dst[k]
		from, to := asObject(src[k]), asObject(have)
		switch {
		case from != nil && (!there || to != nil):
			if to == nil {
				to = map[string]any{}
				dst[k] = to
				t.from[name] = file
			}
			if err := t.merge(to, from, here, file, set, o); err != nil {
				return err
			}
		case there:
			return policyError(file, "data.%s is in %s too", strings.Join(here, "."), t.from[name]).
				WithHint("keep each value in one file")
		default:
			dst[k] = src[k]
			t.from[name] = file
		}
	}
	return nil
}

// claim says that a file of a set has values at a place.
type claim struct{ place, file, set string }

// claim notes the places of a file's values.
func (t *tree) claim(doc map[string]any, file, set string) {
	for _, key := range slices.Sorted(maps.Keys(doc)) {
		if p := placeOf(dataRef([]string{key})); p != "" {
			t.claims = append(t.claims, claim{p, file, set})
			continue
		}
		for _, below := range slices.Sorted(maps.Keys(asObject(doc[key]))) {
			t.claims = append(t.claims, claim{placeOf(dataRef([]string{key, below})), file, set})
		}
	}
}

// ownPlaces are the places below data that belong to a set.
type ownPlaces map[string]string

// bundledPlaces gives what sets that the program brings read: packages of other sets
// may not be there.
func bundledPlaces(modules []module) (ownPlaces, error) {
	own := ownPlaces{}
	for _, m := range modules {
		if !m.own || m.test {
			continue
		}
		for _, term := range m.seen.data {
			if ref, ok := term.Value.(ast.Ref); ok {
				own[placeOf(ref.GroundPrefix())] = m.set
			}
		}
	}
	delete(own, "")
	return own, own.packages(modules)
}

// packages refuses packages at places of other sets.
func (own ownPlaces) packages(modules []module) error {
	for _, m := range modules {
		place := placeOf(m.ast.Package.Path)
		if set, taken := own[place]; taken && set != m.set {
			return strangeData(at(m.ast.Package.Location), "the package", place, set)
		}
	}
	return nil
}

// checkClaims refuses that one set changes what another reads. Each set has places
// of its own below data: the first names of its values (below "cabincrew", where
// packages of many sets lie, the first two), and all that is read by a set that the
// program brings. Data and packages of other sets may not be there.
func (t *tree) checkClaims(own ownPlaces, modules []module) error {
	for _, c := range t.claims {
		if set, taken := own[c.place]; taken && set != c.set {
			return strangeData(c.file, "the data", c.place, set)
		}
		own[c.place] = c.set
	}
	return own.packages(modules)
}

func strangeData(where, what, place, set string) error {
	return policyError(where, "%s reaches into %s, which belongs to the policy set %s", what, clean(place), set).
		WithHint("give each set names of its own; the configuration can set values of any set, by policies.data")
}

// placeOf gives the place below data that a path lies in, "" for none.
func placeOf(path ast.Ref) string {
	n := 2
	if len(path) > 1 && path[1].Equal(ast.StringTerm(ownPackage)) {
		n = 3
	}
	if len(path) < n {
		return ""
	}
	return path[:n].String()
}

// override replaces values that the sets' data files have: thresholds that a
// configuration sets. A name that no file has is a typing error, not a value.
func (t *tree) override(over map[string]any) error {
	if len(over) == 0 {
		return nil
	}
	raw, err := json.Marshal(over)
	if err != nil {
		return policyError("policies.data", "the values cannot be written as JSON: %w", err)
	}
	v, err := protocol.DecodeAny(raw)
	if err != nil {
		return policyError("policies.data", "the values cannot be read: %w", err)
	}
	return replace(t.root, asObject(v), nil)
}

func replace(dst, src map[string]any, at []string) error {
	open := len(at) > 0 && len(dst) == 0 // an empty object is there to be filled
	for _, k := range slices.Sorted(maps.Keys(src)) {
		here := strings.Join(append(slices.Clone(at), k), ".")
		have, there := dst[k]
		switch {
		case !there && !open:
			return policyError("policies.data."+here, "no policy set has this value").
				WithHint("the values here are: %s", strings.Join(slices.Sorted(maps.Keys(dst)), ", "))
		case there && kind(have) != kind(src[k]):
			return policyError("policies.data."+here, "the value must be %s, not %s", kind(have), kind(src[k]))
		}
		if m := asObject(have); len(m) > 0 {
			if err := replace(m, asObject(src[k]), append(slices.Clone(at), k)); err != nil {
				return err
			}
			continue
		}
		dst[k] = src[k]
	}
	return nil
}

func kind(v any) string {
	switch v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		return "a text"
	case json.Number:
		return "a number"
	case bool:
		return "true or false"
	}
	return "null"
}

// exists serves the compiler's check that no rule lies where data is.
func (t *tree) exists(path []string) (bool, error) {
	var v any = t.root
	for _, p := range path {
		m := asObject(v)
		if m == nil {
			return false, nil
		}
		var ok bool
		if v, ok = m[p]; !ok {
			return false, nil
		}
	}
	return true, nil
}

func asObject(v any) map[string]any {
	m, _ := v.(map[string]any) // nil for everything else
	return m
}

func dataRef(path []string) ast.Ref {
	r := ast.Ref{ast.DefaultRootDocument}
	for _, p := range path {
		r = append(r, ast.StringTerm(p))
	}
	return r
}
