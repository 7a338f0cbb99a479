package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// signedTower is a gateway that signs its trail, and has served one client.
func signedTower(t *testing.T, audit string) (w *tower, run string) {
	t.Helper()
	private, public, err := signing.Generate(signing.Ed25519, nil, nil)
	must(t, err)
	_, other, err := signing.Generate(signing.Ed25519, nil, nil)
	must(t, err)
	w = newTower(t, map[string]string{"audit.key": string(private), "audit.key.pub": string(public), "other.pub": string(other)})
	w.configure(gatewayRules + "audit: {" + audit + ", key: audit.key}\n")
	f := w.serve()
	f.hello("/mcp/files")
	allowed(t, f.call("/mcp/files", "echo", map[string]any{"text": "hello"}), "hello")
	refused(t, f.call("/mcp/files", "wipe", nil), -32050, "no-wiping")
	if code := f.end(); code != 0 {
		t.Fatalf("exit %d\n%s", code, f.log)
	}
	runs, err := os.ReadDir(w.path(".cabincrew/gateways/mcp"))
	must(t, err)
	return w, runs[0].Name()
}

// spoiled is a copy of a state directory with one thing changed.
func (w *tower) spoiled(t *testing.T, change func(run string)) string {
	t.Helper()
	state := filepath.Join(t.TempDir(), "state")
	must(t, os.CopyFS(state, os.DirFS(w.path(".cabincrew"))))
	runs, err := os.ReadDir(filepath.Join(state, "gateways/mcp"))
	must(t, err)
	change(filepath.Join(state, "gateways/mcp", runs[0].Name()))
	return state
}

// linesOf changes the lines of a file.
func linesOf(t *testing.T, name string, change func([]string) []string) {
	t.Helper()
	lines := strings.SplitAfter(read(t, name), "\n")
	lines = lines[:len(lines)-1]
	must(t, os.WriteFile(name, []byte(strings.Join(change(lines), "")), 0o600))
}

func TestGatewaySignsItsTrail(t *testing.T) {
	t.Parallel()
	for _, sign := range []string{"sign: checkpoint", "sign: each"} {
		t.Run(sign, func(t *testing.T) {
			t.Parallel()
			w, run := signedTower(t, sign)
			words := []string{"verifies", "events are those of the newest checkpoint"}
			if sign == "sign: each" {
				words = append(words, "are signed")
			}
			verify := func(state, key string) []string {
				return []string{"--state-dir", state, "audit", "verify", "--gateway", "mcp/" + run, "--key", w.path(key)}
			}
			w.say(0, words, verify(w.path(".cabincrew"), "audit.key.pub")...)
			w.say(5, []string{"audit_checkpoint"}, verify(w.path(".cabincrew"), "other.pub")...)
			for name, c := range map[string]struct {
				change func(run string)
				code   string
				alone  int // the exit without a key
			}{
				"one byte changed": {func(run string) {
					file := filepath.Join(run, "audit.jsonl")
					text := read(t, file)
					at := strings.Index(text, `"echo"`)
					must(t, os.WriteFile(file, []byte(text[:at+1]+"x"+text[at+2:]), 0o600))
				}, "audit_changed", 5},
				"a line removed": {func(run string) {
					linesOf(t, filepath.Join(run, "audit.jsonl"), func(l []string) []string { return append(l[:3:3], l[4:]...) })
				}, "audit_missing", 5},
				// Without the key nobody can tell a cut at a line from a gateway that was killed.
				"the tail cut": {func(run string) {
					linesOf(t, filepath.Join(run, "audit.jsonl"), func(l []string) []string { return l[:len(l)-1] })
				}, "audit_cut", 0},
				"the file emptied":     {func(run string) { must(t, os.Truncate(filepath.Join(run, "audit.jsonl"), 0)) }, "audit_cut", 5},
				"the file gone":        {func(run string) { must(t, os.Remove(filepath.Join(run, "audit.jsonl"))) }, "audit_missing", 5},
				"the record gone":      {func(run string) { must(t, os.Remove(filepath.Join(run, "run.json"))) }, "audit_missing", 5},
				"all checkpoints gone": {func(run string) { must(t, os.Remove(filepath.Join(run, checkpointName))) }, "audit_unsigned", 0},
				"a checkpoint changed": {func(run string) {
					linesOf(t, filepath.Join(run, checkpointName), func(l []string) []string {
						other := "A"
						if strings.HasPrefix(l[len(l)-4], other) {
							other = "B"
						}
						l[len(l)-4] = other + l[len(l)-4][1:] // the root of the newest: one character
						return l
					})
				}, "audit_checkpoint", 0},
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					state := w.spoiled(t, c.change)
					w.say(5, []string{c.code}, verify(state, "audit.key.pub")...)
					w.say(c.alone, nil, "--state-dir", state, "audit", "verify", "--gateway", "mcp/"+run)
				})
			}
		})
	}
}

// TestGatewaysTrailWrittenAnew: who has no key can write a trail that is whole in itself,
// but none that the checkpoint holds to.
func TestGatewaysTrailWrittenAnew(t *testing.T) {
	t.Parallel()
	w, run := signedTower(t, "sign: checkpoint, checkpoints: points")
	other := w.path("points")
	verify := []string{"audit", "verify", "--gateway", run, "--key", w.path("audit.key.pub")}
	w.say(0, []string{"newest checkpoint"}, verify...)
	forged := t.TempDir()
	root, err := os.OpenRoot(forged)
	must(t, err)
	defer func() { _ = root.Close() }()
	trail, err := gateways.NewTrail(gateways.TrailOptions{Root: root, RunID: run, Kind: gatewayKind, Now: time.Now, About: map[string]any{aboutCheckpoints: other}})
	must(t, err)
	for range 20 {
		must(t, trail.Append(t.Context(), false, protocol.AuditEvent{EventType: protocol.EventMCPRequest, Message: "nothing happened"}))
	}
	must(t, trail.Close(t.Context()))
	for _, name := range []string{"audit.jsonl", "run.json"} {
		must(t, os.WriteFile(w.path(".cabincrew/gateways/mcp/"+run+"/"+name), []byte(read(t, filepath.Join(forged, name))), 0o600))
	}
	w.say(0, []string{"22 events"}, "audit", "verify", "--gateway", run) // it is whole in itself
	w.say(5, []string{"audit_rewritten"}, verify...)
	w.say(5, []string{"audit_rewritten"}, append(verify, "--checkpoints", other)...)
	w.say(2, []string{"usage"}, "audit", "verify", "--gateway", run, "--checkpoints", other)
	w.say(2, []string{"usage"}, "audit", "verify", "--checkpoints", other, "--key", w.path("audit.key.pub"))
}

// TestGatewayCheckpointsOfManyRunsInOneFile: each run finds its own, also after a write
// that was torn.
func TestGatewayCheckpointsOfManyRunsInOneFile(t *testing.T) {
	t.Parallel()
	w, first := signedTower(t, "sign: checkpoint, checkpoints: points")
	points := w.path("points")
	text := read(t, points)
	must(t, os.WriteFile(points, []byte(text+text[:len(text)/3]), 0o600)) // torn
	f := w.serve()
	f.hello("/mcp/files")
	if code := f.end(); code != 0 {
		t.Fatalf("exit %d\n%s", code, f.log)
	}
	w.say(0, []string{"newest checkpoint", first}, "audit", "verify", "--gateway", first, "--key", w.path("audit.key.pub"))
	w.say(0, []string{"newest checkpoint"}, "audit", "verify", "--gateway", "mcp", "--key", w.path("audit.key.pub"))
	if strings.Count(read(t, points), "cabincrew.dev/local/"+first+"\n") < 2 {
		t.Error(read(t, points))
	}
	must(t, os.Remove(points))
	w.say(5, []string{"audit_unsigned", "points"}, "audit", "verify", "--gateway", first, "--key", w.path("audit.key.pub"))
	must(t, os.WriteFile(points, []byte(text), 0o600))
	w.say(0, nil, "audit", "verify", "--gateway", first, "--key", w.path("audit.key.pub"), "--checkpoints", points)
}

// TestGatewayThatCannotSignDoesNotServe: the trail is to be signed, so nothing goes
// through before it can be.
func TestGatewayThatCannotSignDoesNotServe(t *testing.T) {
	t.Parallel()
	private, public, err := signing.Generate(signing.Ed25519, nil, nil)
	must(t, err)
	w := newTower(t, map[string]string{"audit.key": string(private), "audit.key.pub": string(public), "points/in-the-way": ""})
	w.configure(gatewayRules + "audit: {sign: checkpoint, key: audit.key, checkpoints: points}\n")
	w.say(7, []string{"gateway_checkpoint", "points"}, "gateway", "mcp")
}

// TestKilledGatewayIsToldOf: a torn last line says that the run was killed and how much is
// whole; so does one that was killed between two lines.
func TestKilledGatewayIsToldOf(t *testing.T) {
	t.Parallel()
	w, run := signedTower(t, "sign: checkpoint")
	verify := func(state string) []string {
		return []string{"--state-dir", state, "audit", "verify", "--gateway", "mcp"}
	}
	torn := w.spoiled(t, func(run string) {
		linesOf(t, filepath.Join(run, "audit.jsonl"), func(l []string) []string {
			l[len(l)-1] = l[len(l)-1][:40]
			return l
		})
	})
	out := w.say(5, []string{"audit_cut", "run " + run + " was killed", "torn", "events before it are whole"}, verify(torn)...)
	if strings.Contains(out, "resume") {
		t.Error(out)
	}
	between := w.spoiled(t, func(run string) {
		linesOf(t, filepath.Join(run, "audit.jsonl"), func(l []string) []string { return l[:len(l)-1] })
	})
	w.say(0, []string{"did not end in order", run}, verify(between)...)
	if out := w.say(0, nil, verify(w.path(".cabincrew"))...); strings.Contains(out, "did not end") {
		t.Error(out)
	}
}
