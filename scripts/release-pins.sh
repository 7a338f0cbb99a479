#!/usr/bin/env bash
# Writes ci/release.json, by which the action knows what to install.
#
#   scripts/release-pins.sh VERSION COMMIT CHECKSUMS [FILE]
#
# CHECKSUMS is the release's list of SHA-256 and names, as sha256sum prints it. COMMIT
# is the one that was built. One member a line: scripts/install-action.sh reads it
# with sed, since runners need not have jq.
set -euo pipefail

refuse() {
  echo "release-pins: $1" >&2
  exit 2
}

(($# == 3 || $# == 4)) || refuse "usage: release-pins.sh VERSION COMMIT CHECKSUMS [FILE]"
version=${1#v} commit=$2 checksums=$3
target=${4:-$(cd "$(dirname "$0")/.." && pwd)/ci/release.json}

[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ ]] || refuse "$version is no version"
[[ $commit =~ ^[0-9a-f]{40}$ ]] || refuse "$commit is no commit"

members=()
for platform in darwin-amd64 darwin-arm64 linux-amd64 linux-arm64; do
  name=cabincrew_${version}_${platform/-/_}.tar.gz
  sum=$(awk -v name="$name" '$2 == name || $2 == "*" name { print $1 }' "$checksums")
  [[ $sum =~ ^[0-9a-f]{64}$ ]] || refuse "$checksums has not exactly one SHA-256 of $name"
  members+=("    \"$platform\": {\"name\": \"$name\", \"sha256\": \"$sum\"}")
done

{
  printf '{\n  "version": "%s",\n  "commit": "%s",\n  "files": {\n' "$version" "$commit"
  printf '%s,\n' "${members[@]:0:3}"
  printf '%s\n  }\n}\n' "${members[3]}"
} >"$target.new"
mv -f "$target.new" "$target"
