package plantoken_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/cabincrew/action/protocol/plantoken"
)

// FuzzParseManifest proves that reading hostile manifests never panics, and that
// what is accepted is exactly its own canonical form.
func FuzzParseManifest(f *testing.F) {
	raw, err := os.ReadFile("../testdata/vectors.json")
	if err != nil {
		f.Fatal(err)
	}
	var v struct{ Manifest struct{ JCS string } }
	if err := json.Unmarshal(raw, &v); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(v.Manifest.JCS))
	// One step whose token really gives the flight token, so that a seed is accepted.
	flight, err := plantoken.FlightToken([]plantoken.StepToken{{StepID: "a", Token: "sha256:" + string(bytes.Repeat([]byte("0"), 64))}})
	if err != nil {
		f.Fatal(err)
	}
	m := plantoken.Manifest{Version: "1", WorkflowID: "w", FlightToken: flight, Steps: []plantoken.ManifestStep{{
		StepID: "a", Token: "sha256:" + string(bytes.Repeat([]byte("0"), 64)), Context: plantoken.Context{StepID: "a"},
	}}, Files: []plantoken.ManifestFile{}}
	good, err := m.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	if _, err := plantoken.ParseManifest(good); err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := plantoken.ParseManifest(data)
		if err != nil {
			return
		}
		again, err := m.Bytes()
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("accepted %q, which gives %q (%v)", data, again, err)
		}
	})
}
