package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestFlowIsRead(t *testing.T) {
	t.Parallel()
	const text = `on: {pull_request_target: {types: [opened]}, push: {}}
jobs:
  a:
    "uses": acme/flows/.github/workflows/x.yml@v1
    with: {Deep: [1], ref: abc}
  b:
    steps: &steps
      - uses: actions/checkout@v4
        with:
          ref: ${{ github.event.pull_request.head.sha }}
      - run: |
          make
  c:
    steps: *steps
`
	f, err := ParseFlow("x.yml", []byte(text))
	want := &Flow{
		Events: []string{"pull_request_target", "push"},
		Uses: []FlowUse{
			{4, "acme/flows/.github/workflows/x.yml@v1", map[string]string{"ref": "abc"}},
			{8, "actions/checkout@v4", map[string]string{"ref": "${{ github.event.pull_request.head.sha }}"}},
		},
		Runs: []FlowText{{11, "make\n"}},
	}
	if err != nil || !reflect.DeepEqual(f, want) {
		t.Errorf("%+v, %v", f, err)
	}
	for events, n := range map[string]int{"push": 1, "[push, pull_request]": 2, "{push: }": 1, "": 1} {
		if f, err := ParseFlow("x.yml", []byte("on: "+events+"\n")); err != nil || len(f.Events) != n {
			t.Errorf("%q: %+v, %v", events, f, err)
		}
	}
	for name, bad := range map[string]string{
		"no YAML": "a: [", "two documents": "a: 1\n---\nb: 2\n", "empty": "", "UTF-16": "\xff\xfea\x00", "too deep": strings.Repeat("[", 200) + strings.Repeat("]", 200),
		"too many": "[" + strings.Repeat("1,", 200_000) + "1]",
	} {
		if f, err := ParseFlow("x.yml", []byte(bad)); err == nil {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func FuzzParseFlow(f *testing.F) {
	names, err := filepath.Glob("../../.github/workflows/*.yml")
	if err != nil || len(names) == 0 {
		f.Fatal("there are no seeds:", err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("on: [a, &b [*b]]\nx: &y {uses: *y}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		flow, err := ParseFlow("x.yml", data)
		if (flow == nil) == (err == nil) {
			t.Fatalf("%v, %v", flow, err)
		}
	})
}
