package config

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// The patterns stand in schemas/config.schema.json too; a test compares.
var (
	workflowName = lazily(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$`)
	engineName   = lazily(`^[a-z0-9][a-z0-9_-]{0,62}$`)
	envName      = lazily(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	hostName     = lazily(`^(?:\*\.)?[a-z0-9](?:[a-z0-9-]{0,62})(?:\.[a-z0-9][a-z0-9-]{0,62}){0,9}(?::[0-9]{1,5})?$`)
	ruleName     = lazily(`^data(?:\.[A-Za-z_][A-Za-z0-9_]{0,62}){1,8}$`)
	emailAddress = lazily(`^[^@\s<>]{1,64}@[^@\s<>]{1,190}$`)
)

// lazily compiles a pattern when it is first asked for: this package is part of
// every start of the program, also of those that run an engine in a sandbox.
func lazily(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

func matching(re func() *regexp.Regexp, what string) check {
	return func(s string) (string, string) {
		if re().MatchString(s) {
			return "", ""
		}
		return fmt.Sprintf("is not %s: %q", what, short(s)), "it must match " + re().String()
	}
}

func oneOf(words ...string) check {
	return func(s string) (string, string) {
		if slices.Contains(words, s) {
			return "", ""
		}
		if c := closest(s, words); c != "" {
			return fmt.Sprintf("is unknown: %q", short(s)), fmt.Sprintf("did you mean %q?", c)
		}
		return fmt.Sprintf("is unknown: %q", short(s)), "one of: " + list(words)
	}
}

// plain accepts a line of text that can stand in a report as it is.
func plain(s string) (string, string) {
	switch {
	case s == "":
		return "is empty", "give it a value, or leave the key out"
	case len(s) > limits.ConfigText:
		return "is too long", fmt.Sprintf("at most %d bytes", limits.ConfigText)
	case strings.ContainsFunc(s, invisible):
		return "has control or invisible characters", "use visible characters only"
	case s != strings.TrimSpace(s):
		return "begins or ends with a space", "remove it"
	}
	return "", ""
}

// invisible covers control characters and those that hide or reorder text.
func invisible(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
}

func stepID(s string) (string, string) {
	if protocol.ValidStepID(s) {
		return "", ""
	}
	if s == protocol.WorkflowStep {
		return fmt.Sprintf("cannot be %q", s), "that name stands for the whole flight; choose another"
	}
	return fmt.Sprintf("is not a step id: %q", short(s)), "it must match [a-z0-9][a-z0-9_-]{0,62}"
}

// argument accepts one element of a command line or a literal environment value.
func argument(s string) (string, string) {
	switch {
	case len(s) > limits.ConfigArgument:
		return "is too long", fmt.Sprintf("at most %d bytes", limits.ConfigArgument)
	case strings.ContainsRune(s, 0):
		return "has a NUL byte", "no program can be given one"
	}
	return "", ""
}

// engineVariable accepts the name under which an engine gets a value. A step may
// say where its programs are (PATH); what would let a plan depend on the person or
// the place (home, language, time zone) stays fixed.
// SPEC: docs/protocol.md 2
func engineVariable(s string) (string, string) {
	if wrong, hint := envVariable(s); wrong != "" {
		return wrong, hint
	}
	switch s {
	case "HOME", "TMPDIR", "LANG", "TZ":
		return fmt.Sprintf("%q has a fixed value for every engine", s), "choose another name"
	}
	return "", ""
}

// envVariable keeps the program's own variables away from engines: one of them
// is the passphrase of the signing key.
func envVariable(s string) (string, string) {
	if !envName().MatchString(s) {
		return fmt.Sprintf("is not a variable's name: %q", short(s)), "it must match " + envName().String()
	}
	if strings.HasPrefix(strings.ToUpper(s), "CABINCREW_") {
		return fmt.Sprintf("%q is reserved", short(s)), "names with CABINCREW_ are the program's own; choose another"
	}
	return "", ""
}

// inside accepts a path in the workspace, relative to the configuration.
// SPEC: docs/protocol.md 3; the file system is asked later, by os.Root.
func inside(s string) (string, string) {
	if wrong, hint := pathText(s); wrong != "" {
		return wrong, hint
	}
	if path.IsAbs(s) || driveLetter(s) {
		return fmt.Sprintf("is absolute: %q", short(s)), "write it relative to the configuration"
	}
	for part := range strings.SplitSeq(s, "/") {
		switch {
		case part == "..":
			return fmt.Sprintf("leaves the workspace: %q", short(s)), "write it without .."
		case strings.EqualFold(part, ".git"):
			return fmt.Sprintf("lies in .git: %q", short(s)), "keep it among the workspace's own files"
		}
	}
	return "", ""
}

func pathText(s string) (string, string) {
	switch {
	case s == "":
		return "is empty", "give it a value, or leave the key out"
	case len(s) > limits.ConfigPath:
		return "is too long", fmt.Sprintf("at most %d bytes", limits.ConfigPath)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "has a control character", "paths and globs are one line of text"
	case strings.Contains(s, `\`):
		return fmt.Sprintf("has a backslash: %q", short(s)), "separate directories with /"
	}
	return "", ""
}

func driveLetter(s string) bool { return len(s) >= 2 && s[1] == ':' }

// secretFile accepts the file of a secret or a key: inside the workspace, or
// absolute, since a private value belongs outside of it.
func secretFile(s string) (string, string) {
	if path.IsAbs(s) {
		if wrong, hint := pathText(s); wrong != "" {
			return wrong, hint
		}
		if path.Clean(s) != s {
			return fmt.Sprintf("is not in its shortest form: %q", short(s)), "write " + path.Clean(s)
		}
		return "", ""
	}
	return inside(s)
}

// glob accepts a doublestar pattern whose matching is bounded.
func glob(s string) (string, string) {
	if wrong, hint := inside(s); wrong != "" {
		return wrong, hint
	}
	if path.Clean(s) != s {
		return fmt.Sprintf("matches nothing as it is: %q", short(s)), fmt.Sprintf("paths begin without ./ and end without /; write %q", path.Clean(s))
	}
	return globText(s)
}

func globText(s string) (string, string) {
	switch {
	case strings.Count(s, "**") > limits.ConfigGlobStars:
		return "has too many **", fmt.Sprintf("at most %d; list several globs", limits.ConfigGlobStars)
	case strings.Count(s, "{") > limits.ConfigGlobAlts:
		return "has too many {", fmt.Sprintf("at most %d; list several globs", limits.ConfigGlobAlts)
	case !doublestar.ValidatePattern(s):
		return fmt.Sprintf("is not a glob: %q", short(s)), "close every [ and {"
	}
	return "", ""
}

func host(s string) (string, string) {
	if s != strings.ToLower(s) {
		return fmt.Sprintf("has capitals: %q", short(s)), "write " + strings.ToLower(short(s))
	}
	return matching(hostName, "a host or host:port")(s)
}

// tunnel accepts host:port, which is reached without anybody looking in.
func tunnel(s string) (string, string) {
	if wrong, hint := host(s); wrong != "" {
		return wrong, hint
	}
	if strings.HasPrefix(s, "*") || !strings.Contains(s, ":") {
		return fmt.Sprintf("is not one host with a port: %q", short(s)), "write it as git.example.com:22"
	}
	return "", ""
}

// tool accepts a program's bare name or absolute path, or a directory's.
func tool(s string) (string, string) {
	if wrong, hint := program(s); wrong != "" {
		return wrong, hint
	}
	if strings.Contains(s, "/") && !path.IsAbs(s) {
		return fmt.Sprintf("is a relative path: %q", short(s)), "write the name of a program in PATH, or an absolute path"
	}
	return "", ""
}

// program accepts the name or path of a file.
func program(s string) (string, string) {
	if s == "" {
		return "is empty", "name a file"
	}
	return argument(s)
}

// signingKey accepts a file or the URI of a key service.
func signingKey(s string) (string, string) {
	if strings.Contains(s, "://") {
		if wrong, hint := plain(s); wrong != "" {
			return wrong, hint
		}
		u, err := url.Parse(s)
		if err != nil || u.Scheme == "" {
			return fmt.Sprintf("is not a URI: %q", short(s)), "write a file, or a key service's URI such as awskms:///alias/name"
		}
		if u.User != nil {
			return "holds credentials", "give them to the key service's client by its own means"
		}
		return "", ""
	}
	return secretFile(s)
}
