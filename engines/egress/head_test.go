package egress

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

// FuzzHead: a head that is taken means the same to net/http, and is in the one
// spelling that has no second meaning.
func FuzzHead(f *testing.F) {
	for _, s := range []string{
		get + "\r\n", get + "Content-Length: 5\r\n\r\nhello", get + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		get + "A: b\r\n c\r\n\r\n", get + "Connection: close, te\r\nExpect: 100-continue\r\nUpgrade: x\r\n\r\n",
		"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", "GET /\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		head, err := readHead(bufio.NewReader(bytes.NewReader(data)), 1000, 1000)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(data, head) || len(head) > 2100 {
			t.Fatalf("%q of %q", head, data)
		}
		h, ref := parseHead(head)
		if ref != nil {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			t.Fatalf("%q is taken, net/http says %v", head, err)
		}
		if r.Method != h.method || r.RequestURI != h.target || len(r.TransferEncoding) > 0 != h.chunked {
			t.Fatalf("%+v for us, %+v for net/http", h, r)
		}
		if h.url.Host == "" && r.Host != h.host {
			t.Fatalf("the host is %q for us, %q for net/http", h.host, r.Host)
		}
		if !h.chunked && r.ContentLength != max(h.length, 0) {
			t.Fatalf("the length is %d for us, %d for net/http", h.length, r.ContentLength)
		}
		for _, bad := range []string{"\r\n ", "\r\n\t", "\x00", " :"} {
			if name, _, _ := strings.Cut(bad, ":"); strings.Contains(string(head), bad) && bad != " :" || bad == " :" && bytes.Contains(head, []byte("\r\n"+name+":")) {
				t.Fatalf("%q is taken", head)
			}
		}
		if n := bytes.Count(head, []byte("\r")); n != bytes.Count(head, []byte("\r\n")) || n != bytes.Count(head, []byte("\n")) {
			t.Fatalf("%q has half an end of line", head)
		}
	})
}

func BenchmarkRequests(b *testing.B) {
	for _, scheme := range []string{"http", "https"} {
		b.Run(scheme, func(b *testing.B) {
			r := newRig(b, Options{Mode: protocol.FlightPlan, Limits: Limits{Requests: 1 << 30}}, func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write(make([]byte, 1024))
			})
			client := r.client()
			b.ResetTimer()
			for b.Loop() {
				a, err := client.Get(scheme + "://example.com/")
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, a.Body)
				_ = a.Body.Close()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

func BenchmarkConnect(b *testing.B) {
	r := newRig(b, Options{Mode: protocol.FlightPlan, Limits: Limits{Requests: 1 << 30}}, nil)
	for b.Loop() {
		c := r.inside("example.com:443")
		_ = c.Close()
	}
}

func BenchmarkDownload(b *testing.B) {
	chunk := make([]byte, 1<<20)
	r := newRig(b, Options{Limits: Limits{Requests: 1 << 30}}, func(w http.ResponseWriter, _ *http.Request) {
		for range 32 {
			_, _ = w.Write(chunk)
		}
	})
	client := r.client()
	b.SetBytes(32 << 20)
	for b.Loop() {
		a, err := client.Get("https://example.com/")
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, a.Body); n != 32<<20 || err != nil {
			b.Fatal(n, err)
		}
		_ = a.Body.Close()
	}
}

// TestHeadAgainstServer shows why the package reads heads itself: http.Server
// lets a handler see none of these.
func TestHeadAgainstServer(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"both lengths": "GET / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		"folded":       "GET / HTTP/1.1\r\nHost: example.com\r\nA: b\r\n c\r\n\r\n",
		"bare LF":      "GET / HTTP/1.1\nHost: example.com\n\n",
	} {
		if _, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text + "0\r\n\r\n"))); err != nil {
			t.Logf("%s: net/http refuses it too now: %v", name, err)
		}
		if head, err := readHead(bufio.NewReader(strings.NewReader(text)), 1000, 1000); err == nil {
			if _, ref := parseHead(head); ref == nil || ref.reason != malformed {
				t.Errorf("%s is taken", name)
			}
		}
	}
}
