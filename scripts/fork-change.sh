#!/usr/bin/env bash
# For workflow_run: which pull request of a fork, and which artifact, the run that
# ended was about. Writes the outputs ref and artifact.
#
# The event does not name a fork's pull request. The one that is open, comes from
# that repository and branch and has that head commit is it; none, or two, is a
# refusal. This only says what to read: the program asks the API again by itself.
set -euo pipefail

refuse() { # CODE MESSAGE
  echo "::error title=CabinCrew::$2" >&2
  exit "$1"
}

run=$(jq -ce '.workflow_run | {id, head_sha, head_branch, owner: .head_repository.owner.login, repository: .head_repository.id} | if all(. != null) then . else error("incomplete") end' "$GITHUB_EVENT_PATH") ||
  refuse 2 "The event is none of workflow_run."
field() { jq -re --arg name "$1" '.[$name] | tostring' <<<"$run"; }

# ask PATH asks the API of this server. The token is in no argument list.
ask() {
  printf 'header = "Authorization: Bearer %s"\nheader = "Accept: application/vnd.github+json"\n' "${TOKEN:?}" |
    curl --config - --fail --silent --show-error --connect-timeout 30 --max-time 120 --max-filesize 16777216 --retry 3 "${GITHUB_API_URL:?}/repos/${GITHUB_REPOSITORY:?}/$1"
}

query=$(jq -rn --argjson run "$run" '"state=open&per_page=100&head=" + (($run.owner + ":" + $run.head_branch) | @uri)')
pulls=$(ask "pulls?$query") || refuse 7 "GitHub does not list the open pull requests. Run the job again."
numbers=$(jq -r --argjson run "$run" '.[] | select(.head.sha == $run.head_sha and .head.repo.id == $run.repository) | .number' <<<"$pulls")
[[ $numbers =~ ^[0-9]+$ ]] || refuse 2 "Not exactly one open pull request has the commit $(field head_sha) of that repository. It was pushed to again, or closed."

id=$(field id)
[[ $id =~ ^[0-9]+$ ]] || refuse 2 "The event names no run."
artifacts=$(ask "actions/runs/$id/artifacts?name=cabincrew-planned&per_page=100") || refuse 7 "GitHub does not list the artifacts of run $id. Run the job again."
artifact=$(jq -r '.artifacts[] | select(.name == "cabincrew-planned" and (.expired | not)) | .id' <<<"$artifacts")
[[ $artifact =~ ^[0-9]+$ ]] || refuse 7 "Run $id has not exactly one artifact cabincrew-planned. Run its job again."

{
  echo "ref=refs/pull/$numbers/merge"
  echo "artifact=$artifact"
} >>"$GITHUB_OUTPUT"
