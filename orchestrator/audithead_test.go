package orchestrator

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cabincrew/action/audit/merkle"
	"github.com/cabincrew/action/protocol"
)

// flightDir is Dir under another name, since Dir is also one of its methods.
type flightDir = Dir

// onlyRoot is a flight's directory of which only the root is asked for.
type onlyRoot struct {
	flightDir

	root *os.Root
}

func (d onlyRoot) Root() *os.Root { return d.root }
func (d onlyRoot) Dir() string    { return d.root.Name() }
func (d onlyRoot) ID() string     { return "f" }

// marks is a fence in memory.
type marks map[string]string

func (m marks) Mark(name, content string) (bool, error) {
	if _, there := m[name]; there {
		return false, nil
	}
	m[name] = content
	return true, nil
}

func (m marks) Marked(name string) (string, bool, error) {
	content, there := m[name]
	return content, there, nil
}

func (m marks) Marks(prefix string) (map[string]string, error) {
	out := map[string]string{}
	for name, content := range m {
		if strings.HasPrefix(name, prefix) {
			out[name] = content
		}
	}
	return out, nil
}

// rooted computes roots of logs as the program does.
func rooted(log io.Reader, lines uint64) (root, last string, err error) {
	tree, err := merkle.Read(log, &lines)
	if err != nil {
		return "", "", err
	}
	sum, err := tree.Root()
	return protocol.FormatDigest(sum[:]), protocol.H(protocol.KindAuditChain, tree.Last()), err
}

// counted is a journal that only knows how many events there are.
type counted struct {
	Journal

	events int64
}

func (c counted) AuditHead() int64 { return c.events }

// TestAuditHeadOfThePlan: a log that goes on after the plan was signed holds; one that
// was cut before, or has another line before, is refused.
func TestAuditHeadOfThePlan(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, AuditFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := &Flight{Dir: onlyRoot{root: root}, Journal: counted{events: 3}}
	const signed = "{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n"
	write(signed)
	o := &Orchestrator{AuditRoot: rooted}
	head, err := o.auditHead(f)
	if err != nil || head.Size != 3 || head.Last != protocol.H(protocol.KindAuditChain, []byte("{\"c\":3}")) {
		t.Fatalf("%+v, %v", head, err)
	}
	v := &verified{plan: &PlanFacts{SignedFacts: SignedFacts{Audit: head}}}
	for name, c := range map[string]struct{ log, code string }{
		"as signed":       {signed, ""},
		"goes on":         {signed + "{\"d\":4}\n", ""},
		"torn afterwards": {signed + "{\"d\"", ""},
		"cut":             {"{\"a\":1}\n{\"b\":2}\n", "audit_cut"},
		"torn":            {"{\"a\":1}\n{\"b\":2}\n{\"c\":3}", "audit_cut"},
		"empty":           {"", "audit_cut"},
		"changed":         {strings.Replace(signed, "2", "3", 1), "audit_rewritten"},
		"reordered":       {"{\"b\":2}\n{\"a\":1}\n{\"c\":3}\n", "audit_rewritten"},
		"inserted":        {"{}\n" + signed, "audit_rewritten"},
		"another end":     {"{\"a\":1}\n{\"b\":2}\n{\"c\":3} \n", "audit_rewritten"},
	} {
		write(c.log)
		_, err := v.auditHolds(o, f)
		if c.code == "" && err != nil || c.code != "" && (err == nil || protocol.ExitCode(err) != protocol.ExitIntegrity || !errors.Is(err, protocol.Code(c.code))) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Remove(filepath.Join(dir, AuditFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := v.auditHolds(o, f); !errors.Is(err, protocol.Code("audit_cut")) {
		t.Errorf("missing: %v", err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, AuditFile), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := v.auditHolds(o, f); err == nil { // it must not wait for a writer either
		t.Error("a pipe is taken for a log")
	}
}

// TestAuditHeadOfTheMark: what the log held when the take-off began must be there
// whenever the flight is opened again (T46).
func TestAuditHeadOfTheMark(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, AuditFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const held = "{\"a\":1}\n{\"b\":2}\n"
	write(held)
	f := &Flight{Dir: onlyRoot{root: root}, Journal: counted{events: 2}}
	f.Status.State = protocol.StateTakeoffRunning
	fence := marks{}
	o := &Orchestrator{AuditRoot: rooted, Fence: fence}
	if err := o.begin(f); err != nil {
		t.Fatal(err)
	}
	mark := fence["f.begun"]
	if !strings.Contains(mark, `"size":2`) || !strings.Contains(mark, dir) {
		t.Fatalf("the mark is %s", mark)
	}
	for name, c := range map[string]struct {
		log, mark string
		state     protocol.State
		code      string
	}{
		"as it was":             {held, mark, protocol.StateTakeoffRunning, ""},
		"goes on":               {held + "{}\n", mark, protocol.StateTakeoffRunning, ""},
		"ended":                 {held + "{}\n", mark, protocol.StateCompleted, ""},
		"cut":                   {"{\"a\":1}\n", mark, protocol.StateTakeoffRunning, "audit_cut"},
		"written anew":          {"{\"a\":1}\n{\"b\":3}\n{}\n", mark, protocol.StateTakeoffRunning, "audit_rewritten"},
		"ended and anew":        {"{\"a\":1}\n{\"b\":3}\n{}\n", mark, protocol.StateCompleted, "audit_rewritten"},
		"wound back":            {held, mark, protocol.StateReadyForTakeoff, "takeoff_replayed"},
		"elsewhere":             {held, strings.Replace(mark, dir, "/elsewhere", 1), protocol.StateTakeoffRunning, "takeoff_replayed"},
		"a copy that ended":     {"", strings.Replace(mark, dir, "/elsewhere", 1), protocol.StateCompleted, ""},
		"earlier mark":          {"", dir, protocol.StateTakeoffRunning, ""},
		"earlier mark, another": {"", "/elsewhere", protocol.StateTakeoffRunning, "takeoff_replayed"},
		"mark without a head":   {held, `{"audit":null,"dir":"` + dir + `"}`, protocol.StateTakeoffRunning, "mark_malformed"},
		"mark of nothing":       {held, "", protocol.StateTakeoffRunning, "mark_malformed"},
		"mark with more":        {held, `{"a":1,` + mark[1:], protocol.StateTakeoffRunning, "mark_malformed"},
	} {
		write(c.log)
		fence["f.begun"] = c.mark
		f.Status.State = c.state
		err := o.once(f)
		if c.code == "" && err != nil || c.code != "" && (!errors.Is(err, protocol.Code(c.code)) || protocol.ExitCode(err) != protocol.ExitIntegrity) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// sealed is an AuditSeal whose checkpoints are "size root".
type sealed struct{}

func (sealed) Checkpoint(_ Dir, size uint64, root string) (string, error) {
	return fmt.Sprintf("%d %s", size, root), nil
}

func (sealed) Opened(_ Dir, checkpoint string) (size uint64, root string, err error) {
	_, err = fmt.Sscanf(checkpoint, "%d %s", &size, &root)
	return size, root, err
}

func (sealed) Holds(Dir) (string, error) { return "", nil }

// TestSignedHead: where logs are signed, a statement's head must hold for itself.
func TestSignedHead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	if err := os.WriteFile(filepath.Join(dir, AuditFile), []byte("{}\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &Flight{Dir: onlyRoot{root: root}, Journal: counted{events: 2}}
	o := &Orchestrator{AuditRoot: rooted, Audit: sealed{}}
	good, err := o.auditHead(f)
	if err != nil || good.Checkpoint == "" {
		t.Fatalf("%+v %v", good, err)
	}
	for name, c := range map[string]struct {
		change func(h *AuditHead)
		code   string
	}{
		"as it is":       {func(*AuditHead) {}, ""},
		"no checkpoint":  {func(h *AuditHead) { h.Checkpoint = "" }, "audit_unsigned"},
		"of fewer lines": {func(h *AuditHead) { h.Checkpoint = "1 " + h.Root }, "audit_checkpoint"},
		"another root":   {func(h *AuditHead) { h.Checkpoint = "2 sha256:00" }, "audit_checkpoint"},
		"malformed":      {func(h *AuditHead) { h.Checkpoint = "x" }, "-"},
	} {
		head := good
		c.change(&head)
		_, err := o.headHolds(f, head, "the plan")
		if (err == nil) != (c.code == "") || c.code != "" && c.code != "-" && !errors.Is(err, protocol.Code(c.code)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
