package cabincrew.agents

import data.cabincrew_agents as config

# METADATA
# title: Test files deleted
# description: A test file is deleted, or moved to a place or name where no test runner finds it.
# custom:
#   id: test-deleted
#   remedy: Keep the test, or a maintainer must see what covers its case now.
require_approval contains f if some f in asked(
	"test-deleted", whole({i |
		some i in tests
		changes[i].file.op == "delete"
		not kept(changes[i].file, paths[i])
	}),
	"deletes tests",
	"Keep them, or say what covers their cases now",
)

# moved to where test runners find it, or from where they did not
kept(f, path) if {
	regex.match(config.tests, f.to)
	not hidden(f.to, path)
}

hidden(to, from) if {
	regex.match(config.unrun, to)
	not regex.match(config.unrun, from)
}

# METADATA
# title: Tests weakened
# description: Test files that stay lose more than max_removed_tests test functions (0), max_removed_assertions assertions (5) or max_removed_lines lines (30) on balance, moved ones not counted and comments not seen; or they gain what always holds (assert True, if false) or code behind which the rest does not run (a return before it, a comment or condition around it).
# custom:
#   id: tests-weakened
#   remedy: Mend the code and not its test, or a maintainer must see why the cases are void.
require_approval contains f if some f in asked(
	"tests-weakened", whole({i |
		weaker
		some i in tests
		changes[i].file.deleted > 0
		changes[i].file.op != "delete"
	}) | (hits("hollow") | cut),
	sprintf("takes %d tests and %d assertions away (%d lines), or keeps some from judging", [lost("test_words"), lost("assertion_words"), shorter]),
	"Mend the code and not its test, or say why these cases are void",
)

weaker if lost("test_words") > config.max_removed_tests

weaker if lost("assertion_words") > config.max_removed_assertions

weaker if shorter > config.max_removed_lines

shorter := max([0, sum([n | some i in tests; changes[i].file.op != "delete"; n := changes[i].file.deleted - changes[i].file.added])])

lost(list) := sum([n | some w in config[list]; n := strings.count(live_before, w) - strings.count(live_now, w)])

# tests without comments
live_before := live(concat("\n", [gone[i] | some i in tests; changes[i].file.op != "delete"]))

live_now := live(joined.tests)

live(text) := regex.replace(text, config.comments, "") if {
	some mark in ["//", "#", "--", "/*", ";", "* "]
	contains(text, mark)
} else := text

# lines that keep the ones below them from running
cut contains [i, l.text, trim_space(l.text)] if {
	some [i, lines] in shown_tests
	some n, l in lines
	l.op == "+"
	regex.match(config.stops, l.text)
	below := lines[n + 1]
	not regex.match(config.ends, below.text)
	dead(paths[i], lines, n, below)
}

cut contains [i, l.text, trim_space(l.text)] if {
	some [i, lines] in shown_tests
	some n, l in lines
	l.op == "+"
	regex.match(config.opens, l.text)
	lines[n + 1].op == " "
	not regex.match(`^\s*\*`, lines[n + 1].text)
	not new(lines, n - 1)
}

# what the hunks of tests show afterwards, without empty lines
shown_tests contains [i, [l | some l in h.lines; l.op != "-"; regex.match(`\S`, l.text)]] if {
	regex.match(`(?m)^[ \t]*(?:return|continue|break|exit|os\.Exit|sys\.exit|process\.exit|goto|/\*|=begin|--\[\[|<!--|#\s*if|"""|''\')`, joined.tests)
	some i in tests
	some h in changes[i].file.hunks
}

new(lines, n) if lines[n].op == "+"

dead(_, lines, n, below) if regex.find_n(`^\s*`, lines[n].text, 1) == regex.find_n(`^\s*`, below.text, 1)

dead(path, lines, n, _) if {
	regex.match(config.braces, path)
	n > 0
	not regex.match(config.control, lines[n - 1].text)
}

# METADATA
# title: Tests skipped
# description: Test files gain marks by which tests do not run (t.Skip, it.skip, .only, xit, xfail, @Disabled, @Ignore, build tags ...).
# custom:
#   id: test-skipped
#   remedy: Let the tests run, or a maintainer must see why they cannot.
require_approval contains f if some f in asked(
	"test-skipped", hits("skipped") | tagged,
	"keeps tests from running",
	"Let them run, or say why they cannot",
)

# build tags of tests that were built without them
tagged contains [i, s, trim_space(s)] if {
	some i in tests
	contains(texts[i], "build")
	changes[i].file.op != "add"
	some s in regex.find_n(config.tags, texts[i], 5)
	not regex.match(config.tags, gone[i])
}

tagged contains [i, s, trim_space(s)] if {
	some i in tests
	contains(texts[i], "[cfg(")
	some s in regex.find_n(config.tags, texts[i], 5)
	not regex.match(config.tags, gone[i])
}

# METADATA
# title: Checks silenced
# description: The configuration of a linter or scanner gains exclusions, or code gains comments that silence a linter, type checker, scanner or coverage (nolint, eslint-disable, noqa, type-ignore, NOSONAR, no-cover pragmas ...).
# custom:
#   id: check-silenced
#   remedy: Mend what the check found; where it is wrong, say why beside the comment.
warn contains f if some f in told(
	"check-silenced", hits("silenced"),
	"silences checks",
	"Mend what they found; where they are wrong, say why beside the comment",
)

# METADATA
# title: Checks disabled
# description: Pipelines, their scripts or settings of test runners gain what lets failures pass or leaves tests out (|| true, continue-on-error, allow_failure, --no-verify, if - false, --exit-zero, -DskipTests, --deselect ...).
# custom:
#   id: check-disabled
#   remedy: Let the check fail and mend its cause.
require_approval contains f if some f in asked(
	"check-disabled", hits("disabled"),
	"lets failures pass",
	"Let the check fail and mend its cause",
)

# METADATA
# title: Checks removed
# description: The configuration of a linter, scanner or update service is deleted, or pipelines lose lines that run one or the tests (CodeQL, Semgrep, Trivy, gitleaks, govulncheck, go test, pytest ...).
# custom:
#   id: check-removed
#   remedy: Keep the check, or a maintainer must see what takes its place.
require_approval contains f if some f in asked(
	"check-removed", whole({i |
		some i in scope.checkers
		changes[i].file.op == "delete"
		not same_place(changes[i].file, paths[i])
	}) | {[i, "", w] |
		some i in scope.pipeline
		changes[i].file.deleted > 0
		some w in config.scanners
		count(regex.find_n(w, gone[i], -1)) > count(regex.find_n(w, joined.pipeline, -1))
	},
	"removes checks",
	"Keep them, or say what takes their place",
)

# moved to another name of its own, in its directory
same_place(f, path) if {
	regex.match(config.checkers, f.to)
	regex.replace(f.to, `[^/]*$`, "") == regex.replace(path, `[^/]*$`, "")
}

# METADATA
# title: Coverage threshold lowered
# description: A coverage threshold is lowered or removed (codecov.yml, .coveragerc, jest, vitest, nyc, pyproject.toml, sonar ...).
# custom:
#   id: coverage-lowered
#   remedy: Keep the threshold and add tests.
require_approval contains f if some f in asked(
	"coverage-lowered", {[i, "", sprintf("%s was %v", [name, before])] |
		some i in like("coverage")
		changes[i].file.deleted > 0
		now := thresholds(texts[i])
		some name, before in thresholds(gone[i])
		object.get(now, name, -1) < before
	},
	"lowers coverage thresholds",
	"Keep them and add tests",
)

# the lowest threshold of each name
thresholds(text) := {name: min({v | some [n, v] in all; n == name}) |
	all := {[lower(m[1]), to_number(m[2])] | some m in regex.find_all_string_submatch_n(config.threshold, text, 100)}
	some [name, _] in all
}

# METADATA
# title: Branch protection
# description: Settings that protect branches are touched (.github/settings.yml, rulesets, branch protection in scripts or Terraform).
# custom:
#   id: branch-protection
#   remedy: A maintainer must compare the settings before and after, and approve.
require_approval contains f if some f in asked(
	"branch-protection", hits("protection") | whole(like("protection")),
	"changes the protection of branches",
	"Leave it to people, or compare the settings before and after",
)

# METADATA
# title: Hidden from review
# description: .gitattributes gains attributes that keep changes out of the diff that reviewers see (linguist-generated, -diff, binary), or that run filters.
# custom:
#   id: review-hidden
#   remedy: Leave such attributes to people.
require_approval contains f if some f in asked(
	"review-hidden", hits("hidden"),
	"hides changes from reviewers",
	"Leave such attributes to people",
)

# METADATA
# title: Large change without explanation
# description: More than max_lines lines (500) or max_files files (40) change, and no metadata of the artifact (description, explanation, reason, summary, message) says why in at least min_explanation characters (80).
# custom:
#   id: large-unexplained
#   remedy: Let the agent say in the artifact's metadata what it changed and why, or plan smaller steps.
require_approval contains {
	"id": "large-unexplained",
	"role": config.role,
	"artifact": name,
	"msg": sprintf("artifact %s changes %d lines of %d files and does not say why. Let the agent say it in the artifact's metadata, or plan smaller steps; else approve as %s.", [name, n, size, config.role]),
} if {
	some a in input.artifacts
	name := a.name
	mine := [c.file | some c in files; c.artifact == name]
	n := sum([f.added | some f in mine]) + sum([f.deleted | some f in mine])
	size := count(mine)
	too_large(n, size)
	words := [text | some key in ["description", "explanation", "reason", "summary", "message"]; text := a.metadata[key]; is_string(text)]
	count(concat("", words)) < config.min_explanation
}

too_large(n, _) if n > config.max_lines

too_large(_, size) if size > config.max_files

# METADATA
# title: Lines that agents did not see
# description: A patch has more lines than policies are shown, so rules of this set saw only a part.
# custom:
#   id: agents-unseen
#   remedy: Plan smaller steps, or look at the whole file in the flight directory.
require_approval contains f if some f in asked(
	"agents-unseen", {[i, "", ""] | some i, c in changes; c.file.truncated},
	"has lines that no rule of agents saw",
	"Plan smaller steps, or look at the whole of it",
)

# METADATA
# title: Thresholds of agents are missing
# description: A value in data.cabincrew_agents is missing or of the wrong kind, so rules could not fire.
# custom:
#   id: agents-thresholds
#   remedy: Give each value under policies.data.cabincrew_agents the kind that the bundled data.json has.
deny contains {
	"id": "agents-thresholds",
	"msg": sprintf("data.cabincrew_agents.%s is missing or no %s; rules that need it could not fire. Mend policies.data in the configuration.", [name, kind]),
} if {
	some kind, names in {
		"array": ["not_agents", "harmless_calls", "seek", "test_words", "assertion_words", "scanners"],
		"number": ["max_removed_tests", "max_removed_assertions", "max_removed_lines", "max_lines", "max_files", "min_explanation"],
		"object": ["scopes"],
		"string": ["role", "policy", "credentials", "examples", "ci", "tasks", "instructions", "autostart", "programs", "tests", "attributes", "checkers", "coverage", "threshold", "protection", "told", "armoured", "braces", "comments", "control", "ends", "opens", "runners", "stops", "tags", "unrun"],
	}
	some name in names
	type_name(object.get(config, name, null)) != kind
}
