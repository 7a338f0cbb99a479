#!/usr/bin/env bash
# packages-with.sh PREFIX: the packages whose tests declare functions of that
# kind (Benchmark, Fuzz), one a line.
set -euo pipefail
cd "$(dirname "$0")/.."
grep -rlE "^func $1[A-Z0-9_]" --include='*_test.go' --exclude-dir=testdata --exclude-dir=tools . |
  xargs -r -n1 dirname | sort -u
