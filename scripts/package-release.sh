#!/usr/bin/env bash
# Makes a release's archives out of the programs that were built on each platform.
#
#   scripts/package-release.sh VERSION COMMIT-TIME PROGRAMS TARGET
#
# PROGRAMS has linux-amd64/cabincrew and so on. TARGET gets an archive and a list of
# modules (CycloneDX) for each platform, and checksums.txt over all of them. The same
# input gives the same bytes. It needs GNU tar, jq, Go and npm.
set -euo pipefail

version=${1#v} time=$2 programs=$(cd "$3" && pwd)
cd "$(dirname "$0")/.."
mkdir -p "$4"
target=$(cd "$4" && pwd)
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ && $time =~ ^[0-9]+$ ]] || {
  echo "usage: package-release.sh VERSION COMMIT-TIME PROGRAMS TARGET" >&2
  exit 2
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for platform in darwin-amd64 darwin-arm64 linux-amd64 linux-arm64; do
  name=cabincrew_${version}_${platform/-/_}
  tree=$work/$platform
  mkdir -p "$tree"
  install -m 0755 "$programs/$platform/cabincrew" "$tree/cabincrew"
  install -m 0644 LICENSE README.md "$tree/"
  # There is no library for Intel Macs; that program is built without models.
  if [[ $platform != darwin-amd64 ]]; then
    ONNXRUNTIME_REQUIRED=${ONNXRUNTIME_REQUIRED:-1} ONNXRUNTIME_PLATFORM=${platform/-//} ONNXRUNTIME_DIR=$tree/lib scripts/onnxruntime.sh
    if ! rmdir "$tree/lib" 2>/dev/null; then install -m 0644 ci/onnxruntime-license.txt "$tree/lib/LICENSE"; fi
  fi
  scripts/sbom.sh "$tree/cabincrew" "$version" >"$target/$name.cdx.json"
  (cd "$tree" && find . -mindepth 1 -printf '%P\n' | LC_ALL=C sort |
    tar --create --no-recursion --files-from=- --format=ustar --owner=0 --group=0 --numeric-owner --mtime="@$time" --mode=u+w,go-w |
    gzip -9 --no-name) >"$target/$name.tar.gz"
done
(cd "$target" && sha256sum -- *.tar.gz *.cdx.json) >"$work/checksums.txt"
mv "$work/checksums.txt" "$target/checksums.txt"
