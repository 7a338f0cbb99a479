#!/usr/bin/env bash
# Makes the commit that a release's tags name: the one that was built, and on it the
# checksums of what came out. It is a child of that commit, and of no branch, so that
# nothing is pushed to a protected one.
#
#   scripts/tag-release.sh VERSION COMMIT CHECKSUMS
#
# vX.Y.Z is made and never moved. vX is moved, but not by a version with a suffix.
set -euo pipefail
cd "$(dirname "$0")/.."

version=${1#v} commit=$2 checksums=$3
scripts/release-pins.sh "$version" "$commit" "$checksums"
[[ $(git rev-parse HEAD) == "$commit" ]] || {
  echo "tag-release: HEAD is not $commit, which was built" >&2
  exit 2
}
git checkout --quiet --detach
git add ci/release.json
git -c user.name=cabincrew-release -c user.email=release@users.noreply.github.com \
  commit --quiet --message="Release $version" --message="Built from $commit."
git tag "v$version"
refs=("refs/tags/v$version")
if [[ $version != *-* ]]; then
  git tag --force "v${version%%.*}"
  refs+=("+refs/tags/v${version%%.*}")
fi
git push --atomic "${RELEASE_REMOTE:-origin}" "${refs[@]}"
