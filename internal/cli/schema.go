package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/schemas"
)

// bundleKind names all schemas of the protocol in one document.
const bundleKind = "bundle"

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema [KIND]", Short: "Print the JSON Schema of a kind of document, or list the kinds", Args: cobra.MaximumNArgs(1),
		ValidArgs: append([]string{bundleKind}, schemas.Kinds()...),
		RunE: a.run(func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				if a.flags.output == outputJSON {
					a.printJSON(append(schemas.Kinds(), bundleKind))
				}
				a.text(strings.Join(schemas.Kinds(), "\n") + "\n" + bundleKind + "\n")
				return nil
			}
			text := schemas.Bundle()
			if args[0] != bundleKind {
				var err error
				if text, err = schemas.Schema(args[0]); err != nil {
					return unknownKind(args[0])
				}
			}
			if _, err := a.out.Write(text); err != nil {
				return protocol.Errorf(protocol.ExitFailure, "output_failed", "the schema cannot be written: %w", err)
			}
			return nil
		}),
	}
}

func unknownKind(kind string) error {
	return usageError("schema_unknown", "there is no schema %q", kind).WithHint("cabincrew schema lists the kinds")
}
