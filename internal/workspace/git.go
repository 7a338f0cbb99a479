package workspace

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/config"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Info is what the surrounding git repository says.
type Info struct {
	Head   string // the commit that HEAD names, in hex; empty without a commit
	Email  string // user.email; empty if it is not set
	Branch string // the branch that is checked out, such as main; empty if none is
}

// repository is a git directory that was found from a workspace.
type repository struct {
	gitDir    string // of this work tree
	commonDir string // shared by all work trees
	prefix    string // of the workspace in the work tree, with a slash at the end, or empty
}

// Git reads commit and author of the repository that dir lies in, without
// running git. env is the environment for HOME, XDG_CONFIG_HOME and
// GIT_CONFIG_GLOBAL. What is absent is empty; what is malformed is an error.
func Git(dir string, env map[string]string) (Info, error) {
	var info Info
	repo, err := findRepository(dir)
	if err != nil {
		return info, err
	}
	files := globalConfigs(env)
	if repo != nil {
		if info.Head, info.Branch, err = repo.head(); err != nil {
			return info, err
		}
		files = append(files, filepath.Join(repo.commonDir, "config"))
	}
	r := configReader{home: env["HOME"]}
	for _, f := range files {
		if err := r.read(f, true); err != nil {
			return info, err
		}
	}
	if r.worktree && repo != nil {
		if err := r.read(filepath.Join(repo.gitDir, "config.worktree"), true); err != nil {
			return info, err
		}
	}
	info.Email = r.email
	return info, nil
}

// findRepository looks for .git in dir and above, as git does.
func findRepository(dir string) (*repository, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return nil, unreadable(dir, err)
	}
	for at := abs; ; at = filepath.Dir(at) {
		repo, err := repositoryAt(at)
		if err != nil {
			return nil, err
		}
		if repo != nil {
			rel, err := filepath.Rel(at, abs)
			if err != nil {
				return nil, unreadable(dir, err)
			}
			if rel != "." {
				repo.prefix = filepath.ToSlash(rel) + "/"
			}
			return repo, nil
		}
		if filepath.Dir(at) == at {
			return nil, nil //nolint:nilnil // no repository is no error
		}
	}
}

// GitDirs gives the git directory of the workspace at dir and the one that it
// shares objects with, the same but for a linked work tree. Both are empty where
// there is no repository.
func GitDirs(dir string) (gitDir, commonDir string, err error) {
	repo, err := repositoryAt(dir)
	if err != nil || repo == nil {
		return "", "", err
	}
	return repo.gitDir, repo.commonDir, nil
}

// Repository gives the git directories of the repository that dir lies in, and
// dir's place in its work tree, with a slash at the end or empty. The directories
// are empty where there is no repository.
func Repository(dir string) (gitDir, commonDir, prefix string, err error) {
	repo, err := findRepository(dir)
	if err != nil || repo == nil {
		return "", "", "", err
	}
	return repo.gitDir, repo.commonDir, repo.prefix, nil
}

// repositoryAt gives the repository whose work tree is at, or nil.
func repositoryAt(at string) (*repository, error) {
	p := filepath.Join(at, ".git")
	info, err := os.Stat(p)
	if err != nil {
		// Not there, or a directory above the workspace that we may not read.
		return nil, nil //nolint:nilerr,nilnil // no repository is no error
	}
	gitDir := p
	if !info.IsDir() {
		data, err := readFile(p, limits.GitFileBytes)
		if err != nil {
			return nil, err
		}
		target, ok := strings.CutPrefix(string(data), "gitdir: ")
		target = strings.TrimRight(target, "\r\n")
		if !ok || target == "" || strings.ContainsAny(target, "\n\x00") {
			return nil, gitInvalid(p, "it does not name a git directory")
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(at, target)
		}
		gitDir = target
	}
	repo := &repository{gitDir: gitDir, commonDir: gitDir}
	data, err := repo.read("commondir", limits.GitFileBytes)
	if err != nil {
		return nil, err
	}
	if common := strings.TrimRight(string(data), "\r\n"); common != "" {
		if !filepath.IsAbs(common) {
			common = filepath.Join(gitDir, common)
		}
		repo.commonDir = common
	}
	if head, err := repo.read("HEAD", limits.GitFileBytes); err != nil || head == nil {
		return nil, err // an empty .git directory is no repository, as for git
	}
	return repo, nil
}

// read gives a file of the git directory, or nil if it does not exist.
func (r *repository) read(name string, limit int64) ([]byte, error) {
	return readFile(filepath.Join(r.gitDir, name), limit)
}

// readFile gives a bounded regular file, or nil if it does not exist.
func readFile(p string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(p, openFlags, 0)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || isNotDir(err) {
			return nil, nil
		}
		return nil, unreadable(p, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := readAllBounded(f, limit)
	if err != nil {
		return nil, unreadable(p, err)
	}
	if data == nil {
		data = []byte{}
	}
	return data, nil
}

// head follows HEAD to a commit.
func (r *repository) head() (commit, branch string, err error) {
	p := filepath.Join(r.gitDir, "HEAD")
	if _, err := os.Stat(filepath.Join(r.commonDir, "reftable")); err == nil {
		return "", "", gitInvalid(r.commonDir, "the repository keeps its refs in reftable form, which is not supported")
	}
	data, err := readFile(p, limits.GitFileBytes)
	for range limits.GitSymrefs {
		if err != nil {
			return "", "", err
		}
		text := strings.TrimRight(string(data), " \r\n")
		ref, symbolic := strings.CutPrefix(text, "ref:")
		if !symbolic {
			if !isObjectID(text) {
				return "", "", gitInvalid(p, "it holds neither a ref nor a commit")
			}
			return text, branch, nil
		}
		ref = strings.TrimSpace(ref)
		if !strings.HasPrefix(ref, "refs/") || !fs.ValidPath(ref) || strings.ContainsAny(ref, "\n\x00") {
			return "", "", gitInvalid(p, "it names an invalid ref")
		}
		if branch == "" {
			branch = strings.TrimPrefix(ref, "refs/heads/")
		}
		if strings.HasPrefix(ref, "refs/worktree/") || strings.HasPrefix(ref, "refs/bisect/") {
			p = filepath.Join(r.gitDir, filepath.FromSlash(ref))
		} else {
			p = filepath.Join(r.commonDir, filepath.FromSlash(ref))
		}
		if info, err := os.Stat(p); err == nil && info.IsDir() {
			commit, err = r.packed(ref) // an empty directory that a deleted branch left
			return commit, branch, err
		}
		if data, err = readFile(p, limits.GitFileBytes); err == nil && data == nil {
			commit, err = r.packed(ref)
			return commit, branch, err
		}
	}
	return "", "", gitInvalid(r.gitDir, "HEAD goes over more than %d symbolic refs", limits.GitSymrefs)
}

// packed looks a ref up in packed-refs; an unborn branch has no commit.
func (r *repository) packed(ref string) (string, error) {
	p := filepath.Join(r.commonDir, "packed-refs")
	data, err := readFile(p, limits.GitPackedRefsBytes)
	if err != nil {
		return "", err
	}
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		id, name, ok := bytes.Cut(line, []byte(" "))
		if !ok || string(bytes.TrimSuffix(name, []byte("\r"))) != ref {
			continue
		}
		if !isObjectID(string(id)) {
			return "", gitInvalid(p, "the line of %s is damaged", ref)
		}
		return string(id), nil
	}
	return "", nil
}

// isObjectID says whether s is a SHA-1 or SHA-256 object id.
func isObjectID(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}

// globalConfigs gives a person's configuration files, the weaker first.
func globalConfigs(env map[string]string) []string {
	if f, ok := env["GIT_CONFIG_GLOBAL"]; ok {
		if f == "" {
			return nil
		}
		return []string{f}
	}
	var out []string
	home, xdg := env["HOME"], env["XDG_CONFIG_HOME"]
	if xdg == "" && home != "" {
		xdg = filepath.Join(home, ".config")
	}
	if xdg != "" {
		out = append(out, filepath.Join(xdg, "git", "config"))
	}
	if home != "" {
		out = append(out, filepath.Join(home, ".gitconfig"))
	}
	return out
}

// configReader reads configuration files one after another; the last word counts.
type configReader struct {
	home     string
	email    string
	remote   string // the name of the remote that is looked for
	url      string // its URL
	worktree bool   // extensions.worktreeConfig
	files    int
}

// read reads a file and, in place, those that it includes. includeIf is not
// followed: its conditions depend on more than the files.
func (r *configReader) read(p string, top bool) error {
	if p == os.DevNull {
		return nil
	}
	if r.files++; r.files > limits.GitIncludes {
		return gitInvalid(p, "the git configuration includes more than %d files", limits.GitIncludes)
	}
	data, err := readFile(p, limits.GitFileBytes)
	if err != nil || data == nil {
		return err
	}
	cfg := config.New()
	if err := config.NewDecoder(bytes.NewReader(data)).Decode(cfg); err != nil {
		return gitInvalid(p, "the git configuration is malformed: %w", err)
	}
	for _, o := range cfg.Section("include").Options {
		if !o.IsKey("path") || o.Value == "" {
			continue
		}
		f := o.Value
		if rest, ok := strings.CutPrefix(f, "~/"); ok {
			f = filepath.Join(r.home, rest)
		} else if !filepath.IsAbs(f) {
			f = filepath.Join(filepath.Dir(p), f)
		}
		if err := r.read(f, false); err != nil {
			return err
		}
	}
	if o := cfg.Section("user").Options; o.Has("email") {
		r.email = o.Get("email")
	}
	if r.remote != "" && cfg.Section("remote").HasSubsection(r.remote) {
		r.url = cfg.Section("remote").Subsection(r.remote).Option("url")
	}
	if top && strings.EqualFold(cfg.Section("extensions").Option("worktreeConfig"), "true") {
		r.worktree = true
	}
	return nil
}

func gitInvalid(p, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "git_invalid", format, args...).At(p).
		WithHint("see whether \"git status\" works here")
}
