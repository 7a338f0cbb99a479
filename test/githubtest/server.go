package githubtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Request is one call of the API as the fake saw it.
type Request struct {
	Op     string // the operationId of the description, such as checks/create; empty where there is none
	Method string
	Path   string // with the query
	Status int    // of the answer; 0 where the connection was broken
	Body   string
	User   string // who asked
}

// Server is a fake GitHub. All of its methods may be called while it serves.
type Server struct {
	t     testing.TB
	desc  *description
	http  *httptest.Server
	blobs *httptest.Server
	base  string // of the paths: empty, or /api/v3

	mu         sync.Mutex
	now        time.Time
	last       int64 // the last number that was given away
	users      []*User
	teams      []*Team
	repos      []*Repo
	tokens     map[string]*holder
	faults     []*fault
	budget     int
	requests   []Request
	violations []string
	signed     map[string]blob
}

// Option changes what New makes.
type Option func(*Server)

// GHES makes an Enterprise Server of it: its description, and its paths below /api/v3.
func GHES() Option { return func(s *Server) { s.base = "/api/v3" } }

// New starts a fake that ends with the test. What breaks GitHub's description, in
// requests or in answers, fails the test then, unless Violations has taken it.
func New(t testing.TB, options ...Option) *Server {
	t.Helper()
	s := &Server{
		t: t, now: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC), last: 1000,
		tokens: map[string]*holder{}, budget: defaultBudget, signed: map[string]blob{},
	}
	for _, o := range options {
		o(s)
	}
	read := dotcom
	if s.base != "" {
		read = enterprise
	}
	var err error
	if s.desc, err = read(); err != nil {
		t.Fatal(err)
	}
	s.users = append(s.users, &User{ID: actionsBot, Login: "github-actions[bot]", Type: "Bot"}, &User{ID: webFlow, Login: "web-flow", Type: "User"})
	s.http = httptest.NewServer(s)
	s.blobs = httptest.NewServer(http.HandlerFunc(s.serveBlob))
	t.Cleanup(func() {
		s.http.Close()
		s.blobs.Close()
		for _, v := range s.Violations() {
			t.Errorf("GitHub's description is broken: %s", v)
		}
	})
	return s
}

// URL is where the API is: GITHUB_API_URL.
func (s *Server) URL() string { return s.http.URL + s.base }

// WebURL is where the pages would be: GITHUB_SERVER_URL.
func (s *Server) WebURL() string { return s.http.URL }

// BlobURL is the host that artifacts are downloaded from.
func (s *Server) BlobURL() string { return s.blobs.URL }

// Now is the fake's time, which stands still.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// Advance lets time pass.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// Requests is the log of all calls. Those for blobs have no operation and are not in it.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Forget empties the log of calls.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// Violations gives what broke GitHub's description so far, and forgets it.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.violations
	s.violations = nil
	return out
}

// violationf notes what breaks the description; the validator's long tail is left out.
func (s *Server) violationf(format string, args ...any) {
	s.violations = append(s.violations, fmt.Sprintf(format, args...))
}

func short(err error) string {
	var out []string
	skip := false
	for line := range strings.Lines(err.Error()) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "Schema:":
			skip = true
		case line == "Value:":
			skip = true
		case line == "" || strings.HasPrefix(line, " ") && skip:
		default:
			skip = false
			out = append(out, line)
		}
	}
	return shorten(strings.Join(out, "; "), 1200)
}

func shorten(text string, n int) string {
	if len(text) > n {
		return text[:n] + " ..."
	}
	return text
}

// id gives a number that nothing else has. The caller holds the lock.
func (s *Server) id() int64 {
	s.last++
	return s.last
}

// call is one request on its way through a handler, which holds the lock.
type call struct {
	s      *Server
	r      *http.Request
	vars   map[string]string
	body   obj
	by     *holder
	repo   *Repo
	header http.Header
}

// reply is what a handler answers.
type reply struct {
	status int
	body   any
}

func ok(body any) reply            { return reply{http.StatusOK, body} }
func created(body any) reply       { return reply{http.StatusCreated, body} }
func none() reply                  { return reply{http.StatusNoContent, nil} }
func notFound() reply              { return refused(http.StatusNotFound, "Not Found") }
func invalid(message string) reply { return refused(http.StatusUnprocessableEntity, message) }

func refused(status int, message string) reply {
	return reply{status, obj{"message": message, "documentation_url": "https://docs.github.com/rest", "status": strconv.Itoa(status)}}
}

// ServeHTTP answers one call of the API.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 32<<20))
	if err != nil {
		return // who asked went away
	}
	at := r.URL.RequestURI()
	entry := Request{Method: r.Method, Path: at, Body: string(body)}
	r.Body, r.GetBody = io.NopCloser(bytes.NewReader(body)), nil
	if path, ok := strings.CutPrefix(r.URL.EscapedPath(), s.base+"/"); ok {
		r.URL.RawPath = "/" + path
		r.URL.Path, _ = url.PathUnescape("/" + path) // it was escaped well, or there were no request
	}
	a, err := s.desc.find(r)
	if err != nil {
		s.mu.Lock()
		s.violationf("%s %s: %v", r.Method, at, err)
		s.requests = append(s.requests, entry)
		s.mu.Unlock()
		send(w, entry.Method, nil, encoded(notFound()))
		return
	}
	entry.Op = a.op.OperationID
	header := http.Header{}
	answer, f := s.answer(r, a, body, header, &entry)
	s.mu.Lock()
	s.requests = append(s.requests, entry)
	s.mu.Unlock()
	f.send(w, r, header, answer)
}

// raw is an answer in bytes.
type raw struct {
	status int
	body   []byte
}

func encoded(r reply) raw {
	if r.body == nil {
		return raw{r.status, nil}
	}
	data, err := json.Marshal(r.body)
	if err != nil {
		return raw{http.StatusInternalServerError, []byte(err.Error())}
	}
	return raw{r.status, data}
}

func send(w http.ResponseWriter, method string, header http.Header, answer raw) {
	maps.Copy(w.Header(), header)
	if answer.body != nil && w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	w.WriteHeader(answer.status)
	if method != http.MethodHead {
		_, _ = w.Write(answer.body) // who asked went away
	}
}

// answer goes through what GitHub checks, in its order: the token, the limits, the
// request itself, the permissions, the state.
func (s *Server) answer(r *http.Request, a *asked, body []byte, header http.Header, entry *Request) (raw, *fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	header.Set("Date", s.now.Format(http.TimeFormat))
	by := s.holder(r)
	if by == nil {
		entry.Status = http.StatusUnauthorized
		return encoded(refused(http.StatusUnauthorized, "Bad credentials")), nil
	}
	entry.User = by.user.Login
	if f := s.due(a.op.OperationID, r); f != nil {
		answer := f.answer(header)
		if f.Status != 0 {
			by.spend(s, header)
			entry.Status = answer.status
			return answer, f
		}
		if f.Reset {
			return raw{}, f
		}
		out := s.judged(r, a, body, header, by)
		entry.Status = out.status
		return out, f
	}
	out := s.judged(r, a, body, header, by)
	entry.Status = out.status
	return out, nil
}

// judged answers a request, having compared both with the description.
func (s *Server) judged(r *http.Request, a *asked, body []byte, header http.Header, by *holder) raw {
	op := a.op.OperationID
	if op != "rate-limit/get" && by.exhausted(s, header) {
		return encoded(refused(http.StatusForbidden, "API rate limit exceeded for installation ID 1."))
	}
	if err := a.request(); err != nil {
		by.spend(s, header)
		s.violationf("request %s: %s", op, short(err))
		return encoded(invalid("Invalid request.\n\n" + shorten(short(err), 200)))
	}
	c := &call{s: s, r: r, vars: a.vars, by: by, header: header}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &c.body); err != nil {
			return encoded(refused(http.StatusBadRequest, "Problems parsing JSON"))
		}
	}
	answer := c.handle(op)
	full, err := a.complete(answer.status, answer.body)
	if err != nil {
		s.violationf("response %s: %v", op, err)
	}
	answer.body = full
	out := encoded(answer)
	if err := a.response(out.status, http.Header{"Content-Type": {"application/json"}}, out.body); err != nil {
		s.violationf("response %s: %s", op, short(err))
	}
	if op == "rate-limit/get" {
		return out
	}
	if r.Method == http.MethodGet && out.status == http.StatusOK {
		tag := fmt.Sprintf(`W/"%x"`, sha256.Sum256(out.body))
		header.Set("ETag", tag)
		header.Set("Cache-Control", "private, max-age=60, s-maxage=60")
		if r.Header.Get("If-None-Match") == tag {
			by.tell(s, header) // it does not count
			return raw{http.StatusNotModified, nil}
		}
	}
	by.spend(s, header)
	return out
}
