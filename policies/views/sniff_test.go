package views_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/views"
)

const binding = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: x}\n"

// judged gives an artifact as a flight does: with the body, if its views are wanted.
func judged(a policies.Artifact, body string) policies.Artifact {
	a.Size = int64(len(body))
	if len(body) <= 1000 && !strings.HasPrefix(body, "\xff") {
		a.Body = body
	} else {
		a.Digest = "sha256:0"
	}
	if views.Wanted(a) {
		views.Fill(&a, []byte(body))
	}
	return a
}

func kinds(a policies.Artifact) []string {
	out := []string{}
	for _, o := range a.Kubernetes {
		k, _ := o.(map[string]any)["kind"].(string)
		out = append(out, k)
	}
	return out
}

func utf16le(s string) string {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, utf16.Encode([]rune("\ufeff"+s)))
	return b.String()
}

// TestObjectsAreFound: no MIME type, tag, spelling or nesting hides an object.
func TestObjectsAreFound(t *testing.T) {
	t.Parallel()
	crb := `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding"}`
	nested := crb
	for range 20 {
		nested = `{"apiVersion":"v1","kind":"List","items":[` + nested + `]}`
	}
	for name, c := range map[string][2]string{
		"declared":                 {"application/yaml", binding},
		"text":                     {"text/plain", binding},
		"unknown type":             {"text/x-kubernetes", binding},
		"no type":                  {"", crb},
		"archive by its type only": {"application/zip", binding},
		"binary value":             {"application/yaml", strings.Replace(binding, "ClusterRoleBinding", "!!binary Q2x1c3RlclJvbGVCaW5kaW5n", 1)},
		"binary key":               {"application/yaml", strings.Replace(binding, "kind:", "!!binary a2luZA==:", 1)},
		"binary keys, as text":     {"text/plain", strings.NewReplacer("kind:", "!!binary a2luZA==:", "apiVersion:", "!!binary YXBpVmVyc2lvbg==:").Replace(binding)},
		"tag of an application":    {"application/yaml", strings.Replace(binding, "ClusterRoleBinding", "!x ClusterRoleBinding", 1)},
		"long tag":                 {"text/plain", strings.Replace(binding, "kind:", "!<tag:yaml.org,2002:binary> a2luZA==:", 1)},
		"escapes":                  {"text/plain", strings.NewReplacer("kind:", `"k\u0069nd":`, "apiVersion:", `"\x61piVersion":`).Replace(binding)},
		"folded key":               {"text/plain", strings.Replace(binding, "apiVersion:", "? \"api\\\n  Version\"\n:", 1)},
		"UTF-16":                   {"text/plain", utf16le(binding)},
		"byte order mark":          {"text/plain", "\ufeff" + crb},
		"deep lists":               {"application/json", nested},
		"deep lists, as text":      {"text/plain", nested},
		"list by its items only":   {"application/json", `{"apiVersion":"v1","kind":"Things","items":[` + crb + `]}`},
		"items in another case":    {"application/json", `{"apiVersion":"v1","kind":"List","Items":[` + crb + `]}`},
		"list that says the kind":  {"application/json", `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBindingList","items":[{"metadata":{}}]}`},
		"beside what is no YAML":   {"text/plain", "a: b: c\n---\n" + binding},
		"a mark within a scalar":   {"text/plain", strings.Replace(binding, "kind:", "note: 'a\n---b'\nkind:", 1)},
		"a mark and blanks":        {"text/plain", "a: b: c\n---  \t\n" + binding},
		"a mark with a document":   {"text/plain", "a: b: c\n--- " + crb + "\n"},
		"second of a JSON stream":  {"text/plain", `{"a":1}` + "\n" + crb},
		"JSON beside JSON":         {"application/octet-stream", `{"a":1}` + crb},
		"in a large text":          {"text/plain", strings.Repeat("# words\n", 400) + binding},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := judged(policies.Artifact{Name: "m", ArtifactType: "manifest", Mime: c[0]}, c[1])
			got := kinds(a)
			if a.ViewError != "" || len(got) == 0 || got[len(got)-1] != "ClusterRoleBinding" {
				t.Errorf("%v %q", got, a.ViewError)
			}
		})
	}
	inline := policies.Artifact{Mime: "text/plain", Body: map[string]any{"apiVersion": "v1", "kind": "Pod"}}
	if !views.Wanted(inline) {
		t.Error("a document within the description")
	}
	if views.Fill(&inline, nil); len(inline.Kubernetes) != 1 || inline.Documents != nil {
		t.Errorf("%+v", inline)
	}
}

// TestHiddenObjectsAreTold: what a cluster might read and we do not is an error.
func TestHiddenObjectsAreTold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string][3]string{
		"key twice":        {"text/plain", binding + "kind: Pod\n", "there twice"},
		"merge key":        {"text/plain", binding + "<<: {a: b}\n", "merge keys"},
		"hidden by merge":  {"text/plain", "x: &x {\"\\x61piVersion\": v1, kind: Pod}\n<<: *x\n", "merge keys"},
		"too deep":         {"text/plain", binding + "a: " + strings.Repeat("[", 70) + strings.Repeat("]", 70), "nested deeper"},
		"too large":        {"text/plain", binding + strings.Repeat("#", 5<<20), "more than 4194304 bytes"},
		"boolean by a tag": {"application/yaml", binding + "a: !!bool maybe\n", "does not suit its tag"},
		"number by a tag":  {"application/yaml", binding + "a: !!int x\n", "does not suit its tag"},
		"time by a tag":    {"application/yaml", binding + "a: !!timestamp x\n", "does not suit its tag"},
		"bytes by a tag":   {"application/yaml", binding + "a: !!binary /w==\n", "no text"},
		"odd key":          {"application/yaml", binding + "!!binary /w==: a\n", "no text"},
		"keys of a stream": {"text/plain", `{"a":1}{"apiVersion":"v1","kind":"Pod","a":1,"a":2}`, "cannot be read"},
		"stream that ends": {"text/plain", `{"apiVersion":"v1","kind":"Pod"}{"a":`, "cannot be read"},
		"broken JSON":      {"application/json", `{"api\u0056ersion":"v1","kind":"Pod","a":1,"a":2}`, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := judged(policies.Artifact{ArtifactType: "manifest", Mime: c[0]}, c[1])
			if !strings.Contains(a.ViewError, c[2]) || a.Seems != "kubernetes" || a.Kubernetes != nil {
				t.Errorf("%q, seems %q, %v", a.ViewError, a.Seems, kinds(a))
			}
		})
	}
	plan := `{"format_version":"1.2","resource_changes":[{}],"a":1,"a":2}`
	for mime, body := range map[string]string{"text/plain": plan, "application/json": plan, "": strings.ReplaceAll(plan, "_", `\u005f`)} {
		if a := judged(policies.Artifact{Mime: mime}, body); a.ViewError == "" || a.Seems != "terraform" {
			t.Errorf("%q: %q, seems %q", mime, a.ViewError, a.Seems)
		}
	}
	if a := judged(policies.Artifact{Mime: "application/json"}, `{"a":1,"a":2}`); a.ViewError == "" || a.Seems != "other" {
		t.Errorf("%q, seems %q", a.ViewError, a.Seems)
	}
}

// TestOrdinaryTextIsLeftAlone: what is neither objects nor a plan is no error.
func TestOrdinaryTextIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"prose":            "The apiVersion of a kind: see the manual.\n\n  kind: x: y\n",
		"a page":           "# Deploy\n\n```yaml\napiVersion: v1\nkind: Pod\n```\n\n---\n\nMore: about kind: words\n",
		"a template":       "apiVersion: {{ .version }}\nkind: {{ .kind }}\n{{- if x }}\n",
		"code":             "if !!x {\n\treturn \"\\u0041\" // apiVersion\n}\n",
		"other YAML":       "a: &a {b: 1}\nc: {<<: *a}\n# apiVersion\n",
		"a large log":      strings.Repeat("got apiVersion v1, kind Pod\n", 200_000),
		"binary":           "\xff\xfe\x00\x01" + strings.Repeat("\x00!!apiVersion", 100),
		"nothing":          "",
		"broken JSON":      `{"apiVersion": `,
		"a list of things": `[{"apiVersion":"v1"}]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := judged(policies.Artifact{ArtifactType: "report", Mime: "text/plain"}, body)
			if a.ViewError != "" || len(a.Kubernetes) > 0 || a.Documents != nil || a.Seems != "" {
				t.Errorf("%q %q %v", a.ViewError, a.Seems, kinds(a))
			}
		})
	}
	for name, a := range map[string]policies.Artifact{
		"patch": {ArtifactType: "patch", Mime: "text/x-diff", Body: "+" + binding}, "archive": {Mime: "application/gzip", Digest: "sha256:0", Size: 1 << 30}, "none": {Mime: "text/plain"},
	} {
		if views.Wanted(a) {
			t.Error(name)
		}
	}
	if !views.Wanted(policies.Artifact{Mime: "text/plain", Digest: "sha256:0", Size: 1 << 30}) {
		t.Error("a text too large to look into")
	}
	if a := judged(policies.Artifact{Mime: "text/plain"}, `{"format_version":"1.2","resource_changes":[]}`); a.Terraform == nil {
		t.Errorf("a plan without a MIME type: %+v", a)
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	a := fill(t, "x", "application/yaml", "a: !!bool \"true\"\nb: !!null \"\"\nc: !!binary "+base64.StdEncoding.EncodeToString([]byte("text"))+"\nd: !Ref 5\ne: !!int \"7\"\nf: !!float 1.5\ng: !!str yes\n? !!str h\n: !!map {}\n")
	want := map[string]any{"a": true, "b": nil, "c": "text", "d": "5", "g": "yes", "h": map[string]any{}}
	got, _ := a.Documents[0].(map[string]any)
	delete(got, "e")
	delete(got, "f")
	if a.ViewError != "" || !reflect.DeepEqual(got, want) {
		t.Errorf("%q %#v", a.ViewError, got)
	}
}

func FuzzSniff(f *testing.F) {
	for _, s := range []string{binding, "a: b: c\n---\n" + binding, `{"apiVersion":"v1","kind":"List","items":[{}]}`, utf16le(binding), "x: !!binary a2luZA==\n", `{"resource_changes":[`, "\"\\x61piVersion\": 1\n<<: {}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		a := judged(policies.Artifact{Mime: "text/plain"}, body)
		if a.ViewError != "" && (a.Seems == "" || a.Kubernetes != nil) {
			t.Errorf("%+v", a)
		}
	})
}
