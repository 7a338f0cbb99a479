package git

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	key, _ := newKey(t)
	hosts := knownHost("git.example:22", key.PublicKey())
	good := map[string]any{"message": "m", "branch": "main", "remote": "https://git.example/o/r.git"}
	must(t, Check(good))
	for name, tc := range map[string]struct {
		set  map[string]any
		want string // empty: fine
	}{
		"all": {map[string]any{
			"author": map[string]any{"name": "A", "email": "a@b"}, "committer": map[string]any{"name": "A", "email": "a@b"}, "date": "2020-01-01T00:00:00Z",
			"trailers": map[string]any{"A-b": "c"}, "create": true, "expect": strings.Repeat("a", 40), "base": strings.Repeat("b", 40), "sign": true,
			"allow_empty": true, "allow_file": true, "username": "u", "known_hosts": hosts,
		}, ""},
		"unknown":              {map[string]any{"force": true}, "config.force"},
		"message missing":      {map[string]any{"message": nil}, "config.message"},
		"message blank":        {map[string]any{"message": " \n"}, "blank"},
		"message with CR":      {map[string]any{"message": "a\r\nb"}, "carriage return"},
		"message with NUL":     {map[string]any{"message": "a\x00b"}, "NUL"},
		"message not UTF-8":    {map[string]any{"message": "a\xff"}, "UTF-8"},
		"message too long":     {map[string]any{"message": strings.Repeat("a", 70_000)}, "longer"},
		"author a string":      {map[string]any{"author": "me"}, "map with name"},
		"author without email": {map[string]any{"author": map[string]any{"name": "x"}}, "config.author.email"},
		"author of crud":       {map[string]any{"author": map[string]any{"name": "<.>", "email": "x"}}, "cannot stand"},
		"author with newline":  {map[string]any{"author": map[string]any{"name": "a\nb", "email": "x"}}, "more than one line"},
		"author with brackets": {map[string]any{"author": map[string]any{"name": "a<b", "email": "x"}}, "cannot stand"},
		"author with more":     {map[string]any{"author": map[string]any{"name": "a", "email": "x", "date": "y"}}, "config.author.date"},
		"date":                 {map[string]any{"date": "yesterday"}, "no date"},
		"date before 1970":     {map[string]any{"date": "1969-01-01T00:00:00Z"}, "no date"},
		"trailers":             {map[string]any{"trailers": []any{}}, "must be a map"},
		"trailer with space":   {map[string]any{"trailers": map[string]any{"A b": "c"}}, "letters, digits"},
		"trailer of two lines": {map[string]any{"trailers": map[string]any{"A": "c\nd"}}, "more than one line"},
		"branch missing":       {map[string]any{"branch": nil}, "config.branch"},
		"create":               {map[string]any{"create": "yes"}, "true or false"},
		"short base":           {map[string]any{"base": "abc"}, "full commit id"},
		"zero expect":          {map[string]any{"expect": strings.Repeat("0", 40)}, "full commit id"},
		"upper case expect":    {map[string]any{"expect": strings.Repeat("A", 40)}, "full commit id"},
		"username with colon":  {map[string]any{"username": "a:b"}, "colon"},
		"known hosts":          {map[string]any{"known_hosts": "nonsense"}, "can be read"},
		"known hosts, a part":  {map[string]any{"known_hosts": hosts + "nonsense\n"}, "can be read"},
		"known hosts, CA":      {map[string]any{"known_hosts": "@cert-authority " + hosts}, "cert-authority"},
		"remote missing":       {map[string]any{"remote": nil}, "config.remote"},
		"http":                 {map[string]any{"remote": "http://git.example/x"}, "no way to push"},
		"git":                  {map[string]any{"remote": "git://git.example/x"}, "no way to push"},
		"ext":                  {map[string]any{"remote": "ext::sh -c x"}, "space"},
		"a path":               {map[string]any{"remote": "/srv/x"}, "no way to push"},
		"token in the address": {map[string]any{"remote": "https://t0ken@git.example/x"}, "has a user or a password"},
		"password in ssh":      {map[string]any{"remote": "ssh://git:pw@git.example/x", "known_hosts": hosts}, "has a user or a password"},
		"query":                {map[string]any{"remote": "https://git.example/x?a=b"}, "query"},
		"no path":              {map[string]any{"remote": "https://git.example/"}, "names no repository"},
		"no host":              {map[string]any{"remote": "https:///x"}, "no host name"},
		"option as host":       {map[string]any{"remote": "ssh://-oProxyCommand=x/y", "known_hosts": hosts}, "remote"},
		"option as path":       {map[string]any{"remote": "git@git.example:-x", "known_hosts": hosts}, "hyphen"},
		"port":                 {map[string]any{"remote": "https://git.example:99999/x"}, "port"},
		"IPv6":                 {map[string]any{"remote": "https://[::1]:8443/x"}, ""},
		"file":                 {map[string]any{"remote": "file:///srv/x"}, "allow_file"},
		"file, allowed":        {map[string]any{"remote": "file:///srv/x", "allow_file": true}, ""},
		"file, relative":       {map[string]any{"remote": "file://srv/x", "allow_file": true}, "absolute"},
		"ssh without hosts":    {map[string]any{"remote": "git@git.example:o/r.git"}, "config.known_hosts"},
		"scp":                  {map[string]any{"remote": "git@git.example:o/r.git", "known_hosts": hosts}, ""},
		"scp without user":     {map[string]any{"remote": "git.example:o/r.git", "known_hosts": hosts}, ""},
		"ssh":                  {map[string]any{"remote": "ssh://me@git.example:2222/o/r.git", "known_hosts": hosts}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := maps.Clone(good)
			for k, v := range tc.set {
				if config[k] = v; v == nil {
					delete(config, k)
				}
			}
			err := Check(config)
			if tc.want == "" {
				must(t, err)
				return
			}
			var e *protocol.Error
			if !errors.As(err, &e) || e.Code != "git_config" || e.Exit != protocol.ExitUsage || !strings.HasPrefix(e.Where, "config.") || e.Hint == "" || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "t0ken") {
				t.Error("the message holds the token")
			}
		})
	}
}

func TestRemotes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]remote{
		"https://git.example/o/r.git":      {scheme: "https", host: "git.example", port: "443", path: "/o/r.git"},
		"ssh://git.example/o/r":            {scheme: "ssh", host: "git.example", port: "22", user: "git", path: "/o/r"},
		"ssh://me@git.example:2222/~o/r":   {scheme: "ssh", host: "git.example", port: "2222", user: "me", path: "~o/r"},
		"org-1@git.example:o/r.git":        {scheme: "ssh", host: "git.example", port: "22", user: "org-1", path: "o/r.git"},
		"file:///srv/with%20space/r.git":   {scheme: "file", path: "/srv/with space/r.git"},
		"https://[2001:db8::1]:8443/o/r":   {scheme: "https", host: "2001:db8::1", port: "8443", path: "/o/r"},
		"https://git.example/a%27b/r.git/": {scheme: "https", host: "git.example", port: "443", path: "/a'b/r.git/"},
	} {
		want.text = text
		if got, err := parseRemote(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	if got := quoteShell("it's!"); got != `'it'\''s'\!''` {
		t.Error(got)
	}
}

// TestBranchesAreGits asks git about each name; what it refuses is refused.
func TestBranchesAreGits(t *testing.T) {
	t.Parallel()
	needs(t, "git")
	for name, want := range map[string]bool{
		"main": true, "a/b": true, "a.b": true, "ünï": true, "a@b": true, "a-": true, "1": true, "a{b": true, "(x)": true,
		"-x": false, "a..b": false, "a.lock": false, "a.lock/b": false, ".a": false, "a/.b": false, "a//b": false, "/a": false, "a/": false, "a.": false,
		"a b": false, "a~b": false, "a^b": false, "a:b": false, "a?b": false, "a*b": false, "a[b": false, "a\\b": false, "a@{b": false,
		"a\x7fb": false, "a\tb": false, "HEAD": false, "": false,
	} {
		if got := checkBranch(name) == nil; got != want {
			t.Errorf("%q: %v", name, got)
		}
		if _, err := tryGit(t, t.TempDir(), nil, "check-ref-format", "--branch", name); (err == nil) != want {
			t.Errorf("git disagrees about %q: %v", name, err)
		}
	}
	for _, name := range []string{"@", "refs/heads/x", strings.Repeat("a", 300)} { // ours
		if checkBranch(name) == nil {
			t.Errorf("%q was taken", name)
		}
	}
}
