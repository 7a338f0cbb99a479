package http

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cabincrew/action/protocol"
)

// three makes a configuration of three POSTs, the second to the given path.
func three(base, path, timeout string) string {
	one := func(name, url string) string {
		return `{"name":"` + name + `","method":"POST","url":"` + url + `","body":"of ` + name + `","secrets":{"Authorization":{"secret":"TOKEN","format":"Bearer {{secret}}"}}}`
	}
	return `{"timeout":"` + timeout + `","requests":[` + one("one", base+"/a") + "," + one("two", base+path) + "," + one("three", base+"/c") + `]}`
}

// ways are how a request can reach its host.
func ways(t *testing.T, f *flight, secure, proxied bool) (*upstream, func() []string) {
	t.Helper()
	u := newUpstream(t, secure)
	if secure {
		f.env = append(f.env, "SSL_CERT_FILE="+u.authorities(t))
	}
	asked := func() []string { return nil }
	if proxied {
		var address string
		address, asked = newProxy(t, false)
		f.env = append(f.env, "http_proxy="+address, "HTTPS_PROXY="+address, "NO_PROXY=*")
	}
	return u, asked
}

func TestSentOnce(t *testing.T) {
	t.Parallel()
	tests := []struct {
		path, timeout, outcomes string
		sent                    int
		want                    string
	}{
		{path: "/b", outcomes: "expected expected expected", sent: 3},
		{path: "/echo", outcomes: "expected expected expected", sent: 3},
		{path: "/broken", outcomes: "expected unexpected not_tried", sent: 2, want: "request 2 of 3, 002-two, was sent: it was answered with status 500, expected is 2xx (1 before it were answered as expected, 1 after it were not sent)"},
		{path: "/redirect", outcomes: "expected unexpected not_tried", sent: 2, want: "status 307"},
		{path: "/hang", timeout: "3s", outcomes: "expected indeterminate not_tried", sent: 2, want: "002-two, may have been sent: no whole answer within the time-out"},
		{path: "/reset", outcomes: "expected indeterminate not_tried", sent: 2, want: "002-two, may have been sent: "},
		{path: "/garbage", outcomes: "expected indeterminate not_tried", sent: 2, want: "is not HTTP"},
		{path: "/header", outcomes: "expected indeterminate not_tried", sent: 2, want: "header that is too large"},
		{path: "/cut", outcomes: "expected indeterminate not_tried", sent: 2, want: "002-two, was answered with status 200, but not to the end: the connection was closed"},
	}
	for _, tc := range tests {
		for way, flags := range map[string][2]bool{"http": {}, "https": {true, false}, "http by proxy": {false, true}, "https by proxy": {true, true}} {
			if way == "http by proxy" && strings.Contains("/garbage/header/cut", tc.path) {
				continue // the proxy of these tests makes an answer of its own of it
			}
			t.Run(tc.path[1:]+" "+way, func(t *testing.T) {
				t.Parallel()
				f := newFlight(t)
				u, asked := ways(t, f, flags[0], flags[1])
				timeout := tc.timeout
				if timeout == "" {
					timeout = "30s"
				}
				config := three(u.URL, tc.path, timeout)
				f.plan(config)
				if len(u.seen()) != 0 || len(asked()) != 0 {
					t.Fatal("flight-plan used the network")
				}
				code, receipt := f.takeOff(config)
				list := results(t, receipt)
				if ends(list) != tc.outcomes || !strings.Contains(receipt.Error, tc.want) {
					t.Errorf("%s, %q", ends(list), receipt.Error)
				}
				if ok := tc.sent == 3; ok != (code == 0) || ok != (receipt.Status == protocol.StatusSuccess) || receipt.Metrics[1].Value != protocol.Number(string(rune('0'+tc.sent))) {
					t.Errorf("exit %d, %+v", code, receipt)
				}
				want := []string{"POST /a of one", "POST " + tc.path + " of two", "POST /c of three"}[:tc.sent]
				if d := cmp.Diff(want, u.seen()); d != "" {
					t.Error("what reached the host:", d)
				}
				if flags[1] && len(asked()) != tc.sent {
					t.Errorf("the proxy was asked for %v", asked())
				}
				for _, auth := range u.auth {
					if auth != "Bearer "+secret {
						t.Errorf("Authorization: %q", auth)
					}
				}
				if o := list[0]; o.Status != 200 || o.Bytes != 4 || o.Digest != protocol.Digest([]byte("fine")) {
					t.Errorf("%+v", o)
				}
			})
		}
	}
}

func TestExpectedStatus(t *testing.T) {
	t.Parallel()
	f := newFlight(t)
	u := newUpstream(t, false)
	config := `{"requests":[{"name":"a","method":"GET","url":"` + u.URL + `/redirect","expect":{"status":["3xx"]}},{"name":"b","method":"HEAD","url":"` + u.URL + `/broken","expect":{"status":[200,500]}}]}`
	f.plan(config)
	code, receipt := f.takeOff(config)
	if code != 0 || ends(results(t, receipt)) != "expected expected" {
		t.Errorf("exit %d, %+v", code, receipt)
	}
	if d := cmp.Diff([]string{"GET /redirect ", "HEAD /broken "}, u.seen()); d != "" {
		t.Error(d)
	}
}

func TestNotSent(t *testing.T) {
	t.Parallel()
	closed := newUpstream(t, false)
	dead := closed.URL
	closed.Close()
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, f *flight) (base string)
		want    string
	}{
		"nobody listens": {func(*testing.T, *flight) string { return dead }, "001-one, was not sent: connection refused"},
		"no proxy listens": {func(_ *testing.T, f *flight) string {
			f.env = append(f.env, "HTTP_PROXY="+dead)
			return "http://127.0.0.1:1"
		}, "was not sent: connection refused"},
		"unknown authority": {func(t *testing.T, _ *flight) string {
			return newUpstream(t, true).URL
		}, "was not sent: the certificate of the host is not accepted"},
		"no TLS there": {func(t *testing.T, _ *flight) string {
			return strings.Replace(newUpstream(t, false).URL, "http:", "https:", 1)
		}, "was not sent: no connection to the host can be made"},
		"proxy refuses": {func(t *testing.T, f *flight) string {
			address, _ := newProxy(t, true)
			f.env = append(f.env, "https_proxy="+address)
			return "https://127.0.0.1:1"
		}, "was not sent: the proxy refused the connection with status 403"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlight(t)
			config := three(tc.prepare(t, f), "/b", "30s")
			f.plan(config)
			code, receipt := f.takeOff(config)
			if code != 1 || ends(results(t, receipt)) != "not_sent not_tried not_tried" || !strings.Contains(receipt.Error, tc.want) || receipt.Metrics[1].Value != "0" {
				t.Errorf("exit %d, %+v, want %q", code, receipt, tc.want)
			}
		})
	}
}

func TestBytesOnTheWire(t *testing.T) {
	t.Parallel()
	rec := newRecorder(t, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	f := newFlight(t)
	f.write("blob", "\x00\xff\r\n\r\n")
	base := "http://" + rec.address
	config := `{"values":{"n":[1,2]},"requests":[
		{"name":"a","method":"POST","url":"` + base + `/x%2Fy/?q=1;2&r=%20","headers":{"x-b":"2","Content-Type":"application/json","x-a":"1, 2"},"secrets":{"authorization":{"secret":"TOKEN","format":"Bearer {{secret}}"}},"body_template":"{\"n\":{{json .n}}}"},
		{"name":"b","method":"PUT","url":"` + base + `","headers":{"User-Agent":"mine"},"body_file":"blob"},
		{"name":"c","method":"DELETE","url":"` + base + `/gone?"}]}`
	f.plan(config)
	if code, receipt := f.takeOff(config); code != 0 {
		t.Fatal(receipt.Error)
	}
	want := []string{
		"POST /x%2Fy/?q=1;2&r=%20 HTTP/1.1\r\nHost: " + rec.address + "\r\nUser-Agent: cabincrew-http/1\r\nContent-Length: 11\r\n" +
			"Authorization: Bearer " + secret + "\r\nContent-Type: application/json\r\nX-A: 1, 2\r\nX-B: 2\r\nConnection: close\r\n\r\n{\"n\":[1,2]}",
		"PUT / HTTP/1.1\r\nHost: " + rec.address + "\r\nUser-Agent: mine\r\nContent-Length: 6\r\nConnection: close\r\n\r\n\x00\xff\r\n\r\n",
		"DELETE /gone? HTTP/1.1\r\nHost: " + rec.address + "\r\nUser-Agent: cabincrew-http/1\r\nConnection: close\r\n\r\n",
	}
	if d := cmp.Diff(want, rec.got()); d != "" {
		t.Error(d)
	}
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	u := newUpstream(t, false)
	keys := func(workflow, body string) []string {
		f := newFlight(t)
		f.workflow = workflow
		config := `{"requests":[{"name":"a","method":"POST","url":"` + u.URL + `","body":"` + body + `","idempotency_key":true},{"name":"b","method":"POST","url":"` + u.URL + `","body":"` + body + `","idempotency_key":true}]}`
		f.plan(config)
		if code, receipt := f.takeOff(config); code != 0 {
			t.Fatal(receipt.Error)
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		got := u.keys
		u.keys = nil
		return got
	}
	first := keys("w", "x")
	if len(first) != 2 || len(first[0]) != 64 || first[0] == first[1] {
		t.Errorf("%v", first)
	}
	if d := cmp.Diff(first, keys("w", "x")); d != "" {
		t.Error("the same flight has other keys:", d)
	}
	for _, other := range [][]string{keys("v", "x"), keys("w", "y")} {
		if other[0] == first[0] || other[1] == first[1] {
			t.Error("another flight or another body has the same keys")
		}
	}
}

func TestTakeOffRefusals(t *testing.T) {
	t.Parallel()
	edit := func(name, old, replacement string) func(f *flight) {
		return func(f *flight) {
			p := filepath.Join(f.artifacts, name)
			data, err := os.ReadFile(p)
			must(f.t, err)
			if !strings.Contains(string(data), old) {
				f.t.Fatalf("no %q in %s", old, data)
			}
			must(f.t, os.WriteFile(p, []byte(strings.Replace(string(data), old, replacement, 1)), 0o600))
		}
	}
	config := func(old, replacement string) func(string) string {
		return func(c string) string { return strings.Replace(c, old, replacement, 1) }
	}
	same := func(c string) string { return c }
	none := func(*flight) {}
	tests := map[string]struct {
		change func(f *flight)
		config func(string) string
		want   string
	}{
		"no artifact":             {func(f *flight) { must(f.t, os.RemoveAll(filepath.Join(f.artifacts, "002-two"))) }, same, "002-two"},
		"no body":                 {func(f *flight) { must(f.t, os.Remove(filepath.Join(f.artifacts, "002-two/body.data"))) }, same, "002-two/body.data"},
		"body":                    {edit("002-two/body.data", "of two", "of too"), same, "002-two is not what requests[1] declares"},
		"body and its digest":     {edit("001-one/body.data", "of one", "of two"), same, "001-one is not what"},
		"url":                     {edit("002-two/artifact.json", "/b", "/e"), same, "002-two is not what"},
		"method":                  {edit("002-two/artifact.json", `"POST"`, `"PUT"`), same, "002-two is not what"},
		"header":                  {edit("002-two/artifact.json", "Bearer ", "Basic "), same, "002-two is not what"},
		"expectation":             {edit("002-two/artifact.json", "2xx", "5xx"), same, "002-two is not what"},
		"type":                    {edit("002-two/artifact.json", "http-request", "http"), same, "002-two is not what"},
		"inline body":             {edit("002-two/artifact.json", `"body_file":"body.data"`, `"body":"of two"`), same, "002-two is not what"},
		"body file":               {edit("002-two/artifact.json", `body.data`, `../x`), same, "002-two"},
		"another artifact":        {func(f *flight) { must(f.t, os.Mkdir(filepath.Join(f.artifacts, "004-four"), 0o755)) }, same, `"004-four", which the configuration does not declare`},
		"configuration's url":     {none, config("/b", "/x"), "002-two is not what"},
		"configuration's body":    {none, config("of two", "of twi"), "002-two is not what"},
		"configuration's header":  {none, config("Bearer", "Basic"), "001-one is not what"},
		"configuration's timeout": {none, config("30s", "31s"), "001-one is not what"},
		"configuration's name":    {none, config(`"two"`, `"too"`), "002-t"},
		"configuration's secret":  {none, config("TOKEN", "OTHER"), "001-one is not what"},
		"no configuration":        {none, func(string) string { return "{}" }, "config.requests"},
		"no secret":               {func(f *flight) { f.secrets = nil }, same, "the secret TOKEN for the header Authorization is not there"},
		"secret no text":          {func(f *flight) { f.secrets["TOKEN"] = map[string]any{} }, same, "is not there"},
		"secret empty":            {func(f *flight) { f.secrets["TOKEN"] = "" }, same, "cannot stand in the header"},
		"secret with a line":      {func(f *flight) { f.secrets["TOKEN"] = secret + "\r\nX: y" }, same, "cannot stand in the header"},
		"secret with a newline":   {func(f *flight) { f.secrets["TOKEN"] = secret + "\n" }, same, "cannot stand in the header"},
		"secret too long":         {func(f *flight) { f.secrets["TOKEN"] = strings.Repeat(secret, 1000) }, same, "cannot stand in the header"},
		"proxy":                   {func(f *flight) { f.env = append(f.env, "HTTP_PROXY=socks5://x") }, same, "HTTP_PROXY is not the address of a proxy"},
		"no authorities":          {func(f *flight) { f.env = append(f.env, "SSL_CERT_FILE="+f.workspace+"/none") }, same, "SSL_CERT_FILE cannot be read"},
		"empty authorities":       {func(f *flight) { f.write("e", ""); f.env = append(f.env, "SSL_CERT_FILE="+f.workspace+"/e") }, same, "no certificate in it"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUpstream(t, false)
			f := newFlight(t)
			c := three(u.URL, "/b", "30s")
			f.plan(c)
			tc.change(f)
			code, receipt := f.takeOff(tc.config(c))
			if code != 2 || receipt.Status != protocol.StatusFailure || !strings.Contains(receipt.Error, tc.want) {
				t.Errorf("exit %d, %q, want %q", code, receipt.Error, tc.want)
			}
			if seen := u.seen(); len(seen) != 0 {
				t.Error("it was sent:", seen)
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	u := newUpstream(t, false)
	f := newFlight(t)
	c := three(u.URL, "/hang", "30s")
	f.plan(c)
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	code, receipt := f.run(ctx, protocol.TakeOff, c)
	if code != 1 || !strings.HasSuffix(ends(results(t, receipt)), "not_tried") || !strings.Contains(receipt.Error, "it was interrupted") {
		t.Errorf("exit %d, %+v", code, receipt)
	}
	if n := len(u.seen()); n > 2 {
		t.Errorf("%d requests", n)
	}
}
