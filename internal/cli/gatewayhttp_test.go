package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/protocol"
)

func TestGatewayOverHTTP(t *testing.T) {
	t.Parallel()
	w := newTower(t, nil)
	web := newWebServer(t, "web-")
	w.configure(strings.Replace(gatewayRules, "  files: {command: %s}\n", "  files: {command: %s}\n  web: {url: "+web.URL+"}\n", 1))
	w.write(".cabincrew.gateway.yaml", strings.Replace(read(t, w.path(".cabincrew.gateway.yaml")), "match: {server: files}", "match: {server: [files, web]}", 1))
	f := w.serve()
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ok\n"} {
		if status, _, body := f.request(http.MethodGet, path, "", nil); status != http.StatusOK || body != want {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	for path, c := range map[string]struct{ prefix, other string }{"/mcp": {"files__", "web__web-echo"}, "/mcp/files": {"", ""}, "/mcp/web": {"web-", ""}} {
		f.hello(path)
		list, _ := f.post(path, `{"jsonrpc":"2.0","id":99,"method":"tools/list"}`)
		if text := string(list.Result); !strings.Contains(text, `"`+c.prefix+`echo"`) || !strings.Contains(text, c.other) || path != "/mcp" && strings.Contains(text, "__") {
			t.Errorf("%s lists %s", path, text)
		}
		allowed(t, f.call(path, c.prefix+"echo", map[string]any{"text": "said " + path}), "said "+path)
		if path != "/mcp/web" {
			refused(t, f.call(path, c.prefix+"wipe", nil), -32050, "nothing is wiped")
		}
	}
	if status, _, _ := f.request(http.MethodPost, "/mcp/nonesuch", hello, map[string]string{"Content-Type": "application/json"}); status != http.StatusNotFound {
		t.Errorf("a server that is not there: %d", status)
	}
	if status, _, _ := f.request(http.MethodGet, "/healthz", "", map[string]string{"Origin": "https://evil.example"}); status != http.StatusForbidden {
		t.Errorf("a foreign page: %d", status)
	}
	_, _, metrics := f.request(http.MethodGet, "/metrics", "", nil)
	for _, want := range []string{`decision="allow"`, `decision="deny"`, `server="files"`, `server="web"`, `tool="wipe"`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("%s is not in the metrics:\n%s", want, metrics)
		}
	}
	if code := f.end(); code != 0 {
		t.Errorf("exit %d\n%s", code, f.log)
	}
	if got := received(t, w.server) + received(t, web.script.dir); strings.Contains(got, "wipe") {
		t.Errorf("what was denied reached a server: %s", got)
	}
	w.say(0, []string{"events"}, "audit", "verify", "--gateway", "mcp")
	var events []protocol.AuditEvent
	w.into(0, &events, "audit", "show", "--gateway", "mcp")
	denied := 0
	for _, e := range events {
		if e.Gateway != nil && e.Gateway.PolicyDecision == protocol.Deny {
			denied++
		}
	}
	if denied < 2 {
		t.Errorf("%d events tell of a denial", denied)
	}
}

func TestGatewayWithoutMetrics(t *testing.T) {
	t.Parallel()
	w := newTower(t, nil)
	w.configure(gatewayRules + "metrics: false\n")
	if status, _, _ := w.serve().request(http.MethodGet, "/metrics", "", nil); status != http.StatusNotFound {
		t.Errorf("status %d", status)
	}
}

// TestGatewaySocketIsPrivate watches a socket from when it is there: nobody else may
// connect at any time.
func TestGatewaySocketIsPrivate(t *testing.T) {
	t.Parallel()
	for range 20 {
		dir := t.TempDir()
		path := filepath.Join(dir, "s")
		seen := make(chan os.FileMode, 1)
		ready := make(chan struct{})
		go func() {
			close(ready)
			for {
				if info, err := os.Lstat(path); err == nil {
					seen <- info.Mode()
					return
				}
			}
		}()
		<-ready
		l, err := listenSocket(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if mode := <-seen; mode.Perm() != 0o600 || mode&os.ModeSocket == 0 {
			t.Fatalf("it was %s at first", mode)
		}
		if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
			t.Errorf("%v, %v", list, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
			t.Errorf("it left %v, %v", list, err)
		}
	}
	// What is there is not replaced.
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := listenSocket(t.Context(), path); err == nil {
		t.Error("it took the place of a file", l.Close())
	}
	if read(t, path) != "mine" {
		t.Error("a file was replaced")
	}
}

// TestGatewayIsNotReady: nothing is let through that cannot be recorded.
func TestGatewayIsNotReady(t *testing.T) {
	t.Parallel()
	w := newTower(t, nil)
	f := w.serve()
	f.hello("/mcp")
	runs, err := filepath.Glob(w.path(".cabincrew/gateways/mcp/gw-*"))
	if err != nil || len(runs) != 1 {
		t.Fatal(runs, err)
	}
	log := filepath.Join(runs[0], "audit.jsonl")
	if err := os.WriteFile(log, []byte(read(t, log)+"{}\n"), 0o600); err != nil { // somebody else writes there
		t.Fatal(err)
	}
	f.call("/mcp", "echo", map[string]any{"text": "x"})
	status, _, body := f.request(http.MethodGet, "/readyz", "", nil)
	for range 200 {
		if status == http.StatusServiceUnavailable {
			break
		}
		f.call("/mcp", "echo", map[string]any{"text": "x"})
		status, _, body = f.request(http.MethodGet, "/readyz", "", nil)
	}
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "audit trail") {
		t.Fatalf("%d %s", status, body)
	}
	refused(t, f.call("/mcp", "echo", map[string]any{"text": "x"}), -32052)
	if _, _, metrics := f.request(http.MethodGet, "/metrics", "", nil); !strings.Contains(metrics, "broken") {
		t.Errorf("the metrics do not tell of it:\n%s", metrics)
	}
}

func TestGatewayOnASocket(t *testing.T) {
	t.Parallel()
	w := newTower(t, nil)
	short, err := os.MkdirTemp("/tmp", "gw") //nolint:usetesting // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	path := filepath.Join(short, "s")
	// What a killed gateway left.
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if u, is := l.(*net.UnixListener); is {
		u.SetUnlinkOnClose(false)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f := w.start(strings.NewReader(""), os.Stderr, "--listen", "unix:"+path)
	for !strings.Contains(f.log.String(), "serving unix:"+path) {
		select {
		case <-f.log.more:
		case <-time.After(patience):
			t.Fatalf("it does not serve\n%s", f.log)
		case code := <-f.code:
			f.code <- code
			t.Fatalf("exit %d\n%s", code, f.log)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", err, info)
	}
	w.say(7, []string{"gateway_listen", "another gateway"}, "gateway", "mcp", "--listen", "unix:"+path)
	f.throughSocket(path)
	f.hello("/mcp")
	allowed(t, f.call("/mcp", "echo", map[string]any{"text": "by socket"}), "by socket")
	if code := f.end(); code != 0 {
		t.Errorf("exit %d\n%s", code, f.log)
	}
	if left, err := os.ReadDir(short); err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
	// What is no socket stays.
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.say(7, []string{"gateway_listen"}, "gateway", "mcp", "--listen", "unix:"+path)
	if read(t, path) != "mine" {
		t.Error("a file was taken away")
	}
	// The address is taken by somebody else.
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	w.say(7, []string{"gateway_listen", "--listen"}, "gateway", "mcp", "--listen", taken.Addr().String())
}

// TestCredentialsOfServers: each server gets its own, and no other's nor the client's; no
// log tells them.
func TestCredentialsOfServers(t *testing.T) {
	t.Parallel()
	const token, other, key, file = "tok-one-0123456789", "tok-two-0123456789", "key-three-0123456789", "file-four-0123456789"
	w := newTower(t, map[string]string{"secret.txt": file + "\n"})
	one, two := newWebServer(t, "one-"), newWebServer(t, "two-")
	w.configure(fmt.Sprintf(`version: 1
listen: 127.0.0.1:0
servers:
  one: {url: %q, headers: {Authorization: {prefix: "Bearer ", from: "env:ONE"}, X-File: "file:secret.txt"}}
  two: {url: %q, headers: {Authorization: "env:TWO"}}
  files: {command: %s, secrets: {KEY: "env:THREE"}, env: {PLAIN: text, MAPPED: "env:MAPPED"}}
rules: [{match: {server: "*"}, action: allow}]
clients: {tokens: [{name: ci, sha256: %s}]}
`, one.URL, two.URL, w.command(), digestOf("client-token-0123456789")))
	w.env = append(w.env, "ONE="+token, "TWO="+other, "THREE="+key, "MAPPED=mapped", "UNRELATED=unrelated-value")
	f := w.serve("--log-level", "debug")
	f.bear = "client-token-0123456789"
	f.hello("/mcp")
	for server, tool := range map[string]string{"one": "one-echo", "two": "two-echo", "files": "echo"} {
		allowed(t, f.call("/mcp", server+"__"+tool, map[string]any{"text": "hello " + server}), "hello "+server)
	}
	env := string(f.call("/mcp", "files__env", nil).Result)
	if !strings.Contains(env, "PLAIN=text") || !strings.Contains(env, "MAPPED=mapped") || !strings.Contains(env, "KEY=") || strings.Contains(env, "unrelated") || strings.Contains(env, "ONE=") {
		t.Errorf("the child's environment: %s", env)
	}
	if strings.Contains(env, key) {
		t.Error("the child's secret came back to the client")
	}
	for _, h := range one.seen() {
		if h.Get("Authorization") != "Bearer "+token || h.Get("X-File") != file {
			t.Errorf("one got %v", h)
		}
	}
	for _, h := range two.seen() {
		if h.Get("Authorization") != other || h.Get("X-File") != "" {
			t.Errorf("two got %v", h)
		}
	}
	if len(one.seen()) == 0 || len(two.seen()) == 0 {
		t.Error("a server was never asked")
	}
	f.end()
	seen := f.log.String() + received(t, one.script.dir) + received(t, two.script.dir) + received(t, w.server)
	err := filepath.WalkDir(w.path(".cabincrew"), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			seen += read(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{token, other, key, file, f.bear} {
		if strings.Contains(seen, secret) {
			t.Errorf("%s stands in a log, the trail or a message", secret)
		}
	}
}

func digestOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func TestGatewayMetadata(t *testing.T) {
	t.Parallel()
	w := newTower(t, nil)
	f := w.serve()
	if status, _, _ := f.request(http.MethodGet, "/.well-known/oauth-protected-resource/mcp", "", nil); status != http.StatusNotFound {
		t.Errorf("metadata without issuers: %d", status)
	}
	f.end()
	const issuer = `clients: {%soidc: [{issuer: "http://127.0.0.1:9/issuer", audience: "http://localhost/mcp", scopes: [tools]}]}
`
	for _, c := range []struct{ more, base, wellKnown string }{
		{"hosts: [other.example], ", "", ""}, // where it listens
		{`url: "https://public.example", `, "https://public.example", "https://public.example/.well-known/oauth-protected-resource"},
		{`url: "https://public.example/tools/", `, "https://public.example/tools", "https://public.example/.well-known/oauth-protected-resource/tools"},
	} {
		w.configure(gatewayRules + fmt.Sprintf(issuer, c.more))
		f = w.serve()
		if c.base == "" {
			c.base, c.wellKnown = f.base, f.base+"/.well-known/oauth-protected-resource"
		}
		for _, path := range []string{"/mcp", "/mcp/files"} {
			tells(t, f, c.base, c.wellKnown, path)
		}
		f.end()
	}
}

// tells demands that an endpoint refuses with the URL of its own metadata, whatever the
// client calls its host, and that these are there for everybody.
func tells(t *testing.T, f *flying, base, wellKnown, path string) {
	t.Helper()
	headers := map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
	for _, at := range []string{path, path + "/message", path + "/sse"} {
		method := http.MethodPost
		if strings.HasSuffix(at, "sse") {
			method = http.MethodGet
		}
		status, head, _ := f.request(method, at, hello, headers)
		if want := `Bearer resource_metadata="` + wellKnown + path + `"`; status != http.StatusUnauthorized || head.Get("WWW-Authenticate") != want {
			t.Errorf("%s: %d %q, want %q", at, status, head.Get("WWW-Authenticate"), want)
		}
	}
	places := []string{"/.well-known/oauth-protected-resource" + path}
	if u, err := url.Parse(wellKnown); err == nil {
		places = append(places, u.Path+path)
	}
	for _, at := range places {
		status, _, body := f.request(http.MethodGet, at, "", nil)
		var m struct {
			Resource string   `json:"resource"`
			Servers  []string `json:"authorization_servers"`
		}
		if err := json.Unmarshal([]byte(body), &m); err != nil || status != http.StatusOK || m.Resource != base+path || len(m.Servers) != 1 || m.Servers[0] != "http://127.0.0.1:9/issuer" {
			t.Errorf("%s: %d %v %s", at, status, err, body)
		}
	}
}
