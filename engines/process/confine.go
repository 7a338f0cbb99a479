package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/protocol"
)

// Where an engine in tier A finds things. The same on every machine, so that no
// plan depends on a path.
const (
	innerWorkspace = "/workspace"
	innerArtifacts = "/artifacts"
	innerTemp      = "/temp"
	innerEngine    = "/engine"
	innerBase      = "/unchanged"
	innerChanges   = "/changes"
)

// Variables that tell a built-in engine of a writable view of the workspace.
const (
	baseVariable    = "CABINCREW_OVERLAY_BASE"
	changesVariable = "CABINCREW_OVERLAY_CHANGES"
)

// held is a run as the sandbox gets it.
type held struct {
	argv      []string
	env       []string
	mark      string
	workspace string
	confine   *sandbox.Confine
	proxy     Proxy
	done      sync.WaitGroup
	serveErr  error
}

// systemDirs are the directories of the system's programs.
func systemDirs() []string {
	return append(libraryDirs(), "/bin", "/sbin", "/usr")
}

// libraryDirs are what a program needs that is not one itself. Of the certificates
// only the public ones: private keys lie beside them.
func libraryDirs() []string {
	return []string{
		"/lib", "/lib32", "/lib64", "/libx32", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/libexec", "/usr/share", "/usr/local/lib", "/usr/local/share",
		"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted", "/etc/mime.types",
	}
}

// confine makes the sandbox's view of a run.
func (r Runner) confine(s *engines.Spec) (*held, error) {
	h := &held{argv: slices.Clone(s.Argv), workspace: s.Workspace, mark: "CABINCREW_TEMP_DIR=" + s.TempDir}
	if len(s.Hold.Hosts)+len(s.Hold.Tunnels) > 0 {
		if err := r.network(s, h); err != nil {
			return nil, err
		}
	}
	dirs := map[string]string{"CABINCREW_ARTIFACTS_DIR": s.ArtifactsDir, "CABINCREW_TEMP_DIR": s.TempDir}
	switch s.Hold.Tier {
	case sandbox.TierA:
		h.tierA(s)
		dirs = map[string]string{"CABINCREW_ARTIFACTS_DIR": innerArtifacts, "CABINCREW_TEMP_DIR": innerTemp}
		h.mark = "CABINCREW_TEMP_DIR=" + innerTemp // the pid namespace ends survivors, no mark is needed
		if v := s.Hold.View; v != nil && v.Upper != "" {
			dirs[baseVariable], dirs[changesVariable] = innerBase, innerChanges
		}
	case sandbox.TierB:
		h.tierB(s)
	}
	for _, dir := range s.Hold.Same {
		if h.confine != nil {
			h.confine.Binds = append(h.confine.Binds, sandbox.Bind{Source: dir, Target: dir})
		}
	}
	for name, dir := range s.Hold.ReadOnly {
		if slices.Contains(s.Hold.Same, dir) {
			dirs[name] = dir
			continue
		}
		dirs[name] = h.further(name, dir, false)
	}
	for name, dir := range s.Hold.Writable {
		dirs[name] = h.further(name, dir, true)
	}
	dirs["CABINCREW_WORKSPACE"] = h.workspace
	h.env = environment(s, dirs, h.proxy != nil)
	return h, nil
}

// further gives where the engine sees a further directory. Arguments that name it
// are changed to that.
func (h *held) further(name, dir string, write bool) string {
	if h.confine == nil {
		return dir
	}
	b := sandbox.Bind{Source: dir, Target: dir, Write: write}
	if h.confine.Tier == sandbox.TierA {
		b.Target = "/further/" + strings.ToLower(name)
		for i, arg := range h.argv {
			if rest, ok := strings.CutPrefix(arg, dir); ok && (rest == "" || rest[0] == '/') {
				h.argv[i] = b.Target + rest
			}
		}
	}
	h.confine.Binds = append(h.confine.Binds, b)
	return b.Target
}

// network makes the proxy. Only tier A has a network of its own to put it in.
func (r Runner) network(s *engines.Spec, h *held) error {
	if s.Hold.Tier == sandbox.TierB || r.Proxy == nil {
		return protocol.Errorf(protocol.ExitUnreachable, "network_unavailable", "the step lists hosts, and only in tier A an engine can be let to those and no others; here it is tier %s", s.Hold.Tier).
			WithHint("run on a machine where cabincrew doctor shows tier A, or give the engine what it needs as inputs")
	}
	if s.Hold.Tier != sandbox.TierA {
		return nil // tier C has the whole network anyway, and the evidence says so
	}
	var err error
	if h.proxy, err = r.Proxy(s.Input.Mode, s.Hold.Hosts, s.Hold.Tunnels); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.TempDir, caFile), h.proxy.CA(), 0o644); err != nil { //nolint:gosec // a certificate
		return fmt.Errorf("writing the proxy's certificate: %w", err)
	}
	return nil
}

// accept serves the proxy until the run has ended.
func (h *held) accept(ctx context.Context) func(net.Listener) {
	if h.proxy == nil {
		return nil
	}
	return func(l net.Listener) {
		h.done.Go(func() {
			if err := h.proxy.Serve(ctx, l); err != nil && !errors.Is(err, net.ErrClosed) && ctx.Err() == nil {
				h.serveErr = err
			}
		})
	}
}

// served waits for the proxy's end.
func (h *held) served() error {
	h.done.Wait()
	return h.serveErr
}

func (h *held) tierA(s *engines.Spec) {
	takeOff := s.Input.Mode == protocol.TakeOff
	c := &sandbox.Confine{Tier: sandbox.TierA, Sudo: s.Hold.Sudo, Require: s.Hold.Require, Listen: h.proxy != nil, View: s.Hold.View}
	c.Binds = append(programs(s), sandbox.Bind{Source: s.TempDir, Target: innerTemp, Write: true},
		sandbox.Bind{Source: s.ArtifactsDir, Target: innerArtifacts, Write: !takeOff})
	if v := c.View; v != nil {
		v.Target = innerWorkspace
		if v.Upper != "" {
			v.Base, v.Changes = innerBase, innerChanges
		}
	} else {
		c.Binds = append(c.Binds, sandbox.Bind{Source: s.Workspace, Target: innerWorkspace, Write: takeOff})
		for _, p := range s.Hold.Kept {
			c.Binds = append(c.Binds, sandbox.Bind{Source: filepath.Join(s.Workspace, filepath.FromSlash(p)), Target: innerWorkspace + "/" + p})
		}
		for _, p := range s.Hold.Covered {
			c.Covers = append(c.Covers, innerWorkspace+"/"+p)
		}
	}
	for i, arg := range h.argv {
		if rest, ok := strings.CutPrefix(arg, s.Workspace); ok && (rest == "" || rest[0] == '/') {
			h.argv[i] = innerWorkspace + rest
		}
	}
	if at := h.argv[0]; s.Hold.Root == "" && !strings.HasPrefix(at, innerWorkspace+"/") && !seen(c.Binds, at) {
		h.argv[0] = innerEngine + "/" + filepath.Base(at)
		c.Binds = append(c.Binds, sandbox.Bind{Source: resolved(at), Target: h.argv[0]})
	}
	h.workspace, h.confine = innerWorkspace, c
}

func (h *held) tierB(s *engines.Spec) {
	takeOff := s.Input.Mode == protocol.TakeOff
	c := &sandbox.Confine{Tier: sandbox.TierB, Require: s.Hold.Require}
	same := func(path string, write bool) {
		c.Binds = append(c.Binds, sandbox.Bind{Source: path, Target: path, Write: write})
	}
	c.Binds = programs(s)
	for _, p := range []string{"/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/hosts"} {
		same(p, false)
	}
	same(s.TempDir, true)
	same(s.ArtifactsDir, !takeOff)
	same(s.Workspace, takeOff)
	same(resolved(h.argv[0]), false)
	h.confine = c
}

// programs are the directories and files that the engine may execute.
func programs(s *engines.Spec) []sandbox.Bind {
	var out []sandbox.Bind
	add := func(path string) {
		if !seen(out, path) {
			out = append(out, sandbox.Bind{Source: path, Target: path})
		}
	}
	if s.Hold.Root != "" {
		entries, _ := os.ReadDir(s.Hold.Root) // an empty image has no program, and the start says so
		for _, e := range entries {
			switch e.Name() {
			case "proc", "dev", "tmp", "sys":
			default:
				out = append(out, sandbox.Bind{Source: filepath.Join(s.Hold.Root, e.Name()), Target: "/" + e.Name()})
			}
		}
		return out
	}
	if len(s.Hold.Tools) == 0 {
		for _, dir := range systemDirs() {
			add(dir)
		}
	} else {
		for _, dir := range libraryDirs() {
			add(dir)
		}
	}
	for _, t := range s.Hold.Tools {
		for _, path := range append(way(t.Path), way(interpreterOf(t.Path))...) {
			add(path)
		}
	}
	// A script's first line is not a way to programs that the step does not list.
	if interpreter := interpreterOf(lower(s, s.Argv[0])); interpreter != "" && ofSystem(interpreter) {
		for _, path := range way(interpreter) {
			add(path)
		}
	}
	return out
}

// unseen gives the interpreter of a script where the machine has it and the engine
// did not see it, else "".
func unseen(s *engines.Spec, c *sandbox.Confine) string {
	at := interpreterOf(lower(s, s.Argv[0]))
	if c == nil || at == "" || s.Hold.Root != "" {
		return ""
	}
	if _, err := os.Stat(at); err != nil || slices.ContainsFunc(c.Binds, func(b sandbox.Bind) bool { return b.Target == at || strings.HasPrefix(at, b.Target+"/") }) {
		return ""
	}
	return at
}

// lower gives where the host has a file of the workspace, which may be composed.
func lower(s *engines.Spec, path string) string {
	name, inside := strings.CutPrefix(path, s.Workspace+"/")
	if !inside || s.Hold.View == nil {
		return path
	}
	for _, dir := range s.Hold.View.Lower {
		at := filepath.Join(dir, name)
		if _, err := os.Lstat(at); err == nil {
			return at
		}
	}
	return path
}

// way lists the symbolic links that a path leads over, in directories too, and
// then where it ends: a path is usable where all of them are seen.
func way(path string) []string {
	const most = 40 // links, as the kernel has it
	if path == "" {
		return nil
	}
	var links []string
	at, rest := "/", strings.Split(path, "/")
	for len(rest) > 0 && len(links) < most {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		to, err := os.Readlink(next)
		if err != nil {
			at = next // no link; what is missing, the start of the engine tells
			continue
		}
		links = append(links, next)
		if filepath.IsAbs(to) {
			at = "/"
		}
		rest = append(strings.Split(to, "/"), rest...)
	}
	return append(links, at)
}

// ofSystem says whether a path lies, followed to its end, in the system's directories.
func ofSystem(path string) bool {
	to := resolved(path)
	return slices.ContainsFunc(systemDirs(), func(dir string) bool { return strings.HasPrefix(to, dir+"/") })
}

// seen says whether a path is at or below one that is bound at its own place.
func seen(binds []sandbox.Bind, path string) bool {
	return slices.ContainsFunc(binds, func(b sandbox.Bind) bool {
		return b.Source == b.Target && (b.Source == path || strings.HasPrefix(path, b.Source+"/"))
	})
}

// resolved follows links; a path that cannot be followed stays as it is, and the
// start of the engine tells.
func resolved(path string) string {
	if to, err := filepath.EvalSymlinks(path); err == nil {
		return to
	}
	return path
}

// interpreterOf gives the program that a script names in its first line, or "".
func interpreterOf(path string) string {
	f, err := engines.OpenPlain(path)
	if err != nil {
		return "" // the start of the engine tells
	}
	defer func() { _ = f.Close() }() // only read
	line, _ := bufio.NewReader(io.LimitReader(f, 256)).ReadString('\n')
	rest, ok := strings.CutPrefix(line, "#!")
	if !ok {
		return ""
	}
	words := strings.Fields(rest)
	if len(words) == 0 || !filepath.IsAbs(words[0]) {
		return ""
	}
	return words[0]
}

// environment gives the engine's whole environment.
func environment(s *engines.Spec, dirs map[string]string, proxied bool) []string {
	temp := dirs["CABINCREW_TEMP_DIR"]
	env := map[string]string{
		"PATH": Path, "HOME": temp + "/home", "TMPDIR": temp, "LANG": "C.UTF-8", "TZ": "UTC",
	}
	maps.Copy(env, s.Env)
	if proxied { // no other way leads out, so the step cannot name another proxy
		for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
			env[name] = "http://" + sandbox.ProxyAddress
		}
		env["NO_PROXY"], env["no_proxy"] = "", ""
		for _, name := range []string{"SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"} {
			env[name] = temp + "/" + caFile
		}
	}
	maps.DeleteFunc(env, func(name, _ string) bool { return strings.HasPrefix(name, "CABINCREW_") }) // ours, also the mark
	maps.Copy(env, dirs)
	env["CABINCREW_MODE"] = string(s.Input.Mode)
	env["CABINCREW_INPUT_FILE"] = temp + "/" + inputFile
	env["CABINCREW_OUTPUT_FILE"] = temp + "/" + outputFile
	out := make([]string, 0, len(env))
	for name, value := range env {
		if strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
			continue // refused by the configuration; never passed on
		}
		out = append(out, name+"="+value)
	}
	slices.Sort(out)
	return out
}
