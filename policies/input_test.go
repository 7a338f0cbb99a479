package policies_test

import (
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/schemas"
)

// TestDocumentHasNoNull: whoever counts or iterates never meets null in the place of
// a list or an object.
func TestDocumentHasNoNull(t *testing.T) {
	t.Parallel()
	given := &policies.Terraform{Resources: []policies.TerraformResource{{Mode: "managed", Action: "create"}}}
	for _, plan := range []*policies.Terraform{{}, given} {
		in := policies.Input{Isolation: policies.Isolation{Tier: "A"}, Artifacts: []policies.Artifact{{Role: "evidence", Terraform: plan, Patch: &policies.Patch{Files: []policies.PatchFile{{Op: "add", Hunks: []policies.Hunk{{}}}}}}}, Mode: "flight-plan"}
		doc, err := in.Document()
		if err != nil {
			t.Fatal(err)
		}
		if err := schemas.ValidateValue("policy-input", doc); err != nil {
			t.Error(err)
		}
	}
	if given.Counts != nil || given.Resources[0].ReplacePaths != nil {
		t.Error("the given view was changed")
	}
}
