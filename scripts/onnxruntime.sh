#!/usr/bin/env bash
# Puts the pinned ONNX Runtime library into bin/lib, where the program looks for it
# beside itself. The library comes out of a package of the npm registry that is
# configured on this machine; nothing of the package is run, and the library is
# used only if its SHA-256 is the one below.
#
#   scripts/onnxruntime.sh                          # for this machine
#   ONNXRUNTIME_PLATFORM=linux/arm64 ONNXRUNTIME_DIR=dist/lib scripts/onnxruntime.sh
#
# Where the package cannot be had (no npm, no network) it says so and succeeds:
# what needs the library then is left out, and tests skip with that reason.
# With ONNXRUNTIME_REQUIRED=1, as releases have it, that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

package=onnxruntime-node
version=1.24.3

left_out() {
  echo "onnxruntime: models are left out: $1" >&2
  [[ ${ONNXRUNTIME_REQUIRED:-} != 1 ]] || exit 1
  exit 0
}

platform=${ONNXRUNTIME_PLATFORM:-$(uname -s | tr '[:upper:]' '[:lower:]')/$(uname -m)}
case $platform in
  linux/x86_64 | linux/amd64)
    member=linux/x64/libonnxruntime.so.1 name=libonnxruntime.so.1
    sum=92ba8e44d31b80a34f5e805076a044122c3be1fffe0d88ed790de7267b0b2682 ;;
  linux/aarch64 | linux/arm64)
    member=linux/arm64/libonnxruntime.so.1 name=libonnxruntime.so.1
    sum=33032cb5b91c12edbf028d7c69fa40a31848d66c0095448758af237d5e0b07db ;;
  darwin/arm64 | darwin/aarch64)
    member=darwin/arm64/libonnxruntime.$version.dylib name=libonnxruntime.dylib
    sum=76831409ce6eded92b4cb343cf422c458a60c1ea1d5f3cfa69692ab7fcc67f0f ;;
  *) left_out "there is no pinned library for $platform" ;;
esac

if [[ ${CGO_ENABLED:-1} == 0 && -z ${ONNXRUNTIME_PLATFORM:-} ]]; then
  left_out "this build has no cgo (install a C compiler, or set CGO_ENABLED=1)"
fi

sha256() { if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1; }

dir=${ONNXRUNTIME_DIR:-bin/lib}
target=$dir/$name
if [[ -f $target && ! -L $target && $(sha256 "$target") == "$sum" ]]; then
  exit 0
fi
command -v npm >/dev/null || left_out "npm is not installed, and the library comes as an npm package"

mkdir -p "$dir"
work=$(mktemp -d "$dir/.onnxruntime.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "onnxruntime: getting $package $version for $platform (once, 86 MB) ..." >&2
if ! npm pack --ignore-scripts --silent --pack-destination "$work" "$package@$version" >"$work/log" 2>&1; then
  tail -n 5 "$work/log" >&2
  left_out "npm could not get $package $version"
fi
tar -xzf "$work/$package-$version.tgz" -C "$work" "package/bin/napi-v6/$member"
got=$(sha256 "$work/package/bin/napi-v6/$member")
if [[ $got != "$sum" ]]; then
  echo "onnxruntime: $member of $package $version has SHA-256 $got, not $sum; it is not used" >&2
  exit 1
fi
chmod 0755 "$work/package/bin/napi-v6/$member"
mv -f "$work/package/bin/napi-v6/$member" "$target"
echo "onnxruntime: $target" >&2
