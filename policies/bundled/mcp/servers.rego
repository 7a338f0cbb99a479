package cabincrew.mcp

# What servers ask of clients: by requests of their own, or in the answer to a request.

# METADATA
# title: Sampling with context
# description: A server asks for a model's answer and wants the conversation, its own or that with other servers, to be given to the model (includeContext).
# custom:
#   id: mcp-sampling-context
#   remedy: Approve it only if the server may read what is in the conversation.
require_approval contains {
	"id": "mcp-sampling-context",
	"role": role,
	"msg": sprintf("server %s wants a model's answer that is given the conversation (includeContext). Approve it only if the server may read that.", [input.server_id]),
} if {
	input.context.direction == "server_to_client"
	input.context.phase == "request"
	input.method == "sampling/createMessage"
	wants_context(input.params)
}

require_approval contains {
	"id": "mcp-sampling-context",
	"role": role,
	"msg": sprintf("server %s wants, in its answer, a model's answer that is given the conversation (includeContext). Approve it only if the server may read that.", [input.server_id]),
} if {
	input.context.result.resultType == "input_required"
	some r in input.context.result.inputRequests
	r.method == "sampling/createMessage"
	wants_context(r.params)
}

wants_context(params) if params.includeContext != "none"

# METADATA
# title: Elicitation of a secret
# description: A server asks the person at the client for a password, a token, a key or the like.
# custom:
#   id: mcp-elicitation-secret
#   remedy: Give secrets to the server by the gateway's configuration; a server that needs a login shows an https page of its own.
deny contains {
	"id": "mcp-elicitation-secret",
	"msg": sprintf("server %s asks a person for a secret. Give secrets to it by the gateway's configuration.", [input.server_id]),
} if {
	input.context.direction == "server_to_client"
	input.context.phase == "request"
	input.method == "elicitation/create"
	wants_secret(input.params)
}

deny contains {
	"id": "mcp-elicitation-secret",
	"msg": sprintf("server %s asks a person, in its answer, for a secret. Give secrets to it by the gateway's configuration.", [input.server_id]),
} if {
	input.context.result.resultType == "input_required"
	some r in input.context.result.inputRequests
	r.method == "elicitation/create"
	wants_secret(r.params)
}

wants_secret(params) if {
	some text in [object.get(params, "message", ""), object.get(params, "requestedSchema", {})]
	regex.match(
		`(?i)pass(word|phrase|wd|code)|secret|api[ _-]?key|(access|auth|bearer|refresh|session|api)[ _-]?token|(^|[^a-z])tokens?([^a-z]|$)|private[ _-]?key|credential|(recovery|seed|backup)[ _-]?(phrase|code|key)|one[ _-]?time[ _-]?(code|password)|(^|[^a-z])(otp|2fa|mfa|cvv|cvc|ssn)([^a-z]|$)|credit[ _-]?card`,
		json.marshal(text),
	)
}

# METADATA
# title: Elicitation of a page without https
# description: A server wants the person at the client to open an address that is not https.
# custom:
#   id: mcp-elicitation-url
#   remedy: Let the server give an https address.
deny contains {
	"id": "mcp-elicitation-url",
	"msg": sprintf("server %s wants a person to open an address that is not https. Let it give an https address.", [input.server_id]),
} if {
	input.context.direction == "server_to_client"
	input.context.phase == "request"
	input.method == "elicitation/create"
	wants_plain_page(input.params)
}

deny contains {
	"id": "mcp-elicitation-url",
	"msg": sprintf("server %s wants, in its answer, a person to open an address that is not https. Let it give an https address.", [input.server_id]),
} if {
	input.context.result.resultType == "input_required"
	some r in input.context.result.inputRequests
	r.method == "elicitation/create"
	wants_plain_page(r.params)
}

wants_plain_page(params) if {
	params.mode == "url"
	not regex.match(`^(?i:https)://[^/\\@]+([/?#]|$)`, object.get(params, "url", ""))
}
