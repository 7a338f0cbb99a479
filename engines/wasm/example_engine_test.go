package wasm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/protocol"
)

// The example under examples/engines flies its plan and its take-off.
func TestExampleEngine(t *testing.T) {
	t.Parallel()
	module := filepath.Join(shared.dir, "go-wasi.wasm")
	if err := buildGo(module, "../../examples/engines/go-wasi/main.go"); err != nil {
		t.Skipf("the Go tool chain did not build the example: %v", err)
	}
	input := func(mode, config string) string {
		return `{"protocol_version":"draft","mode":"` + mode + `","meta":{"workflow_id":"w","step_id":"s"}` + config + `}`
	}
	f := newFlight(t)
	f.write(f.work+"/README.md", "one\ntwo\n")
	f.write(f.work+"/docs/a.md", "x\n")
	f.write(f.work+"/main.go", "package main\n")
	for _, bad := range []string{"", "[]", input("take-off", ""), input("flight-plan", `,"config":{"suffix":""}`), input("flight-plan", `,"config":{"other":1}`), strings.Repeat(" ", 1<<20+1)} {
		f.stdin = strings.NewReader(bad)
		f.run(module).is(t, 2, "go-wasi: input")
	}
	f.stdin = strings.NewReader(input("flight-plan", ""))
	f.run(module).is(t, 0, "counted 2 files\n")
	body, err := os.ReadFile(f.artifacts + "/line-counts/body.data")
	want := "[\n  {\n    \"file\": \"README.md\",\n    \"lines\": 2\n  },\n  {\n    \"file\": \"docs/a.md\",\n    \"lines\": 1\n  }\n]\n"
	if err != nil || string(body) != want {
		t.Fatalf("%v\n%s", err, body)
	}
	receipt := func(mode protocol.Mode) protocol.EngineOutput {
		t.Helper()
		raw, err := os.ReadFile(f.tmp + "/output.json")
		if err != nil {
			t.Fatal(err)
		}
		r, err := engines.ParseReceipt(raw, mode)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := receipt(protocol.FlightPlan); len(r.Artifacts) != 1 || r.Artifacts[0].Hash != protocol.Digest(body) {
		t.Errorf("receipt: %+v", r)
	}
	f.takeOff().stdin = strings.NewReader(input("take-off", ""))
	f.run(module).is(t, 0, "")
	if r := receipt(protocol.TakeOff); len(r.Artifacts) != 0 || r.EngineID != "go-wasi" {
		t.Errorf("receipt: %+v", r)
	}
	f.write(f.artifacts+"/line-counts/body.data", want+" ")
	f.stdin = strings.NewReader(input("take-off", ""))
	f.run(module).is(t, 1, "go-wasi: the planned artifact was changed")
}
