package back

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	programs "github.com/cabincrew/action/engines/process"
	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/limits"
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
	// Kept says of what lies in a root that the child shall not change it, although it may
	// write there: names that decide what runs or who judges. nil: nothing is. What is
	// there when a child starts is held read-only in tier A; tier B cannot do that, and a
	// root with such a name is refused.
	Kept   func(root, path string) bool
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
		if c.Found.Isolation.Tier != sandbox.TierA {
			kept, err := c.kept(r)
			if err == nil && len(kept) > 0 {
				return refused(name, "it may write in its root %s, and so could change %s, which only tier A keeps from it", r.Path, kept[0]).
					WithHint("write: false, or a root without it")
			} else if err != nil {
				return refused(name, "its root cannot be looked through: %w", err)
			}
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
	kept    []string // what is held read-only
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
		if tier != sandbox.TierA {
			continue
		}
		kept, err := c.kept(r)
		if err != nil {
			return h, fmt.Errorf("its root %s: %w", r.Path, err)
		}
		for _, hidden := range c.Hidden {
			if within(r.Path, hidden) {
				h.confine.Covers = append(h.confine.Covers, covered(r.Path, hidden))
			}
		}
		h.kept = append(h.kept, kept...)
		h.confine.Binds = append(h.confine.Binds, fixed(r, kept, h.confine.Covers)...)
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

// kept finds what of a root the child shall not change: by their paths, each without what
// lies below it.
func (c *Confinement) kept(r Root) ([]string, error) {
	if c.Kept == nil || !r.Write {
		return nil, nil
	}
	var out []string
	seen := 0
	err := filepath.WalkDir(r.Path, func(path string, d fs.DirEntry, err error) error {
		if seen++; seen > limits.MCPBackRootEntries {
			return fmt.Errorf("it has more than %d files, and could hold names that must be kept", limits.MCPBackRootEntries)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it went in the meantime
		case err != nil:
			return err
		case path == r.Path || !c.Kept(r.Path, path):
			return nil
		}
		if out = append(out, path); len(out) > limits.MCPBackKept {
			return fmt.Errorf("it has more than %d names that must be kept", limits.MCPBackKept)
		}
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	return out, err
}

// appeared tells which names that must be kept came into the roots while a child ran: what
// is not there cannot be held, so somebody should look at it before it is used.
func (c *Confinement) appeared(before []string) []string {
	var out []string
	if c == nil {
		return nil
	}
	for _, r := range c.Roots {
		now, err := c.kept(r)
		if err != nil {
			out = append(out, r.Path+" ("+plain(err)+")")
		}
		for _, path := range now {
			if !slices.Contains(before, path) {
				out = append(out, path)
			}
		}
	}
	return out
}

// fixed makes what is kept in a root, and the directories between the root and what is
// kept or covered, mounts, which nobody moves: one that was moved away would leave the
// name free for another.
func fixed(r Root, kept, covers []string) []sandbox.Bind {
	var out []sandbox.Bind
	known := map[string]bool{r.Path: true}
	add := func(path string, write bool) {
		if !known[path] {
			known[path] = true
			out = append(out, sandbox.Bind{Source: path, Target: path, Write: write, Fixed: true})
		}
	}
	for _, path := range kept {
		add(path, false)
	}
	for _, path := range slices.Concat(kept, covers) {
		if !strings.HasPrefix(path, r.Path+"/") {
			continue
		}
		for dir := filepath.Dir(path); len(dir) > len(r.Path); dir = filepath.Dir(dir) {
			add(dir, r.Write && !slices.ContainsFunc(kept, func(k string) bool { return strings.HasPrefix(dir, k+"/") }))
		}
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
