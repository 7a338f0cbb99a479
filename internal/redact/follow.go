package redact

// Step follows a text byte by byte, from state 0 on. It says whether a pattern ends
// with the byte; Ends then tells which.
func (a *Automaton) Step(state int32, c byte) (next int32, found bool) { return a.step(state, c) }

// Depth is how many bytes at the end of what was read may begin a pattern.
func (a *Automaton) Depth(state int32) int { return int(a.states[state].depth) }

// Ends calls visit for every pattern that ends at a state, the longest first.
func (a *Automaton) Ends(state int32, visit func(pattern int)) {
	for m := state; m != 0; m = a.states[m].link {
		if p := a.states[m].pattern; p != 0 {
			visit(int(p - 1))
		}
	}
}

// Step follows a text byte by byte, from state 0 on, if the Redactor is not Empty. open
// is how many bytes at the end of what was read may begin a value; ended is the size of
// the longest spelling that ends there, or 0.
func (r *Redactor) Step(state int32, c byte) (next int32, open, ended int) {
	next, found := r.auto.step(state, c)
	open = int(r.auto.states[next].depth)
	if found {
		r.auto.Ends(next, func(p int) { ended = max(ended, r.patterns[p].size) })
	}
	return next, open, ended
}
