//go:build e2e

package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestNoRoute: the judges of all these tests can reach nobody but the rig.
func TestNoRoute(t *testing.T) {
	t.Parallel()
	if os.Getenv(inside) == "" {
		t.Skip("this machine gives no network namespace, so the judges could ask somebody")
	}
	for _, address := range []string{"192.0.2.1:443", "[2001:db8::1]:443"} {
		if c, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			_ = c.Close() // nobody should be there
			t.Errorf("%s can be reached", address)
		}
	}
}

// TestAirGap plans, signs, approves, takes off and verifies with keys where there is no
// network at all: not even loopback is up.
func TestAirGap(t *testing.T) {
	t.Parallel()
	w := newWS(t, "signing: {key: keys/plan}\n")
	alone := func(name string, args ...string) result {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir, cmd.Env = w.dir, w.env
		if err := unshare(cmd); err != nil {
			t.Skip("no network can be taken away here: ", err)
		}
		r, err := ran(cmd)
		if err != nil {
			t.Skip("no network can be taken away here: ", err)
		}
		return r
	}
	for _, c := range []struct {
		code int
		args []string
	}{
		{4, []string{"flight-plan"}},
		{0, []string{"approve", "--as", "boss", "--key", "keys/boss"}},
		{0, []string{"verify"}},
		{0, []string{"take-off"}},
	} {
		if r := alone(house.program, c.args...); r.code != c.code {
			t.Fatalf("cabincrew %v: exit %d, not %d\n%s%s", c.args, r.code, c.code, r.stdout, r.stderr)
		}
	}
	flights, err := filepath.Glob(filepath.Join(w.dir, ".cabincrew", "flights", "*"))
	if err != nil || len(flights) != 1 {
		t.Fatal(flights, err)
	}
	if r := alone(house.program, "verify", filepath.Base(flights[0])); r.code != 0 {
		t.Errorf("verify: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	plan := of(flights[0])
	if r := alone(house.tool("cosign"), "verify-blob-attestation", "--bundle", plan.bundle, "--insecure-ignore-tlog",
		"--type", "https://cabincrew.dev/flight-plan/v1", "--key", "keys/plan.pub", plan.artifact); r.code != 0 {
		t.Errorf("cosign: %s", r.stderr)
	}
}
