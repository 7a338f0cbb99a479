package flight

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/engines/process"
	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/protocol"
)

// TestWhatAnEngineSees looks at the world from inside tier A, in both modes.
func TestWhatAnEngineSees(t *testing.T) {
	t.Parallel()
	isolates(t)
	look := `echo "uid $(id -u) gid $(id -g) in $(pwd) with $CABINCREW_WORKSPACE $CABINCREW_ARTIFACTS_DIR $CABINCREW_TEMP_DIR $HOME"
for f in "$REAL" "$REAL/hello.txt" /root /home /var /boot /sys /etc/shadow /etc/machine-id /run /opt; do [ ! -e "$f" ] || echo "sees $f"; done
echo "processes $(ls -d /proc/[0-9]* | wc -l | sed 's/^[0-9]$/few/')"
echo "devices $(grep -c : /proc/net/dev) $(ls /dev | tr '\n' ' ')"
echo "caps $(grep CapEff /proc/self/status | tr -d '\t') $(grep NoNewPrivs /proc/self/status | tr -d '\t')"
for d in "$CABINCREW_WORKSPACE" "$CABINCREW_ARTIFACTS_DIR" "$CABINCREW_TEMP_DIR" /tmp "$HOME" / /usr /etc .git; do ( : > "$d/probe" ) 2>/dev/null && { echo "writes $d"; rm "$d/probe"; }; done
echo "state $(ls -A .cabincrew 2>/dev/null | wc -l)"
`
	w := newWS(t, map[string]string{
		"hello.txt": "hello\n", "pol/p.rego": quietPolicy,
		"engine.sh":       shellEngine("look() {\n" + look + "true\n}\nif [ \"$CABINCREW_MODE\" = flight-plan ]; then art seen \"$(look)\"; receipt \"$(decl seen)\"; else look > seen.txt; receipt ''; fi"),
		".cabincrew.yaml": config(quiet, "  - id: work\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n    env: {REAL: 'env:REAL'}\n    isolation: required\n"),
	})
	w.git("init", "-q")
	w.env = append(w.env, "REAL="+w.dir)
	s := w.json(0, "flight-plan")
	common := "uid 1000 gid 1000 in /workspace with /workspace /artifacts /temp /temp/home\n" +
		"processes few\ndevices 1 fd full null random shm stderr stdin stdout urandom zero \ncaps CapEff:0000000000000000 NoNewPrivs:1\n"
	if got, want := holds(t, s, "work", "seen"), common+"writes /artifacts\nwrites /temp\nwrites /tmp\nwrites /temp/home\nstate 0"; got != want {
		t.Errorf("in flight-plan the engine sees\n%s\nwant\n%s", got, want)
	}
	w.want(0, "take-off", s.WorkflowID)
	if got, want := w.read("seen.txt"), common+"writes /workspace\nwrites /temp\nwrites /tmp\nwrites /temp/home\nstate 0\n"; got != want {
		t.Errorf("in take-off the engine sees\n%s\nwant\n%s", got, want)
	}
}

// TestIsolationIsDecidedBeforeAnythingRuns refuses what the machine does not offer.
func TestIsolationIsDecidedBeforeAnythingRuns(t *testing.T) {
	t.Parallel()
	here := machine().Isolation
	for name, c := range map[string]struct {
		step, more string
		exit       int
	}{
		"auto":     {"", "", 0},
		"required": {"    isolation: required\n", "", map[bool]int{false: 7}[here.Tier == sandbox.TierA]},
		"landlock": {"", "sandbox: {require: [landlock]}\n", map[bool]int{true: 7}[here.Lacks(sandbox.LayerLandlock)]},
		"cgroup":   {"", "sandbox: {require: [landlock, cgroup]}\n", map[bool]int{true: 7}[here.Lacks(sandbox.LayerCgroup) || here.Lacks(sandbox.LayerLandlock)]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWS(t, map[string]string{
				"hello.txt": "hello\n", "engine.sh": echoEngine,
				".cabincrew.yaml": config(lenient+c.more, "  - id: note\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n"+c.step),
			})
			s := w.json(c.exit, "flight-plan")
			if c.exit == 0 {
				w.want(0, "take-off", s.WorkflowID)
				return
			}
			if s.Error == nil || s.Error.Code != "isolation_unavailable" || s.State != protocol.StateFailed || s.Error.Hint == "" {
				t.Fatalf("%s: %+v", s.State, s.Error)
			}
			if _, err := os.Lstat(flightDir(s, "steps", "note")); err == nil {
				t.Error("the engine ran")
			}
		})
	}
}

// TestNotIsolated lets an engine run as it is, says so, and lets baseline ask.
func TestNotIsolated(t *testing.T) {
	t.Parallel()
	w := newWS(t, map[string]string{
		"hello.txt": "hello\n", "engine.sh": echoEngine,
		".cabincrew.yaml": config(baseline+approvers, "  - id: note\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n"+bare),
	})
	for _, name := range []string{"boss", "other", "robot", "author"} {
		w.keys(name)
	}
	s := w.json(4, "flight-plan")
	if len(s.Approvals) != 1 || s.Approvals[0].RequiredRole != "maintainer" || !strings.Contains(s.Approvals[0].Reason, "not isolated") {
		t.Fatalf("%+v", s.Approvals)
	}
	if i := held(t, s, "note"); i.Tier != "C" || i.NetNS || i.Seccomp != "" || i.LandlockABI != 0 || !slices.Contains(i.Missing, "namespaces") || !slices.Contains(i.Missing, "seccomp") {
		t.Fatalf("%+v", i)
	}
	w.git("init", "-q")
	w.git("config", "user.email", "author@example.com")
	w.approve(s.WorkflowID)
	w.json(0, "take-off", s.WorkflowID)
}

// tool makes a program in a directory of its own and gives both.
func tool(t *testing.T, name, script string) (dir, digest string) {
	t.Helper()
	dir = t.TempDir()
	content := "#!/bin/sh\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(content))
	return dir, "sha256:" + hex.EncodeToString(sum[:])
}

// TestTools lets a step execute what it lists, and nothing else, and keeps the
// digests.
func TestTools(t *testing.T) {
	t.Parallel()
	isolates(t)
	const listed = "[sh, mkdir, sha256sum, cut, %s]"
	dir, digest := tool(t, "house-tool", "echo from the house")
	engine := `[ "$CABINCREW_MODE" = flight-plan ] || { receipt ''; exit 0; }
have() { for p in "$@"; do command -v "$p" >/dev/null && printf '%s ' "$p" || printf 'no %s ' "$p"; done; }
art seen "$(have sh mkdir cut sed ls git python3 house-tool other-tool; "$TOOL" || echo cannot run it)"; receipt "$(decl seen)"`
	w := newWS(t, map[string]string{"hello.txt": "hello\n", "engine.sh": shellEngine(engine)})
	w.env[0] += ":" + dir
	w.env = append(w.env, "TOOL="+filepath.Join(dir, "house-tool"))
	if err := os.WriteFile(filepath.Join(dir, "other-tool"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"house-tool", filepath.Join(dir, "house-tool")} {
		w.write(".cabincrew.yaml", config(lenient, "  - id: work\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n    env: {PATH: 'env:PATH', TOOL: 'env:TOOL'}\n    tools: "+
			strings.Replace(listed, "%s", how, 1)+"\n"))
		s := w.json(0, "flight-plan")
		if got := holds(t, s, "work", "seen"); got != "sh mkdir cut no sed no ls no git no python3 house-tool no other-tool from the house" {
			t.Errorf("with %s the engine has %q", how, got)
		}
		tools := map[string]engines.Tool{}
		for _, tool := range held(t, s, "work").Tools {
			tools[tool.Name] = tool
		}
		if len(tools) != 5 || tools[how].Digest != digest || tools[how].Path != filepath.Join(dir, "house-tool") {
			t.Errorf("the flight keeps %+v", tools)
		}
		shell, err := os.ReadFile(tools["sh"].Path)
		if sum := sha256.Sum256(shell); err != nil || tools["sh"].Digest != "sha256:"+hex.EncodeToString(sum[:]) {
			t.Errorf("sh is %+v, %v", tools["sh"], err)
		}
		w.want(0, "take-off", s.WorkflowID)
	}
	w.write(".cabincrew.yaml", strings.ReplaceAll(w.read(".cabincrew.yaml"), filepath.Join(dir, "house-tool"), dir))
	s := w.json(0, "flight-plan")
	if got := holds(t, s, "work", "seen"); !strings.Contains(got, " house-tool other-tool from the house") {
		t.Errorf("with the directory the engine has %q", got)
	}
	before := held(t, s, "work").Tools
	if err := os.WriteFile(filepath.Join(dir, "other-tool"), []byte("#!/bin/sh\necho more\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if after := held(t, w.json(0, "flight-plan"), "work").Tools; before[4].Digest == after[4].Digest || before[3] != after[3] {
		t.Errorf("a file of the directory changed: %+v and %+v", before, after)
	}
}

// TestToolNotFound is wrong use, told before anything runs.
func TestToolNotFound(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"no-such-tool", "/nowhere/tool"} {
		w := engineWS(t, `receipt ''`, "    tools: [sh, "+name+"]\n")
		s := w.json(2, "flight-plan")
		if s.Error == nil || s.Error.Code != "tool_not_found" || !strings.Contains(s.Error.Message, name) || s.Error.Hint == "" {
			t.Errorf("%s: %+v", name, s.Error)
		}
		if ids := w.flights(); len(ids) > 0 {
			if _, err := os.Lstat(filepath.Join(w.dir, ".cabincrew", "flights", ids[0], "steps", "work", "engine.log")); err == nil {
				t.Errorf("%s: the engine ran", name)
			}
		}
	}
}

// TestToolIsGoneAtTakeOff refuses a take-off as a whole: the step before the one
// that cannot run is not taken off either.
func TestToolIsGoneAtTakeOff(t *testing.T) {
	t.Parallel()
	dir, _ := tool(t, "house-tool", "true")
	w := newWS(t, map[string]string{
		"hello.txt": "hello\n", "engine.sh": echoEngine, "second.sh": shellEngine(`receipt ''`),
		".cabincrew.yaml": config(lenient, "  - id: note\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n",
			"  - id: second\n    needs: [note]\n    engine: {run: [./second.sh]}\n    inputs: [hello.txt]\n    tools: [sh, sha256sum, house-tool]\n"),
	})
	with := w.env
	w.env = slices.Clone(with)
	w.env[0] += ":" + dir
	id := w.json(0, "flight-plan").WorkflowID
	w.env = with
	if s := w.json(2, "take-off", id); s.Error.Code != "tool_not_found" || s.State != protocol.StateReadyForTakeoff || w.exists("out.txt") {
		t.Fatalf("%s: %+v, the first step took off: %v", s.State, s.Error, w.exists("out.txt"))
	}
	w.env = slices.Clone(with)
	w.env[0] += ":" + dir
	w.json(0, "take-off", id)
}

// TestHosts lets a step reach what it lists through the proxy, reading only while
// planning, and keeps what it asked.
func TestHosts(t *testing.T) {
	t.Parallel()
	isolates(t)
	if _, err := os.Stat("/usr/bin/curl"); err != nil {
		t.Skip("the engine of this test asks with curl, which is not here:", err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.Method + " " + r.URL.String())) }))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	ask := `ask() { curl -sS -o - -w ' %{http_code}\n' "$@" || echo "fails with $?"; }
asks() { ask "http://$SERVER/a?b=$T"; ask -d x "http://$SERVER/c"; ask http://unlisted.example/; ask --noproxy '*' "http://$SERVER/d" 2>/dev/null; }
[ "$CABINCREW_MODE" = flight-plan ] && { art seen "$(asks)"; receipt "$(decl seen)"; } || { asks > seen.txt; receipt ''; }`
	w := newWS(t, map[string]string{
		"hello.txt": "hello\n", "pol/p.rego": "package cabincrew.net\n\nwarn contains sprintf(\"%s %s %v\", [r.method, r.url, r.allowed]) if some r in input.isolation.requests\n",
		"engine.sh":       shellEngine(ask),
		".cabincrew.yaml": config(quiet, "  - id: work\n    engine: {run: [./engine.sh]}\n    inputs: [hello.txt]\n    hosts: ['"+host+"']\n    env: {SERVER: 'env:SERVER', T: once}\n"),
	})
	w.env = append(w.env, "SERVER="+host)
	s := w.json(0, "flight-plan")
	saw := holds(t, s, "work", "seen")
	for _, want := range []string{"GET /a?b=once 200\n", "method_not_allowed", " 403\n", "host_not_listed", "fails with 7"} {
		if !strings.Contains(saw, want) {
			t.Errorf("in flight-plan the engine got\n%s\nwithout %q", saw, want)
		}
	}
	var asked []string
	for _, r := range held(t, s, "work").Requests {
		asked = append(asked, strings.TrimSpace(r.Method+" "+r.URL+" "+r.Reason))
	}
	want := []string{"GET http://" + host + "/a?b=once", "POST http://" + host + "/c method_not_allowed", "GET http://unlisted.example/ host_not_listed"}
	if !slices.Equal(asked, want) {
		t.Errorf("the flight keeps %q, want %q", asked, want)
	}
	if len(s.Steps[0].Evaluations) != 3 {
		t.Errorf("the policy saw %+v", s.Steps[0].Evaluations)
	}
	w.want(0, "take-off", s.WorkflowID)
	if saw := w.read("seen.txt"); !strings.Contains(saw, "GET /a?b=once 200\nPOST /c 200\n") || !strings.Contains(saw, "host_not_listed") {
		t.Errorf("in take-off the engine got\n%s", saw)
	}
}

// TestNoProxyNoNetwork refuses a step with hosts where none can be given.
func TestNoProxyNoNetwork(t *testing.T) {
	t.Parallel()
	for name, tier := range map[string]string{"no proxy": sandbox.TierA, "tier B": sandbox.TierB} {
		dir := t.TempDir()
		_, err := process.Runner{}.Run(t.Context(), engines.Spec{
			Argv: []string{"/bin/sh", "-c", "echo ran > ran"}, Workspace: dir, TempDir: t.TempDir(), ArtifactsDir: t.TempDir(),
			Hold: engines.Hold{Tier: tier, Hosts: []string{"api.example.com"}}, Input: protocol.EngineInput{Mode: protocol.FlightPlan},
		})
		if protocol.ExitCode(err) != protocol.ExitUnreachable || !strings.Contains(err.Error(), "tier A") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(filepath.Join(dir, "ran")); err == nil {
			t.Errorf("%s: the engine ran", name)
		}
	}
}

// TestSecretsInRequests keeps a secret out of what is kept of requests, wherever an
// engine puts it.
func TestSecretsInRequests(t *testing.T) {
	t.Parallel()
	isolates(t)
	if _, err := os.Stat("/usr/bin/curl"); err != nil {
		t.Skip("the engine of this test asks with curl, which is not here:", err)
	}
	w := secretWS(t, "{from: env:TOKEN, plan: true}", `for u in "http://u.example/?h=$H" "http://u.example/$H" "http://$H.example/"; do curl -s -o /dev/null "$u" || :; done
curl -s -o /dev/null -G --data-urlencode "q=$V" http://u.example/ || :
curl -s -o /dev/null -X "$H" http://u.example/ || :
receipt ''`, "    hosts: [api.example.com]\n")
	r := w.run("flight-plan", "--output", "json")
	s := r.summary(t)
	if r.code != 0 || len(held(t, s, "work").Requests) < 4 {
		t.Fatalf("exit %d, %+v", r.code, s.Error)
	}
	w.silent(r, w.run("show", s.WorkflowID), w.run("take-off", s.WorkflowID), w.run("audit", "show", s.WorkflowID))
}
