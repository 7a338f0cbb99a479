package cabincrew.mcp

import data.cabincrew_mcp as config

# Nothing here is looked at before the phase and the method fit: gateways ask for every message.

default role := "maintainer"

role := config.role

default unreviewed := ["new", "changed", "shadowing"]

unreviewed := config.unreviewed_states

# METADATA
# title: Path outside the roots
# description: An argument names a file that lies, with symbolic links resolved, outside the configured roots.
# custom:
#   id: mcp-path-outside
#   remedy: Let the client name files inside the roots, or add the directory to roots in the gateway's configuration.
deny contains {
	"id": "mcp-path-outside",
	"file": named(p),
	"msg": sprintf("%s names %s, which is outside the roots%s. Name a file inside them, or add its directory to roots.", [p.at, named(p), because(p)]),
} if {
	input.context.phase == "request"
	some p in input.context.paths
	p.inside == false
}

# METADATA
# title: Protected path
# description: An argument names a protected file (keys, credentials, .env, .cabincrew*, the gateway's own state).
# custom:
#   id: mcp-path-protected
#   remedy: Do the work without this file; people edit protected files themselves.
deny contains {
	"id": "mcp-path-protected",
	"file": named(p),
	"msg": sprintf("%s names the protected file %s%s. Do the work without it.", [p.at, named(p), because(p)]),
} if {
	input.context.phase == "request"
	some p in input.context.paths
	p.protected == true
}

# METADATA
# title: Unknown method in CI
# description: A message has a method that no revision of MCP knows, where no person watches.
# custom:
#   id: mcp-method-unknown-ci
#   remedy: Name the method in a rule of the configuration that allows it, or let client and server do without it.
deny contains {
	"id": "mcp-method-unknown-ci",
	"msg": sprintf("no revision of MCP knows the method %q. Name it in a rule of the configuration that allows it, or do without it.", [input.method]),
} if {
	input.context.known == false
	input.context.environment == "ci"
	not decided
	not reply
}

# METADATA
# title: Unknown method
# description: A message has a method that no revision of MCP knows.
# custom:
#   id: mcp-method-unknown
#   remedy: Look at what it does; in CI it is denied.
warn contains {
	"id": "mcp-method-unknown",
	"msg": sprintf("no revision of MCP knows the method %q. Look at what it does.", [input.method]),
} if {
	input.context.known == false
	input.context.environment != "ci"
	not decided
	not reply
}

# METADATA
# title: Unreviewed tool in CI
# description: A tool is called that is new, has changed, or has the name of another server's tool, where no person watches.
# custom:
#   id: mcp-tool-changed-ci
#   remedy: Review the tool's description and schema and pin them in .cabincrew.lock.
deny contains {
	"id": "mcp-tool-changed-ci",
	"msg": sprintf("the tool %q is %s since tools were pinned. Review it and pin it in .cabincrew.lock.", [input.context.tool.name, input.context.tool.state]),
} if {
	input.context.phase == "request"
	input.method == "tools/call"
	input.context.environment == "ci"
	input.context.tool.state in unreviewed
}

# METADATA
# title: Unreviewed tool
# description: A tool is called that is new, has changed, or has the name of another server's tool.
# custom:
#   id: mcp-tool-changed
#   remedy: Review the tool's description and schema and pin them in .cabincrew.lock.
require_approval contains {
	"id": "mcp-tool-changed",
	"role": role,
	"msg": sprintf("the tool %q is %s since tools were pinned. Review it and pin it in .cabincrew.lock.", [input.context.tool.name, input.context.tool.state]),
} if {
	input.context.phase == "request"
	input.method == "tools/call"
	input.context.tool.state in unreviewed
	not input.context.tool.approved == true
	input.context.environment != "ci"
}

# METADATA
# title: Destructive tool
# description: A tool is called of which its server says that it may destroy something (destructiveHint).
# custom:
#   id: mcp-tool-destructive
#   remedy: Look at the arguments and approve the call, or allow the tool in a policy of your own in place of this set.
require_approval contains {
	"id": "mcp-tool-destructive",
	"role": role,
	"msg": sprintf("the tool %q says of itself that it may destroy something. Look at the arguments before it is called.", [input.context.tool.name]),
} if {
	input.context.phase == "request"
	input.method == "tools/call"
	input.context.tool.annotations.destructiveHint == true
	not input.context.tool.annotations.readOnlyHint == true
}

# METADATA
# title: Tool with a dangerous name
# description: A tool is called that says neither that it reads only nor whether it is destructive, and whose name speaks of deleting or of running commands.
# custom:
#   id: mcp-tool-name
#   remedy: Look at the arguments and approve the call, or let the server annotate its tool.
require_approval contains {
	"id": "mcp-tool-name",
	"role": role,
	"msg": sprintf("by its name the tool %q deletes something or runs commands, and its server does not say otherwise. Look at the arguments before it is called.", [input.params.name]),
} if {
	input.context.phase == "request"
	input.method == "tools/call"
	not hinted
	regex.match(`(^|[^A-Za-z])(?i:delete|drop|rm|rmdir|unlink|remove|destroy|purge|truncate|wipe|erase|kill|exec|execute|shell|bash|eval|spawn|command|terminal)($|[^a-z])|[a-z0-9](Delete|Drop|Remove|Destroy|Purge|Truncate|Wipe|Erase|Kill|Exec|Execute|Shell|Bash|Eval|Spawn|Command|Terminal)($|[^a-z])`, input.params.name)
}

# The configuration decides of the method: a rule names it, or unknown_methods speaks of all.
decided if input.context.named == true

decided if input.context.unknown_methods in ["allow", "warn", "require_approval"]

hinted if is_boolean(input.context.tool.annotations.destructiveHint)

hinted if input.context.tool.annotations.readOnlyHint == true

reply if input.context.phase == "response"

# where a path leads; where that cannot be told, what stands in the message, or the place of it
named(p) := p.path if {
	trim_space(p.path) != ""
} else := p.value if {
	trim_space(p.value) != ""
} else := p.at if {
	p.at != ""
} else := "arguments"

because(p) := sprintf(" (%s)", [p.why]) if {
	trim_space(p.path) == ""
	p.why != ""
} else := ""
