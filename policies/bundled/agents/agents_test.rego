package cabincrew.agents_test

import data.cabincrew.agents

# a changed text file that gains and loses lines; members of extra win
file(path, gains, losses, extra) := object.union(
	{
		"op": "modify", "path": path, "old_path": path, "old_mode": "100644", "new_mode": "100644", "binary": false,
		"added": count(gains), "deleted": count(losses), "added_lines": gains, "deleted_lines": losses, "truncated": false, "executable_changed": false,
		"hunks": [{"old_start": 7, "new_start": 7, "lines": array.concat(
			[{"op": "-", "line": 7 + n, "text": text} | some n, text in losses],
			[{"op": "+", "line": 7 + n, "text": text} | some n, text in gains],
		)}],
	},
	extra,
)

gains(path, lines) := file(path, lines, [], {})

loses(path, lines) := file(path, [], lines, {})

swaps(path, before, after) := file(path, after, before, {})

deleted(path, losses) := file(path, [], losses, {"op": "delete", "new_mode": ""})

renamed(from, to) := file(to, [], [], {"op": "rename", "old_path": from})

patch(files) := {
	"artifacts": [{"name": "changes", "artifact_type": "patch", "metadata": {}, "patch": {"files": files}}],
	"context": {"step_id": "work"}, "config": {"target": ""}, "governance": {"paths": ["rules/", "gate.json"]},
	"isolation": {"tier": "A", "attempts": [], "requests": []},
}

ids(set) := {m.id | some m in set}

doc_ids(doc) := found if {
	found := ids((agents.deny | agents.require_approval) | agents.warn) with input as doc
}

judged(files) := doc_ids(patch(files))

# Many cases go into one patch, since an evaluation costs more than a case: the
# n-th stands in the directory n.
spread(cases) := [gains(sprintf("%d/%s", [n, c[0]]), c[1]) | some n, c in cases]

# files that a rule names
named(id, files) := found if {
	found := {f | some m in ((agents.deny | agents.require_approval) | agents.warn); m.id == id; some f in m.files} with input as patch(files)
}

# the files for which a rule does not fire as it should
missed(id, files) := {f.path | some f in files} - named(id, files)

test_ordinary_change_is_quiet if judged([
	gains("main.go", ["\treturn fmt.Errorf(\"skip %w\", err)", "// ignore the rest"]), gains("main_test.go", ["func TestX(t *testing.T) {", "\tt.Error(1)"]),
	gains("docs/testing.md", ["t.Skip() is for `|| true`"]), gains("package.json", ["\"version\": \"1.0.0\""]), deleted("old.go", ["func Test"]),
	renamed("a.go", "b.go"), renamed("a_test.go", "b_test.go"), file("run.sh", ["x"], [], {"old_mode": "100755", "new_mode": "100755"}),
]) == set()

test_nothing_is_quiet if judged([]) == set()

test_policy if {
	governing := [".cabincrew.yaml", "sub/.cabincrew/x", ".cabincrew-secrets.json", "CODEOWNERS", ".github/CODEOWNERS", "p/x.rego", "rules/data.json", "Gate.json", ".//.CABINCREW.yml"]
	missed("agent-policy", [gains(path, ["x"]) | some path in governing]) == set()
	missed("agent-policy", [deleted(path, ["x"]) | some path in governing]) == set()
	named("agent-policy", [renamed(path, sprintf("elsewhere/%d", [n])) | some n, path in governing]) == {path | some path in governing}
}

test_not_policy if judged([gains(p, ["x"]) | some p in ["docs/codeowners.md", "cabincrew.go", "my-rules/x", "gate.json.md", "rego.go"]]) == set()

test_not_an_agent if {
	judged([gains(".cabincrew.yaml", ["x"])]) == set() with data.cabincrew_agents.not_agents as ["work"]
	judged([gains(".cabincrew.yml", ["x"])]) == {"agent-policy"} with data.cabincrew_agents.not_agents as ["other"]
	"agent-policy" in ids(agents.deny) with input as object.remove(patch([gains(".cabincrew.yaml", ["x"])]), ["context"])
}

test_credentials if {
	cases := [gains(path, ["x"]) | some path in [
		".env", ".env.production", "config/credentials.json", "gcp-service-account.json", "secrets.yaml", "k8s/db-password.txt", "id_rsa", "tls/server.key", "x.pem",
		".ssh/config", ".aws/credentials", "api_keys.toml", "prod.p12", ".npmrc", "client_secret.json",
	]]
	missed("agent-credentials", cases) == set()
	judged(cases) == {"agent-credentials"}
}

test_not_credentials if {
	judged([gains(p, ["x"]) | some p in [".env.example", "src/secrets.go", "docs/credentials.md", "testdata/server.key", "key.pub", "secret-example.yaml", "passwords.py", "environment.ts"]]) == set()
	judged([deleted(".env", ["x"])]) == set()
}

test_ci if {
	cases := [gains(path, ["x"]) | some path in [".github/workflows/x.yml", ".gitlab-ci.yml", "Jenkinsfile", ".circleci/config.yml", "azure-pipelines.yml"]]
	missed("agent-ci", cases) == set()
	judged(cases) == {"agent-ci"}
	judged([renamed(".github/workflows/x.yml", "x.yml")]) == {"agent-ci"}
	judged([gains("docs/workflows/x.yml", ["x"])]) == set()
}

test_instructions if {
	cases := [gains(path, ["x"]) |
		some path in ["AGENTS.md", "sub/CLAUDE.md", ".cursor/rules/x.mdc", ".cursorrules", ".github/copilot-instructions.md", ".github/prompts/x.md", ".claude/settings.json", "GEMINI.md"]
	]
	missed("agent-instructions", cases) == set()
	judged(cases) == {"agent-instructions"}
	judged([gains(p, ["x"]) | some p in ["docs/agents-guide.md", "agents.go", "cursor/x.go", "internal/claude.go"]]) == set()
}

test_autostart if {
	cases := [gains(path, ["x"]) | some path in [".mcp.json", "mcp.json", ".vscode/tasks.json", ".devcontainer/devcontainer.json", ".husky/pre-commit", ".pre-commit-config.yaml", "lefthook.yml"]]
	missed("agent-autostart", cases) == set()
	judged(cases) == {"agent-autostart"}
	judged([gains(p, ["x"]) | some p in [".vscode/extensions.json", "mcp.go", "docs/mcp.md", "src/githooks.ts"]]) == set()
}

test_executable if {
	every f in [
		file("run", ["x"], [], {"new_mode": "100755"}), file("x.sh", ["#!/bin/sh"], [], {"op": "add", "old_mode": ""}), file("tool.exe", [], [], {"binary": true}),
		file("lib/x.so.1", [], [], {"op": "add"}),
	] {
		judged([f]) == {"agent-executable"}
	}
	judged([file("x.md", ["#! is a shebang"], [], {}), file("x.exe", [], [], {"op": "delete", "binary": true}), file("a.sh", [], [], {"op": "add"})]) == set()
}

with_target(target, path) := object.union(patch([gains(path, ["x"])]), {"config": {"target": target}})

test_outside_target if {
	every pair in [["docs/", "src/x.go"], ["./web/app/", "web/api/x.go"]] {
		doc_ids(with_target(pair[0], pair[1])) == {"outside-target"}
	}
	two := object.union(patch([gains("handbook/x.md", ["x"]), gains("src/x.go", ["x"])]), {"config": {"target": "handbook"}})
	some m in agents.require_approval with input as two
	m.files == {"src/x.go"}
	every pair in [["docs/", "docs/x.md"], ["production", "src/x.go"], ["", "x"], ["https://x.example/", "x"], ["handbook", "handbook/x"], ["git@x:a/b/", "x"]] {
		doc_ids(with_target(pair[0], pair[1])) == set()
	}
}

test_outside_scope if {
	judged([gains("src/a.go", ["x"]), gains("docs/x.md", ["x"])]) == {"outside-target"} with data.cabincrew_agents.scopes as {"work": ["docs/**"]}
	judged([gains("docs/a/x.md", ["x"])]) == set() with data.cabincrew_agents.scopes as {"work": ["src/**", "docs/**"]}
	judged([gains("src/a.go", ["x"])]) == set() with data.cabincrew_agents.scopes as {"other": ["docs/**"]}
}

isolated(more) := object.union(patch([]), {"isolation": object.union({"attempts": [], "requests": []}, more)})

test_requests if {
	refused := isolated({"requests": [{"method": "POST", "url": "https://evil.example/x?secret=1", "allowed": false, "reason": "host_not_listed"}]})
	doc_ids(refused) == {"refused-request"}
	some m in agents.require_approval with input as refused
	contains(m.msg, `POST "https://evil.example/x" (host_not_listed)`)
	not contains(m.msg, "secret=1")
	doc_ids(isolated({"requests": [{"method": "GET", "url": "https://x.example", "allowed": true, "reason": ""}]})) == set()
	doc_ids(refused) == set() with data.cabincrew_agents.not_agents as ["work"]
}

test_attempts if {
	doc_ids(isolated({"attempts": [{"call": "ptrace", "count": 1}]})) == {"forbidden-call"}
	doc_ids(isolated({"attempts": [{"call": "socket inet", "count": 3}]})) == {"network-attempt"}
	doc_ids(isolated({"attempts": [{"call": "io_uring_setup", "count": 3}, {"call": "socket netlink", "count": 1}]})) == set()
}

test_test_deleted if {
	every f in [deleted("a_test.go", ["x"]), deleted("web/x.spec.ts", ["x"]), deleted("tests/test_x.py", ["x"]), renamed("a_test.go", "a_test.go.txt"), renamed("x.test.js", "x.js"), deleted("FooTest.java", ["x"])] {
		judged([f]) == {"test-deleted"}
	}
	judged([renamed("a_test.go", "b/c_test.go"), deleted("testing.go", ["x"]), deleted("docs/tests.md", ["x"])]) == set()
}

test_weakened if {
	judged([loses("a_test.go", ["func TestX(t *testing.T) {"])]) == {"tests-weakened"}
	judged([loses("a_test.go", [sprintf("\tt.Error(%d)", [i]) | some i in numbers.range(1, 6)])]) == {"tests-weakened"}
	judged([loses("t/x.spec.js", ["  it('works', () => {"])]) == {"tests-weakened"}
	some m in agents.require_approval with input as patch([loses("a_test.go", ["func TestX(t *testing.T) {"])])
	contains(m.msg, "takes 1 tests and 0 assertions away")
	judged([loses("a_test.go", ["func TestX(t *testing.T) {"]), gains("b_test.go", ["func TestX(t *testing.T) {"])]) == set()
	judged([loses("a_test.go", [sprintf("\tt.Error(%d)", [i]) | some i in numbers.range(1, 5)])]) == set()
	judged([loses("a.go", ["func TestX(t *testing.T) {"])]) == set()
}

skips := {
	"a_test.go": ["\tt.Skip(\"later\")", "\tt.SkipNow()", "//go:build ignore"], "x.spec.ts": ["  it.skip('x', () => {", "describe.only('x')", "  xit('x'", "  fit('x', () => {})"],
	"tests/test_x.py": ["@pytest.mark.skip", "@unittest.skip('x')", "    pytest.skip('x')", "@pytest.mark.xfail"], "XTest.java": ["@Disabled", "@Ignore"],
	"tests/x.rs": ["#[ignore]"], "XTest.cs": ["[Fact(Skip = \"x\")]", "[Ignore(\"x\")]"], "x_spec.rb": ["  pending 'x'", "  skip 'x'"], "p_test.rego": ["todo_test_x if {"],
}

test_skipped if {
	cases := spread([[path, [line]] | some path, lines in skips; some line in lines])
	missed("test-skipped", cases) == set()
	judged(cases) == {"test-skipped", "agent-policy"} # the latter for p_test.rego
}

test_not_skipped if {
	judged([gains("a_test.go", ["\tname: \"skip\",", "\tif skipped {", "// ignore order"]), gains("a.go", ["t.Skip()"]), gains("x.test.ts", ["  outfit('x')", "it('skips', () => {", "  await commit(x)"])]) == set()
	judged([swaps("a_test.go", ["\tt.Skip(\"a\")"], ["\t\tt.Skip(\"a\")"])]) == set()
}

silencers := {
	"a.go": "x() //nolint:errcheck // known", "a.ts": "// eslint-disable-next-line no-x", "b.ts": "// @ts-ignore", "a.py": "x = 1  # noqa: E501", "b.py": "y()  # type: ignore[arg]",
	"A.java": "@SuppressWarnings(\"x\")", "a.rb": "# rubocop:disable X", "a.sh": "# shellcheck disable=SC2086", "a.rs": "#[allow(dead_code)]", "c.py": "# pragma: no cover", "b.go": "// NOSONAR",
}

test_silenced if missed("check-silenced", [gains(path, [line]) | some path, line in silencers]) == set()

test_not_silenced if judged([gains("a.go", ["// we ignore it", "disable()", "allow(x)", "if nolint {"]), gains("b.py", ["suppress = 1", "ignore(type)"])]) == set()

test_disabled if {
	missed("check-disabled", spread([["Makefile", [line]] | some line in [
		"\tgo test ./... || true", "\tgit commit --no-verify", "\tset +e", "\tflake8 --exit-zero", "\tmvn -DskipTests package", "\tHUSKY=0 git push", "\ttrivy --exit-code 0",
	]])) == set()
	missed("check-disabled", spread([[".github/workflows/x.yml", [line]] | some line in [
		"    continue-on-error: true", "    allow_failure: true", "    if: false", "    if: ${{ false }}", "        fail_ci_if_error: false",
	]])) == set()
	judged(spread([["Makefile", [line]] | some line in ["\tx || y", "\techo skip", "\tif: true", "\tset -e", "\tx || exit 1"]])) == set()
	judged([gains("main.sh", ["x || true"]), gains("a.go", ["// || true"])]) == set()
}

test_check_removed if {
	judged([deleted(".golangci.yml", ["x"])]) == {"check-removed"}
	judged([deleted(".github/dependabot.yml", ["x"])]) == {"check-removed"}
	judged([loses("Makefile", ["\tgolangci-lint run"])]) == {"check-removed"}
	judged([loses(".github/workflows/x.yml", ["    - uses: github/codeql-action/init@v3"])]) == {"agent-ci", "check-removed"}
	judged([swaps("Makefile", ["\tgolangci-lint run"], ["\tgolangci-lint run ./..."]), loses("docs/x.md", ["semgrep"]), gains(".golangci.yml", ["x"])]) == set()
}

test_coverage if {
	judged([swaps("codecov.yml", ["    target: 80%"], ["    target: 60%"])]) == {"coverage-lowered"}
	judged([swaps("pyproject.toml", ["fail_under = 90"], [])]) == {"coverage-lowered"}
	judged([swaps("jest.config.js", ["      branches: 80,"], ["      branches: 79.5,"])]) == {"coverage-lowered"}
	judged([swaps("codecov.yml", ["    target: 80%"], ["    target: 85%"]), gains("jest.config.js", ["branches: 10"]), swaps("a.go", ["target = 80"], ["target = 10"])]) == set()
}

test_protection if {
	judged([gains(".github/settings.yml", ["x"])]) == {"branch-protection"}
	judged([gains("x.tf", ["resource \"github_branch_protection\" \"main\" {"])]) == {"branch-protection"}
	judged([gains("x.yaml", ["gh api repos/a/b/branches/main/protection"])]) == {"branch-protection"}
	judged([gains("x.yaml", ["protection: high"]), gains("docs/branch-protection.md", ["x"])]) == set()
}

test_hidden if {
	judged([gains(".gitattributes", ["src/** linguist-generated=true"])]) == {"review-hidden"}
	judged([gains(".gitattributes", ["*.go -diff"])]) == {"review-hidden"}
	judged([gains(".gitattributes", ["*.png filter=lfs", "* text=auto"]), gains("x.yaml", ["x: a binary -diff"])]) == set()
}

large := [file(sprintf("f%d.go", [i]), ["x"], [], {"added": 100}) | some i in numbers.range(1, 6)]

explained(text) := object.union(patch([]), {"artifacts": [{"name": "changes", "metadata": {"description": text}, "patch": {"files": large}}]})

test_large if {
	judged(large) == {"large-unexplained"}
	doc_ids(explained("too short")) == {"large-unexplained"}
	doc_ids(explained("Splits the reader into one file for each format, since the formats change apart from each other.")) == set()
	judged([gains(sprintf("f%d.go", [i]), ["x"]) | some i in numbers.range(1, 41)]) == {"large-unexplained"}
	judged([gains(sprintf("f%d.go", [i]), ["x"]) | some i in numbers.range(1, 40)]) == set()
}

test_unseen if judged([file("a.go", ["x"], [], {"truncated": true})]) == {"agents-unseen"}

test_thresholds if {
	ids(agents.deny) == {"agents-thresholds"} with input as patch([]) with data.cabincrew_agents as {}
	ids(agents.deny) == {"agents-thresholds"} with input as patch([]) with data.cabincrew_agents.max_lines as "9"
}

test_every_finding_is_complete if {
	doc := patch(array.concat(large, [
		gains(".cabincrew.yaml", ["x"]), gains(".env", ["x"]), gains(".github/workflows/x.yml", ["x || true"]), gains("AGENTS.md", ["x"]), gains(".mcp.json", ["x"]),
		deleted("x_test.go", ["x"]), gains("a_test.go", ["t.Skip()", "//nolint"]), deleted(".eslintrc", ["x"]),
	]))
	every set in [agents.deny, agents.require_approval, agents.warn] {
		count(set) > 0
		every m in set {
			count(m.msg) > 40
			count(m.id) > 5
		}
	} with input as doc
	every m in agents.require_approval { m.role == "maintainer" } with input as doc
}

test_many_places_and_lines if {
	doc := patch([gains("Makefile", [sprintf("\tgo vet ./%d || true", [i]) | some i in numbers.range(1, 12)])])
	some m in agents.require_approval with input as doc
	contains(m.msg, `"Makefile" line 7 (|| true)`)
	many := patch([gains(sprintf("%d/AGENTS.md", [i]), ["x"]) | some i in numbers.range(1, 12)])
	some n in agents.require_approval with input as many
	contains(n.msg, "and 2 more")
}
