package cabincrew.agents

import data.cabincrew_agents as config

# METADATA
# title: Agent changes its own policy
# description: A step that an agent plans touches what decides over it - the configuration (.cabincrew*), policies (*.rego), CODEOWNERS, or any path in input.governance.paths.
# custom:
#   id: agent-policy
#   remedy: Let a person propose this change; an agent must not move the fence that holds it.
deny contains f if some f in told(
	"agent-policy", whole(like("policy") | governed),
	"changes what decides over the agent",
	"Let a person propose this change, or list the step in not_agents if no agent plans it",
)

governed := {i |
	some g in input.governance.paths
	some i, p in paths
	covers(trim_prefix(lower(g), "./"), p)
}

covers(g, p) if trim_suffix(g, "/") == p

covers(g, p) if {
	endswith(g, "/")
	startswith(p, g)
}

# METADATA
# title: Agent writes credentials
# description: A file would be written whose name says that it holds credentials (.env, private keys, key stores, credentials.json, secrets.yaml, service account keys, tokens ...).
# custom:
#   id: agent-credentials
#   remedy: Keep credentials in the secret store, and give steps only the names of secrets.
deny contains f if some f in told(
	"agent-credentials", whole({i |
		some i in (like("credentials") - like("examples")) - public
		changes[i].file.op != "delete"
	} | private),
	"writes files that hold credentials by their names",
	"Keep credentials in the secret store, and give steps the names of secrets only",
)

# files of keys and certificates that hold public ones only, as far as can be seen
public := {i |
	some i in like("armoured")
	changes[i].file.truncated == false
	regex.match(`-----BEGIN ([A-Z0-9]+ )*(CERTIFICATE|CERTIFICATE REQUEST|CRL|PUBLIC KEY|PUBLIC KEY BLOCK|PARAMETERS)-----`, texts[i])
	not contains(texts[i], "PRIVATE KEY")
}

private := {i |
	some i in like("armoured")
	contains(texts[i], "PRIVATE KEY")
	not i in like("examples")
}

# METADATA
# title: Agent changes CI
# description: A file that CI systems run is touched (.github/workflows, .github/actions, .gitlab-ci.yml, Jenkinsfile, .circleci and others).
# custom:
#   id: agent-ci
#   remedy: A maintainer must read what the pipeline would do with which rights, and approve.
require_approval contains f if some f in asked(
	"agent-ci", whole(ci),
	"changes what CI runs",
	"Leave pipelines to people, or read what it would do and with which rights",
)

# METADATA
# title: Agent changes instructions of agents
# description: A file that tells agents what to do is touched (AGENTS.md, CLAUDE.md, GEMINI.md, .cursor, .claude, .github/copilot-instructions.md and others).
# custom:
#   id: agent-instructions
#   remedy: A maintainer must read the instructions as an agent would follow them, and approve.
require_approval contains f if some f in asked(
	"agent-instructions", whole(like("instructions")),
	"changes what agents are told",
	"Leave instructions to people, or read them as an agent would follow them",
)

# METADATA
# title: Agent changes what starts by itself
# description: A file is touched that makes editors, agents or git start programs on people's machines (MCP configuration, .vscode tasks, .devcontainer, git hooks, direnv).
# custom:
#   id: agent-autostart
#   remedy: A maintainer must look at each command that it starts, and approve.
require_approval contains f if some f in asked(
	"agent-autostart", whole(like("autostart")),
	"changes what starts by itself on people's machines",
	"Leave it to people, or look at each command that it starts",
)

# METADATA
# title: Agent adds programs
# description: A file becomes executable, a new file begins with "#!", or a program in binary form is written.
# custom:
#   id: agent-executable
#   remedy: Leave the executable bit away and let people start it by its interpreter, or read what it does.
require_approval contains f if some f in asked(
	"agent-executable", whole({i | some i, c in changes; runs(c.file)} | {i |
		some i in like("programs")
		changes[i].file.op != "delete"
	}),
	"adds programs",
	"Leave out what need not be executable, or read what it does",
)

runs(f) if {
	f.new_mode == "100755"
	f.old_mode != "100755"
}

runs(f) if {
	f.op == "add"
	startswith(f.added_lines[0], "#!")
}

# METADATA
# title: Outside of the step's target
# description: A file is touched outside of the directory that the step names as its target, or outside of the globs that scopes gives for the step.
# custom:
#   id: outside-target
#   remedy: Let the step change only what it is for, or widen its target or scope.
require_approval contains f if some f in asked(
	"outside-target", whole(outside),
	"changes files outside of what the step is for",
	"Let the step change only what it is for, or widen its target or scope",
)

outside := {i |
	globs := config.scopes[input.context.step_id]
	some i, c in changes
	every g in globs { not inside(g, c.file.path) }
} | {i |
	not config.scopes[input.context.step_id]
	some directory in [trim_suffix(trim_prefix(lower(input.config.target), "./"), "/")]
	is_directory(input.config.target, directory)
	some i, p in paths
	changes[i]
	not below(p, directory)
}

inside(g, path) if {
	glob.match(g, ["/"], path)
	not climbs(path)
}

below(path, directory) if {
	startswith(path, concat("", [directory, "/"]))
	not climbs(path)
}

climbs(path) if ".." in split(replace(path, "\\", "/"), "/")

# a target is a directory if it is written as one, or if files below it change
is_directory(target, directory) if {
	directory != ""
	regex.match(`^(\./)?[^:@\s]*/$`, target)
}

is_directory(_, directory) if {
	directory != ""
	contains(concat("", ["\n", path_text]), concat("", ["\n", directory, "/"]))
}

# METADATA
# title: Request that was refused
# description: While it planned, the engine asked the network for what the step does not allow.
# custom:
#   id: refused-request
#   remedy: Find out why it asked; list the host in the step's hosts if it needs it.
require_approval contains {
	"id": "refused-request",
	"role": config.role,
	"msg": sprintf("the engine asked for what its step does not allow: %s%s. Find out why, list the host if the step needs it, or approve as %s.", [concat(", ", array.slice(sort(refused), 0, 10)), more(count(refused) - 10), config.role]),
} if {
	count(refused) > 0
}

# what follows "?" may be long and a secret
refused := {sprintf("%s %q (%s)", [r.method, split(r.url, "?")[0], r.reason]) |
	watched
	some r in input.isolation.requests
	not r.allowed
}

# METADATA
# title: Attempt at the network
# description: While it planned, the engine tried to open a socket past the proxy.
# custom:
#   id: network-attempt
#   remedy: Give the step the hosts that it needs; programs that ignore the proxy cannot work.
warn contains {
	"id": "network-attempt",
	"msg": sprintf("the engine tried to reach the network past the proxy: %s. Give the step the hosts that it needs, and find out what else it tried.", [concat(", ", sort(sockets))]),
} if {
	count(sockets) > 0
}

sockets := {a.call |
	watched
	some a in input.isolation.attempts
	startswith(a.call, "socket")
	not a.call in config.harmless_calls
}

# METADATA
# title: Forbidden system call
# description: While it planned, the engine tried a system call that the sandbox forbids (ptrace, mount, bpf ...) and that is not in harmless_calls.
# custom:
#   id: forbidden-call
#   remedy: Find out which program tried it and why, before anything that it planned is done.
require_approval contains {
	"id": "forbidden-call",
	"role": config.role,
	"msg": sprintf("the engine tried system calls that the sandbox forbids: %s. Find out which program tried them and why, then approve as %s.", [concat(", ", sort(calls)), config.role]),
} if {
	count(calls) > 0
}

calls := {a.call |
	watched
	some a in input.isolation.attempts
	not startswith(a.call, "socket")
	not a.call in config.harmless_calls
}
