package rego

import (
	"context"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// canaryFile is the name of the canary's module; no set can have a file of it,
// since a set's name is never empty.
const canaryFile = "/canary.rego"

// canarySource goes through what every rule needs: input, iteration, a set of objects.
const canarySource = `package cabincrew_internal.canary

deny contains {"id": "canary", "msg": "the canary sings", "artifact": a.name} if {
	some a in input.artifacts
	a.artifact_type == "cabincrew-canary"
	a.size > 9007199254740990
}
`

func canaryModule(caps *ast.Capabilities) (*ast.Module, error) {
	m, err := ast.ParseModuleWithOpts(canaryFile, canarySource, ast.ParserOptions{Capabilities: caps, RegoVersion: ast.RegoV1})
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitFailure, "policy_canary", "the canary does not parse: %w", err)
	}
	return m, nil
}

// canaryEntry is the canary that was compiled beside a set.
func canaryEntry(set string) entry {
	return entry{
		set:   set,
		path:  ast.MustParseRef("data.cabincrew_internal.canary"),
		name:  "cabincrew_internal.canary",
		rules: []answer{{name: "deny", decision: protocol.Deny, at: canaryFile + ":3"}},
	}
}

// checkCanary proves that rules fire and that they do so only where they should,
// on the way that policies take. SPEC: docs/protocol.md 6.
func (e *Evaluator) checkCanary(ctx context.Context) error {
	for _, kind := range []string{"cabincrew-canary", "patch"} {
		in := policies.Input{Artifacts: []policies.Artifact{{Name: "canary", ArtifactType: kind, Size: 1<<53 - 1}}}
		doc, err := in.Document()
		if err != nil {
			return err
		}
		input, err := ast.InterfaceToValue(doc)
		if err != nil {
			return canaryError("its input is refused: " + err.Error())
		}
		want := protocol.Allow
		if kind == "cabincrew-canary" {
			want = protocol.Deny
		}
		for _, c := range e.canaries {
			found, err := e.judge(ctx, c, input, nil)
			if err != nil {
				return err
			}
			if len(found) != 1 || found[0].Decision != want || found[0].Unjudged || (want == protocol.Deny && found[0].Artifact != "canary") {
				return canaryError("it did not judge as it must")
			}
		}
	}
	return nil
}

func canaryError(why string) error {
	return protocol.Errorf(protocol.ExitDenied, "policy_canary", "the built-in canary rule failed: %s; nothing was judged", why).
		WithHint("this is a fault of the program or of the machine, not of your policies; please report it")
}
