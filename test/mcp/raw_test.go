package mcp

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"sync"
	"time"
)

// rawProxy forwards bytes to server and judges nothing; it appends one hash-chained line
// a message. No gateway that keeps a record can cost less. The harness is proven with it.
func rawProxy(server, trail string) error {
	file, err := os.OpenFile(trail, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	l, err := loopback()
	if err != nil {
		return err
	}
	p := &raw{server: server, file: file, transport: &http.Transport{MaxIdleConnsPerHost: 2048, DisableCompression: true}}
	s := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	return s.Serve(l)
}

type raw struct {
	server    string
	transport *http.Transport

	mu   sync.Mutex
	file *os.File
	last [sha256.Size]byte
}

func (p *raw) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = p.line("request", body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, p.server, bytes.NewReader(body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	// What a client says of itself is what the server's own protection judges.
	out.Header, out.Host = r.Header.Clone(), r.Host
	answer, err := p.transport.RoundTrip(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = answer.Body.Close() }()
	maps.Copy(w.Header(), answer.Header)
	w.WriteHeader(answer.StatusCode)
	control := http.NewResponseController(w)
	_ = control.Flush()
	buffer := make([]byte, 32<<10)
	for {
		n, err := answer.Body.Read(buffer)
		if n > 0 {
			if p.line("response", buffer[:n]) != nil {
				return
			}
			_, _ = w.Write(buffer[:n])
			_ = control.Flush()
		}
		if err != nil {
			return
		}
	}
}

func (p *raw) line(what string, content []byte) error {
	sum := sha256.Sum256(content)
	p.mu.Lock()
	defer p.mu.Unlock()
	line := fmt.Appendf(nil, `{"chain":%q,"digest":%q,"what":%q}`+"\n", hex.EncodeToString(p.last[:]), hex.EncodeToString(sum[:]), what)
	p.last = sha256.Sum256(line)
	_, err := p.file.Write(line)
	return err
}
