package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/schemas"
)

// The kinds that are YAML.
const (
	configKind = "config"
	mcpKind    = "gateway"
	llmKind    = "llm"
)

// finding is one problem of a document.
type finding struct {
	Where string `json:"where,omitempty"`
	Text  string `json:"text"`
	Code  string `json:"code,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

func (a *app) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "validate KIND FILE", Short: "Check a document against the schema of a kind; FILE - is stdin", Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return schemas.Kinds(), cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: a.run(func(_ *cobra.Command, args []string) error { return a.validate(args[0], args[1]) }),
	}
}

func (a *app) validate(kind, name string) error {
	if !slices.Contains(schemas.Kinds(), kind) {
		return unknownKind(kind)
	}
	data, err := a.readInput(name, limits.ValidateBytes)
	if err != nil {
		return err
	}
	if name == "-" {
		name = "stdin"
	}
	found := check(kind, name, data)
	if len(found) == 0 {
		if a.flags.output == outputJSON {
			a.printJSON(map[string]any{"kind": kind, "valid": true})
		}
		a.text("ok\n")
		return nil
	}
	err = usageError("document_invalid", "%s is not a valid %s: %d problems", name, kind, len(found)).
		WithHint("cabincrew schema %s prints the schema", kind)
	if a.flags.output == outputJSON {
		a.printJSON(map[string]any{"kind": kind, "valid": false, "problems": found, "error": a.errorOf(err)})
	}
	for _, p := range found {
		line := oneLine(p.Text)
		if p.Where != "" {
			line = oneLine(p.Where) + ": " + line
		}
		a.text(line + "\n")
		if p.Hint != "" {
			a.text("  hint: " + oneLine(p.Hint) + "\n")
		}
	}
	a.complain(err)
	return reportedError{err}
}

// check gives all problems of a document.
func check(kind, name string, data []byte) []finding {
	switch kind {
	case configKind:
		return checkConfig(name, data)
	case mcpKind:
		_, err := config.ParseGateway(name, data)
		return problems(err)
	case llmKind:
		_, err := config.ParseLLM(name, data)
		return problems(err)
	}
	doc, err := protocol.DecodeAny(data)
	if err != nil {
		return []finding{{Text: err.Error()}}
	}
	err = schemas.ValidateValue(kind, doc)
	var invalid *schemas.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &invalid):
		return []finding{{Text: err.Error()}}
	}
	var out []finding
	for _, p := range invalid.Problems {
		out = append(out, finding{Where: p.Where, Text: p.Text})
	}
	if invalid.More > 0 {
		out = append(out, finding{Text: fmt.Sprintf("and %d more problems", invalid.More)})
	}
	return out
}

func checkConfig(name string, data []byte) []finding {
	c, err := config.Parse(name, data)
	if err == nil {
		err = resolve(c)
	}
	return problems(err)
}

// problems gives what is wrong with a configuration.
func problems(err error) []finding {
	if err == nil {
		return nil
	}
	var out []finding
	for _, p := range config.Problems(err) {
		out = append(out, finding{Where: p.Where, Text: p.Message, Code: p.Code, Hint: p.Hint})
	}
	if len(out) == 0 {
		out = append(out, finding{Text: err.Error()})
	}
	return out
}

// readInput reads a bounded file that a person names, or stdin for "-".
func (a *app) readInput(name string, most int64) ([]byte, error) {
	fail := func(err error) error {
		return usageError("input_unreadable", "the file cannot be read: %w", err).At(name).
			WithHint("name a regular file of at most %s, or - for stdin", size(most))
	}
	in := a.in
	if name != "-" {
		f, err := engines.OpenPlain(name)
		if err != nil {
			return nil, fail(err)
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("it is larger than %s", size(most))
	}
	if err != nil {
		return nil, fail(err)
	}
	return data, nil
}
