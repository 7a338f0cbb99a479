package cabincrew.notes

# Notes of the archive are kept as they are. What the gateway resolved is compared, not
# what was sent: ./archive/x and a link to it are the same file.
deny contains {"msg": "notes of the archive stay", "id": "archive-stays"} if {
	deletes
	some file in input.context.paths
	startswith(file.path, concat("/", [file.root, "archive/"]))
}

# A person looks at every deletion.
require_approval contains {"msg": sprintf("%s is to be deleted", [input.params.arguments.path]), "role": "editor"} if deletes

deletes if {
	input.method == "tools/call"
	input.context.phase == "request"
	input.params.name == "delete_note"
}
