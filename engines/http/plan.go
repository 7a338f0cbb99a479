package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/url"
	"os"
	"unicode/utf8"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

const (
	summaryName  = "summary"
	artifactType = "http-request"
	bodyFile     = "body.data" // as the kit names it
)

// artifactName names the artifact of a request, so that names are in the order of
// sending.
func artifactName(i int, r *request) string { return fmt.Sprintf("%03d-%s", i+1, r.name) }

// plan works out the bodies and writes what would be sent.
func plan(ctx context.Context, k *kit.Run) (*protocol.EngineOutput, error) {
	s, err := readSettings(k.Input.Config)
	if err != nil {
		return nil, err
	}
	workspace, err := os.OpenRoot(k.Workspace)
	if err != nil {
		return nil, fmt.Errorf("opening the workspace: %w", err)
	}
	defer func() { _ = workspace.Close() }() // it was only read
	list := make([]any, 0, len(s.requests))
	total := 0
	for i := range s.requests {
		r := &s.requests[i]
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		body, err := s.body(ctx, workspace, r)
		if err != nil {
			return nil, err
		}
		if total += len(body); total > limits.HTTPBodiesBytes {
			return nil, tooLarge(r.at(r.source), "all bodies together have more than %d bytes", limits.HTTPBodiesBytes)
		}
		var write func(io.Writer) error
		if r.source != "" {
			write = func(w io.Writer) error { _, err := w.Write(body); return err }
		}
		d := s.describe(i, body)
		if _, err := k.Artifact(artifactName(i, r), protocol.RoleEvidence, d, write); err != nil {
			return nil, err
		}
		list = append(list, map[string]any{
			"artifact": artifactName(i, r), "method": r.method, "url": r.rawURL, "body_bytes": len(body), "secrets": names(r.secrets), "expect": r.expect,
		})
	}
	summary := map[string]any{"requests": list}
	if s.message != "" {
		summary["title"] = s.message
	}
	_, err = k.Artifact(summaryName, protocol.RoleEvidence, protocol.Artifact{
		ArtifactType: "summary", Action: "inform", Mime: "application/json", Body: summary,
	}, nil)
	return nil, err
}

// describe makes the description of the request at a place, with a body. It is the
// one function for plan and take-off, so that both say the same or nothing is sent.
func (s *settings) describe(i int, body []byte) protocol.Artifact {
	r := &s.requests[i]
	headers := make(map[string]any, len(r.headers))
	for name, value := range r.headers {
		headers[name] = value
	}
	d := protocol.Artifact{
		ArtifactType: artifactType, Action: r.method, Target: r.rawURL, Mime: r.mime(body),
		Metadata: map[string]any{
			"name": r.name, "order": i + 1, "host": hostPort(r.url), "headers": headers, "secrets": names(r.secrets),
			"expect": map[string]any{"status": r.expect}, "timeout": s.timeout.String(), "idempotency_key": r.idempotencyKey,
		},
	}
	if r.source != "" {
		d.BodyFile = bodyFile
		d.Metadata["body"] = map[string]any{"source": r.source, "bytes": len(body), "digest": protocol.Digest(body)}
	}
	return d
}

// mime is the type of the body: the one that the request names, if it names one.
func (r *request) mime(body []byte) string {
	switch kind, _, err := mime.ParseMediaType(r.headers["Content-Type"]); {
	case r.source == "":
		return "message/http"
	case err == nil && kind != "":
		return r.headers["Content-Type"]
	case utf8.Valid(body):
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

// names gives a list that is empty rather than nothing.
func names(list []string) []any {
	out := make([]any, 0, len(list))
	for _, n := range list {
		out = append(out, n)
	}
	return out
}

// hostPort gives the host as a step's hosts would list it, always with its port.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// body works out the body of a request.
func (s *settings) body(ctx context.Context, workspace *os.Root, r *request) ([]byte, error) {
	switch r.source {
	case keyTemplate:
		body, fault := kit.Render(ctx, r.text, s.values, limits.HTTPBodyBytes)
		if fault != nil {
			return nil, badTemplate(r.at(r.source), fault)
		}
		return body, nil
	case keyFile:
		return readBodyFile(workspace, r)
	}
	return []byte(r.text), nil
}

// readBodyFile reads a file of the workspace, through real directories only.
func readBodyFile(workspace *os.Root, r *request) ([]byte, error) {
	where := r.at(r.source)
	for at := range len(r.text) + 1 {
		if at < len(r.text) && r.text[at] != '/' {
			continue
		}
		info, err := workspace.Lstat(r.text[:at])
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, noFile(where, "%q is not there", r.text)
		case err != nil:
			return nil, fmt.Errorf("looking at %q: %w", r.text, err)
		case at < len(r.text) && !info.IsDir() || at == len(r.text) && !info.Mode().IsRegular():
			return nil, noFile(where, "%q is no regular file of the workspace: %q is a link or something else", r.text, r.text[:at])
		}
	}
	f, err := workspace.Open(r.text)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", r.text, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	body, err := kit.ReadBounded(f, limits.HTTPBodyBytes)
	if err != nil {
		return nil, tooLarge(where, "%q cannot be read: %w", r.text, err)
	}
	return body, nil
}

func noFile(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "http_body_missing", format, args...).At(where).
		WithHint("a step sees what its inputs select")
}

func tooLarge(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "http_too_large", format, args...).At(where).
		WithHint("split the step, or send less")
}
