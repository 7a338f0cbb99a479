package test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// script runs a script of the repository with an environment of its own.
func script(t *testing.T, name string, env ...string) (code int, out string) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../scripts", name))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bash, path) //nolint:gosec // our own scripts
	cmd.Env, cmd.Dir = append([]string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir()}, env...), t.TempDir()
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if rest, err := os.ReadDir(cmd.Dir); err != nil || len(rest) > 0 {
		t.Errorf("%s left %v behind: %v", name, rest, err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

// TestSecretsOfEngines: only variables for engines can be set, each is masked, and no
// message shows a value.
func TestSecretsOfEngines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		title, text string
		code        int
		env         string
	}{
		{"none", "", 0, ""},
		{"two", "ENGINE_A=one\n\nENGINE_B=two=2 $(touch pwned)", 0, "ENGINE_A=one\nENGINE_B=two=2 $(touch pwned)\n"},
		{"carriage returns", "ENGINE_A=one\r\n", 0, "ENGINE_A=one\n"},
		{"PATH", "PATH=hidden", 2, ""},
		{"a preload", "LD_PRELOAD=hidden", 2, ""},
		{"the program's own", "CABINCREW_PROGRAM=hidden", 2, ""},
		{"a form of GITHUB_ENV", "ENGINE_A<<hidden", 2, ""},
		{"small letters", "ENGINE_a=hidden", 2, ""},
		{"nothing", "ENGINE_A=", 2, ""},
		{"a second line of a value", "ENGINE_A=one\nhidden", 2, "ENGINE_A=one\n"},
	} {
		t.Run(c.title, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "env")
			code, out := script(t, "engine-secrets.sh", "ENGINE_SECRETS="+c.text, "GITHUB_ENV="+file)
			got, err := os.ReadFile(file) //nolint:gosec // our own
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			if code != c.code || string(got) != c.env || strings.Contains(out, "hidden") {
				t.Errorf("exit %d, variables %q:\n%s", code, got, out)
			}
			for line := range strings.Lines(c.env) {
				_, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
				if !strings.Contains(out, "::add-mask::"+value+"\n") {
					t.Errorf("%q is not masked", line)
				}
			}
		})
	}
}

// TestT15ChangeOfAForksRun asks a server, as a job of workflow_run does, which pull
// request and which artifact a run of a fork was about.
func TestT15ChangeOfAForksRun(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("jq is missing, which the script needs")
	}
	const (
		head = "1111111111111111111111111111111111111111"
		ours = `{"number": 7, "head": {"sha": "` + head + `", "repo": {"id": 99}}}`
		art  = `{"id": 5, "name": "cabincrew-planned", "expired": false}`
	)
	event := func(branch string) string {
		return fmt.Sprintf(`{"workflow_run": {"id": 12, "head_sha": %q, "head_branch": %q, "head_repository": {"id": 99, "owner": {"login": "stranger"}}}}`, head, branch)
	}
	for _, c := range []struct {
		title, event, pulls, artifacts string
		code                           int
	}{
		{"as it should be", event("topic"), ours, art, 0},
		{"a branch with signs", event("a&state=closed#$(touch pwned)"), ours, art, 0},
		{"another commit", event("topic"), strings.ReplaceAll(ours, head, strings.Repeat("2", 40)), art, 2},
		{"another repository", event("topic"), strings.ReplaceAll(ours, "99", "98"), art, 2},
		{"no repository any more", event("topic"), `{"number": 7, "head": {"sha": "` + head + `", "repo": null}}`, art, 2},
		{"none", event("topic"), "", art, 2},
		{"two", event("topic"), ours + "," + ours, art, 2},
		{"a number that is none", event("topic"), strings.ReplaceAll(ours, `7`, `"7\nref=refs/heads/main"`), art, 2},
		{"another event", `{}`, ours, art, 2},
		{"no artifact", event("topic"), ours, "", 7},
		{"an expired artifact", event("topic"), ours, strings.ReplaceAll(art, "false", "true"), 7},
		{"two artifacts", event("topic"), ours, art + "," + art, 7},
		{"no answer", event("topic"), "500", art, 7},
	} {
		t.Run(c.title, func(t *testing.T) {
			t.Parallel()
			var refused []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Header.Get("Authorization") != "Bearer token-of-the-job":
					w.WriteHeader(http.StatusUnauthorized)
				case c.pulls == "500":
					w.WriteHeader(http.StatusForbidden)
				case r.URL.Path == "/api/repos/o/r/pulls" && r.URL.Query().Get("state") == "open" && strings.HasPrefix(r.URL.Query().Get("head"), "stranger:"):
					_, _ = fmt.Fprintf(w, "[%s]", c.pulls)
				case r.URL.Path == "/api/repos/o/r/actions/runs/12/artifacts" && r.URL.Query().Get("name") == "cabincrew-planned":
					_, _ = fmt.Fprintf(w, `{"total_count": 1, "artifacts": [%s]}`, c.artifacts)
				default:
					refused = append(refused, r.URL.String())
					w.WriteHeader(http.StatusNotFound)
				}
			}))
			defer server.Close()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "event"), []byte(c.event), 0o600); err != nil {
				t.Fatal(err)
			}
			code, out := script(t, "fork-change.sh", "GITHUB_EVENT_PATH="+filepath.Join(dir, "event"), "GITHUB_OUTPUT="+filepath.Join(dir, "output"),
				"GITHUB_API_URL="+server.URL+"/api", "GITHUB_REPOSITORY=o/r", "TOKEN=token-of-the-job")
			got, err := os.ReadFile(filepath.Join(dir, "output")) //nolint:gosec // our own
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			want := ""
			if c.code == 0 {
				want = "ref=refs/pull/7/merge\nartifact=5\n"
			}
			if code != c.code || string(got) != want || len(refused) > 0 {
				t.Errorf("exit %d, not %d; outputs %q; asked in vain %q:\n%s", code, c.code, got, refused, out)
			}
		})
	}
}
