package pins

import (
	"cmp"
	"slices"
	"strings"
	"unicode"

	"github.com/cabincrew/action/internal/harmless"
	"github.com/cabincrew/action/internal/limits"
)

// looks gives what a name looks like: names that share one of these are easily taken for
// each other. One has the letters without case and 1 as i, the other a capital I and 1 as
// the l that they are drawn like. URI templates are not taken for each other unless they are the same.
func looks(kind, name string) [2]string {
	if kind == Template {
		return [2]string{name, name}
	}
	return [2]string{skeleton(name, 'i'), skeleton(name, 'l')}
}

// skeleton takes from a name what eyes and careless programs pass over: case, marks
// between words, what is invisible, accents, and in which script a letter is.
func skeleton(name string, bar rune) string {
	var b strings.Builder
	b.Grow(len(name))
	for _, r := range name {
		if r >= 0xff01 && r <= 0xff5e { // full width
			r -= 0xff01 - '!'
		}
		if r == 'I' || r == '1' {
			b.WriteRune(bar)
			continue
		}
		if like, ok := alike[r]; ok {
			r = like
		}
		switch {
		case 'a' <= r && r <= 'z':
		case 'A' <= r && r <= 'Z':
			r += 'a' - 'A'
		case r == '0':
			r = 'o'
		case r == '|':
			r = 'l'
		case r <= 0x7f && !('2' <= r && r <= '9'), unicode.IsSpace(r), unicode.Is(unicode.Pd, r), unicode.Is(unicode.Pc, r), unicode.Is(unicode.Mn, r), harmless.Hidden(r):
			continue
		case r > 0x7f:
			if r = unicode.ToLower(unicode.ToUpper(r)); r != 0 {
				if like, ok := alike[r]; ok {
					r = like
				}
			}
		}
		b.WriteRune(r)
	}
	if b.Len() == 0 {
		return name // nothing but marks: it is like itself
	}
	return b.String()
}

// alike are letters that are drawn like Latin ones, and Latin ones with accents.
var alike = alikes(
	"аa", "вb", "сc", "ԁd", "еe", "ёe", "һh", "іi", "їi", "ӏl", "јj", "кk", "ԛq", "мm", "нh", "оo", "рp", "ѕs", "тt", "уy", "ѵv", "ԝw", "хx", "ѡw", "ɡg", "ɩi", "ıi",
	"АA", "ВB", "СC", "ЕE", "ЁE", "НH", "ІI", "ЇI", "ЈJ", "КK", "МM", "ОO", "РP", "ЅS", "ТT", "УY", "ХX", "ԌG", "ԚQ", "ԜW", "Ӏl", "ГF",
	"αa", "βb", "γy", "εe", "ηn", "ιi", "κk", "νv", "οo", "ρp", "σo", "τt", "υu", "χx", "ωw", "ϲc", "ϳj",
	"ΑA", "ΒB", "ΕE", "ΖZ", "ΗH", "ΙI", "ΚK", "ΜM", "ΝN", "ΟO", "ΡP", "ΤT", "ΥY", "ΧX", "ϹC",
	"àa", "áa", "âa", "ãa", "äa", "åa", "āa", "ăa", "ąa", "çc", "ćc", "čc", "ċc", "ďd", "đd", "èe", "ée", "êe", "ëe", "ēe", "ėe", "ęe", "ěe",
	"ğg", "ġg", "ģg", "ħh", "ìi", "íi", "îi", "ïi", "īi", "įi", "ķk", "ĺl", "ļl", "ľl", "łl", "ñn", "ńn", "ņn", "ňn", "òo", "óo", "ôo", "õo", "öo", "øo", "ōo",
	"ŕr", "řr", "śs", "şs", "šs", "șs", "ţt", "ťt", "țt", "ùu", "úu", "ûu", "üu", "ūu", "ůu", "ųu", "ŵw", "ýy", "ÿy", "źz", "żz", "žz",
	"ſs", "\u212ak", "\u2113l", "\u2170i", "\u217cl", "\u217dc", "\u217ed", "\u217fm", "\u01c0l", "\u2223l", "\u04cfl", "\u0570h", "\u0578n", "\u057du", "\u0585o", "\u0581g", "\u0566q",
	"\u13a0D", "\u13a1R", "\u13a2T", "\u13aaA", "\u13abJ", "\u13acE", "\u13b3W", "\u13b7M", "\u13bbH", "\u13c0G", "\u13c2h", "\u13c3Z", "\u13cf4", "\u13d4W", "\u13d5S", "\u13d9V", "\u13daS", "\u13deL", "\u13dfC", "\u13e2P", "\u13e6K", "\u13f4B",
)

func alikes(pairs ...string) map[rune]rune {
	out := make(map[rune]rune, len(pairs))
	for _, p := range pairs {
		r := []rune(p)
		out[r[0]] = r[1]
	}
	return out
}

// strange says whether a name has characters that people do not see.
func strange(name string) bool {
	return strings.ContainsFunc(name, harmless.Hidden)
}

// brief makes a foreign name fit for a message of one line.
func brief(name string) string {
	const most = 80
	if len(name) > most {
		name = name[:most] + "…"
	}
	return harmless.OneLine(name)
}

// names knows which names are taken.
type names struct {
	kind string
	by   map[string][]taken // by what they look like
}

// taken is a name and who has it; no server is the same one.
type taken struct{ server, name string }

func newNames(kind string) *names { return &names{kind: kind, by: map[string][]taken{}} }

func (n *names) add(server, name string) {
	like := looks(n.kind, name)
	for i, s := range like {
		if i > 0 && s == like[0] {
			continue
		}
		t := taken{server, name}
		if list := n.by[s]; len(list) < limits.MCPSuspicions && !slices.Contains(list, t) {
			n.by[s] = append(list, t)
		}
	}
}

// like finds a name that looks like this one and is not this very one of the same server.
func (n *names) like(server, name string) (taken, bool) {
	for _, s := range looks(n.kind, name) {
		for _, t := range n.by[s] {
			if t.server != server || t.name != name {
				return t, true
			}
		}
	}
	return taken{}, false
}

// all gives the names that look like this one, each once, in their order.
func (n *names) all(name string) (out []taken) {
	for _, s := range looks(n.kind, name) {
		for _, t := range n.by[s] {
			if !slices.Contains(out, t) {
				out = append(out, t)
			}
		}
	}
	slices.SortFunc(out, func(a, b taken) int {
		return cmp.Or(cmp.Compare(a.server, b.server), cmp.Compare(a.name, b.name))
	})
	return out
}
