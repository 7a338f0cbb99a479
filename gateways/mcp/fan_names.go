package mcp

import (
	"net/http"
	"strings"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// fanBetween stands between the name of a server and that of its tool. Names of servers
// neither have it nor end with its beginning, so that what is before the first of it
// is the server.
const fanBetween = "__"

// fanCheckServers refuses servers whose tools could not be told apart.
func fanCheckServers(servers []Named) error {
	bad := func(format string, args ...any) error {
		return protocol.Errorf(protocol.ExitUsage, "mcp_server_names", format, args...).
			WithHint("name each server with a few lower-case letters; tools are listed as SERVER__TOOL")
	}
	if len(servers) == 0 || len(servers) > limits.MCPFanServers {
		return bad("an endpoint has 1 to %d servers, not %d", limits.MCPFanServers, len(servers))
	}
	looks := map[string]string{}
	for _, s := range servers {
		if !fanToolName(s.Name) || strings.Contains(s.Name, fanBetween) || strings.HasSuffix(s.Name, "_") || len(s.Name) > limits.MCPFanName/2 {
			return bad("the server name %s cannot stand before the names of tools: only letters, digits, - and single _ can", fanShow(s.Name))
		}
		look := fanLook(s.Name)
		if other, ok := looks[look]; ok {
			return bad("the servers %s and %s look alike", fanShow(other), fanShow(s.Name))
		}
		looks[look] = s.Name
	}
	return nil
}

// fanToolName says whether a name is one that the protocol allows for tools.
func fanToolName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return name != ""
}

// fanPlainName says whether a name is visible ASCII, with spaces inside.
func fanPlainName(name string) bool {
	for i := range len(name) {
		if name[i] < ' ' || name[i] > '~' {
			return false
		}
	}
	return name != "" && strings.TrimSpace(name) == name
}

// fanLook gives what a name looks like to somebody who reads it quickly. All names here
// are ASCII.
func fanLook(name string) string {
	name = strings.ToLower(name)
	b := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c == 'i' || c == '1' || c == '|':
			c = 'l'
		case c == '0':
			c = 'o'
		case c == '-' || c == '.' || c == ' ':
			c = '_'
		case c == 'r' && i+1 < len(name) && name[i+1] == 'n':
			c, i = 'm', i+1
		case c == 'v' && i+1 < len(name) && name[i+1] == 'v':
			c, i = 'w', i+1
		}
		b = append(b, c)
	}
	return string(b)
}

// fullName gives the name that clients see of something that a server calls name, or
// why there is none.
func (v *fanServer) fullName(b *fanBranch, kind, name string) (full, why string) {
	ok := fanPlainName
	if kind == "tools" {
		ok = fanToolName
	}
	full = b.name + fanBetween + name
	switch {
	case !ok(name):
		return "", "its name has other characters than the protocol allows"
	case len(full) > limits.MCPFanName:
		return "", "its name is too long with that of its server"
	}
	look := kind + "/" + fanLook(full)
	v.mu.Lock()
	defer v.mu.Unlock()
	other, seen := v.looks[look]
	switch {
	case seen && other != full:
		return "", "it looks like " + fanShow(other)
	case !seen && v.named[b] >= limits.MCPFanKnown:
		return "", "the server has too many names"
	case !seen:
		v.looks[look] = full
		v.named[b]++
	}
	return full, ""
}

// byName routes by a name with its server's in front, and takes that off again.
func (v *fanServer) byName(m jsonrpc.Message, capability string, in []byte, path ...string) (*fanTo, string) {
	value, _ := jsonrpc.Lookup(in, path...)
	full, ok := jsonrpc.Text(value)
	if !ok {
		return nil, "params." + strings.Join(path, ".") + " is no text"
	}
	server, name, ok := strings.Cut(full, fanBetween)
	b := v.branch(server)
	if !ok || b == nil || name == "" {
		return nil, fanShow(full) + " names no server: names are SERVER" + fanBetween + "NAME here"
	}
	if why := b.gone(); why != "" {
		return nil, "the server " + b.name + " is left out: " + why
	}
	if !b.has(capability) {
		return nil, "the server " + b.name + " has no " + capability
	}
	if len(full) > limits.MCPFanName {
		return nil, "the name is too long"
	}
	return &fanTo{b, []jsonrpc.Edit{fanReplace(m.Raw, value, name)}, name}, ""
}

// fanReplace puts a text where value, a part of raw, stands.
func fanReplace(raw, value []byte, text string) jsonrpc.Edit {
	at := jsonrpc.Offset(raw, value)
	return jsonrpc.Edit{From: at, To: at + len(value), New: jsonrpc.AppendString(nil, text)}
}

// fanHeader gives the headers for one server.
func fanHeader(h http.Header, to *fanTo) http.Header {
	to.branch.mu.Lock()
	revision := to.branch.revision
	to.branch.mu.Unlock()
	named, versioned := to.name != "" && h.Get("Mcp-Name") != "", revision != "" && h.Get("Mcp-Protocol-Version") != ""
	if !named && !versioned {
		return h
	}
	h = h.Clone()
	if named {
		h.Set("Mcp-Name", to.name)
	}
	if versioned {
		h.Set("Mcp-Protocol-Version", string(revision))
	}
	return h
}

// fanText gives the text at a path of a document.
func fanText(doc []byte, path ...string) (string, bool) {
	value, ok := jsonrpc.Lookup(doc, path...)
	if !ok {
		return "", false
	}
	return jsonrpc.Text(value)
}

// fanShow makes foreign text harmless to show.
func fanShow(s string) string {
	const most = 120
	b := make([]byte, 0, most)
	for i := 0; i < len(s) && len(b) < most; i++ {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			b = append(b, '?')
			continue
		}
		b = append(b, s[i])
	}
	return `"` + string(b) + `"`
}
