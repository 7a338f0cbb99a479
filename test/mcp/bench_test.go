package mcp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// benchPolicy is a policy as a house would write it: it reads names, arguments and paths.
const benchPolicy = `package cabincrew.gateway

destructive := {"delete", "remove", "drop", "destroy"}

deny contains sprintf("%s is not for agents", [input.params.name]) if {
	input.method == "tools/call"
	some word in destructive
	contains(lower(input.params.name), word)
}

deny contains "no file of the house's keys" if {
	input.method == "tools/call"
	some _, value in input.params.arguments
	is_string(value)
	regex.match("(?i)(^|/)\\.ssh(/|$)", value)
}

require_approval contains {"msg": "a change of production", "role": "maintainer"} if {
	input.method == "tools/call"
	input.params.arguments.environment == "production"
}

warn contains "a long argument" if {
	input.method == "tools/call"
	count(object.get(input.params.arguments, "text", "")) > 100000
}
`

// count is how many calls a part of the benchmarks makes.
func count(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// peer is one thing that is measured.
type peer struct {
	name string
	open func(b *testing.B, server string) (url string, pid int)

	url      string
	pid      int
	alone    []time.Duration // latencies one call at a time
	cpu      []float64       // microseconds of its process a call
	at16     []float64       // calls a second
	at64     []float64
	cpu16    []float64
	sessions map[int]*client
}

func peers() []*peer {
	all := []*peer{
		{name: "direct", open: func(_ *testing.B, server string) (string, int) { return server, 0 }},
		{name: "raw-proxy", open: func(b *testing.B, server string) (string, int) {
			p := start(b, true, self("raw", server, filepath.Join(b.TempDir(), "trail")))
			return p.url, p.cmd.Process.Pid
		}},
		{name: "sdk-proxy", open: func(b *testing.B, server string) (string, int) {
			p := start(b, true, exec.Command(tool(b, "mcp-sdkproxy"), "-server", server, "-trail", filepath.Join(b.TempDir(), "trail")))
			return p.url, p.cmd.Process.Pid
		}},
		{name: "gateway", open: func(b *testing.B, server string) (string, int) {
			g := open(b, setting{servers: fmt.Sprintf("{one: {url: %q}}", server), policy: benchPolicy, secrets: true, more: "limits: {rate: 10000000, concurrent: 1000, sessions: 5000}\n"})
			return g.url, g.cmd.Process.Pid
		}},
	}
	if !wired() {
		all = all[:3]
	}
	return all
}

// argument is what every call carries: text as agents send it, with nothing to find.
var argument = strings.Repeat("The crew of the cabin looks after those who fly. ", 10)

func call(id int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"text":"%d %s"}}}`, id, id, argument)
}

// measure makes calls with some clients at once; each has a session.
func (p *peer) measure(b *testing.B, clients, calls int) (took time.Duration, each []time.Duration) {
	b.Helper()
	ctx := context.Background()
	for i := range clients {
		if p.sessions[i] == nil {
			c := newClient(p.url)
			if err := c.initialize(ctx); err != nil {
				b.Fatalf("%s: %v", p.name, err)
			}
			p.sessions[i] = c
		}
	}
	each = make([]time.Duration, calls)
	var wg sync.WaitGroup
	failed := make(chan error, clients)
	begin := time.Now()
	for i := range clients {
		c := p.sessions[i]
		wg.Go(func() {
			for n := i; n < calls; n += clients {
				at := time.Now()
				got, err := c.post(ctx, call(n+1))
				each[n] = time.Since(at)
				if err == nil && !bytes.Contains(got.body, []byte(argument)) {
					err = fmt.Errorf("call %d: %s", n, got)
				}
				if err != nil {
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
	return took, each
}

// BenchmarkGateway measures the gateway and its peers in turns, so that what else the
// machine does hits all of them. CABINCREW_BENCH_CALLS is the number of calls of a turn.
func BenchmarkGateway(b *testing.B) {
	linux(b)
	calls := count("CABINCREW_BENCH_CALLS", 1500)
	server := start(b, true, self("echo")).url
	all := peers()
	for _, p := range all {
		p.sessions = map[int]*client{}
		p.url, p.pid = p.open(b, server)
		p.measure(b, 64, 640) // warm
	}
	for range 5 {
		for _, p := range all {
			before := cpu(b, p.pid)
			_, each := p.measure(b, 1, calls)
			p.cpu = append(p.cpu, micro(cpu(b, p.pid)-before)/float64(calls))
			p.alone = append(p.alone, each...)
		}
		for _, p := range all {
			before := cpu(b, p.pid)
			took, _ := p.measure(b, 16, calls)
			p.cpu16 = append(p.cpu16, micro(cpu(b, p.pid)-before)/float64(calls))
			p.at16 = append(p.at16, float64(calls)/took.Seconds())
			took, _ = p.measure(b, 64, calls)
			p.at64 = append(p.at64, float64(calls)/took.Seconds())
		}
	}
	direct := middle(all[0].alone)
	for _, p := range all {
		b.Run(p.name, func(b *testing.B) {
			for b.Loop() { // measured above, in turns
			}
			p50 := middle(p.alone)
			b.ReportMetric(float64(p50.Nanoseconds()), "ns/op")
			b.ReportMetric(micro(p50-direct), "added-p50-µs")
			b.ReportMetric(micro(p.alone[len(p.alone)*99/100]), "p99-µs")
			b.ReportMetric(middle(p.cpu), "cpu-µs/call")
			b.ReportMetric(middle(p.cpu16), "cpu16-µs/call")
			b.ReportMetric(middle(p.at16), "calls/s@16")
			b.ReportMetric(middle(p.at64), "calls/s@64")
		})
	}
}

// BenchmarkGatewaySessions measures what 1,000 idle sessions hold, without and with a
// stream of each.
func BenchmarkGatewaySessions(b *testing.B) {
	linux(b)
	sessions := count("CABINCREW_BENCH_SESSIONS", 1000)
	server := start(b, true, self("echo")).url
	for _, p := range peers()[1:] {
		b.Run(p.name, func(b *testing.B) {
			p.sessions = map[int]*client{}
			p.url, p.pid = p.open(b, server)
			p.measure(b, 1, 200)
			begin := rss(b, p.pid)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			shared := &http.Transport{MaxIdleConnsPerHost: 16}
			clients := make([]*client, sessions)
			for i := range clients {
				clients[i] = newClient(p.url)
				clients[i].http.Transport = shared
				if err := clients[i].initialize(ctx); err != nil {
					b.Fatal(err)
				}
			}
			idle := rss(b, p.pid) - begin
			var streams []io.Closer
			defer func() {
				cancel()
				for _, s := range streams {
					_ = s.Close()
				}
			}()
			for _, c := range clients {
				s, err := c.listen(ctx)
				if err != nil {
					b.Fatal(err)
				}
				streams = append(streams, s.Body)
			}
			open := rss(b, p.pid) - begin
			for b.Loop() { // measured above, once
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(idle)/(1<<20), "MB/idle")
			b.ReportMetric(float64(open)/(1<<20), "MB/listening")
		})
	}
}

// BenchmarkGatewayGrowth makes many calls (CABINCREW_BENCH_GROWTH of them) and measures
// what the gateway holds after a fifth of them and at the end.
func BenchmarkGatewayGrowth(b *testing.B) {
	linux(b)
	calls := count("CABINCREW_BENCH_GROWTH", 50_000)
	server := start(b, true, self("echo")).url
	all := peers()
	p := all[len(all)-1]
	p.sessions = map[int]*client{}
	p.url, p.pid = p.open(b, server)
	p.measure(b, 16, calls/5)
	early, files := rss(b, p.pid), descriptors(b, p.pid)
	for range 8 {
		p.measure(b, 16, calls/10)
	}
	late := rss(b, p.pid)
	b.Run(p.name, func(b *testing.B) {
		for b.Loop() { // measured above, once
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(early)/(1<<20), "MB/early")
		b.ReportMetric(float64(late)/(1<<20), "MB/late")
		b.ReportMetric(float64(late-early)/float64(calls*4/5), "B/call")
		b.ReportMetric(float64(descriptors(b, p.pid)-files), "files-grown")
	})
}

// BenchmarkGatewayStart measures how long it takes from the start of the program until
// it answers that it is ready, with the bundled policies and the secret scan.
func BenchmarkGatewayStart(b *testing.B) {
	server := start(b, true, self("echo")).url
	for b.Loop() {
		g := open(b, setting{servers: fmt.Sprintf("{one: {url: %q}}", server), policies: "{bundled: [mcp], secrets: {scan: true}}"})
		for {
			r, err := http.Get("http://" + g.at + "/readyz") //nolint:noctx // of a benchmark
			if err != nil {
				b.Fatal(err)
			}
			_ = r.Body.Close() // its status is what is asked for
			if r.StatusCode == http.StatusOK {
				break
			}
		}
		b.StopTimer()
		g.kill()
		b.StartTimer()
	}
}

func linux(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Skip("reads /proc")
	}
}

// middle is the median; it sorts.
func middle[T int | float64 | time.Duration](all []T) T {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// cpu is what a process has used of the processors; its resolution is 10 ms.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	if pid == 0 {
		return 0
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	// After the name in parentheses: state is field 3, user and system time are 14 and 15.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// rss is what a process holds of the memory.
func rss(b *testing.B, pid int) int {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(data))[1])
	if err != nil {
		b.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func descriptors(b *testing.B, pid int) int {
	b.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		b.Fatal(err)
	}
	return len(all)
}
