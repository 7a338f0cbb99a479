#!/usr/bin/env bash
# Puts the outside judges of the gateways into bin/tools: programs of others, at pinned
# versions, which must work through a gateway as they do without it.
# Each is installed once; later nothing is done.
#
#   mcp-npm                two releases of the conformance suite, the SDK's client, the
#                          inspector, two servers, and the Node.js that they ask for
#   mcp-everything-server  the server of the Go SDK that the suites are run against
#   mcp-sdkproxy           a proxy with the Go SDK on both sides (test/mcp/peers): what
#                          the benchmarks compare with
#
#   llm-npm                the clients of models' APIs, and a provider that answers by a
#                          script
#
#   scripts/mcp-judges.sh          all of them
#   scripts/mcp-judges.sh peers    only those that benchmarks need (no npm)
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-all}
tools=$PWD/bin/tools
mkdir -p "$tools"

if command -v sha256sum >/dev/null; then sha256() { sha256sum "$@"; } else sha256() { shasum -a 256 "$@"; } fi

# built NAME PACKAGE: built in the module test/mcp/peers, whose go.sum has the hashes
# of everything that goes in.
built() {
  local name=$1 package=$2 stamp=$tools/.$1.stamp want
  want=$(cat test/mcp/peers/go.mod test/mcp/peers/go.sum $(find test/mcp/peers -name '*.go' | sort) | sha256 | cut -c1-64)
  if [[ -x $tools/$name && -f $stamp && $(<"$stamp") == "$want" ]]; then
    return
  fi
  echo "mcp-judges: building $name (once) ..." >&2
  (cd test/mcp/peers && GOFLAGS='' go build -trimpath -ldflags='-s -w' -o "$tools/.$name.new" "$package")
  mv -f "$tools/.$name.new" "$tools/$name"
  echo "$want" >"$stamp"
}

# packages DIRECTORY NAME: npm compares every package with the lock file's hash; nothing of
# them is run here.
packages() {
  local from=$1 judge=$tools/$2
  local locked=$from/package-lock.json
  if cmp -s "$locked" "$judge/installed.json"; then
    return
  fi
  if ! command -v npm >/dev/null || ! command -v node >/dev/null; then
    echo "mcp-judges: npm or node is missing: install Node.js 20 or later" >&2
    exit 1
  fi
  echo "mcp-judges: installing the packages of $locked (once) ..." >&2
  rm -rf "$judge"
  mkdir "$judge"
  cp "$from/package.json" "$locked" "$judge/"
  (cd -P "$judge" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  cp "$locked" "$judge/installed.json"
}

built mcp-sdkproxy ./sdkproxy
built mcp-everything-server github.com/modelcontextprotocol/go-sdk/conformance/everything-server
if [[ $what == all ]]; then
  packages test/mcp/npm mcp-npm
  packages test/llm/npm llm-npm
fi
