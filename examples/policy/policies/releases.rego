package cabincrew.releases

# METADATA
# title: Release notes
# description: A version changes without release notes.
# custom:
#   id: release-notes
#   remedy: Describe the release in CHANGELOG.md.
require_approval contains {
	"id": "release-notes",
	"role": "release-manager",
	"msg": "VERSION changes, but CHANGELOG.md does not. Describe the release in CHANGELOG.md.",
} if {
	"VERSION" in changed
	not "CHANGELOG.md" in changed
}

changed contains f.path if {
	some a in input.artifacts
	some f in a.patch.files
}
