package cabincrew.releases_test

import data.cabincrew.releases

plan(paths) := {"artifacts": [{"patch": {"files": [{"path": p} | some p in paths]}}]}

test_version_alone_needs_approval if {
	count(releases.require_approval) == 1 with input as plan({"VERSION"})
}

test_version_with_notes_is_fine if {
	count(releases.require_approval) == 0 with input as plan({"VERSION", "CHANGELOG.md"})
}
