package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write bundle.schema.json anew")

// outside names kinds that are documents of this program and not of the protocol's bundle.
var outside = []string{"config", "gateway", "llm", "policy-input"}

func parse(t *testing.T, text []byte) any {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestEverySchemaCompilesAndDescribesItself(t *testing.T) {
	t.Parallel()
	kinds := Kinds()
	if !slices.IsSorted(kinds) || slices.Contains(kinds, bundle) || len(kinds) < 59 {
		t.Fatalf("kinds are not as promised: %v", kinds)
	}
	for _, kind := range kinds {
		text, err := Schema(kind)
		if err != nil {
			t.Fatal(err)
		}
		doc, ok := parse(t, text).(map[string]any)
		if !ok {
			t.Fatalf("%s is not an object", kind)
		}
		if got := doc["$id"]; got != base+kind+suffix {
			t.Errorf("%s has $id %v", kind, got)
		}
		if got := doc["$schema"]; got != "https://json-schema.org/draft/2020-12/schema" {
			t.Errorf("%s has $schema %v", kind, got)
		}
		if s, ok := doc["description"].(string); !ok || s == "" {
			t.Errorf("%s has no description", kind)
		}
		if _, err := compiled.get(kind); err != nil {
			t.Error(err)
		}
	}
}

func TestUnknownKind(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"", "nothing", "bundle", "../go.mod", "bundle.schema.json", strings.Repeat("x", 1<<16)} {
		if _, err := Schema(kind); err == nil || len(err.Error()) > 1000 {
			t.Errorf("Schema(%.20q) gave %v", kind, err)
		}
		if err := Validate(kind, []byte("{}")); err == nil {
			t.Errorf("Validate(%.20q) accepted", kind)
		}
	}
}

// TestBundleEqualsTheFiles keeps the bundle what it says: the same schemas in one file.
func TestBundleEqualsTheFiles(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	out.WriteString("{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n")
	out.WriteString("  \"$id\": \"" + base + bundle + suffix + "\",\n  \"title\": \"CabinCrew\",\n")
	out.WriteString("  \"description\": \"All messages and documents of the CabinCrew protocol, each under $defs by its kind.\",\n")
	out.WriteString("  \"$defs\": {")
	separator := "\n"
	for _, kind := range Kinds() {
		if slices.Contains(outside, kind) {
			continue
		}
		text, err := Schema(kind)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(separator + "    \"" + kind + "\": " + strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\n    "))
		separator = ",\n"
	}
	out.WriteString("\n  }\n}\n")
	if !json.Valid(out.Bytes()) {
		t.Fatal("the bundle would not be JSON")
	}
	if *update {
		if err := os.WriteFile(bundle+suffix, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(out.Bytes(), Bundle()) {
		t.Error("bundle.schema.json is not what the single files give: run go test ./schemas -run Bundle -update")
	}
}

// TestBundleServesAlone compiles every definition with nothing but the bundle at hand.
func TestBundleServesAlone(t *testing.T) {
	t.Parallel()
	doc := parse(t, Bundle())
	c := newCompiler(nothing{})
	if err := c.AddResource(base+bundle+suffix, doc); err != nil {
		t.Fatal(err)
	}
	defs, ok := doc.(map[string]any)["$defs"].(map[string]any)
	if !ok || len(defs) == 0 {
		t.Fatal("the bundle has no definitions")
	}
	for kind := range defs {
		s, err := c.Compile(base + bundle + suffix + "#/$defs/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		if kind == "mode" && (s.Validate("take-off") != nil || s.Validate("landing") == nil) {
			t.Error("the bundle's mode judges wrongly")
		}
	}
}

type nothing struct{}

func (nothing) Load(url string) (any, error) { return nil, errors.New("loaded from outside: " + url) }

func TestNothingIsLoadedFromOutside(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"https://example.org/x.schema.json", "file:///etc/passwd", base + "../x", base + "nothing.schema.json", base + "bundle.schema.json"} {
		if doc, err := (embedded{}).Load(url); err == nil {
			t.Errorf("%s was loaded: %v", url, doc)
		}
	}
}

func TestErrorsNamePlaceAndFault(t *testing.T) {
	t.Parallel()
	secret := "hunter2-secret-value"
	receipt := func(rest string) string {
		return `{"protocol_version":"draft","engine_id":"e","mode":"flight-plan","receipt_id":"r","status":"success"` + rest + `}`
	}
	for name, c := range map[string]struct {
		kind, doc string
		want      []string
	}{
		"missing":           {"engine-meta", `{"workflow_id":"w"}`, []string{`$: is missing "step_id"`}},
		"missing in order":  {"engine-meta", `{}`, []string{`is missing "step_id", "workflow_id"`}},
		"unknown":           {"engine-output", receipt(`,"artifacts":[{"name":"a","role":"log","path":"a","hash":"h","x":1}]`), []string{`$.artifacts[0]: has unknown "x"`}},
		"type":              {"engine-output", receipt(`,"warnings":[1]`), []string{"$.warnings[0]: is number, want string"}},
		"enum":              {"engine-output", `{"protocol_version":"draft","engine_id":"e","mode":"landing","receipt_id":"r","status":"success"}`, []string{"$.mode: is none of [flight-plan take-off]"}},
		"time":              {"audit-event", `{"event_id":"","timestamp":"` + secret + `","event_type":"","workflow_state":""}`, []string{"$.timestamp: is not an RFC 3339 time"}},
		"minimum":           {"engine-orchestrator", `{"run_index":-1}`, []string{"$.run_index: is less than 0"}},
		"pattern":           {"plan-manifest", `{"version":"1","workflow_id":"` + secret + `/","flight_token":"` + secret + `","steps":[],"files":[]}`, []string{"$.flight_token: does not match", "$.workflow_id: does not match", "$.steps: minItems"}},
		"const":             {"plan-manifest", `{"version":"` + secret + `"}`, []string{"$.version: is not 1"}},
		"nearest form":      {"wal-entry", `{"sequence":0,"timestamp":"2026-11-22T18:00:00Z","workflow_id":"w","entry_type":"workflow_started","data":{"plan_token_hash":"","initial_state":"LOST"},"checksum":""}`, []string{"$.data.initial_state: is none of", "(nearest of 9 forms)"}},
		"not JSON":          {"mode", `{`, []string{"$: not JSON"}},
		"trailing":          {"mode", `"take-off" 1`, []string{"$: not JSON"}},
		"digits as a name":  {"engine-input", `{"protocol_version":"","mode":"take-off","meta":{"step_id":"","workflow_id":"","7":0}}`, []string{`$.meta: has unknown "7"`}},
		"number too large":  {"engine-output", receipt(`,"metrics":[{"name":"n","value":1e999999999}]`), []string{"$.metrics[0].value: the number is too long or too large"}},
		"number too small":  {"engine-output", receipt(`,"diagnostics":{"b":1e-5000,"a":1e-5000}`), []string{"$.diagnostics.a: the number"}},
		"number too long":   {"engine-orchestrator", `{"run_index":` + strings.Repeat("9", 500) + `}`, []string{"$.run_index: the number"}},
		"exponent too long": {"engine-orchestrator", `{"run_index":1e99999999999999999999}`, []string{"$.run_index: the number"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := Validate(c.kind, []byte(c.doc))
			invalid, ok := errors.AsType[*Error](err)
			if !ok || invalid.Kind != c.kind {
				t.Fatalf("got %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("a value of the document is repeated: %q", err)
			}
		})
	}
}

func TestErrorsAreBoundedAndStable(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 1<<16)
	doc := `{"config":1,"` + long + `":1,"warnings":[` + strings.Repeat("1,", 5000) + `1]}`
	err := Validate("engine-output", []byte(doc))
	invalid, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	if len(invalid.Problems) != maxProblems || invalid.More < 4000 {
		t.Errorf("%d problems told, %d left out", len(invalid.Problems), invalid.More)
	}
	if n := len(err.Error()); n > maxError+100 {
		t.Errorf("the text has %d bytes", n)
	}
	for range 20 {
		if again := Validate("engine-output", []byte(doc)); again.Error() != err.Error() {
			t.Fatalf("two texts for one document:\n%v\n%v", err, again)
		}
	}
}

func TestValidateFromManyGoroutines(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for range 8 {
		for _, kind := range Kinds() {
			wg.Go(func() {
				if err := Validate(kind, []byte(`[[]]`)); err == nil {
					t.Errorf("%s accepts a list", kind)
				}
			})
		}
	}
	wg.Wait()
}

func TestDateTime(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"2026-11-22T18:00:00Z": true, "2026-11-22T18:00:00.123456789Z": true, "2026-11-22t18:00:00z": true,
		"2026-11-22T18:00:00+01:00": true, "2026-11-22T23:59:59-23:59": true, "2024-02-29T00:00:00Z": true,
		"1998-12-31T23:59:60Z": true, "1999-01-01T00:59:60+01:00": true, "1998-12-31T15:59:60.5-08:00": true,
		"": false, "2026-11-22": false, "2026-11-22T18:00:00": false, "2026-11-22 18:00:00Z": false,
		"2026-11-22T18:00:00,5Z": false, "2026-11-22T18:00:00.Z": false, "2026-11-22T24:00:00Z": false,
		"2026-11-22T18:60:00Z": false, "2026-11-22T18:00:61Z": false, "2026-11-22T18:00:60Z": false,
		"2026-13-22T18:00:00Z": false, "2026-02-29T18:00:00Z": false, "2026-11-22T18:00:00+24:00": false,
		"2026-11-22T18:00:00+0100": false, "2026-11-22T+8:00:00Z": false, "2026-11-22T18:00:00+-1:00": false,
		"2026-1-22T18:00:00Z": false, "2026-11-22T18:00Z": false, " 2026-11-22T18:00:00Z": false,
		"2026-11-22T18:00:00Z\n": false, "２026-11-22T18:00:00Z": false,
	} {
		doc, err := json.Marshal(map[string]string{"event_id": "", "event_type": "", "workflow_state": "", "timestamp": text})
		if err != nil {
			t.Fatal(err)
		}
		if err := Validate("audit-event", doc); (err == nil) != want {
			t.Errorf("%q: got %v, want valid %v", text, err, want)
		}
	}
}

func FuzzValidate(f *testing.F) {
	kinds := Kinds()
	for i := range kinds {
		f.Add(uint8(i), []byte(`{"mode":"take-off","a":[1e5,null,{"b":"c"}]}`))
	}
	f.Add(uint8(0), []byte(`1e999999999`))
	f.Fuzz(func(t *testing.T, i uint8, data []byte) {
		err := Validate(kinds[int(i)%len(kinds)], data)
		if err != nil && len(err.Error()) > maxError+100 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}
