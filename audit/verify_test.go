package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cabincrew/action/protocol"
)

func TestVectors(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Audit struct {
			WorkflowID string `json:"workflow_id"`
			FirstLine  string `json:"first_line"`
			Second     string `json:"chain_hash_of_second"`
		} `json:"audit"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(strings.NewReader(v.Audit.FirstLine+"\n"), v.Audit.WorkflowID, VerifyOptions{})
	if err != nil || r.Events != 1 || r.Head != v.Audit.Second {
		t.Errorf("report %+v, error %v; the second chain_hash is %s", r, err, v.Audit.Second)
	}
	// And the same line comes out of Append.
	dir := t.TempDir()
	l, _ := openLog(t, dir, Options{})
	var e protocol.AuditEvent
	if err := protocol.Decode([]byte(v.Audit.FirstLine), &e); err != nil {
		t.Fatal(err)
	}
	e.EventID, e.ChainHash = "", ""
	if err := l.Append(e); err != nil {
		t.Fatal(err)
	}
	if got := string(readLog(t, dir)); got != v.Audit.FirstLine+"\n" {
		t.Errorf("appended %s", got)
	}
	if n, head := l.Head(); n != 1 || head != v.Audit.Second {
		t.Errorf("head %d %s", n, head)
	}
}

func TestEveryByteFlipIsFound(t *testing.T) {
	t.Parallel()
	data := sampleLog(t, 3)
	for i := range data {
		for _, mask := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 0xff, data[i] ^ '\n', data[i] ^ ' '} {
			if mask == 0 {
				continue
			}
			bad := bytes.Clone(data)
			bad[i] ^= mask
			r, err := verify(bad)
			if protocol.ExitCode(err) != protocol.ExitIntegrity || r.Problem == nil || r.Problem.Torn {
				t.Fatalf("byte %d xor %#x: %v", i, mask, err)
			}
			if line := 1 + bytes.Count(data[:i], []byte{'\n'}); r.Problem.Line != line {
				t.Fatalf("byte %d xor %#x is in line %d, found in line %d (%v)", i, mask, line, r.Problem.Line, err)
			}
		}
	}
}

func TestProblemsAreNamed(t *testing.T) {
	t.Parallel()
	l := strings.SplitAfter(string(sampleLog(t, 8)), "\n")[:8]
	// A line that an attacker makes with a correct id and chain.
	forged := func(after string, n int) string {
		head := chainStart(flight)
		if after != "" {
			head = sumOf(protocol.KindAuditChain, []byte(strings.TrimSuffix(after, "\n")))
		}
		e := sampleEvent(n)
		e.Message = "forged"
		log := &Log{judge: newChecker(true), redact: func(s string) string { return s }}
		line, _, err := log.line(e, head)
		if err != nil {
			t.Fatal(err)
		}
		return string(line) + "\n"
	}
	all := strings.Join(l, "")
	for name, c := range map[string]struct {
		log  string
		kind Kind
		line int
	}{
		"first deleted":              {strings.Join(l[1:], ""), Missing, 1},
		"middle deleted":             {strings.Join(append(append([]string{}, l[:3]...), l[4:]...), ""), Missing, 4},
		"two deleted":                {strings.Join(append(append([]string{}, l[:3]...), l[5:]...), ""), Missing, 4},
		"neighbours swapped":         {l[0] + l[2] + l[1] + strings.Join(l[3:], ""), Reordered, 2},
		"first two swapped":          {l[1] + l[0] + strings.Join(l[2:], ""), Reordered, 1},
		"last two swapped":           {strings.Join(l[:6], "") + l[7] + l[6], Reordered, 7},
		"far lines swapped":          {l[0] + l[5] + l[2] + l[3] + l[4] + l[1] + l[6] + l[7], Reordered, 2},
		"moved forward":              {l[0] + l[4] + l[1] + l[2] + l[3] + l[5] + l[6] + l[7], Reordered, 2},
		"moved back":                 {l[0] + l[2] + l[3] + l[1] + l[4] + l[5] + l[6] + l[7], Reordered, 2},
		"doubled":                    {l[0] + l[1] + l[1] + strings.Join(l[2:], ""), Inserted, 3},
		"last doubled":               {all + l[7], Inserted, 9},
		"first copied to the end":    {all + l[0], Inserted, 9},
		"copied forward":             {l[0] + l[6] + strings.Join(l[1:], ""), Inserted, 2},
		"put in, chained":            {l[0] + l[1] + forged(l[1], 9) + strings.Join(l[2:], ""), Inserted, 3},
		"put in, chained elsewhere":  {l[0] + l[1] + l[2] + forged(l[0], 9) + strings.Join(l[3:], ""), Inserted, 4},
		"put in at the start":        {forged("", 9) + all, Inserted, 1},
		"two put in, chained":        {l[0] + forged(l[0], 9) + forged(forged(l[0], 9), 10) + strings.Join(l[1:], ""), Inserted, 2},
		"replaced by a chained one":  {l[0] + forged(l[0], 1) + strings.Join(l[2:], ""), Missing, 3},
		"changed":                    {strings.Replace(all, "artifact 3", "artifact 4", 1), Changed, 4},
		"unknown field":              {strings.Replace(all, `"severity"`, `"severitY"`, 1), Changed, 1},
		"empty line":                 {l[0] + "\n" + strings.Join(l[1:], ""), Changed, 2},
		"not JSON":                   {l[0] + "hello\n" + strings.Join(l[1:], ""), Changed, 2},
		"carriage returns":           {strings.ReplaceAll(all, "\n", "\r\n"), Changed, 1},
		"space":                      {strings.Replace(all, ",", ", ", 1), Changed, 1},
		"torn":                       {all[:len(all)-20], Cut, 8},
		"torn at the first byte":     {strings.Join(l[:7], "") + "{", Cut, 8},
		"newline gone":               {all[:len(all)-1], Cut, 8},
		"newline changed":            {all[:len(all)-1] + " ", Changed, 8},
		"torn and changed":           {strings.Join(l[:7], "") + strings.Replace(l[7][:300], `"artifacts"`, `"artifactz"`, 1), Changed, 8},
		"torn, of another log":       {strings.Join(l[:6], "") + l[7][:len(l[7])-20], Changed, 7},
		"whole, no newline, foreign": {strings.Join(l[:6], "") + strings.TrimSuffix(l[7], "\n"), Missing, 7},
		"of another flight":          {string(bytes.ReplaceAll([]byte(all), []byte("w1"), []byte("w2"))), Changed, 1},
	} {
		r, err := verify([]byte(c.log))
		if r.Problem == nil {
			t.Errorf("%s: passed", name)
			continue
		}
		wantCode(t, err, "audit_"+string(c.kind))
		if r.Problem.Kind != c.kind || r.Problem.Line != c.line {
			t.Errorf("%s: %s in line %d (%s), want %s in line %d", name, r.Problem.Kind, r.Problem.Line, r.Problem.Reason, c.kind, c.line)
		}
	}
	if _, err := Verify(strings.NewReader(all), "w2", VerifyOptions{}); err == nil {
		t.Error("a log passes as that of another flight")
	}
	for n := range l { // cut at a line boundary: only a checkpoint shows it
		r, err := Verify(strings.NewReader(strings.Join(l[:n], "")), flight, VerifyOptions{Count: 8})
		if r.Problem == nil || r.Problem.Kind != Cut {
			t.Errorf("cut to %d lines: %v", n, err)
		}
	}
}

func TestCheckpoint(t *testing.T) {
	t.Parallel()
	data := sampleLog(t, 4)
	r, err := verify(data[:len(data)-1-bytes.IndexByte(data, '\n')])
	if err == nil {
		t.Fatal("a torn log passed", r)
	}
	short := bytes.Join(bytes.SplitAfter(data, []byte("\n"))[:2], nil)
	at, err := verify(short)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(bytes.NewReader(data), flight, VerifyOptions{Count: at.Events, Head: at.Head}); err != nil {
		t.Errorf("an extended log fails against its checkpoint: %v", err)
	}
	_, err = Verify(bytes.NewReader(data), flight, VerifyOptions{Count: at.Events + 1, Head: at.Head})
	wantCode(t, err, "audit_changed")
}

func TestVerifyReport(t *testing.T) {
	t.Parallel()
	r, err := Verify(iotest.OneByteReader(bytes.NewReader(sampleLog(t, 5))), flight, VerifyOptions{Refs: true})
	if err != nil || r.Events != 5 || len(r.Refs) != 5 || r.Refs[4].Line != 5 || r.Refs[4].Seq != 4 || r.LastEvent != protocol.EventArtifactValidated {
		t.Errorf("%+v %v", r, err)
	}
	if r, err := verify(nil); err != nil || r.Events != 0 {
		t.Errorf("empty log: %+v %v", r, err)
	}
	_, err = Verify(io.MultiReader(bytes.NewReader(sampleLog(t, 2)), iotest.ErrReader(errors.New("disk"))), flight, VerifyOptions{})
	wantCode(t, err, "audit_unreadable")
	// Times that go back are no fraud, but worth a word.
	dir := t.TempDir()
	l, _ := openLog(t, dir, Options{})
	if err := l.Append(sampleEvent(3), sampleEvent(1)); err != nil {
		t.Fatal(err)
	}
	if r, err := verify(readLog(t, dir)); err != nil || len(r.Warnings) != 1 || !strings.HasPrefix(r.Warnings[0], "line 2 ") {
		t.Errorf("%+v %v", r, err)
	}
}

// A log of many chunks with a fault far inside keeps its line numbers.
func TestVerifyManyChunks(t *testing.T) {
	t.Parallel()
	const n = 6000
	data := sampleLog(t, n)
	if len(data) < 4*chunkSize {
		t.Fatal("too small for this test")
	}
	if r, err := verify(data); err != nil || r.Events != n {
		t.Fatalf("%d %v", r.Events, err)
	}
	lines := bytes.SplitAfter(data, []byte("\n"))[:n]
	lines[5000], lines[5001] = lines[5001], lines[5000]
	if r, _ := verify(bytes.Join(lines, nil)); r.Problem == nil || r.Problem.Line != 5001 || r.Problem.Kind != Reordered {
		t.Errorf("%+v", r.Problem)
	}
}

func TestOverlongLine(t *testing.T) {
	t.Parallel()
	data := sampleLog(t, 1)
	long := append(bytes.Clone(data), bytes.Repeat([]byte("x"), 17<<20)...)
	r, err := verify(append(long, data...))
	if err == nil || r.Problem.Kind != Changed || r.Problem.Line != 2 {
		t.Errorf("%+v %v", r.Problem, err)
	}
}

// slowVerify is Verify without its speed: the same judgement by other means.
func slowVerify(data []byte) bool {
	prev := protocol.H(protocol.KindAuditChain, []byte(flight))
	for len(data) > 0 {
		line, rest, found := bytes.Cut(data, []byte("\n"))
		if !found || protocol.CheckCanonical(line) != nil {
			return false
		}
		var e protocol.AuditEvent
		tree, err := protocol.DecodeAny(line)
		m, ok := tree.(map[string]any)
		if err != nil || !ok || protocol.Decode(line, &e) != nil || e.ChainHash != prev {
			return false
		}
		delete(m, "event_id")
		delete(m, "signature")
		id, err := protocol.HCanonical(protocol.KindAuditEvent, m)
		if err != nil || id != "sha256:"+e.EventID {
			return false
		}
		prev = protocol.H(protocol.KindAuditChain, line)
		data = rest
	}
	return true
}

func FuzzVerify(f *testing.F) {
	data := sampleLog(f, 3)
	lines := bytes.SplitAfter(data, []byte("\n"))
	f.Add(data)
	f.Add(data[:len(data)-1])
	f.Add(data[:len(data)/2])
	f.Add(join(string(lines[1]), string(lines[0]), string(lines[2])))
	f.Add(bytes.Replace(data, []byte("greet"), []byte("gre\\u0065t"), 1))
	f.Add([]byte("\n"))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := verify(data)
		if (err == nil) != (r.Problem == nil) {
			t.Fatalf("error %v, problem %+v", err, r.Problem)
		}
		if err == nil && !slowVerify(data) {
			t.Fatalf("Verify accepts %q", data)
		}
		if err != nil && protocol.ExitCode(err) != protocol.ExitIntegrity {
			t.Fatal(err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	data := sampleLog(b, 100_000)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if r, err := Verify(bytes.NewReader(data), flight, VerifyOptions{Refs: true}); err != nil || r.Events != 100_000 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*100_000/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(len(data))/100_000, "bytes/event")
}
