package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/protocol"
)

// The module in which the schema of SARIF 2.1.0 comes to this test, as OASIS
// published it. The linters' go.mod requires it anyway, so nothing new is trusted.
const (
	sarifModule = "github.com/securego/gosec/v2@v2.29.0"
	sarifSum    = "h1:pF2HSLcnY5voqpxQumEe0O5YAAbvF4Syu4qeIewpLyc="
	sarifFile   = "report/sarif/testdata/sarif-schema-2.1.0.json"
)

var sarifValidator = sync.OnceValues(func() (*jsonschema.Schema, error) {
	cmd := exec.Command("go", "mod", "download", "-json", sarifModule)
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s cannot be had: %w", sarifModule, err)
	}
	var answer struct{ Dir, Sum string }
	if err := json.Unmarshal(out, &answer); err != nil {
		return nil, err
	}
	if answer.Sum != sarifSum {
		return nil, fmt.Errorf("%s has the checksum %s, not %s", sarifModule, answer.Sum, sarifSum)
	}
	in, err := os.Open(filepath.Join(answer.Dir, sarifFile))
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	doc, err := jsonschema.UnmarshalJSON(in)
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(sarifSchema, doc); err != nil {
		return nil, err
	}
	return c.Compile(sarifSchema)
})

// readSARIF reads a report, strictly and, where the schema can be had, by it; and
// asks for what the specification demands beyond the schema.
func readSARIF(t *testing.T, text string) sarifLog {
	t.Helper()
	var log sarifLog
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&log); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	schema, err := sarifValidator()
	if err != nil {
		t.Logf("not checked by the schema: %v", err)
	} else {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(text)))
		if err == nil {
			err = schema.Validate(doc)
		}
		if err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
	}
	if log.Version != "2.1.0" || len(log.Runs) != 1 {
		t.Fatalf("got %s", text)
	}
	run := log.Runs[0]
	seen := map[string]bool{}
	for _, r := range run.Tool.Driver.Rules {
		if seen[r.ID] {
			t.Errorf("rule %s is there twice", r.ID)
		}
		seen[r.ID] = true
	}
	prints := map[string]bool{}
	for _, r := range run.Results {
		if r.RuleIndex < 0 || r.RuleIndex >= len(run.Tool.Driver.Rules) || run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID {
			t.Errorf("result %+v names no rule", r)
		}
		if p := r.Prints[sarifPrint]; p == "" || prints[p] && r.Baseline == "" {
			t.Errorf("the fingerprint of %+v is not its own", r)
		}
		prints[r.Prints[sarifPrint]] = true
	}
	return log
}

func TestSARIF(t *testing.T) {
	t.Parallel()
	book := map[string]rego.Rule{"p/deny/x": {ID: "x", Policy: "p", Title: "Title", Description: "When.", Remedy: "Do.", At: "policies/p.rego:3"}}
	list := []remark{
		{Rule: "p/deny/x", Decision: protocol.Deny, Message: "no", Spots: []spot{{"dir/a b%:#.txt", 7}, {"c", 0}}, Subject: "s"},
		{Rule: "p/deny/x", Decision: protocol.Deny, Message: "no, again", Spots: []spot{{"c", 0}, {"dir/a b%:#.txt", 9}}, Subject: "s"},
		{Rule: "p/warn", Decision: protocol.Warn, Spots: []spot{{"../out", 1}, {"/etc/passwd", 1}, {"", 0}, {"a/\xff", 1}, {"b:c", 0}}},
		{Rule: "p/require_approval", Decision: protocol.RequireApproval, Message: "\x1b[2J\u202e##[error]"},
		{Rule: "p", Decision: protocol.Allow, Message: "fine"},
	}
	data, err := sarif(list, book)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte("##")) {
		t.Errorf("a CI platform would obey\n%s", data)
	}
	log := readSARIF(t, string(data))
	rules, results := log.Runs[0].Tool.Driver.Rules, log.Runs[0].Results
	if len(rules) != 3 || len(results) != 4 {
		t.Fatalf("got %s", data)
	}
	if r := rules[0]; r.Short.Text != "Title" || r.Full.Text != "When." || r.Help.Text != "Do." || r.Default.Level != "error" || r.More.Policy != "policies/p.rego:3" {
		t.Errorf("got %+v", r)
	}
	if at := results[0].Locations; len(at) != 2 || at[0].Physical.Artifact.URI != "dir/a%20b%25%3A%23.txt" || at[0].Physical.Region.StartLine != 7 || at[1].Physical.Region != nil {
		t.Errorf("got %+v", at)
	}
	first, _, _ := strings.Cut(results[0].Prints[sarifPrint], ":")
	if results[1].Prints[sarifPrint] != first+":2" {
		t.Errorf("the second of two equal findings has %v, the first %v", results[1].Prints, results[0].Prints)
	}
	if r := results[2]; r.Level != "warning" || r.Message.Text != "p/warn" || len(r.Locations) != 2 || r.Locations[0].Physical.Artifact.URI != "a/%FF" || r.Locations[1].Physical.Artifact.URI != "b%3Ac" {
		t.Errorf("got %+v", r)
	}
	clean(t, results[3].Message.Text)

	if data, err = sarif(nil, nil); err != nil {
		t.Fatal(err)
	}
	if log := readSARIF(t, string(data)); log.Runs[0].Results == nil || log.Runs[0].Tool.Driver.Rules == nil {
		t.Errorf("nothing found must be an empty list: %s", data)
	}
}

func FuzzSARIF(f *testing.F) {
	f.Add("p/deny", "no", "a/b.txt", "s")
	f.Add("\xff", "##[error]", "a:b\\c?d#e", "\u202e")
	f.Fuzz(func(t *testing.T, rule, message, file, subject string) {
		data, err := sarif([]remark{{Rule: rule, Decision: protocol.Deny, Message: message, Spots: []spot{{file, 1}}, Subject: subject}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var log sarifLog
		if err := json.Unmarshal(data, &log); err != nil || bytes.Contains(data, []byte("##")) {
			t.Fatalf("%v in %s", err, data)
		}
		for _, at := range log.Runs[0].Results[0].Locations {
			if uri := at.Physical.Artifact.URI; strings.HasPrefix(uri, "/") || strings.ContainsAny(uri, " :#?\\") || strings.HasPrefix(uri, "../") {
				t.Fatalf("the place is %q", uri)
			}
		}
	})
}
