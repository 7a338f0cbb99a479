package workspace

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGitHead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	git(t, dir, "init", "-q", "-b", "trunk")
	check := func(at, want string) {
		t.Helper()
		info, err := Git(at, nil)
		must(t, err)
		if info.Head != want {
			t.Errorf("head %q, want %q", info.Head, want)
		}
	}
	check(dir, "")
	if info, err := Git(dir, nil); err != nil || info.Branch != "trunk" {
		t.Errorf("branch %q, %v", info.Branch, err)
	}
	tree(t, dir, "a", "sub/b")
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-q", "-m", "one")
	first := strings.TrimSpace(git(t, dir, "rev-parse", "HEAD"))
	check(dir, first)
	check(filepath.Join(dir, "sub"), first)
	git(t, dir, "pack-refs", "--all")
	check(dir, first)
	git(t, dir, "commit", "-q", "--allow-empty", "-m", "two")
	check(dir, strings.TrimSpace(git(t, dir, "rev-parse", "HEAD"))) // loose before packed
	git(t, dir, "checkout", "-q", "--detach", first)
	check(dir, first)
	git(t, dir, "checkout", "-q", "--orphan", "fresh")
	check(dir, "")
}

func TestGitHeadRefusals(t *testing.T) {
	t.Parallel()
	for name, files := range map[string][]string{
		"no ref":        {".git/HEAD=what\n"},
		"ref outside":   {".git/HEAD=ref: refs/../../x\n"},
		"no refs":       {".git/HEAD=ref: HEAD\n"},
		"circle":        {".git/HEAD=ref: refs/heads/a\n", ".git/refs/heads/a=ref: refs/heads/a\n"},
		"short commit":  {".git/HEAD=0123\n"},
		"git file":      {".git=nonsense\n"},
		"packed":        {".git/HEAD=ref: refs/heads/a\n", ".git/packed-refs=zzz refs/heads/a\n"},
		"configuration": {".git/HEAD=ref: refs/heads/a\n", ".git/config=[user\n"},
		"reftable":      {".git/HEAD=ref: refs/heads/.invalid\n", ".git/reftable/tables.list="},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			tree(t, dir, files...)
			_, err := Git(dir, nil)
			wantCode(t, err, "git_invalid")
		})
	}
}

func TestGitEmail(t *testing.T) {
	t.Parallel()
	local := ".git/config=[user]\n\temail = \"local@example.com\" ; comment\n"
	tests := map[string]struct {
		files []string
		env   map[string]string
		want  string
	}{
		"nothing":         {},
		"local":           {files: []string{local}, want: "local@example.com"},
		"global":          {files: []string{"home/.gitconfig=[user]\nemail=home@example.com\n"}, want: "home@example.com"},
		"xdg by default":  {files: []string{"home/.config/git/config=[user]\nemail=xdg@example.com\n"}, want: "xdg@example.com"},
		"home beats xdg":  {files: []string{"home/.config/git/config=[user]\nemail=x@x\n", "home/.gitconfig=[USER]\nEmail=h@h\n"}, want: "h@h"},
		"local wins":      {files: []string{local, "home/.gitconfig=[user]\nemail=h@h\n"}, want: "local@example.com"},
		"no global":       {files: []string{"home/.gitconfig=[user]\nemail=h@h\n"}, env: map[string]string{"GIT_CONFIG_GLOBAL": ""}},
		"null":            {files: []string{"home/.gitconfig=[user]\nemail=h@h\n"}, env: map[string]string{"GIT_CONFIG_GLOBAL": os.DevNull}},
		"include":         {files: []string{"home/.gitconfig=[include]\npath=other\n", "home/other=[user]\nemail=o@o\n"}, want: "o@o"},
		"include of home": {files: []string{"home/.gitconfig=[include]\npath=~/x/other\n", "home/x/other=[user]\nemail=o@o\n"}, want: "o@o"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			tree(t, dir, ".git/HEAD=ref: refs/heads/a\n")
			tree(t, dir, tc.files...)
			env := map[string]string{"HOME": filepath.Join(dir, "home")}
			maps.Copy(env, tc.env)
			info, err := Git(dir, env)
			must(t, err)
			if info.Email != tc.want {
				t.Errorf("email %q, want %q", info.Email, tc.want)
			}
		})
	}
	t.Run("endless include", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		tree(t, dir, ".git/HEAD=ref: refs/heads/a\n", ".git/config=[include]\npath=config\n")
		_, err := Git(dir, nil)
		wantCode(t, err, "git_invalid", "more than")
	})
}
