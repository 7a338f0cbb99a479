package cabincrew.agents_test

import data.cabincrew.agents

# Ways around the rules, and ordinary changes that look like them.

# a changed file with unchanged lines around: " x", "-x" and "+x"
hunk(path, lines) := file(
	path, [substring(l, 1, -1) | some l in lines; startswith(l, "+")], [substring(l, 1, -1) | some l in lines; startswith(l, "-")],
	{"hunks": [{"old_start": 1, "new_start": 1, "lines": [{"op": substring(l, 0, 1), "line": n + 1, "text": substring(l, 1, -1)} | some n, l in lines]}]},
)

go_test := ["package a", "func TestA(t *testing.T) {", "\tif 1 != 2 {", "\t\tt.Fatal(1)", "\t}", "}"]

test_commented_out if {
	judged([swaps("a_test.go", go_test, [sprintf("// %s", [l]) | some l in go_test])]) == {"tests-weakened"}
	judged([swaps("test_a.py", ["def test_a():", "    assert f()"], ["# def test_a():", "#     assert f()"])]) == {"tests-weakened"}
	judged([hunk("a.test.ts", ["+/*", " it('works', () => {", "   expect(f()).toBe(1)", " })", "+*/"])]) == {"tests-weakened"}
	judged([hunk("test_a.py", ["+\"\"\"", " def test_a():", "     assert f()", "+\"\"\""])]) == {"tests-weakened"}
	judged([loses("a_test.go", ["// func TestOld(t *testing.T) {", "// \tt.Fatal(1)"])]) == set()
	judged([hunk("a_test.go", ["+/*", "+ * What it is for.", "+ */", " func TestA(t *testing.T) {"])]) == set()
	judged([hunk("test_a.py", [" def test_a():", "+    \"\"\"Why.", "+", "+    More.", "+    \"\"\"", "     assert f()"])]) == set()
	judged([hunk("a_test.go", [" /*", "+ more words", " */"])]) == set()
}

test_dead_code if {
	every f in [
		hunk("a_test.go", [" func TestA(t *testing.T) {", "+\treturn", " \tif 1 != 2 {"]), hunk("a_test.go", [" func TestA(t *testing.T) {", "+      return", " \tif 1 != 2 {"]),
		hunk("a_test.go", [" func TestA(t *testing.T) {", "+\treturn", "+", "+", " \tif 1 != 2 {"]), hunk("test_a.py", [" def test_a():", "+    return", "     assert f()"]),
		hunk("a.test.ts", [" it('works', () => {", "+  return;", "   expect(f()).toBe(1)"]), hunk("a_test.go", [" \tfor _, tc := range tests {", "+\t\tcontinue", " \t\tgot := f(tc)"]),
		hunk("a.test.js", [" it('works', () => {", "+  return undefined;", "   expect(f()).toBe(1)"]),
	] {
		judged([f]) == {"tests-weakened"}
	}
	every f in [
		hunk("a_test.go", [" \tif x {", "+\t\treturn", " \t}", " \tt.Error(1)"]), hunk("a_test.go", [" \tcase 1:", "+\t\treturn", " \tcase 2:"]), hunk("a.test.ts", ["   if (x)", "+    return;", "   expect(f()).toBe(1)"]),
		hunk("test_a.py", ["     if x:", "+        return", "     assert f()"]), hunk("a.test.ts", ["+  return expect(f())", "+    .resolves.toBe(1)"]), hunk("a.test.ts", ["+  return fetch(", "+    url)"]),
		hunk("a_test.go", ["+\treturn x", " }", " "]), hunk("a.go", [" func f() {", "+\treturn", " \tg()"]), hunk("a_test.go", ["+\treturn"]),
	] {
		judged([f]) == set()
	}
}

test_hollow if {
	missed("tests-weakened", spread([
		["a_test.go", ["\tif false {"]], ["b_test.go", ["\tassert.True(t, true)"]], ["test_a.py", ["    assert True"]], ["a.test.ts", ["  expect(true).toBe(true)"]], ["tests/x.rs", ["    assert!(true);"]],
		["test_b.py", ["    if x and False:"]], ["ATest.java", ["    assertTrue(true);"]],
	])) == set()
	judged(spread([["a_test.go", ["\tassert.True(t, ok)", "\twant: true,"]], ["test_a.py", ["    assert x is True", "while True:"]], ["a.test.ts", ["  expect(true && x).toBe(y)", "expect(f(true)).toBe(true)"]]])) == set()
}

test_gutted if {
	cases := [sprintf("\t\t{%d, %d},", [i, i]) | some i in numbers.range(1, 31)]
	judged([loses("a_test.go", cases)]) == {"tests-weakened"}
	judged([loses("a_test.go", cases), gains("b_test.go", cases)]) == set()
	judged([loses("a_test.go", array.slice(cases, 0, 30))]) == set()
	judged([loses("test_a.py", ["class TestA:"])]) == {"tests-weakened"}
	judged([loses("a.test.ts", ["describe('a', () => {"])]) == set()
	judged([loses("a.test.ts", ["  describe('a', () => {"])]) == {"tests-weakened"}
}

test_left_out if {
	cases := array.concat(spread([
		["a_test.go", ["func Testa(t *testing.T) {"]], ["b_test.go", ["\ttb.Skip()"]], ["c_test.go", ["\ts.T().Skip()"]], ["a.test.ts", ["  it.concurrent.skip('x', () => {"]], ["b.test.ts", ["  it['skip']('x', () => {"]],
		["c.test.ts", ["  test.skipIf(true)('x', () => {"]], ["a_spec.rb", ["  xit 'works' do"]], ["test_a.py", ["pytestmark = pytest.mark.skip('x')"]], ["test_b.py", ["__test__ = False"]], ["tests/conftest.py", ["collect_ignore = ['x']"]],
		["test_c.py", ["    raise unittest.SkipTest('x')"]], ["ATest.java", ["  @DisabledOnOs(OS.LINUX)"]], ["BTest.java", ["  @Test(enabled = false)"]], ["CTest.java", ["    assumeTrue(false);"]], ["tests/x.rs", ["#[cfg_attr(all(), ignore)]"]],
		["a_test.cc", ["TEST(A, DISABLED_Works) {"]], ["tests/y.rs", ["#[cfg(any())]"]], ["d_test.go", ["//go:build disabled"]], ["e_test.go", ["\tos.Exit(0)"]],
	]), [swaps("x/a_test.go", ["x"], ["//go:build weird", "y"]), gains("x/b_test.go", ["// +build linux"])])
	missed("test-skipped", cases) == set()
	named("test-skipped", array.concat(spread([
		["a_test.go", ["func TestAll(t *testing.T) {", "\tos.Exit(m.Run())"]], ["a.test.ts", ["  it('skips', () => {", "  await x.skip", "  fitness()"]], ["ATest.cs", ["list.Skip(2).ToList()"]], ["test_a.py", ["# skip nothing", "    fit = model.fit(x)"]],
	]), [
		file("x/new_test.go", ["//go:build linux"], [], {"op": "add"}), swaps("x/a_test.go", ["//go:build linux"], ["//go:build linux || darwin"]), swaps("x/b.rs", ["a"], ["#[cfg(test)]"]),
		swaps("tests/z.rs", ["a"], ["#[cfg(unix)]"]),
	])) == set()
}

test_test_hidden if {
	every to in ["_a_test.go", "a_windows_test.go", "testdata/a_test.go", "x/_old/a_test.go", ".old/a_test.go", "a_testing.go"] {
		judged([renamed("a_test.go", to)]) == {"test-deleted"}
	}
	judged([renamed("a_test.go", "b_test.go"), renamed("x/testdata/a_test.go", "y/testdata/a_test.go"), renamed("a_windows_test.go", "b_windows_test.go"), renamed("test_a.py", "tests/unit/test_b.py")]) == set()
}

test_checks_go_by_other_ways if {
	missed("check-disabled", spread([["Makefile", [line]] | some line in [
		"\t-go test ./...", "\tgo test ./... ; true", "\tgo test ./... || /bin/true", "\tgo test ./... || (exit 0)", "\tset +o errexit", "\tgo test ./... -run '^$$' -run XXX", "\tgo test -skip . ./...", "\tpytest --deselect x", "\tmake lint | cat",
	]])) - {sprintf("%d/Makefile", [n]) | some n in [3]} == set()
	missed("check-disabled", spread([[".github/workflows/x.yml", [line]] | some line in [`    "continue-on-error": true`, "    continue-on-error: True", "    if: ${{ !true }}", `    "if": false`]])) == set()
	missed("check-disabled", [gains("jest.config.js", ["testPathIgnorePatterns: ['x'],"]), gains("pyproject.toml", ["addopts = \"--ignore=tests/x\""]), gains("pytest.ini", ["addopts = -k 'not slow'"])]) == set()
	named("check-disabled", spread([["Makefile", ["\t-rm -f x", "\tgo test ./... -run TestA", "\trm x; go vet"]], ["jest.config.js", ["testEnvironment: 'node'"]], ["pyproject.toml", ["exclude = [\"build\"]"]]])) == set()
	named("check-removed", [swaps("Makefile", ["\tgo test ./..."], ["\tgo vet ./..."]), deleted("x/.eslintrc", []), renamed(".golangci.yml", "old/.golangci.yml")]) == {"Makefile", "x/.eslintrc", ".golangci.yml"}
	named("check-removed", [swaps("Makefile", ["\tgo test ./..."], ["\tgo test -race ./..."]), renamed(".eslintrc.js", "eslint.config.js"), renamed(".golangci.yml", ".golangci.yaml")]) == set()
	judged([gains(".golangci.yml", ["  disable-all: true"]), gains("eslint.config.js", ["  'no-eval': 'off',"])]) == {"check-silenced"}
	missed("review-hidden", spread([[".gitattributes", [line]] | some line in ["*.go !diff", "[attr]quiet -diff", "src/** linguist-documentation", "x merge=ours"]])) == set()
}

test_credentials_by_name if {
	cases := [gains(path, ["x"]) | some path in [
		".env", ".envrc", ".env~", ".env1", ".env_prod", ".env-prod", ".ENV.Local", ".envprod", "prod.env", ".envs/.production", "kubeconfig", "kubeconfig.yaml", "id_rsa", "id_rsa.bak", "x.key", ".env. ", "./.env", ".e\u200bnv", ".ſſh/config",
		"id_rſa", ".env::$DATA", "a/.aws", "config/secrets.yml.", ".terraformrc",
	]]
	missed("agent-credentials", cases) == set()
	missed("agent-credentials", [gains("x.asc", ["-----BEGIN PGP PRIVATE KEY BLOCK-----"]), gains("x.pem", ["-----BEGIN CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----"]), renamed("x.txt", "x.pem")]) == set()
	judged([gains(path, ["x"]) | some path in [
		".envoy.yaml", ".environment.ts", ".environment", "kubeconfig_test.go", "kubeconfiguration.go", "KEYS.asc", "x.asc", "id_rsa_test.go", "docs/id_rsa.md", ".env.d.ts", "example.env", "environment.env.ts", "src/.envs.go", "src/tokens.go", "secrets.md",
		"testdata/x.asc",
	]]) == set()
	judged([gains("ca.pem", ["-----BEGIN CERTIFICATE-----"]), gains("pub.key", ["-----BEGIN PUBLIC KEY-----"]), gains("testdata/x.key", ["-----BEGIN PRIVATE KEY-----"])]) == set()
}

test_other_forms_of_paths if {
	cases := [".GitHub/Workflows/x.yml", ".github /workflows/x.yml", ".github./workflows/x.yml", ".g\u200dithub/workflows/x.yml", ".github/workﬂows/x.yml", ".github/workflowſ/x.yml", "./.github//./workflows/x.yml", ".github\\workflows\\x.yml", ".github"]
	missed("agent-ci", [gains(path, ["x"]) | some path in cases]) == set()
	every path in cases { judged([renamed("x.yml", path)]) == {"agent-ci"} }
	every path in cases { judged([renamed(path, "x.yml")]) == {"agent-ci"} }
	links := [file(path, ["scripts"], [], {"new_mode": "120000", "op": "add", "old_mode": "", "old_path": ""}) | some path in [".husky", ".vscode", ".devcontainer", ".githooks"]]
	missed("agent-autostart", links) == set()
	missed("agent-instructions", [gains(path, ["x"]) | some path in ["AGENTS.override.md", ".rules", ".cursor", ".claude", "AGENTS.MD "]]) == set()
	judged([gains("rules", ["x"])]) == {"agent-policy"}
	judged([gains("Rules./data.json", ["x"])]) == {"agent-policy"}
	doc_ids(with_target("docs/", "docs/../src/x.go")) == {"outside-target"}
	judged([gains("docs/../src/x.go", ["x"])]) == {"outside-target"} with data.cabincrew_agents.scopes as {"work": ["docs/**"]}
}

test_mode_alone if {
	judged([file("run", [], [], {"new_mode": "100755"})]) == {"agent-executable"}
	judged([file("AGENTS.md", [], [], {"new_mode": "100755", "old_mode": "100755"})]) == {"agent-instructions"}
	agents.normal("A/./b. /c\\D::$DATA") == "a/b/c/d"
}
