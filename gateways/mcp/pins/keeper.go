package pins

import (
	"crypto/sha256"
	"slices"
	"strings"
	"sync"

	"github.com/cabincrew/action/internal/limits"
)

// KeeperOptions say what a Keeper knows.
type KeeperOptions struct {
	// Book is the lock file; nil if there is none.
	Book *Book
	// Suspect tells what in a text looks like an order to a model; nil looks at nothing.
	Suspect func(text string) []string
	// Order names the servers: of two that have names that look alike and of which the
	// lock file has none, the one that stands first keeps it, whoever lists first.
	Order []string
}

// Keeper judges what servers list during one run of the gateway, for all sessions. Without
// a lock file it holds each server to what it said first. It may be used by many
// goroutines at once.
type Keeper struct {
	o KeeperOptions

	mu     sync.Mutex
	first  map[listID]map[string]entry
	kept   map[listID]int             // bytes of forms in first
	told   map[listID]map[string]bool // names of what is gone
	cached map[[sha256.Size]byte]*seen
	size   int // bytes of what is in cached, as it came
}

type listID struct{ server, kind string }

// seen is an item that was read before.
type seen struct {
	item       Item
	suspicions []string
}

// NewKeeper makes a Keeper.
func NewKeeper(o KeeperOptions) *Keeper {
	return &Keeper{o: o, first: map[listID]map[string]entry{}, kept: map[listID]int{}, told: map[listID]map[string]bool{}, cached: map[[sha256.Size]byte]*seen{}}
}

// Judge compares what a server lists with what was pinned. items are the bytes of each, of
// all pages so far; there is one answer for each, in their order. What cannot be read is
// Unreadable.
func (k *Keeper) Judge(server, kind string, items [][]byte) []Judged {
	return k.Report(server, kind, items).Items
}

// Report is Judge, and tells what is gone if these are all items of the list.
func (k *Keeper) Report(server, kind string, items [][]byte) Report {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]Judged, len(items))
	var readable []Item
	var places []int
	suspicious := map[string][]string{}
	for i, raw := range items {
		s, err := k.read(kind, raw)
		if err != nil || i >= limits.MCPPinItems {
			out[i] = Judged{Item: Item{Kind: kind, Raw: raw}, State: Unreadable}
			continue
		}
		item := s.item
		item.Raw = raw
		readable, places = append(readable, item), append(places, i)
		suspicious[item.pin] = s.suspicions
	}
	r := judge(server, kind, readable, k.locked(server, kind), k.first[listID{server, kind}], k.others(server, kind), k.before(server, kind),
		func(i *Item) []string { return suspicious[i.pin] })
	for i := range r.Items {
		out[places[i]] = r.Items[i]
	}
	r.Items = out
	k.learn(listID{server, kind}, r.Items)
	return r
}

// Gone gives what the lock file has or the server had in this run and is not among names,
// which are those of all that the server lists: its name and what its pin was, by name.
// Each is given once, for a server that lists other things to every client would fill the
// record with it.
func (k *Keeper) Gone(server, kind string, names []string) []Judged {
	k.mu.Lock()
	defer k.mu.Unlock()
	id := listID{server, kind}
	there := make(map[string]bool, len(names))
	for _, name := range names {
		there[name] = true
	}
	var out []Judged
	look := func(known map[string]entry) {
		for name, e := range known {
			if there[name] || k.told[id][name] {
				continue
			}
			if k.told[id] == nil {
				k.told[id] = map[string]bool{}
			}
			k.told[id][name] = true
			out = append(out, Judged{Item: Item{Kind: kind, Name: name}, State: Gone, Was: e.pin})
		}
	}
	look(k.locked(server, kind))
	look(k.first[id])
	slices.SortFunc(out, func(a, b Judged) int { return strings.Compare(a.Item.Name, b.Item.Name) })
	return out
}

// before tells which of two servers has a name.
func (k *Keeper) before(server, kind string) func(taken) (bool, bool) {
	mine := slices.Index(k.o.Order, server)
	return func(t taken) (bool, bool) {
		if k.o.Book != nil {
			if _, ok := k.o.Book.servers[t.server][kind][t.name]; ok {
				return true, true
			}
		}
		other := slices.Index(k.o.Order, t.server)
		return other < mine, mine >= 0 && other >= 0
	}
}

// locked gives what the lock file records; nil if there is no lock file.
func (k *Keeper) locked(server, kind string) map[string]entry {
	if k.o.Book == nil {
		return nil
	}
	if known := k.o.Book.servers[server][kind]; known != nil {
		return known
	}
	return map[string]entry{}
}

// others gives the names that other servers have: those recorded, and those seen.
func (k *Keeper) others(server, kind string) map[string][]string {
	out := map[string][]string{}
	for id, entries := range k.first {
		if id.server == server || id.kind != kind {
			continue
		}
		for name := range entries {
			out[id.server] = append(out[id.server], name)
		}
	}
	if k.o.Book == nil {
		return out
	}
	for other, kinds := range k.o.Book.servers {
		if other == server {
			continue
		}
		for name := range kinds[kind] {
			out[other] = append(out[other], name)
		}
	}
	return out
}

// learn remembers what a server said first of each item. One that looks like another is
// not what it may be held to.
func (k *Keeper) learn(id listID, items []Judged) {
	first := k.first[id]
	if first == nil {
		first = map[string]entry{}
		k.first[id] = first
	}
	for i := range items {
		j := &items[i]
		if j.State == Shadowing || j.State == Unreadable || len(first) >= limits.MCPPinItems {
			continue
		}
		if _, ok := first[j.Item.Name]; !ok {
			e := entry{pin: j.Pin}
			if form := j.Item.kept(); k.kept[id]+len(form) <= limits.MCPPinFirst {
				e.form = form
				k.kept[id] += len(form)
			}
			first[j.Item.Name] = e
		}
	}
}

// read reads an item, unless these bytes were read before.
func (k *Keeper) read(kind string, raw []byte) (*seen, error) {
	h := sha256.New()
	_, _ = h.Write([]byte(kind + "\n")) //nolint:errcheck // a hash never fails
	_, _ = h.Write(raw)                 //nolint:errcheck // as above
	key := [sha256.Size]byte(h.Sum(nil))
	if s := k.cached[key]; s != nil {
		return s, nil
	}
	item, err := ReadItem(kind, raw)
	if err != nil {
		return nil, err
	}
	item.Raw = nil
	s := &seen{item: item, suspicions: suspicions(&item, k.o.Suspect)}
	if k.size += len(raw); k.size > limits.MCPPinKnown {
		clear(k.cached)
		k.size = len(raw)
	}
	k.cached[key] = s
	return s, nil
}
