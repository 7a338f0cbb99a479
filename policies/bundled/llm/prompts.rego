package cabincrew.llm

import data.cabincrew_llm as config

# Nothing here is looked at before the phase fits: gateways ask for every call.

default role := "maintainer"

role := config.role

# METADATA
# title: Model out of the list
# description: A call names a model that is not in the list of models, where there is such a list.
# custom:
#   id: llm-model
#   remedy: Use a model of the list, or add it to models in policies.data.
deny contains {
	"id": "llm-model",
	"msg": sprintf("the model %q is not in the list of models (%s). Use one of them, or add it.", [input.model, concat(", ", config.models)]),
} if {
	input.context.phase == "request"
	count(config.models) > 0
	not input.model in config.models
}

# METADATA
# title: Tool server at the provider
# description: A call lets the provider's own machines call the tools of an MCP server, where no gateway judges these calls.
# custom:
#   id: llm-remote-mcp
#   remedy: Let the agent call the server through the MCP gateway.
deny contains {
	"id": "llm-remote-mcp",
	"msg": sprintf("%s lets the provider call an MCP server, where no gateway judges it. Let the agent call it through the MCP gateway.", [t.at]),
} if {
	input.context.phase == "request"
	some t in input.context.tools
	t.kind == "mcp"
}

# METADATA
# title: Tool of the provider in CI
# description: A call lets the provider search the web, run code, or act with a tool of its own, where no person watches.
# custom:
#   id: llm-hosted-tool-ci
#   remedy: Leave the tool out, or define a function that the agent runs itself.
deny contains {
	"id": "llm-hosted-tool-ci",
	"msg": sprintf("%s is a tool that the provider runs (%s), and no person watches here. Define a function that the agent runs itself.", [t.at, t.kind]),
} if {
	some t in hosted
	input.context.environment == "ci"
}

# METADATA
# title: Tool of the provider
# description: A call lets the provider search the web, run code, or act with a tool of its own, which no gateway judges.
# custom:
#   id: llm-hosted-tool
#   remedy: Define a function that the agent runs itself.
warn contains {
	"id": "llm-hosted-tool",
	"msg": sprintf("%s is a tool that the provider runs (%s); what it does is not judged. Define a function that the agent runs itself.", [t.at, t.kind]),
} if {
	some t in hosted
	input.context.environment != "ci"
}

hosted contains t if {
	input.context.phase == "request"
	some t in input.context.tools
	t.hosted
	t.kind != "mcp"
}

# METADATA
# title: Orders in what a tool gave
# description: What tools or documents brought into the conversation hides text from people, or gives a model several kinds of orders.
# custom:
#   id: llm-orders
#   remedy: Read where it comes from; approve the call only if the model may follow it.
require_approval contains {
	"id": "llm-orders",
	"role": role,
	"msg": sprintf("what tools or documents gave looks like an order to a model or hides text (%s). Read it with care.", [concat(", ", found)]),
} if {
	input.context.phase == "request"
	found := {sprintf("%s at %s", [s.id, s.at]) | some s in input.context.suspicions; foreign(s); severe(s)}
	count(found) > 0
}

# METADATA
# title: Tone of what a tool gave
# description: What tools or documents brought into the conversation holds words that a model may take for an order.
# custom:
#   id: llm-tone
#   remedy: Tell the model that what tools give is no order.
warn contains {
	"id": "llm-tone",
	"msg": sprintf("what tools or documents gave may be taken for an order by a model (%s). Look at where it comes from.", [concat(", ", found)]),
} if {
	input.context.phase == "request"
	found := {sprintf("%s at %s", [s.id, s.at]) | some s in input.context.suspicions; foreign(s); not severe(s)}
	count(found) > 0
}

# It was not written by who wrote the prompt.
foreign(s) if s.kind in {"tool_result", "document", "tool_definition"}

severe(s) if not s.grave == false

# METADATA
# title: Part that nobody read
# description: A call has images, sound, files or encrypted parts; rules and scans read texts only.
# custom:
#   id: llm-unread
#   remedy: Give the model text where text will do.
warn contains {
	"id": "llm-unread",
	"msg": sprintf("the call has parts that no judge reads (%s). Give the model text where text will do.", [concat(", ", kinds)]),
} if {
	input.context.phase == "request"
	kinds := {u.kind | some u in input.context.unread}
	count(kinds) > 0
}

# METADATA
# title: Kept by the provider
# description: A call asks the provider to keep it, or to go on with it when nobody waits for the answer.
# custom:
#   id: llm-kept
#   remedy: Leave store and background out, or set them to false.
warn contains {
	"id": "llm-kept",
	"msg": sprintf("%s asks the provider to keep the call. Leave it out, or set it to false.", [name]),
} if {
	input.context.phase == "request"
	some name in ["store", "background"]
	input.input[name] == true
}

# METADATA
# title: Large call
# description: The texts of a call are larger than max_text_bytes.
# custom:
#   id: llm-large
#   remedy: Send less of the conversation.
warn contains {
	"id": "llm-large",
	"msg": sprintf("the call has %d bytes of text. Send less of the conversation.", [input.context.text_bytes]),
} if {
	input.context.phase == "request"
	input.context.text_bytes > largest
}

default largest := 4194304

largest := config.max_text_bytes

# METADATA
# title: No call of a model
# description: What is to be judged has no phase that the set knows, so that its rules would find nothing.
# custom:
#   id: llm-unjudged
#   remedy: Use the set in the configuration of an LLM gateway only.
deny contains {
	"id": "llm-unjudged",
	"msg": "the policy set llm judges calls of models, and this is none (it has no model or no phase). Use the set in an LLM gateway's configuration only.",
} if {
	not judged
}

judged if {
	is_string(input.model)
	input.context.phase in {"request", "response"}
}
