package paths

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/cabincrew/action/protocol"
)

// protectedNames are names that hold secrets, or that decide what runs or who judges,
// with all below them. Where slashes stand in one, the names follow each other.
var protectedNames = []string{
	".env", ".env.*", "*.env", ".envrc",
	".git", ".gitconfig", ".git-credentials",
	".ssh", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.pem", "*.key", "*.p12", "*.pfx", "*.ppk", "*.jks", "*.keystore", "*.kdbx",
	".gnupg", ".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass", ".my.cnf", ".htpasswd", ".vault-token", ".terraformrc",
	".aws", ".azure", ".kube", ".docker/config.json", ".config/gcloud", ".config/gh",
	"credentials", "credentials.*", "*credentials.json",
	"*.tfstate", "*.tfstate.*",
	".cabincrew*",
	"mcp.json", ".mcp.json", "claude_desktop_config.json",
	"proc/*/environ",
}

// protectedPlaces are absolute paths of the same kind.
var protectedPlaces = []string{"/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/sudoers.d", "/etc/ssh"}

// systemDirs show processes, devices and the kernel; what their links mean depends on who
// follows them.
var systemDirs = []string{"/proc", "/dev", "/sys"}

// pattern is one or several names that follow each other, folded; kind and text are of
// the first.
type pattern struct {
	names []string
	kind  patternKind
	text  string
}

type patternKind int

const (
	exact patternKind = iota
	begins
	ends
	match // by path.Match
)

// newPattern prepares a pattern, so that the usual ones are compared without path.Match.
func newPattern(text string) pattern {
	text = strings.Trim(fold(text), "/")
	if names := strings.Split(text, "/"); len(names) > 1 {
		p := newPattern(names[0])
		p.names = names
		return p
	}
	p := pattern{names: []string{text}, kind: match}
	const special = `*?[\`
	switch {
	case !strings.ContainsAny(text, special):
		p.kind, p.text = exact, text
	case strings.HasPrefix(text, "*") && !strings.ContainsAny(text[1:], special):
		p.kind, p.text = ends, text[1:]
	case strings.HasSuffix(text, "*") && !strings.ContainsAny(text[:len(text)-1], special):
		p.kind, p.text = begins, text[:len(text)-1]
	}
	return p
}

// one says whether a name is the pattern's first.
func (p *pattern) one(name string) bool {
	switch p.kind {
	case exact:
		return name == p.text
	case begins:
		return strings.HasPrefix(name, p.text)
	case ends:
		return strings.HasSuffix(name, p.text)
	}
	ok, err := path.Match(p.names[0], name)
	return ok && err == nil
}

// protect reads what nobody may touch.
func (c *Checker) protect(more []string) error {
	for _, text := range protectedNames {
		c.patterns = append(c.patterns, newPattern(text))
	}
	for _, text := range protectedPlaces {
		c.protected = append(c.protected, guarded{path: text, fold: text})
	}
	for _, text := range more {
		if filepath.IsAbs(text) {
			clean := filepath.Clean(text)
			c.protected = append(c.protected, guarded{path: clean, fold: fold(clean)})
			if at := c.resolver().follow(clean); at.why == "" && at.path != clean {
				c.protected = append(c.protected, guarded{path: at.path, fold: fold(at.path)})
			}
			continue
		}
		if _, err := path.Match(text, ""); err != nil || strings.Trim(text, "/") == "" {
			return protocol.Errorf(protocol.ExitUsage, "gateway_root_invalid", "the protected name is no pattern").At(text).
				WithHint("write one as \"*.secret\", \".vault/keys\" or an absolute path")
		}
		c.patterns = append(c.patterns, newPattern(text))
	}
	return nil
}

// guards says why a path may not be touched by anybody; "" if it may. What lies in root
// is told by the names below it: the root itself was chosen by somebody.
func (c *Checker) guards(p, root string) string {
	for _, dir := range systemDirs {
		if below(p, dir) && (dir == "/proc" || root == "" || !below(root, dir)) {
			return "it lies in " + dir
		}
	}
	folded := fold(p)
	for i := range c.protected {
		if below(folded, c.protected[i].fold) {
			return "it is protected"
		}
	}
	rest := folded
	if len(root) > 1 && below(p, root) {
		rest = fold(p[len(root):])
	}
	if name := c.guardsName(rest); name != "" {
		return "the name " + name + " is protected"
	}
	return ""
}

// Protects says whether what lies in a root may not be touched by anybody.
func (c *Checker) Protects(root, path string) bool { return c.guards(path, root) != "" }

// guardsName gives the first of the names of a folded path that is protected.
func (c *Checker) guardsName(rest string) string {
	for rest != "" {
		rest = strings.TrimLeft(rest, "/")
		name, after, _ := strings.Cut(rest, "/")
		if name == "" {
			return ""
		}
		if isDotGit(name) {
			return name
		}
		for i := range c.patterns {
			if c.patterns[i].one(name) && c.patterns[i].others(after) {
				return name
			}
		}
		rest = after
	}
	return ""
}

// others says whether the names after the first are the pattern's others.
func (p *pattern) others(rest string) bool {
	for _, want := range p.names[1:] {
		name, after, _ := strings.Cut(rest, "/")
		if ok, err := path.Match(want, name); !ok || err != nil {
			return false
		}
		rest = after
	}
	return true
}

// isDotGit knows the 8.3 name of .git.
func isDotGit(name string) bool {
	number, ok := strings.CutPrefix(name, "git~")
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

// sameAsGuarded says whether what is at a place is a protected file under another name
// (a hard link, another normal form of its name).
func (c *Checker) sameAsGuarded(at place) bool {
	if at.info == nil {
		return false
	}
	for i := len(protectedPlaces); i < len(c.protected); i++ {
		if info, err := os.Lstat(c.protected[i].path); err == nil && os.SameFile(info, at.info) {
			return true
		}
	}
	return false
}

// fold gives a path the letters that a careless file system compares: without case, and
// each name without a stream, trailing dots and spaces, and characters that are ignored.
func fold(p string) string {
	plain := true
	for i := range len(p) {
		if ch := p[i]; ch >= 0x80 || 'A' <= ch && ch <= 'Z' || ch == ':' || ch == ' ' || ch == '.' && (i+1 == len(p) || p[i+1] == '/') {
			plain = false
			break
		}
	}
	if plain {
		return p
	}
	names := strings.Split(strings.Map(foldRune, p), "/")
	for i, name := range names {
		if name == "." || name == ".." {
			continue
		}
		name, _, _ = strings.Cut(name, ":")
		names[i] = strings.TrimRight(name, ". ")
	}
	return strings.Join(names, "/")
}

func foldRune(r rune) rune {
	switch {
	case r < 0x80:
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	case r == 0xad, 0x200b <= r && r <= 0x200f, 0x202a <= r && r <= 0x202e, 0x2060 <= r && r <= 0x206f, r == 0xfeff:
		return -1
	}
	least := r // of all that only case tells apart: U+017F is an s, U+212A a k
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		least = min(least, other)
	}
	if 'A' <= least && least <= 'Z' {
		least += 'a' - 'A'
	}
	return least
}
