package llmbench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/cli"
)

// role says what a process of the test binary is, if not the tests.
const role = "CABINCREW_LLM_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(role) {
	case "provider":
		err = provider()
	case "proxy":
		err = proxy(os.Args[1])
	case "program":
		cli.TuneMemory() // as cmd/cabincrew does
		os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// says is what every answer says: prose, as models write it, with nothing to find.
const says = "The crew of the cabin looks after those who fly, and tells them what to do when the lights go out over the sea at night, which is rarely the case, but it is good to know where the doors are and how they open. "

var (
	wholeAnswer = fmt.Sprintf(`{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":%q,"refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":120,"completion_tokens":50,"total_tokens":170}}`, says)
	events      = streamed()
)

// streamed are the events of a stream: 49 with text, three around them.
func streamed() []string {
	const head = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":`
	out := []string{head + `{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n"}
	words := strings.SplitAfter(strings.Repeat(says, 2), " ")
	for _, w := range words[:49] {
		out = append(out, head+fmt.Sprintf(`{"content":%q},"finish_reason":null}]}`, w)+"\n\n")
	}
	return append(out, head+`{},"finish_reason":"stop"}]}`+"\n\n", "data: [DONE]\n\n")
}

func listen() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		_, err = fmt.Printf("http://%s\n", l.Addr())
	}
	return l, err
}

// provider answers at once. A stream with the header X-Slow waits before each event.
func provider() error {
	l, err := listen()
	if err != nil {
		return err
	}
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if !bytes.Contains(body, []byte(`"stream":true`)) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", strconv.Itoa(len(wholeAnswer)))
			_, _ = io.WriteString(w, wholeAnswer)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		rc := http.NewResponseController(w)
		slow := bytes.Contains(body, []byte(`"user":"slow"`))
		for _, e := range events {
			if _, err := io.WriteString(w, e); err != nil {
				return
			}
			if rc.Flush() != nil {
				return
			}
			if slow {
				time.Sleep(200 * time.Millisecond)
			}
		}
	}))
}

// proxy is the plain, buffered reverse proxy of the standard library.
func proxy(to string) error {
	u, err := url.Parse(to)
	if err != nil {
		return err
	}
	l, err := listen()
	if err != nil {
		return err
	}
	p := httputil.NewSingleHostReverseProxy(u)
	p.Transport = &http.Transport{MaxIdleConnsPerHost: 256}
	p.BufferPool = &buffers{}
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Whole before it is sent on, as with a gateway: else an early answer breaks it off.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		p.ServeHTTP(w, r)
	}))
}

type buffers struct{ p sync.Pool }

func (b *buffers) Get() []byte {
	if got, ok := b.p.Get().([]byte); ok {
		return got
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(x []byte) { b.p.Put(x) } //nolint:staticcheck // of a benchmark

// process is one that is measured.
type process struct {
	name, url string
	cmd       *exec.Cmd
	whole     figures
	stream    figures
}

type figures struct {
	alone  []time.Duration // latencies one at a time
	first  []time.Duration // until the first byte of them
	perCPU []float64       // at 16 at a time, a CPU second
	perSec []float64
}

func start(b *testing.B, name, as string, args ...string) *process {
	b.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), role+"="+as)
	cmd.Dir = b.TempDir()
	pipe := cmd.StdoutPipe
	if as == "program" {
		pipe = cmd.StderrPipe
	} else {
		cmd.Stderr = os.Stderr
	}
	out, err := pipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	p := &process{name: name, cmd: cmd}
	for p.url == "" && lines.Scan() {
		if i := strings.Index(lines.Text(), "http://"); i >= 0 {
			p.url = strings.TrimSpace(lines.Text()[i:])
		}
	}
	if p.url == "" {
		b.Fatalf("%s does not say where it listens", name)
	}
	go func() {
		for lines.Scan() { // so that it never blocks
			if testing.Verbose() {
				fmt.Println(name, lines.Text())
			}
		}
	}()
	return p
}

const prompt = `{"model":"m","messages":[{"role":"system","content":"You are a helpful assistant who answers briefly."},{"role":"user","content":"Tell me what the crew of the cabin does at night, please, and %d more things about their work: how they open doors, what they say to those who fly, where they sit. Write it as you would to a friend who is afraid of the sea."}]%s}`

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2048, DisableCompression: true}}

// call makes one call and gives when its first byte came and when its last did.
func call(to string, n int, more string) (first, all time.Duration, err error) {
	begin := time.Now()
	resp, err := client.Post(to+"/v1/chat/completions", "application/json", strings.NewReader(fmt.Sprintf(prompt, n, more)))
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	buf := make([]byte, 32<<10)
	var last []byte
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			if first == 0 {
				first = time.Since(begin)
			}
			last = append(last[:0], buf[max(0, n-40):n]...)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, 0, err
		}
	}
	all = time.Since(begin)
	if resp.StatusCode != http.StatusOK || more == "" && !bytes.Contains(last, []byte("170}}")) || more != "" && !bytes.Contains(last, []byte("[DONE]")) {
		return 0, 0, fmt.Errorf("%d: %s", resp.StatusCode, last)
	}
	return first, all, nil
}

func (p *process) measure(b *testing.B, clients, calls int, more string) (took time.Duration, first, all []time.Duration) {
	b.Helper()
	first, all = make([]time.Duration, calls), make([]time.Duration, calls)
	failed := make(chan error, clients)
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range clients {
		wg.Go(func() {
			for n := i; n < calls; n += clients {
				var err error
				if first[n], all[n], err = call(p.url, n, more); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wg.Wait()
	took = time.Since(begin)
	select {
	case err := <-failed:
		b.Fatalf("%s: %v", p.name, err)
	default:
	}
	return took, first, all
}

// BenchmarkGateway measures the gateway and a reverse proxy in turns, so that what else the
// machine does hits both. CABINCREW_BENCH_CALLS is the number of calls of a turn.
func BenchmarkGateway(b *testing.B) {
	linux(b)
	calls := count("CABINCREW_BENCH_CALLS", 1500)
	server := start(b, "provider", "provider")
	all := []*process{
		{name: "direct", url: server.url},
		start(b, "reverse-proxy", "proxy", server.url),
		start(b, "gateway", "program", "gateway", "llm", "--listen", "127.0.0.1:0", "--provider", "openai="+server.url+"/v1"),
	}
	for _, p := range all {
		p.measure(b, 16, 320, "")
		p.measure(b, 16, 320, `,"stream":true`)
	}
	for range count("CABINCREW_BENCH_TURNS", 5) {
		for _, p := range all {
			for _, kind := range []struct {
				f    *figures
				more string
			}{{&p.whole, ""}, {&p.stream, `,"stream":true`}} {
				_, first, each := p.measure(b, 1, calls/4, kind.more)
				kind.f.alone, kind.f.first = append(kind.f.alone, each...), append(kind.f.first, first...)
				before := p.cpu(b)
				took, _, _ := p.measure(b, 16, calls, kind.more)
				if used := p.cpu(b) - before; used > 0 {
					kind.f.perCPU = append(kind.f.perCPU, float64(calls)/used.Seconds())
				}
				kind.f.perSec = append(kind.f.perSec, float64(calls)/took.Seconds())
			}
		}
	}
	for _, p := range all {
		report(b, p.name+"/whole", &p.whole, &all[0].whole)
		report(b, p.name+"/stream", &p.stream, &all[0].stream)
	}
}

func report(b *testing.B, name string, f, direct *figures) {
	b.Helper()
	b.Run(name, func(b *testing.B) {
		for b.Loop() { // measured above, in turns
		}
		b.ReportMetric(float64(middle(f.alone).Nanoseconds()), "ns/op")
		b.ReportMetric(micro(middle(f.alone)-middle(direct.alone)), "added-p50-µs")
		b.ReportMetric(micro(middle(f.first)-middle(direct.first)), "added-first-µs")
		b.ReportMetric(middle(f.perCPU), "calls/cpu-s")
		b.ReportMetric(middle(f.perSec), "calls/s@16")
	})
}

// BenchmarkStreams measures what open streams hold of the memory.
func BenchmarkStreams(b *testing.B) {
	linux(b)
	streams := count("CABINCREW_BENCH_STREAMS", 1000)
	server := start(b, "provider", "provider")
	gateway := start(b, "gateway", "program", "gateway", "llm", "--listen", "127.0.0.1:0", "--provider", "openai="+server.url+"/v1")
	gateway.measure(b, 16, 640, `,"stream":true`)
	idle := gateway.rss(b)
	var wg sync.WaitGroup
	failed := make(chan error, streams)
	most := 0
	for n := range streams {
		wg.Go(func() {
			if _, _, err := call(gateway.url, n, `,"stream":true,"user":"slow"`); err != nil {
				failed <- err
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for open := true; open; {
		select {
		case <-done:
			open = false
		case <-time.After(200 * time.Millisecond):
			most = max(most, gateway.rss(b))
		}
	}
	select {
	case err := <-failed:
		b.Fatal(err)
	default:
	}
	for b.Loop() { // measured above
	}
	b.ReportMetric(float64(most-idle)/float64(streams)/1024, "KiB/stream")
	b.ReportMetric(float64(idle)/(1<<20), "MiB-idle")
}

func linux(b *testing.B) {
	b.Helper()
	if runtime.GOOS != "linux" {
		b.Skip("reads /proc")
	}
}

func count(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// middle is the median; it sorts.
func middle[T float64 | time.Duration](all []T) T {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// cpu is what the process has used of the processors; its resolution is 10 ms.
func (p *process) cpu(b *testing.B) time.Duration {
	b.Helper()
	if p.cmd == nil {
		return 0
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	ticks := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// rss is what the process holds of the memory.
func (p *process) rss(b *testing.B) int {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(data))[1])
	if err != nil {
		b.Fatal(err)
	}
	return pages * os.Getpagesize()
}
