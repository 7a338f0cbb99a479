package upstream

import (
	"context"
	"crypto/x509"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/engines/egress"
	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Kind is which API a provider speaks, and how a call to it is signed.
type Kind = route.Kind

// Options say how one provider is reached. A zero limit is its default in internal/limits.
type Options struct {
	Name string
	Kind Kind
	// BaseURL is http or https with a host. With openai it has the version (…/v1), with
	// anthropic it has none; with azure it is the resource (https://NAME.openai.azure.com,
	// for which Version is needed) or its v1 form (…/openai/v1); with bedrock and vertex it
	// may be left out, and is then that of the region.
	BaseURL string
	Region  string // of bedrock and vertex
	Project string // of vertex
	// Key gives the key for a call. nil: none is sent. That of bedrock is one of bedrock's own
	// keys, or the JSON of AWS credentials (AccessKeyId, SecretAccessKey, SessionToken), which
	// sign calls. That of vertex is an access token, or the JSON of a service account or of an
	// authorized user, which is exchanged for one. Neither looks for credentials elsewhere.
	Key func(ctx context.Context) (string, error)
	// Headers are sent with every call. They cannot replace what this package sends.
	Headers map[string]string
	// Version is anthropic-version where the client gives none, or azure's api-version.
	Version string

	FirstByte     time.Duration // from a request to the first byte of its answer's body
	Idle          time.Duration // between two bytes of an answer, while it is read
	Total         time.Duration // from a request to the end of its answer
	MaxConcurrent int           // calls at a time; more are refused as busy
	MaxAnswer     int64         // bytes of an answer

	CA      []byte // PEM: the only authorities that are trusted; nil: the system's
	Private bool   // lets a public name have a private address, and a key go there over http
}

// anthropicVersion is the version of its API that anthropic's own clients ask for.
const anthropicVersion = "2023-06-01"

// check refuses what cannot be meant, and gives the parsed base.
func (o *Options) check() (*url.URL, error) {
	if o.Name == "" || len(o.Name) > limits.LLMRouteNameBytes {
		return nil, o.wrong("it has no name")
	}
	switch o.Kind {
	case route.OpenAI, route.Anthropic, route.Azure:
		if o.Region != "" || o.Project != "" {
			return nil, o.wrong("only bedrock and vertex have a region or a project")
		}
	case route.Bedrock, route.Vertex:
		if err := o.checkCloud(); err != nil {
			return nil, err
		}
	default:
		return nil, o.wrong("its kind is none")
	}
	if o.FirstByte < 0 || o.Idle < 0 || o.Total < 0 || o.MaxConcurrent < 0 || o.MaxAnswer < 0 {
		return nil, o.wrong("a limit is negative")
	}
	if err := o.checkHeaders(); err != nil {
		return nil, err
	}
	if o.Version != "" && !plainValue(o.Version) {
		return nil, o.wrong("its version is no text of a header field")
	}
	return o.checkBase()
}

// cloud says whether a key is not sent as it is.
func (o *Options) cloud() bool { return o.Kind == route.Bedrock || o.Kind == route.Vertex }

// checkCloud refuses what bedrock and vertex cannot be reached with.
func (o *Options) checkCloud() error {
	switch {
	case !label(o.Region, ""):
		return o.wrong("%s needs a region", o.Kind)
	case o.Key == nil:
		return o.wrong("%s needs a key; credentials are not looked for elsewhere", o.Kind)
	case o.Kind == route.Bedrock && o.Project != "":
		return o.wrong("bedrock has no project")
	case o.Kind == route.Vertex && !label(o.Project, ".:"):
		return o.wrong("vertex needs a project")
	case o.BaseURL == "" && o.Kind == route.Bedrock:
		o.BaseURL = bedrockBase(o.Region)
	case o.BaseURL == "":
		o.BaseURL = vertexBase(o.Region)
	}
	return nil
}

// label says whether a text can be the name of a region or a project: small letters,
// digits, hyphens, and what else is within.
func label(s, within string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && strings.IndexByte(within, c) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= 63 && s[0] != '-'
}

func (o *Options) checkBase() (*url.URL, error) {
	u, err := url.Parse(o.BaseURL)
	switch {
	case err != nil: // its text may hold a credential
		return nil, o.wrong("its base URL is none")
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "":
		return nil, o.wrong("its base URL is not http or https with a host")
	case u.User != nil:
		return nil, o.wrong("its base URL holds a user; give the key apart")
	case u.Fragment != "" || u.RawQuery != "" || u.ForceQuery:
		return nil, o.wrong("its base URL has a query or a fragment")
	case egress.Metadata(u.Hostname()):
		return nil, o.wrong("its base URL is that of a cloud's metadata service")
	case u.Scheme == "http" && o.Key != nil && !o.Private && egress.Far(u.Hostname()):
		return nil, o.wrong("its key would go over plain http to %s", u.Hostname())
	}
	u.Path, u.RawPath = strings.TrimRight(u.EscapedPath(), "/"), ""
	if err := checkPath(u.Path); u.Path != "" && err != nil {
		return nil, o.wrong("the path of its base URL is none")
	}
	if o.Kind == route.Anthropic {
		u.Path = strings.TrimSuffix(u.Path, "/v1")
	}
	if o.Kind == route.Azure && o.Version == "" && !strings.HasSuffix(u.Path, "/openai/v1") {
		return nil, o.wrong("an azure resource needs a version (api-version), unless its base URL ends with /openai/v1")
	}
	return u, nil
}

func (o *Options) checkHeaders() error {
	if len(o.Headers) > limits.LLMUpstreamHeaders {
		return o.wrong("it has more than %d header fields", limits.LLMUpstreamHeaders)
	}
	for name, value := range o.Headers {
		switch canonical := http.CanonicalHeaderKey(name); {
		case !fieldName(name) || !plainValue(value):
			return o.wrong("a header field has no name or a value that is none")
		case slices.Contains([]string{"Host", "Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Connection", "Upgrade", "Te", "Trailer", "Expect", "Accept", "Accept-Encoding", "Keep-Alive", "Proxy-Connection", "Idempotency-Key"}, canonical):
			return o.wrong("the header field %s is the gateway's own", canonical)
		case o.Key != nil && canonical == http.CanonicalHeaderKey(o.keyField()):
			return o.wrong("the header field %s is that of its key", canonical)
		}
	}
	return nil
}

// keyField is the header field that the key goes in.
func (o *Options) keyField() string {
	switch o.Kind {
	case route.Anthropic:
		return "X-Api-Key"
	case route.Azure:
		return "Api-Key"
	default:
		return "Authorization"
	}
}

func (o *Options) authorities() (*x509.CertPool, error) {
	if o.CA == nil {
		return nil, nil //nolint:nilnil // the system's
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(o.CA) {
		return nil, o.wrong("its authorities hold no certificate in PEM")
	}
	return pool, nil
}

func (o *Options) withDefaults() {
	put(&o.FirstByte, limits.LLMUpstreamFirstByte)
	put(&o.Idle, limits.LLMUpstreamIdle)
	put(&o.Total, limits.LLMUpstreamTotal)
	put(&o.MaxConcurrent, limits.LLMUpstreamConcurrent)
	put(&o.MaxAnswer, limits.LLMUpstreamAnswerBytes)
	if o.Kind == route.Anthropic && o.Version == "" {
		o.Version = anthropicVersion
	}
}

func put[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

func (o *Options) wrong(format string, args ...any) error {
	name := o.Name
	if len(name) > limits.LLMRouteNameBytes {
		name = ""
	}
	return protocol.Errorf(protocol.ExitUsage, "llm_provider", format, args...).At("providers." + name).
		WithHint("correct the provider; docs/gateway-llm.md has an example of each kind")
}
