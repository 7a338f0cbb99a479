package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
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
	// Left are the servers that were not imported, and why, in the order of their names.
	Left []LeftServer
	// Notes say what a person must still do, a line each.
	Notes []string

	read func(name string) ([]byte, error)
}

// LeftServer is a server that goes around the gateway still.
type LeftServer struct {
	Name string `json:"name"`
	Why  string `json:"why"`
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
	// Given are variables that the client gives the gateway, which asks for them where the
	// client asked before: never a secret itself.
	Given map[string]string
	// EnvFile is the file of variables that the client reads for it.
	EnvFile string
}

type importedHeader struct{ Prefix, From string }

// ReadClients reads the configuration of a client: mcp.json, .vscode/mcp.json,
// claude_desktop_config.json and others of their form. Comments and trailing commas,
// which some editors allow there, are left out. read gives the files of variables that it
// names, relative to the workspace; only the names in them are taken. It may be nil.
func ReadClients(name string, data []byte, read func(name string) ([]byte, error)) (*ClientFile, error) {
	if len(data) > limits.ConfigBytes {
		return nil, tooLarge(name)
	}
	tree, err := protocol.DecodeAny(plainJSON(data))
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitUsage, "import_syntax", "the client's configuration cannot be read: %w", err).At(name).
			WithHint("it must be JSON without repeated keys")
	}
	top, _ := tree.(map[string]any)
	f := &ClientFile{Tree: top, read: read}
	for _, key := range []string{"mcpServers", "servers"} {
		list, ok := top[key].(map[string]any)
		switch {
		case !ok:
		case f.Key == "":
			f.Key = key
		default:
			for _, n := range slices.Sorted(maps.Keys(list)) {
				f.Left = append(f.Left, LeftServer{n, "stands under " + key + ", beside " + f.Key + "; a client reads one of both: put it there"})
			}
		}
	}
	servers, _ := top[f.Key].(map[string]any)
	if f.Key == "" || len(servers) == 0 {
		return nil, protocol.Errorf(protocol.ExitUsage, "import_empty", "there are no servers under mcpServers or servers").At(name).
			WithHint("name the file in which the client lists its MCP servers")
	}
	taken := map[string]bool{}
	for _, n := range slices.Sorted(maps.Keys(servers)) {
		s, why := f.server(n, servers[n])
		if s != nil && why == "" {
			why = f.unfit(s, taken)
		}
		if why != "" {
			f.Left = append(f.Left, LeftServer{n, why})
		}
		if s == nil || why != "" {
			continue
		}
		taken[s.As] = true
		f.Servers = append(f.Servers, *s)
	}
	if len(f.Servers) == 0 && len(f.Left) > 0 {
		return nil, protocol.Errorf(protocol.ExitUsage, "import_server", "none of the servers can be imported: the server %q %s", short(f.Left[0].Name), f.Left[0].Why).At(name).
			WithHint("it needs a command with args, or the url of a server that speaks streamable HTTP, and its credentials in env or headers")
	}
	if len(f.Servers) == 0 {
		return nil, protocol.Errorf(protocol.ExitUsage, "import_empty", "all servers go through a gateway already").At(name).WithHint("nothing is to do")
	}
	return f, nil
}

// unfit says why a gateway's configuration cannot hold a server.
func (f *ClientFile) unfit(s *ClientServer, taken map[string]bool) string {
	if s.As == "" || taken[s.As] {
		return "has no name of its own for the gateway: rename it with letters, digits, - and _, different from the others without regard to case"
	}
	text, err := (&ClientFile{Key: f.Key, Servers: []ClientServer{*s}}).Gateway()
	if err == nil {
		_, err = ParseGateway(GatewayFile, text)
	}
	var e *protocol.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return "is more than a gateway's configuration can hold: " + e.Message
	}
	return "is more than a gateway's configuration can hold"
}

// server reads one server; nil is one that is wrapped already, or cannot be imported for
// the reason that is given.
func (f *ClientFile) server(name string, v any) (s *ClientServer, why string) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, "is no object"
	}
	s = &ClientServer{
		Name: name, As: gatewayName(name), Env: map[string]string{}, Secrets: map[string]string{}, Headers: map[string]importedHeader{}, Given: map[string]string{},
	}
	command, _ := m["command"].(string)
	url, _ := m["url"].(string)
	if url == "" {
		url, _ = m["serverUrl"].(string)
	}
	switch {
	case command != "" && url == "":
		if why = f.command(s, command, m); why != "" {
			return nil, why
		}
		if wrapped(s.Command) {
			return nil, ""
		}
	case url != "" && command == "":
		if why = f.url(s, url, m); why != "" {
			return nil, why
		}
	default:
		return nil, "has neither a command nor a url, or both"
	}
	f.envFile(s, m)
	env, _ := m["env"].(map[string]any)
	for _, k := range slices.Sorted(maps.Keys(env)) {
		text, isText := env[k].(string)
		if !isText {
			text = scalar(env[k])
		}
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
	return s, ""
}

// command reads how a server is started.
func (f *ClientFile) command(s *ClientServer, command string, m map[string]any) string {
	s.Command = []string{command}
	args, isList := m["args"].([]any)
	if m["args"] != nil && !isList {
		return "has arguments that are no list"
	}
	for _, a := range args {
		text, ok := a.(string)
		if !ok {
			return "has an argument that is no text"
		}
		s.Command = append(s.Command, text)
	}
	if wrapped(s.Command) {
		return ""
	}
	if why := secretArgument(s.Command); why != "" {
		return why + ", which no file may hold that others read: give it in env, or where the server takes it only there, " +
			`write command: [sh, -c, 'exec … "$NAME"'] and secrets: {NAME: "env:NAME"} yourself`
	}
	for i := range s.Command {
		s.Command[i] = f.plain(s.Command[i])
	}
	if dir, _ := m["cwd"].(string); dir != "" {
		s.Dir = f.plain(dir)
	}
	return ""
}

// url reads where a server is.
func (f *ClientFile) url(s *ClientServer, url string, m map[string]any) string {
	switch kind, _ := m["type"].(string); {
	case kind == "sse" || m["transport"] == "sse":
		return "speaks the older HTTP with SSE, which the gateway does not speak with servers; many have streamable HTTP beside it, at another url"
	case holdsCredential(url) || refersElsewhere(url):
		return "has what looks like a credential, or a value that the client puts there, in its url, which no file may hold that others read: give it in a header if the server takes it there"
	}
	s.URL = f.plain(url)
	return ""
}

// envFile takes the names of the variables that the client reads from a file. Their values
// come from the client as before, which gives them to the gateway.
func (f *ClientFile) envFile(s *ClientServer, m map[string]any) {
	name, _ := m["envFile"].(string)
	if name == "" || s.URL != "" {
		return
	}
	s.EnvFile = name
	var data []byte
	err := errors.New("there is nobody to read it")
	if f.read != nil {
		data, err = f.read(f.plain(name))
	}
	if err != nil {
		f.notef("%s: the variables of %s cannot be read; name each under secrets of this server, as NAME: env:NAME", s.Name, name)
		return
	}
	list := variablesOf(data)
	for _, k := range slices.Sorted(maps.Keys(list)) {
		if wrong, _ := engineVariable(k); wrong != "" {
			f.notef("%s: the variable %s of %s %s; it was left out", s.Name, k, name, wrong)
			continue
		}
		if namesSecret(k) || holdsCredential(list[k]) {
			s.Secrets[k] = sourceEnv + k
		} else {
			s.Env[k] = sourceEnv + k
		}
	}
	f.notef("%s: the variables of %s were taken by their names; where the client does not read that file, set them before the gateway starts", s.Name, name)
}

// scalar gives a number or boolean as clients give it to programs.
func scalar(v any) string {
	switch v := v.(type) {
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
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

// variable imports one variable of a child's environment. What is not plainly harmless, or
// is asked of the person, is taken from a variable of the same name and never copied.
func (f *ClientFile) variable(s *ClientServer, name, value string) {
	delete(s.Env, name) // what the file of variables says counts less
	delete(s.Secrets, name)
	m := placeholder().FindStringSubmatch(value)
	switch {
	case len(m) > 2 && m[0] == value && m[1] == "env" && envName().MatchString(m[2]):
		s.Secrets[name] = sourceEnv + m[2]
	case refersElsewhere(value):
		s.Secrets[name] = sourceEnv + name
		if !f.given(s, name, value) {
			f.notef("%s: set the variable %s before the gateway starts; its value was not copied", s.Name, name)
		}
	case !harmlessVariable(name, value):
		s.Secrets[name] = sourceEnv + name
		f.notef("%s: set the variable %s before the gateway starts; its value was not copied", s.Name, name)
	default:
		s.Env[name] = f.plain(value)
	}
}

// given lets the client ask for a value as before, and give it to the gateway. It says
// no where something stands beside what is asked for that may be a secret itself.
func (f *ClientFile) given(s *ClientServer, name, value string) bool {
	if holdsCredential(referred().ReplaceAllString(value, "")) {
		return false
	}
	s.Given[name] = value
	f.notef("%s: the client gives the gateway the variable %s; where the gateway is started otherwise, set it", s.Name, name)
	return true
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
	} else if !refersElsewhere(value) || !f.given(s, source, value) {
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
			if len(s.Given) > 0 {
				entry["env"] = s.Given
			}
			if s.EnvFile != "" {
				entry["envFile"] = s.EnvFile
			}
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
