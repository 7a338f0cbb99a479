package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/engines/egress"
	"github.com/cabincrew/action/engines/oci"
	"github.com/cabincrew/action/engines/process"
	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// isolation gives what finds the best isolation of this machine, once a command.
func (a *app) isolation(c *config.Config) func(context.Context) sandbox.Found {
	var once sync.Once
	var found sandbox.Found
	return func(ctx context.Context) sandbox.Found {
		once.Do(func() { found = sandbox.Probe(ctx, a.maySudo(c)) })
		return found
	}
}

// maySudo says whether sudo may be asked. By default only a CI platform's runner
// asks it: nobody is surprised there, and no person's terminal shows a prompt.
func (a *app) maySudo(c *config.Config) bool {
	return (c == nil || c.Sandbox.Sudo == config.SudoAuto) && ci.Detect(a.env) != ci.None
}

// proxy is a run's way to the network, as engines/process wants it.
type proxy struct{ *egress.Proxy }

var _ process.Proxy = proxy{}

func newProxy(mode protocol.Mode, hosts, tunnels []string) (process.Proxy, error) {
	p, err := egress.New(egress.Options{Mode: mode, Hosts: hosts, Tunnels: tunnels})
	return proxy{p}, err
}

// Requests lists what was asked.
func (p proxy) Requests() []engines.Request {
	var out []engines.Request
	for _, r := range p.Proxy.Requests() {
		out = append(out, engines.Request{
			Method: r.Method, URL: r.URL, Allowed: r.Allowed, Reason: r.Reason, Status: r.Status, Sent: r.Sent, Received: r.Received,
		})
	}
	return out
}

// Serve answers until ctx ends or the listener is closed.
func (p proxy) Serve(ctx context.Context, l net.Listener) error { return p.Proxy.Serve(ctx, l) }

// wasmEngine is the hidden engine that runs modules.
const wasmEngine = "wasm"

// Module gives the command line that runs a WebAssembly module, and where what is
// compiled of it may be kept while planning, or "": it is only faster then.
func (p programs) Module(module, digest string, timeout time.Duration) ([]string, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	cache, err := compiled(p.env, p.workspace, digest)
	if err != nil {
		cache = "" // doctor tells why
	}
	return []string{self, "engine", "run", wasmEngine, "--timeout", moduleTime(timeout).String(), module}, cache, nil
}

// moduleTime is a little less than the step's time-out, so that the engine itself
// can say that time was up.
func moduleTime(timeout time.Duration) time.Duration {
	return timeout - min(limits.EngineGrace, timeout/10)
}

// images are those that a command has unpacked.
type images struct {
	mu   sync.Mutex
	have map[string]orchestrator.Image
}

// Image fetches an image and unpacks it, once a command.
func (p programs) Image(ctx context.Context, e config.Engine, pinned string) (orchestrator.Image, error) {
	p.images.mu.Lock()
	defer p.images.mu.Unlock()
	key := fmt.Sprintf("%q %q %q %q", e.OCI, e.Layout, pinned, e.Args)
	if image, ok := p.images.have[key]; ok {
		image.Argv = slices.Clone(image.Argv)
		return image, nil
	}
	image, err := p.image(ctx, e, pinned)
	if err == nil {
		p.images.have[key] = image
		image.Argv = slices.Clone(image.Argv)
	}
	return image, err
}

func (p programs) image(ctx context.Context, e config.Engine, pinned string) (orchestrator.Image, error) {
	var out orchestrator.Image
	ref, err := oci.Parse(e.OCI, e.Resolve)
	if err != nil {
		return out, err
	}
	o := oci.Options{Cache: filepath.Join(p.cache, "oci", "blobs"), Plain: loopback(ref.Registry())}
	if e.Layout != "" {
		if o.Layout = filepath.FromSlash(e.Layout); !filepath.IsAbs(o.Layout) {
			o.Layout = filepath.Join(p.workspace, o.Layout)
		}
	}
	switch {
	case ref.Digest() == "" && pinned != "":
		ref, err = oci.Parse(ref.Registry()+"/"+ref.Repository()+"@"+pinned, false)
	case ref.Digest() == "":
		ref, err = oci.Resolve(ctx, ref, o)
	}
	if err != nil {
		return out, err
	}
	image, err := oci.Get(ctx, ref, o)
	if err != nil {
		return out, err
	}
	if out.Root, err = p.unpacked(ctx, image, o); err != nil {
		return out, err
	}
	out.Digest, out.Env = image.Digest, map[string]string{}
	for _, entry := range image.Config.Env {
		name, value, _ := strings.Cut(entry, "=")
		out.Env[name] = value
	}
	if out.Argv, err = image.Argv(e.Args); err != nil {
		return out, err
	}
	out.Argv[0], err = lookInside(out.Root, out.Argv[0], out.Env["PATH"])
	return out, err
}

// loopback says whether a registry is on this machine, where plain http is no risk.
func loopback(registry string) bool {
	host, _, err := net.SplitHostPort(registry)
	if err != nil {
		host = registry
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// unpacked gives an image's root file system. It is unpacked anew for each
// command: what lies there is executed, so no earlier run may have changed it.
func (p programs) unpacked(ctx context.Context, image *oci.Image, o oci.Options) (string, error) {
	dir, err := p.temp("image-")
	if err != nil {
		return "", err
	}
	return dir, oci.Unpack(ctx, image, o, dir)
}

// lookInside finds a program in an image, whose links do not lead out of it.
func lookInside(root, name, searchPath string) (string, error) {
	inside, err := os.OpenRoot(root)
	if err != nil {
		return "", err
	}
	defer func() { _ = inside.Close() }() // only looked at
	if searchPath == "" {
		searchPath = process.Path
	}
	candidates := []string{name}
	if !strings.Contains(name, "/") {
		candidates = nil
		for dir := range strings.SplitSeq(searchPath, ":") {
			candidates = append(candidates, path.Join("/", dir, name))
		}
	}
	for _, c := range candidates {
		clean := strings.TrimPrefix(path.Clean("/"+c), "/")
		// Absolute links of an image are meant from its own root.
		info, err := inside.Lstat(clean)
		if err == nil && (info.Mode().IsRegular() || info.Mode()&os.ModeSymlink != 0) {
			return "/" + clean, nil
		}
	}
	return "", protocol.Errorf(protocol.ExitUsage, "engine_not_found", "the image has no program %q", name).
		WithHint("name the program with args: [/path/in/the/image]")
}

// Look finds a program in the PATH that the program itself was given.
func (p programs) Look(name string) (string, error) {
	for _, dir := range filepath.SplitList(p.env["PATH"]) {
		if dir == "" || !filepath.IsAbs(dir) {
			continue // never the current directory: it is the workspace
		}
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}
