package git

import (
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Who stands in a commit where the configuration names nobody.
const (
	defaultName  = "cabincrew"
	defaultEmail = "cabincrew@users.noreply.invalid"
)

// defaultUsername is what forges take beside a token.
const defaultUsername = "x-access-token"

// identity is a name and a mail address.
type identity struct{ name, email string }

func (i identity) String() string { return i.name + " <" + i.email + ">" }

// settings is the configuration after it was checked.
type settings struct {
	message    string
	trailers   []string // "Key: value", sorted
	author     identity
	committer  identity
	date       int64 // seconds, or -1 for the parent's date and one second
	branch     string
	remote     remote
	create     bool
	expect     plumbing.Hash // zero for the parent
	base       plumbing.Hash // zero for HEAD
	sign       *bool         // nil: if there is a key
	allowEmpty bool
	username   string
	knownHosts string
}

func (s *settings) ref() string { return branchPrefix + s.branch }

// fullMessage is the message with its trailers.
func (s *settings) fullMessage() string {
	if len(s.trailers) == 0 {
		return s.message + "\n"
	}
	return s.message + "\n\n" + strings.Join(s.trailers, "\n") + "\n"
}

// Check says what is wrong with the settings of a step, before it is run.
func Check(with map[string]any) error {
	_, err := readSettings(with)
	return err
}

func readSettings(config map[string]any) (*settings, error) {
	s := &settings{author: identity{defaultName, defaultEmail}, date: -1, create: true, username: defaultUsername}
	r := reader{s: s}
	readers := r.keys()
	for _, key := range slices.Sorted(maps.Keys(config)) {
		read := readers[key]
		if read == nil {
			return nil, reading.Unknown(key, "the settings are "+strings.Join(slices.Sorted(maps.Keys(readers)), ", "))
		}
		if err := read(config[key]); err != nil {
			return nil, err
		}
	}
	return s, r.finish()
}

// reader reads the settings key by key.
type reader struct {
	s         *settings
	allowFile bool
}

func (r *reader) keys() map[string]func(v any) error {
	s := r.s
	return map[string]func(v any) error{
		"message":   r.message,
		"trailers":  r.trailers,
		"author":    func(v any) error { return readIdentity("author", v, &s.author) },
		"committer": func(v any) error { return readIdentity("committer", v, &s.committer) },
		"date":      r.date,
		"branch": func(v any) (err error) {
			if s.branch, err = readText("branch", v, limits.GitBranchBytes); err == nil {
				err = checkBranch(s.branch)
			}
			return err
		},
		"remote": func(v any) error {
			text, err := readText("remote", v, limits.GitRemoteURLBytes)
			if err == nil {
				s.remote, err = parseRemote(text)
			}
			return err
		},
		"create":      func(v any) error { return readBool("create", v, &s.create) },
		"expect":      func(v any) error { return readID("expect", v, &s.expect) },
		"base":        func(v any) error { return readID("base", v, &s.base) },
		"sign":        func(v any) error { s.sign = new(bool); return readBool("sign", v, s.sign) },
		"allow_empty": func(v any) error { return readBool("allow_empty", v, &s.allowEmpty) },
		"allow_file":  func(v any) error { return readBool("allow_file", v, &r.allowFile) },
		"username": func(v any) (err error) {
			s.username, err = readLine("username", v, limits.GitIdentityBytes)
			if err == nil && strings.Contains(s.username, ":") {
				err = badConfig("username", "it has a colon, which HTTP's basic authentication cannot carry")
			}
			return err
		},
		"known_hosts": func(v any) (err error) {
			if s.knownHosts, err = readText("known_hosts", v, limits.GitKnownHostsBytes); err == nil {
				err = checkKnownHosts(s.knownHosts)
			}
			return err
		},
	}
}

// finish looks at what keys ask of each other.
func (r *reader) finish() error {
	s := r.s
	if s.committer == (identity{}) {
		s.committer = s.author
	}
	switch {
	case s.message == "":
		return badConfig("message", "it is missing: the commit message")
	case s.branch == "":
		return badConfig("branch", "it is missing: the branch to push to")
	case s.remote.scheme == "":
		return badConfig("remote", "it is missing: the repository to push to")
	case s.remote.scheme == schemeFile && !r.allowFile:
		return badConfig("remote", "a repository on this machine needs \"allow_file: true\"")
	case s.remote.scheme == schemeSSH && s.knownHosts == "":
		return badConfig("known_hosts", "it is missing: over ssh the remote's host key must be named (no key is trusted on first use)").
			WithHint("take the line from the forge's own documentation, or compare what \"ssh-keyscan\" prints with it")
	case len(s.fullMessage()) > limits.GitMessageBytes:
		return badConfig("message", "with its trailers it is longer than %d bytes", limits.GitMessageBytes)
	}
	return nil
}

func (r *reader) message(v any) error {
	text, err := readText("message", v, limits.GitMessageBytes)
	if err != nil {
		return err
	}
	if strings.ContainsRune(text, '\r') {
		return badConfig("message", "it has a carriage return")
	}
	if r.s.message = strings.Trim(text, " \t\n"); r.s.message == "" {
		return badConfig("message", "it is blank")
	}
	return nil
}

func (r *reader) trailers(v any) error {
	m, ok := v.(map[string]any)
	if !ok || len(m) > limits.GitTrailers {
		return badConfig("trailers", "it must be a map of at most %d lines", limits.GitTrailers)
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		at := "trailers." + key
		if key == "" || len(key) > limits.GitIdentityBytes || strings.Trim(key, alphanumeric+"-") != "" || !strings.Contains(alphanumeric, key[:1]) {
			return badConfig(at, "a trailer's name has letters, digits and hyphens only")
		}
		value, err := readLine(at, m[key], limits.GitMessageBytes)
		if err != nil {
			return err
		}
		r.s.trailers = append(r.s.trailers, key+": "+strings.TrimSpace(value))
	}
	return nil
}

const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

func (r *reader) date(v any) error {
	text, err := readLine("date", v, 64)
	if err != nil {
		return err
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Unix() < 0 || t.Unix() >= maxTime {
		return badConfig("date", "%q is no date in the form 2006-01-02T15:04:05Z", text)
	}
	r.s.date = t.Unix()
	return nil
}

// readIdentity reads {name, email}. As git does, it drops what cannot stand in a
// commit's line from both ends.
func readIdentity(key string, v any, to *identity) error {
	m, err := reading.Map(key, v, "name and email")
	if err != nil {
		return err
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if k != "name" && k != "email" {
			return reading.Unknown(key+"."+k, "the settings are name and email")
		}
	}
	for k, field := range map[string]*string{"name": &to.name, "email": &to.email} {
		text, err := readLine(key+"."+k, m[k], limits.GitIdentityBytes)
		if err != nil {
			return err
		}
		if *field = strings.TrimFunc(text, isCrud); *field == "" || strings.ContainsAny(*field, "<>") {
			return badConfig(key+"."+k, "%q cannot stand in a commit", text)
		}
	}
	return nil
}

// isCrud is what git takes from the ends of names and addresses.
func isCrud(r rune) bool { return r <= ' ' || strings.ContainsRune(".,:;<>\"\\'", r) }

func readText(key string, v any, most int) (string, error) {
	s, err := reading.Word(key, v, most)
	if err == nil && !utf8.ValidString(s) {
		err = badConfig(key, "it is not UTF-8")
	}
	return s, err
}

func readLine(key string, v any, most int) (string, error) {
	s, err := readText(key, v, most)
	if err == nil && strings.ContainsFunc(s, isControl) {
		err = badConfig(key, "it has more than one line, or a control character")
	}
	return s, err
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func readBool(key string, v any, to *bool) (err error) {
	*to, err = reading.Bool(key, v)
	return err
}

func readID(key string, v any, to *plumbing.Hash) error {
	s, ok := v.(string)
	if *to, ok = parseID(s, ok); !ok {
		return badConfig(key, "it must be a full commit id: 40 hexadecimal digits in lower case (put quotes around it)")
	}
	return nil
}

// reading reads values.
var reading = kit.Settings(badConfig)

func badConfig(key, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "git_config", format, args...).At("config." + key).
		WithHint("for example: engine: {use: git, with: {remote: \"https://host/owner/name.git\", branch: bot/update, message: Update}}")
}
