package pins

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// lockVersion is the version of the lock file's form.
const lockVersion = "1"

// Book is what a lock file records. It is never changed after it was made.
type Book struct {
	servers map[string]map[string]map[string]entry // server, kind, name
}

// entry is one pinned item.
type entry struct {
	pin  string
	form []byte // canonical; nil if it was too large to be recorded
}

// lockFile is the form of the lock file.
type lockFile struct {
	Version string                                     `json:"version"`
	Servers map[string]map[string]map[string]lockEntry `json:"servers"`
}

type lockEntry struct {
	Pin  string         `json:"pin"`
	Item map[string]any `json:"item,omitempty"`
}

// Read reads a lock file; name says for people which one.
func Read(name string, r io.Reader) (*Book, error) {
	wrong := func(format string, args ...any) error {
		return protocol.Errorf(protocol.ExitIntegrity, "gateway_lock_invalid", "the lock file cannot be used: "+format, args...).At(name).
			WithHint("take the file from the repository, or look at what the servers offer and pin it anew")
	}
	data, err := io.ReadAll(io.LimitReader(r, limits.MCPLockBytes+1))
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitUnreachable, "gateway_lock_unreadable", "the lock file cannot be read: %w", err).At(name).
			WithHint("without it nobody knows what was pinned; let the gateway read it")
	}
	if len(data) > limits.MCPLockBytes {
		return nil, wrong("it is larger than %d bytes", limits.MCPLockBytes)
	}
	var doc lockFile
	if err := protocol.Decode(data, &doc); err != nil {
		return nil, wrong("%w", err)
	}
	if doc.Version != lockVersion {
		return nil, wrong("its version is %s, known is %s", brief(doc.Version), lockVersion)
	}
	if len(doc.Servers) > limits.MCPLockServers {
		return nil, wrong("it names more than %d servers", limits.MCPLockServers)
	}
	b := &Book{servers: map[string]map[string]map[string]entry{}}
	for server, kinds := range doc.Servers {
		b.servers[server] = map[string]map[string]entry{}
		for kind, items := range kinds {
			entries, err := readKind(kind, items)
			if err != nil {
				return nil, wrong("server %s: %w", brief(server), err)
			}
			b.servers[server][kind] = entries
		}
	}
	return b, nil
}

func readKind(kind string, items map[string]lockEntry) (map[string]entry, error) {
	if member(kind) == "" {
		return nil, fmt.Errorf("there is no kind %s", brief(kind))
	}
	if len(items) > limits.MCPPinItems {
		return nil, fmt.Errorf("it has more than %d of kind %s", limits.MCPPinItems, kind)
	}
	out := make(map[string]entry, len(items))
	for name, e := range items {
		if _, err := protocol.ParseDigest(e.Pin); err != nil {
			return nil, fmt.Errorf("%s %s: its pin is no digest", kind, brief(name))
		}
		if e.Item == nil {
			out[name] = entry{pin: e.Pin}
			continue
		}
		raw, _, err := canonical(nil, e.Item, 1)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", kind, brief(name), err)
		}
		item, err := ReadItem(kind, raw)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", kind, brief(name), err)
		}
		if item.Name != name || item.pin != e.Pin {
			return nil, fmt.Errorf("%s %s: its pin belongs to another item: one of both was changed", kind, brief(name))
		}
		out[name] = entry{pin: item.pin, form: item.form}
	}
	return out, nil
}

// Write writes the lock file: the same bytes for the same pins, one line for each item.
func (b *Book) Write(w io.Writer) error {
	var out bytes.Buffer
	quote := func(s string) {
		text, err := protocol.AppendText(nil, s)
		if err != nil { // no server and no configuration has such a name
			text = []byte(`""`)
		}
		out.Write(text)
	}
	out.WriteString("{\n\"version\": \"" + lockVersion + "\",\n\"servers\": {")
	for i, server := range slices.Sorted(maps.Keys(b.servers)) {
		comma(&out, i)
		quote(server)
		out.WriteString(": {")
		kinds := b.servers[server]
		for i, kind := range slices.Sorted(maps.Keys(kinds)) {
			comma(&out, i)
			quote(kind)
			out.WriteString(": {")
			for i, name := range slices.Sorted(maps.Keys(kinds[kind])) {
				comma(&out, i)
				e := kinds[kind][name]
				quote(name)
				out.WriteString(": {\"pin\": ")
				quote(e.pin)
				if e.form != nil {
					out.WriteString(", \"item\": ")
					out.Write(e.form)
				}
				out.WriteByte('}')
			}
			out.WriteString("\n}")
		}
		out.WriteString("\n}")
	}
	out.WriteString("\n}\n}\n")
	if out.Len() > limits.MCPLockBytes {
		return protocol.Errorf(protocol.ExitUsage, "gateway_lock_invalid", "the lock file would be larger than %d bytes", limits.MCPLockBytes).
			WithHint("hide tools that nobody needs, or use several gateways with a lock file each")
	}
	_, err := w.Write(out.Bytes())
	return err
}

func comma(out *bytes.Buffer, i int) {
	if i > 0 {
		out.WriteByte(',')
	}
	out.WriteByte('\n')
}

// With gives a book in which the items of a kind of a server are these and no others. Of
// two items of one name none is pinned.
func (b *Book) With(server, kind string, items []Item) *Book {
	out := &Book{servers: map[string]map[string]map[string]entry{}}
	if b != nil {
		maps.Copy(out.servers, b.servers)
	}
	kinds := maps.Clone(out.servers[server])
	if kinds == nil {
		kinds = map[string]map[string]entry{}
	}
	entries, twice := map[string]entry{}, map[string]bool{}
	for i := range items {
		name := items[i].Name
		if _, ok := entries[name]; ok {
			twice[name] = true
		}
		entries[name] = entry{pin: items[i].pin, form: items[i].kept()}
	}
	for name := range twice {
		delete(entries, name)
	}
	if kinds[kind] = entries; len(entries) == 0 {
		delete(kinds, kind)
	}
	out.servers[server] = kinds
	return out
}

// WithOne gives a book in which one item is pinned as it is, and all others as before.
func (b *Book) WithOne(server string, item Item) *Book {
	out := b.With(server, item.Kind, []Item{item})
	if b != nil {
		for name, e := range b.servers[server][item.Kind] {
			if name != item.Name {
				out.servers[server][item.Kind][name] = e
			}
		}
	}
	return out
}

// Without gives a book that does not know a server.
func (b *Book) Without(server string) *Book {
	out := &Book{servers: map[string]map[string]map[string]entry{}}
	if b != nil {
		maps.Copy(out.servers, b.servers)
	}
	delete(out.servers, server)
	return out
}

// Servers gives the names of the servers, sorted.
func (b *Book) Servers() []string {
	if b == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(b.servers))
}

// Names gives the names of the items of a kind, sorted.
func (b *Book) Names(server, kind string) []string {
	if b == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(b.servers[server][kind]))
}

// Pin gives the pin of an item, "" if it has none.
func (b *Book) Pin(server, kind, name string) string {
	if b == nil {
		return ""
	}
	return b.servers[server][kind][name].pin
}
