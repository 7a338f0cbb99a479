package git

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
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

	"github.com/cabincrew/action/protocol"
)

func asError(err error, to **protocol.Error) bool { return errors.As(err, to) }

const testToken = "s3cr3t-token"

// serve makes the remote of a flight one that is reached by the scheme.
func serve(t *testing.T, f *flight, remote, scheme string) {
	t.Helper()
	switch scheme {
	case "https":
		serveHTTP(t, f, remote)
	case "ssh":
		serveSSH(t, f, remote)
	}
}

// serveHTTP serves a repository with git's own http-backend.
func serveHTTP(t *testing.T, f *flight, remote string) *atomic.Int64 {
	t.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	must(t, err)
	backend := filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		t.Skip("this test pushes to git's own http-backend, and here there is none:", err)
	}
	git(t, remote, "config", "http.receivepack", "true")
	handler := &cgi.Handler{Path: backend, Env: append(gitEnv(), "GIT_PROJECT_ROOT="+filepath.Dir(remote), "GIT_HTTP_EXPORT_ALL=1"), Stderr: io.Discard}
	count := new(atomic.Int64)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count.Add(1)
		if user, token, _ := r.BasicAuth(); user != "x-access-token" || token != testToken {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	trust(t, f, server)
	f.config["remote"] = server.URL + "/" + filepath.Base(remote)
	f.secrets = map[string]any{"GIT_TOKEN": testToken}
	return count
}

// trust makes a flight trust the certificate of a server.
func trust(t *testing.T, f *flight, server *httptest.Server) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	f.env = append(f.env, "SSL_CERT_FILE="+name)
}

func newKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	must(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	return signer, string(pem.EncodeToMemory(block))
}

func knownHost(address string, key ssh.PublicKey) string {
	host, port, _ := net.SplitHostPort(address)
	return fmt.Sprintf("[%s]:%s %s", host, port, ssh.MarshalAuthorizedKey(key))
}

// serveSSH serves one repository over ssh, and nothing else.
func serveSSH(t *testing.T, f *flight, remote string) (address string) {
	t.Helper()
	needs(t, "git-receive-pack")
	hostKey, _ := newKey(t)
	userKey, userText := newKey(t)
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || string(key.Marshal()) != string(userKey.PublicKey().Marshal()) {
			return nil, errors.New("unknown key")
		}
		return &ssh.Permissions{}, nil
	}}
	config.AddHostKey(hostKey)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serveConn(conn, config, remote)
		}
	}()
	t.Cleanup(func() { must(t, listener.Close()); <-done })
	address = listener.Addr().String()
	f.config["remote"] = "ssh://git@" + address + remote
	f.config["known_hosts"] = "# the test's\n" + knownHost(address, hostKey.PublicKey())
	f.secrets = map[string]any{"GIT_SSH_KEY": userText}
	return address
}

func serveConn(conn net.Conn, config *ssh.ServerConfig, remote string) {
	defer func() { _ = conn.Close() }()
	c, channels, requests, err := ssh.NewServerConn(conn, config)
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
			if r.Type != "exec" || ssh.Unmarshal(r.Payload, &command) != nil || command.Text != "git-receive-pack '"+remote+"'" {
				_ = r.Reply(false, nil)
				continue
			}
			_ = r.Reply(true, nil)
			cmd := exec.Command("git", "receive-pack", remote)
			cmd.Env, cmd.Stdout, cmd.Stderr = gitEnv(), channel, channel.Stderr()
			in, err := cmd.StdinPipe()
			if err != nil || cmd.Start() != nil {
				return
			}
			go func() { _, _ = io.Copy(in, channel); _ = in.Close() }()
			status := uint32(0)
			if cmd.Wait() != nil {
				status = 1
			}
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
			_ = channel.Close()
		}
	}
}

func TestPushOverHTTPS(t *testing.T) {
	t.Parallel()
	f, remote := plannedFlight(t)
	files{"hooks/post-receive": "#!/bin/sh\necho 'hello from the hook'\nprintf '\\033[31mred\\n'\n"}.write(t, remote)
	must(t, os.Chmod(filepath.Join(remote, "hooks/post-receive"), 0o755))
	count := serveHTTP(t, f, remote)
	e := f.plan()
	f.pushes()
	if got := git(t, remote, "rev-parse", "bot/update"); got != e.Commit {
		t.Error(got)
	}
	git(t, remote, "fsck", "--strict")
	if text := f.log.String(); !strings.Contains(text, "hello from the hook") || strings.Contains(text, "\033") || strings.Contains(text, testToken) {
		t.Errorf("%q", text)
	}
	if n := count.Load(); n != 2 {
		t.Errorf("%d requests", n)
	}
	f.pushes()
	if n := count.Load(); n != 3 {
		t.Errorf("%d requests", n)
	}
	f.secrets = nil
	f.pushFails("no secret GIT_TOKEN")
	f.secrets = map[string]any{"GIT_TOKEN": "wr0ng"}
	f.pushFails("refused the token")
	if strings.Contains(f.log.String(), "wr0ng") {
		t.Error(f.log.String())
	}
}

func TestHTTPSRefusals(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		do   func(t *testing.T, remote string)
		want string
	}{
		"hook": {func(t *testing.T, remote string) {
			must(t, os.MkdirAll(filepath.Join(remote, "hooks"), 0o755))
			must(t, os.WriteFile(filepath.Join(remote, "hooks/pre-receive"), []byte("#!/bin/sh\necho this branch is protected\nexit 1\n"), 0o755))
		}, "pre-receive hook declined"},
		"no parent": {func(t *testing.T, remote string) {
			must(t, os.RemoveAll(remote))
			git(t, filepath.Dir(remote), "init", "-q", "--bare", remote)
			git(t, remote, "config", "http.receivepack", "true")
		}, "missing necessary objects"},
		"no repository": {func(t *testing.T, remote string) { must(t, os.RemoveAll(remote)) }, "no such repository"},
		"sha256": {func(t *testing.T, remote string) {
			must(t, os.RemoveAll(remote))
			git(t, filepath.Dir(remote), "init", "-q", "--bare", "--object-format=sha256", remote)
			git(t, remote, "config", "http.receivepack", "true")
		}, "not SHA-1"},
		"non-fast-forward is not the point, but denied": {func(t *testing.T, remote string) { git(t, remote, "config", "http.receivepack", "false") }, "refused the token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, remote := plannedFlight(t)
			serveHTTP(t, f, remote)
			f.plan()
			tc.do(t, remote)
			f.pushFails(tc.want)
		})
	}
}

// TestHostileHTTPS answers with what no git server answers.
func TestHostileHTTPS(t *testing.T) {
	t.Parallel()
	const kind = "application/x-git-receive-pack-advertisement"
	var seen atomic.Int64
	for name, tc := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		want   string
	}{
		"redirect": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://user:pass@elsewhere.invalid/x")
			w.WriteHeader(http.StatusMovedPermanently)
		}, "redirects to \"https://elsewhere.invalid/x\""},
		"html":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, "not as a git server"},
		"error": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "status 502"},
		"garbage": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, "zzzz")
		}, "cannot be read"},
		"empty": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", kind) }, "cannot be read"},
		"no report": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, "003e"+strings.Repeat("0", 40)+" capabilities^{}\x00\n0000")
		}, "does not report"},
		"answer for another branch": {func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				w.Header().Set("Content-Type", kind)
				_, _ = io.WriteString(w, "004b"+strings.Repeat("0", 40)+" capabilities^{}\x00report-status\n0000")
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/x-git-receive-pack-result")
			_, _ = io.WriteString(w, "000eunpack ok\n0017ok refs/heads/main\n0000")
		}, "another reference"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, _ := plannedFlight(t)
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen.Add(1); tc.answer(w, r) }))
			t.Cleanup(server.Close)
			trust(t, f, server)
			f.config["remote"] = server.URL + "/x.git"
			f.plan()
			f.pushFails(tc.want)
			if strings.Contains(f.log.String(), "pass@") {
				t.Error(f.log.String())
			}
		})
	}
	t.Run("unknown certificate", func(t *testing.T) {
		t.Parallel()
		f, _ := plannedFlight(t)
		server := httptest.NewUnstartedServer(nil)
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		t.Cleanup(server.Close)
		f.config["remote"] = server.URL + "/x.git"
		f.plan()
		f.pushFails("cannot be reached")
	})
}

func TestPushOverSSH(t *testing.T) {
	t.Parallel()
	f, remote := plannedFlight(t)
	address := serveSSH(t, f, remote)
	e := f.plan()
	f.pushes()
	if got := git(t, remote, "rev-parse", "bot/update"); got != e.Commit {
		t.Error(got)
	}
	git(t, remote, "fsck", "--strict")
	f.pushes()
	if !strings.Contains(f.log.String(), "nothing was done") {
		t.Error(f.log.String())
	}
	other(t, remote, "bot/update")
	f.pushFails("drift")

	known := f.config["known_hosts"]
	stranger, strangerText := newKey(t)
	f.config["known_hosts"] = knownHost(address, stranger.PublicKey())
	f.pushFails("another host key")
	f.config["known_hosts"] = knownHost("127.0.0.1:1", stranger.PublicKey())
	f.pushFails("has no key of")
	f.config["known_hosts"] = known
	f.secrets = map[string]any{"GIT_SSH_KEY": strangerText}
	f.pushFails("refused the key")
	f.secrets = nil
	f.pushFails("no secret GIT_SSH_KEY")
}

// TestSSHThroughProxy has no other way to the host than a proxy's tunnel.
func TestSSHThroughProxy(t *testing.T) {
	t.Parallel()
	f, remote := plannedFlight(t)
	address := serveSSH(t, f, remote)
	_, port, err := net.SplitHostPort(address)
	must(t, err)
	var asked atomic.Value
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Method + " " + r.Host + " " + r.Header.Get("Proxy-Authorization"))
		if !strings.HasPrefix(r.Host, "git.example:") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		to, err := net.Dial("tcp", address)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() { _, _ = io.Copy(to, conn); _ = to.Close() }()
		_, _ = io.Copy(conn, to)
		_ = conn.Close()
	}))
	t.Cleanup(proxy.Close)
	f.env = append(f.env, "HTTPS_PROXY="+strings.Replace(proxy.URL, "http://", "http://u:p@", 1))
	f.config["remote"] = "ssh://git@git.example:" + port + remote
	f.config["known_hosts"] = strings.ReplaceAll(f.config["known_hosts"].(string), "[127.0.0.1]", "[git.example]")
	e := f.plan()
	f.pushes()
	if got := git(t, remote, "rev-parse", "bot/update"); got != e.Commit {
		t.Error(got)
	}
	if got := asked.Load(); got != "CONNECT git.example:"+port+" Basic dTpw" {
		t.Error(got)
	}
	f.config["remote"] = "ssh://git@evil.example:" + port + remote
	f.config["known_hosts"] = strings.ReplaceAll(f.config["known_hosts"].(string), "[git.example]", "[evil.example]")
	f.plan()
	f.pushFails("does not let a connection to evil.example")
}
