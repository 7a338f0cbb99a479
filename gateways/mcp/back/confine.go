package back

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	programs "github.com/cabincrew/action/engines/process"
	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/protocol"
)

// Root is a file or directory that a confined child has, at its own path.
type Root struct {
	Path  string // absolute
	Write bool
}

// Confinement says how a child is held. It sees the system's programs, its roots, and
// a temporary directory of its own; it has no network.
type Confinement struct {
	// Tier is the least that is good enough: sandbox.TierA or sandbox.TierB.
	Tier    string
	Found   sandbox.Found // what this machine can, by sandbox.Probe
	Require []string      // layers without which the child is not started
	Roots   []Root
	// Programs are further files and directories that it may read and execute.
	Programs []string
	// Hidden are paths that it shall not have although they lie in a root: the
	// gateway's configuration, lock, state and keys. In tier B none may lie in one.
	Hidden []string
	Limits sandbox.Limits // 0: the sandbox's defaults
}

// check refuses what cannot be had. Nothing is started with less than was asked for.
func (c *Confinement) check(name string) error {
	if c.Tier != sandbox.TierA && c.Tier != sandbox.TierB {
		return refused(name, "its sandbox is tier %q, which is none", c.Tier).WithHint("write A or B")
	}
	if got := c.Found.Isolation.Tier; got == "" || got > c.Tier {
		return protocol.Errorf(protocol.ExitUnreachable, "isolation_failed", "the server is to be held in tier %s, and this machine has tier %s", c.Tier, cmpOr(got, sandbox.TierC)).
			At("servers." + name).WithHint("cabincrew doctor tells what this machine can do")
	}
	for _, layer := range c.Require {
		if c.Found.Isolation.Lacks(layer) {
			return protocol.Errorf(protocol.ExitUnreachable, "isolation_failed", "the server is to be held with %s, which this machine does not have", layer).
				At("servers." + name).WithHint("cabincrew doctor tells what this machine can do")
		}
	}
	for _, r := range c.Roots {
		if !filepath.IsAbs(r.Path) || filepath.Clean(r.Path) != r.Path || r.Path == "/" {
			return refused(name, "its root %q is not absolute and clean, or is the whole machine", r.Path)
		}
		if _, err := os.Stat(r.Path); err != nil {
			return refused(name, "its root cannot be used: %w", err)
		}
		for _, h := range c.Hidden {
			switch {
			case within(h, r.Path):
				return refused(name, "its root %s lies in %s, which is the gateway's own", r.Path, h)
			case within(r.Path, h) && c.Found.Isolation.Tier != sandbox.TierA:
				return refused(name, "its root %s holds %s, which is the gateway's own and only tier A hides", r.Path, h)
			}
		}
	}
	for _, p := range c.Programs {
		if !filepath.IsAbs(p) {
			return refused(name, "the program directory %q is not absolute", p)
		}
	}
	return nil
}

func cmpOr(s, instead string) string {
	if s == "" {
		return instead
	}
	return s
}

// within says whether a path is at or below dir, also where links lead.
func within(dir, path string) bool {
	below := func(dir, path string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
	return below(dir, path) || below(resolved(dir), resolved(path))
}

// resolved follows links as far as there is something.
func resolved(path string) string {
	if to, err := filepath.EvalSymlinks(path); err == nil {
		return to
	}
	if dir := filepath.Dir(path); dir != path {
		return filepath.Join(resolved(dir), filepath.Base(path))
	}
	return path
}

// held is what one child is held by.
type held struct {
	confine *sandbox.Confine
	env     []string // for the child, after its own
	clean   func()   // when the child is gone
}

// hold makes the sandbox of one child. The roots are bound before the child runs, so
// that a link which is swapped later leads to nothing that is not in them.
func (c *Confinement) hold(program string) (held, error) {
	h := held{clean: func() {}}
	if c == nil {
		return h, nil
	}
	tier := c.Found.Isolation.Tier
	h.confine = &sandbox.Confine{Tier: tier, Sudo: c.Found.Sudo, Require: c.Require, Limits: c.Limits, Binds: programs.View(program, tier)}
	add := func(path string, write bool) {
		h.confine.Binds = append(h.confine.Binds, sandbox.Bind{Source: resolved(path), Target: path, Write: write})
	}
	for _, p := range c.Programs {
		add(p, false)
	}
	roots := slices.Clone(c.Roots)
	slices.SortStableFunc(roots, func(a, b Root) int { return len(a.Path) - len(b.Path) })
	for _, r := range roots {
		add(r.Path, r.Write)
		for _, hidden := range c.Hidden {
			if tier == sandbox.TierA && within(r.Path, hidden) {
				at := covered(r.Path, hidden)
				h.confine.Covers = append(h.confine.Covers, at)
				h.confine.Binds = append(h.confine.Binds, fixed(r, at)...)
			}
		}
	}
	if tier == sandbox.TierA {
		h.env = []string{"HOME=/tmp", "TMPDIR=/tmp"} // in memory, of this child alone
		return h, nil
	}
	temp, err := os.MkdirTemp("", "cabincrew-server-")
	if err != nil {
		return h, fmt.Errorf("its temporary directory: %w", err)
	}
	h.clean = func() { _ = os.RemoveAll(temp) } // what it kept there is of no use to anybody
	h.confine.Binds = append(h.confine.Binds, sandbox.Bind{Source: temp, Target: temp, Write: true})
	h.env = []string{"HOME=" + temp, "TMPDIR=" + temp}
	return h, nil
}

// fixed makes the directories between a root and what is covered in it mounts, which
// nobody moves: one that was moved away would leave the name free for another.
func fixed(r Root, covered string) []sandbox.Bind {
	var out []sandbox.Bind
	for dir := filepath.Dir(covered); len(dir) > len(r.Path); dir = filepath.Dir(dir) {
		out = append(out, sandbox.Bind{Source: dir, Target: dir, Write: r.Write, Fixed: true})
	}
	return out
}

// covered gives where the child would see a hidden path.
func covered(root, hidden string) string {
	if rest, ok := strings.CutPrefix(hidden, root); ok && (rest == "" || rest[0] == '/') {
		return hidden
	}
	rest := strings.TrimPrefix(resolved(hidden), resolved(root))
	return root + rest
}
