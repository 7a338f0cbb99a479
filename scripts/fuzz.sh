#!/usr/bin/env bash
# fuzz.sh: runs every fuzz target for FUZZTIME (default 10s), one after another,
# since a target uses all processors. Stops at the first failure; the input that
# failed is then below testdata/fuzz of its package.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${FUZZTIME:-10s}
count=0
for pkg in $(scripts/packages-with.sh Fuzz); do
  for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$pkg"/*_test.go | sed 's/^func //' | sort -u); do
    echo "== $pkg $target ($time)"
    # Minimizing keeps a worker busy for a minute by default: longer than the run.
    if ! out=$(go test "$pkg" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x 2>&1); then
      echo "$out"
      # go test sometimes takes the end of the time for a failure; it names no input then.
      if [[ $out != *"context deadline exceeded"* || $out == *"Failing input"* || $out == *"seed corpus"* ]]; then
        exit 1
      fi
    fi
    tail -n 1 <<<"$out"
    count=$((count + 1))
  done
done
echo "$count targets fuzzed"
