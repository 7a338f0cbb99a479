#!/usr/bin/env bash
# Puts small descriptions of GitHub's REST API into bin/lib/github-api, where the fake
# GitHub of the tests compares every request and every answer with them. They are made
# by github-api.mjs out of those that GitHub publishes, which come as an npm package of
# the registry that is configured on this machine; nothing of the package is run, and
# it is used only if its SHA-512 is the one below.
#
#   scripts/github-api.sh
#
# Done already, it does nothing; it may run several times at once.
set -euo pipefail
cd "$(dirname "$0")/.."

package=@octokit/openapi
version=23.0.2
file=octokit-openapi-$version.tgz
sum=a55f0cecbf46636dc0c9b36f4e6a369f28e6a669edebedac444fedaabd192d070f4b8967c3bbb979918d9b044d9010b70fb8195db171e401f32d455105718386

fail() {
  echo "github-api: $1" >&2
  exit 1
}

if command -v sha512sum >/dev/null; then sha512() { sha512sum "$@"; }; else sha512() { shasum -a 512 "$@"; }; fi

dir=bin/lib/github-api
stamp="$version $(sha512 scripts/github-api.mjs | cut -c1-64)"
if [[ -f $dir/stamp && $(<"$dir/stamp") == "$stamp" && -f $dir/api.github.com.json && -f $dir/ghes.json ]]; then
  exit 0
fi
command -v npm >/dev/null && command -v node >/dev/null || fail "npm and node are needed: GitHub's description comes as an npm package"

mkdir -p "$dir"
work=$(mktemp -d "$dir/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "github-api: getting $package $version (once, 29 MB) ..." >&2
if ! npm pack --ignore-scripts --silent --pack-destination "$work" "$package@$version" >"$work/log" 2>&1; then
  tail -n 5 "$work/log" >&2
  fail "npm could not get $package $version"
fi
got=$(sha512 "$work/$file" | cut -d' ' -f1)
[[ $got == "$sum" ]] || fail "$file has SHA-512 $got, not $sum; it is not used"
tar -xzf "$work/$file" -C "$work" package/generated/api.github.com.json package/generated/ghes-3.17.json
node scripts/github-api.mjs "$work/package/generated" "$work"
echo "$stamp" >"$work/stamp"
# Each file appears whole, and the stamp last.
for made in api.github.com.json ghes.json stamp; do
  mv -f "$work/$made" "$dir/$made"
done
