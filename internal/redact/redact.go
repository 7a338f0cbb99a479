// Package redact removes secret values from everything that leaves a run: logs,
// audit lines, reports, errors, and later the gateways' traffic.
//
// It promises linear time (one automaton over all values and their common
// encodings, no back-tracking), constant memory per stream, and that a value is
// found however a stream is cut into writes.
package redact

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// MinSecret is the length in bytes that a value must have at the least: a
// shorter one occurs by chance and would hide ordinary text.
const MinSecret = 4

// Redactor finds secret values. The zero value and nil find nothing. A Redactor
// does not change after New and may be used by many goroutines at once.
type Redactor struct {
	nodes   []node
	labels  []string
	longest int
}

type node struct {
	next  map[byte]int32
	fail  int32
	hit   int32 // index into labels + 1 of the longest pattern that ends here, 0 for none
	depth int32
	size  int32 // length of the pattern that ends here
}

// New prepares a Redactor for secrets by name. Each value is also found in its
// base64 (at every alignment, both alphabets), hex, percent-encoded and
// JSON-escaped forms.
func New(secrets map[string]string) (*Redactor, error) {
	r := &Redactor{nodes: []node{{next: map[byte]int32{}}}}
	names := make([]string, 0, len(secrets))
	for name := range secrets {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		value := secrets[name]
		if len(value) < MinSecret {
			return nil, fmt.Errorf("the value of secret %s is shorter than %d bytes, so it cannot be redacted reliably", name, MinSecret)
		}
		label := "[redacted:" + name + "]"
		for _, p := range forms(value) {
			r.add(p, label)
		}
		for i, line := range strings.Split(value, "\n") {
			// A secret of several lines (a key file, say) is often printed line by line.
			if line = strings.TrimSpace(line); len(line) >= 16 && line != value {
				r.add([]byte(line), fmt.Sprintf("[redacted:%s line %d]", name, i+1))
			}
		}
	}
	r.link()
	return r, nil
}

// forms gives the spellings of a value, longest first, none twice.
func forms(value string) [][]byte {
	raw := []byte(value)
	out := [][]byte{raw, []byte(url.QueryEscape(value)), []byte(url.PathEscape(value)), []byte(lowerPercent(url.QueryEscape(value)))}
	for _, html := range []bool{true, false} {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(html)
		if err := e.Encode(value); err == nil {
			out = append(out, bytes.Clone(b.Bytes()[1:b.Len()-2]))
		}
	}
	out = append(out, []byte(hex.EncodeToString(raw)), []byte(strings.ToUpper(hex.EncodeToString(raw))))
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			out = append(out, inner64(enc, raw, shift))
		}
	}
	slices.SortFunc(out, func(a, b []byte) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), bytes.Compare(a, b))
	})
	out = slices.CompactFunc(out, bytes.Equal)
	return slices.DeleteFunc(out, func(p []byte) bool { return len(p) < MinSecret })
}

// inner64 gives the part of the base64 text that depends on raw alone when raw
// stands shift bytes after a group's start.
func inner64(enc *base64.Encoding, raw []byte, shift int) []byte {
	padded := append(make([]byte, shift), raw...)
	text := enc.EncodeToString(padded)
	from := 0
	if shift > 0 {
		from = shift + 1
	}
	to := len(padded) / 3 * 4
	if from >= to {
		return nil
	}
	return []byte(text[from:to])
}

func lowerPercent(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], bytes.ToLower(b[i+1:i+3]))
		}
	}
	return string(b)
}

func (r *Redactor) add(pattern []byte, label string) {
	at := int32(0)
	for i, c := range pattern {
		n, ok := r.nodes[at].next[c]
		if !ok {
			n = int32(len(r.nodes))                                                      //nolint:gosec // bounded by the secrets' sizes
			r.nodes = append(r.nodes, node{next: map[byte]int32{}, depth: int32(i + 1)}) //nolint:gosec // as above
			r.nodes[at].next[c] = n
		}
		at = n
	}
	if r.nodes[at].hit == 0 {
		r.labels = append(r.labels, label)
		r.nodes[at].hit = int32(len(r.labels)) //nolint:gosec // as above
		r.nodes[at].size = int32(len(pattern)) //nolint:gosec // as above
	}
	r.longest = max(r.longest, len(pattern))
}

// link sets the failure links, breadth first.
func (r *Redactor) link() {
	queue := []int32{}
	for _, n := range r.nodes[0].next {
		queue = append(queue, n)
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for c, n := range r.nodes[at].next {
			f := r.nodes[at].fail
			for f != 0 && !has(r.nodes[f].next, c) {
				f = r.nodes[f].fail
			}
			if t, ok := r.nodes[f].next[c]; ok {
				f = t
			}
			r.nodes[n].fail = f
			if r.nodes[n].hit == 0 && r.nodes[f].hit != 0 {
				r.nodes[n].hit, r.nodes[n].size = r.nodes[f].hit, r.nodes[f].size
			}
			queue = append(queue, n)
		}
	}
}

func has(m map[byte]int32, c byte) bool { _, ok := m[c]; return ok }

func (r *Redactor) step(at int32, c byte) int32 {
	for {
		if n, ok := r.nodes[at].next[c]; ok {
			return n
		}
		if at == 0 {
			return 0
		}
		at = r.nodes[at].fail
	}
}

// Empty says whether there is nothing to find.
func (r *Redactor) Empty() bool { return r == nil || len(r.labels) == 0 }

// String gives s without secret values.
func (r *Redactor) String(s string) string {
	if r.Empty() {
		return s
	}
	var b strings.Builder
	w := r.Writer(&b)
	_, _ = w.Write([]byte(s)) // a strings.Builder never fails
	_ = w.Close()             // as above
	return b.String()
}

// Value gives v with every text in it redacted: strings, and the keys and
// members of the maps and lists that JSON knows.
func (r *Redactor) Value(v any) any {
	if r.Empty() {
		return v
	}
	switch x := v.(type) {
	case string:
		return r.String(x)
	case []any:
		out := make([]any, len(x))
		for i := range x {
			out[i] = r.Value(x[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, m := range x {
			out[r.String(k)] = r.Value(m)
		}
		return out
	}
	return v
}
