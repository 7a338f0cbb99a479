package kit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

func templateValues(t testing.TB) map[string]any {
	t.Helper()
	v, err := PlainValues(settingsOf(t, `{"s":"Ab","n":3,"yes":true,"l":["x","y",3],"m":{"k":"v","a-b":[1,2]},"lines":"a\nb"}`), "values")
	if err != nil {
		t.Fatal(err)
	}
	return v.(map[string]any)
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                       "",
		"no action\n":            "no action\n",
		"{{.s}}-{{.n}}-{{.yes}}": "Ab-3-true",
		"{{range $i, $e := .l}}{{if $i}}, {{end}}{{$e}}{{else}}none{{end}}": "x, y, 3",
		"{{range .l}}{{if eq . \"y\"}}{{break}}{{end}}{{.}}{{end}}":         "x",
		"{{range 3}}{{.}}{{end}}":                                                "012",
		"{{with .m}}{{.k}}{{end}}":                                               "v",
		"{{with $x := .m.k}}{{$x}}{{$.n}}{{end}}":                                "v3",
		"{{ if and .yes (gt .n 2) (not false) }}ok{{ else if .s }}no{{ end -}} ": "ok",
		"{{index .m \"a-b\" 1}}{{index .l 2}}":                                   "23",
		"{{if has \"k\" .m}}has{{end}}{{if .m | has \"q\"}}q{{end}}":             "has",
		"{{json .m}}{{json .s}}{{json .l}}{{json 1}}":                            `{"a-b":[1,2],"k":"v"}"Ab"["x","y",3]1`,
		"{{.s | upper}}{{lower .s}}{{trim \" x \"}}":                             "ABabx",
		"{{join \"+\" .l}}{{range split \"b\" \"abc\"}}[{{.}}]{{end}}":           "x+y+3[a][c]",
		"{{.lines | indent 2}}":                                                  "  a\n  b",
		"{{.s | replace \"b\" \"bb\" | base64}}":                                 "QWJi",
		"{{urlquery \"a b&c\"}}{{len .l}}{{slice .s 1}}":                         "a+b%26c3b",
		"{{/* a comment */}}{{\"{{\"}} stays {{`}}`}}":                           "{{ stays }}",
		"{{.m}}": "map[a-b:[1 2] k:v]",
	} {
		got, fault := Render(context.Background(), text, templateValues(t), 1000)
		if fault != nil || string(got) != want {
			t.Errorf("%s gives %q, %v, want %q", text, got, fault, want)
		}
	}
}

func TestTemplateRefusals(t *testing.T) {
	t.Parallel()
	double := "{{$s := .s}}" + strings.Repeat("{{$s = replace \"b\" $s $s}}", 3) + "{{range 100}}{{$s = join $s (split \"b\" $s)}}{{end}}"
	tests := map[string]struct{ text, at, want string }{
		"unknown function":     {"\n{{nope}}", "x:2", `function "nope" not defined`},
		"print":                {"{{print .s}}", "x:1", "not defined"},
		"call":                 {"{{call .s}}", "x:1", "not defined"},
		"html":                 {"{{html .s}}", "x:1", "not defined"},
		"our own counter":      {"{{tick 1}}", "x:1", "not defined"},
		"define":               {"{{define \"y\"}}{{end}}", "x", "defines a template"},
		"block":                {"{{block \"y\" .}}{{end}}", "x", "defines a template"},
		"recursion":            {"a\n{{if true}}{{template \"t\"}}{{end}}", "x:2", "calls a template"},
		"recursion in else":    {"{{with 1}}{{else}}{{template \"t\"}}{{end}}", "x:1", "calls a template"},
		"missing key":          {"\n\n  {{.q}}", "x:3:4", `no entry for key "q"`},
		"missing deep key":     {"{{.m.q}}", "x:1:4", `no entry for key "q"`},
		"missing by index":     {"{{index .m \"q\"}}", "x:1:2", "no entry for the key q"},
		"beyond the list":      {"{{index .l 3}}", "x:1:2", "no element 3"},
		"index of text":        {"{{index .s 0}}", "x:1:2", "only a list or a map"},
		"field of text":        {"{{.s.x}}", "x:1:4", "can't evaluate field x"},
		"not UTF-8":            {"\xff", "x", "UTF-8"},
		"too large":            {strings.Repeat("x", limits.TemplateBytes+1), "x", "larger than"},
		"output":               {"{{range 10}}" + strings.Repeat("y", 200) + "{{end}}", "x", "what it makes is too large"},
		"output of text":       {strings.Repeat("y", 1001), "x", "what it makes is too large"},
		"loops":                {"{{range 1000000000}}{{range 1000000000}}{{end}}{{end}}", "x", "more than a template may do"},
		"loop in else":         {"{{range 1000000000}}{{if .}}{{else}}{{end}}{{end}}", "x", "more than a template may do"},
		"loops of functions":   {"{{range 1000000000}}{{$x := indent 64 (indent 64 \"\")}}{{end}}", "x", "more than a template may do"},
		"doubling":             {double, "x", "more than 65536 bytes"},
		"replace with nothing": {"{{replace \"\" \"xx\" .s}}", "x:1:2", "nothing to be replaced"},
		"split at nothing":     {"{{split \"\" .s}}", "x:1:2", "separator is empty"},
		"indent too far":       {"{{indent 65 .s}}", "x:1:2", "0 to 64"},
		"fraction":             {"{{json 0.5}}", "x:1:2", "fraction"},
		"parentheses":          {"{{" + strings.Repeat("(", 20_000) + "1" + strings.Repeat(")", 20_000) + "}}", "x:1", "depth"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, fault := Render(context.Background(), tc.text, templateValues(t), 1000)
			if fault == nil || !strings.HasPrefix(fault.Place("x")+":", tc.at+":") || !strings.Contains(fault.Error(), tc.want) {
				t.Errorf("%q, %+v, want %s and %q", got, fault, tc.at, tc.want)
			}
		})
	}
}

func TestTemplateNestedDeep(t *testing.T) {
	t.Parallel()
	const depth = limits.TemplateBytes/15 - 1
	got, fault := Render(context.Background(), strings.Repeat("{{if 1}}", depth)+"x"+strings.Repeat("{{end}}", depth), nil, 10)
	if fault != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, fault)
	}
}

func TestTemplateIsStopped(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, fault := Render(ctx, "{{range 10}}{{end}}", nil, 10); fault == nil || !errors.Is(fault, context.Canceled) {
		t.Errorf("%v", fault)
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{{.s}}", "{{range .l}}{{.}}{{else}}{{end}}", "{{range 99999999}}{{end}}", "{{define \"t\"}}{{end}}{{template \"t\"}}",
		"{{json . | indent 3 | replace \"a\" \"b\"}}", "{{index . \"m\" \"a-b\" 1}}", "{{with $x := split \",\" .s}}{{join .s $x}}{{end}}", "{{- 1 -}}", "{{slice .s 9}}"} {
		f.Add(s)
	}
	values := templateValues(f)
	before := fmt.Sprint(values)
	f.Fuzz(func(t *testing.T, text string) {
		a, faultA := Render(context.Background(), text, values, 10_000)
		b, faultB := Render(context.Background(), text, values, 10_000)
		if string(a) != string(b) || fmt.Sprint(faultA) != fmt.Sprint(faultB) {
			t.Errorf("%q, %v, then %q, %v", a, faultA, b, faultB)
		}
		if len(a) > 10_000 || fmt.Sprint(values) != before {
			t.Errorf("%d bytes, values %v", len(a), values)
		}
		if (faultA == nil) && CheckTemplate(text) != nil {
			t.Error("a template that works is refused before")
		}
	})
}

func settingsOf(t testing.TB, text string) map[string]any {
	t.Helper()
	v, err := protocol.DecodeAny([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v.(map[string]any)
}
