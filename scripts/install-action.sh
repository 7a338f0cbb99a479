#!/usr/bin/env bash
# Installs the program for action.yml.
#
#   scripts/install-action.sh how       writes the output mode: release or source
#   scripts/install-action.sh install   installs, and writes the output program
#
# release: the archive that ci/release.json of the action's own commit names, if it
# has the SHA-256 written there and an attestation of our release workflow, built
# from the commit written there. source: the action's own commit, where the action
# is the workspace itself (uses: ./) or where there is no release yet.
#
# CABINCREW_DOWNLOAD_URL  another place with the same files, for networks without
#                         github.com; the SHA-256 must be the same
# CABINCREW_ATTESTATION   skip: do without the attestation where gh cannot ask for
#                         it; the SHA-256 is still demanded, and a warning is given
#
# It also runs with bash 3.2, which macOS has.
set -euo pipefail

action=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
pins=$action/ci/release.json

refuse() { # CODE MESSAGE: exit codes are those of the program
  echo "::error title=CabinCrew::$2" >&2
  exit "$1"
}

output() { printf '%s=%s\n' "$1" "$2" >>"$GITHUB_OUTPUT"; }

# pinned NAME gives a member of ci/release.json, which scripts/release-pins.sh
# writes one member a line.
pinned() { sed -n 's/^  "'"$1"'": "\([^"]*\)",\{0,1\}$/\1/p' "$pins"; }

# file MEMBER gives name or sha256 of this platform's archive.
file() { sed -n 's/^    "'"$platform"'": {.*"'"$1"'": "\([^"]*\)".*$/\1/p' "$pins"; }

sha256() { if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1; }

matches() { [[ $1 =~ $2 ]]; } # bash 3.2 wants patterns in variables

how() {
  version=$(pinned version)
  local wanted=${INPUT_VERSION:-}
  wanted=${wanted#v}
  workspace=$(cd "${GITHUB_WORKSPACE:-/nonexistent}" 2>/dev/null && pwd -P || true)
  if [[ -z $version || $action == "$workspace" ]]; then
    mode=source
    [[ -z $wanted ]] || refuse 2 "The input 'version' is set, but this commit of the action is built from its source. Leave the input out, or use a released commit."
    return
  fi
  mode=release
  matches "$version" '^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$' || refuse 5 "ci/release.json of the action names no version."
  [[ -z $wanted || $wanted == "$version" ]] || refuse 2 "This commit of the action installs version $version and no other. Change the commit after 'uses: cabincrew/action@', not the input 'version'."
}

platform() {
  local machine
  case $(uname -s) in
    Linux) platform=linux ;;
    Darwin) platform=darwin ;;
    *) refuse 2 "There is no CabinCrew for this runner's system; use Linux or macOS." ;;
  esac
  machine=$(uname -m)
  case $machine in
    x86_64 | amd64) platform=$platform-amd64 ;;
    aarch64 | arm64) platform=$platform-arm64 ;;
    *) refuse 2 "There is no CabinCrew for this runner's processor; use x64 or arm64." ;;
  esac
}

# download FILE fetches it into $target, https only unless the place is another one.
download() {
  local from=${CABINCREW_DOWNLOAD_URL:-} protocols='=https,http,file'
  if [[ -z $from ]]; then
    from=https://github.com/cabincrew/action/releases/download protocols='=https'
  fi
  curl --fail --silent --show-error --location --proto "$protocols" --proto-redir "$protocols" \
    --connect-timeout 30 --max-time 600 --max-filesize 536870912 --retry 3 \
    --output "$target/$1" "${from%/}/v$version/$1" ||
    refuse 7 "$1 of version $version cannot be downloaded. Run the job again; without a way to github.com set CABINCREW_DOWNLOAD_URL."
}

attested() { # FILE
  if [[ ${CABINCREW_ATTESTATION:-} == skip ]]; then
    echo "::warning title=CabinCrew::The attestation of $1 was not checked, since CABINCREW_ATTESTATION is skip. Its SHA-256 was." >&2
    return
  fi
  command -v gh >/dev/null || refuse 7 "gh is missing on this runner, so the attestation of $1 cannot be checked. Install a current GitHub CLI; CABINCREW_ATTESTATION=skip does without, and then the SHA-256 is all that is checked."
  local bundle=cabincrew_${version}_provenance.sigstore.json
  download "$bundle"
  gh attestation verify "$target/$1" --bundle "$target/$bundle" --repo cabincrew/action --hostname github.com \
    --signer-workflow cabincrew/action/.github/workflows/release.yml --source-digest "$commit" \
    --deny-self-hosted-runners >&2 ||
    refuse 5 "$1 has the right SHA-256, but no attestation that our release workflow built it from commit $commit. Don't use this commit of the action, and tell us."
}

release() {
  local name sum got
  platform
  name=$(file name) sum=$(file sha256) commit=$(pinned commit)
  [[ -n $name ]] || refuse 2 "Version $version was not released for $platform."
  if ! matches "$name" '^[A-Za-z0-9][A-Za-z0-9._-]*$' || ! matches "$sum" '^[0-9a-f]{64}$' || ! matches "$commit" '^[0-9a-f]{40}$'; then
    refuse 5 "ci/release.json of the action is not what scripts/release-pins.sh writes."
  fi
  download "$name"
  got=$(sha256 "$target/$name")
  [[ $got == "$sum" ]] || refuse 5 "$name has SHA-256 $got, not $sum, which the action's commit pins. It was not unpacked. Look who serves it."
  attested "$name"
  mkdir "$target/program"
  tar -xzf "$target/$name" -C "$target/program"
  program=$target/program/cabincrew
}

build() {
  command -v go >/dev/null || refuse 2 "Go is missing: this commit of the action is built from its source."
  program=$target/cabincrew
  # Variables of the job change nothing of how it is built.
  (cd "$action" && env GOTOOLCHAIN=local GOFLAGS=-mod=readonly GOWORK=off GOOS= GOARCH= \
    go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$program" ./cmd/cabincrew) >&2 ||
    refuse 1 "The action's own source does not build here."
}

case ${1:-} in
  how)
    how
    output mode "$mode"
    ;;
  install)
    how
    target=$(mktemp -d "${RUNNER_TEMP:?}/cabincrew.XXXXXXXX")
    if [[ $mode == source ]]; then build; else release; fi
    "$program" version >&2 || refuse 1 "The installed program does not run here."
    output program "$program"
    ;;
  *) refuse 2 "usage: install-action.sh how|install" ;;
esac
