package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	gh "github.com/google/go-github/v62/github"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// call is one thing that the API is asked.
type call struct {
	what   string // in words, for errors: "read the reviews of pull request 7"
	need   string // the permission that it takes: "pull-requests: read"
	method string // GET where it is empty
	path   string // below the repository, escaped; from the API's root where it begins with a slash
	query  url.Values
	body   any
	accept string
	repeat bool  // it may be sent twice
	allow  []int // statuses beside 2xx that are answers and no errors
}

// answer is what the API said beside the body.
type answer struct {
	status     int
	next, last int // pages
}

// do sends a call and decodes the answer into out, which may be nil.
func (c *Client) do(ctx context.Context, k call, out any) (answer, error) {
	if k.method == "" {
		k.method = http.MethodGet
	}
	if k.repeat {
		ctx = repeat(ctx)
	}
	path := k.path
	if rest, root := strings.CutPrefix(path, "/"); root {
		path = rest
	} else {
		path = "repos/" + c.owner + "/" + c.repo
		if k.path != "" {
			path += "/" + k.path
		}
	}
	if len(k.query) > 0 {
		path += "?" + k.query.Encode()
	}
	req, err := c.api.NewRequest(k.method, path, k.body)
	if err != nil {
		return answer{}, c.fail(k, nil, err)
	}
	if k.accept != "" {
		req.Header.Set("Accept", k.accept)
	}
	resp, err := c.api.BareDo(ctx, req)
	if err != nil {
		if resp != nil && slices.Contains(k.allow, resp.StatusCode) {
			return answer{status: resp.StatusCode}, nil
		}
		return answer{}, c.fail(k, resp, err)
	}
	defer func() { _ = resp.Body.Close() }()
	a := answer{status: resp.StatusCode, next: resp.NextPage, last: resp.LastPage}
	return a, c.decode(k, resp.Body, out)
}

// decode reads the one value of an answer.
func (c *Client) decode(k call, r io.Reader, out any) error {
	switch out := out.(type) {
	case nil:
		return nil
	case *[]byte:
		data, err := io.ReadAll(r)
		*out = data
		return err
	}
	data, err := io.ReadAll(r)
	if err == nil {
		err = json.Unmarshal(data, out)
	}
	if err != nil {
		return c.odd(k, "its answer is not what its description says: %s", clean(err.Error()))
	}
	return nil
}

// odd says that an answer lacks something or contradicts what is known.
func (c *Client) odd(k call, format string, args ...any) error {
	return protocol.Errorf(protocol.ExitUnreachable, "forge_incomplete", "GitHub was asked to %s of %s: %s",
		k.what, c.FullName(), c.scrub(fmt.Sprintf(format, args...))).
		WithHint("Run the job again; if it stays, something stands between this machine and GitHub's API.")
}

// FullName gives owner/name of the repository.
func (c *Client) FullName() string { return c.owner + "/" + c.repo }

// fail makes the error of a call that got no answer that counts.
func (c *Client) fail(k call, resp *gh.Response, err error) error {
	told := "GitHub was asked to " + k.what + " of " + c.FullName()
	var limit *limitError
	var size *sizeError
	switch {
	case errors.As(err, &limit):
		return protocol.Errorf(protocol.ExitUnreachable, "forge_rate_limited", "%s: %s", told, limit).
			WithHint("Run the job again then. Nothing was let through.")
	case errors.As(err, &size):
		return protocol.Errorf(protocol.ExitUnreachable, "forge_incomplete", "%s: %s", told, size)
	case errors.Is(err, context.Canceled):
		return protocol.Errorf(protocol.ExitUnreachable, "forge_unreachable", "%s: %w", told, context.Canceled)
	}
	status := 0
	if resp != nil && resp.Response != nil {
		status = resp.StatusCode
	}
	if status >= http.StatusMultipleChoices && status < http.StatusInternalServerError {
		return c.refused(k, resp, told, status, err)
	}
	why := c.scrub(clean(bare(err)))
	if status != 0 {
		why = fmt.Sprintf("status %d: %s", status, c.scrub(clean(words(err))))
	}
	return protocol.Errorf(protocol.ExitUnreachable, "forge_unreachable", "%s: %s", told, why).
		WithHint("Run the job again when GitHub answers. Nothing was let through.")
}

func (c *Client) refused(k call, resp *gh.Response, told string, status int, err error) error {
	if resp != nil && resp.Response != nil {
		if named := clean(resp.Header.Get("X-Accepted-Github-Permissions")); named != "" && !strings.Contains(k.need, "members") {
			k.need = c.scrub(named)
		}
	}
	e := protocol.Errorf(protocol.ExitUnreachable, "forge_refused", "%s: it refused with status %d: %s", told, status, c.scrub(clean(words(err))))
	switch status {
	case http.StatusUnauthorized:
		return e.WithHint("The token is wrong, expired or missing. It needs the permission %q.", k.need)
	case http.StatusForbidden, http.StatusNotFound:
		return e.WithHint("Give the job the permission %q; GitHub also answers so where the thing does not exist.", k.need)
	}
	return e.WithHint("It needs the permission %q, and the thing must be as GitHub wants it.", k.need)
}

// words gives what GitHub says about a refusal.
func words(err error) string {
	var e *gh.ErrorResponse
	if !errors.As(err, &e) {
		return bare(err)
	}
	out := []string{e.Message}
	for _, f := range e.Errors {
		if f.Message == "" {
			f.Message = f.Resource + " " + f.Field + " " + f.Code
		}
		out = append(out, f.Message)
	}
	return strings.Join(out, "; ")
}

// bare leaves the address out of an error, since it may be one that is a secret.
func bare(err error) string {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err.Error()
	}
	return err.Error()
}

// clean makes a forge's words fit for one line of an error.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > limits.GitHubMessage {
		s = strings.ToValidUTF8(s[:limits.GitHubMessage], "") + "…"
	}
	return s
}

// scrub keeps the token out of what is told, whoever put it there.
func (c *Client) scrub(s string) string {
	if c.gov.token == "" {
		return s
	}
	return strings.ReplaceAll(s, c.gov.token, "***")
}
