#!/usr/bin/env bash
# What action.yml runs: the program with the command that the input names, and the
# other inputs in its environment. The output exit-code is written whatever happens.
set -euo pipefail

arguments=(ci "$INPUT_COMMAND")
case $INPUT_COMMAND in
  auto | flight-plan | seal | take-off | review | verify | doctor | plan | judge | sign) ;;
  version) arguments=(version) ;;
  *)
    echo "::error title=CabinCrew::The input 'command' names none of its commands; see the action's description." >&2
    echo "exit-code=2" >>"$GITHUB_OUTPUT"
    exit 2
    ;;
esac

code=0
"$CABINCREW_PROGRAM" "${arguments[@]}" || code=$?
echo "exit-code=$code" >>"$GITHUB_OUTPUT"
exit "$code"
