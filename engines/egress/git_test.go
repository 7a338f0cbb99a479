package egress

import (
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestGit speaks git's own protocol to git's own server: reading what there is
// needs GET only, fetching and pushing need POST and so take-off.
func TestGit(t *testing.T) {
	t.Parallel()
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skipf("git is not on this machine: %v", err)
	}
	root := t.TempDir()
	run := func(args ...string) string {
		cmd := exec.Command(git, args...)
		cmd.Dir = root
		cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + root, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("init", "-q", "--bare", "-b", "main", "r.git")
	run("-C", "r.git", "config", "http.receivepack", "true")
	tree := run("-C", "r.git", "hash-object", "-t", "tree", "-w", "/dev/null")
	commit := run("-C", "r.git", "commit-tree", "-m", "one", tree)
	run("-C", "r.git", "update-ref", "refs/heads/main", commit)
	server := &cgi.Handler{Path: git, Args: []string{"http-backend"}, Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + root, "REMOTE_USER=a"}}
	handler := func(w http.ResponseWriter, q *http.Request) {
		if v := q.Header.Get("Git-Protocol"); v != "" {
			own := *server
			own.Env = append([]string{"GIT_PROTOCOL=" + v}, own.Env...)
			own.ServeHTTP(w, q)
			return
		}
		server.ServeHTTP(w, q)
	}
	const repo = "https://git.example.com/r.git"
	t.Run("ls-remote in flight-plan", func(t *testing.T) {
		r := newRig(t, Options{}, handler)
		out, err := r.program(t, "git", "ls-remote", repo).CombinedOutput()
		if err != nil || !strings.Contains(string(out), commit+"\trefs/heads/main") {
			t.Fatalf("%v: %s %+v", err, out, r.Requests())
		}
	})
	t.Run("clone is refused in flight-plan", func(t *testing.T) {
		r := newRig(t, Options{}, handler)
		out, err := r.program(t, "git", "clone", "-q", repo, "c").CombinedOutput()
		if err == nil || r.last().Reason != "method_not_allowed" {
			t.Fatalf("%v: %s %+v", err, out, r.Requests())
		}
	})
	t.Run("clone and push in take-off", func(t *testing.T) {
		r := newRig(t, Options{Mode: protocol.TakeOff}, handler)
		cmd := r.program(t, "git", "clone", "-q", repo, "c")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s %+v", err, out, r.Requests())
		}
		push := exec.Command(git, "-C", filepath.Join(cmd.Dir, "c"), "push", "-q", "origin", "main:other")
		push.Env = cmd.Env
		if out, err := push.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s %+v", err, out, r.Requests())
		}
		if got := run("-C", "r.git", "rev-parse", "refs/heads/other"); got != commit {
			t.Errorf("pushed %s", got)
		}
	})
}
