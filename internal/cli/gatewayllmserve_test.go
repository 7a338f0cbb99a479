package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// heard is what a gateway says on stderr.
type heard struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.buf.Write(p)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.buf.String()
}

// llmTower is a gateway for models that serves by a file.
type llmTower struct {
	t       *testing.T
	dir     string
	log     heard
	url     string
	release chan struct{} // ends the slow streams of the provider
	ended   chan int
	stop    context.CancelFunc
}

const llmConfigText = "version: 1\nlisten: 127.0.0.1:0\nproviders: {openai: {url: '%s/v1'}}\npolicies: {bundled: [llm]}\n"

func newLLMTower(t *testing.T) *llmTower {
	t.Helper()
	w := &llmTower{t: t, dir: t.TempDir(), release: make(chan struct{}), ended: make(chan int, 1)}
	provider := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !bytes.Contains(body, []byte(`"stream":true`)) {
			rw.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(rw, `{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}`)
			return
		}
		rw.Header().Set("Content-Type", "text/event-stream")
		// The second event waits until its text goes on: the words could be a secret's first.
		_, _ = io.WriteString(rw, "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one \"}}]}\n\n")
		_ = http.NewResponseController(rw).Flush()
		select {
		case <-w.release:
		case <-r.Context().Done():
			return
		}
		_, _ = io.WriteString(rw, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"two\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	}))
	t.Cleanup(provider.Close)
	w.configure(fmt.Sprintf(llmConfigText, provider.URL))
	ctx, cancel := context.WithCancel(t.Context())
	w.stop = cancel
	args := []string{"--config", filepath.Join(w.dir, ".cabincrew.llm.yaml"), "gateway", "llm"}
	go func() {
		w.ended <- Main(ctx, args, strings.NewReader(""), io.Discard, &w.log, []string{"HOME=" + w.dir})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-w.ended:
		case <-time.After(30 * time.Second):
			t.Error("the gateway does not end")
		}
	})
	w.until("serving http")
	_, rest, _ := strings.Cut(w.log.String(), "serving ")
	w.url = strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0])
	return w
}

func (w *llmTower) configure(text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, ".cabincrew.llm.yaml"), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *llmTower) change(from, to string) {
	w.t.Helper()
	path := filepath.Join(w.dir, ".cabincrew.llm.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	w.configure(strings.Replace(string(data), from, to, 1))
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		w.t.Fatal(err)
	}
}

func (w *llmTower) until(words string, times ...int) {
	w.t.Helper()
	often := append(times, 1)[0]
	for end := time.Now().Add(30 * time.Second); strings.Count(w.log.String(), words) < often; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("it does not say %q:\n%s", words, w.log.String())
		}
	}
}

func (w *llmTower) post(body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return http.DefaultClient.Do(req)
}

func (w *llmTower) ask(body string) (int, string) {
	w.t.Helper()
	resp, err := w.post(body)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

const (
	askWhole  = `{"model":"m","messages":[{"role":"user","content":"x"}]}`
	askStream = `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`
)

// TestLLMConfigurationIsReadAgain is not parallel: the signal is for the whole process.
func TestLLMConfigurationIsReadAgain(t *testing.T) { //nolint:paralleltest // the signal is for all
	w := newLLMTower(t)
	if code, got := w.ask(askWhole); code != http.StatusOK {
		t.Fatalf("%d %s", code, got)
	}
	resp, err := w.post(askStream)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()

	// Another list of models: the stream goes on, and new calls are judged by it.
	w.change("policies: {bundled: [llm]}", "policies: {bundled: [llm], data: {cabincrew_llm: {models: [other]}}}")
	w.until("the configuration was read again")
	if code, got := w.ask(askWhole); code != http.StatusForbidden {
		t.Errorf("the old policies judge: %d %s", code, got)
	}
	close(w.release)
	data, err := io.ReadAll(resp.Body)
	if err != nil || !strings.HasSuffix(string(data), "data: [DONE]\n\n") || strings.Contains(string(data), "error") {
		t.Errorf("the stream: %v %s", err, data)
	}

	// What is wrong, or cannot change, leaves everything as it is.
	w.change("models: [other]", "models: other]")
	w.until("the gateway goes on with the old one")
	w.change("models: other]", "models: [m]")
	w.until("the configuration was read again", 2)
	w.change("127.0.0.1:0", "127.0.0.1:1")
	w.until("listen cannot change while the gateway runs")
	if code, got := w.ask(askWhole); code != http.StatusOK {
		t.Errorf("%d %s", code, got)
	}
}

// TestLLMStreamsEndWithTheGateway: who waits for a stream when the gateway stops is told.
func TestLLMStreamsEndWithTheGateway(t *testing.T) {
	t.Parallel()
	w := newLLMTower(t)
	resp, err := w.post(askStream)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	w.stop()
	data, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(data), "the gateway stops") || !strings.HasSuffix(string(data), "data: [DONE]\n\n") {
		t.Errorf("%v %s", err, data)
	}
}

// TestLLMProviderOrFile: a provider of the command line and a file are two gateways.
func TestLLMProviderOrFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "other.yaml")
	if err := os.WriteFile(path, []byte(fmt.Sprintf(llmConfigText, "http://127.0.0.1:1")), 0o600); err != nil {
		t.Fatal(err)
	}
	var log heard
	code := Main(t.Context(), []string{"--config", path, "gateway", "llm", "--provider", "openai=http://127.0.0.1:1/v1"}, strings.NewReader(""), io.Discard, &log, []string{"HOME=" + dir})
	if code != 2 || !strings.Contains(log.String(), "--config names one") {
		t.Errorf("%d %s", code, log.String())
	}
}
