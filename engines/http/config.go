package http

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/protocol"
)

// settings is the configuration after it was checked.
type settings struct {
	requests []request
	values   map[string]any
	timeout  time.Duration
	message  string
}

// The keys that say where a request's body comes from.
const (
	keyBody     = "body"
	keyTemplate = "body_template"
	keyFile     = "body_file"
)

// request is one declared request.
type request struct {
	key            string // its place in the configuration
	name           string
	method         string
	rawURL         string
	url            *url.URL
	headers        map[string]string // by canonical name, secrets as placeholders
	secrets        []string          // names of secrets, sorted
	source         string            // of the body: body, body_template, body_file, or empty
	text           string            // the value of that key
	expect         []any
	idempotencyKey bool
}

// at gives the place of one of the request's keys for messages.
func (r *request) at(key string) string { return "config." + r.key + "." + key }

// Check says what is wrong with the settings of a step, before it is run.
func Check(with map[string]any) error {
	_, err := readSettings(with)
	return err
}

func readSettings(config map[string]any) (*settings, error) {
	s := &settings{values: map[string]any{}, timeout: limits.HTTPTimeout}
	for _, key := range slices.Sorted(maps.Keys(config)) {
		var err error
		switch value := config[key]; key {
		case "requests":
			err = s.readRequests(value)
		case "values":
			err = s.readValues(value)
		case "timeout":
			err = s.readTimeout(value)
		case "message":
			if s.message, err = readText(key, value, limits.HTTPMessageBytes); err == nil && strings.ContainsFunc(s.message, unicode.IsControl) {
				err = badConfig(key, "it has a line break or another control character")
			}
		default:
			err = badConfig(key, "there is no such setting; the settings are requests, values, timeout and message")
		}
		if err != nil {
			return nil, err
		}
	}
	if s.requests == nil {
		return nil, badConfig("requests", "it is missing: the requests to send")
	}
	return s, nil
}

func (s *settings) readValues(value any) error {
	m, ok := value.(map[string]any)
	if !ok {
		return badConfig("values", "it must be a map")
	}
	plain, err := kit.PlainValues(m, "values")
	if err != nil {
		return badConfig("values", "%w", err)
	}
	s.values, _ = plain.(map[string]any)
	return nil
}

func (s *settings) readTimeout(value any) error {
	text, _ := value.(string)
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Millisecond || d > limits.HTTPTimeoutMax {
		return badConfig("timeout", "it must be a duration such as %s, at most %s", limits.HTTPTimeoutText, limits.HTTPTimeoutMax)
	}
	s.timeout = d
	return nil
}

func (s *settings) readRequests(value any) error {
	list, ok := value.([]any)
	if !ok || len(list) == 0 || len(list) > limits.HTTPRequests {
		return badConfig("requests", "it must be a list of 1 to %d requests", limits.HTTPRequests)
	}
	first := map[string]string{}
	for i, v := range list {
		r := request{key: fmt.Sprintf("requests[%d]", i), headers: map[string]string{}}
		m, ok := v.(map[string]any)
		if !ok {
			return badConfig(r.key, "it must be a map with name, method and url")
		}
		if err := r.read(m); err != nil {
			return err
		}
		if other := first[r.name]; other != "" {
			return badConfig(r.key+".name", "%q is the name of %s already", r.name, other)
		}
		first[r.name] = r.key
		s.requests = append(s.requests, r)
	}
	return nil
}

var (
	namePattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)
	methodPattern = regexp.MustCompile(`^[A-Z][A-Z-]{0,31}$`)
)

// read reads one request of the list.
func (r *request) read(m map[string]any) error {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		var err error
		switch value := m[key]; key {
		case "name":
			if r.name, _ = value.(string); !namePattern.MatchString(r.name) {
				err = badConfig(r.key+".name", "it must be lower-case letters, digits, - and _, at most 63")
			}
		case "method":
			err = r.readMethod(value)
		case "url":
			if r.rawURL, err = readText(r.key+".url", value, limits.HTTPURLBytes); err == nil {
				if r.url, err = parseURL(r.rawURL); err != nil {
					err = badConfig(r.key+".url", "%w", err)
				}
			}
		case "headers", "secrets":
			err = r.readFields(key, value)
		case keyBody, keyTemplate, keyFile:
			err = r.readBody(key, value)
		case "expect":
			err = r.readExpect(value)
		case "idempotency_key":
			var ok bool
			if r.idempotencyKey, ok = value.(bool); !ok {
				err = badConfig(r.key+".idempotency_key", "it must be true or false")
			}
		default:
			err = badConfig(r.key+"."+key, "there is no such setting; a request has name, method, url, headers, secrets, body, body_template, body_file, expect and idempotency_key")
		}
		if err != nil {
			return err
		}
	}
	return r.complete()
}

func (r *request) readMethod(value any) error {
	r.method, _ = value.(string)
	switch {
	case !methodPattern.MatchString(r.method):
		return badConfig(r.key+".method", "it must be the name of a method in upper case, such as POST")
	case r.method == "CONNECT" || r.method == "TRACE":
		return badConfig(r.key+".method", "%s is for proxies and tests of connections, not for requests", r.method)
	}
	return nil
}

func (r *request) complete() error {
	switch {
	case r.name == "":
		return badConfig(r.key+".name", "it is missing")
	case r.method == "":
		return badConfig(r.key+".method", "it is missing")
	case r.url == nil:
		return badConfig(r.key+".url", "it is missing")
	case r.idempotencyKey && r.headers[idempotencyHeader] != "":
		return badConfig(r.key+".idempotency_key", "the header %s is set already", idempotencyHeader)
	case len(r.secrets) > 0 && r.url.Scheme != "https" && !loopback(r.url.Hostname()):
		return badConfig(r.key+".secrets", "a secret does not go over http, where everybody on the way can read it; use https")
	case r.expect == nil:
		r.expect = []any{"2xx"}
	}
	if r.headers["User-Agent"] == "" {
		r.headers["User-Agent"] = userAgent // or net/http would send one that no plan shows
	}
	return nil
}

func (r *request) readBody(key string, value any) (err error) {
	if r.source != "" {
		return badConfig(r.key+"."+key, "it cannot stand beside %q", r.source)
	}
	r.source = key
	switch key {
	case keyTemplate:
		if r.text, err = readText(r.key+"."+key, value, limits.TemplateBytes); err != nil {
			return err
		}
		if fault := kit.CheckTemplate(r.text); fault != nil {
			return badTemplate(r.at(key), fault)
		}
		return nil
	case keyFile:
		return r.readBodyFile(key, value)
	}
	r.text, err = readText(r.key+"."+key, value, limits.HTTPBodyBytes)
	if err == nil && strings.Contains(r.text, placeholderStart) {
		err = badConfig(r.key+"."+key, "it has %q, but secrets go into headers only", placeholderStart)
	}
	return err
}

func (r *request) readBodyFile(key string, value any) (err error) {
	if r.text, err = readText(r.key+"."+key, value, limits.PathBytes); err != nil {
		return err
	}
	if strings.ContainsFunc(r.text, func(c rune) bool { return !unicode.IsPrint(c) || c == '\\' }) {
		return badConfig(r.key+"."+key, "%q has a backslash or a character that cannot be seen", r.text)
	}
	if err := patch.CheckPath(r.text, nil); err != nil {
		return badConfig(r.key+"."+key, "%w", err)
	}
	return nil
}

func (r *request) readExpect(value any) error {
	m, ok := value.(map[string]any)
	list, _ := m["status"].([]any)
	if !ok || len(m) != 1 || len(list) == 0 || len(list) > limits.HTTPStatuses {
		return badConfig(r.key+".expect", "it must be a map with status, a list of 1 to %d statuses", limits.HTTPStatuses)
	}
	for i, v := range list {
		s, ok := readStatus(v)
		if !ok {
			return badConfig(fmt.Sprintf("%s.expect.status[%d]", r.key, i), "it must be a status from 200 to 599, or a class such as \"2xx\"")
		}
		r.expect = append(r.expect, s)
	}
	return nil
}

// readStatus gives a status as a number, or a class as text.
func readStatus(v any) (any, bool) {
	if n, ok := v.(protocol.Number); ok {
		var err error
		if v, err = n.Int64(); err != nil {
			return nil, false
		}
	}
	switch s := v.(type) {
	case string:
		return s, len(s) == 3 && '2' <= s[0] && s[0] <= '5' && s[1:] == "xx"
	case int64:
		return s, 200 <= s && s <= 599
	}
	return nil, false
}

// expects says whether the status is one that the request expects.
func (r *request) expects(status int) bool {
	return slices.Contains(r.expect, any(int64(status))) || slices.Contains(r.expect, any(fmt.Sprintf("%dxx", status/100)))
}

// readText reads a text that is not empty.
func readText(key string, value any, most int) (string, error) {
	s, ok := value.(string)
	switch {
	case !ok || s == "":
		return "", badConfig(key, "it must be text that is not empty")
	case len(s) > most:
		return "", badConfig(key, "it is longer than %d bytes", most)
	}
	return s, nil
}

func badConfig(key, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "http_config", format, args...).At("config." + key).
		WithHint("for example: engine: {use: http, with: {requests: [{name: purge, method: POST, url: \"https://api.example.com/purge\"}]}}")
}

// badTemplate says what is wrong with the template at a place.
func badTemplate(place string, fault *kit.TemplateError) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "http_template", "the template is refused: %w", fault).At(fault.Place(place)).
		WithHint("see docs/engines.md, the engine http, for what a template may hold")
}
