package forge

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/test/githubtest"
)

// notes is an engine whose plan is no patch: it writes out.txt, which only the target of
// its artifact tells.
const notes = `#!/bin/sh
set -eu
at=$CABINCREW_ARTIFACTS_DIR/notes
if [ "$2" = flight-plan ]; then
  mkdir "$at"
  cp "$CABINCREW_WORKSPACE/app.txt" "$at/body.data"
  printf '{"artifact_type":"file","action":"write","target":"TARGET","mime":"text/plain","body_file":"body.data"}' >"$at/artifact.json"
  artifacts='{"name":"notes","role":"evidence","path":"notes","hash":"'$(sha256sum <"$at/body.data" | cut -d' ' -f1)'"}'
else
  cat "$at/body.data" >"$CABINCREW_WORKSPACE/out.txt"
  artifacts=
fi
printf '{"protocol_version":"draft","engine_id":"notes","mode":"%s","receipt_id":"notes","status":"success","artifacts":[%s]}' "$2" "$artifacts"
`

// TestOwnersOfTargets: the owners of what an artifact is done to are asked as those of a
// changed file, on whatever path the engine names.
func TestOwnersOfTargets(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		target string
		by     string
		exit   int
	}{
		"by the owner of the target": {"docs/out.txt", "carol", 0},
		"by another owner":           {"docs/out.txt", "bob", 4},
		"by a roundabout way":        {"x/../docs/./out.txt", "bob", 4},
		"not in the workspace":       {"https://example.com/docs/out.txt", "bob", 0},
		"of nobody":                  {"free/out.txt", "bob", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byReview, nil)
			r.endorse(r.onMain(map[string]string{
				".cabincrew.yaml": "version: 1\nworkflow: deploy\nsteps:\n  - id: edit\n    engine: {run: [sh, engine.sh]}\n    inputs: [app.txt, engine.sh]\npolicies: {rego: [pol/]}\nsigning: {key: " +
					filepath.Join(r.keys, "plan") + "}\napprovals: {roles: {platform: {codeowners: true}}}\n",
				"engine.sh": strings.Replace(notes, "TARGET", c.target, 1), ".github/CODEOWNERS": "/app.txt @bob @carol\n/docs/ @carol\n",
				"pol/rig.rego": strings.Replace(policy, `"patch"`, `"file"`, 1),
			}))
			p := r.open("feature", "two\n")
			r.plan(p, "opened", 0)
			p.Review(r.hub.User(c.by), githubtest.Approved, "fine")
			r.hub.Advance(time.Second)
			if c.exit == 0 {
				r.land(p, 0)
				return
			}
			r.landRefused(p, c.exit, "1 paths lack an approval of their code owners, such as @carol")
		})
	}
}
