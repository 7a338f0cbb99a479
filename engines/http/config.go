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
			s.values, err = reading.Values(key, value)
		case "timeout":
			err = s.readTimeout(value)
		case "message":
			s.message, err = reading.Title(key, value, limits.HTTPMessageBytes)
		default:
			err = reading.Unknown(key, "the settings are requests, values, timeout and message")
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
	first := map[string]string{}
	return reading.List("requests", value, 1, limits.HTTPRequests, "requests", func(at string, v any) error {
		r := request{key: at, headers: map[string]string{}}
		m, err := reading.Map(at, v, "name, method and url")
		if err == nil {
			err = r.read(m)
		}
		if err != nil {
			return err
		}
		if other := first[r.name]; other != "" {
			return badConfig(at+".name", "%q is the name of %s already", r.name, other)
		}
		first[r.name] = at
		s.requests = append(s.requests, r)
		return nil
	})
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
			if r.rawURL, err = reading.Text(r.key+".url", value, limits.HTTPURLBytes); err == nil {
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
			r.idempotencyKey, err = reading.Bool(r.key+"."+key, value)
		default:
			err = reading.Unknown(r.key+"."+key, "a request has name, method, url, headers, secrets, body, body_template, body_file, expect and idempotency_key")
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
		r.text, err = reading.Template(r.key+"."+key, value, limits.TemplateBytes, func(fault *kit.TemplateError) *protocol.Error {
			return badTemplate(r.at(key), fault)
		})
		return err
	case keyFile:
		return r.readBodyFile(key, value)
	}
	r.text, err = reading.Text(r.key+"."+key, value, limits.HTTPBodyBytes)
	if err == nil && strings.Contains(r.text, placeholderStart) {
		err = badConfig(r.key+"."+key, "it has %q, but secrets go into headers only", placeholderStart)
	}
	return err
}

func (r *request) readBodyFile(key string, value any) (err error) {
	if r.text, err = reading.Text(r.key+"."+key, value, limits.PathBytes); err != nil {
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

// reading reads values.
var reading = kit.Settings(badConfig)

func badConfig(key, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "http_config", format, args...).At("config." + key).
		WithHint("for example: engine: {use: http, with: {requests: [{name: purge, method: POST, url: \"https://api.example.com/purge\"}]}}")
}

// badTemplate says what is wrong with the template at a place.
func badTemplate(place string, fault *kit.TemplateError) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "http_template", "the template is refused: %w", fault).At(fault.Place(place)).
		WithHint("see docs/engines.md, the engine http, for what a template may hold")
}
