package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/cabincrew/action/audit"
	"github.com/cabincrew/action/audit/merkle"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/signing"
)

// elsewhere runs a command in an empty directory, as an auditor without the log does.
func elsewhere(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	args = append(args, "--config", filepath.Join(t.TempDir(), "none.yaml"))
	code = Main(context.Background(), args, strings.NewReader(""), &o, &e, nil)
	return code, o.String(), e.String()
}

// TestAuditProof proves each event of a flight to who has the public key only; the
// paths are checked by another implementation, too.
func TestAuditProof(t *testing.T) {
	t.Parallel()
	d := sealedDesk(t, "checkpoint", signing.Ed25519)
	id := d.fly()
	lines := d.lines(id, auditName)
	for i, line := range lines {
		line = bytes.TrimSuffix(line, []byte{'\n'})
		name := filepath.Join(t.TempDir(), "event.tlog-proof")
		d.must(0, []string{"wrote the proof of line " + strconv.Itoa(i+1)}, "audit", "prove", id, "--event", audit.EventID(line), "--out", name)
		var theirs proof.TLogProof
		if err := theirs.Unmarshal(d.read(name)); err != nil || !bytes.Equal(theirs.ExtraData, line) {
			t.Fatalf("line %d: %v", i+1, err)
		}
		head, _, err := merkle.ReadCheckpoint(theirs.Checkpoint)
		if err != nil {
			t.Fatal(err)
		}
		var path tlog.RecordProof
		for _, h := range theirs.Hashes {
			path = append(path, tlog.Hash(h))
		}
		if err := tlog.CheckRecord(path, int64(len(lines)), tlog.Hash(head.Root), int64(i), tlog.RecordHash(line)); err != nil {
			t.Errorf("line %d: %v", i+1, err)
		}
		code, out, errs := elsewhere(t, "audit", "verify", "--proof", name, "--key", d.path("keys/log.pub"), "--origin", "cabincrew.dev/local/"+id)
		if code != 0 || !strings.Contains(out, "is line "+strconv.Itoa(i+1)+" of the audit log of flight "+id) {
			t.Errorf("line %d: exit %d\n%s%s", i+1, code, out, errs)
		}
	}
	d.must(2, []string{"audit_event_unknown"}, "audit", "prove", id, "--event", "x")
	d.must(2, []string{"audit_unanchored"}, "audit", "prove", id, "--event", strings.Repeat("0", 64))
	d.must(2, []string{"audit_unanchored"}, "audit", "prove", id, "--event", strconv.Itoa(len(lines)+1))
	d.must(2, []string{"input_unreadable"}, "audit", "verify", "--proof", d.path("nonesuch"), "--key", d.path("keys/log.pub"))
	d.must(2, []string{"usage"}, "audit", "verify", id, "--bundle", "x")
	d.must(2, []string{"usage"}, "audit", "verify", id, "--proof", "x")
	if code, _, errs := elsewhere(t, "audit", "verify", "--proof", "x"); code != 2 || !strings.Contains(errs, "audit_key") {
		t.Errorf("without a key: exit %d\n%s", code, errs)
	}
	// What is proven against a log that was changed is not told.
	d.change(d.flightFile(id, auditName), `"severity":"info"`, `"severity":"debug"`)
	d.must(5, []string{"audit_rewritten"}, "audit", "prove", id, "--event", "3")
	d.put(d.flightFile(id, auditName), bytes.Join(lines[:3], nil))
	d.must(5, []string{"audit_cut"}, "audit", "prove", id, "--event", "3")
}

// TestAuditProofRefusals changes what a proof is made of.
func TestAuditProofRefusals(t *testing.T) {
	t.Parallel()
	d := sealedDesk(t, "checkpoint", signing.ECDSAP256)
	other := d.plan(4)
	id := d.fly()
	prove := func(id, event string) (text string, p merkle.Proof, note []byte) {
		var doc struct {
			Proof string          `json:"proof"`
			Event json.RawMessage `json:"event"`
		}
		d.json(0, &doc, "audit", "prove", id, "--event", event)
		p, note, err := merkle.UnmarshalProof([]byte(doc.Proof))
		if err != nil || len(doc.Event) == 0 {
			t.Fatal(err)
		}
		return doc.Proof, p, note
	}
	good, p, note := prove(id, "4")
	_, third, _ := prove(id, "3")
	_, _, foreign := prove(other, "4")
	with := func(change func(p *merkle.Proof)) string {
		q := p
		q.Hashes = slices.Clone(p.Hashes)
		for i := range q.Hashes {
			q.Hashes[i] = bytes.Clone(q.Hashes[i])
		}
		change(&q)
		return string(q.Marshal(note))
	}
	c, _, err := merkle.ReadCheckpoint(note)
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
	strange, err := c.Sign(by)
	if err != nil {
		t.Fatal(err)
	}
	size := "\n" + strconv.FormatUint(c.Size, 10) + "\n"
	for name, x := range map[string]struct{ text, check, code string }{
		"as it is":                  {good, "", ""},
		"index changed":             {with(func(p *merkle.Proof) { p.Index++ }), "inclusion", "audit_proof"},
		"another line":              {with(func(p *merkle.Proof) { p.Line = third.Line }), "inclusion", "audit_proof"},
		"line changed":              {with(func(p *merkle.Proof) { p.Line = bytes.Replace(p.Line, []byte("info"), []byte("debug"), 1) }), "event", "audit_proof"},
		"line that is none":         {with(func(p *merkle.Proof) { p.Line = []byte("{}") }), "event", "audit_proof"},
		"no line":                   {with(func(p *merkle.Proof) { p.Line = nil }), "event", "audit_event_unknown"},
		"hash flipped":              {with(func(p *merkle.Proof) { p.Hashes[1][7] ^= 1 }), "inclusion", "audit_proof"},
		"hash missing":              {with(func(p *merkle.Proof) { p.Hashes = p.Hashes[1:] }), "inclusion", "audit_proof"},
		"size changed":              {strings.Replace(good, size, "\n"+strconv.FormatUint(c.Size-1, 10)+"\n", 1), "checkpoint", "audit_checkpoint"},
		"checkpoint by a stranger":  {string(p.Marshal(strange)), "checkpoint", "audit_checkpoint"},
		"checkpoint of another log": {string(p.Marshal(foreign)), "event", "audit_proof"},
		"origin changed":            {strings.Replace(good, "/local/", "/42/", 1), "checkpoint", "audit_checkpoint"},
		"origin of somebody":        {strings.Replace(good, "cabincrew.dev/", "example.com/x/", 1), "proof", "audit_proof"},
		"not signed":                {string(p.Marshal(c.Text())), "anchor", "audit_unanchored"},
		"no proof":                  {"hello\n", "proof", "audit_proof"},
	} {
		file := filepath.Join(t.TempDir(), "p")
		d.put(file, []byte(x.text))
		code, out, errs := elsewhere(t, "audit", "verify", "--proof", file, "--key", d.path("keys/log.pub"), "--output", "json")
		var doc struct {
			Verified bool                       `json:"verified"`
			Checks   []orchestrator.Check       `json:"checks"`
			Error    *orchestrator.SummaryError `json:"error"`
			Event    json.RawMessage            `json:"event"`
		}
		if err := json.Unmarshal([]byte(out), &doc); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		if x.code == "" {
			if code != 0 || !doc.Verified || !bytes.Contains(doc.Event, []byte(`"event_id"`)) {
				t.Errorf("%s: exit %d\n%s%s", name, code, out, errs)
			}
			continue
		}
		last := doc.Checks[len(doc.Checks)-1]
		want := 5
		if x.code == "audit_event_unknown" {
			want = 2
		}
		// The size may already contradict the path.
		if code != want || doc.Verified || last.Status != orchestrator.FailStatus || last.Name != x.check && name != "size changed" ||
			doc.Error.Code != x.code && name != "size changed" {
			t.Errorf("%s: exit %d, %+v\n%s", name, code, last, errs)
		}
	}
	file, line, event := filepath.Join(t.TempDir(), "p"), filepath.Join(t.TempDir(), "line"), filepath.Join(t.TempDir(), "other")
	d.put(file, []byte(with(func(p *merkle.Proof) { p.Line = nil })))
	d.put(line, append(bytes.Clone(p.Line), '\n'))
	d.put(event, third.Line)
	if code, out, errs := elsewhere(t, "audit", "verify", "--proof", file, "--event", line, "--key", d.path("keys/log.pub")); code != 0 {
		t.Errorf("the line beside the proof: exit %d\n%s%s", code, out, errs)
	}
	if code, _, errs := elsewhere(t, "audit", "verify", "--proof", file, "--event", event, "--key", d.path("keys/log.pub")); code != 5 || !strings.Contains(errs, "audit_proof") {
		t.Errorf("another line beside the proof: exit %d\n%s", code, errs)
	}
	if code, _, errs := elsewhere(t, "audit", "verify", "--proof", file, "--event", line, "--key", d.path("keys/log.pub"), "--origin", "cabincrew.dev/local/other"); code != 5 || !strings.Contains(errs, "audit_proof") {
		t.Errorf("another origin: exit %d\n%s", code, errs)
	}
}

// TestAuditProofAgainstStatement proves an event of a log that is not signed itself,
// through the signed plan.
func TestAuditProofAgainstStatement(t *testing.T) {
	t.Parallel()
	d := sealedDesk(t, "checkpoint", signing.Ed25519)
	d.write(".cabincrew.yaml", deskConfig+"signing: {key: keys/plan}\n")
	other, id := d.plan(4), d.plan(4)
	file := filepath.Join(t.TempDir(), "p")
	d.must(0, []string{"not signed itself", "plan.sigstore.json"}, "audit", "prove", id, "--event", "4", "--out", file)
	plan := d.flightFile(id, "plan.sigstore.json")
	for name, x := range map[string]struct {
		args []string
		code int
		word string
	}{
		"with the plan":       {[]string{"--key", d.path("keys/plan.pub"), "--bundle", plan}, 0, "flight-plan/v1 signed by"},
		"without":             {[]string{"--key", d.path("keys/plan.pub")}, 5, "audit_unanchored"},
		"by a stranger":       {[]string{"--key", d.path("keys/stranger.pub"), "--bundle", plan}, 5, "signature_untrusted"},
		"of another flight":   {[]string{"--key", d.path("keys/plan.pub"), "--bundle", d.flightFile(other, "plan.sigstore.json")}, 5, "audit_proof"},
		"not a bundle at all": {[]string{"--key", d.path("keys/plan.pub"), "--bundle", file}, 5, "bundle_malformed"},
	} {
		code, out, errs := elsewhere(t, append([]string{"audit", "verify", "--proof", file}, x.args...)...)
		if code != x.code || !strings.Contains(out+errs, x.word) {
			t.Errorf("%s: exit %d\n%s%s", name, code, out, errs)
		}
	}
	claimed := filepath.Join(t.TempDir(), "claimed")
	d.put(claimed, bytes.Replace(d.read(file), []byte("cabincrew.dev/local/"), []byte("cabincrew.dev/424242/"), 1))
	if code, _, errs := elsewhere(t, "audit", "verify", "--proof", claimed, "--key", d.path("keys/plan.pub"), "--bundle", plan); code != 5 || !strings.Contains(errs, "audit_origin") {
		t.Errorf("of another repository: exit %d\n%s", code, errs)
	}
	d.must(5, []string{"audit_proof"}, "audit", "prove", id, "--event", "4", "--bundle", d.flightFile(other, "plan.sigstore.json"))
	d.must(2, []string{"audit_unanchored"}, "audit", "prove", id, "--event", strconv.Itoa(len(d.lines(id, auditName))))
	if err := os.Remove(plan); err != nil {
		t.Fatal(err)
	}
	d.must(2, []string{"audit_unanchored"}, "audit", "prove", id, "--event", "4")
}

// TestAuditProofAgainstTakeOff proves the last events, too, of a log that is not signed
// itself, and changes what the proof says of the repository.
func TestAuditProofAgainstTakeOff(t *testing.T) {
	t.Parallel()
	d := sealedDesk(t, "checkpoint", signing.Ed25519)
	d.write(".cabincrew.yaml", deskConfig+"signing: {key: keys/plan}\n")
	id := d.fly()
	for _, event := range []string{"1", strconv.Itoa(len(d.lines(id, auditName)))} {
		file := filepath.Join(t.TempDir(), "p")
		d.must(0, []string{"against take-off.sigstore.json"}, "audit", "prove", id, "--event", event, "--out", file)
		args := []string{"audit", "verify", "--proof", file, "--key", d.path("keys/plan.pub"), "--bundle", d.flightFile(id, "take-off.sigstore.json")}
		if code, out, errs := elsewhere(t, args...); code != 0 || !strings.Contains(out+errs, "take-off/v1 signed by") {
			t.Errorf("event %s: exit %d\n%s%s", event, code, out, errs)
		}
		d.put(file, bytes.Replace(d.read(file), []byte("cabincrew.dev/local/"), []byte("cabincrew.dev/424242/"), 1))
		for _, more := range [][]string{nil, {"--origin", "cabincrew.dev/424242/" + id}} {
			if code, out, errs := elsewhere(t, append(args, more...)...); code != 5 || !strings.Contains(errs, "audit_origin") {
				t.Errorf("event %s: exit %d\n%s%s", event, code, out, errs)
			}
		}
	}
	d.change(d.flightFile(id, auditName), `"severity":"info"`, `"severity":"debug"`)
	if _, _, errs := d.run("audit", "prove", id, "--event", "3"); !strings.Contains(errs, "audit_rewritten") || !strings.Contains(errs, "leads to root sha256:") {
		t.Error(errs)
	}
}
