package config

import "strings"

// SchemaURL is where editors find the JSON Schema of the configuration.
const SchemaURL = "https://cabincrew.dev/schemas/config.schema.json"

// Template gives the configuration that `cabincrew init` writes. A name that no
// workflow can have is replaced by "main".
func Template(workflow string) []byte {
	if !workflowName().MatchString(workflow) {
		workflow = "main"
	}
	r := strings.NewReplacer("@SCHEMA@", SchemaURL, "@WORKFLOW@", quoteIfNeeded(workflow))
	return []byte(r.Replace(template))
}

// quoteIfNeeded keeps names such as 2026 or true text.
func quoteIfNeeded(s string) string {
	if plainText(s) {
		return s
	}
	return `"` + s + `"`
}

const template = `# yaml-language-server: $schema=@SCHEMA@
# CabinCrew plans a change without side effects, has it judged and approved, and
# then applies exactly what was planned. Try: cabincrew flight-plan
# The schema of this file: cabincrew schema config
version: 1
workflow: @WORKFLOW@

# Steps run in the order of their needs.
steps:
  - id: hello
    # "use" names a built-in engine. "command" runs any program over a private
    # copy of the workspace; what it changes is the plan. An engine of your own,
    # an executable that speaks the contract, is named by run: [./my-engine].
    engine:
      use: command
      with:
        run: [sh, -c, "echo 'Hello from CabinCrew' > hello-cabincrew.txt"]
    # What the step may see of the workspace, and so what it may change. Without
    # it: everything that is not ignored.
    # inputs: ["**/*.md"]
    # timeout: 10m
    # secrets: {API_TOKEN: "env:API_TOKEN"}   # given in take-off only
    # env: {DEBUG: "1"}

policies:
  aggregation: most_restrictive
  bundled: [baseline]
  # rego: [policies/]                        # directories with rules of your own

approvals:
  expire: 72h
  default_role: maintainer
  # Make a key with: cabincrew keys generate --out first-maintainer
  # and commit the .pub file, never the other one.
  # approvers:
  #   - name: first-maintainer
  #     email: first@example.com
  #     roles: [maintainer, policy-owner]
  #     key: keys/first-maintainer.pub

# Who signs the plan. Without it plans are unsigned, which take-off in CI refuses.
# signing: {key: plan.key}
`
