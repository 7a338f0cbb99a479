#!/usr/bin/env bash
# Puts GitHub's own examples of webhook payloads into bin/lib, where a test of
# ci/github reads them. They come out of a package of the npm registry that is
# configured on this machine; nothing of the package is run, and they are used only
# if their SHA-256 is the one below.
#
# Where the package cannot be had (no npm, no network) it says so and succeeds: the
# test then skips with that reason. With WEBHOOK_EXAMPLES_REQUIRED=1 that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

package=@octokit/webhooks-examples
version=7.6.1
member=package/api.github.com/index.json
sum=09d8f0c617876ae9dad22e26fea5510bfcaad50ee7e602659f6db25b87b25815
target=bin/lib/webhook-examples.json

left_out() {
  echo "webhook-examples: left out: $1" >&2
  [[ ${WEBHOOK_EXAMPLES_REQUIRED:-} != 1 ]] || exit 1
  exit 0
}

sha256() { if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1; }

if [[ -f $target && ! -L $target && $(sha256 "$target") == "$sum" ]]; then
  exit 0
fi
command -v npm >/dev/null || left_out "npm is not installed"

mkdir -p bin/lib
work=$(mktemp -d bin/lib/.webhook-examples.XXXXXX)
trap 'rm -rf "$work"' EXIT
npm pack --silent --ignore-scripts --pack-destination "$work" "$package@$version" >/dev/null 2>&1 ||
  left_out "the registry does not give $package $version"
tar -xzf "$work"/octokit-webhooks-examples-"$version".tgz -C "$work" "$member"
got=$(sha256 "$work/$member")
if [[ $got != "$sum" ]]; then
  echo "webhook-examples: $member of $package $version has SHA-256 $got, not $sum; it is not used" >&2
  exit 1
fi
mv -f "$work/$member" "$target"
echo "webhook-examples: $target" >&2
