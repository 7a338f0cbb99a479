package redact

import "io"

// Writer is a stream that replaces secret values before they reach the next
// writer. It holds back only bytes that may be the beginning of a value; Close
// writes what is held back.
type Writer struct {
	r    *Redactor
	to   io.Writer
	at   int32
	held []byte // bytes not yet written: at most the automaton's depth and a pending hit
	cut  int    // length of the prefix of held that a pending hit covers up to
	from int    // start of the pending hit in held
	name string // label of the pending hit, empty for none
	err  error
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
	out := make([]byte, 0, len(p)+len(w.held))
	for _, c := range p {
		w.held = append(w.held, c)
		w.at = w.r.step(w.at, c)
		n := &w.r.nodes[w.at]
		if n.hit != 0 {
			w.hit(int(n.size), w.r.labels[n.hit-1])
		}
		out = w.release(out, int(n.depth))
	}
	if len(out) > 0 {
		if _, w.err = w.to.Write(out); w.err != nil {
			return 0, w.err
		}
	}
	return len(p), nil
}

// hit notes that the last size bytes held are a secret. Overlapping hits grow
// into one, so that no part of either value is left.
func (w *Writer) hit(size int, label string) {
	from := max(0, len(w.held)-size)
	if w.name == "" || from < w.from {
		w.from = from
	}
	if w.name == "" {
		w.name = label
	}
	w.cut = len(w.held)
}

// release moves to out what can no longer be part of a value: everything but the
// last depth bytes, and a pending hit once no longer one can swallow it.
func (w *Writer) release(out []byte, depth int) []byte {
	safe := len(w.held) - depth
	if w.name != "" {
		if safe < w.cut {
			// A longer value may still begin before the hit or overlap it.
			if safe > 0 && safe <= w.from {
				return w.move(out, safe)
			}
			return out
		}
		out = append(out, w.held[:w.from]...)
		out = append(out, w.name...)
		w.held = append(w.held[:0], w.held[w.cut:]...)
		w.name = ""
		safe = len(w.held) - depth
	}
	if safe > 0 {
		out = w.move(out, safe)
	}
	return out
}

func (w *Writer) move(out []byte, n int) []byte {
	out = append(out, w.held[:n]...)
	w.held = append(w.held[:0], w.held[n:]...)
	w.from -= n
	w.cut -= n
	return out
}

// Close writes what is held back. The next writer is not closed.
func (w *Writer) Close() error {
	if w.err != nil || len(w.held) == 0 {
		return w.err
	}
	var out []byte
	if w.name != "" {
		out = append(out, w.held[:w.from]...)
		out = append(out, w.name...)
		w.held = w.held[w.cut:]
		w.name = ""
	}
	out = append(out, w.held...)
	w.held = nil
	_, w.err = w.to.Write(out)
	return w.err
}

// Detector is a stream that only looks: Found names the first secret whose
// value was seen.
type Detector struct {
	r     *Redactor
	at    int32
	label string
}

// Detector gives a stream that looks for secret values.
func (r *Redactor) Detector() *Detector { return &Detector{r: r} }

// Write looks at p. It never fails.
func (d *Detector) Write(p []byte) (int, error) {
	if d.r.Empty() || d.label != "" {
		return len(p), nil
	}
	for _, c := range p {
		d.at = d.r.step(d.at, c)
		if hit := d.r.nodes[d.at].hit; hit != 0 {
			d.label = d.r.labels[hit-1]
			return len(p), nil
		}
	}
	return len(p), nil
}

// Found gives the mark of the first secret that was seen, or "".
func (d *Detector) Found() string { return d.label }
