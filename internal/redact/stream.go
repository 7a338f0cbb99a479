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
	held  []byte // not written yet: what may begin a value, with a hit before it
	// A hit is pending while a value that overlaps or touches it may still end.
	hit      bool
	from, at int // where it stands in held
	label    string
	err      error
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
		if w.hit {
			w.state, found = a.step(w.state, text[at])
			at++
		} else {
			var n int
			w.state, n, found = a.run(w.state, text[at:])
			at += n
		}
		if found {
			w.found(at)
		}
		if w.hit && at-int(a.states[w.state].depth) > w.at {
			out = append(out, text[:w.from]...)
			out = append(out, w.label...)
			text, at = text[w.at:], at-w.at
			w.hit = false
		}
	}
	safe := len(text) - int(a.states[w.state].depth)
	if w.hit {
		text = w.shorten(text, safe)
		safe = min(safe, w.from)
	}
	if safe <= 0 {
		return out, text
	}
	w.from, w.at = w.from-safe, w.at-safe
	if len(out) == 0 {
		return text[:safe], text[safe:]
	}
	return append(out, text[:safe]...), text[safe:]
}

// shorten drops bytes of a pending hit that no other value can begin in, so that a
// chain of values that overlap takes no more memory than one.
func (w *Writer) shorten(text []byte, safe int) []byte {
	cut := min(w.at, safe) - w.from
	if cut <= 0 {
		return text
	}
	w.at -= cut
	return append(text[:w.from], text[w.from+cut:]...)
}

// found notes that the longest value at this state ends at a place of the text.
func (w *Writer) found(at int) {
	s := &w.r.auto.states[w.state]
	if s.pattern == 0 {
		s = &w.r.auto.states[s.link]
	}
	p := &w.r.patterns[s.pattern-1]
	if from := at - p.size; !w.hit || from < w.from {
		w.from = from
	}
	if !w.hit {
		w.hit, w.label = true, p.label
	}
	w.at = at
}

// Close writes what is held back. The next writer is not closed.
func (w *Writer) Close() error {
	if w.err != nil || len(w.held) == 0 {
		return w.err
	}
	var out []byte
	if w.hit {
		out = append(out, w.held[:w.from]...)
		out = append(out, w.label...)
		w.held = w.held[w.at:]
	}
	out = append(out, w.held...)
	w.held, w.hit = nil, false
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
