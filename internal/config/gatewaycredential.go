package config

import (
	"slices"
	"strings"
)

var (
	// knownCredential are beginnings that issuers of credentials give them, so that they
	// can be found in files.
	knownCredential = lazily(`(?:^|[^A-Za-z0-9])(?:gh[opsur]_[A-Za-z0-9]{8}|github_pat_|gl[a-z]{2,6}-[A-Za-z0-9_-]{8}|sk-[A-Za-z0-9_-]{8}|[srp]k_(?:live|test)_|xox[a-z]-|xapp-|A[KS]IA[A-Z0-9]{12}|AIza[A-Za-z0-9_-]{8}|ya29\.|eyJ[A-Za-z0-9_-]{8}|npm_[A-Za-z0-9]{8}|pypi-|hf_[A-Za-z0-9]{8}|dop_v1_|figd_|ntn_|secret_[A-Za-z0-9]{8}|lin_api_|SG\.[A-Za-z0-9_-]{8}|-----BEGIN )`)
	// inURL is a password before a host.
	inURL = lazily(`://[^/?#\s@]*:[^/?#\s@]+@`)
	// named is a name with its value: in a query, an assignment or a header.
	named     = lazily(`(?:^|[^A-Za-z0-9_])([A-Za-z][A-Za-z0-9_-]*)["']?\s*[=:]\s*["']?[^\s&;"']`)
	bearing   = lazily(`(?i)(?:^|[\s:])(?:bearer|basic|token)\s+[^\s]{8,}`)
	longToken = lazily(`[A-Za-z0-9_+=-]{24,}`)
	ofPlace   = lazily(`(?i)_(?:file|path|dir|directory|name|id|type|header)$`)
	hexToken  = lazily(`^[0-9a-fA-F]{32,}$`)
	referred  = lazily(`\$\{(?:input|env):[^}]*\}|\$\{[A-Za-z_][A-Za-z0-9_]*(?::-[^}]*)?\}`)
)

// namesSecret says whether what has this name is a secret.
func namesSecret(name string) bool {
	name = strings.ReplaceAll(strings.TrimLeft(name, "-"), "-", "_")
	return secretLike().MatchString(name) && !ofPlace().MatchString(name)
}

// holdsCredential says whether a text holds what looks like a credential, in itself or by
// the name before it. It errs towards yes: who is asked once too often loses nothing.
func holdsCredential(text string) bool {
	if knownCredential().MatchString(text) || inURL().MatchString(text) || bearing().MatchString(text) {
		return true
	}
	for _, m := range named().FindAllStringSubmatch(text, -1) {
		if namesSecret(m[1]) {
			return true
		}
	}
	if strings.ContainsAny(text, `/\`) && !strings.Contains(text, "://") {
		return false // directories have all sorts of names
	}
	return slices.ContainsFunc(longToken().FindAllString(text, -1), random)
}

// random says whether a long word is more like a token than like a name: letters of both
// cases and digits, or nothing but hexadecimal digits. After sha256: these are a digest.
func random(word string) bool {
	if hexToken().MatchString(word) {
		return true
	}
	return strings.ContainsAny(word, "0123456789") && strings.ToLower(word) != word && strings.ToUpper(word) != word
}

var (
	harmlessName  = lazily(`(?i)(?:^|_)(?:env|environment|level|debug|verbose|port|host|hostname|dir|directory|root|path|file|lang|language|locale|tz|timezone|timeout|mode|region|home|editor|shell|color|colour|format|version|options|schema|name)$`)
	harmlessValue = lazily(`^(?:true|false|yes|no|on|off|[0-9]|\.{0,2}(?:/[^=&?@\s]*)?|[A-Za-z]:\\[^=&?@\s]*)$`)
	assignment    = lazily(`^(?:--?[a-z-]+=)?([A-Z][A-Z0-9_]*)=(.*)$`)
	plainHeader   = lazily(`(?i)^(?:accept(?:-[a-z]+)?|content-type|user-agent|mcp-protocol-version)\s*:`)
	numbers       = lazily(`^[0-9:.]+$`)
)

// harmlessVariable says whether the value of a variable may stand in a file that others
// read. Names of secrets are without number, so that only what is known is taken for none.
func harmlessVariable(name, value string) bool {
	if holdsCredential(value) || secretLike().MatchString(name) && value != "" || strings.HasPrefix(value, sourceEnv) {
		return false
	}
	value = strings.ReplaceAll(strings.ReplaceAll(value, "${workspaceFolder}", "."), "${workspaceRoot}", ".")
	return value == "" || harmlessName().MatchString(name) || harmlessValue().MatchString(value)
}

// givesCredential says whether an argument behind an option is taken for a credential
// because of what such options are for.
func givesCredential(option, arg string) bool {
	switch option {
	case "-p", "--pwd", "--bearer", "--cookie", "-b":
		return !numbers().MatchString(arg) && !strings.HasPrefix(arg, "/") && !strings.HasPrefix(arg, ".")
	case "-u", "--user":
		return strings.Contains(arg, ":")
	case "-H", "--header":
		return !plainHeader().MatchString(arg)
	}
	return false
}

// refersElsewhere says whether a text has a value that the client puts in its place.
func refersElsewhere(text string) bool {
	for _, m := range referred().FindAllString(text, -1) {
		if m != "${workspaceFolder}" && m != "${workspaceRoot}" {
			return true
		}
	}
	return false
}

// secretArgument gives what is wrong with the arguments of a command, for a file that
// others read: "" is nothing. It never repeats what it found.
func secretArgument(command []string) string {
	for i, arg := range command {
		switch {
		case refersElsewhere(arg):
			return "has a value in its command that the client puts there (such as ${input:…})"
		case holdsCredential(withoutDigests(arg)):
			return "has what looks like a credential in its command"
		case assigns(arg):
			return "has the value of a variable in its command, which may be a credential,"
		case i > 0 && givesCredential(command[i-1], arg):
			return "has what may be a credential in its command, after " + command[i-1] + ","
		case i > 0 && strings.HasPrefix(command[i-1], "-") && !strings.HasPrefix(arg, "-") && !strings.Contains(command[i-1], "=") && namesSecret(command[i-1]):
			return "has what looks like a credential in its command, after " + short(command[i-1])
		}
	}
	return ""
}

// assigns says whether an argument gives a variable a value that is not plainly harmless.
func assigns(arg string) bool {
	m := assignment().FindStringSubmatch(arg)
	return len(m) > 2 && !harmlessVariable(m[1], m[2])
}

// withoutDigests takes out what pins an image or a package.
func withoutDigests(arg string) string {
	return digestIn().ReplaceAllString(arg, "")
}

var digestIn = lazily(`sha(?:256|384|512)[:-][A-Za-z0-9+/=]+`)

// variablesOf reads the names and values of a file of variables, as clients do: NAME=VALUE
// lines, with or without export before them.
func variablesOf(data []byte) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
		name, value, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); ok && envName().MatchString(name) {
			out[name] = strings.TrimSpace(value)
		}
	}
	return out
}
