package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/audit"
	"github.com/cabincrew/action/audit/merkle"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// sealedDesk is a desk whose audit log and plans are signed.
func sealedDesk(t *testing.T, sign string, typ signing.KeyType) *desk {
	t.Helper()
	files := map[string]string{".cabincrew.yaml": deskConfig + "signing: {key: keys/plan}\naudit: {sign: " + sign + ", key: keys/log}\n"}
	for _, name := range []string{"plan", "log", "stranger"} {
		private, public, err := signing.Generate(typ, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		files["keys/"+name], files["keys/"+name+".pub"] = string(private), string(public)
	}
	return newDesk(t, files)
}

func (d *desk) read(path string) []byte {
	d.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		d.t.Fatal(err)
	}
	return data
}

func (d *desk) lines(id, name string) [][]byte {
	d.t.Helper()
	return bytes.SplitAfter(bytes.TrimSuffix(d.read(d.flightFile(id, name)), []byte{'\n'}), []byte{'\n'})
}

func (d *desk) put(path string, data []byte) {
	d.t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// rechained gives events as a log of their own, as who has no key can write it.
func rechained(t *testing.T, id string, log []byte, change func(i int, e *protocol.AuditEvent)) []byte {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	l, _, err := audit.Open(root, auditName, id, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for e, err := range audit.Events(bytes.NewReader(log)) {
		if err != nil {
			t.Fatal(err)
		}
		e.EventID, e.ChainHash, e.Signature, e.SignatureKeyRef = "", "", "", ""
		change(i, &e)
		if err := l.Append(e); err != nil {
			t.Fatal(err)
		}
		i++
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := os.ReadFile(filepath.Join(dir, auditName))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSignedAudit flies with a signed log, and verifies it with the public key only.
func TestSignedAudit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sign string
		typ  signing.KeyType
	}{{"each", signing.Ed25519}, {"each", signing.ECDSAP256}, {"checkpoint", signing.Ed25519}, {"checkpoint", signing.ECDSAP256}} {
		t.Run(c.sign+" "+string(c.typ), func(t *testing.T) {
			t.Parallel()
			d := sealedDesk(t, c.sign, c.typ)
			id := d.fly()
			lines := d.lines(id, auditName)
			signed := 0
			for _, line := range lines {
				if bytes.Contains(line, []byte(`"signature":"`)) {
					signed++
				}
			}
			if c.sign == "each" && signed != len(lines) || c.sign != "each" && signed != 0 {
				t.Errorf("%d of %d events are signed", signed, len(lines))
			}
			checkpoint, _, err := merkle.ReadCheckpoint(d.read(d.flightFile(id, checkpointName)))
			if err != nil || checkpoint.Size != uint64(len(lines)) || checkpoint.Origin != "cabincrew.dev/local/"+id {
				t.Errorf("%+v of %d events: %v", checkpoint, len(lines), err)
			}
			_, head, err := signing.UnverifiedAuditHead(d.read(d.flightFile(id, "plan.sigstore.json")))
			if err != nil || !strings.HasPrefix(head.Checkpoint, checkpoint.Origin+"\n"+head.Size+"\n") {
				t.Errorf("the plan's head is %+v: %v", head, err)
			}
			words := []string{"audit signatures", fmt.Sprintf("%d events are those of the newest checkpoint", len(lines))}
			if c.sign == "each" {
				words = append(words, fmt.Sprintf("all %d are signed", len(lines)))
			}
			d.must(0, words, "verify", id)
			d.must(0, words, "audit", "verify", id)
			d.must(0, words[:2], "audit", "verify", id, "--key", d.path("keys/log.pub"))
			d.must(5, []string{"audit_checkpoint"}, "audit", "verify", id, "--key", d.path("keys/stranger.pub"))
			d.must(0, nil, "show", id)
			d.must(0, nil, "list")
		})
	}
}

// TestSignedAuditRefusals does to a signed log what who has no key can do.
func TestSignedAuditRefusals(t *testing.T) {
	t.Parallel()
	for _, sign := range []string{"each", "checkpoint"} {
		t.Run(sign, func(t *testing.T) {
			t.Parallel()
			d := sealedDesk(t, sign, signing.Ed25519)
			other := d.plan(4)
			id := d.plan(4)
			before := d.lines(id, auditName)
			old := d.read(d.flightFile(id, checkpointName))
			d.must(0, nil, "approve", id, "--as", "boss", "--key", d.path("../boss"), "--reason", "ok")
			log, wal := d.read(d.flightFile(id, auditName)), d.read(d.flightFile(id, "wal.jsonl"))
			newest := d.read(d.flightFile(id, checkpointName))
			c, _, err := merkle.ReadCheckpoint(newest)
			if err != nil {
				t.Fatal(err)
			}
			stranger, err := signing.LoadPrivate(d.read(d.path("keys/stranger")), nil)
			if err != nil {
				t.Fatal(err)
			}
			by, err := stranger.NoteSigner(c.Origin)
			if err != nil {
				t.Fatal(err)
			}
			foreign, err := c.Sign(by)
			if err != nil {
				t.Fatal(err)
			}
			walLines := bytes.SplitAfter(bytes.TrimSuffix(wal, []byte{'\n'}), []byte{'\n'})
			last := fmt.Sprintf(" [wal %d ", len(walLines)-1)
			cut := log[:bytes.LastIndexByte(log[:bytes.Index(log, []byte(last))], '\n')+1]
			same := func(int, *protocol.AuditEvent) {}
			unsignedTail := append(bytes.Clone(log), tailOf(t, id, log)...)
			cases := map[string]struct {
				log, wal, checkpoint []byte
				code                 string
			}{
				"no checkpoint":           {log, wal, nil, "audit_unsigned"},
				"empty checkpoint":        {log, wal, []byte{}, "audit_checkpoint"},
				"unsigned checkpoint":     {log, wal, c.Text(), "audit_checkpoint"},
				"a stranger's checkpoint": {log, wal, foreign, "audit_checkpoint"},
				"another flight's":        {log, wal, d.read(d.flightFile(other, checkpointName)), "audit_checkpoint"},
				"size changed":            {log, wal, bytes.Replace(newest, fmt.Appendf(nil, "\n%d\n", c.Size), fmt.Appendf(nil, "\n%d\n", c.Size-1), 1), "audit_checkpoint"},
				"log and WAL cut":         {cut, bytes.Join(walLines[:len(walLines)-1], nil), newest, "audit_cut"},
				"rewritten": {rechained(t, id, log, func(i int, e *protocol.AuditEvent) {
					if i == 3 {
						e.Severity = protocol.SeverityDebug
					}
				}), wal, newest, "audit_rewritten"},
			}
			if sign == "each" {
				cases["an unsigned event more"] = struct {
					log, wal, checkpoint []byte
					code                 string
				}{unsignedTail, wal, newest, "audit_unsigned"}
				cases["signatures removed"] = struct {
					log, wal, checkpoint []byte
					code                 string
				}{rechained(t, id, log, same), wal, newest, "audit_rewritten"}
			}
			for name, c := range cases {
				d.put(d.flightFile(id, auditName), c.log)
				d.put(d.flightFile(id, "wal.jsonl"), c.wal)
				if c.checkpoint == nil {
					if err := os.Remove(d.flightFile(id, checkpointName)); err != nil {
						t.Fatal(err)
					}
				} else {
					d.put(d.flightFile(id, checkpointName), c.checkpoint)
				}
				for _, args := range [][]string{{"verify", id}, {"audit", "verify", id}, {"take-off", id, "--dry-run"}, {"resume", id}} {
					if args[0] == "resume" && strings.HasPrefix(name, "an unsigned event") {
						continue // it appends nothing here; take-off looks
					}
					code, out, errs := d.run(args...)
					if code != 5 || !strings.Contains(errs, c.code) {
						t.Errorf("%s: %q: exit %d\n%s%s", name, args, code, out, errs)
					}
				}
			}
			d.put(d.flightFile(id, auditName), log)
			d.put(d.flightFile(id, "wal.jsonl"), wal)
			d.put(d.flightFile(id, checkpointName), old)
			if len(before) >= len(bytes.SplitAfter(log, []byte{'\n'})) {
				t.Fatal("the approval left no event")
			}
			// A checkpoint that is older than the log is what a kill leaves.
			d.must(0, nil, "take-off", id)
			d.must(0, nil, "verify", id)
		})
	}
}

// tailOf gives a line that goes on with a log, unsigned.
func tailOf(t *testing.T, id string, log []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, auditName), log, 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	l, _, err := audit.Open(root, auditName, id, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(protocol.AuditEvent{EventType: protocol.EventError, Timestamp: "2026-01-01T00:00:00Z", Severity: protocol.SeverityInfo, WorkflowState: "INIT"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	all, err := os.ReadFile(filepath.Join(dir, auditName))
	if err != nil {
		t.Fatal(err)
	}
	return all[len(log):]
}

// TestAuditKeyMissing: nothing flies where the log cannot be signed.
func TestAuditKeyMissing(t *testing.T) {
	t.Parallel()
	d := sealedDesk(t, "checkpoint", signing.Ed25519)
	id := d.plan(4)
	if err := os.Rename(d.path("keys/log"), d.path("../away")); err != nil {
		t.Fatal(err)
	}
	d.must(2, []string{"key_unreadable"}, "flight-plan")
	d.must(2, []string{"key_unreadable"}, "approve", id, "--as", "boss", "--key", d.path("../boss"), "--reason", "ok")
	d.must(7, []string{"key_unreadable"}, "cancel", id)
	d.must(0, nil, "verify", id) // the public key is enough
	d.put(d.path("keys/log"), d.read(d.path("keys/stranger")))
	d.must(2, []string{"audit_key"}, "flight-plan")
	sealed, _, err := signing.Generate(signing.Ed25519, []byte("secret words"), nil)
	if err != nil {
		t.Fatal(err)
	}
	d.put(d.path("keys/log"), sealed)
	d.must(2, []string{"key_passphrase"}, "flight-plan")
	if err := os.Remove(d.path("keys/log.pub")); err != nil {
		t.Fatal(err)
	}
	d.must(2, []string{"audit_key"}, "verify", id)
	d.put(d.path("keys/log.pub"), d.read(d.path("keys/stranger.pub")))
	d.must(5, []string{"audit_checkpoint"}, "verify", id)
}

// TestUnsignedFlightUnderSignedAudit: a flight that began before the log was signed
// does not go on, and can be ended.
func TestUnsignedFlightUnderSignedAudit(t *testing.T) {
	t.Parallel()
	d := sealedDesk(t, "each", signing.Ed25519)
	config := string(d.read(d.path(".cabincrew.yaml")))
	d.write(".cabincrew.yaml", deskConfig+"signing: {key: keys/plan}\n")
	id := d.plan(4)
	d.write(".cabincrew.yaml", config)
	d.must(5, []string{"audit_unsigned"}, "take-off", id)
	d.must(5, []string{"audit_unsigned"}, "verify", id)
	d.must(0, nil, "cancel", id)
}

// TestOneKeyOnePassphrase opens a key that signs plans and logs once.
func TestOneKeyOnePassphrase(t *testing.T) {
	t.Parallel()
	d := sealedDesk(t, "each", signing.Ed25519)
	a := &app{}
	one, err := a.openKey(d.path("keys/plan"))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := a.openKey(d.path("keys/plan")); err != nil || again != one {
		t.Errorf("opened twice: %v", err)
	}
	if _, err := a.openKey(d.path("keys/nonesuch")); !errors.Is(err, protocol.Code("key_unreadable")) {
		t.Error(err)
	}
}

// TestMarkOfTheTakeOff: a log that was written anew after its take-off is found by the
// mark, though it holds together and nobody signed it (T46).
func TestMarkOfTheTakeOff(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	id := d.fly()
	log := d.read(d.flightFile(id, auditName))
	d.put(d.flightFile(id, auditName), rechained(t, id, log, func(i int, e *protocol.AuditEvent) {
		if i == 2 {
			e.Severity = protocol.SeverityDebug
		}
	}))
	d.must(0, nil, "audit", "verify", id)
	d.must(5, []string{"audit_rewritten", "the mark of its take-off"}, "take-off", id)
	d.put(d.flightFile(id, auditName), log)
	d.must(0, nil, "take-off", id)
}
