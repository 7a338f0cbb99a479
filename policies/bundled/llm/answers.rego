package cabincrew.llm

# METADATA
# title: Tool that was not offered
# description: An answer calls a tool that the request did not define.
# custom:
#   id: llm-tool-unknown
#   remedy: Ask again; if it comes again, look at who answers for the model.
deny contains {
	"id": "llm-tool-unknown",
	"msg": sprintf("the answer calls the tool %q, which the request did not offer. Ask again.", [c.name]),
} if {
	some c in calls
	not c.name in {t.name | some t in input.context.tools}
}

# METADATA
# title: Tool call that fetches and runs
# description: A tool call of an answer fetches a program from the network and runs it in one command.
# custom:
#   id: llm-fetch-and-run
#   remedy: Fetch it, look at it, and run it by its digest.
require_approval contains {
	"id": "llm-fetch-and-run",
	"role": role,
	"msg": sprintf("a call of the tool %q fetches a program and runs it at once. Look at what it fetches.", [c.name]),
} if {
	some c in calls
	some text in texts(c)
	fetches(text)
}

fetches(text) if regex.match(`(?i)\b(curl|wget|fetch|iwr|invoke-webrequest)\b[^\n|;&]*\|\s*(sudo\s+(-\S+\s+)*)?(env\s+(\S+=\S*\s+)*)?(\S*/)?(ba|z|da|k|fi)?sh\b`, text)

fetches(text) if regex.match(`(?i)\b(curl|wget)\b[^\n|;&]*\|\s*(sudo\s+)?(\S*/)?(python[0-9.]*|perl|ruby|node|php)\b`, text)

fetches(text) if regex.match(`(?i)\b(ba|z|da|k)?sh\s+(-c\s+)?["']?(<\(|\$\(|\x60)\s*(curl|wget)\b`, text)

fetches(text) if regex.match(`(?i)\b(iex|invoke-expression)\b[^\n]*\b(iwr|invoke-webrequest|downloadstring)\b`, text)

# METADATA
# title: Tool call that destroys
# description: A tool call of an answer deletes a whole tree outside the work, writes over a disk, or rewrites shared history.
# custom:
#   id: llm-destroys
#   remedy: Do it by hand, or approve it as it stands.
require_approval contains {
	"id": "llm-destroys",
	"role": role,
	"msg": sprintf("a call of the tool %q may destroy more than the work at hand. Approve it only as it stands.", [c.name]),
} if {
	some c in calls
	some text in texts(c)
	destroys(text)
}

destroys(text) if {
	regex.match(`(?i)\brm\s+(-\S+\s+)*-\S*r\S*\s+(-\S+\s+)*["']?(/|~|\$HOME|\$\{HOME\}|\*)["'/*]*(\s|;|&|\||$)`, text)
}

destroys(text) if regex.match(`(?i)\b(mkfs(\.\w+)?|wipefs|shred)\s+\S*\s*/dev/`, text)

destroys(text) if regex.match(`(?i)\bdd\b[^\n;|&]*\bof=/dev/(sd|nvme|vd|hd|xvd|mapper|disk)`, text)

destroys(text) if regex.match(`\bgit\s+push\b[^\n;|&]*\s(--force|-f)(\s|$)`, text)

destroys(text) if regex.match(`(?i)\b(drop|truncate)\s+(table|database|schema)\b`, text)

destroys(text) if regex.match(`\b(terraform|tofu)\s+(-\S+\s+)*(destroy\b|apply\b[^\n;|&]*-auto-approve)`, text)

# METADATA
# title: Picture that carries data
# description: An answer shows a picture from the network whose address carries a long value, by which a page that shows the answer would send it away.
# custom:
#   id: llm-picture
#   remedy: Do not show pictures of answers, or only those of known hosts.
warn contains {
	"id": "llm-picture",
	"msg": "the answer shows a picture whose address carries a long value; who shows it sends the value away. Show no pictures of answers.",
} if {
	input.context.phase == "response"
	some text in input.context.answer.texts
	regex.match(`!\[[^\]]*\]\(\s*<?https?://[^)\s]*[?&/=][A-Za-z0-9+/_%=-]{60,}[^)]*\)`, text)
}

# METADATA
# title: Hidden text in an answer
# description: An answer holds characters that people do not see, or that turn the order of what they see.
# custom:
#   id: llm-answer-hides
#   remedy: Look at the answer's bytes before using it.
warn contains {
	"id": "llm-answer-hides",
	"msg": sprintf("the answer hides text from people (%s). Look at its bytes.", [concat(", ", found)]),
} if {
	input.context.phase == "response"
	found := {sprintf("%s at %s", [s.id, s.at]) | some s in input.context.suspicions; not s.grave == false}
	count(found) > 0
}

calls contains c if {
	input.context.phase == "response"
	some c in input.context.answer.tool_calls
}

# every text of the arguments of a call, however deep
texts(c) := {text |
	walk(c, [_, text])
	is_string(text)
}
