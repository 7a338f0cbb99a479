package cabincrew.baseline

# METADATA
# title: Binary files
# description: Files that are no text would be written; nobody can read what changes in them.
# custom:
#   id: binary-file
#   remedy: Check where they come from; keep generated binaries out of the repository.
warn contains {
	"id": "binary-file",
	"artifact": name,
	"files": files,
	"msg": sprintf("artifact %s writes binary %s: %s. Check where they come from.", [name, noun(files), listed(files)]),
} if {
	some name, files in by_artifact({{"artifact": written[i].artifact, "path": written[i].file.path} | written[i].file.binary})
}

# METADATA
# title: View cut off
# description: A patch has more lines than policies are shown, so that rules about content saw only a part.
# custom:
#   id: truncated-view
#   remedy: Look at the whole file in the flight directory, or plan smaller steps.
warn contains {
	"id": "truncated-view",
	"artifact": name,
	"files": files,
	"msg": sprintf("policies saw only a part of the %s %s of artifact %s. Look at the whole of it, or plan smaller steps.", [noun(files), listed(files), name]),
} if {
	some name, files in by_artifact({{"artifact": changes[i].artifact, "path": changes[i].file.path} | changes[i].file.truncated})
}
