#!/usr/bin/env bash
# Makes lines ENGINE_NAME=value of the variable ENGINE_SECRETS variables of the later
# steps, each value masked in the log. Another name than ENGINE_… is a refusal, so
# that nothing else of a job can be set this way; a message never shows a value.
set -euo pipefail

number=0
while IFS= read -r line || [[ -n $line ]]; do
  number=$((number + 1))
  line=${line%$'\r'}
  [[ -n $line ]] || continue
  name=${line%%=*} value=${line#*=}
  if [[ $line != *=* || ! $name =~ ^ENGINE_[A-Z0-9_]+$ || -z $value ]]; then
    echo "::error title=CabinCrew::Line $number of engine-secrets is not ENGINE_NAME=value. Names begin with ENGINE_ and have capital letters, digits and _ only." >&2
    exit 2
  fi
  masked=${value//'%'/%25}
  echo "::add-mask::$masked"
  printf '%s=%s\n' "$name" "$value" >>"$GITHUB_ENV"
done <<<"${ENGINE_SECRETS:-}"
