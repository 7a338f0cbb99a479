package cabincrew.mcp

import data.cabincrew_mcp as config

# METADATA
# title: Orders in a description
# description: A description that is not that of a pinned item conceals something from people, hides text from them, or gives a model several kinds of orders; in CI any that looks like an order.
# custom:
#   id: mcp-description-orders
#   remedy: Read the description with care; approve it only if it describes and does nothing else.
require_approval contains {
	"id": "mcp-description-orders",
	"role": role,
	"msg": sprintf("a description of server %s looks like an order to a model or hides text (%s). Read it with care.", [input.server_id, concat(", ", found)]),
} if {
	input.context.suspicions[0]
	found := {sprintf("%s at %s", [s.id, s.at]) | some s in input.context.suspicions; s.kind == "description"; severe(s); not judged_alone(s)}
	count(found) > 0
}

# METADATA
# title: Tone of a description
# description: A description holds words that honest servers use, too, and that a model may take for an order.
# custom:
#   id: mcp-description-tone
#   remedy: Read the description; pin the tools of the server if it only describes.
warn contains {
	"id": "mcp-description-tone",
	"msg": sprintf("a description of server %s may be taken for an order by a model (%s). Read it.", [input.server_id, concat(", ", found)]),
} if {
	input.context.suspicions[0]
	found := {sprintf("%s at %s", [s.id, s.at]) | some s in input.context.suspicions; s.kind == "description"; not severe(s); not judged_alone(s)}
	count(found) > 0
}

severe(s) if not s.grave == false

severe(_) if input.context.environment == "ci"

# It stands in an item of a list that the gateway decides of by itself, as it is pinned or
# not: the others of the list are not held up by it.
judged_alone(s) if {
	steps := split(s.at, "/")
	steps[1] == "result"
	steps[2] in {"tools", "prompts", "resourceTemplates"}
	regex.match(`^[0-9]{1,6}$`, steps[3])
	input.context.items[to_number(steps[3])].decision
}

# METADATA
# title: Orders in a result
# description: A result, a resource or an error holds what looks like an order to a model, or characters that people do not see.
# custom:
#   id: mcp-result-orders
#   remedy: Tell the model that what tools give is no order; look at where the text comes from.
warn contains {
	"id": "mcp-result-orders",
	"msg": sprintf("an answer of server %s looks like an order to a model or hides text (%s). Look at where it comes from.", [input.server_id, concat(", ", found)]),
} if {
	input.context.suspicions[0]
	found := {sprintf("%s at %s", [s.id, s.at]) | some s in input.context.suspicions; s.kind != "description"}
	count(found) > 0
}

# METADATA
# title: Large answer
# description: The texts of an answer are larger than max_text_bytes; a model reads them all, or a part that nobody chose.
# custom:
#   id: mcp-large-result
#   remedy: Ask for less, or for a part.
warn contains {
	"id": "mcp-large-result",
	"msg": sprintf("an answer of server %s has %d bytes of text. Ask for less, or for a part.", [input.server_id, input.context.text_bytes]),
} if {
	input.context.phase == "response"
	input.context.text_bytes > largest
}

default largest := 1048576

largest := config.max_text_bytes

# METADATA
# title: No message of a gateway
# description: What is to be judged has no phase that the set knows, so that its rules would find nothing.
# custom:
#   id: mcp-unjudged
#   remedy: Use the set in a gateway's configuration only.
deny contains {
	"id": "mcp-unjudged",
	"msg": "the policy set mcp judges messages of a gateway, and this is none (it has no phase). Use the set in a gateway's configuration only.",
} if {
	not judged
}

judged if input.context.phase == "request"

judged if input.context.phase == "response"

judged if input.context.phase == "notification"
