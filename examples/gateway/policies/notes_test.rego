package cabincrew.notes_test

import data.cabincrew.notes

call(tool, path) := {
	"method": "tools/call",
	"params": {"name": tool, "arguments": {"path": path}},
	"context": {
		"phase": "request", "direction": "client_to_server",
		"paths": [{"at": "/params/arguments/path", "value": path, "path": concat("/", ["/w/notes", path]), "root": "/w/notes", "inside": true, "protected": false}],
	},
}

test_archive_stays if count(notes.deny) == 1 with input as call("delete_note", "archive/2025.txt")

test_deletion_is_held if {
	count(notes.require_approval) == 1 with input as call("delete_note", "todo.txt")
	count(notes.deny) == 0 with input as call("delete_note", "todo.txt")
}

test_reading_is_free if count(notes.deny | notes.require_approval) == 0 with input as call("read_note", "archive/2025.txt")

test_answers_are_free if count(notes.deny | notes.require_approval) == 0 with input as json.patch(
	call("delete_note", "todo.txt"), [{"op": "replace", "path": "/context/phase", "value": "response"}],
)
