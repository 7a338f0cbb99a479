package examples

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/cli"
)

// TestGateway does what the README of the example says, and then what an agent would do.
func TestGateway(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is needed: the server of the example is written in it")
	}
	e := open(t, "gateway")
	key := filepath.Join(e.dir, "keys", "editor")
	if err := os.Mkdir(filepath.Dir(key), 0o700); err != nil {
		t.Fatal(err)
	}
	e.run(0, "keys", "generate", "--no-passphrase", "--out", key)
	away := filepath.Join(t.TempDir(), "editor") // out of the agent's reach
	if err := os.Rename(key, away); err != nil {
		t.Fatal(err)
	}
	if out := e.run(0, "policy", "test", filepath.Join(e.dir, "policies")); !strings.Contains(out, "4 passed, 0 failed") {
		t.Errorf("policy test: %s", out)
	}
	if out := e.gateway(0, "gateway", "mcp", "inspect", "--pin"); !strings.Contains(out, "delete_note") || !strings.Contains(out, ".cabincrew.lock") {
		t.Errorf("inspect: %s", out)
	}
	if out := e.gateway(0, "gateway", "mcp", "inspect"); strings.Count(out, " pinned ") != 3 {
		t.Errorf("inspect after --pin: %s", out)
	}

	gets, in := io.Pipe()
	out, says := io.Pipe()
	ended := make(chan int, 1)
	var log bytes.Buffer
	go func() {
		ended <- cli.Main(t.Context(), e.at("gateway", "mcp", "--stdio"), gets, says, &log, e.env())
		_ = says.Close()
	}()
	lines := bufio.NewScanner(out)
	send := func(line string) {
		if _, err := io.WriteString(in, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	answer := func() string {
		for lines.Scan() {
			if !strings.Contains(lines.Text(), `"method"`) {
				return lines.Text()
			}
		}
		t.Fatal("the gateway says nothing more")
		return ""
	}
	call := func(id int, tool, path string) {
		raw, err := json.Marshal(map[string]any{"name": tool, "arguments": map[string]any{"path": path}})
		if err != nil {
			t.Fatal(err)
		}
		send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":%s}`, id, raw))
	}
	send(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"agent","version":"1"}}}`)
	answer()
	send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	for i, c := range [][3]string{
		{"read_note", "todo.txt", "buy paper"}, {"delete_note", "./archive/2025.txt", "notes of the archive stay"},
		{"read_note", "../keys/editor.pub", "gateway/paths"}, {"read_note", filepath.Join(e.dir, ".cabincrew.gateway.yaml"), "gateway/paths"},
	} {
		if call(i+1, c[0], c[1]); !strings.Contains(answer(), c[2]) {
			t.Errorf("%s of %s: %s", c[0], c[1], lines.Text())
		}
	}
	call(9, "delete_note", "todo.txt")
	id := ""
	for end := time.Now().Add(5 * time.Second); id == "" && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var said bytes.Buffer
		if cli.Main(t.Context(), e.at("status"), strings.NewReader(""), &said, io.Discard, e.env()) == 4 {
			id = regexp.MustCompile(`apr-[0-9a-f]+`).FindString(said.String())
		}
	}
	if id == "" {
		t.Fatalf("the deletion is not held: %s", answer())
	}
	e.is("notes/todo.txt", "buy paper\n")
	e.gateway(0, "approve", id, "--as", "editor", "--key", away)
	if got := answer(); !strings.Contains(got, "deleted") {
		t.Errorf("approved, and the answer is %s", got)
	}
	e.is("notes/todo.txt", "")
	e.is("notes/archive/2025.txt", "what was done\n")
	_ = in.Close()
	if code := <-ended; code != 0 {
		t.Errorf("the gateway ended with %d: %s", code, &log)
	}
	e.gateway(0, "audit", "verify", "--gateway", "mcp")
}

func (e example) at(args ...string) []string {
	return append([]string{"--config", filepath.Join(e.dir, ".cabincrew.gateway.yaml")}, args...)
}

func (e example) env() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + e.dir + "/.."}
}

// gateway runs the program on the gateway's configuration.
func (e example) gateway(want int, args ...string) string {
	e.t.Helper()
	var out, errs bytes.Buffer
	if got := cli.Main(e.t.Context(), e.at(args...), strings.NewReader(""), &out, &errs, e.env()); got != want {
		e.t.Fatalf("cabincrew %v: exit %d, want %d\n%s%s", args, got, want, &out, &errs)
	}
	return out.String()
}
