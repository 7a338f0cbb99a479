package check

import (
	"os"
	"regexp"
	"testing"
)

// TestCatalogueIsDocumented holds the table of docs/writing-an-engine.md against
// the catalogue: the same checks in the same order, in the same words.
func TestCatalogueIsDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/writing-an-engine.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| (.*) \\| (.*) \\|$").FindAllStringSubmatch(string(doc), -1)
	list := rows[:0:0]
	for _, row := range rows {
		if Known(row[1]) {
			list = append(list, row)
		}
	}
	if len(list) != len(Catalogue()) {
		t.Fatalf("the document lists %d checks, there are %d", len(list), len(Catalogue()))
	}
	for i, c := range Catalogue() {
		if row := list[i]; row[1] != c.ID || row[2] != c.Demands || row[3] != c.Remedy {
			t.Errorf("the document says\n%s\nthe catalogue\n| `%s` | %s | %s |", row[0], c.ID, c.Demands, c.Remedy)
		}
	}
}
