//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// house is what all tests share. TestMain starts it before them.
var house *rig

// rig is a certificate authority, a time stamping authority and two issuers of identity
// tokens, on loopback, and what clients have to be told about them.
type rig struct {
	repository, program string
	dir                 string // of what follows
	github, gitlab      *issuer
	fulcio, tsa         string // URLs
	trustedRoot         string // a file
	signingConfig       string // a file, for cosign
	running             []*exec.Cmd
}

// tool gives the path of an outside judge.
func (r *rig) tool(name string) string { return filepath.Join(r.repository, "bin", "tools", name) }

// serve starts the servers and waits until they answer.
func (r *rig) serve() error {
	var err error
	if r.dir, err = os.MkdirTemp("", "cabincrew-e2e."); err != nil {
		return err
	}
	if r.github, err = newIssuer(); err != nil {
		return err
	}
	if r.gitlab, err = newIssuer(); err != nil {
		return err
	}
	config := filepath.Join(r.dir, "fulcio.yaml")
	if err := os.WriteFile(config, []byte(fulcioConfig(r.github.URL(), r.gitlab.URL())), 0o600); err != nil {
		return err
	}
	ports, err := freePorts(4)
	if err != nil {
		return err
	}
	r.fulcio, r.tsa = "http://127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[1]
	if err := r.background("fulcio", "serve", "--config-path", config, "--ca", "ephemeralca", "--ct-log-url=",
		"--host", "127.0.0.1", "--port", ports[0], "--grpc-host", "127.0.0.1", "--grpc-port", ports[2], "--metrics-port", ports[3]); err != nil {
		return err
	}
	if err := r.background("timestamp-server", "serve", "--host", "127.0.0.1", "--port", ports[1], "--scheme", "http",
		"--timestamp-signer", "memory", "--disable-ntp-monitoring"); err != nil {
		return err
	}
	return r.trust()
}

// background starts a server whose output goes into a file.
func (r *rig) background(name string, args ...string) error {
	log, err := os.Create(filepath.Join(r.dir, name+".log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the server has its own descriptor
	cmd := exec.Command(r.tool(name), args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = r.dir, bare(r.dir), log, log, tied()
	if err := cmd.Start(); err != nil {
		return err
	}
	r.running = append(r.running, cmd)
	return nil
}

// bare is an environment with nothing of the person's own.
func bare(home string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + os.TempDir(), "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1"}
}

// end ends the servers and removes their files.
func (r *rig) end() {
	for _, cmd := range r.running {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()         // killed
	}
	for _, i := range []*issuer{r.github, r.gitlab} {
		if i != nil {
			i.Close()
		}
	}
	if r.dir != "" {
		_ = os.RemoveAll(r.dir)
	}
}

// trust writes down which authorities count, from what the servers say of themselves.
func (r *rig) trust() error {
	var bundle struct {
		Chains []struct{ Certificates []string }
	}
	raw, err := r.answer("fulcio", r.fulcio+"/api/v2/trustBundle")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &bundle); err != nil || len(bundle.Chains) != 1 {
		return fmt.Errorf("fulcio's trust bundle is %.200q: %w", raw, err)
	}
	stamps, err := r.answer("timestamp-server", r.tsa+"/api/v1/timestamp/certchain")
	if err != nil {
		return err
	}
	ca, tsa := filepath.Join(r.dir, "fulcio.pem"), filepath.Join(r.dir, "tsa.pem")
	if err := errors.Join(os.WriteFile(ca, []byte(strings.Join(bundle.Chains[0].Certificates, "\n")), 0o600), os.WriteFile(tsa, stamps, 0o600)); err != nil {
		return err
	}
	r.trustedRoot, r.signingConfig = filepath.Join(r.dir, "trusted_root.json"), filepath.Join(r.dir, "signing_config.json")
	if err := r.cosign("trusted-root", "create", "--fulcio", "url="+r.fulcio+",certificate-chain="+ca,
		"--tsa", "url="+r.tsa+",certificate-chain="+tsa, "--out", r.trustedRoot); err != nil {
		return err
	}
	service := func(url string) string {
		return "url=" + url + ",api-version=1,start-time=2026-01-01T00:00:00Z,operator=test"
	}
	return r.cosign("signing-config", "create", "--fulcio", service(r.fulcio), "--tsa", service(r.tsa+"/api/v1/timestamp"), "--tsa-config", "ANY", "--out", r.signingConfig)
}

func (r *rig) cosign(args ...string) error {
	cmd := exec.Command(r.tool("cosign"), args...)
	cmd.Dir, cmd.Env = r.dir, bare(r.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cosign %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// answer asks a server that is starting until it answers.
func (r *rig) answer(name, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		body, err := get(ctx, url)
		if err == nil {
			return body, nil
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(r.dir, name+".log")) // what there is of it
			return nil, fmt.Errorf("%s does not answer: %w\n%s", name, err, log[max(0, len(log)-4000):])
		case <-tick.C:
		}
	}
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && (resp.StatusCode != http.StatusOK || len(bytes.TrimSpace(body)) == 0) {
		err = fmt.Errorf("%s: %.200s", resp.Status, body)
	}
	return body, err
}

// freePorts gives ports of loopback that nobody uses: all are held until all are found.
func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // nobody was connected
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}
