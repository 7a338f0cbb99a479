package paths

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Options say where the files of a server may lie.
type Options struct {
	// Roots are the directories that the server may touch, absolute or relative to Base.
	// They must exist. None: there is no rule where files may lie.
	Roots []string
	// Protected are further names that nobody may touch, wherever they lie: patterns of
	// path.Match for one name or, with slashes, for several that follow each other, and
	// absolute paths with all below them (configuration, lock, state, keys).
	Protected []string
	// Base is the working directory of the server; relative paths begin there. It is
	// absolute.
	Base string
	// Home is what the server takes "~" for; "" means that such paths are outside.
	Home string
	// CaseInsensitive says that names of roots are compared without case also where
	// nothing exists that could be compared.
	CaseInsensitive bool
}

// Tool is the tool that is called.
type Tool struct {
	Name string
	// Schema is its inputSchema as a tree, or nil.
	Schema any
	// Pointers are the places in the arguments that are paths, as JSON pointers; "*" is
	// every member or element. All texts below count. None: it is found out.
	Pointers []string
	// Never are places that are no paths whatever they look like, with all below them.
	Never []string
}

// Finding is one file that the arguments name.
type Finding struct {
	// At is where in the arguments it stands, as a JSON pointer. Where a name of a
	// member is the path, it points to that member.
	At string
	// Value is the text as it stands there, cut if it is long.
	Value string
	// Path is absolute, clean and free of links; "" where it cannot be told.
	Path string
	// Root is the root that it lies in, "" if it lies in none.
	Root string
	// Inside says that it lies in a root in every way in which it can be read.
	Inside bool
	// Protected says that it has a name that nobody may touch.
	Protected bool
	// Why says in a few words what is wrong; "" if nothing is.
	Why string
}

// Checker looks at the arguments of calls. It may be used by many goroutines at once.
type Checker struct {
	roots     []root
	base      string // resolved
	given     string // Base as it was given, "" if it is the same
	home      string
	fold      bool
	patterns  []pattern
	protected []guarded
}

// root is a directory that may be touched.
type root struct {
	path string // resolved
	info fs.FileInfo
}

// guarded is an absolute path that nobody may touch.
type guarded struct {
	path string // resolved
	fold string // as it is compared
}

// New makes a Checker.
func New(o Options) (*Checker, error) {
	if !filepath.IsAbs(o.Base) {
		return nil, protocol.Errorf(protocol.ExitUsage, "gateway_root_invalid", "the working directory of the server is not absolute").At(o.Base).
			WithHint("give an absolute path")
	}
	c := &Checker{base: filepath.Clean(o.Base), home: o.Home, fold: o.CaseInsensitive}
	if at := c.resolver().follow(c.base); at.why == "" && at.path != c.base {
		c.base, c.given = at.path, c.base
	}
	for _, name := range o.Roots {
		r, err := c.newRoot(name)
		if err != nil {
			return nil, err
		}
		c.roots = append(c.roots, r)
	}
	if err := c.protect(o.Protected); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Checker) newRoot(name string) (root, error) {
	wrong := func(why string) error {
		return protocol.Errorf(protocol.ExitUsage, "gateway_root_invalid", "the root cannot be used: %s", why).At(name).
			WithHint("roots are directories that exist; correct \"roots\", or make the directory")
	}
	p := name
	if p == "" {
		return root{}, wrong("it is empty")
	}
	if !filepath.IsAbs(p) {
		p = filepath.Join(c.base, p)
	}
	at := c.resolver().follow(filepath.Clean(p))
	if at.why != "" {
		return root{}, wrong(at.why)
	}
	info, err := os.Lstat(at.path)
	switch {
	case err != nil:
		return root{}, wrong(reason(err))
	case !info.IsDir():
		return root{}, wrong("it is no directory")
	}
	return root{path: at.path, info: info}, nil
}

// Roots gives the roots as they are compared, without links.
func (c *Checker) Roots() []string {
	out := make([]string, len(c.roots))
	for i := range c.roots {
		out[i] = c.roots[i].path
	}
	return out
}

// Check gives the files that the arguments of a call name, in the order of their places.
// args is a tree of map[string]any, []any, string and others, which name nothing.
func (c *Checker) Check(t Tool, args any) []Finding {
	w := walk{
		c: c, tool: &t, look: c.resolver(),
		texts: limits.MCPPathTexts, steps: limits.MCPPathSchemaSteps,
	}
	w.value(args, t.Schema, none, 0)
	return w.end()
}

func (c *Checker) resolver() *resolver {
	return &resolver{c: c, left: limits.MCPPathLookups}
}

// below says whether p is dir or lies in it; both are clean.
func below(p, dir string) bool {
	if dir == "/" {
		return strings.HasPrefix(p, "/")
	}
	return len(p) >= len(dir) && p[:len(dir)] == dir && (len(p) == len(dir) || p[len(dir)] == '/')
}
