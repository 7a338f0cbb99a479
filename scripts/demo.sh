#!/usr/bin/env bash
# Flies the main job on a clone of this repository: a step moves CI to another
# version of an action, the policy asks for approval since a workflow file changes,
# a key approves, take-off applies, verify proves it, a tampered copy is refused.
#
# Every stage says which exit code it demands; another one ends the demo. It needs
# no network. Its directory is removed at the end; DEMO_KEEP=1 keeps it.
set -euo pipefail

repo=$(cd "$(dirname "$0")/.." && pwd)
cabincrew=${CABINCREW:-$repo/bin/cabincrew}
if [[ ! -x $cabincrew ]]; then
  echo "$cabincrew is missing: run make build" >&2
  exit 1
fi

demo=$(mktemp -d "${TMPDIR:-/tmp}/cabincrew-demo.XXXXXX")
finish() {
  if [[ ${DEMO_KEEP:-} == 1 ]]; then
    echo "kept: $demo"
  else
    rm -rf "$demo"
  fi
}
trap finish EXIT

# Nothing of the person's own settings: git knows only that this checkout may be
# read, whoever it belongs to, and no CABINCREW_ variable or CI platform is seen.
printf '[safe]\n\tdirectory = %s\n\tdirectory = %s/.git\n' "$repo" "$repo" >"$demo/gitconfig"
run=(env -i "PATH=$PATH" "HOME=$demo" "TMPDIR=$demo" LC_ALL=C "GIT_CONFIG_GLOBAL=$demo/gitconfig" GIT_CONFIG_NOSYSTEM=1)

stage() { printf '\n=== %s\n' "$*"; }

# demand CODE COMMAND… runs the program and ends the demo on another exit code.
demand() {
  local want=$1 got=0
  shift
  printf '$ cabincrew %s\n' "$*" | sed "s|$demo|\$DEMO|g"
  "${run[@]}" "$cabincrew" "$@" >"$demo/output" 2>&1 || got=$?
  sed "s|$demo|\$DEMO|g" "$demo/output"
  printf -- '--- exit %d, as demanded %d\n' "$got" "$want"
  if ((got != want)); then
    echo "demo: cabincrew $1 ended with exit $got, not $want" >&2
    exit 1
  fi
}

check() {
  if ! "${@:2}"; then
    echo "demo: $1" >&2
    exit 1
  fi
}

workflow=.github/workflows/ci.yml
old='actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2'
new='actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0'

stage "1 a clone of this repository, with a configuration and an approver's key"
"${run[@]}" git clone --quiet "$repo" "$demo/clone"
cd "$demo/clone"
check "$workflow does not use the action that the demo replaces" grep -qF "$old" "$workflow"
demand 0 keys generate --no-passphrase --out "$demo/maintainer"
mkdir keys
cp "$demo/maintainer.pub" keys/ # the private key stays outside
cat >.cabincrew.yaml <<YAML
version: 1
workflow: housekeeping
steps:
  - id: bump-checkout
    engine:
      use: command
      with:
        shell: |
          sed 's|$old|$new|' $workflow > new && cat new > $workflow
          awk '{print} /^### Added\$/ {print "\n- CI checks out with actions/checkout v5.0.0."}' CHANGELOG.md > new && cat new > CHANGELOG.md
          rm new
    inputs: [$workflow, CHANGELOG.md]
policies:
  bundled: [baseline]
approvals:
  approvers:
    - {name: maintainer, email: maintainer@example.com, roles: [maintainer], key: keys/maintainer.pub}
YAML
"${run[@]}" git config user.name Author
"${run[@]}" git config user.email author@example.com
"${run[@]}" git add .cabincrew.yaml keys
"${run[@]}" git commit --quiet --no-verify --no-gpg-sign --message "Add CabinCrew"
cat .cabincrew.yaml

stage "2 flight-plan: what would change, and what the policies say; nothing is changed yet"
demand 4 flight-plan
flights=(.cabincrew/flights/*)
id=${flights[0]##*/}
check "flight-plan changed the workspace" "${run[@]}" git diff --quiet

stage "3 take-off without approval is refused"
demand 4 take-off "$id"

stage "4 a person who is not the author approves, after seeing the diff"
demand 0 approve "$id" --as maintainer --key "$demo/maintainer" --reason "v5 runs on our runners"
for copy in tampered whole; do
  mkdir -p "$demo/$copy"
  cp -R "${flights[0]}" "$demo/$copy/$id" # of the approved flight
done

stage "5 one byte of the approved patch is changed in a copy: verify and take-off refuse it"
body=$demo/tampered/$id/steps/bump-checkout/artifacts/changes/body.data
before=$(wc -c <"$body")
sed 's/08c6903cd8c0/08c6903cd8c1/' "$body" >"$demo/new" && cat "$demo/new" >"$body"
check "more than one byte changed" test "$(cmp -l "$body" "${flights[0]}/steps/bump-checkout/artifacts/changes/body.data" | wc -l)" -eq 1
check "the size changed" test "$(wc -c <"$body")" -eq "$before"
demand 5 verify "$demo/tampered/$id"
demand 5 take-off "$demo/tampered/$id"
check "a refused take-off changed the workspace" "${run[@]}" git diff --quiet

stage "6 take-off verifies everything again and applies exactly the plan"
demand 0 take-off "$id"
"${run[@]}" git --no-pager diff --stat
check "the workflow file is not what was planned" grep -qF "$new" "$workflow"

stage "7 verify proves the flight from its bytes"
demand 0 verify "$id"

stage "8 a second take-off does nothing, and one of an untouched copy is refused"
demand 0 take-off "$id"
demand 5 take-off "$demo/whole/$id"

stage "done: every exit code was as demanded"
