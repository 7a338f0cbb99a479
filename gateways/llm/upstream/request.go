package upstream

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/internal/limits"
)

// Call is one request to the provider.
type Call struct {
	// Endpoint is the wire format of the call: "chat", "responses", "embeddings", "models",
	// "messages", "count_tokens", "rerank", as the pipeline names it.
	Endpoint string
	// Model is the provider's name of the model: azure, bedrock and vertex have it in the URL.
	Model  string
	Method string // POST unless said
	// Path is below the version: "/chat/completions", "/messages", "/models/NAME" (escaped).
	// A leading "/v1" is taken for the version.
	Path   string
	Body   []byte
	Stream bool
	// Tenant is whose call it is. It makes the client's idempotency keys apart from another
	// tenant's, which the provider would answer with that one's answer.
	Tenant string
	// Header and Query are the client's. Only what is listed here goes on.
	Header http.Header
	Query  url.Values
}

// passed are the client's header fields that go on: those that the provider knows.
func (c *Client) passed() []string {
	switch c.opt.Kind {
	case route.Anthropic:
		return []string{"Anthropic-Version", "Anthropic-Beta"}
	case route.Vertex:
		return []string{"Anthropic-Beta"}
	case route.Bedrock:
		return nil // betas go in the body
	default:
		return []string{"Openai-Beta"}
	}
}

// target gives the path, the query and the body of a call.
func (c *Client) target(call *Call) (path, query string, body []byte, err error) {
	tail := call.Path
	if rest, ok := strings.CutPrefix(tail, "/v1/"); ok {
		tail = "/" + rest
	}
	if err := checkPath(tail); err != nil {
		return "", "", nil, err
	}
	if call.Method != "" && call.Method != http.MethodPost && call.Method != http.MethodGet {
		return "", "", nil, errors.New("its method is neither GET nor POST")
	}
	q := url.Values{}
	if beta := call.Query["beta"]; len(beta) == 1 && len(beta[0]) <= 64 {
		q["beta"] = beta
	}
	body = call.Body
	switch c.opt.Kind {
	case route.Bedrock:
		path, body, err = c.bedrockCall(call, tail)
	case route.Vertex:
		path, body, err = c.vertexCall(call, tail)
	case route.Anthropic:
		path = c.base.Path + "/v1" + tail
	case route.Azure:
		path, err = c.azurePath(call, tail)
		if c.opt.Version != "" {
			q["api-version"] = []string{c.opt.Version}
		}
	default:
		path = c.base.Path + tail
		if strings.HasPrefix(tail, "/v2/") { // rerank has a version of its own
			path = strings.TrimSuffix(strings.TrimSuffix(c.base.Path, "/v1"), "/v2") + tail
		}
	}
	if len(q) > 0 {
		query = q.Encode()
	}
	return path, query, body, err
}

// azurePath gives the path of a call of azure: what a deployment does has its name in the
// path, unless the base is that of the v1 form.
// SPEC: Azure OpenAI REST API; openai-go, azure.WithEndpoint.
func (c *Client) azurePath(call *Call, tail string) (string, error) {
	if strings.HasSuffix(c.base.Path, "/openai/v1") {
		return c.base.Path + tail, nil
	}
	base := strings.TrimSuffix(c.base.Path, "/openai") + "/openai"
	switch tail {
	case "/chat/completions", "/completions", "/embeddings":
		if call.Model == "" || call.Model == "." || call.Model == ".." {
			return "", errors.New("the call names no deployment")
		}
		return base + "/deployments/" + url.PathEscape(call.Model) + tail, nil
	default:
		return base + tail, nil
	}
}

// checkPath refuses a path that a server could read as another.
func checkPath(path string) error {
	if path == "" || path[0] != '/' || len(path) > limits.LLMUpstreamPathBytes {
		return errors.New("its path is none")
	}
	plain, err := url.PathUnescape(path)
	if err != nil {
		return errors.New("its path is not escaped as it must be")
	}
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`?#\"<>^{|}`+"`", c) >= 0 {
			return errors.New("its path has a character that none may have")
		}
	}
	for i := range len(plain) {
		if c := plain[i]; c < ' ' || c == 0x7f || c == '\\' {
			return errors.New("its path has a character that none may have")
		}
	}
	for segment := range strings.SplitSeq(plain[1:], "/") {
		if segment == "." || segment == ".." || segment == "" {
			return errors.New("its path has an empty part, or one that leads elsewhere")
		}
	}
	return nil
}

// header makes the header fields of a request: of the client what is listed, then the
// provider's fixed ones, then this package's, which win.
func (c *Client) header(call *Call) (http.Header, error) {
	h := make(http.Header, 10+len(c.fixed))
	size := 0
	for _, name := range c.passed() {
		values := call.Header[name]
		if len(values) == 0 {
			continue
		}
		for _, v := range values {
			size += len(name) + len(v)
			if !plainValue(v) || size > limits.LLMUpstreamFieldBytes {
				return nil, fmt.Errorf("the client's header field %s is too long, or no text", name)
			}
		}
		h[name] = values
	}
	if once := call.Header["Idempotency-Key"]; len(once) > 0 {
		if size += len(once[0]); !plainValue(once[0]) || size > limits.LLMUpstreamFieldBytes {
			return nil, errors.New("the client's header field Idempotency-Key is too long, or no text")
		}
		sum := sha256.Sum256([]byte(call.Tenant + "\x00" + once[0]))
		// In small letters: http.Transport takes the other spelling for leave to send again.
		h["idempotency-key"] = []string{hex.EncodeToString(sum[:])}
	}
	maps.Copy(h, c.fixed)
	if call.Stream && !c.opt.cloud() { // bedrock means the form of each event by it
		h["Accept"] = acceptStream
	} else {
		h["Accept"] = acceptJSON
	}
	if len(call.Body) > 0 {
		h["Content-Type"] = acceptJSON
	}
	h["Accept-Encoding"] = identity
	h["User-Agent"] = userAgent
	if c.opt.Kind == route.Anthropic && len(h["Anthropic-Version"]) == 0 {
		h["Anthropic-Version"] = []string{c.opt.Version}
	}
	return h, nil
}

var (
	acceptStream = []string{"text/event-stream"}
	acceptJSON   = []string{"application/json"}
	identity     = []string{"identity"}
	userAgent    = []string{"cabincrew"}
)

// plainValue says whether a text can be the value of a header field as it is.
func plainValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return s == strings.TrimSpace(s)
}

// fieldName says whether a text is the name of a header field.
func fieldName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != ""
}
