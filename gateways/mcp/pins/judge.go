package pins

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/cabincrew/action/internal/limits"
)

// The states of items.
const (
	// Pinned: it is what the lock file records.
	Pinned = "pinned"
	// New: the lock file does not know it.
	New = "new"
	// Changed: it is not what the lock file records or, without one, not what the server
	// said first.
	Changed = "changed"
	// Unpinned: there is no lock file.
	Unpinned = "unpinned"
	// Shadowing: it has the name of another item, or one that looks like it.
	Shadowing = "shadowing"
	// Gone: it was pinned, and the server does not have it any more.
	Gone = "gone"
	// Unreadable: it is no item, has no name, or a name that is too long.
	Unreadable = "unreadable"
)

// Judged is one item and what is known of it.
type Judged struct {
	Item  Item
	State string
	// Pin is its pin, Was the one that is recorded, "" if none is.
	Pin, Was string
	// Diff shows how it changed, for people; foreign text in it is harmless.
	Diff string
	// Like is the name that it is easily taken for, and the server that has it. An item
	// that is not Shadowing may have the very name that another server's has: clients
	// tell these apart by the server.
	Like, LikeServer string
	// Suspicions say where it speaks to the model and how: "/description: id".
	Suspicions []string
}

// Report is what is known of the items of one list.
type Report struct {
	Items []Judged // in the order of the list
	Gone  []string // names that are recorded and not in the list, sorted
}

// Judge compares the items of a list with what is recorded. A nil Book is no lock file.
// others are the names of the same kind that other servers have. suspect tells what in a
// text looks like an order to a model; it may be nil.
func (b *Book) Judge(server, kind string, items []Item, others map[string][]string, suspect func(string) []string) Report {
	var known map[string]entry
	if b != nil {
		known = b.servers[server][kind]
		if known == nil {
			known = map[string]entry{}
		}
	}
	return judge(server, kind, items, known, nil, others, nil, func(i *Item) []string { return suspicions(i, suspect) })
}

// judge is Judge with what the server said first, where there is no lock file. before says
// of an item of another server that it has its name before those of this one, or not; nil
// or not known: who was there first has it.
func judge(server, kind string, items []Item, known, first map[string]entry, others map[string][]string, before func(taken) (yes, known bool), suspect func(*Item) []string) Report {
	locked := known != nil
	if !locked {
		known = first
	}
	var r Report
	here, there, count := newNames(kind), newNames(kind), map[string]int{}
	for other, list := range others {
		if other == server {
			continue
		}
		for _, name := range list {
			there.add(other, name)
		}
	}
	for i := range items {
		here.add("", items[i].Name)
		count[items[i].Name]++
	}
	diffs := 0
	for i := range items {
		item := &items[i]
		j := Judged{Item: *item, Pin: item.pin}
		e, ok := known[item.Name]
		switch {
		case ok && e.pin == item.pin && locked:
			j.State, j.Was = Pinned, e.pin
		case ok && e.pin == item.pin:
			j.State = Unpinned
		case ok:
			j.State, j.Was, j.Diff = Changed, e.pin, "(too many items changed to show each)\n"
			if diffs++; diffs <= limits.MCPDiffs {
				j.Diff = difference(e.form, item.form, item.Name)
			}
		case locked, len(known) >= limits.MCPPinItems: // no more is remembered that it could be held to
			j.State = New
		default:
			j.State = Unpinned
		}
		// Somebody looked at what is recorded, or it was there first: the other one
		// shadows it, not it the other.
		settled := ok && e.pin == item.pin
		if count[item.Name] > 1 {
			j.State, j.Like = Shadowing, item.Name
		} else if t, like := here.like("", item.Name); like && !settled {
			j.State, j.Like = Shadowing, t.name
		} else {
			j.beside(there.all(item.Name), settled, settled && locked, before)
		}
		j.Suspicions = suspect(item)
		r.Items = append(r.Items, j)
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if count[name] == 0 {
			r.Gone = append(r.Gone, name)
		}
	}
	return r
}

// beside compares an item with those of other servers that look like it.
func (j *Judged) beside(list []taken, settled, pinned bool, before func(taken) (yes, known bool)) {
	for _, t := range list {
		if t.name == j.Item.Name {
			if j.State != Shadowing && !pinned {
				j.Like, j.LikeServer = t.name, t.server
			}
			continue
		}
		loses := !settled
		if before != nil && !pinned {
			if yes, known := before(t); known {
				loses = yes
			}
		}
		if loses {
			j.State, j.Like, j.LikeServer = Shadowing, t.name, t.server
			return
		}
	}
}

// suspicions looks at every text of an item: names of members too.
func suspicions(item *Item, suspect func(string) []string) []string {
	var out []string
	if strange(item.Name) {
		out = append(out, "/name: hidden characters")
	}
	if suspect == nil {
		return out
	}
	var walk func(at string, v any)
	look := func(at, text string) {
		for _, id := range suspect(text) {
			if len(out) < limits.MCPSuspicions {
				out = append(out, brief(at)+": "+id)
			}
		}
	}
	walk = func(at string, v any) {
		if len(out) >= limits.MCPSuspicions {
			return
		}
		if len(at) > limits.MCPPinName { // where it is matters less than that it is there
			at = at[:limits.MCPPinName]
		}
		switch v := v.(type) {
		case string:
			look(at, v)
		case json.Number:
		case []any:
			for i, e := range v {
				walk(at+"/"+strconv.Itoa(i), e)
			}
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				look(at+"/"+key, key)
				walk(at+"/"+key, v[key])
			}
		}
	}
	walk("", item.tree)
	return out
}
