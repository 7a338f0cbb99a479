package forge

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cabincrew/action/test/githubtest"
)

// TestT25CommittedStateDirectory has a change bring the directory in which flights live
// along: as a link to somewhere else, as a file, or with a flight, marks and caches that
// are prepared in it.
func TestT25CommittedStateDirectory(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files, links map[string]string
		unsafe       bool // nothing can be kept there at all
	}{
		"link":            {nil, map[string]string{".cabincrew": "elsewhere"}, true},
		"link outside":    {nil, map[string]string{".cabincrew": "../elsewhere"}, true},
		"file":            {map[string]string{".cabincrew": "x"}, nil, true},
		"prepared flight": {map[string]string{".cabincrew/flights/20260101-000000-aaaaaaaaaa/flight.json": "{}", ".cabincrew/flights/20260101-000000-aaaaaaaaaa/wal.jsonl": ""}, nil, false},
		"linked flights":  {nil, map[string]string{".cabincrew/flights": "../app"}, true},
		"marks":           {map[string]string{".cabincrew/marks/x": "done"}, nil, false},
		"cache":           {map[string]string{".cabincrew/cache/stat": "x"}, nil, false},
		"linked cache":    {nil, map[string]string{".cabincrew/cache": "../elsewhere"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, byReview, nil)
			head := r.withLinks(r.repo.Tip("refs/heads/main"), c.files, c.links)
			r.repo.Push("feature", head, r.author)
			p := r.repo.Open(githubtest.Opened{Title: "feature", Author: r.author, Head: "feature"})
			exit, code := 2, "[state_dir_tracked]"
			if c.unsafe {
				exit, code = 5, "[path_unsafe]"
			}
			for _, command := range []string{"auto", "plan"} {
				r.refused(r.want(exit, command, r.pullRequest(p, "opened", "77")), code)
			}
			clean := r.open("clean", "two\n")
			planned := r.does(0, "plan", r.planStep(clean, r.start(clean, r.author)))
			judged := r.does(exit, "judge", r.judgeStep(p, r.start(p, r.author), planned.handed()))
			r.refused(judged, code)
			got := r.plan(clean, "opened", 0)
			clean.Review(r.bob, githubtest.Approved, "fine "+r.code(got))
			r.repo.Push("main", r.withLinks(r.repo.Tip("refs/heads/main"), c.files, c.links), r.author)
			last := r.land(clean, exit) // it came in past all changes
			r.refused(last, code)
			for _, w := range []string{judged.workspace, last.workspace} {
				for _, at := range []string{"elsewhere", "../elsewhere", "../../elsewhere"} {
					if _, err := os.Lstat(filepath.Join(w, at)); err == nil {
						t.Errorf("%s was made", at)
					}
				}
			}
		})
	}
}

// withLinks makes a commit of files and symbolic links, past what is ignored.
func (r *rig) withLinks(parent string, files, links map[string]string) string {
	r.t.Helper()
	dir := filepath.Join(r.t.TempDir(), "w")
	r.checkout(dir, parent)
	for name, content := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	for name, to := range links {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			r.t.Fatal(err)
		}
		if err := os.Symlink(to, at); err != nil {
			r.t.Fatal(err)
		}
	}
	r.git(dir, "add", "-A", "-f", ".")
	r.git(dir, "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "-m", "links")
	r.git(dir, "push", "-q", "origin", "+HEAD:refs/heads/links")
	return r.git(dir, "rev-parse", "HEAD")
}
