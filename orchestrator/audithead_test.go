package orchestrator

import (
	"errors"
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

// counted is a journal that only knows how many events there are.
type counted struct {
	Journal

	events int64
}

func (c counted) AuditHead() (int64, string) { return c.events, "sha256:last" }

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
	o := &Orchestrator{AuditRoot: func(log io.Reader, lines uint64) (string, error) {
		tree, err := merkle.Read(log, &lines)
		if err != nil {
			return "", err
		}
		root, err := tree.Root()
		return protocol.FormatDigest(root[:]), err
	}}
	head, err := o.auditHead(f)
	if err != nil || head.Size != 3 || head.Last != "sha256:last" {
		t.Fatalf("%+v, %v", head, err)
	}
	v := &verified{plan: &PlanFacts{Audit: head}}
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
