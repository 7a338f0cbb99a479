package git

import (
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/cabincrew/action/internal/limits"
)

// Schemes of remotes.
const (
	schemeHTTPS = "https"
	schemeSSH   = "ssh"
	schemeFile  = "file"
)

// remote is where a commit goes.
type remote struct {
	scheme string
	host   string // without port
	port   string // always filled in but for files
	user   string // of ssh
	path   string
	text   string // as configured; it never holds a credential
}

var (
	scpLike  = regexp.MustCompile(`^(?:([A-Za-z0-9_][A-Za-z0-9._-]*)@)?([A-Za-z0-9][A-Za-z0-9.-]*):([^:]*)$`)
	hostName = regexp.MustCompile(`^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9a-fA-F]*:[0-9a-fA-F:.]+)$`)
	userName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
)

// parseRemote reads the address of a repository. No address with a password or
// token in it is taken: it would stand in evidence.
func parseRemote(text string) (remote, error) {
	bad := func(format string, args ...any) (remote, error) {
		return remote{}, badConfig("remote", format, args...)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return isControl(r) || r == ' ' || r == '\\' }) {
		return bad("it has a space, a backslash or a control character")
	}
	if m := scpLike.FindStringSubmatch(text); len(m) > 0 && !strings.HasPrefix(m[3], "//") {
		r := remote{scheme: schemeSSH, user: m[1], host: m[2], port: "22", path: m[3], text: text}
		return r.checked()
	}
	u, err := url.Parse(text)
	if err != nil {
		return bad("it is no address: use https://host/path, ssh://user@host/path or user@host:path")
	}
	r := remote{scheme: u.Scheme, host: u.Hostname(), port: u.Port(), path: u.Path, text: text}
	if _, secret := u.User.Password(); secret || u.User != nil && u.Scheme != schemeSSH {
		return bad("it has a user or a password in it; map the secret %s instead", secretToken)
	}
	if u.RawQuery != "" || u.Fragment != "" || u.ForceQuery || strings.ContainsAny(text, "?#") {
		return bad("it has a query or a fragment")
	}
	switch u.Scheme {
	case schemeHTTPS:
		r.setPort("443")
	case schemeSSH:
		r.setPort("22")
		r.user = u.User.Username()
		if strings.HasPrefix(r.path, "/~") {
			r.path = r.path[1:]
		}
	case schemeFile:
		if u.Host != "" || !path.IsAbs(u.Path) {
			return bad("a file:// address needs an absolute path: file:///srv/git/name.git")
		}
		return r, nil
	default:
		return bad("%q is no way to push; use https://host/path, ssh://user@host/path or user@host:path", u.Scheme)
	}
	return r.checked()
}

func (r *remote) setPort(standard string) {
	if r.port == "" {
		r.port = standard
	}
}

func (r remote) checked() (remote, error) {
	if r.scheme == schemeSSH && r.user == "" {
		r.user = "git"
	}
	n, err := strconv.Atoi(r.port)
	switch {
	case err != nil || n < 1 || n > 65535:
		return r, badConfig("remote", "its port is no number between 1 and 65535")
	case !hostName.MatchString(r.host):
		return r, badConfig("remote", "its host is no host name")
	case r.scheme == schemeSSH && !userName.MatchString(r.user):
		return r, badConfig("remote", "its user is no user name")
	case strings.Trim(r.path, "/") == "":
		return r, badConfig("remote", "it names no repository on the host")
	case strings.HasPrefix(r.path, "-"):
		return r, badConfig("remote", "its path begins with a hyphen")
	}
	return r, nil
}

const branchPrefix = "refs/heads/"

// checkBranch refuses what "git check-ref-format --branch" refuses, and names
// that look like an option or like a whole reference.
func checkBranch(name string) error {
	bad := func(why string) error { return badConfig("branch", "%q is no name for a branch: %s", name, why) }
	switch {
	case name == "" || len(name) > limits.GitBranchBytes:
		return bad("it is empty or too long")
	case strings.HasPrefix(name, "-"):
		return bad("it begins with a hyphen")
	case name == "HEAD" || name == "@" || strings.HasPrefix(name, "refs/"):
		return bad("write the name alone, such as main")
	case strings.ContainsFunc(name, func(r rune) bool { return isControl(r) || strings.ContainsRune(" ~^:?*[\\", r) }):
		return bad("it has a character that no reference can have")
	case strings.Contains(name, "..") || strings.Contains(name, "@{") || strings.HasSuffix(name, "."):
		return bad("it has two dots, @{ or a dot at its end")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return bad("a part of it is empty, begins with a dot or ends with .lock")
		}
	}
	return nil
}

// checkKnownHosts reads every line of known hosts.
func checkKnownHosts(text string) error {
	rest, n := []byte(text), 0
	for {
		marker, _, _, _, next, err := ssh.ParseKnownHosts(rest)
		if err != nil {
			break
		}
		if marker == "cert-authority" {
			return badConfig("known_hosts", "it has a @cert-authority line; name the host's own key")
		}
		rest = next
		n++
	}
	if lines := knownLines(text); n == 0 || n != lines {
		return badConfig("known_hosts", "%d of its %d lines can be read; a line is: host type key", n, lines)
	}
	return nil
}

// knownLines counts the lines that say something.
func knownLines(text string) int {
	n := 0
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			n++
		}
	}
	return n
}
