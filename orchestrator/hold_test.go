package orchestrator

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/protocol"
)

// offers is a machine with a tier.
func offers(tier string, missing ...string) sandbox.Found {
	f := sandbox.Found{Isolation: sandbox.Isolation{Tier: tier, Missing: missing}}
	if tier != sandbox.TierA {
		f.Refused = map[string]string{"A": "no user namespaces here"}
	}
	return f
}

func TestTierDecisions(t *testing.T) {
	t.Parallel()
	a, b, c := offers("A", "cgroup"), offers("B", "cgroup", "namespaces", "file_attributes"), sandbox.Found{Isolation: sandbox.None(), Refused: map[string]string{"A": "no user namespaces here", "B": "no Landlock"}}
	run, image := config.Engine{Run: []string{"x"}}, config.Engine{OCI: "registry.example.com/x@sha256:0"}
	const refused = "isolation_unavailable"
	for name, tc := range map[string]struct {
		machine   sandbox.Found
		isolation string
		engine    config.Engine
		require   []string
		tier      string // "" for a refusal
		says      string
	}{
		"auto on A":                {a, config.IsolationAuto, run, nil, "A", ""},
		"auto on B":                {b, config.IsolationAuto, run, nil, "B", ""},
		"auto on C":                {c, config.IsolationAuto, run, nil, "", "cannot be isolated on this machine (tier A: no user namespaces here; tier B: no Landlock)"},
		"required on A":            {a, config.IsolationRequired, run, nil, "A", ""},
		"required on B":            {b, config.IsolationRequired, run, nil, "", "tier B only (tier A: no user namespaces here)"},
		"required on C":            {c, config.IsolationRequired, run, nil, "", "no Landlock"},
		"none on A":                {a, config.IsolationNone, run, nil, "C", ""},
		"none on C":                {c, config.IsolationNone, run, nil, "C", ""},
		"image on A":               {a, config.IsolationAuto, image, nil, "A", ""},
		"image on B":               {b, config.IsolationAuto, image, nil, "", "is an image, which needs tier A"},
		"image, none":              {a, config.IsolationNone, image, nil, "", "is an image, which runs in tier A only"},
		"a layer that is there":    {a, config.IsolationAuto, run, []string{"landlock"}, "A", ""},
		"a layer that is missing":  {a, config.IsolationAuto, run, []string{"landlock", "cgroup"}, "", "sandbox.require names cgroup"},
		"namespaces on B":          {b, config.IsolationAuto, run, []string{"namespaces"}, "", "sandbox.require names namespaces"},
		"a layer missing, require": {a, config.IsolationRequired, run, []string{"cgroup"}, "", "sandbox.require names cgroup"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			o := &Orchestrator{Isolation: func(context.Context) sandbox.Found { asked++; return tc.machine }}
			s := &Setup{Config: &config.Config{Sandbox: config.Sandbox{Require: tc.require}}}
			step := &config.Step{ID: "s", Where: "c.yaml:4:5", Isolation: tc.isolation, Engine: tc.engine}
			found, err := o.tier(t.Context(), s, step)
			if tc.tier != "" {
				if err != nil || found.Isolation.Tier != tc.tier {
					t.Fatalf("%+v, %v; want tier %s", found.Isolation, err, tc.tier)
				}
				if tc.isolation == config.IsolationNone && asked != 0 {
					t.Error("the machine was probed for a step that is not isolated")
				}
				return
			}
			var e *protocol.Error
			if !errors.As(err, &e) || e.Code != refused || e.Exit != protocol.ExitUnreachable || e.Where != step.Where || e.Hint == "" || !strings.Contains(e.Message, tc.says) {
				t.Fatalf("%+v, want %s: %s", err, refused, tc.says)
			}
			if _, err := o.hold(t.Context(), s, step, protocol.TakeOff, engine{}); !errors.Is(err, protocol.Code(refused)) {
				t.Errorf("hold: %v", err)
			}
		})
	}
}

// shelf finds programs in one directory.
type shelf struct {
	Programs
	dir string
}

func (s shelf) Look(name string) (string, error) {
	return exec.LookPath(filepath.Join(s.dir, name))
}

func TestHold(t *testing.T) {
	t.Parallel()
	dir, ws := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{filepath.Join(dir, "tool"): "#!/bin/sh\n", filepath.Join(ws, "c.yaml"): "", filepath.Join(ws, "pol", "p.rego"): ""} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	o := &Orchestrator{Isolation: func(context.Context) sandbox.Found { return offers("A") }, Programs: shelf{dir: dir}}
	s := &Setup{
		Config: &config.Config{Sandbox: config.Sandbox{Require: []string{"landlock"}}}, Workspace: ws, Exclude: []string{".cabincrew", "plan.key"},
		Governance: Governance{Paths: []string{"c.yaml", "pol/", "keys/not-there.pub"}},
	}
	step := &config.Step{ID: "s", Isolation: config.IsolationAuto, Hosts: []string{"h"}, Tunnels: []string{"t:22"}, Tools: []string{"tool", dir}}
	plan, err := o.hold(t.Context(), s, step, protocol.FlightPlan, engine{cache: "/cache"})
	if err != nil || plan.Tier != "A" || plan.Writable["CABINCREW_CACHE_DIR"] != "/cache" || len(plan.Tunnels) != 0 || len(plan.Kept) != 0 || len(plan.Covered) != 0 || !slices.Equal(plan.Require, s.Config.Sandbox.Require) {
		t.Fatalf("%+v, %v", plan, err)
	}
	if len(plan.Tools) != 2 || plan.Tools[0].Path != filepath.Join(dir, "tool") || plan.Tools[0].Digest != protocol.Digest([]byte("#!/bin/sh\n")) || plan.Tools[1].Path != dir {
		t.Errorf("tools %+v", plan.Tools)
	}
	takeOff, err := o.hold(t.Context(), s, step, protocol.TakeOff, engine{cache: "/cache"})
	if err != nil || !slices.Equal(takeOff.Tunnels, step.Tunnels) || !slices.Equal(takeOff.Covered, s.Exclude) || len(takeOff.Writable) != 0 {
		t.Fatalf("%+v, %v", takeOff, err)
	}
	if !slices.Equal(takeOff.Kept, []string{"c.yaml", "pol"}) {
		t.Errorf("kept are %q", takeOff.Kept)
	}
	step.Isolation = config.IsolationNone
	if none, err := o.hold(t.Context(), s, step, protocol.FlightPlan, engine{}); err != nil || none.Tier != "C" || len(none.Require) != 0 {
		t.Errorf("not isolated: %+v, %v", none, err)
	}
	for _, name := range []string{"no-tool", filepath.Join(dir, "no-tool")} {
		step.Tools = []string{"tool", name}
		_, err := o.hold(t.Context(), s, step, protocol.FlightPlan, engine{})
		if !errors.Is(err, protocol.Code("tool_not_found")) || protocol.ExitCode(err) != protocol.ExitUsage || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDirectoryToolDigest changes with names, contents and modes below a directory,
// ignored or not, and with nothing else.
func TestDirectoryToolDigest(t *testing.T) {
	t.Parallel()
	digest := func(files map[string]string, mode os.FileMode) string {
		t.Helper()
		dir := t.TempDir()
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
				t.Fatal(err)
			}
		}
		d, err := toolDigest(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	base := digest(map[string]string{"a": "1", ".gitignore": "*"}, 0o755)
	if again := digest(map[string]string{"a": "1", ".gitignore": "*"}, 0o755); again != base {
		t.Errorf("%s, then %s", base, again)
	}
	for name, other := range map[string]string{
		"content": digest(map[string]string{"a": "2", ".gitignore": "*"}, 0o755), "name": digest(map[string]string{"b": "1", ".gitignore": "*"}, 0o755),
		"more": digest(map[string]string{"a": "1", "b": "1", ".gitignore": "*"}, 0o755), "mode": digest(map[string]string{"a": "1", ".gitignore": "*"}, 0o644),
	} {
		if other == base {
			t.Errorf("%s: the digest is the same", name)
		}
	}
}

func TestPinnedImage(t *testing.T) {
	t.Parallel()
	const ref = "registry.example.com/x:v1"
	p := &stepPlan{isolation: engines.Isolation{Tools: []engines.Tool{{Name: "sh", Path: "/bin/sh", Digest: "sha256:1"}, {Name: ref, Digest: "sha256:2"}}}}
	for _, c := range []struct{ oci, want string }{{ref, "sha256:2"}, {"registry.example.com/x:v2", ""}, {"", ""}, {"sh", "sha256:1"}} {
		if got := p.pinned(&config.Step{Engine: config.Engine{OCI: c.oci}}); got != c.want {
			t.Errorf("%q is pinned to %q, want %q", c.oci, got, c.want)
		}
	}
}

// TestDiscreet keeps secrets out of what is kept of requests, and does not change
// what the run itself gave.
func TestDiscreet(t *testing.T) {
	t.Parallel()
	r, err := redact.New(map[string]string{"T": "s3cr3t-value"})
	if err != nil {
		t.Fatal(err)
	}
	s := &Setup{Redactor: r}
	in := engines.Isolation{Tier: "A", Requests: []engines.Request{{Method: "s3cr3t-value", URL: "http://h/s3cr3t-value?q=s3cr3t-value", Reason: "of s3cr3t-value"}, {Method: "GET", URL: "http://h/"}}}
	out := s.discreet(in)
	for _, text := range []string{out.Requests[0].Method, out.Requests[0].URL, out.Requests[0].Reason} {
		if strings.Contains(text, "s3cr3t") || !strings.Contains(text, "[redacted:T]") {
			t.Errorf("kept is %q", text)
		}
	}
	if out.Requests[1] != in.Requests[1] || in.Requests[0].Method != "s3cr3t-value" || out.Tier != "A" {
		t.Errorf("%+v", out)
	}
}
