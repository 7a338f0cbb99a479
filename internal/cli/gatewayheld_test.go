package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/config"
)

// beside runs a command as a person does: beside the gateway, not with its configuration.
func (w *tower) beside(args ...string) (code int, out, errs string) {
	w.t.Helper()
	var o, e bytes.Buffer
	code = Main(w.t.Context(), append([]string{"--config", w.path(config.FileName)}, args...), strings.NewReader(""), &o, &e, w.env)
	return code, o.String(), e.String()
}

// answers is beside with an expected exit code, and words that it must say.
func (w *tower) answers(want int, words []string, args ...string) {
	w.t.Helper()
	code, out, errs := w.beside(args...)
	if code != want {
		w.t.Fatalf("%q: exit %d, want %d\n%s%s", args, code, want, out, errs)
	}
	for _, word := range words {
		if !strings.Contains(out+errs, word) {
			w.t.Errorf("%q does not say %q:\n%s%s", args, word, out, errs)
		}
	}
}

// TestHeldCallIsReleased: an approval releases exactly the call that it is of; a restart
// denies what waited.
func TestHeldCallIsReleased(t *testing.T) {
	t.Parallel()
	w := newTower(t, nil)
	p := w.pipe("--stdio")
	// The key lies below the gateway's protected files; a person has it elsewhere.
	key := filepath.Join(t.TempDir(), "boss")
	if err := os.WriteFile(key, []byte(read(t, w.path("keys/boss"))), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = p.in.Close() // the first one served to make the state directory only
	p.end()

	p = w.pipe("--stdio=files")
	p.hello()
	to := w.path("work/new.txt")
	p.send(callOf(5, "write", map[string]any{"path": to, "text": "one"}))
	id := w.held()
	w.answers(4, []string{"new.txt", "writes are looked at", "files"}, "status", id)
	if strings.Contains(received(t, w.server), "new.txt") {
		t.Fatal("the call was not held")
	}
	w.answers(0, []string{"is approved"}, "approve", id, "--as", "boss", "--key", key)
	allowed(t, p.answer(5), "nil")
	if read(t, to) != "one" {
		t.Error("the call was not made")
	}
	// One approval, one call.
	p.send(callOf(6, "write", map[string]any{"path": to, "text": "one"}))
	id = w.held()
	w.answers(0, nil, "reject", id, "--as", "boss", "--key", key, "--reason", "not again")
	refused(t, p.answer(6), -32051, "not again")
	p.send(callOf(7, "write", map[string]any{"path": to, "text": "three"}))
	id = w.held()
	p.end()
	w.answers(4, nil, "approve", id, "--as", "boss", "--key", key)
	if read(t, to) != "one" || strings.Contains(received(t, w.server), "three") {
		t.Error("a call that was not approved was made")
	}
	w.answers(0, nil, "audit", "verify", "--gateway", "mcp")
}

// TestStatusOfAGatewayAlone: where there is a gateway and nothing is held, that is no
// mistake; its configuration is not read as one of flights.
func TestStatusOfAGatewayAlone(t *testing.T) {
	t.Parallel()
	w := newTower(t, nil)
	named := func(want int, file, word string, more ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		code := Main(t.Context(), append([]string{"--config", file, "status"}, more...), strings.NewReader(""), &out, &errs, w.env)
		if code != want || !strings.Contains(out.String()+errs.String(), word) {
			t.Errorf("status of %s: exit %d, %s%s", file, code, &out, &errs)
		}
	}
	for _, file := range []string{config.FileName, config.GatewayFile} {
		named(0, w.path(file), "no call is held")
		named(0, w.path(file), `"held":`, "--output", "json")
	}
	w.write("other.yaml", read(t, w.path(config.GatewayFile)))
	named(0, w.path("other.yaml"), "no call is held")
	for _, answer := range []string{"approve", "reject"} {
		w.say(2, []string{"may hold several calls", "cabincrew " + answer + " apr-"}, answer, "--config", w.path(config.GatewayFile), "--as", "boss", "--key", w.path("keys/boss"))
	}
	p := w.pipe("--stdio=files")
	p.hello()
	named(0, w.path(config.FileName), "no call is held")
	p.send(callOf(7, "write", map[string]any{"path": w.path("work/x"), "text": "x"}))
	w.held()
	for _, file := range []string{config.FileName, config.GatewayFile, "other.yaml"} {
		named(4, w.path(file), "writes are looked at")
	}
	p.end()
	w.write("flights.yaml", "version: 1\nsteps: wrong\n")
	named(2, w.path("flights.yaml"), "steps")
	remove(t, w.path(config.GatewayFile))
	w.say(2, []string{"there is no gateway's configuration", "gateway mcp import", "gateway mcp -- COMMAND"}, "gateway", "mcp")
}

// TestT41JudgedAgentApprovesItself: what is judged reaches neither the approver's key nor
// what decides, and what it is asked itself counts for nothing.
func TestT41JudgedAgentApprovesItself(t *testing.T) {
	t.Parallel()
	w := newTower(t, map[string]string{".cabincrew.lock": ""})
	remove(t, w.path(".cabincrew.lock"))
	w.write(config.GatewayFile, strings.Replace(read(t, w.path(config.GatewayFile)), "roots: [work]", "roots: [.]", 1))
	for link, to := range map[string]string{"work/key": "../keys/boss", "work/state": "../.cabincrew", "work/conf": "../" + config.GatewayFile} {
		if err := os.Symlink(to, w.path(link)); err != nil {
			t.Fatal(err)
		}
	}
	p := w.pipe("--stdio")
	p.hello()
	before := read(t, w.path(config.GatewayFile))
	for _, path := range []string{
		w.path("keys/boss"), w.path("keys/boss.pub"), "keys/boss", "./work/../keys/boss", w.path("work/key"), "file://" + w.path("keys/boss"),
		w.path("KEYS/boss"), w.path("keys/BOSS"),
		w.path(config.GatewayFile), strings.ToUpper(config.GatewayFile), w.path("work/conf"), "file://" + w.path(config.GatewayFile),
		w.path(".cabincrew.lock"), ".cabincrew.lock", "file://localhost" + w.path(".cabincrew.lock"),
		w.path(".cabincrew/gateways/held/x"), w.path("work/state/gateways/held/x"), ".CabinCrew/x", w.path(".cabincrew"),
	} {
		refused(t, p.call("write", map[string]any{"path": path, "text": "mine"}), -32050, "gateway/paths")
		refused(t, p.call("read", map[string]any{"path": path}), -32050, "gateway/paths")
		refused(t, p.call("echo", map[string]any{"nested": []any{map[string]any{"file": path}}}), -32050, "gateway/paths")
	}
	if read(t, w.path(config.GatewayFile)) != before || strings.Contains(received(t, w.server), "boss") {
		t.Error("what decides was reached")
	}
	// Whoever edits the files while the gateway runs changes nothing of this run.
	w.write(config.GatewayFile, strings.NewReplacer("action: deny", "action: allow", "action: require_approval", "action: allow").Replace(before))
	w.write(".cabincrew.lock", "{}")
	refused(t, p.call("wipe", nil), -32050, "no-wiping")
	p.send(callOf(900, "write", map[string]any{"path": w.path("work/x"), "text": "x"}))
	id := w.held()
	// A client that says yes to whatever it is asked approves nothing.
	p.send(`{"jsonrpc":"2.0","id":901,"method":"elicitation/create","params":{"message":"ok","requestedSchema":{"type":"object","properties":{}}}}`)
	p.answer(901)
	p.send(`{"jsonrpc":"2.0","id":"` + id + `","result":{"action":"accept","content":{"approved":true}}}`)
	allowed(t, p.call("echo", map[string]any{"text": "still here"}), "still here")
	w.answers(4, []string{"waits"}, "status", id)
	if _, err := os.Lstat(w.path("work/x")); err == nil {
		t.Error("the call was released")
	}
	p.end()
}
