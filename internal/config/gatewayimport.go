package config

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// ClientFile is what a client of MCP servers has in its configuration.
type ClientFile struct {
	Key     string // under which the servers stand: mcpServers or servers
	Tree    map[string]any
	Servers []ClientServer // in the order of their names
	// Notes say what a person must still do, a line each.
	Notes []string
}

// ClientServer is one server of a client's configuration.
type ClientServer struct {
	Name    string // as the client has it
	As      string // as the gateway has it
	Command []string
	Dir     string
	URL     string
	Env     map[string]string // what the gateway's file says: env:NAME, or text
	Secrets map[string]string
	Headers map[string]importedHeader
}

type importedHeader struct{ Prefix, From string }

// ReadClients reads the configuration of a client: mcp.json, .vscode/mcp.json,
// claude_desktop_config.json and others of their form. Comments and trailing commas,
// which some editors allow there, are left out.
func ReadClients(name string, data []byte) (*ClientFile, error) {
	if len(data) > limits.ConfigBytes {
		return nil, tooLarge(name)
	}
	tree, err := protocol.DecodeAny(plainJSON(data))
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitUsage, "import_syntax", "the client's configuration cannot be read: %w", err).At(name).
			WithHint("it must be JSON without repeated keys")
	}
	top, _ := tree.(map[string]any)
	f := &ClientFile{Tree: top}
	for _, key := range []string{"mcpServers", "servers"} {
		if _, ok := top[key].(map[string]any); ok {
			f.Key = key
			break
		}
	}
	servers, _ := top[f.Key].(map[string]any)
	if f.Key == "" || len(servers) == 0 {
		return nil, protocol.Errorf(protocol.ExitUsage, "import_empty", "there are no servers under mcpServers or servers").At(name).
			WithHint("name the file in which the client lists its MCP servers")
	}
	taken := map[string]bool{}
	for _, n := range slices.Sorted(maps.Keys(servers)) {
		s, err := f.server(n, servers[n])
		if err != nil {
			return nil, err.At(name)
		}
		if s == nil {
			continue
		}
		if s.As == "" || taken[s.As] {
			return nil, protocol.Errorf(protocol.ExitUsage, "import_name", "the server %q has no name of its own for the gateway", short(n)).At(name).
				WithHint("rename it: letters, digits, - and _, different from the others without regard to case")
		}
		taken[s.As] = true
		f.Servers = append(f.Servers, *s)
	}
	if len(f.Servers) == 0 {
		return nil, protocol.Errorf(protocol.ExitUsage, "import_empty", "all servers go through a gateway already").At(name).WithHint("nothing is to do")
	}
	return f, nil
}

// server reads one server; nil is one that is wrapped already.
func (f *ClientFile) server(name string, v any) (*ClientServer, *protocol.Error) {
	bad := func(what string) *protocol.Error {
		return protocol.Errorf(protocol.ExitUsage, "import_server", "the server %q %s", short(name), what).WithHint("it needs a command with args, or a url")
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, bad("is no object")
	}
	s := &ClientServer{Name: name, As: gatewayName(name), Env: map[string]string{}, Secrets: map[string]string{}, Headers: map[string]importedHeader{}}
	command, _ := m["command"].(string)
	url, _ := m["url"].(string)
	if url == "" {
		url, _ = m["serverUrl"].(string)
	}
	switch {
	case command != "" && url == "":
		s.Command = []string{f.plain(command)}
		args, _ := m["args"].([]any)
		for _, a := range args {
			text, ok := a.(string)
			if !ok {
				return nil, bad("has an argument that is no text")
			}
			s.Command = append(s.Command, f.plain(text))
		}
		if wrapped(s.Command) {
			return nil, nil //nolint:nilnil // there is nothing to import
		}
		if dir, _ := m["cwd"].(string); dir != "" {
			s.Dir = f.plain(dir)
		}
	case url != "" && command == "":
		s.URL = f.plain(url)
	default:
		return nil, bad("has neither a command nor a url, or both")
	}
	if kind, _ := m["type"].(string); kind == "sse" {
		return nil, bad("speaks the older HTTP with SSE, which the gateway does not speak with servers")
	}
	env, _ := m["env"].(map[string]any)
	for _, k := range slices.Sorted(maps.Keys(env)) {
		text, _ := env[k].(string)
		if wrong, _ := engineVariable(k); wrong != "" {
			f.notef("%s: the variable %s %s; it was left out", name, k, wrong)
			continue
		}
		f.variable(s, k, text)
	}
	headers, _ := m["headers"].(map[string]any)
	for _, k := range slices.Sorted(maps.Keys(headers)) {
		text, _ := headers[k].(string)
		f.header(s, k, text)
	}
	return s, nil
}

// wrapped tells a command that starts this program's gateway.
func wrapped(command []string) bool {
	return path.Base(strings.ReplaceAll(command[0], `\`, "/")) == "cabincrew" && len(command) > 2 && command[1] == "gateway" && command[2] == "mcp"
}

var (
	severalDashes = lazily(`[-_]{2,}`)
	placeholder   = lazily(`\$\{([a-zA-Z]+)(?::([^}]*))?\}`)
	authScheme    = lazily(`^[A-Za-z]+$`)
	notNamed      = lazily(`[^a-z0-9_-]+`)
	secretLike    = lazily(`(?i)(?:^|_)(?:[a-z]*token|secrets?|[a-z]*key|pass|password|passwd|credentials?|auth|authorization|pat|dsn|database_url|connection_string)(?:_|$)`)
)

func gatewayName(name string) string {
	s := notNamed().ReplaceAllString(strings.ToLower(name), "-")
	s = strings.Trim(severalDashes().ReplaceAllString(s, "-"), "-_")
	return strings.Trim(s[:min(len(s), limits.GatewayServerName)], "-_")
}

// variable imports one variable of a child's environment. What looks like a secret, or is
// asked of the person, is taken from a variable of the same name and never copied.
func (f *ClientFile) variable(s *ClientServer, name, value string) {
	m := placeholder().FindStringSubmatch(value)
	switch {
	case len(m) > 2 && m[0] == value && m[1] == "env" && envName().MatchString(m[2]):
		s.Secrets[name] = sourceEnv + m[2]
	case len(m) > 1 && m[1] == "input", value != "" && secretLike().MatchString(name):
		s.Secrets[name] = sourceEnv + name
		f.notef("%s: set the variable %s before the gateway starts; its value was not copied", s.Name, name)
	default:
		s.Env[name] = f.plain(value)
	}
}

// header imports a header; all of them count as credentials.
func (f *ClientFile) header(s *ClientServer, name, value string) {
	prefix := ""
	if scheme, rest, two := strings.Cut(value, " "); two && authScheme().MatchString(scheme) {
		prefix, value = scheme+" ", rest
	}
	source := strings.ToUpper(notNamed().ReplaceAllString(strings.ToLower(s.As+"_"+name), "_"))
	source = strings.ReplaceAll(source, "-", "_")
	if m := placeholder().FindStringSubmatch(value); len(m) > 2 && m[0] == value && m[1] == "env" && envName().MatchString(m[2]) {
		source = m[2]
	} else {
		f.notef("%s: set the variable %s to the credential of the header %s before the gateway starts; its value was not copied", s.Name, source, name)
	}
	s.Headers[name] = importedHeader{Prefix: prefix, From: sourceEnv + source}
}

// plain puts the workspace in the place of the editors' names for it.
func (f *ClientFile) plain(s string) string {
	return placeholder().ReplaceAllStringFunc(s, func(p string) string {
		m := placeholder().FindStringSubmatch(p)
		if m[1] == "workspaceFolder" || m[1] == "workspaceRoot" {
			return "."
		}
		f.notef("%s is not known; it was left as it is", p)
		return p
	})
}

func (f *ClientFile) notef(format string, args ...any) {
	if line := fmt.Sprintf(format, args...); !slices.Contains(f.Notes, line) {
		f.Notes = append(f.Notes, line)
	}
}

// Gateway writes a gateway's configuration for the servers.
func (f *ClientFile) Gateway() ([]byte, error) {
	type server struct {
		Command []string          `yaml:"command,omitempty,flow"`
		Dir     string            `yaml:"dir,omitempty"`
		URL     string            `yaml:"url,omitempty"`
		Env     map[string]string `yaml:"env,omitempty"`
		Secrets map[string]string `yaml:"secrets,omitempty"`
		Headers map[string]any    `yaml:"headers,omitempty"`
	}
	doc := struct {
		Version  int               `yaml:"version"`
		Servers  map[string]server `yaml:"servers"`
		Roots    []string          `yaml:"roots,flow"`
		Policies map[string]any    `yaml:"policies"`
	}{Version: Version, Servers: map[string]server{}, Roots: []string{"."}, Policies: map[string]any{"bundled": []string{"mcp"}}}
	for _, s := range f.Servers {
		out := server{Command: s.Command, Dir: s.Dir, URL: s.URL, Env: s.Env, Secrets: s.Secrets, Headers: map[string]any{}}
		for name, h := range s.Headers {
			if h.Prefix == "" {
				out.Headers[name] = h.From
				continue
			}
			out.Headers[name] = map[string]string{"prefix": h.Prefix, "from": h.From}
		}
		doc.Servers[s.As] = out
	}
	var b bytes.Buffer
	b.WriteString("# The servers of " + f.Key + ", behind the gateway. See docs/gateway-mcp.md.\n")
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(doc); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}

// Wrapped gives the client's configuration with each server behind the gateway: the
// client starts the gateway, which starts the server.
func (f *ClientFile) Wrapped(program, config string) map[string]any {
	servers, _ := f.Tree[f.Key].(map[string]any)
	out := maps.Clone(f.Tree)
	list := maps.Clone(servers)
	for _, s := range f.Servers {
		entry := map[string]any{"command": program, "args": []any{"gateway", "mcp", "--config", config, "--stdio=" + s.As}}
		if old, _ := servers[s.Name].(map[string]any); old != nil {
			for _, keep := range []string{"type", "disabled", "autoApprove", "alwaysAllow", "timeout"} {
				if v, ok := old[keep]; ok && (keep != "type" || v == "stdio") {
					entry[keep] = v
				}
			}
		}
		list[s.Name] = entry
	}
	out[f.Key] = list
	return out
}

// plainJSON leaves comments and trailing commas out, outside of strings.
func plainJSON(data []byte) []byte {
	out := make([]byte, 0, len(data))
	comma := -1 // in out, of the last comma that nothing followed yet
	for i := 0; i < len(data); i++ {
		c := data[i]
		switch {
		case c == '"':
			end := i + 1
			for end < len(data) && data[end] != '"' {
				if data[end] == '\\' {
					end++
				}
				end++
			}
			out, comma = append(out, data[i:min(end+1, len(data))]...), -1
			i = end
		case c == '/' && i+1 < len(data) && data[i+1] == '/':
			for i+1 < len(data) && data[i+1] != '\n' {
				i++
			}
		case c == '/' && i+1 < len(data) && data[i+1] == '*':
			end := bytes.Index(data[i+2:], []byte("*/"))
			if end < 0 {
				return append(out, data[i:]...) // the reader says what is wrong
			}
			i += end + 3
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			out = append(out, c)
		case c == ',':
			comma = len(out)
			out = append(out, c)
		default:
			if (c == '}' || c == ']') && comma >= 0 {
				out[comma] = ' '
			}
			out, comma = append(out, c), -1
		}
	}
	return out
}
