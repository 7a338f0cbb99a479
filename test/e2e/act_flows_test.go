//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// recorder takes the place of the program in the workflows for others: it tells what
// it was started as, and makes the files that the next job wants. What those hold is
// the program's own matter, and tested elsewhere.
const recorder = `#!/bin/bash
set -euo pipefail
if [[ $1 == version ]]; then echo "cabincrew 1.2.3"; exit; fi
input() { printenv "INPUT_$1" || true; }
cd "$GITHUB_WORKSPACE/$(input WORKING-DIRECTORY)"
echo "ran <$*> in <$(basename "$PWD")> at <$(git rev-parse HEAD)> token <$(input TOKEN)> secret <${ENGINE_TOKEN:-}> identity <${ACTIONS_ID_TOKEN_REQUEST_URL:-}>"
out=$(mktemp -d "$RUNNER_TEMP/flight.XXXXXX")
handed=$GITHUB_WORKSPACE/$(input FLIGHT-PATH)
case $2 in
  plan) echo "hostile plan" >"$out/flight.tar.zst" ;;
  judge)
    grep -qx "hostile plan" "$handed/flight.tar.zst"
    mkdir "$out/judged" "$out/decision"
    echo "whole flight" >"$out/judged/flight.tar.zst"
    echo "decision" >"$out/decision/.manifest"
    ;;
  sign) [[ $(ls -A "$handed") == .manifest && ! -e $GITHUB_WORKSPACE/change ]] && echo "signed" >"$out/plan.sigstore.json" ;;
  take-off | review) echo "done" >"$out/flight.tar.zst" ;;
esac
printf 'flight-path=%s\ndecision=allow\nplan-token=sha256:0\n' "$out" >>"$GITHUB_OUTPUT"
if [[ ${FAILS:-} == "$2" ]]; then exit 3; fi
`

// published puts the action, released with the recorder, and the examples' callers
// on a stage. It gives the commit of the caller's repository.
func published(t *testing.T, knowsItself bool) (*stage, string) {
	t.Helper()
	s := newStage(t)
	s.ownSource("action", "action.yml", "ci/release.json", "scripts", ".github")
	s.file("program/cabincrew", recorder)
	s.must("program", "chmod", "+x", "cabincrew")
	own := s.release()

	for _, name := range []string{"flight-plan.yml", "review.yml", "take-off.yml"} {
		text := read(t, filepath.Join(s.dir, "action/.github/workflows", name))
		if knowsItself {
			text = knowing(text, own)
		}
		s.file(filepath.Join("called/.github/workflows", name), text)
	}
	s.flags = append(s.flags, "--local-repository", "cabincrew/action@v1="+filepath.Join(s.dir, "called"))

	for _, name := range []string{"cabincrew.yml", "cabincrew-base.yml"} {
		text := read(t, filepath.Join(house.repository, "examples/github", name))
		for _, commented := range []string{"with:", "  environment: production", "secrets:", "  engine-secrets: |", "    ENGINE_TOKEN="} {
			text = strings.Replace(text, "\n    # "+commented, "\n    "+commented, 1)
		}
		s.file(filepath.Join("work/.github/workflows", name), text)
	}
	s.file("work/.github/workflows/wrong.yml", "on: pull_request_target\npermissions: {}\njobs:\n  flight-plan:\n    uses: cabincrew/action/.github/workflows/flight-plan.yml@v1\n")
	head := s.publish("work", "acme/app")
	s.must("origins/acme/app.git", "git", "update-ref", "refs/pull/7/merge", head)
	return s, head
}

// release publishes the action as a commit that installs the program of the stage, and
// gives that commit. Nobody attests it: what gh would be asked is tested elsewhere.
func (s *stage) release() string {
	s.t.Helper()
	name := fmt.Sprintf("cabincrew_1.2.3_%s_%s.tar.gz", runtime.GOOS, runtime.GOARCH)
	if err := os.MkdirAll(filepath.Join(s.dir, "served/v1.2.3"), 0o750); err != nil {
		s.t.Fatal(err)
	}
	s.must(".", "tar", "-czf", filepath.Join("served/v1.2.3", name), "-C", "program", "cabincrew")
	sum := sha256.Sum256([]byte(read(s.t, filepath.Join(s.dir, "served/v1.2.3", name))))
	list := ""
	for _, platform := range []string{"darwin_amd64", "darwin_arm64", "linux_amd64", "linux_arm64"} {
		list += fmt.Sprintf("%s  cabincrew_1.2.3_%s.tar.gz\n", hex.EncodeToString(sum[:]), platform)
	}
	s.file("checksums.txt", list)
	s.must("action", "scripts/release-pins.sh", "1.2.3", strings.Repeat("a", 40), "../checksums.txt")
	s.env["CABINCREW_DOWNLOAD_URL"], s.env["CABINCREW_ATTESTATION"] = "file://"+filepath.Join(s.dir, "served"), "skip"
	return s.publish("action", "cabincrew/action")
}

// knowing writes a reusable workflow as who calls it gets it, knowing its own commit:
// act leaves job.workflow_sha empty, and GitHub fills it in.
func knowing(text, own string) string {
	text = strings.ReplaceAll(text, "${{ job.workflow_sha }}", own)
	return strings.ReplaceAll(text, "${{ job.workflow_repository }}", "cabincrew/action")
}

// change is the payload of an event about pull request 7.
func change(head, repository int) map[string]any {
	return map[string]any{
		"action": "synchronize", "number": 7, "repository": map[string]any{"id": 1, "default_branch": "main"},
		"pull_request": map[string]any{"number": 7, "head": map[string]any{"sha": strings.Repeat("1", 40), "repo": map[string]any{"id": head}}, "base": map[string]any{"repo": map[string]any{"id": repository}}},
	}
}

// after is the payload of workflow_run, after a run of a fork.
func after(event string) map[string]any {
	return map[string]any{
		"action": "completed", "repository": map[string]any{"id": 1, "default_branch": "main"},
		"workflow_run": map[string]any{
			"id": 12, "event": event, "conclusion": "success", "head_sha": strings.Repeat("1", 40), "head_branch": "topic", "actor": map[string]any{"login": "stranger"},
			"head_repository": map[string]any{"id": 2, "owner": map[string]any{"login": "stranger"}},
		},
	}
}

var recorded = regexp.MustCompile(`ran <ci ([a-z-]+)> in <([a-z-]+)> at <([0-9a-f]+)> token <(.*?)> secret <(.*?)> identity <(.*?)>`)

// TestWorkflowsForOthers runs the reusable workflows under act, called as the examples
// call them.
func TestWorkflowsForOthers(t *testing.T) {
	push := map[string]any{"repository": map[string]any{"id": 1, "default_branch": "main"}}
	for _, c := range []struct {
		title, workflow, event string
		payload                map[string]any
		set                    func(*stage)
		fails                  bool
		runs                   []string // command and directory
		says                   string
	}{
		{"pull request", "cabincrew.yml", "pull_request", change(1, 1), nil, false, []string{"plan change", "judge change", "sign governance"}, "artifact cabincrew-signed"},
		{"pull request of a fork", "cabincrew.yml", "pull_request", change(2, 1), nil, false, []string{"plan change"}, "artifact cabincrew-planned"},
		{"failed plan", "cabincrew.yml", "pull_request", change(1, 1), func(s *stage) { s.env["FAILS"] = "plan" }, true, []string{"plan change"}, ""},
		{"denied", "cabincrew.yml", "pull_request", change(1, 1), func(s *stage) { s.env["FAILS"] = "judge" }, true, []string{"plan change", "judge change"}, "artifact cabincrew-judged"},
		{"review", "cabincrew.yml", "pull_request_review", change(1, 1), nil, false, []string{"review governance"}, ""},
		{"review of a fork", "cabincrew.yml", "pull_request_review", change(2, 1), nil, false, nil, ""},
		{"merge group", "cabincrew.yml", "merge_group", push, nil, false, []string{"plan change", "judge change", "sign governance"}, "artifact cabincrew-judged"},
		{"push", "cabincrew-base.yml", "push", push, nil, false, []string{"take-off change"}, "artifact cabincrew-take-off"},
		{"after a review of a fork", "cabincrew-base.yml", "workflow_run", after("pull_request_review"), nil, false, []string{"review governance"}, ""},
		{"T14 an event of the base", "wrong.yml", "pull_request_target", change(2, 1), nil, true, nil, "runs with the rights of the base"},
	} {
		t.Run(c.title, func(t *testing.T) {
			s, head := published(t, true)
			s.flags = append(s.flags, "--secret", "GITHUB_TOKEN=token-of-the-job", "--secret", "DEPLOY_TOKEN=the-secret")
			if c.set != nil {
				c.set(s)
			}
			code, out := s.act(c.workflow, c.event, c.payload)
			var runs []string
			for _, m := range recorded.FindAllStringSubmatch(out, -1) {
				runs = append(runs, m[1]+" "+m[2])
				if m[3] != head {
					t.Errorf("%s ran at %s, not %s", m[1], m[3], head)
				}
				if (m[1] == "plan") != (m[4] == "") || (m[1] == "take-off") != (m[5] != "") || strings.Contains(out, "the-secret") {
					t.Errorf("%s was given token %q and secret %q", m[1], m[4], m[5])
				}
			}
			if (code != 0) != c.fails || !slices.Equal(runs, c.runs) || !strings.Contains(out, c.says) {
				t.Errorf("exit %d, ran %q, not %q, or it does not say %q:\n%s", code, runs, c.runs, c.says, out)
			}
		})
	}
}

// TestForkIsJudgedInTheBase runs a fork's pull request, and then what follows it.
func TestForkIsJudgedInTheBase(t *testing.T) {
	s, _ := published(t, true)
	s.flags = append(s.flags, "--secret", "GITHUB_TOKEN=token-of-the-job")
	code, out := s.act("cabincrew.yml", "pull_request", change(2, 1))
	planned := regexp.MustCompile(`artifact cabincrew-planned has id (\d+)`).FindStringSubmatch(out)
	if code != 0 || planned == nil {
		t.Fatalf("exit %d\n%s", code, out)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/pulls"):
			_, _ = fmt.Fprintf(w, `[{"number": 7, "head": {"sha": %q, "repo": {"id": 2}}}]`, strings.Repeat("1", 40))
		case strings.HasSuffix(r.URL.Path, "/artifacts/"+planned[1]+"/zip"):
			w.Header().Del("Content-Type")
			w.Header().Set("Location", "http://"+r.Host+"/blob")
			w.WriteHeader(http.StatusFound)
		case r.URL.Path == "/blob":
			w.Header().Set("Content-Type", "application/zip")
			http.ServeFile(w, r, filepath.Join(s.dir, "artifacts/1/cabincrew-planned/cabincrew-planned.zip"))
		default:
			_, _ = fmt.Fprintf(w, `{"total_count": 1, "artifacts": [{"name": "cabincrew-planned", "expired": false, "id": %s, "size_in_bytes": 1, "created_at": "2026-01-02T03:04:05Z"}]}`, planned[1])
		}
	}))
	defer server.Close()
	s.env["GITHUB_API_URL"] = server.URL
	code, out = s.act("cabincrew-base.yml", "workflow_run", after("pull_request"))
	var runs []string
	for _, m := range recorded.FindAllStringSubmatch(out, -1) {
		runs = append(runs, m[1]+" "+m[2])
	}
	if code != 0 || !slices.Equal(runs, []string{"judge change", "sign governance"}) {
		t.Errorf("exit %d, ran %q\n%s", code, runs, out)
	}
}

// TestWorkflowThatDoesNotKnowItsCommit: without job.workflow_sha, which act does not
// fill in either, nothing is checked out and nothing runs.
func TestWorkflowThatDoesNotKnowItsCommit(t *testing.T) {
	s, _ := published(t, false)
	code, out := s.act("cabincrew.yml", "pull_request", change(1, 1))
	if code == 0 || recorded.MatchString(out) || !strings.Contains(out, "does not say which commit this workflow is of") {
		t.Errorf("exit %d\n%s", code, out)
	}
}
