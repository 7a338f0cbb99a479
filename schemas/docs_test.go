package schemas_test

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/schemas"
)

var (
	docObject = regexp.MustCompile(`(?m)^\*\*(\w+)\*\*\n\n\| field \| type \|\n\|---\|---\|\n((?:\|.*\|\n)+)`)
	docRow    = regexp.MustCompile("(?m)^\\| `(\\w+)`( !)? \\| (.+) \\|$")
	docWords  = regexp.MustCompile(`^(WAL|MCP|LLM)|[A-Z][a-z]+`)
)

// TestTablesOfTheContract holds section 12 of docs/protocol.md to the schemas.
func TestTablesOfTheContract(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## 12 Wire fields\n")
	if !ok {
		t.Fatal("there is no section 12")
	}
	seen := map[string]bool{}
	for _, object := range docObject.FindAllStringSubmatch(section, -1) {
		kind := strings.ToLower(strings.Join(docWords.FindAllString(object[1], -1), "-"))
		seen[kind] = true
		s := read(t, kind)
		var names, required []string
		for _, row := range docRow.FindAllStringSubmatch(object[2], -1) {
			names = append(names, row[1])
			if row[2] != "" {
				required = append(required, row[1])
			}
			if isTime := strings.Contains(string(s.Properties[row[1]]), `"date-time"`); isTime != strings.Contains(row[3], "date-time") {
				t.Errorf("%s.%s: the contract and the schema differ on date-time", kind, row[1])
			}
		}
		if len(names) != strings.Count(object[2], "\n") {
			t.Errorf("%s has a row that is not understood", kind)
		}
		slices.Sort(names)
		slices.Sort(required)
		slices.Sort(s.Required)
		if want := slices.Sorted(maps.Keys(s.Properties)); !slices.Equal(names, want) || !slices.Equal(required, s.Required) {
			t.Errorf("%s: the contract has %v, required %v; the schema %v, required %v", kind, names, required, want, s.Required)
		}
	}
	for _, kind := range schemas.Kinds() {
		if s := read(t, kind); s.Type == "object" && !seen[kind] && !slices.Contains(elsewhere, kind) {
			t.Errorf("section 12 has no table for %s", kind)
		}
	}
}

// TestFiguresOfTheManifestFit takes the manifest of the figures through its schema.
func TestFiguresOfTheManifestFit(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../protocol/testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var figures struct {
		Manifest struct {
			JCS string `json:"jcs"`
		} `json:"manifest"`
		Audit struct {
			First string `json:"first_line"`
		} `json:"audit"`
	}
	if err := json.Unmarshal(text, &figures); err != nil {
		t.Fatal(err)
	}
	if err := schemas.Validate("plan-manifest", []byte(figures.Manifest.JCS)); err != nil {
		t.Error(err)
	}
	if err := schemas.Validate("audit-event", []byte(figures.Audit.First)); err != nil {
		t.Error(err)
	}
}
