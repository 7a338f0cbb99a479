package flight

import "strings"

// The engines below are small shell programs that speak the contract.

// echoEngine plans one artifact with a body and, at take-off, writes it to out.txt.
const echoEngine = `#!/bin/sh
set -eu
case "$CABINCREW_MODE" in
flight-plan)
  mkdir "$CABINCREW_ARTIFACTS_DIR/note"
  cat hello.txt > "$CABINCREW_ARTIFACTS_DIR/note/body.data"
  printf '{"artifact_type":"file","action":"create","target":"out.txt","mime":"text/plain","body_file":"body.data"}' > "$CABINCREW_ARTIFACTS_DIR/note/artifact.json"
  h=$(sha256sum < "$CABINCREW_ARTIFACTS_DIR/note/body.data" | cut -d' ' -f1)
  printf '{"protocol_version":"draft","engine_id":"echo","mode":"flight-plan","receipt_id":"r1","status":"success","artifacts":[{"name":"note","role":"evidence","path":"note","hash":"%s"}]}' "$h"
  ;;
take-off)
  cat "$CABINCREW_ARTIFACTS_DIR/note/body.data" > out.txt
  echo x >> "${TAKEOFFS:-/dev/null}"
  printf '{"protocol_version":"draft","engine_id":"echo","mode":"take-off","receipt_id":"r2","status":"success"}'
  ;;
esac
`

// config gives a configuration with the steps' lines.
func config(rest string, steps ...string) string {
	return "version: 1\nworkflow: test\nsteps:\n" + strings.Join(steps, "") + rest
}

const (
	baseline = "policies: {bundled: [baseline]}\n"
	lenient  = "policies: {allow_without_policies: true}\n"
)
