package githubtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// obj is a JSON object.
type obj = map[string]any

// description is what GitHub publishes about its API, as scripts/github-api.sh left it.
type description struct{ router routers.Router }

// The descriptions are read once per process, and only those that a test needs.
var (
	dotcom     = sync.OnceValues(func() (*description, error) { return readDescription("api.github.com") })
	enterprise = sync.OnceValues(func() (*description, error) { return readDescription("ghes") })
)

func readDescription(flavour string) (*description, error) {
	_, here, _, ok := runtime.Caller(0)
	if !ok {
		return nil, errors.New("where the sources are is not known")
	}
	at := filepath.Join(filepath.Dir(here), "..", "..", "bin", "lib", "github-api", flavour+".json")
	data, err := os.ReadFile(at)
	if err != nil {
		return nil, fmt.Errorf("GitHub's description is not there, run make github-api: %w", err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		return nil, err
	}
	doc.Servers = nil
	router, err := gorillamux.NewRouter(doc)
	return &description{router}, err
}

// asked is a request that has found its operation.
type asked struct {
	op    *openapi3.Operation
	vars  map[string]string
	input *openapi3filter.RequestValidationInput
}

// find gives the operation of a request; r is changed so that its path has one segment
// for each parameter.
func (d *description) find(r *http.Request) (*asked, error) {
	r.URL.RawPath = oneSegment(r.URL.EscapedPath())
	path, err := url.PathUnescape(r.URL.RawPath)
	if err != nil {
		return nil, err
	}
	r.URL.Path = path
	route, vars, err := d.router.FindRoute(r)
	if err != nil {
		return nil, err
	}
	plain := map[string]string{}
	for name, value := range vars {
		if plain[name], err = url.PathUnescape(value); err != nil {
			return nil, err
		}
	}
	return &asked{op: route.Operation, vars: plain, input: &openapi3filter.RequestValidationInput{
		Request: r, PathParams: plain, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, MultiError: true, SkipSettingDefaults: true, RejectWhenRequestBodyNotSpecified: true},
	}}, nil
}

// oneSegment writes those parameters that may have slashes as one segment.
func oneSegment(path string) string {
	if start, rest, ok := strings.Cut(path, "/commits/"); ok && strings.Count(start, "/") == 3 {
		end := ""
		for _, known := range []string{"/check-runs", "/status", "/statuses", "/pulls"} {
			if name, ok := strings.CutSuffix(rest, known); ok {
				rest, end = name, known
			}
		}
		return start + "/commits/" + strings.ReplaceAll(rest, "/", "%2F") + end
	}
	for _, before := range []string{"/git/ref/", "/git/refs/", "/git/matching-refs/", "/contents/", "/compare/", "/rules/branches/"} {
		start, rest, ok := strings.Cut(path, before)
		if ok && strings.Count(start, "/") == 3 {
			return start + before + strings.ReplaceAll(rest, "/", "%2F")
		}
	}
	return path
}

// request says what of a request breaks the description.
func (a *asked) request() error {
	err := openapi3filter.ValidateRequest(a.input.Request.Context(), a.input)
	for name := range a.input.Request.URL.Query() {
		known := slices.ContainsFunc(slices.Concat(a.op.Parameters, a.input.Route.PathItem.Parameters), func(p *openapi3.ParameterRef) bool {
			return p.Value.In == openapi3.ParameterInQuery && p.Value.Name == name
		})
		if !known {
			err = errors.Join(err, fmt.Errorf("the query has %q, which the description does not know", name))
		}
	}
	return err
}

// response says what of an answer breaks the description.
func (a *asked) response(status int, header http.Header, body []byte) error {
	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: a.input, Status: status, Header: header,
		// Refusals that hold for all operations are in no description.
		Options: &openapi3filter.Options{MultiError: true, IncludeResponseStatus: status < http.StatusBadRequest},
	}
	in.SetBodyBytes(body)
	if status == http.StatusNoContent || status == http.StatusFound {
		in.Options.ExcludeResponseBody = true
	}
	return openapi3filter.ValidateResponse(a.input.Request.Context(), in)
}

// complete adds to an answer the fields that the description demands and the fake has
// no meaning for: nothing, nought, or an address under .invalid.
func (a *asked) complete(status int, body any) (any, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	var plain any
	decoder := json.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&plain); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("an answer of two values")
	}
	response := a.op.Responses.Status(status)
	if response == nil {
		return plain, nil
	}
	content := response.Value.Content.Get("application/json")
	if content == nil || content.Schema == nil {
		return plain, nil
	}
	return fill(content.Schema.Value, plain), nil
}

// fill gives a value the fields that its schema demands.
func fill(s *openapi3.Schema, v any) any {
	switch v := v.(type) {
	case obj:
		return fillObject(s, v)
	case []any:
		if s.Items != nil {
			for i := range v {
				v[i] = fill(s.Items.Value, v[i])
			}
		} else if next := chosen(s, v); next != nil {
			return fill(next, v)
		}
	}
	return v
}

func fillObject(s *openapi3.Schema, v obj) any {
	for _, part := range s.AllOf {
		fill(part.Value, v)
	}
	if next := chosen(s, v); next != nil {
		fill(next, v)
	}
	for name, property := range s.Properties {
		if have, ok := v[name]; ok {
			v[name] = fill(property.Value, have)
		}
	}
	for _, name := range s.Required {
		if _, ok := v[name]; !ok {
			if property := s.Properties[name]; property != nil {
				v[name] = nothing(property.Value)
			}
		}
	}
	if s.AdditionalProperties.Schema != nil {
		for name, have := range v {
			if s.Properties[name] == nil {
				v[name] = fill(s.AdditionalProperties.Schema.Value, have)
			}
		}
	}
	return v
}

// chosen is the first alternative that a value can be completed to.
func chosen(s *openapi3.Schema, v any) *openapi3.Schema {
	var named string // what the value itself says that it is
	if o, ok := v.(obj); ok && s.Discriminator != nil {
		if kind, ok := o[s.Discriminator.PropertyName].(string); ok {
			named = s.Discriminator.Mapping[kind].Ref
		}
	}
	alternatives := slices.Concat(s.AnyOf, s.OneOf)
	for _, alternative := range alternatives { // what lacks nothing is what it is
		if named == "" && alternative.Value.VisitJSON(v) == nil {
			return alternative.Value
		}
	}
	for _, alternative := range alternatives {
		if named != "" && alternative.Ref != named {
			continue
		}
		if alternative.Value.VisitJSON(fill(alternative.Value, clone(v))) == nil {
			return alternative.Value
		}
	}
	return nil
}

func clone(v any) any {
	switch v := v.(type) {
	case obj:
		out := obj{}
		for name, have := range v {
			out[name] = clone(have)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = clone(v[i])
		}
		return out
	}
	return v
}

// nothing is the emptiest value of a schema.
func nothing(s *openapi3.Schema) any {
	switch {
	case s.PermitsNull():
		return nil
	case len(s.Enum) > 0:
		return s.Enum[0]
	case len(s.AllOf) > 0:
		return fill(s, obj{})
	case len(s.AnyOf) > 0:
		return nothing(s.AnyOf[0].Value)
	case len(s.OneOf) > 0:
		return nothing(s.OneOf[0].Value)
	case s.Type.Is("object"):
		return fill(s, obj{})
	case s.Type.Is("array"):
		return []any{}
	case s.Type.Is("boolean"):
		return false
	case s.Type.Is("integer"), s.Type.Is("number"):
		return max(0, value(s.Min))
	case s.Type.Is("string"):
		return text(s)
	}
	return obj{}
}

func text(s *openapi3.Schema) string {
	switch s.Format {
	case "uri", "uri-template":
		return "https://unset.invalid"
	case "date-time":
		return "2000-01-01T00:00:00Z"
	}
	return strings.Repeat("0", int(min(s.MinLength, 40)))
}

func value(f *float64) float64 {
	if f == nil {
		return 0
	}
	return *f
}
