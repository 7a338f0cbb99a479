package redact

import "io"

// Writer is a stream that replaces secret values before they reach the next
// writer. It holds back only bytes that may be part of a value; Close writes what
// is held back. Values that overlap or touch are replaced as one, by the mark of
// the one that ended first.
type Writer struct {
	r     *Redactor
	to    io.Writer
	state int32
	held  []byte // not written yet: what may begin a value, with hits before it
	base  int    // where held begins in the whole stream
	// Hits are pending while a value that overlaps or touches the first of them may
	// still end. None touches the next one.
	hits []hit
	err  error
}

// hit is a place of the stream that is replaced.
type hit struct {
	from, to int
	label    string
}

// Writer gives a redacting stream in front of to.
func (r *Redactor) Writer(to io.Writer) *Writer { return &Writer{r: r, to: to} }

// Write redacts p. It reports len(p) unless the next writer fails.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.r.Empty() {
		n, err := w.to.Write(p)
		w.err = err
		return n, err
	}
	done := len(w.held)
	text := append(w.held, p...) //nolint:gocritic // the buffer is the writer's own
	out, rest := w.redact(text, done)
	if len(out) > 0 {
		if _, w.err = w.to.Write(out); w.err != nil {
			return 0, w.err
		}
	}
	if len(rest) < len(text) {
		text = text[:copy(text, rest)]
	}
	w.held = text
	return len(p), nil
}

// redact gives what can no longer be part of a value, and the rest. The first done
// bytes of text were looked at before.
func (w *Writer) redact(text []byte, done int) (out, rest []byte) {
	a := w.r.auto
	for at := done; at < len(text); {
		var found bool
		if len(w.hits) > 0 {
			w.state, found = a.step(w.state, text[at])
			at++
		} else {
			var n int
			w.state, n, found = a.run(w.state, text[at:])
			at += n
		}
		if found {
			w.found(w.base + at)
		}
		for len(w.hits) > 0 && w.base+at-int(a.states[w.state].depth) > w.hits[0].to {
			before := w.base
			out, text = w.replace(out, text)
			at -= w.base - before
		}
	}
	safe := len(text) - int(a.states[w.state].depth)
	if len(w.hits) > 0 && w.hits[0].from-w.base < safe {
		// No other value can begin in the first hit's bytes before safe: they are dropped,
		// so that a chain of values that overlap takes no more memory than one.
		h := &w.hits[0]
		out = append(out, text[:h.from-w.base]...)
		from := min(h.to-w.base, safe)
		w.base += from
		h.from = w.base
		return out, text[from:]
	}
	if safe <= 0 {
		return out, text
	}
	w.base += safe
	if len(out) == 0 {
		return text[:safe], text[safe:]
	}
	return append(out, text[:safe]...), text[safe:]
}

// replace puts the first hit's mark in its place.
func (w *Writer) replace(out, text []byte) ([]byte, []byte) {
	h := w.hits[0]
	out = append(out, text[:h.from-w.base]...)
	text = text[h.to-w.base:]
	w.base = h.to
	if w.hits = w.hits[1:]; len(w.hits) == 0 {
		w.hits = nil
	}
	return append(out, h.label...), text
}

// found notes that the longest value at this state ends at a place of the stream.
func (w *Writer) found(at int) {
	s := &w.r.auto.states[w.state]
	if s.pattern == 0 {
		s = &w.r.auto.states[s.link]
	}
	p := &w.r.patterns[s.pattern-1]
	h := hit{at - p.size, at, p.label}
	for n := len(w.hits); n > 0 && w.hits[n-1].to >= h.from; n-- {
		h.from, h.label = min(h.from, w.hits[n-1].from), w.hits[n-1].label
		w.hits = w.hits[:n-1]
	}
	w.hits = append(w.hits, h)
}

// Close writes what is held back. The next writer is not closed.
func (w *Writer) Close() error {
	if w.err != nil || len(w.held) == 0 {
		return w.err
	}
	var out []byte
	text := w.held
	for len(w.hits) > 0 {
		out, text = w.replace(out, text)
	}
	out = append(out, text...)
	w.held = nil
	_, w.err = w.to.Write(out)
	return w.err
}

// Detector is a stream that only looks: Found names the first secret whose
// value was seen.
type Detector struct {
	r     *Redactor
	state int32
	label string
}

// Detector gives a stream that looks for secret values.
func (r *Redactor) Detector() *Detector { return &Detector{r: r} }

// Write looks at p. It never fails.
func (d *Detector) Write(p []byte) (int, error) {
	if d.r.Empty() || d.label != "" {
		return len(p), nil
	}
	a := d.r.auto
	n, _, found := a.run(d.state, p)
	d.state = n
	if found {
		s := &a.states[n]
		if s.pattern == 0 {
			s = &a.states[s.link]
		}
		d.label = d.r.patterns[s.pattern-1].label
	}
	return len(p), nil
}

// Found gives the mark of the first secret that was seen, or "".
func (d *Detector) Found() string { return d.label }
