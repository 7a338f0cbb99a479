package egress

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
)

// What of a header goes on in flight-plan. A listed host is told things by each
// field, and no URL in the log shows it: so fields that say how to answer are put
// into a fixed form, fields that say what is already there are small and of their
// own syntax, and everything else is dropped. Dropping Git-Protocol also makes
// servers list references in answer to a plain GET.
const (
	planAgent    = "cabincrew"
	planGitAgent = "git/2.0 (cabincrew)" // git's hosts answer git's own address to git only
	planLanguage = "en"                  // else some hosts answer by where the machine is
)

// planTypes are the media types that a request may ask for: those of the registries
// and interfaces that plans read. Their order is the order in which they are sent.
func planTypes() []string {
	return []string{
		"application/json", "text/html", "text/plain", "text/markdown", "application/xml", "text/xml", "application/atom+xml", "application/yaml", "application/x-ndjson",
		"application/octet-stream", "application/gzip", "application/zip",
		"application/vnd.github+json", "application/vnd.github.raw+json", "application/vnd.github.v3+json", "application/vnd.github.v3.raw", "application/vnd.github.diff", "application/vnd.github.patch",
		"application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json", "application/vnd.oci.artifact.manifest.v1+json",
		"application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.docker.distribution.manifest.v1+prettyjws",
		"application/vnd.npm.install-v1+json", "application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.v1+html", "application/vnd.goproxy.v1+json",
		"application/geo+json", "application/ld+json", "application/graphql-response+json", "application/problem+json",
	}
}

// planHeader gives the header fields of a request as they go on in flight-plan.
func (p *Proxy) planHeader(h http.Header) (http.Header, *refusal) {
	out := http.Header{
		"User-Agent": {planAgent}, "Accept": {accepted(h["Accept"])}, "Accept-Encoding": {"identity"}, "Accept-Language": {planLanguage},
	}
	if slices.ContainsFunc(h["User-Agent"], func(v string) bool { return strings.HasPrefix(v, "git/") }) {
		out.Set("User-Agent", planGitAgent)
	}
	if slices.ContainsFunc(h["Accept-Encoding"], takesGzip) {
		out.Set("Accept-Encoding", "gzip")
	}
	all := 0
	for name, valid := range conditions() {
		values := h[name]
		if len(values) == 0 {
			continue
		}
		if len(values) > 1 || len(values[0]) > limits.EgressConditionBytes || !valid(values[0]) {
			return nil, refuse(fieldNotAllowed, "the header field %s is not one valid value of at most %d bytes, and flight-plan lets no other out", name, limits.EgressConditionBytes).
				withHint("leave the field away: the whole answer serves as well")
		}
		all += len(values[0])
		out[name] = values
	}
	if all > limits.EgressConditionsBytes {
		return nil, refuse(fieldNotAllowed, "If-… and Range together have more than %d bytes", limits.EgressConditionsBytes)
	}
	return out, p.authorize(h["Authorization"], out)
}

// authorize lets an Authorization through. Only a step that was given secrets, or
// was told a token by the host, has something for it; what says so cannot be told
// from other text, so there are only few of them in a run.
func (p *Proxy) authorize(values []string, out http.Header) *refusal {
	switch {
	case len(values) == 0:
		return nil
	case len(values) > 1 || len(values[0]) > limits.EgressCredentialBytes || !printable(values[0]):
		return refuse(fieldNotAllowed, "the header field Authorization is not one value of at most %d bytes of ASCII", limits.EgressCredentialBytes)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.credentials[values[0]] {
		if len(p.credentials) >= limits.EgressCredentials {
			return refuse(fieldNotAllowed, "the run sent %d different values of Authorization; flight-plan lets no more out", limits.EgressCredentials).
				withHint("use one credential for all requests")
		}
		p.credentials[values[0]] = true
	}
	out["Authorization"] = values
	return nil
}

// conditions are the fields that say what the client has, or wants of a whole.
func conditions() map[string]func(string) bool {
	return map[string]func(string) bool{
		"If-Match": entityTags, "If-None-Match": entityTags, "If-Modified-Since": httpDate, "If-Unmodified-Since": httpDate,
		"If-Range": func(v string) bool { return httpDate(v) || entityTag(v) }, "Range": byteRanges,
	}
}

// accepted keeps of a list of media types those that are known, in their own order
// and without parameters.
func accepted(values []string) string {
	var asked []string
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			name, _, _ := strings.Cut(part, ";")
			asked = append(asked, lowerASCII(strings.Trim(name, " \t")))
		}
	}
	var out []string
	for _, t := range planTypes() {
		if slices.Contains(asked, t) && len(out) < limits.EgressAccepts {
			out = append(out, t)
		}
	}
	if len(out) == 0 || slices.Contains(asked, "*/*") {
		out = append(out, "*/*")
	}
	return strings.Join(out, ", ")
}

// takesGzip says whether a list of content codings has gzip.
func takesGzip(v string) bool {
	for part := range strings.SplitSeq(lowerASCII(v), ",") {
		name, weight, _ := strings.Cut(part, ";")
		if strings.Trim(name, " \t") == "gzip" && strings.Trim(weight, " \t") != "q=0" {
			return true
		}
	}
	return false
}

// entityTags follows RFC 9110, 13.1.1: * or a list of tags.
func entityTags(v string) bool {
	if v == "*" {
		return true
	}
	for part := range strings.SplitSeq(v, ",") {
		if !entityTag(strings.Trim(part, " \t")) {
			return false
		}
	}
	return true
}

// entityTag follows RFC 9110, 8.8.3, and takes no comma, which would have to be
// told from one between tags.
func entityTag(v string) bool {
	inner, ok := strings.CutPrefix(strings.TrimPrefix(v, "W/"), `"`)
	if !ok || !strings.HasSuffix(inner, `"`) {
		return false
	}
	inner = strings.TrimSuffix(inner, `"`)
	return printable(inner) && !strings.ContainsAny(inner, `" ,`)
}

func httpDate(v string) bool {
	t, err := time.Parse(http.TimeFormat, v)
	return err == nil && t.Format(http.TimeFormat) == v // one spelling only
}

// byteRanges follows RFC 9110, 14.1.2, for bytes.
func byteRanges(v string) bool {
	list, ok := strings.CutPrefix(v, "bytes=")
	if !ok {
		return false
	}
	for part := range strings.SplitSeq(list, ",") {
		first, last, ok := strings.Cut(strings.Trim(part, " \t"), "-")
		if !ok || first+last == "" || strings.Trim(first+last, "0123456789") != "" || len(first) > 19 || len(last) > 19 {
			return false
		}
	}
	return true
}

func printable(v string) bool {
	return strings.IndexFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}
