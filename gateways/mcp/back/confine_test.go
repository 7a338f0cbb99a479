package back

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

// machine is what sandbox.Probe finds here.
var machine = sync.OnceValue(func() sandbox.Found { return sandbox.Probe(context.Background(), false) })

// reads lets the child read a file, or read and write it.
func reads(t *testing.T, s *childSession, path string, write bool) string {
	t.Helper()
	how := "read"
	if write {
		how = "write"
	}
	raw := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"read","params":{"name":%s,"how":"%s"}}`, jsonrpc.AppendString(nil, path), how)
	a, err := s.Send(t.Context(), callOf(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	v, _ := jsonrpc.Lookup(a.Body, "result", "text")
	text, _ := jsonrpc.Text(v)
	return text
}

func TestConfined(t *testing.T) {
	t.Parallel()
	if machine().Isolation.Tier != sandbox.TierA {
		t.Skip("this machine has no tier A:", machine().Refused)
	}
	dir := t.TempDir()
	for _, d := range []string{"write", "read", "outside", "write/state"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, d), 0o700), os.WriteFile(filepath.Join(dir, d, "file"), []byte(d), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	at := func(p string) string { return filepath.Join(dir, p) }
	if err := errors.Join(os.Symlink(at("outside"), at("write/link")), os.WriteFile(at("write/lock"), []byte("pins"), 0o600)); err != nil {
		t.Fatal(err)
	}
	c := &Confinement{
		Tier: sandbox.TierA, Found: machine(), Roots: []Root{{at("write"), true}, {at("read"), false}},
		Hidden: []string{at("write/state"), at("write/lock"), at("elsewhere")},
	}
	_, s := childOf(t, "yes", ChildOptions{Confine: c, Dir: at("write")}, link.Session{Principal: "p"})
	if got := reads(t, s, at("write/file"), true); got != "write<nil>" {
		t.Error(got)
	}
	if got, err := os.ReadFile(at("write/file")); err != nil || string(got) != "changed" {
		t.Errorf("%s, %v", got, err)
	}
	if got := reads(t, s, at("read/file"), false); got != "read<nil>" {
		t.Error(got)
	}
	for _, p := range []string{"outside/file", "write/link/file", "write/../outside/file", "write/state/file"} {
		if got := reads(t, s, dir+"/"+p, false); !strings.Contains(got, "no such file") {
			t.Errorf("%s: %s", p, got)
		}
	}
	if got := reads(t, s, at("read/file"), true); !strings.Contains(got, "read-only") {
		t.Error(got)
	}
	if got := reads(t, s, at("write/lock"), true); strings.Contains(got, "pins") {
		t.Error(got)
	}
	if got, err := os.ReadFile(at("write/lock")); err != nil || string(got) != "pins" {
		t.Errorf("the lock is now %q, %v", got, err)
	}
	// A directory that becomes a link after it was checked leads to nothing.
	if err := errors.Join(os.Mkdir(at("write/sub"), 0o700), os.Remove(at("write/sub")), os.Symlink("../outside", at("write/sub"))); err != nil {
		t.Fatal(err)
	}
	if got := reads(t, s, at("write/sub/file"), false); !strings.Contains(got, "no such file") {
		t.Error(got)
	}
	for _, p := range []string{"/etc/shadow", "/root/.ssh", "/proc/1/root/etc/shadow", "/var"} {
		if got := reads(t, s, p, false); !strings.Contains(got, "no such file") && !strings.Contains(got, "permission denied") {
			t.Errorf("%s: %s", p, got)
		}
	}
}

// TestConfinedKeepsNames: a child that may write in its root changes nothing there that
// decides what runs, nor moves it away to make another.
func TestConfinedKeepsNames(t *testing.T) {
	t.Parallel()
	if machine().Isolation.Tier != sandbox.TierA {
		t.Skip("this machine has no tier A:", machine().Refused)
	}
	dir := t.TempDir()
	at := func(p string) string { return filepath.Join(dir, p) }
	for _, f := range []string{".git/hooks/pre-commit", ".git/config", "deep/er/.git/config", "deep/er/file", ".env"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(at(f)), 0o700), os.WriteFile(at(f), []byte("was"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	kept := func(_, path string) bool { return slices.Contains([]string{".git", ".env"}, filepath.Base(path)) }
	c := &Confinement{Tier: sandbox.TierA, Found: machine(), Roots: []Root{{dir, true}}, Kept: kept}
	_, s := childOf(t, "yes", ChildOptions{Confine: c, Dir: dir}, link.Session{Principal: "p"})
	for _, f := range []string{".git/hooks/pre-commit", ".git/hooks/post-checkout", ".git/config", "deep/er/.git/config", ".env"} {
		if got := reads(t, s, at(f), true); !strings.Contains(got, "read-only") {
			t.Errorf("%s: %s", f, got)
		}
	}
	if got := reads(t, s, at("deep/er/file"), true); got != "was<nil>" {
		t.Error(got)
	}
	for _, f := range []string{".git", ".env", "deep/er/.git", "deep/er", "deep"} {
		if got := moves(t, s, at(f), at(f+"-away")); !strings.Contains(got, "busy") {
			t.Errorf("%s was moved: %s", f, got)
		}
	}
	// What is not there cannot be held: it is told afterwards.
	if err := errors.Join(os.Mkdir(at("new"), 0o700), os.WriteFile(at("new/.env"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if got := c.appeared([]string{at(".git"), at(".env"), at("deep/er/.git")}); !slices.Equal(got, []string{at("new/.env")}) {
		t.Error(got)
	}
	if err := os.Symlink("deep/er/.git", at("x.git")); err != nil {
		t.Fatal(err)
	}
	// What is kept must be what it seems: a link could be another at any time.
	c.Kept = func(_, path string) bool { return strings.HasSuffix(path, ".git") }
	_, s = childOf(t, "yes", ChildOptions{Confine: c, Dir: dir}, link.Session{Principal: "q"})
	if _, err := s.Send(t.Context(), callOf(t, `{"jsonrpc":"2.0","id":1,"method":"read","params":{"name":"x","how":"read"}}`)); err == nil || !strings.Contains(err.Error(), "is a link") {
		t.Error(err)
	}
	b := Confinement{Tier: sandbox.TierB, Found: sandbox.Found{Isolation: sandbox.Isolation{Tier: sandbox.TierB}}, Roots: []Root{{dir, true}}, Kept: kept}
	if err := b.check("s"); err == nil || !strings.Contains(err.Error(), ".env") && !strings.Contains(err.Error(), ".git") {
		t.Error(err)
	}
	b.Roots[0].Write = false
	if err := b.check("s"); err != nil {
		t.Error(err)
	}
}

// moves lets the child rename a file.
func moves(t *testing.T, s *childSession, from, to string) string {
	t.Helper()
	raw := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"read","params":{"name":%s,"how":"move","to":%s}}`, jsonrpc.AppendString(nil, from), jsonrpc.AppendString(nil, to))
	a, err := s.Send(t.Context(), callOf(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	v, _ := jsonrpc.Lookup(a.Body, "result", "text")
	text, _ := jsonrpc.Text(v)
	return text
}

func TestConfinementRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := sandbox.Found{Isolation: sandbox.Isolation{Tier: sandbox.TierA, Missing: []string{sandbox.LayerCgroup}}}
	b := sandbox.Found{Isolation: sandbox.Isolation{Tier: sandbox.TierB}}
	for _, c := range []struct {
		name string
		exit int
		c    Confinement
	}{
		{"no tier", protocol.ExitUsage, Confinement{Found: a}},
		{"tier C", protocol.ExitUsage, Confinement{Tier: "C", Found: a}},
		{"nothing found", protocol.ExitUnreachable, Confinement{Tier: "B"}},
		{"too little", protocol.ExitUnreachable, Confinement{Tier: "A", Found: b}},
		{"layer", protocol.ExitUnreachable, Confinement{Tier: "A", Found: a, Require: []string{sandbox.LayerCgroup}}},
		{"relative root", protocol.ExitUsage, Confinement{Tier: "A", Found: a, Roots: []Root{{Path: "x"}}}},
		{"everything", protocol.ExitUsage, Confinement{Tier: "A", Found: a, Roots: []Root{{Path: "/"}}}},
		{"no root", protocol.ExitUsage, Confinement{Tier: "A", Found: a, Roots: []Root{{Path: dir + "/none"}}}},
		{"root in state", protocol.ExitUsage, Confinement{Tier: "A", Found: a, Roots: []Root{{Path: dir}}, Hidden: []string{filepath.Dir(dir)}}},
		{"state in root", protocol.ExitUsage, Confinement{Tier: "B", Found: b, Roots: []Root{{Path: dir}}, Hidden: []string{dir + "/state"}}},
		{"relative program", protocol.ExitUsage, Confinement{Tier: "A", Found: a, Programs: []string{"bin"}}},
	} {
		_, err := NewChild(ChildOptions{Name: "s", Argv: []string{"sh"}, Dir: dir, Confine: &c.c})
		if err == nil || protocol.ExitCode(err) != c.exit {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
