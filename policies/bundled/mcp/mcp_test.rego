package cabincrew.mcp_test

import data.cabincrew.mcp

base := {
	"request_id": "r1", "timestamp": "2026-01-01T00:00:00Z", "source": "local", "server_id": "files", "method": "tools/call",
	"params": {"name": "read_file", "arguments": {"path": "/w/a.txt"}},
	"context": {
		"phase": "request", "direction": "client_to_server", "environment": "local", "known": true, "session": "s", "principal": "local",
		"tool": {"name": "read_file", "annotations": {"readOnlyHint": true}, "pin": "sha256:0", "state": "pinned"},
		"paths": [{"at": "/params/arguments/path", "value": "a.txt", "path": "/w/a.txt", "root": "/w", "inside": true, "protected": false}],
		"roots": ["/w"], "suspicions": [], "text_bytes": 100,
	},
}

# the request with other values in its context
in_context(extra) := json.patch(base, [{"op": "add", "path": "/context", "value": object.union(base.context, extra)}])

# a call of a tool of this name with these annotations, in an environment
call(name, annotations, environment) := json.patch(
	in_context({"environment": environment}),
	[
		{"op": "add", "path": "/params/name", "value": name},
		{"op": "add", "path": "/context/tool/name", "value": name},
		{"op": "add", "path": "/context/tool/annotations", "value": annotations},
	],
)

# a request of a server, as it was sent, and as an answer that asks
of_server(method, params) := json.patch(in_context({"direction": "server_to_client"}), [
	{"op": "add", "path": "/method", "value": method},
	{"op": "add", "path": "/params", "value": params},
])

in_answer(method, params) := in_context({"phase": "response", "result": {"resultType": "input_required", "inputRequests": {"a": {"method": method, "params": params}}}})

ids(set) := {m.id | some m in set}

found(doc) := f if {
	f := {
		"deny": ids(mcp.deny), "require_approval": ids(mcp.require_approval),
		"warn": ids(mcp.warn),
	} with input as doc
}

none := {"deny": set(), "require_approval": set(), "warn": set()}

denied(doc, id) if found(doc) == object.union(none, {"deny": {id}})

held(doc, id) if found(doc) == object.union(none, {"require_approval": {id}})

warned(doc, id) if found(doc) == object.union(none, {"warn": {id}})

quiet(doc) if found(doc) == none

test_ordinary_call_is_quiet if quiet(base)

test_ordinary_answer_is_quiet if quiet(in_context({"phase": "response", "result": {"content": [{"type": "text", "text": "x"}]}}))

test_ordinary_notification_is_quiet if quiet(json.patch(in_context({"phase": "notification"}), [{"op": "add", "path": "/method", "value": "notifications/progress"}]))

path(extra) := [object.union(base.context.paths[0], extra)]

test_path_outside if denied(in_context({"paths": path({"path": "/etc/passwd", "inside": false})}), "mcp-path-outside")

test_path_second if denied(in_context({"paths": array.concat(base.context.paths, path({"inside": false}))}), "mcp-path-outside")

test_path_inside if quiet(in_context({"paths": array.concat(base.context.paths, base.context.paths)}))

test_path_of_answer if quiet(in_context({"phase": "response", "paths": path({"inside": false})}))

test_path_protected if denied(in_context({"paths": path({"path": "/w/.env", "protected": true})}), "mcp-path-protected")

test_path_both if found(in_context({"paths": path({"inside": false, "protected": true})})).deny == {"mcp-path-outside", "mcp-path-protected"}

test_path_untold if {
	some m in mcp.deny with input as in_context({"paths": path({"value": "a:b", "path": "", "inside": false, "why": "it has a colon"})})
	m == {"id": "mcp-path-outside", "file": "a:b", "msg": "/params/arguments/path names a:b, which is outside the roots (it has a colon). Name a file inside them, or add its directory to roots."}
}

test_path_blank if {
	some m in mcp.deny with input as in_context({"paths": path({"value": " ", "path": "", "inside": false, "why": "x"})})
	m.file == "/params/arguments/path"
}

test_path_of_all if {
	files := {m.file | some m in mcp.deny with input as in_context({"paths": path({"at": "", "value": "", "path": "", "inside": false, "protected": true, "why": "x"})})}
	files == {"arguments"}
}

test_no_paths if quiet(in_context({"paths": []}))

test_method_unknown_ci if denied(in_context({"known": false, "environment": "ci"}), "mcp-method-unknown-ci")

test_method_unknown if warned(in_context({"known": false}), "mcp-method-unknown")

test_method_decided if {
	every e in ["ci", "local"] {
		quiet(in_context({"known": false, "environment": e, "named": true}))
		every d in ["allow", "warn", "require_approval"] {
			quiet(in_context({"known": false, "environment": e, "unknown_methods": d}))
		}
	}
	denied(in_context({"known": false, "environment": "ci", "named": false, "unknown_methods": "deny"}), "mcp-method-unknown-ci")
	warned(in_context({"known": false, "named": false, "unknown_methods": ""}), "mcp-method-unknown")
}

test_method_known if quiet(in_context({"environment": "ci"}))

test_method_unknown_answered if {
	quiet(in_context({"known": false, "phase": "response"}))
	quiet(in_context({"known": false, "environment": "ci", "phase": "response"}))
}

tool(state, environment) := in_context({"environment": environment, "tool": object.union(base.context.tool, {"state": state})})

test_tool_changed[state] if {
	some state in ["new", "changed", "shadowing"]
	held(tool(state, "local"), "mcp-tool-changed")
	denied(tool(state, "ci"), "mcp-tool-changed-ci")
}

test_tool_changed_all if count(test_tool_changed) == 3

test_tool_same if {
	every state in ["pinned", "unpinned"] {
		quiet(tool(state, "local"))
		quiet(tool(state, "ci"))
	}
}

test_tool_answer if quiet(json.patch(tool("new", "local"), [{"op": "add", "path": "/context/phase", "value": "response"}]))

test_destructive if {
	held(call("tidy", {"destructiveHint": true}, "local"), "mcp-tool-destructive")
	held(call("tidy", {"destructiveHint": true, "readOnlyHint": false}, "ci"), "mcp-tool-destructive")
}

test_not_destructive if {
	quiet(call("delete_x", {"destructiveHint": false}, "local"))
	quiet(call("delete_x", {"destructiveHint": true, "readOnlyHint": true}, "local"))
	quiet(call("tidy", {}, "local"))
}

test_name[name] if {
	some name in [
		"delete_file", "deleteFile", "fileDelete", "db.drop", "rm", "rm-rf", "git_rm", "exec", "run_shell", "runShell", "execute_sql", "bash", "EXEC",
		"remove", "kill-process", "terminal", "run_command",
	]
	held(call(name, {}, "local"), "mcp-tool-name")
}

test_name_all if count(test_name) == 17

test_name_ordinary if {
	every name in ["confirm", "format", "undeleted_items", "dropdown", "executive_summary", "read_file", "removed", "skills", "shells", "evaluate", "list"] {
		quiet(call(name, {}, "local"))
	}
}

test_no_annotations if held(json.patch(call("delete", {}, "local"), [{"op": "remove", "path": "/context/tool"}]), "mcp-tool-name")

test_sampling if {
	every c in ["thisServer", "allServers", "x", 1] {
		held(of_server("sampling/createMessage", {"includeContext": c}), "mcp-sampling-context")
		held(in_answer("sampling/createMessage", {"includeContext": c}), "mcp-sampling-context")
	}
}

test_sampling_plain if {
	quiet(of_server("sampling/createMessage", {"includeContext": "none"}))
	quiet(of_server("sampling/createMessage", {"maxTokens": 5}))
	quiet(in_answer("sampling/createMessage", {"messages": []}))
}

test_elicitation_secret[text] if {
	some text in [
		"Enter your password", "Your API key, please", "paste the access token", "token:", "recovery phrase", "Private-Key", "OTP", "the one-time code",
		"credit card", "passphrase", "Your CREDENTIALS", "client secret",
	]
	denied(of_server("elicitation/create", {"message": text, "requestedSchema": {}}), "mcp-elicitation-secret")
	denied(in_answer("elicitation/create", {"message": text}), "mcp-elicitation-secret")
}

test_elicitation_secret_all if count(test_elicitation_secret) == 12

test_elicitation_schema if {
	every name in ["password", "api_key", "apiKey", "github_token", "access_token", "otp"] {
		denied(of_server("elicitation/create", {"message": "x", "requestedSchema": {"properties": {name: {"type": "string"}}}}), "mcp-elicitation-secret")
	}
	denied(of_server("elicitation/create", {"requestedSchema": {"properties": {"x": {"title": "Your password"}}}}), "mcp-elicitation-secret")
}

test_elicitation_plain if {
	quiet(of_server("elicitation/create", {"message": "Which branch?", "requestedSchema": {"properties": {"branch": {"type": "string"}, "tokenizer": {}, "passenger": {}}}}))
	quiet(in_answer("elicitation/create", {"message": "Which branch?"}))
}

test_elicitation_url[url] if {
	some url in ["http://example.com", "file:///etc/passwd", "javascript:alert(1)", "", "//example.com", "https://", "https://user@example.com/", "https://a\\@b/"]
	denied(of_server("elicitation/create", {"mode": "url", "message": "x", "url": url}), "mcp-elicitation-url")
}

test_elicitation_url_all if count(test_elicitation_url) == 8

test_elicitation_url_missing if denied(of_server("elicitation/create", {"mode": "url", "message": "x"}), "mcp-elicitation-url")

test_elicitation_https if {
	quiet(of_server("elicitation/create", {"mode": "url", "message": "x", "url": "https://example.com/login?x"}))
	quiet(in_answer("elicitation/create", {"mode": "url", "message": "x", "url": "HTTPS://example.com"}))
}

test_client_asks_nothing if quiet(json.patch(of_server("elicitation/create", {"message": "password"}), [{"op": "add", "path": "/context/direction", "value": "client_to_server"}]))

suspicious(kind) := in_context({"phase": "response", "suspicions": [{"at": "/result/x", "kind": kind, "id": "bidi"}]})

test_description_orders if held(suspicious("description"), "mcp-description-orders")

# a tone in the description of the second tool of a list, as the gateway decided of it or not
toned(grave, environment, items) := in_context({
	"phase": "response", "environment": environment, "items": items,
	"suspicions": [{"at": "/result/tools/1/description", "kind": "description", "id": "instruction-markup", "grave": grave}],
})

test_description_tone if {
	warned(toned(false, "local", []), "mcp-description-tone")
	held(toned(true, "local", []), "mcp-description-orders")
	held(toned(false, "ci", []), "mcp-description-orders")
	held(toned(true, "local", [{"state": "pinned", "decision": "allow"}, {"state": "unpinned"}]), "mcp-description-orders")
}

test_description_of_item if {
	every d in ["allow", "warn", "require_approval"] {
		quiet(toned(true, "local", [{}, {"state": "pinned", "decision": d}]))
		quiet(toned(true, "ci", [{}, {"state": "new", "decision": d}]))
	}
}

test_description_beside_items if {
	every at in ["/result/_meta/1/x", "/result/tools/x/y", "/result/tools", "/result"] {
		doc := json.patch(toned(true, "local", [{"decision": "allow"}, {"decision": "allow"}]), [{"op": "replace", "path": "/context/suspicions/0/at", "value": at}])
		held(doc, "mcp-description-orders")
	}
}

test_tool_approved if {
	quiet(in_context({"tool": object.union(base.context.tool, {"state": "new", "approved": true})}))
	denied(in_context({"environment": "ci", "tool": object.union(base.context.tool, {"state": "new", "approved": true})}), "mcp-tool-changed-ci")
}

test_result_orders if {
	every kind in ["text", "resource", "error", ""] {
		warned(suspicious(kind), "mcp-result-orders")
	}
}

test_no_orders if quiet(in_context({"phase": "response", "suspicions": []}))

test_large if {
	warned(in_context({"phase": "response", "text_bytes": 1048577}), "mcp-large-result")
	quiet(in_context({"phase": "response", "text_bytes": 1048576}))
	quiet(in_context({"text_bytes": 1048577}))
}

test_unjudged if {
	denied({}, "mcp-unjudged")
	denied(in_context({"phase": "later"}), "mcp-unjudged")
}

test_messages_help if {
	some m in mcp.deny with input as in_context({"paths": path({"path": "/etc/passwd", "inside": false})})
	contains(m.msg, "/etc/passwd")
	m.file == "/etc/passwd"
}

test_without_values if {
	found(tool("new", "local")).require_approval == {"mcp-tool-changed"} with data.cabincrew_mcp as {}
	found(in_context({"phase": "response", "text_bytes": 1048577})).warn == {"mcp-large-result"} with data.cabincrew_mcp as {}
	some m in mcp.require_approval with input as tool("new", "local") with data.cabincrew_mcp as {}
	m.role == "maintainer"
}
