package git

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/protocol"
)

// bare makes a bare clone that stands for the remote.
func bare(t testing.TB, repo string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "remote.git")
	skeleton(t, dir, true)
	for _, d := range []string{"objects", "refs"} {
		must(t, os.RemoveAll(filepath.Join(dir, d)))
		must(t, os.CopyFS(filepath.Join(dir, d), os.DirFS(filepath.Join(repo, ".git", d))))
	}
	return dir
}

// planned gives a flight with a planned change and the remote it goes to.
func plannedFlight(t testing.TB) (*flight, string) {
	t.Helper()
	repo := newRepository(t, files{"a": "1\n", "d/b": "1\n", "e/f": "1\n"})
	remote := bare(t, repo)
	f := newFlight(t, repo)
	f.config["remote"] = "file://" + remote
	f.step("edit", files{"a": "2\n", "d/new": "n\n"})
	f.plan()
	return f, remote
}

// other makes a commit on top of a branch of a bare repository and moves the branch there.
func other(t testing.TB, remote, branch string) string {
	t.Helper()
	id := git(t, remote, "commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "somebody else's")
	git(t, remote, "update-ref", "refs/heads/"+branch, id)
	return id
}

// refs lists everything that a repository has.
func refs(t testing.TB, remote string) string {
	t.Helper()
	var out []string
	must(t, filepath.WalkDir(filepath.Join(remote, "refs"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		id, err := os.ReadFile(p)
		out = append(out, strings.TrimPrefix(p, remote+"/")+" "+strings.TrimSpace(string(id)))
		return err
	}))
	return strings.Join(out, "\n")
}

func TestPushToFile(t *testing.T) {
	t.Parallel()
	f, remote := plannedFlight(t)
	before := refs(t, remote)
	f.pushes()
	e := f.evidence()
	if got := refs(t, remote); got != "refs/heads/bot/update "+e.Commit+"\n"+before {
		t.Errorf("references\n%s", got)
	}
	git(t, remote, "fsck", "--strict")
	if got := git(t, remote, "show", "bot/update:d/new"); got != "n" {
		t.Error(got)
	}
	f.pushes() // once more is the same
	if !strings.Contains(f.log.String(), "nothing was done") {
		t.Error(f.log.String())
	}
	// On top of the pushed commit the branch moves on, also when it is packed.
	git(t, remote, "pack-refs", "--all")
	git(t, f.repo, "fetch", "-q", remote, "bot/update")
	git(t, f.repo, "reset", "-q", "--hard", "FETCH_HEAD")
	g := newFlight(t, f.repo)
	g.config["remote"], g.config["create"] = "file://"+remote, false
	g.step("edit", files{"a": "3\n"})
	second := g.plan()
	g.pushes()
	if got := git(t, remote, "rev-parse", "bot/update", "bot/update^"); got != second.Commit+"\n"+e.Commit {
		t.Error(got)
	}
	git(t, remote, "fsck", "--strict")
}

func TestDrift(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		do   func(f *flight, remote string)
		want string
	}{
		"branch elsewhere":       {func(f *flight, remote string) { other(f.t, remote, "bot/update") }, "(drift)"},
		"new branch not allowed": {func(f *flight, _ string) { f.config["create"] = false; f.plan() }, "nowhere"},
		"expected elsewhere":     {func(f *flight, _ string) { f.config["expect"] = strings.Repeat("1", 40); f.plan() }, "nowhere"},
		"no parent at the remote": {func(f *flight, remote string) {
			must(f.t, os.RemoveAll(remote))
			git(f.t, f.repo, "init", "-q", "--bare", remote)
		}, "does not have the parent"},
		"no remote": {func(f *flight, remote string) { must(f.t, os.RemoveAll(remote)) }, "no repository"},
		"sha256 remote": {func(f *flight, remote string) {
			must(f.t, os.RemoveAll(remote))
			git(f.t, f.repo, "init", "-q", "--bare", "--object-format=sha256", remote)
		}, "SHA-1"},
		"checked out": {func(f *flight, _ string) {
			git(f.t, f.repo, "branch", "bot/update")
			git(f.t, f.repo, "checkout", "-q", "bot/update")
			f.config["remote"] = "file://" + f.repo
			f.plan()
		}, "checked out"},
		"locked": {func(f *flight, remote string) { files{"refs/heads/bot/update.lock": "x"}.write(f.t, remote) }, "locked"},
		"symbolic": {func(f *flight, remote string) {
			git(f.t, remote, "symbolic-ref", "refs/heads/bot/update", "refs/heads/main")
		}, "only another name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, remote := plannedFlight(t)
			tc.do(f, remote)
			before := ""
			if _, err := os.Stat(remote); err == nil {
				before = refs(t, remote)
			}
			f.pushFails(tc.want)
			if before != "" && refs(t, remote) != before {
				t.Error("the remote changed:\n" + refs(t, remote))
			}
		})
	}
}

// TestExpect replaces a branch that is where the configuration says, and only there.
func TestExpect(t *testing.T) {
	t.Parallel()
	f, remote := plannedFlight(t)
	f.config["expect"] = other(t, remote, "bot/update")
	e := f.plan()
	f.pushes()
	if got := git(t, remote, "rev-parse", "bot/update"); got != e.Commit {
		t.Error(got)
	}
	f.pushes()
	git(t, remote, "update-ref", "refs/heads/bot/update", "main") // the parent is not what was expected
	f.pushFails("drift")
}

// TestRace moves the branch between the look and the push.
func TestRace(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"file", "https", "ssh"} {
		for name, start := range map[string]bool{"new branch": false, "branch at the parent": true} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				t.Parallel()
				f, remote := plannedFlight(t)
				if start {
					git(t, remote, "branch", "bot/update")
				}
				serve(t, f, remote, scheme)
				f.plan()
				winner := ""
				err := f.push(t, func() { winner = other(t, remote, "bot/update") })
				wantCode(t, err, "git_remote_moved")
				if protocol.ExitCode(err) != protocol.ExitStale || !strings.Contains(err.Error(), winner) || !strings.Contains(err.Error(), f.evidence().Commit) {
					t.Errorf("exit %d: %v", protocol.ExitCode(err), err)
				}
				if got := git(t, remote, "rev-parse", "bot/update"); got != winner {
					t.Errorf("the branch is at %s, not at the winner's %s", got, winner)
				}
			})
		}
		t.Run(scheme+" the same commit", func(t *testing.T) {
			t.Parallel()
			f, remote := plannedFlight(t)
			serve(t, f, remote, scheme)
			f.plan()
			must(t, f.push(t, func() { f.pushes() })) // another run of the same flight
			if got := git(t, remote, "rev-parse", "bot/update"); got != f.evidence().Commit {
				t.Error(got)
			}
		})
	}
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var e *protocol.Error
	if err == nil || !asError(err, &e) || e.Code != code {
		t.Errorf("%v, want code %s", err, code)
	}
}

// push pushes what was planned with a hook between looking and sending.
func (f *flight) push(t *testing.T, looked func()) error {
	t.Helper()
	s, err := readSettings(f.config)
	must(t, err)
	root, err := os.OpenRoot(f.artifacts)
	must(t, err)
	defer func() { must(t, root.Close()) }()
	p, err := s.planned(root)
	must(t, err)
	r := &kit.Run{Env: map[string]string{}, Temp: t.TempDir(), Log: &f.log}
	r.Input.Secrets = f.secrets
	for _, e := range f.env {
		k, v, _ := strings.Cut(e, "=")
		r.Env[k] = v
	}
	open, err := s.carrier(r)
	must(t, err)
	job := push{s: s, b: p.bundle, open: open, looked: looked}
	return job.run(context.Background())
}

// TestTampered changes what was planned, in each artifact.
func TestTampered(t *testing.T) {
	t.Parallel()
	edit := func(name string, change func(data []byte) []byte) func(f *flight) {
		return func(f *flight) {
			p := filepath.Join(f.artifacts, name)
			data, err := os.ReadFile(p)
			must(f.t, err)
			must(f.t, os.WriteFile(p, change(data), 0o600))
		}
	}
	replace := func(name, from, to string) func(f *flight) {
		return edit(name, func(data []byte) []byte {
			if !strings.Contains(string(data), from) {
				t.Errorf("%s has no %q", name, from)
			}
			return []byte(strings.Replace(string(data), from, to, 1))
		})
	}
	// again plans something else into the artifact of that name only.
	again := func(name string, change func(f *flight)) func(f *flight) {
		return func(f *flight) {
			was := f.artifacts
			config := map[string]any{}
			maps.Copy(config, f.config)
			f.artifacts = f.t.TempDir()
			change(f)
			f.plan()
			must(f.t, os.RemoveAll(filepath.Join(was, name)))
			must(f.t, os.Rename(filepath.Join(f.artifacts, name), filepath.Join(was, name)))
			f.artifacts, f.config = was, config
		}
	}
	more := func(f *flight) { f.step("more", files{"e/f": "3\n"}) }
	for name, tc := range map[string]struct {
		do   func(f *flight)
		want string
	}{
		"evidence: a message":       {replace("commit/artifact.json", "Update", "Updote"), "evidence says something else"},
		"evidence: a file":          {replace("commit/artifact.json", `"path":"a"`, `"path":"b"`), "evidence says something else"},
		"evidence: before":          {replace("commit/artifact.json", `"before":"d00491fd7e5bb6fa28c517a0bb32b8b506539d4d"`, `"before":"d00491fd7e5bb6fa28c517a0bb32b8b506539d4e"`), "evidence says something else"},
		"evidence: spaces":          {replace("commit/artifact.json", `{"action"`, `{ "action"`), "evidence says something else"},
		"evidence: missing":         {func(f *flight) { must(f.t, os.RemoveAll(filepath.Join(f.artifacts, "commit"))) }, "no file commit"},
		"evidence: of another plan": {again("commit", more), "evidence says something else"},
		"objects: of another plan":  {again("objects", more), "there is no tree"},
		"objects: another message":  {again("objects", func(f *flight) { f.config["message"] = "Other" }), "another message"},
		"objects: another branch":   {again("objects", func(f *flight) { f.config["branch"] = "other" }), "the bundle is for"},
		"objects: another date":     {again("objects", func(f *flight) { f.config["date"] = "2020-01-01T00:00:00Z" }), "another message, author or date"},
		"objects: a byte":           {edit("objects/body.data", func(d []byte) []byte { d[len(d)-30] ^= 1; return d }), "checksum"},
		"objects: cut":              {edit("objects/body.data", func(d []byte) []byte { return d[:len(d)-21] }), "checksum"},
		"objects: more":             {edit("objects/body.data", func(d []byte) []byte { return append(d, 'x') }), "checksum"},
		"objects: another type":     {replace("objects/artifact.json", typeBundle, "zip"), "is not a bundle"},
		"objects: missing":          {func(f *flight) { must(f.t, os.RemoveAll(filepath.Join(f.artifacts, "objects"))) }, "the plan has no"},
		"base: of another plan":     {again("base", more), "which is no part"},
		"base: missing":             {func(f *flight) { must(f.t, os.RemoveAll(filepath.Join(f.artifacts, "base"))) }, "the plan has no"},
		"base: a byte":              {edit("base/body.data", func(d []byte) []byte { d[20] ^= 1; return d }), "checksum"},
		"base: another type":        {replace("base/artifact.json", typePack, "zip"), "is not a pack"},
		"config: another remote":    {func(f *flight) { f.config["remote"] = "file:///elsewhere" }, "evidence says something else"},
		"config: another author":    {func(f *flight) { f.config["author"] = map[string]any{"name": "x", "email": "y"} }, "another message, author"},
		"config: signed":            {func(f *flight) { f.config["sign"] = true }, "not signed"},
		"objects: more objects": {func(f *flight) {
			rewrite(f, func(b *bundle) { b.add(plumbing.BlobObject, []byte("smuggled")) })
		}, "no part of the commit"},
		"objects: without a blob": {func(f *flight) {
			rewrite(f, func(b *bundle) { b.order = b.order[:len(b.order)-1] })
		}, "there is no blob"},
		"objects: without the commit": {func(f *flight) {
			rewrite(f, func(b *bundle) { b.order = b.order[1:] })
		}, "there is no commit"},
		"objects: another parent": {func(f *flight) {
			rewrite(f, func(b *bundle) { b.parent[0] ^= 1 })
		}, "does not have the one parent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, remote := plannedFlight(t)
			before := refs(t, remote)
			tc.do(f)
			f.pushFails(tc.want)
			if refs(t, remote) != before {
				t.Error("the remote changed")
			}
			root, err := os.OpenRoot(f.artifacts)
			must(t, err)
			defer func() { must(t, root.Close()) }()
			if _, err := Derive(root, f.config, DeriveKeys{}); protocol.ExitCode(err) != protocol.ExitIntegrity {
				t.Errorf("derive: exit %d, %v", protocol.ExitCode(err), err)
			}
		})
	}
}

// rewrite writes the bundle anew with a change in it, whole again but for that.
func rewrite(f *flight, change func(b *bundle)) {
	data, err := os.ReadFile(f.bundle())
	must(f.t, err)
	b, err := decodeBundle(data)
	must(f.t, err)
	change(b)
	data, err = encodeBundle(b.parent, b.commit, b.ref, b.objects)
	must(f.t, err)
	must(f.t, os.WriteFile(f.bundle(), data, 0o600))
}
