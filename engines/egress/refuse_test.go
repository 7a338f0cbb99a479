package egress

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

const get = "GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n"

// TestRefusesPlain sends heads that try to get around a rule; nothing may reach
// a host, and the record has the reason.
func TestRefusesPlain(t *testing.T) {
	t.Parallel()
	const plan, off = protocol.FlightPlan, protocol.TakeOff
	for name, c := range map[string]struct {
		mode   protocol.Mode
		send   string
		reason string
		status int
	}{
		"another host":                {plan, "GET http://evil.org/ HTTP/1.1\r\nHost: evil.org\r\n\r\n", "host_not_listed", 403},
		"another port":                {plan, "GET http://example.com:22/ HTTP/1.1\r\nHost: example.com:22\r\n\r\n", "host_not_listed", 403},
		"suffix of the host":          {plan, "GET http://evilexample.com/ HTTP/1.1\r\nHost: evilexample.com\r\n\r\n", "host_not_listed", 403},
		"dot and suffix":              {plan, "GET http://example.com.evil.org/ HTTP/1.1\r\nHost: example.com.evil.org\r\n\r\n", "host_not_listed", 403},
		"Host is the listed one":      {plan, "GET http://evil.org/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "host_mismatch", 403},
		"Host is another":             {plan, "GET http://example.com/ HTTP/1.1\r\nHost: evil.org\r\n\r\n", "host_mismatch", 403},
		"Host has another port":       {plan, "GET http://example.com/ HTTP/1.1\r\nHost: example.com:8080\r\n\r\n", "host_mismatch", 403},
		"two Hosts":                   {plan, get + "Host: evil.org\r\n\r\n", "request_malformed", 400},
		"no Host":                     {plan, "GET http://example.com/ HTTP/1.1\r\n\r\n", "request_malformed", 400},
		"user information":            {plan, "GET http://example.com@evil.org/ HTTP/1.1\r\nHost: evil.org\r\n\r\n", "userinfo_not_allowed", 403},
		"own user information":        {plan, "GET http://u:pw@example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "userinfo_not_allowed", 403},
		"percent in the host":         {plan, "GET http://ex%61mple.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "request_malformed", 400},
		"dot as percent":              {plan, "GET http://evil.org%2eexample.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "request_malformed", 400},
		"ideographic dot":             {plan, "GET http://evil%E3%80%82example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "request_malformed", 400},
		"letters beyond ASCII":        {plan, "GET http://e\u212aample.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "request_malformed", 400},
		"zone":                        {plan, "GET http://[fe80::1%25eth0]/ HTTP/1.1\r\nHost: [fe80::1]\r\n\r\n", "request_malformed", 400},
		"short address":               {plan, "GET http://127.1/ HTTP/1.1\r\nHost: 127.1\r\n\r\n", "request_malformed", 400},
		"octal address":               {plan, "GET http://0177.0.0.1/ HTTP/1.1\r\nHost: 0177.0.0.1\r\n\r\n", "request_malformed", 400},
		"hexadecimal address":         {plan, "GET http://0x7f000001/ HTTP/1.1\r\nHost: 0x7f000001\r\n\r\n", "request_malformed", 400},
		"one number":                  {plan, "GET http://2130706433/ HTTP/1.1\r\nHost: 2130706433\r\n\r\n", "request_malformed", 400},
		"mapped address":              {plan, "GET http://[::ffff:127.0.0.1]/ HTTP/1.1\r\nHost: [::ffff:127.0.0.1]\r\n\r\n", "request_malformed", 400},
		"an address":                  {plan, "GET http://93.184.216.34/ HTTP/1.1\r\nHost: 93.184.216.34\r\n\r\n", "host_not_listed", 403},
		"backslash":                   {plan, "GET http://evil.org\\@example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "request_malformed", 400},
		"fragment":                    {plan, "GET http://evil.org#@example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "request_malformed", 400},
		"no URL":                      {plan, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", "request_malformed", 400},
		"asterisk":                    {off, "OPTIONS * HTTP/1.1\r\nHost: example.com\r\n\r\n", "request_malformed", 400},
		"opaque URL":                  {plan, "GET http:example.com HTTP/1.1\r\nHost: example.com\r\n\r\n", "request_malformed", 400},
		"https without CONNECT":       {plan, "GET https://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "scheme_not_allowed", 403},
		"ftp":                         {plan, "GET ftp://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "scheme_not_allowed", 403},
		"HTTP/0.9":                    {plan, "GET http://example.com/\r\n", "request_malformed", 400},
		"HTTP/1.0":                    {plan, "GET http://example.com/ HTTP/1.0\r\nHost: example.com\r\n\r\n", "request_malformed", 400},
		"HTTP/2 preface":              {plan, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "request_malformed", 400},
		"TLS to the proxy":            {plan, "\x16\x03\x01\x00\x05hello\n", "request_malformed", 400},
		"bare LF":                     {plan, "GET http://example.com/ HTTP/1.1\nHost: example.com\n\n", "request_malformed", 400},
		"bare LF in the fields":       {plan, get + "A: b\nTransfer-Encoding: chunked\r\n\r\n", "request_malformed", 400},
		"bare CR":                     {plan, get + "A: b\rX: y\r\n\r\n", "request_malformed", 400},
		"NUL":                         {plan, get + "A: b\x00\r\n\r\n", "request_malformed", 400},
		"folded line":                 {plan, get + "A: b\r\n c\r\n\r\n", "request_malformed", 400},
		"folded first line":           {plan, "GET http://example.com/ HTTP/1.1\r\n Host: evil.org\r\nHost: example.com\r\n\r\n", "request_malformed", 400},
		"blank before the colon":      {plan, get + "Content-Length : 5\r\n\r\nhello", "request_malformed", 400},
		"no colon":                    {plan, get + "A\r\n\r\n", "request_malformed", 400},
		"blank in the target":         {plan, "GET http://example.com/ x HTTP/1.1\r\nHost: example.com\r\n\r\n", "request_malformed", 400},
		"no method":                   {plan, " http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "request_malformed", 400},
		"both lengths":                {off, get + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "request_malformed", 400},
		"two lengths":                 {off, get + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "request_malformed", 400},
		"list of lengths":             {off, get + "Content-Length: 5, 5\r\n\r\nhello", "request_malformed", 400},
		"signed length":               {off, get + "Content-Length: +5\r\n\r\nhello", "request_malformed", 400},
		"negative length":             {off, get + "Content-Length: -5\r\n\r\nhello", "request_malformed", 400},
		"huge length":                 {off, get + "Content-Length: 99999999999999999999\r\n\r\nhello", "request_malformed", 400},
		"other coding":                {off, get + "Transfer-Encoding: gzip, chunked\r\n\r\n", "request_malformed", 400},
		"disguised coding":            {off, get + "Transfer-Encoding: \x0bchunked\r\n\r\n", "request_malformed", 400},
		"coding twice":                {off, get + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "request_malformed", 400},
		"bad chunk":                   {off, get + "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n", "request_malformed", 400},
		"trailer":                     {off, get + "Transfer-Encoding: chunked\r\n\r\n0\r\nHost: evil.org\r\n\r\n", "request_malformed", 400},
		"Connection names a field":    {off, get + "Connection: close, Authorization\r\n\r\n", "request_malformed", 400},
		"Expect something":            {off, get + "Expect: miracles\r\n\r\n", "request_malformed", 400},
		"upgrade":                     {off, get + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "upgrade_not_allowed", 403},
		"h2c":                         {off, get + "Upgrade: h2c\r\n\r\n", "upgrade_not_allowed", 403},
		"CONNECT to another":          {plan, "CONNECT evil.org:443 HTTP/1.1\r\nHost: evil.org:443\r\n\r\n", "host_not_listed", 403},
		"CONNECT, other Host":         {plan, "CONNECT example.com:443 HTTP/1.1\r\nHost: evil.org:443\r\n\r\n", "host_mismatch", 403},
		"CONNECT without port":        {plan, "CONNECT example.com HTTP/1.1\r\nHost: example.com\r\n\r\n", "request_malformed", 400},
		"CONNECT with a path":         {plan, "CONNECT example.com:443/ HTTP/1.1\r\nHost: example.com:443\r\n\r\n", "request_malformed", 400},
		"CONNECT with user":           {plan, "CONNECT example.com:443@evil.org:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", "request_malformed", 400},
		"CONNECT with a body":         {off, "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nContent-Length: 3\r\n\r\nabc", "request_malformed", 400},
		"CONNECT to an unlisted port": {plan, "CONNECT example.com:22 HTTP/1.1\r\nHost: example.com:22\r\n\r\n", "host_not_listed", 403},
		"POST":                        {plan, "POST http://example.com/ HTTP/1.1\r\nHost: example.com\r\nContent-Length: 0\r\n\r\n", "method_not_allowed", 403},
		"DELETE":                      {plan, "DELETE http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "method_not_allowed", 403},
		"OPTIONS":                     {plan, "OPTIONS http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "method_not_allowed", 403},
		"lower-case get":              {plan, "get http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "method_not_allowed", 403},
		"GET with a body":             {plan, get + "Content-Length: 5\r\n\r\nhello", "body_not_allowed", 403},
		"GET with empty chunks":       {plan, get + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "body_not_allowed", 403},
		"HEAD with a body":            {plan, "HEAD http://example.com/ HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\n\r\nhello", "body_not_allowed", 403},
		"GET with Expect":             {plan, get + "Expect: 100-continue\r\n\r\n", "expect_not_allowed", 403},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, Options{Mode: c.mode}, nil)
			a, page := r.raw().send(c.send)
			if a == nil || a.StatusCode != c.status || a.Header.Get("X-Cabincrew-Reason") != c.reason {
				t.Fatalf("answered %+v %s", a, page)
			}
			if a.Request.Method != http.MethodHead && !strings.Contains(page, ": "+c.reason+"\n") {
				t.Errorf("the page does not name the reason: %s", page)
			}
			q := r.refused(c.reason)
			if q.Status != c.status || strings.Contains(q.URL, "@") {
				t.Errorf("recorded %+v", q)
			}
			if len(r.looked) > 0 || len(r.dialled) > 0 {
				t.Errorf("looked up %q, dialled %q", r.looked, r.dialled)
			}
		})
	}
}

func TestRefusesInside(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ send, reason string }{
		"Host is another listed one": {"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "host_mismatch"},
		"Host is another":            {"GET / HTTP/1.1\r\nHost: evil.org\r\n\r\n", "host_mismatch"},
		"URL of another":             {"GET https://a.example.com/ HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "host_mismatch"},
		"URL of another, Host right": {"GET https://evil.org/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "host_mismatch"},
		"another port":               {"GET / HTTP/1.1\r\nHost: example.com:8443\r\n\r\n", "host_mismatch"},
		"plain URL":                  {"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", "scheme_not_allowed"},
		"CONNECT again":              {"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", "request_malformed"},
		"POST":                       {"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 2\r\n\r\nhi", "method_not_allowed"},
		"folded":                     {"GET / HTTP/1.1\r\nHost: example.com\r\nA: b\r\n\tc\r\n\r\n", "request_malformed"},
		"HTTP/1.0":                   {"GET / HTTP/1.0\r\nHost: example.com\r\n\r\n", "request_malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, Options{}, nil)
			a, page := r.inside("example.com:443").send(c.send)
			if a == nil || a.Header.Get("X-Cabincrew-Reason") != c.reason {
				t.Fatalf("answered %+v %s", a, page)
			}
			if q := r.refused(c.reason); q.Host == "" {
				t.Errorf("recorded %+v", q)
			}
		})
	}
}

func TestServerNameMustBeThatOfConnect(t *testing.T) {
	t.Parallel()
	for name, sni := range map[string]string{"another": "a.example.com", "unlisted": "evil.org", "none": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, Options{}, nil)
			c := tls.Client(r.connect("example.com:443").Conn, &tls.Config{ServerName: sni, InsecureSkipVerify: true})
			if err := c.Handshake(); err == nil {
				t.Fatal("the handshake went through")
			}
			r.refused("sni_mismatch")
		})
	}
}

func TestClientMustTrustTheRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{}, nil)
	c := tls.Client(r.connect("example.com:443").Conn, &tls.Config{ServerName: "example.com", RootCAs: x509.NewCertPool()})
	if err := c.Handshake(); err == nil {
		t.Fatal("an unknown authority is trusted")
	}
	r.refused("tls_client")
}

func TestOpaqueConnectIsRefused(t *testing.T) {
	t.Parallel()
	for name, bytes := range map[string]string{
		"ssh":        "SSH-2.0-OpenSSH_9.2\r\n",
		"plain HTTP": "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
		"half hello": "\x16\x03\x01\x00\x05\x02hello",
		"SSL 2":      "\x80\x2e\x01\x03\x01\x00",
		"alert":      "\x15\x03\x01\x00\x02\x01\x00",
	} {
		for _, o := range []Options{
			{Mode: protocol.FlightPlan}, {Mode: protocol.TakeOff},
			{Mode: protocol.TakeOff, Tunnels: []string{"example.com:22"}},
		} {
			t.Run(name+" "+string(o.Mode), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, o, nil)
				a, page := r.connect("example.com:443").send(bytes)
				if a == nil || a.StatusCode != http.StatusForbidden || !strings.Contains(page, "`tunnels`") {
					t.Fatalf("answered %+v %s", a, page)
				}
				q := r.refused("opaque_connect")
				if q.Method != http.MethodConnect || q.URL != "example.com:443" || q.Host != "example.com" {
					t.Errorf("recorded %+v", q)
				}
			})
		}
	}
}

func TestTunnelIsClosedInFlightPlan(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Tunnels: []string{"example.com:443"}}, nil)
	if a, _ := r.raw().send("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"); a == nil || a.StatusCode != http.StatusForbidden {
		t.Fatalf("answered %+v", a)
	}
	r.refused("opaque_connect")
}

// TestConnectAndSilence: nothing was sent, so there is nothing to tell.
func TestConnectAndSilence(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{}, nil)
	_ = r.connect("example.com:443").Close()
	if err := r.stop(); err != nil || len(r.Requests()) != 0 || len(r.dialled) != 0 {
		t.Errorf("%v, %+v, dialled %q", err, r.Requests(), r.dialled)
	}
}

func TestRecordHasNoSecrets(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Mode: protocol.TakeOff}, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Set-Cookie", "hunter2")
		_, _ = io.WriteString(w, "hunter2")
	})
	if _, _, err := r.ask("POST", "https://user:hunter2@example.com/a?b=c", strings.NewReader("hunter2"), "X-Key", "hunter2", "Cookie", "hunter2"); err != nil {
		t.Fatal(err)
	}
	r.raw().send("GET http://user:hunter2@example.com/ HTTP/1.1\r\nHost: example.com\r\nAuthorization: hunter2\r\n\r\n")
	r.raw().send("GET http://user:hunter2@exa%6dple.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n")
	if _, p, ok := r.seen[0].BasicAuth(); !ok || p != "hunter2" {
		t.Error("the client's Authorization did not arrive")
	}
	text, err := json.Marshal(r.Requests())
	if err != nil || strings.Contains(string(text), "hunter2") || len(r.Requests()) != 3 {
		t.Errorf("recorded %s, %v", text, err)
	}
	const want = `{"method":"POST","url":"https://example.com/a?b=c","host":"example.com","allowed":true,"reason":"","status":200,`
	if !strings.HasPrefix(string(text), "["+want) {
		t.Errorf("recorded %s", text)
	}
}
