package sources

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// backend serves repositories below a directory with git's own http-backend.
func backend(t testing.TB, dir string) http.Handler {
	t.Helper()
	needsGit(t)
	out, err := exec.Command("git", "--exec-path").Output()
	must(t, err)
	program := filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	if _, err := os.Stat(program); err != nil {
		t.Skip("this test fetches from git's own http-backend, and here there is none:", err)
	}
	return &cgi.Handler{Path: program, Env: append(gitEnv(), "GIT_PROJECT_ROOT="+dir, "GIT_HTTP_EXPORT_ALL=1"), Stderr: io.Discard}
}

// served gives a server of one repository, and how often it was asked.
func served(t testing.TB, dir string, wrap func(http.Handler) http.Handler) (url string, asked *atomic.Int64) {
	t.Helper()
	h := backend(t, filepath.Dir(dir))
	if wrap != nil {
		h = wrap(h)
	}
	asked = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/" + filepath.Base(dir), asked
}

func TestFetchOverHTTP(t *testing.T) {
	t.Parallel()
	dir, first := policyRepository(t)
	git(t, dir, "tag", "-a", "-m", "second", "v2")
	for _, settings := range [][]string{nil, {"uploadpack.allowFilter"}, {"uploadpack.allowFilter", "uploadpack.allowReachableSHA1InWant"}} {
		for _, name := range settings {
			git(t, dir, "config", name, "true")
		}
		url, asked := served(t, dir, nil)
		h := newHere(t, nil)
		for _, ref := range []string{"main", "refs/heads/main", "v2", first} {
			h.gives(config.Source{Git: url + "/", Ref: ref, Dir: "pol", Name: "acme"}, "acme", policyFiles())
		}
		if log := h.log.String(); strings.Count(log, "commit="+first) != 4 {
			t.Error(log)
		}
		// What a whole id names never changes: it is kept. What is kept is not believed.
		before := asked.Load()
		h.gives(config.Source{Git: url, Ref: first, Dir: "pol", Name: "acme"}, "acme", policyFiles())
		if asked.Load() != before {
			t.Error("the remote was asked for what is here")
		}
		kept := filepath.Join(h.o.Cache, "git", first+".pack")
		raw, err := os.ReadFile(kept)
		must(t, err)
		raw[len(raw)/2] ^= 1
		must(t, os.WriteFile(kept, raw, 0o600))
		h.gives(config.Source{Git: url, Ref: first, Dir: "pol", Name: "acme"}, "acme", policyFiles())
		if asked.Load() == before {
			t.Error("the damaged pack was not replaced")
		}
	}
}

// TestFetchOldCommit: what a branch had before can be named, what none ever had not.
func TestFetchOldCommit(t *testing.T) {
	t.Parallel()
	dir, first := policyRepository(t)
	write(t, dir, map[string]string{"pol/p.rego": "package acme\n"})
	commitAll(t, dir)
	url, _ := served(t, dir, nil)
	h := newHere(t, nil)
	h.gives(config.Source{Git: url, Ref: first, Dir: "pol", Name: "x"}, "x", policyFiles())
	write(t, dir, map[string]string{"pol/p.rego": "package weak\n"})
	lost := commitAll(t, dir)
	git(t, dir, "reset", "-q", "--hard", "HEAD^")
	h.refuses(config.Source{Git: url, Ref: lost, Dir: "pol"}, protocol.ExitDenied, "policy_git_ref", "the remote does not give "+lost)
}

// TestFetchDeltas: a pack with deltas in chains is read.
func TestFetchDeltas(t *testing.T) {
	t.Parallel()
	dir, _ := policyRepository(t)
	want := policyFiles()
	for i := range 60 {
		body := "package acme.many\n\n# " + strings.Repeat(fmt.Sprintf("%d line\n# ", i%7), 300) + fmt.Sprint(i) + "\n"
		want[fmt.Sprintf("many/%d.rego", i)] = body
		write(t, dir, map[string]string{fmt.Sprintf("pol/many/%d.rego", i): body})
	}
	commitAll(t, dir)
	git(t, dir, "gc", "-q", "--aggressive")
	url, _ := served(t, dir, nil)
	newHere(t, nil).gives(config.Source{Git: url, Ref: "main", Dir: "pol", Name: "x"}, "x", want)
}

func TestFetchRefusals(t *testing.T) {
	t.Parallel()
	const unreached = "policy_git_unreachable"
	reply := func(status int, kind, body string) func(http.Handler) http.Handler {
		return func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", kind)
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			})
		}
	}
	redirect := func(to func(r *http.Request) string) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if at := to(r); at != "" {
					http.Redirect(w, r, at, http.StatusMovedPermanently)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
	}
	post := func(body string) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
					_, _ = io.WriteString(w, body)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
	}
	line := func(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }
	const advertisement = "application/x-git-upload-pack-advertisement"
	for name, c := range map[string]struct {
		wrap       func(http.Handler) http.Handler
		ref        string
		exit       int
		code, want string
	}{
		"no such ref":         {nil, "nonesuch", protocol.ExitDenied, "policy_git_ref", "no branch or tag"},
		"not found":           {reply(404, "text/plain", "no"), "main", protocol.ExitUnreachable, unreached, "not public (HTTP status 404)"},
		"not public":          {reply(401, "text/plain", "no"), "main", protocol.ExitUnreachable, unreached, "not public (HTTP status 401)"},
		"broken":              {reply(500, "text/plain", "no"), "main", protocol.ExitUnreachable, unreached, "HTTP status 500"},
		"a page":              {reply(200, "text/html", "<p>"), "main", protocol.ExitUnreachable, unreached, `type "text/html"`},
		"garbage":             {reply(200, advertisement, "zzzz"), "main", protocol.ExitUnreachable, unreached, "cannot be read"},
		"nothing":             {reply(200, advertisement, ""), "main", protocol.ExitUnreachable, unreached, "cannot be read"},
		"error line":          {reply(200, advertisement, line("ERR go \x1b[31m away\n")), "main", protocol.ExitUnreachable, unreached, "go ?[31m away"},
		"another host":        {redirect(func(r *http.Request) string { return "http://localhost:1" + r.URL.Path }), "main", protocol.ExitDenied, "policy_git_redirect", `"http://localhost:1"`},
		"another scheme":      {redirect(func(r *http.Request) string { return "https://" + r.Host + r.URL.Path }), "main", protocol.ExitDenied, "policy_git_redirect", `"https://127.0.0.1`},
		"round and round":     {redirect(func(r *http.Request) string { return r.URL.String() }), "main", protocol.ExitUnreachable, unreached, "more than 3 redirects"},
		"redirected request":  {redirect(func(r *http.Request) string { return map[string]string{http.MethodPost: r.URL.Path + "x"}[r.Method] }), "main", protocol.ExitDenied, "policy_git_redirect", "redirects"},
		"no pack":             {post(""), "main", protocol.ExitDenied, "policy_git_invalid", "no pack"},
		"garbage for a pack":  {post("0000" + line("NAK\n") + line("\x01PACKgarbage") + "0000"), "main", protocol.ExitDenied, "policy_git_invalid", "no pack of version 2"},
		"refused in the band": {post("0000" + line("NAK\n") + line("\x03no \x1b")), "main", protocol.ExitUnreachable, unreached, "no ?"},
		"refused want":        {post(line("ERR upload-pack: not our ref")), "main", protocol.ExitDenied, "policy_git_ref", "not our ref"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, _ := policyRepository(t)
			url, _ := served(t, dir, c.wrap)
			newHere(t, nil).refuses(config.Source{Git: url, Ref: c.ref, Dir: "pol"}, c.exit, c.code, c.want)
		})
	}
	h := newHere(t, nil)
	for address, want := range map[string]string{
		"https://user:pass@127.0.0.1/x": "holds a user", "https://127.0.0.1/x?a=b": "a query", "https:///x": "malformed",
		"http://git.example/x": "not spoken", "ftp://git.example/x": "not spoken", "file:///tmp": "malformed",
	} {
		h.refuses(config.Source{Git: address, Ref: "main"}, protocol.ExitUsage, "policy_git_url", want)
	}
	h.refuses(config.Source{Git: "http://127.0.0.1:1/x", Ref: "main"}, protocol.ExitUnreachable, unreached, "cannot be reached")

	empty := t.TempDir()
	git(t, empty, "init", "-q")
	url, _ := served(t, empty, nil)
	h.refuses(config.Source{Git: url, Ref: "main"}, protocol.ExitDenied, "policy_git_ref", "empty")
	large, _ := repository(t, map[string]string{"p.rego": policy, "data.json": `"` + strings.Repeat("x", limits.PolicyFile) + `"`})
	for range 2 { // the second time the remote leaves it out
		url, _ = served(t, large, nil)
		h.refuses(config.Source{Git: url, Ref: "main"}, protocol.ExitUsage, "policy_set_size", "more than")
		git(t, large, "config", "uploadpack.allowFilter", "true")
	}
}

// TestFetchMoved: within one host a repository may move, as forges let it.
func TestFetchMoved(t *testing.T) {
	t.Parallel()
	dir, _ := policyRepository(t)
	url, _ := served(t, dir, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if rest, ok := strings.CutPrefix(r.URL.Path, "/old"); ok {
				http.Redirect(w, r, "/"+filepath.Base(dir)+rest+"?"+r.URL.RawQuery, http.StatusMovedPermanently)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	newHere(t, nil).gives(config.Source{Git: url[:strings.LastIndex(url, "/")] + "/old", Ref: "main", Dir: "pol", Name: "x"}, "x", policyFiles())
}

func TestFetchEndsWithItsContext(t *testing.T) {
	t.Parallel()
	started, done := make(chan struct{}, 10), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		started <- struct{}{}
		<-done
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(done) })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	h := newHere(t, nil)
	if _, err := Load(ctx, []config.Source{{Git: server.URL + "/x", Ref: "main", Dir: "."}}, h.o); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// forge is an ssh server with one repository, and an agent with a key that it knows.
type forge struct {
	address string
	host    ssh.Signer
	agent   string
}

func newSigner(t testing.TB) (ed25519.PrivateKey, ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	s, err := ssh.NewSignerFromKey(private)
	must(t, err)
	return private, s
}

func newForge(t testing.TB, dir string) *forge {
	t.Helper()
	private, user := newSigner(t)
	_, host := newSigner(t)
	settings := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || string(key.Marshal()) != string(user.PublicKey().Marshal()) {
			return nil, errors.New("unknown key")
		}
		return &ssh.Permissions{}, nil
	}}
	settings.AddHostKey(host)
	f := &forge{host: host}
	f.address = listen(t, "tcp", "127.0.0.1:0", func(c net.Conn) { answer(c, settings, dir) })
	ring := agent.NewKeyring()
	must(t, ring.Add(agent.AddedKey{PrivateKey: private}))
	f.agent = listen(t, "unix", socket(t), func(c net.Conn) { _ = agent.ServeAgent(ring, c) })
	return f
}

// socket gives a name for a socket, which is short: t.TempDir may give longer ones
// than the kernel takes.
func socket(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "a") //nolint:usetesting // as above
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func listen(t testing.TB, network, address string, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen(network, address)
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				serve(c)
				_ = c.Close()
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func answer(conn net.Conn, settings *ssh.ServerConfig, dir string) {
	c, channels, requests, err := ssh.NewServerConn(conn, settings)
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	go ssh.DiscardRequests(requests)
	for n := range channels {
		channel, requests, err := n.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			var command struct{ Text string }
			if r.Type != "exec" || ssh.Unmarshal(r.Payload, &command) != nil || command.Text != "git-upload-pack '"+dir+"'" {
				_ = r.Reply(false, nil)
				continue
			}
			_ = r.Reply(true, nil)
			cmd := exec.Command("git", "upload-pack", dir)
			cmd.Env, cmd.Stdout, cmd.Stderr = gitEnv(), channel, channel.Stderr()
			in, err := cmd.StdinPipe()
			if err != nil || cmd.Start() != nil {
				return
			}
			go func() { _, _ = io.Copy(in, channel); _ = in.Close() }()
			_ = cmd.Wait()
			_ = channel.Close()
		}
	}
}

func TestFetchOverSSH(t *testing.T) {
	t.Parallel()
	dir, _ := policyRepository(t)
	f := newForge(t, dir)
	known := func(key ssh.PublicKey) string {
		home := t.TempDir()
		host, port, _ := net.SplitHostPort(f.address)
		write(t, home, map[string]string{".ssh/known_hosts": fmt.Sprintf("[%s]:%s %s", host, port, ssh.MarshalAuthorizedKey(key))})
		return home
	}
	h := newHere(t, nil)
	s := config.Source{Git: "ssh://" + f.address + dir, Ref: "main", Dir: "pol", Name: "acme"}
	h.o.Env = map[string]string{"HOME": known(f.host.PublicKey()), "SSH_AUTH_SOCK": f.agent}
	h.gives(s, "acme", policyFiles())
	other := s
	other.Git += "x"
	h.refuses(other, protocol.ExitUnreachable, "policy_git_unreachable", "cannot be started")

	_, stranger := newSigner(t)
	h.o.Env["HOME"] = known(stranger.PublicKey())
	h.refuses(s, protocol.ExitUnreachable, "policy_git_host_key", "another host key")
	h.o.Env["HOME"] = t.TempDir()
	h.refuses(s, protocol.ExitUnreachable, "policy_git_host_key", "no key of")
	h.o.Env = map[string]string{"HOME": known(f.host.PublicKey())}
	h.refuses(s, protocol.ExitUnreachable, "policy_git_unreachable", "the ssh agent")
	nobody := agent.NewKeyring()
	h.o.Env["SSH_AUTH_SOCK"] = listen(t, "unix", socket(t), func(c net.Conn) { _ = agent.ServeAgent(nobody, c) })
	h.refuses(s, protocol.ExitUnreachable, "policy_git_unreachable", "unable to authenticate")
}
