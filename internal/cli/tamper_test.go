package cli

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
	"github.com/cabincrew/action/storage/file"
)

// smallConfig has one step, so that a flight of it can be flipped byte by byte.
const smallConfig = `version: 1
workflow: small
steps:
  - id: edit
    engine: {use: command, with: {run: [sh, -c, 'echo n > f1']}}
    inputs: [f1]
policies: {rego: [policies/]}
approvals:
  approvers: [{name: boss, roles: [maintainer], key: boss.pub}]
`

// approvedFlight makes a signed flight that is approved and has not taken off. It gives its directory.
func approvedFlight(t *testing.T, config string) (*killBench, string) {
	t.Helper()
	k := newKillBench(t)
	private, public, err := signing.Generate(signing.ECDSAP256, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"plan.key": private, "plan.key.pub": public, ".cabincrew.yaml": []byte(config + "signing: {key: plan.key}\naudit: {sign: each}\n")} {
		if err := os.WriteFile(filepath.Join(k.dir, "ws", name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, s, stderr := k.run(0, "flight-plan"); code != 4 || s.ApprovalCode == "" {
		t.Fatalf("exit %d, %+v\n%s", code, s, stderr)
	}
	code, _, s, stderr := k.run(0, "approve", "--as", "boss", "--key", filepath.Join(k.dir, "boss"))
	if code != 0 {
		t.Fatalf("exit %d\n%s", code, stderr)
	}
	return k, s.FlightDir
}

// inProcess opens a session on the bench's workspace once, for many checks.
func (k *killBench) inProcess(t *testing.T) *session {
	t.Helper()
	a := &app{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}, env: environ(k.env)}
	a.flags = flags{output: outputJSON, config: filepath.Join(k.dir, "ws", ".cabincrew.yaml")}
	s, err := a.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.done(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// verifyDir is what `cabincrew verify` does with a flight's directory.
func verifyDir(ctx context.Context, s *session, dir string) error {
	d, err := file.OpenDir(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // only read
	entries, _, _, err := checkLogs(d)
	if err != nil {
		return err
	}
	f, err := orchestrator.Load(d, nil, entries)
	if err != nil {
		return err
	}
	_, err = s.crew.Verify(ctx, f, s.setup)
	return err
}

func filesOf(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, strings.TrimPrefix(p, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestEveryByte flips each byte of each file of a flight; verification finds it.
func TestEveryByte(t *testing.T) {
	t.Parallel()
	k, dir := approvedFlight(t, smallConfig)
	s := k.inProcess(t)
	if err := verifyDir(t.Context(), s, dir); err != nil {
		t.Fatalf("the flight as it is: %v", err)
	}
	names := filesOf(t, dir)
	if len(names) < 12 {
		t.Fatalf("the flight has only %v", names)
	}
	jobs := make(chan string)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		mine := filepath.Join(t.TempDir(), filepath.Base(dir))
		if err := os.CopyFS(mine, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for name := range jobs {
				flipAll(t, s, mine, name)
			}
		})
	}
	for _, name := range names {
		jobs <- name
	}
	close(jobs)
	wg.Wait()
}

func flipAll(t *testing.T, s *session, dir, name string) {
	at := filepath.Join(dir, name)
	good, err := os.ReadFile(at)
	if err != nil {
		t.Error(err)
		return
	}
	f, err := os.OpenFile(at, os.O_WRONLY, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = f.Close() }() // a test's copy
	for i := range good {
		bad := good[i] ^ 1<<(i%8)
		if _, err := f.WriteAt([]byte{bad}, int64(i)); err != nil {
			t.Error(err)
			return
		}
		if err := verifyDir(t.Context(), s, dir); protocol.ExitCode(err) != protocol.ExitIntegrity {
			t.Errorf("%s: byte %d of %d changed from %q to %q: %v (exit %d)", name, i, len(good), good[i], bad, err, protocol.ExitCode(err))
		}
		if _, err := f.WriteAt(good[i:i+1], int64(i)); err != nil {
			t.Error(err)
			return
		}
	}
}

// TestTakeOffOfTamperedFlight flips bytes of every file; take-off refuses with
// exit 5 and applies nothing.
func TestTakeOffOfTamperedFlight(t *testing.T) {
	t.Parallel()
	k, dir := approvedFlight(t, killConfig)
	for _, name := range filesOf(t, dir) {
		good, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if len(good) == 0 {
			continue
		}
		for _, i := range []int{0, len(good) / 3, len(good) - 1} {
			state := filepath.Join(t.TempDir(), "state")
			at := filepath.Join(state, "flights", filepath.Base(dir))
			if err := os.CopyFS(at, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			bad := bytes.Clone(good)
			bad[i] ^= 1 << (i % 8)
			if err := os.WriteFile(filepath.Join(at, name), bad, 0o600); err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			code := Main(t.Context(), []string{"take-off", filepath.Base(dir), "--state-dir", state, "--output", "json",
				"--config", filepath.Join(k.dir, "ws", ".cabincrew.yaml")}, strings.NewReader(""), &out, &errs, k.env)
			if code != protocol.ExitIntegrity || k.applied() != "none" || k.takeoffs() != 0 {
				t.Errorf("%s: byte %d of %d flipped: take-off exit %d, applied %s\n%s", name, i, len(good), code, k.applied(), errs.String())
			}
		}
	}
}

// TestExtraAndMissingFiles finds files that were added, removed or made links.
func TestExtraAndMissingFiles(t *testing.T) {
	t.Parallel()
	k, dir := approvedFlight(t, killConfig)
	s := k.inProcess(t)
	copied := func() string {
		to := filepath.Join(t.TempDir(), filepath.Base(dir))
		if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		return to
	}
	for _, name := range filesOf(t, dir) {
		to := copied()
		if err := os.Remove(filepath.Join(to, name)); err != nil {
			t.Fatal(err)
		}
		if err := verifyDir(t.Context(), s, to); protocol.ExitCode(err) != protocol.ExitIntegrity {
			t.Errorf("%s removed: %v", name, err)
		}
		if err := os.Symlink(filepath.Join(dir, name), filepath.Join(to, name)); err != nil {
			t.Fatal(err)
		}
		if err := verifyDir(t.Context(), s, to); protocol.ExitCode(err) != protocol.ExitIntegrity {
			t.Errorf("%s became a link: %v", name, err)
		}
	}
	for _, name := range []string{"steps/edit/extra", "steps/edit/artifacts/changes/extra", "steps/edit/artifacts/extra/artifact.json", "steps/extra/x", "approvals/extra.response.json", "approvals/x"} {
		to := copied()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := verifyDir(t.Context(), s, to); protocol.ExitCode(err) != protocol.ExitIntegrity {
			t.Errorf("%s added: %v", name, err)
		}
	}
}
