package http

import (
	"maps"
	"net/textproto"
	"regexp"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
)

const (
	idempotencyHeader = "Idempotency-Key"
	userAgent         = "cabincrew-http/" + Version

	placeholderStart = "{{secret"
	formatSecret     = "{{secret}}"
)

var (
	secretPattern      = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	placeholderPattern = regexp.MustCompile(`\{\{secret:([A-Za-z_][A-Za-z0-9_]{0,127})\}\}`)
)

// readFields reads the headers of a request, or those that hold secrets.
func (r *request) readFields(key string, value any) error {
	m, err := reading.Map(r.key+"."+key, value, "headers")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		where := r.key + "." + key + "." + name
		if why := badFieldName(name); why != "" {
			return badConfig(r.key+"."+key, "the header %q is refused: %s", name, why)
		}
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		if r.headers[canonical] != "" {
			return badConfig(where, "the header %s is there already", canonical)
		}
		if len(r.headers) == limits.HTTPHeaders {
			return badConfig(r.key+"."+key, "there are more than %d headers", limits.HTTPHeaders)
		}
		read := plainField
		if key == "secrets" {
			read = r.secretField
		}
		field, err := read(where, m[name])
		if err != nil {
			return err
		}
		if why := badFieldValue(field); why != "" {
			return badConfig(where, "%s", why)
		}
		r.headers[canonical] = field
	}
	return nil
}

func plainField(where string, value any) (string, error) {
	field, ok := value.(string)
	switch {
	case !ok:
		return "", badConfig(where, "it must be text (put quotes around it)")
	case strings.Contains(field, placeholderStart):
		return "", badConfig(where, "a header with a secret stands under secrets")
	}
	return field, nil
}

// secretField gives a header with the place of a secret in it.
func (r *request) secretField(where string, value any) (string, error) {
	name, format := "", formatSecret
	switch v := value.(type) {
	case string:
		name = v
	case map[string]any:
		name, _ = v["secret"].(string)
		if f, ok := v["format"]; ok {
			format, _ = f.(string)
		}
		for key := range v {
			if key != "secret" && key != "format" {
				return "", badConfig(where, "it has secret and format, and nothing else")
			}
		}
	}
	switch {
	case !secretPattern.MatchString(name):
		return "", badConfig(where, "it must be the name of a secret of the step, or {secret: NAME, format: \"Bearer {{secret}}\"}")
	case strings.Count(format, placeholderStart) != 1 || !strings.Contains(format, formatSecret):
		return "", badConfig(where, "its format must hold %s once", formatSecret)
	}
	if !slices.Contains(r.secrets, name) {
		r.secrets = append(r.secrets, name)
		slices.Sort(r.secrets)
	}
	return strings.Replace(format, formatSecret, "{{secret:"+name+"}}", 1), nil
}

// badFieldName says why a name is refused, or nothing. SPEC: RFC 9110 5.1, 7.6.1
func badFieldName(name string) string {
	if name == "" || len(name) > limits.HTTPHeaderName || strings.ContainsFunc(name, func(c rune) bool {
		letterOrDigit := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		return !letterOrDigit && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	}) {
		return "it is not the name of a header"
	}
	lower := strings.ToLower(name)
	switch lower {
	case "connection", "expect", "http2-settings", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade":
		return "it is about the connection, which is not the plan's"
	case "content-length", "host":
		return "it follows from the url and the body"
	}
	if strings.HasPrefix(lower, "proxy-") {
		return "it is for a proxy"
	}
	return ""
}

// badFieldValue says why a value is refused, or nothing. Only what can be seen, so
// that what a person reads is what is sent.
func badFieldValue(value string) string {
	switch {
	case value == "":
		return "it is empty"
	case len(value) > limits.HTTPHeaderValue:
		return "it is too long for a header"
	case value != strings.Trim(value, " \t"):
		return "it begins or ends with a space"
	case strings.ContainsFunc(value, func(c rune) bool { return c != '\t' && (c < ' ' || c > '~') }):
		return "it has a character that a header cannot hold (a line break, a control character, or none of ASCII)"
	}
	return ""
}
