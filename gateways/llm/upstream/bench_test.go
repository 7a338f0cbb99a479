package upstream

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// quick starts a provider that does as little as can be: what is measured is the client.
func quick(b *testing.B, answer string) string {
	b.Helper()
	l, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				r := bufio.NewReader(c)
				for {
					size := 0
					for {
						line, err := r.ReadSlice('\n')
						if err != nil {
							return
						}
						if rest, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
							for _, d := range bytes.TrimSpace(rest) {
								size = size*10 + int(d-'0')
							}
						}
						if len(line) == 2 {
							break
						}
					}
					_, _ = r.Discard(size)
					_, _ = io.WriteString(c, answer)
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

func answers() map[string]string {
	stream := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" +
		strings.Repeat("64\r\ndata: "+strings.Repeat("a", 92)+"\n\n\r\n", 52) + "0\r\n\r\n"
	return map[string]string{
		"whole":  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n" + strings.Repeat("a", 500),
		"stream": stream,
	}
}

// body500 is the body of a small request.
var body500 = bytes.Repeat([]byte("a"), 500)

func BenchmarkDo(b *testing.B) {
	for name, answer := range answers() {
		b.Run(name, func(b *testing.B) {
			c := client(b, quick(b, answer))
			call := Call{Endpoint: "chat", Path: "/chat/completions", Body: body500, Header: http.Header{"User-Agent": {"x"}}}
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					a, err := c.Do(context.Background(), call)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, a.Body)
					_ = a.Body.Close()
				}
			})
		})
	}
}

// BenchmarkBare is what http.Client takes for the same.
func BenchmarkBare(b *testing.B) {
	for name, answer := range answers() {
		b.Run(name, func(b *testing.B) {
			u := quick(b, answer) + "/chat/completions"
			c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
			b.Cleanup(c.CloseIdleConnections)
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					r, _ := http.NewRequestWithContext(context.Background(), http.MethodPost, u, bytes.NewReader(body500))
					r.Header.Set("Authorization", "Bearer "+secret)
					r.Header.Set("Content-Type", "application/json")
					a, err := c.Do(r)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, a.Body)
					_ = a.Body.Close()
				}
			})
		})
	}
}
