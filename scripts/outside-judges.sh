#!/usr/bin/env bash
# Puts the outside judges of make e2e into bin/tools: programs of others, at pinned
# versions, which must agree with this one about what is signed. Each is built once;
# another version is another stamp. The first time takes about ten minutes on two
# cores and needs the network; later nothing is done.
#
#   cosign             verifies our bundles, and signs some for us
#   fulcio             a certificate authority for the tests
#   timestamp-server   a time stamping authority for the tests
#   sigstore (npm)     verifies our bundles, written in another language
#   act                runs our workflows as GitHub's runner does
#   actionlint         reads our workflows; so does action-validator (npm)
#   @actions/artifact  (npm) hands artifacts from job to job under act
#
# test/e2e fails where one of them is missing: an absent judge has agreed to nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$PWD/bin/tools
mkdir -p "$tools"

# built NAME PACKAGE VERSION: go install checks the module against the checksum database.
built() {
  local name=$1 package=$2 version=$3 stamp=$tools/.$1-$3 begin=$SECONDS
  if [[ -f $stamp && -x $tools/$name ]]; then
    return
  fi
  echo "building $name $version (once, some minutes) ..."
  (cd / && GOBIN=$tools GOFLAGS='' go install -ldflags='-s -w' "$package@$version")
  rm -f "$tools/.$name-"*
  touch "$stamp"
  echo "$name $version took $((SECONDS - begin)) s"
}

built cosign github.com/sigstore/cosign/v3/cmd/cosign v3.1.3
built fulcio github.com/sigstore/fulcio v1.8.8 # speaks to PKCS #11 tokens: needs cgo
built timestamp-server github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server v2.1.3
built act github.com/nektos/act v0.2.89
built actionlint github.com/rhysd/actionlint/cmd/actionlint v1.7.12

# packages DIRECTORY TARGET: npm compares every package with the lock file's hash;
# nothing of them is run here.
packages() {
  local locked=$1/package-lock.json judge=$tools/$2
  if cmp -s "$locked" "$judge/installed.json"; then
    return
  fi
  if ! command -v npm >/dev/null || ! command -v node >/dev/null; then
    echo "npm or node is missing: install Node.js 20 or later, some of the judges are written in it" >&2
    exit 1
  fi
  echo "installing the packages of $locked (once) ..."
  rm -rf "$judge"
  mkdir "$judge"
  cp "$1/package.json" "$locked" "$judge/"
  (cd -P "$judge" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  cp "$locked" "$judge/installed.json"
}

packages test/e2e/npm npm
packages test/e2e/stand-ins npm-actions
