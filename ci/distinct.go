package ci

import (
	"slices"

	"github.com/cabincrew/action/internal/limits"
)

// noRole is a voice that speaks for no role yet.
const noRole = -1

// distinct gives each voice to at most one role, so that every role has enough of them
// and code owners are covered, if there is a way. Without one it gives as many as it can.
func (h *holders) distinct(roles []Role, out []RoleCount, held [][]int, voices []voice) error {
	p := pairing{held: held, role: make([]int, len(voices)), steps: limits.ApprovalSteps}
	for i := range out {
		p.need = append(p.need, out[i].Need)
		if !roles[i].CodeOwners {
			continue
		}
		for _, owners := range h.lists {
			d := demand{role: i}
			for _, v := range held[i] {
				ok, err := h.owns(owners, voices[v].person)
				if err != nil {
					return err
				}
				if ok {
					d.by = append(d.by, v)
				}
			}
			p.demands = append(p.demands, d)
		}
	}
	p.reset()
	full := p.cover(0)
	if !full {
		p.reset()
		p.fill()
	}
	p.spare()
	for i := range out {
		for _, v := range held[i] {
			if p.role[v] == i {
				out[i].By = append(out[i].By, *voices[v].yes)
			}
		}
		for _, v := range held[i] {
			if short := len(out[i].By) < out[i].Need || roles[i].CodeOwners; p.role[v] != i && !full && short {
				out[i].Refused = append(out[i].Refused, refusal(*voices[v].yes, out[i].Role,
					refused("approval_distinct", "%s speaks for the role %q already, and each person for one", name(voices[v].person), out[p.role[v]].Role)))
			}
		}
	}
	return nil
}

// demand asks for one of some voices in a role.
type demand struct {
	role int
	by   []int
}

// pairing is voices being given to roles.
type pairing struct {
	held    [][]int // by role
	need    []int   // by role
	demands []demand
	role    []int // by voice, or noRole
	steps   int
}

func (p *pairing) reset() {
	for i := range p.role {
		p.role[i] = noRole
	}
}

// cover tries every way to meet the demands from the given one on, and then the roles'
// counts.
func (p *pairing) cover(i int) bool {
	if p.steps--; p.steps < 0 {
		return false
	}
	if i == len(p.demands) {
		before := slices.Clone(p.role)
		if p.fill() {
			return true
		}
		copy(p.role, before)
		return false
	}
	d := p.demands[i]
	if slices.ContainsFunc(d.by, func(v int) bool { return p.role[v] == d.role }) {
		return p.cover(i + 1)
	}
	for _, v := range d.by {
		if p.role[v] != noRole {
			continue
		}
		p.role[v] = d.role
		if p.cover(i + 1) {
			return true
		}
		p.role[v] = noRole
	}
	return false
}

// fill gives voices to roles until each has what it needs, by augmenting paths; voices
// that have a role already stay. It gives as many as there can be.
func (p *pairing) fill() bool {
	pinned := make([]bool, len(p.role))
	missing := slices.Clone(p.need)
	for v, r := range p.role {
		if r != noRole {
			pinned[v] = true
			missing[r]--
		}
	}
	full := true
	for r := range missing {
		for range max(0, missing[r]) {
			if !p.augment(r, pinned, make([]bool, len(p.role))) {
				full = false
				break
			}
		}
	}
	return full
}

// augment gives one more voice to a role, moving others to other roles if it must.
func (p *pairing) augment(r int, pinned, tried []bool) bool {
	for _, v := range p.held[r] {
		if pinned[v] || tried[v] || p.role[v] == r {
			continue
		}
		tried[v] = true
		if p.role[v] == noRole || p.augment(p.role[v], pinned, tried) {
			p.role[v] = r
			return true
		}
	}
	return false
}

// spare gives the voices that are left to the first role that they hold.
func (p *pairing) spare() {
	for r, held := range p.held {
		for _, v := range held {
			if p.role[v] == noRole {
				p.role[v] = r
			}
		}
	}
}
