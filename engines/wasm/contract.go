package wasm

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cabincrew/action/protocol"
)

// dir is one of the three directories.
type dir struct {
	variable string
	guest    string
	host     string
	writable bool
}

// contract is what the module is given. SPEC: docs/protocol.md 2
type contract struct {
	dirs []dir
	env  []string // sorted by name
}

// cacheVariable names the compile cache, for this program and not for the module.
const cacheVariable = "CABINCREW_CACHE_DIR"

// fixed are variables that say where things are on the host or how to reach the
// network; the module has neither, or gets its own.
var fixed = []string{
	"CABINCREW_WORKSPACE", "CABINCREW_ARTIFACTS_DIR", "CABINCREW_TEMP_DIR", "CABINCREW_MODE",
	"CABINCREW_INPUT_FILE", "CABINCREW_OUTPUT_FILE", cacheVariable, "HOME", "TMPDIR", "PWD",
	"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "NO_PROXY",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
}

func contractError(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitFailure, "wasm_contract", format, args...).
		WithHint("an engine is started by the orchestrator, with the variables of docs/protocol.md, 2")
}

// newContract reads the environment of the engine contract.
func newContract(environ []string, mode protocol.Mode) (*contract, error) {
	vars := map[string]string{}
	for _, v := range environ {
		if name, value, ok := strings.Cut(v, "="); ok && name != "" && !strings.ContainsRune(v, 0) {
			vars[name] = value
		}
	}
	if m := vars["CABINCREW_MODE"]; m != "" && m != string(mode) {
		return nil, contractError("--mode is %s and CABINCREW_MODE is %s", mode, m)
	}
	plan := mode == protocol.FlightPlan
	c := &contract{dirs: []dir{
		{"CABINCREW_WORKSPACE", "/workspace", "", !plan},
		{"CABINCREW_ARTIFACTS_DIR", "/artifacts", "", plan},
		{"CABINCREW_TEMP_DIR", "/tmp", "", true},
	}}
	for i := range c.dirs {
		host, err := filepath.EvalSymlinks(vars[c.dirs[i].variable])
		if err == nil && !filepath.IsAbs(host) {
			err = errors.New("it is not an absolute path")
		}
		if err != nil {
			return nil, contractError("%s: %w", c.dirs[i].variable, err)
		}
		c.dirs[i].host = host
	}
	// A directory inside another would be reached with the outer one's rights.
	for _, a := range c.dirs {
		for _, b := range c.dirs {
			if _, inside := within(a.host, b.host); inside && a.guest != b.guest {
				return nil, contractError("%s (%s) lies in %s (%s)", b.variable, b.host, a.variable, a.host)
			}
		}
	}
	if err := c.environment(vars, mode); err != nil {
		return nil, err
	}
	return c, nil
}

// environment makes the module's variables.
func (c *contract) environment(vars map[string]string, mode protocol.Mode) error {
	out := map[string]string{"CABINCREW_MODE": string(mode), "TMPDIR": "/tmp", "HOME": "/tmp", "PWD": "/workspace"}
	for _, d := range c.dirs {
		out[d.variable] = d.guest
	}
	if home, err := c.guest(vars["HOME"]); err == nil {
		out["HOME"] = home
	}
	for _, name := range []string{"CABINCREW_INPUT_FILE", "CABINCREW_OUTPUT_FILE"} {
		if vars[name] == "" {
			continue
		}
		guest, err := c.guest(vars[name])
		if err != nil {
			return contractError("%s: %w", name, err)
		}
		out[name] = guest
	}
	for name, value := range vars {
		if !slices.Contains(fixed, strings.ToUpper(name)) {
			out[name] = value
		}
	}
	for name, value := range out {
		c.env = append(c.env, name+"="+value)
	}
	slices.SortFunc(c.env, func(a, b string) int {
		x, _, _ := strings.Cut(a, "=")
		y, _, _ := strings.Cut(b, "=")
		return cmp.Compare(x, y)
	})
	return nil
}

// guest gives a host path as the module sees it.
func (c *contract) guest(host string) (string, error) {
	if !filepath.IsAbs(host) {
		return "", fmt.Errorf("%q is not an absolute path", host)
	}
	named := filepath.Clean(host)
	// The file may not be there yet; its directory is.
	if parent, err := filepath.EvalSymlinks(filepath.Dir(named)); err == nil {
		named = filepath.Join(parent, filepath.Base(named))
	}
	for _, d := range c.dirs {
		if rel, ok := within(d.host, named); ok {
			return path.Join(d.guest, filepath.ToSlash(rel)), nil
		}
	}
	return "", fmt.Errorf("%s is in none of the engine's three directories", host)
}

// within tells whether a path is outer or below it, and its path from there.
func within(outer, p string) (string, bool) {
	rel, err := filepath.Rel(outer, p)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(os.PathSeparator)) {
		return "", false
	}
	return rel, true
}
