package github

import "testing"

func TestFromRemote(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]string{
		"https://github.com/acme/infra":                  "github.com acme/infra",
		"https://github.com/acme/infra.git":              "github.com acme/infra",
		"https://user:token@GitHub.com/acme/infra.git/":  "github.com acme/infra",
		"http://127.0.0.1:4040/acme/infra":               "127.0.0.1:4040 acme/infra",
		"git@github.com:acme/infra.git":                  "github.com acme/infra",
		"ssh://git@github.com/acme/infra.git":            "github.com acme/infra",
		"ssh://git@ssh.github.com:443/acme/infra.git":    "github.com acme/infra",
		"git@ghe.example.com:acme/infra":                 "ghe.example.com acme/infra",
		"/srv/git/infra":                                 "",
		"../infra":                                       "",
		"https://github.com/acme":                        "",
		"https://github.com/acme/infra/more":             "",
		"https://github.com/acme/..":                     "",
		"git@github.com:acme/infra/more":                 "",
		"git@evil/github.com:acme/infra":                 "",
		"":                                               "",
		"https://github.com/acme/in%20fra":               "",
		"ext::sh -c 'touch /tmp/x' acme/infra":           "",
		"https://github.com\n/acme/infra":                "",
		"git@github.com@evil.example:acme/infra":         "",
		"file:///srv/github.com/acme/infra":              "",
		"https://github.com/acme/infra?x=https://evil/a": "github.com acme/infra",
	} {
		host, name, err := FromRemote(remote)
		got := ""
		if err == nil {
			got = host + " " + name
		}
		if got != want {
			t.Errorf("%q is %q, not %q", remote, got, want)
		}
	}
}
