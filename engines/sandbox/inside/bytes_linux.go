package inside

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// rawMark begins a string that JSON could not carry as it is. No argument, no
// variable and no path can begin so.
const rawMark = "\x00"

// pack makes a string of any bytes into one that survives JSON: a name that is not
// UTF-8 would arrive as another, and what it should hide would be seen.
func pack(s string) string {
	if utf8.ValidString(s) && !strings.HasPrefix(s, rawMark) {
		return s
	}
	return rawMark + base64.StdEncoding.EncodeToString([]byte(s))
}

// unpack is the reverse of pack.
func unpack(s string) string {
	rest, ok := strings.CutPrefix(s, rawMark)
	if !ok {
		return s
	}
	raw, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		return s // not of pack; it cannot be used, since it holds a NUL
	}
	return string(raw)
}

// Packed gives a copy of a spec whose strings survive JSON, whatever bytes they hold.
func (s Spec) Packed() Spec { return s.over(pack) }

// over gives a copy of a spec whose strings a function has been applied to.
func (s Spec) over(f func(string) string) Spec {
	each := func(list []string) []string {
		out := make([]string, len(list))
		for i, v := range list {
			out[i] = f(v)
		}
		return out
	}
	s.Argv, s.Dir, s.Env = each(s.Argv), f(s.Dir), each(s.Env)
	if s.Confine == nil {
		return s
	}
	c := *s.Confine
	c.Binds = make([]Bind, len(s.Confine.Binds))
	for i, b := range s.Confine.Binds {
		c.Binds[i] = Bind{Source: f(b.Source), Target: f(b.Target), Write: b.Write, Fixed: b.Fixed}
	}
	c.Covers = each(c.Covers)
	if c.View != nil {
		v := *c.View
		v.Target, v.Upper, v.Base, v.Changes = f(v.Target), f(v.Upper), f(v.Base), f(v.Changes)
		v.Lower, v.Hide = each(v.Lower), each(v.Hide)
		c.View = &v
	}
	s.Confine = &c
	return s
}
