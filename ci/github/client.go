package github

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	gh "github.com/google/go-github/v62/github"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Options say which repository is asked about, where and as whom.
type Options struct {
	BaseURL    string // https://api.github.com where it is empty; with /api/v3 on an own server
	Token      string
	Repository string       // owner/name
	HTTP       *http.Client // nil: one that takes proxies from the environment. Only its transport is used.
	Now        func() time.Time
	Sleep      func(context.Context, time.Duration) error
	Rand       io.Reader
	UserAgent  string
}

// Client asks GitHub about one repository. It may be used by several goroutines.
type Client struct {
	api         *gh.Client
	plain       *http.Client // follows no redirects; with the token
	bare        *http.Client // follows no redirects; without the token
	gov         *governor
	base        *url.URL
	owner, repo string
	now         func() time.Time
	rand        io.Reader

	mu          sync.Mutex
	members     map[string]map[string]bool // of teams, by id
	permissions map[string]string          // of people, by id
	refs        map[string]bool            // commits that are there
	app         string                     // slug of the App whose token this is, once a check told it
	login       string                     // of whom the token is, once asked
}

var repositoryName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}$`)

// New makes a client. It asks for nothing yet.
func New(o Options) (*Client, error) {
	if o.BaseURL == "" {
		o.BaseURL = "https://api.github.com"
	}
	base, err := baseURL(o.BaseURL)
	if err != nil {
		return nil, err
	}
	owner, repo, _ := strings.Cut(o.Repository, "/")
	if !repositoryName.MatchString(o.Repository) || dots(owner) || dots(repo) {
		return nil, protocol.Errorf(protocol.ExitUsage, "forge_options", "the repository %.100q is not of the form owner/name", o.Repository)
	}
	if strings.ContainsFunc(o.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, protocol.Errorf(protocol.ExitUsage, "forge_options", "the token holds characters that no token has").
			WithHint("Look for a line break at its end.")
	}
	defaults(&o)
	transport := o.HTTP.Transport
	c := &Client{
		base: base, owner: owner, repo: repo, now: o.Now, rand: o.Rand,
		members: map[string]map[string]bool{}, permissions: map[string]string{}, refs: map[string]bool{},
		bare: &http.Client{Transport: transport, CheckRedirect: stay},
		gov: &governor{
			next: transport, base: base, token: o.Token, now: o.Now, sleep: o.Sleep, rand: o.Rand,
			kept: newKept(),
		},
	}
	c.plain = &http.Client{Transport: c.gov, CheckRedirect: stay}
	c.api = gh.NewClient(&http.Client{Transport: c.gov, CheckRedirect: c.gov.follow})
	c.api.BaseURL, c.api.UserAgent = base, o.UserAgent
	return c, nil
}

// Calls gives how many requests the API got.
func (c *Client) Calls() int {
	c.gov.mu.Lock()
	defer c.gov.mu.Unlock()
	return c.gov.calls
}

// Close gives up connections that are kept open.
func (c *Client) Close() { c.bare.CloseIdleConnections() }

func defaults(o *Options) {
	if o.HTTP == nil {
		o.HTTP = &http.Client{}
	}
	if o.HTTP.Transport == nil {
		o.HTTP = &http.Client{Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: limits.OCIDial}).DialContext,
			TLSHandshakeTimeout: limits.OCIDial,
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: 2,
			IdleConnTimeout:     limits.GitHubRequest,
		}}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.UserAgent == "" {
		o.UserAgent = "cabincrew"
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// stay hands a redirect to who asked.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// baseURL takes https, and http on the machine itself only.
func baseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, badBase("it does not parse")
	case u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, badBase("it must be a host and a path, without credentials or a query")
	case !secure(u):
		return nil, badBase("it must begin with https://")
	}
	if !strings.HasSuffix(u.Path, "/") {
		u.Path += "/"
	}
	return u, nil
}

func badBase(why string) error {
	return protocol.Errorf(protocol.ExitUsage, "forge_options", "the address of GitHub's API: %s", why).
		WithHint("Leave GITHUB_API_URL as the runner sets it, such as https://api.github.com.")
}

// secure tells whether what is sent there cannot be read on the way.
func secure(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "http" && loopback(u)
}

func loopback(u *url.URL) bool {
	addr, err := netip.ParseAddr(u.Hostname())
	return err == nil && addr.IsLoopback() || u.Hostname() == "localhost"
}

func dots(s string) bool { return s == "." || s == ".." }
